//! Damaged models: whatever the bytes, the importer answers, and soon.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use prost::Message;
use qnnsim_compiler::diagnostic::Kind;
use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::limits;
use qnnsim_compiler::onnx::{ModelProto, TensorProto, data_type};
use qnnsim_tests::models::{Model, float, int, ints, string};
use qnnsim_tests::{cases, for_all};

/// A valid model with most operators.
fn model() -> ModelProto {
    let mut m = Model::new(&[1, 2, 6, 6]);
    let x = m.input();
    let weights = m.constant(&[3, 2, 3, 3], &[0.5; 54]);
    let weights = m.bipolar(&weights, 0.25);
    let bias = m.constant(&[3], &[0.5, -1.5, 3.0]);
    let attributes =
        [ints("pads", &[1, 1, 1, 1]), ints("strides", &[1, 2]), ints("dilations", &[1, 1])];
    let x = m.node("Conv", &[&x, &weights, &bias], &attributes);
    let parameters = [0.5, 0.25, 2.0, 3.0].map(|value| m.constant(&[3], &[value; 3]));
    let [scale, bias, mean, variance] = &parameters;
    let inputs = [&x, scale, bias, mean, variance].map(String::as_str);
    let x = m.node("BatchNormalization", &inputs, &[float("epsilon", 1e-5)]);
    let x = m.node("Relu", &[&x], &[]);
    let x = m.quant(&x, 0.5, 4, false);
    let attributes = [ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", 1)];
    let x = m.node("MaxPool", &[&x], &attributes);
    let shape = m.shape(&[1, -1]);
    let x = m.node("Reshape", &[&x, &shape], &[]);
    let weights = m.weights(&[4, 18], &[3.0; 72]);
    let weights = m.node("Transpose", &[&weights], &[ints("perm", &[1, 0])]);
    let x = m.node("MatMul", &[&x, &weights], &[]);
    let two = m.constant(&[4], &[2.0; 4]);
    let x = m.node("Mul", &[&x, &two], &[]);
    let x = m.bipolar(&x, 2.0);
    let (weights, bias) = (m.weights(&[3, 4], &[-5.0; 12]), m.constant(&[3], &[1.0; 3]));
    let x = m.node("Gemm", &[&x, &weights, &bias], &[int("transB", 1)]);
    let x = functions(&mut m, x);
    let weights = m.weights(&[2, 3], &[2.0; 6]);
    let x = m.node("Gemm", &[&x, &weights], &[int("transB", 1)]);
    // Integers of 8 bits, then of 4, with a zero point.
    let (scale, zero) = (m.scalar(0.5), m.integers(data_type::UINT8, &[], &[3]));
    let x = m.node("QuantizeLinear", &[&x, &scale, &zero], &[int("axis", 1)]);
    let ends = [0, 15].map(|end| m.integers(data_type::UINT8, &[], &[end]));
    let x = m.node("Clip", &[&x, &ends[0], &ends[1]], &[]);
    let x = m.node("DequantizeLinear", &[&x, &scale, &zero], &[int("axis", 1)]);
    let weights = m.integers(data_type::INT8, &[2, 2], &[1, -2, 3, -4]);
    let (scale, zero) =
        (m.constant(&[2], &[0.5, 0.25]), m.integers(data_type::INT8, &[2], &[0, 1]));
    let weights = m.node("DequantizeLinear", &[&weights, &scale, &zero], &[int("axis", 1)]);
    let output = m.node("MatMul", &[&x, &weights], &[]);
    m.message(&output)
}

/// Functions in front of quantizers, alone and spelled out.
fn functions(m: &mut Model, x: String) -> String {
    let slope = m.constant(&[3], &[0.5, 0.25, 0.125]);
    let x = m.node("PRelu", &[&x, &slope], &[]);
    let x = m.node("LeakyRelu", &[&x], &[float("alpha", 0.25)]);
    let x = m.node("HardSigmoid", &[&x], &[float("alpha", 0.125), float("beta", 0.5)]);
    let (three, cubic) = (m.scalar(3.0), m.scalar(0.25));
    let cube = m.node("Pow", &[&x, &three], &[]);
    let x = m.node("Mul", &[&cube, &cubic], &[]);
    let sigmoid = m.node("Sigmoid", &[&x], &[]);
    let x = m.node("Mul", &[&x, &sigmoid], &[]);
    let parameters = [0.0625, 0.0, 8.0, 5.0].map(|value| m.scalar(value));
    let [scale, zero, from, to] = &parameters;
    let x = m.node("Trunc", &[&x, scale, zero, from, to], &[string("rounding_mode", "FLOOR")]);
    let thresholds = m.constant(&[1, 3], &[0.0, 0.0625, 0.125]);
    m.node(
        "MultiThreshold",
        &[&x, &thresholds],
        &[float("out_scale", 1.0), float("out_bias", -2.0)],
    )
}

/// A valid model with branches, and the operators that move and join maps.
fn branches() -> ModelProto {
    let mut m = Model::new(&[1, 4, 6, 6]);
    let x = m.input();
    let weights = m.weights(&[4, 2, 3, 3], &[1.0; 72]);
    let attributes = [string("auto_pad", "SAME_UPPER"), int("group", 2), ints("strides", &[1, 1])];
    let y = m.node("Conv", &[&x, &weights], &attributes);
    let half = m.scalar(0.5);
    let z = m.node("Mul", &[&y, &half], &[]);
    let z = m.node("Add", &[&z, &x], &[]);
    let z = m.quant(&z, 1.0, 3, true);
    let y = m.quant(&y, 1.0, 4, false);
    let joined = m.node("Concat", &[&y, &z], &[int("axis", 1)]);
    let shapes = [m.shape(&[1, 2, 4, 6, 6]), m.shape(&[1, 8, 6, 6])];
    let shuffled = m.node("Reshape", &[&joined, &shapes[0]], &[]);
    let shuffled = m.node("Transpose", &[&shuffled], &[ints("perm", &[0, 2, 1, 3, 4])]);
    let shuffled = m.node("Reshape", &[&shuffled, &shapes[1]], &[]);
    let sizes = m.shape(&[3, 5]);
    let first = m.node("Split", &[&shuffled, &sizes], &[int("axis", 1)]);
    m.graph.node.last_mut().unwrap().output.push("second".to_owned());
    let lists = [&[1i64, 0][..], &[6, 5], &[2, 3], &[2, 1]].map(|list| m.shape(list));
    let [starts, ends, axes, steps] = lists.each_ref().map(String::as_str);
    let first = m.node("Slice", &[&first, starts, ends, axes, steps], &[]);
    let pads = m.shape(&[0, 0, 1, 0, 0, 0, 0, -1]);
    let first = m.node("Pad", &[&first, &pads], &[]);
    let first = m.node(
        "AveragePool",
        &[&first],
        &[ints("kernel_shape", &[2, 2]), ints("strides", &[1, 2])],
    );
    let first = m.quant(&first, 1.0, 4, false);
    let second =
        m.node("MaxPool", &["second"], &[ints("kernel_shape", &[2, 3]), ints("strides", &[2, 2])]);
    let second = m.node("Sub", &[&second, &second], &[]);
    let means = [&first, &second].map(|map| m.node("GlobalAveragePool", &[map], &[]));
    let joined = m.node("Concat", &[&means[0], &means[1]], &[int("axis", 1)]);
    let axes = m.shape(&[2, 3]);
    let vector = m.node("Squeeze", &[&joined, &axes], &[]);
    let output = m.last(&vector, 8);
    m.message(&output)
}

/// A valid model of values at several resolutions, and products along several dimensions.
fn resolutions() -> ModelProto {
    let mut m = Model::new(&[1, 2, 4, 4]);
    let x = m.input();
    let weights = m.weights(&[2, 2, 3, 3], &[1.0; 36]);
    let bias = m.constant(&[4], &[1.0; 4]);
    let attributes = [
        ints("strides", &[2, 2]),
        ints("pads", &[1, 1, 1, 1]),
        ints("output_padding", &[1, 1]),
        ints("dilations", &[1, 1]),
        int("group", 2),
    ];
    let y = m.node("ConvTranspose", &[&x, &weights, &bias], &attributes);
    let y = m.quant(&y, 1.0, 4, true);
    let scales = m.constant(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let coordinates =
        [string("coordinate_transformation_mode", "asymmetric"), string("nearest_mode", "floor")];
    let large = m.node("Resize", &[&x, "", &scales], &coordinates);
    let joined = m.node("Concat", &[&y, &large], &[int("axis", 1)]);
    let joined = m.node("SpaceToDepth", &[&joined], &[int("blocksize", 2)]);
    let joined = m.node("DepthToSpace", &[&joined], &[int("blocksize", 2), string("mode", "CRD")]);
    let rows = m.weights(&[3, 8], &[1.0; 24]);
    let z = m.node("MatMul", &[&rows, &joined], &[]);
    let z = m.quant(&z, 4.0, 4, true);
    let shape = m.shape(&[1, 6, 24]);
    let tokens = m.node("Reshape", &[&z, &shape], &[]);
    let tokens = m.node("Transpose", &[&tokens], &[ints("perm", &[0, 2, 1])]);
    let weights = m.weights(&[6, 2], &[1.0; 12]);
    let sums = m.node("MatMul", &[&tokens, &weights], &[]);
    m.message(&sums)
}

/// Imports what may be anything.
fn answers(bytes: &[u8]) {
    let start = Instant::now();
    let _ = import(bytes, &ImportOptions { unsigned_1bit_relu: true, ..ImportOptions::default() });
    assert!(start.elapsed() < Duration::from_secs(300), "an import took {:?}", start.elapsed());
}

#[test]
fn the_model_is_valid() {
    let import = import(&model().encode_to_vec(), &ImportOptions::default());
    assert_eq!(import.unwrap().network.layers.len(), 5);
    // Two quantizers behind the convolution, one behind the average, the maximum, and the output.
    let import = self::import(&branches().encode_to_vec(), &ImportOptions::default());
    assert_eq!(import.unwrap_or_else(|errors| panic!("{}", errors[0])).network.layers.len(), 5);
    let import = self::import(&resolutions().encode_to_vec(), &ImportOptions::default());
    assert_eq!(import.unwrap_or_else(|errors| panic!("{}", errors[0])).network.layers.len(), 3);
}

#[test]
fn every_truncation_answers() {
    let bytes = model().encode_to_vec();
    for length in 0..bytes.len() {
        answers(&bytes[..length]);
    }
}

/// Numbers that have broken many a reader.
fn nasty() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3i64..20,
        Just(i64::MAX),
        Just(i64::MIN),
        Just(1 << 24),
        Just(1 << 31),
        Just(1 << 32),
        Just(1 << 62),
        Just(4095),
        Just(65535),
        any::<i64>(),
    ]
}

