//! Kernels on bit slices: a vector holds one bit of as many images as it has lanes, so that a sum
//! of products with known weights is a network of full adders without a multiplication.

use multiversion::multiversion;
use multiversion::target::match_target;

use super::isa::{self, Isa, kernel};

/// One bit of `64 * N` images.
pub type Slice<const N: usize> = [u64; N];

/// Bits that a sum or a code may have.
pub const PLANES_MAX: usize = 56;

/// Lanes of a term's source, as a shift: a term is `group << GROUP_SHIFT | lane`.
pub const GROUP_SHIFT: u32 = 6;

/// The terms of one weight of two: their bits count `2^level`, or `2^level` where they are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level {
    /// The weight's exponent.
    pub level: u32,
    /// First term, of all terms of the program.
    pub first: u32,
    /// End of the terms that are added.
    pub added: u32,
    /// End of the terms behind them whose complement is added.
    pub complemented: u32,
}

/// How a sum becomes a code. Sums are those of [`Level`]s, so 0 or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The low bits of the sum plus a constant.
    Raw(i64),
    /// Always this code.
    Constant(u32),
    /// A binary search through entries in level order. An entry is met by sums that reach it, or
    /// where `true` by those that do not.
    Search(Vec<(i64, bool)>),
    /// The quotient of `sum * 2^shift + offset` by `unit`, clipped; `-sum` if it falls.
    Divide {
        /// Exponent of the factor.
        shift: u32,
        /// Whether the sum counts negative.
        falls: bool,
        /// Added to it.
        offset: i64,
        /// The divisor, above 0.
        unit: i64,
        /// Bits of what is divided, two's complement, and of every multiple of the divisor.
        width: u32,
    },
}

/// What a column of the array computes, and the threshold unit behind it.
#[derive(Debug, Clone)]
pub struct Column {
    /// First and end of its levels, of all levels of the program, ascending.
    pub levels: [u32; 2],
    /// Bits of the sum.
    pub planes: u32,
    /// What becomes of it.
    pub rule: Rule,
}

/// The columns of a step and what they read.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// Levels of all columns.
    pub levels: &'a [Level],
    /// Terms of all levels.
    pub terms: &'a [u32],
    /// The sum of each row's activations, kept in the first slices of the memory for the columns.
    pub row_sum: Option<&'a Column>,
    /// The columns in use.
    pub columns: &'a [Column],
    /// Index of lane 0 of each group of each row in the memory.
    pub sources: &'a [u32],
    /// Groups of a row.
    pub groups: usize,
    /// Index of lane 0 of each plane of each lane word of each row in the memory.
    pub targets: &'a [u32],
    /// Lane word and lane of the first column.
    pub first: [usize; 2],
    /// Lanes of a lane word, from the first of a word on.
    pub lanes: &'a [usize],
    /// Planes of a code.
    pub bits: usize,
    /// Whether the top plane is inverted.
    pub signed: bool,
    /// Whether codes are merged into those that are there, by their maximum.
    pub merges: bool,
    /// Whether codes are two's complement when they are compared.
    pub compares_signed: bool,
}

/// Buffers of the loops.
#[derive(Debug, Clone)]
pub struct Scratch<const N: usize> {
    /// Carries of each level.
    carries: Vec<Vec<Slice<N>>>,
}

impl<const N: usize> Default for Scratch<N> {
    fn default() -> Self {
        Scratch { carries: vec![Vec::new(); PLANES_MAX + 4] }
    }
}

/// Vectors as arrays of words: for every processor, in any width.
mod words {
    use super::Slice;

    #[inline(always)]
    fn map<const N: usize>(f: impl Fn(usize) -> u64) -> Slice<N> {
        std::array::from_fn(f)
    }

    #[inline(always)]
    pub fn load<const N: usize>(slice: &Slice<N>) -> Slice<N> {
        *slice
    }

    #[inline(always)]
    pub fn store<const N: usize>(slice: &mut Slice<N>, a: Slice<N>) {
        *slice = a;
    }

