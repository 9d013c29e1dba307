//! The trained network on the RTL, at points from one element to the default array; residual sums,
//! weights that pass through their memory in slices, and maps that pass through theirs in stripes.

use crate::common;

use qnnsim_compiler::lower_to;
use qnnsim_cosim::bench::Bench;
use qnnsim_cosim::compare::compare;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_tests::larger::residual;
use qnnsim_tests::{Sequence, compile, digits, mnist, programs, shared};
use rayon::prelude::*;

/// A point from `hardware/`, with settings.
fn point(file: &str, settings: &[&str]) -> HardwarePoint {
    let path = format!("{}/../hardware/{file}.ron", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut overrides =
        Overrides::from_ron(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    settings.iter().try_for_each(|setting| overrides.set(setting)).expect("settings");
    overrides.resolve().expect("a valid point")
}

/// Images of MNIST, if they are there.
fn images(count: usize) -> Vec<Vec<u8>> {
    let pixels = shared().map(|shared| mnist(&shared)).unwrap_or_default();
    pixels.chunks(28 * 28).take(count).map(<[u8]>::to_vec).collect()
}

#[test]
fn the_network_runs_the_same_cold_and_warm() {
    let Some(verilator) = common::verilator() else { return };
    let (digits, mnist) = (digits(), images(20));
    // Model, file, settings, sample digits and images of MNIST. An image on one element takes 1.4
    // million cycles.
    let tight =
        ["queue.depth=1", "mac.taps=4", "dram.latency=300", "dram.outstanding=1", "acc.banks=1"];
    let points: [(&str, &str, &[&str], usize, usize); 7] = [
        ("w1a1", "1x1x8", &[], 2, 1),
        ("w1a1", "16x16x64", &[], 10, 20),
        ("w8a8", "16x16x64", &[], 2, 1),
        ("w1a1", "16x16x64_slow_dram", &[], 2, 10),
        ("w1a1", "3x5x24", &[], 2, 2),
        ("w1a1", "4x4x32", &[], 10, 20),
        ("w1a1", "4x4x32", &tight, 2, 2),
    ];
    points.par_iter().for_each(|&(model, file, settings, of_digits, of_mnist)| {
        let program =
            compile(&programs().join(format!("tcv_{model}.onnx")), &point(file, settings));
        let machine =
            verilator.machine(&program.hardware, &[]).unwrap_or_else(|error| panic!("{error}"));
        let mut bench = Bench::start(&machine).unwrap_or_else(|error| panic!("{error}"));
        // The first is cold, the others are warm.
        let all = digits.iter().take(of_digits).chain(mnist.iter().take(of_mnist));
        let images: Vec<&[u8]> = all.map(Vec::as_slice).collect();
        let compared = compare(&mut bench, &program, &images)
            .unwrap_or_else(|e| panic!("{model} {file} {settings:?}: {e}"));
        assert_eq!(
            (compared.images as usize, compared.skipped),
            (images.len(), 0),
            "{model} {file} {settings:?}"
        );
    });
}

#[test]
fn sums_of_maps_weights_in_slices_and_maps_in_stripes_run_the_same() {
    let Some(verilator) = common::verilator() else { return };
    let network = residual(8, [16, 24, 40], 1, 2);
    // Half of the weights; one word of weights and a tile's thresholds more than the least, with
    // the least of everything else.
    let tight =
        ["wgt.words=12", "thr.words=16", "queue.depth=1", "acc.banks=1", "dram.latency=200"];
    // A third of the maps and a row of the widest; words that are no whole beats, an array row that
    // is none of DRAM's.
    let striped = ["act.words=48", "wgt.words=512", "thr.words=60"];
    let odd = [
        "mac.rows=3",
        "mac.lanes=24",
        "mac.taps=18",
        "act.words=64",
        "wgt.words=2048",
        "dram.width=16",
        "load.width=3",
    ];
    let points: [(&[&str], bool); 4] = [
        (&["wgt.words=512", "thr.words=60"], false),
        (&tight, false),
        (&striped, true),
        (&odd, true),
    ];
    points.par_iter().for_each(|&(settings, stripes)| {
        let hw = point("4x4x32", settings);
        let (plan, program) =
            lower_to(&network, &hw).unwrap_or_else(|errors| panic!("{settings:?}: {}", errors[0]));
        assert!(plan.rings[0].words > 0 || stripes, "{settings:?}: all weights stay");
        let most = plan.layers.iter().map(|layer| layer.stripes.len()).max();
        assert_eq!(plan.scratch > 0 && most > Some(2), stripes, "{settings:?}: {most:?} stripes");
        let machine =
            verilator.machine(&program.hardware, &[]).unwrap_or_else(|error| panic!("{error}"));
        let mut bench = Bench::start(&machine).unwrap_or_else(|error| panic!("{error}"));
        let mut sequence = Sequence::new(5);
        let mut image =
            || (0..3 * 8 * 8).map(|_| sequence.within(0, 255) as u8).collect::<Vec<u8>>();
        let images = [image(), image()];
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        let compared =
            compare(&mut bench, &program, &images).unwrap_or_else(|e| panic!("{settings:?}: {e}"));
        assert_eq!((compared.images as usize, compared.skipped), (images.len(), 0), "{settings:?}");
    });
}
