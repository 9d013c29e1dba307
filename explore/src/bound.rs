//! Lower bounds in closed form: what a plan takes at the least, before any code is emitted or
//! timed.
//!
//! Events do not depend on timing, so most of them are counted exactly; of code, only the words
//! that every layer needs. Cycles are a chain: one layer after the other, for a layer begins when
//! the map before it is complete. A layer takes the longest of what its array, its drain and its
//! write port are busy; the first one also waits for the image, a cold one for its weights.
//! Tests draw networks and points and hold every figure against the exact one.

use std::ops::Range;

use qnnsim_compiler::backend::Plan;
use qnnsim_compiler::backend::emit::least_words;
use qnnsim_compiler::backend::layout::{PackedInput, Source};
use qnnsim_compiler::backend::residency::{Slicing, Storage};
use qnnsim_compiler::backend::stripes::{Home, LayerMaps, Window};
use qnnsim_compiler::backend::tiling::{Axis, TermTiling, Tiling};
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::CODE_WORD_BYTES;
use qnnsim_isa::operand::{ThresholdKind, WeightKind};
use qnnsim_simulator::energy::Events;
use qnnsim_simulator::report::{ColdWarm, Cost};

/// What both images of a plan take at the least.
pub fn of(plan: &Plan) -> Cost {
    let layers: Vec<Bound> = (0..plan.tilings.len()).map(|layer| Bound::new(plan, layer)).collect();
    let inputs: Vec<Input> =
        plan.layouts.inputs.iter().enumerate().map(|packed| Input::new(plan, packed)).collect();
    let image = |cold| (cycles(plan, &layers, &inputs, cold), events(plan, &layers, &inputs, cold));
    let ((cold_cycles, cold_events), (warm_cycles, warm_events)) = (image(true), image(false));
    Cost {
        cycles: ColdWarm { cold: cold_cycles, warm: warm_cycles },
        events: ColdWarm { cold: cold_events, warm: warm_events },
    }
}

/// The image on its way into the array, as one layer reads it.
struct Input {
    layer: usize,
    words: u64,
    /// Beats of all rows.
    beats: u64,
}

impl Input {
    fn new(plan: &Plan, (number, packed): (usize, &PackedInput)) -> Self {
        let (hw, shape) = (&plan.hw, plan.facts.network.input.shape);
        let tiling = &plan.tilings[packed.layer];
        let reads =
            |(t, m): (usize, usize)| tiling.terms[t].members[m].source == Source::Input(number);
        let runs = &plan.placement.maps.layers[packed.layer].runs;
        let windows = runs.iter().flat_map(|run| &run.windows);
        let windows = windows.filter(|window| reads(window.reader) && !window.rows.is_empty());
        let parts: Vec<(u64, Range<u32>)> =
            windows.map(|window| (window.rows.len() as u64, window.columns.clone())).collect();
        let pixel = (u64::from(packed.gather.kernel) * u64::from(shape.channels))
            .div_ceil(u64::from(hw.mac_lanes / 8));
        let beats = |columns: &Range<u32>| {
            let bytes =
                packed.pixels(columns, shape.width).0.len() as u64 * u64::from(shape.channels);
            bytes.div_ceil(u64::from(hw.dram_width))
        };
        Input {
            layer: packed.layer,
            words: parts.iter().map(|(rows, columns)| rows * columns.len() as u64 * pixel).sum(),
            beats: parts.iter().map(|(rows, columns)| rows * beats(columns)).sum(),
        }
    }
}

/// What is loaded of a layer's weights or thresholds.
#[derive(Clone, Copy)]
struct Loads {
    /// Words that stay, all banks together, and those that are loaded in every image, as often as
    /// they are.
    resident: u64,
    streamed: u64,
    /// Beats of what stays.
    resident_beats: u64,
}

impl Loads {
    fn new(plan: &Plan, layer: usize, storage: Storage, tile_words: u64, bytes: u32) -> Self {
        let (hw, tiling) = (&plan.hw, &plan.tilings[layer]);
        let window_tiles = plan.window_tiles(layer);
        let times = match storage.sliced {
            None => 0,
            Some(Slicing::Word) => plan.placement.maps.layers[layer].runs.len() as u64,
            Some(Slicing::Tile) => window_tiles,
            Some(Slicing::Part) => window_tiles * tiling.position_count(),
        };
        let words = |tiles: u32| u64::from(tiles) * tile_words;
        let (resident, streamed) =
            (words(storage.resident), times * words(tiling.tiles - storage.resident));
        Loads { resident, streamed, resident_beats: beats(hw, resident, bytes) }
    }

    /// Words that an image loads.
    fn words(&self, cold: bool) -> u64 {
        self.streamed + if cold { self.resident } else { 0 }
    }
}

/// Beats of so many words.
fn beats(hw: &HardwarePoint, words: u64, bytes: u32) -> u64 {
    (words * u64::from(bytes)).div_ceil(u64::from(hw.dram_width))
}

