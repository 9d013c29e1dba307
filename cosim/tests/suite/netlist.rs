//! What yosys makes of the RTL is the machine: its netlist, in the bench instead of the sources,
//! runs random programs with no bit and no cycle off. That yosys reads a source without complaint
//! does not say that it reads what is written.

use crate::common;
use crate::planted::planted;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::process::Command;

use qnnsim_cosim::compare::CompareError;
use qnnsim_cosim::faults::{Fault, Planted};
use qnnsim_cosim::random::{Random, RandomError, random};
use qnnsim_cosim::verilator::{BuildError, Sources};
use qnnsim_tests::cases;

/// What a synthesis makes of the sources before it looks for gates: processes become registers and
/// multiplexers, arrays become memories, all is optimized. Modules stay apart, for the bench looks
/// into them.
const PASSES: &str = "proc; check -assert; opt -full; wreduce; peepopt; opt_clean; memory -nomap; opt -full; opt_clean";

/// The machine as yosys writes it, and the bench that finds its way in it.
fn netlist(sources: Sources, parameters: &[(String, u32)]) -> Result<Sources, BuildError> {
    let failed = |error| BuildError::Io { what: "yosys".into(), error };
    let folder = tempfile::tempdir().map_err(failed)?;
    let rtl: Vec<_> = sources
        .iter()
        .filter(|(name, _)| name.ends_with(".sv") && !name.starts_with("bench/"))
        .collect();
    for (name, text) in &rtl {
        std::fs::write(folder.path().join(&**name), &**text).map_err(failed)?;
    }
    // Where the number of a fault comes from is the bench's.
    let stub = "(* blackbox *) module planted_fault(output [15:0] number); endmodule\n";
    std::fs::write(folder.path().join("planted_fault.sv"), stub).map_err(failed)?;
    let files: String = rtl.iter().map(|(name, _)| format!(" {name}")).collect();
    let set: String =
        parameters.iter().map(|(name, value)| format!(" -set {name} {value}")).collect();
    let script = format!(
        "read_verilog -sv{files} planted_fault.sv; chparam{set} machine; hierarchy -check -top machine; {PASSES}; \
         rename -top machine; write_verilog -noattr netlist.v"
    );
    let output = Command::new("yosys")
        .args(["-q", "-p", &script])
        .current_dir(&folder)
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Tool { tool: "yosys", output });
    }
    let text = std::fs::read_to_string(folder.path().join("netlist.v")).map_err(failed)?;
    let of_bench = |(name, text): (Cow<'static, str>, Cow<'static, str>)| match &*name {
        "bench/bench.sv" => (name, bench(&text, parameters).into()),
        _ => (name, text.into_owned().into()),
    };
    let kept = sources
        .into_iter()
        .filter(|(name, _)| name.starts_with("bench/") || name.ends_with("_pkg.sv"));
    let mut made: Sources = kept.map(of_bench).collect();
    // Packages come first.
    let place = made.iter().position(|(name, _)| !name.ends_with("_pkg.sv")).unwrap_or(made.len());
    made.insert(place, ("netlist.sv".into(), plain_names(&text).into()));
    Ok(made)
}

/// What lies in a generate block has one long name, which begins with `\g_`: without characters
/// that need the backslash.
fn plain_names(netlist: &str) -> String {
    let mut parts = netlist.split("\\g_");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(' ').unwrap_or((part, ""));
        plain += "g_";
        plain += &name.replace(['[', ']', '.'], "_");
        plain.push(' ');
        plain += rest;
    }
    plain
}

/// The bench without the parameters of the machine, which a netlist has not, and with each memory
/// under the name it has there.
fn bench(text: &str, parameters: &[(String, u32)]) -> String {
    let value = |name: &str| parameters.iter().find(|(n, _)| n == name).expect("a parameter").1;
    let (head, rest) = text.split_once("  machine #(").expect("the machine");
    let (_, rest) = rest.split_once(") machine (").expect("its ports");
    // Registers that waveforms show have other names in a netlist, and no test here looks at them.
    let (ports, rest) = rest.split_once("  for (genvar s = 0").expect("the semaphores");
    let (_, rest) = rest.split_once("machine.front_end.queued);").expect("the depths of queues");
    let (assigns, _) = rest.split_once("  for (genvar ").expect("the memories");
    let none: String = ["probe_semaphores", "probe_queues", "probe_code_queue"]
        .iter()
        .map(|probe| format!("  assign {probe} = '0;\n"))
        .collect();
    let mut bench = format!("{head}  machine machine ({ports}{none}{assigns}");
    let mut peek = |memory: u32, port: &str, at: u32, width: u32, name: String, words: u32| {
        let top = words.next_power_of_two().trailing_zeros().max(1) - 1;
        writeln!(
            bench,
            "  always_ff @(posedge peek_clk) if (peek_memory == 2'd{memory}) \
             {port}[{at}*{width}+:{width}] <= machine.{name}[peek_address[{top}:0]];"
        )
        .expect("a String takes any text");
    };
    let (rows, cols, lanes) = (value("MAC_ROWS"), value("MAC_COLS"), value("MAC_LANES"));
    let banks = value("ACC_BANKS");
    for b in 0..rows {
        peek(0, "peek_act", b, lanes, format!("g_act_{b}__scratchpad.words"), value("ACT_WORDS"));
    }
    for b in 0..cols {
        peek(1, "peek_wgt", b, lanes, format!("g_wgt_{b}__scratchpad.words"), value("WGT_WORDS"));
    }
    for b in 0..value("THR_COLS") {
        peek(2, "peek_thr", b, 80, format!("g_thr_{b}__scratchpad.words"), value("THR_WORDS"));
    }
    for r in 0..rows {
        for c in 0..cols {
            peek(
                3,
                "peek_acc",
                r * cols + c,
                32,
                format!("array.g_row_{r}__g_column_{c}__element.banks"),
                banks,
            );
        }
        peek(3, "peek_row_sums", r, 32, format!("array.g_row_{r}__row_sum.banks"), banks);
    }
    let (_, behind) = text.rsplit_once("\nendmodule\n\n").expect("what stands behind the bench");
    bench + "endmodule\n\n" + behind
}

#[test]
fn what_yosys_makes_of_it_runs_the_same() {
    let Some(verilator) = common::verilator() else { return };
    if !common::tool("yosys", "-V") {
        return;
    }
    let verilator = verilator.translated(netlist);
    let faults: Vec<Fault> =
        planted().into_iter().filter(|fault| fault.name == "accumulator carry").collect();
    let none = Planted { faults: &faults, number: 0 };
    let legal = Random {
        programs: u64::from(cases(50, 200)),
        points: u64::from(cases(1, 2)),
        seed: 22,
        ..Random::default()
    };
    for drawn in [legal.clone(), Random { traps: true, ..legal.clone() }] {
        let compared =
            random(&verilator, &drawn, none, || ()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(compared.skipped, 0, "{compared:?}");
    }
    // A netlist of another machine is found out.
    match random(&verilator, &Random { points: 1, ..legal }, Planted { number: 1, ..none }, || ()) {
        Err(RandomError::Failure(failure))
            if matches!(failure.error, CompareError::Difference(_)) => {}
        other => panic!("{other:?}"),
    }
}
