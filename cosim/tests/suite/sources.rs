//! The RTL is clean under Verilator's lint with all warnings, and yosys takes it, at points of
//! every kind.

use crate::common;

use std::path::Path;
use std::process::Command;

use qnnsim_cosim::verilator::parameters;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_tests::cases;

/// Points at which generate blocks take other ways: words of several beats and beats of several
/// words, tiles of several words and words of several tiles, pipelines and buffers of one, rows
/// that are no power of two.
const POINTS: [&[&str]; 5] = [
    &[],
    &["mac.rows=1", "mac.cols=1", "mac.lanes=8", "act.words=4096", "wgt.words=32768"],
    &["mac.rows=3", "mac.cols=5", "mac.lanes=24", "thr.cols=2"],
    &[
        "mac.rows=2",
        "mac.cols=20",
        "mac.lanes=8",
        "thr.cols=7",
        "dram.width=64",
        "dram.burst=1",
        "mac.depth=1",
        "thr.depth=1",
        "load.depth=1",
        "load.buffers=1",
        "store.buffers=1",
        "thr.buffers=1",
        "queue.depth=1",
        "fetch.words=8",
        "acc.banks=1",
    ],
    &[
        "mac.rows=2",
        "mac.cols=3",
        "mac.lanes=136",
        "thr.cols=1",
        "dram.width=1",
        "dram.burst=40",
        "load.width=1",
    ],
];

fn point(settings: &[&str]) -> HardwarePoint {
    let mut overrides = Overrides::default();
    settings.iter().try_for_each(|setting| overrides.set(setting)).expect("keys");
    overrides.resolve().expect("a legal point")
}

/// All files but the bench, packages first.
fn files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl");
    let entries = std::fs::read_dir(&folder).expect("the folder of the RTL");
    let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut all: Vec<String> = names.filter(|name| name.ends_with(".sv")).collect();
    all.sort_by_key(|name| (!name.ends_with("_pkg.sv"), name.clone()));
    assert!(all.len() > 10, "{all:?}");
    all.iter().map(|name| folder.join(name).display().to_string()).collect()
}

/// Runs a tool, which must have nothing to say.
fn silent(command: &mut Command, what: &str, allowed: impl Fn(&str) -> bool) {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let told: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty() && !allowed(line)).collect();
    assert!(output.status.success() && told.is_empty(), "{what}:\n{}", told.join("\n"));
}

#[test]
fn verilator_has_nothing_to_warn_of() {
    if common::verilator().is_none() {
        return;
    }
    // By default the smallest and the odd one.
    for settings in &POINTS[cases(1, 0) as usize..cases(3, 5) as usize] {
        let mut lint = Command::new("verilator");
        lint.args(["--lint-only", "-Wall", "--top-module", "machine"]).args(files());
        lint.args(
            parameters(&point(settings)).iter().map(|(name, value)| format!("-G{name}={value}")),
        );
        silent(&mut lint, &format!("verilator --lint-only -Wall, {settings:?}"), |_| false);
    }
}

#[test]
fn yosys_takes_it() {
    if !common::tool("yosys", "-V") {
        return;
    }
    // The default array is the others over again, and takes a minute.
    for settings in &POINTS[1..cases(3, 5) as usize] {
        let set: String = parameters(&point(settings))
            .iter()
            .map(|(name, value)| format!(" -set {name} {value}"))
            .collect();
        let script = format!(
            "read_verilog -sv {}; chparam{set} machine; hierarchy -check -top machine; proc; check -assert",
            files().join(" ")
        );
        // Small arrays without a clocked port become registers, which is what is meant.
        let registers = |line: &str| {
            line.contains("Replacing memory") && line.contains("with list of registers")
        };
        silent(
            Command::new("yosys").args(["-q", "-p", &script]),
            &format!("yosys, {settings:?}"),
            registers,
        );
    }
}

/// A source that has changed has another area and other paths: `rtl/area/synthesize.py` and
/// `rtl/netlist/characterize.py` make what is stale.
#[test]
fn the_tables_of_syntheses_are_current() {
    if !common::tool("python3", "-V") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl/area/synthesize.py");
    silent(Command::new("python3").arg(script).arg("--check"), "the table of syntheses", |_| false);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl/netlist/characterize.py");
    silent(Command::new("python3").arg(script).arg("--check"), "the tables of netlists", |_| false);
}

/// yosys 0.23 takes an array of packed structs for a single one, and says nothing.
#[test]
fn no_array_is_of_structs() {
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("a source");
        for (i, line) in text.lines().enumerate() {
            let mut words = line.trim().splitn(2, ' ');
            let (first, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            assert!(!(first.ends_with("_t") && rest.contains('[')), "{file}:{}: {line}", i + 1);
        }
    }
}
