//! Quantizers and the functions before them: codes derived by hand.

use qnnsim_compiler::import::Import;
use qnnsim_compiler::ir::{Activation, MapId, StepFunction, WeightKind};
use qnnsim_compiler::limits;
use qnnsim_compiler::onnx::{AttributeProto, data_type};
use qnnsim_isa::descriptor::{HostOp, Rounding};
use qnnsim_tests::models::{Model, float, int, string};

#[track_caller]
fn import(model: Model, output: &str) -> Import {
    match model.import(output) {
        Ok(import) => import,
        Err(errors) => panic!("{}", errors[0]),
    }
}

#[track_caller]
fn refusal(model: Model, output: &str) -> String {
    match model.import(output) {
        Ok(_) => panic!("accepted"),
        Err(errors) => errors[0].message.clone(),
    }
}

fn steps(import: &Import) -> &StepFunction {
    steps_of(import, 0, 0)
}

fn steps_of(import: &Import, layer: usize, channel: usize) -> &StepFunction {
    match &import.network.layers[layer].activation {
        Activation::Steps { channels, .. } => &channels[channel],
        Activation::Raw => panic!("no thresholds"),
    }
}

/// One input, one output, weight 1: the accumulator is the input, -128 to 127. The chain leads from
/// it to the quantized value.
fn chain(build: impl Fn(&mut Model, &str) -> String) -> (Model, String) {
    let mut model = Model::new(&[1, 1]);
    let x = model.input();
    let weights = model.weights(&[1, 1], &[1.0]);
    let acc = model.node("MatMul", &[&x, &weights], &[]);
    let codes = build(&mut model, &acc);
    let output = model.last(&codes, 1);
    (model, output)
}

/// The codes of accumulators behind such a chain.
#[track_caller]
fn codes<const N: usize>(accs: [i64; N], build: impl Fn(&mut Model, &str) -> String) -> [i64; N] {
    let (model, output) = chain(build);
    let import = import(model, &output);
    accs.map(|acc| steps(&import).code(acc))
}

fn quant(
    m: &mut Model,
    x: &str,
    scale: f32,
    zero: f32,
    bits: f32,
    attributes: &[AttributeProto],
) -> String {
    let parameters = [scale, zero, bits].map(|value| m.scalar(value));
    let [scale, zero, bits] = &parameters;
    m.node("Quant", &[x, scale, zero, bits], attributes)
}

fn signed(narrow: i64, mode: &str) -> [AttributeProto; 3] {
    [int("signed", 1), int("narrow", narrow), string("rounding_mode", mode)]
}

/// x -> integers of a type, by scale and zero point.
fn quantize(m: &mut Model, x: &str, scale: f32, kind: i32, zero: i32) -> String {
    let (scale, zero) = (m.scalar(scale), m.integers(kind, &[], &[zero]));
    m.node("QuantizeLinear", &[x, &scale, &zero], &[])
}

/// Integers of a type -> values.
fn dequantize(m: &mut Model, x: &str, scale: f32, kind: i32, zero: i32) -> String {
    let (scale, zero) = (m.scalar(scale), m.integers(kind, &[], &[zero]));
    m.node("DequantizeLinear", &[x, &scale, &zero], &[])
}

#[test]
fn every_rounding_mode_at_ties_and_between() {
    // acc / 4: -6 -> -1.5, -5 -> -1.25, -3 -> -0.75, -2 -> -0.5, 2 -> 0.5, 3 -> 0.75, 5 -> 1.25, 6
    // -> 1.5, 10 -> 2.5.
    let accs = [-6, -5, -3, -2, 2, 3, 5, 6, 10];
    let expected: [(&str, [i64; 9]); 10] = [
        ("ROUND", [-2, -1, -1, 0, 0, 1, 1, 2, 2]),
        ("HALF_EVEN", [-2, -1, -1, 0, 0, 1, 1, 2, 2]),
        ("half_up", [-2, -1, -1, -1, 1, 1, 1, 2, 3]),
        ("HALF_DOWN", [-1, -1, -1, 0, 0, 1, 1, 1, 2]),
        ("CEIL", [-1, -1, 0, 0, 1, 1, 2, 2, 3]),
        ("FLOOR", [-2, -2, -1, -1, 0, 0, 1, 1, 2]),
        ("UP", [-2, -2, -1, -1, 1, 1, 2, 2, 3]),
        ("DOWN", [-1, -1, 0, 0, 0, 0, 1, 1, 2]),
        ("ROUND_TO_ZERO", [-1, -1, 0, 0, 0, 0, 1, 1, 2]),
        ("Down", [-1, -1, 0, 0, 0, 0, 1, 1, 2]),
    ];
    for (mode, expected) in expected {
        assert_eq!(
            codes(accs, |m, acc| quant(m, acc, 4.0, 0.0, 8.0, &signed(0, mode))),
            expected,
            "{mode}"
        );
    }
}

