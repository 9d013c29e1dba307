//! Energy: counted events times what they take in a netlist, clock and leakage of all that exists.
//!
//! Events are counted once, from issues, because none of them depends on data ([`Events`]). What an
//! event takes in a unit is fitted to a table of netlists that ran real programs (`rtl/netlist/`),
//! as areas are; flip-flops take their clock in every cycle, because none of them is gated. A
//! [`Technology`] is a table in RON in which every row has a value, a unit and a source: factors
//! from the netlists' library to it, memories, DRAM.

use std::ops::AddAssign;
use std::sync::LazyLock;

use qnnsim_isa::hardware::{HardwarePoint, THRESHOLD_ENTRY_BITS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::area::{bits, registers};
use crate::fit::{self, Numbers, Stored, TERMS, least_squares};

/// What units took in netlists, and the events that the simulator counted then.
const TABLE: &str = include_str!("../../rtl/netlist/sky130_energy.csv");

/// Clock of a flip-flop in a cycle in the netlists' library, in pJ: inside of it and at its pin
/// (0.0456), and of the tree before it (0.0143), a buffer for 16; by `rtl/netlist/power.py`.
const CLOCK_PJ: f64 = 0.0456 + 0.0143;

macro_rules! events {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What happened, counted. All sums are over rows, columns, words and cycles that were active.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Events { $($(#[doc = $doc])* pub $name: u64,)* }

        impl AddAssign for Events {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl Events {
            /// Names of the counts, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// The counts, in the order of [`Events::NAMES`].
            pub fn counts(&self) -> Vec<u64> {
                vec![$(self.$name,)*]
            }

            /// Events of these counts, if there are as many as there are names.
            pub fn from_counts(counts: &[u64]) -> Option<Self> {
                let &[$($name,)*] = counts else { return None };
                Some(Events { $($name,)* })
            }
        }
    };
}

events! {
    /// Cycles of array elements: rows x columns x cycles.
    element_cycles,
    /// Those of them that take bytes, all planes at once.
    byte_element_cycles,
    /// Cycles in which the array computes.
    array_cycles,
    /// Cycles of row sums: rows x cycles, for bipolar weights.
    row_sum_cycles,
    /// Activation words read by MAC.
    mac_act_reads,
    /// Weight words read.
    weight_reads,
    /// Accumulators written, read-modify-write counted twice.
    accumulator_writes,
    /// Accumulators drained.
    accumulator_reads,
    /// Cycles in which the threshold unit drains.
    drain_cycles,
    /// Threshold entries read.
    threshold_reads,
    /// Comparisons of the threshold unit: 1-bit codes, and every threshold of a table at every element.
    comparisons,
    /// Bits of codes found by division.
    divided_bits,
    /// Values 2 * acc - row sum.
    bipolar_values,
    /// Register groups written.
    configurations,
    /// Bits of codes merged by the max-pool unit.
    pool_bits,
    /// Bits of codes put into word buffers.
    word_buffer_bits,
    /// Activation words written by THR.
    thr_act_writes,
    /// Bytes of windows that the packer placed.
    packed_bytes,
    /// Activation words written by LOAD.
    load_act_writes,
    /// Weight words written.
    weight_writes,
    /// Threshold entries written.
    threshold_writes,
    /// Bytes of DRAM beats moved by LOAD for the input.
    load_dram_bytes,
    /// Bytes of DRAM beats moved by LOAD for weights and thresholds.
    weight_dram_bytes,
    /// Activation words read by STORE.
    store_act_reads,
    /// Bytes of DRAM beats moved by STORE.
    store_dram_bytes,
    /// Bytes of DRAM beats moved by the fetcher.
    fetch_dram_bytes,
    /// Instruction words that went through the code queue and a unit's queue.
    instructions,
}

impl Events {
    /// Bytes of DRAM beats moved, whatever for.
    pub fn dram_bytes(&self) -> u64 {
        self.load_dram_bytes
            + self.weight_dram_bytes
            + self.store_dram_bytes
            + self.fetch_dram_bytes
    }
}

/// A coefficient with its unit and its source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficient {
    value: f64,
    unit: String,
    /// Where the value is from.
    pub source: String,
}

impl Coefficient {
    fn pj(&self) -> f64 {
        match self.unit.as_str() {
            "fJ" => self.value * 1e-3,
            _ => self.value,
        }
    }

    /// A power; uW x us = pJ.
    fn uw(&self) -> f64 {
        match self.unit.as_str() {
            "nW" => self.value * 1e-3,
            "mW" => self.value * 1e3,
            _ => self.value,
        }
    }
}

/// Leakage of logic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogicLeakage {
    /// Of two inputs.
    gate: Coefficient,
    flip_flop_bit: Coefficient,
}

/// Areas of logic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogicArea {
    /// Of two inputs.
    gate: Coefficient,
    flip_flop_bit: Coefficient,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sram {
    bytes: f64,
    width_bits: f64,
    read_pj: f64,
    write_pj: f64,
    leakage_uw: f64,
    #[serde(default)]
    area_mm2: Option<f64>,
    source: String,
}

/// A technology: factors from the netlists' library to its logic, clock and wires; energies of
/// memories and DRAM; areas of logic and memories, if they are known.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Technology {
    /// Name, as in `technology` of a hardware point.
    pub name: String,
    logic: Scale,
    clock: Scale,
    wires: Scale,
    leakage: LogicLeakage,
    #[serde(default)]
    area: Option<LogicArea>,
    /// By size.
    sram: Vec<Sram>,
    dram_bit: Coefficient,
    /// What the DRAM takes whether it moves anything or not.
    dram_background: Coefficient,
    /// How the times of the timed netlists come to this technology.
    #[serde(default)]
    delay: Option<Scale>,
    /// What a user of the table should know.
    pub notes: Vec<String>,
}

/// A factor with its source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    factor: f64,
    /// Where the factor is from.
    pub source: String,
}