    #[inline(always)]
    pub fn splat<const N: usize>(bit: bool) -> Slice<N> {
        [if bit { u64::MAX } else { 0 }; N]
    }

    #[inline(always)]
    pub fn and<const N: usize>(a: Slice<N>, b: Slice<N>) -> Slice<N> {
        map(|i| a[i] & b[i])
    }

    #[inline(always)]
    pub fn or<const N: usize>(a: Slice<N>, b: Slice<N>) -> Slice<N> {
        map(|i| a[i] | b[i])
    }

    #[inline(always)]
    pub fn xor<const N: usize>(a: Slice<N>, b: Slice<N>) -> Slice<N> {
        map(|i| a[i] ^ b[i])
    }

    /// Sum and carry of three bits.
    #[inline(always)]
    pub fn add3<const N: usize>(a: Slice<N>, b: Slice<N>, c: Slice<N>) -> (Slice<N>, Slice<N>) {
        (map(|i| a[i] ^ b[i] ^ c[i]), map(|i| a[i] & b[i] | (a[i] ^ b[i]) & c[i]))
    }

    /// `one` where a bit is set, else `other`.
    #[inline(always)]
    pub fn select<const N: usize>(bit: Slice<N>, one: Slice<N>, other: Slice<N>) -> Slice<N> {
        map(|i| bit[i] & one[i] | !bit[i] & other[i])
    }
}

