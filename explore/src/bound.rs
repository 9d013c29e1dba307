//! Lower bounds in closed form: what a plan takes at the least, before any code is emitted or timed.
//!
//! Events do not depend on timing, so most of them are counted exactly; of code, only the words that every layer needs. Cycles are
//! a chain: one layer after the other, for a layer begins when the map before it is complete. A layer takes the longest
//! of what its array, its drain and its write port are busy; the first one also waits for the image, a cold one for its weights.
//! Tests draw networks and points and hold every figure against the exact one.

use qnnsim_compiler::backend::plan::{Axis, LayerPlan, Plan};
use qnnsim_compiler::ir::Network;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::CODE_WORD_BYTES;
use qnnsim_isa::operand::{ThresholdKind, WeightKind};
use qnnsim_simulator::energy::Events;
use qnnsim_simulator::report::{ColdWarm, Cost};

/// What both images of a plan take at the least.
pub fn of(network: &Network, plan: &Plan) -> Cost {
    let layers: Vec<Bound> = plan.layers.iter().map(|layer| Bound::new(&plan.hw, layer)).collect();
    let input = Input::new(network, plan);
    let image = |cold| (cycles(plan, &layers, &input, cold), events(plan, &layers, &input, cold));
    let ((cold_cycles, cold_events), (warm_cycles, warm_events)) = (image(true), image(false));
    Cost {
        cycles: ColdWarm { cold: cold_cycles, warm: warm_cycles },
        events: ColdWarm { cold: cold_events, warm: warm_events },
    }
}

/// The image on its way into the array.
struct Input {
    words: u64,
    /// Beats of all rows.
    beats: u64,
}

impl Input {
    fn new(network: &Network, plan: &Plan) -> Self {
        let (hw, shape, packed) = (&plan.hw, network.input.shape, &plan.input);
        let rows = u64::from(shape.height);
        let pixel = (u64::from(packed.taps) * u64::from(shape.channels)).div_ceil(u64::from(hw.mac_lanes / 8));
        let bytes = u64::from(shape.width) * u64::from(shape.channels);
        Input {
            words: rows * u64::from(packed.windows) * pixel,
            beats: rows * bytes.div_ceil(u64::from(hw.dram_width)),
        }
    }
}

/// One layer's counts.
struct Bound<'a> {
    layer: &'a LayerPlan,
    /// Tiles of output pixels, of channels, and pooling positions.
    window_tiles: u64,
    tiles: u64,
    positions: u64,
    /// Pooled outputs and output channels.
    pixels: u64,
    channels: u64,
    /// Words of channels of an output pixel.
    words: u64,
    /// Cycles of one tile in the array.
    step_cycles: u64,
    /// Cycles of all drains, of the last one, and of all writes at the least.
    drain_cycles: u64,
    last_drain: u64,
    write_cycles: u64,
    last_write: u64,
    /// Words of weights and entries of thresholds, all banks together, and their beats.
    weight_words: u64,
    entries: u64,
    weight_beats: u64,
    entry_beats: u64,
}

