//! Every output has the same bytes, whatever the number of threads and the processor's instructions.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::common::{Bench, idx, project};

/// Commands, each with what it writes besides the standard output.
const COMMANDS: &[(&str, &[&str])] = &[
    ("compile tcv.onnx -o tcv.bin --pixel-offset -128", &["tcv.bin"]),
    ("compile wide.onnx -o wide.bin", &["wide.bin"]),
    ("run tcv.bin --input images.idx --index 3 --format json", &[]),
    (
        "run tcv.bin --input images.idx --index 3 --trace=t.json --wave t.fst --report r.html",
        &["t.json", "t.fst", "r.html"],
    ),
    (
        "eval tcv.bin --images images.idx --output o.npy --output-int i.npy --format json",
        &["o.npy", "i.npy"],
    ),
    // Weights and activations of 8 bits are multiplied as bytes.
    ("eval tcv_w8a8.bin --images images.idx --output b.npy --format json", &["b.npy"]),
    ("verify tcv.onnx tcv.bin --images images.idx --limit 3 --format json", &[]),
    ("explain wide.bin --format json", &[]),
    (
        "sweep space.ron -o out --format json",
        &["out/points.csv", "out/points.jsonl", "out/manifest.json", "out/report.html"],
    ),
];

/// Those of the commands that a slow machine gets through; the last in a thorough run.
const FEW: &[&str] = &["compile wide", "run tcv.bin --input images.idx --index 3 --format", "eval"];

fn bench() -> Bench {
    let bench = Bench::new();
    let copies = [
        ("tcv.onnx", "programs/tcv_w1a1.onnx"),
        ("tcv.bin", "programs/tcv_w1a1.bin"),
        ("tcv_w8a8.bin", "programs/tcv_w8a8.bin"),
        ("wide.onnx", "tests/data/cases/14_resid_19_38.onnx"),
    ];
    for (name, path) in copies {
        bench.write(name, fs::read(project(path)).expect("a file of the project"));
    }
    // More images than any kernel takes at once, and not a multiple.
    let mut noise = 1u32;
    let pixels: Vec<u8> = (0..133 * 784)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .collect();
    bench.write("images.idx", idx(&[133, 28, 28], &pixels));
    bench.write(
        "space.ron",
        r#"(models: [(file: "wide.onnx")], axes: { "dram.latency": List([10, 50]), "mac.rows": List([1, 4, 5]) })"#,
    );
    bench
}

/// What the commands print and write; a name for each.
fn outputs(
    bench: &Bench,
    words: &[&str],
    few: bool,
    set: &[(&str, &str)],
) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    // Its journal would spare the work.
    fs::remove_dir_all(bench.path("out")).ok();
    for (command, files) in COMMANDS {
        let count = if is_thorough() { FEW.len() } else { FEW.len() - 1 };
        if few && !FEW[..count].iter().any(|part| command.starts_with(part)) {
            continue;
        }
        let parts = words.iter().copied().chain([env!("CARGO_BIN_EXE_qnnsim")]);
        let mut parts = parts.chain(command.split(' '));
        let mut process = Command::new(parts.next().expect("the binary"));
        process.current_dir(bench.path(".")).args(parts).envs(set.iter().copied());
        let output = process.output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        // 1 is a difference that `verify` finds: a result like any other.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command}, {set:?}: {error}");
        all.insert((*command).to_owned(), output.stdout);
        for file in *files {
            all.insert(format!("{file} of {command}"), bench.read(file));
        }
    }
    all
}

fn is_thorough() -> bool {
    std::env::var("QNNSIM_THOROUGH").is_ok_and(|value| value == "1")
}

fn same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, at: &str) {
    for (name, bytes) in found {
        let other = &expected[name];
        if bytes != other {
            let first = bytes.iter().zip(other).take_while(|(a, b)| a == b).count();
            panic!("{name}: {at} differs from byte {first} on");
        }
    }
}

#[test]
fn threads_and_instruction_sets_change_no_byte() {
    // One folder, for a page names it.
    let bench = bench();
    let one = [("RAYON_NUM_THREADS", "1"), ("QNNSIM_ISA", "baseline")];
    let expected = outputs(&bench, &[], false, &one);
    assert!(expected.len() > COMMANDS.len());
    // Every instruction set and every number of threads; in a thorough run every pair.
    let mut pairs = vec![("2", "avx2"), ("7", "best")];
    if is_thorough() {
        pairs = ["1", "2", "7"]
            .into_iter()
            .flat_map(|threads| ["baseline", "avx2", "best"].map(|isa| (threads, isa)))
            .collect();
    }
    for (threads, isa) in pairs {
        let set = [("RAYON_NUM_THREADS", threads), ("QNNSIM_ISA", isa)];
        let found = outputs(&bench, &[], false, &set);
        assert_eq!(found.len(), expected.len());
        same(&found, &expected, &format!("{isa} on {threads} threads"));
    }
}

/// A processor of 2006, which has neither POPCNT nor AVX, where an emulator of it is installed.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_processor_without_popcnt_gives_the_same_bytes() {
    let emulator = ["qemu-x86_64", "-cpu", "core2duo"];
    let there = Command::new(emulator[0]).arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: qemu-user is not installed");
        return;
    }
    let bench = bench();
    let expected = outputs(&bench, &[], true, &[]);
    let found = outputs(&bench, &emulator, true, &[]);
    assert_eq!(found.len(), expected.len());
    same(&found, &expected, "core2duo");
}
