//! The commands, one module each, and what several of them share.

pub mod asm;
pub mod compile;
pub mod cosim;
pub mod disasm;
pub mod eval;
pub mod hw;
pub mod inspect;
pub mod run;

use std::collections::BTreeMap;
use std::path::Path;

use qnnsim_isa::Program;
use qnnsim_isa::descriptor::MapShape;
use qnnsim_isa::hardware::{HardwareError, HardwarePoint, Overrides};
use qnnsim_simulator::report::hardware_values;
use qnnsim_simulator::{Simulation, Technology};
use serde::Serialize;
use serde_json::Value;

use crate::args::{PointArgs, TechnologyArgs};
use crate::failure::{Failure, print};
use crate::files;
use crate::images::Images;
use crate::render::{Column, bytes, grouped, table};

/// The hardware point of --hw and --set, and what they say.
fn point(args: &PointArgs) -> Result<(HardwarePoint, Overrides), Failure> {
    let mut overrides = match &args.hw {
        None => Overrides::default(),
        Some(path) => Overrides::from_ron(&files::read_text(path)?).map_err(|error| match error {
            HardwareError::Ron { line, column, message } => Failure::misuse(format_args!(
                "{}:{line}:{column}: {message}",
                path.display()
            ))
            .help("write a hardware point as `(mac: (rows: 8, cols: 8), acc: (banks: 3))`; `qnnsim hw` lists the keys"),
            other => Failure::misuse(format_args!("{}: {other}", path.display())),
        })?,
    };
    for assignment in &args.set {
        overrides.set(assignment).map_err(|error| {
            Failure::misuse(format_args!("--set {assignment}: {error}")).help("`qnnsim hw` lists the keys")
        })?;
    }
    let point = overrides.resolve();
    point
        .validate()
        .map_err(|error| Failure::misuse(&error).help("`qnnsim hw` lists the parameters and their ranges"))?;
    Ok((point, overrides))
}

/// A hardware point as reports show it: every parameter by its key, fingerprint and technology.
fn point_values(point: &HardwarePoint) -> BTreeMap<String, Value> {
    hardware_values(point, &point.technology, point.clock_mhz)
}

fn fingerprint(point: &HardwarePoint) -> String {
    format!("{:08x}", point.fingerprint())
}

/// One of the machine's memories at a hardware point.
#[derive(Debug, Serialize)]
struct MemorySize {
    name: &'static str,
    banks: u64,
    words: u64,
    word_bits: u64,
    bytes: u64,
}

fn memory_sizes(point: &HardwarePoint) -> [MemorySize; 5] {
    let size = |name, banks: u32, words: u32, word_bits: u32| {
        let [banks, words, word_bits] = [banks, words, word_bits].map(u64::from);
        MemorySize { name, banks, words, word_bits, bytes: (banks * words * word_bits).div_ceil(8) }
    };
    [
        size("activations", point.mac_rows, point.act_words, point.mac_lanes),
        size("weights", point.mac_cols, point.wgt_words, point.mac_lanes),
        size("thresholds", point.thr_cols, point.thr_words, qnnsim_isa::hardware::THRESHOLD_ENTRY_BITS),
        // With the sum of the activations of each row.
        size("accumulators", point.acc_banks, point.mac_rows * (point.mac_cols + 1), 32),
        size("code", 1, point.fetch_words + 4 * point.queue_depth, 8 * qnnsim_isa::hardware::CODE_WORD_BYTES),
    ]
}

/// The table of the machine's memories.
fn memories(point: &HardwarePoint) -> String {
    let columns = [
        Column::Text("memory"),
        Column::Number("banks"),
        Column::Number("words"),
        Column::Number("bits a word"),
        Column::Number("size"),
    ];
    let rows = memory_sizes(point)
        .iter()
        .map(|m| vec![m.name.into(), grouped(m.banks), grouped(m.words), grouped(m.word_bits), bytes(m.bytes)])
        .collect();
    table(&columns, rows, false)
}

/// The technology and the clock of a report.
fn technology(args: &TechnologyArgs, program: &Program) -> Result<(Technology, u32), Failure> {
    let clock = args.clock.unwrap_or(program.hardware.clock_mhz);
    let name = args.tech.as_deref().unwrap_or(&program.hardware.technology);
    Ok((technology_named(name)?, clock))
}

