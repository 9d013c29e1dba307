//! The timeline of an image, a line an instruction and stage.

use std::collections::BTreeMap;

use qnnsim_isa::Unit;
use serde_json::{Value, json};

/// Tracks of the timeline from top to bottom, in the direction in which data flow: one for each
/// stage of a unit.
pub const TRACKS: [&str; 9] =
    ["fetch", "ld", "ld write", "mac", "thr", "pool", "thr write", "st", "st burst"];

/// One line of the timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceLine {
    /// First cycle of the first step.
    pub start: u64,
    /// Last cycle of the last step.
    pub end: u64,
    /// One of [`TRACKS`].
    pub track: &'static str,
    /// The unit, none for the fetcher.
    pub unit: Option<Unit>,
    /// The instruction as the assembler writes it.
    pub text: String,
    /// Source layer, if any.
    pub layer: Option<String>,
    /// Steps.
    pub steps: u64,
    /// Cycles with a step in the stage.
    pub busy: u64,
    /// Cycles waited at the head of the queue, by cause.
    pub waited: Vec<(String, u64)>,
}

/// The timeline as trace events, which Perfetto opens: a track a unit, a microsecond a cycle.
pub fn trace_events(process: &str, lines: &[TraceLine]) -> Value {
    let mut tracks: BTreeMap<&str, usize> = BTreeMap::new();
    let mut events =
        vec![json!({"ph": "M", "pid": 1, "name": "process_name", "args": {"name": process}})];
    for line in lines {
        let next = tracks.len() + 1;
        let tid = *tracks.entry(line.track).or_insert(next);
        if tid == next {
            events.push(json!({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": line.track}}));
            let place = TRACKS.iter().position(|&track| track == line.track);
            events.push(
                json!({"ph": "M", "pid": 1, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": place}}),
            );
        }
        let mnemonic = line.text.split(' ').next().unwrap_or_default();
        let waited: BTreeMap<&str, u64> =
            line.waited.iter().map(|(cause, cycles)| (cause.as_str(), *cycles)).collect();
        events.push(json!({
            "ph": "X",
            "pid": 1,
            "tid": tid,
            "ts": line.start,
            "dur": (line.end + 1).saturating_sub(line.start),
            "name": line.layer.as_deref().unwrap_or(mnemonic),
            "cat": line.track,
            "args": {
                "instruction": line.text,
                "layer": line.layer,
                "steps": line.steps,
                "busy": line.busy,
                "waited": waited,
            },
        }));
    }
    json!({"displayTimeUnit": "ns", "traceEvents": events})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_events_have_a_track_a_unit_and_a_microsecond_a_cycle() {
        let line = |track, start, end| TraceLine { start, end, track, ..TraceLine::default() };
        let trace = trace_events(
            "net, warm image",
            &[line("mac", 10, 137), line("pool", 40, 41), line("mac", 138, 138)],
        );
        let events = trace["traceEvents"].as_array().expect("events");
        let names: Vec<&Value> = events
            .iter()
            .filter(|e| e["name"] == "thread_name")
            .map(|e| &e["args"]["name"])
            .collect();
        assert_eq!(names, ["mac", "pool"]);
        let spans: Vec<_> = events
            .iter()
            .filter(|e| e["ph"] == "X")
            .map(|e| (&e["tid"], &e["ts"], &e["dur"]))
            .collect();
        assert_eq!(
            spans,
            [
                (&json!(1), &json!(10), &json!(128)),
                (&json!(2), &json!(40), &json!(2)),
                (&json!(1), &json!(138), &json!(1))
            ]
        );
    }
}
