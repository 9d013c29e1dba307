//! The integer network against the graph it was made from: every map of one equals the integers of
//! a tensor of the other.

use proptest::prelude::*;
use qnnsim_compiler::import::Import;
use qnnsim_compiler::tensor::Precision;
use qnnsim_host::{Decoder, Encoder, Order};
use qnnsim_isa::descriptor::HostOp;
use qnnsim_reference::verify::Verifier;
use qnnsim_reference::{Map, evaluate};
use qnnsim_tests::models::Noise;
use qnnsim_tests::models::chains::{case, import};
use qnnsim_tests::{cases, for_all};

#[test]
fn maps_are_the_integers_of_tensors() {
    for_all(
        cases(300, 3_000),
        || (case(), any::<u32>()),
        |(case, pixels)| {
            let Some(import) = import(&case) else { return Ok(()) };
            let Import { graph, network, maps: values, .. } = &import;
            let mut noise = Noise(pixels);
            let input = noise.list(case.input.iter().product(), 140.0);
            let input: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
            let codes = Encoder::new(&network.input).unwrap().codes(&input, Order::Model);
            let codes = Map::of_pixels(network.input.shape, &codes).values;
            let maps = evaluate(network, &codes);
            let tensors = graph.eval(&input).unwrap();
            prop_assert_eq!(values.len(), maps.len());
            for (at, map) in values.iter().zip(&maps) {
                // Parts of integers are in no tensor.
                let Some(value) = at.value else { continue };
                let name = graph.value(value).name.as_str();
                let tensor = &tensors[name];
                prop_assert!(tensor.grid.is_some(), "{} has no grid", name);
                // The last map's integers are accumulators, which are no codes.
                let code = |&x: &f64| at.integer(x as i64);
                let mut integers: Vec<i64> = tensor.array.data.iter().map(code).collect();
                // Accumulators of codes with a zero point are moved by a constant.
                if let (true, HostOp::Add(moved)) =
                    (std::ptr::eq(map, maps.last().unwrap()), &network.output.values[0].ops[0])
                {
                    for (integer, zero) in integers.iter_mut().zip(moved.iter().cycle()) {
                        *integer -= *zero as i64;
                    }
                }
                prop_assert_eq!(&integers, &map.values, "{}", name);
            }
            // The graph on real values differs in nothing but ties.
            let machine: Vec<&[i64]> = maps.iter().map(|map| map.values.as_slice()).collect();
            for precision in [Precision::Single, Precision::Double] {
                let verifier = Verifier::new(&import, precision).unwrap();
                let mut report = verifier.report();
                verifier.image(0, &input, &machine, &mut report);
                prop_assert!(report.agrees(), "{:?}: {:?}", precision, report);
            }
            // Codes are what the network says they are, and thresholds lie where they make a difference.
            for (index, layer) in network.layers.iter().enumerate() {
                let code = network.map(qnnsim_compiler::ir::MapId(index + 1)).1;
                let values = &maps[index + 1].values;
                prop_assert!(values.iter().all(|v| (code.min()..=code.max()).contains(v)));
                let bounds = network.accumulator_bounds(layer);
                if let qnnsim_compiler::ir::Activation::Steps { channels, .. } = &layer.activation {
                    for (steps, (low, high)) in channels.iter().zip(bounds) {
                        let inside = |&t: &i64| {
                            if steps.rising { low < t && t <= high } else { low <= t && t < high }
                        };
                        prop_assert!(steps.thresholds.iter().all(inside));
                        let sorted = |a: &i64, b: &i64| if steps.rising { a <= b } else { a >= b };
                        prop_assert!(steps.thresholds.is_sorted_by(sorted));
                        prop_assert!(steps.rising || !steps.thresholds.is_empty());
                    }
                }
            }
            // Real outputs of the host are those of the graph, which are rounded once.
            let decoder = Decoder::new(&network.output).unwrap();
            let outputs = decoder.decode(&maps.last().unwrap().by_pixel());
            for (outputs, &id) in outputs.iter().zip(&graph.outputs) {
                let last = &tensors[graph.value(id).name.as_str()];
                prop_assert_eq!(outputs, &last.to_real().data);
            }
            Ok(())
        },
    );
}