/// Vectors of AVX2.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use bytemuck::must_cast;

    use super::Slice;

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn load(slice: &Slice<4>) -> __m256i {
        must_cast(*slice)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn store(slice: &mut Slice<4>, a: __m256i) {
        *slice = must_cast(a);
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn splat(bit: bool) -> __m256i {
        _mm256_set1_epi64x(-i64::from(bit))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn or(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn xor(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }

    /// Sum and carry of three bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn add3(a: __m256i, b: __m256i, c: __m256i) -> (__m256i, __m256i) {
        let differ = xor(a, b);
        (xor(differ, c), or(and(a, b), and(differ, c)))
    }

    /// `one` where a bit is set, else `other`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn select(bit: __m256i, one: __m256i, other: __m256i) -> __m256i {
        or(and(bit, one), _mm256_andnot_si256(bit, other))
    }
}

/// Vectors of AVX-512, which has any function of three bits as one instruction: bit `4a + 2b + c`
/// of its table is the function's value.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use bytemuck::must_cast;

    use super::Slice;

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn load(slice: &Slice<8>) -> __m512i {
        must_cast(*slice)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn store(slice: &mut Slice<8>, a: __m512i) {
        *slice = must_cast(a);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn splat(bit: bool) -> __m512i {
        _mm512_set1_epi64(-i64::from(bit))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn xor(a: __m512i, b: __m512i) -> __m512i {
        _mm512_xor_si512(a, b)
    }

    /// Sum and carry of three bits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn add3(a: __m512i, b: __m512i, c: __m512i) -> (__m512i, __m512i) {
        const ODD: i32 = 0b1001_0110;
        const TWO_OR_MORE: i32 = 0b1110_1000;
        (
            _mm512_ternarylogic_epi64::<ODD>(a, b, c),
            _mm512_ternarylogic_epi64::<TWO_OR_MORE>(a, b, c),
        )
    }

    /// `one` where a bit is set, else `other`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn select(bit: __m512i, one: __m512i, other: __m512i) -> __m512i {
        const SECOND_IF_FIRST: i32 = 0b1100_1010;
        _mm512_ternarylogic_epi64::<SECOND_IF_FIRST>(bit, one, other)
    }
}

/// The kernel for one kind of vectors: a module `$name` with the function `compute`, of vectors
/// `$vector` of `$n` words, with the functions of the module `$vectors`.
macro_rules! kernel_of_vectors {
    ($name:ident, $vectors:ident, $vector:ty, $n:literal $(, $features:literal)?) => {
        mod $name {
            #[allow(clippy::wildcard_imports, reason = "a module of a dozen operations")]
            use super::$vectors::*;
            use super::{GROUP_SHIFT, PLANES_MAX};
            use super::{Column, Rule, Scratch, Slice, Tile};

            type Vector = $vector;
            type Carries = [Vec<Slice<$n>>];

            /// Adds up `count` bits of one level: the sum of all that were added is in `ones`,
            /// carries go to the levels above.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn count_bits(
                ones: &mut Option<Vector>,
                above: &mut Carries,
                count: usize,
                get: impl Fn(usize) -> Vector,
            ) {
                let carry = |level: &mut Vec<Slice<$n>>, vector: Vector| {
                    level.push([0; $n]);
                    let last = level.len() - 1;
                    store(&mut level[last], vector);
                };
                let mut at = 0;
                let mut sum = match *ones {
                    Some(sum) => sum,
                    None if count == 0 => return,
                    None => {
                        at = 1;
                        get(0)
                    }
                };
                // Eight at a time carry into the third level above, and leave the rest in
                // registers.
                if count - at >= 8 {
                    let (mut twos, mut fours) = (splat(false), splat(false));
                    while count - at >= 8 {
                        let (s, a) = add3(sum, get(at), get(at + 1));
                        let (s, b) = add3(s, get(at + 2), get(at + 3));
                        let (t, c) = add3(twos, a, b);
                        let (s, a) = add3(s, get(at + 4), get(at + 5));
                        let (s, b) = add3(s, get(at + 6), get(at + 7));
                        let (t, d) = add3(t, a, b);
                        let (f, eights) = add3(fours, c, d);
                        (sum, twos, fours) = (s, t, f);
                        carry(&mut above[2], eights);
                        at += 8;
                    }
                    carry(&mut above[0], twos);
                    carry(&mut above[1], fours);
                }
                while count - at >= 2 {
                    let (s, c) = add3(sum, get(at), get(at + 1));
                    sum = s;
                    carry(&mut above[0], c);
                    at += 2;
                }
                if at < count {
                    let bit = get(at);
                    carry(&mut above[0], and(sum, bit));
                    sum = xor(sum, bit);
                }
                *ones = Some(sum);
            }

            /// The sum of a column's terms for one row.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn sum_column(
                memory: &[Slice<$n>],
                tile: &Tile,
                from: &[u32],
                column: &Column,
                carries: &mut Carries,
                sum: &mut [Vector; PLANES_MAX],
            ) {
                let source = |term: u32| {
                    let lane = term & ((1 << GROUP_SHIFT) - 1);
                    load(&memory[(from[(term >> GROUP_SHIFT) as usize] + lane) as usize])
                };
                let inverted = |term: u32| xor(source(term), splat(true));
                let [first, end] = column.levels;
                let mut levels = tile.levels[first as usize..end as usize].iter().peekable();
                for level in 0..column.planes as usize {
                    let (below, above) = carries.split_at_mut(level + 1);
                    let mut ones = None;
                    if let Some(level) = levels.next_if(|l| l.level == level as u32) {
                        let terms = &tile.terms[level.first as usize..level.complemented as usize];
                        let (added, rest) = terms.split_at((level.added - level.first) as usize);
                        count_bits(&mut ones, above, added.len(), |i| source(added[i]));
                        count_bits(&mut ones, above, rest.len(), |i| inverted(rest[i]));
                    }
                    let carried = &mut below[level];
                    count_bits(&mut ones, above, carried.len(), |i| load(&carried[i]));
                    carried.clear();
                    sum[level] = ones.unwrap_or(splat(false));
                }
                // No sum reaches beyond its planes, so what is carried beyond them is 0.
                for beyond in &mut carries[column.planes as usize..][..3] {
                    beyond.clear();
                }
            }

            /// Where a sum reaches a constant.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn reaches(sum: &[Vector], constant: i64) -> Vector {
                if constant <= 0 {
                    return splat(true);
                }
                if constant >> sum.len() != 0 {
                    return splat(false);
                }
                let mut met = splat(true);
                for (plane, &sum) in sum.iter().enumerate() {
                    met = if constant >> plane & 1 == 1 { and(met, sum) } else { or(met, sum) };
                }
                met
            }

            /// A bit of a number plus that of a constant; the carry goes in and out.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn add_constant(bit: Vector, constant: bool, carry: &mut Vector) -> Vector {
                let (sum, out) = add3(bit, splat(constant), *carry);
                *carry = out;
                sum
            }

            /// The planes of the code of a sum, the most significant first.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn code(
                rule: &Rule,
                sum: &[Vector],
                met: &mut [Vector; 128],
                code: &mut [Vector],
            ) {
                let bits = code.len();
                match rule {
                    Rule::Raw(offset) => {
                        let mut carry = splat(false);
                        for plane in 0..bits {
                            let bit = sum.get(plane).copied().unwrap_or(splat(false));
                            let constant = offset >> plane & 1 == 1;
                            code[bits - 1 - plane] = add_constant(bit, constant, &mut carry);
                        }
                    }
                    Rule::Constant(value) => {
                        for (plane, code) in code.iter_mut().enumerate() {
                            *code = splat(value >> (bits - 1 - plane) & 1 == 1);
                        }
                    }
                    Rule::Search(entries) => {
                        // The entries of a plane are narrowed down by the planes before it.
                        for plane in 0..bits {
                            let entries = &entries[(1 << plane) - 1..(2 << plane) - 1];
                            for (met, &(least, below)) in met.iter_mut().zip(entries) {
                                *met = xor(reaches(sum, least), splat(below));
                            }
                            let mut half = entries.len() / 2;
                            for &decision in &code[..plane] {
                                for entry in 0..half {
                                    met[entry] = select(decision, met[entry + half], met[entry]);
                                }
                                half /= 2;
                            }
                            code[plane] = met[0];
                        }
                    }
                    Rule::Divide { shift, falls, offset, unit, width } => {
                        let (shift, width) = (*shift as usize, *width as usize);
                        let mut rest = [splat(false); PLANES_MAX];
                        // Minus x is its complement plus 1.
                        let flip = splat(*falls);
                        let offset = offset + i64::from(*falls);
                        let mut carry = splat(false);
                        for (plane, rest) in rest[..width].iter_mut().enumerate() {
                            let bit = plane.checked_sub(shift).and_then(|p| sum.get(p).copied());
                            let bit = xor(bit.unwrap_or(splat(false)), flip);
                            *rest = add_constant(bit, offset >> plane & 1 == 1, &mut carry);
                        }
                        let mut left = [splat(false); PLANES_MAX];
                        for (plane, code) in code.iter_mut().enumerate() {
                            let less = -(unit << (bits - 1 - plane));
                            let mut carry = splat(false);
                            for (plane, (left, &rest)) in
                                left[..width].iter_mut().zip(&rest).enumerate()
                            {
                                *left = add_constant(rest, less >> plane & 1 == 1, &mut carry);
                            }
                            let over = left[width - 1];
                            for (rest, &left) in rest[..width].iter_mut().zip(&left) {
                                *rest = select(over, *rest, left);
                            }
                            *code = xor(over, splat(true));
                        }
                    }
                }
            }

            /// Replaces codes by the larger of them and others, from the most significant plane on:
            /// one drops out of the running where it has a 0 and the maximum a 1.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn maximum(codes: &mut [Vector], others: &[Vector], signed: bool) {
                let (mut runs, mut other_runs) = (splat(true), splat(true));
                for (plane, (code, &other)) in codes.iter_mut().zip(others).enumerate() {
                    let sign = splat(signed && plane == 0);
                    let (x, y) = (xor(*code, sign), xor(other, sign));
                    let top = or(and(runs, x), and(other_runs, y));
                    runs = select(top, and(runs, x), runs);
                    other_runs = select(top, and(other_runs, y), other_runs);
                    *code = xor(top, sign);
                }
            }

            $(#[target_feature(enable = $features)])?
            pub fn compute(
                tile: &Tile,
                memory: &mut [Slice<$n>],
                scratch: &mut Scratch<$n>,
            ) {
                let carries = &mut scratch.carries;
                let mut sum = [splat(false); PLANES_MAX];
                let mut codes = [splat(false); PLANES_MAX];
                let mut kept = [splat(false); PLANES_MAX];
                let mut met = [splat(false); 128];
                let of_row = tile.lanes.len() * tile.bits;
                for (from, targets) in
                    tile.sources.chunks_exact(tile.groups).zip(tile.targets.chunks_exact(of_row))
                {
                    if let Some(column) = tile.row_sum {
                        sum_column(memory, tile, from, column, carries, &mut sum);
                        for (slice, &sum) in
                            memory.iter_mut().zip(&sum[..column.planes as usize])
                        {
                            store(slice, sum);
                        }
                    }
                    let [mut word, mut lane] = tile.first;
                    for column in tile.columns {
                        sum_column(memory, tile, from, column, carries, &mut sum);
                        let codes = &mut codes[..tile.bits];
                        code(&column.rule, &sum[..column.planes as usize], &mut met, codes);
                        codes[0] = xor(codes[0], splat(tile.signed));
                        if lane == tile.lanes[word] {
                            (word, lane) = (word + 1, 0);
                        }
                        let targets = &targets[word * tile.bits..][..tile.bits];
                        if tile.merges {
                            for (kept, &target) in kept.iter_mut().zip(targets) {
                                *kept = load(&memory[target as usize + lane]);
                            }
                            maximum(codes, &kept[..tile.bits], tile.compares_signed);
                        }
                        for (&code, &target) in codes.iter().zip(targets) {
                            store(&mut memory[target as usize + lane], code);
                        }
                        lane += 1;
                    }
                }
            }
        }
    };
}

