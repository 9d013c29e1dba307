//! The integer network: what the importer makes of a model, and what the back end maps onto a
//! machine.
//!
//! Every value here is an integer with a known range; no float appears except in the descriptors of
//! the input and the output, which belong to the host. The network is a list of layers in execution
//! order. Map 0 is the input; layer `i` produces map `i + 1`.
//!
//! One layer computes, for every output channel,
//!
//! ```text
//! acc  = sum over terms, kernel taps and input channels of weight x value   (a tap outside: pad_value)
//! code = activation(acc)                                                    (a step function, or acc itself)
//! out  = maximum of code over the pooling window                            (positions outside left out)
//! ```
//!
//! A term is a convolution of one map; layers that add or join maps have several, which agree in
//! the shape of what they sum.
//! A dense layer is a convolution whose kernel is as large as its map.

use qnnsim_isa::descriptor::{Code, InputDescriptor, MapShape, OutputDescriptor};

use crate::geometry::Windows;

/// Index of a map: 0 is the input, `i + 1` the output of layer `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MapId(pub usize);

/// A whole network.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Name of the model, for reports.
    pub name: String,
    /// The input map and how the host fills it (its `dram` address is set by the back end).
    pub input: InputDescriptor,
    /// Layers in execution order.
    pub layers: Vec<Layer>,
    /// The output map, which is the last layer's (its `dram` address is set by the back end).
    pub output: OutputDescriptor,
}

/// One layer: a sum of convolutions, activation, pooling.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Short name for reports, unique in the network.
    pub name: String,
    /// What its accumulators sum, at least one, each with the same output shape.
    pub terms: Vec<Term>,
    /// What becomes of the accumulators.
    pub activation: Activation,
    /// Maximum pooling of the codes.
    pub pool: Option<Pool>,
}

/// A convolution of one map.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The map it reads.
    pub source: MapId,
    /// Geometry of the convolution.
    pub conv: Conv,
    /// The weights.
    pub weights: Weights,
    /// Integer that a tap outside the map contributes: the code of real zero.
    pub pad_value: i64,
    /// The outputs for which it reads the map at all; elsewhere every tap counts as outside.
    /// `None`: for all of them. A layer with pooling has no such term.
    pub region: Option<Region>,
}

/// Some rows and columns of a layer's sums, each from the first to the one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Rows.
    pub rows: [u32; 2],
    /// Columns.
    pub columns: [u32; 2],
}

/// Geometry of a convolution. Arrays are `[y, x]`; `pads` is `[top, left, bottom, right]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Kernel size.
    pub kernel: [u32; 2],
    /// Step of the window.
    pub stride: [u32; 2],
    /// Distance of neighbouring taps.
    pub dilation: [u32; 2],
    /// Padding.
    pub pads: [u32; 4],
    /// Groups of channels that do not mix.
    pub groups: u32,
}

/// How the bits of a weight are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightKind {
    /// One bit, 0 or 1.
    Unsigned1,
    /// One bit, -1 or +1.
    Bipolar,
    /// Two's complement, 2 to 8 bits.
    Signed(u32),
}

/// Weights as integers, index `((o * in_channels_of_a_group + i) * kernel_y + y) * kernel_x + x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// Representation.
    pub kind: WeightKind,
    /// Output channels.
    pub out_channels: u32,
    /// The integers.
    pub data: Vec<i8>,
}

/// What becomes of a layer's accumulators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// A step function for each output channel.
    Steps {
        /// Integer type of the codes.
        code: Code,
        /// One for each output channel.
        channels: Vec<StepFunction>,
    },
    /// The accumulators themselves: the network's output.
    Raw,
}

/// A monotone step function over the accumulators that a channel can reach:
/// `code = lowest + number of thresholds met`; met means `acc >= t` if rising, `acc <= t` if
/// falling.
///
/// Thresholds lie strictly inside the reachable range (each is met by some reachable accumulator
/// and missed by another), ordered so that the first is met first: ascending if rising, else
/// descending. Equal neighbours are a step of two codes. No threshold: a constant channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFunction {
    /// Code where no threshold is met.
    pub lowest: i64,
    /// Direction.
    pub rising: bool,
    /// The thresholds.
    pub thresholds: Vec<i64>,
}

/// Maximum pooling. Positions outside the map are left out of the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Window size `[y, x]`.
    pub kernel: [u32; 2],
    /// Step of the window `[y, x]`.
    pub stride: [u32; 2],
    /// `[top, left, bottom, right]`.
    pub pads: [u32; 4],
    /// Round the number of windows up instead of down.
    pub ceil_mode: bool,
}

impl Conv {
    /// The windows along an axis, 0 for rows and 1 for columns.
    pub fn windows(&self, axis: usize) -> Windows {
        Windows {
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            dilation: self.dilation[axis],
            before: self.pads[axis],
            after: self.pads[axis + 2],
            partial: false,
        }
    }

    /// Height and width of the convolution's output for an input of this shape.
    pub fn output_size(&self, input: MapShape) -> [u32; 2] {
        [self.windows(0).count(input.height), self.windows(1).count(input.width)]
    }
}

