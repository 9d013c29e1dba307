//! Which small changes of the RTL the co-simulation finds, as a table in Markdown:
//!
//!     cargo run -p qnnsim-cosim --example mutants -- 200 300 > docs/mutants.md
//!
//! The arguments: mutants, and programs of either sort (legal ones, ones that trap) that are tried
//! on each of three hardware points before a mutant counts as not found. A machine is built once a
//! point; the mutant is chosen at run time. Lines of `cosim/examples/survivors.txt`, a place and a
//! reason each, say why a mutant that is not found cannot be.

use std::collections::{BTreeMap, HashMap};

use qnnsim_cosim::compare::CompareError;
use qnnsim_cosim::faults::{Fault, Planted};
use qnnsim_cosim::mutants::mutants;
use qnnsim_cosim::random::{Random, RandomError, random};
use qnnsim_cosim::verilator::{Verilator, source};
use qnnsim_isa::hardware::Overrides;
use rayon::prelude::*;

/// Seeds whose first point the machines have: 5x6x16 with two LOAD buffers and queues of two words,
/// and one whose tiles are of several words.
const SEEDS: [u64; 2] = [22, 5];

/// A point whose elements count bits of more bytes than the others have, of no power of two.
const WIDE: &str = "(mac: (rows: 3, cols: 4, lanes: 144), thr: (cols: 3, words: 64),
    act: (words: 96), wgt: (words: 64))";

/// What is drawn for each machine.
fn machines(programs: u64, traps: bool) -> [Random; 3] {
    let wide = Overrides::from_text(WIDE).and_then(|point| point.resolve());
    let hardware = Some(wide.unwrap_or_else(|error| panic!("{error}")));
    let drawn = Random { programs, points: 1, traps, ..Random::default() };
    let [first, second] = SEEDS.map(|seed| Random { seed, ..drawn.clone() });
    [first, second, Random { hardware, ..drawn }]
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let &[count, programs] = &numbers[..] else { panic!("two numbers: mutants and programs") };
    let verilator = Verilator::find().unwrap_or_else(|error| panic!("{error}"));
    let mutants = mutants(count as usize);
    let faults: Vec<Fault> = mutants.iter().map(|mutant| mutant.fault.clone()).collect();
    let reasons: HashMap<&str, &str> =
        include_str!("survivors.txt").lines().filter_map(|line| line.split_once(": ")).collect();
    // Few programs find most, so that many are tried only for what is left.
    let found: Vec<Option<String>> = faults
        .par_iter()
        .enumerate()
        .map(|(i, fault)| {
            for programs in [programs.min(20), programs] {
                for traps in [false, true] {
                    for drawn in machines(programs, traps) {
                        let planted = Planted { faults: &faults, number: i as u16 + 1 };
                        match random(&verilator, &drawn, planted, || ()) {
                            Ok(_) => {}
                            Err(RandomError::Failure(failure)) => {
                                let how = match failure.error {
                                    CompareError::Difference(difference) => difference.place,
                                    CompareError::Bench(_) => "the machine stops".into(),
                                };
                                let sort = if traps { "trapping" } else { "legal" };
                                return Some(format!("{sort} program {}: {how}", failure.case));
                            }
                            Err(error) => panic!("{}: {error}", fault.name),
                        }
                    }
                }
            }
            eprintln!("not found: {}", fault.name);
            None
        })
        .collect();

    let mut units: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (mutant, found) in mutants.iter().zip(&found) {
        let counts = units.entry(mutant.fault.file).or_default();
        let argued = found.is_none() && reasons.contains_key(mutant.fault.name.as_str());
        counts[0] += 1;
        counts[1] += usize::from(found.is_some());
        counts[2] += usize::from(argued);
    }
    println!("# Mutants of the RTL\n");
    println!(
        "Written by `cargo run -p qnnsim-cosim --example mutants -- {count} {programs}`: {count}"
    );
    println!(
        "small changes of the sources, {programs} legal and {programs} trapping random programs on"
    );
    println!("each of three hardware points. What is argued is the same machine, or tells");
    println!("nothing that these points can hold.\n");
    println!("| source | mutants | found | argued | survive |\n|---|---|---|---|---|");
    let mut all = [0; 3];
    for (file, counts) in &units {
        let [mutants, found, argued] = *counts;
        let survive = mutants - found - argued;
        println!("| {file} | {mutants} | {found} | {argued} | {survive} |");
        all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
    }
    let [mutants_all, found_all, argued_all] = all;
    let survive = mutants_all - found_all - argued_all;
    println!("| all | {mutants_all} | {found_all} | {argued_all} | {survive} |\n");
    println!("Of those that are not argued, {:.1} % are found.\n", {
        100.0 * found_all as f64 / (mutants_all - argued_all) as f64
    });
    println!("## Not found\n\n| place | rule | right | wrong | why |\n|---|---|---|---|---|");
    let row =
        |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    for (mutant, _) in mutants.iter().zip(&found).filter(|(_, found)| found.is_none()) {
        let Fault { name, file, range, text } = &mutant.fault;
        let right = source(file).map_or("", |source| &source[range.clone()]);
        let why = reasons.get(name.as_str()).unwrap_or(&"not argued: a hole");
        let place = format!("{file}:{}", mutant.line);
        println!("| {place} | {} | `{}` | `{}` | {why} |", mutant.rule, row(right), row(text));
    }
    println!("\n## Found\n\n| place | rule | wrong | first difference |\n|---|---|---|---|");
    for (mutant, found) in mutants.iter().zip(&found) {
        let Some(how) = found else { continue };
        let place = format!("{}:{}", mutant.fault.file, mutant.line);
        println!("| {place} | {} | `{}` | {} |", mutant.rule, row(&mutant.fault.text), row(how));
    }
}
