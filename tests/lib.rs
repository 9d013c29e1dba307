//! Helpers shared by the tests and benchmarks of the whole workspace: random networks and hardware
//! points that shrink to something readable, models, and the real MNIST where it is there.

pub mod larger;
pub mod models;
mod random;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use qnnsim_compiler::backend::facts::Facts;
use qnnsim_compiler::backend::{Plan, Words};
use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::ir::{
    Activation, Conv, Layer, MapId, Network, Pool, Region, StepFunction, Term, WeightKind, Weights,
};
use qnnsim_compiler::lower_to;
use qnnsim_isa::descriptor::{
    Code, InputDescriptor, MapShape, OutputDescriptor, Quantizer, Rounding, TensorLayout,
};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::{HardwarePoint, Program};

pub use random::{cases, for_all, seed};

/// What a random layer is made from; geometry is fitted to the map it meets.
#[derive(Debug, Clone)]
pub struct LayerSeed {
    channels: u32,
    /// A kernel as large as the map.
    dense: bool,
    kernel: [u32; 2],
    stride: [u32; 2],
    dilation: [u32; 2],
    pads: [u32; 4],
    pool: Option<PoolSeed>,
    weight_bits: u32,
    unsigned_weights: bool,
    code: Code,
    /// Steps at equal distances, as of a linear activation.
    even_steps: bool,
    /// As many channels and the same codes as the layer before.
    alike: bool,
    grouped: bool,
    /// Terms, of which those behind the first read any map.
    terms: u32,
    /// The first term reads the map before, not any.
    chained: bool,
    seed: u64,
}

#[derive(Debug, Clone)]
struct PoolSeed {
    kernel: [u32; 2],
    stride: [u32; 2],
    padded: bool,
    ceil_mode: bool,
}

/// What a random network is made from.
#[derive(Debug, Clone)]
pub struct NetworkSeed {
    input: MapShape,
    code: Code,
    layers: Vec<LayerSeed>,
    /// Of the input's values.
    pub image: u64,
}

/// A generator whose sequence depends on its seed alone.
#[derive(Debug)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Sequence(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }
}

fn layer_seed() -> impl Strategy<Value = LayerSeed> {
    let geometry = (
        prop_oneof![Just(1u32), 1u32..=12, Just(64), Just(70)],
        prop::bool::weighted(0.2),
        [1u32..=3, 1u32..=3],
        [1u32..=2, 1u32..=2],
        [1u32..=2, 1u32..=2],
        [0u32..=2, 0u32..=2, 0u32..=2, 0u32..=2],
        prop::option::of((
            [1u32..=3, 1u32..=3],
            [1u32..=3, 1u32..=2],
            any::<bool>(),
            any::<bool>(),
        )),
    );
    let numbers = (1u32..=8, any::<bool>(), 1u32..=8, any::<bool>(), any::<bool>(), any::<u64>());
    let graph = (
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
        prop_oneof![3 => Just(1u32), 1 => Just(2), 1 => Just(3)],
        prop::bool::weighted(0.8),
    );
    (geometry, numbers, graph).prop_map(|(g, n, graph)| LayerSeed {
        alike: graph.0,
        grouped: graph.1,
        terms: graph.2,
        chained: graph.3,
        channels: g.0,
        dense: g.1,
        kernel: g.2,
        stride: g.3,
        dilation: g.4,
        pads: g.5,
        pool: g.6.map(|(kernel, stride, padded, ceil_mode)| PoolSeed {
            kernel,
            stride,
            padded,
            ceil_mode,
        }),
        weight_bits: n.0,
        unsigned_weights: n.1,
        code: Code { bits: n.2, signed: n.3 && n.2 > 1 },
        even_steps: n.4,
        seed: n.5,
    })
}

/// Random networks of one to five layers, every precision, dense and convolutional, pooled or not,
/// with groups, sums of maps and maps that several layers read.
pub fn network_seed() -> impl Strategy<Value = NetworkSeed> {
    let input = (1u32..=3, 1u32..=9, 1u32..=9, 1u32..=8, any::<bool>());
    (input, prop::collection::vec(layer_seed(), 1..=5), any::<u64>()).prop_map(
        |((c, h, w, bits, signed), layers, image)| {
            let input = MapShape { channels: c, height: h, width: w };
            NetworkSeed { input, code: Code { bits, signed: signed && bits > 1 }, layers, image }
        },
    )
}

