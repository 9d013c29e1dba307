//! Each row of the list of what is supported is kept: for each there is a small model that compiles
//! and one that differs in one thing and is refused with that row.

use std::collections::BTreeSet;

use prost::Message;
use qnnsim_compiler::diagnostic::{Diagnostic, Rule};
use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::limits;
use qnnsim_compiler::onnx::{
    AttributeProto, ModelProto, NodeProto, TensorProto, attribute_type, data_type,
};
use qnnsim_tests::models::{Model, float, int, ints, number, string};

/// Builds a model that keeps to a row, or does not, and gives the names of its outputs.
type Build = fn(&mut Model, bool) -> String;

/// What is done to the message of a model that does not keep to a row.
type Damage = fn(&mut ModelProto);

/// One of two, by whether the row is kept.
fn pick<T>(keeps: bool, kept: T, broken: T) -> T {
    if keeps { kept } else { broken }
}

/// A convolution with weights of 1.
fn conv(m: &mut Model, x: &str, weights: [i64; 4], attributes: &[AttributeProto]) -> String {
    let count = weights.iter().product::<i64>() as usize;
    let weights = m.weights(&weights, &vec![1.0; count]);
    m.node("Conv", &[x, &weights], attributes)
}

/// Sums of the two channels of a map that the input is.
fn sums(m: &mut Model) -> String {
    let x = m.input();
    conv(m, &x, [2, 2, 1, 1], &[])
}

/// A quantizer and a layer behind a value of two channels.
fn behind(m: &mut Model, x: &str) -> String {
    let codes = m.quant(x, 1.0, 8, true);
    conv(m, &codes, [1, 2, 1, 1], &[])
}

/// The sums of a dense layer with one input and one output, of a weight.
fn dense(m: &mut Model, x: &str, weight: f32) -> String {
    let weights = m.weights(&[1, 1], &[weight]);
    m.node("MatMul", &[x, &weights], &[])
}

/// The sums of a dense layer with two inputs and one output, of the weights 1 and another.
fn weighted(m: &mut Model, x: &str, weight: f32) -> String {
    let weights = m.weights(&[2, 1], &[1.0, weight]);
    m.node("MatMul", &[x, &weights], &[])
}

const MAP: &[i64] = &[1, 2, 4, 4];
const ONE: &[i64] = &[1, 1];

