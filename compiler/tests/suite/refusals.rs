//! What the user reads when a model is refused, word for word.

use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::limits::supported;
use qnnsim_compiler::onnx::{ModelProto, NodeProto, data_type};
use qnnsim_tests::models::{Model, float, int, ints, string};

use prost::Message;

/// All diagnostics of bytes that must be refused.
fn refusal_of(bytes: &[u8]) -> String {
    match import(bytes, &ImportOptions::default()) {
        Ok(_) => panic!("accepted"),
        Err(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
    }
}

#[track_caller]
fn check(model: Model, output: &str, expect: &str) {
    assert_eq!(refusal_of(&model.bytes(output)), expect);
}

/// A model with an input of 3 x 4 x 4, quantized as `v0`.
fn map_model() -> (Model, String) {
    let mut model = Model::new(&[1, 3, 4, 4]);
    let x = model.input();
    (model, x)
}

/// A model with a dense layer of one input and one output, whose accumulator is the second value.
fn dense_model() -> (Model, String) {
    let mut model = Model::new(&[1, 1]);
    let x = model.input();
    let acc = model.last(&x, 1);
    (model, acc)
}

/// A quantizer and a layer of 1x1 behind a value of so many channels, so that it is the machine's.
fn behind(model: &mut Model, x: &str, channels: i64) -> String {
    let codes = model.quant(x, 1.0, 8, true);
    let weights = model.weights(&[1, channels, 1, 1], &vec![1.0; channels as usize]);
    model.node("Conv", &[&codes, &weights], &[])
}

#[test]
fn unknown_operator() {
    let (mut model, acc) = dense_model();
    let output = model.node("Gru", &[&acc], &[int("axis", 1)]);
    check(
        model,
        &output,
        "not supported: operator `Gru`
  at:   node `/gru3/Gru` (Gru)
  why:  only the operators in the list of supported operators can be compiled
  help: remove the node or replace it by supported operators
",
    );
}

#[test]
fn group_and_rounding_mode_at_once() {
    let (mut model, x) = map_model();
    let weights = model.weights(&[3, 1, 1, 1], &[1.0; 3]);
    let acc = model.node("Conv", &[&x, &weights], &[int("group", 0)]);
    let codes = model.quant_with(&acc, 1.0, 4, false, "NEAREST");
    check(
        model,
        &codes,
        "not supported: group 0
  at:   node `/conv2/Conv` (Conv), `group`
  why:  the number of groups is at least 1, and divides the channels and the outputs
  help: the file contradicts itself: export the model again
not supported: rounding mode `NEAREST`
  at:   node `/quant3/Quant` (Quant), `rounding_mode`
  why:  the rounding mode is ROUND (to nearest, ties to even), HALF_EVEN, HALF_UP (ties away from zero), HALF_DOWN \
(ties towards zero), FLOOR, CEIL, UP (away from zero), DOWN or ROUND_TO_ZERO
  help: use ROUND
",
    );
}

/// The first line and the place of a refusal.
#[track_caller]
fn check_start(model: Model, output: &str, expect: &str) {
    let text = refusal_of(&model.bytes(output));
    let start: Vec<&str> = text.lines().take_while(|line| !line.starts_with("  why:")).collect();
    assert_eq!(start.join("\n"), expect, "{text}");
}

/// A `Quant` of the dense model's accumulators with these parameters.
fn quant_refusal(scale: (&[i64], &[f32]), zero_point: f32, bits: f32, expect: &str) {
    let (mut model, acc) = dense_model();
    let scale = model.constant(scale.0, scale.1);
    let (zero_point, bits) = (model.scalar(zero_point), model.scalar(bits));
    let output = model.node(
        "Quant",
        &[&acc, &scale, &zero_point, &bits],
        &[int("signed", 1), int("narrow", 0)],
    );
    let expect = format!("not supported: {expect}\n  at:   node `/quant3/Quant` (Quant)");
    check_start(model, &output, &expect);
}

#[test]
fn quantizer_parameters() {
    quant_refusal((&[], &[-0.5]), 0.0, 8.0, "scale -0.5");
    quant_refusal((&[], &[0.0]), 0.0, 8.0, "scale 0");
    quant_refusal((&[2], &[1.0, 1.0]), 0.0, 8.0, "a quantizer parameter of shape [2]");
    quant_refusal((&[], &[1.0]), 2.5, 8.0, "zero point 2.5");
    quant_refusal((&[], &[1.0]), 0.0, 9.0, "bit width 9");
    quant_refusal((&[], &[1.0]), 0.0, 2.5, "bit width 2.5");
    quant_refusal((&[], &[1.0]), 0.0, 0.0, "bit width 0");
}

#[test]
fn constants_that_are_not_finite() {
    for value in [f32::NAN, f32::INFINITY] {
        let (mut model, acc) = dense_model();
        let constant = model.scalar(value);
        let output = model.node("Add", &[&acc, &constant], &[]);
        check_start(model, &output, &format!("not supported: {value} in constant `c7`"));
    }
}

#[test]
fn attributes() {
    let (mut model, x) = map_model();
    let weights = model.weights(&[1, 3, 1, 1], &[1.0; 3]);
    let conv = [string("auto_pad", "SAME"), ints("kernel_shape", &[1, 1])];
    let output = model.node("Conv", &[&x, &weights], &conv);
    let place = "\n  at:   node `/conv2/Conv` (Conv), `auto_pad`";
    check_start(model, &output, &format!("not supported: auto_pad SAME{place}"));

    let (mut model, x) = map_model();
    let output =
        model.node("MaxPool", &[&x], &[ints("kernel_shape", &[2, 2]), ints("dilations", &[2, 1])]);
    let place = "\n  at:   node `/maxpool1/MaxPool` (MaxPool), `dilations`";
    check_start(model, &output, &format!("not supported: dilations [2, 1]{place}"));

    let (mut model, acc) = dense_model();
    let output = model.node("Relu", &[&acc], &[float("alpha", 0.1)]);
    let place = "\n  at:   node `/relu3/Relu` (Relu), `alpha`";
    check_start(model, &output, &format!("not supported: attribute `alpha`{place}"));

    let (mut model, acc) = dense_model();
    let parameters = [1.0; 4].map(|value| model.constant(&[1], &[value]));
    let [a, b, c, d] = &parameters;
    let training = [int("training_mode", 1)];
    let output = model.node("BatchNormalization", &[&acc, a, b, c, d], &training);
    let place = "\n  at:   node `/batchnormalization3/BatchNormalization` (BatchNormalization), `training_mode`";
    check_start(model, &output, &format!("not supported: training mode{place}"));
}

#[test]
fn structure() {
    let (mut model, acc) = dense_model();
    let weights = model.weights(&[1, 1], &[2.0]);
    let other = model.node("MatMul", &["v0", &weights], &[]);
    let ratio = model.node("Div", &[&acc, &other], &[]);
    let codes = model.quant(&ratio, 1.0, 4, true);
    let output = model.last(&codes, 1);
    check_start(
        model,
        &output,
        "not supported: an operation on two maps\n  at:   node `/div5/Div` (Div)",
    );

    let (mut model, acc) = dense_model();
    let half = model.scalar(0.5);
    let x = model.node("Add", &[&acc, &half], &[]);
    let output = model.last(&x, 1);
    check_start(
        model,
        &output,
        "not supported: `MatMul` of values that are not quantized\n  at:   node `/matmul5/MatMul` (MatMul)",
    );

    let (mut model, acc) = dense_model();
    let softmax = model.node("Softmax", &[&acc], &[]);
    let output = model.last(&softmax, 1);
    check_start(
        model,
        &output,
        "not supported: `Softmax` in front of a layer\n  at:   node `/softmax3/Softmax` (Softmax)",
    );

    let mut model = Model::new(&[1, 1]);
    let output = model.node("Tanh", &["x"], &[]);
    check_start(model, &output, "not supported: a model without layers");

    let (mut model, x) = map_model();
    // No two of these are small multiples of one number.
    let weights = model.constant(&[1, 3, 1, 1], &[1.0, 2f32.sqrt(), 3f32.sqrt()]);
    let output = model.node("Conv", &[&x, &weights], &[]);
    check_start(
        model,
        &output,
        "not supported: a layer whose weights have no quantizer\n  at:   node `/conv1/Conv` (Conv)",
    );

    // A constant for each pixel.
    let (mut model, x) = map_model();
    let weights = model.weights(&[1, 3, 1, 1], &[1.0; 3]);
    let acc = model.node("Conv", &[&x, &weights], &[]);
    let bias = model.constant(&[4, 4], &[1.0; 16]);
    let sum = model.node("Add", &[&acc, &bias], &[]);
    let output = behind(&mut model, &sum, 1);
    check_start(
        model,
        &output,
        "not supported: a constant of shape [4, 4] for 1 channels\n  at:   node `/add3/Add` (Add)",
    );

    // A pooling whose maximum says nothing of the square behind it.
    let (mut model, x) = map_model();
    let weights = model.weights(&[1, 3, 1, 1], &[1.0; 3]);
    let acc = model.node("Conv", &[&x, &weights], &[]);
    let pooled = model.node("MaxPool", &[&acc], &[ints("kernel_shape", &[4, 4])]);
    let two = model.scalar(2.0);
    let square = model.node("Pow", &[&pooled, &two], &[]);
    let codes = model.quant(&square, 1.0, 4, true);
    let flat = model.node("Flatten", &[&codes], &[]);
    let output = model.last(&flat, 1);
    check_start(
        model,
        &output,
        "not supported: a pooling whose maxima then fall and rise\n  at:   node `/maxpool3/MaxPool` (MaxPool)",
    );
}

#[test]
fn branches() {
    // Means of 1 to 40 values: no small number is a multiple of all these.
    let mut model = Model::new(&[1, 1, 1, 40]);
    let x = model.input();
    let output = model.node(
        "AveragePool",
        &[&x],
        &[ints("kernel_shape", &[1, 40]), ints("pads", &[0, 39, 0, 39])],
    );
    check_start(
        model,
        &output,
        "not supported: means over windows of [1, 40]\n  at:   node `/averagepool1/AveragePool` (AveragePool)",
    );

    // A padded layer over sums of windows.
    let (mut model, x) = map_model();
    let weights = model.weights(&[1, 3, 3, 3], &[127.0; 27]);
    let sums = model.node("Conv", &[&x, &weights], &[]);
    let weights = model.weights(&[1, 1, 3, 3], &[1.0; 9]);
    let output = model.node("Conv", &[&sums, &weights], &[ints("pads", &[1, 1, 1, 1])]);
    check_start(
        model,
        &output,
        "not supported: padding around values that are not a map\n  at:   node `/conv4/Conv` (Conv)",
    );

    // 127 x + 0.987 q: weights of 127 leave room for factors up to 8, and no such fraction stands
    // for 0.987 where q goes from -128 to 127.
    let mut model = Model::new(&[1, 1]);
    let x = model.input();
    let acc = model.last(&x, 1);
    let map = model.quant(&acc, 0.987, 8, true);
    let weights = model.weights(&[1, 1], &[127.0]);
    let wide = model.node("MatMul", &[&x, &weights], &[]);
    let sum = model.node("Add", &[&wide, &map], &[]);
    let codes = model.quant(&sum, 1.0, 8, true);
    let output = model.last(&codes, 1);
    let text = refusal_of(&model.bytes(&output));
    assert!(text.starts_with("not supported: a sum whose scales are as 1 to ["), "{text}");
    assert!(text.contains("at:   node `/add6/Add` (Add)"), "{text}");

    let (mut model, x) = map_model();
    let joined = model.node("Concat", &[&x, &x], &[int("axis", 2)]);
    let output = behind(&mut model, &joined, 3);
    check_start(model, &output, "not supported: axis 2\n  at:   node `/concat1/Concat` (Concat)");

    let (mut model, x) = map_model();
    let output = model.node("Pad", &[&x], &[string("mode", "reflect"), ints("pads", &[0; 8])]);
    check_start(
        model,
        &output,
        "not supported: padding of mode `reflect`\n  at:   node `/pad1/Pad` (Pad), `mode`",
    );

    // Weights times weights.
    let (mut model, acc) = dense_model();
    let weights = model.weights(&[1, 1], &[-128.0]);
    let sum = model.node("MatMul", &[&acc, &weights], &[]);
    let weights = model.weights(&[1, 1], &[-128.0]);
    let output = model.node("MatMul", &[&sum, &weights], &[]);
    check_start(
        model,
        &output,
        "not supported: a weight of 16384\n  at:   node `/matmul6/MatMul` (MatMul)",
    );
}

#[test]
fn accumulators_beyond_32_bits() {
    // 131,072 products of 128 x 128 are 2^31.
    let inputs = 1 << 17;
    let mut model = Model::new(&[1, 2, 256, 256]);
    let x = model.input();
    let flat = model.node("Flatten", &[&x], &[]);
    let weights = model.weights(&[inputs, 1], &vec![-128.0; inputs as usize]);
    let output = model.node("MatMul", &[&flat, &weights], &[]);
    check_start(
        model,
        &output,
        "not supported: an accumulator from -2130706432 to 2147483648\n  at:   node `/matmul3/MatMul` (MatMul)",
    );
}

#[test]
fn values_beyond_doubles() {
    // 127 x 3e38^9 is beyond 1e308.
    let (mut model, mut x) = dense_model();
    for _ in 0..9 {
        let huge = model.scalar(3e38);
        x = model.node("Mul", &[&x, &huge], &[]);
    }
    let codes = model.quant(&x, 1.0, 8, true);
    let output = model.last(&codes, 1);
    check_start(
        model,
        &output,
        "not supported: channel 0 at the accumulator -128\n  at:   node `/matmul2/MatMul` (MatMul)",
    );
}

#[test]
fn the_exporters_sign_of_a_relu() {
    let (mut model, acc) = dense_model();
    let relu = model.node("Relu", &[&acc], &[]);
    let codes = model.bipolar(&relu, 1.0);
    let output = model.last(&codes, 1);
    let bytes = model.bytes(&output);
    assert_eq!(
        refusal_of(&bytes),
        "not supported: a BipolarQuant that is constantly +1, since its input lies in [0, inf]
  at:   node `/bipolarquant4/BipolarQuant` (BipolarQuant)
  why:  the input of a `BipolarQuant` on activations can be negative; a known defect of Brevitas (seen with \
0.12) exports a 1-bit unsigned QuantReLU as a Relu and a BipolarQuant, although what was trained quantizes to 0 and 1
  help: with --unsigned-1bit-relu such a BipolarQuant is read as an unsigned 1-bit Quant of the same scale, \
which is what the trained model computes
"
    );
    let options = ImportOptions { unsigned_1bit_relu: true, ..ImportOptions::default() };
    assert!(import(&bytes, &options).is_ok());
}

#[test]
fn a_flag_that_does_nothing_is_said() {
    let (model, acc) = dense_model();
    let options = ImportOptions {
        unsigned_1bit_relu: true,
        pixel_scale: vec![0.25],
        ..ImportOptions::default()
    };
    let warnings = import(&model.bytes(&acc), &options).unwrap().warnings;
    let text: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        ["--unsigned-1bit-relu changes nothing here
  why:  the model has no BipolarQuant whose input cannot be negative
  help: leave the option away"]
    );
}

#[test]
fn options_that_do_not_fit() {
    let (model, acc) = dense_model();
    let options = ImportOptions {
        pixel_scale: vec![f64::NAN],
        classes: vec!["a".to_owned(), "b".to_owned()],
        ..ImportOptions::default()
    };
    let errors = import(&model.bytes(&acc), &options).unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "--pixel-scale is NaN\n  help: give a finite number",
            "2 class names for 1 outputs\n  help: give one name for each output, or none",
        ]
    );
}

