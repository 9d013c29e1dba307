//! TEMPORARY: stands in for what other crates do not have yet.
#![allow(missing_docs, clippy::all)]
use qnnsim_isa::Program;
use qnnsim_simulator::report::*;
use qnnsim_simulator::trace::TraceLine;
use qnnsim_simulator::{Simulation, Start};

pub struct Technology;
impl Technology {
    pub fn builtin(name: &str) -> Option<Self> {
        ["45nm", "22nm"].contains(&name).then_some(Technology)
    }
    pub fn from_ron(_: &str) -> Result<Self, String> {
        Err("stub".into())
    }
}
pub trait More {
    fn report(&self, technology: &Technology, mhz: u32) -> Report;
    fn trace(&self, start: Start) -> Vec<TraceLine>;
}
impl More for Simulation {
    fn report(&self, _: &Technology, mhz: u32) -> Report {
        let z = ColdWarm { cold: 0.0, warm: 0.0 };
        let cycles = ColdWarm { cold: self.timing(Start::Cold).cycles, warm: self.timing(Start::Warm).cycles };
        Report {
            name: self.program().name.clone(),
            hw: Default::default(),
            cycles,
            energy_pj: z,
            energy_pj_streamed_weights: z,
            energy_pj_resident_weights: z,
            latency_us: z,
            power_mw: z,
            images_per_s: mhz as f64 * 1e6 / cycles.warm as f64,
            layers: vec![],
            units: vec![],
            memories: vec![],
            leakage_pj: z,
            notes: vec![],
        }
    }
    fn trace(&self, _: Start) -> Vec<TraceLine> {
        vec![]
    }
}
pub struct Compiled {
    pub program: Program,
    pub plan: String,
}
pub fn compile_network(
    _: &qnnsim_compiler::ir::Network,
    _: &qnnsim_isa::HardwarePoint,
) -> Result<Compiled, Vec<qnnsim_compiler::diagnostic::Diagnostic>> {
    Err(vec![qnnsim_compiler::diagnostic::Diagnostic::new("stub")])
}