#[test]
fn a_zero_point_is_added_before_rounding() {
    // acc / 2 + 3: 1 -> 3.5 -> 4, 3 -> 4.5 -> 4, -1 -> 2.5 -> 2; clipped to -8..7.
    let found =
        codes([1, 3, -1, 0, 100, -100], |m, acc| quant(m, acc, 2.0, 3.0, 4.0, &signed(0, "ROUND")));
    assert_eq!(found, [4, 4, 2, 3, 7, -8]);
    let narrow = codes([100, -100], |m, acc| quant(m, acc, 2.0, 3.0, 4.0, &signed(1, "ROUND")));
    assert_eq!(narrow, [7, -7]);
}

#[test]
fn a_linear_quantizer_rounds_before_it_adds_the_zero_point() {
    // acc / 2: 1 -> 0.5 -> 0, 3 -> 1.5 -> 2, -1 -> -0.5 -> 0; plus 3.
    let found = codes([1, 3, -1, 0, 127, -128], |m, acc| {
        let x = quantize(m, acc, 2.0, data_type::UINT8, 3);
        dequantize(m, &x, 2.0, data_type::UINT8, 3)
    });
    assert_eq!(found, [3, 5, 3, 3, 67, 0]);
}

#[test]
fn what_a_layer_reads_is_centered_on_its_zero_point() {
    // Codes (acc / 2 + 3) stand for (code - 3) x 2; weights 1 and -2 of 8 bits: sums of codes times
    // weights are off by 3 x (1 - 2) = -3.
    let mut m = Model::new(&[1, 2]);
    let x = m.quant("x", 1.0, 8, true);
    let weights = m.weights(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
    let acc = m.node("MatMul", &[&x, &weights], &[]);
    let x = quant(&mut m, &acc, 2.0, 3.0, 4.0, &[int("signed", 0), int("narrow", 0)]);
    let weights = m.weights(&[2, 1], &[1.0, -2.0]);
    let output = m.node("MatMul", &[&x, &weights], &[]);
    let import = import(m, &output);
    assert_eq!(
        import.network.output.values[0].ops,
        [HostOp::Add(vec![3.0]), HostOp::Mul(vec![2.0])]
    );
    assert_eq!(import.network.layers[1].terms[0].pad_value, 3);
    // The graph agrees: x = (6, -2) gives codes 6 and 2, values 6 and -2, and 6 + 4 = 10.
    let tensors = import.graph.eval(&[6.0, -2.0]).unwrap();
    assert_eq!(tensors["v5"].to_real().data, [10.0]);
    let decoder = qnnsim_host::Decoder::new(&import.network.output).unwrap();
    assert_eq!(decoder.decode(&[6 - 4]), [[10.0]]);
}

#[test]
fn zero_points_of_weights_are_taken_off() {
    // uint8 weights 128 + (-128, -3, 127) are signed 8-bit weights.
    let mut m = Model::new(&[1, 3]);
    let x = m.input();
    let raw = m.integers(data_type::UINT8, &[3, 1], &[0, 125, 255]);
    let weights = dequantize(&mut m, &raw, 0.5, data_type::UINT8, 128);
    let output = m.node("MatMul", &[&x, &weights], &[]);
    let import = import(m, &output);
    let weights = &import.network.layers[0].terms[0].weights;
    assert_eq!((weights.kind, &weights.data[..]), (WeightKind::Signed(8), &[-128, -3, 127][..]));
    assert_eq!(import.network.output.values[0].ops, [HostOp::Mul(vec![0.5])]);
    // Zero point 0 leaves unsigned weights: beyond 127 as terms that add up to them.
    for (last, parts) in [(127, &[127][..]), (128, &[127, 1]), (255, &[127, 127, 1])] {
        let mut m = Model::new(&[1, 1]);
        let x = m.input();
        let raw = m.integers(data_type::UINT8, &[1, 1], &[last]);
        let weights = dequantize(&mut m, &raw, 0.5, data_type::UINT8, 0);
        let output = m.node("MatMul", &[&x, &weights], &[]);
        let terms = &self::import(m, &output).network.layers[0].terms;
        let found: Vec<i8> = terms.iter().map(|term| term.weights.data[0]).collect();
        assert_eq!(found, parts);
    }
}

#[test]
fn kinds_of_weights_are_told_by_their_range() {
    let kind = |bits: f32, narrow: i64, signed: i64| {
        let mut m = Model::new(&[1, 3]);
        let x = m.input();
        let weights = m.constant(&[3, 1], &[-9.0, 0.0, 9.0]);
        let attributes = [int("signed", signed), int("narrow", narrow)];
        let weights = quant(&mut m, &weights, 1.0, 0.0, bits, &attributes);
        let output = m.node("MatMul", &[&x, &weights], &[]);
        let weights = import(m, &output).network.layers[0].terms[0].weights.clone();
        (weights.kind, weights.data)
    };
    // Ternary weights are narrow ones of two bits; 1 signed bit takes 0 to +1.
    assert_eq!(kind(2.0, 1, 1), (WeightKind::Signed(2), vec![-1, 0, 1]));
    assert_eq!(kind(1.0, 1, 1), (WeightKind::Bipolar, vec![-1, 1, 1]));
    assert_eq!(kind(4.0, 1, 1), (WeightKind::Signed(4), vec![-7, 0, 7]));
    assert_eq!(kind(3.0, 1, 0), (WeightKind::Signed(4), vec![0, 0, 6]));
}

#[test]
fn a_bipolar_quantizer_takes_zero_to_plus_one() {
    let found = codes([-1, 0, 1], |m, acc| m.bipolar(acc, 0.25));
    assert_eq!(found, [-1, 1, 1]);
    let mut m = Model::new(&[1, 2]);
    let x = m.input();
    let weights = m.constant(&[2, 1], &[0.0, -0.0]);
    let weights = m.bipolar(&weights, 0.25);
    let output = m.node("MatMul", &[&x, &weights], &[]);
    assert_eq!(import(m, &output).network.layers[0].terms[0].weights.data, [1, 1]);
}

#[test]
fn a_clip_between_quantizer_and_dequantizer_takes_bits() {
    // int8 of step 2, clipped to -8..7: 4 bits. Ties to even: 15 -> 7.5 -> 8 -> 7.
    let clipped = |m: &mut Model, acc: &str, inputs: bool| {
        let x = quantize(m, acc, 2.0, data_type::INT8, 0);
        let x = if inputs {
            let ends = [-8, 7].map(|end| m.integers(data_type::INT8, &[], &[end]));
            m.node("Clip", &[&x, &ends[0], &ends[1]], &[])
        } else {
            m.node("Clip", &[&x], &[float("min", -8.0), float("max", 7.0)])
        };
        dequantize(m, &x, 2.0, data_type::INT8, 0)
    };
    for inputs in [true, false] {
        assert_eq!(
            codes([15, 13, 3, -100, 100], |m, acc| clipped(m, acc, inputs)),
            [7, 6, 2, -8, 7]
        );
        let (model, output) = chain(|m, acc| clipped(m, acc, inputs));
        let network = import(model, &output).network;
        let Activation::Steps { code, .. } = &network.layers[0].activation else { panic!() };
        assert_eq!((code.bits, code.signed), (4, true));
    }
}

#[test]
fn an_input_quantizer_may_be_linear() {
    // real / 0.5 rounded, plus 100: 0.25 -> 0.5 -> 0 -> 100, 0.75 -> 1.5 -> 2 -> 102.
    let mut m = Model::new(&[1, 1]);
    let x = quantize(&mut m, "x", 0.5, data_type::UINT8, 101);
    let x = dequantize(&mut m, &x, 0.5, data_type::UINT8, 101);
    let output = m.last(&x, 1);
    let import = import(m, &output);
    let quantizer = &import.network.input.quantizer;
    assert_eq!((quantizer.rounding, quantizer.zero_point), (Rounding::HalfEvenFirst, 101.0));
    assert_eq!([0.25, 0.75, -0.25].map(|x| quantizer.quantize(x).0), [101, 103, 101]);
    // Before the rounding it would be 101.5 -> 102, 102.5 -> 102.
    let tensors = import.graph.eval(&[0.25]).unwrap();
    assert_eq!(tensors["v1"].array.data, [101.0]);
}

#[test]
fn parameters_along_an_axis() {
    // Two outputs, weights 3 and 5 as int8, scales 1 and 0.5, as integers and as floats with a
    // quantizer.
    for stored in [true, false] {
        let mut m = Model::new(&[1, 1, 1, 1]);
        let x = m.input();
        let scale = m.constant(&[2], &[1.0, 0.5]);
        let zero = m.integers(data_type::INT8, &[2], &[0, 0]);
        let raw = if stored {
            m.integers(data_type::INT8, &[2, 1, 1, 1], &[3, 5])
        } else {
            let weights = m.constant(&[2, 1, 1, 1], &[3.0, 2.5]);
            m.node("QuantizeLinear", &[&weights, &scale, &zero], &[int("axis", 0)])
        };
        let weights = m.node("DequantizeLinear", &[&raw, &scale, &zero], &[int("axis", -4)]);
        let raw = m.integers(data_type::INT32, &[2], &[7, -8]);
        let bias_scale = m.constant(&[2], &[1.0, 0.5]);
        let bias = m.node("DequantizeLinear", &[&raw, &bias_scale], &[int("axis", 0)]);
        let acc = m.node("Conv", &[&x, &weights, &bias], &[]);
        let import = import(m, &acc);
        assert_eq!(import.network.layers[0].terms[0].weights.data, [3, 5]);
        let ops = [HostOp::Mul(vec![1.0, 0.5]), HostOp::Add(vec![7.0, -4.0])];
        assert_eq!(import.network.output.values[0].ops, ops);
    }
}

#[test]
fn thresholds_are_counted() {
    // INT4 as FINN writes it: bias -8. Thresholds -1, 2, 2, 5: 2 reaches three of them.
    let thresholds = |m: &mut Model, acc: &str, scale: f32, bias: f32, list: &[f32]| {
        let list = m.constant(&[1, list.len() as i64], list);
        let attributes =
            [string("out_dtype", "INT4"), float("out_scale", scale), float("out_bias", bias)];
        m.node("MultiThreshold", &[acc, &list], &attributes)
    };
    let list = [-1.0, 2.0, 2.0, 5.0];
    let found = codes([-2, -1, 1, 2, 5], |m, acc| thresholds(m, acc, 1.0, -8.0, &list));
    assert_eq!(found, [-8, -7, -7, -5, -4]);
    // BIPOLAR: 2 x count - 1 is a code of steps of 1.
    let found = codes([-1, 0, 1], |m, acc| thresholds(m, acc, 2.0, -1.0, &[0.0]));
    assert_eq!(found, [-1, 1, 1]);
    let (model, output) = chain(|m, acc| thresholds(m, acc, 0.5, 0.0, &list));
    assert_eq!(import(model, &output).network.output.values[0].ops, [HostOp::Mul(vec![0.5])]);
    let (model, output) = chain(|m, acc| thresholds(m, acc, 1.0, 0.25, &list));
    assert_eq!(refusal(model, &output), "not supported: out_scale 1 and out_bias 0.25");
}

#[test]
fn a_shift_in_both_versions() {
    // Version 1 from 8 to 4 bits: integers / 16, and the scale stays. FLOOR: -17 -> -2, 31 -> 1.
    // ROUND: 24 -> 1.5 -> 2.
    let first = |m: &mut Model, acc: &str, mode: &str| {
        let parameters = [1.0, 0.0, 8.0, 4.0].map(|value| m.scalar(value));
        let [scale, zero, from, to] = &parameters;
        m.node("Trunc", &[acc, scale, zero, from, to], &[string("rounding_mode", mode)])
    };
    assert_eq!(
        codes([-128, -17, -16, 31, 127], |m, acc| first(m, acc, "FLOOR")),
        [-8, -2, -1, 1, 7]
    );
    let (model, output) = chain(|m, acc| first(m, acc, "FLOOR"));
    assert_eq!(import(model, &output).network.output.values[0].ops, [HostOp::Mul(vec![1.0])]);
    let clipped = |m: &mut Model, acc: &str| {
        let x = m.node("Clip", &[acc], &[float("max", 111.0)]);
        first(m, &x, "ROUND")
    };
    assert_eq!(codes([8, 24, -24, 111], clipped), [0, 2, -2, 7]);
    // 127 / 16 rounds to 8, which version 1 does not clip: it has no 4 bits.
    let (model, output) = chain(|m, acc| first(m, acc, "ROUND"));
    assert_eq!(refusal(model, &output), "not supported: integers from -8 to 8");
    // Version 2: the factor is the ratio of scales, and what it gives is clipped.
    let second = |m: &mut Model, acc: &str| {
        let parameters = [1.0, 0.0, 8.0, 16.0, 3.0].map(|value| m.scalar(value));
        let [scale, zero, from, to, bits] = &parameters;
        let attributes = [string("rounding_mode", "FLOOR"), int("signed", 1), int("narrow", 0)];
        m.node("Trunc", &[acc, scale, zero, from, to, bits], &attributes)
    };
    assert_eq!(codes([-128, -65, -49, -1, 31, 127], second), [-4, -4, -4, -1, 1, 3]);
    let (model, output) = chain(second);
    assert_eq!(import(model, &output).network.output.values[0].ops, [HostOp::Mul(vec![16.0])]);
}

#[test]
fn functions_before_a_quantizer() {
    let unary =
        |op: &'static str, attributes: &[AttributeProto], scale: f32, bits: u32, signed: bool| {
            let attributes = attributes.to_vec();
            move |m: &mut Model, acc: &str| {
                let x = m.node(op, &[acc], &attributes);
                m.quant(&x, scale, bits, signed)
            }
        };
    // x / 4 below zero: -6 -> -1.5 -> -2, -8 -> -2.
    assert_eq!(
        codes([-8, -6, -2, 3], unary("LeakyRelu", &[float("alpha", 0.25)], 1.0, 4, true)),
        [-2, -2, 0, 3]
    );
    // sigmoid(1) = 0.731, sigmoid(2) = 0.881, sigmoid(-1) = 0.269, sigmoid(0) = 1/2, in steps of
    // 1/4: 2.92, 3.52, 1.08, 2.
    assert_eq!(codes([-1, 0, 1, 2, -100], unary("Sigmoid", &[], 0.25, 3, false)), [1, 2, 3, 4, 0]);
    // tanh(1) = 0.762 in steps of 1/8: 6.09.
    assert_eq!(codes([-1, 0, 1, 100], unary("Tanh", &[], 0.125, 8, true)), [-6, 0, 6, 8]);
    // ln 2 = 0.693, ln(1 + e) = 1.313, ln(1 + 1/e) = 0.313, in steps of 1/8: 5.5, 10.5, 2.5: not
    // quite ties. 0.693147 x 8 = 5.545, 1.313262 x 8 = 10.506, 0.313262 x 8 = 2.506.
    assert_eq!(codes([0, 1, -1], unary("Softplus", &[], 0.125, 8, true)), [6, 11, 3]);
    // e^-1 - 1 = -0.632 in steps of 1/8: -5.06; times 1.6732632 x 1.050701: -1.1113 -> -8.89.
    assert_eq!(codes([-1, 1], unary("Elu", &[], 0.125, 8, true)), [-5, 8]);
    // 1.050701 x 8 = 8.4056.
    assert_eq!(codes([-1, 1], unary("Selu", &[], 0.125, 8, true)), [-9, 8]);
    // 0.2 x + 0.5 between 0 and 1 in steps of 1/8: 0.7 x 8 = 5.6, 0.3 x 8 = 2.4.
    assert_eq!(codes([-3, -1, 1, 3], unary("HardSigmoid", &[], 0.125, 8, true)), [0, 2, 6, 8]);
    // erf 1 = 0.8427 x 8 = 6.74.
    assert_eq!(codes([-1, 1], unary("Erf", &[], 0.125, 8, true)), [-7, 7]);
    assert_eq!(codes([-1, 1], unary("Neg", &[], 1.0, 8, true)), [1, -1]);
    assert_eq!(
        codes([-3, 2], unary("Clip", &[float("min", -1.0), float("max", 1.0)], 0.125, 8, true)),
        [-8, 8]
    );
    let prelu = codes([-3, 2], |m, acc| {
        let slope = m.constant(&[1], &[0.5]);
        let x = m.node("PRelu", &[acc, &slope], &[]);
        m.quant(&x, 1.0, 8, true)
    });
    assert_eq!(prelu, [-2, 2]);
}

