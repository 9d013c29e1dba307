//! The plan: every layer's loops, tables and places on a given hardware point.
//!
//! Numbers only; [`emit`](super::emit) turns a plan into instructions and data. Printed by `--emit
//! plan`.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::descriptor::{Code, MapShape};
use qnnsim_isa::operand::{Tap, ThresholdKind, WeightKind as MachineKind};
use qnnsim_isa::program::{LayerInfo, MapPlace};

use super::facts::{Facts, LayerFacts, activation_bits, is_packed, kind_of, stride};
use super::memory::{Demand, Ring, Slicing, Storage, fit};
use super::stripes::{Home, Stripe};
use super::thresholds::Thresholds;
use crate::diagnostic::{Diagnostic, Kind};
use crate::ir::{Activation, Layer, MapId, Network, Pool};

/// A whole network, planned.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The hardware point.
    pub hw: HardwarePoint,
    /// The network that the machine runs: the given one, and copies.
    pub network: Arc<Network>,
    /// The packed inputs, one for each reader of the input, in the order of their readers.
    pub inputs: Vec<PackedInput>,
    /// By layer of `network`.
    pub layers: Vec<LayerPlan>,
    /// Words (entries) in use of each bank: activations, weights, thresholds.
    pub used: [u64; 3],
    /// Words (entries) of each bank that it would take with nothing loaded for every image.
    pub whole: [u64; 3],
    /// Through which weights and thresholds pass that do not stay.
    pub rings: [Ring; 2],
    /// Bytes of DRAM for maps that do not fit the activation memory.
    pub scratch: u64,
}

/// How the input is packed for one reader.
#[derive(Debug, Clone)]
pub struct PackedInput {
    /// Which layer reads it.
    pub layer: usize,
    /// Pixels of the image row gathered in a packed pixel.
    pub taps: u32,
    /// Pixels by which the first window begins before the row.
    pub left: u32,
    /// Pixels from one window to the next.
    pub step: u32,
    /// Packed pixels of a row.
    pub windows: u32,
    /// Code that stands for a pixel outside the row.
    pub pad: u8,
    /// The packed map; its shape counts windows as width and packed words as channels.
    pub place: Place,
}

impl PackedInput {
    /// The pixels of an image row that some windows take, and how many pixels the first of these
    /// begins before them.
    pub fn pixels(&self, windows: &Range<u32>, width: u32) -> (Range<u32>, u32) {
        if *windows == (0..self.windows) {
            return (0..width, self.left);
        }
        let at = |window: u32| i64::from(window) * i64::from(self.step) - i64::from(self.left);
        let (start, end) = (at(windows.start), at(windows.end - 1) + i64::from(self.taps));
        let first = start.clamp(0, i64::from(width) - 1);
        let end = end.clamp(first + 1, width.into());
        (first as u32..end as u32, (first - start) as u32)
    }
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
    /// Of a map of which only some rows are there: words and pixels of each phase before them.
    pub skipped: u64,
    /// See `skipped`.
    pub first: u64,
}

impl Place {
    pub(super) fn new(
        size: [u32; 2],
        words: u32,
        planes: u32,
        s: [u32; 2],
        pitch: u32,
        rows: u32,
    ) -> Self {
        let [height, width] = size;
        let last = u64::from(height.div_ceil(s[0]) - 1) * u64::from(pitch)
            + u64::from(width.div_ceil(s[1]));
        let phase = last.div_ceil(u64::from(rows)) * u64::from(words) * u64::from(planes);
        Place { base: 0, words, planes, s, pitch, phase, skipped: 0, first: 0 }
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
    /// Index of the given network's layer that it belongs to.
    pub origin: usize,
    /// It only brings a map into another layout.
    pub copy: bool,
    /// What reports say about it.
    pub info: LayerInfo,
    /// What the array sums: a step for each, or more.
    pub terms: Vec<TermPlan>,
    /// Its tiles.
    pub grid: Grid,
    /// Where the weights are.
    pub weights: Storage,
    /// What the threshold unit and the max-pool unit make of the sums.
    pub thr: ThrPlan,
    /// The map it writes.
    pub target: Place,
    /// Where that map is when it is complete.
    pub home: Home,
    /// What it computes at a time, if that is not all at once with all its maps in memory.
    pub stripes: Vec<Stripe>,
    /// Shape and code of that map.
    pub output: (MapShape, Code),
}

/// The tiles of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Index distance of one output row.
    pub pitch: u32,
    /// Height and width of the (pooled) output.
    pub out: [u32; 2],
    /// Pooling positions, y and x.
    pub positions: [u32; 2],
    /// Tiles of outputs.
    pub window_tiles: u64,
    /// Channel tiles.
    pub tiles: u32,
    /// Columns of the last channel tile.
    pub last: u32,
    /// Columns in use of the widest tile: banks that the weights are spread over.
    pub span: u32,
    /// Channel tiles of a word of channels.
    pub word_tiles: u32,
}

impl Grid {
    /// Tiles of so many outputs, y and x, on so many rows of the array.
    pub(super) fn tiles_of(&self, [height, width]: [u32; 2], rows: u32) -> u64 {
        let outputs = u64::from(height - 1) * u64::from(self.pitch) + u64::from(width);
        outputs.div_ceil(u64::from(rows))
    }
}

