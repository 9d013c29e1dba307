//! Which fault is told, and in which cycle: section 5 of the manual, on tiny programs derived by
//! hand.
//!
//! Unless said otherwise the images are warm, so the words are in the code queue at the start: word
//! i is decoded in cycle i and at its queue's head in i + 1. HALT, word h, is decoded in h, and the
//! fetcher asks for the next image's code from h + 1 on.

use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::timing::{self, Code, Start};
use qnnsim_simulator::{Fault, Simulation, Trap};

/// One element of eight lanes, a beat of 16 bytes; changes are further parameters of the point.
fn program(changes: &str, code: &str) -> Program {
    let source = format!(
        r#"
.program "faults"
.hardware (mac: (rows: 1, cols: 1, lanes: 8, depth: 3, taps: 2), fetch: (words: 32), act: (words: 32), {changes})
.semaphore a 0
.semaphore b 1
.input  (shape: (channels: 1, height: 1, width: 4))
.output (shape: (channels: 8, height: 1, width: 8), code: (bits: 1, signed: false))
.code
{code}
  halt
.data data
  .word 1, 2, 3, 4, 5, 6, 7, 8
"#
    );
    qnnsim_assembler::assemble("faults.qnn", &source)
        .unwrap_or_else(|e| panic!("{}", e.render(false)))
}

const DRAM: &str = "dram: (width: 16, latency: 5, burst: 8)";

/// What the machine says of accesses, too.
fn checked(changes: &str, code: &str) -> Trap {
    Simulation::new(program(changes, code)).expect_err("a trap")
}

/// What the timing of a warm image says, in which nothing is known of accesses.
fn timed(changes: &str, code: &str) -> Result<u64, Trap> {
    let program = program(changes, code);
    let code = [&Code::new(&program.cold), &Code::new(&program.warm)];
    timing::run(&program, code, Start::Warm, &mut ()).map(|timing| timing.cycles)
}

fn place(trap: &Trap) -> (u64, Option<Unit>, Option<u32>) {
    (trap.cycle, trap.unit, trap.word)
}

fn is_illegal(trap: &Trap, cycle: u64, unit: Unit, word: u32) {
    assert_eq!(place(trap), (cycle, Some(unit), Some(word)), "{trap:?}");
    assert!(matches!(trap.fault, Fault::Illegal(_)), "{trap:?}");
}

/// Registers of MAC for the steps of two outputs, five words.
const MAC: &str = "
  cfg mac.shape tail=8
  cfg mac.act pitch=2 out=1x2
  cfg mac.wgt last=1
  cfg mac.ytap t0=0+0:[0,9]
  cfg mac.xtap t0=0+0:[0,9] t1=0+0:[0,9]";

/// Registers of THR for the same, three words.
const THR: &str = "
  cfg thr.mode kind=raw bits=1
  cfg thr.table last=1 pitch=2 out=1x2
  cfg pool.dst block=1 plane=1 pitch=2";

