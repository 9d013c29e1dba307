//! The trained networks on MNIST against their golden accumulators. Environment variable
//! `QNNSIM_SHARED` names the folder that has `models/` and `mnist/`; without it nothing is tested.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::ir::Network;
use qnnsim_reference::evaluate;
use rayon::prelude::*;

const PIXELS: usize = 28 * 28;
const CLASSES: usize = 10;

/// The folder of models and images, if there is one.
fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("QNNSIM_SHARED").map(PathBuf::from);
    if shared.is_none() {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            concat!("SKIPPED: QNNSIM_SHARED is not set, so no trained model is tested", "\n")
                .as_bytes(),
        );
    }
    shared
}

fn imported(shared: &Path, model: &str) -> Import {
    let bytes = fs::read(shared.join(format!("models/{model}.onnx"))).expect("the model");
    let options = ImportOptions { pixel_offset: vec![-128.0], ..ImportOptions::default() };
    import(&bytes, &options).expect("the model is supported")
}

fn network(shared: &Path, model: &str) -> Network {
    imported(shared, model).network
}

/// The first `count` images' golden accumulators.
fn golden(shared: &Path, model: &str) -> Vec<i32> {
    let file = fs::File::open(shared.join(format!("models/{model}.t10k_int_logits.npy")));
    let npy = npyz::NpyFile::new(file.expect("the golden outputs")).expect("an npy file");
    npy.into_vec().expect("int32")
}

fn gunzip(path: &Path, header_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).expect("an MNIST file");
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes.split_off(header_bytes)
}

/// Compares the accumulators of images; gives how many of them are classified right.
fn compare(model: &str, images: usize) -> Option<usize> {
    let shared = shared()?;
    let network = network(&shared, model);
    let golden = golden(&shared, model);
    let pixels = gunzip(&shared.join("mnist/t10k-images-idx3-ubyte.gz"), 16);
    let labels = gunzip(&shared.join("mnist/t10k-labels-idx1-ubyte.gz"), 8);
    let right = (0..images).into_par_iter().filter(|&image| {
        let pixels = &pixels[image * PIXELS..][..PIXELS];
        let codes: Vec<i64> = pixels.iter().map(|&pixel| i64::from(pixel) - 128).collect();
        let maps = evaluate(&network, &codes);
        let output = &maps.last().expect("the input at least").values;
        let expected: Vec<i64> =
            golden[image * CLASSES..][..CLASSES].iter().map(|&acc| i64::from(acc)).collect();
        assert_eq!(*output, expected, "{model}, image {image}");
        let best = output.iter().max().expect("ten outputs");
        output.iter().position(|acc| acc == best) == Some(usize::from(labels[image]))
    });
    Some(right.count())
}

#[test]
fn w1a1_first_images() {
    compare("tcv_w1a1", 500);
}

#[test]
fn w8a8_first_images() {
    compare("tcv_w8a8", 500);
}

#[test]
#[ignore = "minutes"]
fn w1a1_all_images() {
    assert!(compare("tcv_w1a1", 10_000).is_none_or(|right| right == 9833));
}

#[test]
#[ignore = "minutes"]
fn w8a8_all_images() {
    assert!(compare("tcv_w8a8", 10_000).is_none_or(|right| right == 9924));
}

/// The graph in double precision has the integers of the network in what each layer reads.
#[test]
fn graph_in_double_precision() {
    let Some(shared) = shared() else { return };
    let pixels = gunzip(&shared.join("mnist/t10k-images-idx3-ubyte.gz"), 16);
    for model in ["tcv_w1a1", "tcv_w8a8"] {
        let Import { graph, network, maps: ids, .. } = imported(&shared, model);
        pixels.chunks(PIXELS).take(20).collect::<Vec<_>>().into_par_iter().for_each(|pixels| {
            let codes: Vec<i64> = pixels.iter().map(|&pixel| i64::from(pixel) - 128).collect();
            let reals: Vec<f64> = codes.iter().map(|&code| code as f64).collect();
            let tensors = graph.eval(&reals).expect("an image of the right size");
            let maps = evaluate(&network, &codes);
            assert_eq!(ids.len(), maps.len());
            for (at, map) in ids.iter().zip(&maps) {
                let tensor = &tensors
                    [graph.value(at.value.expect("each map is in the graph")).name.as_str()];
                let integers: Vec<i64> = tensor.array.data.iter().map(|&x| x as i64).collect();
                assert_eq!(integers, map.values, "{model}");
            }
        });
    }
}

/// The scale of the last accumulators is what the goldens' description gives.
#[test]
fn output_scales() {
    use qnnsim_isa::descriptor::HostOp;
    let Some(shared) = shared() else { return };
    for (model, scale) in [("tcv_w1a1", 11.76627577643842), ("tcv_w8a8", 3.6866413171918536e-05)] {
        assert_eq!(
            network(&shared, model).output.values[0].ops,
            [HostOp::Mul(vec![scale])],
            "{model}"
        );
    }
}