impl Scale {
    /// What a value of the netlists' library is multiplied with.
    pub fn factor(&self) -> f64 {
        self.factor
    }
}

/// Energy of an access to one bank of a memory, and its leakage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BankCost {
    /// Reading one word.
    pub read_pj: f64,
    /// Writing one word.
    pub write_pj: f64,
    /// Leakage.
    pub leakage_uw: f64,
    /// The bank lies outside the table, in size or width.
    pub extrapolated: bool,
}

impl Technology {
    /// The technologies that come with the simulator.
    pub const BUILTIN: [&'static str; 3] = ["45nm", "22nm", "sky130"];

    /// A technology of this name that comes with the simulator.
    pub fn builtin(name: &str) -> Option<Self> {
        let text = match name {
            "45nm" => include_str!("../technologies/45nm.ron"),
            "22nm" => include_str!("../technologies/22nm.ron"),
            "sky130" => include_str!("../technologies/sky130.ron"),
            _ => return None,
        };
        Some(Self::from_ron(text).expect("the tables that come with the simulator are well-formed"))
    }

    /// Reads a technology table.
    ///
    /// # Errors
    /// Where the text is not such a table, or a value cannot be.
    pub fn from_ron(text: &str) -> Result<Self, String> {
        let options = ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let mut technology: Self = options.from_str(text).map_err(|e| e.to_string())?;
        technology.check()?;
        technology.sram.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
        Ok(technology)
    }

    fn check(&self) -> Result<(), String> {
        let leakage = [&self.leakage.gate, &self.leakage.flip_flop_bit];
        let energies: (&str, &[&str]) = ("an energy", &["fJ", "pJ"]);
        let powers: (&str, &[&str]) = ("a power", &["nW", "uW", "mW"]);
        let rows = [(&self.dram_bit, energies), (&self.dram_background, powers)];
        for (c, (what, units)) in rows.into_iter().chain(leakage.map(|row| (row, powers))) {
            if !c.value.is_finite() || c.value < 0.0 {
                return Err(format!("{} {} is not {what}", c.value, c.unit));
            }
            if !units.contains(&c.unit.as_str()) {
                let units: Vec<String> = units.iter().map(|unit| format!("\"{unit}\"")).collect();
                return Err(format!("unit `{}`: {what} is in {}", c.unit, units.join(" or ")));
            }
            if c.source.is_empty() {
                return Err("a row has no source".into());
            }
        }
        for scale in [&self.logic, &self.clock, &self.wires].into_iter().chain(&self.delay) {
            if !scale.factor.is_finite() || scale.factor <= 0.0 {
                return Err(format!("{} is not a factor: it must be positive", scale.factor));
            }
            if scale.source.is_empty() {
                return Err("a row has no source".into());
            }
        }
        for c in self.area.iter().flat_map(|a| [&a.gate, &a.flip_flop_bit]) {
            if !c.value.is_finite() || c.value < 0.0 || c.unit != "um2" {
                return Err(format!("{} {} is not an area: it is in \"um2\"", c.value, c.unit));
            }
            if c.source.is_empty() {
                return Err("a row has no source".into());
            }
        }
        if self.sram.iter().any(|s| s.area_mm2.is_some() != self.area.is_some()) {
            return Err("either logic and every SRAM row have an area, or none has".into());
        }
        let positive = |s: &Sram| {
            [s.bytes, s.width_bits, s.read_pj, s.write_pj, s.leakage_uw, s.area_mm2.unwrap_or(1.0)]
                .iter()
                .all(|&x| x.is_finite() && x > 0.0)
        };
        if let Some(s) = self.sram.iter().find(|s| !positive(s) || s.source.is_empty()) {
            return Err(format!(
                "the SRAM row of {} bytes has a value that is not positive, or no source",
                s.bytes
            ));
        }
        let of_64 = |s: &&Sram| s.width_bits == 64.0;
        if self.sram.iter().filter(of_64).count() < 2 || self.sram.iter().all(|s| of_64(&s)) {
            return Err("the SRAM table needs at least two rows 64 bits wide, and one of another width at a size of one of these".into());
        }
        Ok(())
    }

    /// How the times of the timed netlists come to this technology; none if it tells no times.
    pub fn delay(&self) -> Option<&Scale> {
        self.delay.as_ref()
    }

    /// Cost of one bank: sizes are interpolated on a log-log scale along the rows 64 bits wide;
    /// widths by the power law through the two rows of one size.
    pub fn bank(&self, words: u32, width_bits: u32) -> BankCost {
        let place = self.place(words, width_bits);
        BankCost {
            read_pj: place.between(|s| s.read_pj) * place.power(|s| s.read_pj),
            write_pj: place.between(|s| s.write_pj) * place.power(|s| s.write_pj),
            leakage_uw: place.between(|s| s.leakage_uw),
            extrapolated: place.extrapolated,
        }
    }

    /// Area of one bank, interpolated as its cost is; none if the table has no areas.
    pub fn bank_mm2(&self, words: u32, width_bits: u32) -> Option<f64> {
        self.area.as_ref()?;
        let area = |s: &Sram| s.area_mm2.unwrap_or_default();
        let place = self.place(words, width_bits);
        Some(place.between(area) * place.power(area))
    }

    /// Area of logic; none if the table has no areas.
    pub fn logic_mm2(&self, gates: f64, flip_flops: f64) -> Option<f64> {
        let area = self.area.as_ref()?;
        Some((gates * area.gate.value + flip_flops * area.flip_flop_bit.value) * 1e-6)
    }

    /// Where a bank lies in the SRAM table.
    fn place(&self, words: u32, width_bits: u32) -> Place<'_> {
        let bytes = f64::from(words) * f64::from(width_bits) / 8.0;
        let width = f64::from(width_bits);
        let mut narrow = self.sram.iter().filter(|s| s.width_bits == 64.0);
        let (Some(first), Some(second)) = (narrow.next(), narrow.next()) else {
            unreachable!("a table is checked when it is read")
        };
        let (mut low, mut high) = (first, second);
        for next in narrow {
            if high.bytes < bytes {
                (low, high) = (high, next);
            }
        }
        let wide = self.sram.iter().filter(|w| w.width_bits != 64.0).find_map(|w| {
            Some((self.sram.iter().find(|n| n.width_bits == 64.0 && n.bytes == w.bytes)?, w))
        });
        let widest = wide.map_or(64.0, |(_, w)| w.width_bits);
        Place {
            low,
            high,
            wide,
            position: (bytes / low.bytes).ln() / (high.bytes / low.bytes).ln(),
            width,
            // Sizes ascend, so the last pair is only passed by what is larger than all.
            extrapolated: bytes < first.bytes
                || bytes > high.bytes
                || width < 64.0
                || width > widest,
        }
    }
}

