//! Random chains of layers over all quantizers and functions, as ONNX models.

use proptest::prelude::*;
use qnnsim_compiler::diagnostic::Diagnostic;
use qnnsim_compiler::import::Import;
use qnnsim_compiler::limits::{BIPOLAR_SIGN, MONOTONE, POOL_PLACE, QUANT_BITS, TRUNC_RANGE};
use qnnsim_compiler::onnx::data_type;
use qnnsim_isa::descriptor::Code;

use super::{Model, Noise, float, int, ints, string};

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
    kind: Kind,
    zero: i32,
    mode: usize,
    function: Option<usize>,
}

/// The quantizer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Quant,
    Bipolar,
    /// `QuantizeLinear`, a `Clip` if there are fewer than 8 bits, and `DequantizeLinear`.
    Linear,
    Thresholds,
    /// `Trunc` of these versions.
    Shift(u32),
}

/// Functions before a quantizer, the last ones spelled out, and whether they have a bounded output.
const FUNCTIONS: [(&str, bool); 16] = [
    ("LeakyRelu", false),
    ("PRelu", false),
    ("Elu", false),
    ("Selu", false),
    ("Softplus", false),
    ("Sigmoid", true),
    ("HardSigmoid", true),
    ("Tanh", true),
    ("Erf", true),
    ("Softsign", true),
    ("Neg", false),
    ("Clip", false),
    ("Gelu", false),
    ("HardSwish", false),
    ("Mish", false),
    ("SiLU", false),
];

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
    bias: Bias,
    weights: WeightForm,
    activation: Activation,
    pool: Option<Pool>,
}

/// How a bias is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bias {
    None,
    Float,
    /// Quantized to 16 bits.
    Quant,
    /// As integers of 32 bits.
    Integers,
    /// Added by a node of its own.
    Added,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum WeightForm {
    /// As floats with a quantizer.
    Quant,
    /// As bytes.
    Integers,
    /// As floats that are -1, 0 or 1 times a scale.
    Ternary,
    /// By their signs.
    Bipolar,
}

#[derive(Debug, Clone)]
struct Pool {
    kernel: [i64; 2],
    strides: [i64; 2],
    pads: [i64; 4],
    ceil: bool,
}

/// A chain of convolutions, then dense layers.
#[derive(Debug, Clone)]
pub struct Case {
    /// Channels, height and width.
    pub input: [i64; 3],
    layers: Vec<Layer>,
    dense: u32,
    seed: u32,
    input_zero: Option<i32>,
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
        (
            kind(),
            prop_oneof![3 => Just(0), 2 => -9..9i32],
            proptest::option::weighted(0.4, 0..FUNCTIONS.len()),
        ),
        0usize..7,
    )
        .prop_map(
            |(
                norm,
                factor,
                from_constant,
                pool_first,
                relu,
                scale,
                bits,
                signed,
                (kind, zero, function),
                mode,
            )| {
                // An unsigned type does not go below zero.
                let zero = if kind == Kind::Linear && !signed { zero.abs() } else { zero };
                Activation {
                    norm,
                    factor,
                    from_constant,
                    pool_first,
                    // The sign of what cannot be negative is refused.
                    relu: relu && kind != Kind::Bipolar && (bits > 1 || !signed),
                    scale,
                    bits,
                    signed,
                    kind,
                    zero,
                    mode,
                    function,
                }
            },
        )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Quant),
        1 => Just(Kind::Bipolar),
        2 => Just(Kind::Linear),
        1 => Just(Kind::Thresholds),
        1 => (1u32..3).prop_map(Kind::Shift),
    ]
}

fn bias() -> impl Strategy<Value = Bias> {
    prop_oneof![
        3 => Just(Bias::None),
        2 => Just(Bias::Float),
        1 => Just(Bias::Quant),
        1 => Just(Bias::Integers),
        1 => Just(Bias::Added),
    ]
}

fn weight_form() -> impl Strategy<Value = WeightForm> {
    prop_oneof![
        4 => Just(WeightForm::Quant),
        1 => Just(WeightForm::Integers),
        1 => Just(WeightForm::Ternary),
        1 => Just(WeightForm::Bipolar),
    ]
}

