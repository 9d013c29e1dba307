//! Graphs with branches: random ones, whose every map must equal the integers of the graph's tensor
//! exactly.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use qnnsim_compiler::import::Import;
use qnnsim_compiler::tensor::Precision;
use qnnsim_host::{Decoder, Encoder, Order};
use qnnsim_isa::descriptor::HostOp;
use qnnsim_reference::verify::Verifier;
use qnnsim_reference::{Map, evaluate};
use qnnsim_tests::models::graphs::{DRAWN, Noise, draw};

/// Every map of an image is the integers of its tensor.
fn agree(import: &Import, shape: [i64; 3], noise: &mut Noise) -> Result<(), TestCaseError> {
    let Import { graph, network, maps: values, .. } = import;
    let input: Vec<f64> =
        (0..shape.iter().product()).map(|_| f64::from(noise.real() * 9.0)).collect();
    let codes = Encoder::new(&network.input).unwrap().codes(&input, Order::Model);
    let maps = evaluate(network, &Map::of_pixels(network.input.shape, &codes).values);
    let tensors = graph.eval(&input).unwrap();
    prop_assert_eq!(values.len(), maps.len());
    for (at, map) in values.iter().zip(&maps) {
        let Some(value) = at.value else { continue };
        let name = graph.value(value).name.as_str();
        let tensor = &tensors[name];
        prop_assert!(tensor.grid.is_some(), "{} has no grid\n{}", name, graph);
        // Accumulators of codes with a zero point are moved by a constant, which the host takes
        // back.
        let last = std::ptr::eq(map, maps.last().unwrap());
        if last && matches!(network.output.values[0].ops[0], HostOp::Add(_)) {
            continue;
        }
        let centered = tensor.centered();
        let integers: Vec<i64> =
            at.places(map.shape).iter().map(|&place| centered.data[place] as i64).collect();
        let codes: Vec<i64> = map.values.iter().map(|&code| code - at.zero_point).collect();
        prop_assert_eq!(&integers, &codes, "{}\n{}", name, graph);
    }
    // The host makes the graph's outputs of the accumulators.
    let decoder = Decoder::new(&network.output).unwrap();
    let outputs = decoder.decode(&maps.last().unwrap().by_pixel());
    for (outputs, &id) in outputs.iter().zip(&graph.outputs) {
        let last = &tensors[graph.value(id).name.as_str()];
        prop_assert_eq!(outputs, &last.to_real().data, "{}", graph);
    }
    let machine: Vec<&[i64]> = maps.iter().map(|map| map.values.as_slice()).collect();
    for precision in [Precision::Single, Precision::Double] {
        let verifier = Verifier::new(import, precision).unwrap();
        let mut report = verifier.report();
        verifier.image(0, &input, &machine, &mut report);
        prop_assert!(report.agrees(), "{:?}: {:?}\n{}", precision, report, graph);
    }
    Ok(())
}

#[test]
fn maps_are_the_integers_of_tensors() {
    let mut drawn: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let (mut several_terms, mut accepted) = (0, 0);
    let config = Config { cases: 8000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let counts =
        std::cell::RefCell::new((&mut drawn, &mut refused, &mut several_terms, &mut accepted));
    let result = runner.run(&(any::<u32>(), 2usize..12), |(seed, steps)| {
        let (operators, shape, import) = draw(seed, steps);
        let mut counts = counts.borrow_mut();
        match import {
            Err(note) => *counts.1.entry(note).or_default() += 1,
            Ok(import) => {
                agree(&import, shape, &mut Noise(seed ^ 0x5555))?;
                let mut operators = operators;
                operators.sort_unstable();
                operators.dedup();
                for operator in operators {
                    *counts.0.entry(operator).or_default() += 1;
                }
                *counts.2 +=
                    usize::from(import.network.layers.iter().any(|layer| layer.terms.len() > 1));
                *counts.3 += 1;
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{accepted} {several_terms} {refused:#?}");
    for operator in DRAWN {
        assert!(drawn.get(operator).is_some_and(|&count| count >= 30), "{operator} in {drawn:?}");
    }
    assert!(
        accepted >= 5000 && several_terms >= 100,
        "{accepted} accepted, {several_terms} of several terms: {refused:#?}"
    );
}
