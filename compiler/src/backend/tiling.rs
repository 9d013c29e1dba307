//! How the work of each layer is cut for the array: tiles of outputs and of channels, steps of the
//! array, parts of a kernel. Nothing here has an address.

use std::ops::Range;
use std::sync::Arc;

use qnnsim_isa::operand::{Tap, ThresholdKind, WeightKind as MachineKind};
use qnnsim_isa::table::{MacShape, MacWgt};
use qnnsim_isa::{HardwarePoint, MapLayout};

use super::facts::{Facts, activation_bits, is_packed, kind_of, windows};
use super::layout::{Layouts, Source};
use super::thresholds::Thresholds;
use crate::geometry::{Nested, Windows};
use crate::ir::MapId;

/// The tiles and steps of one layer.
#[derive(Debug, Clone)]
pub struct Tiling {
    /// What the array sums: a step for each, or more.
    pub terms: Vec<TermTiling>,
    /// What the threshold unit and the max-pool unit make of the sums.
    pub codes: CodeTiling,
    /// Index distance of one output row.
    pub pitch: u32,
    /// Height and width of the (pooled) output.
    pub out: [u32; 2],
    /// Pooling positions, y and x.
    pub positions: [u32; 2],
    /// Channel tiles.
    pub tiles: u32,
    /// Columns of the last channel tile.
    pub last: u32,
    /// Columns in use of the widest tile: banks that the weights are spread over.
    pub span: u32,
    /// Channel tiles of a word of channels.
    pub word_tiles: u32,
}

/// Convolutions that one step of the array computes: of one map, or of several that lie in memory
/// alike, stacked on the kernel's vertical axis.
#[derive(Debug, Clone)]
pub struct TermTiling {
    /// From top to bottom.
    pub members: Vec<Member>,
    /// The layout of each member's map.
    pub layout: MapLayout,
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
    /// Lanes used in the last word of a pixel.
    pub tail: u32,
    /// Code that a tap outside contributes.
    pub pad: u32,
    /// Words of the whole kernel, for one plane.
    pub k: u32,
    /// First weight word within a channel tile.
    pub offset: u32,
    /// How the tap tables hold the kernel.
    pub kernel: Kernel,
}

/// One convolution of a term.
#[derive(Debug, Clone)]
pub struct Member {
    /// Which of the layer's terms.
    pub term: usize,
    /// What it reads.
    pub source: Source,
    /// The packer gathers the kernel's columns, so that the array sees a kernel of one column.
    pub packed: bool,
    /// Kernel and pooling along y.
    pub y: Axis,
}

/// How many instructions a kernel takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kernel {
    /// The tap tables hold all taps of all positions, so that one instruction does all steps: table
    /// entries from one position to the next, y and x.
    Whole {
        /// Entries, y and x.
        step: [u32; 2],
    },
    /// The tables are written before each step, for one part of the kernel.
    Parts(Vec<Part>),
}

impl Kernel {
    /// Steps of the array for one accumulator bank.
    pub fn parts(&self) -> usize {
        match self {
            Kernel::Whole { .. } => 1,
            Kernel::Parts(parts) => parts.len(),
        }
    }
}

/// A rectangle of kernel taps, and of the words of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First tap, y and x.
    pub first: [u32; 2],
    /// Taps, y and x.
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

    /// Its taps and words, in the order in which the array takes them.
    pub fn words(&self) -> impl Iterator<Item = ([u32; 2], u32)> + use<> {
        let Part { first: [y, x], count: [ny, nx], word, words } = *self;
        let taps = (y..y + ny).flat_map(move |y| (x..x + nx).map(move |x| [y, x]));
        taps.flat_map(move |tap| (word..word + words).map(move |word| (tap, word)))
    }

    /// Cut into parts of at most so many words, at least one.
    pub(super) fn cut(self, most: u32) -> Vec<Part> {
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
    /// Where the taps of each pooling position of each output lie.
    pub windows: Nested,
    /// Size of the input.
    pub input: u32,
    /// Size of the (pooled) output.
    pub output: u32,
    /// First output that reads the map, and the one behind the last.
    pub only: [u32; 2],
}

impl Axis {
    /// Kernel taps.
    pub fn taps(&self) -> u32 {
        self.windows.inner.kernel
    }

    /// Pooling positions.
    pub fn positions(&self) -> u32 {
        self.windows.outer.kernel
    }

