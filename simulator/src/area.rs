//! Area: what a hardware point takes on a 7-series FPGA, and of silicon.
//!
//! The machine's units are synthesized over a grid of parameters (`rtl/area/`); the table of that
//! is in the executable. Each unit has a few terms that say of what its logic is made, lanes of a
//! row for example or bits of a buffer, and what a term costs is fitted to the table when first
//! asked for: least squares of relative errors, no cost negative. Rows of the table that no fit
//! sees tell how far off it is. The block RAMs of banks are counted, not fitted.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Serialize;

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::{Overrides, THRESHOLD_ENTRY_BITS};

use crate::energy::Technology;
use crate::fit::{self, Numbers, Stored, TERMS, least_squares};

/// The syntheses.
const TABLE: &str = include_str!("../../rtl/area/xc7.csv");

/// What the table calls a machine that is synthesized as one.
const WHOLE: &str = "whole";

/// What is fitted: LUTs, of logic and of memory; flip-flops; block RAMs of 36 Kbit; DSP blocks;
/// gates of two inputs and bits of registers on silicon.
const RESOURCES: usize = 6;
const LUT: usize = 0;
const FF: usize = 1;
const BRAM: usize = 2;
const DSP: usize = 3;
const GATES: usize = 4;
const BITS: usize = 5;

/// Units of the report, with what the fitted units belong to.
const PARTS: [&str; 8] = ["mac", "thr", "pool", "ld", "st", "front end", "memories", "ports"];
const MAC: usize = 0;
const THR: usize = 1;
const POOL: usize = 2;
const LD: usize = 3;
const ST: usize = 4;
const FRONT_END: usize = 5;
const MEMORIES: usize = 6;
const PORTS: usize = 7;

/// A module that is synthesized for itself.
struct Unit {
    /// As in the table.
    name: &'static str,
    /// Index into [`PARTS`].
    part: usize,
    /// How many a machine has.
    count: fn(&HardwarePoint) -> u32,
    /// What it is made of; the first term is what every one has.
    terms: fn(&HardwarePoint) -> [f64; TERMS],
}

macro_rules! terms {
    ($($term:expr),* $(,)?) => {{
        let given = [$(f64::from($term)),*];
        let mut all = [0.0; $crate::fit::TERMS];
        all[..given.len()].copy_from_slice(&given);
        all
    }};
}
pub(crate) use terms;

/// Bits that tell `count` things apart.
pub(crate) fn bits(count: u32) -> u32 {
    count.next_power_of_two().ilog2()
}

/// Divisions by a number that is no power of two take a divider.
pub(crate) fn odd(divisor: u32) -> bool {
    !divisor.is_power_of_two()
}

/// Lanes of a word buffer: of a word, or of all words that a tile holds.
fn buffer_lanes(hw: &HardwarePoint) -> u32 {
    (hw.mac_cols / hw.mac_lanes).max(1) * hw.mac_lanes
}

