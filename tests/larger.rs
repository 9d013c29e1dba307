//! Two networks larger than TCV, with random weights, as integer networks: one like VGG, one like
//! ResNet with residual sums.

use qnnsim_compiler::ir::{
    Activation, Conv, Layer, MapId, Network, Pool, StepFunction, Term, WeightKind, Weights,
};
use qnnsim_isa::descriptor::{
    Code, InputDescriptor, MapShape, OutputDescriptor, Quantizer, Rounding, TensorLayout,
};

use crate::Sequence;

/// A network under construction.
struct Builder {
    layers: Vec<Layer>,
    /// Shape and mean square of the values of each map.
    maps: Vec<(MapShape, f64)>,
    weight_bits: u32,
    code: Code,
    sequence: Sequence,
}

impl Builder {
    fn new(size: u32, weight_bits: u32, activation_bits: u32) -> Self {
        let input = MapShape { channels: 3, height: size, width: size };
        Builder {
            layers: Vec::new(),
            // Of bytes that are spread evenly over -128 to 127.
            maps: vec![(input, 256.0 * 256.0 / 12.0)],
            weight_bits,
            code: Code { bits: activation_bits, signed: false },
            sequence: Sequence::new(u64::from(10 * weight_bits + activation_bits)),
        }
    }

    /// A convolution with random weights, bipolar for one bit, else signed and narrow, padded to
    /// keep the size if it is smaller than its map.
    fn conv(&mut self, source: MapId, channels: u32, kernel: u32, stride: u32) -> Term {
        let (map, _) = self.maps[source.0];
        let pad = if kernel == map.height { 0 } else { kernel / 2 };
        let bits = self.weight_bits;
        let most = (1 << (bits - 1)) - 1;
        let kind = if bits == 1 { WeightKind::Bipolar } else { WeightKind::Signed(bits) };
        let mut weight = || match kind {
            WeightKind::Bipolar => 2 * self.sequence.within(0, 1) - 1,
            _ => self.sequence.within(-most, most),
        };
        let count = channels * map.channels * kernel * kernel;
        let data = (0..count).map(|_| weight() as i8).collect();
        let conv = Conv {
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pads: [pad; 4],
            groups: 1,
        };
        Term {
            source,
            conv,
            weights: Weights { kind, out_channels: channels, data },
            pad_value: 0,
            region: None,
        }
    }

    /// A map as it is, `factor` times.
    fn identity(&self, source: MapId, factor: i8) -> Term {
        let channels = self.maps[source.0].0.channels;
        let mut data = vec![0; (channels * channels) as usize];
        data.iter_mut().step_by(channels as usize + 1).for_each(|weight| *weight = factor);
        let conv =
            Conv { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], pads: [0; 4], groups: 1 };
        let kind = if factor == 1 { WeightKind::Unsigned1 } else { WeightKind::Signed(4) };
        Term {
            source,
            conv,
            weights: Weights { kind, out_channels: channels, data },
            pad_value: 0,
            region: None,
        }
    }

    /// A layer with a quantizer at random whose codes are all about as frequent.
    fn layer(&mut self, name: &str, terms: Vec<Term>, pool: bool) -> MapId {
        let pool =
            pool.then_some(Pool { kernel: [2; 2], stride: [2; 2], pads: [0; 4], ceil_mode: false });
        let shape = self.shape(&terms, pool.as_ref());
        let variance: f64 = terms.iter().map(|term| self.variance(term)).sum();
        let mean: f64 = terms.iter().map(|term| self.mean(term)).sum();
        let code = self.code;
        let mut bounds = vec![(0, 0); shape.channels as usize];
        for term in &terms {
            let source =
                if term.source == MapId(0) { Code { bits: 8, signed: true } } else { code };
            bounds
                .iter_mut()
                .zip(term.bounds(source))
                .for_each(|(sum, b)| *sum = (sum.0 + b.0, sum.1 + b.1));
        }
        let mut steps = |(low, high): (i64, i64)| {
            let count = code.max();
            let distance = ((1.8 * variance.sqrt()) as i64 / (count + 1)).max(1);
            let middle = mean.round() as i64 + self.sequence.within(-distance / 4, distance / 4);
            let threshold = |k: i64| middle + distance * (2 * k - count + 1) / 2;
            let thresholds = (0..count).map(threshold).map(|t| t.clamp(low + 1, high)).collect();
            StepFunction { lowest: 0, rising: true, thresholds }
        };
        let channels = bounds.into_iter().map(&mut steps).collect();
        let name = name.to_owned();
        self.layers.push(Layer {
            name,
            terms,
            activation: Activation::Steps { code, channels },
            pool,
        });
        let values = f64::from(code.max() as i32);
        self.maps
            .push((shape, (0..=code.max()).map(|v| (v * v) as f64).sum::<f64>() / (values + 1.0)));
        MapId(self.layers.len())
    }

    /// Of an accumulator whose weights are as the term's on average.
    fn mean(&self, term: &Term) -> f64 {
        let value = if term.source == MapId(0) { 0.0 } else { self.code.max() as f64 / 2.0 };
        let sum = term.weights.data.iter().map(|&w| f64::from(w)).sum::<f64>();
        sum / f64::from(term.weights.out_channels) * value
    }

    /// The same, for independent values and weights around zero.
    fn variance(&self, term: &Term) -> f64 {
        let of_channel = term.weights.data.len() as u32 / term.weights.out_channels;
        let (sum, count) = (
            term.weights.data.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>(),
            term.weights.data.len(),
        );
        f64::from(of_channel) * sum / count as f64 * self.maps[term.source.0].1
    }

    fn shape(&self, terms: &[Term], pool: Option<&Pool>) -> MapShape {
        let sums = terms[0].output_shape(self.maps[terms[0].source.0].0);
        let size = [sums.height, sums.width];
        let [height, width] = pool.map_or(size, |pool| pool.output_size(size));
        MapShape { height, width, ..sums }
    }

    fn last(&self) -> MapId {
        MapId(self.layers.len())
    }

    /// The network, of which the last layer is a dense one to ten scores.
    fn finish(mut self, name: &str) -> Network {
        let size = self.maps[self.last().0].0.height;
        let term = self.conv(self.last(), 10, size, 1);
        let bounds = term.bounds(self.code);
        let fits = |bits: &u32| {
            let code = Code { bits: *bits, signed: true };
            bounds.iter().all(|b| code.min() <= b.0 && b.1 <= code.max())
        };
        let code = Code { bits: (1..=32).find(fits).expect("small sums"), signed: true };
        self.layers.push(Layer {
            name: "scores".into(),
            terms: vec![term],
            activation: Activation::Raw,
            pool: None,
        });
        let quantizer = Quantizer {
            scale: 1.0,
            zero_point: 0.0,
            min: -128,
            max: 127,
            rounding: Rounding::HalfEven,
        };
        let input = InputDescriptor {
            name: "image".into(),
            shape: self.maps[0].0,
            code: Code { bits: 8, signed: true },
            quantizer,
            layout: TensorLayout::channels_first(self.maps[0].0),
            model: None,
            pixel_scale: vec![1.0],
            pixel_offset: vec![-128.0],
            xor: 0x80,
            dram: 0,
        };
        let shape = MapShape { channels: 10, height: 1, width: 1 };
        let output = OutputDescriptor::of_map("scores", shape, code, vec![]);
        Network { name: name.into(), input, layers: self.layers, output }
    }
}

