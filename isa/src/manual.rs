//! The ISA manual: prose in `manual.md`, tables from the instruction and parameter tables.

use std::fmt::Write;

use crate::hardware::PARAMETERS;
use crate::table::Instruction;

/// The whole manual, Markdown.
pub fn manual() -> String {
    include_str!("manual.md")
        .replace("{{parameters}}", &parameters())
        .replace("{{instructions}}", &instructions())
}

/// The hardware-parameter table, Markdown.
pub fn parameters() -> String {
    let mut out =
        String::from("| parameter | unit | default | range | meaning |\n|---|---|---|---|---|\n");
    for p in PARAMETERS {
        let range = format!("{} to {}", p.range.start(), p.range.end());
        writeln!(out, "| `{}` | {} | {} | {range} | {} |", p.key, p.unit, p.default, p.doc)
            .expect("String");
    }
    out.pop();
    out
}

fn instructions() -> String {
    let mut out = String::new();
    for row in Instruction::TABLE {
        let syntax: String =
            row.fields.iter().map(|f| format!(" {}", f.kind.syntax(f.name))).collect();
        writeln!(
            out,
            "#### `{}`\n\n{}\n\n```\n{}{syntax}\n```\n",
            row.mnemonic, row.doc, row.mnemonic
        )
        .expect("String");
        let unit = row.unit.map_or("by operand".into(), |u| (u as u32).to_string());
        let unit = if row.fields.is_empty() { "none".into() } else { unit };
        write!(out, "Opcode {}, unit {unit}", row.op).expect("String");
        if let Some(group) = row.group {
            write!(out, ", group {group}").expect("String");
        }
        out.push_str(".\n\n");
        if row.fields.is_empty() {
            continue;
        }
        out.push_str("| operand | bits | range | meaning |\n|---|---|---|---|\n");
        for f in row.fields {
            let (low, high) = (f.lsb, f.lsb + f.kind.bits() - 1);
            let bits = if low == high { low.to_string() } else { format!("{low}-{high}") };
            writeln!(out, "| `{}` | {bits} | {} | {} |", f.name, f.kind.range(), f.doc)
                .expect("String");
        }
        out.push('\n');
    }
    out.push_str("An operand that is not written has the least value of its range that is not negative (a flag is off, a set empty, `x1`).");
    out
}
