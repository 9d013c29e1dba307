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

/// The term of a number's plane that is 0.
pub const NO_TERM: u32 = u32::MAX;

/// Set in a term of a number whose complement counts.
pub const COMPLEMENTED: u32 = 1 << 31;

/// A number that columns share: computed once for each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// Its first plane, of the planes of all numbers, and how many it has.
    pub planes: [u32; 2],
    /// What it is.
    pub of: NumberOf,
}

/// What a [`Number`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberOf {
    /// Bits of the memory or their complements: the first of its terms, of all terms of the
    /// program, one by plane.
    Bits(u32),
    /// The sum of two numbers before it.
    Sum([u32; 2]),
}

/// What a column of the array computes, and the threshold unit behind it.
#[derive(Debug, Clone)]
pub struct Column {
    /// First and end of its levels, of all levels of the program, ascending.
    pub levels: [u32; 2],
    /// First and end of the numbers that are added up instead, of [`Tile::added`], if there are
    /// any.
    pub numbers: [u32; 2],
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
    /// Terms of all levels and numbers.
    pub terms: &'a [u32],
    /// The sum of each row's activations, which is the last group of those that the columns read.
    pub row_sum: Option<&'a Column>,
    /// What the columns share, in the order in which it is computed.
    pub numbers: &'a [Number],
    /// Numbers that columns add, by index.
    pub added: &'a [u32],
    /// The columns in use.
    pub columns: &'a [Column],
    /// Index of lane 0 of each group of each row in the memory.
    pub sources: &'a [u32],
    /// What is read of the groups: neighbouring terms, the first and their number.
    pub reads: &'a [[u32; 2]],
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
    /// The groups that a row reads, one after the other.
    row: Vec<Slice<N>>,
    /// Planes of the numbers that columns share.
    numbers: Vec<Slice<N>>,
}

impl<const N: usize> Default for Scratch<N> {
    fn default() -> Self {
        Scratch { carries: vec![Vec::new(); PLANES_MAX + 4], row: Vec::new(), numbers: Vec::new() }
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
    pub fn slice<const N: usize>(a: Slice<N>) -> Slice<N> {
        a
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
    pub fn slice(a: __m256i) -> Slice<4> {
        must_cast(a)
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
    pub fn slice(a: __m512i) -> Slice<8> {
        must_cast(a)
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
        // Iterators that are zipped, and closures over arrays, are functions of their own here,
        // for they lack the features of those that call them.
        #[allow(clippy::needless_range_loop)]
        mod $name {
            #[allow(clippy::wildcard_imports, reason = "a module of a dozen operations")]
            use super::$vectors::*;
            use super::{COMPLEMENTED, GROUP_SHIFT, NO_TERM, PLANES_MAX};
            use super::{Number, NumberOf, Rule, Scratch, Slice, Tile};

            type Vector = $vector;
            type Carries = [Vec<Slice<$n>>];

            /// Keeps a carry for a level.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn carry(level: &mut Vec<Slice<$n>>, vector: Vector) {
                level.push(slice(vector));
            }

            /// Adds up `count` bits of one level to the sum of those before, if there are any. The
            /// carries go to the levels above.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn count_bits(
                (mut sum, any): (Vector, bool),
                above: &mut Carries,
                count: usize,
                get: impl Fn(usize) -> Vector,
            ) -> (Vector, bool) {
                let mut at = 0;
                if !any {
                    if count == 0 {
                        return (sum, false);
                    }
                    (sum, at) = (get(0), 1);
                }
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
                (sum, true)
            }

            /// The numbers that columns share, for one row.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn compute_numbers(
                tile: &Tile,
                row: &[Slice<$n>],
                numbers: &mut [Slice<$n>],
            ) {
                for number in tile.numbers {
                    let (first, planes) = (number.planes[0] as usize, number.planes[1] as usize);
                    let (before, into) = numbers.split_at_mut(first);
                    let into = &mut into[..planes];
                    match number.of {
                        NumberOf::Bits(terms) => {
                            let terms = &tile.terms[terms as usize..][..planes];
                            for plane in 0..planes {
                                let (into, term) = (&mut into[plane], terms[plane]);
                                if term == NO_TERM {
                                    store(into, splat(false));
                                    continue;
                                }
                                let flip = splat(term & COMPLEMENTED != 0);
                                let bit = load(&row[(term & !COMPLEMENTED) as usize]);
                                store(into, xor(bit, flip));
                            }
                        }
                        NumberOf::Sum(of) => {
                            let a = planes_of(before, &tile.numbers[of[0] as usize]);
                            let b = planes_of(before, &tile.numbers[of[1] as usize]);
                            let (long, short) = if a.len() < b.len() { (b, a) } else { (a, b) };
                            let mut carry = splat(false);
                            for plane in 0..short.len() {
                                let (a, b) = (load(&long[plane]), load(&short[plane]));
                                let (sum, out) = add3(a, b, carry);
                                store(&mut into[plane], sum);
                                carry = out;
                            }
                            for plane in short.len()..long.len() {
                                let bit = load(&long[plane]);
                                store(&mut into[plane], xor(bit, carry));
                                carry = and(bit, carry);
                            }
                            if let Some(top) = into.get_mut(long.len()) {
                                store(top, carry);
                            }
                        }
                    }
                }
            }

            /// The planes of a number.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn planes_of<'a>(numbers: &'a [Slice<$n>], number: &Number) -> &'a [Slice<$n>] {
                &numbers[number.planes[0] as usize..][..number.planes[1] as usize]
            }

            /// Adds a number to a sum of `planes` planes, of which `filled` are not 0. Returns how
            /// many are not 0 now.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn add_number(sum: &mut [Vector], filled: usize, number: &[Slice<$n>]) -> usize {
                let number = &number[..number.len().min(sum.len())];
                if filled == 0 {
                    for plane in 0..number.len() {
                        sum[plane] = load(&number[plane]);
                    }
                    return number.len();
                }
                let mut carry = splat(false);
                let both = filled.min(number.len());
                for plane in 0..both {
                    (sum[plane], carry) = add3(sum[plane], load(&number[plane]), carry);
                }
                for plane in both..filled {
                    (sum[plane], carry) = (xor(sum[plane], carry), and(sum[plane], carry));
                }
                for plane in both..number.len() {
                    let bit = load(&number[plane]);
                    (sum[plane], carry) = (xor(bit, carry), and(bit, carry));
                }
                let longer = filled.max(number.len());
                match sum.get_mut(longer) {
                    Some(top) => {
                        *top = carry;
                        longer + 1
                    }
                    // No sum reaches beyond its planes.
                    None => longer,
                }
            }