/// Damages the dense model's messages.
fn damaged(damage: impl Fn(&mut ModelProto)) -> String {
    let (model, acc) = dense_model();
    let mut message = model.message(&acc);
    damage(&mut message);
    let text = refusal_of(&message.encode_to_vec());
    text.lines().next().unwrap().to_owned()
}

fn node(model: &mut ModelProto, index: usize) -> &mut NodeProto {
    &mut model.graph.as_mut().unwrap().node[index]
}

#[test]
fn damaged_files() {
    let foreign = "the file is not an ONNX model";
    assert!(refusal_of(b"").starts_with(foreign));
    assert!(refusal_of(b"\x89PNG\r\n\x1a\n").starts_with(foreign));
    assert_eq!(
        damaged(|m| m.graph.as_mut().unwrap().output.clear()),
        "not supported: a model with 0 outputs"
    );
    assert_eq!(
        damaged(|m| node(m, 2).input[0] = "y".to_owned()),
        "`y` is neither a constant nor made by a node"
    );
    assert_eq!(
        damaged(|m| node(m, 0).input[0] = "v2".to_owned()),
        "`v2` is read before it is made"
    );
    assert_eq!(damaged(|m| node(m, 2).output[0] = "v0".to_owned()), "`v0` is defined twice");
    assert_eq!(
        damaged(|m| node(m, 2).input.truncate(1)),
        "the node has 1 inputs in place of 2..=2"
    );
    let constant = |damage: fn(&mut qnnsim_compiler::onnx::TensorProto)| {
        damaged(|m| damage(&mut m.graph.as_mut().unwrap().initializer[0]))
    };
    assert_eq!(constant(|t| t.dims = vec![-1]), "not supported: shape [-1] of constant `c0`");
    assert_eq!(
        constant(|t| t.dims = vec![1 << 40, 1 << 40]),
        "not supported: shape [1099511627776, 1099511627776] of constant `c0`"
    );
    assert_eq!(
        constant(|t| t.dims = vec![7]),
        "constant `c0` of shape [7] has 1 values in place of 7"
    );
    assert_eq!(constant(|t| t.data_location = 1), "not supported: constant `c0` elsewhere");
    assert_eq!(
        constant(|t| t.data_type = data_type::DOUBLE),
        "the 4 bytes of constant `c0` are not a multiple of 8"
    );
    assert_eq!(constant(|t| t.data_type = 8), "not supported: element type 8 of constant `c0`");
}