/// One change of a message that leaves the file well-formed.
#[derive(Debug, Clone)]
enum Change {
    Dimension(usize, usize, i64),
    Values(usize, f32),
    Shape(usize, i64),
    Input(usize, usize, usize),
    Output(usize, usize),
    Attribute(usize, usize, usize, i64),
    Operator(usize, usize),
    InputShape(usize, i64),
    DropInput(usize),
    Move(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let n = 0usize..1000;
    prop_oneof![
        (n.clone(), n.clone(), nasty()).prop_map(|(a, b, v)| Change::Dimension(a, b, v)),
        (n.clone(), any::<f32>()).prop_map(|(a, v)| Change::Values(a, v)),
        (n.clone(), nasty()).prop_map(|(a, v)| Change::Shape(a, v)),
        (n.clone(), n.clone(), n.clone()).prop_map(|(a, b, c)| Change::Input(a, b, c)),
        (n.clone(), n.clone()).prop_map(|(a, b)| Change::Output(a, b)),
        (n.clone(), n.clone(), n.clone(), nasty())
            .prop_map(|(a, b, c, v)| Change::Attribute(a, b, c, v)),
        (n.clone(), n.clone()).prop_map(|(a, b)| Change::Operator(a, b)),
        (n.clone(), nasty()).prop_map(|(a, v)| Change::InputShape(a, v)),
        n.clone().prop_map(Change::DropInput),
        (n.clone(), n.clone()).prop_map(|(a, b)| Change::Move(a, b)),
    ]
}

fn pick<T>(list: &mut [T], index: usize) -> Option<&mut T> {
    let length = list.len().max(1);
    list.get_mut(index % length)
}

/// Applies a change, where there is something to change.
fn apply(model: &mut ModelProto, change: &Change) -> Option<()> {
    let graph = model.graph.as_mut()?;
    let names: Vec<String> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.clone())
        .chain(graph.node.iter().flat_map(|node| node.output.clone()))
        .chain([String::new(), "x".to_owned()])
        .collect();
    let operators: Vec<(String, String)> =
        graph.node.iter().map(|node| (node.op_type.clone(), node.domain.clone())).collect();
    match *change {
        Change::Dimension(tensor, axis, value) => {
            *pick(&mut pick(&mut graph.initializer, tensor)?.dims, axis)? = value;
        }
        Change::Values(tensor, value) => {
            let tensor: &mut TensorProto = pick(&mut graph.initializer, tensor)?;
            let count = tensor.raw_data.len() / 4;
            tensor.raw_data = value.to_le_bytes().repeat(count);
        }
        Change::Shape(index, value) => {
            let tensor = graph.initializer.iter_mut().find(|t| !t.int64_data.is_empty())?;
            *pick(&mut tensor.int64_data, index)? = value;
        }
        Change::Input(node, input, name) => {
            *pick(&mut pick(&mut graph.node, node)?.input, input)? =
                names[name % names.len()].clone();
        }
        Change::Output(node, name) => {
            pick(&mut graph.node, node)?.output = vec![names[name % names.len()].clone()];
        }
        Change::Attribute(node, attribute, index, value) => {
            let attribute = pick(&mut pick(&mut graph.node, node)?.attribute, attribute)?;
            attribute.i = value;
            match pick(&mut attribute.ints, index) {
                Some(int) => *int = value,
                None => attribute.f = value as f32,
            }
        }
        Change::Operator(node, operator) => {
            let node = pick(&mut graph.node, node)?;
            (node.op_type, node.domain) = operators[operator % operators.len()].clone();
        }
        Change::InputShape(axis, value) => {
            let tensor = graph.input[0].r#type.as_mut()?.tensor_type.as_mut()?;
            pick(&mut tensor.shape.as_mut()?.dim, axis)?.dim_value = value;
        }
        Change::DropInput(node) => {
            pick(&mut graph.node, node)?.input.pop();
        }
        Change::Move(from, to) => {
            let (from, to) = (from % graph.node.len(), to % graph.node.len());
            let node = graph.node.remove(from);
            graph.node.insert(to, node);
        }
    }
    Some(())
}

