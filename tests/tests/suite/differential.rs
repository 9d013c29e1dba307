//! Random networks on random hardware points: the simulator, reading nothing but the program file,
//! and the plain evaluator of the integer network agree in every map, in memories that hold all
//! maps and weights and in such that do not.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestCaseError;
use qnnsim_compiler::backend::Plan;
use qnnsim_compiler::backend::stripes::{Home, Run, Window};
use qnnsim_compiler::diagnostic::Kind;
use qnnsim_compiler::ir::Network;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::values::{Executor, Form, NotCompiled};
use qnnsim_simulator::{Fault, Simulation, Start, Technology};
use qnnsim_tests::{
    NetworkSeed, cases, channels_first, cramped, dram_bytes, fitted, for_all, hardware_point,
    network_seed,
};

/// None if the program would be too long.
fn simulation(network: &Network, hw: &HardwarePoint) -> Result<Option<Simulation>, TestCaseError> {
    let program = match qnnsim_compiler::lower_to(network, hw) {
        Ok((_, program)) => program,
        Err(errors) if errors[0].kind == Kind::ProgramLength => return Ok(None),
        Err(errors) => return Err(TestCaseError::fail(format!("{}", errors[0]))),
    };
    // Through the file, as a user would.
    let program =
        Program::from_bytes(&program.to_bytes()).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let described = program.clone();
    match Simulation::new(program) {
        Ok(simulation) => Ok(Some(simulation)),
        // A kernel in parts is many steps.
        Err(trap) if matches!(trap.fault, Fault::TooLong(_)) => Ok(None),
        Err(trap) => Err(TestCaseError::fail(trap.describe(&described))),
    }
}

/// Computes an image and compares every map.
fn compare(
    network: &Network,
    simulation: &Simulation,
    executor: &mut Executor,
    codes: &[i64],
) -> Result<(), TestCaseError> {
    let input = dram_bytes(&simulation.program().input, codes);
    let maps = qnnsim_reference::evaluate(network, codes);
    let mut output = Vec::new();
    let got = executor.run_with_maps(&input, &mut output);
    prop_assert_eq!(got.len(), network.layers.len());
    for map in &got {
        prop_assert_eq!(
            &map.values,
            &maps[map.layer as usize + 1].values,
            "the map of layer {}",
            map.layer
        );
    }
    prop_assert_eq!(
        channels_first(&output, network),
        maps[maps.len() - 1].values.clone(),
        "the output"
    );
    Ok(())
}

/// Cold, warm after cold, warm after warm, and warm from what is resident, each with another image.
fn agree(
    network: &Network,
    simulation: &Simulation,
    seed: &NetworkSeed,
) -> Result<(), TestCaseError> {
    let mut executor = simulation.cold_executor();
    for image in 0..3 {
        compare(network, simulation, &mut executor, &seed.image_codes(image))?;
        executor = simulation.next_executor(executor);
    }
    let mut executor = simulation.executor();
    compare(network, simulation, &mut executor, &seed.image_codes(3))?;
    compare(network, simulation, &mut executor, &seed.image_codes(4))?;
    many_at_once(simulation, seed)?;
    accounts_add_up(simulation)
}

/// Images that are computed together give the outputs of each computed alone, whether bits lie apart
/// or codes are bytes, if bytes can hold them. Where their words are kept, which is drawn, they also
/// leave the same in the activation memory.
fn many_at_once(simulation: &Simulation, seed: &NetworkSeed) -> Result<(), TestCaseError> {
    let input = &simulation.program().input;
    let inputs: Vec<Vec<u8>> =
        (0..4).map(|image| dram_bytes(input, &seed.image_codes(image))).collect();
    let keep = inputs[0].iter().map(|&byte| u32::from(byte)).sum::<u32>() % 2 == 0;
    for form in [Form::Slices, Form::Bytes] {
        let compiled = match simulation.compile_as(form, keep) {
            Err(_) if form == Form::Bytes => continue,
            // Images are computed one by one.
            Err(NotCompiled::TooLarge(_)) => continue,
            compiled => compiled.map_err(|why| TestCaseError::fail(why.to_string()))?,
        };
        let mut batch = simulation.batch(&compiled).expect("small memories");
        // The first image stands in the last lane as well.
        let mut all = vec![inputs[1].clone(); batch.images()];
        all[..inputs.len()].clone_from_slice(&inputs);
        let last = batch.images() - 1;
        all[last] = inputs[0].clone();
        let mut outputs = Vec::new();
        batch.run(&all.concat(), &mut outputs);
        for (image, input) in inputs.iter().enumerate().chain([(last, &inputs[0])]) {
            let (mut alone, mut output) = (simulation.executor(), Vec::new());
            alone.run(input, &mut output);
            let together = &outputs[image * output.len()..][..output.len()];
            prop_assert_eq!(together, &output, "{:?}, image {}", form, image);
            if keep {
                let words = batch.activations(image);
                prop_assert_eq!(words, alone.memories().activations, "{:?}, image {}", form, image);
            }
        }
    }
    Ok(())
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
    prop_assert!(near(
        units + report.leakage_pj.warm + report.dram_background_pj.warm,
        report.energy_pj.warm
    ));
    let dram = report.memories.iter().find(|m| m.name == "dram").expect("a row of the DRAM");
    prop_assert_eq!(
        report.layers.iter().map(|l| l.dram_bytes).sum::<u64>(),
        dram.reads + dram.writes
    );
    Ok(())
}

