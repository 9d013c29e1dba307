//! Shapes at and around what each operand of an instruction can hold, the whole way: an ONNX file,
//! compiled, stored, loaded, simulated and held against the evaluator of the integer network. What
//! an operand holds computes exactly; what it does not hold is refused by the name of the operand,
//! or of the limit of maps. Nothing traps, and nothing is cut to the bits that there are.

use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::lower_to;
use qnnsim_isa::Program;
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::table::{LdRow, Mac, MacAct, MacShape, MacWgt, MacYtap, PoolDst, Row};
use qnnsim_simulator::Simulation;
use qnnsim_tests::models::{Model, ints};
use qnnsim_tests::{Sequence, channels_first, dram_bytes};

/// What becomes of a model on a point: nothing if it computes exactly, else the refusal.
fn outcome(bytes: &[u8], settings: &[&str]) -> Result<(), String> {
    let said = |errors: qnnsim_compiler::diagnostic::Diagnostics| errors.to_string();
    let mut overrides = Overrides::default();
    settings.iter().for_each(|setting| overrides.set(setting).expect("a setting"));
    let hw = overrides.resolve().expect("a valid point");
    let network = import(bytes, &ImportOptions::default()).map_err(said)?.network;
    let (_, program) = lower_to(&network, &hw).map_err(said)?;
    let program = Program::from_bytes(&program.to_bytes()).expect("a program file");
    let simulation = match Simulation::new(program.clone()) {
        Ok(simulation) => simulation,
        Err(trap) => panic!("{settings:?}: {}", trap.describe(&program)),
    };
    let mut sequence = Sequence::new(7);
    let (min, max) = (network.input.quantizer.min, network.input.quantizer.max);
    let codes: Vec<i64> =
        (0..network.input.shape.values()).map(|_| sequence.within(min, max)).collect();
    let maps = qnnsim_reference::evaluate(&network, &codes);
    let mut output = Vec::new();
    simulation.executor().run(&dram_bytes(&simulation.program().input, &codes), &mut output);
    assert_eq!(channels_first(&output, &network), maps[maps.len() - 1].values, "{settings:?}");
    Ok(())
}

/// Builds a model for each size and holds what becomes of it against the range of the operand that
/// the size becomes, as `value` says.
#[track_caller]
fn check(
    (row, operand): (&Row, &str),
    sizes: &[u32],
    value: impl Fn(u32) -> i64,
    settings: &[&str],
    model: impl Fn(u32) -> Vec<u8>,
) {
    let (min, max) = row.operand(operand).kind.limits(0);
    let mut seen = [false; 2];
    for &size in sizes {
        let held = (min..=max).contains(&value(size));
        seen[usize::from(held)] = true;
        match outcome(&model(size), settings) {
            Ok(()) => assert!(held, "{operand}: {size} compiles, but is {}", value(size)),
            Err(refusal) => {
                assert!(!held, "{operand}: {size} is refused\n{refusal}");
                // That operand, or another that holds as much and is written before it.
                let named = refusal.contains(" would be ") && refusal.contains(", but holds ");
                // The limit of maps, which is that of `out`.
                let limit = format!("1 to {}", MacAct::ROW.max("out"));
                assert!(named || refusal.contains(&limit), "{operand}: {size}\n{refusal}");
            }
        }
    }
    assert!(seen[1], "{operand}: no size is held");
}

/// Sizes at and around what k bits can say.
fn around(bits: u32) -> [u32; 4] {
    [(1 << bits) - 2, (1 << bits) - 1, 1 << bits, (1 << bits) + 1]
}

const DEEP: &[&str] = &["act.words=65536", "wgt.words=65536", "load.buffers=64", "dram.burst=256"];

/// Weights that are neither all equal nor zero.
fn weights(model: &mut Model, dims: &[i64]) -> String {
    let data: Vec<f32> = (0..dims.iter().product::<i64>())
        .map(|i| [1.0, -1.0, 2.0, 0.0, -3.0][i as usize % 5])
        .collect();
    model.weights(dims, &data)
}

fn conv(model: &mut Model, x: &str, dims: [i64; 4], pads: [i64; 4], strides: [i64; 2]) -> String {
    let weights = weights(model, &dims);
    model.node("Conv", &[x, &weights], &[ints("pads", &pads), ints("strides", &strides)])
}

/// A first layer on an input of `shape`.
fn first(shape: [i64; 3], dims: [i64; 4], pads: [i64; 4], strides: [i64; 2]) -> Vec<u8> {
    let mut model = Model::new(&[1, shape[0], shape[1], shape[2]]);
    let x = model.input();
    let out = conv(&mut model, &x, dims, pads, strides);
    model.bytes(&out)
}

