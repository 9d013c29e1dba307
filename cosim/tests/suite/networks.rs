//! The trained network on the RTL, at points from one element to the default array; residual sums,
//! weights that pass through their memory in slices, and maps that pass through theirs in stripes.

use crate::common;

use qnnsim_compiler::lower_to;
use qnnsim_cosim::bench::Bench;
use qnnsim_cosim::compare::compare;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_tests::larger::residual;
use qnnsim_tests::{Sequence, cases, compile, digits, mnist, programs, shared};

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
    if count == 0 {
        return Vec::new();
    }
    let pixels = shared().map(|shared| mnist(&shared)).unwrap_or_default();
    pixels.chunks(28 * 28).take(count).map(<[u8]>::to_vec).collect()
}

/// TCV on a point: sample digits, then images of MNIST; the first is cold, the others are warm.
fn tcv(model: &str, file: &str, settings: &[&str], of_digits: u32, of_mnist: u32) {
    let Some(verilator) = common::verilator() else { return };
    let program = compile(&programs().join(format!("tcv_{model}.onnx")), &point(file, settings));
    let machine =
        verilator.machine(&program.hardware, &[]).unwrap_or_else(|error| panic!("{error}"));
    let mut bench = Bench::start(&machine).unwrap_or_else(|error| panic!("{error}"));
    let (digits, mnist) = (digits(), images(of_mnist as usize));
    let all = digits.iter().take(of_digits as usize).chain(&mnist);
    let images: Vec<&[u8]> = all.map(Vec::as_slice).collect();
    let compared = compare(&mut bench, &program, &images)
        .unwrap_or_else(|e| panic!("{model} {file} {settings:?}: {e}"));
    assert_eq!((compared.images as usize, compared.skipped), (images.len(), 0));
}

/// A test a point: model, file, settings, sample digits, images of MNIST. Large machines take long
/// to build, so that only a thorough test has them.
macro_rules! tcv {
    ($($name:ident: $model:literal $file:literal $settings:expr, $digits:expr, $mnist:expr;)*) => {
        $(#[test]
        fn $name() {
            if $digits > 0 {
                tcv($model, $file, &$settings, $digits, $mnist);
            }
        })*
    };
}

const TIGHT: [&str; 5] =
    ["queue.depth=1", "mac.taps=4", "dram.latency=300", "dram.outstanding=1", "acc.banks=1"];

tcv! {
    // An image on one element takes 1.4 million cycles.
    one_bit_on_one_element: "w1a1" "1x1x8" [], cases(0, 2), 1;
    one_bit_on_the_default_point: "w1a1" "16x16x64" [], cases(0, 10), 20;
    eight_bits_on_the_default_point: "w8a8" "16x16x64" [], cases(0, 2), 1;
    one_bit_with_a_slow_dram: "w1a1" "16x16x64_slow_dram" [], cases(0, 2), 10;
    one_bit_on_an_odd_array: "w1a1" "3x5x24" [], 2, cases(0, 2);
    one_bit_on_a_small_array: "w1a1" "4x4x32" [], cases(2, 10), cases(0, 20);
    one_bit_with_the_least_of_everything: "w1a1" "4x4x32" TIGHT, 2, cases(0, 2);
}

/// Residual sums on a point that holds half of the weights, or a third of the maps.
fn residual_network(settings: &[&str], stripes: bool) {
    let Some(verilator) = common::verilator() else { return };
    let network = residual(8, [16, 24, 40], 1, 2);
    let hw = point("4x4x32", settings);
    let (plan, program) =
        lower_to(&network, &hw).unwrap_or_else(|errors| panic!("{settings:?}: {}", errors[0]));
    let placement = &plan.placement;
    assert!(placement.rings.weights.words > 0 || stripes, "{settings:?}: all weights stay");
    let most = placement.maps.layers.iter().map(|layer| layer.runs.len()).max();
    let scratch = placement.maps.scratch;
    assert_eq!(scratch > 0 && most > Some(2), stripes, "{settings:?}: {most:?} stripes");
    let machine =
        verilator.machine(&program.hardware, &[]).unwrap_or_else(|error| panic!("{error}"));
    let mut bench = Bench::start(&machine).unwrap_or_else(|error| panic!("{error}"));
    let mut sequence = Sequence::new(5);
    let mut image = || (0..3 * 8 * 8).map(|_| sequence.within(0, 255) as u8).collect::<Vec<u8>>();
    let images = [image(), image()];
    let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    let compared =
        compare(&mut bench, &program, &images).unwrap_or_else(|e| panic!("{settings:?}: {e}"));
    assert_eq!((compared.images as usize, compared.skipped), (images.len(), 0), "{settings:?}");
}

#[test]
fn sums_with_weights_in_slices() {
    residual_network(&["wgt.words=512", "thr.words=60"], false);
}

/// One word of weights and a tile's thresholds more than the least, with the least of everything
/// else.
#[test]
fn sums_with_weights_in_the_least_slices() {
    let tight =
        ["wgt.words=12", "thr.words=16", "queue.depth=1", "acc.banks=1", "dram.latency=200"];
    residual_network(&tight, false);
}

/// A third of the maps and a row of the widest.
#[test]
fn sums_with_maps_in_stripes() {
    residual_network(&["act.words=48", "wgt.words=512", "thr.words=60"], true);
}

/// Words that are no whole beats, an array row that is none of DRAM's.
#[test]
fn sums_with_maps_in_stripes_of_odd_words() {
    let odd = [
        "mac.rows=3",
        "mac.lanes=24",
        "mac.taps=18",
        "act.words=64",
        "wgt.words=2048",
        "dram.width=16",
        "load.width=3",
    ];
    residual_network(&odd, true);
}
