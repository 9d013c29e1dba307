//! Each kind of instruction in a tiny program: its cycles, derived by hand from section 4 of the
//! manual in the comments, and its values, derived by hand from section 3.
//!
//! The point is 1x1x8 (see [`tiny`]). An instruction is one beat, so a fetch burst of n words that
//! the DRAM accepts in cycle t with an idle bus is there in t + 5 + n. From then on the front end
//! decodes a word a cycle: if word 0 is decoded in cycle c, word i is decoded in c + i and at its
//! queue's head in c + i + 1, if nothing stands before it. Warm, the words are in the code queue at
//! the start, so c = 0.
//!
//! A timeline has a line for each issue, in the order of cycles: the fetcher's, then the units'.
//! CFG words are not in it.

use crate::twin;

use qnnsim_isa::descriptor::{Code, MapShape};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind};
use qnnsim_isa::program::{Scratch, Segment};
use qnnsim_isa::table::{
    Halt, Ld, LdDst, LdMap, LdRow, LdSrc, Mac, MacAct, MacShape, MacWgt, MacXtap, MacYtap, PoolDst,
    St, StMap, Sync, Thr, ThrMode, ThrTable,
};
use qnnsim_isa::{HardwarePoint, Instruction, Program, Unit};
use qnnsim_simulator::{Fault, Simulation, Start};
use twin::{Ending, engine, generate, tick};

/// One element of eight lanes, a beat of 16 bytes, and every pipeline of a depth of its own.
fn tiny(changes: &[&str]) -> HardwarePoint {
    let mut over = Overrides::default();
    let point = [
        "mac.rows=1",
        "mac.cols=1",
        "mac.lanes=8",
        "mac.depth=3",
        "mac.taps=2",
        "act.words=32",
        "wgt.words=32",
        "thr.words=32",
        "thr.depth=2",
        "load.width=1",
        "load.depth=2",
        "fetch.words=32",
        "dram.width=16",
        "dram.latency=5",
        "dram.burst=8",
    ];
    for assignment in point.iter().chain(changes) {
        over.set(assignment).expect("a parameter");
    }
    over.resolve().expect("a valid point")
}

/// Semaphores.
const A: u16 = 1;
const B: u16 = 2;
const C: u16 = 4;

/// Where the output lies; a multiple of the beat.
const OUTPUT: u32 = 0x40_0000;
/// Where the input lies.
const INPUT: u32 = 0x30_0000;

/// A program with some bytes at DRAM address 0 on, and an output of pixels x channels values.
fn program(
    hardware: HardwarePoint,
    cold: &[Instruction],
    warm: &[Instruction],
    data: &[u8],
    output: (u32, u32, Code),
) -> Program {
    let mut program = generate::program(hardware, cold, warm);
    program.data.push(Segment { name: "data".into(), dram: 0, bytes: data.to_vec() });
    let (width, channels, code) = output;
    program.output.shape = MapShape { channels, height: 1, width };
    program.output.code = code;
    program.check().expect("a sound program");
    program
}

/// What both engines say of an image, line by line.
fn timeline(program: &Program, start: Start, expected: &str) {
    let tidy = |text: &str| -> Vec<String> {
        text.lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|l| !l.is_empty())
            .collect()
    };
    let history = engine(program, start).expect("no trap");
    assert_eq!(tidy(&history.to_string()), tidy(expected), "the engine, {start:?}");
    let history = tick(program, start);
    assert_eq!(tidy(&history.to_string()), tidy(expected), "the twin, {start:?}");
}

/// The same as the timelines end with, and the output, both for the cold and the warm image.
fn values(program: &Program, input: &[u8], cycles: [u64; 2], expected: &[i64]) {
    let simulation = Simulation::new(program.clone()).expect("no trap");
    for (start, cycles) in [Start::Cold, Start::Warm].into_iter().zip(cycles) {
        assert_eq!(simulation.timing(start).cycles, cycles, "{start:?}");
        assert_eq!(tick(program, start).ending, Ending::Cycles(cycles), "{start:?}");
    }
    let mut output = Vec::new();
    simulation.cold_executor().run(input, &mut output);
    assert_eq!(output, expected, "cold");
    simulation.executor().run(input, &mut output);
    assert_eq!(output, expected, "warm");
}

/// The lanes of words of 1-bit codes.
fn lanes(words: &[u8]) -> Vec<i64> {
    words.iter().flat_map(|w| (0..8).map(move |lane| i64::from(w >> lane & 1))).collect()
}

const BIT: Code = Code { bits: 1, signed: false };

fn halt() -> Instruction {
    Halt::default().into()
}

fn sync(unit: Unit, wait: u16, post: u16) -> Instruction {
    Sync { unit, repeat: 1, wait, post }.into()
}

fn ld(post: u16) -> Instruction {
    Ld { post, ..Ld::default() }.into()
}

fn src(dram: u32, bytes: u32) -> Instruction {
    LdSrc { dram, bytes }.into()
}

fn dst(memory: Memory) -> Instruction {
    LdDst { memory, ..LdDst::default() }.into()
}

