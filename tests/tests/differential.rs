//! Random networks on random hardware points: the simulator, reading nothing but the program file, and the plain
//! evaluator of the integer network agree in every map.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use qnnsim_compiler::ir::Network;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::{dram_bytes, fitted, hardware_point, network_seed};

fn agree(network: &Network, hw: &HardwarePoint, codes: &[i64]) -> Result<(), TestCaseError> {
    prop_assert!(hw.validate().is_ok(), "{:?}", hw.validate());
    let compiled = qnnsim_compiler::lower_to(network, hw);
    let (_, program) = compiled.map_err(|e| TestCaseError::fail(format!("{}", e[0])))?;
    // Through the file, as a user would.
    let program = Program::from_bytes(&program.to_bytes()).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let described = program.clone();
    let simulation = Simulation::new(program).map_err(|t| TestCaseError::fail(t.describe(&described)))?;
    let input = dram_bytes(&simulation.program().input, codes);

    let maps = qnnsim_reference::evaluate(network, codes);
    let mut output = Vec::new();
    for start in [Start::Cold, Start::Warm] {
        let mut executor = match start {
            Start::Cold => simulation.cold_executor(),
            Start::Warm => simulation.executor(),
        };
        let got = executor.run_with_maps(&input, &mut output);
        prop_assert_eq!(got.len(), network.layers.len());
        for map in &got {
            let layer = map.layer as usize;
            prop_assert_eq!(&map.values, &maps[layer + 1].values, "the map of layer {} ({:?} image)", layer, start);
        }
        prop_assert_eq!(channels_last(&output, network), maps[maps.len() - 1].values.clone(), "the output");
    }
    accounts_add_up(&simulation)
}

/// The output map in the reference's order.
fn channels_last(output: &[i64], network: &Network) -> Vec<i64> {
    let shape = network.output.shape;
    let pixels = (shape.height * shape.width) as usize;
    let channels = shape.channels as usize;
    (0..channels).flat_map(|c| (0..pixels).map(move |p| output[p * channels + c])).collect()
}

fn accounts_add_up(simulation: &Simulation) -> Result<(), TestCaseError> {
    for start in [Start::Cold, Start::Warm] {
        let timing = simulation.timing(start);
        for unit in &timing.units {
            let stalls: u64 = unit.stalls.iter().map(|s| s.1).sum();
            prop_assert_eq!(unit.busy + stalls + unit.idle, timing.cycles);
        }
    }
    for start in [Start::Cold, Start::Warm] {
        let timing = simulation.timing(start);
        let front = timing.front_end;
        prop_assert_eq!(front.busy + front.queue + front.halt + front.idle, timing.cycles);
    }
    let report = simulation.report(&Technology::builtin("45nm").unwrap(), 200);
    prop_assert_eq!(report.layers.iter().map(|l| l.cycles).sum::<u64>(), report.cycles.warm);
    prop_assert_eq!(report.layers.iter().map(|l| l.cycles_cold).sum::<u64>(), report.cycles.cold);
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
    prop_assert!(near(report.layers.iter().map(|l| l.energy_pj).sum(), report.energy_pj.warm));
    prop_assert!(near(report.layers.iter().map(|l| l.energy_pj_cold).sum(), report.energy_pj.cold));
    let units: f64 = report.units.iter().map(|u| u.energy_pj).sum();
    prop_assert!(near(units + report.leakage_pj.warm, report.energy_pj.warm));
    let dram = report.memories.iter().find(|m| m.name == "dram").expect("a row of the DRAM");
    prop_assert_eq!(report.layers.iter().map(|l| l.dram_bytes).sum::<u64>(), dram.reads + dram.writes);
    Ok(())
}

proptest! {
    // At least 2,000; the environment variable PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)) })]

    #[test]
    fn simulator_and_reference_agree_in_every_map(seed in network_seed(), hw in hardware_point()) {
        let network = seed.build();
        // No word to spare: what lies at the end of a memory is used.
        let hw = fitted(&network, &hw);
        agree(&network, &hw, &seed.codes())?;
    }
}