/// The rows with a model's input shape.
fn rows() -> Vec<(&'static Rule, &'static [i64], Build)> {
    vec![
        (&limits::OPSET, ONE, |m, keeps| {
            m.opset = pick(keeps, 18, 8);
            let x = m.input();
            m.last(&x, 1)
        }),
        (&limits::OPERATOR, MAP, |m, keeps| {
            let x = sums(m);
            m.node(pick(keeps, "Relu", "Gru"), &[&x], &[])
        }),
        (&limits::ATTRIBUTE, MAP, |m, keeps| {
            let x = sums(m);
            m.node(pick(keeps, "LeakyRelu", "Relu"), &[&x], &[float("alpha", 0.5)])
        }),
        (&limits::FIRST_OUTPUT, MAP, |m, keeps| {
            let x = sums(m);
            let first = m.node("Relu", &[&x], &[]);
            m.graph.node.last_mut().unwrap().output.push("second".to_owned());
            m.node("Neg", &[pick(keeps, &first, "second")], &[])
        }),
        (&limits::BATCH, &[1, 4, 2, 2], |m, keeps| {
            let (x, shape) = (m.input(), m.shape(&pick(keeps, [1, 4, 2, 2], [2, 2, 2, 2])));
            let x = m.node("Reshape", &[&x, &shape], &[]);
            conv(m, &x, [1, pick(keeps, 4, 2), 1, 1], &[])
        }),
        (&limits::LAYER_INPUT, ONE, |m, keeps| {
            let x = m.input();
            let sum = dense(m, &x, 1.0);
            let half = m.scalar(0.5);
            let moved = m.node("Add", &[&sum, &half], &[]);
            let codes = m.quant(&moved, 1.0, 8, true);
            m.last(pick(keeps, &codes, &moved), 1)
        }),
        (&limits::COMPOSED_WEIGHTS, ONE, |m, keeps| {
            let x = m.input();
            let sum = dense(m, &x, pick(keeps, -7.0, -128.0));
            dense(m, &sum, -128.0)
        }),
        (&limits::COMPOSED_PADDING, MAP, |m, keeps| {
            let x = m.input();
            let weights = m.weights(&[1, 2, 3, 3], &[127.0; 18]);
            let sum = m.node("Conv", &[&x, &weights], &[]);
            conv(
                m,
                &sum,
                [1, 1, 2, 2],
                &pick(keeps, vec![ints("pads", &[0; 4])], vec![ints("pads", &[1; 4])]),
            )
        }),
        (&limits::SUM_SCALES, ONE, |m, keeps| {
            let x = m.input();
            let sum = dense(m, &x, 1.0);
            let map = m.quant(&sum, pick(keeps, 1.0, 0.987), 8, true);
            let wide = dense(m, &x, 127.0);
            let both = m.node("Add", &[&wide, &map], &[]);
            let codes = m.quant(&both, 1.0, 8, true);
            m.last(&codes, 1)
        }),
        (&limits::TERMS, ONE, |m, keeps| {
            let x = m.input();
            // As many maps, for each is quantized by itself.
            let map = |m: &mut Model, scale: usize| {
                let sum = dense(m, &x, 1.0);
                m.quant(&sum, scale as f32, 8, true)
            };
            let mut sum = map(m, 1);
            for _ in 1..pick(keeps, 3, 257) {
                let other = map(m, 1);
                sum = m.node("Add", &[&sum, &other], &[]);
            }
            m.last(&sum, 1)
        }),
        (&limits::SUM_FORMS, &[1, 2], |m, keeps| {
            let x = m.input();
            let mut sum = weighted(m, &x, 1.0);
            for i in 2..35 {
                let mut other = weighted(m, &x, i as f32);
                if !keeps {
                    let scale = m.scalar((i as f32).ln());
                    other = m.node("Mul", &[&other, &scale], &[]);
                }
                sum = m.node("Add", &[&sum, &other], &[]);
            }
            let codes = m.quant(&sum, 64.0, 8, true);
            m.last(&codes, 1)
        }),
        (&limits::SUM_AFFINE, &[1, 2], |m, keeps| {
            let x = m.input();
            let (a, b, third) = (weighted(m, &x, 1.0), weighted(m, &x, 2.0), m.scalar(1.0 / 3.0));
            let a = m.node(pick(keeps, "Neg", "Sigmoid"), &[&a], &[]);
            let b = m.node("Mul", &[&b, &third], &[]);
            let sum = m.node("Add", &[&a, &b], &[]);
            let codes = m.quant(&sum, 1.0, 4, true);
            m.last(&codes, 1)
        }),
        (&limits::SUM_PAIRS, &[1, 2], |m, keeps| {
            let x = m.input();
            let mut sum = weighted(m, &x, 127.0);
            for (weight, scale) in [(126.0, 0.337), (125.0, 0.712_3)] {
                let mut other = weighted(m, &x, weight);
                if !keeps {
                    let scale = m.scalar(scale);
                    other = m.node("Mul", &[&other, &scale], &[]);
                }
                sum = m.node("Add", &[&sum, &other], &[]);
            }
            let codes = m.quant(&sum, 256.0, 8, true);
            m.last(&codes, 1)
        }),
        (&limits::SUM_PARTS, MAP, |m, keeps| {
            let x = m.input();
            let a = conv(m, &x, [1, 2, 1, 1], &[]);
            let a = m.node("Sigmoid", &[&a], &[]);
            let (b, other) = (conv(m, &x, [1, 2, 1, 1], &[]), conv(m, &x, [2, 2, 1, 1], &[]));
            let mut joined = m.node("Concat", &[&a, &b], &[int("axis", 1)]);
            if keeps {
                joined = m.quant(&joined, 1.0, 8, true);
            }
            let sum = m.node("Add", &[&joined, &other], &[]);
            behind(m, &sum)
        }),
        (&limits::HOST_WORK, &[1, 1, 256, 256], |m, keeps| {
            let x = m.input();
            let mut x = conv(m, &x, [1, 1, 1, 1], &[]);
            // Each reads and makes 2^16 values, and 1024 of these 2^27.
            for _ in 0..pick(keeps, 10, 1030) {
                x = m.node("Softmax", &[&x], &[]);
            }
            x
        }),
        (&limits::PRODUCT, MAP, |m, keeps| {
            let x = m.input();
            let weights = m.weights(&[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
            let (a, b) = (conv(m, &x, [2, 2, 1, 1], &[]), m.node("Conv", &[&x, &weights], &[]));
            let (a, b) = match keeps {
                true => (m.quant(&a, 32.0, 4, true), m.quant(&b, 32.0, 4, true)),
                false => (a, b),
            };
            let product = m.node("Mul", &[&a, &b], &[]);
            behind(m, &product)
        }),
        (&limits::ACCUMULATOR, &[1, 2, 256, 256], |m, keeps| {
            // 131,072 products of 128 x 128 are 2^31.
            let x = m.input();
            let x = m.node("Flatten", &[&x], &[]);
            let weights = m.weights(&[131_072, 1], &vec![pick(keeps, -127.0, -128.0); 131_072]);
            m.node("MatMul", &[&x, &weights], &[])
        }),
        (&limits::TRUNC_RANGE, ONE, |m, keeps| {
            let x = m.input();
            let sum = dense(m, &x, 1.0);
            let parameters = [1.0, 0.0, pick(keeps, 8.0, 6.0), pick(keeps, 4.0, 2.0)];
            let [scale, zero, before, after] = &parameters.map(|x| m.scalar(x));
            let x = m.node("Trunc", &[&sum, scale, zero, before, after], &[]);
            m.last(&x, 1)
        }),
        (&limits::UPSAMPLE_READS, &[1, 1, 1, 1], |m, keeps| {
            let (x, size) = (m.input(), pick(keeps, 100, 1500));
            let weights = m.weights(&[1, 1, 1, size], &vec![1.0; size as usize]);
            m.node("ConvTranspose", &[&x, &weights], &[ints("strides", &[1, size])])
        }),
        (&limits::MONOTONE, &[1, 16], |m, keeps| {
            let x = m.input();
            let weights = m.weights(&[16, 1], &[127.0; 16]);
            let (sum, scale, three) =
                (m.node("MatMul", &[&x, &weights], &[]), m.scalar(1e-5), m.scalar(3.0));
            let x = m.node("Mul", &[&sum, &scale], &[]);
            let cube = m.node("Pow", &[&x, &three], &[]);
            // x - x^3 falls, rises and falls.
            let x = m.node(pick(keeps, "Add", "Sub"), &[&x, &cube], &[]);
            let codes = m.quant(&x, 0.01, 8, true);
            m.last(&codes, 1)
        }),
        (&limits::MEAN_SPATIAL, MAP, |m, keeps| {
            let (mut x, mut axes) = (m.input(), m.shape(&[2, 3]));
            if !keeps {
                let shape = m.shape(&[1, 2, 2, 8]);
                x = m.node("Reshape", &[&x, &shape], &[]);
                axes = m.shape(&[3]);
            }
            let x = m.node("ReduceMean", &[&x, &axes], &[int("keepdims", 0)]);
            let x = m.node("Flatten", &[&x], &[]);
            m.last(&x, pick(keeps, 2, 4))
        }),
        (&limits::RELABEL, MAP, |m, keeps| {
            let (x, shape) = (m.input(), m.shape(&pick(keeps, [1, 2, 4, 4], [1, 4, 2, 4])));
            let x = m.node("Reshape", &[&x, &shape], &[]);
            conv(m, &x, [1, pick(keeps, 2, 4), 1, 1], &[])
        }),
        (&limits::OUTPUT_SUM, ONE, |m, keeps| {
            let x = m.input();
            let sum = m.last(&x, 1);
            let share = m.node("Sigmoid", &[&sum], &[]);
            let codes = m.quant(&share, 0.125, 4, false);
            let last = m.last(&codes, 1);
            format!("{last} {}", pick(keeps, &sum, &share))
        }),
        (&limits::INTEGERS, &[1, 8193], |m, keeps| {
            // One layer of both would have 8193 x 8193 weights, which are more than 2^26.
            let x = m.input();
            let first = m.weights(&[8193, 1], &[1.0; 8193]);
            let sum = m.node("MatMul", &[&x, &first], &[]);
            let outputs = pick(keeps, 3, 8193);
            let second = m.weights(&[1, outputs], &vec![1.0; outputs as usize]);
            m.node("MatMul", &[&sum, &second], &[])
        }),
        (&limits::FIRST_QUANT, ONE, |m, keeps| {
            let (a, b) = (m.quant("x", 1.0, 8, true), m.quant("x", pick(keeps, 1.0, 0.5), 8, true));
            let (a, b) = (m.last(&a, 1), m.last(&b, 1));
            m.node("Add", &[&a, &b], &[])
        }),
        (&limits::PER_CHANNEL, MAP, |m, keeps| {
            let x = sums(m);
            let bias =
                pick(keeps, m.constant(&[2, 1, 1], &[1.0, 2.0]), m.constant(&[4, 4], &[1.0; 16]));
            let x = m.node("Add", &[&x, &bias], &[]);
            behind(m, &x)
        }),
        (&limits::HOST, ONE, |m, keeps| {
            let x = m.input();
            let x = m.last(&x, 1);
            let x = m.node("Softmax", &[&x], &[]);
            if keeps { x } else { m.last(&x, 1) }
        }),
        (&limits::TOP_K, &[1, 4], |m, keeps| {
            let x = m.input();
            let weights = m.weights(&[4, 4], &[1.0; 16]);
            let x = m.node("MatMul", &[&x, &weights], &[]);
            let count = m.shape(&[pick(keeps, 4, 5)]);
            m.node("TopK", &[&x, &count], &[])
        }),
        (&limits::FINITE, ONE, |m, keeps| {
            let x = m.input();
            let mut x = dense(m, &x, 1.0);
            for _ in 0..pick(keeps, 7, 9) {
                let huge = m.scalar(3e38);
                x = m.node("Mul", &[&x, &huge], &[]);
            }
            let codes = m.quant(&x, 1.0, 8, true);
            m.last(&codes, 1)
        }),
        (&limits::PRODUCTS, &[1, 1, 1024, 1024], |m, keeps| {
            let x = m.input();
            let outputs = pick(keeps, 1, 8192);
            conv(m, &x, [outputs, 1, 4, 4], &[])
        }),
        (&limits::CONSTANTS, ONE, |m, keeps| {
            let size = pick(keeps, 2, 1024);
            let a = m.constant(&[1, size], &vec![0.5; size as usize]);
            let constant =
                m.node("Einsum", &[&a, &a, &a, &a], &[string("equation", "ab,cd,ef,gh->ac")]);
            let x = m.input();
            let x = m.last(&x, 1);
            m.node("Add", &[&x, &constant], &[])
        }),
        (&limits::CONSTANT_FORM, ONE, |m, keeps| {
            let (name, kind) = pick(
                keeps,
                ("value_float", attribute_type::FLOAT),
                ("value_string", attribute_type::STRING),
            );
            let attribute =
                AttributeProto { name: name.to_owned(), r#type: kind, ..AttributeProto::default() };
            let constant = m.node("Constant", &[], &[attribute]);
            let x = m.input();
            let x = m.last(&x, 1);
            m.node("Add", &[&x, &constant], &[])
        }),
        (&limits::CONSTANT_FINITE, ONE, |m, keeps| {
            let x = m.input();
            let (x, constant) = (m.last(&x, 1), m.scalar(pick(keeps, 1.0, f32::NAN)));
            m.node("Add", &[&x, &constant], &[])
        }),
        (&limits::ATTRIBUTE_GIVEN, ONE, |m, keeps| {
            let [scale, zero, bits] = [1.0, 0.0, 8.0].map(|x| m.scalar(x));
            let both = [int("narrow", 0), int("signed", 1)];
            let x = m.node("Quant", &["x", &scale, &zero, &bits], &both[..pick(keeps, 2, 1)]);
            m.last(&x, 1)
        }),
        (&limits::QUANT_CONSTANTS, ONE, |m, keeps| {
            let x = m.input();
            let (sum, one) = (dense(m, &x, 1.0), m.scalar(1.0));
            let [zero, bits] = [0.0, 8.0].map(|x| m.scalar(x));
            let parameters = [&sum, pick(keeps, &one, &sum), &zero, &bits].map(String::as_str);
            m.node("Quant", &parameters, &[int("narrow", 0), int("signed", 1)])
        }),
        (&limits::QUANT_SCALE, ONE, |m, keeps| {
            let x = m.quant("x", pick(keeps, 1.0, 0.0), 8, true);
            m.last(&x, 1)
        }),
        (&limits::QUANT_PER_TENSOR, MAP, |m, keeps| {
            let x = sums(m);
            let (scale, bits) = (m.scalar(1.0), m.scalar(8.0));
            let zero = pick(keeps, m.scalar(3.0), m.constant(&[2, 1, 1], &[3.0, 4.0]));
            let x =
                m.node("Quant", &[&x, &scale, &zero, &bits], &[int("narrow", 0), int("signed", 0)]);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::QUANT_ZERO_POINT, ONE, |m, keeps| {
            let parameters = [1.0, pick(keeps, 2.0, 2.5), 8.0].map(|x| m.scalar(x));
            let [scale, zero, bits] = &parameters;
            let x =
                m.node("Quant", &["x", scale, zero, bits], &[int("narrow", 0), int("signed", 0)]);
            m.last(&x, 1)
        }),
        (&limits::QUANT_BITS, ONE, |m, keeps| {
            let x = m.quant("x", 1.0, pick(keeps, 8, 9), true);
            m.last(&x, 1)
        }),
        (&limits::QUANT_ROUNDING, ONE, |m, keeps| {
            let x = m.quant_with("x", 1.0, 8, true, pick(keeps, "HALF_UP", "NEAREST"));
            m.last(&x, 1)
        }),
        (&limits::BIPOLAR_SIGN, ONE, |m, keeps| {
            let x = m.input();
            let x = m.last(&x, 1);
            let x = m.node(pick(keeps, "Neg", "Relu"), &[&x], &[]);
            let x = m.bipolar(&x, 1.0);
            m.last(&x, 1)
        }),
        (&limits::TRUNC_SHIFT, ONE, |m, keeps| {
            let x = m.input();
            let parameters =
                [1.0, 0.0, pick(keeps, 8.0, 4.0), pick(keeps, 4.0, 8.0)].map(|x| m.scalar(x));
            let [scale, zero, before, after] = &parameters;
            let x = m.node("Trunc", &[&x, scale, zero, before, after], &[]);
            m.last(&x, 1)
        }),
        (&limits::THRESHOLD_SHAPE, ONE, |m, keeps| {
            let x = m.input();
            let (x, dims) = (m.last(&x, 1), pick(keeps, vec![1, 2], vec![2]));
            let thresholds = m.constant(&dims, &[1.0, 2.0]);
            let x = m.node("MultiThreshold", &[&x, &thresholds], &[]);
            m.last(&x, 1)
        }),
        (&limits::THRESHOLD_SCALE, ONE, |m, keeps| {
            let x = m.input();
            let (x, thresholds) = (m.last(&x, 1), m.constant(&[1, 2], &[1.0, 2.0]));
            let bias = float("out_bias", pick(keeps, -1.5, -1.3));
            let x = m.node("MultiThreshold", &[&x, &thresholds], &[bias]);
            m.last(&x, 1)
        }),
        (&limits::THRESHOLD_LAYOUT, ONE, |m, keeps| {
            let x = m.input();
            let (x, thresholds) = (m.last(&x, 1), m.constant(&[1, 2], &[1.0, 2.0]));
            let layout = string("data_layout", pick(keeps, "NCHW", "NHWC"));
            let x = m.node("MultiThreshold", &[&x, &thresholds], &[layout]);
            m.last(&x, 1)
        }),
        (&limits::LINEAR_AXIS, MAP, |m, keeps| {
            let scale = pick(keeps, m.scalar(0.5), m.constant(&[3], &[0.5; 3]));
            let zero = m.integers(data_type::INT8, &[], &[0]);
            let x = m.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            let x = m.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::LINEAR_TYPE, ONE, |m, keeps| {
            let (scale, kind) = (m.scalar(0.5), pick(keeps, data_type::INT8, data_type::INT64));
            let zero = m.integers(data_type::INT8, &[], &[0]);
            let zero = m.node("Cast", &[&zero], &[int("to", kind.into())]);
            let x = m.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            let x = m.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
            m.last(&x, 1)
        }),
        (&limits::LINEAR_BLOCKS, ONE, |m, keeps| {
            let (scale, zero) = (m.scalar(0.5), m.integers(data_type::INT8, &[], &[0]));
            let blocks = [int("block_size", pick(keeps, 0, 2))];
            let x = m.node("QuantizeLinear", &["x", &scale, &zero], &blocks);
            let x = m.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
            m.last(&x, 1)
        }),
        (&limits::LINEAR_INTEGERS, ONE, |m, keeps| {
            let (x, scale, half) = (m.input(), m.scalar(0.5), m.scalar(0.5));
            let zero = m.integers(data_type::INT8, &[], &[0]);
            let sum = m.last(&x, 1);
            let real = m.node("Add", &[&sum, &half], &[]);
            let codes = m.node("QuantizeLinear", &[&real, &scale, &zero], &[]);
            let operands = [pick(keeps, &codes, &real), &scale, &zero].map(String::as_str);
            let x = m.node("DequantizeLinear", &operands, &[]);
            m.last(&x, 1)
        }),
        (&limits::CONV_2D, MAP, |m, keeps| {
            let x = m.input();
            conv(m, &x, [1, 2, 1, 1], &[ints("kernel_shape", pick(keeps, &[1, 1], &[1, 1, 1]))])
        }),
        (&limits::CONV_GROUP, MAP, |m, keeps| {
            let x = m.input();
            conv(m, &x, [2, 1, 1, 1], &[int("group", pick(keeps, 2, 0))])
        }),
        (&limits::CONV_AUTO_PAD, MAP, |m, keeps| {
            let x = m.input();
            conv(m, &x, [1, 2, 1, 1], &[string("auto_pad", pick(keeps, "SAME_UPPER", "SAME"))])
        }),
        (&limits::CONV_SIZES, MAP, |m, keeps| {
            let x = m.input();
            conv(m, &x, [1, 2, pick(keeps, 4, 5), 1], &[])
        }),
        (&limits::CONV_SHAPES, MAP, |m, keeps| {
            let x = m.input();
            conv(m, &x, [1, pick(keeps, 2, 3), 1, 1], &[])
        }),
        (&limits::WEIGHTS, MAP, |m, keeps| {
            let x = m.input();
            // No two of these are small multiples of one number.
            let weights = m.constant(&[1, 2, 1, 1], &pick(keeps, [1.0, 0.5], [1.0, 2f32.sqrt()]));
            m.node("Conv", &[&x, &weights], &[])
        }),
        (&limits::WEIGHT_SCALE, MAP, |m, keeps| {
            let x = m.input();
            let (weights, dims) =
                (m.constant(&[2, 2, 1, 1], &[1.0; 4]), pick(keeps, [2, 1, 1, 1], [1, 2, 1, 1]));
            let (scale, zero, bits) =
                (m.constant(&dims, &[1.0, 0.3]), m.scalar(0.0), m.scalar(8.0));
            let attributes = [int("narrow", 0), int("signed", 1)];
            let weights = m.node("Quant", &[&weights, &scale, &zero, &bits], &attributes);
            m.node("Conv", &[&x, &weights], &[])
        }),
        (&limits::WEIGHT_BITS, ONE, |m, keeps| {
            let x = m.input();
            let weights = m.constant(&[1, 1], &[pick(keeps, 1016.0, 1017.0)]);
            let weights = m.quant(&weights, 1.0, 16, true);
            m.node("MatMul", &[&x, &weights], &[])
        }),
        (&limits::UPSAMPLE_SIZE, MAP, |m, keeps| {
            let x = m.input();
            let weights = m.weights(&[2, 1, 3, 3], &[1.0; 18]);
            // (4 - 1) x 2 + 3 are 9.
            let attributes =
                [ints("strides", &[2, 2]), ints("pads", &pick(keeps, [0, 0, 1, 1], [0; 4]))];
            m.node("ConvTranspose", &[&x, &weights], &attributes)
        }),
        (&limits::UPSAMPLE_POOL, MAP, |m, keeps| {
            let (x, factor) = (m.input(), pick(keeps, 1.0, 2.0));
            let scales = m.constant(&[4], &[1.0, 1.0, factor, factor]);
            let x = m.node("Resize", &[&x, "", &scales], &[]);
            let x = m.node("MaxPool", &[&x], &[ints("kernel_shape", &[2, 2])]);
            behind(m, &x)
        }),
        (&limits::UPSAMPLE_MIXED, MAP, |m, keeps| {
            let x = m.input();
            let half = conv(m, &x, [2, 2, 1, 1], &[ints("strides", &[2, 2])]);
            let (half, scales) =
                (m.quant(&half, 1.0, 4, true), m.constant(&[4], &[1.0, 1.0, 2.0, 2.0]));
            let half = m.node("Resize", &[&half, "", &scales], &[]);
            let (sum, offset) = (conv(m, &x, [2, 2, 1, 1], &[]), m.scalar(0.3));
            let mut sum = m.node("Add", &[&sum, &offset], &[]);
            if keeps {
                sum = m.quant(&sum, 1.0, 4, true);
            }
            let both = m.node("Add", &[&sum, &half], &[]);
            behind(m, &both)
        }),
        (&limits::RESIZE_NEAREST, MAP, |m, keeps| {
            let (x, scales) = (m.input(), m.constant(&[4], &[1.0, 1.0, 2.0, 2.0]));
            let x = m.node(
                "Resize",
                &[&x, "", &scales],
                &[string("mode", pick(keeps, "nearest", "cubic"))],
            );
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::BLOCKS, MAP, |m, keeps| {
            let x = m.input();
            let x = m.node("SpaceToDepth", &[&x], &[int("blocksize", pick(keeps, 2, 3))]);
            conv(m, &x, [1, 8, 1, 1], &[])
        }),
        (&limits::DENSE_SHAPES, &[1, 4], |m, keeps| {
            let x = m.input();
            m.last(&x, pick(keeps, 4, 3))
        }),
        (&limits::GEMM_BIAS, ONE, |m, keeps| {
            let x = m.input();
            let (weights, bias) = (
                m.weights(&[1, 2], &[1.0; 2]),
                m.constant(&[pick(keeps, 2, 3)], &[1.0; 3][..pick(keeps, 2, 3)]),
            );
            m.node("Gemm", &[&x, &weights, &bias], &[])
        }),
        (&limits::NORM_INFERENCE, MAP, |m, keeps| {
            let x = sums(m);
            let c = m.constant(&[2], &[1.0; 2]);
            m.node(
                "BatchNormalization",
                &[&x, &c, &c, &c, &c],
                &[int("training_mode", pick(keeps, 0, 1))],
            )
        }),
        (&limits::NORM_PARAMETERS, MAP, |m, keeps| {
            let x = sums(m);
            let (c, variance) =
                (m.constant(&[2], &[1.0; 2]), m.constant(&[2], &[1.0, pick(keeps, 2.0, -2.0)]));
            m.node("BatchNormalization", &[&x, &c, &c, &c, &variance], &[])
        }),
        (&limits::POOL_2D, MAP, |m, keeps| {
            let x = m.input();
            let x =
                m.node("MaxPool", &[&x], &[ints("kernel_shape", pick(keeps, &[2, 2], &[2, 2, 2]))]);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::POOL_DILATION, MAP, |m, keeps| {
            let x = m.input();
            let attributes =
                [ints("kernel_shape", &[2, 2]), ints("dilations", &[pick(keeps, 1, 2), 1])];
            let x = m.node("MaxPool", &[&x], &attributes);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::POOL_SIZES, MAP, |m, keeps| {
            let x = m.input();
            let x = m.node("MaxPool", &[&x], &[ints("kernel_shape", &[pick(keeps, 4, 5), 2])]);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::POOL_PLACE, MAP, |m, keeps| {
            let x = sums(m);
            let (pooled, power) = (
                m.node("MaxPool", &[&x], &[ints("kernel_shape", &[2, 2])]),
                m.scalar(pick(keeps, 3.0, 2.0)),
            );
            let x = m.node("Pow", &[&pooled, &power], &[]);
            let x = m.quant(&x, 1.0, 4, true);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::CLIP_ENDS, MAP, |m, keeps| {
            let x = sums(m);
            let least = pick(keeps, m.scalar(0.0), m.constant(&[2, 1, 1], &[0.0, 1.0]));
            let x = m.node("Clip", &[&x, &least], &[]);
            behind(m, &x)
        }),
        (&limits::PRELU_SLOPE, MAP, |m, keeps| {
            let x = sums(m);
            let count = pick(keeps, 2, 3);
            let slope = m.constant(&[count, 1, 1], &vec![0.5; count as usize]);
            let x = m.node("PRelu", &[&x, &slope], &[]);
            behind(m, &x)
        }),
        (&limits::POW_EXPONENT, MAP, |m, keeps| {
            let x = sums(m);
            let power = m.scalar(pick(keeps, 3.0, 5.0));
            let x = m.node("Pow", &[&x, &power], &[]);
            behind(m, &x)
        }),
        (&limits::FUNCTION_PARAMETER, MAP, |m, keeps| {
            let x = sums(m);
            let x = m.node("Celu", &[&x], &[float("alpha", pick(keeps, 1.0, -1.0))]);
            behind(m, &x)
        }),
        (&limits::POOL_DIVISOR, &[1, 1, 1, 40], |m, keeps| {
            let x = m.input();
            // With so much padding the means are those of 1 to 40 values.
            let padding = pick(keeps, 0, 39);
            let attributes =
                [ints("kernel_shape", &[1, 40]), ints("pads", &[0, padding, 0, padding])];
            let x = m.node("AveragePool", &[&x], &attributes);
            conv(m, &x, [1, 1, 1, 1], &[])
        }),
        (&limits::CONCAT_SHAPES, MAP, |m, keeps| {
            let x = m.input();
            let other = conv(m, &x, [2, 2, pick(keeps, 1, 2), 1], &[]);
            let other = m.quant(&other, 1.0, 8, true);
            let x = m.node("Concat", &[&x, &other], &[int("axis", 1)]);
            conv(m, &x, [1, 4, 1, 1], &[])
        }),
        (&limits::CONCAT_CHANNELS, MAP, |m, keeps| {
            let x = m.input();
            let x = m.node("Concat", &[&x, &x], &[int("axis", pick(keeps, 1, 2))]);
            let x = m.quant(&x, 1.0, 8, true);
            conv(m, &x, [1, pick(keeps, 4, 2), 1, 1], &[])
        }),
        (&limits::SLICE, MAP, |m, keeps| {
            let x = m.input();
            let bounds = [m.shape(&[0]), m.shape(&[pick(keeps, 2, 0)]), m.shape(&[2])];
            let [start, end, axis] = &bounds;
            let x = m.node("Slice", &[&x, start, end, axis], &[]);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::SPLIT, MAP, |m, keeps| {
            let (x, sizes) = (m.input(), m.shape(&pick(keeps, [1, 1], [1, 2])));
            let part = m.node("Split", &[&x, &sizes], &[int("axis", 1)]);
            m.graph.node.last_mut().unwrap().output.push("second".to_owned());
            conv(m, &part, [1, 1, 1, 1], &[])
        }),
        (&limits::PAD, MAP, |m, keeps| {
            let x = m.input();
            let pads = m.shape(&[0, pick(keeps, 0, 1), 1, 1, 0, 0, 1, 1]);
            let x = m.node("Pad", &[&x, &pads], &[]);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::PAD_ZERO, MAP, |m, keeps| {
            let (x, pads) = (m.input(), m.shape(&[0, 0, 1, 1, 0, 0, 1, 1]));
            let x =
                m.node("Pad", &[&x, &pads], &[string("mode", pick(keeps, "constant", "reflect"))]);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::UNIT, &[1, 2, 1, 1], |m, keeps| {
            let (x, axes) = (m.input(), m.shape(&[pick(keeps, 2, 1)]));
            let x = m.node("Squeeze", &[&x, &axes], &[]);
            let x = m.node("Flatten", &[&x], &[]);
            m.last(&x, 2)
        }),
        (&limits::AXIS, &[1, 2, 1, 1], |m, keeps| {
            let (x, axes) = (m.input(), m.shape(&[2, pick(keeps, 3, 2)]));
            let x = m.node("Squeeze", &[&x, &axes], &[]);
            m.last(&x, 2)
        }),
        (&limits::INTEGER_INPUT, &[1, 2, 1, 1], |m, keeps| {
            let (x, axes) = (m.input(), m.shape(&[2, 3]));
            let sum = conv(m, &x, [2, 2, 1, 1], &[]);
            let x = m.node("Squeeze", &[&x, pick(keeps, &axes, &sum)], &[]);
            m.last(&x, 2)
        }),
        (&limits::ONE_CONSTANT, ONE, |m, keeps| {
            let x = m.input();
            let (a, b) = (dense(m, &x, 1.0), dense(m, &x, 2.0));
            let x = m.node(pick(keeps, "Add", "Div"), &[&a, &b], &[]);
            let x = m.quant(&x, 1.0, 8, true);
            m.last(&x, 1)
        }),
        (&limits::SUM_SHAPES, MAP, |m, keeps| {
            let x = m.input();
            let (a, b) =
                (conv(m, &x, [2, 2, 1, 1], &[]), conv(m, &x, [2, 2, pick(keeps, 1, 2), 1], &[]));
            m.node("Add", &[&a, &b], &[])
        }),
        (&limits::DIV_ZERO, MAP, |m, keeps| {
            let (x, divisor) = (sums(m), m.scalar(pick(keeps, 2.0, 0.0)));
            m.node("Div", &[&x, &divisor], &[])
        }),
        (&limits::RESHAPE_SHAPE, MAP, |m, keeps| {
            let (x, shape) = (m.input(), m.shape(&[1, pick(keeps, 32, 33)]));
            let x = m.node("Reshape", &[&x, &shape], &[]);
            m.last(&x, 32)
        }),
        (&limits::TRANSPOSE_CONSTANT, MAP, |m, keeps| {
            let x = m.input();
            let weights = m.weights(&[2, 1, 1, 1], &[1.0; 2]);
            let perm = ints("perm", &[1, 0, 2, pick(keeps, 3, 2)]);
            let weights = m.node("Transpose", &[&weights], &[perm]);
            m.node("Conv", &[&x, &weights], &[])
        }),
        (&limits::FOLD_CONSTANT, MAP, |m, keeps| {
            let x = sums(m);
            let constant = m.constant(&[1], &[1.0]);
            let places = m.node("NonZero", &[pick(keeps, &constant, &x)], &[]);
            let places = m.node("Cast", &[&places], &[int("to", data_type::FLOAT.into())]);
            m.node("Add", &[&x, &places], &[])
        }),
        (&limits::FOLD_OPERATOR, MAP, |m, keeps| {
            let (x, constant) = (sums(m), m.scalar(1.0));
            let other = m.node(pick(keeps, "Sin", "RandomNormalLike"), &[&constant], &[]);
            m.node("Add", &[&x, &other], &[])
        }),
        (&limits::FOLD_ARGUMENTS, MAP, |m, keeps| {
            let (x, list, index) =
                (sums(m), m.constant(&[2], &[1.0; 2]), m.shape(&[pick(keeps, 1, 2)]));
            let one = m.node("Gather", &[&list, &index], &[]);
            m.node("Add", &[&x, &one], &[])
        }),
        (&limits::CAST, MAP, |m, keeps| {
            let x = sums(m);
            let to = pick(keeps, data_type::FLOAT, data_type::INT32);
            m.node("Cast", &[&x], &[int("to", to.into())])
        }),
        (&limits::THRESHOLD_ALPHA, MAP, |m, keeps| {
            let x = sums(m);
            let x = m.node("ThresholdedRelu", &[&x], &[float("alpha", pick(keeps, 1.0, -1.0))]);
            behind(m, &x)
        }),
        (&limits::REQUANT, MAP, |m, keeps| {
            let x = sums(m);
            let (mul, add) = (m.scalar(pick(keeps, 2.0, 2.5)), m.scalar(3.0));
            let numbers = [("div", 4.0), ("n_levels_out", 16.0), ("signed", 1.0)]
                .map(|(name, x)| number(name, x));
            let x = m.node("RequantShift", &[&x, &mul, &add], &numbers);
            conv(m, &x, [1, 2, 1, 1], &[])
        }),
        (&limits::QOPERATOR, &[1, 2], |m, keeps| {
            let (scale, zero) = (m.scalar(1.0), m.integers(data_type::INT8, &[], &[0]));
            let x = m.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            let attributes = [int("channels_last", pick(keeps, 0, 1))];
            let operands = [&x, &scale, &zero, &scale, &zero].map(String::as_str);
            let x = m.node("QLinearSigmoid", &operands, &attributes);
            m.graph.node.last_mut().unwrap().domain = "com.microsoft".to_owned();
            let x = m.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
            m.last(&x, 2)
        }),
    ]
}

/// The rows of which the message of a model tells more than its graph.
fn damages() -> Vec<(&'static Rule, Damage)> {
    fn constant(model: &mut ModelProto) -> &mut TensorProto {
        &mut model.graph.as_mut().unwrap().initializer[0]
    }
    fn dimension(model: &mut ModelProto, axis: usize) -> &mut i64 {
        let tensor = model.graph.as_mut().unwrap().input[0].r#type.as_mut().unwrap();
        &mut tensor.tensor_type.as_mut().unwrap().shape.as_mut().unwrap().dim[axis].dim_value
    }
    vec![
        (&limits::SINGLE_INPUT, |m| {
            let graph = m.graph.as_mut().unwrap();
            let mut other = graph.input[0].clone();
            other.name = "other".to_owned();
            graph.input.push(other);
        }),
        (&limits::OUTPUTS, |m| m.graph.as_mut().unwrap().output.clear()),
        (&limits::INPUT_SHAPE, |m| *dimension(m, 0) = -2),
        (&limits::MAP_SIZE, |m| *dimension(m, 1) = 0),
        (&limits::NODES, |m| {
            let nodes = &mut m.graph.as_mut().unwrap().node;
            nodes.resize(65_537, NodeProto::default());
        }),
        (&limits::CONSTANT_INSIDE, |m| constant(m).data_location = 1),
        (&limits::CONSTANT_TYPE, |m| constant(m).data_type = 8),
        (&limits::CONSTANT_SIZE, |m| constant(m).dims = vec![1 << 40, 1 << 40]),
    ]
}

/// The rows that only warn, of models that compile.
fn warnings() -> Vec<(&'static Rule, Build)> {
    vec![
        (&limits::INPUT_TYPE_FOUND, |m, keeps| {
            let (scale, zero) = (m.scalar(0.5), m.integers(data_type::INT8, &[], &[0]));
            let x = match keeps {
                true => m.node("QuantizeLinear", &["x", &scale, &zero], &[]),
                false => "x".to_owned(),
            };
            let x = m.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
            m.last(&x, 1)
        }),
        (&limits::PIXELS_CLIPPED, |m, keeps| {
            let x = m.quant("x", 1.0, 8, !keeps);
            m.last(&x, 1)
        }),
        (&limits::DROPOUT_TRAINING, |m, keeps| {
            let x = m.input();
            let (x, ratio) = (m.last(&x, 1), m.scalar(0.5));
            let training = m.integers(data_type::BOOL, &[], &[pick(keeps, 0, 1)]);
            m.node("Dropout", &[&x, &ratio, &training], &[])
        }),
        (&limits::CLIP_OPSET, |m, keeps| {
            m.opset = pick(keeps, 13, 11);
            let (scale, zero) = (m.scalar(0.5), m.integers(data_type::INT8, &[], &[0]));
            let ends = [-7, 7].map(|end| m.integers(data_type::INT8, &[], &[end]));
            let x = m.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            let x = m.node("Clip", &[&x, &ends[0], &ends[1]], &[]);
            let x = m.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
            m.last(&x, 1)
        }),
    ]
}

fn refused(bytes: &[u8]) -> Vec<Diagnostic> {
    match import(bytes, &ImportOptions::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().cloned().collect(),
    }
}

#[test]
fn a_model_that_keeps_to_a_row_compiles_and_one_that_does_not_is_refused_with_it() {
    let mut wrong = Vec::new();
    for (rule, dims, build) in rows() {
        for keeps in [true, false] {
            let mut model = Model::new(dims);
            let output = build(&mut model, keeps);
            let outputs: Vec<&str> = output.split(' ').collect();
            let errors = refused(&model.message_of(&outputs).encode_to_vec());
            let right = match keeps {
                true => errors.is_empty(),
                false => errors.iter().any(|error| error.is(rule)),
            };
            if !right {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                wrong.push(format!("{} kept: {keeps}\n{}", rule.name, errors.join("\n")));
            }
        }
    }
    for (rule, damage) in damages() {
        let mut model = Model::new(&[1, 1]);
        let x = model.input();
        let output = model.last(&x, 1);
        let mut message = model.message(&output);
        assert!(refused(&message.encode_to_vec()).is_empty());
        damage(&mut message);
        let errors = refused(&message.encode_to_vec());
        if !errors.iter().any(|error| error.is(rule)) {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            wrong.push(format!("{}\n{}", rule.name, errors.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_model_that_keeps_to_a_row_gives_no_warning_and_one_that_does_not_gives_it() {
    for (rule, build) in warnings() {
        for keeps in [true, false] {
            let mut model = Model::new(ONE);
            let output = build(&mut model, keeps);
            let import = model.import(&output).unwrap_or_else(|errors| panic!("{errors}"));
            let given = import.warnings.iter().any(|warning| warning.is(rule));
            assert_eq!(given, !keeps, "{}", rule.name);
        }
    }
}

/// Rows that need options, several outputs or much time, and where they are tested.
const ELSEWHERE: &[(&str, &str)] = &[
    ("SEARCH", "robust::the_search_is_bounded"),
    ("OUTPUT_SIZES", "the reference's verify::outputs_of_several_sizes_share_a_grid"),
    ("OPTION_UNUSED", "refusals::a_flag_that_does_nothing_is_said"),
];

#[test]
fn every_row_has_such_models() {
    let here = rows().into_iter().map(|(rule, ..)| rule.name);
    let here = here.chain(damages().into_iter().map(|(rule, _)| rule.name));
    let here: BTreeSet<&str> =
        here.chain(warnings().into_iter().map(|(rule, _)| rule.name)).collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<&str> = limits::all().map(|rule| rule.name).collect();
    let twice: Vec<_> = here.intersection(&elsewhere).collect();
    assert!(twice.is_empty(), "these rows are here: {twice:?}");
    let covered: BTreeSet<&str> = here.union(&elsewhere).copied().collect();
    let missing: Vec<_> = all.difference(&covered).collect();
    assert!(missing.is_empty(), "no model is refused by these rows: {missing:?}");
    assert!(covered.is_subset(&all));
}