/// The tap tables of a kernel of one tap, inside the map at every output; with pooling, position i
/// at i pixels.
fn taps() -> [Instruction; 2] {
    let tap = |offset| Tap { offset, remainder: 0, first: 0, last: 4095 };
    [
        MacYtap { index: 0, t0: tap(0), t1: tap(0) }.into(),
        MacXtap { index: 0, t0: tap(0), t1: tap(1) }.into(),
    ]
}

/// Registers of MAC for a kernel of one tap and some words, for 1-bit codes and `tiles` window
/// tiles.
fn mac_words(words: u32, tiles: u32) -> [Instruction; 5] {
    let [y, x] = taps();
    [
        MacShape { words, tail: 8, ..MacShape::default() }.into(),
        MacAct { out: [1, tiles], pitch: tiles, ..MacAct::default() }.into(),
        MacWgt { last: 1, ..MacWgt::default() }.into(),
        y,
        x,
    ]
}

#[test]
fn halt_refills_the_code_queue() {
    let program = generate::program(tiny(&[]), &[halt()], &[halt()]);
    // One word, accepted in 0, is there in 0 + 5 + 1. Decoded in 6; from 7 on the front end is
    // halting, and the fetcher asks for the warm stream's one word, there in 7 + 5 + 1 = 13:
    // the first cycle with no fetch on its way.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 1 until 6
         7 fetch 1 until 13
         13 end",
    );
    // Decoded in 0; refilled from 1 to 1 + 5 + 1.
    timeline(
        &program,
        Start::Warm,
        "1 fetch 1 until 7
         7 end",
    );
}

#[test]
fn sync_takes_and_posts() {
    let words = [
        Sync { unit: Unit::Mac, repeat: 2, wait: A, post: 0 }.into(),
        Sync { unit: Unit::Load, repeat: 2, wait: 0, post: A }.into(),
        halt(),
    ];
    let program = generate::program(tiny(&[]), &words, &words);
    // Fetched in 0 + 5 + 3 = 8, so decoded in 8, 9, 10. MAC's SYNC is at its head in 9 and waits.
    // LOAD's is there in 10, issues in 10 and 11; the posts are visible a cycle later, so MAC's
    // issues in 11 and 12. HALT is decoded in 10: refill from 11 to 11 + 5 + 3 = 19.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 3 until 8
         10 ld #1 sync
         11 fetch 3 until 19
         11 ld #1 sync
         11 mac #0 sync
         12 mac #0 sync
         19 end",
    );
    // Eight cycles earlier.
    timeline(
        &program,
        Start::Warm,
        "2 ld #1 sync
         3 fetch 3 until 11
         3 ld #1 sync
         3 mac #0 sync
         4 mac #0 sync
         11 end",
    );
}

#[test]
fn sync_does_not_overtake_its_pipe() {
    let mut words = mac_words(2, 1).to_vec();
    words.extend([Mac::default().into(), sync(Unit::Mac, 0, 0), sync(Unit::Mac, 0, A), halt()]);
    let program = generate::program(tiny(&[]), &words, &words);
    // Nine words: eight in 0 + 5 + 8 = 13, one accepted in 1 behind them on the bus, 14. Word i is
    // at its head in 14 + i. MAC, word 5: 19, for K * a * w = 2 cycles. The SYNC without posts
    // only needs the stage: 21. The one with posts needs the pipe, empty from 19 + 2 +
    // mac.depth = 24. HALT is decoded in 13 + 8 = 21: 22 + 5 + 8 = 35, and the last word behind
    // it, 36.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 1 until 14
         19 mac #5 array 2
         21 mac #6 sync
         22 fetch 8 until 35
         23 fetch 1 until 36
         24 mac #7 sync
         36 end",
    );
    timeline(
        &program,
        Start::Warm,
        "6 mac #5 array 2
         8 mac #6 sync
         9 fetch 8 until 22
         10 fetch 1 until 23
         11 mac #7 sync
         23 end",
    );
}

#[test]
fn cfg_changes_the_shadow_while_the_unit_runs() {
    let mut words = mac_words(1, 4).to_vec();
    words.push(Mac { repeat: 4, ..Mac::default() }.into());
    words.push(mac_words(4, 4)[0]);
    words.extend([Mac::default().into(), halt()]);
    let program = generate::program(tiny(&["queue.depth=1"]), &words, &words);
    // A queue of one word: word 0 is decoded in 13, at the head and applied in 14; in that cycle's
    // state the queue is full, so word 1 is decoded in 15. So go the five CFG words, and MAC,
    // word 5, is decoded in 23 and issues in 24, one cycle a step (K = 1): 24 to 27. It left
    // the queue in 24: CFG, word 6, is decoded in 25, applied in 26, which the steps in 26 and
    // 27 do not see. MAC, word 7, is decoded in 27, issues in 28 with K = 4. HALT goes to no
    // queue: decoded in 28. Refill: 29 + 5 + 8 = 42, then 43.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 1 until 14
         24 mac #5 array 1
         25 mac #5 array 1
         26 mac #5 array 1
         27 mac #5 array 1
         28 mac #7 array 4
         29 fetch 8 until 42
         30 fetch 1 until 43
         43 end",
    );
    timeline(
        &program,
        Start::Warm,
        "11 mac #5 array 1
         12 mac #5 array 1
         13 mac #5 array 1
         14 mac #5 array 1
         15 mac #7 array 4
         16 fetch 8 until 29
         17 fetch 1 until 30
         30 end",
    );
}

