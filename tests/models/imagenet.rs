//! Networks of ImageNet's size with random weights, as a training framework exports them:
//! convolution, batch normalization, Relu and a quantizer, each an operator of its own.

use super::{Model, Noise, float, int, ints};

/// A network under construction. Values are named, and known by their channels.
struct Builder {
    model: Model,
    noise: Noise,
    bits: u32,
}

/// A value of the graph and its channels.
#[derive(Clone)]
struct Map {
    name: String,
    channels: i64,
}

/// Geometry of a convolution whose padding keeps the size at stride 1.
#[derive(Clone, Copy)]
struct Window {
    kernel: i64,
    stride: i64,
    groups: i64,
}

impl Builder {
    fn new(bits: u32, seed: u32) -> Self {
        Builder { model: Model::new(&[1, 3, 224, 224]), noise: Noise(seed), bits }
    }

    fn input(&mut self) -> Map {
        Map { name: self.model.quant("x", 1.0 / 64.0, 8, true), channels: 3 }
    }

    fn weights(&mut self, dims: &[i64]) -> String {
        let count = dims.iter().product();
        let data: Vec<f32> = (0..count).map(|_| self.noise.real()).collect();
        let weights = self.model.constant(dims, &data);
        self.model.quant(&weights, 1.0 / (1 << (self.bits - 1)) as f32, self.bits, true)
    }

    /// A convolution and its batch normalization, after which values are about -1 to 1.
    fn conv(&mut self, x: &Map, channels: i64, window: Window) -> Map {
        let Window { kernel, stride, groups } = window;
        let inputs = x.channels / groups;
        let weights = self.weights(&[channels, inputs, kernel, kernel]);
        let attributes = [
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[kernel / 2; 4]),
            int("group", groups),
        ];
        let sums = self.model.node("Conv", &[&x.name, &weights], &attributes);
        let variance = (inputs * kernel * kernel) as f32 / 9.0;
        let mut list = |middle: f32, spread: f32| {
            let data: Vec<f32> =
                (0..channels).map(|_| middle + spread * self.noise.real()).collect();
            self.model.constant(&[channels], &data)
        };
        let (scale, bias) = (list(1.0, 0.25), list(0.0, 0.25));
        let (mean, variance) = (list(0.0, 0.25), list(variance, variance / 4.0));
        let inputs = [&sums[..], &scale, &bias, &mean, &variance];
        let name = self.model.node("BatchNormalization", &inputs, &[float("epsilon", 1e-5)]);
        Map { name, channels }
    }

    /// A Relu and a quantizer.
    fn relu(&mut self, x: &Map) -> Map {
        let name = self.model.node("Relu", &[&x.name], &[]);
        let scale = 2.0 / (1 << self.bits) as f32;
        Map { name: self.model.quant(&name, scale, self.bits, false), ..*x }
    }

    /// Quantized, with both signs.
    fn signed(&mut self, x: &Map) -> Map {
        let scale = 2.0 / (1 << self.bits) as f32;
        Map { name: self.model.quant(&x.name, scale, self.bits, true), ..*x }
    }

    /// The mean of each channel, a quantizer, a dense layer to 1,000 scores, and the file.
    fn finish(mut self, x: &Map) -> Vec<u8> {
        let mean = self.model.node("GlobalAveragePool", &[&x.name], &[]);
        let scale = 2.0 / (1 << self.bits) as f32;
        let mean = self.model.quant(&mean, scale, self.bits, false);
        let flat = self.model.node("Flatten", &[&mean], &[]);
        let weights = self.weights(&[1000, x.channels]);
        let scores = self.model.node("Gemm", &[&flat, &weights], &[int("transB", 1)]);
        self.model.bytes(&scores)
    }
}

/// ResNet-18 (He et al. 2015, table 1) on 3 x 224 x 224, with weights and activations of so many
/// bits.
pub fn resnet18(bits: u32) -> Vec<u8> {
    let mut net = Builder::new(bits, 18);
    let x = net.input();
    let x = net.conv(&x, 64, Window { kernel: 7, stride: 2, groups: 1 });
    let x = net.relu(&x);
    let pool = [ints("kernel_shape", &[3; 2]), ints("strides", &[2; 2]), ints("pads", &[1; 4])];
    let mut x = Map { name: net.model.node("MaxPool", &[&x.name], &pool), ..x };
    for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let inner = net.conv(&x, channels, Window { kernel: 3, stride, groups: 1 });
            let inner = net.relu(&inner);
            let inner = net.conv(&inner, channels, Window { kernel: 3, stride: 1, groups: 1 });
            let inner = net.signed(&inner);
            if stride == 2 {
                x = net.conv(&x, channels, Window { kernel: 1, stride, groups: 1 });
                x = net.signed(&x);
            }
            let sum = net.model.node("Add", &[&inner.name, &x.name], &[]);
            x = net.relu(&Map { name: sum, channels });
        }
    }
    net.finish(&x)
}

/// MobileNetV1 (Howard et al. 2017, table 1) on 3 x 224 x 224, with weights and activations of so
/// many bits.
pub fn mobilenet_v1(bits: u32) -> Vec<u8> {
    let mut net = Builder::new(bits, 1);
    let x = net.input();
    let x = net.conv(&x, 32, Window { kernel: 3, stride: 2, groups: 1 });
    let mut x = net.relu(&x);
    let blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)];
    let blocks = blocks.into_iter().chain([(512, 1); 5]).chain([(1024, 2), (1024, 1)]);
    for (channels, stride) in blocks {
        let window = Window { kernel: 3, stride, groups: x.channels };
        let depthwise = net.conv(&x, x.channels, window);
        x = net.relu(&depthwise);
        x = net.conv(&x, channels, Window { kernel: 1, stride: 1, groups: 1 });
        x = net.relu(&x);
    }
    net.finish(&x)
}