/// x times sigmoid(x), and other functions, as exporters spell them out.
type Spelled = fn(&mut Model, &str) -> String;

fn silu(m: &mut Model, x: &str) -> String {
    let s = m.node("Sigmoid", &[x], &[]);
    m.node("Mul", &[x, &s], &[])
}

fn gelu(m: &mut Model, x: &str) -> String {
    let constants = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| m.scalar(value));
    let [root, one, half] = &constants;
    let inside = m.node("Div", &[x, root], &[]);
    let erf = m.node("Erf", &[&inside], &[]);
    let sum = m.node("Add", &[&erf, one], &[]);
    let product = m.node("Mul", &[x, &sum], &[]);
    m.node("Mul", &[&product, half], &[])
}

fn gelu_half_first(m: &mut Model, x: &str) -> String {
    let constants = [std::f32::consts::FRAC_1_SQRT_2, 1.0, 0.5].map(|value| m.scalar(value));
    let [root, one, half] = &constants;
    let halved = m.node("Mul", &[half, x], &[]);
    let inside = m.node("Mul", &[x, root], &[]);
    let erf = m.node("Erf", &[&inside], &[]);
    let sum = m.node("Add", &[one, &erf], &[]);
    m.node("Mul", &[&sum, &halved], &[])
}

fn gelu_tanh(m: &mut Model, x: &str) -> String {
    let constants = [3.0, 0.044715, 0.797_884_6, 1.0, 0.5].map(|value| m.scalar(value));
    let [three, cubic, linear, one, half] = &constants;
    let cube = m.node("Pow", &[x, three], &[]);
    let cube = m.node("Mul", &[&cube, cubic], &[]);
    let inside = m.node("Add", &[x, &cube], &[]);
    let inside = m.node("Mul", &[&inside, linear], &[]);
    let tanh = m.node("Tanh", &[&inside], &[]);
    let sum = m.node("Add", &[&tanh, one], &[]);
    let product = m.node("Mul", &[x, &sum], &[]);
    m.node("Mul", &[&product, half], &[])
}

