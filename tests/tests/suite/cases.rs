//! Small models from other tools: `data/cases/NAME.onnx`, inputs as rows (`NAME.in.npy`), and what
//! onnxruntime or the qonnx executor makes of them (`NAME.out.npy`). Both compute in float32, so
//! some rows may differ by a tie.

use std::fs;
use std::path::PathBuf;

use qnnsim_compiler::compile;
use qnnsim_compiler::import::ImportOptions;
use qnnsim_host::{Decoder, Encoder, Order};
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::Simulation;

/// A model and how many of its rows may differ by ties.
struct Case {
    name: &'static str,
    ties: usize,
}

const fn exact(name: &'static str) -> Case {
    Case { name, ties: 0 }
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
fn wrong_rows(name: &str) -> Result<usize, String> {
    let model = fs::read(path(name, "onnx")).map_err(|error| error.to_string())?;
    let compiled = compile(&model, &HardwarePoint::default(), &ImportOptions::default())
        .map_err(|errors| errors[0].to_string())?;
    let network = compiled.import.network;
    let program = Program::from_bytes(&compiled.program.to_bytes()).expect("a program file");
    let described = program.clone();
    let simulation = Simulation::new(program).map_err(|trap| trap.describe(&described))?;
    let mut executor = simulation.cold_executor();
    let (inputs, expected) = (rows(name, "in.npy"), rows(name, "out.npy"));
    assert_eq!(inputs.len(), expected.len(), "{name}");
    let greatest = expected.iter().flatten().fold(0.0, |most: f64, x| most.max(x.abs()));
    let encoder = Encoder::new(&network.input).map_err(|error| error.to_string())?;
    let decoder = Decoder::new(&network.output).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; encoder.values()];
    let (mut wrong, mut output) = (0, Vec::new());
    for (input, expected) in inputs.iter().zip(&expected) {
        encoder.encode_reals(input, Order::Model, &mut bytes);
        executor.run(&bytes, &mut output);
        let real = &decoder.decode(&output)[0];
        assert_eq!(real.len(), expected.len(), "{name}");
        let differs = |(a, b): (&f64, &f64)| (a - b).abs() > TOLERANCE * greatest;
        wrong += usize::from(real.iter().zip(expected).any(differs));
    }
    Ok(wrong)
}

#[test]
fn cases_of_other_tools_are_right() {
    let said: Vec<String> = CASES
        .iter()
        .filter_map(|case| match wrong_rows(case.name) {
            Ok(wrong) if wrong <= case.ties => None,
            Ok(wrong) => Some(format!("{}: {wrong} rows wrong", case.name)),
            Err(why) => Some(format!("{}: {why}", case.name)),
        })
        .collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}
