//! The inner loops: 64 lanes a machine word, 4 array rows by 8 array columns at a time, no allocation.
//!
//! Each is compiled for several instruction sets and picks the best at run time.

use multiversion::multiversion;

/// Array rows that a kernel takes at a time.
pub const ROWS: usize = 4;

/// Array columns that a kernel takes at a time.
pub const COLUMNS: usize = 8;

/// One lane word of `ROWS` rows.
pub type RowBlock = [u64; ROWS];

/// One lane word of `COLUMNS` columns.
pub type ColumnBlock = [u64; COLUMNS];

/// How a lane word of products becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// One for every set lane.
    Bits,
    /// The sum of its bytes, unsigned or two's complement: byte mode.
    Bytes {
        /// Two's complement.
        signed: bool,
    },
}

/// Adds `factor * count(a AND w)` to the accumulators of one block of rows and all columns.
///
/// `a` has one entry for each lane word of the kernel; `w` has `blocks` entries for each of them, in the
/// same order; `acc` has `blocks` entries for each row of the block. Sums wrap, as in 32-bit hardware.
pub fn accumulate(
    count: Count,
    a: &[RowBlock],
    w: &[ColumnBlock],
    blocks: usize,
    factor: i32,
    acc: &mut [[i32; COLUMNS]],
) {
    match count {
        Count::Bits => accumulate_bits(a, w, blocks, factor, acc),
        Count::Bytes { signed: false } => accumulate_bytes(a, w, blocks, factor, 0, acc),
        Count::Bytes { signed: true } => accumulate_bytes(a, w, blocks, factor, SIGNS, acc),
    }
}

/// The top bit of every byte.
const SIGNS: u64 = 0x8080_8080_8080_8080;

/// A macro, not a function, so that each version of a kernel is compiled with its own instructions.
macro_rules! accumulate_blocks {
    ($a:ident, $w:ident, $blocks:ident, $factor:ident, $acc:ident, |$x:ident| $count:expr) => {
        for block in 0..$blocks {
            let mut sums = [[0u64; COLUMNS]; ROWS];
            for (a, w) in $a.iter().zip($w.chunks_exact($blocks)) {
                for (sums, &a) in sums.iter_mut().zip(a) {
                    for (sum, &w) in sums.iter_mut().zip(&w[block]) {
                        let $x = a & w;
                        *sum = sum.wrapping_add($count);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (acc, &sum) in $acc[r * $blocks + block].iter_mut().zip(sums) {
                    *acc = acc.wrapping_add((sum as i32).wrapping_mul($factor));
                }
            }
        }
    };
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx512vpopcntdq+popcnt",
    "x86_64+avx2+bmi1+bmi2+popcnt",
    "x86_64+popcnt",
    "aarch64+neon"
))]
fn accumulate_bits(a: &[RowBlock], w: &[ColumnBlock], blocks: usize, factor: i32, acc: &mut [[i32; COLUMNS]]) {
    accumulate_blocks!(a, w, blocks, factor, acc, |x| u64::from(x.count_ones()));
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx512vpopcntdq+popcnt",
    "x86_64+avx2+bmi1+bmi2+popcnt",
    "x86_64+popcnt",
    "aarch64+neon"
))]
fn accumulate_bytes(
    a: &[RowBlock],
    w: &[ColumnBlock],
    blocks: usize,
    factor: i32,
    signs: u64,
    acc: &mut [[i32; COLUMNS]],
) {
    // A two's complement byte is its unsigned value less 256 times its sign bit.
    accumulate_blocks!(a, w, blocks, factor, acc, |x| sum_of_bytes(x)
        .wrapping_sub(u64::from((x & signs).count_ones()) << 8));
}

/// Sum of the eight bytes of a word: pairs of bytes, then the four pairs by one multiplication.
fn sum_of_bytes(x: u64) -> u64 {
    const PAIRS: u64 = 0x00ff_00ff_00ff_00ff;
    let pairs = (x & PAIRS) + (x >> 8 & PAIRS);
    pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48
}

/// Count of one lane word, for row sums.
pub fn count_word(count: Count, x: u64) -> i32 {
    match count {
        Count::Bits => x.count_ones() as i32,
        Count::Bytes { signed } => {
            let negative = if signed { (x & 0x8080_8080_8080_8080).count_ones() as i32 } else { 0 };
            sum_of_bytes(x) as i32 - (negative << 8)
        }
    }
}

