//! Random graphs over the operators on maps, as ONNX models.

use prost::Message;
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::input::{InputFormat, InputType};
use qnnsim_compiler::limits;
use qnnsim_compiler::onnx::data_type;

use super::{Model, Noise, float, int, ints, number, string};

/// Kinds of operators that are drawn.
pub const DRAWN: [&str; 59] = [
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Flatten",
    "Gather",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "MatMul of columns",
    "MatMul of rows",
    "MatMul of tokens",
    "MaxPool",
    "Pad",
    "QLinearConv",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "RequantShift",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Sub",
    "Sum of three",
    "ThresholdedRelu",
    "Tile",
    "Where",
    "asymmetric pads",
    "auto_pad",
    "comparison",
    "depthwise",
    "exponential",
    "falling behind a pooling",
    "function of one map",
    "groups",
    "half precision",
    "host head",
    "input type",
    "map output",
    "maximum with a constant",
    "means that vary at the borders",
    "preprocessing",
    "quantizer written out",
    "product of maps",
    "requantized",
    "scale of each channel",
    "several outputs",
    "shuffle",
    "transA",
    "unquantized branch",
    "weights by value",
    "weights first",
    "weights of 9 bits",
    "zero point",
];

/// A value of the graph under construction.
#[derive(Debug, Clone)]
struct Value {
    name: String,
    shape: [i64; 3],
    /// About how large its real values are.
    spread: f32,
    /// Rows and columns that one of the map stands for.
    phases: [i64; 2],
}

struct Builder {
    m: Model,
    noise: Noise,
    values: Vec<Value>,
    /// What has been drawn.
    drawn: Vec<&'static str>,
}

impl Builder {
    fn add(&mut self, name: String, shape: [i64; 3], spread: f32, phases: [i64; 2]) -> Value {
        let value = Value { name, shape, spread, phases };
        self.values.push(value.clone());
        value
    }

    /// A quantizer as a file writes it out: divided, rounded, clipped and multiplied.
    fn written_out(&mut self, x: &Value, bits: u32) -> Value {
        self.drawn.push("quantizer written out");
        let scale = (x.spread / (1 << bits) as f32).max(1e-4).log2().round().exp2();
        let zero = self.noise.of(&[0, 0, 1, 3]) as f32;
        let most = (1 << bits) as f32 - 1.0 - self.noise.of(&[0, 0, 2]) as f32 * 0.5;
        let constants = [scale, zero, 0.0, most.floor().max(zero)].map(|x| self.m.scalar(x));
        let [scale_of, zero_of, least, most] = &constants;
        let rounding = ["Round", "Round", "Floor", "Ceil"][self.noise.below(4)];
        let mut name = self.m.node("Div", &[&x.name, scale_of], &[]);
        if zero != 0.0 {
            name = self.m.node("Add", &[&name, zero_of], &[]);
        }
        name = self.m.node(rounding, &[&name], &[]);
        name = self.m.node("Clip", &[&name, least, most], &[]);
        if zero != 0.0 {
            name = self.m.node("Sub", &[&name, zero_of], &[]);
        }
        name = self.m.node("Mul", &[&name, scale_of], &[]);
        self.add(name, x.shape, scale * (1 << bits) as f32, x.phases)
    }

    /// Times an integer, shifted to the right and clipped.
    fn requant_shift(&mut self, x: &Value, bits: u32) -> Value {
        self.drawn.push("RequantShift");
        let levels = (1 << bits) as f32;
        let div = (x.spread * 5.0 / levels).max(1.0).log2().round().exp2();
        let (mul, add) = (self.m.scalar(self.noise.of(&[2, 3, 5]) as f32), self.noise.of(&[0, 4]));
        let add = self.m.scalar(add as f32);
        let signed = self.noise.chance(30);
        let attributes =
            [("div", div), ("n_levels_out", levels), ("signed", f32::from(u8::from(signed)))];
        let attributes = attributes.map(|(name, value)| number(name, value));
        let name = self.m.node("RequantShift", &[&x.name, &mul, &add], &attributes);
        self.add(name, x.shape, levels, x.phases)
    }

    fn quantize(&mut self, x: &Value, bits: u32) -> Value {
        match self.noise.below(20) {
            0..=2 => return self.written_out(x, bits),
            3 => return self.requant_shift(x, bits),
            _ => {}
        }
        let signed = self.noise.chance(30);
        let bits = bits + u32::from(signed && bits == 1);
        let base = if self.noise.chance(80) { 1.0 } else { 0.7 + 0.3 * self.noise.real() };
        let scale = base * (x.spread / (1 << bits) as f32).max(1e-4).log2().round().exp2();
        let mode = ["ROUND", "ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO"][self.noise.below(5)];
        let zero = if self.noise.chance(30) { self.noise.of(&[-2, 1, 3]) } else { 0 };
        if zero != 0 {
            self.drawn.push("zero point");
        }
        let mut parameters = [scale, zero as f32, bits as f32].map(|value| self.m.scalar(value));
        if x.shape[0] > 1 && self.noise.chance(20) {
            // Mostly multiples of one scale, so that a sum over channels is exact.
            let near = self.noise.chance(80);
            let factor = |noise: &mut Noise| {
                if near { noise.of(&[1, 2, 3]) as f32 } else { 1.0 + 0.5 * noise.real() }
            };
            let scales: Vec<f32> =
                (0..x.shape[0]).map(|_| scale * factor(&mut self.noise)).collect();
            parameters[0] = self.m.constant(&[1, x.shape[0], 1, 1], &scales);
            self.drawn.push("scale of each channel");
        }
        let inputs = [&x.name, &parameters[0], &parameters[1], &parameters[2]].map(String::as_str);
        let attributes =
            [int("signed", i64::from(signed)), int("narrow", 0), string("rounding_mode", mode)];
        let name = self.m.node("Quant", &inputs, &attributes);
        self.add(name, x.shape, scale * (1 << bits) as f32, x.phases)
    }

