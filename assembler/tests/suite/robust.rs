//! Any text gives a program or mistakes that can be shown: no panic, no hang.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use qnnsim_assembler::assemble;

/// Assembles and shows what is wrong.
fn survive(source: &str) {
    if let Err(mistakes) = assemble("any.qnn", source) {
        assert!(mistakes.count() > 0);
        assert!(mistakes.render(false).contains("error"));
        mistakes.render(true);
    }
}

fn example() -> &'static str {
    include_str!("../../SYNTAX.md").split("```").nth(1).unwrap()
}

/// Pieces of the language and of its edges.
fn piece() -> impl Strategy<Value = String> {
    let words = vec![
        "cfg",
        "ld.src",
        "mac",
        "mac.xtap",
        "dram=",
        "bytes",
        "x3",
        "x(",
        "wait=",
        "rows",
        ",",
        ":",
        "[",
        "]",
        "(",
        ")",
        "-",
        "<<",
        "/",
        "%",
        "0",
        "0x",
        "0b2",
        "340282366920938463463374607431768211456",
        "1e9",
        "k=3x",
        "\n",
        "\n",
        ";",
        "//",
        "\"",
        "\\",
        "'",
        "r#\"",
        ".const",
        ".data",
        ".layer",
        ".hardware",
        ".input",
        ".output",
        ".fill",
        ".align",
        ".word",
        ".threshold",
        ".u8",
        ".sample",
        ".code",
        ".cold",
        ".warm",
        ".semaphore",
        "none",
        "INPUT",
        "a:",
        "é",
        "\u{0}",
        "\r",
        "\t",
        "\u{feff}",
        "(shape: (channels: 1, height: 1, width: 1))",
        "(mac: (rows: 2))",
        "=",
    ];
    prop_oneof![8 => select(words).prop_map(|w| format!("{w} ")), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text(source in any::<String>()) {
        survive(&source);
    }

    #[test]
    fn pieces(pieces in vec(piece(), 0..60)) {
        survive(&pieces.concat());
    }

    #[test]
    fn damaged(edits in vec((any::<Index>(), 0..12usize, piece()), 1..6)) {
        let mut source: Vec<char> = example().chars().collect();
        for (index, length, text) in edits {
            let at = index.index(source.len());
            let end = (at + length).min(source.len());
            source.splice(at..end, text.chars());
        }
        survive(&source.into_iter().collect::<String>());
    }
}

/// Texts that invite deep recursion, quadratic searches or large memory.
#[test]
fn bombs() {
    let many = |piece: &str| piece.repeat(200_000 / piece.len());
    let data = |line: &str| format!(".data d\n{line}");
    for source in [
        data(&format!(".u8 {}", many("("))),
        data(&format!(".u8 {}", many("-"))),
        data(&format!(".u8 {}", many("1+"))),
        data(&format!(".u8 {}", many("1<<9*"))),
        data(&format!(".word 0x{}", many("0"))),
        data(&format!(".word 0x{}", many("f"))),
        data(&many(".fill 0xfffffff,0\n")),
        data(&many(".fill 1<<99,0\n")),
        format!(".input {}", many("(")),
        format!(".input {}", many("(a:[")),
        many(".layer a (\n"),
        many(".layer a (\"\n"),
        many(".layer a (\n\n\n\n"),
        format!(".layer a ({}", many("\n")),
        format!(".layer a ({}", many("\n ")),
        many(".layer a ()\n"),
        many(".data a [0]\n.u8 1\n"),
        many("a: b: "),
        (0..20_000).map(|i| format!(".layer a{i} ()\n.layer b{i}\n")).collect(),
        format!(".cold\n{}", (0..20_000).map(|i| format!("a{i}: cfg ld.src dram=b{i}\n")).collect::<String>()),
        many("é"),
        many("macro\n"),
        many(" "),
        many("\""),
        format!(".const A 1\n{}", many(".const A A+A\n")),
        ".input (shape: (channels: 4294967295, height: 4294967295, width: 4294967295))\n.code\nhalt".into(),
        ".output (shape: (channels: 1, height: 16384, width: 16384), code: (bits: 99, signed: true))".into(),
        ".input (shape: (channels: 1, height: 1, width: 1), code: (bits: 0, signed: true))".into(),
    ] {
        let start = Instant::now();
        survive(&source);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(120), "{took:?} for {:?}", source.chars().take(30).collect::<String>());
    }
}
