//! The language as a TextMate grammar, with which editors colour it: from the instruction table,
//! the kinds of operands and the list of directives.

use qnnsim_isa::Instruction;
use qnnsim_isa::operand::{Kind, Unit};
use qnnsim_isa::table::{Field, Row};
use serde_json::{Map, Value, json};

use crate::parser::DIRECTIVES;

/// A name as [`crate::parser`] takes it.
const NAME: &str = r"[A-Za-z_][A-Za-z0-9_.]*";

/// The grammar as JSON, as editors read it from a file `*.tmLanguage.json`.
pub fn text_mate() -> String {
    let rows = Instruction::TABLE;
    let mut repository: Map<String, Value> =
        rows.iter().map(|row| (key(row), instruction(row))).collect();
    let mnemonics: Vec<String> = rows.iter().map(|row| mnemonic(row)).collect();
    let directives: Vec<String> =
        DIRECTIVES.iter().map(|name| name.trim_start_matches('.').to_owned()).collect();
    repository.insert("comment".into(), scope("comment.line.semicolon.qnn", ";.*$"));
    repository.insert(
        "directive".into(),
        scope(
            "keyword.control.directive.qnn",
            &format!(r"(?<![\w.])\.(?:{})(?![\w.])", directives.join("|")),
        ),
    );
    // What may follow a label, so that the keys of a block over several lines are none.
    let after = format!(r"\s*(?:$|;|\.[a-z]|(?:{})(?![\w.]))", mnemonics.join("|"));
    repository.insert(
        "label".into(),
        json!({
            "match": format!(r"^\s*({NAME})(:)(?={after})"),
            "captures": {
                "1": { "name": "entity.name.label.qnn" },
                "2": { "name": "punctuation.separator.label.qnn" }
            }
        }),
    );
    repository.insert("value".into(), value());
    let instructions = rows.iter().map(|row| include(&key(row)));
    let patterns: Vec<Value> = ["comment", "directive", "label"]
        .map(include)
        .into_iter()
        .chain(instructions)
        .chain([include("value")])
        .collect();
    let grammar = json!({
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "qnnsim assembly",
        "scopeName": "source.qnn",
        "fileTypes": ["qnn"],
        "patterns": patterns,
        "repository": repository
    });
    serde_json::to_string_pretty(&grammar).expect("plain data serializes") + "\n"
}

fn include(key: &str) -> Value {
    json!({ "include": format!("#{key}") })
}

fn scope(name: &str, pattern: &str) -> Value {
    json!({ "name": name, "match": pattern })
}

/// Name of a row's rule.
fn key(row: &Row) -> String {
    row.mnemonic.replace([' ', '.'], "-")
}

/// A row's mnemonic, its words any blanks apart.
fn mnemonic(row: &Row) -> String {
    row.mnemonic.replace('.', r"\.").replace(' ', r"\s+")
}

/// A row of the table: the rest of its line has its own operands, and values.
fn instruction(row: &Row) -> Value {
    let operands = row.fields.iter().map(operand);
    let patterns: Vec<Value> = operands.chain([include("value")]).collect();
    json!({
        "comment": row.doc,
        "begin": format!(r"(?:^|(?<=:))\s*({})(?![\w.])", mnemonic(row)),
        "beginCaptures": { "1": { "name": "keyword.mnemonic.qnn" } },
        "end": "(?=;)|$",
        "patterns": patterns
    })
}

fn operand(field: &Field) -> Value {
    let name = field.name;
    let captures = json!({
        "1": { "name": "variable.parameter.qnn" },
        "2": { "name": "keyword.operator.assignment.qnn" },
        "3": { "name": "constant.language.qnn" }
    });
    match field.kind {
        Kind::Uint { .. }
        | Kind::Sint { .. }
        | Kind::Pair { .. }
        | Kind::Interval
        | Kind::Tap
        | Kind::Mask => {
            json!({ "match": format!(r"(?<![\w.])({name})(=)"), "captures": captures })
        }
        Kind::Choice(words) => json!({
            "match": format!(r"(?<![\w.])({name})(=)({})(?![\w.])", words.join("|")),
            "captures": captures
        }),
        Kind::Flag => scope("storage.modifier.qnn", &format!(r"(?<![\w.]){name}(?![\w.=])")),
        Kind::Repeat => {
            scope("constant.numeric.repeat.qnn", r"(?<![\w.])x(?:[0-9][0-9_]*(?![\w.])|(?=\())")
        }
        Kind::UnitName => {
            let units = Unit::ALL.map(Unit::name).join("|");
            scope("support.type.unit.qnn", &format!(r"(?<![\w.])(?:{units})(?![\w.=])"))
        }
    }
}

/// Numbers, names, strings and what stands between them.
fn value() -> Value {
    json!({ "patterns": [
        scope("string.quoted.double.qnn", r#""(?:[^"\\]|\\.)*""#),
        scope("constant.numeric.pair.qnn", r"(?<![\w.])[0-9]+x[0-9]+(?![\w.])"),
        scope("keyword.operator.pair.qnn", r"(?<=[0-9)])x(?=[0-9(])"),
        scope(
            "constant.numeric.qnn",
            r"(?<![A-Za-z_.])(?:0x[0-9A-Fa-f_]+|0b[01_]+|[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)"
        ),
        scope("constant.language.qnn", r"(?<![\w.])(?:true|false|none|None|INPUT|OUTPUT)(?![\w.])"),
        scope("variable.other.constant.qnn", NAME),
        scope("keyword.operator.arithmetic.qnn", r"<<|>>|[-+*/%]"),
        scope("punctuation.qnn", r"[=,:()\[\]{}]")
    ] })
}
