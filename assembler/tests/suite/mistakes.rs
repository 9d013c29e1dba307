//! What a mistake looks like: the whole rendered text.

use qnnsim_assembler::{Diagnostics, assemble};

/// Everything that a program must have; the lines under test follow from line 7 on.
const HEAD: &str = "\
.semaphore rows 2
.data weights
.input (shape: (channels: 1, height: 2, width: 2))
.output (shape: (channels: 1, height: 2, width: 2))
.code
halt
";

fn mistakes(source: &str) -> Diagnostics {
    assemble("t.qnn", source).expect_err("a mistake")
}

/// Code lines against the rendered mistakes.
#[track_caller]
fn check(lines: &str, expected: &str) {
    check_whole(&format!("{HEAD}{lines}\n"), expected);
}

#[track_caller]
fn check_whole(source: &str, expected: &str) {
    let rendered = mistakes(source).render(false);
    assert_eq!(rendered.trim_end(), expected.trim(), "\n{rendered}");
}

#[test]
fn mnemonics() {
    check(
        "macc x3\ncfg mac.shap a=3",
        "
error: unknown instruction `macc`
 --> t.qnn:7:1
  |
7 | macc x3
  | ^^^^ did you mean `mac`?

error: unknown register group `mac.shap`
 --> t.qnn:8:5
  |
8 | cfg mac.shap a=3
  |     ^^^^^^^^ did you mean `mac.shape`?
  |
  = note: `cfg` is followed by ld.src, ld.dst, ld.row, ld.map, mac.shape, mac.act, mac.wgt, mac.ytap, mac.xtap, thr.mode, thr.table, pool.dst, pool.y, pool.x, st.map",
    );
    check(
        "ld.src bytes=3",
        "
error: unknown instruction `ld.src`
 --> t.qnn:7:1
  |
7 | ld.src bytes=3
  | ^^^^^^ did you mean `cfg ld.src`?",
    );
}

#[test]
fn operands() {
    check(
        "  cfg ld.src byts=3",
        "
error: `cfg ld.src` has no operand `byts`
 --> t.qnn:7:14
  |
7 |   cfg ld.src byts=3
  |              ^^^^ did you mean `bytes`?
  |
  = note: `cfg ld.src` takes dram=N bytes=N",
    );
    check(
        "cfg ld.src bytes=1<<24 bytes=2",
        "
error: 16777216 is out of range for `bytes`
 --> t.qnn:7:18
  |
7 | cfg ld.src bytes=1<<24 bytes=2
  |                  ^^^^^ must be 1 to 16777215
  |
  = note: `bytes`: Bytes of one step.

error: `bytes` is given twice
 --> t.qnn:7:24
  |
7 | cfg ld.src bytes=1<<24 bytes=2
  |            ----------- ^^^^^^^
  |            |
  |            first here",
    );
    check(
        "ld resume=1",
        "
error: `resume` takes no value: write it alone
 --> t.qnn:7:4
  |
7 | ld resume=1
  |    ^^^^^^
  |
  = note: `ld` takes xN wait=SEMAPHORE,... post=SEMAPHORE,... resume",
    );
    check(
        "sync x2",
        "
error: `sync` needs a unit
 --> t.qnn:7:8
  |
7 | sync x2
  |        ^
  |
  = note: units are ld, mac, thr, st",
    );
    check(
        "cfg mac.shape k=3",
        "
error: expected `x`
 --> t.qnn:7:18
  |
7 | cfg mac.shape k=3
  |                  ^
  |
  = note: the form is `k=YxX`",
    );
    check(
        "cfg mac.xtap t0=1+300:[0,1]",
        "
error: 300 is out of range for `t0`
 --> t.qnn:7:19
  |
7 | cfg mac.xtap t0=1+300:[0,1]
  |                   ^^^ must be 0 to 255
  |
  = note: `t0`: Entry 2 * index: word offset + remainder : [first, last] output column for which the tap lies inside the map.",
    );
    check(
        "cfg mac.shape kind=bipola",
        "
error: unknown value of `kind`
 --> t.qnn:7:20
  |
7 | cfg mac.shape kind=bipola
  |                    ^^^^^^ did you mean `bipolar`?
  |
  = note: `kind` is one of unsigned, bipolar, signed",
    );
    check(
        "ld wait=row",
        "
error: unknown semaphore `row`
 --> t.qnn:7:9
  |
7 | ld wait=row
  |         ^^^ did you mean `rows`?
  |
  = note: a semaphore is s0 to s15 or a name declared above with .semaphore",
    );
}

