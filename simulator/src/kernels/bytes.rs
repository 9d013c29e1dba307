//! Kernels on bytes: a word holds four codes of one image side by side, and so many images lie
//! behind each other, so that an instruction multiplies and adds the codes of many images with the
//! same weights.

use multiversion::multiversion;
use multiversion::target::match_target;

use super::isa::{self, Isa, kernel};

/// Images that are computed together.
pub const IMAGES: usize = 32;

/// Columns that are computed together.
pub const COLUMNS: usize = 8;

/// Four codes of each image: bits `8 * i` on of a word are code `i`.
pub type Quad = [u32; IMAGES];

/// Sums of some columns.
pub type Sums = [[i32; IMAGES]; COLUMNS];

/// The weights of [`COLUMNS`] columns for a quad of codes, in two forms that instructions take:
/// those of codes 0 and 2, then those of 1 and 3, each in 16 bits; then all four in 8 bits.
pub type Weights = [[u32; COLUMNS]; 3];

/// How a sum becomes a code: the clipped quotient of `sum * scale - offset` by `unit`. All are
/// integers, the first two below 2^48, so double precision holds every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quotient {
    /// The sum's factor.
    pub scale: f64,
    /// What is subtracted.
    pub offset: f64,
    /// The divisor, above 0 and below 2^32.
    pub unit: f64,
    /// The greatest code.
    pub top: f64,
}

/// The arguments of [`add_products`].
#[derive(Debug, Clone, Copy)]
pub struct Products<'a> {
    /// All codes.
    pub memory: &'a [Quad],
    /// The first quad of each of a row's groups.
    pub from: &'a [u32],
    /// Quads of each group.
    pub lengths: &'a [u32],
    /// An entry for each quad of the groups in turn.
    pub weights: &'a [Weights],
}

impl Products<'_> {
    /// Calls `f` with each quad and its weights.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    fn for_each(&self, mut f: impl FnMut(&Quad, &Weights)) {
        let mut weights = self.weights;
        for group in 0..self.lengths.len() {
            let (from, length) = (self.from[group] as usize, self.lengths[group] as usize);
            let (of_group, rest) = weights.split_at(length);
            let quads = &self.memory[from..][..length];
            for quad in 0..length {
                f(&quads[quad], &of_group[quad]);
            }
            weights = rest;
        }
    }
}

/// Sums in any instruction set.
fn add_products_plainly(products: &Products, sums: &mut Sums) {
    products.for_each(|codes, weights| {
        for (c, sums) in sums.iter_mut().enumerate() {
            let of = weights[2][c].to_le_bytes().map(|weight| i32::from(weight as i8));
            for (sum, &codes) in sums.iter_mut().zip(codes) {
                for (i, weight) in of.into_iter().enumerate() {
                    let code = (codes >> (8 * i) & 0xff) as i32;
                    *sum = sum.wrapping_add(code.wrapping_mul(weight));
                }
            }
        }
    });
}

/// Sums with AVX2: an instruction multiplies numbers of 16 bits and adds two products. Here and
/// below loops count, for what iterators call lacks the features of its caller.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop)]
#[target_feature(enable = "avx2")]
fn add_products_avx2(products: &Products, sums: &mut Sums) {
    use std::arch::x86_64::*;

    use bytemuck::must_cast;
    // Two vectors of images by four columns stay in registers.
    const VECTORS: usize = 2;
    const AT_ONCE: usize = 4;
    for first in (0..IMAGES / 8).step_by(VECTORS) {
        for column in (0..COLUMNS).step_by(AT_ONCE) {
            let mut acc = [[_mm256_setzero_si256(); VECTORS]; AT_ONCE];
            products.for_each(|codes, weights| {
                let codes: &[[u32; 8]; IMAGES / 8] = bytemuck::must_cast_ref(codes);
                let low = _mm256_set1_epi32(0x00ff_00ff);
                for v in 0..VECTORS {
                    let codes: __m256i = must_cast(codes[first + v]);
                    let even = _mm256_and_si256(codes, low);
                    let odd = _mm256_srli_epi16::<8>(codes);
                    for c in 0..AT_ONCE {
                        let [w0, w1] = [weights[0][column + c], weights[1][column + c]];
                        let a = _mm256_madd_epi16(even, _mm256_set1_epi32(w0 as i32));
                        let b = _mm256_madd_epi16(odd, _mm256_set1_epi32(w1 as i32));
                        acc[c][v] = _mm256_add_epi32(acc[c][v], _mm256_add_epi32(a, b));
                    }
                }
            });
            for c in 0..AT_ONCE {
                let sums: &mut [[i32; 8]; IMAGES / 8] =
                    bytemuck::must_cast_mut(&mut sums[column + c]);
                for v in 0..VECTORS {
                    let sum: __m256i = must_cast(sums[first + v]);
                    sums[first + v] = must_cast(_mm256_add_epi32(sum, acc[c][v]));
                }
            }
        }
    }
}

