//! What a program takes, without its values: cycles and events of both images, exactly, or the trap
//! that stops a load of it.

use qnnsim_isa::Program;

use crate::check::Checker;
use crate::check::quick::Quick;
use crate::profile::Profile;
use crate::report::{ColdWarm, Cost};
use crate::timing::{self, Code, Start};
use crate::trap::Trap;
use crate::{load, proofs};

/// Times both images of a program and counts their events: the figures of
/// [`Simulation::cost`](crate::Simulation::cost) in a fraction of the time. Every access is checked
/// as a load checks it, and the limits of the simulator hold. What the bytes of data say does not
/// matter, so they may be zeros; nor is the range of accumulators proven, which they decide.
///
/// # Errors
/// The trap that stops a load of the program.
pub fn cost(program: &Program) -> Result<Cost, Trap> {
    let code = Code::both(program);
    match quick(program, &code) {
        Some(cost) => Ok(cost),
        // Something is wrong, or looks so: the load says what.
        None => checked(program, &code),
    }
}

/// The cost if it is plain that both images are legal.
fn quick(program: &Program, code: &[Code; 2]) -> Option<Cost> {
    let mut cold = Quick::cold(program);
    let cold_cycles = image(program, code, Start::Cold, &mut cold)?;
    let cold_events = cold.events;
    let mut warm = Quick::warm(cold);
    let warm_cycles = image(program, code, Start::Warm, &mut warm)?;
    Some(Cost {
        cycles: ColdWarm { cold: cold_cycles, warm: warm_cycles },
        events: ColdWarm { cold: cold_events, warm: warm.events },
    })
}

/// Cycles of an image if it is plain that it is legal.
fn image(program: &Program, code: &[Code; 2], start: Start, quick: &mut Quick) -> Option<u64> {
    proofs::deadlock_freedom(program, &code[start as usize], start).ok()?;
    let cycles = timing::length(program, [&code[0], &code[1]], start, quick).ok()?;
    quick.finish().then_some(cycles)
}

/// The cost with all checks of a load.
fn checked(program: &Program, code: &[Code; 2]) -> Result<Cost, Trap> {
    let cold = load(program, code, Start::Cold, Checker::cold(program))?;
    let (cold_cycles, cold_events) = (cold.timing.cycles, cold.profile.all_events());
    let warm = load(program, code, Start::Warm, Checker::warm(cold.checker))?;
    Ok(Cost {
        cycles: ColdWarm { cold: cold_cycles, warm: warm.timing.cycles },
        events: ColdWarm { cold: cold_events, warm: Profile::all_events(&warm.profile) },
    })
}
