//! The plain evaluator of the integer network: what every other way to compute it must agree with.
//!
//! Nested loops over the definition in [`qnnsim_compiler::ir`], one accumulator at a time, in
//! 64-bit integers. It shares no kernel, packing or threshold code with the simulator.

pub mod verify;

use qnnsim_compiler::ir::{Activation, Layer, Network, Term};
use qnnsim_isa::descriptor::MapShape;

/// A map of integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Its shape.
    pub shape: MapShape,
    /// Values in the order channel, row, column: index `(c * height + y) * width + x`.
    pub values: Vec<i64>,
}

impl Map {
    /// A map of values that are given pixel after pixel, channels innermost.
    pub fn of_pixels(shape: MapShape, values: &[i64]) -> Map {
        let size = shape.height as usize * shape.width as usize;
        let channels = shape.channels as usize;
        let turned = (0..values.len()).map(|i| values[i % size * channels + i / size]);
        Map { shape, values: turned.collect() }
    }

    /// The values pixel after pixel, channels innermost, as the output leaves the machine.
    pub fn by_pixel(&self) -> Vec<i64> {
        let size = self.shape.height as usize * self.shape.width as usize;
        let channels = self.shape.channels as usize;
        (0..self.values.len()).map(|i| self.values[i % channels * size + i / channels]).collect()
    }

    /// The values of one channel, row after row.
    fn channel(&self, channel: usize) -> &[i64] {
        let size = self.shape.height as usize * self.shape.width as usize;
        &self.values[channel * size..][..size]
    }
}

/// Evaluates a network for one image. `input` holds codes in the order channel, row, column. Gives
/// all maps: index 0 is the input, `i + 1` what layer `i` makes.
///
/// # Panics
///
/// If the input has not the network's input shape.
pub fn evaluate(network: &Network, input: &[i64]) -> Vec<Map> {
    assert_eq!(input.len(), network.input.shape.values(), "values of the input");
    let mut maps = vec![Map { shape: network.input.shape, values: input.to_vec() }];
    for layer in &network.layers {
        let codes = activate(layer, accumulate(layer, &maps));
        maps.push(pool(layer, codes));
    }
    maps
}

/// The accumulators of a layer, from all maps before it.
pub fn accumulate(layer: &Layer, maps: &[Map]) -> Map {
    let mut terms = layer.terms.iter().map(|term| convolve(term, &maps[term.source.0]));
    let mut sum = terms.next().expect("a layer has a term");
    for term in terms {
        assert_eq!(term.shape, sum.shape, "terms of one layer");
        for (sum, value) in sum.values.iter_mut().zip(term.values) {
            *sum += value;
        }
    }
    sum
}

/// The sums of one term.
fn convolve(term: &Term, map: &Map) -> Map {
    let conv = &term.conv;
    let shape = term.output_shape(map.shape);
    let [kernel_y, kernel_x] = conv.kernel.map(|k| k as usize);
    let outputs_of_group = (shape.channels / conv.groups) as usize;
    let inputs_of_group = (map.shape.channels / conv.groups) as usize;
    let mut values = Vec::with_capacity(shape.values());
    for (o, kernel) in term.weights.data.chunks(inputs_of_group * kernel_y * kernel_x).enumerate() {
        let first_input = o / outputs_of_group * inputs_of_group;
        for y in 0..i64::from(shape.height) {
            for x in 0..i64::from(shape.width) {
                let mut sum = 0;
                let reads = term.region.is_none_or(|region| {
                    let within = |at: i64, [first, end]: [u32; 2]| {
                        (i64::from(first)..i64::from(end)).contains(&at)
                    };
                    within(y, region.rows) && within(x, region.columns)
                });
                for (i, plane) in kernel.chunks(kernel_y * kernel_x).enumerate() {
                    let channel = map.channel(first_input + i);
                    for (ky, row) in plane.chunks(kernel_x).enumerate() {
                        let in_y = tap(y, conv.stride[0], ky, conv.dilation[0], conv.pads[0]);
                        for (kx, &weight) in row.iter().enumerate() {
                            let in_x = tap(x, conv.stride[1], kx, conv.dilation[1], conv.pads[1]);
                            let value = if reads
                                && inside(in_y, map.shape.height)
                                && inside(in_x, map.shape.width)
                            {
                                channel[in_y as usize * map.shape.width as usize + in_x as usize]
                            } else {
                                term.pad_value
                            };
                            sum += i64::from(weight) * value;
                        }
                    }
                }
                values.push(sum);
            }
        }
    }
    Map { shape, values }
}

/// Accumulators to codes, or unchanged in the last layer.
pub fn activate(layer: &Layer, mut map: Map) -> Map {
    if let Activation::Steps { channels, .. } = &layer.activation {
        let size = map.shape.height as usize * map.shape.width as usize;
        for (values, steps) in map.values.chunks_mut(size).zip(channels) {
            for value in values {
                *value = steps.code(*value);
            }
        }
    }
    map
}

/// The maximum over each window of a layer's pooling, positions outside the map left out.
pub fn pool(layer: &Layer, map: Map) -> Map {
    let Some(pool) = &layer.pool else { return map };
    let [height, width] = pool.output_size([map.shape.height, map.shape.width]);
    let shape = MapShape { height, width, ..map.shape };
    let mut values = Vec::with_capacity(shape.values());
    for c in 0..shape.channels as usize {
        let channel = map.channel(c);
        for y in 0..i64::from(height) {
            for x in 0..i64::from(width) {
                let mut maximum = None;
                for ky in 0..pool.kernel[0] as usize {
                    for kx in 0..pool.kernel[1] as usize {
                        let in_y = tap(y, pool.stride[0], ky, 1, pool.pads[0]);
                        let in_x = tap(x, pool.stride[1], kx, 1, pool.pads[1]);
                        if inside(in_y, map.shape.height) && inside(in_x, map.shape.width) {
                            let at = in_y as usize * map.shape.width as usize + in_x as usize;
                            maximum = maximum.max(Some(channel[at]));
                        }
                    }
                }
                values.push(maximum.expect("no window lies wholly outside the map"));
            }
        }
    }
    Map { shape, values }
}

/// Coordinate in the map of tap `k` of the window at output coordinate `out`.
fn tap(out: i64, stride: u32, k: usize, dilation: u32, before: u32) -> i64 {
    out * i64::from(stride) + k as i64 * i64::from(dilation) - i64::from(before)
}

fn inside(at: i64, size: u32) -> bool {
    (0..i64::from(size)).contains(&at)
}
