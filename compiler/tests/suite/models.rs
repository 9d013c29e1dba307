//! The trained networks. Environment variable `QNNSIM_SHARED` names the folder that has `models/`;
//! without it nothing is tested.

use std::fs;

use qnnsim_compiler::diagnostic::Place;
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::ir::{MapId, WeightKind};
use qnnsim_compiler::limits;
use qnnsim_isa::descriptor::{Code, MapShape};

/// A model's file, if there is one.
fn model(name: &str) -> Option<Vec<u8>> {
    let Some(shared) = std::env::var_os("QNNSIM_SHARED") else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            concat!("SKIPPED: QNNSIM_SHARED is not set, so no trained model is tested", "\n")
                .as_bytes(),
        );
        return None;
    };
    let path = std::path::Path::new(&shared).join("models").join(name);
    Some(fs::read(path).expect("the model"))
}

fn options(unsigned_1bit_relu: bool) -> ImportOptions {
    ImportOptions { unsigned_1bit_relu, pixel_offset: vec![-128.0], ..ImportOptions::default() }
}

fn imported(name: &str, unsigned_1bit_relu: bool) -> Option<Import> {
    Some(import(&model(name)?, &options(unsigned_1bit_relu)).expect("the model is supported"))
}

#[test]
fn tcv_w1a1() {
    let Some(Import { network, warnings, .. }) = imported("tcv_w1a1.onnx", false) else { return };
    assert!(warnings.is_empty(), "{}", warnings[0]);
    assert!(qnnsim_host::Encoder::new(&network.input).unwrap().pixels_unchanged());
    let names: Vec<&str> = network.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["conv1", "conv2", "fc1", "out"]);
    let maps: Vec<(MapShape, Code)> = (0..5).map(|index| network.map(MapId(index))).collect();
    let map = |channels, size, bits, signed| {
        (MapShape { channels, height: size, width: size }, Code { bits, signed })
    };
    let binary = |size| map(64, size, 1, false);
    // The last weights of one sign sum up to -47 to 27 at most, which takes 7 bits.
    let expected = [map(1, 28, 8, true), binary(14), binary(7), binary(1), map(10, 1, 7, true)];
    assert_eq!(maps, expected);
    assert!(network.layers.iter().all(|layer| layer.terms[0].weights.kind == WeightKind::Bipolar));
    let macs: u64 = network.layers.iter().map(|layer| network.macs(layer)).sum();
    assert_eq!(macs, 9 * 64 * 784 + 576 * 64 * 196 + 3136 * 64 + 640);
}

#[test]
fn the_exporters_defect_is_explained_and_mended() {
    let Some(bytes) = model("tcv_w1a1.brevitas_export.onnx") else { return };
    let errors = import(&bytes, &options(false)).unwrap_err();
    assert_eq!(errors.len(), 3, "one for each activation");
    for (error, relu) in errors.iter().zip(["relu1", "relu2", "relu3"]) {
        assert!(error.is(&limits::BIPOLAR_SIGN), "{error}");
        let Some(Place::Node(place)) = error.place.as_deref() else { panic!("{error}") };
        assert_eq!(place.node, format!("/{relu}/act_quant/export_handler/BipolarQuant"));
    }
    let mended = imported("tcv_w1a1.brevitas_export.onnx", true).expect("the folder is there");
    let corrected = imported("tcv_w1a1.onnx", false).expect("the folder is there");
    assert_eq!(mended.network, corrected.network);
}

#[test]
fn tcv_w8a8() {
    let Some(Import { network, .. }) = imported("tcv_w8a8.onnx", false) else { return };
    assert!(
        network.layers.iter().all(|layer| layer.terms[0].weights.kind == WeightKind::Signed(8))
    );
    let bounds = network.accumulator_bounds(&network.layers[2]);
    let largest = bounds.iter().map(|&(low, high)| high.max(-low)).max().unwrap();
    assert!((9_000_000..10_000_000).contains(&largest), "{largest}");
}
