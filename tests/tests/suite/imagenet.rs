//! Networks of ImageNet's size compile on the default point in seconds and in half a gigabyte.

use std::fs;
use std::time::{Duration, Instant};

use qnnsim_compiler::compile;
use qnnsim_compiler::import::ImportOptions;
use qnnsim_isa::HardwarePoint;
use qnnsim_tests::cases;
use qnnsim_tests::models::imagenet::{mobilenet_v1, resnet18};

use super::larger::an_image_agrees;

/// Memory of this process by a key of the system's, in MiB, where the system tells it.
fn memory_mib(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}

fn compiles(name: &str, model: &[u8]) {
    // The file was built in this process, with a copy of all its weights.
    let before = memory_mib("VmRSS:");
    let start = Instant::now();
    let compiled = compile(model, &HardwarePoint::default(), &ImportOptions::default())
        .unwrap_or_else(|errors| panic!("{name}: {}", errors[0]));
    let (took, peak) =
        (start.elapsed(), memory_mib("VmHWM:").zip(before).map(|(peak, before)| peak - before));
    let words = compiled.program.cold.words.len();
    // For `cargo test -- --nocapture`.
    println!("{name}: {words} words of code, {took:.1?}, {peak:?} MiB at most");
    // 10 s on two cores for itself; a machine that does much else takes several times that.
    assert!(took < Duration::from_secs(60), "{name}: {took:?}");
    // Other tests are in the same process, unless cargo-nextest runs them.
    if std::env::var_os("NEXTEST").is_some() {
        assert!(peak.is_none_or(|peak| peak < 500), "{name}: {peak:?} MiB");
    }
    if cases(0, 1) > 0 {
        an_image_agrees(&compiled.import.network);
    }
}

#[test]
fn resnet18_compiles() {
    compiles("ResNet-18", &resnet18(4));
}

#[test]
fn mobilenet_v1_compiles() {
    compiles("MobileNetV1", &mobilenet_v1(4));
}
