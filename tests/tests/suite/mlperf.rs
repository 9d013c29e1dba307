//! Networks of MLPerf Tiny as integer ONNX files of another tool chain give their exact integers.

use std::fs;

use prost::Message;
use qnnsim_compiler::compile;
use qnnsim_compiler::import::ImportOptions;
use qnnsim_compiler::onnx::{ModelProto, NodeProto, TensorProto, data_type};
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

/// The model with a quantizer of bytes in front: the files say nothing about their input, whose
/// integers are bytes.
fn with_quantizer(bytes: &[u8]) -> Vec<u8> {
    let mut model = ModelProto::decode(bytes).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    for node in &mut graph.node {
        for input in node.input.iter_mut().filter(|input| **input == "input") {
            *input = "input/values".to_owned();
        }
    }
    let constant = |name: &str, data_type: i32, value: u8| TensorProto {
        name: name.to_owned(),
        data_type,
        float_data: vec![value.into(); usize::from(data_type == data_type::FLOAT)],
        int32_data: vec![value.into(); usize::from(data_type != data_type::FLOAT)],
        ..TensorProto::default()
    };
    graph.initializer.extend([
        constant("input/scale", data_type::FLOAT, 1),
        constant("input/zero", data_type::UINT8, 0),
    ]);
    let node = |op_type: &str, from: &str, to: &str| NodeProto {
        name: to.to_owned(),
        op_type: op_type.to_owned(),
        input: [from, "input/scale", "input/zero"].map(str::to_owned).to_vec(),
        output: vec![to.to_owned()],
        ..NodeProto::default()
    };
    graph.node.splice(
        0..0,
        [
            node("QuantizeLinear", "input", "input/codes"),
            node("DequantizeLinear", "input/codes", "input/values"),
        ],
    );
    model.encode_to_vec()
}

fn check(name: &str, settings: &[&str]) {
    let Some(shared) = shared() else { return };
    let folder = shared.join("models/mlperf_tiny");
    let model = fs::read(folder.join(format!("{name}.onnx"))).expect("the model");
    let mut point = Overrides::default();
    settings.iter().for_each(|setting| point.set(setting).expect("a setting"));
    let hw: HardwarePoint = point.resolve().expect("a point");
    let compiled = compile(&with_quantizer(&model), &hw, &ImportOptions::default())
        .unwrap_or_else(|errors| panic!("{errors}"));
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