    fn conv(&mut self, x: &Value) -> Option<Value> {
        let [channels, height, width] = x.shape;
        let kernel = [self.noise.of(&[1, 1, 2, 3]), self.noise.of(&[1, 2, 3])];
        let strides = [self.noise.of(&[1, 1, 2]), self.noise.of(&[1, 1, 2])];
        let dilations = [self.noise.of(&[1, 1, 2]), self.noise.of(&[1, 1, 2])];
        let mut groups = 1;
        if self.noise.chance(40) {
            groups = [channels, if channels % 2 == 0 { 2 } else { 1 }][self.noise.below(2)];
            self.drawn.push(if groups == channels { "depthwise" } else { "groups" });
        }
        let outputs = groups * self.noise.of(&[1, 2]);
        let mut attributes =
            vec![ints("strides", &strides), ints("dilations", &dilations), int("group", groups)];
        let extent = [0, 1].map(|axis| (kernel[axis] - 1) * dilations[axis] + 1);
        let size = [height, width];
        let out = match self.noise.below(3) {
            0 => {
                self.drawn.push("auto_pad");
                attributes
                    .push(string("auto_pad", ["SAME_UPPER", "SAME_LOWER"][self.noise.below(2)]));
                [0, 1].map(|axis| (size[axis] + strides[axis] - 1) / strides[axis])
            }
            1 => {
                self.drawn.push("asymmetric pads");
                let pads: [i64; 4] = std::array::from_fn(|_| self.noise.of(&[0, 1, 2]));
                attributes.push(ints("pads", &pads));
                [0, 1].map(|axis| {
                    (size[axis] + pads[axis] + pads[axis + 2] - extent[axis])
                        .div_euclid(strides[axis])
                        + 1
                })
            }
            _ => [0, 1].map(|axis| (size[axis] - extent[axis]).div_euclid(strides[axis]) + 1),
        };
        if out[0] < 1 || out[1] < 1 {
            return None;
        }
        let phases = through(x.phases, strides, out)?;
        let inputs = channels / groups;
        let bits = self.noise.of(&[1, 2, 3, 4]) as u32;
        let count = (outputs * inputs * kernel[0] * kernel[1]) as usize;
        let dims = [outputs, inputs, kernel[0], kernel[1]];
        let weights = if self.noise.chance(10) {
            self.drawn.push("weights of 9 bits");
            let data: Vec<i32> = (0..count).map(|_| self.noise.below(256) as i32).collect();
            let weights = self.m.integers(data_type::UINT8, &dims, &data);
            let zero = self.m.integers(data_type::UINT8, &[], &[100]);
            let scale = self.m.scalar(1.0 / 64.0);
            self.m.node("DequantizeLinear", &[&weights, &scale, &zero], &[])
        } else {
            let by_value = self.noise.chance(25);
            let mut weights: Vec<f32> =
                (0..count).map(|_| self.noise.real() * (1 << bits) as f32).collect();
            if by_value {
                // Integers of more bits, times a scale, rounded to float32.
                self.drawn.push("weights by value");
                weights.iter_mut().for_each(|weight| *weight = (*weight * 4.0).round() * 0.3);
            }
            let weights = self.m.constant(&dims, &weights);
            if by_value { weights } else { self.m.quant(&weights, 1.0, bits, true) }
        };
        let name = self.m.node("Conv", &[&x.name, &weights], &attributes);
        self.drawn.push("Conv");
        let spread =
            x.spread * ((inputs * kernel[0] * kernel[1]) as f32).sqrt() * (1 << (bits - 1)) as f32;
        Some(Value { name, shape: [outputs, out[0], out[1]], spread, phases })
    }