static UNITS: [Unit; 14] = [
    Unit { name: "element", part: MAC, count: |hw| hw.mac_rows * hw.mac_cols, terms: element },
    Unit { name: "row_sum", part: MAC, count: |hw| hw.mac_rows, terms: element },
    Unit {
        name: "array",
        part: MAC,
        count: |_| 1,
        // Rotation and operands of the rows, gated weights of the columns, multiplexers of the
        // drain.
        terms: |hw| {
            let (rows, drained) = (hw.mac_rows * hw.mac_lanes, 32 * hw.mac_rows * hw.thr_cols);
            let groups = hw.mac_cols.div_ceil(hw.thr_cols);
            terms![
                1,
                rows,
                rows * bits(hw.mac_rows),
                hw.mac_cols * hw.mac_lanes,
                drained,
                drained * groups
            ]
        },
    },
    Unit {
        name: "threshold_unit",
        part: THR,
        count: |hw| hw.mac_rows * hw.thr_cols,
        // The pipeline: flip-flops, or from three stages on a shift register.
        terms: |hw| {
            terms![
                1,
                hw.thr_depth - 1,
                hw.thr_depth > 3,
                if hw.thr_depth > 3 { 0 } else { hw.thr_depth - 1 }
            ]
        },
    },
    Unit { name: "threshold_column", part: THR, count: |hw| hw.thr_cols, terms: |_| terms![1] },
    Unit {
        name: "max_pool_unit",
        part: POOL,
        count: |hw| hw.mac_rows,
        terms: |hw| {
            // Five to eight lanes for each column take the multiplexers that slices have, and more
            // LUTs.
            let (lanes, cols) = (buffer_lanes(hw), hw.thr_cols);
            let eight = if lanes > 4 * cols && lanes <= 8 * cols { lanes } else { 0 };
            terms![
                1,
                lanes,
                lanes * hw.thr_buffers.div_ceil(2),
                cols,
                lanes * hw.thr_buffers,
                eight
            ]
        },
    },
    Unit {
        name: "sequencer",
        part: FRONT_END,
        count: |_| 4,
        terms: |hw| {
            let words = hw.queue_depth;
            let [one, small, large, block] =
                [1..=1, 2..=32, 33..=64, 65..=u32::MAX].map(|r| r.contains(&words));
            terms![1, bits(words), one, small, large, block, words]
        },
    },
    Unit { name: "semaphores", part: FRONT_END, count: |_| 1, terms: |_| terms![1] },
    Unit {
        name: "front_end",
        part: FRONT_END,
        count: |_| 1,
        // A beat of several words makes the code queue a file of registers with as many write
        // ports.
        terms: |hw| {
            let (words, width) = (hw.fetch_words, hw.dram_width);
            let (narrow, wide) = (width <= 16, if width > 16 { words } else { 0 });
            let [small, large, block] =
                [0..=32, 33..=64, 65..=u32::MAX].map(|r| narrow && r.contains(&words));
            let parts = 16u32.saturating_sub(width);
            terms![1, bits(words), wide, wide * width, small, large, block, width, parts, words]
        },
    },
    Unit {
        name: "mac",
        part: MAC,
        count: |_| 1,
        terms: |hw| {
            let rows = hw.mac_rows;
            terms![
                1,
                rows,
                rows * bits(rows),
                hw.mac_cols,
                hw.mac_taps,
                hw.mac_taps > 32,
                bits(hw.mac_cols * hw.mac_lanes)
            ]
        },
    },
    Unit {
        name: "thr",
        part: THR,
        count: |_| 1,
        // Any row may write to any bank.
        terms: |hw| {
            let rows = hw.mac_rows;
            let (buffers, single) = (hw.thr_buffers, hw.thr_buffers == 1);
            terms![
                1,
                rows,
                rows * bits(rows),
                rows * rows,
                buffers,
                odd(hw.mac_rows),
                hw.thr_cols,
                single,
                odd(hw.thr_cols)
            ]
        },
    },
    Unit {
        name: "load",
        part: LD,
        count: |_| 1,
        // Write lanes with their shifters, and a copy of the ring of beats for each beat that a
        // lane may read.
        terms: |hw| {
            let lane_bytes = (hw.mac_lanes / 8).max(10);
            let lane_beats = (lane_bytes + hw.dram_width - 2) / hw.dram_width + 1;
            let ring = hw.dram_width << bits(hw.load_buffers * hw.dram_burst).max(1);
            let (lanes, read) = (hw.load_width * lane_bytes, hw.load_width * lane_beats);
            let blocks = (ring / hw.dram_width).div_ceil(64) * hw.dram_width;
            terms![
                1,
                hw.load_width,
                lanes,
                lanes * bits(hw.dram_width),
                read * blocks,
                hw.load_buffers,
                hw.dram_width,
                odd(hw.mac_rows),
                odd(hw.mac_lanes),
                read * ring
            ]
        },
    },
    Unit {
        name: "store",
        part: ST,
        count: |_| 1,
        terms: |hw| {
            let word_bytes = hw.word_bytes();
            let words = hw.store_buffers * (hw.dram_width * hw.dram_burst / word_bytes);
            let reads = (hw.dram_width / word_bytes).max(1);
            let lanes = hw.mac_lanes;
            terms![
                1,
                lanes,
                hw.dram_width,
                lanes * words.div_ceil(64) * reads,
                hw.store_buffers,
                odd(hw.mac_rows),
                lanes * words,
                lanes * words * reads
            ]
        },
    },
    Unit {
        name: "glue",
        part: PORTS,
        count: |_| 1,
        // What a bank is written from: the buffer of any row, or any lane of LOAD.
        terms: |hw| {
            let (rows, cols, lanes, width) =
                (hw.mac_rows, hw.mac_cols, hw.mac_lanes, hw.load_width);
            terms![
                1,
                width,
                rows * rows * lanes,
                rows * lanes * width,
                rows * width,
                cols * lanes * width,
                cols * width,
                hw.thr_cols * width,
                rows * buffer_lanes(hw) * bits(rows)
            ]
        },
    },
];

