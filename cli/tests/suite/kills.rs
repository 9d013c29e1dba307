//! Whatever a command writes is there as it was before or as it shall be, wherever the process is
//! killed, and whatever call fails that writes.
//!
//! `strace` counts the calls of a command that write, and kills the process at one of them or lets
//! it fail as on a full disk. Without it only the sizes of files are limited.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::Digest;

use crate::common::{self, Bench, MAP, project, vector};

/// The calls that change a file or a folder.
const CALLS: &str = "write,writev,pwrite64,ftruncate,copy_file_range,sendfile,?rename,renameat,\
                     ?renameat2,?link,linkat,?unlink,unlinkat,?mkdir,mkdirat";

/// A command and what it is run on before it is disturbed.
struct Case {
    /// Makes what was there before.
    before: &'static str,
    /// What is disturbed.
    words: &'static str,
    /// The file or the folder that it writes.
    place: &'static str,
}

const fn case(before: &'static str, words: &'static str, place: &'static str) -> Case {
    Case { before, words, place }
}

const CASES: &[Case] = &[
    case("asm vector.qnn -o out.bin", "asm map.qnn -o out.bin", "out.bin"),
    case("asm vector.qnn -o out.bin", "compile model.onnx -o out.bin", "out.bin"),
    case(
        "eval map.bin --images one.idx --output out.npy",
        "eval map.bin --images two.idx --output out.npy",
        "out.npy",
    ),
    case(
        "eval map.bin --images one.idx --output out.npz",
        "eval map.bin --images two.idx --output out.npz",
        "out.npz",
    ),
    case(
        "run vector.bin --trace=out.json",
        "run map.bin --input one.idx --trace=out.json",
        "out.json",
    ),
    case("run vector.bin --wave out.vcd", "run map.bin --input one.idx --wave out.vcd", "out.vcd"),
    case("run vector.bin --wave out.fst", "run map.bin --input one.idx --wave out.fst", "out.fst"),
    case(
        "run vector.bin --report out.html",
        "run map.bin --input one.idx --report out.html",
        "out.html",
    ),
    case(
        "explain model.onnx --dot out.dot",
        "explain model.onnx --set dram.latency=90 --dot out.dot",
        "out.dot",
    ),
    case("sweep space.ron -o out", "sweep space.ron -o out --pareto cycles,lut", "out"),
    case(
        "explain model.onnx --onnx out.onnx",
        "explain model.onnx --set dram.latency=90 --onnx out.onnx",
        "out.onnx",
    ),
    case("asm vector.qnn -o nothing.bin", "sweep space.ron -o out", "out"),
    case("sweep merge part1 part2 -o out", "sweep merge part2 part1 -o out --date tomorrow", "out"),
];

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("map.qnn", MAP);
    bench.write("vector.qnn", vector());
    bench.program("map.bin", MAP);
    bench.program("vector.bin", &vector());
    let model = project("tests/data/cases/07_sigmoid_last.onnx");
    bench.write("model.onnx", fs::read(model).expect("a model"));
    bench.write("one.idx", common::idx(&[1, 1, 4], &[1, 2, 3, 4]));
    bench.write("two.idx", common::idx(&[2, 1, 4], &[9, 2, 3, 4, 5, 6, 7, 8]));
    bench.write(
        "space.ron",
        r#"(programs: ["map.qnn"], axes: { "dram.latency": List([10, 50]), "acc.banks": List([2, 3]) })"#,
    );
    for part in 1..=2 {
        bench.ok(&format!("sweep space.ron -o part{part} --shard {part}/2"));
    }
    bench
}

/// Every file below a place, by its path, but for a journal, which is no result, and for what is
/// being written beside its place.
fn state(bench: &Bench, place: &str) -> BTreeMap<String, Vec<u8>> {
    fn add(path: &Path, name: &str, all: &mut BTreeMap<String, Vec<u8>>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("a folder") {
                let entry = entry.expect("an entry").file_name();
                let entry = entry.to_str().expect("UTF-8");
                if entry != "journal" && !entry.starts_with(".qnnsim-") {
                    add(&path.join(entry), &format!("{name}/{entry}"), all);
                }
            }
        } else if path.exists() {
            all.insert(name.into(), fs::read(path).expect("a file"));
        }
    }
    let mut all = BTreeMap::new();
    add(&bench.path(place), place, &mut all);
    all
}

/// Nothing of a manifest is not as it says.
fn check_manifest(state: &BTreeMap<String, Vec<u8>>, at: &str) {
    let Some(manifest) = state.get("out/manifest.json") else { return };
    let manifest: Value = serde_json::from_slice(manifest).expect("JSON");
    for file in manifest["results"].as_array().expect("files") {
        let name = format!("out/{}", file["file"].as_str().expect("a name"));
        let digest = sha2::Sha256::digest(&state[&name]);
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file["sha256"], hash, "{name} {at}");
    }
}

/// A case with what it leaves if nobody disturbs it.
struct Tried<'a> {
    bench: Bench,
    case: &'a Case,
    old: BTreeMap<String, Vec<u8>>,
    new: BTreeMap<String, Vec<u8>>,
}

impl<'a> Tried<'a> {
    fn new(case: &'a Case) -> Self {
        let bench = bench();
        bench.ok(case.before);
        let old = state(&bench, case.place);
        bench.ok(case.words);
        let new = state(&bench, case.place);
        assert!(old != new && !new.is_empty(), "{}", case.words);
        Tried { bench, case, old, new }
    }