#[test]
fn random_bytes_answer() {
    for_all(
        cases(400, 2_000),
        || proptest::collection::vec(any::<u8>(), 0..300),
        |bytes| {
            answers(&bytes);
            Ok(())
        },
    );
}

#[test]
fn flipped_bytes_answer() {
    for_all(
        cases(400, 2_000),
        || proptest::collection::vec((0usize..100_000, any::<u8>()), 1..4),
        |flips| {
            let mut bytes = model().encode_to_vec();
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            answers(&bytes);
            Ok(())
        },
    );
}

#[test]
fn changed_messages_answer() {
    for_all(
        cases(400, 2_000),
        || (proptest::collection::vec(change(), 1..5), 0usize..3),
        |(changes, which)| {
            let mut model = [model, branches, resolutions][which]();
            for change in &changes {
                apply(&mut model, change);
            }
            answers(&model.encode_to_vec());
            Ok(())
        },
    );
}

/// Many nodes that share one large constant ask for more than they bring.
#[test]
fn shared_constants_are_bounded() {
    let channels = 60_000;
    let mut m = Model::new(&[1, channels]);
    let mut x = m.input();
    let weights = m.weights(&[channels, 1], &vec![1.0; channels as usize]);
    x = m.node("MatMul", &[&x, &weights], &[]);
    let weights = m.weights(&[1, channels], &vec![1.0; channels as usize]);
    let mut wide = m.quant(&x, 1.0, 8, false);
    wide = m.node("MatMul", &[&wide, &weights], &[]);
    let constant = m.constant(&[1, channels], &vec![1.0; channels as usize]);
    for _ in 0..10_000 {
        wide = m.node("Add", &[&wide, &constant], &[]);
    }
    let start = Instant::now();
    let errors = m.import(&wide).unwrap_err();
    assert!(matches!(errors[0].kind, Kind::Limit(_)), "{}", errors[0]);
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
}