/// A bank between two rows of the SRAM table.
struct Place<'a> {
    low: &'a Sram,
    high: &'a Sram,
    /// Two rows of one size, the first 64 bits wide.
    wide: Option<(&'a Sram, &'a Sram)>,
    /// 0 at the low row, 1 at the high row.
    position: f64,
    width: f64,
    extrapolated: bool,
}

impl Place<'_> {
    fn between(&self, f: impl Fn(&Sram) -> f64) -> f64 {
        f(self.low) * (f(self.high) / f(self.low)).powf(self.position)
    }

    fn power(&self, f: impl Fn(&Sram) -> f64) -> f64 {
        let exponent = self
            .wide
            .map_or(1.0, |(base, w)| (f(w) / f(base)).ln() / (w.width_bits / base.width_bits).ln());
        (self.width / 64.0).powf(exponent)
    }
}

// ---- What events take in a netlist ----

/// How busy the bits are that the array computes with: the part of ones in the words that it reads.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize)]
pub struct Activity {
    /// Part of ones in words of activations, 0 to 1.
    pub activations: f64,
    /// Part of ones in words of weights, 0 to 1.
    pub weights: f64,
}

impl Activity {
    /// What is taken where nothing is known of the values: weights are balanced, codes behind a
    /// threshold or a rectifier are mostly small.
    pub const STATED: Activity = Activity { activations: 0.25, weights: 0.5 };
}

