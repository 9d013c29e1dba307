//! Which weights and thresholds stay in their memories, and which are loaded for every image.
//!
//! A layer's words lie by channel tile. If all of them fit, all stay. If not, the first tiles of a
//! layer stay and the others are loaded in *slices* into a ring behind what stays, each while the
//! slice before it is in use. The choice is the one that loads the fewest bytes an image: which
//! layers stay, and how large the ring is.

use std::ops::{Index, IndexMut};

/// What a cold image brings into a memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constant {
    /// The weights of the array.
    Weights,
    /// The entries of the threshold unit.
    Thresholds,
}

impl Constant {
    /// Both.
    pub const ALL: [Constant; 2] = [Constant::Weights, Constant::Thresholds];
}

/// One of something for weights and one for thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerConstant<T> {
    /// For weights.
    pub weights: T,
    /// For thresholds.
    pub thresholds: T,
}

impl<T> PerConstant<T> {
    /// Both, made by a function.
    pub fn new(make: impl Fn(Constant) -> T) -> Self {
        PerConstant { weights: make(Constant::Weights), thresholds: make(Constant::Thresholds) }
    }
}

impl<T> Index<Constant> for PerConstant<T> {
    type Output = T;

    fn index(&self, of: Constant) -> &T {
        match of {
            Constant::Weights => &self.weights,
            Constant::Thresholds => &self.thresholds,
        }
    }
}

impl<T> IndexMut<Constant> for PerConstant<T> {
    fn index_mut(&mut self, of: Constant) -> &mut T {
        match of {
            Constant::Weights => &mut self.weights,
            Constant::Thresholds => &mut self.thresholds,
        }
    }
}

/// How the tiles that do not stay are cut into slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slicing {
    /// The tiles of one word of channels: loaded once, used for all outputs (of a stripe), one pass
    /// over the layer's maps for each.
    Word,
    /// One tile, loaded for each tile of outputs; as good as the above if there is only one.
    Tile,
    /// A part of a tile's kernel, loaded for each of its accumulators.
    Part,
}

/// Where the words of one layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Channel tiles that stay, the first ones.
    pub resident: u32,
    /// Address of the first of them.
    pub base: u64,
    /// How the others are loaded; none if all stay.
    pub sliced: Option<Slicing>,
}

/// Words of a memory through which slices pass, behind what stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ring {
    /// First word of each bank.
    pub base: u64,
    /// Words; 0 if nothing is loaded for every image.
    pub words: u64,
    /// The longest slice.
    pub slice: u64,
}

/// What a layer wants of a memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    /// Words of a channel tile in each bank.
    pub(super) tile: u64,
    /// Channel tiles.
    pub(super) tiles: u32,
    /// Channel tiles of one word of channels.
    pub(super) word_tiles: u32,
    /// Runs over the layer's outputs.
    pub(super) runs: u64,
    /// Tiles of outputs, of all runs.
    pub(super) window_tiles: u64,
    /// Pooling positions.
    pub(super) positions: u64,
    /// Bytes in DRAM of one address.
    pub(super) bytes: u64,
    /// Words of the smallest part of a kernel, if tiles can be cut.
    pub(super) part: Option<u64>,
}

impl Demand {
    /// Words of all tiles.
    pub(super) fn words(&self) -> u64 {
        self.tile * u64::from(self.tiles)
    }

    /// The least that a memory must hold of them at a time.
    pub(super) fn least(&self) -> u64 {
        self.part.unwrap_or(self.tile).min(self.words())
    }

    /// How to cut slices of at most so many words, and how often each is loaded in an image. None
    /// if that cannot be.
    fn slicing(&self, longest: u64) -> Option<(Slicing, u64)> {
        let tiles = self.word_tiles.min(self.tiles);
        if self.window_tiles > self.runs && self.tile * u64::from(tiles) <= longest {
            Some((Slicing::Word, self.runs))
        } else if self.tile <= longest {
            Some((Slicing::Tile, self.window_tiles))
        } else {
            self.part
                .filter(|&part| part <= longest)
                .map(|_| (Slicing::Part, self.window_tiles * self.positions))
        }
    }

    /// Tiles that stay or go together.
    fn unit(&self, slicing: Slicing) -> u32 {
        if slicing == Slicing::Word { self.word_tiles } else { 1 }
    }
}

/// Of one layer how many tiles stay, and how the others are loaded.
type Stay = (u32, Option<Slicing>);