kernel_of_vectors!(one_word, words, Slice<1>, 1);
kernel_of_vectors!(four_words, words, Slice<4>, 4);
kernel_of_vectors!(eight_words, words, Slice<8>, 8);
#[cfg(target_arch = "x86_64")]
kernel_of_vectors!(of_avx2, avx2, std::arch::x86_64::__m256i, 4, "avx2");
#[cfg(target_arch = "x86_64")]
kernel_of_vectors!(of_avx512, avx512, std::arch::x86_64::__m512i, 8, "avx512f");

/// Computes the codes of all rows and columns of a step and puts them where they go, for 64 images.
pub fn compute_64(tile: &Tile, memory: &mut [Slice<1>], scratch: &mut Scratch<1>) {
    one_word::compute(tile, memory, scratch);
}

/// As [`compute_64`], for 256 images.
pub fn compute_256(tile: &Tile, memory: &mut [Slice<4>], scratch: &mut Scratch<4>) {
    #[multiversion(targets("x86_64+avx2"))]
    fn best(tile: &Tile, memory: &mut [Slice<4>], scratch: &mut Scratch<4>) {
        match_target! {
            "x86_64+avx2" => of_avx2::compute(tile, memory, scratch),
            _ => four_words::compute(tile, memory, scratch),
        }
    }
    match isa::level() {
        Isa::Baseline => four_words::compute(tile, memory, scratch),
        Isa::Avx2 | Isa::Best => best(tile, memory, scratch),
    }
}