/// Random hardware points: arrays down to 1x1, odd sizes, 8 to 256 lanes, shallow queues, few
/// buffers.
pub fn hardware_point() -> impl Strategy<Value = HardwarePoint> {
    let array = (
        prop_oneof![Just(1u32), 1u32..=5, Just(16)],
        prop_oneof![Just(1u32), 1u32..=9, Just(16), Just(70)],
        prop::sample::select(vec![8u32, 16, 24, 32, 64, 72, 128, 256]),
        prop_oneof![Just(1u32), Just(4), 1u32..=15],
        prop::sample::select(vec![2u32, 4, 6, 32, 32]),
        1u32..=4,
    );
    let rest = (
        (1u32..=100, 1u32..=15, 1u32..=3, 1u32..=6, 1u32..=15),
        (prop_oneof![Just(1u32), 1u32..=16], 8u32..=32, 1u32..=3),
        (prop::sample::select(vec![1u32, 4, 8, 16, 32]), 1u32..=60, 16u32..=40, 1u32..=8, 2u32..=8),
    );
    (array, rest).prop_map(
        |(
            (rows, cols, lanes, depth, taps, banks),
            (
                (drain, thr_depth, thr_buffers, load_width, load_depth),
                (queue, fetch, store),
                (width, latency, burst, outstanding, load_buffers),
            ),
        )| {
            let mut o = Overrides::default();
            (o.mac.rows, o.mac.cols, o.mac.lanes) = (Some(rows), Some(cols), Some(lanes));
            (o.mac.depth, o.mac.taps, o.acc.banks) = (Some(depth), Some(taps), Some(banks));
            (o.thr.cols, o.thr.depth, o.thr.buffers) =
                (Some(1 + drain % cols), Some(thr_depth), Some(thr_buffers));
            (o.load.width, o.load.depth, o.load.buffers) =
                (Some(load_width), Some(load_depth), Some(load_buffers));
            (o.queue.depth, o.fetch.words, o.store.buffers) =
                (Some(queue), Some(fetch), Some(store));
            (o.dram.width, o.dram.latency, o.dram.burst) =
                (Some(width), Some(latency), Some(burst.max(32 / width)));
            o.dram.outstanding = Some(outstanding);
            (o.act.words, o.wgt.words, o.thr.words) =
                (Some(1 << 16), Some((1 << 19) / cols.next_power_of_two()), Some(1 << 17));
            o.resolve().expect("a valid point")
        },
    )
}

/// The point with memories of exactly the size that a network needs on it.
///
/// # Panics
/// If the network does not fit any memory.
pub fn fitted(network: &Network, hw: &HardwarePoint) -> HardwarePoint {
    let facts = Facts::new(network).unwrap_or_else(|e| panic!("{}", e[0]));
    let Words { activations, weights, thresholds } = Plan::words_to_keep_all(&facts, hw);
    let words = [activations, weights, thresholds].map(|words| words.max(1) as u32);
    hw.with(|p| [p.act_words, p.wgt_words, p.thr_words] = words).expect("a valid point")
}

/// The point with memories for activations, weights and thresholds that hold a share of 0 to 255 of
/// 255 of what the network has of them, or about the least that a machine needs beyond it: the
/// lowest stripes of maps, a word of every weight plane, a channel tile's thresholds.
///
/// # Panics
/// If the network does not fit any memory.
pub fn cramped(network: &Network, hw: &HardwarePoint, shares: [u8; 3]) -> HardwarePoint {
    let hw = fitted(network, hw);
    let whole = Plan::of(network, &hw).unwrap_or_else(|e| panic!("{}", e[0]));
    let planes =
        whole.tilings.iter().flat_map(|tiling| &tiling.terms).map(|term| term.w).max().unwrap_or(1);
    let entries = whole.tilings.iter().map(|t| t.codes.tile as u32).max().unwrap_or(1).max(1);
    let part = |whole: u32, share: u8| (u64::from(whole) * u64::from(share) / 255) as u32;
    let facts = whole.facts.clone();
    let fits = |&words: &u32| {
        let point = hw.with(|p| p.act_words = words).expect("a smaller memory");
        Plan::new(&facts, &point).is_ok()
    };
    let first = part(hw.act_words, shares[0]).max(1);
    let mut sizes = std::iter::successors(Some(first), |words| Some(words + 1 + words / 16));
    let least = sizes.find(|words| *words >= hw.act_words || fits(words));
    let act_words = least.unwrap_or(first).min(hw.act_words);
    let (wgt_words, thr_words) =
        (part(hw.wgt_words, shares[1]).max(planes), part(hw.thr_words, shares[2]).max(entries));
    hw.with(|p| (p.act_words, p.wgt_words, p.thr_words) = (act_words, wgt_words, thr_words))
        .expect("no larger memory than is needed")
}