/// A bit that is one with this probability, anew in each cycle, changes so often.
fn changes(ones: f64) -> f64 {
    2.0 * ones * (1.0 - ones)
}

/// What a part of the netlist serves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Purpose {
    Arithmetic,
    Control,
}

/// A unit of the netlist.
struct Unit {
    /// As in the table.
    name: &'static str,
    /// Adds to the energy of the unit of the report.
    part: fn(&mut Energy) -> &mut f64,
    purpose: Purpose,
    /// What takes energy in it.
    terms: fn(&HardwarePoint, Activity, &Events) -> [f64; TERMS],
}

/// Terms of counts, which a float holds exactly enough.
macro_rules! counts {
    ($($term:expr),* $(,)?) => { terms_of([$($term as f64),*]) };
}

fn terms_of<const N: usize>(given: [f64; N]) -> [f64; TERMS] {
    let mut all = [0.0; TERMS];
    all[..N].copy_from_slice(&given);
    all
}

fn lanes(hw: &HardwarePoint) -> f64 {
    f64::from(hw.mac_lanes)
}

static UNITS: [Unit; 14] = [
    Unit {
        name: "element",
        part: |e| &mut e.mac,
        purpose: Purpose::Arithmetic,
        // Operands change in all columns, used or not, and arrive one after the other: what that
        // wakes is more than the products alone.
        terms: |hw, activity, e| {
            let cols = f64::from(hw.mac_cols);
            let operands = e.mac_act_reads as f64 * lanes(hw) * changes(activity.activations);
            let products = lanes(hw) * changes(activity.activations * activity.weights);
            counts![
                e.element_cycles,
                e.element_cycles as f64 * products,
                e.byte_element_cycles as f64 * products,
                operands * cols,
                e.accumulator_writes,
                e.array_cycles as f64 * f64::from(hw.mac_rows) * cols
            ]
        },
    },
    Unit {
        name: "row_sum",
        part: |e| &mut e.mac,
        purpose: Purpose::Arithmetic,
        // It adds up whatever the array computes.
        terms: |hw, activity, e| {
            let cols = f64::from(hw.mac_cols);
            counts![
                e.array_cycles as f64 * f64::from(hw.mac_rows),
                e.mac_act_reads as f64 * lanes(hw) * changes(activity.activations),
                e.row_sum_cycles,
                e.element_cycles as f64 / cols,
                e.accumulator_writes as f64 / cols
            ]
        },
    },
    Unit {
        name: "array",
        part: |e| &mut e.mac,
        purpose: Purpose::Arithmetic,
        terms: |hw, activity, e| {
            let read = e.mac_act_reads as f64 * lanes(hw) * changes(activity.activations);
            let weights = e.weight_reads as f64 * lanes(hw) * changes(activity.weights);
            counts![read, read * f64::from(bits(hw.mac_rows)), weights, e.accumulator_reads]
        },
    },
    Unit {
        name: "mac",
        part: |e| &mut e.mac,
        purpose: Purpose::Control,
        terms: |hw, _, e| {
            let rows = u64::from(hw.mac_rows);
            counts![
                e.array_cycles,
                e.array_cycles * rows,
                e.drain_cycles,
                e.drain_cycles * rows,
                e.configurations
            ]
        },
    },
    Unit {
        name: "thr",
        part: |e| &mut e.thr,
        purpose: Purpose::Control,
        terms: |hw, _, e| {
            let rows = u64::from(hw.mac_rows);
            counts![e.drain_cycles, e.drain_cycles * rows, e.thr_act_writes, e.configurations]
        },
    },
    Unit {
        name: "threshold_unit",
        part: |e| &mut e.thr,
        purpose: Purpose::Arithmetic,
        terms: |_, _, e| {
            counts![
                e.accumulator_reads,
                e.comparisons,
                e.divided_bits,
                e.bipolar_values,
                e.drain_cycles
            ]
        },
    },
    Unit {
        name: "threshold_column",
        part: |e| &mut e.thr,
        purpose: Purpose::Arithmetic,
        terms: |hw, _, e| {
            let a_row = |count: u64| count as f64 / f64::from(hw.mac_rows);
            counts![
                e.threshold_reads,
                e.drain_cycles,
                e.drain_cycles * u64::from(hw.thr_cols),
                a_row(e.divided_bits),
                a_row(e.comparisons),
                a_row(e.bipolar_values)
            ]
        },
    },
    Unit {
        name: "max_pool_unit",
        part: |e| &mut e.pool,
        purpose: Purpose::Arithmetic,
        terms: |hw, _, e| {
            let written = e.thr_act_writes as f64 * lanes(hw);
            counts![e.word_buffer_bits, e.pool_bits, written]
        },
    },
    Unit {
        name: "front_end",
        part: |e| &mut e.front_end,
        purpose: Purpose::Control,
        terms: |_, _, e| counts![e.fetch_dram_bytes, e.instructions],
    },
    Unit {
        name: "sequencer",
        part: |e| &mut e.front_end,
        purpose: Purpose::Control,
        terms: |_, _, e| counts![e.instructions, e.configurations, e.array_cycles, e.drain_cycles],
    },
    Unit {
        name: "semaphores",
        part: |e| &mut e.front_end,
        purpose: Purpose::Control,
        terms: |_, _, e| counts![e.instructions, e.drain_cycles, e.array_cycles],
    },
    Unit {
        name: "load",
        part: |e| &mut e.load,
        purpose: Purpose::Control,
        terms: |hw, _, e| {
            counts![
                e.load_dram_bytes + e.weight_dram_bytes,
                e.load_act_writes as f64 * lanes(hw),
                e.weight_writes as f64 * lanes(hw),
                e.threshold_writes,
                e.configurations,
                e.packed_bytes
            ]
        },
    },
    Unit {
        name: "store",
        part: |e| &mut e.store,
        purpose: Purpose::Control,
        terms: |hw, _, e| {
            let read = e.store_act_reads as f64 * lanes(hw);
            counts![read, e.store_dram_bytes, e.configurations, e.instructions]
        },
    },
    Unit {
        name: "machine",
        part: |e| &mut e.load,
        purpose: Purpose::Control,
        terms: |hw, activity, e| {
            let read = e.mac_act_reads as f64 * changes(activity.activations);
            let loaded = (e.load_act_writes + e.weight_writes) as f64;
            counts![
                read * lanes(hw),
                loaded * lanes(hw),
                e.thr_act_writes as f64 * lanes(hw),
                e.load_dram_bytes + e.weight_dram_bytes
            ]
        },
    },
];

