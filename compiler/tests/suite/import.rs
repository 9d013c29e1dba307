//! Small models whose integer networks are derived by hand.

use prost::Message;
use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::ir::{Activation, Layer, StepFunction, WeightKind};
use qnnsim_compiler::onnx::{OperatorSetIdProto, TensorProto, ValueInfoProto};
use qnnsim_isa::descriptor::{Code, HostOp, MapShape};
use qnnsim_tests::models::{Model, float, int, ints};

/// The layers of a model that must be accepted.
fn layers(model: Model, output: &str) -> Vec<Layer> {
    match model.import(output) {
        Ok(import) => import.network.layers,
        Err(errors) => panic!("{}", errors[0]),
    }
}

fn steps(layer: &Layer) -> &[StepFunction] {
    match &layer.activation {
        Activation::Steps { channels, .. } => channels,
        Activation::Raw => panic!("{} has no thresholds", layer.name),
    }
}

fn rising(lowest: i64, thresholds: &[i64]) -> StepFunction {
    StepFunction { lowest, rising: true, thresholds: thresholds.to_vec() }
}

fn falling(lowest: i64, thresholds: &[i64]) -> StepFunction {
    StepFunction { lowest, rising: false, thresholds: thresholds.to_vec() }
}

/// One input, one output, weight 1: the accumulator is the input, -128 to 127. `chain` leads from
/// it to the quantized value.
fn one_channel(chain: impl Fn(&mut Model, &str) -> String) -> StepFunction {
    let mut model = Model::new(&[1, 1]);
    let x = model.input();
    let weights = model.weights(&[1, 1], &[1.0]);
    let acc = model.node("MatMul", &[&x, &weights], &[]);
    let codes = chain(&mut model, &acc);
    let output = model.last(&codes, 1);
    steps(&layers(model, &output)[0])[0].clone()
}

#[test]
fn ties_go_to_even() {
    // acc / 2: 1 -> 0.5 -> 0, 2 -> 1, 3 -> 1.5 -> 2, 5 -> 2.5 -> 2, 6 -> 3.
    let steps = one_channel(|m, acc| m.quant(acc, 2.0, 2, false));
    assert_eq!(steps, rising(0, &[2, 3, 6]));
}

#[test]
fn rounding_modes() {
    let unsigned = |mode| one_channel(|m, acc| m.quant_with(acc, 2.0, 2, false, mode));
    assert_eq!(unsigned("FLOOR"), rising(0, &[2, 4, 6]));
    assert_eq!(unsigned("CEIL"), rising(0, &[1, 3, 5]));
    assert_eq!(unsigned("ROUND_TO_ZERO"), rising(0, &[2, 4, 6]));
    // Towards zero below zero: -4 -> -2, -3 -> -1.5 -> -1, -1 -> -0.5 -> 0, 2 -> 1.
    let signed = one_channel(|m, acc| m.quant_with(acc, 2.0, 2, true, "DOWN"));
    assert_eq!(signed, rising(-2, &[-3, -1, 2]));
}

#[test]
fn relu_then_signed_codes_start_at_zero() {
    let steps = one_channel(|m, acc| {
        let relu = m.node("Relu", &[acc], &[]);
        m.quant(&relu, 1.0, 2, true)
    });
    assert_eq!(steps, rising(0, &[1]));
    // The same with the Relu behind the quantizer, where integers stay integers.
    let behind = one_channel(|m, acc| {
        let codes = m.quant(acc, 1.0, 2, true);
        m.node("Relu", &[&codes], &[])
    });
    assert_eq!(behind, steps);
}

#[test]
fn negative_gain_falls() {
    // -acc in 2 signed bits: 2 and more -> -2, 1 -> -1, 0 -> 0, -1 and less -> 1.
    let by_mul = one_channel(|m, acc| {
        let gain = m.scalar(-1.0);
        let x = m.node("Mul", &[acc, &gain], &[]);
        m.quant(&x, 1.0, 2, true)
    });
    assert_eq!(by_mul, falling(-2, &[1, 0, -1]));
    let from_constant = one_channel(|m, acc| {
        let zero = m.scalar(0.0);
        let x = m.node("Sub", &[&zero, acc], &[]);
        m.quant(&x, 1.0, 2, true)
    });
    assert_eq!(from_constant, by_mul);
    let by_div = one_channel(|m, acc| {
        let gain = m.scalar(-1.0);
        let x = m.node("Div", &[acc, &gain], &[]);
        m.quant(&x, 1.0, 2, true)
    });
    assert_eq!(by_div, by_mul);
}

