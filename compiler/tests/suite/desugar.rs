//! What source operators become in canonical ones gives the same values: on random tensors, of
//! every operator that is made of others.

use qnnsim_compiler::canonical;
use qnnsim_compiler::diagnostic::NodePlace;
use qnnsim_compiler::onnx::{AttributeProto, NodeProto, data_type};
use qnnsim_compiler::ops::{Op, Operand};
use qnnsim_compiler::tensor::{Array, Precision, Tensor};
use qnnsim_tests::models::{Noise, float, int, ints, number, string};

/// Random tensors of each operator.
const TIMES: u32 = 20;

/// An input: its shape, whether it is a constant, and what numbers it has.
struct Input {
    dims: &'static [usize],
    constant: bool,
    numbers: Numbers,
}

#[derive(Clone, Copy)]
enum Numbers {
    /// From -8 to 8, in sixteenths.
    Real,
    /// Integers of a type.
    Integers(i32),
    /// 0 and 1.
    Truth,
    /// -1, 0 and 1.
    Small,
    /// These.
    Given(&'static [i64]),
}

fn map(dims: &'static [usize]) -> Input {
    Input { dims, constant: false, numbers: Numbers::Real }
}

fn codes(dims: &'static [usize]) -> Input {
    Input { dims, constant: false, numbers: Numbers::Integers(data_type::UINT8) }
}

fn constant(dims: &'static [usize], numbers: Numbers) -> Input {
    Input { dims, constant: true, numbers }
}

fn tensor(input: &Input, noise: &mut Noise) -> Tensor {
    let count = input.dims.iter().product::<usize>();
    let sixteenth = |noise: &mut Noise| f64::from(noise.below(257) as u32) / 16.0 - 8.0;
    if let Numbers::Given(numbers) = input.numbers {
        let data = numbers.iter().map(|&x| x as f64).collect();
        let range = data_type::range(data_type::INT64);
        return Tensor::of_type(Array { dims: input.dims.to_vec(), data }, range);
    }
    let number = |noise: &mut Noise| match input.numbers {
        Numbers::Truth => noise.below(2) as f64,
        Numbers::Small => noise.below(3) as f64 - 1.0,
        Numbers::Given(_) => unreachable!("taken as they are"),
        Numbers::Real => sixteenth(noise),
        Numbers::Integers(data_type::UINT8) => noise.below(256) as f64,
        Numbers::Integers(data_type::INT8) => noise.below(256) as f64 - 128.0,
        Numbers::Integers(_) => noise.below(2001) as f64 - 1000.0,
    };
    let data = (0..count).map(|_| number(noise)).collect();
    let range = match input.numbers {
        Numbers::Integers(kind) => data_type::range(kind),
        _ => None,
    };
    Tensor::of_type(Array { dims: input.dims.to_vec(), data }, range)
}

/// Reads a node with such inputs, and compares its values with those of what it becomes.
fn check(op_type: &str, attributes: &[AttributeProto], inputs: &[Input]) {
    let node = NodeProto {
        op_type: op_type.to_owned(),
        attribute: attributes.to_vec(),
        output: vec!["y".to_owned()],
        ..NodeProto::default()
    };
    let place = NodePlace { node: "y".to_owned(), op: op_type.to_owned(), attribute: None };
    for seed in 0..TIMES {
        let mut noise = Noise(seed * 7919 + op_type.len() as u32);
        let tensors: Vec<Tensor> = inputs.iter().map(|input| tensor(input, &mut noise)).collect();
        let mut operands = Vec::new();
        for (tensor, input) in tensors.iter().zip(inputs) {
            let constant = input.constant.then_some(tensor);
            operands.push(Some(Operand { dims: &tensor.array.dims, constant }));
        }
        let ops =
            Op::read(&node, &place, 20, Some(&operands)).unwrap_or_else(|error| panic!("{error}"));
        let [op] = &ops[..] else { panic!("{op_type} has several outputs") };
        let dims = op.infer(&operands).unwrap_or_else(|error| panic!("{op_type}: {error}"));
        let tensors: Vec<_> = tensors.iter().map(Some).collect();
        for precision in [Precision::Double, Precision::Single] {
            let source = op.eval(&tensors, &dims, precision);
            let made_of = canonical::eval(op, &tensors, &dims, precision);
            assert_eq!(source.array.dims, dims, "{op_type}");
            assert_eq!(source.to_real(), made_of.to_real(), "{op_type}, {precision:?}");
        }
    }
}

#[test]
fn functions_and_quantizers() {
    check("Abs", &[], &[map(&[1, 3, 4, 5])]);
    check("ThresholdedRelu", &[float("alpha", 1.5)], &[map(&[1, 3, 4, 5])]);
    for op_type in ["Round", "Floor", "Ceil"] {
        check(op_type, &[], &[map(&[1, 3, 4, 5])]);
    }
    let factors = || [constant(&[3, 1, 1], Numbers::Integers(data_type::INT32))];
    for (levels, signed) in
        [(2.0, 1.0), (2.0, 0.0), (16.0, 0.0), (256.0, 1.0), (12.0, 1.0), (10.0, 0.0)]
    {
        let attributes =
            [number("div", 64.0), number("n_levels_out", levels), number("signed", signed)];
        let [mul] = factors();
        let [add] = factors();
        let data = Input { numbers: Numbers::Integers(data_type::INT32), ..map(&[1, 3, 4, 5]) };
        check("RequantShift", &attributes, &[data, mul, add]);
    }
}

#[test]
fn comparisons_and_choices() {
    let small = |dims| Input { numbers: Numbers::Small, ..map(dims) };
    let truth = |dims| Input { numbers: Numbers::Truth, ..map(dims) };
    for op_type in ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"] {
        check(op_type, &[], &[small(&[1, 3, 4, 5]), small(&[1, 3, 4, 5])]);
        check(op_type, &[], &[small(&[1, 3, 4, 5]), constant(&[3, 1, 1], Numbers::Small)]);
        check(op_type, &[], &[constant(&[], Numbers::Small), small(&[1, 3, 4, 5])]);
    }
    check("Sign", &[], &[small(&[1, 3, 4, 5])]);
    check("Not", &[], &[truth(&[1, 3, 4, 5])]);
    for op_type in ["And", "Or", "Xor"] {
        check(op_type, &[], &[truth(&[1, 3, 4, 5]), truth(&[1, 3, 4, 5])]);
    }
    check("Where", &[], &[truth(&[1, 3, 2]), map(&[1, 3, 2]), map(&[1, 3, 2])]);
    check("Where", &[], &[truth(&[1, 3, 2]), map(&[1, 3, 2]), constant(&[1], Numbers::Real)]);
    let zero = || constant(&[1], Numbers::Given(&[0]));
    check("Where", &[], &[truth(&[1, 3, 2]), map(&[1, 3, 2]), zero()]);
    check("Where", &[], &[truth(&[1, 3, 2]), zero(), map(&[1, 3, 2])]);
    check("Where", &[], &[constant(&[3, 1], Numbers::Truth), map(&[1, 3, 2]), map(&[1, 3, 2])]);
}

