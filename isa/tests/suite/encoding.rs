//! The encoding: every bit claimed once, every undefined pattern refused, encode and decode
//! inverse.

use proptest::prelude::*;
use qnnsim_isa::Instruction;
use qnnsim_isa::hardware::PARAMETERS;
use qnnsim_isa::operand::{Kind, Parts};
use qnnsim_isa::table::{
    LdDst, LdMap, LdRow, LdSrc, MacAct, MacShape, MacWgt, MacXtap, MacYtap, PoolDst, Row, StMap,
    ThrTable,
};

/// Any instruction, all operands in range.
fn instruction() -> impl Strategy<Value = Instruction> {
    let rows: Vec<&'static Row> = Instruction::TABLE.to_vec();
    prop::sample::select(rows).prop_flat_map(|row| {
        let operands: Vec<BoxedStrategy<Parts>> =
            row.fields.iter().map(|f| operand(f.kind)).collect();
        operands.prop_map(move |operands| row.instruction(&operands).expect("drawn in range"))
    })
}

fn operand(kind: Kind) -> BoxedStrategy<Parts> {
    let part = move |i: usize| {
        if i < kind.parts().len() {
            let (min, max) = kind.limits(i);
            prop_oneof![Just(min), Just(max), min..=max].boxed()
        } else {
            Just(0).boxed()
        }
    };
    (part(0), part(1), part(2), part(3)).prop_map(|(a, b, c, d)| [a, b, c, d]).boxed()
}

#[test]
fn every_bit_is_claimed_at_most_once() {
    for row in Instruction::TABLE {
        let mut seen = row.identity().0;
        for field in row.fields {
            for bit in field.lsb..field.lsb + field.kind.bits() {
                assert!(bit < 128, "{} {} ends beyond the word", row.mnemonic, field.name);
                assert_eq!(
                    seen >> bit & 1,
                    0,
                    "{} {}: bit {bit} is claimed twice",
                    row.mnemonic,
                    field.name
                );
                seen |= 1 << bit;
            }
        }
        assert_eq!(seen, row.claimed());
    }
}

#[test]
fn no_word_belongs_to_two_rows() {
    for (i, a) in Instruction::TABLE.iter().enumerate() {
        for b in &Instruction::TABLE[i + 1..] {
            let ((mask_a, value_a), (mask_b, value_b)) = (a.identity(), b.identity());
            let common = mask_a & mask_b;
            assert_ne!(value_a & common, value_b & common, "{} and {}", a.mnemonic, b.mnemonic);
        }
    }
}

#[test]
fn all_zeros_and_all_ones_are_undefined() {
    // What unwritten memory holds must stop the machine.
    assert!(Instruction::decode(0).is_err());
    assert!(Instruction::decode(u128::MAX).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decode_inverts_encode(instruction in instruction()) {
        prop_assert_eq!(Instruction::decode(instruction.encode().unwrap()), Ok(instruction));
    }

    /// A word is either the encoding of exactly what it decodes to, or refused.
    #[test]
    fn what_decodes_encodes_to_the_same_word(word in any::<u128>(), op in 0u128..8, unit in 0u128..8, group in 0u128..6) {
        let near = (word >> 12 << 12) | group << 7 | unit << 4 | op;
        for word in [word, near, near & !(u128::MAX << 40)] {
            if let Ok(instruction) = Instruction::decode(word) {
                prop_assert_eq!(instruction.encode(), Ok(word));
            }
        }
    }

    /// Every single bit matters: flipping one gives another instruction or none, never the same.
    #[test]
    fn every_bit_matters(instruction in instruction(), bit in 0u32..128) {
        let flipped = instruction.encode().unwrap() ^ (1 << bit);
        prop_assert_ne!(Instruction::decode(flipped), Ok(instruction));
    }
}

/// What the largest memories and arrays need of operands that have no size of a network in them.
#[test]
fn every_place_of_the_largest_machine_can_be_said() {
    let most = |key: &str| {
        let parameter = PARAMETERS.iter().find(|p| p.key == key).expect("in the table");
        i64::from(*parameter.range.end())
    };
    let holds = |row: &Row, name: &str, part: usize, value: i64| {
        let (min, max) = row.operand(name).kind.limits(part);
        assert!((min..=max).contains(&value), "{} {name}: {value}", row.mnemonic);
    };
    for (memory, readers) in [
        ("act.words", vec![MacAct::ROW, PoolDst::ROW, StMap::ROW, LdDst::ROW]),
        ("wgt.words", vec![MacWgt::ROW, LdDst::ROW]),
        ("thr.words", vec![ThrTable::ROW, LdDst::ROW]),
    ] {
        readers.into_iter().for_each(|row| holds(row, "base", 0, most(memory) - 1));
    }
    // With two phases or more a phase is half of the memory at most.
    for row in [LdMap::ROW, PoolDst::ROW] {
        holds(row, "phase", 0, most("act.words") / 2);
    }
    for banks in ["mac.rows", "mac.cols", "thr.cols"] {
        holds(LdDst::ROW, "bank", 0, most(banks) - 1);
        holds(LdDst::ROW, "span", 0, most(banks));
    }
    holds(StMap::ROW, "bank", 0, most("mac.rows") - 1);
    for (row, tap) in [(MacYtap::ROW, "t0"), (MacXtap::ROW, "t1")] {
        holds(row, tap, 1, most("mac.rows") - 1);
        holds(row, "index", 0, most("mac.taps") / 2 - 1);
    }
    for row in [MacWgt::ROW, ThrTable::ROW] {
        holds(row, "last", 0, most("mac.cols"));
    }
    holds(MacShape::ROW, "tail", 0, most("mac.lanes"));
    // An image row is the widest and deepest that `ld.row` can say; all other loads fit the buffers.
    let row = i64::from(LdRow::ROW.max("width") * LdRow::ROW.max("channels"));
    let buffers = most("load.buffers") * most("dram.burst") * most("dram.width");
    holds(LdSrc::ROW, "bytes", 0, row.max(buffers));
    // From one pixel of the output to the next.
    let word_bytes = most("mac.lanes") / 8;
    holds(StMap::ROW, "pitch", 0, i64::from(PoolDst::ROW.max("block")) * word_bytes);
}
