//! Everything that a user can give wrongly: exit code 2, a clear message, no output file.

use crate::common;

use std::process::Stdio;

use common::{Bench, MAP, Outcome, idx, npy, vector};
use qnnsim_isa::program::seal;

const COMMANDS: [&str; 11] = [
    "compile", "run", "eval", "asm", "disasm", "inspect", "hw", "explain", "sweep", "verify",
    "cosim",
];

#[test]
fn every_command_has_help_with_examples() {
    let bench = Bench::new();
    for command in COMMANDS {
        let help = bench.ok(&format!("{command} --help"));
        assert!(help.contains("Usage: qnnsim ") && help.contains("Examples:\n  qnnsim "), "{help}");
        assert!(!help.contains('\x1b'), "colour only on a terminal");
    }
    let help = bench.ok("--help");
    for part in COMMANDS.into_iter().chain(["Examples:", "Exit codes:"]) {
        assert!(help.contains(part), "{part} is not in:\n{help}");
    }
    assert!(bench.ok("--version").starts_with("qnnsim "));
}

#[test]
fn unknown_words_are_misuse() {
    let bench = Bench::new();
    for (words, part) in [
        ("", "Usage: qnnsim [OPTIONS] <COMMAND>"),
        ("walk", "unrecognized subcommand 'walk'"),
        ("run", "<PROG.bin|MODEL.onnx>"),
        ("run p.bin --fast", "unexpected argument '--fast'"),
        ("eval p.bin --images i.idx --trace", "unexpected argument '--trace'"),
        ("eval p.bin", "--images <FILE>"),
        ("eval p.bin --images i.idx --limit 0", "invalid value '0' for '--limit <N>'"),
        ("run p.bin --index 1", "--input <FILE>"),
        ("run p.bin --cold", "--trace"),
        ("run p.bin --clock 0", "invalid value '0' for '--clock <MHZ>'"),
        ("run p.bin --format xml", "invalid value 'xml'"),
        ("compile m.onnx", "--output <PROG.bin>"),
        ("compile m.onnx -o p.bin --index 1", "--sample <FILE>"),
        ("compile m.onnx -o p.bin --pixel-offset nan", "not a finite number"),
        ("compile m.onnx -o p.bin --pixel-scale 0", "with a scale of 0 every image is the same"),
        ("compile m.onnx --emit rtl", "invalid value 'rtl'"),
        (
            "run p.bin --trace --format json",
            "--trace and --format json both want the standard output",
        ),
        ("eval p.bin --images i.idx --output o.npy --output-int o.npy", "name the same file"),
    ] {
        let message = bench.misuse(words);
        assert!(message.contains(part), "{words}: {part} is not in:\n{message}");
    }
    assert!(bench.files().is_empty());
}

#[test]
fn a_hardware_point_that_cannot_be_is_explained() {
    let bench = Bench::new();
    bench.write("typo.ron", "(\n  mac: (rows: 8,\n    colls: 8),\n)");
    bench.write("cut.ron", "(mac: (rows: 8");
    bench.write("binary.ron", [0xff, 0xfe]);
    for (words, part) in [
        ("--set mac.colls=3", "--set mac.colls=3: unknown hardware parameter `mac.colls`"),
        ("--set mac.cols", "is not of the form KEY=VALUE"),
        ("--set mac.cols=-1", "is not of the form KEY=VALUE with a whole number"),
        ("--set mac.cols=513", "mac.cols=513 is out of range: mac.cols is 1 to 512 elements"),
        ("--set mac.lanes=12", "mac.lanes=12 is not a multiple of 8"),
        ("--hw typo.ron", "typo.ron:3:"),
        ("--hw cut.ron", "cut.ron:1:"),
        ("--hw binary.ron", "`binary.ron` is not text: byte 0 is not UTF-8"),
        ("--hw missing.ron", "cannot read `missing.ron`: "),
        ("--hw .", "cannot read `.`: it is a directory"),
    ] {
        let message = bench.misuse(&format!("hw {words}"));
        assert!(message.contains(part), "{words}: {part} is not in:\n{message}");
    }
}

#[test]
fn hw_marks_what_was_set_and_writes_a_point_that_it_reads() {
    let bench = Bench::new();
    bench.write("point.ron", "(mac: (rows: 8), technology: \"22nm\")");
    let json = bench.json("hw --hw point.ron --set acc.banks=4 --set acc.banks=3 --format json");
    assert_eq!(json["set"], serde_json::json!(["mac.rows", "acc.banks", "technology"]));
    assert_eq!((&json["hw"]["mac.rows"], &json["hw"]["acc.banks"]), (&8.into(), &3.into()));
    bench.write("full.ron", bench.ok("hw --hw point.ron --set acc.banks=3 --format ron"));
    let again = bench.json("hw --hw full.ron --format json");
    assert_eq!(again["hw"], json["hw"]);
    let text = bench.ok("hw --set mac.cols=32");
    let row = text.lines().find(|line| line.starts_with("mac.cols ")).expect("a row");
    assert!(row.split_whitespace().take(4).eq(["mac.cols", "32", "elements", "*"]), "{row}");
    assert!(text.contains("fingerprint  "));
}

