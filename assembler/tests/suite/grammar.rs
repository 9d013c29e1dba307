//! The TextMate grammar that editors take: kept in the repository, made from the table, and it
//! colours what the assembler reads. A small tokenizer stands for an editor's.

use std::collections::BTreeSet;

use fancy_regex::Regex;
use proptest::prelude::*;
use qnnsim_assembler::{assemble, disassemble, text_mate};
use qnnsim_isa::operand::Kind;
use qnnsim_isa::{Instruction, Program};
use serde_json::Value;

use crate::round_trip::instruction;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/qnn.tmLanguage.json");

/// A rule without its includes.
enum Rule {
    Match { pattern: Regex, scopes: Vec<(usize, String)> },
    Line { begin: Regex, scope: String, end: Regex, rules: Vec<Rule> },
}

/// As much of the format as the grammar uses: lines, on which a region begins and ends.
struct Grammar(Vec<Rule>);

impl Grammar {
    fn kept() -> Self {
        let text = std::fs::read_to_string(KEPT).expect("the grammar");
        let grammar: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(grammar["fileTypes"], serde_json::json!(["qnn"]));
        Grammar(rules(&grammar, &grammar["patterns"]))
    }

    /// The tokens of a line with their scopes; whatever no rule takes is a token without one.
    fn tokens<'a>(&self, line: &'a str) -> Vec<(&'a str, String)> {
        let mut all: Vec<(&str, String)> = Vec::new();
        let (mut at, mut region): (usize, Option<(&Regex, &[Rule])>) = (0, None);
        loop {
            let rules = region.map_or(&self.0[..], |(_, rules)| rules);
            let from = |pattern: &Regex| {
                let found = pattern.captures_from_pos(line, at).expect("it ends");
                found.map(|found| found.get(0).expect("the whole").start())
            };
            // The first to begin; of several the first in the grammar, and the end before all.
            let end = region.and_then(|(end, _)| from(end));
            let next = rules.iter().filter_map(|rule| {
                let (Rule::Match { pattern, .. } | Rule::Line { begin: pattern, .. }) = rule;
                Some((from(pattern)?, rule))
            });
            let next = next.min_by_key(|&(start, _)| start);
            if let Some(end) = end.filter(|&end| next.as_ref().is_none_or(|next| end <= next.0)) {
                stray(&line[at..end], &mut all);
                (at, region) = (end, None);
                if at == line.len() {
                    return all;
                }
                continue;
            }
            let Some((start, rule)) = next else {
                stray(&line[at..], &mut all);
                return all;
            };
            stray(&line[at..start], &mut all);
            match rule {
                Rule::Match { pattern, scopes } => {
                    let found = pattern.captures_from_pos(line, at).expect("it ends");
                    let found = found.expect("it was there");
                    for (group, scope) in scopes {
                        all.extend(found.get(*group).map(|m| (m.as_str(), scope.clone())));
                    }
                    at = found.get(0).expect("the whole").end();
                }
                Rule::Line { begin, scope, end, rules } => {
                    let found = begin.captures_from_pos(line, at).expect("it ends");
                    let found = found.expect("it was there").get(1).expect("the mnemonic");
                    all.push((found.as_str(), scope.clone()));
                    (at, region) = (found.end(), Some((end, &rules[..])));
                }
            }
        }
    }
}

fn stray<'a>(text: &'a str, all: &mut Vec<(&'a str, String)>) {
    if !text.trim().is_empty() {
        all.push((text.trim(), String::new()));
    }
}