/// One layer's counts.
struct Bound<'a> {
    layer: usize,
    tiling: &'a Tiling,
    maps: &'a LayerMaps,
    /// Steps of the array for one accumulator bank.
    parts: u64,
    /// Tiles of output pixels, of channels, and pooling positions.
    window_tiles: u64,
    tiles: u64,
    positions: u64,
    /// Pooled outputs and output channels.
    pixels: u64,
    channels: u64,
    /// Words of channels of an output pixel, and those of all planes.
    words: u64,
    block: u64,
    /// Cycles of one tile in the array.
    step_cycles: u64,
    /// Cycles of all drains, of the last one, and of all writes at the least.
    drain_cycles: u64,
    last_drain: u64,
    write_cycles: u64,
    last_write: u64,
    weights: Loads,
    entries: Loads,
}

impl<'a> Bound<'a> {
    fn new(plan: &'a Plan, layer: usize) -> Self {
        let (hw, tiling) = (&plan.hw, &plan.tilings[layer]);
        let (codes, (shape, _)) = (&tiling.codes, plan.facts.layers[layer].output);
        let layout = &plan.layouts.maps[layer];
        let window_tiles = plan.window_tiles(layer);
        let (tiles, positions) = (u64::from(tiling.tiles), tiling.position_count());
        let bits = u64::from(codes.bits);
        let group = match codes.kind() {
            ThresholdKind::Table => u64::from(codes.column_entries()),
            ThresholdKind::Raw | ThresholdKind::Linear => bits,
        };
        let drain = |tile| {
            let columns = hw.columns_of_tile(tile, tiling.tiles, tiling.last);
            u64::from(columns.div_ceil(hw.thr_cols)) * group
        };
        let words = u64::from(shape.channels.div_ceil(hw.mac_lanes));
        let word_cycles = bits * u64::from(layout.s[1]);
        let (weight_words, entries) =
            (tiling.tile_words() * u64::from(tiling.span), codes.tile * u64::from(codes.span));
        let storage = plan.placement.storage[layer];
        let kernels = &plan.placement.kernels[layer];
        Bound {
            layer,
            tiling,
            maps: &plan.placement.maps.layers[layer],
            parts: kernels.iter().map(|kernel| kernel.parts() as u64).sum(),
            window_tiles,
            tiles,
            positions,
            pixels: u64::from(shape.height) * u64::from(shape.width),
            channels: u64::from(shape.channels),
            words,
            block: layout.block.into(),
            step_cycles: tiling.terms.iter().map(TermTiling::cycles).sum(),
            drain_cycles: window_tiles * positions * (0..tiling.tiles).map(drain).sum::<u64>(),
            last_drain: drain(tiling.tiles - 1),
            // A tile of output pixels lies in one image row at the least.
            write_cycles: window_tiles * words * word_cycles,
            last_write: word_cycles,
            weights: Loads::new(plan, layer, storage.weights, weight_words, hw.word_bytes()),
            entries: Loads::new(plan, layer, storage.thresholds, entries, hw.threshold_bytes()),
        }
    }

    /// Words of maps that come from DRAM for its stripes.
    fn window_words(&self, hw: &HardwarePoint) -> u64 {
        let of =
            |window: &Window| window.words * window.place.layout.phases() * u64::from(hw.mac_rows);
        self.maps.runs.iter().flat_map(|run| &run.windows).map(of).sum()
    }

    /// Words of its map that are stored so that they can be loaded again.
    fn stored_words(&self) -> u64 {
        match self.maps.home {
            Home::Scratch { .. } => self.pixels * self.block,
            Home::Memory(_) | Home::Output => 0,
        }
    }

    fn array_cycles(&self) -> u64 {
        self.window_tiles * self.tiles * self.positions * self.step_cycles
    }

    /// Reads of activation words: one for each word, plane pair and channel tile of each pair of an
    /// output pixel and a kernel tap that lies inside the map.
    fn act_reads(&self) -> u64 {
        let inside = |axis: &Axis| -> u64 {
            let all = (0..axis.positions())
                .flat_map(|position| (0..axis.taps()).map(move |tap| (position, tap)));
            all.map(|(position, tap)| {
                let [first, last] = axis.inside(position, tap);
                u64::from((last + 1).saturating_sub(first))
            })
            .sum()
        };
        let of = |term: &TermTiling| {
            let rows: u64 = term.members.iter().map(|member| inside(&member.y)).sum();
            let taps = term.taps();
            rows * inside(&term.x) * (term.cycles() / u64::from(taps[0] * taps[1]))
        };
        self.tiles * self.tiling.terms.iter().map(of).sum::<u64>()
    }
}

