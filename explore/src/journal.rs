//! The journal of a sweep: what was simulated, line by line, so that an interrupted sweep loses
//! nothing.
//!
//! A line is the CRC-32 of the rest, a blank, and JSON. The first says which sweep it is; each
//! other is a group and its outcome. A write that was cut short leaves a line that is not whole: it
//! and what follows is dropped.

use std::collections::HashMap;

use qnnsim_simulator::energy::Events;
use qnnsim_simulator::report::{ColdWarm, Cost};
use serde::{Deserialize, Serialize};

use crate::evaluate::Outcome;

#[derive(Serialize, Deserialize)]
enum Line {
    Sweep(String),
    /// Group; cycles of the cold and the warm image; events in the order of their names.
    Exact(usize, [u64; 2], [Vec<u64>; 2]),
    Trap(usize, String),
    Unfit(usize, String),
}

impl Line {
    fn text(&self) -> String {
        let json = serde_json::to_string(self).expect("plain data serializes");
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    }

    fn read(line: &str) -> Option<Self> {
        let (checksum, json) = line.split_once(' ')?;
        (checksum == format!("{:08x}", crc32fast::hash(json.as_bytes())))
            .then(|| serde_json::from_str(json).ok())?
    }
}

/// The first line of the journal of the sweep that is called `id`.
pub fn head(id: &str) -> String {
    Line::Sweep(id.into()).text()
}

/// The line of a group.
pub fn line(group: usize, outcome: &Outcome) -> String {
    let line = match outcome {
        Outcome::Exact(Cost { cycles, events }) => Line::Exact(
            group,
            [cycles.cold, cycles.warm],
            [events.cold.counts(), events.warm.counts()],
        ),
        Outcome::Trap(why) => Line::Trap(group, why.clone()),
        Outcome::Unfit(why) => Line::Unfit(group, why.clone()),
    };
    line.text()
}

/// What a journal holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Which sweep it is of; none if not even its first line is whole.
    pub id: Option<String>,
    /// By group.
    pub outcomes: HashMap<usize, Outcome>,
    /// Bytes up to the end of the last whole line.
    pub bytes: usize,
}

impl Journal {
    /// Reads as far as lines are whole.
    pub fn read(bytes: &[u8]) -> Self {
        let mut journal = Journal::default();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
            let Some(read) = text.and_then(Line::read) else { break };
            match (read, &journal.id) {
                (Line::Sweep(id), None) => journal.id = Some(id),
                (Line::Exact(group, [cold, warm], [cold_events, warm_events]), Some(_)) => {
                    let events =
                        (Events::from_counts(&cold_events), Events::from_counts(&warm_events));
                    let (Some(cold_events), Some(warm_events)) = events else { break };
                    let cycles = ColdWarm { cold, warm };
                    let events = ColdWarm { cold: cold_events, warm: warm_events };
                    journal.outcomes.insert(group, Outcome::Exact(Cost { cycles, events }));
                }
                (Line::Trap(group, why), Some(_)) => {
                    drop(journal.outcomes.insert(group, Outcome::Trap(why)))
                }
                (Line::Unfit(group, why), Some(_)) => {
                    drop(journal.outcomes.insert(group, Outcome::Unfit(why)))
                }
                _ => break,
            }
            journal.bytes += line.len();
        }
        journal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> Vec<Outcome> {
        let counts = |first: u64| {
            Events::from_counts(&(first..).take(Events::NAMES.len()).collect::<Vec<_>>()).unwrap()
        };
        let events = ColdWarm { cold: counts(1), warm: counts(u64::MAX - 100) };
        let cost = Cost { cycles: ColdWarm { cold: 5, warm: 3 }, events };
        vec![
            Outcome::Exact(cost),
            Outcome::Trap("a \"trap\"\nof two lines".into()),
            Outcome::Unfit("ä".into()),
        ]
    }

    #[test]
    fn a_journal_cut_anywhere_gives_its_whole_lines() {
        let lines: Vec<String> =
            std::iter::once(head("x")).chain((0..3).map(|i| line(i, &outcomes()[i]))).collect();
        let whole = lines.concat();
        let ends: Vec<usize> = lines
            .iter()
            .scan(0, |end, line| {
                *end += line.len();
                Some(*end)
            })
            .collect();
        for cut in 0..=whole.len() {
            let journal = Journal::read(&whole.as_bytes()[..cut]);
            let lines = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(journal.bytes, ends[..lines].last().copied().unwrap_or(0));
            assert_eq!(journal.outcomes.len(), lines.saturating_sub(1));
            for (group, outcome) in journal.outcomes {
                assert_eq!(outcome, outcomes()[group]);
            }
        }
    }

    #[test]
    fn a_damaged_line_ends_the_journal() {
        let mut bytes =
            [head("x"), line(0, &outcomes()[0]), line(1, &outcomes()[1])].concat().into_bytes();
        let first = head("x").len();
        bytes[first + 30] ^= 1;
        let journal = Journal::read(&bytes);
        assert_eq!(
            (journal.id.as_deref(), journal.bytes, journal.outcomes.len()),
            (Some("x"), first, 0)
        );
        assert_eq!(Journal::read(line(0, &outcomes()[0]).as_bytes()), Journal::default());
    }
}