#[test]
fn what_is_no_program_is_refused() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let program = bench.read("p.bin");
    let damaged = |at: usize, bytes: &[u8]| {
        let mut file = program.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut file);
        file
    };
    bench.write("empty", "");
    bench.write("foreign", "a text of some length that is no program");
    bench.write("half", &program[..program.len() / 2]);
    bench.write("flipped", {
        let mut file = program.clone();
        file[100] ^= 1;
        file
    });
    bench.write("version", damaged(8, &7u32.to_le_bytes()));
    // The length of the first section.
    bench.write("four_gib", damaged(20, &(4u64 << 30).to_le_bytes()));
    bench.write("all_ones", damaged(20, &[0xff; 8]));
    for (file, part) in [
        ("empty", "not a qnnsim program"),
        ("foreign", "not a qnnsim program"),
        ("half", "damaged program: checksum"),
        ("flipped", "damaged program: checksum"),
        ("version", "program version 7, but this qnnsim reads version"),
        ("four_gib", "the meta section says 4294967296 bytes, but"),
        ("all_ones", "the meta section says 18446744073709551615 bytes, but"),
        ("missing", "cannot read `missing`: No such file"),
        (".", "cannot read `.`: it is a directory"),
    ] {
        for command in
            ["run FILE", "inspect FILE", "disasm FILE", "eval FILE --images i.idx --output o.npy"]
        {
            let words = command.replace("FILE", file);
            let message = bench.misuse(&words);
            assert!(
                message.starts_with("error: ") && message.contains(part),
                "{words}: {part} is not in:\n{message}"
            );
        }
    }
    assert!(!bench.path("o.npy").exists());
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    bench.program("p.bin", MAP);
    bench.write("empty", "");
    bench.write("foreign", "no image");
    bench.write("cut.idx", &idx(&[2, 1, 4], &[0; 8])[..18]);
    bench.write("large.idx", idx(&[u32::MAX, u32::MAX, 4], &[0; 8]));
    bench.write("none.idx", idx(&[0, 1, 4], &[]));
    bench.write("other.idx", idx(&[2, 5, 5], &[0; 50]));
    bench.write("labels.idx", idx(&[8], &[0; 8]));
    bench.write("several.idx", idx(&[3, 1, 4], &[0; 12]));
    bench.write("bad.png", b"\x89PNG\r\n\x1a\nnothing");
    bench.write("bad.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': oops}\n");
    bench.write(
        "int.npy",
        npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 4), }", &[0; 16]),
    );
    bench.write("bad.gz", [0x1f, 0x8b, 8, 0, 1, 2, 3]);
    for (input, part) in [
        ("empty", "`empty`: the file is empty"),
        ("foreign", "none of PNG, JPEG, IDX, IDX.gz, npy and npz"),
        ("cut.idx", "damaged file: its header says [2, 1, 4], 8 bytes, but 2 are there"),
        ("large.idx", "damaged file: its header says [4294967295, 4294967295, 4]"),
        ("none.idx", "`none.idx` holds no image"),
        ("other.idx", "holds uint8 [2, 5, 5], but the model's input is [1, 1, 4] for one image"),
        ("labels.idx", "holds uint8 [8], but the model's input is [1, 1, 4] for one image"),
        ("several.idx", "holds 3 images, and --index does not say which"),
        ("several.idx --index 3", "--index 3 is out of range: `several.idx` holds 3 images"),
        ("bad.png", "damaged picture"),
        ("bad.npy", "the npy header is not that of one array of numbers"),
        ("int.npy", "holds int32 [1, 4], which are no images"),
        ("bad.gz", "damaged gzip file"),
        ("missing.idx", "cannot read `missing.idx`"),
        (".", "`./bad.png`: damaged picture"),
    ] {
        let message = bench.misuse(&format!("run p.bin --input {input} --trace=t.json"));
        assert!(message.contains(part), "{input}: {part} is not in:\n{message}");
    }
    assert!(!bench.path("t.json").exists());
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    bench.program("map.bin", MAP);
    bench.program("p.bin", &vector());
    bench.write("images.idx", idx(&[3, 1, 1], &[1, 2, 3]));
    bench.write("maps.idx", idx(&[3, 1, 4], &[0; 12]));
    bench.write("two.idx", idx(&[2], &[0, 1]));
    bench.write("three.idx", idx(&[3], &[0, 1, 2]));
    bench.write("high.idx", idx(&[3], &[0, 4, 1]));
    for (words, part) in [
        (
            "p.bin --images images.idx --labels two.idx",
            "`two.idx` holds 2 labels, but `images.idx` holds 3 images",
        ),
        ("p.bin --images images.idx --labels two.idx --limit 2", "`two.idx` holds 2 labels"),
        (
            "p.bin --images images.idx --labels high.idx",
            "label 1 is 4, but the program has the classes 0 to 3",
        ),
        (
            "p.bin --images images.idx --labels images.idx",
            "holds uint8 [3, 1, 1], which are no labels",
        ),
        (
            "map.bin --images maps.idx --labels three.idx",
            "the program gives a map, so an image has no class",
        ),
    ] {
        let message = bench.misuse(&format!("eval {words} --output o.npy"));
        assert!(message.contains(part), "{words}: {part} is not in:\n{message}");
    }
    assert!(!bench.path("o.npy").exists());
}

