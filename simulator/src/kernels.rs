//! The inner loops: 64 lanes a machine word, 4 array rows by 8 array columns at a time, no
//! allocation.
//!
//! Each is compiled for several instruction sets and picks the best at run time; [`isa`] says how.

pub mod bytes;
pub mod isa;
pub mod sliced;

use isa::kernel;

/// Array rows that a kernel takes at a time.
pub const ROWS: usize = 4;

/// Array columns that a kernel takes at a time.
pub const COLUMNS: usize = 8;

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

/// Adds `factor * count(a AND w)` to the sums of all rows and columns, and `row_factor * count(a)`
/// to the row sums.
///
/// `a` has `rows` entries, 1 or a multiple of `ROWS`, for each lane word of the kernel; `w` has
/// `blocks` entries for each of them, in the same order; `sums` has `blocks` entries for each row.
/// Sums wrap, as in 32-bit hardware. Of a single row and column nothing else is computed.
pub fn accumulate(
    count: Count,
    a: &[u64],
    rows: usize,
    columns: u32,
    w: &[ColumnBlock],
    factor: i32,
    sums: &mut [[i32; COLUMNS]],
) {
    if (rows, columns) == (1, 1) {
        let blocks = sums.len();
        let sum = match count {
            Count::Bits => element_bits(a, w, blocks),
            Count::Bytes { signed: false } => element_bytes(a, w, blocks, 0),
            Count::Bytes { signed: true } => element_bytes(a, w, blocks, SIGNS),
        };
        sums[0][0] = sums[0][0].wrapping_add(sum.wrapping_mul(factor));
        return;
    }
    match count {
        Count::Bits => accumulate_bits(a, rows, w, factor, sums),
        Count::Bytes { signed: false } => accumulate_bytes(a, rows, w, factor, 0, sums),
        Count::Bytes { signed: true } => accumulate_bytes(a, rows, w, factor, SIGNS, sums),
    }
}

/// Adds `factor * count(a)` to the row sums; `a` as for [`accumulate`].
pub fn add_row_sums(count: Count, a: &[u64], factor: i32, sums: &mut [i32]) {
    match count {
        Count::Bits => row_bits(a, factor, sums),
        Count::Bytes { signed: false } => row_bytes(a, factor, 0, sums),
        Count::Bytes { signed: true } => row_bytes(a, factor, SIGNS, sums),
    }
}

/// The top bit of every byte.
const SIGNS: u64 = 0x8080_8080_8080_8080;

