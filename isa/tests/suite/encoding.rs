//! The encoding: every bit claimed once, every undefined pattern refused, encode and decode
//! inverse.

use proptest::prelude::*;
use qnnsim_isa::Instruction;
use qnnsim_isa::operand::Kind;
use qnnsim_isa::operand::Parts;
use qnnsim_isa::table::Row;

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