/// A wide layer of 8-bit codes has many thresholds to find.
#[test]
fn the_search_is_bounded() {
    let channels = 60_000;
    let mut m = Model::new(&[1, 64]);
    let x = m.input();
    let weights = m.weights(&[64, channels], &vec![1.0; 64 * channels as usize]);
    let mut x = m.node("MatMul", &[&x, &weights], &[]);
    for _ in 0..100 {
        let half = m.scalar(0.9921875);
        x = m.node("Mul", &[&x, &half], &[]);
    }
    let x = m.quant(&x, 64.0, 8, true);
    let output = m.last(&x, channels as usize);
    let start = Instant::now();
    let errors = m.import(&output).unwrap_err();
    assert!(errors[0].is(&limits::SEARCH), "{}", errors[0]);
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
}

/// The first message of a model that must be refused, and soon.
fn refused(model: Model, output: &str) -> String {
    let start = Instant::now();
    let errors = model.import(output).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
    errors[0].message.clone()
}

/// Each node doubles what the one before sums up, keeps, or joins.
#[test]
fn doubling_is_bounded() {
    let add = |m: &mut Model, x: &str| m.node("Add", &[x, x], &[]);
    let concat = |m: &mut Model, x: &str| m.node("Concat", &[x, x], &[int("axis", 1)]);
    type Double<'a> = &'a dyn Fn(&mut Model, &str) -> String;
    let doubled = |double: Double, real: bool| {
        let mut m = Model::new(&[1, 2, 3, 3]);
        let mut x = m.input();
        if real {
            let half = m.scalar(0.3);
            x = m.node("Add", &[&x, &half], &[]);
        }
        for _ in 0..60 {
            x = double(&mut m, &x);
        }
        let x = m.quant(&x, 1.0, 4, true);
        let weights = m.weights(&[1, 2, 1, 1], &[1.0; 2]);
        let output = m.node("Conv", &[&x, &weights], &[]);
        (m, output)
    };
    let refusal = |double: Double| {
        let (m, output) = doubled(double, false);
        refused(m, &output)
    };
    assert_eq!(refusal(&add), "not supported: a value 2097152 times in a sum");
    assert_eq!(refusal(&concat), "not supported: a value of shape [1, 2097152, 3, 3]");
    // Sums of real values that come from one map are a function of it, with 60 operators.
    let (m, output) = doubled(&add, true);
    let start = Instant::now();
    assert!(m.import(&output).is_ok());
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
}

