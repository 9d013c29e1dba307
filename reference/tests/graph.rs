//! The integer network against the graph it was made from: every map of one equals the integers of a
//! tensor of the other.

#[path = "../../compiler/tests/common/mod.rs"]
mod common;

use common::{Model, float, int, ints};
use proptest::prelude::*;
use qnnsim_compiler::import::Import;
use qnnsim_compiler::limits::POOL_PLACE;
use qnnsim_compiler::tensor::Precision;
use qnnsim_reference::evaluate;
use qnnsim_reference::verify::Verifier;

/// What leads from accumulators to codes.
#[derive(Debug, Clone)]
struct Activation {
    norm: Option<[f32; 4]>,
    factor: Option<f32>,
    from_constant: bool,
    pool_first: bool,
    relu: bool,
    /// Of the quantizer, relative to one that spreads the values over the codes.
    scale: f32,
    bits: u32,
    signed: bool,
    bipolar: bool,
    mode: usize,
}

#[derive(Debug, Clone)]
struct Layer {
    outputs: i64,
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    pads: [i64; 4],
    weight_bits: u32,
    weight_signed: bool,
    per_channel: bool,
    bias: bool,
    activation: Activation,
    pool: Option<Pool>,
}

#[derive(Debug, Clone)]
struct Pool {
    kernel: [i64; 2],
    strides: [i64; 2],
    pads: [i64; 4],
    ceil: bool,
}

#[derive(Debug, Clone)]
struct Case {
    input: [i64; 3],
    layers: Vec<Layer>,
    dense: u32,
    seed: u32,
}

fn activation() -> impl Strategy<Value = Activation> {
    let norm = [-2f32..2.0, -3f32..3.0, -9f32..9.0, 0f32..50.0];
    (
        proptest::option::of(norm),
        proptest::option::of(prop_oneof![1 => Just(0.0f32), 6 => -2f32..2.0]),
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.3),
        any::<bool>(),
        // Powers of two make ties.
        prop_oneof![Just(0.5f32), Just(1.0), Just(4.0), 0.2f32..5.0],
        1u32..=8,
        any::<bool>(),
        proptest::bool::weighted(0.2),
        0usize..4,
    )
        .prop_map(|(norm, factor, from_constant, pool_first, relu, scale, bits, signed, bipolar, mode)| {
            Activation {
                norm,
                factor,
                from_constant,
                pool_first,
                // The sign of what cannot be negative is refused.
                relu: relu && !bipolar && (bits > 1 || !signed),
                scale,
                bits,
                signed,
                bipolar,
                mode,
            }
        })
}

fn layer() -> impl Strategy<Value = Layer> {
    let pair = |range: std::ops::Range<i64>| [range.clone(), range];
    let pool = (pair(1..4), pair(1..3), [0i64..3, 0i64..3, 0i64..3, 0i64..3], any::<bool>());
    (
        (1i64..5, pair(1..4), pair(1..3), pair(1..3), [0i64..3, 0i64..3, 0i64..3, 0i64..3]),
        (1u32..=8, any::<bool>(), any::<bool>(), any::<bool>()),
        activation(),
        proptest::option::of(pool),
    )
        .prop_map(|(shape, (weight_bits, weight_signed, per_channel, bias), activation, pool)| {
            let (outputs, kernel, strides, dilations, pads) = shape;
            let pool = pool.map(|(kernel, strides, pads, ceil)| {
                let pads = std::array::from_fn(|side| pads[side].min(kernel[side % 2] - 1));
                Pool { kernel, strides, pads, ceil }
            });
            Layer {
                outputs,
                kernel,
                strides,
                dilations,
                pads,
                weight_bits,
                weight_signed: weight_signed || weight_bits == 8,
                per_channel,
                bias,
                activation,
                pool,
            }
        })
}

fn case() -> impl Strategy<Value = Case> {
    ([1i64..4, 1i64..14, 1i64..14], proptest::collection::vec(layer(), 0..3), 0u32..3, any::<u32>())
        .prop_map(|(input, layers, dense, seed)| Case { input, layers, dense, seed })
}

/// Numbers without order, from -1 to 1.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1664525).wrapping_add(1013904223);
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn list(&mut self, count: i64, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.next() * size).collect()
    }
}

