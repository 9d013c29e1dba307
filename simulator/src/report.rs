//! The report of one program: cycles, stalls, energy, memory, by layer, unit and memory.
//!
//! Field names are the stable keys of the JSON output.

use std::collections::BTreeMap;

use qnnsim_isa::Unit;
use qnnsim_isa::hardware::{HardwarePoint, PARAMETERS, Parameter, THRESHOLD_ENTRY_BITS};
use qnnsim_isa::program::LayerInfo;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::area::{Area, area};
use crate::clock::{Clock, clock};
use crate::energy::{self, Activity, Energy, Events, Model, Technology};
use crate::profile::{Profile, stall_name};
use crate::timing::Start;
use crate::{Simulation, values};

/// A pair of figures for the cold and the warm image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize)]
pub struct ColdWarm<T> {
    /// Nothing resident, code queue empty.
    pub cold: T,
    /// Weights and tables resident.
    pub warm: T,
}

/// One row of the table by layer, for the warm image unless the name says otherwise. The rows add
/// up to the total.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
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
    pub macs: u64,
    /// Useful lane operations: MACs x bits of an activation x bits of a weight.
    pub lane_operations: u64,
    /// Bytes of the DRAM beats that the layer's instructions move in the warm image; `fetch` has
    /// those of the code.
    pub dram_bytes: u64,
    /// The same in the cold image.
    pub dram_bytes_cold: u64,
    /// Useful lane operations / (rows x cols x lanes x cycles), 0 to 1.
    pub utilization: f64,
    /// Energy of the warm image.
    pub energy_pj: f64,
    /// Energy of the cold image.
    pub energy_pj_cold: f64,
    /// Cycles in which an instruction of this layer stood at the head of the array's queue and did
    /// not issue, by cause.
    pub stalls: BTreeMap<String, u64>,
}

/// Cycles of one unit in the warm image: they add up to the image's cycles.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct UnitReport {
    /// `ld`, `mac`, `thr`, `pool`, `st`, `front end`. The max-pool unit works in the threshold
    /// unit's steps and has no stalls of its own.
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
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
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

/// Energy by what it is for.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct PurposeReport {
    /// `arithmetic`, `control`, `wires`, `clock`, `memories`, `dram`, `dram background`, `leakage`.
    pub name: String,
    /// Energy of the warm image.
    pub energy_pj: f64,
    /// Part of the warm image's energy, 0 to 1.
    pub share: f64,
}

/// What a program costs.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct Report {
    /// Name of the program.
    pub name: String,
    /// The hardware point: every parameter by its key, and `fingerprint` and `technology`.
    #[schemars(schema_with = "hardware_schema")]
    pub hw: BTreeMap<String, Value>,
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
    /// What the hardware point takes of an FPGA and of silicon.
    pub area: Area,
    /// The highest clock of the hardware point, null if the technology tells no times.
    pub clock: Option<Clock>,
    /// Leakage, part of the energy of an image.
    pub leakage_pj: ColdWarm<f64>,
    /// What the DRAM takes whether it moves anything or not, part of the energy of an image.
    pub dram_background_pj: ColdWarm<f64>,
    /// What the energy of the warm image is for: they add up to it.
    pub purposes: Vec<PurposeReport>,
    /// Part of ones that the energy of the array is computed with.
    pub activity: Activity,
    /// Largest relative error of logic and clock against netlists that the fit has not seen.
    pub energy_error: f64,
    /// What to know of these figures, as sentences: what the technology table had to extrapolate,
    /// a clock above the highest.
    pub notes: Vec<String>,
}

/// What both images of a program take: cycles and counted events. All times and energies follow
/// from it with a technology and a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Cycles of an image.
    pub cycles: ColdWarm<u64>,
    /// All events of an image.
    pub events: ColdWarm<Events>,
}

/// The totals of a report. Each is monotone in cycles and events, but for power, a quotient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Totals {
    /// See [`Report::cycles`].
    pub cycles: ColdWarm<u64>,
    /// See [`Report::energy_pj`].
    pub energy_pj: ColdWarm<f64>,
    /// See [`Report::latency_us`].
    pub latency_us: ColdWarm<f64>,
    /// See [`Report::power_mw`].
    pub power_mw: ColdWarm<f64>,
    /// See [`Report::images_per_s`].
    pub images_per_s: f64,
    /// See [`Report::leakage_pj`].
    pub leakage_pj: ColdWarm<f64>,
    /// See [`Report::dram_background_pj`].
    pub dram_background_pj: ColdWarm<f64>,
    /// The rest of the energy, by unit and memory.
    pub dynamic: ColdWarm<Energy>,
}