#[test]
fn zero_gain_is_constant() {
    // 0 x acc + 2.5 -> 2, ties to even.
    let steps = one_channel(|m, acc| {
        let (gain, bias) = (m.scalar(0.0), m.scalar(2.5));
        let x = m.node("Mul", &[&gain, acc], &[]);
        let x = m.node("Add", &[&bias, &x], &[]);
        m.quant(&x, 1.0, 4, false)
    });
    assert_eq!(steps, rising(2, &[]));
}

#[test]
fn batch_normalization() {
    // (acc - 3) / sqrt(3 + 1) x 2 + 1 = acc - 2, falling for a scale of -2: -(acc - 3) + 1 = 4 -
    // acc.
    let normalized = |scale: f32| {
        one_channel(|m, acc| {
            let parameters = [scale, 1.0, 3.0, 3.0].map(|value| m.constant(&[1], &[value]));
            let [scale, bias, mean, variance] = &parameters;
            let inputs = [acc, scale, bias, mean, variance];
            let x = m.node("BatchNormalization", &inputs, &[float("epsilon", 1.0)]);
            m.quant(&x, 1.0, 2, false)
        })
    };
    assert_eq!(normalized(2.0), rising(0, &[3, 4, 5]));
    assert_eq!(normalized(-2.0), falling(0, &[3, 2, 1]));
    assert_eq!(normalized(0.0), rising(1, &[]));
}

#[test]
fn bipolar_activations_are_two_bits_and_take_zero_as_plus() {
    let mut model = Model::new(&[1, 1]);
    let x = model.input();
    let weights = model.weights(&[1, 1], &[1.0]);
    let acc = model.node("MatMul", &[&x, &weights], &[]);
    let codes = model.bipolar(&acc, 0.5);
    let output = model.last(&codes, 1);
    let network = model.import(&output).unwrap().network;
    let Activation::Steps { code, channels } = &network.layers[0].activation else { panic!() };
    assert_eq!(*code, Code { bits: 2, signed: true });
    assert_eq!(channels[0], rising(-1, &[0, 0]));
    assert_eq!(network.output.values[0].ops, [HostOp::Mul(vec![0.5])]);
}

#[test]
fn the_last_quantizer_counts() {
    // 4 bits of step 1, then 2 bits of step 4: 2 -> 0.5 -> 0, 3 -> 0.75 -> 1, 6 -> 1.5 -> 2, 10 ->
    // 2.5 -> 2, 11 -> 3.
    let steps = one_channel(|m, acc| {
        let fine = m.quant(acc, 1.0, 4, false);
        m.quant(&fine, 4.0, 2, false)
    });
    assert_eq!(steps, rising(0, &[3, 6, 11]));
}

#[test]
fn bias_moves_ties() {
    // acc + 0.5: 0 -> 0.5 -> 0, 1 -> 1.5 -> 2, 2 -> 2.5 -> 2, 3 -> 3.5, clipped to 3.
    let mut model = Model::new(&[1, 1]);
    let x = model.input();
    let (weights, bias) = (model.weights(&[1, 1], &[1.0]), model.constant(&[1], &[0.25]));
    let acc = model.node("Gemm", &[&x, &weights, &bias], &[float("beta", 2.0)]);
    let codes = model.quant(&acc, 1.0, 2, false);
    let output = model.last(&codes, 1);
    assert_eq!(steps(&layers(model, &output)[0])[0], rising(0, &[1, 1, 3]));
}