#[test]
fn ld_moves_words() {
    let words = [
        src(0, 3),
        dst(Memory::Act),
        ld(A),
        sync(Unit::Store, A, 0),
        StMap { words: 3, dram: OUTPUT, ..StMap::default() }.into(),
        St::default().into(),
        halt(),
    ];
    let data = [0x53, 0x0f, 0x80];
    let program = program(tiny(&[]), &words, &words, &data, (3, 8, BIT));
    // Seven words in 0 + 5 + 7 = 12; word i is at its head in 13 + i.
    // LD, word 2, in 15: three bytes are one beat, there in 15 + 5 + 1 = 21. Then the write, ceil(3
    // / min(load.width = 1, span = 1)) = 3 cycles, and the post is visible from 21 + 3 +
    // load.depth = 26. HALT, word 6, is decoded in 18: refill from 19 to 19 + 5 + 7 = 31.
    // SYNC takes the post in 26, CFG behind it is applied in 27, ST issues in 28 for 3 cycles. Its
    // buffer is ready in 28 + 3 + 1 = 32; the burst ends in max(32 + 1, bus 31) + 1 = 34; the
    // pipe is empty from 35.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 7 until 12
         15 ld #2 burst of 1 until 21
         19 fetch 7 until 31
         21 ld #2 write 3
         26 st #3 sync
         28 st #5 read 3
         32 st #5 burst of 1 until 34
         35 end",
    );
    // Twelve cycles earlier.
    timeline(
        &program,
        Start::Warm,
        "3 ld #2 burst of 1 until 9
         7 fetch 7 until 19
         9 ld #2 write 3
         14 st #3 sync
         16 st #5 read 3
         20 st #5 burst of 1 until 22
         23 end",
    );
    values(&program, &[0], [36, 24], &lanes(&data));
}

#[test]
fn ld_packs_an_image_row() {
    let words = [
        src(INPUT, 3),
        dst(Memory::Pack),
        LdRow { width: 3, windows: 3, taps: 2, left: 1, xor: 0x80, pad: 0x0f, ..LdRow::default() }
            .into(),
        LdMap { pitch: 3, block: 2, ..LdMap::default() }.into(),
        ld(A),
        sync(Unit::Store, A, 0),
        StMap { words: 6, dram: OUTPUT, ..StMap::default() }.into(),
        St::default().into(),
        halt(),
    ];
    let mut program = program(tiny(&[]), &words, &words, &[], (6, 8, BIT));
    program.input.shape = MapShape { channels: 1, height: 1, width: 3 };
    // Nine words, in 13 and 14; word i is at its head in 14 + i. LD, word 4, in 18: one beat, there
    // in 18 + 5 + 1 = 24. Write: s_x = 1 times ceil(3 windows / min(1, 1)) times 2 words of a
    // packed pixel = 6; post visible from 24 + 6 + 2 = 32. HALT, word 8, is decoded in 21:
    // refill from 22 to 35 and from 23 to 36. SYNC in 32, CFG in 33, ST in 34 for 6 cycles,
    // ready in 41, burst until 42 + 1 = 43, end in 44.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 1 until 14
         18 ld #4 burst of 1 until 24
         22 fetch 8 until 35
         23 fetch 1 until 36
         24 ld #4 write 6
         32 st #5 sync
         34 st #7 read 6
         41 st #7 burst of 1 until 43
         44 end",
    );
    timeline(
        &program,
        Start::Warm,
        "5 ld #4 burst of 1 until 11
         9 fetch 8 until 22
         10 fetch 1 until 23
         11 ld #4 write 6
         19 st #5 sync
         21 st #7 read 6
         28 st #7 burst of 1 until 30
         31 end",
    );
    // XOR 0x80 gives 01, 82, 00. The windows begin one pixel to the left: (pad, 01), (01, 82), (82,
    // 00).
    values(&program, &[0x81, 0x02, 0x80], [45, 32], &lanes(&[0x0f, 0x01, 0x01, 0x82, 0x82, 0x00]));
}