/// Sums with AVX-512 VNNI: an instruction multiplies bytes and adds four products.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop)]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_products_vnni(products: &Products, sums: &mut Sums) {
    use std::arch::x86_64::*;

    use bytemuck::must_cast;
    let mut acc = [[_mm512_setzero_si512(); IMAGES / 16]; COLUMNS];
    products.for_each(|codes, weights| {
        let codes: &[[u32; 16]; IMAGES / 16] = bytemuck::must_cast_ref(codes);
        for c in 0..COLUMNS {
            let weights = _mm512_set1_epi32(weights[2][c] as i32);
            for v in 0..IMAGES / 16 {
                acc[c][v] = _mm512_dpbusd_epi32(acc[c][v], must_cast(codes[v]), weights);
            }
        }
    });
    for c in 0..COLUMNS {
        let sums: &mut [[i32; 16]; IMAGES / 16] = bytemuck::must_cast_mut(&mut sums[c]);
        for v in 0..IMAGES / 16 {
            sums[v] = must_cast(_mm512_add_epi32(must_cast(sums[v]), acc[c][v]));
        }
    }
}

/// Adds the products of a row's codes with the weights of some columns to the columns' sums, which
/// wrap.
pub fn add_products(products: &Products, sums: &mut Sums) {
    #[multiversion(targets("x86_64+avx512f+avx512vnni", "x86_64+avx2"))]
    fn best(products: &Products, sums: &mut Sums) {
        match_target! {
            "x86_64+avx512f+avx512vnni" => add_products_vnni(products, sums),
            "x86_64+avx2" => add_products_avx2(products, sums),
            _ => add_products_plainly(products, sums),
        }
    }

    #[multiversion(targets("x86_64+avx2"))]
    fn avx2(products: &Products, sums: &mut Sums) {
        match_target! {
            "x86_64+avx2" => add_products_avx2(products, sums),
            _ => add_products_plainly(products, sums),
        }
    }

    match isa::level() {
        Isa::Best => best(products, sums),
        Isa::Avx2 => avx2(products, sums),
        Isa::Baseline => add_products_plainly(products, sums),
    }
}

kernel! {
    #[allow(clippy::needless_range_loop)]
    /// Puts the quotients of sums into byte `at` of a quad.
    pub fn divide(quotient: &Quotient, sums: &[i32; IMAGES], at: u32, codes: &mut Quad) {
        // Adding and subtracting it rounds to an integer; added, its low bits are the integer's.
        const INTEGER: f64 = 6_755_399_441_055_744.0;
        let Quotient { scale, offset, unit, top } = *quotient;
        let inverse = 1.0 / unit;
        for image in 0..IMAGES {
            let x = f64::from(sums[image]) * scale - offset;
            let near = (x * inverse).max(-1.0).min(top + 1.0);
            let near = (near + INTEGER) - INTEGER;
            // Rounding to nearest, and in the product, may be one off.
            let rest = x - near * unit;
            let down = if rest < 0.0 { 1.0 } else { 0.0 };
            let up = if rest >= unit { 1.0 } else { 0.0 };
            let quotient = (near - down + up).max(0.0).min(top);
            codes[image] |= ((quotient + INTEGER).to_bits() as u32 & 0xff) << (8 * at);
        }
    }
}

kernel! {
    #[allow(clippy::needless_range_loop)]
    /// Replaces the bytes of a quad in `mask` by others, which have no other bits.
    pub fn replace(quad: &mut Quad, mask: u32, codes: &Quad) {
        for image in 0..IMAGES {
            quad[image] = quad[image] & !mask | codes[image];
        }
    }
}

