//! Random models from an ONNX file to the simulator, on random hardware points: every map equals
//! that of the integer reference, cold and warm, and the integers of the graph's tensor in double
//! precision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::prelude::*;
use qnnsim_compiler::import::Import;
use qnnsim_compiler::lower_to;
use qnnsim_host::{Decoder, Encoder, Order};
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::Simulation;
use qnnsim_tests::models::graphs::{DRAWN, draw};
use qnnsim_tests::models::{Noise, chains, graph_integers};
use qnnsim_tests::{cases, dram_bytes, fitted, for_all, hardware_point};

/// Graphs and chains of layers that a thorough test draws.
const GRAPHS: u32 = 4500;
const CHAINS: u32 = 3000;

/// One image through the graph, the reference and the simulator.
pub fn agree(import: &Import, hw: &HardwarePoint, noise: &mut Noise) -> Result<(), TestCaseError> {
    let network = &import.network;
    // A network of many channels has more tiles on a narrow array than an encoding holds.
    let on = |hw: &HardwarePoint| lower_to(network, &fitted(network, hw));
    let program = on(hw)
        .or_else(|_| on(&HardwarePoint::default()))
        .unwrap_or_else(|errors| panic!("{}\n{network}", errors[0]))
        .1;
    let program = Program::from_bytes(&program.to_bytes()).expect("a program file");
    let described = program.clone();
    let simulation =
        Simulation::new(program).unwrap_or_else(|trap| panic!("{}", trap.describe(&described)));
    let shape = network.input.shape;
    let real: Vec<f64> = (0..shape.values()).map(|_| f64::from(noise.real() * 9.0)).collect();
    let codes = Encoder::new(&network.input).unwrap().codes(&real, Order::Model);
    let codes = qnnsim_reference::Map::of_pixels(shape, &codes).values;
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
        let tensor = &tensors[import.graph.value(value).name.as_str()];
        let integers = graph_integers(at, map.shape, tensor);
        prop_assert_eq!(&integers, &map.values, "{}", import.graph);
    }
    // The machine leaves the channels of one pixel after the other.
    prop_assert_eq!(&output, &reference.last().expect("maps").by_pixel());
    let host = Decoder::new(&network.output).unwrap().decode(&output);
    for (host, &id) in host.iter().zip(&import.graph.outputs) {
        let last = &tensors[import.graph.value(id).name.as_str()];
        // The graph rounds after each node, the host once: they agree to a few units in the last
        // place of what was summed.
        for (host, graph) in host.iter().zip(&last.to_real().data) {
            let distance = (host - graph).abs();
            prop_assert!(distance <= 1e-12 * graph.abs().max(1.0), "{host} instead of {graph}");
        }
    }
    Ok(())
}

/// What has been drawn, by name, and how many cases were accepted.
#[derive(Default)]
struct Drawn {
    names: BTreeMap<String, u32>,
    accepted: u32,
}

impl Drawn {
    fn count(&mut self, of_case: impl IntoIterator<Item = String>) {
        self.accepted += 1;
        for name in of_case.into_iter().collect::<BTreeSet<_>>() {
            *self.names.entry(name).or_default() += 1;
        }
    }

    /// So many names are drawn, often, and so many of a hundred cases accepted.
    fn check(&self, cases: u32, thorough: u32, names: usize, accepted: u32) {
        let Drawn { names: drawn, accepted: count } = self;
        assert!(100 * count >= accepted * cases, "{count} of {cases} accepted");
        // A few cases cannot have everything.
        if cases == thorough {
            assert_eq!(drawn.len(), names, "{drawn:?}");
            assert!(drawn.values().all(|&count| count >= 15), "{drawn:?}");
        }
    }
}

#[test]
fn random_graphs_agree() {
    let count = cases(300, GRAPHS);
    let drawn = Mutex::new(Drawn::default());
    for_all(
        count,
        || (any::<u32>(), 2usize..12, hardware_point()),
        |(seed, steps, hw)| {
            let (operators, _, import) = draw(seed, steps);
            if let Ok(import) = import {
                agree(&import, &hw, &mut Noise(seed ^ 0x5555))?;
                drawn
                    .lock()
                    .expect("no test panicked")
                    .count(operators.iter().map(|name| (*name).to_owned()));
            }
            Ok(())
        },
    );
    // Each operator and quantizer.
    drawn.into_inner().expect("no test panicked").check(count, GRAPHS, DRAWN.len(), 60);
}

#[test]
fn random_chains_of_layers_agree() {
    let count = cases(200, CHAINS);
    let drawn = Mutex::new(Drawn::default());
    for_all(
        count,
        || (chains::case(), any::<u32>(), hardware_point()),
        |(case, seed, hw)| {
            if let Some(import) = chains::import(&case) {
                agree(&import, &hw, &mut Noise(seed))?;
                drawn.lock().expect("no test panicked").count(chains::drawn(&case));
            }
            Ok(())
        },
    );
    // Each function, rounding mode and precision.
    drawn.into_inner().expect("no test panicked").check(count, CHAINS, chains::KINDS, 93);
}