fn events(plan: &Plan, layers: &[Bound], inputs: &[Input], cold: bool) -> Events {
    let hw = &plan.hw;
    let width = u64::from(hw.dram_width);
    let mut e = Events {
        // THR's SYNC that grants the banks; HALT.
        instructions: 2,
        ..Events::default()
    };
    for input in inputs.iter().filter(|input| input.beats > 0) {
        // LD's four register groups and an LD for each reader of the input.
        e.configurations += 4;
        e.instructions += 5;
        e.load_act_writes += input.words;
        e.packed_bytes += input.words * u64::from(hw.mac_lanes / 8);
        e.load_dram_bytes += input.beats * width;
    }
    for bound in layers {
        let (terms, codes) = (&bound.tiling.terms, &bound.tiling.codes);
        let Bound { window_tiles, tiles, positions, pixels, channels, step_cycles, .. } = *bound;
        let bipolar = u64::from(terms[0].kind == WeightKind::Bipolar);
        let elements = pixels * positions * channels;
        let bits = elements * u64::from(codes.bits);
        e.element_cycles += elements * step_cycles;
        e.row_sum_cycles += bipolar * pixels * positions * tiles * step_cycles;
        e.mac_act_reads += bound.act_reads();
        e.weight_reads += window_tiles * positions * channels * step_cycles;
        // A part behind the first reads what it adds to.
        let passes = 2 * bound.parts - 1;
        e.accumulator_writes += pixels * positions * (channels + bipolar * tiles) * passes;
        e.accumulator_reads += pixels * positions * (channels + bipolar * tiles);
        e.threshold_reads +=
            window_tiles * positions * channels * u64::from(codes.column_entries());
        match codes.kind() {
            ThresholdKind::Raw => {}
            ThresholdKind::Linear if codes.bits == 1 => e.comparisons += bits,
            ThresholdKind::Linear => e.divided_bits += bits,
            ThresholdKind::Table => e.comparisons += elements * u64::from(codes.column_entries()),
        }
        e.bipolar_values += bipolar * elements;
        e.pool_bits += if positions > 1 { bits } else { 0 };
        e.word_buffer_bits += bits;
        e.thr_act_writes += pixels * u64::from(codes.bits) * bound.words;
        let (configurations, others) = least_words(plan, bound.layer, cold);
        e.configurations += configurations;
        e.instructions += configurations + others;
        let (words, entries) = (bound.weights.words(cold), bound.entries.words(cold));
        e.weight_writes += words;
        e.threshold_writes += entries;
        let (loaded, stored) = (bound.window_words(hw), bound.stored_words());
        e.load_act_writes += loaded;
        e.load_dram_bytes += beats(hw, loaded, hw.word_bytes()) * width;
        e.store_act_reads += stored;
        e.store_dram_bytes += beats(hw, stored, hw.word_bytes()) * width;
        e.weight_dram_bytes +=
            (beats(hw, words, hw.word_bytes()) + beats(hw, entries, hw.threshold_bytes())) * width;
    }
    if let Some(last) = layers.last() {
        e.store_act_reads += last.pixels * last.block;
        let pixel = last.block * u64::from(hw.word_bytes());
        e.store_dram_bytes += last.pixels * pixel.div_ceil(width) * width;
    }
    // The last layer's SYNC posts to STORE's, which waits, sets st.map and stores.
    e.configurations += 1;
    e.instructions += 3;
    e.fetch_dram_bytes = e.instructions * u64::from(CODE_WORD_BYTES);
    e
}

fn cycles(plan: &Plan, layers: &[Bound], inputs: &[Input], cold: bool) -> u64 {
    let hw = &plan.hw;
    let latency = u64::from(hw.dram_latency);
    // Beats that have passed the bus when the loads so far have arrived, and the cycle in which the
    // layers so far are complete.
    let (mut beats, mut end) = (0, 0);
    for (i, layer) in layers.iter().enumerate() {
        if cold && layer.weights.resident > 0 {
            beats += layer.weights.resident_beats;
            end = end.max(latency + beats);
        }
        if cold {
            beats += layer.entries.resident_beats;
        }
        let mut array = end + layer.array_cycles();
        if i == 0 {
            // The last tile of output pixels waits for the last image row.
            beats += inputs
                .iter()
                .filter(|input| input.layer == 0)
                .map(|input| input.beats)
                .sum::<u64>();
            array = array.max(latency + beats + layer.tiles * layer.positions * layer.step_cycles);
        }
        let (mac_depth, thr_depth) = (u64::from(hw.mac_depth), u64::from(hw.thr_depth));
        let first = end + layer.step_cycles + mac_depth;
        let drained = (array + mac_depth + layer.last_drain).max(first + layer.drain_cycles);
        end = (drained + thr_depth + layer.last_write).max(first + thr_depth + layer.write_cycles);
    }
    let all = events(plan, layers, inputs, cold);
    let bytes =
        all.load_dram_bytes + all.weight_dram_bytes + all.store_dram_bytes + all.fetch_dram_bytes;
    // STORE reads one word a cycle; its last burst follows. What stripes have stored may be behind
    // it.
    let stored = layers.last().map_or(0, |last| {
        let [height, width] = match (last.maps.home, last.maps.runs.last()) {
            (Home::Output, Some(run)) => run.size(),
            _ => last.tiling.out,
        };
        u64::from(height) * u64::from(width) * last.block
    });
    (end + stored + 1).max(bytes.div_ceil(u64::from(hw.dram_width)))
}