    fn transposed(&mut self, x: &Value) -> Option<Value> {
        let [channels, height, width] = x.shape;
        let kernel = [self.noise.of(&[1, 2, 3]), self.noise.of(&[1, 2, 3, 4])];
        let strides = [self.noise.of(&[1, 1, 2]), self.noise.of(&[1, 2, 2, 3])];
        let dilations = [1, self.noise.of(&[1, 1, 2])];
        let groups = if channels % 2 == 0 && self.noise.chance(40) { 2 } else { 1 };
        let outputs = self.noise.of(&[1, 2]);
        let mut attributes =
            vec![ints("strides", &strides), ints("dilations", &dilations), int("group", groups)];
        let extent = [0, 1].map(|axis| (kernel[axis] - 1) * dilations[axis] + 1);
        let full = [0, 1].map(|axis| ([height, width][axis] - 1) * strides[axis] + extent[axis]);
        let out = match self.noise.below(4) {
            0 => {
                let size = [0, 1].map(|axis| [height, width][axis] * strides[axis]);
                attributes.push(ints("output_shape", &size));
                size
            }
            1 => {
                attributes
                    .push(string("auto_pad", ["SAME_UPPER", "SAME_LOWER"][self.noise.below(2)]));
                [0, 1].map(|axis| [height, width][axis] * strides[axis])
            }
            _ => {
                // Paddings so that the size is a multiple of the stride.
                let pads: [i64; 2] = std::array::from_fn(|_| self.noise.of(&[0, 1]));
                let sizes = [0, 1].map(|axis| full[axis] - pads[axis]);
                let more =
                    [0, 1].map(|axis| (-sizes[axis]).rem_euclid(strides[axis] * x.phases[axis]));
                attributes.push(ints("pads", &[pads[0], pads[1], 0, 0]));
                attributes.push(ints("output_padding", &more));
                [0, 1].map(|axis| sizes[axis] + more[axis])
            }
        };
        if out[0] < 1 || out[1] < 1 || out[0] * out[1] > 300 {
            return None;
        }
        let phases = [0, 1].map(|axis| x.phases[axis] * strides[axis]);
        if (0..2).any(|axis| out[axis] % phases[axis] != 0) {
            return None;
        }
        let bits = self.noise.of(&[1, 2, 3, 4]) as u32;
        let count = (channels * outputs * kernel[0] * kernel[1]) as usize;
        let weights: Vec<f32> =
            (0..count).map(|_| self.noise.real() * (1 << bits) as f32).collect();
        let weights = self.m.constant(&[channels, outputs, kernel[0], kernel[1]], &weights);
        let weights = self.m.quant(&weights, 1.0, bits, true);
        let mut inputs = vec![x.name.clone(), weights];
        if self.noise.chance(50) {
            let bias: Vec<f32> = (0..outputs * groups).map(|_| self.noise.real() * 4.0).collect();
            inputs.push(self.m.constant(&[outputs * groups], &bias));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let name = self.m.node("ConvTranspose", &inputs, &attributes);
        self.drawn.push("ConvTranspose");
        let spread =
            x.spread * ((channels / groups * kernel[0]) as f32).sqrt() * (1 << (bits - 1)) as f32;
        Some(Value { name, shape: [outputs * groups, out[0], out[1]], spread, phases })
    }

    /// A product with a matrix along channels, rows or columns.
    fn product(&mut self, x: &Value) -> Value {
        let [channels, height, width] = x.shape;
        let outputs = self.noise.of(&[1, 2, 3]);
        let axis = self.noise.below(3);
        let inputs = x.shape[axis];
        let first = axis == 1;
        let data: Vec<f32> = (0..inputs * outputs).map(|_| self.noise.real() * 4.0).collect();
        let weights =
            self.m.weights(&if first { [outputs, inputs] } else { [inputs, outputs] }, &data);
        let mut shape = x.shape;
        let mut phases = x.phases;
        let name = match axis {
            0 => {
                self.drawn.push("MatMul of tokens");
                let flat = self.m.shape(&[1, channels, height * width]);
                let tokens = self.m.node("Reshape", &[&x.name, &flat], &[]);
                let tokens = self.m.node("Transpose", &[&tokens], &[ints("perm", &[0, 2, 1])]);
                let mut sums = self.m.node("MatMul", &[&tokens, &weights], &[]);
                if self.noise.chance(50) {
                    let bias: Vec<f32> = (0..outputs).map(|_| self.noise.real() * 4.0).collect();
                    let bias = self.m.constant(&[outputs], &bias);
                    sums = self.m.node("Add", &[&sums, &bias], &[]);
                }
                let back = self.m.node("Transpose", &[&sums], &[ints("perm", &[0, 2, 1])]);
                let map = self.m.shape(&[1, outputs, height, width]);
                self.m.node("Reshape", &[&back, &map], &[])
            }
            1 => {
                self.drawn.push("MatMul of rows");
                self.m.node("MatMul", &[&weights, &x.name], &[])
            }
            _ => {
                self.drawn.push("MatMul of columns");
                self.m.node("MatMul", &[&x.name, &weights], &[])
            }
        };
        shape[axis] = outputs;
        if axis > 0 {
            phases[axis - 1] = outputs;
        }
        Value { name, shape, spread: x.spread * 4.0 * (inputs as f32).sqrt(), phases }
    }

    fn norm(&mut self, x: &Value) -> Value {
        let channels = x.shape[0];
        let mut list = |size: f32, least: f32| -> String {
            let values: Vec<f32> =
                (0..channels).map(|_| (self.noise.real() * size).max(least)).collect();
            self.m.constant(&[channels], &values)
        };
        let (gain, bias, mean, variance) =
            (list(2.0, -2.0), list(1.0, -1.0), list(4.0, -4.0), list(2.0, 0.5));
        let inputs = [&x.name, &gain, &bias, &mean, &variance].map(String::as_str);
        let name = self.m.node("BatchNormalization", &inputs, &[float("epsilon", 0.25)]);
        self.drawn.push("BatchNormalization");
        Value { name, ..x.clone() }
    }

    /// A function of a value that reads it more than once, perhaps with quantizers on the way.
    fn function(&mut self, x: &Value) -> Value {
        self.drawn.push("function of one map");
        let rounded = |builder: &mut Self, name: String, scale: f32| -> String {
            if builder.noise.chance(40) { builder.m.quant(&name, scale, 8, true) } else { name }
        };
        let name = match self.noise.below(8) {
            5 => {
                self.drawn.push("maximum with a constant");
                let op = ["Max", "Min"][self.noise.below(2)];
                let constant = self.m.scalar(self.noise.real() * x.spread * 0.25);
                let order = self.noise.below(2);
                let mut inputs = [x.name.as_str(), constant.as_str()];
                inputs.rotate_left(order);
                self.m.node(op, &inputs, &[])
            }
            6 => {
                self.drawn.push("exponential");
                let size = self.m.node("Abs", &[&x.name], &[]);
                let small = self.m.scalar(-4.0 / x.spread);
                let scaled = self.m.node("Mul", &[&size, &small], &[]);
                let power = self.m.node("Exp", &[&scaled], &[]);
                let large = self.m.scalar(x.spread);
                let power = self.m.node("Mul", &[&power, &large], &[]);
                if self.noise.chance(50) {
                    power
                } else {
                    let one = self.m.scalar(1.0);
                    let sum = self.m.node("Add", &[&power, &one], &[]);
                    self.m.node("Reciprocal", &[&sum], &[])
                }
            }
            7 => {
                self.drawn.push("half precision");
                let third = self.m.scalar(0.3);
                let scaled = self.m.node("Mul", &[&x.name, &third], &[]);
                let cast = self.m.node("Cast", &[&scaled], &[int("to", 10)]);
                self.m.node("Cast", &[&cast], &[int("to", 1)])
            }
            0 => {
                let sigmoid = self.m.node("Sigmoid", &[&x.name], &[]);
                let sigmoid = rounded(self, sigmoid, 1.0 / 128.0);
                self.m.node("Mul", &[&x.name, &sigmoid], &[])
            }
            1 => self.m.node("Mul", &[&x.name, &x.name], &[]),
            2 => {
                let tanh = self.m.node("Tanh", &[&x.name], &[]);
                let two = self.m.scalar(2.0);
                let divisor = self.m.node("Add", &[&tanh, &two], &[]);
                self.m.node("Div", &[&x.name, &divisor], &[])
            }
            3 => {
                let tenth = self.m.scalar(0.125);
                let scaled = self.m.node("Mul", &[&x.name, &tenth], &[]);
                let hard = self.m.node("HardSigmoid", &[&scaled], &[]);
                let hard = rounded(self, hard, 1.0 / 64.0);
                self.m.node("Mul", &[&hard, &x.name], &[])
            }
            _ => {
                let tanh = self.m.node("Tanh", &[&x.name], &[]);
                let twice = self.m.node("Mul", &[&tanh, &tanh], &[]);
                self.m.node("Sub", &[&tanh, &twice], &[])
            }
        };
        Value { name, ..x.clone() }
    }

    fn relu(&mut self, x: &Value) -> Value {
        self.drawn.push("Relu");
        Value { name: self.m.node("Relu", &[&x.name], &[]), ..x.clone() }
    }

    /// One more operator over some values; `None` if it does not fit.
    fn step(&mut self) -> Option<()> {
        let at = self.values.len() - 1 - self.noise.below(self.values.len().min(3));
        let x = self.values[at].clone();
        let [channels, height, width] = x.shape;
        let bits = self.noise.of(&[1, 2, 3, 4, 8]) as u32;
        match self.noise.below(27) {
            0..=2 => {
                let mut y = self.conv(&x)?;
                if self.noise.chance(50) {
                    y = self.norm(&y);
                }
                if self.noise.chance(50) {
                    y = self.relu(&y);
                }
                self.quantize(&y, bits);
            }
            3 | 4 => {
                // A sum, one of whose operands may not be quantized.
                let mut y = match self.noise.chance(40) {
                    true => {
                        let y = self.conv(&x)?;
                        self.drawn.push("unquantized branch");
                        if self.noise.chance(50) { self.norm(&y) } else { y }
                    }
                    false => x.clone(),
                };
                let same: Vec<Value> =
                    self.values.iter().filter(|v| v.shape == y.shape).cloned().collect();
                if same.is_empty() {
                    return None;
                }
                let other = same[self.noise.below(same.len())].clone();
                let op = if self.noise.chance(80) { "Add" } else { "Sub" };
                self.drawn.push(op);
                let spread = y.spread + other.spread;
                let phases = [0, 1].map(|axis| lcm(y.phases[axis], other.phases[axis]));
                y = Value {
                    name: self.m.node(op, &[&y.name, &other.name], &[]),
                    spread,
                    phases,
                    ..y
                };
                if self.noise.chance(40) {
                    y = self.relu(&y);
                }
                match self.noise.chance(75) {
                    true => drop(self.quantize(&y, bits)),
                    false => self.values.push(y),
                }
            }
            5 => {
                let same: Vec<Value> =
                    self.values.iter().filter(|v| v.shape[1..] == x.shape[1..]).cloned().collect();
                let other = same[self.noise.below(same.len())].clone();
                self.drawn.push("Concat");
                let name = self.m.node("Concat", &[&x.name, &other.name], &[int("axis", 1)]);
                let phases = [0, 1].map(|axis| lcm(x.phases[axis], other.phases[axis]));
                self.add(
                    name,
                    [channels + other.shape[0], height, width],
                    x.spread.max(other.spread),
                    phases,
                );
            }
            6 => {
                let (starts, ends) = (self.m.shape(&[0, 1]), self.m.shape(&[i64::MAX, height]));
                let (axes, steps) = (self.m.shape(&[1, 2]), self.m.shape(&[2, 1]));
                through(x.phases, [1, 1], [height - 1, width])?;
                if height < 2 {
                    return None;
                }
                self.drawn.push("Slice");
                let name = self.m.node("Slice", &[&x.name, &starts, &ends, &axes, &steps], &[]);
                self.add(name, [(channels + 1) / 2, height - 1, width], x.spread, x.phases);
            }
            7 => {
                let phases = through(x.phases, [1, 1], [height + 1, width + 2])?;
                let pads = self.m.shape(&[0, 0, 1, 0, 0, 0, 0, 2]);
                self.drawn.push("Pad");
                let name = self.m.node("Pad", &[&x.name, &pads], &[]);
                self.add(name, [channels, height + 1, width + 2], x.spread, phases);
            }
            8 | 9 => {
                let kernel = [self.noise.of(&[2, 3]), self.noise.of(&[1, 2])];
                let strides = [self.noise.of(&[1, 2]), self.noise.of(&[1, 2])];
                if height < kernel[0] || width < kernel[1] {
                    return None;
                }
                let average = self.noise.chance(60);
                let out = |size: i64, axis: usize| (size - kernel[axis]) / strides[axis] + 1;
                let out = [out(height, 0), out(width, 1)];
                let phases = through(x.phases, strides, out)?;
                if !average && x.phases != [1, 1] {
                    return None;
                }
                let op = if average { "AveragePool" } else { "MaxPool" };
                self.drawn.push(op);
                let mut pads = [0; 4];
                let mut attributes = vec![ints("kernel_shape", &kernel), ints("strides", &strides)];
                if average && x.phases == [1, 1] && self.noise.chance(50) {
                    pads = std::array::from_fn(|side| {
                        self.noise.of(&[0, 1]).min(kernel[side % 2] - 1)
                    });
                    let counted = self.noise.of(&[0, 0, 1]);
                    attributes.extend([ints("pads", &pads), int("count_include_pad", counted)]);
                    if counted == 0 && pads != [0; 4] {
                        self.drawn.push("means that vary at the borders");
                    }
                }
                let name = self.m.node(op, &[&x.name], &attributes);
                let out = |size: i64, axis: usize| {
                    (size + pads[axis] + pads[axis + 2] - kernel[axis]) / strides[axis] + 1
                };
                let y = Value {
                    name,
                    shape: [channels, out(height, 0), out(width, 1)],
                    spread: x.spread,
                    phases,
                };
                match average && self.noise.chance(60) {
                    true => drop(self.quantize(&y, bits)),
                    false => self.values.push(y),
                }
            }
            10 => {
                if channels % 2 != 0 || channels == 2 {
                    return None;
                }
                self.drawn.push("shuffle");
                let groups = self.m.shape(&[1, 2, channels / 2, height, width]);
                let split = self.m.node("Reshape", &[&x.name, &groups], &[]);
                let swapped =
                    self.m.node("Transpose", &[&split], &[ints("perm", &[0, 2, 1, 3, 4])]);
                let back = self.m.shape(&[1, channels, height, width]);
                let name = self.m.node("Reshape", &[&swapped, &back], &[]);
                self.add(name, x.shape, x.spread, x.phases);
            }
            11 => {
                self.drawn.push("requantized");
                let half = self.m.scalar(0.5 + 0.25 * self.noise.real());
                let name = self.m.node("Mul", &[&x.name, &half], &[]);
                let y = Value { name, ..x };
                self.quantize(&y, bits);
            }
            13 => {
                let mut y = if self.noise.chance(30) { self.conv(&x)? } else { x };
                let factors = [self.noise.of(&[1, 2]), self.noise.of(&[2, 3])];
                if y.shape[1] * factors[0] > 16 || y.shape[2] * factors[1] > 18 {
                    return None;
                }
                self.drawn.push("Resize");
                let shape = [y.shape[0], y.shape[1] * factors[0], y.shape[2] * factors[1]];
                let sizes = self.m.shape(&[1, shape[0], shape[1], shape[2]]);
                let name = self.m.node("Resize", &[&y.name, "", "", &sizes], &[]);
                let phases = [y.phases[0] * factors[0], y.phases[1] * factors[1]];
                y = Value { name, shape, phases, ..y };
                match self.noise.chance(50) {
                    true => drop(self.quantize(&y, bits)),
                    false => self.values.push(y),
                }
            }
            14 => {
                let mut y = self.transposed(&x)?;
                if self.noise.chance(50) {
                    y = self.norm(&y);
                }
                self.quantize(&y, bits);
            }
            15 => {
                let to_depth = self.noise.chance(50);
                let fits =
                    if to_depth { height % 2 == 0 && width % 2 == 0 } else { channels % 4 == 0 };
                if !fits || height * width > 100 {
                    return None;
                }
                let op = if to_depth { "SpaceToDepth" } else { "DepthToSpace" };
                self.drawn.push(op);
                let mut attributes = vec![int("blocksize", 2)];
                if !to_depth {
                    attributes.push(string("mode", ["DCR", "CRD"][self.noise.below(2)]));
                }
                let name = self.m.node(op, &[&x.name], &attributes);
                let (shape, phases) = match to_depth {
                    true => {
                        let phases = x.phases.map(|phases| lcm(phases, 2) / 2);
                        ([channels * 4, height / 2, width / 2], phases)
                    }
                    false => {
                        ([channels / 4, height * 2, width * 2], x.phases.map(|phases| phases * 2))
                    }
                };
                self.add(name, shape, x.spread, phases);
            }
            16 => {
                let y = self.product(&x);
                self.quantize(&y, bits);
            }
            17 => {
                let y = self.function(&x);
                self.quantize(&y, bits);
            }
            19 => {
                // A product of two maps, or of a map and what is made of its means.
                let bits = bits.min(4);
                let a = self.quantize(&x, bits);
                let b = match x.phases == [1, 1] && self.noise.chance(50) {
                    true => {
                        let mean = self.m.node("GlobalAveragePool", &[&x.name], &[]);
                        let mean = Value { name: mean, shape: [channels, 1, 1], ..x.clone() };
                        let scale = (x.spread / 16.0).max(1e-4).log2().round().exp2();
                        let name = self.m.quant(&mean.name, scale, 4, true);
                        Value { name, ..mean }
                    }
                    false => {
                        let norm = self.norm(&x);
                        self.quantize(&norm, bits)
                    }
                };
                self.drawn.push("product of maps");
                let name = self.m.node("Mul", &[&a.name, &b.name], &[]);
                let y = Value { name, spread: a.spread * x.spread / 2.0, ..a };
                self.quantize(&y, bits);
            }
            18 => {
                if height < 2 || width < 2 || x.phases != [1, 1] {
                    return None;
                }
                let mut y = if self.noise.chance(50) { self.conv(&x)? } else { x };
                let [_, height, width] = y.shape;
                if height < 2 || width < 2 || y.phases != [1, 1] {
                    return None;
                }
                self.drawn.push("falling behind a pooling");
                let attributes = [ints("kernel_shape", &[2, 2]), ints("strides", &[1, 2])];
                let name = self.m.node("MaxPool", &[&y.name], &attributes);
                let shape = [y.shape[0], height - 1, (width - 2) / 2 + 1];
                y = Value { name, shape, ..y };
                // Gains of both signs.
                y = self.norm(&y);
                self.quantize(&y, bits);
            }
            20 => {
                let y = self.conv(&x)?;
                let (op, attributes) = match self.noise.chance(50) {
                    true => ("Abs", vec![]),
                    false => ("ThresholdedRelu", vec![float("alpha", y.spread * 0.1)]),
                };
                self.drawn.push(op);
                let name = self.m.node(op, &[&y.name], &attributes);
                let y = Value { name, ..y };
                self.quantize(&y, bits.min(4));
            }
            22 => {
                if x.phases != [1, 1] {
                    return None;
                }
                self.qlinear_conv(&x);
            }
            23 => {
                // What is chosen by comparisons of a value with constants.
                let op = ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"]
                    [self.noise.below(5)];
                self.drawn.push("comparison");
                let bound = self.m.scalar((self.noise.real() * x.spread * 0.25).round());
                let holds = self.m.node(op, &[&x.name, &bound], &[]);
                let name = match self.noise.below(3) {
                    0 => {
                        let size = self.m.scalar(x.spread * 0.5);
                        self.m.node("Mul", &[&holds, &size], &[])
                    }
                    chosen => {
                        self.drawn.push("Where");
                        let factor = if chosen == 1 { 0.0 } else { 0.25 };
                        let factor = self.m.scalar(factor);
                        let other = match chosen {
                            1 => factor,
                            _ => self.m.node("Mul", &[&x.name, &factor], &[]),
                        };
                        self.m.node("Where", &[&holds, &x.name, &other], &[])
                    }
                };
                let y = Value { name, ..x };
                self.quantize(&y, bits);
            }
            24 => {
                if channels > 6 {
                    return None;
                }
                let (op, second, outputs) = match self.noise.chance(60) {
                    true => {
                        let count = 1 + self.noise.below(channels as usize + 1) as i64;
                        let places: Vec<i64> = (0..count)
                            .map(|_| self.noise.below(channels as usize) as i64)
                            .collect();
                        ("Gather", self.m.shape(&places), count)
                    }
                    false => ("Tile", self.m.shape(&[1, 2, 1, 1]), 2 * channels),
                };
                self.drawn.push(op);
                let attributes = if op == "Gather" { vec![int("axis", 1)] } else { vec![] };
                let name = self.m.node(op, &[&x.name, &second], &attributes);
                self.add(name, [outputs, height, width], x.spread, x.phases);
            }
            25 => {
                if x.phases != [1, 1] {
                    return None;
                }
                let op = ["ReduceSum", "ReduceMax"][self.noise.below(2)];
                self.drawn.push(op);
                let axes = self.m.shape(&[2, 3]);
                let name = self.m.node(op, &[&x.name, &axes], &[]);
                let count = if op == "ReduceSum" { (height * width) as f32 } else { 1.0 };
                let spread = x.spread * count.sqrt();
                let y = Value { name, shape: [channels, 1, 1], spread, phases: [1, 1] };
                match op == "ReduceSum" || self.noise.chance(50) {
                    true => drop(self.quantize(&y, bits)),
                    false => self.values.push(y),
                }
            }
            26 => {
                let same: Vec<Value> = self
                    .values
                    .iter()
                    .filter(|v| v.shape == x.shape && v.phases == x.phases)
                    .cloned()
                    .collect();
                let [a, b] = [0; 2].map(|_| same[self.noise.below(same.len())].clone());
                self.drawn.push("Sum of three");
                let name = self.m.node("Sum", &[&x.name, &a.name, &b.name], &[]);
                let y = Value { name, spread: x.spread + a.spread + b.spread, ..x };
                self.quantize(&y, bits);
            }
            21 => {
                if x.phases != [1, 1] {
                    return None;
                }
                self.drawn.push("GlobalMaxPool");
                let name = self.m.node("GlobalMaxPool", &[&x.name], &[]);
                self.add(name, [channels, 1, 1], x.spread, [1, 1]);
            }
            _ => {
                if channels < 2 {
                    return None;
                }
                self.drawn.push("Split");
                let sizes = self.m.shape(&[1, channels - 1]);
                let first = self.m.node("Split", &[&x.name, &sizes], &[int("axis", 1)]);
                let second = format!("{first}.second");
                self.m.graph.node.last_mut().unwrap().output.push(second.clone());
                self.add(first, [1, height, width], x.spread, x.phases);
                self.add(second, [channels - 1, height, width], x.spread, x.phases);
            }
        }
        Some(())
    }

    /// A convolution as the QOperator form has it, between integers.
    fn qlinear_conv(&mut self, x: &Value) {
        self.drawn.push("QLinearConv");
        let [channels, height, width] = x.shape;
        let outputs = self.noise.of(&[1, 2, 3]);
        let step = |spread: f32| (spread / 256.0).max(1e-4).log2().round().exp2();
        let (from, to) = (step(x.spread), step(x.spread * channels as f32));
        let quantizer = |m: &mut Model, noise: &mut Noise, scale: f32| {
            let zero = noise.of(&[0, 3, -5]) as i32;
            [m.scalar(scale), m.integers(data_type::INT8, &[], &[zero])]
        };
        let [x_scale, x_zero] = quantizer(&mut self.m, &mut self.noise, from);
        let [y_scale, y_zero] = quantizer(&mut self.m, &mut self.noise, to);
        let data: Vec<i32> =
            (0..outputs * channels).map(|_| self.noise.below(15) as i32 - 7).collect();
        let weights = self.m.integers(data_type::INT8, &[outputs, channels, 1, 1], &data);
        let w_scale = self.m.scalar(0.25);
        let w_zero = self.m.integers(data_type::INT8, &[], &[0]);
        let codes = self.m.node("QuantizeLinear", &[&x.name, &x_scale, &x_zero], &[]);
        let inputs = [&codes, &x_scale, &x_zero, &weights, &w_scale, &w_zero, &y_scale, &y_zero];
        let sums = self.m.node("QLinearConv", &inputs.map(String::as_str), &[]);
        let name = self.m.node("DequantizeLinear", &[&sums, &y_scale, &y_zero], &[]);
        self.add(name, [outputs, height, width], to * 256.0, [1, 1]);
    }

    /// The outputs: a last layer, perhaps another one, and what the host makes of them.
    fn outputs(&mut self) -> Vec<String> {
        let last = self.values.last().expect("a value").clone();
        let mut outputs = vec![self.head(last)];
        if self.noise.chance(15) {
            self.drawn.push("several outputs");
            let at = self.noise.below(self.values.len());
            let x = self.values[at].clone();
            outputs.push(self.head(x));
        }
        for output in &mut outputs {
            if self.noise.chance(25) {
                self.drawn.push("host head");
                let op = ["Softmax", "Sigmoid", "ArgMax", "Relu"][self.noise.below(4)];
                *output = self.m.node(op, &[output.as_str()], &[]);
            }
        }
        outputs
    }

    /// A last layer over a value.
    fn head(&mut self, x: Value) -> String {
        let [channels, height, width] = x.shape;
        if self.noise.chance(20) {
            self.drawn.push("map output");
            let weights: Vec<f32> = (0..2 * channels).map(|_| self.noise.real() * 5.0).collect();
            let weights = self.m.weights(&[2, channels, 1, 1], &weights);
            return self.m.node("Conv", &[&x.name, &weights], &[]);
        }
        let (flat, inputs) = match self.noise.below(3) {
            0 => {
                self.drawn.push("Flatten");
                (self.m.node("Flatten", &[&x.name], &[]), channels * height * width)
            }
            1 => {
                self.drawn.push("GlobalAveragePool");
                let mean = self.m.node("GlobalAveragePool", &[&x.name], &[]);
                (self.m.node("Flatten", &[&mean], &[]), channels)
            }
            _ => {
                self.drawn.push("ReduceMean");
                let attributes = [ints("axes", &[2, 3]), int("keepdims", 0)];
                (self.m.node("ReduceMean", &[&x.name], &attributes), channels)
            }
        };
        let weights: Vec<f32> = (0..2 * inputs).map(|_| self.noise.real() * 5.0).collect();
        let weights = self.m.weights(&[2, inputs], &weights);
        match self.noise.below(4) {
            0 => {
                self.drawn.push("weights first");
                let column = self.m.shape(&[inputs, 1]);
                let column = self.m.node("Reshape", &[&flat, &column], &[]);
                self.m.node("MatMul", &[&weights, &column], &[])
            }
            1 => {
                self.drawn.push("transA");
                let column = self.m.shape(&[inputs, 1]);
                let column = self.m.node("Reshape", &[&flat, &column], &[]);
                self.m.node("Gemm", &[&column, &weights], &[int("transA", 1), int("transB", 1)])
            }
            _ => self.m.node("Gemm", &[&flat, &weights], &[int("transB", 1)]),
        }
    }
}

fn lcm(a: i64, b: i64) -> i64 {
    a * b / gcd(a, b)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Phases behind windows of these strides whose result has this size; `None` if they do not divide
/// it.
fn through(phases: [i64; 2], strides: [i64; 2], size: [i64; 2]) -> Option<[i64; 2]> {
    let of = |axis: usize| {
        if size[axis] == 1 { 1 } else { phases[axis] / gcd(phases[axis], strides[axis]) }
    };
    let phases = [of(0), of(1)];
    (0..2).all(|axis| size[axis] % phases[axis] == 0).then_some(phases)
}

/// A random graph of so many steps: the kinds of operators in it, the shape of its input (channels,
/// height, width), and what the importer makes of it, or the note of a refusal.
///
/// # Panics
/// If the importer refuses it for a reason that a drawn graph cannot have.
pub fn draw(seed: u32, steps: usize) -> (Vec<&'static str>, [i64; 3], Result<Import, String>) {
    let mut noise = Noise(seed);
    let shape = [noise.of(&[1, 2, 4]), noise.of(&[5, 6, 7]), noise.of(&[4, 5, 6])];
    let mut m = Model::new(&[1, shape[0], shape[1], shape[2]]);
    let mut drawn = Vec::new();
    let mut x = "x".to_owned();
    if noise.chance(30) {
        // A normalization of the image.
        drawn.push("preprocessing");
        let channels = shape[0];
        let constant = |m: &mut Model, noise: &mut Noise, least: f32| {
            let list: Vec<f32> = (0..channels).map(|_| noise.real().max(least)).collect();
            m.constant(&[1, channels, 1, 1], &list)
        };
        let (mean, deviation, gain) = (
            constant(&mut m, &mut noise, -1.0),
            constant(&mut m, &mut noise, 0.5),
            constant(&mut m, &mut noise, -1.0),
        );
        x = m.node("Sub", &[&x, &mean], &[]);
        x = m.node("Div", &[&x, &deviation], &[]);
        x = m.node("Mul", &[&gain, &x], &[]);
    }
    let mut options = ImportOptions::default();
    let name = match x == "x" && noise.chance(10) {
        true => {
            drawn.push("input type");
            let integers = InputType::Int { bits: 4, signed: true, narrow: false };
            options.input = Some(InputFormat { integers, scale: 1.0, zero_point: 0.0 });
            x
        }
        false => m.quant(&x, 1.0, 4, true),
    };
    let mut builder = Builder { m, noise, values: Vec::new(), drawn };
    builder.add(name, shape, 16.0, [1, 1]);
    for _ in 0..steps {
        builder.step();
    }
    let outputs = builder.outputs();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let bytes = builder.m.message_of(&outputs).encode_to_vec();
    let import = import(&bytes, &options).map_err(|errors| {
        let known = [
            &limits::SUM_SCALES,
            &limits::SUM_PAIRS,
            &limits::SUM_FORMS,
            &limits::SUM_AFFINE,
            &limits::SUM_PARTS,
            &limits::COMPOSED_WEIGHTS,
            &limits::COMPOSED_PADDING,
            &limits::LAYER_INPUT,
            &limits::POOL_PLACE,
            &limits::ACCUMULATOR,
            &limits::OUTPUT_SUM,
            &limits::QUANT_BITS,
            &limits::UPSAMPLE_MIXED,
            &limits::MEAN_SPATIAL,
            &limits::MONOTONE,
            &limits::FINITE,
            &limits::PRODUCT,
            &limits::SEARCH,
        ];
        assert!(known.iter().any(|limit| errors[0].is(limit)), "seed {seed}: {}", errors[0]);
        errors[0].cause.clone().unwrap_or_default()
    });
    (builder.drawn, shape, import)
}