kernel! {
    /// Replaces each byte of a quad by the larger of it and another.
    pub fn maximum(quad: &mut Quad, codes: &Quad) {
        let quad: &mut [u8; 4 * IMAGES] = bytemuck::must_cast_mut(quad);
        let codes: &[u8; 4 * IMAGES] = bytemuck::must_cast_ref(codes);
        for byte in 0..4 * IMAGES {
            quad[byte] = quad[byte].max(codes[byte]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::isa::force;

    proptest::proptest! {
        #[test]
        fn every_instruction_set_adds_the_products(seed in proptest::num::u64::ANY) {
            let mut state = seed | 1;
            let mut random = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                (state ^ state >> 29) as u32
            };
            let memory: Vec<Quad> = (0..40).map(|_| [(); IMAGES].map(|()| random())).collect();
            let from: Vec<u32> = (0..5).map(|_| random() >> 8 & 31).collect();
            let lengths: Vec<u32> = (0..5).map(|_| random() >> 8 & 7).collect();
            let count = lengths.iter().sum::<u32>() as usize;
            let weight_bytes: Vec<[[i8; 4]; COLUMNS]> =
                (0..count).map(|_| [(); COLUMNS].map(|()| random().to_le_bytes().map(|b| b as i8))).collect();
            let weights: Vec<Weights> = weight_bytes
                .iter()
                .map(|columns| {
                    let pair = |w: &[i8; 4], i: usize| {
                        u32::from(i16::from(w[i]) as u16) | u32::from(i16::from(w[i + 2]) as u16) << 16
                    };
                    let four = |w: &[i8; 4]| u32::from_le_bytes(w.map(|w| w as u8));
                    [
                        std::array::from_fn(|c| pair(&columns[c], 0)),
                        std::array::from_fn(|c| pair(&columns[c], 1)),
                        std::array::from_fn(|c| four(&columns[c])),
                    ]
                })
                .collect();
            let mut want = [[7i32; IMAGES]; COLUMNS];
            let mut at = 0;
            for (&from, &length) in from.iter().zip(&lengths) {
                for quad in from..from + length {
                    for (c, want) in want.iter_mut().enumerate() {
                        for (image, want) in want.iter_mut().enumerate() {
                            let codes = memory[quad as usize][image].to_le_bytes();
                            for i in 0..4 {
                                *want += i32::from(codes[i]) * i32::from(weight_bytes[at][c][i]);
                            }
                        }
                    }
                    at += 1;
                }
            }
            for isa in Isa::ALL {
                force(isa);
                let mut got = [[7i32; IMAGES]; COLUMNS];
                let (memory, from) = (&memory[..], &from[..]);
                let products = Products { memory, from, lengths: &lengths, weights: &weights };
                add_products(&products, &mut got);
                proptest::prop_assert_eq!(got, want, "{:?}", isa);
            }
        }

        /// code = clip(floor((v * 2^f * sign - A) / B)), by division in 128 bits.
        #[test]
        fn quotients_are_clipped_divisions(
            v in proptest::num::i32::ANY,
            a in -(1i64 << 47)..1 << 47,
            b in 1i64..1 << 31,
            near in proptest::bool::ANY,
            fraction in 0u32..16,
            falls in proptest::bool::ANY,
            bits in 1u32..9,
        ) {
            let scaled = (i64::from(v) * if falls { -1 } else { 1 }) << fraction;
            // Half of the cases near a threshold, where it matters.
            let a = if near { (scaled - b * (a.rem_euclid(260) - 2) + a % 2).clamp(-(1 << 47), (1 << 47) - 1) } else { a };
            let top = (1i64 << bits) - 1;
            let quotient = Quotient {
                scale: f64::from(if falls { -1 } else { 1 }) * f64::from(1 << fraction),
                offset: a as f64,
                unit: b as f64,
                top: top as f64,
            };
            let want = (i128::from(scaled) - i128::from(a)).div_euclid(i128::from(b)).clamp(0, i128::from(top));
            for isa in Isa::ALL {
                force(isa);
                let mut codes = [0x5500_0000; IMAGES];
                divide(&quotient, &[v; IMAGES], 1, &mut codes);
                proptest::prop_assert_eq!(codes, [0x5500_0000 | (want as u32) << 8; IMAGES]);
            }
        }

        /// Byte by byte: one byte replaced, and the larger of two.
        #[test]
        fn bytes_are_replaced_and_merged(seed in proptest::num::u64::ANY, at in 0u32..4) {
            let mut state = seed | 1;
            let mut random = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                (state ^ state >> 29) as u32
            };
            let [old, new]: [Quad; 2] = [(); 2].map(|()| [(); IMAGES].map(|()| random()));
            let mask = 0xff << (8 * at);
            let only = new.map(|word| word & mask);
            for isa in Isa::ALL {
                force(isa);
                let (mut replaced, mut merged) = (old, old);
                replace(&mut replaced, mask, &only);
                maximum(&mut merged, &new);
                for image in 0..IMAGES {
                    for byte in 0..4 {
                        let [a, b, replaced, merged] = [old, new, replaced, merged]
                            .map(|quad| quad[image] >> (8 * byte) & 0xff);
                        let want = if byte == at { b } else { a };
                        proptest::prop_assert_eq!((replaced, merged), (want, a.max(b)), "{:?}", isa);
                    }
                }
            }
        }
    }
}