fn hard_swish(m: &mut Model, x: &str) -> String {
    let constants = [3.0, 0.0, 6.0].map(|value| m.scalar(value));
    let [three, zero, six] = &constants;
    let moved = m.node("Add", &[x, three], &[]);
    let clipped = m.node("Clip", &[&moved, zero, six], &[]);
    let product = m.node("Mul", &[x, &clipped], &[]);
    m.node("Div", &[&product, six], &[])
}

fn mish(m: &mut Model, x: &str) -> String {
    let inside = m.node("Softplus", &[x], &[]);
    let tanh = m.node("Tanh", &[&inside], &[]);
    m.node("Mul", &[x, &tanh], &[])
}

#[test]
fn functions_that_are_spelled_out_are_recognized() {
    let spelled: [(Spelled, &str, &[AttributeProto]); 5] = [
        (silu, "Swish", &[]),
        (gelu, "Gelu", &[]),
        (gelu_half_first, "Gelu", &[]),
        (hard_swish, "HardSwish", &[]),
        (mish, "Mish", &[]),
    ];
    let all: Vec<i64> = (-128..128).collect();
    // An unsigned quantizer takes all that is negative to 0: the dip rounds away.
    for (spell, op, attributes) in spelled {
        let of = |build: &dyn Fn(&mut Model, &str) -> String| {
            let (model, output) = chain(|m, acc| {
                let eighth = m.scalar(0.125);
                let x = m.node("Mul", &[acc, &eighth], &[]);
                let x = build(m, &x);
                m.quant(&x, 0.0625, 8, false)
            });
            let import = import(model, &output);
            all.iter().map(|&acc| steps(&import).code(acc)).collect::<Vec<_>>()
        };
        let found = of(&spell);
        assert_eq!(found, of(&|m, x| m.node(op, &[x], attributes)), "{op}");
        assert!(found.windows(2).all(|pair| pair[0] <= pair[1]));
    }
    let tanh = codes([8, -8], |m, acc| {
        let eighth = m.scalar(0.125);
        let x = m.node("Mul", &[acc, &eighth], &[]);
        let x = gelu_tanh(m, &x);
        m.quant(&x, 0.0625, 8, false)
    });
    // 1/2 (1 + tanh(0.797885 x 1.044715)) = 0.8412 in steps of 1/16: 13.46.
    assert_eq!(tanh, [13, 0]);
}

