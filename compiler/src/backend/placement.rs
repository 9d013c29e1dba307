//! What lies where: maps and their runs, weights and thresholds, and so the parts of kernels whose
//! weights pass through their memory.

use std::ops::Range;

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::THRESHOLD_ENTRY_BITS;

use super::facts::Facts;
use super::layout::Layouts;
use super::residency::{Constant, Demand, PerConstant, Ring, Slicing, Storage, fit};
use super::stripes::{Maps, Placing, words_to_stay};
use super::tiling::{Kernel, Tiling};
use super::{Words, shortage};
use crate::diagnostic::Diagnostic;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Maps, and what each layer computes at a time.
    pub maps: Maps,
    /// By layer, weights and thresholds.
    pub storage: Vec<PerConstant<Storage>>,
    /// By layer and term, how the kernel is cut: as the tap tables ask for, and where its weights
    /// pass through their memory part by part, so that a part fits a slice.
    pub kernels: Vec<Vec<Kernel>>,
    /// Through which weights and thresholds pass that do not stay.
    pub rings: PerConstant<Ring>,
    /// Words (entries) in use of each bank.
    pub used: Words,
}

impl Placement {
    /// Gives everything its place.
    ///
    /// # Errors
    /// Every memory that is too small: in which layer, by how much.
    pub fn new(
        facts: &Facts,
        layouts: &Layouts,
        tilings: &[Tiling],
        hw: &HardwarePoint,
    ) -> Result<Placement, Vec<Diagnostic>> {
        let placing = Placing { facts, layouts, tilings, hw };
        let maps = placing.place().map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        let mut storage = vec![None; tilings.len()];
        let mut rings = PerConstant::<Ring>::default();
        for of in Constant::ALL {
            let demands: Vec<Demand> = tilings
                .iter()
                .zip(&maps.layers)
                .map(|(tiling, maps)| {
                    let tiles =
                        maps.runs.iter().map(|run| tiling.window_tiles(run.size(), hw.mac_rows));
                    demand(of, tiling, maps.runs.len() as u64, tiles.sum(), hw)
                })
                .collect();
            let have = if of == Constant::Weights { hw.wgt_words } else { hw.thr_words };
            let Some((storages, ring)) = fit(&demands, have.into()) else {
                errors.push(no_slice(of, facts, &demands, hw));
                continue;
            };
            rings[of] = ring;
            for (slot, at) in storage.iter_mut().zip(storages) {
                slot.get_or_insert(PerConstant { weights: at, thresholds: at })[of] = at;
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let storage: Vec<PerConstant<Storage>> = storage.into_iter().flatten().collect();
        let kernels = tilings
            .iter()
            .zip(&storage)
            .map(|(tiling, storage)| kernels(tiling, storage.weights, rings.weights))
            .collect();
        let top = |ring: Ring| ring.base + ring.words;
        let used = Words {
            activations: maps.used,
            weights: top(rings.weights),
            thresholds: top(rings.thresholds),
        };
        Ok(Placement { maps, storage, kernels, rings, used })
    }

    /// Whether one instruction does all steps of a layer's run.
    pub fn is_whole(&self, layer: usize) -> bool {
        matches!(self.kernels[layer][..], [Kernel::Whole { .. }])
    }

    /// The channel tiles of each pass of a layer over its maps: what stays, and then word by word
    /// what does not.
    pub fn passes(&self, layer: usize, tiling: &Tiling) -> Vec<Range<u32>> {
        let mut cuts = vec![0, tiling.tiles];
        for of in Constant::ALL {
            let storage = self.storage[layer][of];
            if storage.sliced == Some(Slicing::Word) {
                cuts.extend((storage.resident..tiling.tiles).step_by(tiling.word_tiles as usize));
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|cut| cut[0]..cut[1]).collect()
    }
}

/// Words of each bank that hold everything for all images, with nothing loaded for every one.
pub(super) fn words_to_keep_all(facts: &Facts, layouts: &Layouts, tilings: &[Tiling]) -> Words {
    let all = |tile: &dyn Fn(&Tiling) -> u64| {
        tilings.iter().map(|tiling| tile(tiling) * u64::from(tiling.tiles)).sum()
    };
    Words {
        activations: words_to_stay(facts, layouts),
        weights: all(&Tiling::tile_words),
        thresholds: all(&|tiling| tiling.codes.tile),
    }
}

/// What a layer wants of the memory for weights or for thresholds.
fn demand(
    of: Constant,
    tiling: &Tiling,
    runs: u64,
    window_tiles: u64,
    hw: &HardwarePoint,
) -> Demand {
    let (tile, bytes, part) = match of {
        Constant::Weights => (
            tiling.tile_words(),
            hw.word_bytes() * tiling.span,
            tiling.terms.iter().map(|t| u64::from(t.w)).max(),
        ),
        Constant::Thresholds => (tiling.codes.tile, hw.threshold_bytes() * tiling.codes.span, None),
    };
    let (tiles, word_tiles) = (tiling.tiles, tiling.word_tiles);
    let (positions, bytes) = (tiling.position_count(), u64::from(bytes));
    Demand { tile, tiles, word_tiles, runs, window_tiles, positions, bytes, part }
}

/// How a layer's kernels are cut.
fn kernels(tiling: &Tiling, weights: Storage, ring: Ring) -> Vec<Kernel> {
    let kernels = tiling.terms.iter().map(|term| {
        if weights.sliced != Some(Slicing::Part) {
            return term.kernel.clone();
        }
        let most = u32::try_from(ring.slice / u64::from(term.w)).unwrap_or(u32::MAX);
        Kernel::Parts(match &term.kernel {
            Kernel::Whole { .. } => term.whole().cut(most),
            Kernel::Parts(parts) => parts.iter().flat_map(|part| part.cut(most)).collect(),
        })
    });
    kernels.collect()
}

/// Weights or thresholds of which not even a slice fits.
fn no_slice(of: Constant, facts: &Facts, demands: &[Demand], hw: &HardwarePoint) -> Diagnostic {
    let layers = demands.iter().zip(&facts.network.layers);
    let widest = layers.rev().max_by_key(|(demand, _)| demand.least());
    let (need, layer) = widest.map_or((1, ""), |(demand, layer)| (demand.least(), &layer.name));
    let lanes = u64::from(hw.mac_lanes);
    let (name, key, have, banks, bits) = match of {
        Constant::Weights => ("weight", "wgt.words", hw.wgt_words, hw.mac_cols, lanes),
        Constant::Thresholds => {
            let bits = u64::from(THRESHOLD_ENTRY_BITS);
            ("threshold", "thr.words", hw.thr_words, hw.thr_cols, bits)
        }
    };
    shortage(name, layer, key, need, have, banks, bits)
}