impl Cost {
    /// With a technology, brought to the program's hardware point, at a clock.
    pub fn totals(&self, model: &Model, clock_mhz: u32) -> Totals {
        let Cost { cycles, events } = self;
        let us = |cycles: u64| cycles as f64 / f64::from(clock_mhz);
        let dynamic = ColdWarm {
            cold: model.clocked(&events.cold, cycles.cold),
            warm: model.clocked(&events.warm, cycles.warm),
        };
        let leakage_pj = ColdWarm {
            cold: model.leakage_pj(cycles.cold, clock_mhz),
            warm: model.leakage_pj(cycles.warm, clock_mhz),
        };
        let dram_background_pj = ColdWarm {
            cold: model.dram_background_pj(cycles.cold, clock_mhz),
            warm: model.dram_background_pj(cycles.warm, clock_mhz),
        };
        let energy_pj = ColdWarm {
            cold: dynamic.cold.total() + leakage_pj.cold + dram_background_pj.cold,
            warm: dynamic.warm.total() + leakage_pj.warm + dram_background_pj.warm,
        };
        let latency_us = ColdWarm { cold: us(cycles.cold), warm: us(cycles.warm) };
        // pJ / us = uW.
        let power_mw = ColdWarm {
            cold: energy_pj.cold / latency_us.cold * 1e-3,
            warm: energy_pj.warm / latency_us.warm * 1e-3,
        };
        let images_per_s = f64::from(clock_mhz) * 1e6 / cycles.warm as f64;
        Totals {
            cycles: *cycles,
            energy_pj,
            latency_us,
            power_mw,
            images_per_s,
            leakage_pj,
            dram_background_pj,
            dynamic,
        }
    }
}

/// Operations of one-bit lanes that a layer's MACs take: useful / (lanes of the array x cycles)
/// is the utilization.
fn useful_operations(layer: &LayerInfo) -> u64 {
    layer.macs.saturating_mul(u64::from(layer.precision[0]) * u64::from(layer.precision[1]))
}

/// Useful lane operations of these layers / (rows x cols x lanes x cycles), 0 to 1.
pub fn utilization(hw: &HardwarePoint, layers: &[LayerInfo], cycles: u64) -> f64 {
    let elements = u64::from(hw.mac_rows) * u64::from(hw.mac_cols) * u64::from(hw.mac_lanes);
    let useful: f64 = layers.iter().map(|layer| useful_operations(layer) as f64).sum();
    if cycles == 0 { 0.0 } else { useful / (elements as f64 * cycles as f64) }
}

/// Spans of the rows `fetch`, the layers, `tail`: they add up to the image.
fn spans(profile: &Profile, cycles: u64) -> Vec<u64> {
    let mut spans = vec![profile.first_decode.unwrap_or(0)];
    let mut end = spans[0];
    for &last in &profile.last_write {
        // A layer that ends before the one before it takes no time of its own.
        let until = last.unwrap_or(end).max(end);
        spans.push(until - end);
        end = until;
    }
    spans.push(cycles - end);
    spans
}

/// Every parameter of a hardware point by its key, with fingerprint and technology.
pub fn hardware_values(
    hw: &HardwarePoint,
    technology: &str,
    clock_mhz: u32,
) -> BTreeMap<String, Value> {
    let values =
        PARAMETERS.iter().zip(hw.values()).map(|(p, value)| (p.key.to_owned(), value.into()));
    let mut all: BTreeMap<String, Value> = values.collect();
    all.insert("clock.mhz".into(), clock_mhz.into());
    all.insert("fingerprint".into(), format!("{:08x}", hw.fingerprint()).into());
    all.insert("technology".into(), technology.into());
    all
}