/// A macro, not a function, so that each version of a kernel is compiled with its own instructions.
macro_rules! accumulate_blocks {
    ($a:ident, $rows:ident, $w:ident, $factor:ident, $sums:ident, $height:expr, |$x:ident| $count:expr) => {{
        let blocks = $sums.len() / $rows;
        for (block_of_rows, all) in $sums.chunks_exact_mut($height * blocks).enumerate() {
            for block in 0..blocks {
                let mut sums = [[0u64; COLUMNS]; $height];
                for (a, w) in $a.chunks_exact($rows).zip($w.chunks_exact(blocks)) {
                    let (a, w) = (&a[block_of_rows * $height..][..$height], &w[block]);
                    for (sums, &a) in sums.iter_mut().zip(a) {
                        for (sum, &w) in sums.iter_mut().zip(w) {
                            let $x = a & w;
                            *sum = sum.wrapping_add($count);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (total, &sum) in all[r * blocks + block].iter_mut().zip(sums) {
                        *total = total.wrapping_add((sum as i32).wrapping_mul($factor));
                    }
                }
            }
        }
    }};
}
kernel! {
    fn accumulate_bits(
        a: &[u64],
        rows: usize,
        w: &[ColumnBlock],
        factor: i32,
        sums: &mut [[i32; COLUMNS]],
    ) {
        if rows == 1 {
            accumulate_blocks!(a, rows, w, factor, sums, 1, |x| u64::from(x.count_ones()));
        } else {
            accumulate_blocks!(a, rows, w, factor, sums, ROWS, |x| u64::from(x.count_ones()));
        }
    }
}
kernel! {
    /// The sum of one row and the first column.
    fn element_bits(a: &[u64], w: &[ColumnBlock], blocks: usize) -> i32 {
        a.iter().zip(w.iter().step_by(blocks)).map(|(&a, w)| (a & w[0]).count_ones() as i32).sum()
    }
}
kernel! {
    fn element_bytes(a: &[u64], w: &[ColumnBlock], blocks: usize, signs: u64) -> i32 {
        let of = |(&a, w): (&u64, &ColumnBlock)| {
            let x = a & w[0];
            sum_of_pairs(pairs_of_bytes(x)) as i32 - (((x & signs).count_ones() as i32) << 8)
        };
        a.iter().zip(w.iter().step_by(blocks)).map(of).fold(0, i32::wrapping_add)
    }
}
kernel! {
    fn accumulate_bytes(
        a: &[u64],
        rows: usize,
        w: &[ColumnBlock],
        factor: i32,
        signs: u64,
        sums: &mut [[i32; COLUMNS]],
    ) {
        let blocks = sums.len() / rows;
        // So many words of pairs of bytes add up to less than 2^16 in all four places together.
        const WORDS: usize = 32;
        for (a, w) in a.chunks(WORDS * rows).zip(w.chunks(WORDS * blocks)) {
            for (row, sums) in sums.chunks_exact_mut(blocks).enumerate() {
                for (block, sums) in sums.iter_mut().enumerate() {
                    let (mut pairs, mut negative) = ([0u64; COLUMNS], [0u64; COLUMNS]);
                    for (a, w) in a.chunks_exact(rows).zip(w.chunks_exact(blocks)) {
                        for c in 0..COLUMNS {
                            let x = a[row] & w[block][c];
                            pairs[c] = pairs[c].wrapping_add(pairs_of_bytes(x));
                            negative[c] += u64::from((x & signs).count_ones());
                        }
                    }
                    for c in 0..COLUMNS {
                        // A two's complement byte is its unsigned value less 256 times its sign bit.
                        let sum = sum_of_pairs(pairs[c]) as i32 - ((negative[c] as i32) << 8);
                        sums[c] = sums[c].wrapping_add(sum.wrapping_mul(factor));
                    }
                }
            }
        }
    }
}
kernel! {
    fn row_bits(a: &[u64], factor: i32, sums: &mut [i32]) {
        for a in a.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(a) {
                *sum = sum.wrapping_add((x.count_ones() as i32).wrapping_mul(factor));
            }
        }
    }
}
kernel! {
    fn row_bytes(a: &[u64], factor: i32, signs: u64, sums: &mut [i32]) {
        for a in a.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(a) {
                let bytes =
                    sum_of_pairs(pairs_of_bytes(x)) as i32 - (((x & signs).count_ones() as i32) << 8);
                *sum = sum.wrapping_add(bytes.wrapping_mul(factor));
            }
        }
    }
}

/// The eight bytes of a word as four sums of two.
#[inline(always)]
fn pairs_of_bytes(x: u64) -> u64 {
    const PAIRS: u64 = 0x00ff_00ff_00ff_00ff;
    (x & PAIRS) + (x >> 8 & PAIRS)
}

/// Sum of four 16-bit numbers, which must fit 16 bits: one multiplication adds them up at the top.
#[inline(always)]
fn sum_of_pairs(pairs: u64) -> u64 {
    pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48
}

