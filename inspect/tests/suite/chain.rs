//! From a value back to its weights: what `why` and `terms` show must make the value.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use qnnsim_inspect::{Debugger, Recordings};
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_simulator::Start;
use qnnsim_tests::{
    NetworkSeed, cases, cramped, dram_bytes, fitted, for_all, hardware_point, network_seed,
};
use serde_json::Value;

fn answer(debugger: &mut Debugger, command: &str) -> Result<Value, TestCaseError> {
    match debugger.execute(command) {
        Ok(answer) => Ok(answer.value),
        Err(why) => Err(TestCaseError::fail(format!("{command}: {why}"))),
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The maps as the reference evaluates them, which knows nothing of the machine, against `value`
/// and `map`; the products under each value against its accumulator.
fn follow(
    seed: &NetworkSeed,
    hw: &HardwarePoint,
    cramp: Option<[u8; 3]>,
    picks: &[u32],
) -> Result<(), TestCaseError> {
    let network = seed.build();
    let hw = match cramp {
        Some(shares) => cramped(&network, hw, shares),
        None => fitted(&network, hw),
    };
    // The largest programs are refused.
    let Ok((_, program)) = qnnsim_compiler::lower_to(&network, &hw) else { return Ok(()) };
    let Ok(recordings) = Recordings::new(&program) else { return Ok(()) };
    let codes = seed.codes();
    let input = dram_bytes(&program.input, &codes);
    let maps = qnnsim_reference::evaluate(&network, &codes);
    for start in [Start::Cold, Start::Warm] {
        let mut debugger = Debugger::new(&recordings, &input, start);
        while debugger.machine().position() < debugger.machine().end() {
            let before = debugger.machine().position();
            answer(&mut debugger, "step layer")?;
            if debugger.machine().position() == debugger.machine().end() {
                break;
            }
            // The layer whose map has just become complete.
            let Some(event) = before
                .events
                .checked_add(1)
                .and(debugger.machine().position().events.checked_sub(1))
            else {
                continue;
            };
            let recording = debugger.machine().recording();
            let qnnsim_inspect::recording::Event::Issue(index) = recording.entries()[event].event
            else {
                continue;
            };
            let word = recording.steps()[index as usize].issue.word;
            let Some(layer) = recording.layer(word) else { continue };
            let Some(place) = program.layers[layer as usize].map else { continue };
            let shape = place.shape;
            let expected = &maps[layer as usize + 1].values;
            for pick in picks {
                let values = shape.values() as u32;
                let at = pick % values;
                let [c, y, x] = [
                    at / (shape.width * shape.height),
                    at / shape.width % shape.height,
                    at % shape.width,
                ];
                let value = answer(&mut debugger, &format!("value {layer} {c} {y} {x}"))?;
                prop_assert_eq!(number(&value["value"]), expected[at as usize]);
                let here = debugger.machine().position();
                let why = answer(&mut debugger, &format!("why {layer} {c} {y} {x}"))?;
                prop_assert_eq!(debugger.machine().position(), here);
                let drains = why["drains"].as_array().expect("drains");
                prop_assert!(!drains.is_empty());
                for drain in drains {
                    let (row, column) = (number(&drain["row"]), number(&drain["column"]));
                    let mut sum = 0;
                    for issue in drain["mac_issues"].as_array().expect("MAC steps") {
                        let terms =
                            answer(&mut debugger, &format!("terms {issue} {row} {column}"))?;
                        sum += number(&terms["sum"]);
                    }
                    prop_assert_eq!(number(&drain["v"]), sum, "{} of {}", drain, why);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_products_under_a_value_add_up_to_its_accumulator() {
    let strategy = || {
        (
            network_seed(),
            hardware_point(),
            prop::option::of([any::<u8>(), any::<u8>(), any::<u8>()]),
            prop::collection::vec(any::<u32>(), 3),
        )
    };
    for_all(cases(60, 600), strategy, |(seed, hw, cramp, picks)| follow(&seed, &hw, cramp, &picks));
}