/// The place of a unit that is looked up by name.
fn place_of(name: &str) -> usize {
    UNITS.iter().position(|unit| unit.name == name).expect("a unit of the netlist")
}

/// What one unit took in one image of a program in a netlist.
#[derive(Debug)]
pub struct Measured {
    /// The machine.
    pub hardware: HardwarePoint,
    /// Whether it is kept from the fit.
    pub held_out: bool,
    /// Program and image; of an element alone, what was drawn.
    pub what: String,
    /// It is a unit alone, without a machine around it, and so no part of the fit.
    pub alone: bool,
    /// The unit.
    pub unit: &'static str,
    /// Of its cells and its wires, at the library's corner, without the clock.
    pub dynamic_pj: f64,
    /// Of which its wires, an estimate.
    pub wires_pj: f64,
    /// Flip-flops of all of these units in the machine.
    pub flip_flops: u64,
    /// Cycles of the image.
    pub cycles: u64,
    /// What the simulator counts.
    pub events: Events,
    /// What the memories delivered.
    pub activity: Activity,
}

impl Measured {
    /// What the fit gives for it, at the library's corner.
    pub fn modelled_pj(&self) -> f64 {
        let unit = place_of(self.unit);
        let terms = (UNITS[unit].terms)(&self.hardware, self.activity, &self.events);
        FIT.costs[unit].iter().zip(terms).map(|(cost, term)| cost * term).sum()
    }
}