    /// The axis for some of its outputs, as if the first of them were output 0.
    pub fn of(&self, outputs: &Range<u32>) -> Axis {
        Axis {
            windows: Nested { first: self.windows.first + outputs.start, ..self.windows },
            output: outputs.end - outputs.start,
            only: self.only.map(|at| at.saturating_sub(outputs.start)),
            ..*self
        }
    }

    /// First and last output for which a tap lies inside the map; first > last if it never does.
    pub fn inside(&self, position: u32, tap: u32) -> [u32; 2] {
        let all = self.windows.outputs_inside(position, tap, self.input, self.output);
        first_and_last(all.start.max(self.only[0])..all.end.min(self.only[1]))
    }

    /// The input coordinates that some outputs read, from the first to the one behind the last.
    pub fn reads(&self, outputs: &Range<u32>) -> Range<u32> {
        let inside = |at: i64| at.clamp(0, self.input.into()) as u32;
        let [position, tap] = [self.positions() - 1, self.taps() - 1];
        inside(self.windows.coordinate(outputs.start, 0, 0))
            ..inside(self.windows.coordinate(outputs.end - 1, position, tap) + 1)
    }

    /// The tap-table entry of a tap in a map of which `first` pixels of each phase, and `skipped`
    /// words, are not there: along y (0) in rows of the pitch, along x (1) in pixels.
    pub fn entry(
        &self,
        axis: usize,
        [position, tap]: [u32; 2],
        layout: &MapLayout,
        [first, skipped]: [u64; 2],
        rows: u32,
    ) -> Tap {
        let (distance, phases) = layout.distance(axis, self.windows.coordinate(0, position, tap));
        let distance = distance - first as i64;
        let blocks = distance.div_euclid(i64::from(rows));
        let offset = blocks * i64::from(layout.block) + phases - skipped as i64;
        let [first, last] = self.inside(position, tap);
        Tap {
            offset: saturated(offset),
            remainder: distance.rem_euclid(i64::from(rows)) as u32,
            first,
            last,
        }
    }
}

/// A range as operands of masks and taps have it; first > last if it is empty.
fn first_and_last(range: Range<u32>) -> [u32; 2] {
    if range.is_empty() { [1, 0] } else { [range.start, range.end - 1] }
}