#[test]
fn sizes() {
    let first_line = |model: Model, output: &str| {
        refusal_of(&model.bytes(output)).lines().next().unwrap().to_owned()
    };
    let model = Model::new(&[1, 1, 4096, 1]);
    assert_eq!(first_line(model, "x"), "not supported: input `x` of shape [1, 1, 4096, 1]");
    let model = Model::new(&[-2, 1]);
    assert_eq!(first_line(model, "x"), "not supported: input `x` of shape [-2, 1]");
    let model = Model::new(&[1, -5]);
    assert_eq!(first_line(model, "x"), "not supported: input `x` of shape [1, 0]");
    let (mut model, x) = map_model();
    let weights = model.weights(&[1, 3, 5, 1], &[1.0; 15]);
    let output = model.node("Conv", &[&x, &weights], &[]);
    assert_eq!(
        first_line(model, &output),
        "not supported: a window of [5, 1] on shape [1, 3, 4, 4]"
    );
}

/// `UPDATE=1 cargo test -p qnnsim-compiler refusals::` writes the list.
#[test]
fn higher_resolutions() {
    let large = |model: &mut Model, x: &str, scale: f32, attributes: &[_]| {
        let scales = model.constant(&[4], &[1.0, 1.0, scale, scale]);
        model.node("Resize", &[x, "", &scales], attributes)
    };
    let (mut model, x) = map_model();
    let output = large(&mut model, &x, 1e9, &[]);
    check(
        model,
        &output,
        "not supported: dimension 2 times 1000000000
  at:   node `/resize1/Resize` (Resize)
  why:  in front of a layer, `Resize` has mode `nearest`, constant whole factors for rows and columns, and coordinates \
that repeat each value: `asymmetric` with `floor`, or `half_pixel`; behind the last layer, mode `nearest` or `linear` \
and constant factors or sizes of rows and columns
  help: use nn.Upsample with mode nearest and a whole scale_factor
",
    );
    let (mut model, x) = map_model();
    let output = large(&mut model, &x, 2.0, &[string("mode", "cubic")]);
    check_start(
        model,
        &output,
        "not supported: mode `cubic`\n  at:   node `/resize1/Resize` (Resize), `mode`",
    );
    let shifted =
        [string("coordinate_transformation_mode", "asymmetric"), string("nearest_mode", "ceil")];
    for (scale, attributes) in
        [(1.5, &[][..]), (2.0, &[string("mode", "linear")]), (2.0, &shifted[..])]
    {
        let (mut model, x) = map_model();
        let x = large(&mut model, &x, scale, attributes);
        let output = behind(&mut model, &x, 3);
        let found = "not supported: a `Resize` that does not repeat each value, in front of a layer
  at:   node `/resize1/Resize` (Resize)";
        check_start(model, &output, found);
    }
    let (mut model, x) = map_model();
    let x = large(&mut model, &x, 2.0, &[]);
    let pooled = model.node("MaxPool", &[&x], &[ints("kernel_shape", &[2, 2])]);
    let output = behind(&mut model, &pooled, 3);
    check(
        model,
        &output,
        "not supported: a `MaxPool` in this place
  at:   node `/maxpool2/MaxPool` (MaxPool)
  why:  a `MaxPool` reads a map at the resolution at which it is held
  help: use a convolution with a stride, or pool before the resolution is raised
",
    );
    // (4 - 1) x 2 + 3 = 9.
    let (mut model, x) = map_model();
    let weights = model.weights(&[3, 1, 3, 3], &[1.0; 27]);
    let output = model.node("ConvTranspose", &[&x, &weights], &[ints("strides", &[2, 2])]);
    check(
        model,
        &output,
        "not supported: 9 x 9 pixels in blocks of 2 x 2
  at:   node `/convtranspose2/ConvTranspose` (ConvTranspose)
  why:  a map of a higher resolution than its source has a size that is a multiple of the factor between them
  help: choose padding and output_padding so that the sizes are multiples of the strides
",
    );
    // A sum that is not quantized, of the map's resolution, and a value of half of it.
    let (mut model, x) = map_model();
    let weights = model.weights(&[3, 3, 1, 1], &[1.0; 9]);
    let half = model.node("Conv", &[&x, &weights], &[ints("strides", &[2, 2])]);
    let half = model.quant(&half, 1.0, 4, true);
    let half = large(&mut model, &half, 2.0, &[]);
    let quarter = model.scalar(0.3);
    let sums = model.node("Conv", &[&x, &weights], &[]);
    let sums = model.node("Add", &[&sums, &quarter], &[]);
    let sums = model.node("Add", &[&sums, &half], &[]);
    let output = behind(&mut model, &sums, 3);
    let found = "not supported: a sum of values of several resolutions or layouts\n  at:   node `/add7/Add` (Add)";
    check_start(model, &output, found);
}