/// A machine's output, pixel after pixel, in the reference's order: channel after channel.
pub fn channels_first(output: &[i64], network: &Network) -> Vec<i64> {
    let shape = network.output.shape;
    let pixels = (shape.height * shape.width) as usize;
    let channels = shape.channels as usize;
    (0..channels).flat_map(|c| (0..pixels).map(move |p| output[p * channels + c])).collect()
}

impl NetworkSeed {
    /// The network.
    pub fn build(&self) -> Network {
        let quantizer = Quantizer {
            scale: 1.0,
            zero_point: 0.0,
            min: self.code.min(),
            max: self.code.max(),
            rounding: Rounding::HalfEven,
        };
        let input = InputDescriptor {
            name: "image".into(),
            shape: self.input,
            code: self.code,
            quantizer,
            layout: TensorLayout::channels_first(self.input),
            model: None,
            pixel_scale: vec![1.0],
            pixel_offset: vec![0.0],
            xor: Sequence(self.image).next() as u8,
            dram: 0,
        };
        let mut maps = vec![(self.input, self.code)];
        let mut layers: Vec<Layer> = Vec::new();
        let mut bounds = Vec::new();
        for (i, seed) in self.layers.iter().enumerate() {
            let mut seed = seed.clone();
            if let (true, Some((shape, code))) = (seed.alike, maps.get(1).and(maps.last())) {
                (seed.channels, seed.code) = (shape.channels, *code);
            }
            let (layer, sums) = seed.build(i, &maps, i + 1 == self.layers.len());
            let shape =
                layer.output_shape(layer.terms[0].output_shape(maps[layer.terms[0].source.0].0));
            maps.push((shape, seed.code));
            layers.push(layer);
            bounds = sums;
        }
        let (shape, _) = maps[maps.len() - 1];
        let bits = (1..=32).find(|&bits| {
            let code = Code { bits, signed: true };
            bounds.iter().all(|&(low, high)| code.min() <= low && high <= code.max())
        });
        let code = Code { bits: bits.expect("small networks fit 32 bits"), signed: true };
        let output = OutputDescriptor::of_map("scores", shape, code, vec![]);
        Network { name: "random".into(), input, layers, output }
    }

    /// Codes of one image, channel by channel.
    pub fn codes(&self) -> Vec<i64> {
        self.image_codes(0)
    }

    /// Codes of one of many images, channel by channel.
    pub fn image_codes(&self, number: u64) -> Vec<i64> {
        let mut sequence = Sequence(self.image.wrapping_add(number));
        (0..self.input.values())
            .map(|_| sequence.within(self.code.min(), self.code.max()))
            .collect()
    }
}

impl LayerSeed {
    /// The layer on the maps so far, and what its accumulators can reach.
    fn build(
        &self,
        index: usize,
        maps: &[(MapShape, Code)],
        last: bool,
    ) -> (Layer, Vec<(i64, i64)>) {
        let mut sequence = Sequence(self.seed);
        let source = if self.chained { index } else { sequence.within(0, index as i64) as usize };
        let input = maps[source].0;
        let size = [input.height, input.width];
        let axis = |a: usize| {
            if self.dense {
                return (size[a], 1, 1, 0, 0);
            }
            let padded = size[a] + self.pads[a] + self.pads[a + 2];
            let kernel = self.kernel[a].min(padded);
            let dilation =
                if (kernel - 1) * self.dilation[a] < padded { self.dilation[a] } else { 1 };
            (kernel, self.stride[a], dilation, self.pads[a], self.pads[a + 2])
        };
        let (y, x) = (axis(0), axis(1));
        let groups = self.groups(input.channels);
        let conv = Conv {
            kernel: [y.0, x.0],
            stride: [y.1, x.1],
            dilation: [y.2, x.2],
            pads: [y.3, x.3, y.4, x.4],
            groups,
        };
        let mut terms = vec![self.term(source, maps, conv, self.weight_bits, &mut sequence)];
        let [height, width] = conv.output_size(input);
        for _ in 1..self.terms {
            let source = sequence.within(0, index as i64) as usize;
            let map = maps[source].0;
            let alike = [map.height, map.width] == size && sequence.within(0, 3) > 0;
            let groups = self.groups(map.channels);
            let other = if alike {
                Some(Conv { groups, ..conv })
            } else {
                self.onto(map, [height, width], &mut sequence)
            };
            let bits = if alike { self.weight_bits } else { sequence.within(1, 8) as u32 };
            if let Some(conv) = other {
                terms.push(self.term(source, maps, conv, bits, &mut sequence));
            }
        }
        let pool = self.pool.as_ref().map(|p| {
            let pads = if p.padded {
                [p.kernel[0] / 2, p.kernel[1] / 2, p.kernel[0] / 2, p.kernel[1] / 2]
            } else {
                [0; 4]
            };
            let kernel = [p.kernel[0].min(height + pads[0]), p.kernel[1].min(width + pads[1])];
            Pool { kernel, stride: p.stride, pads, ceil_mode: p.ceil_mode }
        });
        let mut bounds = vec![(0, 0); self.channels as usize];
        for term in &terms {
            let of = term.bounds(maps[term.source.0].1);
            bounds.iter_mut().zip(of).for_each(|(sum, b)| *sum = (sum.0 + b.0, sum.1 + b.1));
        }
        let mut layer =
            Layer { name: format!("layer{index}"), terms, activation: Activation::Raw, pool };
        if !last {
            let channels = bounds.iter().map(|&b| self.steps(b, &mut sequence)).collect();
            layer.activation = Activation::Steps { code: self.code, channels };
        }
        (layer, bounds)
    }