impl Pool {
    /// The windows along an axis, 0 for rows and 1 for columns.
    pub fn windows(&self, axis: usize) -> Windows {
        Windows {
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            dilation: 1,
            before: self.pads[axis],
            after: self.pads[axis + 2],
            partial: self.ceil_mode,
        }
    }

    /// Height and width after pooling a map of this height and width.
    pub fn output_size(&self, size: [u32; 2]) -> [u32; 2] {
        [0, 1].map(|axis| self.windows(axis).count(size[axis]))
    }
}

impl StepFunction {
    /// The step function of the codes with the other sign.
    pub fn negated(&self) -> StepFunction {
        let beside = |&t: &i64| if self.rising { t - 1 } else { t + 1 };
        StepFunction {
            lowest: -(self.lowest + self.thresholds.len() as i64),
            rising: !self.rising || self.thresholds.is_empty(),
            thresholds: self.thresholds.iter().rev().map(beside).collect(),
        }
    }

    /// The code of an accumulator: the definition, by counting.
    pub fn code(&self, acc: i64) -> i64 {
        let met = |&&t: &&i64| if self.rising { acc >= t } else { acc <= t };
        self.lowest + self.thresholds.iter().filter(met).count() as i64
    }
}

impl Term {
    /// Shape of the convolution's output for an input of this shape.
    pub fn output_shape(&self, input: MapShape) -> MapShape {
        let [height, width] = self.conv.output_size(input);
        MapShape { channels: self.weights.out_channels, height, width }
    }

    /// Smallest and largest sum of each output channel, over all inputs of this code.
    pub fn bounds(&self, input: Code) -> Vec<(i64, i64)> {
        let per_channel = self.weights.data.len() / (self.weights.out_channels as usize).max(1);
        let (min, max) = (input.min().min(self.pad_value), input.max().max(self.pad_value));
        self.weights
            .data
            .chunks(per_channel.max(1))
            .map(|channel| {
                channel.iter().fold((0, 0), |(low, high), &w| {
                    let (a, b) = (i64::from(w) * min, i64::from(w) * max);
                    (low + a.min(b), high + a.max(b))
                })
            })
            .collect()
    }
}

impl Layer {
    /// Shape of the layer's output, for accumulators of this shape.
    pub fn output_shape(&self, sums: MapShape) -> MapShape {
        let [height, width] = match &self.pool {
            Some(pool) => pool.output_size([sums.height, sums.width]),
            None => [sums.height, sums.width],
        };
        MapShape { height, width, ..sums }
    }
}

impl Network {
    /// Shape and code of a map. The last layer's code is the output descriptor's.
    pub fn map(&self, id: MapId) -> (MapShape, Code) {
        let Some(last) = id.0.checked_sub(1) else {
            return (self.input.shape, self.input.code);
        };
        // The layers that the map's shape depends on, by their first terms.
        let before = |&index: &usize| self.layers[index].terms[0].source.0.checked_sub(1);
        let way: Vec<usize> = std::iter::successors(Some(last), before).collect();
        let shape = way.iter().rev().fold(self.input.shape, |shape, &index| {
            let layer = &self.layers[index];
            layer.output_shape(layer.terms[0].output_shape(shape))
        });
        (shape, self.code(id))
    }

    /// Integer type of a map.
    pub fn code(&self, id: MapId) -> Code {
        match id.0.checked_sub(1).map(|index| &self.layers[index].activation) {
            None => self.input.code,
            Some(Activation::Steps { code, .. }) => *code,
            Some(Activation::Raw) => self.output.code,
        }
    }

    /// Shape of a layer's accumulators, before pooling.
    pub fn sums(&self, layer: &Layer) -> MapShape {
        let term = &layer.terms[0];
        term.output_shape(self.map(term.source).0)
    }

    /// Smallest and largest accumulator of each output channel of a layer, over all codes of the
    /// maps that it reads.
    pub fn accumulator_bounds(&self, layer: &Layer) -> Vec<(i64, i64)> {
        self.sum_bounds(&layer.terms)
    }

    /// Smallest and largest sum of each output channel of some terms, over all codes of the maps
    /// that they read; nothing for no terms.
    pub fn sum_bounds(&self, terms: &[Term]) -> Vec<(i64, i64)> {
        let of = |term: &Term| term.bounds(self.code(term.source));
        let add = |sum: Vec<(i64, i64)>, term: Vec<(i64, i64)>| {
            sum.iter().zip(term).map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect()
        };
        terms.iter().map(of).reduce(add).unwrap_or_default()
    }

    /// Multiply-accumulates of one image in a layer: one for each weight and each position of a
    /// convolution.
    pub fn macs(&self, layer: &Layer) -> u64 {
        let sums = self.sums(layer);
        let weights: usize = layer.terms.iter().map(|term| term.weights.data.len()).sum();
        weights as u64 * u64::from(sums.height) * u64::from(sums.width)
    }
}
