//! What the columns of a step share: parts of their sums that are computed once for all of them.
//!
//! Bits that occur together in every column, as those of a pixel that each weight takes whole, are
//! one number. With few numbers, as in a first layer, most columns ask for the same sums of three
//! or four of them: each of these is added up once, and a column adds only one sum of every four
//! numbers, plane by plane.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::compiled::Sum;
use crate::kernels::sliced::{COMPLEMENTED, NO_TERM, Number, NumberOf};

/// Terms of one weight of two in a column beyond which nothing is looked for: it does not pay off.
const TERMS_MAX: usize = 128;

/// Numbers whose sums are shared, at most.
const TOGETHER_MAX: usize = 5;

/// The sums of a step's columns by the numbers that they share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// In the order in which they are computed.
    pub(super) numbers: Vec<Number>,
    /// What columns add, by index.
    pub(super) added: Vec<u32>,
    /// First and end of each column's.
    pub(super) columns: Vec<[u32; 2]>,
}

impl Shared {
    /// What each column adds.
    pub(super) fn add(&mut self, adds: Vec<Vec<u32>>) {
        for adds in adds {
            let first = self.added.len() as u32;
            self.added.extend(adds);
            self.columns.push([first, self.added.len() as u32]);
        }
    }
}

/// Bits that occur together, one for each weight of two at most.
struct Bits {
    columns: Vec<u32>,
    /// By weight.
    terms: Vec<u32>,
}

impl Bits {
    fn most(&self) -> u64 {
        (0..self.terms.len()).filter(|&l| self.terms[l] != NO_TERM).map(|l| 1 << l).sum()
    }
}

fn planes(most: u64) -> u32 {
    64 - most.leading_zeros()
}

/// What the sums of columns share, if that is less work than adding up each column's bits. Its
/// bits are put behind the terms.
pub(super) fn share(sums: &[Sum], terms: &mut Vec<u32>) -> Option<Shared> {
    let few = |sum: &Sum| sum.levels.iter().flatten().all(|bits| bits.len() <= TERMS_MAX);
    if sums.len() < 2 || !sums.iter().all(few) {
        return None;
    }
    let numbers = numbers_of(sums);
    let bits = sums.iter().flat_map(|sum| sum.levels.iter().flatten()).map(Vec::len).sum();
    let (work, together) =
        (2..=TOGETHER_MAX).map(|together| (work(&numbers, sums, together), together)).min()?;
    (work < bits).then(|| build(&numbers, sums.len(), together, terms))
}

/// The bits of all columns, put together to numbers.
fn numbers_of(sums: &[Sum]) -> Vec<Bits> {
    // The n-th occurrence of a bit in a column is another than the first.
    let mut columns_of: BTreeMap<(usize, u32, usize), Vec<u32>> = BTreeMap::new();
    for (column, sum) in sums.iter().enumerate() {
        for (level, both) in sum.levels.iter().enumerate() {
            for (terms, flag) in both.iter().zip([0, COMPLEMENTED]) {
                let mut times: HashMap<u32, usize> = HashMap::new();
                for &term in terms {
                    let nth = times.entry(term).or_default();
                    columns_of.entry((level, term | flag, *nth)).or_default().push(column as u32);
                    *nth += 1;
                }
            }
        }
    }
    let mut numbers: Vec<Bits> = Vec::new();
    let mut alike: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
    for ((level, term, _), columns) in columns_of {
        let alike = alike.entry(columns.clone()).or_default();
        let free = |&&at: &&usize| numbers[at].terms.get(level).is_none_or(|&t| t == NO_TERM);
        let at = alike.iter().find(free).copied().unwrap_or_else(|| {
            alike.push(numbers.len());
            numbers.push(Bits { columns, terms: Vec::new() });
            numbers.len() - 1
        });
        let of_level = &mut numbers[at].terms;
        of_level.resize(of_level.len().max(level + 1), NO_TERM);
        of_level[level] = term;
    }
    numbers
}

/// For each column which of some numbers it adds, a bit each.
fn asked(numbers: &[Bits], columns: usize) -> Vec<u32> {
    let mut asked = vec![0; columns];
    for (i, number) in numbers.iter().enumerate() {
        number.columns.iter().for_each(|&column| asked[column as usize] |= 1 << i);
    }
    asked
}

/// The sets of numbers that are added up for those that columns ask for: each without its last,
/// then with it.
fn sets(asked: &[u32]) -> BTreeSet<u32> {
    let mut sets = BTreeSet::new();
    for &set in asked {
        let mut left = set;
        while left != 0 {
            sets.insert(left);
            left &= !(1 << left.ilog2());
        }
    }
    sets
}