    /// The most groups that the channels allow, or one.
    fn groups(&self, inputs: u32) -> u32 {
        let divides = |n: &u32| inputs.is_multiple_of(*n) && self.channels.is_multiple_of(*n);
        if self.grouped { (1..=inputs).rev().find(divides).unwrap_or(1) } else { 1 }
    }

    /// A convolution of a map to so many outputs, if its stride is not too large for the machine.
    fn onto(&self, map: MapShape, out: [u32; 2], sequence: &mut Sequence) -> Option<Conv> {
        let mut axis = |size: u32, out: u32, pool: u32| {
            let (kernel, dilation) = (sequence.within(1, 3) as u32, sequence.within(1, 2) as u32);
            let extent = (kernel - 1) * dilation + 1;
            // Outputs of a window that reaches over `extent + (out - 1) * stride` to one less than
            // another stride.
            let least = (size + 1).saturating_sub(extent).div_ceil(out).max(1);
            let stride = sequence.within(i64::from(least), i64::from(least.max(2))) as u32;
            let padding = (extent + (out - 1) * stride).saturating_sub(size);
            let before = sequence.within(0, i64::from(padding)) as u32;
            (stride * pool <= 15).then_some((kernel, stride, dilation, before, padding - before))
        };
        let pool = self.pool.as_ref().map_or([1, 1], |pool| pool.stride);
        let (y, x) = (axis(map.height, out[0], pool[0])?, axis(map.width, out[1], pool[1])?);
        let (pads, groups) = ([y.3, x.3, y.4, x.4], self.groups(map.channels));
        Some(Conv { kernel: [y.0, x.0], stride: [y.1, x.1], dilation: [y.2, x.2], pads, groups })
    }