/// The linear mode for one block of columns, brought to one form: the code is the quotient of
/// `v * gain + offset` by `unit`, found bit by bit, which clips by itself.
#[derive(Debug, Clone, Copy)]
pub struct Division {
    /// 2^fraction, negative for a falling column, 0 for a constant one.
    pub gain: [i64; COLUMNS],
    /// -A, or the constant's code.
    pub offset: [i64; COLUMNS],
    /// |B|, or 1 for a constant.
    pub unit: [i64; COLUMNS],
}

/// Planes of the codes of one block of columns: bit c of byte p is plane p of column c.
pub type PlaneBytes = [u8; 32];

/// Codes of `bits` bits of every row of a block of columns, most significant plane first.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx512vpopcntdq+popcnt",
    "x86_64+avx2+bmi1+bmi2+popcnt",
    "x86_64+popcnt",
    "aarch64+neon"
))]
pub fn divide(acc: &[[i32; COLUMNS]], division: &Division, bits: usize, codes: &mut [PlaneBytes]) {
    let Division { gain, offset, unit } = division;
    for (acc, code) in acc.iter().zip(codes) {
        let mut rest = [0i64; COLUMNS];
        for c in 0..COLUMNS {
            rest[c] = i64::from(acc[c]) * gain[c] + offset[c];
        }
        for (plane, byte) in code.iter_mut().enumerate().take(bits) {
            let shift = bits - 1 - plane;
            *byte = 0;
            for c in 0..COLUMNS {
                let step = unit[c] << shift;
                let take = rest[c] >= step;
                rest[c] -= if take { step } else { 0 };
                *byte |= u8::from(take) << c;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte and bit by bit, as the manual says it.
    fn slowly(count: Count, x: u64) -> i64 {
        (0..64).filter(|l| x >> l & 1 == 1).fold(0, |sum, l| {
            sum + match (count, l % 8) {
                (Count::Bits, _) => 1,
                (Count::Bytes { signed: true }, 7) => -128,
                (Count::Bytes { .. }, bit) => 1 << bit,
            }
        })
    }

    proptest::proptest! {
        #[test]
        fn kernels_count_as_the_manual_says(
            a in proptest::collection::vec(proptest::array::uniform4(proptest::num::u64::ANY), 1..5),
            seed in proptest::num::u64::ANY,
            columns in 1usize..4,
            factor in -200i32..200,
            mode in 0..3,
        ) {
            let count = [Count::Bits, Count::Bytes { signed: false }, Count::Bytes { signed: true }][mode as usize];
            let mut state = seed | 1;
            let mut random = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); state ^ state >> 29 };
            let w: Vec<ColumnBlock> = (0..a.len() * columns).map(|_| [(); COLUMNS].map(|()| random())).collect();
            let mut acc = vec![[7i32; COLUMNS]; ROWS * columns];
            accumulate(count, &a, &w, columns, factor, &mut acc);
            for (r, row) in acc.chunks(columns).enumerate() {
                for (c, block) in row.iter().enumerate() {
                    for (i, &got) in block.iter().enumerate() {
                        let want: i64 = a.iter().enumerate().map(|(k, a)| slowly(count, a[r] & w[k * columns + c][i])).sum();
                        proptest::prop_assert_eq!(i64::from(got), 7 + i64::from(factor) * want);
                    }
                }
            }
            for block in &a {
                proptest::prop_assert_eq!(i64::from(count_word(count, block[0])), slowly(count, block[0]));
            }
        }

        /// code = clip(floor((v * 2^f - A) / B)), computed by division in 128 bits.
        #[test]
        fn divide_is_a_clipped_division(
            v in proptest::num::i32::ANY,
            a in -(1i64 << 47)..1 << 47,
            b in 1i64..1 << 31,
            near in proptest::bool::ANY,
            fraction in 0u32..16,
            bits in 1usize..9,
        ) {
            // Half of the cases near a threshold, where it matters.
            let a = if near { ((i64::from(v) << fraction) - b * (a.rem_euclid(260) - 2) + a % 2).clamp(-(1 << 47), (1 << 47) - 1) } else { a };
            let division = Division { gain: [1 << fraction; COLUMNS], offset: [-a; COLUMNS], unit: [b; COLUMNS] };
            let mut codes = [[0; 32]];
            divide(&[[v; COLUMNS]], &division, bits, &mut codes);
            let want = ((i128::from(v) << fraction) - i128::from(a)).div_euclid(i128::from(b)).clamp(0, (1 << bits) - 1);
            let got = codes[0][..bits].iter().fold(0, |code, &byte| code << 1 | i128::from(byte & 1));
            proptest::prop_assert_eq!(got, want);
        }
    }
}