/// The schema of [`hardware_values`].
pub fn hardware_schema(_: &mut SchemaGenerator) -> Schema {
    let parameter = |p: &Parameter| {
        let (minimum, maximum) = (p.range.start(), p.range.end());
        let schema = json!({
            "description": p.doc, "type": "integer", "minimum": minimum, "maximum": maximum
        });
        (p.key.to_owned(), schema)
    };
    let mut properties: Map<String, Value> = PARAMETERS.iter().map(parameter).collect();
    let text = |doc: &str| json!({ "description": doc, "type": "string" });
    properties
        .insert("fingerprint".into(), text("CRC-32 of all that results and cycles depend on."));
    properties.insert("technology".into(), text("Technology whose energies are used."));
    let required: Vec<&String> = properties.keys().collect();
    json_schema!({
        "description": "A hardware point: every parameter by its key.",
        "type": "object",
        "properties": properties,
        "required": required
    })
}

impl Simulation {
    /// What both images take.
    pub fn cost(&self) -> Cost {
        let events = |start| self.profile(start).all_events();
        let cycles = |start| self.timing(start).cycles;
        Cost {
            cycles: ColdWarm { cold: cycles(Start::Cold), warm: cycles(Start::Warm) },
            events: ColdWarm { cold: events(Start::Cold), warm: events(Start::Warm) },
        }
    }

    /// What the program costs with a technology at a clock.
    pub fn report(&self, technology: &Technology, clock_mhz: u32) -> Report {
        let program = self.program();
        let hw = &program.hardware;
        let model = Model::new(technology, hw);
        let both = [Start::Cold, Start::Warm].map(|start| {
            let (profile, cycles) = (self.profile(start), self.timing(start).cycles);
            (profile, spans(profile, cycles))
        });
        let [cold, warm] = &both;
        let cost = self.cost();
        let totals = cost.totals(&model, clock_mhz);
        let Totals {
            cycles,
            energy_pj,
            latency_us,
            power_mw,
            images_per_s,
            leakage_pj,
            dram_background_pj,
            dynamic,
        } = totals;
        let pair =
            |f: fn(&Energy) -> f64| ColdWarm { cold: f(&dynamic.cold), warm: f(&dynamic.warm) };

        let layers = program.layers.len();
        let row = |i: usize| {
            // Row 0 is fetch with the front end's events, the last row is tail, which has none of
            // its own.
            let layer = i.checked_sub(1).filter(|&l| l < layers);
            let events = |profile: &Profile| match layer {
                Some(l) => profile.events[l],
                None if i == 0 => profile.events[layers],
                None => Events::default(),
            };
            let (events_cold, events_warm) = (events(cold.0), events(warm.0));
            let row_energy = |events: &Events, span: u64| {
                model.clocked(events, span).total()
                    + model.leakage_pj(span, clock_mhz)
                    + model.dram_background_pj(span, clock_mhz)
            };
            let info = layer.map(|l| &program.layers[l]);
            let name = info.map_or(if i == 0 { "fetch" } else { "tail" }, |l| &l.name);
            let span = warm.1[i];
            LayerReport {
                name: name.to_owned(),
                summary: info.map_or(String::new(), |l| l.summary.clone()),
                cycles: span,
                cycles_cold: cold.1[i],
                share: span as f64 / cycles.warm as f64,
                macs: info.map_or(0, |l| l.macs),
                lane_operations: info.map_or(0, useful_operations),
                dram_bytes: events_warm.dram_bytes(),
                dram_bytes_cold: events_cold.dram_bytes(),
                utilization: info.map_or(0.0, |l| utilization(hw, std::slice::from_ref(l), span)),
                energy_pj: row_energy(&events_warm, span),
                energy_pj_cold: row_energy(&events_cold, cold.1[i]),
                stalls: layer.map_or_else(BTreeMap::new, |l| warm.0.stalls[l].clone()),
            }
        };

        let unit_energy = |unit: Unit| match unit {
            Unit::Load => dynamic.warm.load,
            Unit::Mac => dynamic.warm.mac,
            Unit::Thr => dynamic.warm.thr,
            Unit::Store => dynamic.warm.store,
        };
        let mut units: Vec<UnitReport> = Unit::ALL
            .into_iter()
            .map(|unit| {
                let c = &self.timing(Start::Warm).units[unit as usize];
                let stalls = c
                    .stalls
                    .iter()
                    .map(|&(reason, n)| (stall_name(&program.semaphores, reason), n));
                let (busy, idle) = (c.busy, c.idle);
                UnitReport {
                    name: unit.name().into(),
                    busy,
                    stalls: stalls.collect(),
                    idle,
                    energy_pj: unit_energy(unit),
                }
            })
            .collect();
        // The max-pool unit works in the threshold unit's steps; it has no queue of its own.
        let pool_busy = warm.0.pool_busy;
        let pool = UnitReport {
            name: "pool".into(),
            busy: pool_busy,
            stalls: BTreeMap::new(),
            idle: cycles.warm - pool_busy,
            energy_pj: dynamic.warm.pool,
        };
        units.insert(3, pool);
        let front_end = self.timing(Start::Warm).front_end;
        let stalls = [("queue", front_end.queue), ("halt", front_end.halt)];
        units.push(UnitReport {
            name: "front end".into(),
            busy: front_end.busy,
            stalls: stalls
                .into_iter()
                .filter(|s| s.1 > 0)
                .map(|(name, n)| (name.into(), n))
                .collect(),
            idle: front_end.idle,
            energy_pj: dynamic.warm.front_end,
        });

        let warm_energy = &dynamic.warm;
        let purposes = [
            ("arithmetic", warm_energy.arithmetic),
            ("control", warm_energy.control),
            ("wires", warm_energy.wires),
            ("clock", warm_energy.clock),
            ("memories", warm_energy.memories()),
            ("dram", warm_energy.dram),
            ("dram background", dram_background_pj.warm),
            ("leakage", leakage_pj.warm),
        ];
        let purposes = purposes.map(|(name, pj)| PurposeReport {
            name: name.into(),
            energy_pj: pj,
            share: pj / energy_pj.warm,
        });
        let clock = clock(technology, hw);
        let mut notes = model.notes.clone();
        notes.extend(clock.as_ref().and_then(|clock| clock.warning(clock_mhz)));
        Report {
            name: program.name.clone(),
            hw: hardware_values(hw, &technology.name, clock_mhz),
            cycles,
            energy_pj,
            energy_pj_streamed_weights: pair(|e| e.streamed_weights),
            energy_pj_resident_weights: pair(|e| e.resident_weights),
            latency_us,
            power_mw,
            images_per_s,
            layers: (0..layers + 2).map(row).collect(),
            units,
            memories: self.memories(&cost.events.warm, &dynamic.warm),
            area: area(technology, hw),
            clock,
            leakage_pj,
            dram_background_pj,
            purposes: purposes.into(),
            activity: Activity::STATED,
            energy_error: energy::error(),
            notes,
        }
    }

