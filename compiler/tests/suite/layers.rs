//! Graphs with branches, averages and groups, whose integer networks are derived by hand.

use qnnsim_compiler::import::Import;
use qnnsim_compiler::ir::{Activation, Layer, MapId, StepFunction, WeightKind};
use qnnsim_isa::descriptor::{Code, HostOp, TensorLayout};
use qnnsim_tests::models::{Model, floats, int, ints, string};

fn import(model: Model, output: &str) -> Import {
    model.import(output).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn layers(model: Model, output: &str) -> Vec<Layer> {
    import(model, output).network.layers
}

fn steps(layer: &Layer) -> &[StepFunction] {
    match &layer.activation {
        Activation::Steps { channels, .. } => channels,
        Activation::Raw => panic!("layer {} has no steps", layer.name),
    }
}

fn rising(lowest: i64, thresholds: &[i64]) -> StepFunction {
    StepFunction { lowest, rising: true, thresholds: thresholds.to_vec() }
}

/// Which maps a layer reads.
fn sources(layer: &Layer) -> Vec<usize> {
    layer.terms.iter().map(|term| term.source.0).collect()
}

/// Two maps of one channel and 2 unsigned bits, with these scales, made by two layers of the input.
fn two_maps(m: &mut Model, scales: [f32; 2]) -> [String; 2] {
    let x = m.input();
    scales.map(|scale| {
        let acc = m.last(&x, 1);
        m.quant(&acc, scale, 2, false)
    })
}

/// The code of a layer of two terms with one weight each.
fn code(layer: &Layer, values: [i64; 2]) -> i64 {
    let of = |(i, term): (usize, &qnnsim_compiler::ir::Term)| {
        i64::from(term.weights.data[0]) * values[i]
    };
    let ordered = sources(layer) == [1, 2];
    let sum = layer
        .terms
        .iter()
        .enumerate()
        .map(|(i, term)| of((if ordered { i } else { 1 - i }, term)))
        .sum();
    steps(layer)[0].code(sum)
}

#[test]
fn equal_scales_add_up_with_weights_of_one() {
    let mut m = Model::new(&[1, 1]);
    let [a, b] = two_maps(&mut m, [0.5, 0.5]);
    let sum = m.node("Add", &[&a, &b], &[]);
    // Steps of 0.5 in steps of 1: n / 2, ties to even: 1 -> 0, 2 -> 1, 3 -> 1.5 -> 2, 5 -> 2.5 ->
    // 2, 6 -> 3.
    let codes = m.quant(&sum, 1.0, 2, false);
    let output = m.last(&codes, 1);
    let layers = layers(m, &output);
    assert_eq!(layers.len(), 4);
    assert_eq!(sources(&layers[2]), [1, 2]);
    for term in &layers[2].terms {
        assert_eq!(
            (term.weights.kind, &term.weights.data[..]),
            (WeightKind::Unsigned1, &[1i8][..])
        );
    }
    assert_eq!(steps(&layers[2])[0], rising(0, &[2, 3, 6]));
    assert_eq!(layers[2].name, "add7");
}

#[test]
fn a_difference_has_a_weight_of_minus_one() {
    let mut m = Model::new(&[1, 1]);
    let [a, b] = two_maps(&mut m, [1.0, 1.0]);
    let difference = m.node("Sub", &[&a, &b], &[]);
    let codes = m.quant(&difference, 1.0, 3, true);
    let output = m.last(&codes, 1);
    let layers = layers(m, &output);
    let weights: Vec<i8> = layers[2].terms.iter().map(|term| term.weights.data[0]).collect();
    assert_eq!(weights, [1, -1]);
    assert_eq!(steps(&layers[2])[0], rising(-3, &[-2, -1, 0, 1, 2, 3]));
}

#[test]
fn scales_with_a_common_step_have_whole_weights() {
    let mut m = Model::new(&[1, 1]);
    let [a, b] = two_maps(&mut m, [1.5, 0.5]);
    let sum = m.node("Add", &[&a, &b], &[]);
    // 3a + b steps of 0.5, in steps of 4: n / 8: 5 -> 0.625 -> 1 (4 is a tie to 0), 12 -> 1.5 -> 2.
    let codes = m.quant(&sum, 4.0, 2, false);
    let output = m.last(&codes, 1);
    let layers = layers(m, &output);
    let weights: Vec<i8> = layers[2].terms.iter().map(|term| term.weights.data[0]).collect();
    assert_eq!(weights, [3, 1]);
    assert_eq!(steps(&layers[2])[0], rising(0, &[5, 12]));
}

#[test]
fn other_scales_are_tried_at_all_pairs() {
    let mut m = Model::new(&[1, 1]);
    let [a, b] = two_maps(&mut m, [1.0, 0.3]);
    let sum = m.node("Add", &[&a, &b], &[]);
    let codes = m.quant(&sum, 1.0, 3, false);
    let output = m.last(&codes, 1);
    let layers = layers(m, &output);
    // 0.3 b is 0, 0.3, 0.6 or 0.9: one more from b = 2 on.
    for a in 0..4 {
        for b in 0..4 {
            assert_eq!(code(&layers[2], [a, b]), a + i64::from(b >= 2), "{a} {b}");
        }
    }
}

#[test]
fn an_operand_need_not_be_quantized() {
    // 2 x + 0.25 from a layer, and a map in steps of 3: no weights but 2 and 3 give all codes in
    // steps of 1.
    let mut m = Model::new(&[1, 1]);
    let x = m.quant("x", 1.0, 2, false);
    let weights = m.weights(&[1, 1], &[1.0]);
    let acc = m.node("MatMul", &[&x, &weights], &[]);
    let map = m.quant(&acc, 3.0, 1, false);
    let (two, quarter) = (m.scalar(2.0), m.scalar(0.25));
    let branch = m.node("Mul", &[&acc, &two], &[]);
    let branch = m.node("Add", &[&branch, &quarter], &[]);
    let sum = m.node("Add", &[&branch, &map], &[]);
    let codes = m.quant(&sum, 1.0, 4, false);
    let output = m.last(&codes, 1);
    let layers = layers(m, &output);
    assert_eq!(sources(&layers[1]), [0, 1]);
    let weights: Vec<i8> = layers[1].terms.iter().map(|term| term.weights.data[0]).collect();
    assert_eq!(weights, [2, 3]);
    let sum = |x: i64, q: i64| steps(&layers[1])[0].code(2 * x + 3 * q);
    for (x, q) in (0..4).flat_map(|x| (0..2).map(move |q| (x, q))) {
        // 2 x + 3 q + 0.25 to the nearest.
        assert_eq!(sum(x, q), 2 * x + 3 * q, "{x} {q}");
    }
}

#[test]
fn joined_maps_are_terms_of_their_reader() {
    let mut m = Model::new(&[1, 1]);
    let [a, b] = two_maps(&mut m, [1.0, 1.0]);
    let joined = m.node("Concat", &[&a, &b, &a], &[int("axis", 1)]);
    let weights = m.weights(&[3, 1], &[2.0, 5.0, 7.0]);
    let output = m.node("MatMul", &[&joined, &weights], &[]);
    let layers = layers(m, &output);
    assert_eq!(layers.len(), 3);
    assert_eq!(sources(&layers[2]), [1, 2]);
    let weights: Vec<i8> = layers[2].terms.iter().map(|term| term.weights.data[0]).collect();
    assert_eq!(weights, [2 + 7, 5]);
}

#[test]
fn groups_and_shuffles() {
    // A depthwise convolution of 4 channels, their halves in turn, and a dense layer.
    let mut m = Model::new(&[1, 4, 1, 1]);
    let x = m.input();
    let weights = m.weights(&[4, 1, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
    let acc = m.node("Conv", &[&x, &weights], &[int("group", 4)]);
    let codes = m.quant(&acc, 1.0, 8, true);
    let shapes = [m.shape(&[1, 2, 2, 1, 1]), m.shape(&[1, 4, 1, 1])];
    let split = m.node("Reshape", &[&codes, &shapes[0]], &[]);
    let swapped = m.node("Transpose", &[&split], &[ints("perm", &[0, 2, 1, 3, 4])]);
    let shuffled = m.node("Reshape", &[&swapped, &shapes[1]], &[]);
    let weights = m.weights(&[1, 4, 1, 1], &[10.0, 20.0, 30.0, 40.0]);
    let output = m.node("Conv", &[&shuffled, &weights], &[]);
    let layers = layers(m, &output);
    assert_eq!(
        (layers[0].terms[0].conv.groups, &layers[0].terms[0].weights.data[..]),
        (4, &[1i8, 2, 3, 4][..])
    );
    // The shuffle brings channels 0, 2, 1, 3, so channel 1 meets the third weight.
    assert_eq!(layers[1].terms[0].weights.data, [10, 30, 20, 40]);
}

/// The layer of an average over a window of these sizes, in steps of 0.1 before and behind, and its
/// thresholds.
fn average(kernel: [i64; 2]) -> (Layer, StepFunction) {
    let mut m = Model::new(&[1, 2, 3, 3]);
    let x = m.quant("x", 0.1, 2, false);
    let mean = m.node("AveragePool", &[&x], &[ints("kernel_shape", &kernel)]);
    let codes = m.quant(&mean, 0.1, 2, false);
    let flat = m.node("Flatten", &[&codes], &[]);
    let inputs = 2 * (4 - kernel[0]) * (4 - kernel[1]);
    let output = m.last(&flat, inputs as usize);
    let layers = layers(m, &output);
    (layers[0].clone(), steps(&layers[0])[1].clone())
}

#[test]
fn averages_are_sums_with_exact_ties() {
    let (layer, four) = average([2, 2]);
    assert_eq!((layer.terms[0].conv.groups, layer.terms[0].conv.kernel), (2, [2, 2]));
    assert_eq!(
        (layer.terms[0].weights.kind, layer.terms[0].weights.data.len()),
        (WeightKind::Unsigned1, 8)
    );
    // n / 4: 2 is a tie to 0, 3 -> 1, 6 a tie to 2, 10 a tie to 2, 11 -> 3.
    assert_eq!(four, rising(0, &[3, 6, 11]));
    // n / 6: 3 is a tie to 0, 9 to 2, 15 to 2; none of the thirds of a float may break it.
    assert_eq!(average([2, 3]).1, rising(0, &[4, 9, 16]));
    // n / 9 has no ties: 4.5, 13.5, 22.5.
    assert_eq!(average([3, 3]).1, rising(0, &[5, 14, 23]));
}

#[test]
fn a_mean_goes_into_the_weights_of_the_next_layer() {
    let mut m = Model::new(&[1, 2, 3, 3]);
    let x = m.quant("x", 0.5, 2, false);
    let mean = m.node("ReduceMean", &[&x], &[ints("axes", &[2, 3]), int("keepdims", 0)]);
    let weights = m.weights(&[2, 1], &[3.0, -4.0]);
    let output = m.node("MatMul", &[&mean, &weights], &[]);
    let network = import(m, &output).network;
    assert_eq!(network.layers.len(), 1);
    let term = &network.layers[0].terms[0];
    assert_eq!(term.conv.kernel, [3, 3]);
    assert_eq!(term.weights.data, [[3i8; 9], [-4; 9]].concat());
    assert_eq!(network.output.values[0].ops, [HostOp::Mul(vec![0.5]), HostOp::Div(vec![9.0])]);
}

#[test]
fn a_maximum_of_a_map_with_other_readers_is_a_layer() {
    let mut m = Model::new(&[1, 1, 2, 2]);
    let x = m.quant("x", 1.0, 2, true);
    let pooled = m.node("MaxPool", &[&x], &[ints("kernel_shape", &[2, 2])]);
    let weights = m.weights(&[1, 1, 2, 2], &[1.0; 4]);
    let acc = m.node("Conv", &[&x, &weights], &[]);
    let codes = m.quant(&acc, 1.0, 2, true);
    let sum = m.node("Add", &[&pooled, &codes], &[]);
    let flat = m.node("Flatten", &[&sum], &[]);
    let output = m.last(&flat, 1);
    let network = import(m, &output).network;
    let names: Vec<&str> = network.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["quant0", "conv3", "matmul8"]);
    assert_eq!(steps(&network.layers[0])[0], rising(-2, &[-1, 0, 1]));
    assert!(network.layers[0].pool.is_some());
    assert_eq!(network.map(MapId(1)).1, Code { bits: 2, signed: true });
    assert_eq!(sources(&network.layers[2]), [1, 2]);
}

#[test]
fn slices_and_padding_are_geometry() {
    // Rows 1 and 2 of 3, one zero column on the left: two channels of the second half.
    let mut m = Model::new(&[1, 4, 3, 3]);
    let x = m.input();
    let lists = [&[2i64, 1][..], &[4, 3], &[1, 2]].map(|list| m.shape(list));
    let [starts, ends, axes] = &lists;
    let part = m.node("Slice", &[&x, starts, ends, axes], &[]);
    let pads = m.shape(&[0, 0, 0, 1, 0, 0, 0, 0]);
    let padded = m.node("Pad", &[&part, &pads], &[]);
    let weights = m.weights(&[1, 2, 2, 4], &(1..=16).map(|w| w as f32).collect::<Vec<_>>());
    let output = m.node("Conv", &[&padded, &weights], &[]);
    let layers = layers(m, &output);
    let term = &layers[0].terms[0];
    // One row of taps without weight in front, and the padding on the left.
    assert_eq!((term.conv.kernel, term.conv.pads), ([3, 4], [0, 1, 0, 0]));
    let expected: Vec<i8> = [[0; 24], [0; 24]].concat();
    assert_eq!(term.weights.data[..24], expected[..24]);
    assert_eq!(term.weights.data[24..36], [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(term.weights.data[36..], [0, 0, 0, 0, 9, 10, 11, 12, 13, 14, 15, 16]);
}

#[test]
fn sums_that_meet_padding_become_a_map() {
    // Sums of two bytes, -256 to 254: what lies above 0 in two parts of at most 127, what lies
    // below in two of -128.
    let mut m = Model::new(&[1, 1, 1, 3]);
    let x = m.input();
    let sums = m.node("AveragePool", &[&x], &[ints("kernel_shape", &[1, 2])]);
    let weights = m.weights(&[1, 1, 1, 3], &[1.0, 2.0, 3.0]);
    let output = m.node("Conv", &[&sums, &weights], &[ints("pads", &[0, 1, 0, 1])]);
    let import = import(m, &output);
    let layers = &import.network.layers;
    assert_eq!(layers.len(), 2);
    let parts = steps(&layers[0]);
    let range = |low: i64, high: i64| (low..=high).collect::<Vec<_>>();
    assert_eq!(parts[0], rising(0, &range(1, 127)));
    assert_eq!(parts[1], rising(0, &range(128, 254)));
    assert_eq!(parts[2], rising(-128, &range(-127, 0)));
    assert_eq!(parts[3], rising(-128, &range(-255, -128)));
    for sum in [-256, -200, -128, -1, 0, 5, 127, 128, 254] {
        assert_eq!(parts.iter().map(|steps| steps.code(sum)).sum::<i64>(), sum);
    }
    // Every part has the reader's weights, and pads with zero.
    let term = &layers[1].terms[0];
    assert_eq!((term.pad_value, &term.weights.data[..]), (0, &[1i8, 2, 3].repeat(4)[..]));
    assert_eq!(import.maps[1].value, None);
}

#[test]
fn small_sums_that_meet_padding_are_a_map_of_their_own() {
    // Sums of two unsigned codes of 2 bits: 0 to 6, which is the mean in steps of a half.
    let mut m = Model::new(&[1, 1, 1, 3]);
    let x = m.quant("x", 1.0, 2, false);
    let sums = m.node("AveragePool", &[&x], &[ints("kernel_shape", &[1, 2])]);
    let weights = m.weights(&[1, 1, 1, 3], &[1.0, 2.0, 3.0]);
    let output = m.node("Conv", &[&sums, &weights], &[ints("pads", &[0, 1, 0, 1])]);
    let import = import(m, &output);
    let network = &import.network;
    assert_eq!(steps(&network.layers[0])[0], rising(0, &[1, 2, 3, 4, 5, 6]));
    assert_eq!(network.code(MapId(1)), Code { bits: 3, signed: false });
    assert_eq!(network.output.values[0].ops, [HostOp::Mul(vec![0.5])]);
}

#[test]
fn means_that_vary_at_the_borders_count_their_regions() {
    // A window of 3 with padding of 1 over four values: means of 2, 3, 3 and 2 of them, which is 3,
    // 2, 2 and 3 sixths.
    let mut m = Model::new(&[1, 1, 1, 4]);
    let x = m.quant("x", 1.0, 2, false);
    let mean =
        m.node("AveragePool", &[&x], &[ints("kernel_shape", &[1, 3]), ints("pads", &[0, 1, 0, 1])]);
    let codes = m.quant(&mean, 1.0, 2, false);
    let flat = m.node("Flatten", &[&codes], &[]);
    let output = m.last(&flat, 4);
    let import = import(m, &output);
    let layer = &import.network.layers[0];
    let found: Vec<_> = layer
        .terms
        .iter()
        .map(|term| (term.region.unwrap().columns, term.weights.data[0]))
        .collect();
    assert_eq!(found, [([0, 1], 3), ([1, 3], 2), ([3, 4], 3)]);
    // Codes 1, 2 and 3 begin above 1/2 (a tie goes to 0), at 3/2 and above 5/2.
    assert_eq!(steps(layer)[0], rising(0, &[4, 9, 16]));
}

#[test]
fn weights_stand_on_either_side() {
    // Outputs by inputs, as a dense layer has them, however they come.
    let expected = [1i8, 2, 3, 4, 5, 6];
    let by_output: Vec<f32> = (1..=6).map(|w| w as f32).collect();
    let by_input = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    for case in 0..6 {
        let mut m = Model::new(&[1, 3]);
        let row = m.input();
        let shapes = [m.shape(&[3, 1]), m.shape(&[1, 2])];
        let column = m.node("Reshape", &[&row, &shapes[0]], &[]);
        let by_output = m.weights(&[2, 3], &by_output);
        let by_input = m.weights(&[3, 2], &by_input);
        let (a, b) = (int("transA", 1), int("transB", 1));
        let sums = match case {
            0 => m.node("MatMul", &[&by_output, &column], &[]),
            1 => m.node("Gemm", &[&by_output, &column], &[]),
            2 => m.node("Gemm", &[&by_input, &column], &[a]),
            3 => m.node("Gemm", &[&by_input, &row], &[a, b]),
            4 => m.node("Gemm", &[&column, &by_output], &[a, b]),
            _ => m.node("Gemm", &[&column, &by_input], &[a]),
        };
        let output = m.node("Reshape", &[&sums, &shapes[1]], &[]);
        let network = import(m, &output).network;
        assert_eq!(network.layers[0].terms[0].weights.data, expected, "case {case}");
        assert_eq!(network.output.values[0].ops, [HostOp::Mul(vec![1.0])], "case {case}");
    }
}

#[test]
fn a_column_is_arranged_by_the_host() {
    let mut m = Model::new(&[1, 2, 3]);
    let x = m.input();
    // Tokens of two channels: 1x1 weights, and a bias along the last dimension.
    let tokens = m.node("Transpose", &[&x], &[ints("perm", &[0, 2, 1])]);
    let weights = m.weights(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let sums = m.node("MatMul", &[&tokens, &weights], &[]);
    let bias = m.constant(&[2], &[10.0, 20.0]);
    let output = m.node("Add", &[&sums, &bias], &[]);
    let network = import(m, &output).network;
    let term = &network.layers[0].terms[0];
    assert_eq!((term.conv.kernel, &term.weights.data[..]), ([1, 1], &[1i8, 3, 2, 4][..]));
    // Three tokens are three columns of the map, which are the channels of the output; its columns
    // are the outputs.
    let value = &network.output.values[0];
    assert_eq!(value.layout, TensorLayout(vec![vec![(3, 2)], vec![(2, 1)]]));
    assert_eq!(value.ops, [HostOp::Mul(vec![1.0]), HostOp::Add(vec![10.0, 20.0])]);
}

#[test]
fn a_product_along_columns_takes_each_channel_for_itself() {
    let mut m = Model::new(&[1, 2, 3]);
    let x = m.input();
    let weights = m.weights(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let sums = m.node("MatMul", &[&x, &weights], &[]);
    let codes = m.quant(&sums, 1.0, 8, true);
    // Of the result, [1, 2, 2], the second column of the first channel and the first of the second.
    let flat = m.node("Flatten", &[&codes], &[]);
    let last = m.weights(&[4, 1], &[0.0, 1.0, 2.0, 0.0]);
    let output = m.node("MatMul", &[&flat, &last], &[]);
    let layers = layers(m, &output);
    let term = &layers[0].terms[0];
    assert_eq!((term.conv.kernel, term.conv.groups), ([1, 3], 2));
    assert_eq!(term.weights.data, [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]);
    assert_eq!(layers[1].terms[0].weights.data, [0, 1, 2, 0]);
}

#[test]
fn repeated_values_add_up_the_taps_that_read_them() {
    let mut m = Model::new(&[1, 1, 2, 2]);
    let x = m.input();
    let scales = m.constant(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let resize =
        [string("coordinate_transformation_mode", "asymmetric"), string("nearest_mode", "floor")];
    let large = m.node("Resize", &[&x, "", &scales], &resize);
    let weights = m.weights(&[1, 1, 3, 3], &(1..=9).map(|w| w as f32).collect::<Vec<_>>());
    let output = m.node("Conv", &[&large, &weights], &[ints("pads", &[1; 4])]);
    let network = import(m, &output).network;
    let term = &network.layers[0].terms[0];
    assert_eq!((term.conv.kernel, term.conv.pads), ([3, 3], [1; 4]));
    // An even row reads rows -1, 0 and 0 of the map, an odd one 0, 0 and 1; columns alike.
    let even_even = [1, 2 + 3, 0, 4 + 7, 5 + 6 + 8 + 9, 0, 0, 0, 0];
    let even_odd = [0, 1 + 2, 3, 0, 4 + 5 + 7 + 8, 6 + 9, 0, 0, 0];
    let odd_even = [0, 0, 0, 1 + 4, 2 + 3 + 5 + 6, 0, 7, 8 + 9, 0];
    let odd_odd = [0, 0, 0, 0, 1 + 2 + 4 + 5, 3 + 6, 0, 7 + 8, 9];
    assert_eq!(term.weights.data, [even_even, even_odd, odd_even, odd_odd].concat());
    // A row of the map has 2 pixels of 4 channels; the second row of a block begins at its third
    // channel.
    let steps = [vec![], vec![(2, 8), (2, 2)], vec![(2, 4), (2, 1)]];
    let value = &network.output.values[0];
    assert_eq!((&value.ops[..], &value.layout.0[..]), (&[HostOp::Mul(vec![1.0])][..], &steps[..]));
}

#[test]
fn a_factor_is_given_in_many_ways() {
    for case in 0..7 {
        let mut m = Model::new(&[1, 1, 2, 2]);
        let x = m.input();
        let scales = m.constant(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let (two, roi) = (m.constant(&[2], &[2.0, 2.0]), m.constant(&[0], &[]));
        let sizes = m.shape(&[1, 1, 4, 4]);
        let asymmetric = string("coordinate_transformation_mode", "asymmetric");
        let floor = string("nearest_mode", "floor");
        let large = match case {
            0 => m.node(
                "Upsample",
                &[&x],
                &[floats("scales", &[1.0, 1.0, 2.0, 2.0]), string("mode", "nearest")],
            ),
            1 => m.node("Upsample", &[&x, &scales], &[]),
            2 => m.node("Resize", &[&x, &scales], &[]),
            3 => m.node("Resize", &[&x, &roi, &scales], &[asymmetric, floor]),
            4 => m.node("Resize", &[&x, "", &scales], &[string("mode", "nearest")]),
            5 => m.node("Resize", &[&x, "", "", &sizes], &[asymmetric, floor]),
            _ => m.node("Resize", &[&x, "", &two], &[ints("axes", &[2, -1])]),
        };
        let weights = m.weights(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let output = m.node("Conv", &[&large, &weights], &[ints("strides", &[2, 2])]);
        // All taps read the same value.
        assert_eq!(layers(m, &output)[0].terms[0].weights.data, [10], "case {case}");
    }
}

#[test]
fn a_transposed_convolution_has_an_output_for_each_phase() {
    // q = 2 i + tap - 1: even ones read tap 1 at i = q / 2, odd ones tap 2 at (q - 1) / 2 and tap 0
    // at (q + 1) / 2.
    let mut m = Model::new(&[1, 1, 3]);
    let x = m.input();
    let weights = m.weights(&[1, 1, 3], &[1.0, 2.0, 3.0]);
    let attributes = [ints("strides", &[2]), ints("pads", &[1, 1]), ints("output_padding", &[1])];
    let large = m.node("ConvTranspose", &[&x, &weights], &attributes);
    let codes = m.quant(&large, 1.0, 8, true);
    // A stride of 2 comes back to the map: what it reads are the two phases.
    let weights = m.weights(&[1, 1, 2], &[4.0, 5.0]);
    let output = m.node("Conv", &[&codes, &weights], &[ints("strides", &[2])]);
    let network = import(m, &output).network;
    let term = &network.layers[0].terms[0];
    assert_eq!((term.conv.kernel, term.conv.pads), ([1, 2], [0, 0, 0, 1]));
    assert_eq!(term.weights.data, [2, 0, 3, 1]);
    let term = &network.layers[1].terms[0];
    assert_eq!(
        (term.conv.kernel, term.conv.stride, &term.weights.data[..]),
        ([1, 1], [1, 1], &[4i8, 5][..])
    );
    assert_eq!(network.output.values[0].ops, [HostOp::Mul(vec![1.0])]);
}

#[test]
fn groups_of_a_transposed_convolution_stay_apart() {
    let mut m = Model::new(&[1, 2, 1, 1]);
    let x = m.input();
    let weights = m.weights(&[2, 1, 2, 2], &(1..=8).map(|w| w as f32).collect::<Vec<_>>());
    let attributes = [ints("strides", &[2, 2]), int("group", 2)];
    let large = m.node("ConvTranspose", &[&x, &weights], &attributes);
    let codes = m.quant(&large, 1.0, 8, true);
    let flat = m.node("Flatten", &[&codes], &[]);
    let output = m.last(&flat, 8);
    let layers = layers(m, &output);
    let term = &layers[0].terms[0];
    assert_eq!((term.conv.groups, term.conv.kernel), (2, [1, 1]));
    assert_eq!(term.weights.data, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_map_joins_one_of_higher_resolution_block_by_block() {
    // A map of 2 x 2 is a block of four channels beside one value that is repeated.
    let mut m = Model::new(&[1, 1, 2, 2]);
    let x = m.input();
    let weights = m.weights(&[1, 1, 2, 2], &[1.0; 4]);
    let small = m.node("Conv", &[&x, &weights], &[]);
    let small = m.quant(&small, 1.0, 8, true);
    let scales = m.constant(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let large = m.node("Resize", &[&small, "", &scales], &[]);
    let joined = m.node("Concat", &[&x, &large], &[int("axis", 1)]);
    let flat = m.node("Flatten", &[&joined], &[]);
    let weights = m.weights(&[8, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let output = m.node("MatMul", &[&flat, &weights], &[]);
    let layers = layers(m, &output);
    let terms: Vec<(usize, &[i8])> =
        layers[1].terms.iter().map(|term| (term.source.0, &term.weights.data[..])).collect();
    assert_eq!(terms, [(0, &[1i8, 2, 3, 4][..]), (1, &[5 + 6 + 7 + 8][..])]);
}

#[test]
fn blocks_become_pixels() {
    // Channel 2 y + x of four is the pixel at row y and column x: the taps of the next layer.
    let mut m = Model::new(&[1, 4, 1, 1]);
    let x = m.input();
    let pixels = m.node("DepthToSpace", &[&x], &[int("blocksize", 2)]);
    let weights = m.weights(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let output = m.node("Conv", &[&pixels, &weights], &[]);
    assert_eq!(layers(m, &output)[0].terms[0].weights.data, [1, 2, 3, 4]);
    let mut m = Model::new(&[1, 1, 2, 2]);
    let x = m.input();
    let channels = m.node("SpaceToDepth", &[&x], &[int("blocksize", 2)]);
    let weights = m.weights(&[1, 4, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
    let output = m.node("Conv", &[&channels, &weights], &[]);
    let layers = layers(m, &output);
    let term = &layers[0].terms[0];
    assert_eq!((term.conv.kernel, term.conv.stride), ([2, 2], [2, 2]));
    assert_eq!(term.weights.data, [1, 2, 3, 4]);
}

#[test]
fn an_input_may_be_quantized_in_another_order() {
    // Rows, columns and channels of the input as columns, channels and rows: the weights follow.
    let mut m = Model::new(&[1, 2, 3, 5]);
    let x = m.node("Transpose", &["x"], &[ints("perm", &[0, 2, 3, 1])]);
    let x = m.quant(&x, 1.0, 8, true);
    let flat = m.node("Flatten", &[&x], &[]);
    let weights: Vec<f32> = (0..30).map(|w| w as f32).collect();
    let weights = m.weights(&[30, 1], &weights);
    let output = m.node("MatMul", &[&flat, &weights], &[]);
    let import = import(m, &output);
    // Channel c, row y and column x stand at (5 y + x) 2 + c.
    let expected: Vec<i8> = (0..2)
        .flat_map(|c| (0..3).flat_map(move |y| (0..5).map(move |x| (5 * y + x) * 2 + c)))
        .collect();
    assert_eq!(import.network.layers[0].terms[0].weights.data, expected);
    let shape = import.network.input.shape;
    assert_eq!(
        import.maps[0].places(shape),
        expected.iter().map(|&place| place as usize).collect::<Vec<_>>()
    );
}

#[test]
fn a_mean_over_a_map_is_a_map_before_a_large_dense_layer() {
    let of = |outputs: i64| {
        let mut m = Model::new(&[1, 16, 8, 8]);
        let x = m.quant("x", 1.0, 4, false);
        let mean = m.node("GlobalAveragePool", &[&x], &[]);
        let flat = m.node("Flatten", &[&mean], &[]);
        let weights = m.weights(&[16, outputs], &vec![2.0; 16 * outputs as usize]);
        let output = m.node("MatMul", &[&flat, &weights], &[]);
        layers(m, &output)
    };
    // A sum of 64 values from 0 to 15 is at most 960: four channels of 255 each.
    let [sums, dense] = &of(256)[..] else { panic!("the sums, then the dense layer") };
    let [term] = &sums.terms[..] else { panic!("one map") };
    assert_eq!((term.conv.kernel, term.weights.out_channels), ([8, 8], 64));
    assert_eq!(dense.terms[0].weights.data.len(), 256 * 64);
    // For few outputs it is less work to have each weight for each pixel.
    let [dense] = &of(10)[..] else { panic!("one layer") };
    assert_eq!(dense.terms[0].weights.data.len(), 10 * 16 * 64);
}

/// A value of two dimensions has no place to move over, and none is asked for.
#[test]
fn a_padding_by_nothing_is_nothing() {
    let terms = |padded: bool| {
        let mut m = Model::new(&[1, 4]);
        let mut x = m.input();
        if padded {
            let pads = m.shape(&[0; 4]);
            x = m.node("Pad", &[&x, &pads], &[]);
        }
        let last = m.last(&x, 4);
        layers(m, &last).remove(0).terms
    };
    assert_eq!(terms(true), terms(false));
}
