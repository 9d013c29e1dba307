//! The instruction table as a SystemVerilog package: opcodes, register groups, a packed struct and
//! an extracting function for every row, and the test for undefined words.

use std::fmt::Write;

use crate::operand::Kind;
use crate::table::{Field, Instruction, Row};

/// Words that SystemVerilog keeps for itself, of those that the table uses.
const KEYWORDS: &[&str] = &["byte", "repeat", "signed", "wait", "xor"];

/// One part of an operand: member name, bits, lowest bit, signed.
struct Member {
    name: String,
    bits: u32,
    lsb: u32,
    signed: bool,
}

fn members(row: &Row) -> Vec<Member> {
    row.fields.iter().flat_map(field_members).collect()
}

fn field_members(field: &Field) -> Vec<Member> {
    let suffixes: &[&str] = match field.kind {
        Kind::Pair { .. } => &["_y", "_x"],
        Kind::Interval => &["_first", "_last"],
        Kind::Tap => &["_offset", "_remainder", "_first", "_last"],
        _ if KEYWORDS.contains(&field.name) => &["_"],
        _ => &[""],
    };
    let mut lsb = field.lsb;
    let mut all = Vec::new();
    for (suffix, &(bits, signed)) in suffixes.iter().zip(field.kind.parts()) {
        all.push(Member { name: format!("{}{suffix}", field.name), bits, lsb, signed });
        lsb += bits;
    }
    all
}

/// Name of a row as an identifier: `ld_src` for `cfg ld.src`.
fn identifier(row: &Row) -> String {
    row.mnemonic.trim_start_matches("cfg ").replace('.', "_")
}

/// What a word must meet to be the row's encoding, as a SystemVerilog expression.
fn condition(row: &Row) -> String {
    let (mask, value) = row.identity();
    let mut all = format!(
        "(word & 128'h{mask:x}) == 128'h{value:x} && (word & 128'h{:x}) == 128'h0",
        !row.claimed()
    );
    for field in row.fields {
        for (part, member) in field_members(field).iter().enumerate() {
            let (min, max) = field.kind.limits(part);
            let extracted = format!("word[{}:{}]", member.lsb + member.bits - 1, member.lsb);
            if member.signed {
                continue; // all values of two's complement parts are legal
            }
            if min > 0 {
                write!(all, "\n        && {extracted} >= {}'d{min}", member.bits)
                    .expect("a String takes any text");
            }
            if max < (1i64 << member.bits) - 1 {
                write!(all, "\n        && {extracted} <= {}'d{max}", member.bits)
                    .expect("a String takes any text");
            }
        }
    }
    all
}

/// The text of `rtl/isa_pkg.sv`.
pub fn package() -> String {
    let mut out = String::from(
        "// Generated from the instruction table (isa/src/table.rs); a test keeps this file current.\n\
         // Each row: its opcode or register group, its operands as a packed struct, and a function that takes them from a word.\n\n\
         // A package offers more than one unit uses.\n\
         /* verilator lint_off UNUSEDPARAM */\n\
         /* verilator lint_off UNUSEDSIGNAL */\n\
         package isa_pkg;\n",
    );
    for row in Instruction::TABLE {
        let name = identifier(row);
        let upper = name.to_uppercase();
        writeln!(out, "\n  // {}: {}", row.mnemonic, row.doc).expect("a String takes any text");
        match row.group {
            Some(group) => writeln!(out, "  localparam logic [4:0] GROUP_{upper} = 5'd{group};"),
            None => writeln!(out, "  localparam logic [3:0] OP_{upper} = 4'd{};", row.op),
        }
        .expect("a String takes any text");
        for field in row.fields {
            if let Kind::Choice(names) = field.kind {
                for (value, choice) in names.iter().enumerate() {
                    writeln!(
                        out,
                        "  localparam logic [1:0] {upper}_{}_{} = 2'd{value};",
                        field.name.to_uppercase(),
                        choice.to_uppercase()
                    )
                    .expect("a String takes any text");
                }
            }
        }
        let members = members(row);
        if members.is_empty() {
            continue;
        }
        writeln!(out, "  typedef struct packed {{").expect("a String takes any text");
        for m in &members {
            let signed = if m.signed { " signed" } else { "" };
            let range = if m.bits == 1 { String::new() } else { format!(" [{}:0]", m.bits - 1) };
            writeln!(out, "    logic{signed}{range} {};", m.name).expect("a String takes any text");
        }
        let parts: Vec<String> =
            members.iter().map(|m| format!("word[{}:{}]", m.lsb + m.bits - 1, m.lsb)).collect();
        writeln!(
            out,
            "  }} {name}_t;\n  function automatic {name}_t {name}(input logic [127:0] word);\n    {name} = {{{}}};\n  endfunction",
            parts.join(", ")
        )
        .expect("a String takes any text");
    }
    writeln!(out, "\n  localparam logic [3:0] OP_CFG = 4'd{};", config_op())
        .expect("a String takes any text");
    out += "\n  // Whether a word is the encoding of any row, with every operand in its range.\n\
            \x20 function automatic logic defined(input logic [127:0] word);\n    defined = 1'b0;\n";
    for row in Instruction::TABLE {
        writeln!(out, "    if ({}) defined = 1'b1;", condition(row))
            .expect("a String takes any text");
    }
    out += "  endfunction\nendpackage\n/* verilator lint_on UNUSEDSIGNAL */\n/* verilator lint_on UNUSEDPARAM */\n";
    out
}

/// The opcode that all register groups share.
fn config_op() -> u32 {
    Instruction::TABLE.iter().find(|row| row.group.is_some()).expect("there are register groups").op
}