#[test]
fn mac_multiplies_planes() {
    let [y, x] = taps();
    let loads = [src(0, 2), dst(Memory::Act), ld(0), src(16, 2), dst(Memory::Wgt), ld(A)];
    let work = [
        MacShape { a: 2, w: 2, kind: WeightKind::Signed, tail: 8, ..MacShape::default() }.into(),
        MacAct { block: 2, plane: 1, ..MacAct::default() }.into(),
        MacWgt { plane: 1, last: 1, ..MacWgt::default() }.into(),
        y,
        x,
        sync(Unit::Mac, A, 0),
        Mac { post: B, ..Mac::default() }.into(),
        ThrMode { bits: 8, ..ThrMode::default() }.into(),
        ThrTable::default().into(),
        PoolDst { base: 8, block: 8, plane: 1, ..PoolDst::default() }.into(),
        Thr { wait: B, ..Thr::default() }.into(),
        sync(Unit::Thr, 0, C),
        sync(Unit::Store, C, 0),
        StMap { base: 8, words: 8, dram: OUTPUT, ..StMap::default() }.into(),
        St::default().into(),
        halt(),
    ];
    let cold = [&loads[..], &work].concat();
    // Warm, the weights are there, and the activations' load posts.
    let warm = [&loads[..2], &[ld(A)], &work].concat();

    // Lane by lane from lane 0: activations 3 1 0 2 1 0 0 3, weights 1 -1 -2 0 1 1 -1 -2; the sum
    // of products is 3 - 1 + 0 + 0 + 1 + 0 + 0 - 6 = -3. High planes first; bit i of a byte is
    // lane i.
    let mut data = [0; 18];
    data[0] = 0b1000_1001;
    data[1] = 0b1001_0011;
    data[16] = 0b1100_0110;
    data[17] = 0b0111_0011;
    let program = program(tiny(&[]), &cold, &warm, &data, (1, 1, Code { bits: 8, signed: true }));

    // 22 words: 8 in 13, 8 in 21, 6 in 27; a word is decoded each cycle from 13, so word i is at
    // its head in 14 + i. The first LD, word 2, asks in 16, behind the code on the bus: max(16
    // + 5, 27) + 1 = 28. The second, word 5, in 19: 29. Writes of 2 words: 28, and when the
    // stage is free, 30. Post visible from 30 + 2 + 2 = 34. SYNC of MAC in 34, MAC in 35: K * a
    // * w = 1 * 2 * 2 = 4 cycles; post visible from 35 + 4 + mac.depth = 42. THR drains in 42:
    // one group of columns times 8 bits = 8. The word is ready in 42 + 8 + thr.depth = 52, its
    // write takes 1 word * 8 planes * 1 * 1 segment = 8 cycles, and THR's pipe is empty in 60:
    // its SYNC; STORE's in 61; CFG in 62; ST in 63 for 8 cycles; ready in 72; burst until 74;
    // end in 75. HALT, word 21, is decoded in 34: refill of 19 words from 35: 48, 56, 59.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 8 until 21
         2 fetch 6 until 27
         16 ld #2 burst of 1 until 28
         19 ld #5 burst of 1 until 29
         28 ld #2 write 2
         30 ld #5 write 2
         34 mac #11 sync
         35 fetch 8 until 48
         35 mac #12 array 4
         36 fetch 8 until 56
         37 fetch 3 until 59
         42 thr #16 drain 8
         52 thr #16 write 8
         60 thr #17 sync
         61 st #18 sync
         63 st #20 read 8
         72 st #20 burst of 1 until 74
         75 end",
    );
    // LD, word 2, in 3, written from 9, post visible from 13; then the same distances.
    timeline(
        &program,
        Start::Warm,
        "3 ld #2 burst of 1 until 9
         9 ld #2 write 2
         13 mac #8 sync
         14 mac #9 array 4
         19 fetch 8 until 32
         20 fetch 8 until 40
         21 fetch 3 until 43
         21 thr #13 drain 8
         31 thr #13 write 8
         39 thr #14 sync
         40 st #15 sync
         42 st #17 read 8
         51 st #17 burst of 1 until 53
         54 end",
    );
    values(&program, &[0], [76, 55], &[-3]);
}

/// Two positions of a window, five and three bits set, through the threshold unit and the max-pool
/// unit.
fn pooled(kind: ThresholdKind, entries: &[(i64, i32)]) -> Program {
    let [y, x] = taps();
    let bytes = entries.len() as u32 * 16;
    let mut cold = vec![src(0, 2), dst(Memory::Act), ld(0), src(16, 1), dst(Memory::Wgt), ld(0)];
    cold.extend([src(32, bytes), dst(Memory::Thr), ld(A)]);
    let work = [
        MacShape { pool: [1, 2], step: [0, 1], tail: 8, ..MacShape::default() }.into(),
        MacAct { block: 1, ..MacAct::default() }.into(),
        MacWgt { last: 1, ..MacWgt::default() }.into(),
        y,
        x,
        sync(Unit::Mac, A, 0),
        Mac { repeat: 2, post: B, ..Mac::default() }.into(),
        ThrMode { kind, bits: 2, pool: [1, 2], ..ThrMode::default() }.into(),
        ThrTable::default().into(),
        PoolDst { base: 8, block: 2, plane: 1, ..PoolDst::default() }.into(),
        Thr { repeat: 2, wait: B, ..Thr::default() }.into(),
        sync(Unit::Thr, 0, C),
        sync(Unit::Store, C, 0),
        StMap { base: 8, words: 2, dram: OUTPUT, ..StMap::default() }.into(),
        St::default().into(),
        halt(),
    ];
    let warm = [&cold[..2], &[ld(A)], &work].concat();
    cold.extend(work);
    let mut data = vec![0; 32];
    data[0] = 0b0001_1111;
    data[1] = 0b0000_0111;
    data[16] = 0b1111_1111;
    for (a, b) in entries {
        data.extend(&a.to_le_bytes()[..6]);
        data.extend(b.to_le_bytes());
        data.extend([0; 6]);
    }
    program(tiny(&[]), &cold, &warm, &data, (1, 1, Code { bits: 2, signed: false }))
}

