//! The report of one program: cycles, stalls, energy, memory, by layer, unit and memory.
//!
//! Field names are the stable keys of the JSON output.

use std::collections::BTreeMap;

use serde::Serialize;

/// A pair of figures for the cold and the warm image.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ColdWarm<T> {
    /// Nothing resident, code queue empty.
    pub cold: T,
    /// Weights and tables resident.
    pub warm: T,
}

/// One row of the table by layer, for the warm image unless the name says otherwise. The rows add up to the total.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    /// Name of the source layer, or `fetch` or `tail`.
    pub name: String,
    /// What the layer does; empty for `fetch` and `tail`.
    pub summary: String,
    /// Cycles from the layer before's last write to its own.
    pub cycles: u64,
    /// The same in the cold image.
    pub cycles_cold: u64,
    /// Part of the warm image's cycles, 0 to 1.
    pub share: f64,
    /// Multiply-accumulates.
    pub products: u64,
    /// Useful lane operations / (rows x cols x lanes x cycles), 0 to 1.
    pub utilization: f64,
    /// Energy of the warm image.
    pub energy_pj: f64,
    /// Energy of the cold image.
    pub energy_pj_cold: f64,
    /// Cycles in which an instruction of this layer stood at the head of the array's queue and did not issue, by cause.
    pub stalls: BTreeMap<String, u64>,
}

/// Cycles of one unit in the warm image: they add up to the image's cycles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitReport {
    /// `ld`, `mac`, `thr`, `pool`, `st`.
    pub name: String,
    /// Cycles with a step in the issuing stage.
    pub busy: u64,
    /// Cycles with an instruction at the head that did not issue, by cause.
    pub stalls: BTreeMap<String, u64>,
    /// Cycles without an instruction.
    pub idle: u64,
    /// Energy of the warm image.
    pub energy_pj: f64,
}

/// Energy and use of one memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryReport {
    /// `activations`, `weights`, `thresholds`, `accumulators`, `code`, `dram`.
    pub name: String,
    /// Bytes there are (0 for the DRAM).
    pub bytes: u64,
    /// Bytes up to the highest address in use, over all banks.
    pub bytes_used: u64,
    /// Words (DRAM: bytes) read in the warm image.
    pub reads: u64,
    /// Words (DRAM: bytes) written in the warm image.
    pub writes: u64,
    /// Energy of the warm image.
    pub energy_pj: f64,
}

/// What a program costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name of the program.
    pub name: String,
    /// The hardware point: every parameter by its key, and `fingerprint` and `technology`.
    pub hw: BTreeMap<String, serde_json::Value>,
    /// Cycles of an image.
    pub cycles: ColdWarm<u64>,
    /// Energy of an image.
    pub energy_pj: ColdWarm<f64>,
    /// Of which for moving weights and thresholds from the DRAM into their memories.
    pub energy_pj_streamed_weights: ColdWarm<f64>,
    /// Of which for reading resident weights and thresholds.
    pub energy_pj_resident_weights: ColdWarm<f64>,
    /// Time of an image at the clock.
    pub latency_us: ColdWarm<f64>,
    /// Mean power.
    pub power_mw: ColdWarm<f64>,
    /// Clock / warm cycles.
    pub images_per_s: f64,
    /// Rows `fetch`, the layers, `tail`.
    pub layers: Vec<LayerReport>,
    /// By unit.
    pub units: Vec<UnitReport>,
    /// By memory.
    pub memories: Vec<MemoryReport>,
    /// Leakage of the warm image.
    pub leakage_pj: ColdWarm<f64>,
    /// Figures that the technology table had to extrapolate, as sentences.
    pub notes: Vec<String>,
}
