//! What one point takes: compiled, timed and counted exactly, without values.
//!
//! Work is grouped by what it shares. A network is imported once, its thresholds are found once.
//! Points of a model that differ only in what neither code nor cycles depend on
//! ([`HardwarePoint::timing_point`]) are one group: planned once, timed once. Memories that hold
//! all maps, weights and thresholds are as good as larger ones; of smaller ones each size is a
//! group of its own, because the rest passes through them in every image. A text for the assembler
//! may depend on anything, so each of its points is a group of its own.

use std::collections::HashMap;

use qnnsim_compiler::backend::emit::{emit, emit_code};
use qnnsim_compiler::backend::facts::Facts;
use qnnsim_compiler::backend::{Plan, Words};
use qnnsim_compiler::diagnostic::Diagnostic;
use qnnsim_compiler::ir::Network;
use qnnsim_isa::hardware::{HardwarePoint, Overrides};
use qnnsim_isa::program::{LayerInfo, Program};
use qnnsim_simulator::report::{Cost, Report};
use qnnsim_simulator::{Simulation, Technology, Trap};

use crate::bound;
use crate::space::Point;

/// What the points of a sweep run.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in the table.
    pub name: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Model { facts: Result<Facts, Vec<Diagnostic>>, layers: Vec<LayerInfo> },
    Program { text: String, hardware: HardwarePoint, layers: Vec<LayerInfo> },
}

/// What came of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large variant")]
pub enum Outcome {
    /// Exact cycles and events.
    Exact(Cost),
    /// The machine would trap, or a proof fails.
    Trap(String),
    /// The compiler or the assembler refuses.
    Unfit(String),
}

/// Points that need one simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Which source.
    pub source: usize,
    /// The hardware, as far as it matters for the simulation.
    pub hw: HardwarePoint,
    /// Which points.
    pub members: Vec<usize>,
}

/// What is known of a group before it is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large variant")]
pub enum Prospect {
    /// It may run.
    Open {
        /// No image takes less than this.
        bound: Cost,
    },
    /// The compiler refuses it.
    Closed(String),
}

impl Source {
    /// A model, imported.
    pub fn model(name: String, network: Network) -> Self {
        let network = Network { name: name.clone(), ..network };
        let facts = Facts::new(&network);
        let layers = facts.as_ref().map_or(Vec::new(), Facts::layer_infos);
        Source { name, kind: Kind::Model { facts, layers } }
    }

    /// A text for the assembler.
    ///
    /// # Errors
    /// It cannot be assembled even for its own hardware point.
    pub fn program(name: String, text: String) -> Result<Self, String> {
        let program =
            qnnsim_assembler::assemble(&name, &text).map_err(|errors| errors.to_string())?;
        Ok(Source {
            name,
            kind: Kind::Program { text, hardware: program.hardware, layers: program.layers },
        })
    }

    /// What lies below the base point of a space: a text's own hardware point.
    pub fn hardware(&self) -> Overrides {
        match &self.kind {
            Kind::Model { .. } => Overrides::default(),
            Kind::Program { hardware, .. } => hardware.to_overrides(),
        }
    }

    /// Its layers, as far as they are the same on every point: name, MACs and precision.
    pub fn layers(&self) -> &[LayerInfo] {
        match &self.kind {
            Kind::Model { layers, .. } | Kind::Program { layers, .. } => layers,
        }
    }

    /// The hardware, as far as it matters for the simulation. What plans for any memory take, by
    /// the points they are for, is kept.
    fn key(
        &self,
        hw: &HardwarePoint,
        takes: &mut HashMap<HardwarePoint, Option<Words>>,
    ) -> HardwarePoint {
        let Kind::Model { facts, .. } = &self.kind else { return hw.clone() };
        let point = hw.timing_point();
        let whole = takes
            .entry(point)
            .or_insert_with_key(|point| Some(Plan::words_to_keep_all(facts.as_ref().ok()?, point)));
        let point = hw.timing_point();
        let Some(Words { activations, weights, thresholds }) = *whole else { return point };
        // The least memory in which everything stays, or what there is.
        let least = |have: u32, takes: u64| u64::from(have).min(takes.max(1)) as u32;
        let smaller = point.with(|p| {
            p.act_words = least(hw.act_words, activations);
            p.wgt_words = least(hw.wgt_words, weights);
            p.thr_words = least(hw.thr_words, thresholds);
        });
        smaller.expect("no memory is larger than the point's own")
    }