/// A technology that comes with the simulator, or that of a file.
fn technology_named(name: &str) -> Result<Technology, Failure> {
    if name.ends_with(".ron") {
        let text = files::read_text(Path::new(name))?;
        return Technology::from_ron(&text)
            .map_err(|error| Failure::misuse(format_args!("technology `{name}`: {error}")));
    }
    Technology::builtin(name).ok_or_else(|| {
        let failure = Failure::misuse(format_args!("there is no technology `{name}`"));
        failure.help(format_args!(
            "give --tech {}, or a file of your own, --tech FILE.ron",
            Technology::BUILTIN.join(", --tech ")
        ))
    })
}

/// Proves that a program is sound and finds its timing.
fn simulate(path: &Path, program: &Program) -> Result<Simulation, Failure> {
    Simulation::new(program.clone())
        .map_err(|trap| Failure::trap(format_args!("`{}`: {}", path.display(), trap.describe(program))))
}

/// What was written, in one line.
fn summary(path: &Path, program: &Program) -> String {
    let data: u64 = program.data.iter().map(|segment| segment.bytes.len() as u64).sum();
    format!(
        "{}: {} for {} (fingerprint {}), {} cold and {} warm words of code, {} of data{}\n",
        path.display(),
        program.name,
        program.hardware.short_name(),
        fingerprint(&program.hardware),
        program.cold.words.len(),
        program.warm.words.len(),
        bytes(data),
        if program.sample.is_some() { ", with a sample" } else { "" },
    )
}

/// Prints one JSON object.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&(serde_json::to_string_pretty(value).expect("plain data serializes") + "\n"))
}

/// The image that --index says, which may be left out if there is only one.
///
/// # Errors
/// There is no such image, or no telling which one is meant.
fn choose(path: &Path, images: &Images, index: Option<usize>) -> Result<usize, Failure> {
    let (file, count) = (path.display(), images.count());
    match index {
        None if count == 1 => Ok(0),
        Some(index) if index < count => Ok(index),
        Some(index) if count == 1 => {
            Err(Failure::misuse(format_args!("--index {index} is out of range: `{file}` holds one image")))
        }
        Some(index) => Err(Failure::misuse(format_args!(
            "--index {index} is out of range: `{file}` holds {count} images, 0 to {}",
            count - 1
        ))),
        None => Err(Failure::misuse(format_args!("`{file}` holds {count} images, and --index does not say which"))
            .help(format_args!("give --index 0 to --index {}", count - 1))),
    }
}

/// Values of a map, pixel after pixel, in the order in which models write them.
fn channels_first<T: Copy>(values: &[T], shape: MapShape) -> Vec<T> {
    let channels = shape.channels as usize;
    (0..channels).flat_map(|channel| values.iter().skip(channel).step_by(channels).copied()).collect()
}

/// Sizes of one image's output.
fn output_shape(shape: MapShape) -> Vec<u64> {
    let MapShape { channels, height, width } = shape;
    let all = [channels, height, width].map(u64::from);
    if height == 1 && width == 1 { all[..1].to_vec() } else { all.to_vec() }
}

/// The lowest index of the maximum. An output that is not a number is never it, unless nothing else is there.
fn class(outputs: &[f64]) -> usize {
    let higher = |best: usize, i: usize| if outputs[i] > outputs[best] || outputs[best].is_nan() { i } else { best };
    (1..outputs.len()).fold(0, higher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_the_lowest_index_of_the_maximum() {
        assert_eq!(class(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(class(&[-1.0]), 0);
        assert_eq!(class(&[f64::NAN, -3.0, -2.0]), 2);
    }

    #[test]
    fn a_map_is_turned_to_channels_first() {
        let shape = MapShape { channels: 2, height: 1, width: 3 };
        assert_eq!(channels_first(&[1, -1, 2, -2, 3, -3], shape), [1, 2, 3, -1, -2, -3]);
        assert_eq!(output_shape(shape), [2, 1, 3]);
        assert_eq!(output_shape(MapShape { channels: 10, height: 1, width: 1 }), [10]);
    }
}