#[test]
fn scales_of_weights_by_channel() {
    // Two outputs of a 1x1 convolution, steps of 1 and of 0.5, quantized in steps of 1.
    // Channel 1: acc / 2 -> 1 at 2 (1 is a tie to 0), 2 at 3, 3 at 6.
    let mut model = Model::new(&[1, 1, 1, 1]);
    let x = model.input();
    let weights = model.constant(&[2, 1, 1, 1], &[1.0, 0.5]);
    let parameters =
        [model.constant(&[2, 1, 1, 1], &[1.0, 0.5]), model.scalar(0.0), model.scalar(8.0)];
    let [scale, zero, bits] = &parameters;
    let weights =
        model.node("Quant", &[&weights, scale, zero, bits], &[int("signed", 1), int("narrow", 0)]);
    let acc = model.node("Conv", &[&x, &weights], &[]);
    let codes = model.quant(&acc, 1.0, 2, false);
    let flat = model.node("Flatten", &[&codes], &[]);
    let output = model.last(&flat, 2);
    let layers = layers(model, &output);
    assert_eq!(layers[0].terms[0].weights.data, [1, 1]);
    assert_eq!(steps(&layers[0]), [rising(0, &[1, 2, 3]), rising(0, &[2, 3, 6])]);
}

#[test]
fn dense_weights_in_any_orientation() {
    // 2 inputs, 3 outputs; output o has the weights [2o + 1, 2o + 2].
    let by_input = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
    let by_output = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    // Model, input, weights by input, weights by output.
    type Variant = fn(&mut Model, &str, &str, &str) -> String;
    let variants: [Variant; 4] = [
        |m, x, by_input, _| m.node("MatMul", &[x, by_input], &[]),
        |m, x, by_input, _| m.node("Gemm", &[x, by_input], &[]),
        |m, x, _, by_output| m.node("Gemm", &[x, by_output], &[int("transB", 1)]),
        |m, x, _, by_output| {
            let weights = m.node("Transpose", &[by_output], &[ints("perm", &[1, 0])]);
            m.node("MatMul", &[x, &weights], &[])
        },
    ];
    for variant in variants {
        let mut model = Model::new(&[1, 2]);
        let x = model.input();
        let by_input = model.weights(&[2, 3], &by_input);
        let by_output = model.weights(&[3, 2], &by_output);
        let output = variant(&mut model, &x, &by_input, &by_output);
        let layers = layers(model, &output);
        assert_eq!(layers[0].terms[0].weights.data, [1, 2, 3, 4, 5, 6]);
        assert_eq!(layers[0].terms[0].weights.out_channels, 3);
    }
}

#[test]
fn kinds_of_weights() {
    let kind = |bits: u32, signed: bool| {
        let mut model = Model::new(&[1, 3]);
        let x = model.input();
        let weights = model.constant(&[3, 1], &[-1.0, 0.0, 1.0]);
        let weights = model.quant(&weights, 1.0, bits, signed);
        let output = model.node("MatMul", &[&x, &weights], &[]);
        let weights = layers(model, &output)[0].terms[0].weights.clone();
        (weights.kind, weights.data)
    };
    // QONNX reads a signed 1-bit Quant as bipolar.
    assert_eq!(kind(1, true), (WeightKind::Bipolar, vec![-1, 1, 1]));
    assert_eq!(kind(1, false), (WeightKind::Unsigned1, vec![0, 0, 1]));
    assert_eq!(kind(2, true), (WeightKind::Signed(2), vec![-1, 0, 1]));
    assert_eq!(kind(7, false), (WeightKind::Signed(8), vec![0, 0, 1]));
}

#[test]
fn dense_layer_after_a_map_is_a_convolution_as_large_as_the_map() {
    let mut model = Model::new(&[1, 1, 2, 2]);
    let x = model.input();
    let shape = model.shape(&[1, -1]);
    let flat = model.node("Reshape", &[&x, &shape], &[]);
    let weights = model.weights(&[4, 1], &[1.0, 2.0, 3.0, 4.0]);
    let output = model.node("MatMul", &[&flat, &weights], &[]);
    let layers = layers(model, &output);
    assert_eq!(layers[0].terms[0].conv.kernel, [2, 2]);
    assert_eq!(layers[0].terms[0].weights.data, [1, 2, 3, 4]);
    assert_eq!(layers[0].name, "matmul3");
}

