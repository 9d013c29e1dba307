//! Small models from other tools: `data/cases/NAME.onnx`, inputs as rows (`NAME.in.npy`), and what
//! onnxruntime or the qonnx executor makes of them (`NAME.out.npy`, and `NAME.out2.npy` for a second
//! output). Both compute in float32, so some rows may differ by a tie.

use std::fs;
use std::path::PathBuf;

use qnnsim_compiler::compile;
use qnnsim_compiler::import::ImportOptions;
use qnnsim_compiler::input::{InputFormat, InputType};
use qnnsim_compiler::tensor::Precision;
use qnnsim_host::{Decoder, Encoder, Order};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_reference::verify::Verifier;
use qnnsim_reference::{Map, evaluate};
use qnnsim_simulator::Simulation;
use rayon::prelude::*;

/// A model, how many of its rows may differ by ties, and what it needs.
struct Case {
    name: &'static str,
    ties: usize,
    settings: &'static [&'static str],
    input: Option<InputFormat>,
}

const fn exact(name: &'static str) -> Case {
    Case { name, ties: 0, settings: &[], input: None }
}

const fn with_ties(name: &'static str, ties: usize) -> Case {
    Case { ties, ..exact(name) }
}

/// One row a case.
const CASES: &[Case] = &[
    // Means whose last window reaches beyond the map.
    exact("17b_5522000"),
    exact("17c_5220_dense"),
    exact("17d_ceil_15_conv_s2p1"),
    // Codes that fall behind a pooling.
    exact("16_q_pool_bn_q"),
    // Weights of 9 bits, with their zero point.
    exact("ort_pt_u8u8"),
    // x times its sigmoid, both quantized.
    exact("ort_v_silu"),
    // A map times a value for each channel that is computed from it.
    exact("ort_v_se"),
    // Codes that never occur.
    exact("ort_pc_s8s8_sym"),
    // The sign of what a shift that does not clip makes is that of its data.
    exact("01b_trunc_u4_8_4"),
    // Padding with another value than zero.
    exact("06_bin_one_pad"),
    exact("42_gmax"),
    exact("42_threlu"),
    // A maximum over more pixels than a window of the machine has.
    exact("ort_v_gmp"),
    // A batch of 8 in the file.
    exact("ort_v_batch8"),
    // Weights whose quantizer was folded away.
    exact("ort_v_folded_dq_weights"),
    // QLinearConv and QGemm.
    exact("ort_qoperator_u8s8"),
    // What the host computes behind the last accumulators.
    exact("07_sigmoid_last"),
    exact("18_logsoftmax"),
    exact("18_topk"),
    // The last of equal maxima.
    exact("18_argmax_last"),
    exact("ort_pc_u8s8_softmax"),
    exact("10_two_outputs"),
    // Channels last, a Transpose in front.
    exact("08_nhwc"),
    exact("ort_v_nhwc_in"),
    exact("11_conv1d_softmax"),
    exact("39_rgb"),
    // Shape arithmetic through ReduceProd.
    exact("20_dyn_mul"),
    // A maximum over maps of several scales, each summed up for itself.
    exact("37_cat_max"),
    // A cast to half precision, which overflows for some.
    exact("40_cast_fp16"),
    // More inputs than a pixel of the packer has bytes.
    Case {
        settings: &["act.words=4096", "load.buffers=64", "dram.burst=256"],
        ..exact("22b_dense_5000")
    },
    // An input without a quantizer, of integers times 1/32.
    Case {
        input: Some(InputFormat {
            integers: InputType::Int { bits: 8, signed: true, narrow: false },
            scale: 1.0 / 32.0,
            zero_point: 0.0,
        }),
        ..exact("32_no_input_quant")
    },
    // Sums of maps with different scales: ties of float32, which `verify` names (below).
    with_ties("14_resid_19_38", 3),
    with_ties("14c_add_0.05_0.02_0.06", 1200),
];

/// Most relative difference of a value from the expected one, whose arithmetic is float32.
const TOLERANCE: f64 = 1e-4;

fn path(name: &str, end: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "data/cases", &format!("{name}.{end}")].iter().collect()
}