impl<'a> Bound<'a> {
    fn new(hw: &HardwarePoint, layer: &'a LayerPlan) -> Self {
        let (mac, thr, (shape, _)) = (&layer.mac, &layer.thr, layer.output);
        let positions = u64::from(mac.axes[0].positions) * u64::from(mac.axes[1].positions);
        let planes = u64::from(mac.w) * if mac.byte { 1 } else { u64::from(mac.a) };
        let (window_tiles, tiles) = (mac.window_tiles, u64::from(mac.tiles));
        let bits = u64::from(thr.bits);
        let group = if thr.kind() == ThresholdKind::Table { u64::from(thr.entries()) } else { bits };
        let drain = |tile| u64::from(hw.columns_of_tile(tile, mac.tiles, mac.last).div_ceil(hw.thr_cols)) * group;
        let words = u64::from(shape.channels.div_ceil(hw.mac_lanes));
        let word_cycles = bits * u64::from(layer.target.s[1]);
        let weight_words = tiles * u64::from(mac.w) * u64::from(mac.k) * u64::from(mac.span);
        let entries = tiles * thr.tile * u64::from(thr.span);
        let beats = |words: u64, bytes: u32| (words * u64::from(bytes)).div_ceil(u64::from(hw.dram_width));
        Bound {
            layer,
            window_tiles,
            tiles,
            positions,
            pixels: u64::from(shape.height) * u64::from(shape.width),
            channels: u64::from(shape.channels),
            words,
            step_cycles: u64::from(mac.k) * planes,
            drain_cycles: window_tiles * positions * (0..mac.tiles).map(drain).sum::<u64>(),
            last_drain: drain(mac.tiles - 1),
            // A tile of output pixels lies in one image row at the least.
            write_cycles: window_tiles * words * word_cycles,
            last_write: word_cycles,
            weight_words,
            entries,
            weight_beats: beats(weight_words, hw.word_bytes()),
            entry_beats: beats(entries, hw.threshold_bytes()),
        }
    }

    fn array_cycles(&self) -> u64 {
        self.window_tiles * self.tiles * self.positions * self.step_cycles
    }

    /// Whether the tap tables are written once for all steps.
    fn whole(&self) -> bool {
        self.layer.mac.parts.len() == 1 && self.layer.mac.axes.iter().all(|axis| axis.step.is_some())
    }

    /// CFG words, and others, that an image needs for this layer.
    fn code(&self, cold: bool) -> (u64, u64) {
        let mac = &self.layer.mac;
        let taps = |entries: u32| u64::from(entries.div_ceil(2));
        let (array, steps) = if self.whole() {
            let entries = |axis: &Axis| (axis.positions - 1) * axis.step.unwrap_or(0) + axis.taps;
            (2 + mac.axes.iter().map(|axis| taps(entries(axis))).sum::<u64>(), 1)
        } else {
            let part = mac.parts.iter().map(|part| 2 + taps(part.count[0]) + taps(part.count[1]));
            let steps = self.window_tiles * self.tiles * self.positions;
            (steps * part.sum::<u64>(), steps * mac.parts.len() as u64)
        };
        let masked = mac.axes.iter().any(|axis| axis.masks.is_some());
        let masks: u64 = mac.axes.iter().map(|axis| u64::from(axis.positions.div_ceil(4))).sum();
        let loads = if !cold { 0 } else { 1 + u64::from(self.entries > 0) };
        // thr.mode, thr.table, pool.dst, mac.act; a load is ld.dst, ld.src, LD and a SYNC behind it.
        let configurations = 4 + if masked { masks } else { 0 } + array + 2 * loads;
        // MAC, THR, a SYNC that waits for the map or the image, one that announces.
        (configurations, steps + 3 + 2 * loads)
    }

    /// Pairs of an output pixel and a kernel tap that lies inside the map.
    fn taps_inside(&self) -> u64 {
        let layer = self.layer;
        let inside = |a: usize| -> u64 {
            let axis = &layer.mac.axes[a];
            let all = (0..axis.positions).flat_map(|position| (0..axis.taps).map(move |tap| (position, tap)));
            all.map(|(position, tap)| {
                let [first, last] = axis.inside(position, tap);
                u64::from((last + 1).saturating_sub(first))
            })
            .sum()
        };
        inside(0) * inside(1)
    }
}

