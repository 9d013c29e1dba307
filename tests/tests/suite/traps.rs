//! A trap is a diagnosis: one small program, spoilt in one place after the other, and what the
//! machine says.

use qnnsim_simulator::Simulation;

/// Four pixels times four weights: out[x][c] = in[x] * w[c].
const GOOD: &str = r#"
.program "scale"
.hardware (mac: (rows: 4, cols: 4, lanes: 8))
.semaphore rows 0
.semaphore weights 1
.semaphore free 2
.semaphore full 3
.semaphore map 4
.input  (shape: (channels: 1, height: 1, width: 4))
.output (shape: (channels: 4, height: 1, width: 4), code: (bits: 10, signed: true))
.layer scale (macs: 16, precision: (8, 2))
.cold
.layer scale
  cfg ld.src dram=weights bytes=8
  cfg ld.dst memory=wgt span=4
  ld post=weights
  sync mac wait=weights
.code
.layer scale
  cfg ld.src dram=INPUT bytes=4
  cfg ld.dst memory=pack
  cfg ld.row width=4 windows=4
  cfg ld.map pitch=4 block=1
  ld post=rows
  sync thr x2 post=free
  cfg mac.shape a=8 byte w=2 kind=signed tail=8
  cfg mac.act block=1 pitch=4 out=1x4
  cfg mac.wgt plane=1 last=4
  cfg mac.ytap t0=0+0:[0,0]
  cfg mac.xtap t0=0+0:[0,3]
  sync mac wait=rows
  mac wait=free post=full
  cfg thr.mode kind=raw bits=10
  cfg thr.table last=4 pitch=4 out=1x4
  cfg pool.dst base=1 block=10 plane=1 pitch=4
  thr wait=full post=free
  sync thr post=map
  cfg st.map base=1 words=10 block=10 dram=OUTPUT pitch=10
  sync st wait=map
  st x4
  halt
.data weights
  .word 0x00, 0xff, 0xff, 0x00
  .word 0xff, 0xff, 0x00, 0x00
"#;

fn load(source: &str) -> Result<Simulation, String> {
    let program = qnnsim_assembler::assemble("scale.qnn", source)
        .unwrap_or_else(|e| panic!("{}", e.render(false)));
    let again = program.clone();
    Simulation::new(program).map_err(|trap| trap.describe(&again))
}

/// The good program with one text replaced must trap and say all of this.
fn check(from: &str, to: &str, said: &[&str]) {
    assert!(GOOD.contains(from), "{from}");
    let message = match load(&GOOD.replace(from, to)) {
        Ok(_) => panic!("{to}: the program ran"),
        Err(message) => message,
    };
    for part in said {
        assert!(message.contains(part), "`{part}` is not in:\n{message}");
    }
}

#[test]
fn the_good_program_multiplies() {
    let simulation = load(GOOD).expect("legal");
    let mut output = Vec::new();
    simulation.executor().run(&[1, 2, 3, 255], &mut output);
    // Weights by their planes: 01 = 1, 11 = -1, 10 = -2, 00 = 0.
    assert_eq!(output, [1, -1, -2, 0, 2, -2, -4, 0, 3, -3, -6, 0, 255, -255, -510, 0]);
}

#[test]
fn undefined_instruction() {
    // The first burst of code is accepted in cycle 0 and ends at 50 + 16, so word 0 is decoded in
    // cycle 66.
    let undefined = ".cold\n.word 0xf\n.layer scale";
    check(
        ".cold\n.layer scale",
        undefined,
        &["cold image, cycle 66, unit front end", "instruction 0", "opcode 15"],
    );
}

#[test]
fn unconfigured_registers() {
    check(
        "  cfg mac.act block=1 pitch=4 out=1x4\n",
        "",
        &["unit mac", "source layer: scale", "needs cfg mac.act"],
    );
    check("  cfg mac.xtap t0=0+0:[0,3]\n", "", &["unit mac", "needs entry 0 of mac.xtap"]);
}

#[test]
fn illegal_steps() {
    check(
        "w=2 kind=signed",
        "w=2 kind=bipolar",
        &["unit mac", "illegal step: w=2 does not go with"],
    );
    check("a=8 byte", "a=7 byte", &["byte mode needs a=8"]);
    check("bytes=4\n", "bytes=3\n", &["unit ld", "bytes=3 is not width x channels = 4"]);
    check("st x4", "st x4\n  halt", &["front end", "HALT must be the last word"]);
    check(
        "mac wait=free post=full",
        "mac x2 wait=free post=full",
        &["step 1 lies behind the last window tile"],
    );
}

#[test]
fn out_of_range() {
    check(
        "cfg mac.act block=1",
        "cfg mac.act base=600 block=1",
        &["unit mac", "address 600 of the activation memory"],
    );
    check("dram=OUTPUT", "dram=INPUT", &["unit st", "not words of the output region"]);
    check(
        "dram=weights",
        "dram=OUTPUT",
        &["unit ld", "do not lie in one region of code, data or input"],
    );
}

#[test]
fn unwritten() {
    check(
        "cfg mac.act block=1",
        "cfg mac.act base=9 block=1",
        &["unit mac", "unwritten: bank 0, address 9 of the activation"],
    );
    check("st x4", "st x3", &["has not been stored at the end of the image"]);
    check(
        "kind=raw bits=10",
        "kind=linear bits=8",
        &["unit thr", "of the threshold memory is read"],
    );
}

#[test]
fn race() {
    // STORE does not wait for the map: it reads what is being written, or not yet written.
    let raced = load(&GOOD.replace("  sync st wait=map\n", "")).expect_err("nobody waits");
    assert!(
        raced.contains("unit st") && (raced.contains("race") || raced.contains("unwritten")),
        "{raced}"
    );
    // Two more steps of MAC without credit: the second fills bank 0 again while it is drained.
    check(
        "  mac wait=free post=full",
        "  mac wait=free post=full\n  mac\n  mac",
        &["race: ", "accumulator bank 0"],
    );
}

#[test]
fn deadlock() {
    let said = [
        "source layer: scale",
        "deadlock",
        "mac waits for semaphore free",
        "thr waits for semaphore full",
    ];
    check("  sync thr x2 post=free\n", "", &said);
}

#[test]
fn two_consumers() {
    check("sync st wait=map", "sync st wait=map,full", &["semaphore 3 is taken by both"]);
}

#[test]
fn values_that_do_not_fit() {
    // -2 x 255 = -510 needs 10 bits; 9 reach to -256.
    let short =
        GOOD.replace("bits=10", "bits=9").replace("bits: 10", "bits: 9").replace("=10", "=9");
    let message = load(&short).expect_err("too narrow");
    assert!(
        message.contains("range: column 2 can reach -510 to 0, beyond the -256 to 255 of 9 bits"),
        "{message}"
    );
}