fn rules(grammar: &Value, patterns: &Value) -> Vec<Rule> {
    let regex = |value: &Value| Regex::new(value.as_str().expect("a pattern")).expect("a pattern");
    let scope = |value: &Value| value["name"].as_str().expect("a scope").to_owned();
    let mut all = Vec::new();
    for rule in patterns.as_array().expect("a list") {
        if let Some(include) = rule["include"].as_str() {
            let included = &grammar["repository"][include.trim_start_matches('#')];
            let included = match &included["patterns"] {
                patterns if included.get("begin").is_none() && patterns.is_array() => {
                    patterns.clone()
                }
                _ => Value::Array(vec![included.clone()]),
            };
            all.extend(rules(grammar, &included));
        } else if rule.get("begin").is_some() {
            all.push(Rule::Line {
                begin: regex(&rule["begin"]),
                scope: scope(&rule["beginCaptures"]["1"]),
                end: regex(&rule["end"]),
                rules: rules(grammar, &rule["patterns"]),
            });
        } else {
            let scopes = match rule["captures"].as_object() {
                None => vec![(0, scope(rule))],
                Some(groups) => groups
                    .iter()
                    .map(|(group, of)| (group.parse().expect("a number"), scope(of)))
                    .collect(),
            };
            all.push(Rule::Match { pattern: regex(&rule["match"]), scopes });
        }
    }
    all
}

#[test]
fn the_kept_grammar_is_that_of_the_table() {
    let text = text_mate();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(KEPT, &text).expect("the file can be written");
    }
    assert!(
        std::fs::read_to_string(KEPT).unwrap_or_default() == text,
        "out of date; run UPDATE=1 cargo test -p qnnsim-assembler grammar::"
    );
}

/// Tokens of an instruction against its row: its mnemonic, each operand, and nothing unknown.
fn check(grammar: &Grammar, instruction: &Instruction, line: &str) {
    let row = instruction.row();
    let tokens = grammar.tokens(line);
    assert_eq!(tokens[0], (row.mnemonic, "keyword.mnemonic.qnn".to_owned()), "{line}");
    let scoped = |scope: &str| -> BTreeSet<&str> {
        let of = tokens.iter().filter(|(_, other)| other.split('.').any(|part| part == scope));
        of.map(|(text, _)| *text).collect()
    };
    let words: Vec<&str> = line[row.mnemonic.len()..].split_whitespace().collect();
    for field in row.fields {
        let said = words.iter().find_map(|word| word.strip_prefix(&format!("{}=", field.name)[..]));
        match field.kind {
            Kind::Flag => {
                let is_said = words.contains(&field.name);
                assert_eq!(scoped("modifier").contains(field.name), is_said, "{line}");
            }
            Kind::Repeat => {
                let said = words.iter().filter(|word| word.starts_with('x')).count();
                assert_eq!(scoped("repeat").len(), said, "{line}");
            }
            Kind::UnitName => assert_eq!(scoped("unit").len(), 1, "{line}: {tokens:?}"),
            kind => {
                assert_eq!(scoped("parameter").contains(field.name), said.is_some(), "{line}");
                if let (Kind::Choice(_), Some(word)) = (kind, said) {
                    assert!(scoped("language").contains(word), "{line}: {tokens:?}");
                }
            }
        }
    }
    let known = scoped("parameter").len() + scoped("modifier").len();
    let named =
        row.fields.iter().filter(|f| words.iter().any(|w| w.split('=').next() == Some(f.name)));
    assert_eq!(known, named.count(), "{line}: {tokens:?}");
    assert!(tokens.iter().all(|(_, scope)| !scope.is_empty()), "{line}: {tokens:?}");
}

