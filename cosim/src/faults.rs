//! Faults in the machine's sources, for tests of the comparison: a text that stands in place of
//! another while a number is set at run time, so that one build has all of them.

use std::ops::Range;

use crate::verilator::Sources;

/// A fault of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// The source.
    pub file: &'static str,
    /// Where the right text stands in it.
    pub range: Range<usize>,
    /// The wrong one.
    pub text: String,
}

/// Faults that a machine is built with, and the number of the one that it has, counted from 1; 0 is
/// the machine without a fault.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted<'a> {
    /// All of them.
    pub faults: &'a [Fault],
    /// Which.
    pub number: u16,
}

/// The signal that has the number, in every module.
const SIGNAL: &str = "planted_fault_number";

/// The sources with all faults in them.
///
/// # Panics
/// If two faults stand at different texts that overlap, or in a source that is no module.
pub fn plant(sources: Sources, faults: &[Fault]) -> Sources {
    let plant_in = |name: &str, text: &str| {
        let mut here: Vec<(usize, &Fault)> = faults
            .iter()
            .enumerate()
            .filter(|(_, fault)| fault.file == name)
            .map(|(i, fault)| (i + 1, fault))
            .collect();
        if here.is_empty() {
            return None;
        }
        here.sort_by_key(|(_, fault)| (fault.range.start, fault.range.end));
        let mut planted = String::new();
        let mut copied = 0;
        for same in here.chunk_by(|(_, a), (_, b)| a.range == b.range) {
            let range = same[0].1.range.clone();
            assert!(copied <= range.start, "two faults overlap in {name}, byte {}", range.start);
            planted += &text[copied..range.start];
            planted += &alternatives(&text[range.clone()], same);
            copied = range.end;
        }
        planted += &text[copied..];
        let ports = planted.find("\n);\n").unwrap_or_else(|| panic!("{name} is no module")) + 4;
        planted.insert_str(
            ports,
            &format!(
                "  logic [15:0] {SIGNAL};\n  planted_fault planted_fault (.number({SIGNAL}));\n"
            ),
        );
        Some(planted)
    };
    sources
        .into_iter()
        .map(|(name, text)| match plant_in(&name, &text) {
            Some(planted) => (name, planted.into()),
            None => (name, text),
        })
        .collect()
}

/// An expression or a statement that is the right one or, while its number is set, a wrong one.
fn alternatives(right: &str, faults: &[(usize, &Fault)]) -> String {
    if right.ends_with(';') {
        let wrong = faults
            .iter()
            .map(|(number, fault)| format!("if ({SIGNAL} == 16'd{number}) {} else ", fault.text));
        return wrong.chain([right.to_owned()]).collect();
    }
    let wrong = faults
        .iter()
        .map(|(number, fault)| format!("{SIGNAL} == 16'd{number} ? ({}) : ", fault.text));
    format!("({}({right}))", wrong.collect::<String>())
}