/// As [`compute_64`], for 512 images.
pub fn compute_512(tile: &Tile, memory: &mut [Slice<8>], scratch: &mut Scratch<8>) {
    #[multiversion(targets("x86_64+avx512f"))]
    fn best(tile: &Tile, memory: &mut [Slice<8>], scratch: &mut Scratch<8>) {
        match_target! {
            "x86_64+avx512f" => of_avx512::compute(tile, memory, scratch),
            _ => eight_words::compute(tile, memory, scratch),
        }
    }
    match isa::level() {
        Isa::Baseline | Isa::Avx2 => eight_words::compute(tile, memory, scratch),
        Isa::Best => best(tile, memory, scratch),
    }
}

kernel! {
    /// Transposes 64 rows of 64 bits: bit `i` of row `j` becomes bit `j` of row `i`.
    pub fn transpose(rows: &mut [u64; 64]) {
        let mut mask = u64::MAX;
        for step in [32, 16, 8, 4, 2, 1] {
            mask ^= mask << step;
            for block in rows.chunks_exact_mut(2 * step) {
                let (low, high) = block.split_at_mut(step);
                for (low, high) in low.iter_mut().zip(high) {
                    let swapped = (*low >> step ^ *high) & mask;
                    *high ^= swapped;
                    *low ^= swapped << step;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::isa::force;

    /// A step with random columns, and what it is to compute for each image by the sentences above:
    /// sums of bits of memory times powers of two, then the rule.
    struct Random {
        state: u64,
    }

    impl Random {
        fn next(&mut self) -> u64 {
            self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1);
            self.state ^ self.state >> 29
        }

        fn below(&mut self, end: u64) -> u64 {
            (self.next() >> 8) % end
        }
    }

    /// The code of a sum, by division and comparison of numbers.
    fn plain_code(rule: &Rule, sum: i64, bits: usize) -> u64 {
        match rule {
            Rule::Raw(offset) => (sum + offset) as u64 & ((1 << bits) - 1),
            Rule::Constant(code) => u64::from(*code),
            Rule::Search(entries) => {
                let (mut entry, mut code) = (0, 0);
                for _ in 0..bits {
                    let met = (sum >= entries[entry].0) != entries[entry].1;
                    code = code << 1 | u64::from(met);
                    entry = 2 * entry + 1 + usize::from(met);
                }
                code
            }
            Rule::Divide { shift, falls, offset, unit, .. } => {
                let v = i128::from(if *falls { -sum } else { sum }) << shift;
                let quotient = (v + i128::from(*offset)).div_euclid(i128::from(*unit));
                quotient.clamp(0, (1 << bits) - 1) as u64
            }
        }
    }

    fn rule(random: &mut Random, most: i64, bits: usize) -> Rule {
        let near = |random: &mut Random| random.below(most as u64 + 4) as i64 - 2;
        match random.below(4) {
            0 => Rule::Raw(near(random) - most / 2),
            1 => Rule::Constant(random.below(1 << bits) as u32),
            2 => {
                let mut entry = || (near(random), random.below(2) == 1);
                Rule::Search((1..1 << bits).map(|_| entry()).collect())
            }
            _ => {
                let shift = random.below(8) as u32;
                let unit = random.below((most as u64) << shift | 1) as i64 + 1;
                let falls = random.below(2) == 1;
                let middle = (near(random) << shift) * if falls { 1 } else { -1 };
                let reach = (most << shift) + middle.abs() + (unit << bits);
                let width = 66 - reach.leading_zeros();
                Rule::Divide { shift, falls, offset: middle, unit, width }
            }
        }
    }

    fn compare<const N: usize>(seed: u64, compute: fn(&Tile, &mut [Slice<N>], &mut Scratch<N>)) {
        const GROUPS: usize = 3;
        let mut random = Random { state: seed | 1 };
        let (bits, rows, count) =
            (random.below(8) as usize + 1, random.below(3) as usize + 1, 5usize);
        let slice = |random: &mut Random| -> Slice<N> { [0; N].map(|_: u64| random.next()) };
        let words = 64 + 64 * (GROUPS * rows + rows * bits);
        let memory: Vec<Slice<N>> = (0..words).map(|_| slice(&mut random)).collect();
        let (mut levels, mut terms, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        let mut most_of = Vec::new();
        for _ in 0..count {
            let (first_level, mut most) = (levels.len() as u32, 0i64);
            for level in 0..random.below(4) as u32 {
                let mut take = |random: &mut Random| {
                    let many = [0, 1, 2, 3, 9, 40][random.below(6) as usize];
                    for _ in 0..many {
                        terms.push(random.below((GROUPS * 64) as u64) as u32);
                    }
                    most += many << level;
                    terms.len() as u32
                };
                let first = terms_len(&levels);
                let added = take(&mut random);
                let complemented = take(&mut random);
                levels.push(Level { level, first, added, complemented });
            }
            let planes = 64 - most.leading_zeros();
            let rule = rule(&mut random, most, bits);
            columns.push(Column { levels: [first_level, levels.len() as u32], planes, rule });
            most_of.push(most);
        }
        let sources: Vec<u32> = (0..rows * GROUPS).map(|i| 64 + 64 * i as u32).collect();
        let targets: Vec<u32> =
            (0..rows * bits).map(|i| 64 + 64 * (rows * GROUPS + i) as u32).collect();
        let (signed, merges) = (random.below(2) == 1, random.below(2) == 1);
        let tile = Tile {
            levels: &levels,
            terms: &terms,
            row_sum: None,
            columns: &columns,
            sources: &sources,
            groups: GROUPS,
            targets: &targets,
            first: [0, 7],
            lanes: &[64],
            bits,
            signed,
            merges,
            compares_signed: signed,
        };
        let bit = |memory: &[Slice<N>], at: usize, image: usize| {
            memory[at][image / 64] >> (image % 64) & 1
        };
        for isa in Isa::ALL {
            force(isa);
            let mut got = memory.clone();
            compute(&tile, &mut got, &mut Scratch::default());
            for image in [0, 1, 63, 64 * N - 1] {
                for row in 0..rows {
                    for (c, column) in columns.iter().enumerate() {
                        let mut sum = 0;
                        for level in &levels[column.levels[0] as usize..column.levels[1] as usize] {
                            for at in level.first..level.complemented {
                                let term = terms[at as usize];
                                let from = sources[row * GROUPS + (term >> 6) as usize];
                                let one = bit(&memory, (from + (term & 63)) as usize, image);
                                let one = one ^ u64::from(at >= level.added);
                                sum += (one as i64) << level.level;
                            }
                        }
                        let number = |memory: &[Slice<N>]| {
                            (0..bits).fold(0, |code, plane| {
                                let at = targets[row * bits + plane] as usize + 7 + c;
                                code << 1 | bit(memory, at, image)
                            })
                        };
                        let top = if signed { 1 << (bits - 1) } else { 0 };
                        let mut want = plain_code(&column.rule, sum, bits) ^ top;
                        if merges {
                            // Flipping the top bit makes the order of codes that of numbers.
                            want = (want ^ top).max(number(&memory) ^ top) ^ top;
                        }
                        assert_eq!(number(&got), want, "{isa:?}, {:?} of {sum}", column.rule);
                    }
                }
            }
        }
    }

    fn terms_len(levels: &[Level]) -> u32 {
        levels.last().map_or(0, |level| level.complemented)
    }

    proptest::proptest! {
        #[test]
        fn every_instruction_set_computes_the_codes_of_sums(seed in proptest::num::u64::ANY) {
            compare::<1>(seed, compute_64);
            compare::<4>(seed, compute_256);
            compare::<8>(seed, compute_512);
        }

        #[test]
        fn a_transposed_bit_is_found_at_its_place(seed in proptest::num::u64::ANY) {
            let mut random = Random { state: seed | 1 };
            let mut rows = [0; 64];
            rows.iter_mut().for_each(|row| *row = random.next());
            let before = rows;
            transpose(&mut rows);
            for (i, j) in (0..64).flat_map(|i| (0..64).map(move |j| (i, j))) {
                proptest::prop_assert_eq!(rows[i] >> j & 1, before[j] >> i & 1);
            }
        }
    }
}