    /// What was there before the command.
    fn reset(&self) {
        let place = self.bench.path(self.case.place);
        // Whatever was there does not matter.
        let _ = fs::remove_file(&place);
        let _ = fs::remove_dir_all(&place);
        self.bench.ok(self.case.before);
    }

    /// Runs the command behind these words of a shell, and gives its exit code, none of a signal.
    fn disturbed(&self, shell: &str) -> Option<i32> {
        self.reset();
        let binary = env!("CARGO_BIN_EXE_qnnsim");
        let line = format!("{shell} {binary} {}", self.case.words);
        let mut command = Command::new("bash");
        command.current_dir(self.bench.path(".")).args(["-c", &line]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.expect("a shell").code()
    }

    /// Holds what is there against what may be there. `refused` is whether the command had the
    /// time to clean up.
    fn check(&self, refused: bool, at: &str) {
        let at = format!("after `{}`, {at}", self.case.words);
        let found = state(&self.bench, self.case.place);
        check_manifest(&found, &at);
        if self.case.place != "out" {
            assert!(found == self.old || found == self.new, "{at}: neither old nor new");
        } else {
            // Of a folder each file is one or the other; the manifest says which, or is not there.
            for (name, bytes) in &found {
                let known = [&self.old, &self.new].map(|state| state.get(name));
                assert!(known.contains(&Some(bytes)), "{name} {at}");
            }
        }
        if refused {
            let hidden = |name: &String| name.starts_with(".qnnsim-");
            assert!(!self.bench.files().iter().any(hidden), "{at}: {:?}", self.bench.files());
        }
    }

    /// After whatever was left the command ends as if nothing had been.
    fn ends_well(&self, at: &str) {
        self.bench.ok(self.case.words);
        let found = state(&self.bench, self.case.place);
        assert!(found == self.new, "{at}: `{}` once more", self.case.words);
    }
}

fn has_strace() -> bool {
    let mut command = Command::new("strace");
    let traced = command.args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let there = traced.is_ok_and(|status| status.success());
    if !there {
        eprintln!("strace is not installed, or may not trace: calls are not disturbed");
    }
    there
}

/// Of `count` calls of a name the numbers of those that are disturbed: all in a thorough run.
fn chosen(count: usize) -> Vec<usize> {
    // The last calls are those that put files in their places.
    let first = if is_thorough() { 1 } else { count };
    (first..=count).collect()
}

fn is_thorough() -> bool {
    std::env::var("QNNSIM_THOROUGH").is_ok_and(|value| value == "1")
}

/// Every third case: a program, an archive, waves, a sweep that is run again, parts that are joined;
/// all in a thorough run.
fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().step_by(if is_thorough() { 1 } else { 3 })
}

fn every_call(case: &Case, what: &str, kills: bool) {
    if !has_strace() {
        return;
    }
    let tried = Tried::new(case);
    // One thread computes, so that calls are counted in order.
    let strace = format!("RAYON_NUM_THREADS=1 strace -f -qq -o trace -e trace={CALLS}");
    assert_eq!(tried.disturbed(&strace), Some(0));
    let trace = String::from_utf8_lossy(&tried.bench.read("trace")).into_owned();
    // By name, and of each thread for itself: as `when` counts.
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let mut words = line.split_whitespace();
        if let (Some(thread), Some((name, _))) =
            (words.next(), words.next().and_then(|call| call.split_once('(')))
        {
            *counts.entry((name, thread)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, _), count) in counts {
        let most = most.entry(name).or_default();
        *most = count.max(*most);
    }
    assert!(most.contains_key("write"), "{trace}");
    for (name, count) in most {
        for number in chosen(count) {
            let at = format!("{what} at `{name}` {number} of {count}");
            let inject = format!("{strace} -e inject={name}:{what}:when={number}");
            let code = tried.disturbed(&inject);
            assert!(!kills || code != Some(0), "{at}");
            assert!(kills || matches!(code, Some(0 | 2)), "{at}: {code:?}");
            // What could not be removed stays.
            tried.check(!kills && !name.starts_with("unlink"), &at);
            if number == count {
                tried.ends_well(&at);
            }
        }
    }
}

#[test]
fn killed_at_any_call_that_writes() {
    for case in cases() {
        every_call(case, "signal=KILL", true);
    }
}

#[test]
fn any_call_that_writes_fails() {
    for case in cases() {
        every_call(case, "error=ENOSPC", false);
    }
}

/// A file that becomes longer than a limit is a full disk of that size, to which the system's answer
/// is an error, or a signal that kills.
#[cfg(unix)]
#[test]
fn a_disk_is_full_at_any_size() {
    let mut noise = 1u32;
    for case in cases() {
        let tried = Tried::new(case);
        for kills in [false, true] {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let largest = tried.new.values().map(Vec::len).max().expect("a file");
            let kib = (noise >> 8) as usize % (largest / 1024 + 1);
            // A signal that is ignored leaves the error.
            let trap = if kills { "" } else { "trap '' XFSZ;" };
            let code = tried.disturbed(&format!("{trap} ulimit -c 0 -f {kib}; exec"));
            assert!(kills || matches!(code, Some(0 | 2)), "{}, {kib} KiB: {code:?}", case.words);
            let at = format!("at {kib} KiB");
            tried.check(!kills, &at);
            tried.ends_well(&at);
        }
    }
}