#[test]
fn asymmetric_padding_and_ceil_mode() {
    // Rows: 5 + 1 + 0 padded, kernel 2, stride 1: 5. Columns: 5 + 0 + 2, kernel 3, stride 2: 3.
    // Pool 2x2 by 2, rounded up: rows ceil((5 - 2) / 2) + 1 = 3, columns ceil((3 - 2) / 2) + 1 = 2.
    let mut model = Model::new(&[1, 1, 5, 5]);
    let x = model.input();
    let weights = model.weights(&[1, 1, 2, 3], &[1.0; 6]);
    let attributes = [ints("pads", &[1, 0, 0, 2]), ints("strides", &[1, 2])];
    let acc = model.node("Conv", &[&x, &weights], &attributes);
    let codes = model.quant(&acc, 1.0, 8, true);
    let attributes = [ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2]), int("ceil_mode", 1)];
    let pooled = model.node("MaxPool", &[&codes], &attributes);
    let flat = model.node("Flatten", &[&pooled], &[]);
    let output = model.last(&flat, 6);
    let layers = layers(model, &output);
    let input = MapShape { channels: 1, height: 5, width: 5 };
    assert_eq!(layers[0].terms[0].conv.pads, [1, 0, 0, 2]);
    assert_eq!(
        layers[0].terms[0].output_shape(input),
        MapShape { channels: 1, height: 5, width: 3 }
    );
    assert_eq!(
        layers[0].output_shape(layers[0].terms[0].output_shape(input)),
        MapShape { channels: 1, height: 3, width: 2 }
    );
    assert_eq!(layers[1].terms[0].conv.kernel, [3, 2]);
}

#[test]
fn pooling_moves_behind_a_rising_activation() {
    let mut model = Model::new(&[1, 1, 2, 2]);
    let x = model.input();
    let weights = model.weights(&[1, 1, 1, 1], &[1.0]);
    let acc = model.node("Conv", &[&x, &weights], &[]);
    let attributes = [ints("kernel_shape", &[2, 2])];
    let pooled = model.node("MaxPool", &[&acc], &attributes);
    let relu = model.node("Relu", &[&pooled], &[]);
    let codes = model.quant(&relu, 64.0, 1, false);
    let flat = model.node("Flatten", &[&codes], &[]);
    let output = model.last(&flat, 1);
    let layers = layers(model, &output);
    // 32 / 64 is a tie to 0.
    assert_eq!(steps(&layers[0]), [rising(0, &[33])]);
    assert_eq!(layers[0].pool.unwrap().kernel, [2, 2]);
}

