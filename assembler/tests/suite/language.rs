//! What the assembler makes of a text, in tiny cases.

use qnnsim_assembler::{assemble, disassemble};
use qnnsim_isa::{Instruction, Program};

/// Everything that a program must have besides the lines under test.
const HEAD: &str = "\
.hardware (mac: (rows: 2, cols: 2, lanes: 24))
.semaphore rows 2
.semaphore full 3
.const K 3
.input [0x8000] (shape: (channels: 1, height: 2, width: 2))
.output [0x9000] (shape: (channels: 1, height: 2, width: 2))
.code
halt
";

fn program(lines: &str) -> Program {
    assemble("t.qnn", &format!("{HEAD}{lines}")).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// One line of code against the line that the disassembler writes.
#[track_caller]
fn check(line: &str, expected: &str) {
    let program = program(&format!(".warm\n{line}"));
    let words = &program.warm.words[1..];
    let text: Vec<String> = words
        .iter()
        .map(|&w| Instruction::decode(w).map_or(format!("{w:#x}"), |i| i.text(&program.semaphores)))
        .collect();
    assert_eq!(text.join("\n"), expected);
}

/// Lines of data against their bytes.
#[track_caller]
fn check_data(lines: &str, expected: &[u8]) {
    assert_eq!(program(&format!(".data d\n{lines}")).data[0].bytes, expected);
}

#[test]
fn operands() {
    check("halt", "halt");
    check("  ld   x1  ; a comment", "ld");
    check("ld post=rows x28", "ld x28 post=rows");
    check("mac wait=s3, rows resume", "mac wait=rows,full resume");
    check("sync post=s0 x(K*2) thr", "sync thr x6 post=s0");
    check("cfg ld.src bytes=0x10 dram=0b11", "cfg ld.src dram=3 bytes=16");
    check("cfg ld.src dram=INPUT+(2*28)", "cfg ld.src dram=32824");
    check("cfg ld.src dram=OUTPUT + 4 bytes=K", "cfg ld.src dram=36868 bytes=3");
    check("cfg mac.shape k=3x1 pool = 2x(K-1) byte a=8", "cfg mac.shape a=8 byte k=3x1 pool=2x2");
    check("cfg mac.shape step=0x12", "cfg mac.shape step=0x12");
    check(
        "cfg mac.xtap t0=-1+3:[1,13] t1=(K-4):[0, K]",
        "cfg mac.xtap t0=-1+3:[1,13] t1=-1+0:[0,3]",
    );
    check("cfg pool.y p1=[4,K]", "cfg pool.y p1=[4,3]");
    check("cfg thr.mode kind=linear bits=K", "cfg thr.mode kind=linear bits=3");
    check(".word 0xffffffffffffffffffffffffffffffff, 7", "0xffffffffffffffffffffffffffffffff\n0x7");
    check("here: cfg ld.src dram=here", "cfg ld.src dram=80"); // warm follows the cold word at 64, and is the second word
}

#[test]
fn expressions() {
    let value = |text: &str, expected| check_data(&format!(".u8 {text}"), &[expected]);
    value("1 + 2 * 3", 7);
    value("(1 + 2) * 3", 9);
    value("7 - 2 - 1", 4);
    value("1 << 2 + 1", 8);
    value("-7 / 2 + 10", 7);
    value("-7 % 4 + 10", 7);
    value("0x1_0 >> K", 2);
    value("- -K", 3);
    value("-1", 255);
    value("0b1010_0101", 0xa5);
}

#[test]
fn data() {
    check_data(".u8 1, 255\n.u16 0x1234\n.u32 -2", &[1, 255, 0x34, 0x12, 0xfe, 0xff, 0xff, 0xff]);
    check_data(".u64 0xffffffffffffffff", &[255; 8]);
    check_data(".bytes \"00 ffA5\"\n.fill K, 7\n.align 4", &[0, 255, 0xa5, 7, 7, 7, 0, 0]);
    // 24 lanes take 4 bytes, lane 0 is bit 0.
    check_data(".word 0b1, 0x800000\n.word K", &[1, 0, 0, 0, 0, 0, 0x80, 0, 3, 0, 0, 0]);
    // A in 6 bytes, B in 4, 6 of zeros.
    check_data(".threshold -2, 3", &[0xfe, 255, 255, 255, 255, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // The address of a section further down: 64 is the warm code, 128 is d, 192 is e.
    check_data(".u16 e, e.end\n.data e\n.u8 0\ne.end:", &[192, 0, 193, 0]);
}

#[test]
fn layout() {
    // Cold at 0, warm at 64: `a` does not fit between 128 and the input at 0x8000, `b` does.
    let program = program(".data a\n.fill 0x8000, 0\n.data b [0xc0]\n.u8 1\n.data c\n.u8 1");
    let places: Vec<u32> = program.data.iter().map(|s| s.dram).collect();
    // `a` steps over b, the input (4 bytes) and the output (4 pixels x 32 planes x 4 bytes =
    // 0x200).
    assert_eq!(places, [0x9200, 0xc0, 0x11200]);
    assert_eq!((program.cold.dram, program.warm.dram), (0, 64));
}

#[test]
fn streams_and_layers() {
    let program = program(
        ".layer a ()\n.layer \"b c\" (summary: \"two\" ; a remark (\n)\nhalt\n.cold\nhalt\n.layer a\nhalt\n\
         .layer none\nhalt\n.layer 1\nhalt\n.warm\n.layer \"b c\"\nhalt\n.sample\n.u8 1, 2, 3, 4",
    );
    assert_eq!(program.cold.layers, [None, Some(1), None, Some(0), None, Some(1)]);
    assert_eq!(program.warm.layers, [None, Some(1), Some(1)]);
    assert_eq!(program.layers[1].summary, "two");
    assert_eq!(program.sample, Some(vec![1, 2, 3, 4]));
    assert_eq!(program.semaphores, ["", "", "rows", "full"]);
}

#[test]
fn defaults() {
    let program = program("");
    assert_eq!(program.name, "t");
    assert_eq!((program.input.xor, &program.input.pixel_scale[..]), (0, &[1.0][..]));
    assert_eq!((program.output.code.bits, program.output.code.signed), (32, true));
    assert_eq!(
        assemble("x", &format!("\u{feff}{}", HEAD.replace('\n', "\r\n"))).unwrap().warm,
        program.warm
    );
}

#[test]
fn example_of_the_reference() {
    let text = include_str!("../../SYNTAX.md").split("```").nth(1).unwrap();
    let program = assemble("SYNTAX.md", text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(program.data[0].bytes, [0, 255, 255, 0, 255, 255, 0, 0]);
    assert_eq!(program.cold.words.len(), program.warm.words.len() + 4);
    assert!(program.cold.words.iter().all(|&word| Instruction::decode(word).is_ok()));
    assert_eq!(assemble("again", &disassemble(&program)).unwrap(), program);
}