/// Convolutions that one MAC step computes: of one map, or of several that lie in memory alike,
/// stacked on the kernel's vertical axis.
#[derive(Debug, Clone)]
pub struct TermPlan {
    /// From top to bottom.
    pub members: Vec<Member>,
    /// Kernel and pooling along x.
    pub x: Axis,
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
    /// Lanes of a word, and those used in the last word of a pixel.
    pub lanes: u32,
    /// See `lanes`.
    pub tail: u32,
    /// Code that a tap outside contributes.
    pub pad: u32,
    /// Table entries from one position to the next, y and x; none if the tables do not hold all
    /// positions.
    pub step: Option<[u32; 2]>,
    /// Parts of the kernel, each small enough for the tap tables, and for a slice of weights if
    /// these are cut.
    pub parts: Vec<Part>,
    /// Words of the whole kernel, for one plane.
    pub k: u32,
    /// First weight word within a channel tile.
    pub offset: u32,
}

/// One convolution of a term.
#[derive(Debug, Clone)]
pub struct Member {
    /// Which of the layer's terms.
    pub term: usize,
    /// Which packed input it reads, if not a map.
    pub input: Option<usize>,
    /// The packer gathers the kernel's columns, so that the array sees a kernel of one column.
    pub packed: bool,
    /// The map it reads.
    pub place: Place,
    /// Kernel and pooling along y.
    pub y: Axis,
}

/// A rectangle of kernel taps, first and count, y and x; and of the words of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First tap.
    pub first: [u32; 2],
    /// Taps.
    pub count: [u32; 2],
    /// First word.
    pub word: u32,
    /// Words.
    pub words: u32,
}

impl Part {
    /// Words of a weight plane.
    pub fn k(&self) -> u32 {
        self.count[0] * self.count[1] * self.words
    }

    /// Cut into parts of at most so many words, at least one.
    fn cut(self, most: u32) -> Vec<Part> {
        let most = most.max(1);
        let Part { first: [y, x], count: [ny, nx], word, words } = self;
        let steps =
            |n: u32, step: u32| (0..n).step_by(step as usize).map(move |i| (i, step.min(n - i)));
        let row = nx * words;
        if row <= most {
            let part = |(i, n)| Part { first: [y + i, x], count: [n, nx], ..self };
            steps(ny, most / row).map(part).collect()
        } else if words <= most {
            let part = |(j, (i, n))| Part { first: [y + j, x + i], count: [1, n], ..self };
            (0..ny).flat_map(|j| steps(nx, most / words).map(move |i| (j, i))).map(part).collect()
        } else {
            let taps = (0..ny).flat_map(|j| (0..nx).map(move |i| [y + j, x + i]));
            let part = |first, (i, n)| Part { first, count: [1, 1], word: word + i, words: n };
            taps.flat_map(|tap| steps(words, most).map(move |i| part(tap, i))).collect()
        }
    }
}

/// Kernel and pooling along one axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Kernel taps.
    pub taps: u32,
    /// Pooling positions.
    pub positions: u32,
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
    /// First output that reads the map, and the one behind the last.
    pub only: [u32; 2],
}

impl Axis {
    /// Input coordinate of a tap for output 0.
    pub fn constant(&self, position: u32, tap: u32) -> i64 {
        self.origin + i64::from(position * self.position_stride) + i64::from(tap * self.dilation)
    }

    /// First and last output for which a tap lies inside the map; first > last if it never does.
    pub fn inside(&self, position: u32, tap: u32) -> [u32; 2] {
        let [first, last] = Self::outputs_inside(
            self.constant(position, tap),
            self.stride,
            self.input,
            self.output,
        );
        let (first, end) = (first.max(self.only[0]), (last + 1).min(self.only[1]));
        if first < end { [first, end - 1] } else { [1, 0] }
    }

    /// The outputs for which `constant + output * stride` lies inside a map of this size.
    fn outputs_inside(constant: i64, stride: u32, size: u32, outputs: u32) -> [u32; 2] {
        let stride = i64::from(stride);
        let first =
            (-constant).max(0).div_euclid(stride) + i64::from((-constant).max(0) % stride != 0);
        let last = (i64::from(size) - 1 - constant).div_euclid(stride).min(i64::from(outputs) - 1);
        if first > last { [1, 0] } else { [first as u32, last as u32] }
    }

    /// The tap-table entry of a tap: along y in rows of `pitch`, along x in pixels.
    pub fn entry(&self, axis: usize, position: u32, tap: u32, place: &Place, rows: u32) -> Tap {
        let constant = self.constant(position, tap);
        let s = i64::from(place.s[axis]);
        let (pitch, first, skipped) = if axis == 0 {
            (i64::from(place.pitch), place.first, place.skipped)
        } else {
            (1, 0, 0)
        };
        let distance = constant.div_euclid(s) * pitch - first as i64;
        let phases = constant.rem_euclid(s) * if axis == 0 { i64::from(place.s[1]) } else { 1 };
        let blocks = distance.div_euclid(i64::from(rows));
        let [first, last] = self.inside(position, tap);
        Tap {
            offset: (blocks * i64::from(place.block()) + phases * place.phase as i64
                - skipped as i64) as i32,
            remainder: distance.rem_euclid(i64::from(rows)) as u32,
            first,
            last,
        }
    }
}

/// The outputs for which each position of a pooling window lies inside the convolution's output.
fn masks(pool: &Pool, axis: usize, sums: u32, outputs: u32) -> Vec<[u32; 2]> {
    let before = i64::from(pool.pads[axis]);
    let mask =
        |p: u32| Axis::outputs_inside(i64::from(p) - before, pool.stride[axis], sums, outputs);
    (0..pool.kernel[axis]).map(mask).collect()
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
    /// Where they are.
    pub entries: Storage,
    /// Entries of one channel tile.
    pub tile: u64,
    /// Banks that the entries are spread over.
    pub span: u32,
    /// Outputs for which each pooling position counts, y and x, if one does not always.
    pub masks: Option<[Vec<[u32; 2]>; 2]>,
}