/// The rows of the table that the executable holds.
pub fn measured() -> Vec<Measured> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| names.iter().position(|n| *n == name).expect("a column");
    let first_event = column(Events::NAMES[0]);
    lines
        .map(|line| {
            let cells: Vec<&'static str> = line.split(',').collect();
            let number = |name: &str| cells[column(name)].parse::<f64>().expect("a number");
            let counts = &cells[first_event..first_event + Events::NAMES.len()];
            let counts: Vec<u64> =
                counts.iter().map(|count| count.parse().expect("a count")).collect();
            let wires_pj = number("wires_pj");
            Measured {
                hardware: fit::point_of(cells[column("parameters")]),
                held_out: cells[column("use")] == "check",
                what: format!("{}, {}", cells[column("program")], cells[column("image")]),
                alone: cells[column("image")] == "drawn",
                unit: cells[column("unit")],
                dynamic_pj: number("cells_pj") + wires_pj,
                wires_pj,
                flip_flops: number("flip_flops") as u64,
                cycles: number("cycles") as u64,
                events: Events::from_counts(&counts).expect("as many as there are names"),
                activity: Activity {
                    activations: number("act_density"),
                    weights: number("wgt_density"),
                },
            }
        })
        .collect()
}

/// What every term of every unit costs in pJ, cells and wires; which part of that its wires are; and
/// how far off whole images of machines are that the fit has not seen, clock included.
struct Fit {
    costs: [[f64; TERMS]; UNITS.len()],
    wires: [f64; UNITS.len()],
    error: f64,
}

static FIT: LazyLock<Fit> = LazyLock::new(|| {
    let mut numbers = Numbers::of(STORED.text);
    let costs = std::array::from_fn(|_| numbers.row());
    let wires = numbers.row();
    let [error] = numbers.row();
    Fit { costs, wires, error }
});

/// What [`fit`] gave.
const STORED: Stored = Stored {
    path: "rtl/netlist/sky130_energy_fit.txt",
    text: include_str!("../../rtl/netlist/sky130_energy_fit.txt"),
};

/// The numbers of the fit, as they stand in the repository and as the table gives them now.
pub(crate) fn refitted() -> (Stored, String) {
    let Fit { costs, wires, error } = fit();
    let costs = costs.iter().map(|row| &row[..]);
    (STORED, fit::write(costs.chain([&wires[..], &[error]])))
}

fn fit() -> Fit {
    let table = measured();
    let mut fit = Fit { costs: [[0.0; TERMS]; UNITS.len()], wires: [0.0; UNITS.len()], error: 0.0 };
    for (at, unit) in UNITS.iter().enumerate() {
        let of_fit = |row: &&Measured| row.unit == unit.name && !row.held_out && !row.alone;
        let seen = || table.iter().filter(of_fit);
        let terms = |row: &Measured| (unit.terms)(&row.hardware, row.activity, &row.events);
        let rows: Vec<_> = seen().map(|row| (terms(row), row.dynamic_pj)).collect();
        fit.costs[at] = least_squares(&rows);
        let sum = |value: fn(&Measured) -> f64| seen().map(value).sum::<f64>();
        fit.wires[at] = sum(|row| row.wires_pj) / sum(|row| row.dynamic_pj);
    }
    let held_out: Vec<&Measured> = table.iter().filter(|row| row.held_out).collect();
    for image in held_out.chunk_by(|a, b| a.what == b.what && a.hardware == b.hardware) {
        let dynamic: f64 = image
            .iter()
            .map(|row| {
                let unit = place_of(row.unit);
                let terms = (UNITS[unit].terms)(&row.hardware, row.activity, &row.events);
                fit.costs[unit].iter().zip(terms).map(|(cost, term)| cost * term).sum::<f64>()
            })
            .sum();
        let (hw, cycles) = (&image[0].hardware, image[0].cycles as f64);
        let modelled_bits: f64 = registers(hw).iter().map(|(_, bits)| bits).sum();
        let netlist_bits: u64 = image.iter().map(|row| row.flip_flops).sum();
        let modelled = dynamic + modelled_bits * cycles * CLOCK_PJ;
        let netlist = image.iter().map(|row| row.dynamic_pj).sum::<f64>()
            + netlist_bits as f64 * cycles * CLOCK_PJ;
        fit.error = fit.error.max((modelled / netlist - 1.0).abs());
    }
    fit
}

// ---- The energy of a program ----