/// A second layer on a map of `channels` channels and `bits` bits that a first one makes of an
/// image of `size`.
fn second(
    [channels, bits]: [i64; 2],
    size: [i64; 2],
    dims: [i64; 4],
    pads: [i64; 4],
    strides: [i64; 2],
) -> Vec<u8> {
    let mut model = Model::new(&[1, 1, size[0], size[1]]);
    let x = model.input();
    let sums = conv(&mut model, &x, [channels, 1, 1, 1], [0; 4], [1, 1]);
    let map = model.quant(&sums, 16.0, bits as u32, true);
    let out = conv(&mut model, &map, dims, pads, strides);
    model.bytes(&out)
}

#[test]
fn channels_of_an_image() {
    check((LdRow::ROW, "channels"), &around(12), i64::from, DEEP, |n| {
        let mut model = Model::new(&[1, n.into()]);
        let x = model.input();
        let out = model.last(&x, n as usize);
        model.bytes(&out)
    });
}

#[test]
fn pixels_of_an_image_row_and_their_windows() {
    check((LdRow::ROW, "width"), &around(12), i64::from, DEEP, |n| {
        first([1, 1, n.into()], [1, 1, 1, 3], [0; 4], [1, 2])
    });
    check((LdRow::ROW, "windows"), &around(12)[..2], i64::from, DEEP, |n| {
        first([1, 1, n.into()], [1, 1, 1, 3], [0, 1, 0, 1], [1, 1])
    });
}

#[test]
fn columns_of_a_kernel_on_an_image() {
    check((LdRow::ROW, "taps"), &around(12), i64::from, DEEP, |n| {
        first([1, 1, n.into()], [1, 1, 1, n.into()], [0; 4], [1, 1])
    });
}

#[test]
fn padding_before_an_image_row() {
    check((LdRow::ROW, "left"), &around(6), i64::from, DEEP, |n| {
        first([1, 2, 9], [2, 1, 2, 3], [0, n.into(), 0, 0], [1, 1])
    });
}

#[test]
fn stride_on_an_image() {
    check((LdRow::ROW, "step"), &around(4), i64::from, DEEP, |n| {
        first([1, 1, 60], [2, 1, 1, 3], [0; 4], [1, n.into()])
    });
    // With one output it does not matter.
    assert_eq!(outcome(&first([1, 1, 9], [2, 1, 1, 9], [0; 4], [1, 40]), DEEP), Ok(()));
}

#[test]
fn stride_on_a_map() {
    for axis in 0..2 {
        check((PoolDst::ROW, "s"), &around(4), i64::from, DEEP, |n| {
            let along = |n: i64, other: i64| if axis == 0 { [n, other] } else { [other, n] };
            let [ky, kx] = along(3, 1);
            second([5, 3], along(55, 2), [2, 5, ky, kx], [0; 4], along(n.into(), 1))
        });
    }
    assert_eq!(outcome(&second([5, 3], [9, 9], [2, 5, 9, 9], [0; 4], [30, 30]), DEEP), Ok(()));
}

#[test]
fn pooling_windows() {
    for axis in 0..2 {
        check((MacShape::ROW, "pool"), &around(4), i64::from, DEEP, |n| {
            let along = |n: i64, other: i64| if axis == 0 { [n, other] } else { [other, n] };
            let [height, width] = along(40, 3);
            let mut model = Model::new(&[1, 1, height, width]);
            let x = model.input();
            let sums = conv(&mut model, &x, [3, 1, 1, 1], [0; 4], [1, 1]);
            let codes = model.quant(&sums, 16.0, 4, true);
            let kernel = [ints("kernel_shape", &along(n.into(), 1)), ints("strides", &[1, 1])];
            let most = model.node("MaxPool", &[&codes], &kernel);
            let out = conv(&mut model, &most, [2, 3, 1, 1], [0; 4], [1, 1]);
            model.bytes(&out)
        });
    }
}

#[test]
fn rows_of_an_output() {
    let settings = ["mac.rows=4", "act.words=65536"];
    check((MacAct::ROW, "out"), &around(12), i64::from, &settings, |n| {
        second([1, 1], [n.into(), 1], [1, 1, 3, 1], [1, 0, 1, 0], [1, 1])
    });
}

/// With lanes of 8 bits each 8 channels are a word.
#[test]
fn words_of_a_pixel() {
    let settings =
        ["mac.lanes=8", "mac.cols=256", "mac.rows=1", "act.words=65536", "thr.words=8192"];
    let words = |n: u32| i64::from(n.div_ceil(8));
    check((MacShape::ROW, "words"), &[8176, 8184, 8185, 8192], words, &settings, |n| {
        second([n.into(), 1], [1, 1], [1, n.into(), 1, 1], [0; 4], [1, 1])
    });
}

/// 255 x 257 words are 2^16 - 1, 256 x 256 are 2^16.
#[test]
fn words_of_a_kernel() {
    let settings = [
        "mac.lanes=8",
        "mac.cols=16",
        "mac.rows=2",
        "act.words=131072",
        "wgt.words=1048576",
        "mac.taps=64",
        "thr.words=8192",
    ];
    let words = |n: u32| if n == 255 { 255 * 257 } else { i64::from(n) * i64::from(n) };
    check((MacWgt::ROW, "plane"), &[255, 256], words, &settings, |n| {
        let columns = if n == 255 { 257 } else { i64::from(n) };
        let channels = 8 * i64::from(n);
        second([channels, 1], [1, columns], [1, channels, 1, columns], [0; 4], [1, 1])
    });
}