#[test]
fn outputs_are_whole_or_not_there() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    bench.write("images.idx", idx(&[3, 1, 1], &[1, 2, 3]));
    for (words, part) in [
        ("asm source.qnn -o no/p.bin", "cannot write `no/p.bin`: its directory does not exist"),
        ("asm source.qnn -o .", "cannot write `.`: it is a directory"),
        (
            "asm source.qnn -o ./source.qnn",
            "cannot write `./source.qnn`: it is the file that is read",
        ),
        ("eval p.bin --images images.idx --output images.idx", "it is the file that is read"),
        ("run p.bin --trace=no/t.json", "its directory does not exist"),
    ] {
        let message = bench.misuse(words);
        assert!(message.contains(part), "{words}: {part} is not in:\n{message}");
    }
    bench.write(
        "wrong.qnn",
        vector().replace("mac wait=free", "mac weit=free").replace("halt", "stop"),
    );
    bench.write("old.bin", "what was there before");
    let message = bench.misuse("asm wrong.qnn -o old.bin");
    for part in ["wrong.qnn:", "weit", "stop", "^"] {
        assert!(message.contains(part), "{part} is not in:\n{message}");
    }
    assert_eq!(bench.read("old.bin"), b"what was there before");
    assert_eq!(bench.files(), ["images.idx", "old.bin", "p.bin", "source.qnn", "wrong.qnn"]);
    bench.ok("asm source.qnn -o old.bin");
    assert!(bench.read("old.bin") == bench.read("p.bin"));
}

#[cfg(target_os = "linux")]
#[test]
fn devices_and_links_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let message = bench.misuse("asm source.qnn -o /dev/full");
    assert!(message.contains("cannot write `/dev/full`: No space left on device"), "{message}");
    let full = std::fs::metadata("/dev/full").expect("a device");
    assert!(full.file_type().is_char_device());
    symlink("real.bin", bench.path("link.bin")).expect("a link");
    bench.write("real.bin", "");
    bench.ok("asm source.qnn -o link.bin");
    assert!(bench.read("real.bin") == bench.read("p.bin"));
    assert!(std::fs::symlink_metadata(bench.path("link.bin")).expect("a link").is_symlink());
    let mode = std::fs::metadata(bench.path("p.bin")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::new();
    let mut child = bench
        .command("hw")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), "")
    );
}

#[test]
fn a_value_that_is_no_number_is_refused() {
    let bench = Bench::new();
    bench.program("p.bin", MAP);
    let numbers: Vec<u8> =
        [1.0f32, 2.0, f32::NAN, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    bench.write(
        "nan.npy",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 4), }", &numbers),
    );
    let message = bench.misuse("run p.bin --input nan.npy");
    assert!(message.contains("value 2 of image 0 is not a number (NaN)"), "{message}");
}

#[test]
fn without_verilator_the_user_is_told_how_to_get_it() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    for words in ["cosim p.bin", "cosim --random 1"] {
        let output =
            bench.command(words).env("PATH", bench.path("")).output().expect("the binary starts");
        let outcome = Outcome::of(output);
        assert_eq!((outcome.code, &outcome.out[..]), (2, ""), "{words}: {}", outcome.err);
        assert!(outcome.err.contains("Verilator is not installed"), "{words}: {}", outcome.err);
        assert!(outcome.err.contains("apt-get install verilator"), "{words}: {}", outcome.err);
    }
    let message = bench.misuse("cosim p.bin --traps");
    assert!(message.contains("cannot be used with"), "{message}");
}

/// What is said beside the result may be lost; the result and the exit code are not.
#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_changes_nothing() {
    let bench = Bench::new();
    bench.program("p.bin", MAP);
    bench.write("one.idx", idx(&[1, 1, 4], &[1, 2, 3, 4]));
    for (words, code) in [
        ("eval p.bin --images one.idx --output o.npy -v", 0),
        ("eval p.bin --images nothing.idx", 2),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("the device");
        let status = bench.command(words).stdout(Stdio::null()).stderr(full).status();
        assert_eq!(status.expect("the binary starts").code(), Some(code), "{words}");
    }
    assert!(bench.path("o.npy").exists());
}