fn weights(m: &mut Model, noise: &mut Noise, dims: &[i64], layer: &Layer) -> String {
    let data = noise.list(dims.iter().product(), 1.3 * (1 << (layer.weight_bits - 1)) as f32 * 0.25);
    let weights = m.constant(dims, &data);
    let mut channel_dims = vec![1; dims.len()];
    channel_dims[0] = dims[0];
    let scale = match layer.per_channel {
        true => {
            let scales: Vec<f32> = (0..dims[0]).map(|_| 0.3 + 0.1 * noise.next()).collect();
            m.constant(&channel_dims, &scales)
        }
        false => m.scalar(0.25),
    };
    let (zero, bits) = (m.scalar(0.0), m.scalar(layer.weight_bits as f32));
    let attributes = [int("signed", i64::from(layer.weight_signed)), int("narrow", 1)];
    m.node("Quant", &[&weights, &scale, &zero, &bits], &attributes)
}

/// Adds an activation of values whose size is about `spread`, and updates that; a constant for each
/// channel has the shape `shape`.
fn activate(
    m: &mut Model,
    mut x: String,
    shape: &[i64],
    a: &Activation,
    noise: &mut Noise,
    spread: &mut f32,
) -> String {
    let channels = shape.iter().product();
    if let Some(norm) = a.norm {
        *spread *= (norm[0] / (norm[3] + 0.25).sqrt()).abs();
        let parameters = norm.map(|value| {
            let spread = |_| (value * (1.0 + 0.5 * noise.next())).max(if value < 0.0 { value * 2.0 } else { 0.0 });
            m.constant(&[channels], &(0..channels).map(spread).collect::<Vec<f32>>())
        });
        let [scale, bias, mean, variance] = &parameters;
        let inputs = [&x, scale, bias, mean, variance].map(String::as_str);
        x = m.node("BatchNormalization", &inputs, &[float("epsilon", 0.25)]);
    }
    if let Some(factor) = a.factor {
        *spread *= factor.abs();
        let factor = m.scalar(factor);
        x = m.node("Mul", &[&factor, &x], &[]);
    }
    if a.from_constant {
        let constant = m.constant(shape, &noise.list(channels, 20.0));
        x = m.node("Sub", &[&constant, &x], &[]);
    }
    if a.relu {
        x = m.node("Relu", &[&x], &[]);
    }
    if a.bipolar {
        *spread = a.scale;
        return m.bipolar(&x, a.scale);
    }
    let codes = (1 << a.bits) as f32;
    let scale = a.scale * (*spread / codes).max(1e-3).log2().round().exp2();
    *spread = scale * codes;
    let mode = ["ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO"][a.mode];
    m.quant_with(&x, scale, a.bits, a.signed, mode)
}

