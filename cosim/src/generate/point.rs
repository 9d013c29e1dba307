//! Random hardware points: small and odd ones above all.

use proptest::prelude::*;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;

/// Cycles of the DRAM: few above all, for a program meets them often.
pub fn latency() -> impl Strategy<Value = u32> {
    prop_oneof![120 => 1u32..=8, 60 => 1u32..=40, 20 => 1u32..=100, 4 => 101u32..=700]
}

/// Any small hardware point.
pub fn point() -> impl Strategy<Value = HardwarePoint> {
    let rows = prop_oneof![2 => prop::sample::select(vec![1u32, 3, 5]), 1 => 1u32..=6];
    // Columns beyond the lanes, columns that do not divide them, words of more than 64 lanes.
    let size = prop_oneof![
        3 => (1u32..=20, 1u32..=4),
        2 => (9u32..=20, Just(1u32)),
        1 => (17u32..=20, Just(2u32)),
        2 => (1u32..=20, 5u32..=8),
        2 => (1u32..=20, Just(9u32)),
    ];
    let array = (
        rows,
        size,
        prop_oneof![1u32..=5, 1u32..=15],
        prop_oneof![1u32..=4, 1u32..=16, 1u32..=32],
        1u32..=4,
    );
    let words = (
        32u32..=256,
        32u32..=256,
        prop_oneof![3 => 16u32..=128, 1 => 129u32..=254, 1 => 255u32..=300],
    );
    let threshold = (0u32..20, 1u32..=4, 1u32..=3);
    let transfer = (1u32..=6, 1u32..=4, prop_oneof![1u32..=2, 1u32..=8], 1u32..=4);
    let front = (
        prop_oneof![1 => Just(1u32), 2 => 1u32..=4, 2 => 1u32..=16],
        prop_oneof![Just(8u32), 8u32..=20, 8u32..=40],
    );
    let dram = (
        prop_oneof![2 => 0u32..=6, 3 => 2u32..=6],
        prop_oneof![1u32..=8, 1u32..=100],
        prop_oneof![1u32..=3, 1u32..=32],
        1u32..=8,
    );
    (array, words, threshold, transfer, front, dram).prop_map(
        |(array, words, threshold, transfer, front, dram)| {
            let mut over = Overrides::default();
            let (rows, (cols, lanes), depth, taps, banks) = array;
            over.mac.rows = Some(rows);
            over.mac.cols = Some(cols);
            over.mac.lanes = Some(lanes * 8);
            over.mac.depth = Some(depth);
            over.mac.taps = Some(taps * 2);
            over.acc.banks = Some(banks);
            over.act.words = Some(words.0);
            over.wgt.words = Some(words.1);
            over.thr.words = Some(words.2);
            over.thr.cols = Some(threshold.0 % cols + 1);
            over.thr.depth = Some(threshold.1);
            over.thr.buffers = Some(threshold.2);
            over.load.width = Some(transfer.0);
            over.load.depth = Some(transfer.1);
            over.load.buffers = Some(transfer.2);
            over.store.buffers = Some(transfer.3);
            over.queue.depth = Some(front.0);
            over.fetch.words = Some(front.1);
            over.dram.width = Some(1 << dram.0);
            over.dram.latency = Some(dram.1);
            // A burst holds a word and an instruction.
            let burst = lanes.next_power_of_two().max(16).div_ceil(1 << dram.0);
            over.dram.burst = Some(burst - 1 + dram.2);
            over.dram.outstanding = Some(dram.3);
            over.resolve().expect("the strategy draws valid points")
        },
    )
}
