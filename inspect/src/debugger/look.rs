//! What a session shows of the machine as it is now.

use std::fmt::Write as _;

use qnnsim_isa::Unit;
use qnnsim_isa::operand::semaphore_name;
use qnnsim_simulator::profile::stall_name;
use qnnsim_simulator::quantity::grouped;
use qnnsim_simulator::timing::FrontEnd;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Debugger, Result, number, refuse, table, unit};
use crate::recording::{Event, Stage};

/// What a unit is at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitView {
    /// `ld`, `mac`, `thr`, `st`.
    pub unit: &'static str,
    /// The instruction whose step issues next or holds the stage.
    pub instruction: Option<u32>,
    /// As the assembler writes it.
    pub text: String,
    /// Its source layer.
    pub layer: Option<String>,
    /// Steps of it that have not issued.
    pub left: u32,
    /// `busy`, `waits` or `idle`.
    pub state: &'static str,
    /// Busy: the last cycle in which the stage is held.
    pub until: Option<u64>,
    /// Waiting: the first cause, and since when.
    pub reason: Option<String>,
    /// See `reason`.
    pub since: Option<u64>,
}

impl Debugger<'_> {
    /// What each unit is at.
    pub fn units(&self) -> Vec<UnitView> {
        let (recording, control) = (self.recording(), self.machine.control());
        let cycle = self.machine.position().cycle;
        let view = |unit: Unit| {
            let held = self.machine.holds(Stage::issuing(unit));
            let held_by = held.and_then(|i| recording.steps()[i as usize].issue.word);
            let waits = recording.waits_at(unit, cycle).filter(|_| held.is_none());
            let instruction = held_by.or_else(|| control.head(unit));
            let until = held.map(|i| {
                let issue = &recording.steps()[i as usize].issue;
                issue.cycle + issue.cycles - 1
            });
            // In the last cycle nobody waits any more for what comes, but for what never will.
            let missing =
                instruction.filter(|_| held.is_none() && waits.is_none()).and_then(|word| {
                    let wait = recording.steps_of(word)?.wait;
                    crate::control::bits(wait).find(|&s| control.semaphores[s] == 0)
                });
            let semaphores = &recording.program().semaphores;
            let left = match control.units[unit as usize].current {
                Some((word, left)) if Some(word) == instruction => left,
                _ if held.is_some() => 0,
                _ => instruction.and_then(|w| recording.steps_of(w)).map_or(0, |s| s.repeat),
            };
            UnitView {
                unit: unit.name(),
                instruction,
                text: instruction.map_or(String::new(), |word| recording.text(word)),
                layer: recording.layer(instruction).map(|l| recording.layer_name(l).to_owned()),
                left,
                state: match (held, waits, missing) {
                    (Some(_), ..) => "busy",
                    (None, None, None) => "idle",
                    _ => "waits",
                },
                until,
                reason: waits
                    .map(|w| stall_name(semaphores, w.reason))
                    .or_else(|| missing.map(|s| semaphore_name(semaphores, s))),
                since: waits.map(|w| w.from),
            }
        };
        Unit::ALL.into_iter().map(view).collect()
    }

    /// What the front end does now.
    fn front_end(&self) -> String {
        let control = self.machine.control();
        match self.recording().front_end_at(self.machine.position().cycle) {
            _ if control.halted => "waits at halt for the units".into(),
            FrontEnd::Decode => format!("decodes instruction {}", control.decoded),
            FrontEnd::Queue(unit) => format!(
                "waits at instruction {} for room in the queue of {}",
                control.decoded,
                unit.name()
            ),
            FrontEnd::Halt => "waits at halt for the units".into(),
            FrontEnd::Idle => "waits for code".into(),
        }
    }

    pub(super) fn where_is(&self) -> Answer {
        let recording = self.recording();
        let position = self.machine.position();
        let units = self.units();
        let mut text = format!(
            "cycle {} of {}, {} image, behind {} of {} events\n",
            grouped(position.cycle),
            grouped(recording.cycles()),
            recording.start().name(),
            grouped(position.events as u64),
            grouped(recording.entries().len() as u64),
        );
        // What happened last, if it was in this cycle.
        let last = position.events.checked_sub(1).map(|event| recording.entries()[event]);
        let last = last.filter(|entry| entry.cycle == position.cycle);
        let event = last.map(|entry| self.event_text(entry.event));
        if let Some(event) = &event {
            writeln!(text, "  {event}").expect("a String");
        }
        let rows: Vec<Vec<String>> = units
            .iter()
            .map(|u| {
                let state = match u.state {
                    "busy" => format!("busy until {}", u.until.unwrap_or_default()),
                    "waits" => {
                        let since = u.since.map_or(String::new(), |s| format!(" since {s}"));
                        format!("waits for {}{since}", u.reason.as_deref().unwrap_or_default())
                    }
                    _ => "idle".into(),
                };
                let left =
                    if u.left > 0 { format!(", {} to issue", u.left) } else { String::new() };
                vec![
                    u.unit.into(),
                    u.instruction.map_or(String::new(), |word| word.to_string()),
                    u.text.clone(),
                    u.layer.clone().unwrap_or_default(),
                    state + &left,
                ]
            })
            .collect();
        text += &table(&["unit", "at", "instruction", "layer", "state"], &rows);
        writeln!(text, "front end {}", self.front_end()).expect("a String");
        let trap = recording.trap().filter(|_| self.machine.is_trapped());
        let trap = trap.map(|trap| trap.describe(recording.program()));
        if let Some(trap) = &trap {
            writeln!(text, "{trap}").expect("a String");
        }
        let value = json!({
            "image": recording.start().name(),
            "cycle": position.cycle,
            "cycles": recording.cycles(),
            "events": position.events,
            "event": event,
            "units": units,
            "front_end": self.front_end(),
            "trap": trap,
        });
        Answer::new(text, value)
    }

    fn event_text(&self, event: Event) -> String {
        let recording = self.recording();
        let names = |mask: u16| -> Vec<String> {
            let semaphores = &recording.program().semaphores;
            crate::control::bits(mask).map(|s| semaphore_name(semaphores, s)).collect()
        };
        match event {
            Event::Post { by, mask } => format!("#{by} has posted {}", names(mask).join(", ")),
            Event::Arrive(words) => format!("{words} words of code have arrived"),
            Event::Release(..) => "a buffer is free again".into(),
            Event::BurstEnd => "a burst has ended".into(),
            Event::Configure { unit, word } => {
                format!("{} applies {word}: {}", unit.name(), recording.text(word))
            }
            Event::Issue(index) => self.issue_text(index),
            Event::Decode(word) => format!("{word} is decoded: {}", recording.text(word)),
        }
    }

    pub(super) fn code(&self, words: &[&str]) -> Result {
        let (recording, control) = (self.recording(), self.machine.control());
        let units = self.units();
        let all = recording.stream().words.len() as u32;
        let heads: Vec<u32> = units.iter().filter_map(|u| u.instruction).collect();
        let around = heads.iter().copied().min().unwrap_or(control.decoded.min(all - 1));
        let (from, count) = match words {
            [] => (around.saturating_sub(2), 24),
            [from] => (number(from, "an instruction")?, 24),
            [from, count] => (number(from, "an instruction")?, number(count, "a number")?),
            _ => return refuse("say from which instruction on, and how many"),
        };
        if from >= all {
            return refuse(format_args!("this image has instructions 0 to {}", all - 1));
        }
        let mut rows = Vec::new();
        let mut values = Vec::new();
        for word in from..all.min(from.saturating_add(count)) {
            let at = units.iter().find(|u| u.instruction == Some(word));
            let queued =
                Unit::ALL.into_iter().find(|u| control.units[*u as usize].queue.contains(&word));
            let mark = match (at, queued) {
                (Some(unit), _) => format!("{} >", unit.unit),
                (None, Some(unit)) => format!("{} |", unit.name()),
                (None, None) if word == control.decoded && !control.halted => "next".into(),
                (None, None) => String::new(),
            };
            let layer = recording.layer(Some(word)).map(|l| recording.layer_name(l));
            values.push(json!({
                "instruction": word, "text": recording.text(word), "layer": layer, "at": mark,
            }));
            rows.push(vec![
                word.to_string(),
                mark,
                recording.text(word),
                layer.unwrap_or_default().to_owned(),
            ]);
        }
        Ok(Answer::new(table(&["", "at", "instruction", "layer"], &rows), values.into()))
    }

    pub(super) fn layers(&self) -> Answer {
        let recording = self.recording();
        let mut rows = Vec::new();
        let mut values = Vec::new();
        for (i, layer) in recording.program().layers.iter().enumerate() {
            let complete = self.machine.map_completes(i as u32);
            let cycle = complete.map(|event| recording.entries()[event].cycle);
            let map = layer.map.map(|map| {
                let shape = map.shape;
                let sign = if map.code.signed { "signed" } else { "unsigned" };
                format!(
                    "{}x{}x{}, {} bits {sign}",
                    shape.channels, shape.height, shape.width, map.code.bits
                )
            });
            let done = complete.map(|event| event < self.machine.position().events);
            rows.push(vec![
                i.to_string(),
                layer.name.clone(),
                map.clone().unwrap_or_default(),
                cycle.map_or(String::new(), |cycle| {
                    let done = if done == Some(true) { "complete since" } else { "complete in" };
                    format!("{done} {}", grouped(cycle))
                }),
                layer.summary.clone(),
            ]);
            values.push(json!({
                "layer": layer.name, "summary": layer.summary, "map": map,
                "complete_in": cycle, "complete": done,
            }));
        }
        Answer::new(table(&["", "layer", "map", "", "summary"], &rows), values.into())
    }

    pub(super) fn queues(&self) -> Answer {
        let (recording, control) = (self.recording(), self.machine.control());
        let hw = recording.hardware();
        let mut text = format!("code queue: {} of {} words\n", control.code_queue, hw.fetch_words);
        let mut units = serde_json::Map::new();
        for unit in Unit::ALL {
            let queue = &control.units[unit as usize].queue;
            writeln!(text, "{}: {} of {} words", unit.name(), queue.len(), hw.queue_depth)
                .expect("a String");
            for &word in queue {
                writeln!(text, "  {word}: {}", recording.text(word)).expect("a String");
            }
            units.insert(unit.name().into(), queue.iter().copied().collect());
        }
        let sizes = [
            ("load.buffers", hw.load_buffers),
            ("thr.buffers", hw.thr_buffers),
            ("store.buffers", hw.store_buffers),
        ];
        let mut buffers = serde_json::Map::new();
        for ((name, size), used) in sizes.into_iter().zip(control.buffers) {
            writeln!(text, "{name}: {used} of {size} in use").expect("a String");
            buffers.insert(name.into(), used.into());
        }
        let (used, size) = (control.outstanding, hw.dram_outstanding);
        writeln!(text, "dram.outstanding: {used} of {size} bursts").expect("a String");
        buffers.insert("dram.outstanding".into(), used.into());
        Answer::new(
            text,
            json!({"code_queue": control.code_queue, "queues": units, "buffers": buffers}),
        )
    }

    pub(super) fn semaphores(&self) -> Answer {
        let recording = self.recording();
        let values = self.machine.control().semaphores;
        let used = |s: usize| {
            (0..recording.stream().words.len() as u32)
                .filter_map(|word| recording.steps_of(word))
                .any(|steps| (steps.wait | steps.post) >> s & 1 == 1)
        };
        let mut rows = Vec::new();
        let mut all = serde_json::Map::new();
        for (s, value) in values.into_iter().enumerate().filter(|&(s, v)| v > 0 || used(s)) {
            let name = semaphore_name(&recording.program().semaphores, s);
            rows.push(vec![s.to_string(), name.clone(), value.to_string()]);
            all.insert(name, value.into());
        }
        Answer::new(table(&["", "semaphore", "value"], &rows), all.into())
    }

    pub(super) fn registers(&self, words: &[&str]) -> Result {
        let [name] = words else { return refuse("say of which unit: ld, mac, thr or st") };
        let unit = unit(name)?;
        let (recording, control) = (self.recording(), self.machine.control());
        let mut text = String::new();
        let mut values = Vec::new();
        for (_, word) in &control.units[unit as usize].registers {
            writeln!(text, "{word}: {}", recording.text(*word)).expect("a String");
            values.push(json!({"instruction": word, "text": recording.text(*word)}));
        }
        if text.is_empty() {
            text = format!("no register of {} has been written yet\n", unit.name());
        }
        Ok(Answer::new(text, values.into()))
    }

    pub(super) fn stages(&self) -> Answer {
        let recording = self.recording();
        let mut rows = Vec::new();
        let mut values = Vec::new();
        for stage in Stage::ALL {
            let held = self.machine.holds(stage);
            let until = held.map(|index| {
                let issue = &recording.steps()[index as usize].issue;
                issue.cycle + issue.cycles - 1
            });
            rows.push(vec![
                stage.name().into(),
                until.map_or("free".into(), |until| format!("until {until}")),
                held.map_or(String::new(), |index| self.issue_text(index)),
            ]);
            values.push(json!({"stage": stage.name(), "issue": held, "until": until}));
        }
        Answer::new(table(&["stage", "held", "by"], &rows), values.into())
    }

    pub(super) fn word(&self, words: &[&str]) -> Result {
        let (place, count) = match words {
            [space, bank, address] => ([*space, *bank, *address], 1),
            [space, bank, address, count] => {
                ([*space, *bank, *address], number(count, "a number of words")?)
            }
            _ => return refuse("say which: SPACE BANK ADDRESS [COUNT]"),
        };
        use crate::accesses::Space;
        let (space, bank, first) = self.words_of(&place)?[0];
        let memories = self.machine.memories();
        let mut text = String::new();
        let mut values = Vec::new();
        let hex = |bytes: &[u8]| {
            bytes.iter().rev().fold(String::from("0x"), |text, byte| format!("{text}{byte:02x}"))
        };
        for address in first..first.saturating_add(u64::min(count, 4096)) {
            let value: Option<Value> = match space {
                Space::Act => memories.activation(bank, address).map(|w| json!(hex(&w))),
                Space::Wgt => memories.weight(bank, address).map(|w| json!(hex(&w))),
                Space::Thr => {
                    memories.threshold(bank, address).map(|(a, b)| json!({"A": a, "B": b}))
                }
                Space::Dram => memories.dram_byte(address).map(|byte| json!(byte)),
                Space::Acc => None,
            };
            let Some(value) = value else {
                if address == first {
                    return refuse(
                        "DRAM's bytes are shown where they change: in the output and in scratch",
                    );
                }
                break;
            };
            let shown = match &value {
                Value::Object(entry) => format!("A={} B={}", entry["A"], entry["B"]),
                Value::String(word) => word.clone(),
                other => other.to_string(),
            };
            writeln!(text, "{} {bank} {address}: {shown}", space.name()).expect("a String");
            values.push(json!({"bank": bank, "address": address, "value": value}));
        }
        Ok(Answer::new(text, values.into()))
    }

    /// Layer, channel and pixel of `LAYER C Y X`, of a map that there is.
    pub(super) fn map_value(&self, words: &[&str]) -> Result<(u32, u32, [u32; 2])> {
        let [layer, c, y, x] = words else {
            return refuse("say which value: LAYER C Y X");
        };
        let layer = self.layer(layer)?;
        let shape = self.map_place(layer)?.shape;
        let limits = [("channel", shape.channels), ("y", shape.height), ("x", shape.width)];
        let mut at = [0; 3];
        for ((to, word), (what, count)) in at.iter_mut().zip([c, y, x]).zip(limits) {
            *to = number(word, &format!("a {what} of the map"))?;
            if *to >= count {
                return refuse(format_args!("{what} {to}: the map has 0 to {}", count - 1));
            }
        }
        Ok((layer, at[0], [at[1], at[2]]))
    }

    pub(super) fn map_place(&self, layer: u32) -> Result<qnnsim_isa::program::MapPlace> {
        match self.recording().program().layers[layer as usize].map {
            Some(map) => Ok(map),
            None => refuse(format_args!(
                "the program says no map of layer {}; of the last layer see `output`",
                self.recording().layer_name(layer)
            )),
        }
    }

    /// A value of a map as the memories hold it now.
    pub(super) fn value_now(&self, layer: u32, channel: u32, pixel: [u32; 2]) -> i64 {
        let shape = self.recording().program().layers[layer as usize].map.map(|map| map.shape);
        let (Some(shape), Some(values)) = (shape, self.machine.memories().layer_map(layer)) else {
            return 0;
        };
        values[((channel * shape.height + pixel[0]) * shape.width + pixel[1]) as usize]
    }

    fn real(&self, layer: u32, channel: usize, code: i64) -> Option<f64> {
        self.reals.as_ref().and_then(|reals| reals(layer, channel, code))
    }

    pub(super) fn value(&self, words: &[&str]) -> Result {
        let (layer, channel, pixel) = self.map_value(words)?;
        let code = self.value_now(layer, channel, pixel);
        let real = self.real(layer, channel as usize, code);
        let mut text = format!("{code}");
        if let Some(real) = real {
            write!(text, ", stands for {real}").expect("a String");
        }
        let places = self.places(layer, channel, pixel);
        let lane = channel % self.recording().hardware().mac_lanes;
        for (plane, (space, bank, address)) in places.iter().enumerate() {
            let name = space.name();
            write!(text, "\nplane {plane}: {name} {bank} {address}, lane {lane}")
                .expect("a String");
        }
        let words: Vec<Value> = places
            .iter()
            .map(|(space, bank, address)| json!({"space": space, "bank": bank, "address": address}))
            .collect();
        Ok(Answer::new(text, json!({"value": code, "real": real, "lane": lane, "words": words})))
    }

    pub(super) fn map(&self, words: &[&str]) -> Result {
        let (words, form) = match words {
            [rest @ .., form @ ("int" | "real" | "picture")] => (rest, *form),
            all => (all, "int"),
        };
        let (layer, channel) = match words {
            [layer] => (self.layer(layer)?, None),
            [layer, channel] => (self.layer(layer)?, Some(number::<u32>(channel, "a channel")?)),
            _ => return refuse("say which: LAYER [CHANNEL] [int|real|picture]"),
        };
        let place = self.map_place(layer)?;
        let shape = place.shape;
        if let Some(channel) = channel.filter(|&channel| channel >= shape.channels) {
            return refuse(format_args!(
                "channel {channel}: the map has 0 to {}",
                shape.channels - 1
            ));
        }
        if form == "real" && self.real(layer, 0, 0).is_none() {
            return refuse("what codes stand for is in the model: start with --model MODEL.onnx");
        }
        let values = self.machine.memories().layer_map(layer).unwrap_or_default();
        let (height, width) = (shape.height as usize, shape.width as usize);
        let channels = match channel {
            Some(channel) => channel as usize..channel as usize + 1,
            None => 0..shape.channels as usize,
        };
        let (least, most) = (place.code.min(), place.code.max());
        let mut text = String::new();
        let mut json_channels = Vec::new();
        for c in channels {
            writeln!(text, "channel {c}").expect("a String");
            let mut json_rows = Vec::new();
            for y in 0..height {
                let row = &values[(c * height + y) * width..][..width];
                let cells: Vec<String> = row
                    .iter()
                    .map(|&code| match form {
                        "int" => code.to_string(),
                        "real" => {
                            let real = self.real(layer, c, code).unwrap_or_default();
                            format!("{real:.4}")
                        }
                        _ => shade(code, least, most).to_string().repeat(2),
                    })
                    .collect();
                json_rows.push(match form {
                    "real" => row.iter().map(|&v| json!(self.real(layer, c, v))).collect(),
                    _ => json!(row),
                });
                let wide = if form == "picture" {
                    cells.concat()
                } else {
                    let codes = [least, most].map(|code| code.to_string().len());
                    let width = if form == "int" { codes[0].max(codes[1]) } else { 9 };
                    let cells: Vec<String> =
                        cells.into_iter().map(|cell| format!("{cell:>width$}")).collect();
                    cells.join(" ")
                };
                writeln!(text, "{}", format!("  {wide}").trim_end()).expect("a String");
            }
            json_channels.push(json!({"channel": c, "rows": json_rows}));
        }
        let name = self.recording().layer_name(layer);
        Ok(Answer::new(text, json!({"layer": name, "channels": json_channels})))
    }

    pub(super) fn acc(&self, words: &[&str]) -> Result {
        let hw = self.recording().hardware();
        let memories = self.machine.memories();
        match words {
            [bank] => {
                let [bank, ..] = self.accumulator([bank, "0", "0"])?;
                let mut titles = vec!["row".to_owned(), "row sum".to_owned()];
                titles.extend((0..hw.mac_cols).map(|c| c.to_string()));
                let mut rows = Vec::new();
                let mut values = Vec::new();
                for row in 0..hw.mac_rows {
                    let sum = memories.row_sum(bank, row).unwrap_or_default();
                    let columns: Vec<i32> = (0..hw.mac_cols)
                        .filter_map(|column| memories.accumulator(bank, row, column))
                        .collect();
                    let mut cells = vec![row.to_string(), sum.to_string()];
                    cells.extend(columns.iter().map(i32::to_string));
                    rows.push(cells);
                    values.push(json!({"row": row, "row_sum": sum, "columns": columns}));
                }
                let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
                Ok(Answer::new(table(&titles, &rows), values.into()))
            }
            [bank, row, column] => {
                let [bank, row, column] = self.accumulator([bank, row, column])?;
                let value = memories.accumulator(bank, row, column).unwrap_or_default();
                let sum = memories.row_sum(bank, row).unwrap_or_default();
                let text = format!("{value}, row sum {sum}");
                Ok(Answer::new(text, json!({"value": value, "row_sum": sum})))
            }
            _ => refuse("say which: BANK [ROW COLUMN]"),
        }
    }

    pub(super) fn output(&self) -> Answer {
        let output = self.machine.memories().output_now();
        let channels = (self.recording().program().output.shape.channels as usize).max(1);
        let lines: Vec<String> = output
            .chunks(channels)
            .map(|pixel| pixel.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        Answer::new(lines.join("\n"), json!(output))
    }

    /// Cycles drawn by `timeline` if nothing is said, and at most.
    const TIMELINE: [u64; 2] = [72, 400];

    pub(super) fn timeline(&self, words: &[&str]) -> Result {
        let count = match words {
            [] => Self::TIMELINE[0],
            [count] => number::<u64>(count, "a number of cycles")?.clamp(8, Self::TIMELINE[1]),
            _ => return refuse("say how many cycles"),
        };
        let (text, value) = self.draw_timeline(count);
        Ok(Answer::new(text, value))
    }

    /// What holds each stage around now: a line a stage, a character a cycle.
    pub fn draw_timeline(&self, count: u64) -> (String, Value) {
        let recording = self.recording();
        let now = self.machine.position().cycle;
        let from = now.saturating_sub(count / 2);
        let to = (from + count).min(recording.cycles() + 1);
        let mut text = format!("{:>9} ", "cycle");
        let column = |cycle: u64| (cycle - from) as usize;
        let mut ruler = vec![b' '; (to - from) as usize];
        for cycle in (from..to).filter(|cycle| cycle % 10 == 0) {
            let digits = cycle.to_string();
            let at = column(cycle);
            if at + digits.len() <= ruler.len() {
                ruler[at..at + digits.len()].copy_from_slice(digits.as_bytes());
            }
        }
        writeln!(text, "{}", String::from_utf8_lossy(&ruler).trim_end()).expect("a String");
        let mut lines = vec![vec!['.'; (to - from) as usize]; Stage::ALL.len()];
        let mut spans = Vec::new();
        // A stage may be held since long before the first of these cycles.
        let begin = recording.steps().partition_point(|step| step.issue.cycle < from);
        for stage in Stage::ALL {
            let held = recording.steps()[..begin]
                .iter()
                .enumerate()
                .rev()
                .take(10_000)
                .find(|(_, step)| Stage::of(&step.issue) == stage);
            let after = recording.steps()[begin..]
                .iter()
                .enumerate()
                .take_while(|(_, step)| step.issue.cycle < to)
                .map(|(i, step)| (begin + i, step))
                .filter(|(_, step)| Stage::of(&step.issue) == stage);
            for (index, step) in held.into_iter().chain(after) {
                let issue = &step.issue;
                let end = (issue.cycle + issue.cycles).min(to);
                if end <= from {
                    continue;
                }
                let letter = match recording.layer(issue.word) {
                    Some(layer) => char::from(b'a' + (layer % 26) as u8),
                    None => '+',
                };
                for cycle in issue.cycle.max(from)..end {
                    let first = cycle == issue.cycle;
                    lines[stage as usize][column(cycle)] =
                        if first { letter.to_ascii_uppercase() } else { letter };
                }
                spans.push(json!({
                    "stage": stage.name(), "issue": index, "from": issue.cycle,
                    "to": issue.cycle + issue.cycles - 1,
                }));
            }
        }
        for stage in Stage::ALL {
            let line: String = lines[stage as usize].iter().collect();
            writeln!(text, "{:>9} {line}", stage.name()).expect("a String");
        }
        writeln!(text, "{:>9} {}^ now", "", " ".repeat(column(now.clamp(from, to - 1))))
            .expect("a String");
        let named: Vec<String> = recording
            .program()
            .layers
            .iter()
            .take(26)
            .enumerate()
            .map(|(i, layer)| format!("{} {}", char::from(b'a' + i as u8), layer.name))
            .collect();
        writeln!(text, "{:>9} {}; a capital is an issue", "", named.join(", ")).expect("a String");
        (text, json!({"from": from, "to": to, "now": now, "spans": spans}))
    }
}

/// A character as dark as a code is great.
fn shade(code: i64, least: i64, most: i64) -> char {
    const SHADES: &[u8] = b" .:-=+*#%@";
    let range = (most - least).max(1);
    let at = (code.clamp(least, most) - least) * (SHADES.len() as i64 - 1) / range;
    char::from(SHADES[at as usize])
}
