//! ONNX graphs: bytes as a list of operators, most of which fit what they read.

use arbitrary::{Arbitrary, Result, Unstructured};
use qnnsim_compiler::onnx::{AttributeProto, data_type};
use qnnsim_tests::models::{Model, Noise, float, int, ints, string};

/// Most operators between the first quantizer and the last layer.
const NODES_MAX: usize = 6;

/// Operators with one data input, by name.
const UNARY: &[&str] = &[
    "Relu",
    "Sigmoid",
    "Tanh",
    "Neg",
    "Abs",
    "Round",
    "Floor",
    "Ceil",
    "Exp",
    "Softplus",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Elu",
    "Clip",
    "Identity",
    "Flatten",
    "Sign",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Softmax",
    "Erf",
    "Reciprocal",
    "Transpose",
    "Shape",
    "Size",
    "Squeeze",
    "Cast",
    "Sqrt",
    "Log",
    "Not",
    "ReduceMean",
    "ReduceSum",
    "ArgMax",
    "DepthToSpace",
    "SpaceToDepth",
    "Mish",
    "Gelu",
    "Selu",
    "ThresholdedRelu",
];

/// Operators with two inputs.
const BINARY: &[&str] = &[
    "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "MatMul", "Concat", "Equal",
    "Greater", "Less", "Mod", "And",
];

/// Names of attributes.
const ATTRIBUTES: &[&str] = &[
    "axis",
    "alpha",
    "perm",
    "to",
    "pads",
    "mode",
    "keepdims",
    "blocksize",
    "group",
    "auto_pad",
    "ceil_mode",
    "kernel_shape",
    "approximate",
    "axes",
];

/// A value and how many channels it has, if nothing unusual was done to it.
type Value = (String, i64);

/// The bytes of a model file; `None` if these bytes say none.
pub fn bytes(bytes: &mut Unstructured) -> Option<Vec<u8>> {
    draw(bytes).ok()
}

fn draw(bytes: &mut Unstructured) -> Result<Vec<u8>> {
    let mut size = || bytes.int_in_range(1..=6i64);
    let (channels, height, width) = (size()?, size()?, size()?);
    let spatial = !bytes.ratio(1, 4)?;
    let mut model = match spatial {
        true => Model::new(&[1, channels, height, width]),
        false => Model::new(&[1, channels]),
    };
    if bytes.ratio(1, 4)? {
        model.opset = bytes.int_in_range(8..=26)?;
    }
    let mut noise = Noise(u32::arbitrary(bytes)?);
    let input = quantizer(&mut model, bytes, "x")?;
    let mut values = vec![(input, channels)];
    for _ in 0..bytes.int_in_range(0..=NODES_MAX)? {
        let value = node(&mut model, bytes, &mut noise, &values, spatial)?;
        values.push(value);
    }
    let (last, channels) = values.last().expect("one at least").clone();
    let output = match (bytes.ratio(1, 4)?, spatial) {
        (true, _) => last,
        (false, true) => layer(&mut model, bytes, &mut noise, &(last, channels))?.0,
        (false, false) => dense(&mut model, bytes, &mut noise, &(last, channels))?.0,
    };
    Ok(model.bytes(&output))
}

fn node(
    model: &mut Model,
    bytes: &mut Unstructured,
    noise: &mut Noise,
    values: &[Value],
    spatial: bool,
) -> Result<Value> {
    // The last in most cases, so that graphs get deep.
    let read = match bytes.ratio(1, 4)? {
        true => bytes.choose(values)?,
        false => values.last().expect("one at least"),
    };
    let (x, channels) = read;
    let name = match bytes.int_in_range(0..=9u8)? {
        0 | 1 => quantizer(model, bytes, x)?,
        2 if spatial => return layer(model, bytes, noise, read),
        2 => return dense(model, bytes, noise, read),
        3 => {
            let op = bytes.choose(&["MaxPool", "AveragePool", "LpPool"])?;
            let attributes = [window(bytes, "kernel_shape")?, window(bytes, "strides")?];
            model.node(op, &[x], &attributes)
        }
        4 => {
            let op = *bytes.choose(BINARY)?;
            let (other, more) = match bytes.ratio(1, 2)? {
                true => bytes.choose(values)?.clone(),
                false => {
                    let data: Result<Vec<f32>> = (0..*channels).map(|_| small(bytes)).collect();
                    let dims: &[i64] = if spatial { &[*channels, 1, 1] } else { &[*channels] };
                    (model.constant(dims, &data?), 0)
                }
            };
            let (attributes, channels): (Vec<AttributeProto>, i64) = match op {
                "Concat" => (vec![int("axis", 1)], channels + more),
                _ => (Vec::new(), *channels),
            };
            return Ok((model.node(op, &[x, &other], &attributes), channels));
        }
        5 => {
            let dims = [[1, -1, 1, 1], [1, *channels, -1, 1], [1, 0, -1, 1], [1, 2, -1, 2]];
            let shape = model.shape(bytes.choose(&dims)?);
            model.node("Reshape", &[x, &shape], &[])
        }
        6 => {
            let pads: Result<Vec<i64>> =
                (0..if spatial { 8 } else { 4 }).map(|_| bytes.int_in_range(-1..=2)).collect();
            let pads = model.shape(&pads?);
            model.node("Pad", &[x, &pads], &[])
        }
        7 => {
            // Whatever attribute, of whatever type.
            let op = *bytes.choose(UNARY)?;
            let name = *bytes.choose(ATTRIBUTES)?;
            let attribute = match bytes.int_in_range(0..=4u8)? {
                0 => int(name, i64::arbitrary(bytes)?),
                1 => int(name, bytes.int_in_range(-2..=4)?),
                2 => float(name, f32::arbitrary(bytes)?),
                3 => ints(name, &<[i64; 4]>::arbitrary(bytes)?),
                _ => string(name, "nearest"),
            };
            model.node(op, &[x], &[attribute])
        }
        _ => model.node(bytes.choose(UNARY)?, &[x], &[]),
    };
    Ok((name, *channels))
}

