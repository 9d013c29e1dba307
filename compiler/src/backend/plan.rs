//! The plan: every layer's loops, tables and places on a given hardware point.
//!
//! Numbers only; [`emit`](super::emit) turns a plan into instructions and data. Printed by `--emit plan`.

use std::fmt;
use std::sync::Arc;

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::descriptor::{Code, MapShape};
use qnnsim_isa::operand::{Tap, ThresholdKind, WeightKind as MachineKind};
use qnnsim_isa::program::{LayerInfo, MapPlace};

use super::thresholds::{Thresholds, encode};
use crate::diagnostic::Diagnostic;
use crate::ir::{Activation, Layer, MapId, Network, WeightKind};

/// A whole network, planned.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The hardware point.
    pub hw: HardwarePoint,
    /// The input map: how the packer writes it.
    pub input: PackedInput,
    /// By layer.
    pub layers: Vec<LayerPlan>,
    /// Words (entries) in use of each bank: activations, weights, thresholds.
    pub used: [u64; 3],
}

/// How the input is packed.
#[derive(Debug, Clone)]
pub struct PackedInput {
    /// Pixels of the image row gathered in a packed pixel.
    pub taps: u32,
    /// Pixels by which the first window begins before the row.
    pub left: u32,
    /// Pixels from one window to the next.
    pub step: u32,
    /// Packed pixels of a row.
    pub windows: u32,
    /// The packed map; its shape counts windows as width and packed words as channels.
    pub place: Place,
}

/// A map's place in the activation memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Word address in every bank.
    pub base: u64,
    /// Words of a pixel and plane.
    pub words: u32,
    /// Planes.
    pub planes: u32,
    /// Phases, y and x.
    pub s: [u32; 2],
    /// Index distance of one row within a phase.
    pub pitch: u32,
    /// Words from one phase to the next.
    pub phase: u64,
}

impl Place {
    fn new(size: [u32; 2], words: u32, planes: u32, s: [u32; 2], pitch: u32, rows: u32) -> Self {
        let [height, width] = size;
        let last = u64::from(height.div_ceil(s[0]) - 1) * u64::from(pitch) + u64::from(width.div_ceil(s[1]));
        let phase = last.div_ceil(u64::from(rows)) * u64::from(words) * u64::from(planes);
        Place { base: 0, words, planes, s, pitch, phase }
    }

    /// Words of one pixel in its bank.
    pub fn block(&self) -> u32 {
        self.words * self.planes
    }

    /// Words that the map takes in every bank.
    pub fn size(&self) -> u64 {
        self.phase * u64::from(self.s[0]) * u64::from(self.s[1])
    }
}

/// One layer on the machine.
#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// Name.
    pub name: String,
    /// One line for reports.
    pub summary: String,
    /// Multiply-accumulates.
    pub products: u64,
    /// The packer gathers the kernel's columns, so that the array sees a kernel of one column.
    pub packed: bool,
    /// The map it reads.
    pub source: Place,
    /// The map it writes.
    pub target: Place,
    /// Shape and code of that map.
    pub output: (MapShape, Code),
    /// What the array computes.
    pub mac: MacPlan,
    /// What the threshold unit and the max-pool unit make of it.
    pub thr: ThrPlan,
}

/// The array's part of a layer.
#[derive(Debug, Clone)]
pub struct MacPlan {
    /// Bits of an activation.
    pub a: u32,
    /// Activations are two's complement.
    pub signed: bool,
    /// Byte mode.
    pub byte: bool,
    /// Bits of a weight.
    pub w: u32,
    /// Meaning of the weight bits.
    pub kind: MachineKind,
    /// Lanes used in the last word of a pixel.
    pub tail: u32,
    /// Code that a tap outside contributes.
    pub pad: u32,
    /// Parts of the kernel, each small enough for the tap tables; one, if the tables hold all positions at once.
    pub parts: Vec<Part>,
    /// Tap constants by axis.
    pub axes: [Axis; 2],
    /// Window tiles, channel tiles, columns of the last channel tile.
    pub window_tiles: u64,
    /// See `window_tiles`.
    pub tiles: u32,
    /// See `window_tiles`.
    pub last: u32,
    /// Words of the whole kernel, for one plane.
    pub k: u32,
    /// Weight address.
    pub base: u64,
    /// Columns in use of the widest tile: banks that the weights are spread over.
    pub span: u32,
}