fn events(plan: &Plan, layers: &[Bound], input: &Input, cold: bool) -> Events {
    let hw = &plan.hw;
    let width = u64::from(hw.dram_width);
    let mut e = Events {
        load_act_writes: input.words,
        packed_bytes: input.words * u64::from(hw.mac_lanes / 8),
        load_dram_bytes: input.beats * width,
        // LD's four register groups and the input's LD; THR's SYNC that grants the banks; HALT.
        configurations: 4,
        instructions: 4 + 3,
        ..Events::default()
    };
    for bound in layers {
        let (mac, thr) = (&bound.layer.mac, &bound.layer.thr);
        let Bound { window_tiles, tiles, positions, pixels, channels, step_cycles, .. } = *bound;
        let bipolar = u64::from(mac.kind == WeightKind::Bipolar);
        let elements = pixels * positions * channels;
        let bits = elements * u64::from(thr.bits);
        e.element_cycles += elements * step_cycles;
        e.row_sum_cycles += bipolar * pixels * positions * tiles * step_cycles;
        e.mac_act_reads += bound.taps_inside() * tiles * step_cycles / u64::from(mac.axes[0].taps * mac.axes[1].taps);
        e.weight_reads += window_tiles * positions * channels * step_cycles;
        // A part behind the first reads what it adds to.
        let passes = 2 * mac.parts.len() as u64 - 1;
        e.accumulator_writes += pixels * positions * (channels + bipolar * tiles) * passes;
        e.accumulator_reads += pixels * positions * (channels + bipolar * tiles);
        e.threshold_reads += window_tiles * positions * channels * u64::from(thr.entries());
        match thr.kind() {
            ThresholdKind::Raw => {}
            ThresholdKind::Linear if thr.bits == 1 => e.comparisons += bits,
            ThresholdKind::Linear => e.divided_bits += bits,
            ThresholdKind::Table => e.comparisons += elements * u64::from(thr.entries()),
        }
        e.bipolar_values += bipolar * elements;
        e.pool_bits += if positions > 1 { bits } else { 0 };
        e.word_buffer_bits += bits;
        e.thr_act_writes += pixels * u64::from(thr.bits) * bound.words;
        let (configurations, others) = bound.code(cold);
        e.configurations += configurations;
        e.instructions += configurations + others;
        if cold {
            e.weight_writes += bound.weight_words;
            e.threshold_writes += bound.entries;
            e.weight_dram_bytes += (bound.weight_beats + bound.entry_beats) * width;
        }
    }
    if let Some(last) = layers.last() {
        e.store_act_reads = last.pixels * u64::from(last.layer.target.block());
        let pixel = u64::from(last.layer.target.block()) * u64::from(hw.word_bytes());
        e.store_dram_bytes = last.pixels * pixel.div_ceil(width) * width;
    }
    // The last layer's SYNC posts to STORE's, which waits, sets st.map and stores.
    e.configurations += 1;
    e.instructions += 3;
    e.fetch_dram_bytes = e.instructions * u64::from(CODE_WORD_BYTES);
    e
}

fn cycles(plan: &Plan, layers: &[Bound], input: &Input, cold: bool) -> u64 {
    let hw = &plan.hw;
    let latency = u64::from(hw.dram_latency);
    // Beats that have passed the bus when the loads so far have arrived, and the cycle in which the layers so far are complete.
    let (mut beats, mut end) = (0, 0);
    for (i, layer) in layers.iter().enumerate() {
        if cold {
            beats += layer.weight_beats;
            end = end.max(latency + beats);
            beats += layer.entry_beats;
        }
        let mut array = end + layer.array_cycles();
        if i == 0 {
            // The last tile of output pixels waits for the last image row.
            beats += input.beats;
            array = array.max(latency + beats + layer.tiles * layer.positions * layer.step_cycles);
        }
        let (mac_depth, thr_depth) = (u64::from(hw.mac_depth), u64::from(hw.thr_depth));
        let first = end + layer.step_cycles + mac_depth;
        let drained = (array + mac_depth + layer.last_drain).max(first + layer.drain_cycles);
        end = (drained + thr_depth + layer.last_write).max(first + thr_depth + layer.write_cycles);
    }
    let all = events(plan, layers, input, cold);
    let bytes = all.load_dram_bytes + all.weight_dram_bytes + all.store_dram_bytes + all.fetch_dram_bytes;
    // STORE reads one word a cycle; its last burst follows.
    (end + all.store_act_reads + 1).max(bytes.div_ceil(u64::from(hw.dram_width)))
}