#[test]
fn products_that_do_not_fit() {
    for shape in [[3, 2], [2, 3]] {
        let mut model = Model::new(&[1, 4]);
        let x = model.input();
        let weights = model.weights(&shape, &[1.0; 6]);
        let output = model.node("MatMul", &[&x, &weights], &[]);
        let found = format!(
            "not supported: a product of shapes [1, 4] and {shape:?}\n  at:   node `/matmul2/MatMul` (MatMul)"
        );
        check_start(model, &output, &found);
    }
}

/// A vector is laid out as rows and columns of at most 4,095 each, where its length allows it.
#[test]
fn a_product_over_a_vector_without_factors_says_what_to_do() {
    let model = |length: i64| {
        let mut model = Model::new(&[1, length]);
        let x = model.input();
        let weights = model.weights(&[length, 1], &vec![1.0; length as usize]);
        let output = model.node("MatMul", &[&x, &weights], &[]);
        model.bytes(&output)
    };
    // 4,099 and 4,111 are prime, and 4,100 = 2 x 2,050.
    for length in [4_099, 4_111] {
        let text = refusal_of(&model(length));
        assert!(text.contains("pad it with zeros"), "{text}");
    }
    for length in [4_096, 4_100, 4_095 * 2] {
        assert!(import(&model(length), &ImportOptions::default()).is_ok(), "{length}");
    }
}

#[test]
fn list_of_supported_models_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SUPPORTED.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, supported()).expect("the list can be written");
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stored == supported(),
        "compiler/SUPPORTED.md is out of date: see the test's first line"
    );
}