    /// A convolution with random weights.
    fn term(
        &self,
        source: usize,
        maps: &[(MapShape, Code)],
        conv: Conv,
        weight_bits: u32,
        sequence: &mut Sequence,
    ) -> Term {
        let (input, code) = maps[source];
        let kind = match (weight_bits, self.unsigned_weights) {
            (1, true) => WeightKind::Unsigned1,
            (1, false) => WeightKind::Bipolar,
            (bits, _) => WeightKind::Signed(bits),
        };
        let mut weight = || match kind {
            WeightKind::Unsigned1 => sequence.within(0, 1),
            WeightKind::Bipolar => 2 * sequence.within(0, 1) - 1,
            WeightKind::Signed(bits) => sequence.within(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        };
        let count =
            self.channels * (input.channels / conv.groups) * conv.kernel[0] * conv.kernel[1];
        let data = (0..count).map(|_| weight() as i8).collect();
        // Without pooling, a term may count for a part of the outputs.
        let region = (self.pool.is_none() && sequence.within(0, 5) == 0).then(|| {
            let mut range = |size: u32| {
                let first = sequence.within(0, i64::from(size) - 1);
                [first as u32, sequence.within(first + 1, i64::from(size)) as u32]
            };
            let [height, width] = conv.output_size(input);
            Region { rows: range(height), columns: range(width) }
        });
        Term {
            region,
            source: MapId(source),
            conv,
            weights: Weights { kind, out_channels: self.channels, data },
            pad_value: sequence.within(code.min(), code.max()),
        }
    }

    /// A step function over accumulators from `low` to `high`.
    fn steps(&self, (low, high): (i64, i64), sequence: &mut Sequence) -> StepFunction {
        let rising = sequence.within(0, 3) > 0;
        let lowest = if sequence.within(0, 3) == 0 {
            sequence.within(self.code.min(), self.code.max())
        } else {
            self.code.min()
        };
        let room = self.code.max() - lowest;
        if low == high {
            return StepFunction { lowest, rising, thresholds: Vec::new() };
        }
        let count = room - sequence.within(0, 3).min(room);
        // A threshold lies where some reachable accumulator meets it and another does not.
        let (first, last) = if rising { (low + 1, high) } else { (low, high - 1) };
        let mut thresholds: Vec<i64> = if self.even_steps {
            let (start, pitch) = (
                sequence.within(first, last),
                sequence.within(0, (last - first) / count.max(1) + 1),
            );
            (0..count).map(|k| start + k * pitch).filter(|&t| t <= last).collect()
        } else {
            (0..count).map(|_| sequence.within(first, last)).collect()
        };
        thresholds.sort_unstable();
        if !rising {
            thresholds.reverse();
        }
        StepFunction { lowest, rising, thresholds }
    }
}

/// The bytes in DRAM of an image given as codes, channel by channel.
pub fn dram_bytes(input: &InputDescriptor, codes: &[i64]) -> Vec<u8> {
    let MapShape { channels, height, width } = input.shape;
    let pixels = height * width;
    (0..pixels)
        .flat_map(|p| (0..channels).map(move |c| (c * pixels + p) as usize))
        .map(|at| codes[at] as u8 ^ input.xor)
        .collect()
}

/// The folder with trained models and the real MNIST, named by the environment variable
/// QNNSIM_SHARED.
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("QNNSIM_SHARED").map(PathBuf::from);
    if folder.is_none() {
        // Not eprintln!, which a passing test keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: set QNNSIM_SHARED to a folder with models/ and mnist/ to run this test"
        );
    }
    folder
}

/// Options for TCV, which was trained on pixel - 128.
pub fn tcv_options() -> ImportOptions {
    ImportOptions { pixel_offset: vec![-128.0], ..ImportOptions::default() }
}

/// A trained model compiled for a hardware point, named as the command line names it.
///
/// # Panics
/// If it does not compile.
pub fn compile(model: &Path, hw: &HardwarePoint) -> Program {
    let bytes = std::fs::read(model).unwrap_or_else(|e| panic!("{}: {e}", model.display()));
    let import = import(&bytes, &tcv_options()).unwrap_or_else(|e| panic!("{}", e[0]));
    let network = Network {
        name: model.file_stem().expect("a file").to_string_lossy().into_owned(),
        ..import.network
    };
    lower_to(&network, hw).unwrap_or_else(|e| panic!("{}", e[0])).1
}

/// The real MNIST test images: pixels of one image after the other.
///
/// # Panics
/// If the file is not there or damaged.
pub fn mnist(shared: &Path) -> Vec<u8> {
    let path = shared.join("mnist/t10k-images-idx3-ubyte.gz");
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    // 16 bytes of header: magic, images, rows, columns.
    bytes.split_off(16)
}

/// The labels of [`mnist`].
///
/// # Panics
/// If the file is not there or damaged.
pub fn labels(shared: &Path) -> Vec<u8> {
    let path = shared.join("mnist/t10k-labels-idx1-ubyte.gz");
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes.split_off(8)
}

/// Golden integers of a model: ten for each test image.
///
/// # Panics
/// If the file is not there or damaged.
pub fn golden(shared: &Path, model: &str) -> Vec<i32> {
    let path = shared.join(format!("models/{model}.t10k_int_logits.npy"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    npyz::NpyFile::new(file).and_then(|npy| npy.into_vec()).expect("an int32 npy")
}

/// The programs folder of the repository.
pub fn programs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../programs"))
}

/// The drawn digits 0 to 9 in `programs/digits`: grey pixels, 28x28.
///
/// # Panics
/// If a file is not there or no such image.
pub fn digits() -> Vec<Vec<u8>> {
    let pixels = |digit| {
        let path = programs().join(format!("digits/digit_{digit}.png"));
        let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut reader =
            png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG file");
        let mut pixels = vec![0; 28 * 28];
        reader.next_frame(&mut pixels).expect("28x28 grey");
        pixels
    };
    (0..10).map(pixels).collect()
}