#[test]
fn generators_go_on_in_the_same_loops_only() {
    // MAC, word 5, in 6 for a cycle; CFG, word 6, in 7; MAC, word 7, in 8.
    for changed in
        ["mac.shape tail=8 pool=1x2", "mac.wgt last=1 tiles=2", "mac.act pitch=3 out=1x2"]
    {
        let trap =
            timed(DRAM, &format!("{MAC}\n mac\n cfg {changed}\n mac resume")).expect_err(changed);
        is_illegal(&trap, 8, Unit::Mac, 7);
        // What the generator is compared with are the registers of work, whatever SYNC has seen of
        // the shadow.
        let trap = timed(DRAM, &format!("{MAC}\n mac\n cfg {changed}\n sync mac\n mac resume"))
            .expect_err(changed);
        is_illegal(&trap, 9, Unit::Mac, 8);
        // A generator that begins, or has counted nothing in this image, may have any.
        timed(DRAM, &format!("{MAC}\n mac\n cfg {changed}\n mac")).expect("from 0 on");
        timed(DRAM, &format!("{MAC}\n cfg {changed}\n mac resume")).expect("nothing counted");
    }
    for changed in [
        "mac.shape tail=7 words=2",
        "mac.wgt base=3 last=1",
        "mac.act base=4 pitch=2 out=2x2",
        "mac.ytap",
    ] {
        timed(DRAM, &format!("{MAC}\n mac\n cfg {changed}\n mac resume")).expect("the same loops");
    }
    // A step with `add` where nothing has been counted is step 0, which then counts.
    let add = MAC.replace("tail=8", "tail=8 add");
    let trap = timed(DRAM, &format!("{add}\n mac\n cfg mac.wgt last=1 tiles=2\n mac resume"))
        .expect_err("tiles");
    is_illegal(&trap, 8, Unit::Mac, 7);

    // THR, word 3, in 4 for a cycle; CFG in 5; THR, word 5, in 6.
    for changed in [
        "thr.mode kind=raw bits=1 pool=1x2",
        "thr.table last=1 pitch=3 out=1x2",
        "thr.table tiles=2 last=1 pitch=2 out=1x2",
    ] {
        let trap =
            timed(DRAM, &format!("{THR}\n thr\n cfg {changed}\n thr resume")).expect_err(changed);
        is_illegal(&trap, 6, Unit::Thr, 5);
    }
    for changed in
        ["thr.mode kind=raw bits=2", "thr.table base=1 last=1 pitch=2 out=2x2", "pool.dst pitch=3"]
    {
        timed(DRAM, &format!("{THR}\n thr\n cfg {changed}\n thr resume")).expect("the same loops");
    }

    // LD, word 2, in 3; CFG in 4; LD, word 4, in 5.
    let plain = "cfg ld.src dram=data bytes=1\n cfg ld.dst memory=wgt span=1\n ld";
    let trap = timed(DRAM, &format!("{plain}\n cfg ld.dst memory=act span=1\n ld resume"))
        .expect_err("memory");
    is_illegal(&trap, 5, Unit::Load, 4);
    timed(DRAM, &format!("{plain}\n cfg ld.dst memory=wgt base=3 span=1\n ld resume"))
        .expect("the same loops");
    // With two columns there are spans of 1 and 2.
    let wide = DRAM.replace("dram", "acc: (banks: 3), dram");
    let two = |code: &str| {
        let program = program(&wide, code);
        let text = qnnsim_assembler::disassemble(&program).replace("cols: 1,", "cols: 2,");
        let program = qnnsim_assembler::assemble("two.qnn", &text)
            .unwrap_or_else(|e| panic!("{}", e.render(false)));
        assert_eq!(program.hardware.mac_cols, 2);
        let code = [&Code::new(&program.cold), &Code::new(&program.warm)];
        timing::run(&program, code, Start::Warm, &mut ()).map(|timing| timing.cycles)
    };
    let trap =
        two(&format!("{plain}\n cfg ld.dst memory=wgt span=2\n ld resume")).expect_err("span");
    is_illegal(&trap, 5, Unit::Load, 4);
    two(&format!("{plain}\n cfg ld.dst memory=wgt span=2\n ld")).expect("from 0 on");

    // LD, word 4, in 5; CFG in 6; LD, word 6, in 7.
    let pack = "cfg ld.src dram=INPUT bytes=4\n cfg ld.dst memory=pack\n cfg ld.row width=4 windows=4\n cfg ld.map pitch=4 block=1\n ld";
    for changed in
        ["ld.map pitch=5 block=1", "ld.map s=1x2 pitch=4 block=1", "ld.map s=2x1 pitch=4 block=1"]
    {
        let trap = timed(DRAM, &format!("{pack}\n cfg {changed}\n ld resume")).expect_err(changed);
        is_illegal(&trap, 7, Unit::Load, 6);
    }
    for changed in
        ["ld.map pitch=4 block=2", "ld.dst memory=pack span=1", "ld.row width=4 windows=3"]
    {
        timed(DRAM, &format!("{pack}\n cfg {changed}\n ld resume")).expect("the same loops");
    }

    let store = "cfg st.map words=1 dram=OUTPUT\n st";
    timed(
        DRAM,
        &format!("{store}\n cfg st.map bank=3 words=2 block=7 dram=16 pitch=5\n st resume"),
    )
    .expect("no loops");
}