/// A distance in words as an operand; what is beyond 32 bits stays beyond what the operand holds,
/// so that encoding refuses it.
pub(super) fn saturated(offset: i64) -> i32 {
    offset.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// The threshold unit's and the max-pool unit's part of a layer.
#[derive(Debug, Clone)]
pub struct CodeTiling {
    /// Planes of a code.
    pub bits: u32,
    /// Codes are two's complement.
    pub signed: bool,
    /// Entries, or none for raw output.
    pub thresholds: Option<Arc<Thresholds>>,
    /// Entries of one channel tile.
    pub tile: u64,
    /// Banks that the entries are spread over.
    pub span: u32,
    /// Outputs for which each pooling position counts, y and x, if one does not always.
    pub masks: Option<[Vec<[u32; 2]>; 2]>,
}

impl CodeTiling {
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

    /// The masks for some outputs, as if the first of them were output 0.
    pub fn masks_of(&self, outputs: [&Range<u32>; 2]) -> Option<[Vec<[u32; 2]>; 2]> {
        let local = |axis: usize, masks: &[[u32; 2]]| {
            let Range { start, end } = *outputs[axis];
            let local = |&[first, last]: &[u32; 2]| {
                first_and_last(first.max(start) - start..(last + 1).min(end).max(start) - start)
            };
            masks.iter().map(local).collect()
        };
        self.masks.as_ref().map(|[y, x]| [local(0, y), local(1, x)])
    }
}

/// The outputs for which each position of a pooling window lies inside the convolution's output.
fn masks(pool: &Windows, sums: u32, outputs: u32) -> Vec<[u32; 2]> {
    let mask = |position: u32| first_and_last(pool.windows_inside(position, sums, outputs));
    (0..pool.kernel).map(mask).collect()
}

impl Tiling {
    /// The tilings of all layers.
    pub fn all(facts: &Facts, layouts: &Layouts, hw: &HardwarePoint) -> Vec<Tiling> {
        (0..facts.layers.len()).map(|index| Tiling::new(facts, layouts, hw, index)).collect()
    }

    fn new(facts: &Facts, layouts: &Layouts, hw: &HardwarePoint, index: usize) -> Tiling {
        let (layer, of) = (&facts.network.layers[index], &facts.layers[index]);
        let (shape, code) = of.output;
        let pool = [0, 1].map(|a| layer.pool.map_or(Windows::ONE, |pool| pool.windows(a)));
        let out = [shape.height, shape.width];
        let mut inputs = (0..layouts.inputs.len()).filter(|&i| layouts.inputs[i].layer == index);
        let terms = (0..layer.terms.len()).map(|number| {
            let source = match layer.terms[number].source.0.checked_sub(1) {
                Some(map) => Source::Map(map),
                None => Source::Input(inputs.next().expect("packed for each of its readers")),
            };
            TermTiling::new(facts, layouts, hw, (index, number), source)
        });
        let mut terms = stack(terms.collect(), hw);
        let alone = terms.len() == 1;
        let mut offset = 0;
        for term in &mut terms {
            term.kernel = term.tables(hw.mac_taps, alone);
            term.offset = offset;
            offset += term.w * term.k;
        }
        let (tiles, last) = hw.channel_tiles(shape.channels);
        let span = (0..tiles).map(|t| hw.columns_of_tile(t, tiles, last)).max().unwrap_or(1);
        let size = [of.sums.height, of.sums.width];
        let masks = [0, 1].map(|axis| masks(&pool[axis], size[axis], out[axis]));
        let always = (0..2).all(|axis| masks[axis].iter().all(|&mask| mask == [0, out[axis] - 1]));
        let mut codes = CodeTiling {
            bits: code.bits,
            signed: code.signed,
            thresholds: of.thresholds.clone(),
            tile: 0,
            span: span.min(hw.thr_cols),
            masks: (!always).then_some(masks),
        };
        codes.tile = u64::from(span.div_ceil(hw.thr_cols)) * u64::from(codes.column_entries());
        let word_tiles = if hw.mac_cols < hw.mac_lanes { hw.tiles_per_word() } else { 1 };
        let positions = pool.map(|windows| windows.kernel);
        Tiling { terms, codes, pitch: of.pitch, out, positions, tiles, last, span, word_tiles }
    }

    /// Tiles of so many outputs, y and x, on so many rows of the array.
    pub fn window_tiles(&self, [height, width]: [u32; 2], rows: u32) -> u64 {
        let outputs = u64::from(height - 1) * u64::from(self.pitch) + u64::from(width);
        outputs.div_ceil(u64::from(rows))
    }

    /// Words of weights of a channel tile in every bank.
    pub fn tile_words(&self) -> u64 {
        self.terms.iter().map(|term| u64::from(term.w) * u64::from(term.k)).sum()
    }

    /// Number of pooling positions.
    pub fn position_count(&self) -> u64 {
        self.positions.iter().map(|&p| u64::from(p)).product()
    }
}

/// Cycles that an instruction word takes on its way from DRAM.
fn fetch_cycles(hw: &HardwarePoint) -> u32 {
    16u32.div_ceil(hw.dram_width)
}

/// Stacks terms whose maps lie in memory alike, where that is faster than a step for each: the code
/// of separate steps must be fetched.
fn stack(terms: Vec<TermTiling>, hw: &HardwarePoint) -> Vec<TermTiling> {
    let mut stacked: Vec<TermTiling> = Vec::new();
    for term in terms {
        // A step takes six words of code at the least: three groups of registers, two pairs of
        // taps, MAC.
        let alone = |t: &TermTiling| (t.k * t.w * t.a).max(6 * fetch_cycles(hw));
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

impl TermTiling {
    /// One term as a step of its own, which the tap tables are taken to hold.
    fn new(
        facts: &Facts,
        layouts: &Layouts,
        hw: &HardwarePoint,
        (index, number): (usize, usize),
        source: Source,
    ) -> TermTiling {
        let (layer, of) = (&facts.network.layers[index], &facts.layers[index]);
        let (term, (input, code)) = (&layer.terms[number], of.inputs[number]);
        let (from_dram, packed) = (term.source == MapId(0), is_packed(term));
        let out = [of.output.0.height, of.output.0.width];
        let axis = |a: usize| {
            let in_windows = packed && a == 1;
            Axis {
                windows: windows(layer, term, a),
                input: match source {
                    Source::Input(number) if in_windows => layouts.inputs[number].windows,
                    _ => [input.height, input.width][a],
                },
                output: out[a],
                only: match term.region {
                    Some(region) => [region.rows, region.columns][a],
                    None => [0, out[a]],
                },
            }
        };
        let (y, x) = (axis(0), axis(1));
        let layout = layouts.of(source);
        let tail = match source {
            Source::Input(number) => layouts.inputs[number].tail,
            Source::Map(_) => input.channels - (layout.plane - 1) * hw.mac_lanes,
        };
        let a = activation_bits(term, code);
        let (kind, w) = of.weights[number];
        TermTiling {
            layout,
            a,
            signed: code.signed,
            byte: from_dram,
            w,
            kind,
            tail,
            pad: (term.pad_value & ((1 << a) - 1)) as u32,
            k: y.taps() * x.taps() * layout.plane,
            offset: 0,
            kernel: Kernel::Whole { step: [y.taps(), x.taps()] },
            members: vec![Member { term: number, source, packed, y }],
            x,
        }
    }

    /// Kernel taps, y and x.
    pub fn taps(&self) -> [u32; 2] {
        [self.members.iter().map(|m| m.y.taps()).sum(), self.x.taps()]
    }

    /// The number of the member that a vertical tap belongs to, and which tap of it that is.
    pub fn member(&self, mut tap: u32) -> (usize, u32) {
        for (number, member) in self.members.iter().enumerate() {
            if tap < member.y.taps() {
                return (number, tap);
            }
            tap -= member.y.taps();
        }
        unreachable!("a tap of the term")
    }

    /// The kernel as one part.
    pub fn whole(&self) -> Part {
        Part { first: [0, 0], count: self.taps(), word: 0, words: self.layout.plane }
    }

    /// Both terms as one, if that is possible.
    fn stacked_on(&self, other: &TermTiling, table: u32) -> Option<TermTiling> {
        let lanes = |t: &TermTiling| (t.layout, t.tail, t.a, t.signed, t.byte, t.pad);
        let (w, kind) = match (self.kind, other.kind) {
            (a, b) if a == b => (self.w.max(other.w), a),
            // Unsigned bits and two's complement.
            (MachineKind::Bipolar, _) | (_, MachineKind::Bipolar) => return None,
            _ => (self.w.max(other.w).max(2), MachineKind::Signed),
        };
        let packing = self.members[0].packed || other.members[0].packed;
        let positions =
            (self.members[0].y.positions() - 1).checked_mul(self.taps()[0] + other.taps()[0])?;
        if packing
            || lanes(self) != lanes(other)
            || self.x != other.x
            || positions + self.taps()[0] + other.taps()[0] > table
            || self.k + other.k > MacWgt::ROW.max("plane")
        {
            return None;
        }
        let members = self.members.iter().chain(&other.members).cloned().collect();
        Some(TermTiling { members, w, kind, k: self.k + other.k, ..self.clone() })
    }

    /// How the tap tables are used: for all positions at once if they fit and the layer has no
    /// other term, else for parts of the kernel.
    fn tables(&self, table: u32, alone: bool) -> Kernel {
        let taps = self.taps();
        let entries = |positions: u32, step: u32, taps: u32| (positions - 1) * step + taps;
        let fits = |axis: &Axis, taps: u32, single: bool| {
            // Neighbouring positions share entries where taps are as far apart as table entries.
            let inner = axis.windows.inner;
            let shared =
                (single && (inner.dilation == 1 || inner.kernel == 1)).then_some(inner.stride);
            let steps = [shared, Some(taps)].into_iter().flatten();
            let best = steps.min_by_key(|&step| entries(axis.positions(), step, taps))?;
            (entries(axis.positions(), best, taps) <= table && best <= MacShape::ROW.max("step"))
                .then_some(best)
        };
        let y = fits(&self.members[0].y, taps[0], self.members.len() == 1);
        if let (true, Some(y), Some(x)) = (alone, y, fits(&self.x, taps[1], true)) {
            return Kernel::Whole { step: [y, x] };
        }
        let mut parts = Vec::new();
        for y in (0..taps[0]).step_by(table as usize) {
            for x in (0..taps[1]).step_by(table as usize) {
                let count = [table.min(taps[0] - y), table.min(taps[1] - x)];
                parts.push(Part { first: [y, x], count, ..self.whole() });
            }
        }
        Kernel::Parts(parts)
    }

    /// Cycles of its steps for one accumulator bank.
    pub fn cycles(&self) -> u64 {
        u64::from(self.k) * u64::from(self.w) * if self.byte { 1 } else { u64::from(self.a) }
    }
}
