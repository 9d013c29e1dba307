//! The timeline for Konata, a viewer of pipelines: a row an instruction, from its fetch until it
//! retires. The format is version 4 of Kanata's log.

use std::collections::BTreeMap;
use std::io::{self, Write};

use qnnsim_isa::Action;
use qnnsim_simulator::timing::Work;

use crate::recording::{Event, Recording};
use crate::timeline::Timeline;

/// Stages of an instruction, in order: in the code queue, in its unit's queue, waiting at the head,
/// issuing steps, in the pipe behind.
const STAGES: [&str; 5] = ["F", "Q", "W", "X", "P"];

/// When an instruction enters each stage, if it does, and retires.
#[derive(Debug, Clone, Default)]
struct Life {
    enters: [Option<u64>; 5],
    retires: u64,
}

/// Writes a timeline.
///
/// # Errors
/// The writer's.
pub fn write(timeline: &Timeline, mut out: impl Write) -> io::Result<()> {
    writeln!(out, "Kanata\t0004\nC=\t0")?;
    let mut now = 0;
    let (mut id, mut retired) = (0, 0);
    for &(begin, recording) in &timeline.images {
        // What is written in which cycle.
        let mut lines: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (word, life) in lives(recording).into_iter().enumerate() {
            let Some(first) = life.enters.iter().flatten().min().copied() else { continue };
            let layer = recording.layer(Some(word as u32)).map(|l| recording.layer_name(l));
            let mut at = |cycle: u64, line: String| {
                lines.entry(begin + cycle).or_default().push(line);
            };
            at(first, format!("I\t{id}\t{word}\t0"));
            at(first, format!("L\t{id}\t0\t{word}: {}", plain(&recording.text(word as u32))));
            at(
                first,
                format!(
                    "L\t{id}\t1\t{} image, layer {}",
                    recording.start().name(),
                    plain(layer.unwrap_or("none"))
                ),
            );
            for (stage, cycle) in STAGES.iter().zip(life.enters) {
                if let Some(cycle) = cycle {
                    at(cycle, format!("S\t{id}\t0\t{stage}"));
                }
            }
            at(life.retires.max(first + 1), format!("R\t{id}\t{retired}\t0"));
            id += 1;
            retired += 1;
        }
        for (cycle, lines) in lines {
            if cycle > now {
                writeln!(out, "C\t{}", cycle - now)?;
                now = cycle;
            }
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
    }
    out.flush()
}

/// A text without what the format gives a meaning.
fn plain(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

fn lives(recording: &Recording) -> Vec<Life> {
    let hw = recording.hardware();
    let mut lives = vec![Life::default(); recording.stream().words.len()];
    let mut arrived = recording.words_at_start() as usize;
    lives[..arrived].iter_mut().for_each(|life| life.enters[0] = Some(0));
    let mut halted = false;
    for entry in recording.entries() {
        let cycle = entry.cycle;
        match entry.event {
            // Behind HALT the words are those of the next image.
            Event::Arrive(words) if !halted => {
                for life in lives.iter_mut().skip(arrived).take(words as usize) {
                    life.enters[0] = Some(cycle);
                }
                arrived += words as usize;
            }
            Event::Decode(word) => {
                let life = &mut lives[word as usize];
                match recording.action(word) {
                    Some(Action::Halt) => {
                        halted = true;
                        life.enters[3] = Some(cycle);
                        life.retires = recording.cycles();
                    }
                    _ => {
                        life.enters[1] = Some(cycle + 1);
                        life.retires = cycle + 1;
                    }
                }
            }
            Event::Configure { word, .. } => {
                lives[word as usize].enters[3] = Some(cycle);
                lives[word as usize].retires = cycle + 1;
            }
            Event::Issue(index) => {
                let issue = &recording.steps()[index as usize].issue;
                let Some(word) = issue.word else { continue };
                let life = &mut lives[word as usize];
                let end = issue.cycle + issue.cycles;
                let done = match issue.work {
                    Work::Sync => end,
                    Work::LoadBurst { end, .. } | Work::StoreBurst { end, .. } => end,
                    Work::LoadWrite(_) => end + u64::from(hw.load_depth),
                    Work::Mac(_) => end + u64::from(hw.mac_depth),
                    Work::Drain(_) => end + u64::from(hw.thr_depth),
                    Work::ThrWrite(_) | Work::StoreRead(_) | Work::Fetch { .. } => end,
                };
                if matches!(
                    issue.work,
                    Work::Sync
                        | Work::LoadBurst { .. }
                        | Work::Mac(_)
                        | Work::Drain(_)
                        | Work::StoreRead(_)
                ) {
                    life.enters[3].get_or_insert(cycle);
                    // The pipe begins where the last step leaves the stage.
                    life.enters[4] = Some(end);
                }
                life.retires = life.retires.max(done);
            }
            _ => {}
        }
    }
    for unit in qnnsim_isa::Unit::ALL {
        for waiting in recording.waiting(unit) {
            let Some(word) = waiting.word else { continue };
            let life = &mut lives[word as usize];
            // Waits between steps belong to the issuing.
            if life.enters[3].is_none_or(|issues| waiting.from < issues) {
                life.enters[2].get_or_insert(waiting.from);
            }
        }
    }
    for life in &mut lives {
        if life.enters[4].is_some_and(|pipe| pipe >= life.retires) {
            life.enters[4] = None;
        }
    }
    lives
}
