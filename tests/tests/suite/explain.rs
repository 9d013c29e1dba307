//! The accounts behind `explain`, on random networks: every cycle is charged once, and the array's
//! are the array's.

use proptest::prelude::*;
use qnnsim_compiler::lower_to;
use qnnsim_explore::explain::{Account, Cause, account};
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::{cases, fitted, for_all, hardware_point, network_seed};

#[test]
fn every_cycle_is_charged_once() {
    for_all(
        cases(60, 400),
        || (network_seed(), hardware_point()),
        |(seed, hw)| {
            let network = seed.build();
            let hw = fitted(&network, &hw);
            let Ok((_, program)) = lower_to(&network, &hw) else { return Ok(()) };
            let simulation = Simulation::new(program).expect("compiled programs are legal");
            let technology = Technology::builtin("45nm").expect("it is built in");
            let report = simulation.report(&technology, 200);
            for start in [Start::Cold, Start::Warm] {
                let spans: Vec<u64> = report
                    .layers
                    .iter()
                    .map(
                        |layer| if start == Start::Cold { layer.cycles_cold } else { layer.cycles },
                    )
                    .collect();
                let rows = account(simulation.program(), start, &spans).expect("it ran before");
                for (row, &span) in rows.iter().zip(&spans) {
                    prop_assert_eq!(row.charged.sum(), span);
                    for cause in Cause::ALL {
                        let (charged, occupied) = (row.charged.of(cause), row.occupied.of(cause));
                        prop_assert!(
                            charged <= occupied && occupied <= span,
                            "{:?}: {} {} {}",
                            cause,
                            charged,
                            occupied,
                            span
                        );
                    }
                }
                // The timeline has the cycles of every instruction by itself; with SYNC the array does no work.
                let busy = |track: &str, mnemonic: &str| -> u64 {
                    let lines = simulation.trace(start);
                    let those = lines
                        .iter()
                        .filter(|l| l.track == track && l.text.split(' ').next() == Some(mnemonic));
                    those.map(|line| line.busy).sum()
                };
                let charged =
                    |cause| rows.iter().map(|row: &Account| row.charged.of(cause)).sum::<u64>();
                prop_assert_eq!(charged(Cause::Array), busy("mac", "mac"));
                // What is occupied is at most what there is.
                let occupied =
                    |cause| rows.iter().map(|row: &Account| row.occupied.of(cause)).sum::<u64>();
                prop_assert!(occupied(Cause::Store) >= charged(Cause::Store));
                prop_assert!(charged(Cause::Store) <= busy("st", "st"));
                prop_assert!(charged(Cause::Load) <= busy("ld write", "ld"));
                prop_assert!(occupied(Cause::Drain) >= busy("thr", "thr"));
            }
            Ok(())
        },
    );
}
