//! The machine, simulated: cycles, values, energy.
//!
//! Timing and legality depend on the program alone, so [`Simulation::new`] settles them once: it times the cold and the warm image
//! ([`timing`]), checks every access ([`check`]), proves freedom from deadlock and the range of
//! accumulators ([`proofs`]), and resolves all addresses into plans ([`values`]). After that an image is nothing but popcount loops.
pub mod check;
mod kernels;
pub mod proofs;
pub mod report;
pub mod steps;
pub mod timing;
pub mod trace;
pub mod trap;
pub mod values;

use qnnsim_isa::Program;

pub use timing::Start;
pub use trap::{Fault, Trap};

use check::{Checker, Used};
use timing::{Code, Issue, Observer, Stall, Timing};
use values::{Executor, Plan, Planner};

/// A program that is proven legal, timed and ready to compute.
#[derive(Debug)]
pub struct Simulation {
    program: Program,
    code: [Code; 2],
    timing: [Timing; 2],
    plans: [Plan; 2],
    used: Used,
}

/// Checks the accesses of an image and resolves them.
struct Loader<'a> {
    checker: Checker<'a>,
    planner: Planner<'a>,
}

impl Observer for Loader<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        self.checker.issue(issue)?;
        self.planner.issue(issue)
    }

    fn stall(&mut self, _: qnnsim_isa::Unit, _: Option<u32>, _: Stall, _: u64, _: u64) {}
}

/// Times one image, checks it and resolves its addresses.
fn load<'a>(
    program: &'a Program,
    code: &[Code; 2],
    start: Start,
    checker: Checker<'a>,
) -> Result<(Timing, Plan, Checker<'a>), Trap> {
    proofs::deadlock_freedom(program, &code[start as usize], start)?;
    let stream = [&program.cold, &program.warm][start as usize];
    let mut loader = Loader { checker, planner: Planner::new(program, &stream.layers) };
    let timing = timing::run(program, [&code[0], &code[1]], start, &mut loader)?;
    let trap = |fault| Trap { stream: start.name(), cycle: timing.cycles, unit: None, word: None, fault };
    loader.checker.finish().map_err(trap)?;
    Ok((timing, loader.planner.finish(), loader.checker))
}

impl Simulation {
    /// Loads a program: proofs, timing and plans of both images.
    ///
    /// # Errors
    /// The machine would trap, or a proof fails.
    pub fn new(program: Program) -> Result<Self, Trap> {
        let code = [Code::new(&program.cold), Code::new(&program.warm)];
        let (cold, cold_plan, checker) = load(&program, &code, Start::Cold, Checker::cold(&program))?;
        let (warm, warm_plan, checker) = load(&program, &code, Start::Warm, Checker::warm(&checker))?;
        let used = checker.used();
        let simulation = Simulation { code, timing: [cold, warm], plans: [cold_plan, warm_plan], used, program };
        simulation.prove_ranges()?;
        Ok(simulation)
    }

    fn prove_ranges(&self) -> Result<(), Trap> {
        let executor = self.executor();
        values::prove_ranges(&executor).map_err(|fault| Trap {
            stream: "warm",
            cycle: 0,
            unit: None,
            word: None,
            fault,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The decoded streams, cold and warm.
    pub fn code(&self) -> [&Code; 2] {
        [&self.code[0], &self.code[1]]
    }

    /// Cycles and what units did.
    pub fn timing(&self, start: Start) -> &Timing {
        &self.timing[start as usize]
    }

    /// What is in use of the memories.
    pub fn used(&self) -> Used {
        self.used
    }

    /// An executor with resident weights that computes warm images; one a thread.
    pub fn executor(&self) -> Executor<'_> {
        let mut cold = Executor::new(&self.program, &self.plans[0]);
        cold.load();
        cold.with_plan(&self.plans[1])
    }

    /// An executor with empty memories that computes a cold image.
    pub fn cold_executor(&self) -> Executor<'_> {
        Executor::new(&self.program, &self.plans[0])
    }
}
