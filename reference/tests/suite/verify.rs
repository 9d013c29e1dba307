//! What is a tie and what is an error, on cases derived by hand.

use prost::Message;
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::ir::Activation;
use qnnsim_compiler::limits;
use qnnsim_compiler::tensor::Precision;
use qnnsim_host::Decoder;
use qnnsim_reference::evaluate;
use qnnsim_reference::verify::{Difference, Report, Verifier};
use qnnsim_tests::models::Model;

/// The sum of ten values in steps of 0.1, quantized in steps of 0.1 by CEIL.
fn ten() -> Import {
    let mut m = Model::new(&[1, 10]);
    let x = m.quant("x", 0.1, 8, true);
    let weights = m.weights(&[10, 1], &[1.0; 10]);
    let x = m.node("MatMul", &[&x, &weights], &[]);
    let x = m.quant_with(&x, 0.1, 5, false, "CEIL");
    let x = m.last(&x, 1);
    m.import(&x).expect("supported")
}

/// Verifies one image of ten times 0.1 against what a machine makes of it.
fn verify(import: &Import, precision: Precision, machine: &[Vec<i64>]) -> Report {
    let verifier = Verifier::new(import, precision).unwrap();
    let mut report = verifier.report();
    let machine: Vec<&[i64]> = machine.iter().map(Vec::as_slice).collect();
    verifier.image(3, &[f64::from(0.1f32); 10], &machine, &mut report);
    report
}

fn right() -> Vec<Vec<i64>> {
    vec![vec![1; 10], vec![10], vec![10]]
}

#[test]
fn a_difference_within_rounding_is_a_tie() {
    let import = ten();
    assert_eq!(evaluate(&import.network, &[1; 10])[2].values, [10]);
    // In float32 ten times 0.1 adds up to 1.0000001, which CEIL takes to 11 steps of 0.1.
    assert_eq!((0..10).fold(0f32, |sum, _| sum + 0.1), 1.000_000_1);
    let report = verify(&import, Precision::Single, &right());
    let tie = Difference { image: 3, channel: 0, y: 0, x: 0, found: 11.0, expected: 10.0 };
    assert_eq!((report.maps[1].ties.count, report.maps[1].ties.first), (1, Some(tie)));
    assert!(report.agrees(), "{report:?}");
    let names: Vec<&str> = report.maps.iter().map(|map| map.name.as_str()).collect();
    assert_eq!(names, ["input", "matmul2", "matmul5"]);
    assert_eq!(report.maps.iter().map(|map| map.values).collect::<Vec<_>>(), [10, 1, 1]);
    // Doubles hold the sum of these floats exactly.
    let report = verify(&import, Precision::Double, &right());
    assert!(report.agrees() && report.maps.iter().all(|map| map.ties.count == 0), "{report:?}");
}

#[test]
fn a_machine_that_differs_is_an_error_in_its_map() {
    let import = ten();
    for map in 0..3 {
        let mut machine = right();
        let last = machine[map].len() - 1;
        machine[map][last] += 1;
        let report = verify(&import, Precision::Double, &machine);
        assert!(!report.agrees());
        let counts: Vec<u64> = report.maps.iter().map(|map| map.machine.count).collect();
        assert_eq!(counts, [0, 1, 2].map(|other| u64::from(other == map)));
        let first = report.maps[map].machine.first.expect("one");
        assert_eq!((first.channel as usize, first.found - first.expected), (last, 1.0));
    }
}

#[test]
fn a_graph_that_differs_by_more_than_rounding_is_an_error() {
    let mut import = ten();
    // CEIL takes an accumulator a to the code a: move the step to 10 behind it, as if the compiler
    // had a fault.
    let Activation::Steps { channels, .. } = &mut import.network.layers[0].activation else {
        panic!("a quantizer")
    };
    assert_eq!(channels[0].thresholds[9], 10);
    channels[0].thresholds[9] = 11;
    let report = verify(&import, Precision::Double, &[vec![1; 10], vec![9], vec![9]]);
    let first = Difference { image: 3, channel: 0, y: 0, x: 0, found: 10.0, expected: 9.0 };
    assert_eq!((report.maps[1].graph.count, report.maps[1].graph.first), (1, Some(first)));
    assert_eq!(report.maps[1].machine.count, 0, "the machine does what the network says");
    assert!(!report.agrees());
    // What comes after it begins with the network's map again.
    assert_eq!(report.maps[2].graph.count, 0);

    // Real outputs have no quantizer, but are not off by a whole step either.
    let mut import = ten();
    import.network.layers[1].terms[0].weights.data[0] = 2;
    let report = verify(&import, Precision::Single, &[vec![1; 10], vec![10], vec![20]]);
    assert_eq!((report.maps[2].machine.count, report.maps[2].graph.count), (0, 1));
}

#[test]
fn reports_of_several_images_keep_the_first_difference() {
    let import = ten();
    let verifier = Verifier::new(&import, Precision::Double).unwrap();
    let one = |image: u64| {
        let mut report = verifier.report();
        let mut machine = right();
        machine[1][0] = 12;
        let machine: Vec<&[i64]> = machine.iter().map(Vec::as_slice).collect();
        verifier.image(image, &[f64::from(0.1f32); 10], &machine, &mut report);
        report
    };
    let report = one(7).merge(one(2)).merge(verifier.report());
    let machine = report.maps[1].machine;
    assert_eq!(
        (machine.count, machine.first.expect("two").image, report.maps[0].values),
        (2, 2, 20)
    );
}

#[test]
fn outputs_of_several_sizes_share_a_grid() {
    let mut m = Model::new(&[1, 1, 2, 3]);
    let x = m.quant("x", 1.0, 4, true);
    let twice = m.weights(&[1, 1, 1, 1], &[2.0]);
    let twice = m.node("Conv", &[&x, &twice], &[]);
    let corners = m.weights(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let corners = m.node("Conv", &[&x, &corners], &[]);
    let bytes = m.message_of(&[&corners, &twice]).encode_to_vec();
    let import = import(&bytes, &ImportOptions::default()).expect("supported");
    let network = &import.network;
    assert!(import.warnings.iter().any(|warning| warning.is(&limits::OUTPUT_SIZES)));
    let image = [1, 2, 3, 4, 5, 6];
    let maps = evaluate(network, &image);
    // Pixel after pixel, the channels of both outputs innermost. Beyond its own two pixels the
    // first output reads zeros behind the map: [3, 6] meets 1 and 3, the lower row 1 and 2 alone.
    let [corners, twice] = [[37, 47, 3 + 18, 4 + 10, 5 + 12, 6], [2, 4, 6, 8, 10, 12]];
    assert_eq!(maps[1].values, [corners, twice].concat());
    let accumulators: Vec<i64> = (0..6).flat_map(|pixel| [corners[pixel], twice[pixel]]).collect();
    let outputs = Decoder::new(&network.output).unwrap().decode(&accumulators);
    // 1 x 1 + 2 x 2 + 4 x 3 + 5 x 4 and 2 x 1 + 3 x 2 + 5 x 3 + 6 x 4.
    assert_eq!(outputs, [vec![37.0, 47.0], vec![2.0, 4.0, 6.0, 8.0, 10.0, 12.0]]);
    let verifier = Verifier::new(&import, Precision::Double).unwrap();
    let mut report = verifier.report();
    let machine: Vec<&[i64]> = maps.iter().map(|map| &map.values[..]).collect();
    verifier.image(0, &image.map(|code| code as f64), &machine, &mut report);
    assert!(report.agrees(), "{report:?}");
}