impl ThrPlan {
    /// Mode of the threshold unit.
    pub fn kind(&self) -> ThresholdKind {
        kind_of(self.thresholds.as_deref())
    }

    /// Entries of one column.
    pub fn column_entries(&self) -> u32 {
        match self.kind() {
            ThresholdKind::Raw => 0,
            ThresholdKind::Linear => 1,
            ThresholdKind::Table => (1 << self.bits) - 1,
        }
    }
}

/// Plans a network on a hardware point.
///
/// # Errors
/// Every layer that the machine cannot run, and every memory that is too small: which, in which
/// layer, by how much.
pub fn plan(network: &Network, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
    Plan::new(&Facts::new(network), hw)
}

/// The layer's terms, its loops and its thresholds; addresses follow later.
fn plan_layer(
    network: &Network,
    index: usize,
    facts: &LayerFacts,
    hw: &HardwarePoint,
    inputs: &mut Vec<PackedInput>,
) -> Result<LayerPlan, Diagnostic> {
    let layer = &network.layers[index];
    let refuse = |message: String| {
        Diagnostic::new(Kind::Encoding, format!("layer `{}`: {message}", layer.name))
    };
    let output = facts.output;
    let (shape, code) = output;
    if shape.height == 0 || shape.width == 0 || shape.channels == 0 {
        return Err(refuse("its output is empty".into()));
    }
    let sums = network.sums(layer);
    if layer.terms.iter().zip(&facts.inputs).any(|(term, input)| term.output_shape(input.0) != sums)
    {
        return Err(refuse("the maps that it adds differ in shape".into()));
    }
    if matches!(layer.activation, Activation::Raw) != (index + 1 == network.layers.len()) {
        return Err(refuse(
            "only the last layer, and it always, gives its accumulators as they are".into(),
        ));
    }
    if !matches!(layer.activation, Activation::Raw) && code.bits > 8 {
        return Err(refuse(format!(
            "its codes have {} bits; the threshold unit makes at most 8",
            code.bits
        )));
    }
    let one = Pool { kernel: [1, 1], stride: [1, 1], pads: [0; 4], ceil_mode: false };
    let pool = layer.pool.unwrap_or(one);
    let out = [shape.height, shape.width];
    let mut terms: Vec<TermPlan> = Vec::new();
    for number in 0..layer.terms.len() {
        terms.push(plan_term(network, (index, number), facts, hw, &pool, inputs).map_err(refuse)?);
    }
    let mut terms = stack(terms, hw);
    let whole = terms.len() == 1;
    let mut offset = 0;
    for term in &mut terms {
        term.split(hw.mac_taps, whole);
        term.offset = offset;
        offset += term.w * term.k;
    }
    if let Some((low, high)) = facts.beyond {
        return Err(refuse(format!("its accumulators can reach {low} to {high}, beyond 32 bits")));
    }

    let (tiles, last) = hw.channel_tiles(shape.channels);
    let span = (0..tiles).map(|t| hw.columns_of_tile(t, tiles, last)).max().unwrap_or(1);
    let word_tiles =
        if hw.mac_cols < hw.mac_lanes { hw.mac_lanes.div_ceil(hw.mac_cols) } else { 1 };
    let pitch = facts.pitch;
    let mut grid =
        Grid { pitch, out, positions: pool.kernel, window_tiles: 0, tiles, last, span, word_tiles };
    grid.window_tiles = grid.tiles_of(out, hw.mac_rows);

    let nowhere = Storage { resident: tiles, base: 0, slicing: Slicing::Word };
    let masks = [0, 1].map(|axis| masks(&pool, axis, [sums.height, sums.width][axis], out[axis]));
    let always = (0..2).all(|axis| masks[axis].iter().all(|&mask| mask == [0, out[axis] - 1]));
    let mut thr = ThrPlan {
        bits: code.bits,
        signed: code.signed,
        thresholds: facts.thresholds.clone(),
        entries: nowhere,
        tile: 0,
        span: span.min(hw.thr_cols),
        masks: (!always).then_some(masks),
    };
    thr.tile = u64::from(span.div_ceil(hw.thr_cols)) * u64::from(thr.column_entries());
    let target = map_place(network, index + 1, hw, None);
    Ok(LayerPlan {
        origin: facts.origin,
        copy: facts.copy,
        info: facts.info(layer),
        terms,
        grid,
        weights: nowhere,
        thr,
        target,
        home: Home::Memory,
        stripes: Vec::new(),
        output,
    })
}

/// A map's layout, for a reader with these phases and this pitch; without one for STORE, pixel
/// after pixel.
fn map_place(
    network: &Network,
    map: usize,
    hw: &HardwarePoint,
    reader: Option<([u32; 2], u32)>,
) -> Place {
    let (shape, code) = network.map(MapId(map));
    let words = shape.channels.div_ceil(hw.mac_lanes);
    let (phases, pitch) = reader.unwrap_or(([1, 1], shape.width));
    Place::new([shape.height, shape.width], words, code.bits, phases, pitch, hw.mac_rows)
}