/// What stays and what is sliced, layer by layer, in a memory of so many words a bank. None if it
/// is too small even for slices.
pub(super) fn fit(demands: &[Demand], capacity: u64) -> Option<(Vec<Storage>, Ring)> {
    if demands.iter().map(Demand::words).sum::<u64>() <= capacity {
        let all: Vec<Stay> = demands.iter().map(|d| (d.tiles, None)).collect();
        return Some(place(demands, &all, Ring::default()));
    }
    let mut lengths: Vec<u64> = vec![capacity / 2, capacity];
    for d in demands {
        lengths.extend([d.tile, d.tile * u64::from(d.word_tiles.min(d.tiles))]);
    }
    lengths.sort_unstable();
    lengths.dedup();
    // A ring of two slices hides loading behind computing.
    let best = |slices: u64| {
        let rings = lengths.iter().filter(|&&length| length > 0).map(|&slice| Ring {
            base: 0,
            words: slices * slice,
            slice,
        });
        let fits = rings.filter(|ring| ring.words <= capacity).filter_map(|ring| {
            let (bytes, choice) = choose(demands, capacity - ring.words, ring.slice)?;
            Some((bytes, choice, ring))
        });
        fits.min_by_key(|(bytes, _, ring)| (*bytes, ring.words))
    };
    let (double, single) = (best(2), best(1));
    // But not at any price.
    let keep_double = match (&double, &single) {
        (Some(double), Some(single)) => double.0 <= 2 * single.0,
        (double, _) => double.is_some(),
    };
    let (_, choice, ring) = if keep_double { double } else { single }?;
    Some(place(demands, &choice, ring))
}

/// Bytes that are loaded in an image, and of each layer how many tiles stay, if slices have at most
/// so many words and what stays so many as well: what costs most for its room stays first.
fn choose(demands: &[Demand], mut room: u64, slice: u64) -> Option<(u64, Vec<Stay>)> {
    let mut choice: Vec<Stay> = Vec::new();
    let mut streamed = Vec::new();
    let mut bytes = 0;
    for (i, d) in demands.iter().enumerate() {
        match d.slicing(slice) {
            Some((slicing, loads)) if d.tile > 0 => {
                streamed.push((loads * d.bytes, d.tile, i, slicing));
                bytes += loads * d.bytes * d.words();
                choice.push((0, Some(slicing)));
            }
            _ => {
                room = room.checked_sub(d.words())?;
                choice.push((d.tiles, None));
            }
        }
    }
    streamed.sort_by_key(|&(cost, tile, i, _)| (std::cmp::Reverse((cost, tile)), i));
    for (cost, tile, i, slicing) in streamed {
        let d = &demands[i];
        let unit = d.unit(slicing);
        let fit = u32::try_from(room / (tile * u64::from(unit))).unwrap_or(u32::MAX);
        let all = room >= d.words();
        let resident = if all { d.tiles } else { fit.saturating_mul(unit).min(d.tiles) };
        choice[i] = (resident, (resident < d.tiles).then_some(slicing));
        room -= u64::from(resident) * tile;
        bytes -= u64::from(resident) * tile * cost;
    }
    Some((bytes, choice))
}

/// Addresses: what stays in the order of layers, then the ring.
fn place(demands: &[Demand], choice: &[Stay], ring: Ring) -> (Vec<Storage>, Ring) {
    let mut base = 0;
    let storages = demands.iter().zip(choice).map(|(d, &(resident, sliced))| {
        let storage = Storage { resident, base, sliced };
        base += u64::from(resident) * d.tile;
        storage
    });
    let storages = storages.collect();
    (storages, Ring { base, ..ring })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(tile: u64, tiles: u32, window_tiles: u64) -> Demand {
        Demand {
            tile,
            tiles,
            word_tiles: 4,
            runs: 1,
            window_tiles,
            positions: 1,
            bytes: 8,
            part: Some(1),
        }
    }

    fn resident(demands: &[Demand], capacity: u64) -> Option<(Vec<u32>, u64, u64)> {
        let (storages, ring) = fit(demands, capacity)?;
        Some((storages.iter().map(|s| s.resident).collect(), ring.base, ring.words))
    }

    #[test]
    fn what_fits_stays() {
        assert_eq!(resident(&[demand(10, 8, 5), demand(3, 4, 1)], 92), Some((vec![8, 4], 92, 0)));
    }

    #[test]
    fn the_fewest_bytes_are_loaded() {
        // 80 + 400 words, the same bytes a word. Slices of the dense layer are its tiles, 10 words.
        // The convolution's are 4 tiles, and a ring of two of them 80 words; a ring of 20
        // leaves 280 words for what stays, so the convolution stays whole and half of the rest.
        let demands = [demand(10, 8, 5), demand(10, 40, 1)];
        assert_eq!(resident(&demands, 300), Some((vec![8, 20], 280, 20)));
        // The convolution alone in 79 words: a ring of 80 has no room, one slice of 40 leaves 39,
        // no room for another. By tiles in a ring of 20, 5 tiles stay and 3 are loaded for
        // each of 5 tiles of outputs: 150 words instead of 80, not twice as many.
        assert_eq!(resident(&demands[..1], 79), Some((vec![5], 50, 20)));
    }

    #[test]
    fn nothing_is_too_large_but_a_part() {
        // One part is one word: two of them are a ring.
        let (storages, ring) = fit(&[demand(100, 4, 3)], 2).unwrap();
        assert_eq!(
            (storages[0].resident, storages[0].sliced, ring.words),
            (0, Some(Slicing::Part), 2)
        );
        assert!(fit(&[Demand { part: None, ..demand(100, 4, 3) }], 99).is_none());
    }
}