/// The case as a model; `None` if a window does not fit, or a pooling cannot stand where it is.
fn import(case: &Case) -> Option<Import> {
    let mut noise = Noise(case.seed);
    let [mut channels, mut height, mut width] = case.input;
    let mut m = Model::new(&[1, channels, height, width]);
    let mut x = m.quant("x", 1.0, 8, true);
    let mut spread = 128.0;
    for layer in &case.layers {
        let kernel = layer.kernel;
        let weights = weights(&mut m, &mut noise, &[layer.outputs, channels, kernel[0], kernel[1]], layer);
        let mut inputs = vec![x.as_str(), &weights];
        let bias = m.constant(&[layer.outputs], &noise.list(layer.outputs, 4.0));
        if layer.bias {
            inputs.push(&bias);
        }
        let attributes =
            [ints("strides", &layer.strides), ints("dilations", &layer.dilations), ints("pads", &layer.pads)];
        x = m.node("Conv", &inputs, &attributes);
        spread *= 0.1 * ((channels * kernel[0] * kernel[1]) as f32).sqrt() * (1 << (layer.weight_bits - 1)) as f32;
        channels = layer.outputs;
        let shape = [channels, 1, 1];
        let pool_first = layer.activation.pool_first;
        if !pool_first {
            x = activate(&mut m, x, &shape, &layer.activation, &mut noise, &mut spread);
        }
        let size = |axis: usize, size: i64| {
            let extent = (kernel[axis] - 1) * layer.dilations[axis] + 1;
            let padded = size + layer.pads[axis] + layer.pads[axis + 2];
            (padded >= extent).then(|| (padded - extent) / layer.strides[axis] + 1)
        };
        (height, width) = (size(0, height)?, size(1, width)?);
        if let Some(Pool { kernel, strides, pads, ceil }) = layer.pool {
            let attributes = [
                ints("kernel_shape", &kernel),
                ints("strides", &strides),
                ints("pads", &pads),
                int("ceil_mode", i64::from(ceil)),
            ];
            x = m.node("MaxPool", &[&x], &attributes);
            let size = |axis: usize, size: i64| {
                let padded = size + pads[axis] + pads[axis + 2];
                let over = padded - kernel[axis];
                let floor = over / strides[axis] + 1;
                let more = ceil && over % strides[axis] != 0 && floor * strides[axis] < size + pads[axis];
                (over >= 0).then(|| floor + i64::from(more))
            };
            (height, width) = (size(0, height)?, size(1, width)?);
        }
        if pool_first {
            x = activate(&mut m, x, &shape, &layer.activation, &mut noise, &mut spread);
        }
    }
    let mut inputs = channels * height * width;
    x = m.node("Flatten", &[&x], &[]);
    for dense in 0..case.dense {
        let layer = case.layers.first();
        let weights = m.weights(&[3, inputs], &noise.list(3 * inputs, 5.0));
        x = m.node("Gemm", &[&x, &weights], &[int("transB", 1)]);
        spread *= 3.0 * (inputs as f32).sqrt();
        inputs = 3;
        if let Some(layer) = layer {
            x = activate(&mut m, x, &[1, 3], &layer.activation, &mut noise, &mut spread);
        } else {
            x = m.quant(&x, 8.0, 4 + dense, true);
        }
    }
    let weights = m.weights(&[2, inputs], &noise.list(2 * inputs, 5.0));
    let output = m.node("Gemm", &[&x, &weights], &[int("transB", 1)]);
    match m.import(&output) {
        Ok(import) => Some(import),
        // A maximum of what then falls is rightly refused.
        Err(errors) if errors[0].note.as_deref() == Some(POOL_PLACE.sentence) => None,
        Err(errors) => panic!("{}", errors[0]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn maps_are_the_integers_of_tensors(case in case(), pixels in any::<u32>()) {
        let Some(import) = import(&case) else { return Ok(()) };
        let Import { graph, network, maps: values, .. } = &import;
        let mut noise = Noise(pixels);
        let input = noise.list(case.input.iter().product(), 140.0);
        let input: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
        let codes: Vec<i64> = input.iter().map(|&x| network.input.quantizer.quantize(x).0).collect();
        let maps = evaluate(network, &codes);
        let tensors = graph.eval(&input).unwrap();
        let names: Vec<_> = values.iter().map(|map| graph.value(map.value).name.as_str()).collect();
        prop_assert_eq!(names.len(), maps.len());
        for (name, map) in names.iter().zip(&maps) {
            let tensor = &tensors[name];
            prop_assert!(tensor.grid.is_some(), "{} has no grid", name);
            let integers: Vec<i64> = tensor.array.data.iter().map(|&x| x as i64).collect();
            prop_assert_eq!(&integers, &map.values, "{}", name);
        }
        // The graph on real values differs in nothing but ties.
        let machine: Vec<&[i64]> = maps.iter().map(|map| map.values.as_slice()).collect();
        for precision in [Precision::Single, Precision::Double] {
            let verifier = Verifier::new(&import, precision);
            let mut report = verifier.report();
            verifier.image(0, &input, &machine, &mut report);
            prop_assert!(report.agrees(), "{:?}: {:?}", precision, report);
        }
        // Codes are what the network says they are, and thresholds lie where they make a difference.
        for (index, layer) in network.layers.iter().enumerate() {
            let code = network.map(qnnsim_compiler::ir::MapId(index + 1)).1;
            let values = &maps[index + 1].values;
            prop_assert!(values.iter().all(|v| (code.min()..=code.max()).contains(v)));
            let bounds = network.accumulator_bounds(layer);
            if let qnnsim_compiler::ir::Activation::Steps { channels, .. } = &layer.activation {
                for (steps, (low, high)) in channels.iter().zip(bounds) {
                    let inside = |&t: &i64| if steps.rising { low < t && t <= high } else { low <= t && t < high };
                    prop_assert!(steps.thresholds.iter().all(inside));
                    let sorted = |a: &i64, b: &i64| if steps.rising { a <= b } else { a >= b };
                    prop_assert!(steps.thresholds.is_sorted_by(sorted));
                    prop_assert!(steps.rising || !steps.thresholds.is_empty());
                }
            }
        }
        // Real outputs of the host are those of the graph, which are rounded once.
        let outputs: Vec<f64> = network.output.real(&maps.last().unwrap().values);
        let last = &tensors[graph.value(graph.output).name.as_str()];
        prop_assert_eq!(&outputs, &last.to_real().data);
    }
}