/// Full adders that it takes to add up so many numbers together.
fn work(numbers: &[Bits], sums: &[Sum], together: usize) -> usize {
    let mut work = 0;
    let mut parts = vec![0u64; sums.len()];
    for numbers in numbers.chunks(together) {
        let asked = asked(numbers, sums.len());
        for set in sets(&asked) {
            let of_set = (0..numbers.len()).filter(|i| set >> i & 1 == 1);
            work += planes(of_set.map(|i| numbers[i].most()).sum()) as usize;
        }
        asked.iter().zip(&mut parts).for_each(|(&set, parts)| *parts += u64::from(set != 0));
    }
    let adds = |(sum, &parts): (&Sum, &u64)| sum.planes() as usize * parts.max(1) as usize;
    work + sums.iter().zip(&parts).map(adds).sum::<usize>()
}

/// The numbers, so many of them added up together.
fn build(numbers: &[Bits], columns: usize, together: usize, terms: &mut Vec<u32>) -> Shared {
    let mut shared = Shared::default();
    let mut end = 0;
    let mut place = |most: u64| {
        let first = end;
        end += planes(most);
        [first, planes(most)]
    };
    let mut adds: Vec<Vec<u32>> = vec![Vec::new(); columns];
    for numbers in numbers.chunks(together) {
        let asked = asked(numbers, columns);
        let mut known: HashMap<u32, (u32, u64)> = HashMap::new();
        for (i, bits) in numbers.iter().enumerate() {
            let first = terms.len() as u32;
            terms.extend(&bits.terms);
            let of = NumberOf::Bits(first);
            known.insert(1 << i, (shared.numbers.len() as u32, bits.most()));
            shared.numbers.push(Number { planes: place(bits.most()), of });
        }
        // Ascending, so a set comes behind that without its last number.
        for set in sets(&asked) {
            let last = 1 << set.ilog2();
            let (Some(&(a, most)), Some(&(b, more))) =
                (known.get(&(set & !last)), known.get(&last))
            else {
                continue;
            };
            known.insert(set, (shared.numbers.len() as u32, most + more));
            shared.numbers.push(Number { planes: place(most + more), of: NumberOf::Sum([a, b]) });
        }
        for (set, adds) in asked.iter().zip(&mut adds) {
            adds.extend(known.get(set).map(|&(number, _)| number));
        }
    }
    shared.add(adds);
    shared
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// For each column its bits: weight, term, and whether its complement counts.
    fn columns() -> impl Strategy<Value = Vec<Vec<(usize, u32, bool)>>> {
        // Pixels of some bits, of which each column takes some, and single bits.
        let column = (
            proptest::collection::vec(any::<bool>(), 8),
            proptest::collection::vec((0..4usize, 0..12u32, any::<bool>()), 0..4),
        );
        (1..7usize, proptest::collection::vec(column, 2..20)).prop_map(|(bits, columns)| {
            let of_column = |(takes, mut single): (Vec<bool>, Vec<(usize, u32, bool)>)| {
                for (pixel, _) in takes.into_iter().enumerate().filter(|pixel| pixel.1) {
                    // The top bit counts negative.
                    single.extend((0..bits).map(|b| (b, 64 + 8 * pixel as u32 + b as u32, b == 5)));
                }
                single
            };
            columns.into_iter().map(of_column).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_shared_adds_up_to_the_sum_of_each_column(
            columns in columns(),
            together in 1..=TOGETHER_MAX,
            ones in proptest::collection::hash_set(0..192u32, 0..192),
        ) {
            let bit = |term: u32, complemented: bool| u64::from(ones.contains(&term) != complemented);
            let sums: Vec<Sum> = columns
                .iter()
                .map(|bits| {
                    let mut sum = Sum::default();
                    for &(level, term, negative) in bits {
                        sum.add_term(term, level as u32, negative);
                    }
                    sum
                })
                .collect();
            let mut terms = vec![0; 3];
            let shared = build(&numbers_of(&sums), sums.len(), together, &mut terms);
            let mut values: Vec<u64> = Vec::new();
            for number in &shared.numbers {
                let value = match number.of {
                    NumberOf::Sum(of) => of.map(|n| values[n as usize]).iter().sum(),
                    NumberOf::Bits(first) => (0..number.planes[1])
                        .map(|plane| match terms[(first + plane) as usize] {
                            NO_TERM => 0,
                            t => bit(t & !COMPLEMENTED, t & COMPLEMENTED != 0) << plane,
                        })
                        .sum(),
                };
                prop_assert!(planes(value) <= number.planes[1]);
                values.push(value);
            }
            for (bits, &[first, end]) in columns.iter().zip(&shared.columns) {
                let want: u64 = bits.iter().map(|&(l, term, negative)| bit(term, negative) << l).sum();
                let added = &shared.added[first as usize..end as usize];
                prop_assert_eq!(added.iter().map(|&n| values[n as usize]).sum::<u64>(), want);
            }
        }
    }
}