#[test]
fn what_is_missing_is_told_before_what_is_illegal() {
    let unconfigured = |code: &str, unit: Unit, said: &str| {
        let trap = timed(DRAM, code).expect_err(said);
        assert_eq!(trap.unit, Some(unit), "{trap:?}");
        assert!(matches!(&trap.fault, Fault::Unconfigured { what } if what == said), "{trap:?}");
    };
    // A tail of 9 lanes of 8, and no xtap.
    let bad = MAC.replace("tail=8", "tail=9").replace("cfg mac.xtap t0=0+0:[0,9] t1=0+0:[0,9]", "");
    unconfigured(&format!("{bad}\n mac"), Unit::Mac, "entry 0 of mac.xtap");
    // Other loops than before, and at position 1 an entry that the machine does not have: in other
    // loops the generator's counters mean nothing, so which entries the step needs is not even
    // asked.
    let next = "mac\n cfg mac.shape tail=8 pool=1x2 step=0x2\n mac resume";
    let trap = timed(DRAM, &format!("{MAC}\n {next}")).expect_err("other loops");
    assert_eq!(trap.unit, Some(Unit::Mac), "{trap:?}");
    assert!(matches!(&trap.fault, Fault::Illegal(_)), "{trap:?}");
    // 9 bits of linear, and no intervals.
    let bad = THR.replace("kind=raw bits=1", "kind=linear bits=9 masked");
    unconfigured(&format!("{bad}\n thr"), Unit::Thr, "position 0 of pool.y");
    // Twice the bytes of a row, more than the one buffer of one beat takes, and no map.
    let bad = "cfg ld.src dram=INPUT bytes=40\n cfg ld.dst memory=pack\n cfg ld.row width=4 windows=4\n ld";
    let small = "load: (buffers: 1), dram: (width: 16, latency: 5, burst: 1)";
    let trap = timed(small, bad).expect_err("no map");
    assert!(
        matches!(&trap.fault, Fault::Unconfigured { what } if what == "cfg ld.map"),
        "{trap:?}"
    );
}

#[test]
fn of_all_accesses_of_a_step_the_first_cause_is_told() {
    // Word 31 of 32 is unwritten, the next does not exist. Cold, with three words in 0 + 5 + 3 = 8:
    // ST, word 1, at its head in 8 + 1 + 1 = 10, for two cycles.
    let trap = checked(DRAM, "cfg st.map base=31 words=2 dram=OUTPUT\n st");
    assert_eq!(place(&trap), (11, Some(Unit::Store), Some(1)), "{trap:?}");
    assert!(matches!(trap.fault, Fault::OutOfRange(_)), "{trap:?}");
    // Nothing written, and a region of DRAM that is not the output.
    let trap = checked(DRAM, "cfg st.map words=2 dram=INPUT\n st");
    assert_eq!(place(&trap), (11, Some(Unit::Store), Some(1)), "{trap:?}");
    assert!(
        matches!(&trap.fault, Fault::OutOfRange(why) if why.contains("output region")),
        "{trap:?}"
    );
    // Weights from the input, and further than the input reaches. Four words in 9, LD, word 2, at
    // its head in 12.
    let trap = checked(DRAM, "cfg ld.src dram=INPUT bytes=64\n cfg ld.dst memory=wgt\n ld");
    is_illegal(&trap, 12, Unit::Load, 2);
}