#[test]
fn what_follows_the_last_layer_is_for_the_host() {
    let mut model = Model::new(&[1, 2]);
    let x = model.quant("x", 0.5, 8, true);
    let weights = model.weights(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let bias = model.constant(&[2], &[10.0, 20.0]);
    let acc = model.node("Gemm", &[&x, &weights, &bias], &[]);
    let four = model.scalar(4.0);
    let scaled = model.node("Div", &[&acc, &four], &[]);
    let one = model.constant(&[1, 2], &[1.0, 2.0]);
    let output = model.node("Sub", &[&one, &scaled], &[]);
    let network = model.import(&output).unwrap().network;
    assert_eq!(
        network.output.values[0].ops,
        [
            HostOp::Mul(vec![0.5]),
            HostOp::Add(vec![10.0, 20.0]),
            HostOp::Div(vec![4.0]),
            HostOp::Mul(vec![-1.0]),
            HostOp::Add(vec![1.0, 2.0]),
        ]
    );
    // Output 1 has the weights 2 and 4: from 6 x -128 = -768 to 6 x 127 = 762, which takes 11 bits.
    assert_eq!(network.output.code, Code { bits: 11, signed: true });
}

#[test]
fn raw_pixels_where_the_code_is_the_pixel_minus_128() {
    let model = || {
        let mut model = Model::new(&[1, 1]);
        let x = model.input();
        let output = model.last(&x, 1);
        model.bytes(&output)
    };
    let options = ImportOptions { pixel_offset: vec![-128.0], ..ImportOptions::default() };
    let shifted = import(&model(), &options).unwrap();
    assert_eq!((shifted.network.input.xor, shifted.warnings.len()), (0x80, 0));
    let plain = import(&model(), &ImportOptions::default()).unwrap();
    assert_eq!(plain.network.input.xor, 0);
    assert_eq!(
        plain.warnings[0].to_string(),
        "the input quantizer clips pixels from 128 to 255\n  \
         why:  a pixel p becomes the real input 1 x p + 0, and the quantizer holds -128 to 127 times 1\n  \
         help: give the transform of the training with --pixel-scale and --pixel-offset"
    );
}

#[test]
fn symbolic_batch_dropout_and_constant_nodes() {
    let mut model = Model::new(&[1, 2]);
    let shape = model.graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    shape.shape.as_mut().unwrap().dim[0].dim_param = "batch".to_owned();
    let x = model.input();
    let ratio = model.node("Constant", &[], &[float("value_float", 0.5)]);
    let dropped = model.node("Dropout", &[&x, &ratio], &[]);
    let same = model.node("Identity", &[&dropped], &[]);
    let output = model.last(&same, 2);
    assert_eq!(layers(model, &output).len(), 1);
}

#[test]
fn layer_names_are_short_and_unique() {
    let mut model = Model::new(&[1, 1]);
    let mut x = model.input();
    for name in
        ["/a/fc/MatMul", "/b/fc/MatMul", "/head/MatMul_2", "", "odd name/MatMul", "/head/MatMul_2"]
    {
        let codes = if name == "/a/fc/MatMul" { x } else { model.quant(&x, 1.0, 8, true) };
        x = model.last(&codes, 1);
        model.graph.node.last_mut().unwrap().name = name.to_owned();
    }
    let names: Vec<String> = layers(model, &x).into_iter().map(|layer| layer.name).collect();
    assert_eq!(names, ["a.fc", "b.fc", "head", "matmul11", "odd_name", "head_2"]);
}

#[test]
fn what_the_output_does_not_need_is_left_out() {
    let mut model = Model::new(&[1, 1]);
    let x = model.input();
    model.node("Softmax", &[&x], &[]);
    let output = model.last(&x, 1);
    assert_eq!(layers(model, &output).len(), 1);
}

#[test]
fn printed_forms() {
    let mut model = Model::new(&[1, 1, 2, 2]);
    let x = model.input();
    let weights = model.weights(&[1, 1, 1, 1], &[1.0]);
    let acc = model.node("Conv", &[&x, &weights], &[ints("pads", &[0, 0, 1, 0])]);
    let codes = model.quant(&acc, 1.0, 3, false);
    let pooled = model.node("MaxPool", &[&codes], &[ints("kernel_shape", &[3, 2])]);
    let flat = model.node("Flatten", &[&pooled], &[]);
    let output = model.last(&flat, 1);
    let import = model.import(&output).unwrap();
    assert_eq!(
        import.graph.to_string(),
        "graph test (input x [1 x 1 x 2 x 2])
  v0 [1 x 1 x 2 x 2] = Quant signed=true narrow=false rounding=HalfEven x, 1, 0, 8  # /quant0/Quant
  v2 [1 x 1 x 3 x 2] = Conv kernel=1x1 stride=1x1 pads=[0, 0, 1, 0] v0, 1  # /conv2/Conv
  v3 [1 x 1 x 3 x 2] = Quant signed=false narrow=false rounding=HalfEven v2, 1, 0, 3  # /quant3/Quant
  v4 [1 x 1 x 1 x 1] = MaxPool kernel=3x2 stride=1x1 pads=[0, 0, 0, 0] v3  # /maxpool4/MaxPool
  v5 [1 x 1] = Flatten axis=1 v4  # /flatten5/Flatten
  v7 [1 x 1] = MatMul v5, 1  # /matmul7/MatMul
output v7
"
    );
    assert_eq!(
        import.network.to_string(),
        "network test
input x: 1x2x2, s8 = real / 1, pixel p is 1 x p + 0, bytes XOR 0x00
layer conv2: map 0 -> map 1
  conv    1x2x2 -> 1x3x2, kernel=1x1 stride=1x1 pads=[0, 0, 1, 0]
  weights 1 of s8
  sums    6 MACs, -128..=127
  steps   to u3
    [0] 0, one more at each of >= 1 2 3 4 ... 7 (7 in all)
  pool    kernel=3x2 stride=1x1 pads=[0, 0, 0, 0]
  makes   1x1x1 of u3
layer matmul7: map 1 -> map 2
  conv    1x1x1 -> 1x1x1, kernel=1x1 stride=1x1 pads=[0, 0, 0, 0]
  weights 1 of s8
  sums    1 MACs, 0..=7
  raw
  makes   1x1x1 of s4
output: 1x1x1, s4
  value v7: 1 channels from 0 x 1
  output v7 [1]
"
    );
    assert!(format!("{:#}", import.network).contains(">= 1 2 3 4 5 6 7\n"));
}

#[test]
fn shapes_are_computed() {
    // The shape [batch, 2, 2, 2] becomes [1, 8] for a Reshape: its first two numbers times [1, 4],
    // which is 9 / 2 and the fourth part of 16 here, as integers.
    let mut model = Model::new(&[1, 2, 2, 2]);
    let shape = model.graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    shape.shape.as_mut().unwrap().dim[0].dim_param = "batch".to_owned();
    let x = model.input();
    let dims = model.node("Shape", &["x"], &[]);
    let indices = model.shape(&[0, -3]);
    let picked = model.node("Gather", &[&dims, &indices], &[int("axis", 0)]);
    let numbers = [model.shape(&[3, 9]), model.shape(&[2, 2])];
    let factors = model.node("Div", &[&numbers[0], &numbers[1]], &[]);
    let shape = model.node("Mul", &[&picked, &factors], &[]);
    let flat = model.node("Reshape", &[&x, &shape], &[]);
    let size = model.node("Size", &[&flat], &[]);
    let one = model.shape(&[1]);
    let size = model.node("Reshape", &[&size, &one], &[]);
    let bias = model.node("ConstantOfShape", &[&one], &[]);
    let size = model.node("Cast", &[&size], &[int("to", 1)]);
    let bias = model.node("Add", &[&bias, &size], &[]);
    let same = model.node("Cast", &[&flat], &[int("to", 1)]);
    let weights = model.weights(&[8, 1], &[1.0; 8]);
    let output = model.node("Gemm", &[&same, &weights, &bias], &[]);
    let network = model.import(&output).unwrap().network;
    assert_eq!(network.layers[0].terms[0].conv.kernel, [2, 2]);
    assert_eq!(network.output.values[0].ops, [HostOp::Mul(vec![1.0]), HostOp::Add(vec![8.0])]);
}

#[test]
fn outputs_that_are_constants_come_along() {
    let build = |second: fn(&mut Model, &str) -> String| {
        let mut model = Model::new(&[1, 1]);
        let x = model.input();
        let second = second(&mut model, &x);
        let output = model.last(&x, 1);
        let mut message = model.message(&output);
        let mut more = message.graph.as_ref().unwrap().output[0].clone();
        more.name = second;
        message.graph.as_mut().unwrap().output.push(more);
        import(&message.encode_to_vec(), &ImportOptions::default())
    };
    assert!(build(|m, _| m.scalar(0.5)).is_ok());
    assert!(build(|m, _| m.node("Constant", &[], &[float("value_float", 0.5)])).is_ok());
    // What depends on the input is an output of its own, here of the input's map.
    let network = build(|m, x| m.node("Relu", &[x], &[])).unwrap().network;
    let decoder = qnnsim_host::Decoder::new(&network.output).unwrap();
    let values: Vec<usize> = network.output.values.iter().map(|v| v.channels as usize).collect();
    assert_eq!((&values[..], decoder.outputs().len()), (&[1, 1][..], 2));
    assert_eq!(decoder.decode(&[-3, -3]), [[-3.0], [0.0]]);
}

/// A network whose operators have attributes that later versions of the standard made inputs.
fn of_opset(opset: i64) -> qnnsim_compiler::onnx::ModelProto {
    let mut m = Model::new(&[1, 2, 4, 6]);
    m.opset = opset;
    let x = m.input();
    let slice = match opset {
        ..10 => {
            m.node("Slice", &[&x], &[ints("axes", &[3]), ints("starts", &[1]), ints("ends", &[5])])
        }
        _ => {
            let constants = [1, 5, 3].map(|value| m.shape(&[value]));
            m.node("Slice", &[&x, &constants[0], &constants[1], &constants[2]], &[])
        }
    };
    let pad = match opset {
        ..11 => m.node("Pad", &[&slice], &[ints("pads", &[0, 0, 1, 0, 0, 0, 0, 1])]),
        _ => {
            let pads = m.shape(&[0, 0, 1, 0, 0, 0, 0, 1]);
            m.node("Pad", &[&slice, &pads], &[])
        }
    };
    let parts = match opset {
        ..13 => m.node("Split", &[&pad], &[int("axis", 1), ints("split", &[1, 1])]),
        _ => {
            let sizes = m.shape(&[1, 1]);
            m.node("Split", &[&pad, &sizes], &[int("axis", 1)])
        }
    };
    m.graph.node.last_mut().unwrap().output.push("second".to_owned());
    let sum = m.node("Add", &[&parts, "second"], &[]);
    let clip = match opset {
        ..11 => m.node("Clip", &[&sum], &[float("min", -3.0), float("max", 5.0)]),
        _ => {
            let ends = [-3.0, 5.0].map(|end| m.scalar(end));
            m.node("Clip", &[&sum, &ends[0], &ends[1]], &[])
        }
    };
    let codes = m.quant(&clip, 1.0, 4, true);
    let dropped = match opset {
        ..12 => m.node("Dropout", &[&codes], &[float("ratio", 0.5)]),
        _ => {
            let ratio = m.scalar(0.5);
            m.node("Dropout", &[&codes, &ratio], &[])
        }
    };
    let mean = match opset {
        ..18 => m.node("ReduceMean", &[&dropped], &[ints("axes", &[2]), int("keepdims", 1)]),
        _ => {
            let axes = m.shape(&[2]);
            m.node("ReduceMean", &[&dropped, &axes], &[int("keepdims", 1)])
        }
    };
    let squeezed = match opset {
        ..13 => m.node("Squeeze", &[&mean], &[ints("axes", &[2])]),
        _ => {
            let axes = m.shape(&[2]);
            m.node("Squeeze", &[&mean, &axes], &[])
        }
    };
    let back = match opset {
        ..13 => m.node("Unsqueeze", &[&squeezed], &[ints("axes", &[2])]),
        _ => {
            let axes = m.shape(&[2]);
            m.node("Unsqueeze", &[&squeezed, &axes], &[])
        }
    };
    let flat = m.node("Flatten", &[&back], &[]);
    let output = m.last(&flat, 5);
    m.message(&output)
}

#[test]
fn every_operator_set_says_the_same() {
    let network = |opset: i64| {
        let import = import(&of_opset(opset).encode_to_vec(), &ImportOptions::default());
        // Names have the numbers of constants in them.
        let mut network =
            import.unwrap_or_else(|errors| panic!("opset {opset}: {}", errors[0])).network;
        network.layers.iter_mut().for_each(|layer| layer.name.clear());
        network.output.values.iter_mut().for_each(|value| value.name.clear());
        network.output.outputs.iter_mut().for_each(|output| output.name.clear());
        network
    };
    let first = network(9);
    for opset in 10..=21 {
        assert_eq!(network(opset), first, "opset {opset}");
    }
}

#[test]
fn weights_may_stand_in_the_inputs_and_be_merged_with_other_constants() {
    let message = of_opset(13);
    let plain = import(&message.encode_to_vec(), &ImportOptions::default()).unwrap().network;
    // Initializers as inputs, which came with the first versions of the format.
    let mut with_inputs = message.clone();
    let graph = with_inputs.graph.as_mut().unwrap();
    let like = graph.input[0].clone();
    let named = |name: &String| ValueInfoProto { name: name.clone(), ..like.clone() };
    let names: Vec<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
    graph.input.extend(names.iter().map(named));
    assert_eq!(
        import(&with_inputs.encode_to_vec(), &ImportOptions::default()).unwrap().network,
        plain
    );
    // Equal constants once, whatever they are for: scales, ends, zero points and bit widths.
    let mut merged = message.clone();
    let graph = merged.graph.as_mut().unwrap();
    let mut kept: Vec<TensorProto> = Vec::new();
    for tensor in std::mem::take(&mut graph.initializer) {
        let same = |other: &&TensorProto| {
            TensorProto { name: tensor.name.clone(), ..(*other).clone() } == tensor
        };
        let Some(first) = kept.iter().find(same).map(|first| first.name.clone()) else {
            kept.push(tensor);
            continue;
        };
        let inputs = graph.node.iter_mut().flat_map(|node| &mut node.input);
        inputs.filter(|name| **name == tensor.name).for_each(|name| name.clone_from(&first));
    }
    assert!(kept.len() < names.len());
    graph.initializer = kept;
    // Domains in another order.
    merged
        .opset_import
        .insert(0, OperatorSetIdProto { domain: "qonnx.custom_op.general".to_owned(), version: 1 });
    assert_eq!(import(&merged.encode_to_vec(), &ImportOptions::default()).unwrap().network, plain);
}