/// The rows of an npy file of floats: its values along the first axis.
fn rows(name: &str, end: &str) -> Vec<Vec<f64>> {
    let bytes = fs::read(path(name, end)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let file = npyz::NpyFile::new(&bytes[..]).expect("an npy file");
    let rows = file.shape()[0] as usize;
    let data: Vec<f64> = match file.dtype().descr().as_str() {
        "'<f4'" => file.into_vec::<f32>().expect("floats").into_iter().map(f64::from).collect(),
        "'<i8'" => file.into_vec::<i64>().expect("integers").iter().map(|&i| i as f64).collect(),
        _ => file.into_vec().expect("doubles"),
    };
    data.chunks(data.len() / rows).map(<[f64]>::to_vec).collect()
}

/// How many rows differ from what is expected, or why the model is refused or the machine traps.
fn wrong_rows(Case { name, settings, input, .. }: &Case) -> Result<usize, String> {
    let model = fs::read(path(name, "onnx")).map_err(|error| error.to_string())?;
    let mut point = Overrides::default();
    settings.iter().for_each(|setting| point.set(setting).expect("a setting"));
    let hw: HardwarePoint = point.resolve().expect("a point");
    let options = ImportOptions { input: *input, ..ImportOptions::default() };
    let compiled = compile(&model, &hw, &options).map_err(|errors| errors[0].to_string())?;
    let network = compiled.import.network;
    let program = Program::from_bytes(&compiled.program.to_bytes()).expect("a program file");
    let described = program.clone();
    let simulation = Simulation::new(program).map_err(|trap| trap.describe(&described))?;
    let mut executor = simulation.cold_executor();
    let inputs = rows(name, "in.npy");
    let mut expected = vec![rows(name, "out.npy")];
    if path(name, "out2.npy").exists() {
        expected.push(rows(name, "out2.npy"));
    }
    let greatest = expected.iter().flatten().flatten().fold(0.0, |most: f64, x| most.max(x.abs()));
    let encoder = Encoder::new(&network.input).map_err(|error| error.to_string())?;
    let decoder = Decoder::new(&network.output).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; encoder.values()];
    let (mut wrong, mut output) = (0, Vec::new());
    for (row, input) in inputs.iter().enumerate() {
        encoder.encode_reals(input, Order::Model, &mut bytes);
        executor.run(&bytes, &mut output);
        let outputs = decoder.decode(&output);
        assert_eq!(outputs.len(), expected.len(), "{name}");
        let differs = |(a, b): (&f64, &f64)| (a - b).abs() > TOLERANCE * greatest;
        wrong += usize::from(outputs.iter().zip(&expected).any(|(real, expected)| {
            assert_eq!(real.len(), expected[row].len(), "{name}");
            real.iter().zip(&expected[row]).any(differs)
        }));
    }
    Ok(wrong)
}

#[test]
fn cases_of_other_tools_are_right() {
    let said: Vec<String> = CASES
        .par_iter()
        .filter_map(|case| match wrong_rows(case) {
            Ok(wrong) if wrong <= case.ties => None,
            Ok(wrong) => Some(format!("{}: {wrong} rows wrong", case.name)),
            Err(why) => Some(format!("{}: {why}", case.name)),
        })
        .collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

/// Values of sums of maps with different scales that float32 decides otherwise are called ties.
#[test]
fn sums_of_several_scales_differ_in_ties_alone() {
    for name in ["14_resid_19_38", "14c_add_0.05_0.02_0.06"] {
        let model = fs::read(path(name, "onnx")).expect("the model");
        let import = qnnsim_compiler::import::import(&model, &ImportOptions::default())
            .unwrap_or_else(|errors| panic!("{name}: {errors}"));
        let encoder = Encoder::new(&import.network.input).expect("an encoder");
        let verifier = Verifier::new(&import, Precision::Single).expect("a verifier");
        let mut report = verifier.report();
        for (image, input) in rows(name, "in.npy").iter().enumerate() {
            let codes = encoder.codes(input, Order::Model);
            let codes = Map::of_pixels(import.network.input.shape, &codes).values;
            let maps = evaluate(&import.network, &codes);
            let maps: Vec<&[i64]> = maps.iter().map(|map| map.values.as_slice()).collect();
            verifier.image(image as u64, input, &maps, &mut report);
        }
        assert!(report.agrees(), "{name}: {report:?}");
        let ties: u64 = report.maps.iter().map(|map| map.ties.count).sum();
        assert!(ties > 0, "{name} has ties");
    }
}

/// Dropout that a file keeps in training mode is said.
#[test]
fn dropout_in_training_mode_is_warned_of() {
    let model = fs::read(path("36_dropout_train", "onnx")).expect("the model");
    let import = qnnsim_compiler::import::import(&model, &ImportOptions::default())
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert!(import.warnings.iter().any(|warning| warning.to_string().contains("ropout")));
}

/// A stride that the machine does not have is refused, in the words of `SUPPORTED.md`.
#[test]
fn strides_beyond_the_machine_are_refused() {
    let model = fs::read(path("30_f_s16", "onnx")).expect("the model");
    let errors = compile(&model, &HardwarePoint::default(), &ImportOptions::default())
        .expect_err("a stride of 16");
    assert!(errors[0].to_string().contains("1 to 15"), "{}", errors[0]);
}