#[test]
fn a_dip_is_split_where_it_turns() {
    // x sigmoid(x) in steps of 1/2 with signed codes: at -1, -0.269 -> -0.54 -> -1; at -3, -0.142
    // -> 0: it falls first.
    let (model, output) = chain(|m, acc| {
        let x = silu(m, acc);
        m.quant(&x, 0.5, 8, true)
    });
    // What falls and what rises are channels of their own, and the next layer adds them up.
    let import = import(model, &output);
    let network = &import.network;
    assert_eq!(
        (network.layers.len(), network.map(MapId(1)).0.channels, network.map(MapId(2)).0.channels),
        (3, 2, 1)
    );
    let code = |acc: i64| {
        let parts = [0, 1].map(|channel| steps_of(&import, 0, channel).code(acc));
        steps_of(&import, 1, 0).code(parts[0] + parts[1])
    };
    // -0.238 -> -0.48 -> 0; 0.731 -> 1.46 -> 1; 1.762 -> 3.52 -> 4; 4.967 -> 9.93 -> 10; 126 x 2,
    // clipped to 127.
    assert_eq!([-100, -3, -2, -1, 0, 1, 2, 5, 126].map(code), [0, 0, 0, -1, 0, 1, 4, 10, 127]);
    // In steps of 1 nothing below zero is left: -0.278 at the least.
    let found = codes([-100, -1, 0, 1, 2, 5], |m, acc| {
        let x = silu(m, acc);
        m.quant(&x, 1.0, 8, true)
    });
    // 0.731 -> 1, 1.762 -> 2, 4.967 -> 5.
    assert_eq!(found, [0, 0, 0, 1, 2, 5]);
    // On one side of the turn it is monotone: with 0 added to Relu only what rises is reached.
    let found = codes([-100, 1], |m, acc| {
        let x = m.node("Relu", &[acc], &[]);
        let x = silu(m, &x);
        m.quant(&x, 0.125, 8, true)
    });
    // 0.731 x 8 = 5.85.
    assert_eq!(found, [0, 6]);
}