/// An element or the sum of a row: lanes, pipeline, accumulator banks. Short pipelines and one or
/// two banks are flip-flops, others shift registers and memory.
fn element(hw: &HardwarePoint) -> [f64; TERMS] {
    let bytes = hw.mac_lanes / 8;
    let sum = bits(255 * bytes + 1) + 1;
    let (stages, banks) = (hw.mac_depth - 1, hw.acc_banks);
    terms![
        1,
        hw.mac_lanes,
        bits(bytes + 1),
        if stages > 2 { sum } else { 0 },
        sum * stages,
        if stages > 2 { 0 } else { sum * stages },
        32 * banks,
        if banks > 2 { 0 } else { 32 * banks },
        banks == 2,
        banks > 2
    ]
}

// ---- The fit ----

/// A parameter of the hardware point that the table varies, under its name there.
type Key = (&'static str, fn(&HardwarePoint) -> u32);

static KEYS: [Key; 16] = [
    ("MAC_ROWS", |hw| hw.mac_rows),
    ("MAC_COLS", |hw| hw.mac_cols),
    ("MAC_LANES", |hw| hw.mac_lanes),
    ("MAC_DEPTH", |hw| hw.mac_depth),
    ("MAC_TAPS", |hw| hw.mac_taps),
    ("ACC_BANKS", |hw| hw.acc_banks),
    ("THR_COLS", |hw| hw.thr_cols),
    ("THR_DEPTH", |hw| hw.thr_depth),
    ("THR_BUFFERS", |hw| hw.thr_buffers),
    ("LOAD_WIDTH", |hw| hw.load_width),
    ("LOAD_BUFFERS", |hw| hw.load_buffers),
    ("STORE_BUFFERS", |hw| hw.store_buffers),
    ("QUEUE_DEPTH", |hw| hw.queue_depth),
    ("FETCH_WORDS", |hw| hw.fetch_words),
    ("DRAM_WIDTH", |hw| hw.dram_width),
    ("DRAM_BURST", |hw| hw.dram_burst),
];

/// A row of the table.
#[derive(Debug)]
pub struct Synthesis {
    /// The module, or `whole` for a machine that is synthesized as one.
    pub unit: &'static str,
    /// Its parameters; of a `scratchpad`, which has others, the default point.
    pub hardware: HardwarePoint,
    /// Names and values of the parameters.
    pub parameters: Vec<(&'static str, u32)>,
    /// Whether it is kept from the fit.
    pub held_out: bool,
    /// LUTs of logic and of memory.
    pub lut: f64,
    /// Flip-flops.
    pub ff: f64,
    /// Block RAMs of 36 Kbit.
    pub bram36: f64,
    resources: [f64; RESOURCES],
}

/// The rows of the table that the executable holds.
pub fn syntheses() -> Vec<Synthesis> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    lines
        .map(|line| {
            let cells: Vec<&'static str> = line.split(',').collect();
            let cell = |name: &str| {
                cells[names.iter().position(|n| *n == name).expect("a column of the table")]
            };
            let number = |name: &str| cell(name).parse::<f64>().expect("a number in the table");
            let assignments = cell("parameters").split_whitespace();
            let parameters: Vec<(&str, u32)> = assignments
                .map(|a| {
                    a.split_once('=')
                        .and_then(|(k, v)| Some((k, v.parse().ok()?)))
                        .expect("NAME=VALUE")
                })
                .collect();
            let mut overrides = Overrides::default();
            for (name, value) in
                parameters.iter().filter(|(name, _)| KEYS.iter().any(|(key, _)| key == name))
            {
                let key = name.to_lowercase().replacen('_', ".", 1);
                overrides
                    .set(&format!("{key}={value}"))
                    .expect("a parameter of the hardware point");
            }
            let (lut, ff) = (number("lut") + number("lut_memory"), number("ff"));
            let bram36 = number("ramb36") + number("ramb18") / 2.0;
            // A bit of a read port is one out of all words: an AND and an OR for each.
            let gates = number("gates") + 2.0 * number("memory_muxes");
            Synthesis {
                unit: cell("unit"),
                hardware: overrides.resolve().expect("a point that was synthesized"),
                parameters,
                held_out: cell("use") == "check",
                lut,
                ff,
                bram36,
                resources: [
                    lut,
                    ff,
                    bram36,
                    number("dsp"),
                    gates,
                    number("gate_ff") + number("memory_bits"),
                ],
            }
        })
        .collect()
}

/// How far the model is off where no fit has seen the table: the largest relative errors of
/// held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize)]
pub struct Error {
    /// LUTs of a whole machine.
    pub lut: f64,
    /// Flip-flops of a whole machine.
    pub ff: f64,
    /// LUTs of a single unit.
    pub lut_unit: f64,
    /// Flip-flops of a single unit.
    pub ff_unit: f64,
}

/// What every term of every unit costs.
struct Fit {
    costs: [[[f64; TERMS]; RESOURCES]; UNITS.len()],
    /// Smallest and largest value of each key that a fitted row has.
    ranges: [(u32, u32); KEYS.len()],
    error: Error,
}

static FIT: LazyLock<Fit> = LazyLock::new(|| Fit::read(STORED.text));

/// What [`Fit::new`] gave.
const STORED: Stored =
    Stored { path: "rtl/area/xc7_fit.txt", text: include_str!("../../rtl/area/xc7_fit.txt") };

/// The numbers of the fit, as they stand in the repository and as the table gives them now.
pub(crate) fn refitted() -> (Stored, String) {
    (STORED, Fit::new(&syntheses()).write())
}

impl Fit {
    fn new(table: &[Synthesis]) -> Self {
        let seen =
            |unit: &'static str| table.iter().filter(move |row| row.unit == unit && !row.held_out);
        let costs = std::array::from_fn(|unit| {
            let Unit { name, terms, .. } = UNITS[unit];
            std::array::from_fn(|resource| {
                let rows: Vec<_> =
                    seen(name).map(|row| (terms(&row.hardware), row.resources[resource])).collect();
                least_squares(&rows)
            })
        });
        let ranges = std::array::from_fn(|key| {
            let (name, _) = KEYS[key];
            let of_fit = table.iter().filter(|row| !row.held_out).flat_map(|row| &row.parameters);
            let values = of_fit.filter(|(n, _)| *n == name).map(|&(_, value)| value);
            values.fold((u32::MAX, 0), |(low, high), value| (low.min(value), high.max(value)))
        });
        let mut fit =
            Fit { costs, ranges, error: Error { lut: 0.0, ff: 0.0, lut_unit: 0.0, ff_unit: 0.0 } };
        let mut error = fit.error;
        let keep = |worst: &mut f64, modelled: f64, synthesized: f64| {
            *worst = worst.max((modelled - synthesized).abs() / synthesized.max(1.0));
        };
        for row in table.iter().filter(|row| row.held_out) {
            let Some((lut, ff)) = fit.modelled(row) else { continue };
            let (worst_lut, worst_ff) = match row.unit {
                WHOLE => (&mut error.lut, &mut error.ff),
                _ => (&mut error.lut_unit, &mut error.ff_unit),
            };
            keep(worst_lut, lut, row.lut);
            keep(worst_ff, ff, row.ff);
        }
        fit.error = error;
        fit
    }

    fn read(text: &str) -> Self {
        let mut numbers = Numbers::of(text);
        Fit {
            costs: std::array::from_fn(|_| std::array::from_fn(|_| numbers.row())),
            ranges: std::array::from_fn(|_| {
                let [low, high] = numbers.row();
                (low as u32, high as u32)
            }),
            error: {
                let [lut, ff, lut_unit, ff_unit] = numbers.row();
                Error { lut, ff, lut_unit, ff_unit }
            },
        }
    }

    /// As [`Fit::read`] reads it.
    fn write(&self) -> String {
        let Error { lut, ff, lut_unit, ff_unit } = self.error;
        let ranges = self.ranges.map(|(low, high)| [f64::from(low), f64::from(high)]);
        let costs = self.costs.iter().flatten().map(|row| &row[..]);
        let rows = costs.chain(ranges.iter().map(|row| &row[..]));
        fit::write(rows.chain([&[lut, ff, lut_unit, ff_unit][..]]))
    }

    /// LUTs and flip-flops of a row of the table, `None` for what is counted rather than fitted.
    fn modelled(&self, row: &Synthesis) -> Option<(f64, f64)> {
        if row.unit == WHOLE {
            let parts = self.parts(&row.hardware);
            return Some((parts.iter().map(|p| p[LUT]).sum(), parts.iter().map(|p| p[FF]).sum()));
        }
        let unit = UNITS.iter().position(|unit| unit.name == row.unit)?;
        let modelled = resources(&self.costs[unit], &(UNITS[unit].terms)(&row.hardware));
        Some((modelled[LUT], modelled[FF]))
    }

    fn parts(&self, hw: &HardwarePoint) -> [[f64; RESOURCES]; PARTS.len()] {
        let mut parts = [[0.0; RESOURCES]; PARTS.len()];
        for (unit, costs) in UNITS.iter().zip(&self.costs) {
            let count = f64::from((unit.count)(hw));
            for (sum, one) in parts[unit.part].iter_mut().zip(resources(costs, &(unit.terms)(hw))) {
                *sum += count * one;
            }
        }
        for (banks, words, width) in memories(hw) {
            let (bank, banks) = (bank(words, width), f64::from(banks));
            let memories = &mut parts[MEMORIES];
            memories[LUT] += banks * bank.lut;
            memories[FF] += banks * bank.ff;
            memories[BRAM] += banks * bank.bram36;
        }
        parts
    }
}

/// Gates of two inputs and flip-flops by unit of the report, on silicon, without the banks.
pub(crate) fn registers(hw: &HardwarePoint) -> [(f64, f64); PARTS.len()] {
    let mut parts = [(0.0, 0.0); PARTS.len()];
    for (unit, costs) in UNITS.iter().zip(&FIT.costs) {
        let (count, terms) = (f64::from((unit.count)(hw)), (unit.terms)(hw));
        let of = |resource: usize| {
            costs[resource].iter().zip(&terms).map(|(cost, term)| cost * term).sum::<f64>()
        };
        parts[unit.part].0 += count * of(GATES);
        parts[unit.part].1 += count * of(BITS);
    }
    parts
}

/// LUTs and flip-flops that the fit gives a row of the table: of its unit, or of the whole machine.
/// None for a unit that is counted rather than fitted.
pub fn modelled(row: &Synthesis) -> Option<(f64, f64)> {
    FIT.modelled(row)
}

fn resources(costs: &[[f64; TERMS]; RESOURCES], terms: &[f64; TERMS]) -> [f64; RESOURCES] {
    costs.map(|costs| costs.iter().zip(terms).map(|(cost, term)| cost * term).sum())
}

// ---- Memories ----

/// Banks, words of each, bits of a word: activations, weights, thresholds.
fn memories(hw: &HardwarePoint) -> [(u32, u32, u32); 3] {
    [
        (hw.mac_rows, hw.act_words, hw.mac_lanes),
        (hw.mac_cols, hw.wgt_words, hw.mac_lanes),
        (hw.thr_cols, hw.thr_words, THRESHOLD_ENTRY_BITS),
    ]
}

/// One bank on the FPGA.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bank {
    /// LUTs: of memory, or around block RAMs.
    pub lut: f64,
    /// Flip-flops.
    pub ff: f64,
    /// Block RAMs of 36 Kbit.
    pub bram36: f64,
}