/// One term as a MAC step of its own.
fn plan_term(
    network: &Network,
    (index, number): (usize, usize),
    facts: &LayerFacts,
    hw: &HardwarePoint,
    pool: &Pool,
    inputs: &mut Vec<PackedInput>,
) -> Result<TermPlan, String> {
    let layer = &network.layers[index];
    let (term, (input, code)) = (&layer.terms[number], facts.inputs[number]);
    let conv = term.output_shape(input);
    let (from_dram, packed) = (term.source == MapId(0), is_packed(term));
    let stride = stride(layer, term);
    let axis = |a: usize| {
        let (conv_stride, pool_pads) = (term.conv.stride[a], pool.pads[a]);
        let in_windows = packed && a == 1;
        Axis {
            taps: if in_windows { 1 } else { term.conv.kernel[a] },
            positions: pool.kernel[a],
            stride: stride[a],
            origin: if in_windows {
                -i64::from(pool_pads)
            } else {
                -i64::from(pool_pads * conv_stride) - i64::from(term.conv.pads[a])
            },
            position_stride: if in_windows { 1 } else { conv_stride },
            dilation: if in_windows { 1 } else { term.conv.dilation[a] },
            input: if in_windows { conv.width } else { [input.height, input.width][a] },
            output: [facts.output.0.height, facts.output.0.width][a],
            only: match term.region {
                Some(region) => [region.rows, region.columns][a],
                None => [0, [facts.output.0.height, facts.output.0.width][a]],
            },
        }
    };
    let (y, x) = (axis(0), axis(1));
    if stride.iter().any(|&s| s > 15) {
        return Err(format!(
            "stride of convolution and pooling together is {}x{}; at most 15 is supported",
            stride[0], stride[1]
        ));
    }
    if term.region.is_some() && layer.pool.is_some() {
        return Err("it pools sums of which some terms have a region of their own".into());
    }
    if [&y, &x].iter().any(|axis| axis.positions > 15) {
        return Err("a pooling window larger than 15 is not supported".into());
    }
    let a = activation_bits(term, code);
    if a > 8 {
        return Err(format!("its input has {a} bits; the array takes at most 8"));
    }
    let (words, planes, tail) = if from_dram {
        let lanes = 8 * input.channels * if packed { term.conv.kernel[1] } else { 1 };
        let words = lanes.div_ceil(hw.mac_lanes);
        (words, 1, lanes - (words - 1) * hw.mac_lanes)
    } else {
        let words = input.channels.div_ceil(hw.mac_lanes);
        (words, code.bits, input.channels - (words - 1) * hw.mac_lanes)
    };
    let place = Place::new(
        [y.input, x.input],
        words,
        planes,
        facts.phases[number],
        facts.pitch,
        hw.mac_rows,
    );
    let packed_input = from_dram.then(|| {
        inputs.push(PackedInput {
            layer: index,
            taps: if packed { term.conv.kernel[1] } else { 1 },
            left: if packed { term.conv.pads[1] } else { 0 },
            step: if packed { term.conv.stride[1] } else { 1 },
            windows: if packed { conv.width } else { input.width },
            pad: term.pad_value as u8,
            place,
        });
        inputs.len() - 1
    });
    let (kind, w) = facts.weights[number];
    Ok(TermPlan {
        a,
        signed: code.signed,
        byte: from_dram,
        w,
        kind,
        lanes: hw.mac_lanes,
        tail,
        pad: (term.pad_value & ((1 << a) - 1)) as u32,
        step: None,
        parts: Vec::new(),
        k: y.taps * x.taps * words,
        offset: 0,
        x,
        members: vec![Member { term: number, input: packed_input, packed, place, y }],
    })
}

/// Cycles that an instruction word takes on its way from DRAM.
fn fetch_cycles(hw: &HardwarePoint) -> u32 {
    16u32.div_ceil(hw.dram_width)
}

/// Stacks terms whose maps lie in memory alike, where that is faster than a step for each: the code
/// of separate steps must be fetched.
fn stack(terms: Vec<TermPlan>, hw: &HardwarePoint) -> Vec<TermPlan> {
    let mut stacked: Vec<TermPlan> = Vec::new();
    for term in terms {
        // A step takes six words of code at the least: three groups of registers, two pairs of
        // taps, MAC.
        let alone = |t: &TermPlan| (t.k * t.w * t.a).max(6 * fetch_cycles(hw));
        let found = stacked.iter_mut().find_map(|below| {
            let both = below.stacked_on(&term, hw.mac_taps)?;
            let separately = alone(below).saturating_add(alone(&term));
            (both.k.saturating_mul(both.w * both.a) <= separately).then_some((below, both))
        });
        match found {
            Some((below, both)) => *below = both,
            None => stacked.push(term),
        }
    }
    stacked
}

impl TermPlan {
    /// Kernel taps, y and x.
    pub fn taps(&self) -> [u32; 2] {
        [self.members.iter().map(|m| m.y.taps).sum(), self.x.taps]
    }

    /// The map of the first member, whose address is the term's.
    pub fn place(&self) -> &Place {
        &self.members[0].place
    }

    /// The member that a vertical tap belongs to, and which tap of it that is.
    pub fn member(&self, mut tap: u32) -> (&Member, u32) {
        for member in &self.members {
            if tap < member.y.taps {
                return (member, tap);
            }
            tap -= member.y.taps;
        }
        unreachable!("a tap of the term")
    }

    /// The tap-table entry of a position and a tap of an axis.
    pub fn entry(&self, axis: usize, position: u32, tap: u32, rows: u32) -> Tap {
        if axis == 1 {
            return self.x.entry(1, position, tap, self.place(), rows);
        }
        let (member, tap) = self.member(tap);
        let entry = member.y.entry(0, position, tap, &member.place, rows);
        let offset = member.place.base as i64 - self.place().base as i64;
        Tap { offset: entry.offset + offset as i32, ..entry }
    }