#[test]
fn thr_divides_and_pools() {
    let program = pooled(ThresholdKind::Linear, &[(1, 2)]);
    // 25 words: bursts until 13, 21, 29 and 30; word i is at its head in 14 + i. The LDs ask in 16,
    // 19, 22 and share the bus behind the code: 31, 32, 33. Writes of 2, 1 and 1 cycles: 31,
    // 33, 34; post visible from 34 + 1 + 2 = 37. SYNC of MAC in 37; the two positions in 38 and
    // 39, one cycle each; posts visible from 42 and 43. THR: 1 group of columns * 2 bits = 2
    // cycles each: 42 and 44. The second completes the word: ready in 44 + 2 + 2 = 48, written
    // in 1 * 2 * 1 * 1 = 2 cycles; SYNC in 50; STORE's in 51; CFG in 52; ST in 53 for 2 cycles,
    // ready in 56. HALT, word 24, is decoded in 37: refill from 38: 51, 59, 62. So the store's
    // burst ends in 62 + 1.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 8 until 21
         2 fetch 8 until 29
         3 fetch 1 until 30
         16 ld #2 burst of 1 until 31
         19 ld #5 burst of 1 until 32
         22 ld #8 burst of 1 until 33
         31 ld #2 write 2
         33 ld #5 write 1
         34 ld #8 write 1
         37 mac #14 sync
         38 fetch 8 until 51
         38 mac #15 array 1
         39 fetch 8 until 59
         39 mac #15 array 1
         40 fetch 3 until 62
         42 thr #19 drain 2
         44 thr #19 drain 2
         48 thr #19 write 2
         50 thr #20 sync
         51 st #21 sync
         53 st #23 read 2
         56 st #23 burst of 1 until 63
         64 end",
    );
    timeline(
        &program,
        Start::Warm,
        "3 ld #2 burst of 1 until 9
         9 ld #2 write 2
         13 mac #8 sync
         14 mac #9 array 1
         15 mac #9 array 1
         18 thr #13 drain 2
         19 fetch 8 until 32
         20 fetch 8 until 40
         20 thr #13 drain 2
         21 fetch 3 until 43
         24 thr #13 write 2
         26 thr #14 sync
         27 st #15 sync
         29 st #17 read 2
         32 st #17 burst of 1 until 44
         45 end",
    );
    // floor((5 - 1) / 2) = 2 and floor((3 - 1) / 2) = 1; the larger.
    values(&program, &[0], [65, 46], &[2]);
    // B = 3: floor((5 + 1) / 3) = 2, floor((3 + 1) / 3) = 1. B = -2: v' = -v: floor((-5 + 7) / 2) =
    // 1, floor((-3 + 7) / 2) = 2.
    values(&pooled(ThresholdKind::Linear, &[(-1, 3)]), &[0], [65, 46], &[2]);
    values(&pooled(ThresholdKind::Linear, &[(-7, -2)]), &[0], [65, 46], &[2]);
    // B = 0: the code is A, clipped.
    values(&pooled(ThresholdKind::Linear, &[(1, 0)]), &[0], [65, 46], &[1]);
    values(&pooled(ThresholdKind::Linear, &[(9, 0)]), &[0], [65, 46], &[3]);
}

#[test]
fn thr_searches_a_table() {
    // Codes 1, 2, 3 from 1, 3, 5 on; level order.
    let program = pooled(ThresholdKind::Table, &[(3, 1), (1, 1), (5, 1)]);
    // As with linear, but the third LD has three beats, 32 + 3 = 35, and writes three entries, 35
    // to 37; post visible from 35 + 3 + 2 = 40. A drain takes 2^2 - 1 = 3 cycles: 45 and 48;
    // word ready in 48 + 3 + 2 = 53; SYNC in 55. ST in 58, ready in 61, burst accepted with the
    // bus taken until 62: 63.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 8 until 21
         2 fetch 8 until 29
         3 fetch 1 until 30
         16 ld #2 burst of 1 until 31
         19 ld #5 burst of 1 until 32
         22 ld #8 burst of 3 until 35
         31 ld #2 write 2
         33 ld #5 write 1
         35 ld #8 write 3
         38 fetch 8 until 51
         39 fetch 8 until 59
         40 fetch 3 until 62
         40 mac #14 sync
         41 mac #15 array 1
         42 mac #15 array 1
         45 thr #19 drain 3
         48 thr #19 drain 3
         53 thr #19 write 2
         55 thr #20 sync
         56 st #21 sync
         58 st #23 read 2
         61 st #23 burst of 1 until 63
         64 end",
    );
    // 5 meets 3 and 5: code 3. 3 meets 3, not 5: code 2. The larger is 3.
    values(&program, &[0], [65, 46], &[3]);
    // Falling: met if v <= A. 5 meets neither 4 nor 2: 0. 3 meets 4, not 1: 2.
    values(&pooled(ThresholdKind::Table, &[(4, -1), (2, -1), (1, -1)]), &[0], [65, 46], &[2]);
}