    /// What is known before anything is simulated.
    pub fn prospect(&self, hw: &HardwarePoint) -> Prospect {
        match &self.kind {
            Kind::Model { facts, .. } => match plan(facts, hw) {
                Ok(plan) => Prospect::Open { bound: bound::of(&plan) },
                Err(errors) => Prospect::Closed(sentence(&errors)),
            },
            // What a text lacks is found by running it.
            Kind::Program { .. } => Prospect::Open { bound: Cost::default() },
        }
    }

    /// Simulates one point.
    pub fn evaluate_point(&self, hw: &HardwarePoint) -> Outcome {
        self.evaluate(&self.key(hw, &mut HashMap::new()))
    }

    /// Simulates a group.
    pub fn evaluate(&self, hw: &HardwarePoint) -> Outcome {
        match &self.kind {
            Kind::Model { facts, .. } => match plan(facts, hw).and_then(|plan| emit_code(&plan)) {
                Ok(program) => match qnnsim_simulator::cost(&program) {
                    Ok(cost) => Outcome::Exact(cost),
                    Err(trap) => Outcome::Trap(told(&trap, &program)),
                },
                Err(errors) => Outcome::Unfit(sentence(&errors)),
            },
            Kind::Program { text, .. } => {
                let program = match qnnsim_assembler::assemble_for(&self.name, text, hw) {
                    Ok(program) => program,
                    Err(errors) => return Outcome::Unfit(errors.summary()),
                };
                match Simulation::new(program.clone()) {
                    Ok(simulation) => Outcome::Exact(simulation.cost()),
                    Err(trap) => Outcome::Trap(told(&trap, &program)),
                }
            }
        }
    }

    /// What a point costs by layer, unit and memory: the whole way from program to report, proofs
    /// included. None if it does not run.
    pub fn report(&self, hw: &HardwarePoint, technology: &Technology) -> Option<Report> {
        let program = match &self.kind {
            Kind::Model { facts, .. } => plan(facts, hw).and_then(|plan| emit(&plan)).ok()?,
            Kind::Program { text, .. } => {
                qnnsim_assembler::assemble_for(&self.name, text, hw).ok()?
            }
        };
        Some(Simulation::new(program).ok()?.report(technology, hw.clock_mhz))
    }
}

/// The plan of a model on a machine.
fn plan(
    facts: &Result<Facts, Vec<Diagnostic>>,
    hw: &HardwarePoint,
) -> Result<Plan, Vec<Diagnostic>> {
    Plan::new(facts.as_ref().map_err(Clone::clone)?, hw)
}

/// A trap in one line.
fn told(trap: &Trap, program: &Program) -> String {
    trap.describe(program).lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Several refusals in one line.
fn sentence(errors: &[Diagnostic]) -> String {
    errors.iter().map(|error| &error.message[..]).collect::<Vec<_>>().join("; ")
}

/// Groups points by what they share, in the order in which they first appear. Points without a
/// machine are in none.
pub fn groups(sources: &[Source], points: &[Point]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut numbers: HashMap<(usize, HardwarePoint), usize> = HashMap::new();
    let mut takes: Vec<HashMap<HardwarePoint, Option<Words>>> = vec![HashMap::new(); sources.len()];
    for (i, point) in points.iter().enumerate() {
        let Ok(hw) = &point.hw else { continue };
        let hw = sources[point.source].key(hw, &mut takes[point.source]);
        let number = *numbers.entry((point.source, hw)).or_insert_with_key(|(source, hw)| {
            groups.push(Group { source: *source, hw: hw.clone(), members: Vec::new() });
            groups.len() - 1
        });
        groups[number].members.push(i);
    }
    groups
}