    /// Both terms as one, if that is possible.
    fn stacked_on(&self, other: &TermPlan, table: u32) -> Option<TermPlan> {
        let lanes = |t: &TermPlan| {
            let Place { words, planes, s, pitch, phase, .. } = *t.place();
            (words, planes, s, pitch, phase, t.tail, t.a, t.signed, t.byte, t.pad)
        };
        let (w, kind) = match (self.kind, other.kind) {
            (a, b) if a == b => (self.w.max(other.w), a),
            // Unsigned bits and two's complement.
            (MachineKind::Bipolar, _) | (_, MachineKind::Bipolar) => return None,
            _ => (self.w.max(other.w).max(2), MachineKind::Signed),
        };
        let packing = self.members[0].packed || other.members[0].packed;
        let positions =
            (self.members[0].y.positions - 1).checked_mul(self.taps()[0] + other.taps()[0])?;
        if packing
            || lanes(self) != lanes(other)
            || self.x != other.x
            || positions + self.taps()[0] + other.taps()[0] > table
        {
            return None;
        }
        let members = self.members.iter().chain(&other.members).cloned().collect();
        Some(TermPlan { members, w, kind, k: self.k + other.k, ..self.clone() })
    }

    /// Chooses how the tap tables are used: all positions at once if they fit and the layer has no
    /// other term, else parts of the kernel, for which the tables are written before each step.
    fn split(&mut self, table: u32, alone: bool) {
        let taps = self.taps();
        let entries = |positions: u32, step: u32, taps: u32| (positions - 1) * step + taps;
        let fits = |axis: &Axis, taps: u32, single: bool| {
            // Neighbouring positions share entries where taps are as far apart as table entries.
            let shared =
                (single && (axis.dilation == 1 || axis.taps == 1)).then_some(axis.position_stride);
            let steps = [shared, Some(taps)].into_iter().flatten();
            let best = steps.min_by_key(|&step| entries(axis.positions, step, taps))?;
            (entries(axis.positions, best, taps) <= table && best <= 63).then_some(best)
        };
        let words = self.place().words;
        let y = fits(&self.members[0].y, taps[0], self.members.len() == 1);
        if let (true, Some(y), Some(x)) = (alone, y, fits(&self.x, taps[1], true)) {
            self.step = Some([y, x]);
            self.parts = vec![Part { first: [0, 0], count: taps, word: 0, words }];
            return;
        }
        for y in (0..taps[0]).step_by(table as usize) {
            for x in (0..taps[1]).step_by(table as usize) {
                let count = [table.min(taps[0] - y), table.min(taps[1] - x)];
                self.parts.push(Part { first: [y, x], count, word: 0, words });
            }
        }
    }

    /// Cycles of its steps for one accumulator bank.
    pub fn cycles(&self) -> u64 {
        u64::from(self.k) * u64::from(self.w) * if self.byte { 1 } else { u64::from(self.a) }
    }
}

impl Plan {
    /// The plan for a machine.
    ///
    /// # Errors
    /// Every layer that the machine cannot run; every memory that is too small: in which layer, by
    /// how much; every layer that the instruction set has no room for.
    pub fn new(facts: &Facts, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
        let mut plan = Plan::in_any_memory(facts, hw)?;
        if plan.whole[0] > u64::from(hw.act_words) {
            plan.fit_maps().map_err(|error| vec![error])?;
        }
        plan.fit_into_memories()?;
        plan.encodes()?;
        Ok(plan)
    }