#[test]
fn a_step_with_a_fault_goes_on_until_the_machine_stops() {
    // Six words in 0 + 5 + 6 = 11, word i at its head in 12 + i. LD, word 2, in 14: one beat, there
    // in 14 + 5 + 1 = 20. ST, word 4, in 16: eight words from 16 to 23, all of them unwritten,
    // which is told in 23. But before, in 20, LD writes the last of them, which is being read,
    // in one cycle.
    let code = "cfg ld.src dram=data bytes=1
        cfg ld.dst memory=act base=7
        ld
        cfg st.map words=8 dram=OUTPUT
        st";
    let trap = checked(DRAM, code);
    assert_eq!(place(&trap), (20, Some(Unit::Load), Some(2)), "{trap:?}");
    assert!(
        matches!(&trap.fault, Fault::Race(why) if why.contains("being read until cycle 23")),
        "{trap:?}"
    );
    // With the word before the first they have nothing to do with each other.
    let trap = checked(DRAM, &code.replace("base=7", "base=8"));
    assert_eq!(place(&trap), (23, Some(Unit::Store), Some(4)), "{trap:?}");
    assert!(matches!(trap.fault, Fault::Unwritten(_)), "{trap:?}");
}

#[test]
fn ties_go_to_the_lower_unit_and_the_second_stage() {
    // Both wait for the SYNC and want the port, which a step that traps does not claim: MAC, though
    // STORE comes first. STORE's step is longer than a burst of 128 bytes.
    let code = format!(
        "{}\n cfg st.map words=200 dram=OUTPUT\n mac wait=a\n st wait=b\n sync ld post=a,b",
        MAC.replace("tail=8", "tail=9")
    );
    // SYNC, word 8, in 9; both in 10.
    is_illegal(&timed(DRAM, &code).expect_err("illegal"), 10, Unit::Mac, 6);
    let legal = code.replace("tail=9", "tail=8");
    is_illegal(&timed(DRAM, &legal).expect_err("illegal"), 10, Unit::Store, 7);

    // Cold, three words in 8: ST, word 0, is at its head in 9, when word 1 is decoded.
    let trap = checked(DRAM, "st\n .word 0xf");
    assert_eq!(place(&trap), (9, Some(Unit::Store), Some(0)), "{trap:?}");
    assert!(matches!(trap.fault, Fault::Unconfigured { .. }), "{trap:?}");

    // MAC, word 5, in 6; its second step lies behind the last tile, in 7, when CFG, word 6, would
    // be applied.
    let code = format!(
        "{}\n mac x2\n cfg mac.xtap index=1",
        MAC.replace("pitch=2 out=1x2", "pitch=1 out=1x1")
    );
    is_illegal(&timed(DRAM, &code).expect_err("illegal"), 7, Unit::Mac, 5);
    let code = format!("{MAC}\n mac x2\n cfg mac.xtap index=1");
    is_illegal(&timed(DRAM, &code).expect_err("illegal"), 7, Unit::Mac, 6);

    // Cold, 22 words: bursts until 13, 21, 27, then word i is at its head in 14 + i. The LDs ask in
    // 16, 19 and 22, behind the code: 28, 29 and with three beats 32. Writes of 1, 1 and 3
    // cycles; post visible from 32 + 3 + 2 = 37. SYNC of MAC in 37, MAC in 38, its post visible
    // from 38 + 1 + 3 = 42, SYNC of THR in 42. Drains of 2^2 - 1 = 3 cycles: in 43, and in 46
    // of bank 1, which nothing has written: told in 48. The first word is ready in
    // 43 + 3 + thr.depth = 47, its write of 2 planes is held in 47 and 48 and lies behind the
    // memory: told in 48 too.
    let code = "
        cfg ld.src dram=data bytes=1
        cfg ld.dst memory=act
        ld
        cfg ld.src dram=data bytes=1
        cfg ld.dst memory=wgt
        ld
        cfg ld.src dram=data bytes=48
        cfg ld.dst memory=thr
        ld post=a
        cfg mac.shape tail=8
        cfg mac.act pitch=2 out=1x2
        cfg mac.wgt last=1
        cfg mac.ytap t0=0+0:[0,9]
        cfg mac.xtap t0=0+0:[0,9]
        sync mac wait=a
        mac post=b
        cfg thr.mode kind=table bits=2
        cfg thr.table last=1 pitch=2 out=1x2
        cfg pool.dst base=40 plane=1 pitch=2
        sync thr wait=b
        thr x2";
    let shallow = format!("thr: (depth: 1), load: (width: 1, depth: 2), {DRAM}");
    let data = |code: &str| {
        let mut program = program(&shallow, code);
        program.data[0].bytes = vec![0; 48];
        program.check().expect("a sound program");
        Simulation::new(program).expect_err("a trap")
    };
    let trap = data(code);
    assert_eq!(place(&trap), (48, Some(Unit::Thr), Some(20)), "{trap:?}");
    assert!(matches!(trap.fault, Fault::OutOfRange(_)), "{trap:?}");
    let trap = data(&code.replace("base=40", "base=20"));
    assert_eq!(place(&trap), (48, Some(Unit::Thr), Some(20)), "{trap:?}");
    assert!(
        matches!(&trap.fault, Fault::Unwritten(why) if why.contains("accumulator bank 1")),
        "{trap:?}"
    );
}

