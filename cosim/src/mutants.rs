//! Small changes of the machine's sources by rules: operators, numbers off by one, conditions,
//! registers that are not written or not reset, lost top bits. What no random program tells from
//! the machine is either the same machine or a hole in the comparison.
//!
//! A rule looks at one statement in one line, or at an `assign`: its right side, or the condition
//! of an `if`. It needs no parser, for the sources are written so.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::faults::Fault;
use crate::verilator::{source, source_names};

/// A changed text, with the rule that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The change.
    pub fault: Fault,
    /// Name of the rule.
    pub rule: &'static str,
    /// Line of the source, from 1.
    pub line: usize,
}

/// Operators and what stands in their place.
const OPERATORS: [(&str, &str); 16] = [
    ("==", "!="),
    ("!=", "=="),
    ("<=", "<"),
    (">=", ">"),
    ("<<", ">>"),
    (">>", "<<"),
    ("&&", "||"),
    ("||", "&&"),
    ("<", "<="),
    (">", ">="),
    ("+", "-"),
    ("-", "+"),
    ("&", "|"),
    ("|", "&"),
    ("^", "|"),
    ("!", ""),
];

/// Mutants of all units, about `count` of them: from each source, and of each rule in it, in turn.
pub fn mutants(count: usize) -> Vec<Mutant> {
    // By source, by rule, spread over the source.
    let mut all: Vec<Vec<Vec<Mutant>>> = source_names()
        .filter(|name| !name.ends_with("_pkg.sv"))
        .map(|name| {
            let mut rules: BTreeMap<&str, Vec<Mutant>> = BTreeMap::new();
            for mutant in of_source(name) {
                rules.entry(mutant.rule).or_default().push(mutant);
            }
            rules.into_values().map(spread).collect()
        })
        .collect();
    let mut chosen: Vec<Mutant> = Vec::new();
    let mut turn = 0;
    while chosen.len() < count && all.iter().flatten().any(|rule| !rule.is_empty()) {
        for rules in &mut all {
            let rules_here = rules.len();
            let next =
                (0..rules_here).map(|i| (turn + i) % rules_here).find_map(|i| rules[i].pop());
            chosen.extend(next);
        }
        turn += 1;
    }
    chosen.truncate(count);
    chosen.sort_by_key(|m| (m.fault.file, m.fault.range.start, m.rule));
    chosen
}

/// In an order in which neighbours lie far apart.
fn spread(list: Vec<Mutant>) -> Vec<Mutant> {
    let count = list.len();
    let mut order: Vec<usize> = (0..count).collect();
    // Multiples of the golden section.
    order.sort_by_key(|&i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut list: Vec<Option<Mutant>> = list.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| list[i].take()).collect()
}

/// All mutants of a source.
pub fn of_source(name: &'static str) -> Vec<Mutant> {
    let Some(text) = source(name) else { return Vec::new() };
    let mut mutants = Vec::new();
    let mut start = 0;
    let mut in_function = false;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let trimmed = code.trim_start();
        in_function |= trimmed.starts_with("function");
        let indent = code.len() - trimmed.len();
        let declares = ["localparam", "parameter", "typedef", "for (genvar", "logic", "input"]
            .iter()
            .any(|word| trimmed.starts_with(word));
        if !in_function && !declares {
            let mut add = |rule, range: Range<usize>, text: String| {
                let label = format!("{name}:{} {rule}", number + 1);
                let fault = Fault { name: label, file: name, range, text };
                mutants.push(Mutant { fault, rule, line: number + 1 });
            };
            statement(text, start + indent, start + code.trim_end().len(), &mut add);
        }
        in_function &= !trimmed.starts_with("endfunction");
        start += line.len();
    }
    mutants
}