/// Sums of columns that are not in use become 0; `sums` has `blocks` entries for each row.
pub fn clear_columns(used: usize, sums: &mut [[i32; COLUMNS]], blocks: usize) {
    for row in sums.chunks_exact_mut(blocks) {
        row.as_flattened_mut()[used..].fill(0);
    }
}
kernel! {
    /// Adds the sums of the rows in use to an accumulator bank: `sums` has `blocks` entries for each of
    /// `rows`, the bank an entry for each row of the array for each block.
    pub fn add_to_bank(
        rows: &[u32],
        sums: &[[i32; COLUMNS]],
        blocks: usize,
        bank: &mut [[i32; COLUMNS]],
    ) {
        let all_rows = bank.len() / blocks;
        for (&row, sums) in rows.iter().zip(sums.chunks_exact(blocks)) {
            for (bank, sums) in bank.chunks_exact_mut(all_rows).zip(sums) {
                let acc = &mut bank[row as usize];
                for c in 0..COLUMNS {
                    acc[c] = acc[c].wrapping_add(sums[c]);
                }
            }
        }
    }
}

/// The linear mode for one block of columns, brought to one form: the code is the quotient of
/// `v * gain + offset` by `unit`, found bit by bit, which clips by itself.
#[derive(Debug, Clone, Copy)]
pub struct Division {
    /// 2^fraction, negative for a falling column, 0 for a constant one.
    pub gain: [i32; COLUMNS],
    /// -A, or the constant's code.
    pub offset: [i64; COLUMNS],
    /// |B|, or 1 for a constant.
    pub unit: [i64; COLUMNS],
}

/// How an accumulator and its row sum become the value that the threshold unit sees: `factor * acc
/// - row sum`, without the row sum unless weights are bipolar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// acc.
    Plain,
    /// 2 * acc - row sum.
    Bipolar,
}

