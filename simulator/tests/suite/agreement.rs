//! The event-driven engine and the naive twin agree: in the end cycle, in every issue and every
//! decode, and in what each unit's cycles are charged to, on random programs on random hardware
//! points. What the proof of deadlock freedom lets pass does end.

use crate::twin;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use qnnsim_isa::table::Steps;
use qnnsim_isa::{Action, Instruction, Unit};
use qnnsim_simulator::proofs::deadlock_freedom;
use qnnsim_simulator::timing::{Code, Stall, Start};
use qnnsim_tests::{cases, for_all};
use twin::{Ending, Kind, engine, generate, tick};

#[test]
fn engine_and_twin_agree() {
    for_all(cases(2_000, 20_000), generate::case, |case| {
        let program = case.program();
        for start in [Start::Cold, Start::Warm] {
            let twin = tick(&program, start);
            let engine = engine(&program, start);
            prop_assert!(engine.is_ok(), "{start:?}: the engine traps: {:?}", engine);
            let engine = engine.expect("just seen");
            for (e, t) in engine.decodes.iter().zip(&twin.decodes) {
                prop_assert_eq!(e, t, "{:?}: a decode of the engine and of the twin", start);
            }
            for (e, t) in engine.events.iter().zip(&twin.events) {
                prop_assert_eq!(e, t, "{:?}: an issue of the engine and of the twin", start);
            }
            prop_assert_eq!(engine.events.len(), twin.events.len(), "{:?}: issues", start);
            prop_assert_eq!(engine.decodes.len(), twin.decodes.len(), "{:?}: decodes", start);
            prop_assert_eq!(engine.ending, twin.ending, "{:?}: end", start);
            let (Ending::Cycles(cycles) | Ending::Deadlock(cycles)) = twin.ending;
            for account in &twin.units {
                prop_assert_eq!(account.total(), cycles, "{:?}: the twin's accounts add up", start);
            }
            let code = Code::new([&program.cold, &program.warm][start as usize]);
            if deadlock_freedom(&program, &code, start).is_ok() {
                prop_assert!(
                    matches!(twin.ending, Ending::Cycles(_)),
                    "{:?}: proven free of deadlock",
                    start
                );
            }
            if let Ending::Cycles(_) = twin.ending {
                prop_assert_eq!(&engine.units, &twin.units, "{:?}: accounts of the units", start);
            }
        }
        Ok(())
    });
}

/// Agreement is worth as much as what is drawn: every stage must issue, every unit must wait for
/// everything it can wait for, and the odd cases must not be rare.
#[test]
fn the_generator_draws_what_matters() {
    let mut runner = TestRunner::deterministic();
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    const DRAWS: u32 = 1_000;
    for _ in 0..DRAWS {
        let case = generate::case().new_tree(&mut runner).expect("nothing is filtered").current();
        let program = case.program();
        let history = tick(&program, Start::Cold);
        let hw = &case.hardware;
        let mut seen: Vec<String> = Vec::new();
        let mut see = |holds: bool, what: &str| {
            if holds {
                seen.push(what.into());
            }
        };
        see(matches!(history.ending, Ending::Cycles(_)), "end");
        see(matches!(history.ending, Ending::Deadlock(_)), "deadlock");
        see(hw.mac_cols > hw.mac_lanes, "tiles of several words");
        see(
            hw.mac_cols < hw.mac_lanes && !hw.mac_lanes.is_multiple_of(hw.mac_cols),
            "words of uneven tiles",
        );
        for &word in &program.cold.words {
            if let Ok(Action::Work(unit, Steps { resume: true, .. })) =
                Instruction::decode(word).map(|i| i.action())
            {
                see(true, &format!("{} resumes", unit.name()));
            }
        }
        see(hw.mac_rows % 2 == 1 && hw.mac_rows > 1, "odd rows");
        see(hw.mac_lanes.count_ones() > 1, "words padded in DRAM");
        for event in &history.events {
            match event.kind {
                Kind::Sync => see(true, &format!("sync {}", event.unit.map_or("", Unit::name))),
                Kind::LoadBurst { beats, last, .. } => {
                    see(!last, "load of several bursts");
                    see(last && beats < hw.dram_burst.into(), "burst tail");
                }
                Kind::LoadWrite { .. } => see(true, "load write"),
                Kind::Mac { .. } => see(true, "mac"),
                Kind::Drain { .. } => see(true, "drain"),
                Kind::ThrWrite { .. } => see(true, "thr write"),
                Kind::StoreRead { .. } => see(true, "store read"),
                Kind::StoreBurst { .. } => see(true, "store burst"),
                Kind::Fetch { words, beats, .. } => {
                    see(beats > (words * 16).div_ceil(hw.dram_width.into()), "fetch across beats");
                }
            }
        }
        for unit in Unit::ALL {
            for stall in history.units[unit as usize].stalls.keys() {
                // Which semaphore does not matter.
                let name =
                    if let Stall::Semaphore(_) = stall { "semaphore".into() } else { stall.name() };
                see(true, &format!("{} waits: {name}", unit.name()));
            }
        }
        seen.sort();
        seen.dedup();
        for what in seen {
            *drawn.entry(what).or_default() += 1;
        }
    }
    let mut expected: Vec<String> = [
        "end",
        "deadlock",
        "tiles of several words",
        "words of uneven tiles",
        "odd rows",
        "words padded in DRAM",
        "load of several bursts",
        "burst tail",
        "load write",
        "mac",
        "drain",
        "thr write",
        "store read",
        "store burst",
        "fetch across beats",
    ]
    .map(Into::into)
    .into();
    let waits = [
        (Unit::Load, ["buffer", "dram"].as_slice()),
        (Unit::Mac, &["port"]),
        (Unit::Thr, &["buffer"]),
        (Unit::Store, &["buffer", "port"]),
    ];
    for (unit, own) in waits {
        expected.push(format!("sync {}", unit.name()));
        expected.push(format!("{} resumes", unit.name()));
        for name in own.iter().chain(&["semaphore", "pipe", "configure"]) {
            expected.push(format!("{} waits: {name}", unit.name()));
        }
    }
    for what in expected {
        let count = drawn.get(&what).copied().unwrap_or(0);
        assert!(count >= DRAWS / 100, "`{what}` in {count} of {DRAWS} programs");
    }
}