/// The mutants of the statement that begins a line.
fn statement(
    source: &str,
    mut from: usize,
    line_end: usize,
    add: &mut impl FnMut(&'static str, Range<usize>, String),
) {
    let line = |from: usize| &source[from..line_end.max(from)];
    while let Some(rest) = ["end else ", "else "].iter().find_map(|w| line(from).strip_prefix(w)) {
        from = line_end - rest.len();
    }
    if line(from).starts_with("always_ff @(posedge clk) ") {
        from += "always_ff @(posedge clk) ".len();
    }
    if line(from).starts_with("if (") {
        let open = from + 3;
        let Some(length) = closing(&source[open..line_end]) else { return };
        let condition = open + 1..open + length;
        let behind = open + length + 1;
        // What is generated depends on parameters alone.
        if line(behind).contains("begin :") {
            return;
        }
        let text = &source[condition.clone()];
        add("condition never", condition.clone(), "1'b0".into());
        add("condition always", condition.clone(), "1'b1".into());
        operators(text, |rule, text| add(rule, condition.clone(), text));
        let blank = line(behind).len() - line(behind).trim_start().len();
        statement(source, behind + blank, line_end, add);
        return;
    }
    let is_assign = line(from).starts_with("assign ");
    if is_assign {
        from += "assign ".len();
    }
    let end = match source[from..].find(';') {
        Some(length) if is_assign || from + length < line_end => from + length,
        _ => return,
    };
    let statement = &source[from..end];
    if statement.contains("//") {
        return;
    }
    let clocked = statement.find(" <= ").filter(|at| !statement[..*at].contains(['(', '=']));
    let (left, right, clocked) = match (clocked, statement.find(" = ")) {
        (Some(at), _) if !is_assign => (&statement[..at], at + 4, true),
        (_, Some(at)) => (&statement[..at], at + 3, false),
        _ => return,
    };
    if left.is_empty() || left.starts_with("for") {
        return;
    }
    let range = from + right..end;
    let text = &source[range.clone()];
    let simple = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_constant = ["'0", "'1", "1'b0", "1'b1", "0"].contains(&text);
    if clocked && simple(left) {
        let rule = if is_constant { "not reset" } else { "not written" };
        add(rule, range.clone(), left.to_owned());
    }
    if is_constant {
        return;
    }
    operators(text, |rule, text| add(rule, range.clone(), text));
    if simple(left) {
        add("off by one", range.clone(), format!("({text}) + 1'b1"));
        // An eighth of the bits, at least one: a register of 32 becomes one of 28.
        let width = format!("$bits({left})");
        let lost = format!("({width} < 8 ? 1 : {width} / 8)");
        add("top bits lost", range.clone(), format!("({text}) & (~(({width})'(0)) >> {lost})"));
    }
}

/// Where the parenthesis closes that opens a text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// An expression with one operator replaced, or one of its numbers one more, each in turn.
fn operators(text: &str, mut add: impl FnMut(&'static str, String)) {
    let bytes = text.as_bytes();
    let mut brackets = 0;
    let mut i = 0;
    while i < text.len() {
        match bytes[i] {
            b'[' => brackets += 1,
            b']' => brackets -= 1,
            // A sized number: `10'd1`.
            b'\'' if text[i..].starts_with("'d") && brackets == 0 => {
                let digits = text[i + 2..].bytes().take_while(u8::is_ascii_digit).count();
                let value: u64 = text[i + 2..i + 2 + digits].parse().unwrap_or(0);
                let changed = format!("{}{}{}", &text[..i + 2], value ^ 1, &text[i + 2 + digits..]);
                add("number", changed);
                i += 2 + digits;
                continue;
            }
            _ => {}
        }
        let found = OPERATORS.iter().find(|(operator, _)| text[i..].starts_with(operator));
        let Some(&(operator, other)) = found else {
            i += 1;
            continue;
        };
        // Not within an index, not a reduction or a sign, not `+:` and not `<<<`.
        let before = text[..i].trim_end().bytes().last();
        let binary = before.is_some_and(|c| c.is_ascii_alphanumeric() || b")]}_'".contains(&c));
        let behind = bytes.get(i + operator.len()).copied();
        let plain = behind.is_some_and(|c| c == b' ') || operator == "!";
        if brackets == 0 && plain && (binary != (operator == "!")) {
            let changed = format!("{}{other}{}", &text[..i], &text[i + operator.len()..]);
            let rule = match operator {
                "==" | "!=" | "<" | "<=" | ">" | ">=" => "comparison",
                "&&" | "||" | "!" => "logic",
                "&" | "|" | "^" => "bits",
                _ => "arithmetic",
            };
            add(rule, changed);
        }
        i += operator.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_mutants_of_many_rules() {
        let chosen = mutants(200);
        assert_eq!(chosen.len(), 200);
        for name in source_names().filter(|name| !name.ends_with("_pkg.sv")) {
            let here = chosen.iter().filter(|m| m.fault.file == name).count();
            assert!(here >= 3, "{here} of {name}");
        }
        let rules: std::collections::BTreeSet<_> = chosen.iter().map(|m| m.rule).collect();
        assert!(rules.len() >= 9, "{rules:?}");
    }

    #[test]
    fn operators_are_replaced_one_by_one() {
        let mut all = Vec::new();
        operators("a && !b || c[i+1] + 3'd2 == d", |rule, text| all.push((rule, text)));
        assert_eq!(
            all,
            [
                ("logic", "a || !b || c[i+1] + 3'd2 == d".to_owned()),
                ("logic", "a && b || c[i+1] + 3'd2 == d".to_owned()),
                ("logic", "a && !b && c[i+1] + 3'd2 == d".to_owned()),
                ("arithmetic", "a && !b || c[i+1] - 3'd2 == d".to_owned()),
                ("number", "a && !b || c[i+1] + 3'd3 == d".to_owned()),
                ("comparison", "a && !b || c[i+1] + 3'd2 != d".to_owned()),
            ]
        );
    }
}