/// Like VGG: 3x32x32, convolutions 3x3 to 64, 64, pool, 128, 128, pool, 256, 256, pool, dense to
/// 512, 512, 10.
pub fn vgg(weight_bits: u32, activation_bits: u32) -> Network {
    let mut net = Builder::new(32, weight_bits, activation_bits);
    for channels in [64, 128, 256] {
        for pool in [false, true] {
            let term = net.conv(net.last(), channels, 3, 1);
            net.layer(&format!("conv{}", net.layers.len() + 1), vec![term], pool);
        }
    }
    for kernel in [4, 1] {
        let term = net.conv(net.last(), 512, kernel, 1);
        net.layer(&format!("fc{}", net.layers.len() - 5), vec![term], false);
    }
    net.finish(&format!("vgg_w{weight_bits}a{activation_bits}"))
}

/// Like ResNet: 3x32x32, a convolution to 64, two blocks each at 64, 128 and 256 channels, as
/// [`residual`] says.
pub fn resnet(weight_bits: u32, activation_bits: u32) -> Network {
    residual(32, [64, 128, 256], weight_bits, activation_bits)
}

/// Three stages of two blocks on an image of this size, of which the second and third halve the
/// map, then dense to 10. The first block of a stage adds two quantized maps (the other one through
/// a convolution 1x1 where size and channels change), the second adds the map before it to sums
/// that are not quantized.
pub fn residual(size: u32, channels: [u32; 3], weight_bits: u32, activation_bits: u32) -> Network {
    let mut net = Builder::new(size, weight_bits, activation_bits);
    let term = net.conv(MapId(0), channels[0], 3, 1);
    let mut map = net.layer("conv1", vec![term], false);
    for (stage, channels) in channels.into_iter().enumerate() {
        let name = |what: &str| format!("stage{}.{what}", stage + 1);
        let stride = if stage == 0 { 1 } else { 2 };
        let mut skip = map;
        if stage > 0 {
            let term = net.conv(map, channels, 1, stride);
            skip = net.layer(&name("1.skip"), vec![term], false);
        }
        let term = net.conv(map, channels, 3, stride);
        let inner = net.layer(&name("1.a"), vec![term], false);
        let term = net.conv(inner, channels, 3, 1);
        let inner = net.layer(&name("1.b"), vec![term], false);
        let sum = vec![net.identity(inner, 1), net.identity(skip, 1)];
        map = net.layer(&name("1.add"), sum, false);
        let term = net.conv(map, channels, 3, 1);
        let inner = net.layer(&name("2.a"), vec![term], false);
        let terms = vec![net.conv(inner, channels, 3, 1), net.identity(map, 7)];
        map = net.layer(&name("2.add"), terms, false);
    }
    net.finish(&format!("resnet_w{weight_bits}a{activation_bits}"))
}