#[test]
fn thr_posts_early() {
    let (free, full) = (A, B);
    let mut words = mac_words(1, 2).to_vec();
    words.extend([
        sync(Unit::Thr, 0, free),
        Mac { repeat: 2, wait: free, post: full, ..Mac::default() }.into(),
        ThrMode { bits: 8, ..ThrMode::default() }.into(),
        ThrTable { out: [1, 2], pitch: 2, ..ThrTable::default() }.into(),
        PoolDst { base: 8, block: 8, plane: 1, pitch: 2, ..PoolDst::default() }.into(),
        Thr { repeat: 2, wait: full, post: free, ..Thr::default() }.into(),
        halt(),
    ]);
    let program = generate::program(tiny(&["acc.banks=1"]), &words, &words);
    // Twelve words, in 13 and 17; word i is at its head in 14 + i. SYNC, word 5, in 19 grants the
    // one bank; MAC in 20; its post is visible from 20 + 1 + 3 = 24. THR drains in 24 for 8
    // cycles and posts as if it were 8 - (3 - 1): visible from 30. MAC in 30 writes its bank in
    // 30 + 1 + 3 - 1 = 33, after the last read in 31. Its post is visible from 34.
    // The words are ready in 24 + 8 + 2 = 34 and 34 + 8 + 2 = 44; each write takes 8 cycles; THR's
    // pipe is empty in 52.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 4 until 17
         19 thr #5 sync
         20 mac #6 array 1
         24 thr #10 drain 8
         25 fetch 8 until 38
         26 fetch 4 until 42
         30 mac #6 array 1
         34 thr #10 drain 8
         34 thr #10 write 8
         44 thr #10 write 8
         52 end",
    );
}

#[test]
fn mac_writes_its_whole_bank() {
    let hardware = tiny(&["mac.rows=2", "mac.cols=2", "thr.cols=1"]);
    let [y, x] = taps();
    let shape = |add| MacShape { add, tail: 8, ..MacShape::default() }.into();
    let cold = [
        src(0, 2),
        LdDst { memory: Memory::Act, span: 2, ..LdDst::default() }.into(),
        ld(C),
        src(16, 2),
        LdDst { memory: Memory::Wgt, span: 2, ..LdDst::default() }.into(),
        ld(0),
        src(32, 16),
        LdDst { memory: Memory::Thr, base: 3, ..LdDst::default() }.into(),
        ld(A),
        sync(Unit::Mac, A, 0),
        y,
        x,
        // Two rows and two columns, into bank 0 and then bank 1.
        shape(false),
        MacAct { block: 1, pitch: 2, out: [1, 2], ..MacAct::default() }.into(),
        MacWgt { last: 2, ..MacWgt::default() }.into(),
        Mac { repeat: 1, ..Mac::default() }.into(),
        Mac { repeat: 1, ..Mac::default() }.into(),
        // One row and one column, added to bank 1, and then alone into bank 0.
        shape(true),
        MacAct { block: 1, pitch: 2, out: [1, 1], ..MacAct::default() }.into(),
        MacWgt { last: 1, ..MacWgt::default() }.into(),
        Mac { repeat: 1, ..Mac::default() }.into(),
        shape(false),
        Mac { repeat: 1, ..Mac::default() }.into(),
        sync(Unit::Store, C, 0),
        StMap { words: 1, dram: OUTPUT, ..StMap::default() }.into(),
        St::default().into(),
        halt(),
    ];
    // The warm image loads the same two words to address 1 and stores the second.
    let warm = [
        src(0, 2),
        LdDst { memory: Memory::Act, base: 1, span: 2, ..LdDst::default() }.into(),
        ld(C),
        sync(Unit::Store, C, 0),
        StMap { bank: 1, base: 1, words: 1, dram: OUTPUT, ..StMap::default() }.into(),
        St::default().into(),
        halt(),
    ];
    let mut data = vec![0; 48];
    (data[0], data[1]) = (0b0000_0111, 0b0001_1111);
    (data[16], data[17]) = (0b1111_1111, 0b0000_1111);
    data[32..38].copy_from_slice(&(-5i64).to_le_bytes()[..6]);
    data[38..42].copy_from_slice(&(-3i32).to_le_bytes());
    let program = program(hardware, &cold, &warm, &data, (1, 8, BIT));
    let simulation = Simulation::new(program).expect("no trap");

    let mut output = Vec::new();
    let mut executor = simulation.cold_executor();
    executor.run(&[0], &mut output);
    assert_eq!(output, lanes(&[0b0000_0111]));
    let cold = executor.memories();
    // 32 words a bank.
    let mut activations = vec![0; 64];
    (activations[0], activations[32]) = (0b0000_0111, 0b0001_1111);
    assert_eq!(cold.activations, activations);
    let mut weights = vec![0; 64];
    (weights[0], weights[32]) = (0b1111_1111, 0b0000_1111);
    assert_eq!(cold.weights, weights);
    let mut thresholds = vec![(0, 0); 32];
    thresholds[3] = (-5, -3);
    assert_eq!(cold.thresholds, thresholds);
    assert_eq!(cold.output, [0b0000_0111]);
    // A full step counts 3 and 3 in row 0, 5 and 4 in row 1; row sums 3 and 5. Bank 0 has lost them
    // but for the element in use; in bank 1 that one has been added to.
    assert_eq!(cold.accumulators, [3, 0, 0, 0, 6, 3, 5, 4]);
    assert_eq!(cold.row_sums, [3, 0, 6, 5]);

    // The machine goes on: what the warm image does not write stays.
    let mut next = simulation.next_executor(executor);
    next.run(&[0], &mut output);
    assert_eq!(output, lanes(&[0b0001_1111]));
    let mut after = cold.clone();
    (after.activations[1], after.activations[33]) = (0b0000_0111, 0b0001_1111);
    after.output = vec![0b0001_1111];
    assert_eq!(next.memories(), after);

    // A resident executor computes the same from memories that hold weights and thresholds only.
    let mut resident = simulation.executor();
    resident.run(&[0], &mut output);
    assert_eq!(output, lanes(&[0b0001_1111]));
    (after.activations[0], after.activations[32]) = (0, 0);
    after.accumulators.fill(0);
    after.row_sums.fill(0);
    assert_eq!(resident.memories(), after);
}

