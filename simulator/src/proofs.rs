//! Load-time proofs that need no timing: freedom from deadlock, and the range of every accumulator.

use std::collections::VecDeque;

use qnnsim_isa::operand::semaphore_name;
use qnnsim_isa::{Action, Program, Unit};

use crate::limits::STEPS_MAX;
use crate::timing::{Code, Start, bits};
use crate::trap::{Fault, Trap};

/// Executes a stream on tokens alone: in-order dispatch into queues of the hardware's depth, units
/// that take and give semaphores, no time. With one consumer a semaphore the outcome does not
/// depend on the order in which units are served, so a stream that ends here ends under every
/// latency.
///
/// # Errors
/// Two consumers of one semaphore, or a deadlock, with what each unit waits for.
pub fn deadlock_freedom(program: &Program, code: &Code, start: Start) -> Result<(), Trap> {
    let trap = |unit, word, fault| Trap { stream: start.name(), cycle: 0, unit, word, fault };
    let depth = program.hardware.queue_depth as usize;
    let mut queues: [VecDeque<u32>; 4] = Default::default();
    // Instructions that have left their queue with their first step, and the steps left.
    let mut running: [Option<(u32, u32)>; 4] = [None; 4];
    let mut semaphores = [0u64; 16];
    let mut consumers: [Option<Unit>; 16] = [None; 16];
    let mut fetched = 0;
    let mut steps = 0u64;
    loop {
        let mut progress = false;
        while let Some(&action) = code.actions().get(fetched) {
            // An undefined word and what follows HALT are the timing's business.
            let Some(Action::Configure(unit) | Action::Sync(unit, _) | Action::Work(unit, _)) =
                action
            else {
                break;
            };
            let queue = &mut queues[unit as usize];
            if queue.len() == depth {
                break;
            }
            queue.push_back(fetched as u32);
            fetched += 1;
            progress = true;
        }
        for unit in Unit::ALL {
            let u = unit as usize;
            loop {
                // CFG words pass while the instruction before them still has steps left.
                while let Some(&word) = queues[u].front()
                    && matches!(code.actions()[word as usize], Some(Action::Configure(_)))
                {
                    queues[u].pop_front();
                    progress = true;
                }
                let Some(word) = running[u].map(|(word, _)| word).or(queues[u].front().copied())
                else {
                    break;
                };
                let Some(Action::Sync(_, s) | Action::Work(_, s)) = code.actions()[word as usize]
                else {
                    unreachable!("only decoded words are queued")
                };
                for i in bits(s.wait) {
                    match consumers[i] {
                        Some(other) if other != unit => {
                            let fault =
                                Fault::TwoConsumers { semaphore: i as u32, units: [other, unit] };
                            return Err(trap(Some(unit), Some(word), fault));
                        }
                        _ => consumers[i] = Some(unit),
                    }
                }
                let remaining = running[u].map_or(s.repeat, |(_, left)| left);
                // As many steps at once as the tokens allow.
                let possible = bits(s.wait)
                    .map(|i| semaphores[i])
                    .min()
                    .unwrap_or(u64::MAX)
                    .min(u64::from(remaining));
                if possible == 0 {
                    break;
                }
                progress = true;
                steps += possible;
                bits(s.post).for_each(|i| semaphores[i] += possible);
                bits(s.wait).for_each(|i| semaphores[i] -= possible);
                if running[u].is_none() {
                    queues[u].pop_front();
                }
                let left = remaining - possible as u32;
                running[u] = (left > 0).then_some((word, left));
            }
        }
        if steps > STEPS_MAX {
            return Err(trap(
                None,
                None,
                Fault::TooLong(format!("more than {STEPS_MAX} steps an image")),
            ));
        }
        if progress {
            continue;
        }
        if queues.iter().all(VecDeque::is_empty) && running.iter().all(Option::is_none) {
            return Ok(());
        }
        let waiting = Unit::ALL.iter().filter_map(|&unit| {
            let word = running[unit as usize]
                .map(|(word, _)| word)
                .or(queues[unit as usize].front().copied())?;
            let Some(Action::Sync(_, s) | Action::Work(_, s)) = code.actions()[word as usize]
            else {
                return None;
            };
            let missing = (0..16).find(|&i| s.wait >> i & 1 == 1 && semaphores[i] == 0)?;
            let name = semaphore_name(&program.semaphores, missing);
            Some(format!("{} waits for semaphore {name} at instruction {word}", unit.name()))
        });
        let mut waiting: Vec<String> = waiting.collect();
        if let Some(Some(Action::Configure(u) | Action::Sync(u, _) | Action::Work(u, _))) =
            code.actions().get(fetched)
        {
            waiting.push(format!(
                "the front end waits for room in the queue of {} at instruction {fetched}",
                u.name()
            ));
        }
        return Err(trap(None, None, Fault::Deadlock { waiting }));
    }
}