    fn memories(&self, e: &Events, energy: &Energy) -> Vec<MemoryReport> {
        let (hw, used) = (&self.program().hardware, self.used());
        let bytes = |banks: u32, words: u32, bits: u32| {
            u64::from(banks) * u64::from(words) * u64::from(bits) / 8
        };
        let lanes = hw.mac_lanes;
        let row = |name: &str, bytes, bytes_used, reads, writes, energy_pj| MemoryReport {
            name: name.into(),
            bytes,
            bytes_used,
            reads,
            writes,
            energy_pj,
        };
        let accumulators = values::accumulator_bytes(hw);
        let code = u64::from(hw.fetch_words + 4 * hw.queue_depth)
            * u64::from(qnnsim_isa::hardware::CODE_WORD_BYTES);
        vec![
            row(
                "activations",
                bytes(hw.mac_rows, hw.act_words, lanes),
                bytes(hw.mac_rows, used.activations, lanes),
                e.mac_act_reads + e.store_act_reads,
                e.load_act_writes + e.thr_act_writes,
                energy.activations,
            ),
            row(
                "weights",
                bytes(hw.mac_cols, hw.wgt_words, lanes),
                bytes(hw.mac_cols, used.weights, lanes),
                e.weight_reads,
                e.weight_writes,
                energy.weights,
            ),
            row(
                "thresholds",
                bytes(hw.thr_cols, hw.thr_words, THRESHOLD_ENTRY_BITS),
                bytes(hw.thr_cols, used.thresholds, THRESHOLD_ENTRY_BITS),
                e.threshold_reads,
                e.threshold_writes,
                energy.thresholds,
            ),
            row(
                "accumulators",
                accumulators,
                accumulators,
                e.accumulator_reads,
                e.accumulator_writes,
                energy.accumulators,
            ),
            row("code", code, code, e.instructions, e.instructions, energy.code),
            row(
                "dram",
                0,
                0,
                e.fetch_dram_bytes + e.load_dram_bytes + e.weight_dram_bytes,
                e.store_dram_bytes,
                energy.dram,
            ),
        ]
    }
}
