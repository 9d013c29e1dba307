//! The back end: from the integer network to a program for one hardware point, in stages. Each
//! stage is complete when it is handed on, is never changed afterwards, and knows only what comes
//! before it.
//!
//! | stage | takes | gives |
//! |---|---|---|
//! | [`facts`] | network | layers with copies, entries of the threshold unit, phases and pitch of maps |
//! | [`layout`] | facts, machine | the layout of each map and packed input, as if at address 0 |
//! | [`tiling`] | facts, layouts, machine | of each layer its tiles and the steps of the array |
//! | [`placement`] | all before | all addresses, runs of layers, parts of kernels |
//! | [`schedule`] | all before | what the units do, in the order of the code, and what waits |
//! | [`emit`] | all before | instructions, data, layout of DRAM: the program |
//!
//! Facts are the same on every machine, and so is the refusal of a layer that none can run. For
//! placement, [`stripes`] decides about maps and [`residency`] about weights and thresholds;
//! `print` shows a stage.

pub mod emit;
pub mod facts;
pub mod layout;
pub mod placement;
pub mod print;
pub mod residency;
pub mod schedule;
pub mod stripes;
pub mod thresholds;
pub mod tiling;
mod weights;

use qnnsim_isa::HardwarePoint;

use crate::diagnostic::{Diagnostic, Kind};
use crate::ir::Network;
use facts::Facts;
use layout::Layouts;
use placement::{Placement, words_to_keep_all};
pub use schedule::SEMAPHORES;
use tiling::Tiling;

/// All that is decided about a network on a machine, stage by stage.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The machine.
    pub hw: HardwarePoint,
    /// What is the same on every machine.
    pub facts: Facts,
    /// How maps lie.
    pub layouts: Layouts,
    /// How each layer's work is cut, by layer.
    pub tilings: Vec<Tiling>,
    /// Where everything is.
    pub placement: Placement,
}

/// Words (entries) of each bank of the memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Words {
    /// Of the activation memory.
    pub activations: u64,
    /// Of the weight memory.
    pub weights: u64,
    /// Of the threshold memory.
    pub thresholds: u64,
}

impl Plan {
    /// The plan for a machine.
    ///
    /// # Errors
    /// Every memory that is too small: in which layer, by how much. What instructions have no room
    /// for is found when they are encoded.
    pub fn new(facts: &Facts, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
        let layouts = Layouts::new(facts, hw);
        let tilings = Tiling::all(facts, &layouts, hw);
        let placement = Placement::new(facts, &layouts, &tilings, hw)?;
        Ok(Plan { hw: hw.clone(), facts: facts.clone(), layouts, tilings, placement })
    }

    /// The plan of a network that is planned once.
    ///
    /// # Errors
    /// Every layer that no machine can run, or those of [`Plan::new`].
    pub fn of(network: &Network, hw: &HardwarePoint) -> Result<Plan, Vec<Diagnostic>> {
        Plan::new(&Facts::new(network)?, hw)
    }

    /// Words of each bank that a machine needs to keep all maps, weights and thresholds, whatever
    /// its memories hold.
    pub fn words_to_keep_all(facts: &Facts, hw: &HardwarePoint) -> Words {
        let layouts = Layouts::new(facts, hw);
        words_to_keep_all(facts, &layouts, &Tiling::all(facts, &layouts, hw))
    }

    /// Tiles of outputs of all runs of a layer.
    pub fn window_tiles(&self, layer: usize) -> u64 {
        let runs = self.placement.maps.layers[layer].runs.iter();
        runs.map(|run| self.tilings[layer].window_tiles(run.size(), self.hw.mac_rows)).sum()
    }
}

/// A memory that is too small for what it must hold at a time.
fn shortage(
    memory: &str,
    layer: &str,
    key: &str,
    need: u64,
    have: u32,
    banks: u32,
    word_bits: u64,
) -> Diagnostic {
    let bytes = |words: u64| (words * u64::from(banks) * word_bits).div_ceil(8);
    let lack = bytes(need) - bytes(u64::from(have));
    let message = format!("the {memory} memory lacks {lack} bytes; it is full in layer `{layer}`");
    Diagnostic::new(Kind::Capacity, message)
        .cause(format!(
            "the network needs {need} words a bank and has {have}; with {banks} bank(s) that is \
             {} and {} bytes",
            bytes(need),
            bytes(u64::from(have))
        ))
        .help(format!("give the point more memory: --set {key}={need}"))
}