#[test]
fn simulator_and_reference_agree_in_every_map() {
    for_all(
        cases(200, 2_000),
        || (network_seed(), hardware_point()),
        |(seed, hw)| {
            let network = seed.build();
            // No word to spare: what lies at the end of a memory is used.
            let simulation = simulation(&network, &fitted(&network, &hw))?;
            agree(&network, &simulation.expect("a program of some length"), &seed)?;
            Ok(())
        },
    );
}

/// Weights and thresholds of which a part, or all, pass through their memories in every image.
#[test]
fn they_agree_where_memories_are_too_small() {
    for_all(
        cases(60, 400),
        || {
            (
                network_seed(),
                hardware_point(),
                prop_oneof![
                    any::<[u8; 2]>(),
                    any::<u8>().prop_map(|share| [share, 255]),
                    Just([0, 255]),
                    Just([0, 0])
                ],
            )
        },
        |(seed, hw, shares)| {
            let [weights, thresholds] = shares;
            let shares = [255, weights, thresholds];
            let network = seed.build();
            if let Some(simulation) = simulation(&network, &cramped(&network, &hw, shares))? {
                agree(&network, &simulation, &seed)?;
            }
            Ok(())
        },
    );
}

/// Maps of which some, or all, pass through the activation memory in stripes.
#[test]
fn they_agree_where_maps_do_not_fit() {
    for_all(
        cases(120, 1_000),
        || {
            (
                network_seed(),
                hardware_point(),
                prop_oneof![
                    any::<u8>().prop_map(|share| [share, 255, 255]),
                    Just([0, 255, 255]),
                    any::<[u8; 3]>()
                ],
            )
        },
        |(seed, hw, shares)| {
            let network = seed.build();
            if let Some(simulation) = simulation(&network, &cramped(&network, &hw, shares))? {
                agree(&network, &simulation, &seed)?;
            }
            Ok(())
        },
    );
}

/// What the test above draws: every way a map can take, often.
#[test]
fn the_networks_in_small_memories_take_every_way() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let seed = network_seed().new_tree(&mut runner).expect("a seed").current();
        let hw = hardware_point().new_tree(&mut runner).expect("a point").current();
        let network = seed.build();
        let plan = Plan::of(&network, &cramped(&network, &hw, [0, 255, 255]))
            .unwrap_or_else(|e| panic!("{}", e[0]));
        let mut see =
            |what: &'static str, is: bool| *seen.entry(what).or_insert(0) += u32::from(is);
        let maps = &plan.placement.maps.layers;
        see("no map in DRAM", maps.iter().all(|layer| !layer.striped));
        for (layer, tiling) in maps.iter().zip(&plan.tilings) {
            let stripes: &[Run] = if layer.striped { &layer.runs } else { &[] };
            let windows = || stripes.iter().flat_map(|stripe| &stripe.windows);
            let members = |window: &Window| &tiling.terms[window.reader.0].members;
            let rows = |at: usize| stripes.get(at).map_or(0..0, |stripe| stripe.rows.clone());
            let scratch = match layer.home {
                Home::Scratch { layout, .. } => Some(layout),
                Home::Memory(_) | Home::Output => None,
            };
            see("a map in DRAM", scratch.is_some());
            see("a map in DRAM in phases", scratch.is_some_and(|layout| layout.s != [1, 1]));
            see(
                "a map in DRAM in words and planes",
                scratch.is_some_and(|layout| layout.block > 1),
            );
            see("an output in stripes", layer.home == Home::Output && stripes.len() > 1);
            see(
                "a map in memory from stripes",
                matches!(layer.home, Home::Memory(_)) && stripes.len() > 1,
            );
            see("one stripe", stripes.len() == 1);
            see("three stripes or more", stripes.len() > 2);
            see("stripes of one row", rows(0).len() == 1 && rows(1).len() == 1);
            see("stripes of several rows", rows(0).len() > 1 && rows(1).len() > 1);
            see("stripes of columns", stripes.iter().any(|s| s.columns.start > 0));
            see(
                "part of an image row",
                windows().any(|w| w.columns.start > 0 && w.place.first > 0),
            );
            see("a window in the middle of a map", windows().any(|w| w.place.skipped > 0));
            see("a window in the middle of the image", windows().any(|w| w.place.first > 0));
            see("a window of nothing but padding", windows().any(|w| w.rows.is_empty()));
            see("windows of stacked terms", windows().any(|w| members(w).len() > 1));
            see("a window beside a whole map", {
                let maps: usize = tiling.terms.iter().map(|term| term.members.len()).sum();
                let windows = stripes.first().map_or(0, |stripe| stripe.windows.len());
                windows > 0 && windows < maps
            });
            see(
                "pooling with padding in stripes",
                tiling.codes.masks.is_some() && stripes.len() > 1,
            );
        }
    }
    println!("{seen:#?}");
    assert!(seen.values().all(|&count| count >= 5), "{seen:#?}");
}
