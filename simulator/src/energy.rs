//! Energy: counted events times a technology's coefficients, plus leakage times time.
//!
//! Events are counted once, from issues, because none of them depends on data ([`Events`]). A
//! [`Technology`] is a table in RON in which every row has a value, a unit and a source.

use std::ops::AddAssign;

use serde::Deserialize;

use qnnsim_isa::hardware::{CODE_WORD_BYTES, HardwarePoint, THRESHOLD_ENTRY_BITS};

/// Width of an accumulator.
const ACCUMULATOR_BITS: f64 = 32.0;

/// Payload of a register group.
const CONFIGURATION_BITS: f64 = 116.0;

/// Bits of the threshold unit's adder: 32 of the accumulator and up to 15 of the fraction, and a
/// sign.
const THRESHOLD_ADDER_BITS: f64 = 48.0;

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
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logic {
    and_lane: Coefficient,
    full_adder: Coefficient,
    flip_flop_bit: Coefficient,
    compare_bit: Coefficient,
    pool_lane: Coefficient,
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

/// A technology: energies of logic, memories and DRAM; areas of logic and memories, if they are
/// known.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Technology {
    /// Name, as in `technology` of a hardware point.
    pub name: String,
    logic: Logic,
    #[serde(default)]
    area: Option<LogicArea>,
    /// By size.
    sram: Vec<Sram>,
    dram_bit: Coefficient,
    /// What a user of the table should know.
    pub notes: Vec<String>,
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
    pub const BUILTIN: [&'static str; 2] = ["45nm", "22nm"];

    /// A technology of this name that comes with the simulator.
    pub fn builtin(name: &str) -> Option<Self> {
        let text = match name {
            "45nm" => include_str!("../technologies/45nm.ron"),
            "22nm" => include_str!("../technologies/22nm.ron"),
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
        let l = &self.logic;
        for c in [
            &l.and_lane,
            &l.full_adder,
            &l.flip_flop_bit,
            &l.compare_bit,
            &l.pool_lane,
            &self.dram_bit,
        ] {
            if !c.value.is_finite() || c.value < 0.0 {
                return Err(format!("{} {} is not an energy", c.value, c.unit));
            }
            if !["fJ", "pJ"].contains(&c.unit.as_str()) {
                return Err(format!("unit `{}`: an energy is in \"fJ\" or \"pJ\"", c.unit));
            }
            if c.source.is_empty() {
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

/// Dynamic energy of some events, by unit and by memory; the units add up to all of it.
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
    /// Of all units: accesses to the activation memory.
    pub activations: f64,
    /// Of all units: accesses to the weight memory.
    pub weights: f64,
    /// Of all units: accesses to the threshold memory.
    pub thresholds: f64,
    /// Of all units: accesses to accumulators.
    pub accumulators: f64,
    /// Of all units: the code queue and the unit queues.
    pub code: f64,
    /// Of all units: the DRAM.
    pub dram: f64,
    /// Moving weights and thresholds from the DRAM into their memories.
    pub streamed_weights: f64,
    /// Reading weights and thresholds from their memories.
    pub resident_weights: f64,
}

impl Energy {
    /// All dynamic energy.
    pub fn total(&self) -> f64 {
        self.front_end + self.load + self.mac + self.thr + self.pool + self.store
    }
}

/// Coefficients of a technology on a hardware point.
#[derive(Debug, Clone)]
pub struct Model {
    logic: Logic,
    element_pj: f64,
    row_sum_pj: f64,
    activation: BankCost,
    weight: BankCost,
    threshold: BankCost,
    dram_byte_pj: f64,
    /// Leakage of all banks.
    pub leakage_uw: f64,
    /// What was extrapolated, as sentences.
    pub notes: Vec<String>,
}

impl Model {
    /// Brings a technology to a hardware point.
    pub fn new(technology: &Technology, hw: &HardwarePoint) -> Self {
        let logic = technology.logic.clone();
        let lanes = f64::from(hw.mac_lanes);
        let sum_bits = lanes.log2().floor() + 1.0;
        // A popcount of L lanes takes L - 1 - floor(log2 L) full adders: 57 for 64.
        let popcount =
            (lanes - sum_bits) * logic.full_adder.pj() + ACCUMULATOR_BITS * logic.full_adder.pj();
        // Operand, sum and accumulator registers: 103 flip-flops for 64 lanes, as synthesized.
        let registers = (lanes + sum_bits + ACCUMULATOR_BITS) * logic.flip_flop_bit.pj();
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
        Model {
            element_pj: lanes * logic.and_lane.pj() + popcount + registers,
            row_sum_pj: popcount + (sum_bits + ACCUMULATOR_BITS) * logic.flip_flop_bit.pj(),
            leakage_uw: leakage(&activation, hw.mac_rows)
                + leakage(&weight, hw.mac_cols)
                + leakage(&threshold, hw.thr_cols),
            dram_byte_pj: 8.0 * technology.dram_bit.pj(),
            logic,
            activation,
            weight,
            threshold,
            notes,
        }
    }

    /// Dynamic energy of events.
    pub fn energy(&self, e: &Events) -> Energy {
        let n = |count: u64| count as f64;
        let bit = self.logic.flip_flop_bit.pj();
        let accumulator = ACCUMULATOR_BITS * bit;
        let dram = |bytes: u64| n(bytes) * self.dram_byte_pj;
        // Every byte between DRAM and a memory passes a buffer: written once, read once.
        let buffered = |bytes: u64| n(bytes) * 8.0 * 2.0 * bit;
        let weight_reads = n(e.weight_reads) * self.weight.read_pj;
        let threshold_reads = n(e.threshold_reads) * self.threshold.read_pj;
        let weight_writes = n(e.weight_writes) * self.weight.write_pj;
        let threshold_writes = n(e.threshold_writes) * self.threshold.write_pj;
        // A word passes the code queue and a unit's queue: each written once, read once.
        let queues = n(e.instructions) * f64::from(CODE_WORD_BYTES) * 8.0 * 4.0 * bit;
        let streamed = dram(e.weight_dram_bytes)
            + buffered(e.weight_dram_bytes)
            + weight_writes
            + threshold_writes;
        let load_act = n(e.load_act_writes) * self.activation.write_pj;
        let mac_act = n(e.mac_act_reads) * self.activation.read_pj;
        let thr_act = n(e.thr_act_writes) * self.activation.write_pj;
        let store_act = n(e.store_act_reads) * self.activation.read_pj;
        let (acc_writes, acc_reads) =
            (n(e.accumulator_writes) * accumulator, n(e.accumulator_reads) * accumulator);
        let adder = self.logic.full_adder.pj();
        // A comparison looks; a step of the division subtracts and keeps the rest.
        let decided = n(e.comparisons) * THRESHOLD_ADDER_BITS * self.logic.compare_bit.pj()
            + n(e.divided_bits) * THRESHOLD_ADDER_BITS * (adder + bit)
            + n(e.bipolar_values) * ACCUMULATOR_BITS * adder;
        // A register group is written to its shadow and copied from there.
        let configured = n(e.configurations) * CONFIGURATION_BITS * 2.0 * bit;
        Energy {
            front_end: dram(e.fetch_dram_bytes) + queues + configured,
            load: streamed
                + dram(e.load_dram_bytes)
                + buffered(e.load_dram_bytes)
                + n(e.packed_bytes) * 8.0 * bit
                + load_act,
            mac: n(e.element_cycles) * self.element_pj
                + n(e.row_sum_cycles) * self.row_sum_pj
                + mac_act
                + weight_reads
                + acc_writes,
            thr: acc_reads
                + threshold_reads
                + decided
                + n(e.word_buffer_bits) * 2.0 * bit
                + thr_act,
            pool: n(e.pool_bits) * self.logic.pool_lane.pj(),
            store: store_act + buffered(e.store_dram_bytes) + dram(e.store_dram_bytes),
            activations: load_act + mac_act + thr_act + store_act,
            weights: weight_reads + weight_writes,
            thresholds: threshold_reads + threshold_writes,
            accumulators: acc_writes + acc_reads,
            code: queues,
            dram: dram(
                e.fetch_dram_bytes + e.weight_dram_bytes + e.load_dram_bytes + e.store_dram_bytes,
            ),
            streamed_weights: streamed,
            resident_weights: weight_reads + threshold_reads,
        }
    }

    /// Leakage of some cycles at a clock.
    pub fn leakage_pj(&self, cycles: u64, clock_mhz: u32) -> f64 {
        // uW x us = pJ.
        self.leakage_uw * cycles as f64 / f64::from(clock_mhz)
    }
}