fn layer() -> impl Strategy<Value = Layer> {
    let pair = |range: std::ops::Range<i64>| [range.clone(), range];
    let pool = (pair(1..4), pair(1..3), [0i64..3, 0i64..3, 0i64..3, 0i64..3], any::<bool>());
    (
        (1i64..5, pair(1..4), pair(1..3), pair(1..3), [0i64..3, 0i64..3, 0i64..3, 0i64..3]),
        (1u32..=8, any::<bool>(), any::<bool>(), bias(), weight_form()),
        activation(),
        proptest::option::of(pool),
    )
        .prop_map(
            |(
                shape,
                (weight_bits, weight_signed, per_channel, bias, weights),
                activation,
                pool,
            )| {
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
                    weights,
                    activation,
                    pool,
                }
            },
        )
}

/// Draws a case.
pub fn case() -> impl Strategy<Value = Case> {
    (
        [1i64..4, 1i64..14, 1i64..14],
        proptest::collection::vec(layer(), 0..3),
        0u32..3,
        any::<u32>(),
        proptest::option::weighted(0.4, 0..256i32),
    )
        .prop_map(|(input, layers, dense, seed, input_zero)| Case {
            input,
            layers,
            dense,
            seed,
            input_zero,
        })
}

fn weights(m: &mut Model, noise: &mut Noise, dims: &[i64], layer: &Layer) -> String {
    let size = 1.3 * (1 << (layer.weight_bits - 1)) as f32 * 0.25;
    let data = noise.list(dims.iter().product(), size);
    let mut channel_dims = vec![1; dims.len()];
    channel_dims[0] = dims[0];
    let scales: Vec<f32> = (0..dims[0]).map(|_| 0.3 + 0.1 * noise.real()).collect();
    let one = m.scalar(0.25);
    let scale = if layer.per_channel { m.constant(&channel_dims, &scales) } else { one.clone() };
    match layer.weights {
        WeightForm::Integers => {
            let most = (1 << (layer.weight_bits - 1)) - 1;
            let integers: Vec<i32> =
                data.iter().map(|x| ((x * 4.0) as i32).clamp(-most - 1, most)).collect();
            let integers = m.integers(data_type::INT8, dims, &integers);
            match layer.per_channel {
                true => {
                    let (scale, zero) =
                        (m.constant(&dims[..1], &scales), vec![0; dims[0] as usize]);
                    let zero = m.integers(data_type::INT8, &dims[..1], &zero);
                    m.node("DequantizeLinear", &[&integers, &scale, &zero], &[int("axis", 0)])
                }
                false => m.node("DequantizeLinear", &[&integers, &one], &[]),
            }
        }
        WeightForm::Bipolar => {
            let weights = m.constant(dims, &data);
            m.node("BipolarQuant", &[&weights, &scale], &[])
        }
        form => {
            let bits = if form == WeightForm::Ternary { 2 } else { layer.weight_bits };
            let weights = m.constant(dims, &data);
            let (zero, bits) = (m.scalar(0.0), m.scalar(bits as f32));
            let signed = layer.weight_signed || form == WeightForm::Ternary;
            let attributes = [int("signed", i64::from(signed)), int("narrow", 1)];
            m.node("Quant", &[&weights, &scale, &zero, &bits], &attributes)
        }
    }
}

/// What a case has: quantizers, functions, rounding modes and precisions.
pub fn drawn(case: &Case) -> Vec<String> {
    let mut drawn = Vec::new();
    for Layer { activation, weight_bits, weights, bias, .. } in &case.layers {
        let kind = match activation.kind {
            Kind::Shift(version) => format!("Trunc {version}"),
            kind => format!("{kind:?}"),
        };
        drawn.extend([kind, format!("mode {}", activation.mode)]);
        drawn.extend([
            format!("{weight_bits} weight bits"),
            format!("{} activation bits", activation.bits),
        ]);
        drawn.extend([format!("weights as {weights:?}"), format!("bias as {bias:?}")]);
        drawn.extend(activation.function.map(|function| FUNCTIONS[function].0.to_owned()));
    }
    drawn
}

