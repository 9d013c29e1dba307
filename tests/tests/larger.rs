//! Networks larger than the memory for weights on the default point, and than that for maps on one with a quarter of it: every map equals that
//! of the integer reference, cold and warm.

use qnnsim_compiler::ir::Network;
use qnnsim_compiler::lower_to;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::larger::{resnet, vgg};
use qnnsim_tests::{Sequence, dram_bytes};
use rayon::prelude::*;

fn agree(network: &Network, act_words: u32) {
    let name = &network.name;
    let hw = HardwarePoint { act_words, ..HardwarePoint::default() };
    let (plan, program) = lower_to(network, &hw).unwrap_or_else(|e| panic!("{name}: {}", e[0]));
    let striped = plan.layers.iter().any(|layer| layer.stripes.len() > 1);
    assert_eq!(striped, act_words < HardwarePoint::default().act_words, "{name}");
    let program = Program::from_bytes(&program.to_bytes()).expect("a program file");
    let described = program.clone();
    let simulation = Simulation::new(program).unwrap_or_else(|trap| panic!("{name}: {}", trap.describe(&described)));

    let mut sequence = Sequence::new(3);
    let mut executor = simulation.cold_executor();
    let mut output = Vec::new();
    for image in 0..3 {
        let codes: Vec<i64> = (0..network.input.shape.values()).map(|_| sequence.within(-128, 127)).collect();
        let reference = qnnsim_reference::evaluate(network, &codes);
        let maps = executor.run_with_maps(&dram_bytes(&network.input, &codes), &mut output);
        assert_eq!(maps.len(), network.layers.len(), "{name}");
        for map in maps {
            let wanted = &reference[map.layer as usize + 1].values;
            let layer = &network.layers[map.layer as usize].name;
            assert!(map.values == *wanted, "{name}, image {image}, map of {layer}");
            // A map that is constant would show nothing.
            let ones = wanted.iter().filter(|&&code| code != wanted[0]).count();
            assert!(10 * ones > wanted.len(), "{name}, image {image}, map of {layer}: {ones} of {}", wanted.len());
        }
        assert_eq!(output, reference[network.layers.len()].values, "{name}");
        executor = simulation.next_executor(executor);
    }

    // What does not stay is written anew for every image.
    let written = |start: Start| simulation.profile(start).events.iter().map(|e| e.weight_writes).sum::<u64>();
    let words =
        |network: &Network| network.layers.iter().flat_map(|l| &l.terms).map(|t| t.weights.data.len()).sum::<usize>();
    assert!(plan.rings[0].words > 0 && written(Start::Warm) > 0, "{name}");
    assert!(written(Start::Cold) > written(Start::Warm), "{name}");
    let report = simulation.report(&Technology::builtin("45nm").expect("known"), 200);
    // For `cargo test -- --nocapture`.
    println!(
        "{name}, act.words={act_words}: {} weights, {} products, {} cycles warm, {} cold, {:.1} uJ warm, {} bytes of weights loaded \
         an image, {} of maps and image, {} stored",
        words(network),
        network.layers.iter().map(|layer| network.products(layer)).sum::<u64>(),
        report.cycles.warm,
        report.cycles.cold,
        report.energy_pj.warm / 1e6,
        simulation.cost().events.warm.weight_dram_bytes,
        simulation.cost().events.warm.load_dram_bytes,
        simulation.cost().events.warm.store_dram_bytes,
    );
}

#[test]
fn networks_larger_than_the_memory_run() {
    [vgg(1, 1), vgg(2, 2), resnet(1, 1), resnet(2, 2)].par_iter().for_each(|network| agree(network, 512));
}

#[test]
fn a_quarter_of_the_memory_for_maps_is_enough() {
    [vgg(1, 1), vgg(2, 2), resnet(1, 1), resnet(2, 2)].par_iter().for_each(|network| agree(network, 128));
}
