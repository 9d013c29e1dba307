//! Going forwards and backwards in time, on random programs, some of which trap.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use qnnsim_cosim::{generate, random};
use qnnsim_inspect::machine::{Grain, Machine};
use qnnsim_inspect::{Recording, Recordings};
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::timing::Stall;
use qnnsim_simulator::{Fault, Simulation, Start};
use qnnsim_tests::{cases, for_all};

/// A random program, on one of a few hardware points; every third may trap.
fn program() -> impl Strategy<Value = Program> {
    (0u64..12, 0u8..3).prop_flat_map(|(number, kind)| {
        let point = random::point(7, number);
        match kind {
            0 => generate::trap(&point).prop_map(|case| case.program()).boxed(),
            _ => generate::case(&point).prop_map(|case| case.program()).boxed(),
        }
    })
}

/// How far, in which grain, one step forwards first or not, and where from, as a share of the image.
type Walk = (usize, usize, u8);

fn walks() -> impl Strategy<Value = Vec<Walk>> {
    prop::collection::vec((1usize..40, 0usize..4, any::<u8>()), 1..8)
}

/// Everything that there is of a machine.
fn same(a: &Machine, b: &Machine) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.position(), b.position());
    prop_assert_eq!(a.control(), b.control());
    prop_assert!(a.memories().memories() == b.memories().memories(), "the memories");
    Ok(())
}

fn input(program: &Program) -> Vec<u8> {
    (0..program.input.shape.values()).map(|i| (i * 37 + 11) as u8).collect()
}

fn walk(recording: &Recording, input: &[u8], walks: &[Walk]) -> Result<(), TestCaseError> {
    let mut machine = Machine::new(recording, input);
    for &(count, grain, share) in walks {
        let grain = Grain::ALL[grain];
        let cycle = recording.cycles() * u64::from(share) / 255;
        machine.seek(machine.begin_of(cycle));
        // From a place where a step of the grain stops: so many back and so many forwards is here.
        machine.step(grain);
        let before = machine.clone();
        let mut back = 0;
        while back < count && machine.back(grain) {
            back += 1;
        }
        let there = machine.position();
        // The same as of a machine that has never been elsewhere.
        let mut direct = Machine::new(recording, input);
        direct.seek(there);
        same(&machine, &direct)?;
        for _ in 0..back {
            machine.step(grain);
        }
        same(&machine, &before)?;
        // And so many forwards and back.
        let mut forwards = 0;
        while forwards < count && machine.next(grain).is_some() {
            machine.step(grain);
            forwards += 1;
        }
        for _ in 0..forwards {
            machine.back(grain);
        }
        same(&machine, &before)?;
    }
    Ok(())
}

#[test]
fn so_many_steps_back_and_forwards_is_the_same_state() {
    let strategy = || (program(), walks());
    for_all(cases(120, 2_000), strategy, |(program, walks)| {
        // What a proof refuses has no images.
        let Ok(recordings) = Recordings::new(&program) else { return Ok(()) };
        let input = input(&program);
        walk(&recordings.cold, &input, &walks)?;
        if let Some(warm) = &recordings.warm {
            walk(warm, &input, &walks)?;
        }
        Ok(())
    });
}

/// What the engine says of waits must be what the recording makes of its events, which knows
/// nothing of them: a unit that waits for a semaphore finds it 0, one that waits for a buffer finds
/// all in use.
fn waits_agree(recording: &Recording, input: &[u8]) -> Result<(), TestCaseError> {
    let hw = recording.hardware();
    let mut machine = Machine::new(recording, input);
    let mut all: Vec<(u64, Unit, Stall)> = Vec::new();
    for unit in Unit::ALL {
        let last = |w: &qnnsim_inspect::recording::Waiting| w.to.min(recording.cycles());
        all.extend(recording.waiting(unit).iter().map(|w| (last(w).max(1) - 1, unit, w.reason)));
        all.extend(recording.waiting(unit).iter().map(|w| (w.from, unit, w.reason)));
    }
    all.sort_by_key(|wait| wait.0);
    for (cycle, unit, reason) in all {
        // Behind what the cycle makes visible and decides.
        machine.seek(machine.begin_of(cycle + 1));
        let entries = recording.entries();
        let settled = |event: usize| {
            entries.get(event).is_some_and(|e| e.cycle == cycle + 1 && !e.event.is_decided())
        };
        prop_assert!(machine.position().events == 0 || !settled(machine.position().events - 1));
        let control = machine.control();
        match reason {
            Stall::Semaphore(s) => {
                prop_assert_eq!(control.semaphores[s as usize], 0, "cycle {}", cycle);
            }
            Stall::Buffer => {
                let (at, size) = match unit {
                    Unit::Load => (0, hw.load_buffers),
                    Unit::Thr => (1, hw.thr_buffers),
                    Unit::Store => (2, hw.store_buffers),
                    Unit::Mac => unreachable!("the array has no buffers"),
                };
                prop_assert_eq!(control.buffers[at], size, "cycle {}", cycle);
            }
            Stall::Pipe | Stall::Port | Stall::Dram | Stall::Configure => {}
        }
        prop_assert!(control.outstanding <= hw.dram_outstanding);
        prop_assert!(control.code_queue <= hw.fetch_words);
    }
    Ok(())
}

#[test]
fn queues_semaphores_and_buffers_are_those_of_the_engine() {
    for_all(cases(120, 2_000), program, |program| {
        let Ok(recordings) = Recordings::new(&program) else { return Ok(()) };
        let input = input(&program);
        waits_agree(&recordings.cold, &input)?;
        recordings.warm.as_ref().map_or(Ok(()), |warm| waits_agree(warm, &input))
    });
}

#[test]
fn at_the_end_it_is_the_machine_that_runs_at_once() {
    for_all(cases(120, 2_000), program, |program| {
        let (simulation, recordings) =
            (Simulation::new(program.clone()), Recordings::new(&program));
        let recordings = match (&simulation, recordings) {
            (_, Ok(recordings)) => recordings,
            (Err(proof), Err(trap)) => {
                prop_assert_eq!(proof, &trap);
                return Ok(());
            }
            (Ok(_), Err(trap)) => return Err(TestCaseError::fail(format!("{trap:?}"))),
        };
        let input = input(&program);
        let simulation = match simulation {
            Ok(simulation) => simulation,
            Err(trap) => {
                let last = recordings.warm.as_ref().unwrap_or(&recordings.cold);
                // A proof may refuse what the machine does not find.
                if let Some(found) = last.trap() {
                    // Of two units at one semaphore a proof knows before the first cycle, in which
                    // the machine may find something else.
                    if !matches!(trap.fault, Fault::TwoConsumers { .. }) {
                        prop_assert_eq!(found, &trap);
                    }
                    let mut machine = Machine::new(last, &input);
                    machine.seek(machine.end());
                    prop_assert!(machine.is_trapped());
                    prop_assert_eq!(machine.position().cycle, found.cycle);
                }
                return Ok(());
            }
        };
        for (start, mut executor) in
            [(Start::Cold, simulation.cold_executor()), (Start::Warm, simulation.executor())]
        {
            let recording = recordings.of(start);
            prop_assert_eq!(recording.cycles(), simulation.timing(start).cycles);
            let mut machine = Machine::new(recording, &input);
            machine.seek(machine.end());
            let mut output = Vec::new();
            executor.run(&input, &mut output);
            prop_assert!(machine.memories().memories() == executor.memories(), "the memories");
            prop_assert_eq!(machine.memories().output_now(), output);
        }
        Ok(())
    });
}
