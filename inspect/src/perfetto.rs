//! The timeline as Perfetto's protobuf: the few messages that are written, with the numbers of
//! their fields as published in `protos/perfetto/trace` of the Perfetto project.

use std::collections::HashMap;
use std::io::{self, Write};

use prost::Message;
use qnnsim_isa::operand::semaphore_name;
use qnnsim_simulator::timing::Work;

use crate::recording::{Recording, Stage};
use crate::timeline::{Counter, Timeline, arrows, flows, occupancy, semaphores};

#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "11")]
    track_event: Option<TrackEvent>,
    #[prost(message, optional, tag = "12")]
    interned_data: Option<InternedData>,
    #[prost(uint32, optional, tag = "13")]
    sequence_flags: Option<u32>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, optional, tag = "3")]
    process: Option<ProcessDescriptor>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
    #[prost(message, optional, tag = "8")]
    counter: Option<CounterDescriptor>,
    /// 3 is EXPLICIT: by `sibling_order_rank`.
    #[prost(int32, optional, tag = "11")]
    child_ordering: Option<i32>,
    #[prost(int32, optional, tag = "12")]
    sibling_order_rank: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct ProcessDescriptor {
    #[prost(int32, optional, tag = "1")]
    pid: Option<i32>,
    #[prost(string, optional, tag = "6")]
    process_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CounterDescriptor {
    #[prost(string, optional, tag = "6")]
    unit_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<DebugAnnotation>,
    /// 1 begins a slice, 2 ends one, 4 is a value of a counter.
    #[prost(int32, optional, tag = "9")]
    r#type: Option<i32>,
    #[prost(uint64, optional, tag = "10")]
    name_iid: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(int64, optional, tag = "30")]
    counter_value: Option<i64>,
    #[prost(double, optional, tag = "44")]
    double_counter_value: Option<f64>,
    #[prost(fixed64, repeated, tag = "47")]
    flow_ids: Vec<u64>,
    #[prost(fixed64, repeated, tag = "48")]
    terminating_flow_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct DebugAnnotation {
    #[prost(uint64, optional, tag = "1")]
    name_iid: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    uint_value: Option<u64>,
    #[prost(uint64, optional, tag = "17")]
    string_value_iid: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct InternedData {
    #[prost(message, repeated, tag = "2")]
    event_names: Vec<Interned>,
    #[prost(message, repeated, tag = "3")]
    debug_annotation_names: Vec<Interned>,
    #[prost(message, repeated, tag = "29")]
    debug_annotation_string_values: Vec<Interned>,
}

/// A string under a number: EventName, DebugAnnotationName and InternedString have the same fields.
#[derive(Clone, PartialEq, Message)]
struct Interned {
    #[prost(uint64, optional, tag = "1")]
    iid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    text: Option<String>,
}

const SEQUENCE: u32 = 1;
const CLEARED: u32 = 1;
const NEEDS_STATE: u32 = 2;
const BEGIN: i32 = 1;
const END: i32 = 2;
const COUNTER: i32 = 4;
const BY_RANK: i32 = 3;

/// Strings that have a number.
#[derive(Default)]
struct Names {
    known: HashMap<String, u64>,
    fresh: Vec<Interned>,
}

impl Names {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(&iid) = self.known.get(text) {
            return iid;
        }
        let iid = self.known.len() as u64 + 1;
        self.known.insert(text.to_owned(), iid);
        self.fresh.push(Interned { iid: Some(iid), text: Some(text.to_owned()) });
        iid
    }
}

struct Writer<W> {
    out: W,
    uuids: u64,
    flows: u64,
    first: bool,
    names: Names,
    keys: Names,
    texts: Names,
}

impl<W: Write> Writer<W> {
    fn packet(&mut self, mut packet: TracePacket) -> io::Result<()> {
        packet.trusted_packet_sequence_id = Some(SEQUENCE);
        let fresh = InternedData {
            event_names: std::mem::take(&mut self.names.fresh),
            debug_annotation_names: std::mem::take(&mut self.keys.fresh),
            debug_annotation_string_values: std::mem::take(&mut self.texts.fresh),
        };
        packet.interned_data = (fresh != InternedData::default()).then_some(fresh);
        let cleared = if std::mem::take(&mut self.first) { CLEARED } else { 0 };
        packet.sequence_flags = Some(cleared | NEEDS_STATE);
        // Field 1 of the message Trace.
        self.out.write_all(&[0x0a])?;
        self.out.write_all(&packet.encode_length_delimited_to_vec())
    }

    /// A track under another.
    fn track(
        &mut self,
        parent: u64,
        name: &str,
        rank: usize,
        counter: Option<&str>,
    ) -> io::Result<u64> {
        self.uuids += 1;
        let unit_name = counter.map(|unit| Some(unit.to_owned()).filter(|unit| !unit.is_empty()));
        self.packet(TracePacket {
            track_descriptor: Some(TrackDescriptor {
                uuid: Some(self.uuids),
                name: Some(name.to_owned()),
                parent_uuid: Some(parent),
                sibling_order_rank: Some(rank as i32),
                child_ordering: Some(BY_RANK),
                counter: unit_name.map(|unit_name| CounterDescriptor { unit_name }),
                ..TrackDescriptor::default()
            }),
            ..TracePacket::default()
        })?;
        Ok(self.uuids)
    }

    fn process(&mut self, name: &str) -> io::Result<u64> {
        self.uuids += 1;
        self.packet(TracePacket {
            track_descriptor: Some(TrackDescriptor {
                uuid: Some(self.uuids),
                process: Some(ProcessDescriptor {
                    pid: Some(self.uuids as i32),
                    process_name: Some(name.to_owned()),
                }),
                child_ordering: Some(BY_RANK),
                ..TrackDescriptor::default()
            }),
            ..TracePacket::default()
        })?;
        Ok(self.uuids)
    }

    fn event(&mut self, timestamp: u64, event: TrackEvent) -> io::Result<()> {
        self.packet(TracePacket {
            timestamp: Some(timestamp),
            track_event: Some(event),
            ..TracePacket::default()
        })
    }

    fn end(&mut self, timestamp: u64, track: u64) -> io::Result<()> {
        let event =
            TrackEvent { r#type: Some(END), track_uuid: Some(track), ..TrackEvent::default() };
        self.event(timestamp, event)
    }

    fn begin(
        &mut self,
        timestamp: u64,
        track: u64,
        name: &str,
        more: TrackEvent,
    ) -> io::Result<()> {
        let name_iid = Some(self.names.number(name));
        self.event(
            timestamp,
            TrackEvent { r#type: Some(BEGIN), track_uuid: Some(track), name_iid, ..more },
        )
    }

    fn number(&mut self, key: &str, value: u64) -> DebugAnnotation {
        DebugAnnotation {
            name_iid: Some(self.keys.number(key)),
            uint_value: Some(value),
            ..DebugAnnotation::default()
        }
    }

    fn text(&mut self, key: &str, value: &str) -> DebugAnnotation {
        DebugAnnotation {
            name_iid: Some(self.keys.number(key)),
            string_value_iid: Some(self.texts.number(value)),
            ..DebugAnnotation::default()
        }
    }
}

/// Writes a timeline: for each image a process with a track for each stage, whose slices are steps
/// within slices of their layers, arrows along the semaphores, a track of the DRAM's transfers, and
/// counters.
///
/// # Errors
/// The writer's.
pub fn write(timeline: &Timeline, out: impl Write) -> io::Result<()> {
    let mut writer = Writer {
        out,
        uuids: 0,
        flows: 0,
        first: true,
        names: Names::default(),
        keys: Names::default(),
        texts: Names::default(),
    };
    for &(begin, recording) in &timeline.images {
        image(&mut writer, timeline, begin, recording)?;
    }
    writer.out.flush()
}

/// Name of a step's slice.
fn step_name(recording: &Recording, index: usize) -> String {
    let issue = &recording.steps()[index].issue;
    match (&issue.work, issue.word) {
        (Work::Fetch { .. }, _) => "fetch".into(),
        (_, Some(word)) => {
            let text = recording.text(word);
            text.split(' ').next().unwrap_or_default().to_owned()
        }
        (_, None) => String::new(),
    }
}

fn image<W: Write>(
    writer: &mut Writer<W>,
    timeline: &Timeline,
    begin: u64,
    recording: &Recording,
) -> io::Result<()> {
    let ns = |cycle: u64| timeline.ns(begin + cycle);
    let program = recording.program();
    let name = format!("{}, {} image", program.name, recording.start().name());
    let process = writer.process(&name)?;

    // Of each issue the arrows that begin and end there.
    let mut arrows = arrows(recording);
    arrows.sort_by_key(|arrow| arrow.from);
    let first_flow = writer.flows + 1;
    writer.flows += arrows.len() as u64;
    let mut ends: Vec<(u32, u64)> =
        arrows.iter().zip(first_flow..).map(|(arrow, id)| (arrow.to, id)).collect();
    ends.sort_unstable();
    let starts: Vec<(u32, u64)> =
        arrows.iter().zip(first_flow..).map(|(arrow, id)| (arrow.from, id)).collect();
    let of = |list: &[(u32, u64)], index: u32| -> Vec<u64> {
        let first = list.partition_point(|&(issue, _)| issue < index);
        list[first..].iter().take_while(|&&(i, _)| i == index).map(|&(_, id)| id).collect()
    };

    for (rank, stage) in Stage::ALL.into_iter().enumerate() {
        let issues: Vec<usize> = (0..recording.steps().len())
            .filter(|&i| Stage::of(&recording.steps()[i].issue) == stage)
            .collect();
        if issues.is_empty() {
            continue;
        }
        let track = writer.track(process, stage.name(), rank, None)?;
        let layer_of = |i: usize| recording.layer(recording.steps()[i].issue.word);
        let mut at = 0;
        while at < issues.len() {
            // Neighbours of one layer lie in one slice.
            let layer = layer_of(issues[at]);
            let run = issues[at..].iter().take_while(|&&i| layer_of(i) == layer).count();
            let run = &issues[at..at + run];
            at += run.len();
            let first = &recording.steps()[run[0]].issue;
            if let Some(layer) = layer {
                let name = recording.layer_name(layer).to_owned();
                writer.begin(ns(first.cycle), track, &name, TrackEvent::default())?;
            }
            let mut last = first.cycle;
            for &i in run {
                let step = &recording.steps()[i];
                let issue = &step.issue;
                last = issue.cycle + issue.cycles;
                let mut annotations = vec![
                    writer.number("cycle", begin + issue.cycle),
                    writer.number("cycles", issue.cycles),
                    writer.number("issue", i as u64),
                ];
                if let Some(word) = issue.word {
                    annotations.push(writer.number("number", word.into()));
                    annotations.push(writer.text("instruction", &recording.text(word)));
                }
                if let Work::LoadBurst { beats, .. }
                | Work::StoreBurst { beats, .. }
                | Work::Fetch { beats, .. } = issue.work
                {
                    annotations.push(writer.number("beats", beats));
                }
                let event = TrackEvent {
                    debug_annotations: annotations,
                    flow_ids: of(&starts, i as u32),
                    terminating_flow_ids: of(&ends, i as u32),
                    ..TrackEvent::default()
                };
                let name = step_name(recording, i);
                writer.begin(ns(issue.cycle), track, &name, event)?;
                writer.end(ns(last), track)?;
            }
            if layer.is_some() {
                writer.end(ns(last), track)?;
            }
        }
    }

    // Transfers follow one another on the bus.
    let bus = writer.track(process, "dram", Stage::ALL.len(), None)?;
    for step in recording.steps() {
        if let Work::LoadBurst { beats, end, .. }
        | Work::StoreBurst { beats, end, .. }
        | Work::Fetch { beats, end, .. } = step.issue.work
        {
            let event = TrackEvent {
                debug_annotations: vec![writer.number("beats", beats)],
                ..TrackEvent::default()
            };
            writer.begin(ns(end - beats), bus, Stage::of(&step.issue).name(), event)?;
            writer.end(ns(end), bus)?;
        }
    }

    let mut rank = Stage::ALL.len() + 1;
    let occupancy = occupancy(recording);
    let banks = [
        ("activations", "words", &occupancy.activations),
        ("weights", "words", &occupancy.weights),
        ("thresholds", "entries", &occupancy.thresholds),
        ("accumulators", "banks", &occupancy.accumulators),
    ];
    let semaphores = semaphores(recording);
    let named = semaphores.iter().enumerate().filter(|(_, counter)| !counter.is_empty()).map(
        |(s, counter)| {
            (format!("semaphore {}", semaphore_name(&program.semaphores, s)), "", counter)
        },
    );
    let memories = banks.map(|(name, unit, counter)| (format!("{name} in use"), unit, counter));
    let counters: Vec<(String, &str, &Counter)> = memories.into_iter().chain(named).collect();
    for (name, unit, counter) in counters {
        let track = writer.track(process, &name, rank, Some(unit))?;
        rank += 1;
        for &(cycle, value) in counter {
            let event = TrackEvent {
                r#type: Some(COUNTER),
                track_uuid: Some(track),
                counter_value: Some(value),
                ..TrackEvent::default()
            };
            writer.event(ns(cycle), event)?;
        }
    }
    let [dram, energy] = flows(recording, &timeline.technology, timeline.clock_mhz);
    // A byte a cycle is as many MB/s as the clock has MHz; a pJ a cycle as many uW.
    let clock = f64::from(timeline.clock_mhz);
    for (name, unit, windows, factor) in
        [("DRAM bandwidth", "MB/s", dram, clock), ("power", "mW", energy, clock * 1e-3)]
    {
        let track = writer.track(process, name, rank, Some(unit))?;
        rank += 1;
        for (window, sum) in (0u64..).zip(&windows.sums) {
            let first = window * windows.cycles;
            let cycles = windows.cycles.min(recording.cycles().saturating_sub(first)).max(1);
            let event = TrackEvent {
                r#type: Some(COUNTER),
                track_uuid: Some(track),
                double_counter_value: Some(sum / cycles as f64 * factor),
                ..TrackEvent::default()
            };
            writer.event(ns(first), event)?;
        }
    }
    Ok(())
}
