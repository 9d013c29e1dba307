//! What a sweep believes of a program is what a load of it finds, and what the engine tells of a
//! period that repeats is what it would have decided: on random programs, legal ones and such that
//! are likely to trap.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use qnnsim_cosim::generate;
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::timing::{
    Code, FrontEnd, Issue, Observer, Stall, Start, Timing, length, run, run_every_cycle,
};
use qnnsim_simulator::{Fault, Simulation, Trap, cost};
use qnnsim_tests::{cases, for_all};

fn program() -> impl Strategy<Value = Program> {
    generate::point().prop_flat_map(|point| {
        prop_oneof![
            generate::case(&point).prop_map(|case| case.program()).boxed(),
            generate::trap(&point).prop_map(|case| case.program()).boxed(),
        ]
    })
}

#[test]
fn a_cost_is_what_a_load_finds() {
    let (legal, trapped) = (AtomicU64::new(0), AtomicU64::new(0));
    for_all(cases(2_000, 20_000), program, |program| {
        let load = Simulation::new(program.clone()).map(|simulation| simulation.cost());
        let count = if load.is_ok() { &legal } else { &trapped };
        count.fetch_add(1, Ordering::Relaxed);
        match (cost(&program), load) {
            // Ranges follow from the bytes of weights, at which a cost does not look.
            (Ok(_), Err(Trap { fault: Fault::Range(_), .. })) => {}
            (found, load) => prop_assert_eq!(found, load),
        }
        Ok(())
    });
    assert!(legal.into_inner() > 200, "too few programs are legal");
    assert!(trapped.into_inner() > 200, "too few programs trap");
}

/// Everything that an observer is told, as text.
#[derive(Default)]
struct Listener {
    told: Vec<String>,
    /// Stops the machine at the issue of this number, if there is one.
    stops: Option<usize>,
    issues: usize,
}

impl Observer for Listener {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let Issue { cycle, cycles, unit, word, work, .. } = issue;
        self.told.push(format!("{cycle} {cycles} {unit:?} {word:?} {work:?}"));
        self.issues += 1;
        if self.stops == Some(self.issues) {
            return Err(Fault::Illegal("stops".into()));
        }
        Ok(())
    }

    fn stall(&mut self, unit: Unit, word: Option<u32>, reason: Stall, from: u64, cycles: u64) {
        self.told.push(format!("{from} {cycles} {unit:?} {word:?} {reason:?}"));
    }

    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        self.told.push(format!("{cycle} {unit:?} {word}"));
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        self.told.push(format!("{cycle} {word}"));
    }

    fn elapse(&mut self, front_end: FrontEnd, from: u64, cycles: u64) {
        self.told.push(format!("{from} {cycles} {front_end:?}"));
    }
}

/// The same without what waits.
#[derive(Default)]
struct Deaf(Listener);

impl Observer for Deaf {
    const HEARS_WAITING: bool = false;

    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        self.0.issue(issue)
    }

    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        self.0.configure(cycle, unit, word);
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        self.0.decode(cycle, word);
    }
}

#[test]
fn a_length_is_that_of_a_run_and_so_is_every_issue() {
    let legal = AtomicU64::new(0);
    for_all(cases(2_000, 20_000), program, |program| {
        let code = [Code::new(&program.cold), Code::new(&program.warm)];
        for start in [Start::Cold, Start::Warm] {
            let mut listeners = [(); 2].map(|()| Deaf::default());
            let [quick, slow] = &mut listeners;
            let found = length(&program, [&code[0], &code[1]], start, quick);
            let expected = run_every_cycle(&program, [&code[0], &code[1]], start, slow);
            prop_assert_eq!(found.ok(), expected.as_ref().ok().map(|t| t.cycles), "{:?}", start);
            if expected.is_err() {
                continue;
            }
            legal.fetch_add(1, Ordering::Relaxed);
            let [quick, slow] = &listeners;
            for (q, s) in quick.0.told.iter().zip(&slow.0.told) {
                prop_assert_eq!(q, s, "{:?}", start);
            }
            prop_assert_eq!(quick.0.told.len(), slow.0.told.len(), "{:?}", start);
        }
        Ok(())
    });
    assert!(legal.into_inner() > 1000, "too few programs are legal");
}

#[test]
fn what_repeats_is_what_would_have_been_decided() {
    let replayed = AtomicU64::new(0);
    let draw = || (program(), prop::option::weighted(0.3, 1usize..400));
    for_all(cases(2_000, 20_000), draw, |(program, stops)| {
        let code = [Code::new(&program.cold), Code::new(&program.warm)];
        for start in [Start::Cold, Start::Warm] {
            let mut listeners = [(); 2].map(|()| Listener { stops, ..Listener::default() });
            let [quick, slow] = &mut listeners;
            let found = run(&program, [&code[0], &code[1]], start, quick);
            let expected = run_every_cycle(&program, [&code[0], &code[1]], start, slow);
            replayed.fetch_add(found.as_ref().map_or(0, |t| t.replayed), Ordering::Relaxed);
            let found = found.map(|timing| Timing { replayed: 0, ..timing });
            prop_assert_eq!(found, expected, "{:?}", start);
            let [quick, slow] = &listeners;
            for (q, s) in quick.told.iter().zip(&slow.told) {
                prop_assert_eq!(q, s, "{:?}", start);
            }
            prop_assert_eq!(quick.told.len(), slow.told.len(), "{:?}", start);
        }
        Ok(())
    });
    assert!(replayed.into_inner() > 1000, "too few steps are told by repetition");
}