    /// The plan for a machine whose memories may be of any size, so that all weights and thresholds
    /// stay.
    ///
    /// # Errors
    /// Every layer that the machine cannot run.
    pub fn in_any_memory(facts: &Facts, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
        let (network, mut inputs) = (facts.network.clone(), Vec::new());
        let mut errors = Vec::new();
        let mut layers = Vec::new();
        for (index, facts) in facts.layers.iter().enumerate() {
            match plan_layer(&network, index, facts, hw, &mut inputs) {
                Ok(plan) => layers.push(plan),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if layers.is_empty() {
            return Err(vec![Diagnostic::new(
                Kind::Encoding,
                "the network has no layer that the machine could run",
            )]);
        }
        // A map is laid out for its readers; the last one is read by STORE, pixel after pixel.
        for (layer, reader) in network.layers.iter().zip(&facts.layers) {
            for (term, &phases) in layer.terms.iter().zip(&reader.phases) {
                if let Some(writer) = term.source.0.checked_sub(1) {
                    let layout = Some((phases, reader.pitch));
                    layers[writer].target = map_place(&network, term.source.0, hw, layout);
                }
            }
        }
        let (hw, rings) = (hw.clone(), [Ring::default(); 2]);
        let mut plan =
            Plan { hw, network, inputs, layers, used: [0; 3], whole: [0; 3], rings, scratch: 0 };
        let activations = plan.place_maps();
        let [weights, entries] =
            [0, 1].map(|memory| plan.demands(memory).iter().map(Demand::words).sum());
        plan.whole = [activations, weights, entries];
        plan.used = plan.whole;
        for memory in 0..2 {
            let all = fit(&plan.demands(memory), u64::MAX).expect("everything fits");
            plan.store(memory, all);
        }
        Ok(plan)
    }

    /// What the layers want of the weight memory (0) or the threshold memory (1).
    fn demands(&self, memory: usize) -> Vec<Demand> {
        let hw = &self.hw;
        let of = |layer: &LayerPlan| {
            let (grid, thr) = (&layer.grid, &layer.thr);
            let (tile, bytes, part) = match memory {
                0 => (
                    layer.tile_words(),
                    hw.word_bytes() * grid.span,
                    layer.terms.iter().map(|t| u64::from(t.w)).max(),
                ),
                _ => (thr.tile, hw.threshold_bytes() * thr.span, None),
            };
            let positions = grid.positions.iter().map(|&p| u64::from(p)).product();
            let Grid { tiles, word_tiles, .. } = *grid;
            let windows = layer.window_tiles(hw.mac_rows);
            let (stripes, window_tiles) = (windows.len() as u64, windows.iter().sum());
            let bytes = u64::from(bytes);
            Demand { tile, tiles, word_tiles, stripes, window_tiles, positions, bytes, part }
        };
        self.layers.iter().map(of).collect()
    }

    /// Gives weights (0) or thresholds (1) their places.
    fn store(&mut self, memory: usize, (storages, ring): (Vec<Storage>, Ring)) {
        self.rings[memory] = ring;
        for (layer, storage) in self.layers.iter_mut().zip(storages) {
            *(if memory == 0 { &mut layer.weights } else { &mut layer.thr.entries }) = storage;
        }
    }

    /// Chooses what stays in the memories of its machine, and what is loaded for every image.
    ///
    /// # Errors
    /// Every memory that is too small: in which layer, by how much.
    fn fit_into_memories(&mut self) -> Result<(), Vec<Diagnostic>> {
        let mut errors = Vec::new();
        for (memory, have) in [self.hw.wgt_words, self.hw.thr_words].into_iter().enumerate() {
            let demands = self.demands(memory);
            match fit(&demands, u64::from(have)) {
                Some(storages) => {
                    self.store(memory, storages);
                    let ring = self.rings[memory];
                    self.used[memory + 1] = ring.base + ring.words;
                }
                None => errors.push(self.no_slice(memory, &demands, have)),
            }
        }
        // Kernels whose parts pass through the ring.
        let slice = self.rings[0].slice;
        for layer in &mut self.layers {
            if layer.weights.slicing == Slicing::Part && layer.weights.resident < layer.grid.tiles {
                for term in &mut layer.terms {
                    let most = u32::try_from(slice / u64::from(term.w)).unwrap_or(u32::MAX);
                    term.parts = term.parts.iter().flat_map(|part| part.cut(most)).collect();
                    term.step = None;
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Weights or thresholds of which not even a slice fits.
    fn no_slice(&self, memory: usize, demands: &[Demand], have: u32) -> Diagnostic {
        let hw = &self.hw;
        let least = |d: &Demand| d.part.unwrap_or(d.tile).min(d.words());
        let widest = demands.iter().zip(&self.layers).rev().max_by_key(|(d, _)| least(d));
        let (need, layer) = widest.map_or((1, ""), |(d, layer)| (least(d), &layer.info.name));
        let lanes = u64::from(hw.mac_lanes);
        let (name, key, banks, bits) = match memory {
            0 => ("weight", "wgt.words", hw.mac_cols, lanes),
            _ => (
                "threshold",
                "thr.words",
                hw.thr_cols,
                u64::from(qnnsim_isa::hardware::THRESHOLD_ENTRY_BITS),
            ),
        };
        shortage(name, layer, key, need, have, banks, bits)
    }

    /// Whether instructions have the room.
    ///
    /// # Errors
    /// Every layer that the instruction set has no room for.
    fn encodes(&self) -> Result<(), Vec<Diagnostic>> {
        let limits = |layer: &LayerPlan| match layer.stripes.is_empty() {
            true => encoding_limits(layer, self),
            false => {
                let rows = self.hw.mac_rows;
                layer
                    .stripes
                    .iter()
                    .find_map(|stripe| encoding_limits(&layer.stripe(stripe, rows), self))
            }
        };
        let errors: Vec<Diagnostic> = self.layers.iter().filter_map(limits).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The layers from the one that writes a map to the last one that reads it.
    pub(super) fn alive(&self, layer: usize) -> RangeInclusive<usize> {
        let reads = |other: &Layer| other.terms.iter().any(|t| t.source == MapId(layer + 1));
        let count = self.layers.len();
        let never = if layer + 1 == count { count } else { layer };
        layer..=self.network.layers.iter().rposition(reads).unwrap_or(never)
    }

    /// Gives every map its address: first fit among those alive at the same time. Returns the words
    /// that are used.
    fn place_maps(&mut self) -> u64 {
        // A map is alive from the layer that writes it to the last one that reads it; an input from
        // the first layer on.
        let count = self.layers.len();
        let network = self.network.clone();
        let mut alive: Vec<(RangeInclusive<usize>, u64)> = Vec::new();
        alive.extend(self.inputs.iter().map(|input| (0..=input.layer, input.place.size())));
        let packed = alive.len();
        alive.extend((0..count).map(|layer| (self.alive(layer), self.layers[layer].target.size())));
        let (bases, top) = allocate(&alive);
        for (input, &base) in self.inputs.iter_mut().zip(&bases) {
            input.place.base = base;
        }
        for (layer, &base) in self.layers.iter_mut().zip(&bases[packed..]) {
            layer.target.base = base;
        }
        for (layer, plan) in network.layers.iter().zip(&mut self.layers) {
            for member in plan.terms.iter_mut().flat_map(|term| &mut term.members) {
                let map = layer.terms[member.term].source.0;
                member.place.base = bases[member.input.unwrap_or((packed + map).wrapping_sub(1))];
            }
        }
        top
    }
}

impl LayerPlan {
    /// Words of weights of a channel tile in every bank.
    pub fn tile_words(&self) -> u64 {
        self.terms.iter().map(|term| u64::from(term.w) * u64::from(term.k)).sum()
    }

    /// The tap tables hold all taps of all positions, so that one instruction does all steps.
    pub fn is_whole(&self) -> bool {
        self.terms.len() == 1 && self.terms[0].step.is_some()
    }

    /// Tiles of outputs of all stripes, or of the one that is the whole.
    pub fn window_tiles(&self, rows: u32) -> Vec<u64> {
        match self.stripes.is_empty() {
            true => vec![self.grid.window_tiles],
            false => {
                self.stripes.iter().map(|stripe| self.grid.tiles_of(stripe.size(), rows)).collect()
            }
        }
    }

    /// Pooling positions.
    pub fn positions(&self) -> u64 {
        self.grid.positions.iter().map(|&p| u64::from(p)).product()
    }

    /// The channel tiles of each pass over the maps: what stays, and then word by word what does
    /// not.
    pub fn passes(&self) -> Vec<Range<u32>> {
        let word_tiles = self.grid.word_tiles;
        let mut cuts = vec![0, self.grid.tiles];
        for storage in [&self.weights, &self.thr.entries] {
            if storage.slicing == Slicing::Word {
                cuts.extend((storage.resident..self.grid.tiles).step_by(word_tiles as usize));
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|cut| cut[0]..cut[1]).collect()
    }
}

/// Addresses for what is alive in some layers and takes some words: first fit among what is alive
/// at the same time. And the words that are used.
pub(super) fn allocate(alive: &[(RangeInclusive<usize>, u64)]) -> (Vec<u64>, u64) {
    let mut bases: Vec<u64> = Vec::new();
    let mut top = 0;
    for (i, (life, size)) in alive.iter().enumerate() {
        let others = alive[..i].iter().zip(&bases);
        let overlapping = others
            .filter(|((other, _), _)| other.start() <= life.end() && life.start() <= other.end());
        let mut taken: Vec<(u64, u64)> =
            overlapping.map(|((_, size), &base)| (base, base + size)).collect();
        taken.sort_unstable();
        let base = taken
            .iter()
            .fold(0, |base, &(from, to)| if base + size <= from { base } else { base.max(to) });
        bases.push(base);
        top = top.max(base + size);
    }
    (bases, top)
}

pub(super) fn shortage(
    memory: &str,
    layer: &str,
    key: &str,
    need: u64,
    have: u32,
    banks: u32,
    word_bits: u64,
) -> Diagnostic {
    let bytes = |words: u64| (words * u64::from(banks) * word_bits).div_ceil(8);
    let lack = bytes(need) - bytes(u64::from(have));
    Diagnostic::new(Kind::Capacity, format!("the {memory} memory lacks {lack} bytes; it is full in layer `{layer}`"))
        .cause(format!(
            "the network needs {need} words a bank and has {have}; with {banks} bank(s) that is {} and {} bytes",
            bytes(need),
            bytes(u64::from(have))
        ))
        .help(format!("give the point more memory: --set {key}={need}"))
}

/// What does not fit the fields of instructions or the buffers, after everything has its place.
fn encoding_limits(layer: &LayerPlan, plan: &Plan) -> Option<Diagnostic> {
    let (grid, hw) = (&layer.grid, &plan.hw);
    let most = |of: &dyn Fn(&TermPlan) -> u64| layer.terms.iter().map(of).max().unwrap_or(0);
    let input = |of: &dyn Fn(&PackedInput) -> u32| {
        let inputs =
            layer.terms.iter().flat_map(|term| &term.members).filter_map(|member| member.input);
        u64::from(inputs.map(|i| of(&plan.inputs[i])).max().unwrap_or(0))
    };
    let rows = hw.mac_rows;
    let farthest = |term: &TermPlan| {
        let taps = term.taps();
        let along = |axis: usize, positions: u32| {
            let ends = move |n: u32| [0, n.saturating_sub(1)];
            let all = ends(positions)
                .into_iter()
                .flat_map(move |p| (0..taps[axis]).map(move |tap| (p, tap)));
            all.map(|(p, tap)| u64::from(term.entry(axis, p, tap, rows).offset.unsigned_abs()))
                .max()
                .unwrap_or(0)
        };
        along(0, term.members[0].y.positions).max(along(1, term.x.positions))
    };
    let limits = [
        ("words of a pixel and plane", most(&|t| u64::from(t.place().words)), 1023),
        ("words of a pixel", most(&|t| u64::from(t.place().block())), (1 << 14) - 1),
        ("words of an output pixel", u64::from(layer.target.block()), (1 << 14) - 1),
        ("words of a kernel plane", most(&|t| u64::from(t.k)), (1 << 16) - 1),
        ("words of a channel tile", layer.tile_words(), (1 << 20) - 1),
        ("channel tiles", u64::from(grid.tiles), 1023),
        ("entries of a channel tile", layer.thr.tile, (1 << 20) - 1),
        ("words of a phase", most(&|t| t.place().phase), (1 << 20) - 1),
        ("pixels of a row", u64::from(grid.pitch), 4095),
        ("output rows", u64::from(layer.output.0.height), 4095),
        (
            "input rows",
            most(&|t| t.members.iter().map(|m| u64::from(m.y.input)).max().unwrap_or(0)),
            4095,
        ),
        ("kernel taps of a row", most(&|t| u64::from(t.taps()[1])), 127),
        ("kernel rows", most(&|t| u64::from(t.taps()[0])), 127),
        ("words from a map to a tap", most(&farthest), (1 << 19) - 1),
        ("lanes of packed taps", input(&|i| i.taps), 4095),
        ("pixels of padding before an image row", input(&|i| i.left), 63),
        ("pixels between packed windows", input(&|i| i.step), 15),
        ("banks of an output pixel's store", u64::from(hw.mac_rows), 256),
    ];
    let (what, have, most) = limits.into_iter().find(|&(_, have, most)| have > most)?;
    let message = format!(
        "layer `{}`: {have} {what}, but the instruction set has room for {most}",
        layer.info.name
    );
    Some(
        Diagnostic::new(Kind::Encoding, message)
            .help("use a hardware point with more lanes, columns or rows, or a smaller layer"),
    )
}

impl LayerPlan {
    /// Where its map can be seen when it is complete, if the scratch region and the output begin at
    /// these bytes of DRAM.
    pub(super) fn map(&self, scratch: u32, output: u32) -> MapPlace {
        let ((shape, code), t) = (self.output, &self.target);
        let (base, phase, dram) = match self.home {
            Home::Memory => (t.base, t.phase, None),
            Home::Scratch { offset, phase } => (0, phase, Some(scratch + offset as u32)),
            Home::Output => (0, t.phase, Some(output)),
        };
        let (base, phase) = (base as u32, phase as u32);
        MapPlace {
            shape,
            code,
            base,
            block: t.block(),
            plane: t.words,
            s: t.s,
            phase,
            pitch: t.pitch,
            dram,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [act, wgt, thr] = self.used;
        writeln!(
            f,
            "plan for {} (fingerprint {:08x})",
            self.hw.short_name(),
            self.hw.fingerprint()
        )?;
        writeln!(
            f,
            "words in use: activations {act} of {}, weights {wgt} of {}, thresholds {thr} of {}",
            self.hw.act_words, self.hw.wgt_words, self.hw.thr_words
        )?;
        for (what, ring, whole) in [
            ("weights", self.rings[0], self.whole[1]),
            ("thresholds", self.rings[1], self.whole[2]),
        ] {
            if ring.words > 0 {
                writeln!(
                    f,
                    "{what}: {} of {whole} words stay, the others pass through words {}..{} in every image",
                    ring.base,
                    ring.base,
                    ring.base + ring.words
                )?;
            }
        }
        if self.scratch > 0 {
            writeln!(f, "maps: {} bytes of DRAM for those that do not fit", self.scratch)?;
        }
        for i in &self.inputs {
            writeln!(
                f,
                "input: {} windows a row of {} pixels, step {}, left {}; {}",
                i.windows, i.taps, i.step, i.left, i.place
            )?;
        }
        for layer in &self.layers {
            let (g, t) = (&layer.grid, &layer.thr);
            writeln!(f, "{}: {}", layer.info.name, layer.info.summary)?;
            let tiles = g.tiles;
            for term in &layer.terms {
                for member in &term.members {
                    writeln!(f, "  reads    {}", member.place)?;
                }
                writeln!(
                    f,
                    "  array    {} window tiles x {tiles} channel tiles x {} positions, a{}{}{} w{} {}, {} words a plane in {} part(s)",
                    g.window_tiles,
                    layer.positions(),
                    term.a,
                    if term.signed { " signed" } else { "" },
                    if term.byte { " byte" } else { "" },
                    term.w,
                    MachineKind::NAMES[term.kind as usize],
                    term.k,
                    term.parts.len(),
                )?;
            }
            writeln!(f, "  weights  {}", Stored { storage: layer.weights, tiles })?;
            let fraction = t.thresholds.as_ref().map_or(0, |t| t.fraction);
            writeln!(
                f,
                "  codes    {} {} bit{}, fraction {fraction}, entries {}",
                ThresholdKind::NAMES[t.kind() as usize],
                t.bits,
                if t.signed { " signed" } else { "" },
                Stored { storage: t.entries, tiles }
            )?;
            match layer.home {
                Home::Memory => writeln!(f, "  writes   {}", layer.target)?,
                Home::Scratch { offset, .. } => {
                    writeln!(f, "  writes   byte {offset} of the scratch region on")?
                }
                Home::Output => writeln!(f, "  writes   the output in DRAM")?,
            }
            if let [first, ..] = &layer.stripes[..] {
                let (count, [height, width]) = (layer.stripes.len(), first.size());
                writeln!(f, "  stripes  {count} of at most {height} x {width} outputs")?;
                for window in &first.windows {
                    writeln!(
                        f,
                        "  loads    rows {}..{} first; {}",
                        window.rows.start, window.rows.end, window.place
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// Where tiles are, in words.
struct Stored {
    storage: Storage,
    tiles: u32,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Storage { resident, base, slicing } = self.storage;
        let slices = match slicing {
            Slicing::Word => "word of channels by word",
            Slicing::Tile => "tile by tile",
            Slicing::Part => "part by part",
        };
        match (resident, self.tiles - resident) {
            (_, 0) => write!(f, "at {base}"),
            (0, _) => write!(f, "loaded {slices}"),
            (_, rest) => write!(f, "of {resident} tiles at {base}, of {rest} loaded {slices}"),
        }
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
