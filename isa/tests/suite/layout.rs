//! Map layouts: the formula against the manual's examples by hand, its inverse, and no two words at
//! one place.

use std::collections::HashSet;

use proptest::prelude::*;
use qnnsim_isa::MapLayout;
use qnnsim_isa::layout::MapWord;
use qnnsim_isa::table::PoolDst;

/// A map of 5 x 7 pixels, 2 planes of 3 words, read with stride (2, 3) on 4 banks, pitch 3, from
/// address 10 on. Rows of a phase: 3, pixels of a row: 3, so index 0..=8, three blocks of 6 words:
/// 18 words a phase, six phases. Pixel (3, 5) is in phase (1, 2), number 1 * 3 + 2 = 5, at index
/// 1 * 3 + 1 = 4: bank 0, block 1. Plane 1, word 2 is at 10 + 5 * 18 + 1 * 6 + 1 * 3 + 2 = 111.
#[test]
fn a_word_of_a_map_by_hand() {
    let layout = MapLayout { base: 10, ..MapLayout::dense([5, 7], [2, 3], [2, 3], 3, 4) };
    assert_eq!((layout.phase, layout.words(), layout.block, layout.plane), (18, 108, 6, 3));
    let word = MapWord { pixel: [3, 5], plane: 1, word: 2 };
    assert_eq!(layout.place(word, 4), (0, 111));
    assert_eq!(layout.word_at([5, 7], 2, (0, 111), 4), Some(word));
    // Before the map; behind its phases; index 7 of phase 5 would be (5, 5), below the map.
    assert_eq!(layout.word_at([5, 7], 2, (0, 9), 4), None);
    assert_eq!(layout.word_at([5, 7], 2, (0, 118), 4), None);
    assert_eq!(layout.word_at([5, 7], 2, (3, 106), 4), None);
    // Row -1 is row 1 of phase 1 one row up: an index of -3, and three phases further.
    assert_eq!(layout.distance(0, -1), (-3, 3 * 18));
    assert_eq!(layout.distance(1, 5), (1, 2 * 18));
}

#[test]
fn what_no_operand_holds_is_not_cut_to_what_one_holds() {
    let layout = MapLayout { base: 1 << 32, ..MapLayout::dense([1, 1], [1, 1], [1, 1], 1, 1) };
    assert_eq!(PoolDst::from(layout).base, u32::MAX);
}

fn map() -> impl Strategy<Value = ([u32; 2], [u32; 2], MapLayout, u32)> {
    let size = [1u32..=9, 1..=9];
    (size, [1u32..=3, 1..=3], [1u32..=4, 1..=4], 0u32..=2, 0u64..=99, 1u32..=7).prop_map(
        |(size, pixel, s, gap, base, rows)| {
            let pitch = size[1].div_ceil(s[1]) + gap;
            let dense = MapLayout::dense(size, pixel, s, pitch, rows);
            (size, pixel, MapLayout { base, ..dense }, rows)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every word of a map has a place of its own within its layout, which leads back to it.
    #[test]
    fn words_have_places_of_their_own((size, [planes, words], layout, rows) in map()) {
        let mut seen = HashSet::new();
        for y in 0..size[0] {
            for x in 0..size[1] {
                for plane in 0..planes {
                    for word in 0..words {
                        let at = MapWord { pixel: [y, x], plane, word };
                        let (bank, address) = layout.place(at, rows);
                        prop_assert!(bank < rows);
                        prop_assert!((layout.base..layout.base + layout.words()).contains(&address));
                        prop_assert!(seen.insert((bank, address)), "{at:?} shares its place");
                        prop_assert_eq!(layout.word_at(size, planes, (bank, address), rows), Some(at));
                    }
                }
            }
        }
        // All other places of the layout are nobody's.
        for bank in 0..rows {
            for address in 0..layout.base + layout.words() + 9 {
                let word = layout.word_at(size, planes, (bank, address), rows);
                prop_assert_eq!(word.is_some(), seen.contains(&(bank, address)));
            }
        }
    }

    /// Layouts of any numbers: where words are said to be apart they are, and dense ones are.
    #[test]
    fn what_is_kept_apart_shares_no_place(
        (size, pixel, dense, rows) in map(),
        (block, plane, phase, pitch) in (0u32..12, 0u32..5, 0u64..40, 1u32..6),
    ) {
        prop_assert!(dense.keeps_apart(size, pixel, rows));
        for layout in [
            MapLayout { block, plane, phase, pitch, ..dense },
            MapLayout { block, ..dense },
            MapLayout { plane, ..dense },
            MapLayout { phase, ..dense },
            MapLayout { pitch, ..dense },
        ] {
            let mut seen = HashSet::new();
            let pixels = (0..size[0]).flat_map(|y| (0..size[1]).map(move |x| [y, x]));
            let words = pixels.flat_map(|at| (0..pixel[0]).flat_map(move |plane| {
                (0..pixel[1]).map(move |word| MapWord { pixel: at, plane, word })
            }));
            let apart = words.into_iter().all(|word| seen.insert(layout.place(word, rows)));
            prop_assert!(apart || !layout.keeps_apart(size, pixel, rows), "{layout:?}");
        }
    }

    /// A tap's distance from an output's pixel leads to the pixel that it means.
    #[test]
    fn distances_lead_to_pixels((size, _, layout, rows) in map(), to in [0u32..9, 0..9], step in [0u32..9, 0..9]) {
        let to = [to[0] % size[0], to[1] % size[1]];
        // A pixel of phase 0, maybe behind `to`.
        let from = [0, 1].map(|axis| step[axis] % size[axis] / layout.s[axis] * layout.s[axis]);
        let between = [0, 1].map(|axis| layout.distance(axis, i64::from(to[axis]) - i64::from(from[axis])));
        let index = layout.index(from) as i64 + between[0].0 + between[1].0;
        let phase = between[0].1 + between[1].1;
        prop_assert_eq!(index, layout.index(to) as i64);
        prop_assert_eq!(phase as u64, u64::from(layout.phase_number(to)) * layout.phase);
        let (bank, address) = layout.first_word(to, rows);
        prop_assert_eq!(u64::from(bank), index as u64 % u64::from(rows));
        let block = index as u64 / u64::from(rows) * u64::from(layout.block);
        prop_assert_eq!(address, layout.base + phase as u64 + block);
    }
}
