//! The machine, simulated: cycles, values, energy.
//!
//! Timing and legality depend on the program alone, so [`Simulation::new`] settles them once: it
//! times the cold and the warm image ([`timing`]), checks every access ([`check`]), proves freedom
//! from deadlock and the range of accumulators ([`proofs`]), and resolves all addresses into plans
//! ([`values`]). After that an image is nothing but popcount loops.
pub mod area;
pub mod check;
pub mod clock;
pub mod cost;
pub mod energy;
pub mod fit;
mod kernels;
pub mod limits;
pub mod profile;
pub mod proofs;
pub mod quantity;
pub mod report;
pub mod steps;
pub mod timing;
pub mod trace;
pub mod trap;
pub mod values;

use qnnsim_isa::{Program, Unit};

pub use cost::cost;
pub use energy::Technology;
pub use kernels::isa;
pub use timing::Start;
pub use trap::{Fault, Trap};

use check::{Checker, Used};
use profile::{Profile, Profiler};
use timing::{Code, Issue, Observer, Stall, Timing};
use trace::TraceLine;
use values::{Batch, Compiled, Executor, Form, NotCompiled, Plan, Planner, Resident};

/// A program that is proven legal, timed and ready to compute.
#[derive(Debug)]
pub struct Simulation {
    program: Program,
    code: [Code; 2],
    timing: [Timing; 2],
    plans: [Plan; 2],
    profiles: [Profile; 2],
    used: Used,
    resident: Resident,
}

/// Checks the accesses of an image, resolves them and counts what they cost.
struct Loader<'a> {
    checker: Checker<'a>,
    planner: Planner<'a>,
    profiler: Profiler<'a>,
}

impl Observer for Loader<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        self.checker.issue(issue)?;
        self.planner.issue(issue)?;
        self.profiler.issue(issue)
    }

    fn stall(&mut self, unit: Unit, word: Option<u32>, reason: Stall, from: u64, cycles: u64) {
        self.profiler.stall(unit, word, reason, from, cycles);
    }

    fn configure(&mut self, cycle: u64, unit: Unit, word: u32) {
        self.profiler.configure(cycle, unit, word);
    }

    fn decode(&mut self, cycle: u64, word: u32) {
        self.profiler.decode(cycle, word);
    }
}

/// One image, settled.
struct Loaded<'a> {
    timing: Timing,
    plan: Plan,
    profile: Profile,
    checker: Checker<'a>,
}

/// Times one image, checks it, resolves its addresses and counts its events.
fn load<'a>(
    program: &'a Program,
    code: &[Code; 2],
    start: Start,
    mut checker: Checker<'a>,
) -> Result<Loaded<'a>, Trap> {
    if let Err(trap) = proofs::deadlock_freedom(program, &code[start as usize], start) {
        // Of a deadlock the machine itself says in which cycle it stops, or which fault stops it
        // before.
        let mut stops = || timing::run(program, [&code[0], &code[1]], start, &mut checker).err();
        let stopped = if matches!(trap.fault, Fault::Deadlock { .. }) { stops() } else { None };
        return Err(stopped.unwrap_or(trap));
    }
    let layers = &[&program.cold, &program.warm][start as usize].layers;
    let planner = Planner::new(program, layers);
    let mut loader = Loader { checker, planner, profiler: Profiler::new(program, layers) };
    let timing = timing::run(program, [&code[0], &code[1]], start, &mut loader)?;
    let trap =
        |fault| Trap { stream: start.name(), cycle: timing.cycles, unit: None, word: None, fault };
    loader.checker.finish().map_err(trap)?;
    let Loader { checker, planner, profiler } = loader;
    let profile = profiler.finish(timing.cycles);
    Ok(Loaded { timing, plan: planner.finish(), profile, checker })
}

impl Simulation {
    /// Loads a program: proofs, timing and plans of both images.
    ///
    /// # Errors
    /// The machine would trap, or a proof fails.
    pub fn new(program: Program) -> Result<Self, Trap> {
        let code = [Code::new(&program.cold), Code::new(&program.warm)];
        let cold = load(&program, &code, Start::Cold, Checker::cold(&program))?;
        let warm = load(&program, &code, Start::Warm, Checker::warm(cold.checker))?;
        let used = warm.checker.used();
        let (timing, plans, profiles) =
            ([cold.timing, warm.timing], [cold.plan, warm.plan], [cold.profile, warm.profile]);
        let resident = Executor::load(&program, &plans[0]);
        let simulation = Simulation { code, timing, plans, profiles, used, resident, program };
        simulation.prove_ranges()?;
        Ok(simulation)
    }

    fn prove_ranges(&self) -> Result<(), Trap> {
        values::prove_ranges(&mut self.executor()).map_err(|fault| Trap {
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

    /// Events, spans and stalls.
    pub fn profile(&self, start: Start) -> &Profile {
        &self.profiles[start as usize]
    }

    /// The timeline of an image.
    pub fn trace(&self, start: Start) -> Vec<TraceLine> {
        let stream = [&self.program.cold, &self.program.warm][start as usize];
        self.profile(start).trace(&self.program, stream)
    }

    /// What is in use of the memories.
    pub fn used(&self) -> Used {
        self.used
    }

    /// An executor with resident weights that computes warm images; one a thread.
    pub fn executor(&self) -> Executor<'_> {
        Executor::resident(&self.program, &self.plans[1], &self.resident)
    }

    /// The warm image's plan for many images at once, in the form that is faster for it; with
    /// `keep`, what images leave in the activation memory stays readable.
    ///
    /// # Errors
    /// The plan is not one that is compiled; [`Simulation::executor`] computes every plan.
    pub fn compile(&self, keep: bool) -> Result<Compiled, NotCompiled> {
        let form = values::faster_form(&self.program, &self.plans[1]);
        // Slices hold what bytes cannot.
        match self.compile_as(form, keep) {
            Err(_) if form == Form::Bytes => self.compile_as(Form::Slices, keep),
            compiled => compiled,
        }
    }

    /// As [`Simulation::compile`], in a form of choice.
    ///
    /// # Errors
    /// As there; what bytes cannot hold is told as well.
    pub fn compile_as(&self, form: Form, keep: bool) -> Result<Compiled, NotCompiled> {
        values::compile_as(&self.program, &self.plans[1], &self.resident, form, keep)
    }

    /// An executor of a compiled plan; one a thread. None if its memories take too much.
    pub fn batch<'a>(&'a self, compiled: &'a Compiled) -> Option<Batch<'a>> {
        Batch::new(&self.program, compiled)
    }

    /// An executor with empty memories that computes a cold image.
    pub fn cold_executor(&self) -> Executor<'_> {
        Executor::new(&self.program, &self.plans[0])
    }

    /// The machine after an image, cold or warm, about to compute a warm one: no memory is cleared.
    /// Outputs are those of [`Simulation::executor`], for no step reads what its image has not
    /// written; [`Executor::memories`] are the machine's.
    pub fn next_executor<'a>(&'a self, executor: Executor<'a>) -> Executor<'a> {
        executor.next(&self.plans[1])
    }
}