/// Six words in two steps of ST, while MAC wants the read port.
fn stored(buffers: &str) -> Program {
    let mut words =
        vec![src(16, 2), dst(Memory::Wgt), ld(0), src(0, 6), dst(Memory::Act), ld(A | B)];
    words.push(StMap { words: 3, block: 3, dram: OUTPUT, pitch: 3, ..StMap::default() }.into());
    words.extend([sync(Unit::Store, A, 0), St { repeat: 2, ..St::default() }.into()]);
    words.extend(mac_words(2, 1));
    words.extend([sync(Unit::Mac, B, 0), Mac::default().into(), halt()]);
    let mut data = vec![1, 2, 3, 4, 5, 6];
    data.resize(18, 0xff);
    program(tiny(&[buffers]), &words, &words, &data, (6, 8, BIT))
}

#[test]
fn st_waits_for_its_buffer() {
    let program = stored("store.buffers=1");
    // 17 words, in 13, 21 and 22; word i is at its head in 14 + i. The LDs ask in 16 and 19; their
    // beats come in max(21, 22) + 1 = 23 and max(24, 23) + 1 = 25. Writes: 2 cycles from 23, 6
    // cycles from 25; post visible from 25 + 6 + 2 = 33. Both SYNCs in 33. In 34 STORE and MAC
    // want the read port: STORE has it, until 36. MAC in 37. The buffer is ready in 34 + 3 + 1
    // = 38. HALT, word 16, is decoded in 29, so the refill has the bus: from 30 on 43, 51, 52.
    // So the burst ends in 53, and then the only buffer is free for the second step: read in 53,
    // ready in 57, burst until 58 + 1 = 59, pipe empty in 60.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 8 until 21
         2 fetch 1 until 22
         16 ld #2 burst of 1 until 23
         19 ld #5 burst of 1 until 25
         23 ld #2 write 2
         25 ld #5 write 6
         30 fetch 8 until 43
         31 fetch 8 until 51
         32 fetch 1 until 52
         33 mac #14 sync
         33 st #7 sync
         34 st #8 read 3
         37 mac #15 array 2
         38 st #8 burst of 1 until 53
         53 st #8 read 3
         57 st #8 burst of 1 until 59
         60 end",
    );
    timeline(
        &program,
        Start::Warm,
        "3 ld #2 burst of 1 until 9
         6 ld #5 burst of 1 until 12
         9 ld #2 write 2
         12 ld #5 write 6
         17 fetch 8 until 30
         18 fetch 8 until 38
         19 fetch 1 until 39
         20 mac #14 sync
         20 st #7 sync
         21 st #8 read 3
         24 mac #15 array 2
         25 st #8 burst of 1 until 40
         40 st #8 read 3
         44 st #8 burst of 1 until 46
         47 end",
    );
    values(&program, &[0], [61, 48], &lanes(&[1, 2, 3, 4, 5, 6]));
}