/// A number of few digits, or any.
fn small(bytes: &mut Unstructured) -> Result<f32> {
    match bytes.ratio(1, 16)? {
        true => f32::arbitrary(bytes),
        false => Ok(f32::from(i8::arbitrary(bytes)?) / 8.0),
    }
}

fn quantizer(model: &mut Model, bytes: &mut Unstructured, x: &str) -> Result<String> {
    let scale = match bytes.ratio(1, 16)? {
        true => small(bytes)?,
        false => *bytes.choose(&[1.0, 0.5, 0.1, 3.0])?,
    };
    Ok(match bytes.int_in_range(0..=3u8)? {
        0 | 1 => {
            let bits = bytes.int_in_range(1..=8u32)? + u32::from(bytes.ratio(1, 32)?);
            model.quant(x, scale, bits, bool::arbitrary(bytes)?)
        }
        2 => model.bipolar(x, scale),
        _ => {
            let scale = model.scalar(scale);
            let zero = model.integers(data_type::INT8, &[], &[i32::from(i8::arbitrary(bytes)?)]);
            let codes = model.node("QuantizeLinear", &[x, &scale, &zero], &[]);
            model.node("DequantizeLinear", &[&codes, &scale, &zero], &[])
        }
    })
}

fn layer(
    model: &mut Model,
    bytes: &mut Unstructured,
    noise: &mut Noise,
    (x, channels): &Value,
) -> Result<Value> {
    let (outputs, size) = (bytes.int_in_range(1..=5i64)?, bytes.int_in_range(1..=3i64)?);
    let (mut attributes, mut group) = (Vec::new(), 1);
    if bytes.ratio(1, 3)? {
        attributes.extend([window(bytes, "strides")?, window(bytes, "dilations")?]);
    }
    if bytes.ratio(1, 2)? {
        attributes.push(ints("pads", &[bytes.int_in_range(0..=2i64)?; 4]));
    }
    if bytes.ratio(1, 8)? {
        group = bytes.int_in_range(0..=*channels)?;
        attributes.push(int("group", group));
    }
    let transposed = bytes.ratio(1, 8)?;
    let inputs = channels / group.max(1);
    let dims = match transposed {
        true => [*channels, outputs, size, size],
        false => [outputs, inputs, size, size],
    };
    let weights = weights(model, bytes, noise, &dims)?;
    let op = if transposed { "ConvTranspose" } else { "Conv" };
    Ok((model.node(op, &[x, &weights], &attributes), outputs))
}

fn dense(
    model: &mut Model,
    bytes: &mut Unstructured,
    noise: &mut Noise,
    (x, channels): &Value,
) -> Result<Value> {
    let outputs = bytes.int_in_range(1..=5i64)?;
    let weights = weights(model, bytes, noise, &[*channels, outputs])?;
    Ok((model.node("MatMul", &[x, &weights], &[]), outputs))
}

fn weights(
    model: &mut Model,
    bytes: &mut Unstructured,
    noise: &mut Noise,
    dims: &[i64],
) -> Result<String> {
    let count = dims.iter().product();
    let size = *bytes.choose(&[127.0, 7.0, 1.0, 0.4])?;
    let data = noise.list(count, size);
    Ok(match bytes.int_in_range(0..=3u8)? {
        0 => {
            let weights = model.constant(dims, &data);
            let bits = bytes.int_in_range(1..=8)?;
            model.quant(&weights, 0.5, bits, true)
        }
        1 => {
            let weights = model.constant(dims, &data);
            model.bipolar(&weights, 0.25)
        }
        _ => model.weights(dims, &data),
    })
}

fn window(bytes: &mut Unstructured, name: &str) -> Result<AttributeProto> {
    let low = i64::from(!bytes.ratio(1, 32)?);
    Ok(ints(name, &[bytes.int_in_range(low..=3i64)?, bytes.int_in_range(low..=3i64)?]))
}