/// A rectangle of kernel taps: first and count, y and x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First tap.
    pub first: [u32; 2],
    /// Taps.
    pub count: [u32; 2],
}

/// Kernel and pooling along one axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Kernel taps.
    pub taps: u32,
    /// Pooling positions.
    pub positions: u32,
    /// Table entries from one position to the next; none if tables are written for each position anew.
    pub step: Option<u32>,
    /// Input distance between outputs.
    pub stride: u32,
    /// Input coordinate of tap 0 of position 0 of output 0.
    pub origin: i64,
    /// Input distance of pooling positions.
    pub position_stride: u32,
    /// Input distance of taps.
    pub dilation: u32,
    /// Size of the input.
    pub input: u32,
    /// Size of the (pooled) output.
    pub output: u32,
    /// Outputs for which each pooling position lies inside the convolution's output, if one does not always.
    pub masks: Option<Vec<[u32; 2]>>,
}

impl Axis {
    /// Input coordinate of a tap for output 0.
    pub fn constant(&self, position: u32, tap: u32) -> i64 {
        self.origin + i64::from(position * self.position_stride) + i64::from(tap * self.dilation)
    }

    /// First and last output for which a tap lies inside the map; first > last if it never does.
    pub fn inside(&self, position: u32, tap: u32) -> [u32; 2] {
        Self::outputs_inside(self.constant(position, tap), self.stride, self.input, self.output)
    }

    /// The outputs for which `constant + output * stride` lies inside a map of this size.
    fn outputs_inside(constant: i64, stride: u32, size: u32, outputs: u32) -> [u32; 2] {
        let stride = i64::from(stride);
        let first = (-constant).max(0).div_euclid(stride) + i64::from((-constant).max(0) % stride != 0);
        let last = (i64::from(size) - 1 - constant).div_euclid(stride).min(i64::from(outputs) - 1);
        if first > last { [1, 0] } else { [first as u32, last as u32] }
    }

    /// The tap-table entry of a tap: along y in rows of `pitch`, along x in pixels.
    pub fn entry(&self, axis: usize, position: u32, tap: u32, place: &Place, rows: u32) -> Tap {
        let constant = self.constant(position, tap);
        let s = i64::from(place.s[axis]);
        let distance = constant.div_euclid(s) * if axis == 0 { i64::from(place.pitch) } else { 1 };
        let phases = constant.rem_euclid(s) * if axis == 0 { i64::from(place.s[1]) } else { 1 };
        let blocks = distance.div_euclid(i64::from(rows));
        let [first, last] = self.inside(position, tap);
        Tap {
            offset: (blocks * i64::from(place.block()) + phases * place.phase as i64) as i32,
            remainder: distance.rem_euclid(i64::from(rows)) as u32,
            first,
            last,
        }
    }

    /// Entries that a table needs to hold all positions.
    fn entries(&self, step: u32) -> u32 {
        (self.positions - 1) * step + self.taps
    }
}

/// The threshold unit's and the max-pool unit's part of a layer.
#[derive(Debug, Clone)]
pub struct ThrPlan {
    /// Planes of a code.
    pub bits: u32,
    /// Codes are two's complement.
    pub signed: bool,
    /// Entries, or none for raw output.
    pub thresholds: Option<Arc<Thresholds>>,
    /// Entry address.
    pub base: u64,
    /// Entries of one channel tile.
    pub tile: u64,
    /// Banks that the entries are spread over.
    pub span: u32,
}

impl ThrPlan {
    /// Mode of the threshold unit.
    pub fn kind(&self) -> ThresholdKind {
        kind_of(self.thresholds.as_deref())
    }

    /// Entries of one column.
    pub fn entries(&self) -> u32 {
        match self.kind() {
            ThresholdKind::Raw => 0,
            ThresholdKind::Linear => 1,
            ThresholdKind::Table => (1 << self.bits) - 1,
        }
    }
}

/// What a network's layers are on every hardware point: shapes, thresholds. Found once for any number of plans.
#[derive(Debug, Clone)]
pub struct Facts(Vec<LayerFacts>);

#[derive(Debug, Clone)]
struct LayerFacts {
    input: (MapShape, Code),
    output: (MapShape, Code),
    products: u64,
    summary: String,
    /// Bits of an activation and of a weight.
    precision: [u32; 2],
    kind: MachineKind,
    /// Entries, or none for raw output.
    thresholds: Option<Arc<Thresholds>>,
    /// Accumulators beyond 32 bits.
    beyond: Option<(i64, i64)>,
}