#[test]
fn st_goes_before_mac() {
    let program = stored("store.buffers=2");
    // With a second buffer the second step wants the port in 37, with MAC, and has it: MAC in 40.
    // It is ready in 37 + 3 + 1 = 41; its burst ends a beat after the first one's, in 54; the pipe
    // is empty in 55.
    timeline(
        &program,
        Start::Cold,
        "0 fetch 8 until 13
         1 fetch 8 until 21
         2 fetch 1 until 22
         16 ld #2 burst of 1 until 23
         19 ld #5 burst of 1 until 25
         23 ld #2 write 2
         25 ld #5 write 6
         30 fetch 8 until 43
         31 fetch 8 until 51
         32 fetch 1 until 52
         33 mac #14 sync
         33 st #7 sync
         34 st #8 read 3
         37 st #8 read 3
         38 st #8 burst of 1 until 53
         40 mac #15 array 2
         41 st #8 burst of 1 until 54
         55 end",
    );
    // Warm, everything is 13 cycles earlier.
    values(&program, &[0], [56, 43], &lanes(&[1, 2, 3, 4, 5, 6]));
}

/// Where the scratch region lies.
const SCRATCH: u32 = 0x50_0000;

/// Two words to the activation memory, to the scratch region, back to other addresses and to the
/// output; with changes.
fn by_way_of_scratch(change: impl Fn(&mut Vec<Instruction>)) -> Result<Simulation, Fault> {
    let mut words = vec![src(0, 2), dst(Memory::Act), ld(A | C)];
    words.push(StMap { words: 2, block: 2, dram: SCRATCH, pitch: 2, ..StMap::default() }.into());
    words.extend([sync(Unit::Store, A, 0), St::default().into(), sync(Unit::Store, 0, B)]);
    words.extend([sync(Unit::Load, B, 0), src(SCRATCH, 2)]);
    words.extend([LdDst { memory: Memory::Act, base: 4, ..LdDst::default() }.into(), ld(A)]);
    words.push(
        StMap { base: 4, words: 2, block: 2, dram: OUTPUT, pitch: 2, ..StMap::default() }.into(),
    );
    words.extend([sync(Unit::Store, A, 0), St::default().into(), halt()]);
    change(&mut words);
    let mut program = program(tiny(&[]), &words, &words, &[3, 5], (2, 8, BIT));
    program.scratch = Scratch { dram: SCRATCH, bytes: 3 };
    program.check().expect("a sound program");
    Simulation::new(program).map_err(|trap| trap.fault)
}

#[test]
fn what_is_stored_is_loaded_again() {
    let simulation = by_way_of_scratch(|_| ()).expect("no trap");
    let mut output = Vec::new();
    let mut executor = simulation.cold_executor();
    for start in ["cold", "warm"] {
        executor.run(&[0], &mut output);
        assert_eq!(output, lanes(&[3, 5]), "{start}");
        executor = simulation.next_executor(executor);
    }
    // A third word, which nothing has stored, does no harm as long as nothing reads it.
    assert!(by_way_of_scratch(|words| words[8] = src(SCRATCH, 3)).is_ok());
}

#[test]
fn scratch_has_its_faults() {
    let fault =
        |change: &dyn Fn(&mut Vec<Instruction>)| by_way_of_scratch(change).expect_err("a fault");
    let told = |fault: &Fault, part: &str| assert!(fault.to_string().contains(part), "{fault}");

    // One more word than was stored, to the second word of the output and behind; the third is at
    // address 6.
    let unwritten = fault(&|words| {
        words[8] = src(SCRATCH, 3);
        words[11] =
            StMap { base: 5, words: 2, block: 2, dram: OUTPUT, pitch: 2, ..StMap::default() }
                .into();
    });
    assert!(matches!(unwritten, Fault::Unwritten(_)), "{unwritten}");
    told(&unwritten, "address 6 of the activation memory");
    // LD goes with ST, only two CFG words later, when ST has read and its burst has not ended.
    let early = fault(&|words| words[7] = sync(Unit::Load, C, 0));
    assert!(matches!(early, Fault::Race(_)), "{early}");
    told(&early, "loads the scratch word at DRAM address 5242880, which is being stored");
    // ST once more, six cycles behind the post B: LD's SYNC, two CFG words and its burst, which
    // takes at least five, are on their way.
    let late = fault(&|words| {
        words[11] =
            StMap { words: 2, block: 2, dram: SCRATCH, pitch: 2, ..StMap::default() }.into();
        words[12] = Sync { unit: Unit::Store, repeat: 4, wait: 0, post: 0 }.into();
        words[6] = Sync { unit: Unit::Store, repeat: 1, wait: 0, post: B }.into();
    });
    assert!(matches!(late, Fault::Race(_)), "{late}");
    told(&late, "stores the scratch word at DRAM address 5242880, which is being loaded");

    let weights = fault(&|words| words[9] = dst(Memory::Wgt));
    assert!(matches!(weights, Fault::Illegal(_)), "{weights}");
    told(&weights, "cannot be loaded from the scratch region");
    let beyond = fault(&|words| words[8] = src(SCRATCH, 4));
    assert!(matches!(beyond, Fault::OutOfRange(_)), "{beyond}");
    told(&beyond, "are not words of the scratch region");
    let behind = fault(&|words| {
        words[3] =
            StMap { words: 2, block: 2, dram: SCRATCH + 2, pitch: 2, ..StMap::default() }.into()
    });
    assert!(matches!(behind, Fault::OutOfRange(_)), "{behind}");
    told(&behind, "are not words of the output or the scratch region");
}