            /// The sum of what some levels add up, for one row.
            #[inline]
            $(#[target_feature(enable = $features)])?
            fn sum_levels(
                tile: &Tile,
                row: &[Slice<$n>],
                [first, end]: [u32; 2],
                carries: &mut Carries,
                sum: &mut [Vector],
            ) {
                let mut levels = &tile.levels[first as usize..end as usize];
                for (level, sum) in sum.iter_mut().enumerate() {
                    let (below, above) = carries.split_at_mut(level + 1);
                    let mut ones = (splat(false), false);
                    if let [first, others @ ..] = levels && first.level == level as u32 {
                        let terms = &tile.terms[first.first as usize..first.complemented as usize];
                        let (added, rest) = terms.split_at((first.added - first.first) as usize);
                        let bit = |term: u32| load(&row[term as usize]);
                        ones = count_bits(ones, above, added.len(), |i| bit(added[i]));
                        let complement = |term: u32| xor(bit(term), splat(true));
                        ones = count_bits(ones, above, rest.len(), |i| complement(rest[i]));
                        levels = others;
                    }
                    let carried = &mut below[level];
                    *sum = count_bits(ones, above, carried.len(), |i| load(&carried[i])).0;
                    carried.clear();
                }
                // No sum reaches beyond its planes, so what is carried beyond them is 0.
                for beyond in &mut carries[sum.len()..][..3] {
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
                // Both where the constant has a 1, one of them where it has a 0: what two bits and
                // the complement of the constant's carry. No jump depends on the constant.
                let mut met = splat(true);
                for (plane, &sum) in sum.iter().enumerate() {
                    met = add3(met, sum, splat(constant >> plane & 1 == 0)).1;
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
                let Scratch { carries, row, numbers } = scratch;
                let end = tile.numbers.last().map_or(0, |n| n.planes[0] + n.planes[1]) as usize;
                if numbers.len() < end {
                    numbers.resize(end, [0; $n]);
                }
                if row.len() < tile.groups << GROUP_SHIFT {
                    row.resize(tile.groups << GROUP_SHIFT, [0; $n]);
                }
                let row = &mut row[..tile.groups << GROUP_SHIFT];
                let row_sum = (tile.groups - 1) << GROUP_SHIFT;
                let mut sum = [splat(false); PLANES_MAX];
                let mut codes = [splat(false); PLANES_MAX];
                let mut kept = [splat(false); PLANES_MAX];
                let mut met = [splat(false); 128];
                let of_row = tile.lanes.len() * tile.bits;
                for (from, targets) in
                    tile.sources.chunks_exact(tile.groups).zip(tile.targets.chunks_exact(of_row))
                {
                    for &[term, count] in tile.reads {
                        let lane = term & ((1 << GROUP_SHIFT) - 1);
                        let from = (from[(term >> GROUP_SHIFT) as usize] + lane) as usize;
                        let (term, count) = (term as usize, count as usize);
                        row[term..][..count].copy_from_slice(&memory[from..][..count]);
                    }
                    if let Some(column) = tile.row_sum {
                        let sum = &mut sum[..column.planes as usize];
                        sum_levels(tile, row, column.levels, carries, sum);
                        let last = &mut row[row_sum..];
                        last.iter_mut().zip(sum).for_each(|(slice, sum)| store(slice, *sum));
                    }
                    compute_numbers(tile, row, numbers);
                    let [mut word, mut lane] = tile.first;
                    for column in tile.columns {
                        let [first, end] = column.numbers;
                        let sum = &mut sum[..column.planes as usize];
                        if first == end {
                            sum_levels(tile, row, column.levels, carries, sum);
                        } else {
                            let mut filled = 0;
                            for &number in &tile.added[first as usize..end as usize] {
                                let number = planes_of(numbers, &tile.numbers[number as usize]);
                                filled = add_number(sum, filled, number);
                            }
                            sum[filled..].fill(splat(false));
                        }
                        let codes = &mut codes[..tile.bits];
                        code(&column.rule, sum, &mut met, codes);
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
        // Numbers with what they are at most.
        let (mut numbers, mut added) = (Vec::<Number>::new(), Vec::new());
        let (mut end, mut most_of_number) = (0, Vec::<i64>::new());
        for _ in 0..random.below(6) {
            let (of, most) = if numbers.is_empty() || random.below(2) == 0 {
                let (first, planes) = (terms.len() as u32, random.below(5) + 1);
                let mut most = 0;
                for plane in 0..planes {
                    let term = random.below((GROUPS * 64) as u64) as u32;
                    let flag = if random.below(2) == 0 { COMPLEMENTED } else { 0 };
                    let there = plane + 1 == planes || random.below(3) > 0;
                    terms.push(if there { term | flag } else { NO_TERM });
                    most += i64::from(there) << plane;
                }
                (NumberOf::Bits(first), most)
            } else {
                let of = [0; 2].map(|_: u32| random.below(numbers.len() as u64) as u32);
                (NumberOf::Sum(of), of.iter().map(|&n| most_of_number[n as usize]).sum())
            };
            let planes = 64 - most.leading_zeros();
            numbers.push(Number { planes: [end, planes], of });
            end += planes;
            most_of_number.push(most);
        }
        let first_terms = terms.len() as u32;
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
                let first = levels.last().map_or(first_terms, |level: &Level| level.complemented);
                let added = take(&mut random);
                let complemented = take(&mut random);
                levels.push(Level { level, first, added, complemented });
            }
            let first = added.len() as u32;
            if !numbers.is_empty() && random.below(2) == 0 {
                most = 0;
                for _ in 0..random.below(3) + 1 {
                    let number = random.below(numbers.len() as u64) as usize;
                    added.push(number as u32);
                    most += most_of_number[number];
                }
            }
            let of_numbers = [first, added.len() as u32];
            let planes = 64 - most.leading_zeros();
            let rule = rule(&mut random, most, bits);
            let levels = [first_level, levels.len() as u32];
            columns.push(Column { levels, numbers: of_numbers, planes, rule });
        }
        let sources: Vec<u32> = (0..rows * GROUPS).map(|i| 64 + 64 * i as u32).collect();
        let targets: Vec<u32> =
            (0..rows * bits).map(|i| 64 + 64 * (rows * GROUPS + i) as u32).collect();
        let (signed, merges) = (random.below(2) == 1, random.below(2) == 1);
        let tile = Tile {
            levels: &levels,
            terms: &terms,
            row_sum: None,
            numbers: &numbers,
            added: &added,
            columns: &columns,
            sources: &sources,
            reads: &[[0, 64], [64, 64], [128, 64]],
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
                        let one = |term: u32| {
                            let from = sources[row * GROUPS + (term >> 6) as usize];
                            bit(&memory, (from + (term & 63)) as usize, image) as i64
                        };
                        let [first, end] = column.numbers;
                        let sum: i64 = if first < end {
                            let mut values: Vec<i64> = Vec::new();
                            for number in &numbers {
                                values.push(match number.of {
                                    NumberOf::Sum(of) => {
                                        of.map(|n| values[n as usize]).iter().sum()
                                    }
                                    NumberOf::Bits(first) => (0..number.planes[1])
                                        .map(|plane| match terms[(first + plane) as usize] {
                                            NO_TERM => 0,
                                            t if t & COMPLEMENTED != 0 => {
                                                (1 - one(t & !COMPLEMENTED)) << plane
                                            }
                                            term => one(term) << plane,
                                        })
                                        .sum(),
                                });
                            }
                            let added = &added[first as usize..end as usize];
                            added.iter().map(|&n| values[n as usize]).sum()
                        } else {
                            let [first, end] = column.levels;
                            let levels = &levels[first as usize..end as usize];
                            let of_level = |level: &Level| -> i64 {
                                let bits = level.first..level.complemented;
                                bits.map(|at| {
                                    let one = one(terms[at as usize]);
                                    (one ^ i64::from(at >= level.added)) << level.level
                                })
                                .sum()
                            };
                            levels.iter().map(of_level).sum()
                        };
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