/// Averages of averages make kernels and weights larger and larger.
#[test]
fn compositions_are_bounded() {
    let mut m = Model::new(&[1, 2, 200, 200]);
    let mut x = m.input();
    for _ in 0..60 {
        x = m.node("AveragePool", &[&x], &[ints("kernel_shape", &[3, 3])]);
    }
    let x = m.quant(&x, 1.0, 4, true);
    let weights = m.weights(&[1, 2, 1, 1], &[1.0; 2]);
    let output = m.node("Conv", &[&x, &weights], &[]);
    let message = refused(m, &output);
    assert!(message.starts_with("not supported: a weight of "), "{message}");

    // Strides beyond the map, over and over.
    let mut m = Model::new(&[1, 1, 4, 4]);
    let mut x = m.input();
    for _ in 0..60 {
        x = m.node(
            "AveragePool",
            &[&x],
            &[ints("kernel_shape", &[1, 1]), ints("strides", &[4095, 4095])],
        );
    }
    let output = m.last(&x, 1);
    // Each takes the first value of what there is.
    assert_eq!(m.import(&output).unwrap().network.layers.len(), 1);
}

/// A long chain that is read at every node.
#[test]
fn readers_are_bounded() {
    let mut m = Model::new(&[1, 1, 1, 1]);
    let mut x = m.input();
    let mut sum: Option<String> = None;
    for _ in 0..12_000 {
        let constant = m.scalar(0.25);
        x = m.node("Add", &[&x, &constant], &[]);
        let codes = m.quant(&x, 1.0, 2, true);
        sum = Some(match sum {
            None => codes,
            Some(sum) => m.node("Add", &[&sum, &codes], &[]),
        });
    }
    refused(m, &sum.unwrap());
}