#[test]
fn sums_extremes_and_choices_of_slices() {
    for op_type in ["ReduceSum", "ReduceMax", "ReduceMin"] {
        let axes = |axes: &'static [i64]| Input {
            constant: true,
            dims: if axes.len() == 1 { &[1] } else { &[2] },
            numbers: Numbers::Given(axes),
        };
        check(op_type, &[], &[map(&[1, 3, 4, 5]), axes(&[2, 3])]);
        check(op_type, &[int("keepdims", 0)], &[map(&[1, 3, 4, 5]), axes(&[-1, -2])]);
        check(op_type, &[int("keepdims", 0)], &[map(&[1, 3, 4, 5]), axes(&[1])]);
        check(op_type, &[], &[codes(&[1, 3, 17, 20]), axes(&[2, 3])]);
    }
    check("Sum", &[], &[map(&[1, 3, 4]), map(&[1, 3, 4]), constant(&[3, 1], Numbers::Real)]);
    check("Sum", &[], &[map(&[1, 3, 4])]);
    let indices = |dims, numbers| constant(dims, Numbers::Given(numbers));
    let axis = || int("axis", 1);
    check("Gather", &[axis()], &[map(&[1, 6, 2]), indices(&[4], &[4, -6, 2, 4])]);
    check("Gather", &[axis()], &[map(&[1, 6, 2]), indices(&[2, 2], &[0, 1, 2, 3])]);
    check("Gather", &[axis()], &[map(&[1, 6, 2]), indices(&[], &[3])]);
    check("Tile", &[], &[map(&[1, 2, 3]), indices(&[3], &[1, 2, 2])]);
    // What the host alone computes is its own canonical operator.
    check("ReduceL2", &[], &[map(&[1, 3, 4]), indices(&[1], &[1])]);
    check("CumSum", &[], &[map(&[1, 3, 4]), indices(&[], &[2])]);
    check("MatMul", &[], &[map(&[1, 3, 4]), map(&[1, 4, 2])]);
    let sizes = indices(&[4], &[1, 2, 7, 5]);
    let none = || constant(&[0], Numbers::Real);
    let linear = [string("mode", "linear")];
    check("Resize", &linear, &[map(&[1, 2, 3, 4]), none(), none(), sizes]);
}

#[test]
fn poolings() {
    check("GlobalMaxPool", &[], &[map(&[1, 3, 4, 5])]);
    check("GlobalMaxPool", &[], &[map(&[1, 3, 7])]);
    // 17 x 20 is more than one window of the machine: 5 x 4 and 4 x 5, the last one partly outside.
    check("GlobalMaxPool", &[], &[map(&[1, 2, 17, 20])]);
    let large = [ints("kernel_shape", &[18, 2]), ints("strides", &[18, 1])];
    check("MaxPool", &large, &[map(&[1, 2, 37, 5])]);
}

#[test]
fn layers_with_bias() {
    let weights = |dims| constant(dims, Numbers::Integers(data_type::INT8));
    let bias = |dims| constant(dims, Numbers::Real);
    let pads = ints("pads", &[1, 0, 1, 2]);
    check("Conv", &[pads], &[codes(&[1, 3, 5, 6]), weights(&[4, 3, 2, 3]), bias(&[4])]);
    check(
        "ConvTranspose",
        &[ints("strides", &[2, 2])],
        &[codes(&[1, 3, 4, 4]), weights(&[3, 2, 2, 2]), bias(&[2])],
    );
    let factors = [float("alpha", 0.5), float("beta", 2.0), int("transB", 1)];
    check("Gemm", &factors, &[codes(&[1, 6]), weights(&[5, 6]), bias(&[5])]);
}