/// How many of these there are.
pub const KINDS: usize = 6 + 7 + 8 + 8 + 4 + 5 + FUNCTIONS.len();

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
            let spread = |_| {
                (value * (1.0 + 0.5 * noise.real())).max(if value < 0.0 {
                    value * 2.0
                } else {
                    0.0
                })
            };
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
    if let Some(function) = a.function {
        let (op, bounded) = FUNCTIONS[function];
        // Into the range in which functions are not straight.
        let near = m.scalar((4.0 / spread.max(1e-3)).log2().round().exp2());
        x = m.node("Mul", &[&x, &near], &[]);
        *spread = if bounded { 1.0 } else { 4.0 };
        x = match op {
            "PRelu" => {
                let slope = m.constant(shape, &noise.list(channels, 1.0));
                m.node(op, &[&x, &slope], &[])
            }
            "Clip" => {
                let ends = [-1.5, 1.0].map(|end| m.scalar(end));
                m.node(op, &[&x, &ends[0], &ends[1]], &[])
            }
            "SiLU" => {
                let sigmoid = m.node("Sigmoid", &[&x], &[]);
                m.node("Mul", &[&sigmoid, &x], &[])
            }
            op => m.node(op, &[&x], &[]),
        };
    }
    if a.kind == Kind::Bipolar {
        *spread = a.scale;
        return m.bipolar(&x, a.scale);
    }
    let codes = (1 << a.bits) as f32;
    let scale = a.scale * (*spread / codes).max(1e-3).log2().round().exp2();
    *spread = scale * codes;
    let mode = ["ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO", "UP", "HALF_UP", "HALF_DOWN"][a.mode];
    let (signed, narrow) =
        (int("signed", i64::from(a.signed)), int("narrow", i64::from(a.zero % 2 == 0)));
    match a.kind {
        Kind::Linear => {
            let kind = if a.signed { data_type::INT8 } else { data_type::UINT8 };
            let parameters = [m.scalar(scale), m.integers(kind, &[], &[a.zero])];
            let [scale, zero] = parameters.each_ref().map(String::as_str);
            x = m.node("QuantizeLinear", &[&x, scale, zero], &[]);
            if a.bits < 8 {
                let code = Code { bits: a.bits, signed: a.signed };
                let ends = [code.min(), code.max()].map(|end| m.integers(kind, &[], &[end as i32]));
                x = m.node("Clip", &[&x, &ends[0], &ends[1]], &[]);
            }
            m.node("DequantizeLinear", &[&x, scale, zero], &[])
        }
        Kind::Thresholds => {
            let count = (1i64 << a.bits.min(5)) - 1;
            let rows = if a.signed { channels } else { 1 };
            let list = noise.list(rows * count, *spread);
            let list = m.constant(&[rows, count], &list);
            // A bias that is exactly a multiple of half the scale.
            let scale = scale.log2().round().exp2();
            let (scale, bias) =
                (float("out_scale", scale), float("out_bias", scale * a.zero as f32 / 2.0));
            m.node("MultiThreshold", &[&x, &list], &[scale, bias])
        }
        Kind::Shift(version) => {
            let bits = a.bits.max(2);
            let (from, to) = (m.scalar(bits as f32 + 2.0), m.scalar(bits as f32));
            let (fine, zero, coarse) =
                (m.scalar(scale / 4.0), m.scalar((a.zero * 4) as f32), m.scalar(scale));
            let mode = string("rounding_mode", mode);
            match version {
                1 => m.node("Trunc", &[&x, &fine, &zero, &from, &to], &[mode]),
                _ => m.node(
                    "Trunc",
                    &[&x, &fine, &zero, &from, &coarse, &to],
                    &[mode, signed, narrow],
                ),
            }
        }
        _ => {
            let parameters = [scale, a.zero as f32, a.bits as f32].map(|value| m.scalar(value));
            let [scale, zero, bits] = &parameters;
            m.node(
                "Quant",
                &[&x, scale, zero, bits],
                &[signed, narrow, string("rounding_mode", mode)],
            )
        }
    }
}

/// Refusals that are right, of what a drawn case may ask for.
fn is_refused_rightly(error: &Diagnostic) -> bool {
    // A maximum of what then falls; codes that fall and rise; a shift that does not clip; a zero
    // point that takes a ninth bit; a sign of what has one sign.
    let limits = [&POOL_PLACE, &MONOTONE, &TRUNC_RANGE, &QUANT_BITS, &BIPOLAR_SIGN];
    limits.iter().any(|limit| error.is(limit))
}