#[test]
fn a_product_of_two_functions_of_one_map_is_a_function() {
    // x max(x, 0), clipped to 127: 11 x 11 = 121, 12 x 12 = 144.
    let square = |m: &mut Model, acc: &str| {
        let s = m.node("Relu", &[acc], &[]);
        let x = m.node("Mul", &[acc, &s], &[]);
        m.quant(&x, 1.0, 8, true)
    };
    assert_eq!(codes([-128, -1, 3, 11, 12], square), [0, 0, 9, 121, 127]);
    // x / (2 + max(x, 0)) in steps of 1/4: 2/4 is 2 steps, 6/8 is 3, -3/2 is -6.
    let quotient = |m: &mut Model, acc: &str| {
        let (s, two) = (m.node("Relu", &[acc], &[]), m.scalar(2.0));
        let divisor = m.node("Add", &[&s, &two], &[]);
        let x = m.node("Div", &[acc, &divisor], &[]);
        m.quant(&x, 0.25, 8, true)
    };
    assert_eq!(codes([-3, 0, 2, 6], quotient), [-6, 0, 2, 3]);
}

#[test]
fn a_product_of_sums_that_are_not_quantized_is_refused() {
    let (model, output) = chain(|m, acc| {
        let weights = m.weights(&[1, 1], &[3.0]);
        let other = m.node("MatMul", &["v0", &weights], &[]);
        let x = m.node("Mul", &[acc, &other], &[]);
        m.quant(&x, 1.0, 8, true)
    });
    assert_eq!(refusal(model, &output), "not supported: a product of sums of more than 8 bits");
}