#[test]
fn a_step_traps_when_it_would_issue() {
    // THR does not wait for a buffer: word 3 issues in 4, its word is ready in 4 + 1 + 2 and keeps
    // the only buffer until its write in 7 has ended, but word 5 traps in 6.
    let one = format!("thr: (buffers: 1, depth: 2), {DRAM}");
    let code = format!("{THR}\n thr\n cfg thr.mode kind=linear bits=9\n thr");
    is_illegal(&timed(&one, &code).expect_err("9 bits"), 6, Unit::Thr, 5);

    // MAC waits for the port: ST, word 1, in 2, reads until 9. MAC, word 7, is at its head in 8.
    let code =
        format!("cfg st.map words=8 dram=OUTPUT\n st{}\n mac", MAC.replace("tail=8", "tail=9"));
    is_illegal(&timed(DRAM, &code).expect_err("9 lanes"), 10, Unit::Mac, 7);

    // STORE waits for the port, word 3 at its head in 4, and for a buffer. The burst of word 1,
    // read in 2, is ready in 4; beside it nobody asks but the fetcher in 6, behind HALT, word
    // 4, decoded in 4 and so in 5: the burst is accepted in 4 and ends in 4 + 1 + 1 = 6.
    let code = "cfg st.map words=1 dram=OUTPUT\n st\n cfg st.map words=200 dram=OUTPUT\n st";
    is_illegal(&timed(DRAM, code).expect_err("too long"), 4, Unit::Store, 3);
    let one = format!("store: (buffers: 1), {DRAM}");
    is_illegal(&timed(&one, code).expect_err("too long"), 6, Unit::Store, 3);

    // LOAD waits for a buffer: LD, word 2, in 3, a beat that ends in 9, a write in 9: free from 10.
    // Word 4 is at its head in 5.
    let code = "cfg ld.src dram=data bytes=1\n cfg ld.dst memory=wgt\n ld\n cfg ld.dst memory=wgt bank=1\n ld";
    is_illegal(&timed(DRAM, code).expect_err("bank"), 5, Unit::Load, 4);
    let one = format!("load: (buffers: 1), {DRAM}");
    is_illegal(&timed(&one, code).expect_err("bank"), 10, Unit::Load, 4);
    // For room at the DRAM: until the burst has ended in 9, and then the fetcher comes first, with
    // six words until 9 + 5 + 6 = 20.
    let one = DRAM.replace("width", "outstanding: 1, width");
    is_illegal(&timed(&one, code).expect_err("bank"), 20, Unit::Load, 4);
    // And for the DRAM's slot: SYNC, word 2, in 3 and 4; LD, word 3, could issue in 5, but HALT,
    // word 4, is decoded in 4 and the fetcher asks in 5 for the five words.
    let code = "cfg ld.src dram=data bytes=1\n cfg ld.dst memory=wgt bank=1\n sync ld x2\n ld";
    is_illegal(&timed(DRAM, code).expect_err("bank"), 6, Unit::Load, 3);
}