#[test]
fn channel_tiles() {
    let settings = ["mac.cols=1", "wgt.words=65536", "act.words=65536", "thr.words=65536"];
    check((MacWgt::ROW, "tiles"), &around(10), i64::from, &settings, |n| {
        second([n.into(), 2], [1, 2], [1, n.into(), 1, 1], [0; 4], [1, 1])
    });
}

/// On one row of the array each row of a map is a block of its own. The image's codes times at most
/// 3 and divided by 16 are -24 to 24, so a pixel of 256 channels takes 6 planes of 32 words, and a
/// tap 2,730 rows before the map lies 524,160 words before it, of the 2^19 that can be said.
#[test]
fn words_to_a_tap() {
    let settings = ["mac.lanes=8", "mac.rows=1", "act.words=524288"];
    let offset = |n: u32| -192 * i64::from(n);
    check((MacYtap::ROW, "t0"), &[2729, 2730, 2731], offset, &settings, |n| {
        second([256, 8], [1, 1], [1, 256, 1, 1], [n.into(), 0, 0, 0], [1, 1])
    });
}

/// Two 8-bit codes times -128 add up to 32,768, which is 17 planes. With lanes of 8 bits the 963
/// words of 7,704 channels are 16,371 words of a pixel, of 16,383 that can be said; no step of
/// STORE holds them all.
#[test]
fn words_of_a_pixel_with_its_planes() {
    let settings = [
        "mac.lanes=8",
        "mac.cols=256",
        "act.words=65536",
        "wgt.words=65536",
        "store.buffers=64",
        "dram.burst=256",
        "dram.width=64",
    ];
    let words = |n: u32| 17 * i64::from(n.div_ceil(8));
    check((PoolDst::ROW, "block"), &[7696, 7704, 7705, 7712], words, &settings, |n| {
        let mut model = Model::new(&[1, 2, 1, 1]);
        let x = model.input();
        let data: Vec<f32> =
            (0..2 * n).map(|i| [-128.0, -128.0, 3.0, 0.0][i as usize % 4]).collect();
        let weights = model.weights(&[n.into(), 2, 1, 1], &data);
        let out = model.node("Conv", &[&x, &weights], &[]);
        model.bytes(&out)
    });
}

/// Four maps with kernels of 16 x 16 and weights of 8 bits fill the largest weight memory but for
/// 512 words. A channel tile cannot take more than the memory has, which the operand holds.
#[test]
fn words_of_a_channel_tile() {
    let settings =
        ["mac.lanes=8", "mac.cols=16", "mac.rows=2", "act.words=524288", "wgt.words=1048576"];
    let mut model = Model::new(&[1, 1, 16, 16]);
    let x = model.input();
    let mut sums = Vec::new();
    for (i, channels) in [1024, 1024, 1024, 1016].into_iter().enumerate() {
        let all = conv(&mut model, &x, [channels, 1, 1, 1], [0; 4], [1, 1]);
        let map = model.quant(&all, 64.0 + i as f32, 2, true);
        let data: Vec<f32> =
            (0..channels * 256).map(|i| [127.0, -1.0, 0.0, -128.0, 5.0][i as usize % 5]).collect();
        let weights = model.weights(&[1, channels, 16, 16], &data);
        sums.push(model.node("Conv", &[&map, &weights], &[]));
    }
    let sum = sums.into_iter().reduce(|a, b| model.node("Add", &[&a, &b], &[]));
    assert_eq!(outcome(&model.bytes(&sum.expect("four")), &settings), Ok(()));
}

/// What the tap tables and the kernel's operands do not hold is computed in parts.
#[test]
fn taps_of_a_kernel_on_a_map() {
    for taps in [around(5), around(6), around(7)].concat() {
        for axis in 0..2 {
            let along = |n: i64, other: i64| if axis == 0 { [n, other] } else { [other, n] };
            let ([height, width], [ky, kx]) = (along(140, 2), along(taps.into(), 1));
            let model = second([3, 2], [height, width], [2, 3, ky, kx], [0; 4], [1, 1]);
            assert_eq!(outcome(&model, DEEP), Ok(()), "{taps} taps along axis {axis}");
        }
    }
}

/// 260 x 260 outputs on one row of the array are more steps than an instruction can repeat.
#[test]
fn steps_of_an_instruction() {
    let settings = ["mac.rows=1", "act.words=262144"];
    let steps = 260 * 260;
    assert!(steps > Mac::ROW.max("repeat"), "two instructions are needed");
    assert_eq!(
        outcome(&second([1, 1], [260, 260], [1, 1, 1, 1], [0; 4], [1, 1]), &settings),
        Ok(())
    );
}