#[test]
fn names_and_numbers() {
    check(
        "cfg ld.src dram=wieghts",
        "
error: unknown name `wieghts`
 --> t.qnn:7:17
  |
7 | cfg ld.src dram=wieghts
  |                 ^^^^^^^ did you mean `weights`?
  |
  = note: a name is a constant defined above (.const), a label, INPUT or OUTPUT",
    );
    check(
        ".const K 3\n.const K 4",
        "
error: `K` is defined twice
 --> t.qnn:8:8
  |
8 | .const K 4
  |        ^
  |
 ::: t.qnn:7:8
  |
7 | .const K 3
  |        - first here",
    );
    check(
        "cfg ld.src dram=1/0",
        "
error: division by zero
 --> t.qnn:7:18
  |
7 | cfg ld.src dram=1/0
  |                  ^",
    );
    check(
        ".data d [OUTPUT]",
        "
error: the value of `OUTPUT` is not known here
 --> t.qnn:7:10
  |
7 | .data d [OUTPUT]
  |          ^^^^^^
  |
  = note: sizes, addresses in brackets and constants need constants defined above them, no labels",
    );
    // A wrong constant is one mistake, wherever it is used.
    check(
        ".const K 12z\ncfg ld.src bytes=K",
        "
error: `12z` is not a number
 --> t.qnn:7:10
  |
7 | .const K 12z
  |          ^^^
  |
  = note: numbers are decimal, 0x and hexadecimal, or 0b and binary digits; _ may stand between digits",
    );
}

#[test]
fn sections_and_ron() {
    check(
        ".u8 1",
        "
error: `.u8` outside of data
 --> t.qnn:7:1
  |
7 | .u8 1
  | ^^^
  |
  = note: open a data section first, with .data NAME or .sample",
    );
    check(
        ".layer a (summary: \"a\"\n; a remark é\n, mac: 3)",
        "
error: Unexpected field named `mac` in `layer`, expected one of `summary`, `macs`, `precision`, or `map` instead
 --> t.qnn:9:3
  |
9 | , mac: 3)
  |   ^^^",
    );
    // The unclosed block ends at the next directive.
    check(
        ".layer a (summary: \"a\"\n.cod",
        "
error: this parenthesis is not closed
 --> t.qnn:7:10
  |
7 | .layer a (summary: \"a\"
  |          ^

error: unknown directive `.cod`
 --> t.qnn:8:1
  |
8 | .cod
  | ^^^^ did you mean `.cold`?",
    );
    check_whole(
        ".hardware (mac: (lanes: 12))",
        "
error: contradictory hardware point: mac.lanes=12 is not a multiple of 8
 --> t.qnn:1:11
  |
1 | .hardware (mac: (lanes: 12))
  |           ^^^^^^^^^^^^^^^^^^",
    );
}

#[test]
fn the_whole() {
    check_whole(
        ".input [8] (shape: (channels: 1, height: 2, width: 2))
.output [10] (shape: (channels: 1, height: 2, width: 2))
.code
halt
.sample
.u8 3",
        "
error: the input and the output overlap in DRAM
 --> t.qnn:2:1
  |
2 | .output [10] (shape: (channels: 1, height: 2, width: 2))
  | ^^^^^^^^^^^^ begins at 0xa
  |
 ::: t.qnn:1:1
  |
1 | .input [8] (shape: (channels: 1, height: 2, width: 2))
  | ---------- ends at 0xc
  |
  = note: a region without an address gets a free one

error: the sample has 1 bytes instead of 4
 --> t.qnn:5:1
  |
5 | .sample
  | ^^^^^^^
  |
 ::: t.qnn:1:1
  |
1 | .input [8] (shape: (channels: 1, height: 2, width: 2))
  | ---------- one byte for each value of this input",
    );
    check_whole(
        ".output (shape: (channels: 0, height: 2, width: 2))\n.input (shape: (channels: 1, height: 2, width: 2))\n.cold\nhalt",
        "
error: the output shape 0x2x2 is empty or too large
 --> t.qnn:1:1
  |
1 | .output (shape: (channels: 0, height: 2, width: 2))
  | ^^^^^^^

error: there is no warm code
--> t.qnn
 = note: write it behind .warm, or behind .code for both streams",
    );
}

#[test]
fn many_are_counted_and_coloured() {
    let all = mistakes(&"nonsense\n".repeat(50));
    assert_eq!(all.count(), 50);
    let text = all.render(false);
    assert_eq!(text.matches("unknown instruction").count(), 20);
    assert!(text.ends_with("... and 30 more\n"));
    assert!(!text.contains('\u{1b}') && all.render(true).contains('\u{1b}'));
}