impl Facts {
    /// Of a network.
    pub fn new(network: &Network) -> Self {
        let of = |(index, layer): (usize, &Layer)| {
            let (input, code) = network.map(layer.source);
            let output = network.map(MapId(index + 1));
            let bounds = layer.accumulator_bounds(code);
            let beyond = bounds.iter().find(|b| b.0 < i64::from(i32::MIN) || b.1 > i64::from(i32::MAX)).copied();
            let thresholds = match &layer.activation {
                Activation::Steps { channels, .. } if beyond.is_none() => {
                    Some(Arc::new(encode(channels, &bounds, output.1.bits, -output.1.min())))
                }
                Activation::Steps { .. } | Activation::Raw => None,
            };
            let mode = kind_of(thresholds.as_deref());
            let mixed = layer.conv.groups > 1;
            let (kind, w) = match layer.weights.kind {
                WeightKind::Unsigned1 => (MachineKind::Unsigned, 1),
                // Zeros between groups have no bipolar code.
                WeightKind::Bipolar if mixed => (MachineKind::Signed, 2),
                WeightKind::Bipolar => (MachineKind::Bipolar, 1),
                WeightKind::Signed(bits) => (MachineKind::Signed, bits),
            };
            let a = if layer.source == MapId(0) { 8 } else { code.bits };
            LayerFacts {
                input: (input, code),
                output,
                products: layer.products(input),
                summary: summary(layer, input, output, mode),
                precision: [a, w],
                kind,
                thresholds,
                beyond,
            }
        };
        Facts(network.layers.iter().enumerate().map(of).collect())
    }

    /// What reports say about the layers, without a place for their maps.
    pub fn layer_infos(&self, network: &Network) -> Vec<LayerInfo> {
        let info = |(layer, facts): (&Layer, &LayerFacts)| LayerInfo {
            name: layer.name.clone(),
            summary: facts.summary.clone(),
            products: facts.products,
            precision: facts.precision,
            map: None,
        };
        network.layers.iter().zip(&self.0).map(info).collect()
    }
}

/// Mode of the threshold unit for these entries.
fn kind_of(thresholds: Option<&Thresholds>) -> ThresholdKind {
    thresholds.map_or(ThresholdKind::Raw, |t| t.kind)
}

/// Plans a network on a hardware point.
///
/// # Errors
/// Every layer that the machine cannot run, and every memory that is too small: which, in which layer, by how much.
pub fn plan(network: &Network, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
    let plan = Plan::in_any_memory(network, &Facts::new(network), hw)?;
    plan.check()?;
    Ok(plan)
}

