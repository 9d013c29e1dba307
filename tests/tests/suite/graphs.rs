//! Random models from an ONNX file to the simulator, on random hardware points: every map equals
//! that of the integer reference, cold and warm, and the integers of the graph's tensor in double
//! precision.

use qnnsim_tests::models::chains;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use qnnsim_compiler::import::Import;
use qnnsim_compiler::lower_to;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::Simulation;
use qnnsim_tests::models::graphs::{DRAWN, Noise, draw};
use qnnsim_tests::{dram_bytes, fitted, hardware_point};

/// Graphs and chains of layers that are drawn, and how many at the least are accepted and exact.
const GRAPHS: u32 = 4500;
const CHAINS: u32 = 3000;
const ACCEPTED: usize = 6000;

/// One image through the graph, the reference and the simulator.
pub fn agree(import: &Import, hw: &HardwarePoint, noise: &mut Noise) -> Result<(), TestCaseError> {
    let network = &import.network;
    let hw = fitted(network, hw);
    let program =
        lower_to(network, &hw).unwrap_or_else(|errors| panic!("{}\n{network}", errors[0])).1;
    let program = Program::from_bytes(&program.to_bytes()).expect("a program file");
    let described = program.clone();
    let simulation =
        Simulation::new(program).unwrap_or_else(|trap| panic!("{}", trap.describe(&described)));
    let shape = network.input.shape;
    let real: Vec<f64> = (0..shape.values()).map(|_| f64::from(noise.real() * 9.0)).collect();
    let codes = network.input.codes_of_reals(&real);
    let reference = qnnsim_reference::evaluate(network, &codes);
    let bytes = dram_bytes(&network.input, &codes);
    let mut output = Vec::new();
    for mut executor in [simulation.cold_executor(), simulation.executor()] {
        let maps = executor.run_with_maps(&bytes, &mut output);
        prop_assert_eq!(maps.len(), network.layers.len());
        for map in maps {
            prop_assert_eq!(
                &map.values,
                &reference[map.layer as usize + 1].values,
                "layer {}\n{}",
                map.layer,
                network
            );
        }
    }
    let tensors = import.graph.eval(&real).expect("values of the graph");
    for (at, map) in import.maps.iter().zip(&reference).take(network.layers.len()) {
        // Parts of integers are in no tensor.
        let Some(value) = at.value else { continue };
        let tensor = tensors[import.graph.value(value).name.as_str()].centered();
        let places = at.places(map.shape);
        let integers: Vec<i64> =
            places.iter().map(|&place| tensor.data[place] as i64 + at.zero_point).collect();
        prop_assert_eq!(&integers, &map.values, "{}", import.graph);
    }
    // The host takes the channels of one pixel after the other, and gives them so.
    prop_assert_eq!(&output, &reference.last().expect("maps").by_pixel());
    let host = network.output.real(&output);
    let channels = network.output.result_shape().channels as usize;
    let host: Vec<f64> =
        (0..channels).flat_map(|c| host.iter().skip(c).step_by(channels).copied()).collect();
    let last = &tensors[import.graph.value(import.graph.output).name.as_str()];
    prop_assert_eq!(&host, &last.to_real().data);
    Ok(())
}

#[test]
fn simulator_reference_and_graph_agree() {
    let drawn: RefCell<BTreeMap<String, usize>> = RefCell::default();
    let accepted = RefCell::new(0);
    let count = |of_case: Vec<String>| {
        *accepted.borrow_mut() += 1;
        let mut of_case = of_case;
        of_case.sort_unstable();
        of_case.dedup();
        of_case.into_iter().for_each(|name| *drawn.borrow_mut().entry(name).or_default() += 1);
    };
    let runner = |cases| {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    let of_graphs =
        runner(GRAPHS).run(&(any::<u32>(), 2usize..12, hardware_point()), |(seed, steps, hw)| {
            let (drawn, _, import) = draw(seed, steps);
            if let Ok(import) = import {
                agree(&import, &hw, &mut Noise(seed ^ 0x5555))?;
                count(drawn.iter().map(|name| (*name).to_owned()).collect());
            }
            Ok(())
        });
    of_graphs.unwrap_or_else(|error| panic!("{error}"));
    let of_chains = runner(CHAINS).run(
        &(chains::case(), any::<u32>(), hardware_point()),
        |(case, seed, hw)| {
            if let Some(import) = chains::import(&case) {
                agree(&import, &hw, &mut Noise(seed))?;
                count(chains::drawn(&case));
            }
            Ok(())
        },
    );
    of_chains.unwrap_or_else(|error| panic!("{error}"));
    let (drawn, accepted) = (drawn.into_inner(), accepted.into_inner());
    assert!(accepted >= ACCEPTED, "{accepted} accepted");
    // Each operator, quantizer, function, rounding mode and precision, often.
    assert!(DRAWN.iter().all(|&operator| drawn.contains_key(operator)), "{drawn:?}");
    assert_eq!(drawn.len(), DRAWN.len() + chains::KINDS, "{drawn:?}");
    assert!(drawn.values().all(|&count| count >= 15), "{drawn:?}");
}
