//! From a value back to what made it: the write, the drains, the array's steps, the weights.

use std::fmt::Write as _;

use qnnsim_isa::layout::MapWord;
use qnnsim_isa::operand::{Memory, ThresholdKind};
use qnnsim_simulator::timing::Work;
use serde_json::{Value, json};

use super::{Answer, Debugger, Result, number, refuse, table};
use crate::accesses::{Access, Space, accesses, touches};
use crate::machine::Position;
use crate::products::terms;
use crate::recording::{Event, Part, Stage};

/// Of the value of an output what the threshold unit saw of it in one drain.
struct Drain {
    issue: u32,
    position: [u32; 2],
    counts: bool,
    bank: u32,
    row: u32,
    column: u32,
    accumulator: i32,
    row_sum: i32,
    value: i64,
    entries: Vec<(i64, i64)>,
    fills: Vec<u32>,
}

impl Debugger<'_> {
    /// An issue in one line.
    pub(super) fn issue_text(&self, index: u32) -> String {
        let recording = self.recording();
        let issue = &recording.steps()[index as usize].issue;
        let name = Stage::of(issue).name();
        let number = match issue.work {
            Work::Mac(step) => format!(", step {}", step.n),
            Work::Drain(step) | Work::ThrWrite(step) => format!(", step {}", step.n),
            Work::LoadBurst { step, .. } | Work::LoadWrite(step) => format!(", step {}", step.n),
            Work::StoreRead(step) | Work::StoreBurst { step, .. } => format!(", step {}", step.n),
            Work::Sync | Work::Fetch { .. } => String::new(),
        };
        let instruction = match issue.word {
            Some(word) => format!("{word}: {}", recording.text(word)),
            None => "a burst of code".into(),
        };
        let layer = recording
            .layer(issue.word)
            .map_or(String::new(), |layer| format!(", layer {}", recording.layer_name(layer)));
        format!(
            "#{index} {name}, cycles {} to {}: {instruction}{number}{layer}",
            issue.cycle,
            issue.cycle + issue.cycles - 1
        )
    }

    fn issue_value(&self, index: u32) -> Value {
        let recording = self.recording();
        let issue = &recording.steps()[index as usize].issue;
        json!({
            "issue": index,
            "stage": Stage::of(issue).name(),
            "from": issue.cycle,
            "to": issue.cycle + issue.cycles - 1,
            "instruction": issue.word,
            "text": issue.word.map(|word| recording.text(word)),
            "layer": recording.layer(issue.word).map(|layer| recording.layer_name(layer)),
        })
    }

    /// Right before an issue.
    pub(super) fn before_issue(&self, index: u32) -> Position {
        let recording = self.recording();
        let cycle = recording.steps()[index as usize].issue.cycle;
        let first = recording.first_event(cycle);
        let entries = &recording.entries()[first..];
        let at = entries.iter().position(|entry| entry.event == Event::Issue(index));
        match at {
            Some(0) => self.machine.begin_of(cycle),
            Some(at) => Position { events: first + at, cycle },
            // It issues behind the trap.
            None => self.machine.end(),
        }
    }

    /// Does something where an issue is about to happen, and comes back.
    fn right_before<T>(&mut self, index: u32, f: impl FnOnce(&mut Self) -> T) -> T {
        let here = self.machine.position();
        self.machine.seek(self.before_issue(index));
        let result = f(self);
        self.machine.seek(here);
        result
    }

    /// The words of a value of a map, a plane each, the most significant first.
    pub(super) fn places(
        &self,
        layer: u32,
        channel: u32,
        pixel: [u32; 2],
    ) -> Vec<(Space, u32, u64)> {
        let program = self.recording().program();
        let hw = &program.hardware;
        let Some(map) = program.layers[layer as usize].map else { return Vec::new() };
        let (word, bytes) = (channel / hw.mac_lanes, u64::from(hw.word_bytes()));
        let output = &program.output;
        let is_output = map.dram == Some(output.dram) && map.shape == output.shape;
        let place = |plane: u32| {
            if is_output {
                let words = u64::from(output.shape.channels.div_ceil(hw.mac_lanes));
                let number = u64::from(pixel[0] * map.shape.width + pixel[1]);
                let at = (number * u64::from(map.code.bits) + u64::from(plane)) * words;
                return (Space::Dram, 0, u64::from(output.dram) + (at + u64::from(word)) * bytes);
            }
            let (bank, address) = map.layout.place(MapWord { pixel, plane, word }, hw.mac_rows);
            match map.dram {
                Some(dram) => {
                    let at = address * u64::from(hw.mac_rows) + u64::from(bank);
                    (Space::Dram, 0, u64::from(dram) + at * bytes)
                }
                None => (Space::Act, bank, address),
            }
        };
        (0..map.code.bits).map(place).collect()
    }

    /// The last issue before here that wrote a word.
    fn writer(&self, word: (Space, u32, u64)) -> Option<u32> {
        let recording = self.recording();
        let happened = &recording.entries()[..self.machine.position().events];
        happened.iter().rev().find_map(|entry| match entry.event {
            Event::Issue(index)
                if touches(recording, &recording.steps()[index as usize], word, true) =>
            {
                Some(index)
            }
            _ => None,
        })
    }

    pub(super) fn who(&self, words: &[&str]) -> Result {
        let words = self.words_of(words)?;
        let Some(index) = words.iter().filter_map(|&word| self.writer(word)).max() else {
            let (space, _, _) = words[0];
            let before = matches!(space, Space::Wgt | Space::Thr)
                && self.recording().start() == qnnsim_simulator::Start::Warm;
            return Ok(Answer::new(
                match before {
                    true => "nothing in this image before here; it was loaded in the cold image",
                    false => "nothing in this image before here",
                },
                Value::Null,
            ));
        };
        let mut text = self.issue_text(index);
        if let Some(from) = self.loaded_from(index, words[0]) {
            write!(text, "\n  from {from}").expect("a String");
        }
        Ok(Answer::new(text, self.issue_value(index)))
    }

    /// Where in DRAM a word comes from that an issue of LOAD writes.
    fn loaded_from(&self, index: u32, (space, bank, address): (Space, u32, u64)) -> Option<String> {
        let recording = self.recording();
        let (hw, program) = (recording.hardware(), recording.program());
        let issue = &recording.steps()[index as usize].issue;
        let Work::LoadWrite(step) = issue.work else { return None };
        if step.memory == Memory::Pack {
            return Some(format!("row {} of the image", step.n));
        }
        let size = if space == Space::Thr { hw.threshold_bytes() } else { hw.word_bytes() };
        let mut dram = None;
        issue.registers.plain_places(&step, |i, place| {
            if place.bank == bank && u64::try_from(place.address) == Ok(address) {
                dram = Some(step.dram + i as u64 * u64::from(size));
            }
        });
        let dram = dram?;
        let segment = program.data.iter().find(|segment| {
            let first = u64::from(segment.dram);
            (first..first + segment.bytes.len() as u64).contains(&dram)
        });
        Some(match segment {
            Some(segment) => format!(
                "byte {} of `{}`, DRAM address {dram}",
                dram - u64::from(segment.dram),
                segment.name
            ),
            None => format!("DRAM address {dram}"),
        })
    }

    pub(super) fn why(&mut self, words: &[&str]) -> Result {
        let (layer, channel, pixel) = self.map_value(words)?;
        let code = self.value_now(layer, channel, pixel);
        let place = self.places(layer, channel, pixel)[0];
        let Some(mut index) = self.writer(place) else {
            return refuse("nothing in this image has written this value before here");
        };
        let recording = self.recording();
        let hw = recording.hardware();
        let mut text = format!("{code}, written by {}\n", self.issue_text(index));
        let mut chain = vec![self.issue_value(index)];
        // What lies in DRAM was stored from the activation memory.
        let mut at = place;
        if let Work::StoreRead(step) = recording.steps()[index as usize].issue.work {
            let number = (place.2 - step.dram) / u64::from(hw.word_bytes());
            at = (Space::Act, step.from.bank, step.from.address as u64 + number);
            let here = self.machine.position();
            self.machine.seek(self.before_issue(index));
            let writer = self.writer(at);
            self.machine.seek(here);
            let Some(writer) = writer else {
                return refuse("nothing in this image has written the word that was stored");
            };
            index = writer;
            writeln!(
                text,
                "  stored from {} {} {}, written by {}",
                at.0.name(),
                at.1,
                at.2,
                self.issue_text(index)
            )
            .expect("a String");
            chain.push(self.issue_value(index));
        }
        let step = &recording.steps()[index as usize];
        let (Work::ThrWrite(write), Part::Word(word)) = (&step.issue.work, step.part) else {
            text += "  it comes from DRAM\n";
            return Ok(Answer::new(text, json!({"value": code, "writes": chain})));
        };
        // The row of the array, and which of the step's words it is.
        let (mut row, mut number) = (None, 0);
        step.issue.registers.thr_places(hw, write, |r, _, place| {
            let offset = at.2 as i64 - place.address;
            let planes = i64::from(step.issue.registers.code_planes());
            let (_, _, dst) = step.issue.registers.thr();
            let within = (0..planes)
                .map(|plane| offset - plane * i64::from(dst.plane))
                .find(|word| (0..i64::from(write.words)).contains(word));
            if let Some(word) = within.filter(|_| place.bank == at.1) {
                (row, number) = (Some(r), word as u32);
            }
        });
        let Some(row) = row else { return refuse("the step writes no such word") };
        // The lane within the word buffer.
        let lane = number * hw.mac_lanes + channel % hw.mac_lanes;
        let drains: Vec<Drain> = recording
            .word_drains(word)
            .to_vec()
            .into_iter()
            .filter_map(|index| self.drain_of(index, row, lane))
            .collect();
        let rows: Vec<Vec<String>> = drains
            .iter()
            .map(|d| {
                let entries: Vec<String> =
                    d.entries.iter().take(3).map(|(a, b)| format!("A={a} B={b}")).collect();
                let more = if d.entries.len() > 3 { ", ..." } else { "" };
                let fills: Vec<String> = d.fills.iter().map(|i| format!("#{i}")).collect();
                vec![
                    format!("#{}", d.issue),
                    format!("{}, {}", d.position[0], d.position[1]),
                    format!("{} {} {}", d.bank, d.row, d.column),
                    d.accumulator.to_string(),
                    d.row_sum.to_string(),
                    format!("{}{}", d.value, if d.counts { "" } else { ", left out" }),
                    entries.join(", ") + more,
                    fills.join(" "),
                ]
            })
            .collect();
        let titles =
            ["drain", "place", "bank row column", "acc", "row sum", "v", "thresholds", "MAC steps"];
        text += &table(&titles, &rows);
        let values: Vec<Value> = drains
            .iter()
            .map(|d| {
                json!({
                    "issue": d.issue, "position": d.position, "counts": d.counts, "bank": d.bank,
                    "row": d.row, "column": d.column, "accumulator": d.accumulator,
                    "row_sum": d.row_sum, "v": d.value, "thresholds": d.entries,
                    "mac_issues": d.fills,
                })
            })
            .collect();
        Ok(Answer::new(text, json!({"value": code, "writes": chain, "drains": values})))
    }

    /// What a drain saw of a row and of the column that stands for a lane of the word buffer.
    fn drain_of(&mut self, index: u32, row: u32, lane: u32) -> Option<Drain> {
        let recording = self.recording();
        let hw = recording.hardware();
        let step = &recording.steps()[index as usize];
        let (Work::Drain(thr), Part::Drain(number, bank)) = (&step.issue.work, step.part) else {
            return None;
        };
        let column = lane.checked_sub(thr.first_lane).filter(|&column| column < thr.columns)?;
        let registers = &step.issue.registers;
        let (mode, _, _) = registers.thr();
        let mut counts = true;
        registers.thr_places(hw, thr, |r, output, _| {
            if r == row {
                counts = registers.position_counts(thr.position, output);
            }
        });
        let (accumulator, row_sum, entries) = self.right_before(index, |d| {
            let memories = d.machine.memories();
            let first = registers.threshold_place(hw, thr, column);
            let count = match mode.kind {
                ThresholdKind::Raw => 0,
                _ => i64::from(registers.threshold_entries()),
            };
            let entries = (0..count)
                .filter_map(|e| memories.threshold(first.bank, (first.address + e) as u64))
                .collect();
            let accumulator = memories.accumulator(bank, row, column).unwrap_or_default();
            (accumulator, memories.row_sum(bank, row).unwrap_or_default(), entries)
        });
        let v = i64::from(accumulator);
        let value = if mode.bipolar { 2 * v - i64::from(row_sum) } else { v };
        let fill = recording.drained(number).and_then(|drain| drain.fill);
        Some(Drain {
            issue: index,
            position: thr.position,
            counts,
            bank,
            row,
            column,
            accumulator,
            row_sum,
            value,
            entries,
            fills: fill.map_or(Vec::new(), |fill| recording.fills(fill).to_vec()),
        })
    }

    pub(super) fn issue(&self, words: &[&str]) -> Result {
        let [word] = words else { return refuse("say which: the number of an issue") };
        let index = self.issue_number(word)?;
        let recording = self.recording();
        let step = &recording.steps()[index as usize];
        let mut text = self.issue_text(index) + "\n";
        let mut value = self.issue_value(index);
        let fills = |fill: u32| -> Vec<String> {
            recording.fills(fill).iter().map(|i| format!("#{i}")).collect()
        };
        match step.part {
            Part::Fill(fill, bank) => {
                let others = fills(fill).join(" ");
                writeln!(text, "  fills accumulator bank {bank}: {others}").expect("a String");
                value["fills"] = json!({"bank": bank, "issues": recording.fills(fill)});
            }
            Part::Drain(number, bank) => {
                let fill = recording.drained(number).and_then(|drain| drain.fill);
                let by =
                    fill.map_or(String::new(), |f| format!(", filled by {}", fills(f).join(" ")));
                writeln!(text, "  drains accumulator bank {bank}{by}").expect("a String");
                value["drains"] = json!({
                    "bank": bank, "filled_by": fill.map(|fill| recording.fills(fill)),
                });
            }
            Part::Word(word) => {
                let drains: Vec<String> =
                    recording.word_drains(word).iter().map(|i| format!("#{i}")).collect();
                writeln!(text, "  writes what was drained by {}", drains.join(" "))
                    .expect("a String");
                value["drained_by"] = json!(recording.word_drains(word));
            }
            Part::Load(number) => {
                writeln!(text, "  step {number} of LOAD in this image").expect("a String")
            }
            Part::Store(number) => {
                writeln!(text, "  step {number} of STORE in this image").expect("a String")
            }
            Part::None => {}
        }
        let mut all: Vec<Access> = Vec::new();
        accesses(recording, step, |access| all.push(access));
        let mut counts = Vec::new();
        for write in [false, true] {
            for space in Space::ALL {
                let mut of: Vec<(u32, u64)> = all
                    .iter()
                    .filter(|a| a.space == space && a.write == write)
                    .map(|a| (a.bank, a.address))
                    .collect();
                let accesses = of.len();
                if accesses == 0 {
                    continue;
                }
                of.sort_unstable();
                of.dedup();
                let how = if write { "writes" } else { "reads" };
                let addresses = || of.iter().map(|(_, address)| address);
                let range = match space {
                    Space::Acc => format!("bank {}", of[0].0),
                    _ => format!(
                        "banks {} to {}, addresses {} to {}",
                        of[0].0,
                        of[of.len() - 1].0,
                        addresses().min().expect("some"),
                        addresses().max().expect("some")
                    ),
                };
                writeln!(text, "  {how} {} {}: {range}", of.len(), space.name()).expect("a String");
                counts.push(json!({
                    "space": space, "write": write, "words": of.len(), "accesses": accesses,
                }));
            }
        }
        value["accesses"] = counts.into();
        Ok(Answer::new(text, value))
    }

    pub(super) fn terms(&mut self, words: &[&str]) -> Result {
        let [issue, row, column] = words else { return refuse("say which: ISSUE ROW COLUMN") };
        let index = self.issue_number(issue)?;
        let recording = self.recording();
        let hw = recording.hardware();
        let step = &recording.steps()[index as usize];
        let Work::Mac(mac) = step.issue.work else {
            return refuse(format_args!("{} is no step of the array", self.issue_text(index)));
        };
        let at = [number(row, "a row")?, number(column, "a column")?];
        let registers = &step.issue.registers;
        let found =
            self.right_before(index, |d| terms(d.machine.memories(), hw, registers, &mac, at));
        let Some(terms) = found else {
            return refuse(format_args!(
                "row {} is masked in this step, or column {} is not in use",
                at[0], at[1]
            ));
        };
        let list = |values: &[i64]| {
            let shown: Vec<String> = values.iter().take(16).map(i64::to_string).collect();
            shown.join(" ") + if values.len() > 16 { " ..." } else { "" }
        };
        let rows: Vec<Vec<String>> = terms
            .iter()
            .map(|t| {
                vec![
                    format!("{}, {}", t.tap[0], t.tap[1]),
                    t.activations.map_or("outside".into(), |p| format!("{} {}", p.bank, p.address)),
                    list(&t.codes),
                    format!("{} {}", t.weights.bank, t.weights.address),
                    list(&t.factors),
                    t.sum.to_string(),
                ]
            })
            .collect();
        let sum: i64 = terms.iter().map(|t| t.sum).sum();
        let mut text = table(&["tap", "act", "codes", "wgt", "weights", "sum"], &rows);
        writeln!(text, "sum {sum}").expect("a String");
        Ok(Answer::new(text, json!({"terms": terms, "sum": sum})))
    }
}
