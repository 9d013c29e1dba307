//! Inputs that ask for much: a short message, soon, in little memory.

use std::process::Command;

use crate::common::{Bench, Outcome, npy};

/// Most bytes that a message may have, whatever it quotes.
const MESSAGE_BYTES_MAX: usize = 10_000;

/// Runs a command that is to be refused, with at most this much memory.
fn refused(bench: &Bench, words: &str, memory_kib: u64) -> String {
    let binary = env!("CARGO_BIN_EXE_qnnsim");
    let line = format!("ulimit -v {memory_kib} && exec {binary} {words}");
    let output = Command::new("sh").current_dir(bench.path(".")).args(["-c", &line]).output();
    let outcome = Outcome::of(output.expect("a shell"));
    assert_eq!((outcome.code, &outcome.out[..]), (2, ""), "{words}: {}", outcome.err);
    assert!(outcome.err.len() < MESSAGE_BYTES_MAX, "{words}: {} bytes", outcome.err.len());
    outcome.err
}

#[test]
fn a_word_as_long_as_a_file_is_refused_in_the_memory_of_a_few_files() {
    let bench = Bench::new();
    // A line that can be meant, and one that cannot.
    for (mib, expected) in [(60, "line 1"), (70, "line 1 is longer than 64 MiB")] {
        bench.write("long.qnn", vec![b'a'; mib << 20]);
        let message = refused(&bench, "asm long.qnn -o a.bin", 1 << 20);
        assert!(message.contains(expected) || message.contains("long.qnn:1:"), "{message}");
        assert!(!bench.path("a.bin").exists());
    }
}

#[test]
fn a_key_as_long_as_a_file_is_refused_at_once() {
    let bench = Bench::new();
    for (length, expected) in [(1_000_000, "aaaa"), (10_000_000, "it is longer than 1 MiB")] {
        bench.write("point.json", format!("{{\"{}\":1}}", "a".repeat(length)));
        let message = refused(&bench, "hw --hw point.json", 1 << 20);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_header_as_long_as_a_file_is_not_repeated() {
    let bench = Bench::new();
    bench.program("p.bin", crate::common::MAP);
    let dims = "1,".repeat(10_000_000);
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({dims}), }}");
    let mut file = npy("", &[]);
    // Version 2, whose length has four bytes.
    file.truncate(6);
    file.extend([2, 0]);
    file.extend((header.len() as u32).to_le_bytes());
    file.extend(header.bytes());
    bench.write("long.npy", file);
    refused(&bench, "run p.bin --input long.npy", 4 << 20);
}