/// Energy of some events, and of the clock of some cycles, by unit, by memory and by purpose; the
/// units add up to all of it, and so do the purposes with the memories and the DRAM.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Energy {
    /// Fetcher, code queue, unit queues.
    pub front_end: f64,
    /// LOAD with all it moves.
    pub load: f64,
    /// MAC with its reads and writes.
    pub mac: f64,
    /// Threshold unit with the drain and the writes.
    pub thr: f64,
    /// Max-pool unit.
    pub pool: f64,
    /// STORE with all it moves.
    pub store: f64,
    /// Of all units: what computes, array, threshold and max-pool units.
    pub arithmetic: f64,
    /// Of all units: what tells it what to do and moves bytes.
    pub control: f64,
    /// Of all units: wires, an estimate.
    pub wires: f64,
    /// Of all units: the clock of every flip-flop, with its tree.
    pub clock: f64,
    /// Of all units: accesses to the activation memory.
    pub activations: f64,
    /// Of all units: accesses to the weight memory.
    pub weights: f64,
    /// Of all units: accesses to the threshold memory.
    pub thresholds: f64,
    /// Of the array: accesses to accumulators, without their clock.
    pub accumulators: f64,
    /// Of the front end: the code queue and the unit queues, without their clock.
    pub code: f64,
    /// Of all units: what the DRAM moves.
    pub dram: f64,
    /// Moving weights and thresholds from the DRAM into their memories, without the clock.
    pub streamed_weights: f64,
    /// Reading weights and thresholds from their memories.
    pub resident_weights: f64,
}

impl Energy {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.front_end + self.load + self.mac + self.thr + self.pool + self.store
    }

    /// Accesses to the memories that are macros.
    pub fn memories(&self) -> f64 {
        self.activations + self.weights + self.thresholds
    }
}

/// Coefficients of a technology on a hardware point.
#[derive(Debug, Clone)]
pub struct Model {
    hw: HardwarePoint,
    activity: Activity,
    /// Of cells and of wires.
    scales: [f64; 2],
    /// Clock of a cycle by part: mac, thr, pool, ld, st, front end and all others.
    clock_pj: [f64; 6],
    activation: BankCost,
    weight: BankCost,
    threshold: BankCost,
    dram_byte_pj: f64,
    /// Leakage of all banks and of logic.
    pub leakage_uw: f64,
    /// What the DRAM takes whether it moves anything or not.
    pub dram_background_uw: f64,
    /// What was extrapolated, as sentences.
    pub notes: Vec<String>,
}

impl Model {
    /// Brings a technology to a hardware point, with the stated activity.
    pub fn new(technology: &Technology, hw: &HardwarePoint) -> Self {
        Self::with_activity(technology, hw, Activity::STATED)
    }

    /// Brings a technology to a hardware point whose memories hold so many ones.
    pub fn with_activity(technology: &Technology, hw: &HardwarePoint, activity: Activity) -> Self {
        let activation = technology.bank(hw.act_words, hw.mac_lanes);
        let weight = technology.bank(hw.wgt_words, hw.mac_lanes);
        let threshold = technology.bank(hw.thr_words, THRESHOLD_ENTRY_BITS);
        let leakage = |bank: &BankCost, banks: u32| bank.leakage_uw * f64::from(banks);
        let mut notes = technology.notes.clone();
        for (name, bank, words, bits) in [
            ("activation", &activation, hw.act_words, hw.mac_lanes),
            ("weight", &weight, hw.wgt_words, hw.mac_lanes),
            ("threshold", &threshold, hw.thr_words, THRESHOLD_ENTRY_BITS),
        ] {
            if bank.extrapolated {
                notes.push(format!(
                    "{}: a {name} bank of {words} words of {bits} bits lies outside the SRAM table and is extrapolated",
                    technology.name
                ));
            }
        }
        let registers = registers(hw);
        let clock_pj = CLOCK_PJ * technology.clock.factor();
        let mut clock = [0.0; 6];
        for (part, (_, bits)) in registers.iter().enumerate() {
            clock[part.min(5)] += bits * clock_pj;
        }
        let logic_uw: f64 = registers
            .iter()
            .map(|(gates, bits)| {
                gates * technology.leakage.gate.uw() + bits * technology.leakage.flip_flop_bit.uw()
            })
            .sum();
        Model {
            hw: hw.clone(),
            activity,
            scales: [technology.logic.factor(), technology.wires.factor()],
            clock_pj: clock,
            leakage_uw: logic_uw
                + leakage(&activation, hw.mac_rows)
                + leakage(&weight, hw.mac_cols)
                + leakage(&threshold, hw.thr_cols),
            dram_background_uw: technology.dram_background.uw(),
            dram_byte_pj: 8.0 * technology.dram_bit.pj(),
            activation,
            weight,
            threshold,
            notes,
        }
    }