fn plan_layers(network: &Network, facts: &Facts, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut layers = Vec::new();
    for (index, (layer, facts)) in network.layers.iter().zip(&facts.0).enumerate() {
        match plan_layer(network, index, layer, facts, hw) {
            Ok(plan) => layers.push(plan),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let Some(first) = network.layers.first() else {
        return Err(vec![Diagnostic::new("the network has no layer that the machine could run")]);
    };
    let input = packed_input(network, first, &layers[0]);
    // A map is laid out for its reader; the last one is read by STORE, pixel after pixel.
    for index in 0..layers.len() {
        let reader = network.layers.iter().position(|l| l.source == MapId(index + 1));
        let (shape, code) = layers[index].output;
        let words = shape.channels.div_ceil(hw.mac_lanes);
        layers[index].target = match reader {
            Some(reader) => layers[reader].source,
            None => Place::new([shape.height, shape.width], words, code.bits, [1, 1], shape.width, hw.mac_rows),
        };
    }
    Ok(Plan { hw: hw.clone(), input, layers, used: [0; 3] })
}

/// The layer's source as it must lie in memory, its loops and its thresholds; addresses follow later.
fn plan_layer(
    network: &Network,
    index: usize,
    layer: &Layer,
    facts: &LayerFacts,
    hw: &HardwarePoint,
) -> Result<LayerPlan, Diagnostic> {
    let refuse = |message: String| Diagnostic::new(format!("layer `{}`: {message}", layer.name));
    let ((input, code), output) = (facts.input, facts.output);
    let conv = layer.conv_shape(input);
    let (shape, _) = output;
    if shape.height == 0 || shape.width == 0 || shape.channels == 0 {
        return Err(refuse("its output is empty".into()));
    }
    let readers = network.layers.iter().filter(|l| l.source == layer.source).count();
    if readers > 1 {
        return Err(refuse("its input is read by another layer, too; only chains of layers are supported".into()));
    }
    if matches!(layer.activation, Activation::Raw) != (index + 1 == network.layers.len()) {
        return Err(refuse("only the last layer, and it always, gives its accumulators as they are".into()));
    }
    let from_dram = layer.source == MapId(0);
    // The packer gathers the kernel's columns where they are neighbours; then the array sees one.
    let packed = from_dram && layer.conv.dilation[1] == 1;
    let axis = |a: usize| {
        let one = crate::ir::Pool { kernel: [1, 1], stride: [1, 1], pads: [0; 4], ceil_mode: false };
        let pool = layer.pool.unwrap_or(one);
        let (conv_stride, pool_stride) = (layer.conv.stride[a], pool.stride[a]);
        let (pads, pool_pads) = (layer.conv.pads[a], pool.pads[a]);
        let conv_size = [conv.height, conv.width][a];
        let outputs = [shape.height, shape.width][a];
        let positions = pool.kernel[a];
        let mask = |p: u32| Axis::outputs_inside(i64::from(p) - i64::from(pool_pads), pool_stride, conv_size, outputs);
        let masks: Vec<[u32; 2]> = (0..positions).map(mask).collect();
        let masks = (masks.iter().any(|&m| m != [0, outputs - 1])).then_some(masks);
        let in_windows = packed && a == 1;
        Axis {
            taps: if in_windows { 1 } else { layer.conv.kernel[a] },
            positions,
            step: None,
            stride: if in_windows { pool_stride } else { conv_stride * pool_stride },
            origin: if in_windows {
                -i64::from(pool_pads)
            } else {
                -i64::from(pool_pads * conv_stride) - i64::from(pads)
            },
            position_stride: if in_windows { 1 } else { conv_stride },
            dilation: if in_windows { 1 } else { layer.conv.dilation[a] },
            input: if in_windows { conv_size } else { [input.height, input.width][a] },
            output: outputs,
            masks,
        }
    };
    let mut axes = [axis(0), axis(1)];
    let s = [axes[0].stride, axes[1].stride];
    if s.iter().any(|&s| s > 15) {
        return Err(refuse(format!(
            "convolution stride x pooling stride is {}x{}; at most 15 is supported",
            s[0], s[1]
        )));
    }
    if axes.iter().any(|a| a.positions > 15) {
        return Err(refuse("a pooling window larger than 15 is not supported".into()));
    }
    let (words, planes, tail) = if from_dram {
        let lanes = 8 * input.channels * if packed { layer.conv.kernel[1] } else { 1 };
        let words = lanes.div_ceil(hw.mac_lanes);
        (words, 1, lanes - (words - 1) * hw.mac_lanes)
    } else {
        let words = input.channels.div_ceil(hw.mac_lanes);
        (words, code.bits, input.channels - (words - 1) * hw.mac_lanes)
    };
    let size = [axes[0].input, axes[1].input];
    let pitch = size[1].div_ceil(s[1]).max(shape.width);
    let source = Place::new(size, words, planes, s, pitch, hw.mac_rows);
    let parts = split(&mut axes, hw.mac_taps);
    let (tiles, last) = hw.channel_tiles(shape.channels);
    let grid = u64::from(shape.height - 1) * u64::from(pitch) + u64::from(shape.width);
    let span = (0..tiles).map(|t| hw.columns_of_tile(t, tiles, last)).max().unwrap_or(1);
    let (kind, [a, w]) = (facts.kind, facts.precision);
    if a > 8 {
        return Err(refuse(format!("its input has {a} bits; the array takes at most 8")));
    }
    let mac = MacPlan {
        a,
        signed: code.signed,
        byte: from_dram,
        w,
        kind,
        tail,
        pad: (layer.pad_value & ((1 << a) - 1)) as u32,
        k: axes[0].taps * axes[1].taps * words,
        parts,
        axes,
        window_tiles: grid.div_ceil(u64::from(hw.mac_rows)),
        tiles,
        last,
        base: 0,
        span,
    };
    if let Some((low, high)) = facts.beyond {
        return Err(refuse(format!("its accumulators can reach {low} to {high}, beyond 32 bits")));
    }
    let (bits, signed) = (output.1.bits, output.1.signed);
    let mut thr =
        ThrPlan { bits, signed, thresholds: facts.thresholds.clone(), base: 0, tile: 0, span: span.min(hw.thr_cols) };
    thr.tile = u64::from(span.div_ceil(hw.thr_cols)) * u64::from(thr.entries());
    let (name, summary, products) = (layer.name.clone(), facts.summary.clone(), facts.products);
    Ok(LayerPlan { name, summary, products, packed, source, target: source, output, mac, thr })
}

fn summary(layer: &Layer, input: MapShape, output: (MapShape, Code), kind: ThresholdKind) -> String {
    let (output, Code { bits, .. }) = output;
    let [ky, kx] = layer.conv.kernel;
    let dense = ky == input.height && kx == input.width && output.height == 1 && output.width == 1;
    let what = if dense {
        format!("dense {} -> {}", input.values(), output.channels)
    } else {
        format!("conv {ky}x{kx} {} -> {}", input.channels, output.channels)
    };
    let pool = layer.pool.map(|p| format!(", max pool {}x{}", p.kernel[0], p.kernel[1])).unwrap_or_default();
    let mode = ["raw", "linear", "table"][kind as usize];
    format!("{what}, {mode} {bits} bit{pool}")
}

/// Chooses how the tap tables are used: all positions at once if they fit, else parts of the kernel,
/// for which the tables are written before each step.
fn split(axes: &mut [Axis; 2], table: u32) -> Vec<Part> {
    let taps = [axes[0].taps, axes[1].taps];
    let fits = |axis: &Axis| {
        // Neighbouring positions share entries where taps are as far apart as table entries.
        let shared = (axis.dilation == 1 || axis.taps == 1).then_some(axis.position_stride);
        let steps = [shared, Some(axis.taps)];
        let best = steps.into_iter().flatten().min_by_key(|&step| axis.entries(step))?;
        (axis.entries(best) <= table && best <= 63).then_some(best)
    };
    if let (Some(y), Some(x)) = (fits(&axes[0]), fits(&axes[1])) {
        (axes[0].step, axes[1].step) = (Some(y), Some(x));
        return vec![Part { first: [0, 0], count: taps }];
    }
    let mut parts = Vec::new();
    for y in (0..taps[0]).step_by(table as usize) {
        for x in (0..taps[1]).step_by(table as usize) {
            parts.push(Part { first: [y, x], count: [table.min(taps[0] - y), table.min(taps[1] - x)] });
        }
    }
    parts
}

fn packed_input(network: &Network, first: &Layer, plan: &LayerPlan) -> PackedInput {
    let packed = plan.packed;
    let conv = first.conv_shape(network.input.shape);
    PackedInput {
        taps: if packed { first.conv.kernel[1] } else { 1 },
        left: if packed { first.conv.pads[1] } else { 0 },
        step: if packed { first.conv.stride[1] } else { 1 },
        windows: if packed { conv.width } else { network.input.shape.width },
        place: plan.source,
    }
}

impl Plan {
    /// The plan for a machine whose memories may be of any size: what it takes of them is `used`, and [`Plan::shortages`] says
    /// what a machine lacks. Nothing in it but `hw` depends on their sizes.
    ///
    /// # Errors
    /// Every layer that the machine cannot run.
    pub fn in_any_memory(network: &Network, facts: &Facts, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
        let mut plan = plan_layers(network, facts, hw)?;
        plan.allocate(network);
        Ok(plan)
    }

    /// Whether its machine has the memory, and instructions the room.
    ///
    /// # Errors
    /// Every memory that is too small: in which layer, by how much. Then every layer that the instruction set has no room for.
    pub fn check(&self) -> Result<(), Vec<Diagnostic>> {
        let errors = self.shortages(&self.hw);
        if errors.is_empty() { self.encodes() } else { Err(errors) }
    }

    /// Whether instructions have the room.
    ///
    /// # Errors
    /// Every layer that the instruction set has no room for.
    pub fn encodes(&self) -> Result<(), Vec<Diagnostic>> {
        let errors: Vec<Diagnostic> = self.layers.iter().filter_map(|l| encoding_limits(l, self)).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Gives every map, weight and threshold its address.
    fn allocate(&mut self, network: &Network) {
        // Weights and thresholds of all layers are resident.
        let (mut weights, mut entries) = (0, 0);
        for layer in &mut self.layers {
            (layer.mac.base, layer.thr.base) = (weights, entries);
            weights += layer.weight_words();
            entries += layer.threshold_entries();
        }
        // Maps: first fit among those alive at the same time. A map is alive from the layer that writes it to
        // the last one that reads it; the input from the first layer on.
        let count = self.layers.len();
        let alive = |map: usize| {
            let last = network.layers.iter().rposition(|l| l.source == MapId(map)).unwrap_or(count);
            map.saturating_sub(1)..=last
        };
        let mut placed: Vec<(std::ops::RangeInclusive<usize>, u64, u64)> = Vec::new();
        for map in 0..=count {
            let (life, size) = (alive(map), self.place(map).size());
            let mut taken: Vec<(u64, u64)> = placed
                .iter()
                .filter(|(other, ..)| other.start() <= life.end() && life.start() <= other.end())
                .map(|&(_, base, size)| (base, base + size))
                .collect();
            taken.sort_unstable();
            let base = taken.iter().fold(0, |base, &(from, to)| if base + size <= from { base } else { base.max(to) });
            placed.push((life, base, size));
            if let Some(layer) = map.checked_sub(1) {
                self.layers[layer].target.base = base;
            } else {
                self.input.place.base = base;
            }
            for (reader, plan) in network.layers.iter().zip(&mut self.layers) {
                if reader.source == MapId(map) {
                    plan.source.base = base;
                }
            }
        }
        let top = placed.iter().map(|&(_, base, size)| base + size).max().unwrap_or(0);
        self.used = [top, weights, entries];
    }

    /// Map 0 is the packed input, map i + 1 what layer i writes.
    fn place(&self, map: usize) -> Place {
        map.checked_sub(1).map_or(self.input.place, |layer| self.layers[layer].target)
    }

    /// What a machine's memories lack, which otherwise is the plan's: by how much, and in which layer they are full.
    pub fn shortages(&self, hw: &HardwarePoint) -> Vec<Diagnostic> {
        let [activations, weights, entries] = self.used;
        let lanes = u64::from(hw.mac_lanes);
        let mut errors = Vec::new();
        let mut lack = |memory, key, need, have: u32, banks, bits, full: &dyn Fn(usize, &LayerPlan) -> bool| {
            if need > u64::from(have) {
                let layer = self.layers.iter().enumerate().find(|&(i, l)| full(i, l)).map_or("", |(_, l)| &l.name);
                errors.push(shortage(memory, layer, key, need, have, banks, bits));
            }
        };
        lack("weight", "wgt.words", weights, hw.wgt_words, hw.mac_cols, lanes, &|_, l| {
            l.mac.base + l.weight_words() > u64::from(hw.wgt_words)
        });
        let bits = u64::from(qnnsim_isa::hardware::THRESHOLD_ENTRY_BITS);
        lack("threshold", "thr.words", entries, hw.thr_words, hw.thr_cols, bits, &|_, l| {
            l.thr.base + l.threshold_entries() > u64::from(hw.thr_words)
        });
        let full = |map: usize| self.place(map).base + self.place(map).size() > u64::from(hw.act_words);
        lack("activation", "act.words", activations, hw.act_words, hw.mac_rows, lanes, &|layer, _| {
            full(layer + 1) || layer == 0 && full(0)
        });
        errors
    }
}

impl LayerPlan {
    /// Words of weights in every bank.
    fn weight_words(&self) -> u64 {
        u64::from(self.mac.tiles) * u64::from(self.mac.w) * u64::from(self.mac.k)
    }

    /// Threshold entries in every bank.
    fn threshold_entries(&self) -> u64 {
        u64::from(self.mac.tiles) * self.thr.tile
    }
}

fn shortage(memory: &str, layer: &str, key: &str, need: u64, have: u32, banks: u32, word_bits: u64) -> Diagnostic {
    let bytes = |words: u64| (words * u64::from(banks) * word_bits).div_ceil(8);
    let lack = bytes(need) - bytes(u64::from(have));
    Diagnostic::new(format!("the {memory} memory lacks {lack} bytes; it is full in layer `{layer}`"))
        .note(format!(
            "the network needs {need} words a bank and has {have}; with {banks} bank(s) that is {} and {} bytes",
            bytes(need),
            bytes(u64::from(have))
        ))
        .help(format!("give the point more memory: --set {key}={need}"))
}

/// What does not fit the fields of instructions or the buffers, after everything has its place.
fn encoding_limits(layer: &LayerPlan, plan: &Plan) -> Option<Diagnostic> {
    let (mac, hw) = (&layer.mac, &plan.hw);
    let limits = [
        ("words of a pixel and plane", u64::from(layer.source.words), 1023),
        ("words of a pixel", u64::from(layer.source.block()), (1 << 14) - 1),
        ("words of an output pixel", u64::from(layer.target.block()), (1 << 14) - 1),
        ("words of a kernel plane", u64::from(mac.k), (1 << 16) - 1),
        ("words of a channel tile", u64::from(mac.k) * u64::from(mac.w), (1 << 20) - 1),
        ("channel tiles", u64::from(mac.tiles), 1023),
        ("entries of a channel tile", layer.thr.tile, (1 << 20) - 1),
        ("words of a phase", layer.source.phase, (1 << 20) - 1),
        ("pixels of a row", u64::from(layer.source.pitch), 4095),
        ("output rows", u64::from(layer.output.0.height), 4095),
        ("input rows", u64::from(mac.axes[0].input), 4095),
        ("kernel taps of a row", u64::from(mac.axes[1].taps), 127),
        ("kernel rows", u64::from(mac.axes[0].taps), 127),
        ("lanes of packed taps", if mac.byte { u64::from(plan.input.taps) } else { 0 }, 4095),
        ("pixels of padding before an image row", if mac.byte { u64::from(plan.input.left) } else { 0 }, 63),
        ("pixels between packed windows", if mac.byte { u64::from(plan.input.step) } else { 0 }, 15),
        ("banks of an output pixel's store", u64::from(hw.mac_rows), 256),
    ];
    let (what, have, most) = limits.into_iter().find(|&(_, have, most)| have > most)?;
    let message = format!("layer `{}`: {have} {what}, but the instruction set has room for {most}", layer.name);
    Some(Diagnostic::new(message).help("use a hardware point with more lanes, columns or rows, or a smaller layer"))
}

impl From<&LayerPlan> for MapPlace {
    fn from(layer: &LayerPlan) -> Self {
        let (shape, code) = layer.output;
        let t = &layer.target;
        let (base, phase) = (t.base as u32, t.phase as u32);
        MapPlace { shape, code, base, block: t.block(), plane: t.words, s: t.s, phase, pitch: t.pitch }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [act, wgt, thr] = self.used;
        writeln!(f, "plan for {} (fingerprint {:08x})", self.hw.short_name(), self.hw.fingerprint())?;
        writeln!(
            f,
            "words in use: activations {act} of {}, weights {wgt} of {}, thresholds {thr} of {}",
            self.hw.act_words, self.hw.wgt_words, self.hw.thr_words
        )?;
        let i = &self.input;
        writeln!(
            f,
            "input: {} windows a row of {} pixels, step {}, left {}; {}",
            i.windows, i.taps, i.step, i.left, i.place
        )?;
        for layer in &self.layers {
            let (m, t) = (&layer.mac, &layer.thr);
            writeln!(f, "{}: {}", layer.name, layer.summary)?;
            writeln!(f, "  reads    {}", layer.source)?;
            writeln!(
                f,
                "  array    {} window tiles x {} channel tiles x {} positions, a{}{}{} w{} {}, {} words a plane in {} part(s), weights at {}",
                m.window_tiles,
                m.tiles,
                m.axes[0].positions * m.axes[1].positions,
                m.a,
                if m.signed { " signed" } else { "" },
                if m.byte { " byte" } else { "" },
                m.w,
                MachineKind::NAMES[m.kind as usize],
                m.k,
                m.parts.len(),
                m.base
            )?;
            let fraction = t.thresholds.as_ref().map_or(0, |t| t.fraction);
            writeln!(
                f,
                "  codes    {} {} bit{}, fraction {fraction}, entries at {}",
                ThresholdKind::NAMES[t.kind() as usize],
                t.bits,
                if t.signed { " signed" } else { "" },
                t.base
            )?;
            writeln!(f, "  writes   {}", layer.target)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [sy, sx] = self.s;
        let (base, end) = (self.base, self.base + self.size());
        write!(
            f,
            "words {base}..{end}, {} planes x {} words, phases {sy}x{sx}, pitch {}",
            self.planes, self.words, self.pitch
        )
    }
}
