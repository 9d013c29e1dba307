//! The journal of a sweep: what was simulated, line by line, so that an interrupted sweep loses
//! nothing.
//!
//! A line is the CRC-32 of the rest, a blank, and JSON. The first says which sweep it is; each
//! other is a group and its outcome. A write that was cut short leaves a line without an end, which
//! is cut off. A line that was damaged later is passed over, and counted: the others stand for
//! themselves.

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
    /// Bytes up to the end of the last line that has one.
    pub bytes: usize,
    /// Lines that are damaged; what they said is to be simulated again.
    pub damaged: usize,
}

impl Journal {
    /// Reads every line that is whole.
    pub fn read(bytes: &[u8]) -> Self {
        let mut journal = Journal::default();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let read = std::str::from_utf8(text).ok().and_then(Line::read);
            if !read.is_some_and(|read| journal.take(read)) {
                journal.damaged += 1;
            }
            journal.bytes += line.len();
        }
        journal
    }

    /// Takes what a line says; false if it says nothing that can stand there.
    fn take(&mut self, line: Line) -> bool {
        let (group, outcome) = match line {
            Line::Sweep(id) if self.id.is_none() && self.bytes == 0 => {
                self.id = Some(id);
                return true;
            }
            Line::Sweep(_) => return false,
            Line::Exact(group, [cold, warm], [cold_events, warm_events]) => {
                let events = (Events::from_counts(&cold_events), Events::from_counts(&warm_events));
                let (Some(cold_events), Some(warm_events)) = events else { return false };
                let cycles = ColdWarm { cold, warm };
                let events = ColdWarm { cold: cold_events, warm: warm_events };
                (group, Outcome::Exact(Cost { cycles, events }))
            }
            Line::Trap(group, why) => (group, Outcome::Trap(why)),
            Line::Unfit(group, why) => (group, Outcome::Unfit(why)),
        };
        // Without its first line nobody knows whose outcomes these are.
        if self.id.is_some() {
            self.outcomes.insert(group, outcome);
        }
        self.id.is_some()
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
    fn a_damaged_line_costs_itself_alone() {
        let lines: Vec<String> =
            std::iter::once(head("x")).chain((0..3).map(|i| line(i, &outcomes()[i]))).collect();
        let whole = lines.concat().into_bytes();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let journal = Journal::read(&bytes);
            if bit / 8 < lines[0].len() {
                // Whose outcomes follow is not known any more.
                assert_eq!((journal.id, journal.outcomes.len()), (None, 0), "bit {bit}");
                continue;
            }
            // The end of a line is a byte of it: without it two lines are one, or the last is cut.
            assert!(journal.outcomes.len() + 2 >= 3, "bit {bit}");
            assert!(journal.damaged >= 1 || journal.bytes < whole.len(), "bit {bit}");
            for (group, outcome) in journal.outcomes {
                assert_eq!(outcome, outcomes()[group], "bit {bit}");
            }
        }
        let mut bytes = whole;
        bytes[lines[0].len() + 30] ^= 1;
        let journal = Journal::read(&bytes);
        assert_eq!((journal.outcomes.len(), journal.damaged), (2, 1));
        assert_eq!(Journal::read(line(0, &outcomes()[0]).as_bytes()).id, None);
    }
}