/// Shapes of block RAM: words, bits, and RAMs of 18 Kbit that it takes.
const BLOCK_SHAPES: [(u32, u32, u32); 7] = [
    (512, 36, 1),
    (1024, 18, 1),
    (2048, 9, 1),
    (4096, 9, 2),
    (8192, 4, 2),
    (16384, 2, 2),
    (32768, 1, 2),
];

/// Pieces of LUT memory, 64 words of three bits each, for which yosys takes one RAM of 18 Kbit.
const PIECES_OF_HALF: u32 = 18;

/// What yosys makes of a bank. A single word is a register with one behind it. Up to 32 words, four
/// LUTs hold six bits, beyond they hold three of 64 words, with a register behind; where that takes
/// too many of them, the bank is block RAMs of the shape of which the fewest do, the deepest of
/// these. Several on top of each other are joined by a multiplexer a bit; two of one bit are
/// cascaded.
pub fn bank(words: u32, width: u32) -> Bank {
    let joined = |parts: u32| match parts {
        ..=1 => 0,
        _ => width * (parts - 1).div_ceil(3) + 2 + u32::from(!words.is_power_of_two()),
    };
    let (lut, ff, halves) = match words {
        ..=1 => (0, 2 * width, 0),
        2..=32 => (4 * width.div_ceil(6), width, 0),
        _ => {
            let count = |&(depth, bits, halves): &(u32, u32, u32)| {
                words.div_ceil(depth) * width.div_ceil(bits) * halves
            };
            let shape = BLOCK_SHAPES
                .iter()
                .rev()
                .min_by_key(|shape| count(shape))
                .expect("there are shapes");
            let (halves, parts, pieces) =
                (count(shape), words.div_ceil(shape.0), words.div_ceil(64));
            if words <= 64 || pieces * width.div_ceil(3) <= PIECES_OF_HALF * halves {
                (4 * pieces * width.div_ceil(3) + joined(pieces), width, 0)
            } else {
                let cascaded = shape.0 == 32768 && parts <= 2;
                let joined = if cascaded { 0 } else { joined(parts) };
                (joined, if joined > 0 { bits(parts) } else { 0 }, halves)
            }
        }
    };
    Bank { lut: f64::from(lut), ff: f64::from(ff), bram36: f64::from(halves) / 2.0 }
}

