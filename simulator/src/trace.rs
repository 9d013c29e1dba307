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

/// An image of a timeline: what it is called, in which cycle it begins, and its lines.
#[derive(Debug, Clone)]
pub struct TraceImage {
    /// Name of its process.
    pub name: String,
    /// The cycle, counted from the begin of the first image, in which it begins.
    pub begin: u64,
    /// Its lines.
    pub lines: Vec<TraceLine>,
}

/// Timelines as trace events, which Perfetto and Chrome open: a process an image, a track a stage,
/// in true time by the clock.
pub fn trace_events(images: &[TraceImage], clock_mhz: u32) -> Value {
    // Times are in microseconds.
    let time = |cycles: u64| cycles as f64 / f64::from(clock_mhz);
    let mut events = Vec::new();
    for (pid, image) in (1..).zip(images) {
        let name = json!({"name": image.name});
        events.push(json!({"ph": "M", "pid": pid, "name": "process_name", "args": name}));
        let mut tracks: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &image.lines {
            let next = tracks.len() + 1;
            let tid = *tracks.entry(line.track).or_insert(next);
            if tid == next {
                let mut named = |name: &str, args: Value| {
                    events.push(
                        json!({"ph": "M", "pid": pid, "tid": tid, "name": name, "args": args}),
                    );
                };
                let place = TRACKS.iter().position(|&track| track == line.track);
                named("thread_name", json!({"name": line.track}));
                named("thread_sort_index", json!({"sort_index": place}));
            }
            let mnemonic = line.text.split(' ').next().unwrap_or_default();
            let waited: BTreeMap<&str, u64> =
                line.waited.iter().map(|(cause, cycles)| (cause.as_str(), *cycles)).collect();
            events.push(json!({
                "ph": "X",
                "pid": pid,
                "tid": tid,
                "ts": time(image.begin + line.start),
                "dur": time((line.end + 1).saturating_sub(line.start)),
                "name": line.layer.as_deref().unwrap_or(mnemonic),
                "cat": line.track,
                "args": {
                    "instruction": line.text,
                    "layer": line.layer,
                    "cycle": image.begin + line.start,
                    "steps": line.steps,
                    "busy": line.busy,
                    "waited": waited,
                },
            }));
        }
    }
    json!({"displayTimeUnit": "ns", "traceEvents": events})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_events_have_a_process_an_image_a_track_a_stage_and_true_time() {
        let line = |track, start, end| TraceLine { start, end, track, ..TraceLine::default() };
        let image = |name: &str, begin, lines: &[TraceLine]| TraceImage {
            name: name.into(),
            begin,
            lines: lines.to_vec(),
        };
        let trace = trace_events(
            &[
                image("cold", 0, &[line("mac", 10, 137), line("pool", 40, 41)]),
                image("warm", 200, &[line("mac", 138, 138)]),
            ],
            // A cycle is a quarter of a microsecond, which is exact.
            4,
        );
        let events = trace["traceEvents"].as_array().expect("events");
        let names: Vec<&Value> = events
            .iter()
            .filter(|e| e["name"] == "thread_name" || e["name"] == "process_name")
            .map(|e| &e["args"]["name"])
            .collect();
        assert_eq!(names, ["cold", "mac", "pool", "warm", "mac"]);
        let spans: Vec<_> = events
            .iter()
            .filter(|e| e["ph"] == "X")
            .map(|e| (&e["pid"], &e["tid"], &e["ts"], &e["dur"]))
            .collect();
        assert_eq!(
            spans,
            [
                (&json!(1), &json!(1), &json!(2.5), &json!(32.0)),
                (&json!(1), &json!(2), &json!(10.0), &json!(0.5)),
                (&json!(2), &json!(1), &json!(84.5), &json!(0.25))
            ]
        );
    }
}