    /// Energy of events, without the clock.
    pub fn energy(&self, e: &Events) -> Energy {
        let n = |count: u64| count as f64;
        let mut all = Energy::default();
        let (mut accumulators, mut code, mut streamed) = (0.0, 0.0, 0.0);
        for (at, unit) in UNITS.iter().enumerate() {
            let terms = (unit.terms)(&self.hw, self.activity, e);
            let costs = &FIT.costs[at];
            let wires = FIT.wires[at];
            let scale = (1.0 - wires) * self.scales[0] + wires * self.scales[1];
            let cost = |term: usize| costs[term] * terms[term] * scale;
            let netlist: f64 = costs.iter().zip(terms).map(|(cost, term)| cost * term).sum();
            *(unit.part)(&mut all) += netlist * scale;
            all.wires += netlist * wires * self.scales[1];
            let cells = netlist * (1.0 - wires) * self.scales[0];
            match unit.purpose {
                Purpose::Arithmetic => all.arithmetic += cells,
                Purpose::Control => all.control += cells,
            }
            match unit.name {
                "element" => accumulators += cost(4),
                "array" => accumulators += cost(3),
                "front_end" => code += cost(1),
                "sequencer" => code += cost(0),
                "load" => {
                    let beats = n(e.weight_dram_bytes) / n(e.weight_dram_bytes + e.load_dram_bytes);
                    let beats = if beats.is_nan() { 0.0 } else { beats };
                    streamed += cost(0) * beats + cost(2) + cost(3);
                }
                _ => {}
            }
        }
        let dram = |bytes: u64| n(bytes) * self.dram_byte_pj;
        let weight_reads = n(e.weight_reads) * self.weight.read_pj;
        let threshold_reads = n(e.threshold_reads) * self.threshold.read_pj;
        let weight_writes = n(e.weight_writes) * self.weight.write_pj;
        let threshold_writes = n(e.threshold_writes) * self.threshold.write_pj;
        let load_act = n(e.load_act_writes) * self.activation.write_pj;
        let mac_act = n(e.mac_act_reads) * self.activation.read_pj;
        let thr_act = n(e.thr_act_writes) * self.activation.write_pj;
        let store_act = n(e.store_act_reads) * self.activation.read_pj;
        let written = weight_writes + threshold_writes;
        all.front_end += dram(e.fetch_dram_bytes);
        all.load += dram(e.weight_dram_bytes + e.load_dram_bytes) + written + load_act;
        all.mac += mac_act + weight_reads;
        all.thr += threshold_reads + thr_act;
        all.store += store_act + dram(e.store_dram_bytes);
        Energy {
            activations: load_act + mac_act + thr_act + store_act,
            weights: weight_reads + weight_writes,
            thresholds: threshold_reads + threshold_writes,
            accumulators,
            code,
            dram: dram(e.dram_bytes()),
            streamed_weights: streamed + dram(e.weight_dram_bytes) + written,
            resident_weights: weight_reads + threshold_reads,
            ..all
        }
    }

    /// Energy of events and of the clock of so many cycles.
    pub fn clocked(&self, events: &Events, cycles: u64) -> Energy {
        let mut all = self.energy(events);
        let [mac, thr, pool, load, store, front_end] = self.clock_pj.map(|pj| pj * cycles as f64);
        all.mac += mac;
        all.thr += thr;
        all.pool += pool;
        all.load += load;
        all.store += store;
        all.front_end += front_end;
        all.clock += mac + thr + pool + load + store + front_end;
        all
    }

    /// The clock of so many cycles.
    pub fn clock_pj(&self, cycles: u64) -> f64 {
        self.clock_pj.iter().sum::<f64>() * cycles as f64
    }

    /// Leakage of some cycles at a clock.
    pub fn leakage_pj(&self, cycles: u64, clock_mhz: u32) -> f64 {
        // uW x us = pJ.
        self.leakage_uw * cycles as f64 / f64::from(clock_mhz)
    }

    /// What the DRAM takes in some cycles at a clock, whether it moves anything or not.
    pub fn dram_background_pj(&self, cycles: u64, clock_mhz: u32) -> f64 {
        self.dram_background_uw * cycles as f64 / f64::from(clock_mhz)
    }
}

/// Largest relative error of an image's logic and clock, of netlists that the fit has not seen.
pub fn error() -> f64 {
    FIT.error
}