impl Drained {
    /// The value of one element.
    pub fn value(self, acc: i32, row_sum: i32) -> i32 {
        match self {
            Drained::Plain => acc,
            Drained::Bipolar => acc.wrapping_mul(2).wrapping_sub(row_sum),
        }
    }
}
kernel! {
    /// Codes of `codes.len() / acc.len()` bits of every row of a block of columns: bit c of
    /// `codes[plane * rows + row]` is that plane, most significant first, of column c.
    pub fn divide(
        drained: Drained,
        acc: &[[i32; COLUMNS]],
        row_sums: &[i32],
        division: &Division,
        codes: &mut [u8],
    ) {
        let Division { gain, offset, unit } = division;
        let rows = acc.len();
        let bits = codes.len() / rows;
        for (row, (acc, &row_sum)) in acc.iter().zip(row_sums).enumerate() {
            let mut rest = [0i64; COLUMNS];
            for c in 0..COLUMNS {
                let v = match drained {
                    Drained::Plain => acc[c],
                    Drained::Bipolar => acc[c].wrapping_mul(2).wrapping_sub(row_sum),
                };
                rest[c] = i64::from(v) * i64::from(gain[c]) + offset[c];
            }
            for plane in 0..bits {
                let shift = bits - 1 - plane;
                let mut byte = 0;
                for c in 0..COLUMNS {
                    let step = unit[c] << shift;
                    let take = rest[c] >= step;
                    rest[c] -= if take { step } else { 0 };
                    byte |= u8::from(take) << c;
                }
                codes[plane * rows + row] = byte;
            }
        }
    }
}
kernel! {
    /// Eight columns of a word buffer's rows: `words` are the rows of the lane word that holds them
    /// from bit `shift` on, `next` those of the lane word behind it. Replaces the bits of the columns
    /// in `used`.
    pub fn put(words: &mut [u64], next: Option<&mut [u64]>, shift: usize, used: u8, codes: &[u8]) {
        let used = u64::from(used);
        for (word, &code) in words.iter_mut().zip(codes) {
            *word = *word & !(used << shift) | (u64::from(code) & used) << shift;
        }
        let back = 64 - shift;
        for (word, &code) in next.into_iter().flatten().zip(codes) {
            *word = *word & !(used >> back) | (u64::from(code) & used) >> back;
        }
    }
}
kernel! {
    /// The columns that [`put`] would replace.
    pub fn take(words: &[u64], next: Option<&[u64]>, shift: usize, codes: &mut [u8]) {
        for (code, &word) in codes.iter_mut().zip(words) {
            *code = (word >> shift) as u8;
        }
        let back = 64 - shift;
        for (code, &word) in codes.iter_mut().zip(next.into_iter().flatten()) {
            *code |= (word << back) as u8;
        }
    }
}
kernel! {
    /// Replaces codes by the larger of them and others, bit-serially from the top: a column drops out
    /// of the running where it has a 0 and the maximum a 1. Both are indexed `plane * rows + row`;
    /// `runs` are two scratch rows.
    pub fn maximum(codes: &mut [u8], others: &[u8], rows: usize, signed: bool, runs: &mut [u8]) {
        let (code_runs, other_runs) = runs[..2 * rows].split_at_mut(rows);
        code_runs.fill(0xff);
        other_runs.fill(0xff);
        for (plane, (codes, others)) in
            codes.chunks_exact_mut(rows).zip(others.chunks_exact(rows)).enumerate()
        {
            let sign = if signed && plane == 0 { 0xff } else { 0 };
            for (((code, &other), code_runs), other_runs) in
                codes.iter_mut().zip(others).zip(&mut *code_runs).zip(&mut *other_runs)
            {
                let (x, y) = (*code ^ sign, other ^ sign);
                let top = *code_runs & x | *other_runs & y;
                *code_runs &= !(top & !x);
                *other_runs &= !(top & !y);
                *code = top ^ sign;
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
            words in 1usize..5,
            seed in proptest::num::u64::ANY,
            blocks in 1usize..4,
            row_blocks in 0usize..3,
            columns in 1u32..3,
            factor in -200i32..200,
            mode in 0..3,
        ) {
            let count = [Count::Bits, Count::Bytes { signed: false }, Count::Bytes { signed: true }][mode as usize];
            let mut state = seed | 1;
            let mut random = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); state ^ state >> 29 };
            let rows = (ROWS * row_blocks).max(1);
            let only = (rows, columns) == (1, 1);
            let a: Vec<u64> = (0..words * rows).map(|_| random()).collect();
            let w: Vec<ColumnBlock> = (0..words * blocks).map(|_| [(); COLUMNS].map(|()| random())).collect();
            for isa in isa::Isa::ALL {
            isa::force(isa);
            let (mut sums, mut row_sums) = (vec![[7i32; COLUMNS]; rows * blocks], vec![9i32; rows]);
            accumulate(count, &a, rows, columns, &w, factor, &mut sums);
            add_row_sums(count, &a, factor, &mut row_sums);
            for r in 0..rows {
                let row = |k: usize| a[k * rows + r];
                for c in 0..if only { 1 } else { blocks * COLUMNS } {
                    let (block, i) = (c / COLUMNS, c % COLUMNS);
                    let want: i64 = (0..words).map(|k| slowly(count, row(k) & w[k * blocks + block][i])).sum();
                    proptest::prop_assert_eq!(i64::from(sums[r * blocks + block][i]), 7 + i64::from(factor) * want);
                }
                let want: i64 = (0..words).map(|k| slowly(count, row(k))).sum();
                proptest::prop_assert_eq!(i64::from(row_sums[r]), 9 + i64::from(factor) * want);
            }
            }
        }

        /// Columns put into words, taken from them and merged, each bit looked at alone.
        #[test]
        fn columns_move_bit_by_bit(
            seed in proptest::num::u64::ANY,
            rows in 1usize..70,
            planes in 1usize..9,
            shift in 0usize..64,
            used in proptest::num::u8::ANY,
            signed in proptest::bool::ANY,
        ) {
            let mut state = seed | 1;
            let mut random = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); state ^ state >> 29 };
            let words: [Vec<u64>; 2] = [(); 2].map(|()| (0..rows).map(|_| random()).collect());
            let [codes, others] = [(); 2].map(|()| (0..planes * rows).map(|_| random() as u8).collect::<Vec<u8>>());
            // Bit 0 to 127 of a row's two words, where only columns that begin at 57 or behind reach
            // the second.
            let bit = |words: &[Vec<u64>; 2], row: usize, at: usize| words[at / 64][row] >> (at % 64) & 1;
            let two = shift > 56;
            let code = |codes: &[u8], row: usize, column: usize| {
                (0..planes).fold(0, |code, p| code << 1 | i64::from(codes[p * rows + row] >> column & 1))
            };
            let value = |code: i64| if signed && code >> (planes - 1) == 1 { code - (1 << planes) } else { code };
            for isa in isa::Isa::ALL {
                isa::force(isa);
                let [mut low, mut high] = words.clone();
                put(&mut low, two.then_some(&mut high[..]), shift, used, &codes[..rows]);
                let now = [low, high];
                for (row, code) in codes[..rows].iter().enumerate() {
                    for at in 0..128usize {
                        let column = at.checked_sub(shift).filter(|&c| c < 8 && used >> c & 1 == 1);
                        let want = column.map_or(bit(&words, row, at), |c| u64::from(code >> c & 1));
                        proptest::prop_assert_eq!(bit(&now, row, at), want, "{:?}", isa);
                    }
                }
                let mut taken = vec![0; rows];
                take(&words[0], two.then_some(&words[1][..]), shift, &mut taken);
                for (row, &taken) in taken.iter().enumerate() {
                    let want = (0..8).fold(0, |all, c| all | (bit(&words, row, shift + c) as u8) << c);
                    proptest::prop_assert_eq!(taken, want, "{:?}", isa);
                }
                let mut merged = codes.clone();
                maximum(&mut merged, &others, rows, signed, &mut vec![0; 2 * rows]);
                for row in 0..rows {
                    for column in 0..8 {
                        let [a, b, got] = [&codes, &others, &merged].map(|codes| value(code(codes, row, column)));
                        proptest::prop_assert_eq!(got, a.max(b), "{:?}", isa);
                    }
                }
            }
        }

        /// Each accumulator of a row in use grows by its sum, and no other changes.
        #[test]
        fn a_bank_grows_where_rows_are_in_use(
            seed in proptest::num::u64::ANY,
            blocks in 1usize..4,
            all_rows in 1usize..40,
            first in 0usize..40,
            step in 1usize..4,
        ) {
            let mut state = seed | 1;
            let mut random = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state ^ state >> 29) as i32 };
            let rows: Vec<u32> = (first..all_rows).step_by(step).map(|row| row as u32).collect();
            let sums: Vec<[i32; COLUMNS]> = (0..rows.len() * blocks).map(|_| [(); COLUMNS].map(|()| random())).collect();
            let bank: Vec<[i32; COLUMNS]> = (0..all_rows * blocks).map(|_| [(); COLUMNS].map(|()| random())).collect();
            for isa in isa::Isa::ALL {
                isa::force(isa);
                let mut grown = bank.clone();
                add_to_bank(&rows, &sums, blocks, &mut grown);
                for (at, (got, old)) in grown.iter().zip(&bank).enumerate() {
                    let (block, row) = (at / all_rows, (at % all_rows) as u32);
                    let used = rows.iter().position(|&other| other == row);
                    for c in 0..COLUMNS {
                        let sum = used.map_or(0, |n| sums[n * blocks + block][c]);
                        proptest::prop_assert_eq!(got[c], old[c].wrapping_add(sum), "{:?}", isa);
                    }
                }
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
            let want = ((i128::from(v) << fraction) - i128::from(a)).div_euclid(i128::from(b)).clamp(0, (1 << bits) - 1);
            for isa in isa::Isa::ALL {
                isa::force(isa);
                let mut codes = vec![0; bits];
                divide(Drained::Plain, &[[v; COLUMNS]], &[0], &division, &mut codes);
                let got = codes.iter().fold(0, |code, &byte| code << 1 | i128::from(byte & 1));
                proptest::prop_assert_eq!(got, want);
            }
        }
    }
}
