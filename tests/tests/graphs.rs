//! Random graphs from an ONNX file to the simulator: every map equals that of the integer reference, cold and warm, on
//! random hardware points.

#[path = "../../compiler/tests/common/mod.rs"]
mod common;
#[path = "../../compiler/tests/common/graphs.rs"]
mod graphs;

use graphs::{DRAWN, Noise, draw};
use proptest::prelude::*;
use qnnsim_compiler::import::Import;
use qnnsim_compiler::lower_to;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::Simulation;
use qnnsim_tests::{dram_bytes, fitted, hardware_point};

fn agree(import: &Import, hw: &HardwarePoint, noise: &mut Noise) -> Result<(), TestCaseError> {
    let network = &import.network;
    let hw = fitted(network, hw);
    let program = lower_to(network, &hw).unwrap_or_else(|errors| panic!("{}\n{network}", errors[0])).1;
    let program = Program::from_bytes(&program.to_bytes()).expect("a program file");
    let described = program.clone();
    let simulation = Simulation::new(program).unwrap_or_else(|trap| panic!("{}", trap.describe(&described)));
    let code = network.input.code;
    let span = (code.max() - code.min() + 1) as usize;
    let codes: Vec<i64> = (0..network.input.shape.values()).map(|_| code.min() + noise.below(span) as i64).collect();
    let reference = qnnsim_reference::evaluate(network, &codes);
    let bytes = dram_bytes(&network.input, &codes);
    let mut output = Vec::new();
    for mut executor in [simulation.cold_executor(), simulation.executor()] {
        let maps = executor.run_with_maps(&bytes, &mut output);
        prop_assert_eq!(maps.len(), network.layers.len());
        for map in maps {
            prop_assert_eq!(&map.values, &reference[map.layer as usize + 1].values, "layer {}\n{}", map.layer, network);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn simulator_and_reference(seed in any::<u32>(), steps in 2usize..10, hw in hardware_point()) {
        let (drawn, _, import) = draw(seed, steps);
        prop_assert!(drawn.iter().all(|operator| DRAWN.contains(operator)), "{:?}", drawn);
        if let Ok(import) = import {
            agree(&import, &hw, &mut Noise(seed ^ 0x5555))?;
        }
    }
}
