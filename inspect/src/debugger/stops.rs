//! Breakpoints and watchpoints, and running to them in both directions.

use qnnsim_isa::Unit;
use qnnsim_isa::operand::semaphore_name;
use serde_json::{Value, json};

use super::{Answer, Debugger, Result, number, refuse, table, unit};
use crate::accesses::{Space, touches};
use crate::machine::Position;
use crate::recording::{Event, Stage};

/// Where a run stops.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    Cycle(u64),
    Instruction(u32),
    Layer(u32),
    Unit(Unit),
    Semaphore(usize, Option<u32>),
    /// Words that are read, written or both.
    Words {
        what: String,
        words: Vec<(Space, u32, u64)>,
        read: bool,
        write: bool,
    },
    /// A value that becomes more than a number.
    Above {
        what: String,
        value: Watched,
        limit: i64,
    },
}

/// A value that is looked at after each issue that may have changed it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Watched {
    Map { layer: u32, channel: u32, pixel: [u32; 2] },
    Accumulator { bank: u32, row: u32, column: u32 },
}

impl Stop {
    /// Whether the states of memories or semaphores matter, so that it is only found forwards.
    fn needs_state(&self) -> bool {
        matches!(self, Stop::Semaphore(..) | Stop::Above { .. })
    }
}

impl Debugger<'_> {
    fn add(&mut self, stop: Stop) -> Answer {
        self.numbered += 1;
        let text = self.describe(&stop);
        self.stops.push((self.numbered, stop));
        let value = json!({"stop": self.numbered, "at": text});
        Answer::new(format!("{}: {text}", self.numbered), value)
    }

    fn describe(&self, stop: &Stop) -> String {
        let recording = self.recording();
        match stop {
            Stop::Cycle(cycle) => format!("cycle {cycle}"),
            Stop::Instruction(word) => format!("instruction {word}: {}", recording.text(*word)),
            Stop::Layer(layer) => format!("layer {}", recording.layer_name(*layer)),
            Stop::Unit(unit) => format!("unit {}", unit.name()),
            Stop::Semaphore(s, value) => {
                let name = semaphore_name(&recording.program().semaphores, *s);
                match value {
                    Some(value) => format!("semaphore {name} becomes {value}"),
                    None => format!("semaphore {name} changes"),
                }
            }
            Stop::Words { what, read, write, .. } => {
                let how = match (read, write) {
                    (true, true) => "read or written",
                    (true, false) => "read",
                    _ => "written",
                };
                format!("{what} is {how}")
            }
            Stop::Above { what, limit, .. } => format!("{what} becomes more than {limit}"),
        }
    }

    pub(super) fn add_break(&mut self, words: &[&str]) -> Result {
        let stop = match words {
            ["cycle", cycle] => Stop::Cycle(number(cycle, "a cycle")?),
            ["instruction", word] => {
                let index: u32 = number(word, "the number of an instruction")?;
                let count = self.recording().stream().words.len();
                if index as usize >= count {
                    return refuse(format_args!("this image has instructions 0 to {}", count - 1));
                }
                Stop::Instruction(index)
            }
            ["layer", name] => Stop::Layer(self.layer(name)?),
            ["unit", name] => Stop::Unit(unit(name)?),
            ["semaphore", name] => Stop::Semaphore(self.semaphore(name)?, None),
            ["semaphore", name, value] => {
                let value = number(value, "a value of a semaphore")?;
                Stop::Semaphore(self.semaphore(name)?, Some(value))
            }
            _ => {
                return refuse(
                    "say where: cycle N, instruction N, layer NAME, unit UNIT or semaphore NAME [N]",
                );
            }
        };
        Ok(self.add(stop))
    }

    pub(super) fn add_watch(&mut self, words: &[&str]) -> Result {
        let (target, how) = match words {
            [target @ .., "above", limit] => (target, Some(*limit)),
            [target @ .., how @ ("read" | "write")] => (target, Some(*how)),
            all => (all, None),
        };
        let above = how.filter(|how| !["read", "write"].contains(how));
        let what = target.join(" ");
        let stop = match above {
            Some(limit) => {
                let Ok(limit) = limit.parse() else {
                    return refuse(format_args!("`{limit}` is not a whole number"));
                };
                let value = match target {
                    ["map", rest @ ..] => {
                        let (layer, channel, pixel) = self.map_value(rest)?;
                        Watched::Map { layer, channel, pixel }
                    }
                    ["acc", bank, row, column] => {
                        let [bank, row, column] = self.accumulator([bank, row, column])?;
                        Watched::Accumulator { bank, row, column }
                    }
                    _ => {
                        return refuse(
                            "`above` is for values: map LAYER C Y X, or acc BANK ROW COLUMN",
                        );
                    }
                };
                Stop::Above { what, value, limit }
            }
            None => Stop::Words {
                what,
                words: self.words_of(target)?,
                read: how != Some("write"),
                write: how != Some("read"),
            },
        };
        Ok(self.add(stop))
    }

    /// Bank, row and column of an accumulator.
    pub(super) fn accumulator(&self, words: [&str; 3]) -> Result<[u32; 3]> {
        let hw = self.recording().hardware();
        let mut place = [0; 3];
        let limits = [("bank", hw.acc_banks), ("row", hw.mac_rows), ("column", hw.mac_cols)];
        for ((to, word), (what, count)) in place.iter_mut().zip(words).zip(limits) {
            *to = number(word, &format!("a {what} of the accumulators"))?;
            if *to >= count {
                return refuse(format_args!("{what} {to}: there are 0 to {}", count - 1));
            }
        }
        Ok(place)
    }

    /// The words that `map LAYER C Y X`, `acc BANK [ROW COLUMN]` or `SPACE BANK ADDRESS` names.
    pub(super) fn words_of(&self, words: &[&str]) -> Result<Vec<(Space, u32, u64)>> {
        match words {
            ["map", rest @ ..] => {
                let (layer, channel, pixel) = self.map_value(rest)?;
                Ok(self.places(layer, channel, pixel))
            }
            ["acc", bank, rest @ ..] if matches!(rest.len(), 0 | 2) => {
                let [row, column] =
                    if let [row, column] = rest { [*row, *column] } else { ["0"; 2] };
                let [bank, ..] = self.accumulator([bank, row, column])?;
                Ok(vec![(Space::Acc, bank, 0)])
            }
            [space, bank, address] => {
                let space = self.space(space)?;
                let (bank, address) = (number(bank, "a bank")?, number(address, "an address")?);
                let hw = self.recording().hardware();
                let (banks, count) = match space {
                    Space::Act => (hw.mac_rows, u64::from(hw.act_words)),
                    Space::Wgt => (hw.mac_cols, u64::from(hw.wgt_words)),
                    Space::Thr => (hw.thr_cols, u64::from(hw.thr_words)),
                    Space::Acc => return refuse("say acc BANK, or acc BANK ROW COLUMN"),
                    Space::Dram => (1, u64::MAX),
                };
                if bank >= banks || address >= count {
                    return refuse(format_args!(
                        "{} has banks 0 to {} of {count} words",
                        space.name(),
                        banks - 1
                    ));
                }
                Ok(vec![(space, bank, address)])
            }
            _ => refuse("say which: map LAYER C Y X, SPACE BANK ADDRESS, or acc BANK [ROW COLUMN]"),
        }
    }

    fn space(&self, word: &str) -> Result<Space> {
        match Space::ALL.into_iter().find(|space| space.name() == word) {
            Some(space) => Ok(space),
            None => {
                refuse(format_args!("`{word}` is no memory; there are act, wgt, thr, acc and dram"))
            }
        }
    }

    pub(super) fn list_stops(&self) -> Answer {
        let rows: Vec<Vec<String>> =
            self.stops.iter().map(|(n, stop)| vec![n.to_string(), self.describe(stop)]).collect();
        let value: Value = self
            .stops
            .iter()
            .map(|(n, stop)| json!({"stop": n, "at": self.describe(stop)}))
            .collect();
        if rows.is_empty() {
            return Answer::new("There are no breakpoints and no watchpoints.", value);
        }
        Answer::new(table(&["stop", "where"], &rows), value)
    }

    pub(super) fn delete(&mut self, words: &[&str]) -> Result {
        match words {
            ["all"] => self.stops.clear(),
            [word] => {
                let wanted: u32 = number(word, "the number of a breakpoint or watchpoint")?;
                let before = self.stops.len();
                self.stops.retain(|(n, _)| *n != wanted);
                if self.stops.len() == before {
                    return refuse(format_args!("there is no stop {wanted}; `stops` lists them"));
                }
            }
            _ => return refuse("say which: a number, or all"),
        }
        Ok(self.list_stops())
    }

    fn watched(&self, value: &Watched) -> i64 {
        match *value {
            Watched::Map { layer, channel, pixel } => self.value_now(layer, channel, pixel),
            Watched::Accumulator { bank, row, column } => {
                self.machine.memories().accumulator(bank, row, column).map_or(0, i64::from)
            }
        }
    }

    /// Whether a stop that needs no state is at an event.
    fn is_at(&self, stop: &Stop, event: usize) -> bool {
        let recording = self.recording();
        let entry = recording.entries()[event];
        let begins = || match entry.event {
            Event::Configure { word, .. } => Some(word),
            Event::Issue(index) => {
                let issue = &recording.steps()[index as usize].issue;
                let issuing = issue.unit.is_some_and(|u| Stage::issuing(u) == Stage::of(issue));
                issue.word.filter(|_| issuing && self.machine.begins_instruction(event))
            }
            _ => None,
        };
        match stop {
            Stop::Instruction(word) => begins() == Some(*word),
            Stop::Layer(layer) => {
                recording.layer(begins()) == Some(*layer)
                    && self.machine.first_of_layer(*layer) == Some(event)
            }
            Stop::Unit(unit) => begins().is_some_and(|word| {
                use qnnsim_isa::Action::{Configure, Halt, Sync, Work};
                match recording.action(word) {
                    Some(Configure(u) | Sync(u, _) | Work(u, _)) => u == *unit,
                    Some(Halt) | None => false,
                }
            }),
            Stop::Words { words, read, write, .. } => match entry.event {
                Event::Issue(index) => {
                    let step = &recording.steps()[index as usize];
                    words.iter().any(|&word| {
                        *read && touches(recording, step, word, false)
                            || *write && touches(recording, step, word, true)
                    })
                }
                _ => false,
            },
            Stop::Cycle(_) | Stop::Semaphore(..) | Stop::Above { .. } => false,
        }
    }

    /// Goes on until a stop, a cycle or the end.
    pub(super) fn run(&mut self, until: Option<u64>) -> Result {
        let reached = self.forwards(until);
        Ok(self.arrived(reached))
    }

    /// The number of the stop that a run forwards has met, if it has met one.
    fn forwards(&mut self, until: Option<u64>) -> Option<u32> {
        let here = self.machine.position();
        let cycle = |stop: &(u32, Stop)| match stop.1 {
            Stop::Cycle(cycle) if cycle > here.cycle => Some((cycle, stop.0)),
            _ => None,
        };
        let cycle_stop = self.stops.iter().filter_map(cycle).min();
        let limit = [cycle_stop.map(|(cycle, _)| cycle), until.filter(|&c| c > here.cycle)];
        let limit = limit.into_iter().flatten().min();
        let to = limit.map_or(self.machine.end(), |cycle| self.machine.begin_of(cycle));
        while self.machine.position().events < to.events {
            let event = self.machine.position().events;
            let semaphores = self.machine.control().semaphores;
            let before: Vec<i64> = self.above().map(|value| self.watched(value)).collect();
            self.machine.seek(self.machine.behind(event));
            let mut values = before.iter();
            for (n, stop) in &self.stops {
                let met = match stop {
                    Stop::Semaphore(s, value) => {
                        let now = self.machine.control().semaphores[*s];
                        now != semaphores[*s] && value.is_none_or(|value| value == now)
                    }
                    Stop::Above { value, limit, .. } => {
                        let before = *values.next().expect("one for each");
                        before <= *limit && self.watched(value) > *limit
                    }
                    other => self.is_at(other, event),
                };
                if met {
                    return Some(*n);
                }
            }
        }
        self.machine.seek(to);
        cycle_stop.filter(|&(cycle, _)| Some(cycle) == limit && to.cycle == cycle).map(|(_, n)| n)
    }

    fn above(&self) -> impl Iterator<Item = &Watched> {
        self.stops.iter().filter_map(|(_, stop)| match stop {
            Stop::Above { value, .. } => Some(value),
            _ => None,
        })
    }

    /// Goes back to the last stop before here.
    pub(super) fn reverse(&mut self) -> Result {
        let here = self.machine.position();
        let start = Position { events: 0, cycle: 0 };
        let mut best: Option<(Position, u32)> = None;
        for (n, stop) in &self.stops {
            let found = match stop {
                Stop::Cycle(cycle) => Some(self.machine.begin_of(*cycle))
                    .filter(|at| at.cycle == *cycle && *at < here),
                _ if stop.needs_state() => None,
                _ => (0..here.events)
                    .rev()
                    .find(|&event| self.machine.behind(event) < here && self.is_at(stop, event))
                    .map(|event| self.machine.behind(event)),
            };
            if let Some(at) = found.filter(|at| best.is_none_or(|(other, _)| *at > other)) {
                best = Some((at, *n));
            }
        }
        if self.stops.iter().any(|(_, stop)| stop.needs_state()) {
            // They are found only on the way forwards: from the start, or from the last other stop.
            self.machine.seek(best.map_or(start, |(at, _)| at));
            while let Some(n) = self.forwards(None) {
                let at = self.machine.position();
                if at >= here {
                    break;
                }
                best = Some((at, n));
            }
        }
        self.machine.seek(best.map_or(start, |(at, _)| at));
        Ok(self.arrived(best.map(|(_, n)| n)))
    }

    /// Where a run has led to, and why it stopped.
    fn arrived(&self, stop: Option<u32>) -> Answer {
        let at = self.where_is();
        let found = stop.and_then(|n| self.stops.iter().find(|(m, _)| *m == n));
        let why = match found {
            Some((n, stop)) => format!("stop {n}: {}\n", self.describe(stop)),
            None if self.machine.is_trapped() => String::new(),
            None if self.machine.position() == self.machine.end() => {
                "the end of the image\n".into()
            }
            None if self.machine.position().events == 0 => "the start of the image\n".into(),
            None => String::new(),
        };
        let mut value = at.value;
        value["stop"] = json!(stop);
        Answer::new(why + &at.text, value)
    }
}