// ---- The area of a point ----

/// Area of one unit with all that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize)]
pub struct UnitArea {
    /// As in the report by unit; `memories` are the banks of activations, weights and thresholds,
    /// `ports` what is in front of them.
    pub name: &'static str,
    /// LUTs, of logic and of memory.
    pub lut: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Block RAMs of 36 Kbit; one of 18 counts half.
    pub bram36: f64,
    /// DSP blocks.
    pub dsp: u64,
    /// Silicon, none if the technology has no areas.
    pub mm2: Option<f64>,
}

/// Area of a hardware point: FPGA resources of a 7-series part, and silicon.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize)]
pub struct Area {
    /// LUTs, of logic and of memory.
    pub lut: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Block RAMs of 36 Kbit; one of 18 counts half.
    pub bram36: f64,
    /// DSP blocks.
    pub dsp: u64,
    /// Silicon of gates, registers and memories without wires and empty space, none if the
    /// technology has no areas.
    pub mm2: Option<f64>,
    /// A parameter lies outside the range that was synthesized.
    pub extrapolated: bool,
    /// The largest relative errors against syntheses that the fit has not seen.
    pub error: Error,
    /// By unit; they add up to the above.
    pub by_unit: [UnitArea; PARTS.len()],
}

/// Area of a hardware point in a technology.
pub fn area(technology: &Technology, hw: &HardwarePoint) -> Area {
    let fit = &*FIT;
    let parts = fit.parts(hw);
    let by_unit: [UnitArea; PARTS.len()] = std::array::from_fn(|i| {
        let resources = parts[i];
        // Counts are whole; they are far below what a float holds exactly.
        let whole = |resource: usize| resources[resource].round() as u64;
        let mut mm2 = technology.logic_mm2(resources[GATES], resources[BITS]);
        if i == MEMORIES {
            for (banks, words, width) in memories(hw) {
                mm2 = mm2
                    .zip(technology.bank_mm2(words, width))
                    .map(|(sum, bank)| sum + f64::from(banks) * bank);
            }
        }
        // Whole RAMs of 18 Kbit.
        let bram36 = (2.0 * resources[BRAM]).round() / 2.0;
        UnitArea { name: PARTS[i], lut: whole(LUT), ff: whole(FF), bram36, dsp: whole(DSP), mm2 }
    });
    let outside =
        |(&(_, value), &(low, high)): (&Key, &(u32, u32))| !(low..=high).contains(&value(hw));
    Area {
        lut: by_unit.iter().map(|u| u.lut).sum(),
        ff: by_unit.iter().map(|u| u.ff).sum(),
        bram36: by_unit.iter().map(|u| u.bram36).sum(),
        dsp: by_unit.iter().map(|u| u.dsp).sum(),
        mm2: by_unit.iter().map(|u| u.mm2).sum(),
        extrapolated: KEYS.iter().zip(&fit.ranges).any(outside),
        error: fit.error,
        by_unit,
    }
}