#[test]
fn a_quantizer_at_the_end_is_for_the_host() {
    let last = |build: &dyn Fn(&mut Model, &str) -> String| {
        let mut m = Model::new(&[1, 2]);
        let x = m.input();
        let weights = m.weights(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
        let acc = m.node("MatMul", &[&x, &weights], &[]);
        let output = build(&mut m, &acc);
        let import = import(m, &output);
        let decoder = qnnsim_host::Decoder::new(&import.network.output).unwrap();
        let host = decoder.decode(&[-3, 5]).remove(0);
        let graph = import.graph.eval(&[-3.0, 5.0]).unwrap();
        let value = import.graph.value(import.graph.outputs[0]).name.as_str();
        (host, graph[value].to_real().data.clone())
    };
    // -3 / 2 + 1 = -0.5 -> 0 -> -2; 5 / 2 + 1 = 3.5 -> 4 -> clipped to 3 -> 4.
    let expected = vec![-2.0, 4.0];
    let found = last(&|m, acc| quant(m, acc, 2.0, 1.0, 3.0, &signed(0, "ROUND")));
    assert_eq!(found, (expected.clone(), expected));
    // round(-1.5) + 1 = -1 -> clipped to 0 -> -2; round(2.5) + 1 = 3 -> 4.
    let expected = vec![-2.0, 4.0];
    let found = last(&|m, acc| {
        let x = quantize(m, acc, 2.0, data_type::UINT8, 1);
        dequantize(m, &x, 2.0, data_type::UINT8, 1)
    });
    assert_eq!(found, (expected.clone(), expected));
    let found = last(&|m, acc| m.bipolar(acc, 0.5));
    assert_eq!(found, (vec![-0.5, 0.5], vec![-0.5, 0.5]));
    let found = last(&|m, acc| m.node("Relu", &[acc], &[]));
    assert_eq!(found, (vec![0.0, 5.0], vec![0.0, 5.0]));
}

#[test]
fn softmax_and_argmax_at_the_end() {
    let (mut m, acc) = {
        let mut m = Model::new(&[1, 2]);
        let x = m.input();
        let weights = m.weights(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
        let acc = m.node("MatMul", &[&x, &weights], &[]);
        (m, acc)
    };
    let softmax = m.node("Softmax", &[&acc], &[int("axis", -1)]);
    let output = m.node("ArgMax", &[&softmax], &[int("axis", 1)]);
    let network = import(m, &output).network;
    assert_eq!(network.output.values[0].ops, [HostOp::Mul(vec![1.0])]);
    // The class is the number that the model gives.
    let output = &network.output.outputs[0];
    assert_eq!((&output.dims[..], output.index_of), (&[1][..], Some(2)));
    let decoder = qnnsim_host::Decoder::new(&network.output).unwrap();
    for (accumulators, class) in [([-3, 5], 1), ([5, -3], 0), ([4, 4], 0)] {
        let outputs = decoder.decode(&accumulators);
        assert_eq!((outputs[0][0], decoder.class(&outputs)), (class as f64, Some(class)));
    }
    // Along pixels, too.
    let mut m = Model::new(&[1, 1, 2, 2]);
    let x = m.input();
    let weights = m.weights(&[2, 1, 1, 1], &[1.0, 2.0]);
    let acc = m.node("Conv", &[&x, &weights], &[]);
    let output = m.node("Softmax", &[&acc], &[int("axis", 2)]);
    let network = import(m, &output).network;
    let outputs = qnnsim_host::Decoder::new(&network.output).unwrap().decode(&[0; 8]);
    assert_eq!(outputs, [[0.5; 8]]);
    // In front of a layer there is no quantizer for what it gives.
    let mut m = Model::new(&[1, 2]);
    let x = m.input();
    let acc = m.last(&x, 2);
    let softmax = m.node("Softmax", &[&acc], &[]);
    let output = m.last(&softmax, 1);
    assert_eq!(refusal(m, &output), "not supported: `Softmax` in front of a layer");
}

#[test]
fn a_clip_of_integers_in_an_old_operator_set_is_told() {
    for (opset, warnings) in [(11, 1), (13, 0)] {
        let (mut model, output) = chain(|m, acc| {
            let x = quantize(m, acc, 1.0, data_type::INT8, 0);
            let ends = [-8, 7].map(|end| m.integers(data_type::INT8, &[], &[end]));
            let x = m.node("Clip", &[&x, &ends[0], &ends[1]], &[]);
            dequantize(m, &x, 1.0, data_type::INT8, 0)
        });
        model.opset = opset;
        let import = import(model, &output);
        let clips = import.warnings.iter().filter(|warning| warning.is(&limits::CLIP_OPSET));
        assert_eq!(clips.count(), warnings);
    }
}

#[test]
fn what_stands_before_the_first_quantizer_is_for_the_host() {
    let mut m = Model::new(&[1, 2, 1, 1]);
    let (mean, deviation) =
        (m.constant(&[1, 2, 1, 1], &[1.0, -2.0]), m.constant(&[1, 2, 1, 1], &[0.5, 4.0]));
    let x = m.node("Sub", &["x", &mean], &[]);
    let x = m.node("Div", &[&x, &deviation], &[]);
    let x = m.node("Relu", &[&x], &[]);
    let x = m.quant(&x, 0.5, 4, true);
    let weights = m.weights(&[1, 2, 1, 1], &[1.0, 1.0]);
    let output = m.node("Conv", &[&x, &weights], &[]);
    let input = import(m, &output).network.input;
    let encoder = qnnsim_host::Encoder::new(&input).unwrap();
    let codes = |reals: [f64; 2]| {
        let mut bytes = [0; 2];
        let codes = encoder.encode_reals(&reals, qnnsim_host::Order::Model, &mut bytes);
        (bytes.map(|byte| input.code_of_byte(byte)), codes.clipped)
    };
    // (2.25 - 1) / 0.5 = 2.5 and (2.25 + 2) / 4 = 1.0625, in steps of 0.5: 5 and 2.125; below zero
    // is 0; 8 is too much.
    assert_eq!(codes([2.25, 2.25]), ([5, 2], 0));
    assert_eq!(codes([0.0, -2.0]), ([0, 0], 0));
    assert_eq!(codes([5.0, -2.0]), ([7, 0], 1));
    // Pixels take the same way: a table for each channel.
    let mut bytes = [0; 2];
    encoder.encode_pixels(&[2, 4], qnnsim_host::Order::Model, &mut bytes);
    // (2 - 1) / 0.5 = 2 and (4 + 2) / 4 = 1.5, in steps of 0.5.
    assert_eq!(bytes.map(|byte| input.code_of_byte(byte)), [4, 3]);
}