/// The case as a model; `None` if a window does not fit, or a pooling cannot stand where it is.
pub fn import(case: &Case) -> Option<Import> {
    let mut noise = Noise(case.seed);
    let [mut channels, mut height, mut width] = case.input;
    let mut m = Model::new(&[1, channels, height, width]);
    let mut x = match case.input_zero {
        None => m.quant("x", 1.0, 8, true),
        Some(zero) => {
            let (scale, zero) = (m.scalar(0.5), m.integers(data_type::UINT8, &[], &[zero]));
            let x = m.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            m.node("DequantizeLinear", &[&x, &scale, &zero], &[])
        }
    };
    let mut spread = 128.0;
    for layer in &case.layers {
        // A window that does not fit becomes a point, so that each case is a model.
        let fits = |axis: usize, size: i64| {
            let padded = size + layer.pads[axis] + layer.pads[axis + 2];
            padded > (layer.kernel[axis] - 1) * layer.dilations[axis]
        };
        let of = |axis: usize, size| if fits(axis, size) { layer.kernel[axis] } else { 1 };
        let kernel = [of(0, height), of(1, width)];
        let weights =
            weights(&mut m, &mut noise, &[layer.outputs, channels, kernel[0], kernel[1]], layer);
        let mut inputs = vec![x.as_str(), &weights];
        let list = noise.list(layer.outputs, 4.0);
        let bias = match layer.bias {
            Bias::None => None,
            Bias::Float => Some(m.constant(&[layer.outputs], &list)),
            Bias::Quant => {
                let bias = m.constant(&[layer.outputs], &list);
                Some(m.quant(&bias, 0.125, 16, true))
            }
            Bias::Integers => {
                let integers: Vec<i32> = list.iter().map(|x| (x * 100.0) as i32).collect();
                let (bias, scale) =
                    (m.integers(data_type::INT32, &[layer.outputs], &integers), m.scalar(0.0625));
                Some(m.node("DequantizeLinear", &[&bias, &scale], &[]))
            }
            Bias::Added => Some(m.constant(&[layer.outputs, 1, 1], &list)),
        };
        inputs.extend(bias.as_deref().filter(|_| layer.bias != Bias::Added));
        let attributes = [
            ints("strides", &layer.strides),
            ints("dilations", &layer.dilations),
            ints("pads", &layer.pads),
        ];
        x = m.node("Conv", &inputs, &attributes);
        if let (Bias::Added, Some(bias)) = (layer.bias, &bias) {
            x = m.node("Add", &[bias, &x], &[]);
        }
        spread *= 0.1
            * ((channels * kernel[0] * kernel[1]) as f32).sqrt()
            * (1 << (layer.weight_bits - 1)) as f32;
        channels = layer.outputs;
        let shape = [channels, 1, 1];
        let pool_first = layer.activation.pool_first;
        if !pool_first {
            x = activate(&mut m, x, &shape, &layer.activation, &mut noise, &mut spread);
        }
        let size = |axis: usize, size: i64| {
            let extent = (kernel[axis] - 1) * layer.dilations[axis] + 1;
            let padded = size + layer.pads[axis] + layer.pads[axis + 2];
            (padded - extent) / layer.strides[axis] + 1
        };
        (height, width) = (size(0, height), size(1, width));
        if let Some(Pool { mut kernel, strides, mut pads, ceil }) = layer.pool {
            for (axis, size) in [height, width].into_iter().enumerate() {
                if size + pads[axis] + pads[axis + 2] < kernel[axis] {
                    (kernel[axis], pads[axis], pads[axis + 2]) = (1, 0, 0);
                }
            }
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
                let more =
                    ceil && over % strides[axis] != 0 && floor * strides[axis] < size + pads[axis];
                floor + i64::from(more)
            };
            (height, width) = (size(0, height), size(1, width));
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
        Err(errors) if errors.iter().all(is_refused_rightly) => None,
        Err(errors) => panic!("{}", errors[0]),
    }
}
