//! Networks of MLPerf Tiny as integer ONNX files of another tool chain, as they are, give their exact
//! integers.

use std::fs;

use qnnsim_compiler::compile;
use qnnsim_compiler::import::ImportOptions;
use qnnsim_host::{Decoder, Encoder, Order};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::Simulation;
use qnnsim_tests::shared;

fn values(path: &std::path::Path) -> Vec<f64> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = npyz::NpyFile::new(&bytes[..]).expect("an npy file");
    match file.dtype().descr().as_str() {
        "'<f4'" => file.into_vec::<f32>().expect("floats").into_iter().map(f64::from).collect(),
        "'<i8'" => file.into_vec::<i64>().expect("integers").iter().map(|&i| i as f64).collect(),
        "'<i4'" => file.into_vec::<i32>().expect("integers").iter().map(|&i| i.into()).collect(),
        "'|i1'" => file.into_vec::<i8>().expect("integers").iter().map(|&i| i.into()).collect(),
        "'|u1'" => file.into_vec::<u8>().expect("integers").iter().map(|&i| i.into()).collect(),
        _ => file.into_vec().expect("doubles"),
    }
}

fn check(name: &str, settings: &[&str]) {
    let Some(shared) = shared() else { return };
    let folder = shared.join("models/mlperf_tiny");
    let model = fs::read(folder.join(format!("{name}.onnx"))).expect("the model");
    let mut point = Overrides::default();
    settings.iter().for_each(|setting| point.set(setting).expect("a setting"));
    let hw: HardwarePoint = point.resolve().expect("a point");
    let compiled =
        compile(&model, &hw, &ImportOptions::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let network = compiled.import.network;
    let program = Program::from_bytes(&compiled.program.to_bytes()).expect("a program file");
    let simulation = Simulation::new(program).expect("a legal program");
    let input = values(&folder.join(format!("{name}.in.npy")));
    let encoder = Encoder::new(&network.input).expect("an encoder");
    let decoder = Decoder::new(&network.output).expect("a decoder");
    let (mut bytes, mut output) = (vec![0; encoder.values()], Vec::new());
    encoder.encode_reals(&input, Order::Model, &mut bytes);
    simulation.cold_executor().run(&bytes, &mut output);
    let expected = values(&folder.join(format!("{name}.out.npy")));
    assert_eq!(decoder.decode(&output)[0], expected, "{name}");
}

#[test]
fn keyword_spotting_is_exact() {
    check("KeywordSpotting", &[]);
}

#[test]
fn image_classification_is_exact() {
    check("ImageClassification", &["act.words=4096"]);
}