#[test]
fn the_grammar_knows_every_instruction_and_no_other() {
    let grammar = Grammar::kept();
    for row in Instruction::TABLE {
        let defaults: Vec<_> = row.fields.iter().map(|field| field.kind.default_parts()).collect();
        let instruction = row.instruction(&defaults).expect("defaults are legal");
        check(&grammar, &instruction, &instruction.text(&[]));
        // An operand of another row is only a name.
        let tokens = grammar.tokens(&format!("{} nothing=3", row.mnemonic)).len();
        assert!(tokens == 4, "{}", row.mnemonic);
    }
    for line in ["macs x3", "cfg mac", "halted", "cfg ld.srcs dram=0"] {
        let tokens = grammar.tokens(line);
        assert!(tokens.iter().all(|(_, scope)| scope != "keyword.mnemonic.qnn"), "{tokens:?}");
    }
    let scopes = |line: &str| -> Vec<(String, String)> {
        let all = grammar.tokens(line).into_iter();
        all.map(|(text, scope)| (text.to_owned(), scope.trim_end_matches(".qnn").to_owned()))
            .collect()
    };
    let expected = [
        ("again", "entity.name.label"),
        (":", "punctuation.separator.label"),
        ("sync", "keyword.mnemonic"),
        ("mac", "support.type.unit"),
        ("x", "constant.numeric.repeat"),
        ("(", "punctuation"),
        ("2", "constant.numeric"),
        ("*", "keyword.operator.arithmetic"),
        ("N", "variable.other.constant"),
        (")", "punctuation"),
        ("wait", "variable.parameter"),
        ("=", "keyword.operator.assignment"),
        ("rows", "variable.other.constant"),
        (",", "punctuation"),
        ("s3", "variable.other.constant"),
        ("; mac", "comment.line.semicolon"),
    ];
    let expected: Vec<(String, String)> =
        expected.map(|(text, scope)| (text.to_owned(), scope.to_owned())).to_vec();
    assert_eq!(scopes("again: sync mac x(2*N) wait=rows,s3 ; mac"), expected);
    assert_eq!(scopes(".u8 0xff")[0].1, "keyword.control.directive");
    assert_eq!(scopes(".u9 1")[0].1, "", "no directive");
}

/// A whole program: every line in tokens, every instruction with its mnemonic.
fn check_program(grammar: &Grammar, text: &str) {
    let is_code = |line: &&str| !line.trim_start().starts_with(['.', ';']);
    let words: Vec<&str> = Instruction::TABLE.iter().map(|row| row.mnemonic).collect();
    for line in text.lines() {
        let tokens = grammar.tokens(line);
        assert!(tokens.iter().all(|(_, scope)| !scope.is_empty()), "{line}: {tokens:?}");
        for (text, scope) in &tokens {
            assert!(scope != "keyword.mnemonic.qnn" || words.contains(text), "{line}: {text}");
        }
        let first = line.split_whitespace().next().unwrap_or("");
        if is_code(&line) && words.iter().any(|word| word.split(' ').next() == Some(first)) {
            let mnemonic = tokens.first().map(|(_, scope)| &scope[..]);
            assert_eq!(mnemonic, Some("keyword.mnemonic.qnn"), "{line}");
        }
        if line.starts_with('.') {
            assert_eq!(tokens[0].1, "keyword.control.directive.qnn", "{line}");
        }
    }
}

#[test]
fn the_programs_of_the_repository_are_coloured_to_the_last_character() {
    let grammar = Grammar::kept();
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs");
    let hello = std::fs::read_to_string(format!("{programs}/hello.qnn")).expect("the program");
    check_program(&grammar, &hello);
    for name in ["tcv_w1a1", "tcv_w8a8"] {
        let bytes = std::fs::read(format!("{programs}/{name}.bin")).expect("the program");
        let program = Program::from_bytes(&bytes).expect("a program");
        let text = disassemble(&program);
        // Data is one kind of line, and long.
        let code: Vec<&str> =
            text.lines().filter(|line| !line.trim_start().starts_with(".bytes")).collect();
        check_program(&grammar, &code.join("\n"));
    }
}

proptest! {
    #[test]
    fn instructions_are_coloured_as_they_are_read(word in instruction()) {
        let grammar = std::sync::LazyLock::force(&GRAMMAR);
        let instruction = Instruction::decode(word).expect("of the table");
        let line = instruction.text(&[]);
        let head = ".hardware (mac: (rows: 2, cols: 2, lanes: 24))\n\
                    .input (shape: (channels: 1, height: 1, width: 1))\n\
                    .output (shape: (channels: 1, height: 1, width: 1))\n.code\n";
        let program = assemble("t.qnn", &format!("{head}{line}\n")).expect("its own text");
        prop_assert_eq!(program.warm.words[0], word);
        check(grammar, &instruction, &line);
    }
}

static GRAMMAR: std::sync::LazyLock<Grammar> = std::sync::LazyLock::new(Grammar::kept);
