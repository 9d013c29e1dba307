//! Graphs with branches: random ones, whose every map must equal the integers of the graph's tensor
//! exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::prelude::*;
use qnnsim_compiler::import::Import;
use qnnsim_compiler::tensor::Precision;
use qnnsim_host::{Decoder, Encoder, Order};
use qnnsim_isa::descriptor::HostOp;
use qnnsim_reference::verify::Verifier;
use qnnsim_reference::{Map, evaluate};
use qnnsim_tests::models::graphs::{DRAWN, draw};
use qnnsim_tests::models::{Noise, graph_integers};
use qnnsim_tests::{cases, for_all};

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
        // What the last layer sums may have been joined with values in other steps, as real values;
        // and accumulators of codes with a zero point are moved by a constant, which the host takes
        // back. The outputs are compared below.
        let last = std::ptr::eq(map, maps.last().unwrap());
        let moved = || matches!(network.output.values[0].ops[0], HostOp::Add(_));
        if last && (tensor.grid.is_none() || moved()) {
            continue;
        }
        let integers = graph_integers(at, map.shape, tensor);
        prop_assert_eq!(&integers, &map.values, "{}\n{}", name, graph);
    }
    // The host makes the graph's outputs of the accumulators.
    let decoder = Decoder::new(&network.output).unwrap();
    let outputs = decoder.decode(&maps.last().unwrap().by_pixel());
    for (outputs, &id) in outputs.iter().zip(&graph.outputs) {
        let last = &tensors[graph.value(id).name.as_str()];
        // The graph rounds after each node, the host once.
        for (host, real) in outputs.iter().zip(&last.to_real().data) {
            let distance = (host - real).abs();
            prop_assert!(distance <= 1e-12 * real.abs().max(1.0), "{host} for {real}\n{graph}");
        }
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

/// Graphs that a thorough test draws.
const GRAPHS: u32 = 8000;

/// What has been drawn.
#[derive(Default)]
struct Drawn {
    operators: BTreeMap<&'static str, u32>,
    refused: BTreeMap<String, u32>,
    several_terms: u32,
    accepted: u32,
}

#[test]
fn maps_are_the_integers_of_tensors() {
    let count = cases(400, GRAPHS);
    let drawn = Mutex::new(Drawn::default());
    for_all(
        count,
        || (any::<u32>(), 2usize..12),
        |(seed, steps)| {
            let (operators, shape, import) = draw(seed, steps);
            let lock = || drawn.lock().expect("no test panicked");
            match import {
                Err(note) => *lock().refused.entry(note).or_default() += 1,
                Ok(import) => {
                    agree(&import, shape, &mut Noise(seed ^ 0x5555))?;
                    let several = import.network.layers.iter().any(|layer| layer.terms.len() > 1);
                    let mut drawn = lock();
                    for operator in operators.into_iter().collect::<BTreeSet<_>>() {
                        *drawn.operators.entry(operator).or_default() += 1;
                    }
                    drawn.several_terms += u32::from(several);
                    drawn.accepted += 1;
                }
            }
            Ok(())
        },
    );
    let Drawn { operators, refused, several_terms, accepted } =
        drawn.into_inner().expect("no test panicked");
    println!("{accepted} {several_terms} {refused:#?}");
    assert!(
        8 * accepted >= 5 * count && 80 * several_terms >= count,
        "{accepted} accepted, {several_terms} of several terms: {refused:#?}"
    );
    // A few graphs cannot have everything.
    if count == GRAPHS {
        for operator in DRAWN {
            let often = operators.get(operator).is_some_and(|&count| count >= 30);
            assert!(often, "{operator} in {operators:?}");
        }
    }
}
