//! What is said beside the result, and by which release.

use crate::common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Bench, Outcome, idx, project, vector};
use qnnsim_isa::program::VERSION;

#[path = "../../build.rs"]
mod build;

fn bench() -> Bench {
    let bench = Bench::new();
    for file in ["tcv_w1a1.onnx", "tcv_w1a1.bin", "digits/digit_3.png"] {
        let bytes = fs::read(project(&format!("programs/{file}"))).expect("a file");
        bench.write(file.trim_start_matches("digits/"), bytes);
    }
    bench.program("vector.bin", &vector());
    // Brighter than the quantizer of this program holds.
    bench.write("bright.idx", idx(&[2, 28, 28], &[255; 2 * 784]));
    bench
}

#[test]
fn quiet_is_the_result_and_nothing_else() {
    let bench = bench();
    for words in [
        "run tcv_w1a1.bin",
        "run tcv_w1a1.bin --trace",
        "hw",
        "explain tcv_w1a1.bin",
        "compile tcv_w1a1.onnx --explain --pixel-offset -128",
        "verify tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png",
        "eval tcv_w1a1.onnx --images bright.idx",
    ] {
        let loud = bench.run(words);
        for quiet in [format!("{words} -q"), format!("--quiet {words}")] {
            let outcome = bench.run(&quiet);
            assert_eq!((outcome.code, &outcome.err[..]), (0, ""), "{quiet}");
            // Lines are left out, and none is another.
            let mut lines = loud.out.lines();
            assert!(outcome.out.lines().all(|line| lines.any(|other| other == line)), "{quiet}");
            assert!(!outcome.out.is_empty() && !outcome.out.contains("note:"), "{quiet}");
            assert!(!outcome.out.contains("qnnsim words"), "{quiet}");
        }
    }
    let loud = bench.run("eval tcv_w1a1.onnx --images bright.idx");
    assert!(loud.err.starts_with("warning: "), "there is something to leave out: {}", loud.err);
    assert!(bench.ok("run tcv_w1a1.bin").contains("qnnsim words"));

    // What was written where is no result; JSON is.
    for words in ["compile tcv_w1a1.onnx -o c.bin", "asm source.qnn -o a.bin"] {
        assert_ne!(bench.ok(words), "");
        assert_eq!(bench.ok(&format!("{words} -q")), "");
    }
    assert_eq!(bench.json("compile tcv_w1a1.onnx -o c.bin -q --format json")["name"], "tcv_w1a1");
    // A mistake is told all the same.
    assert!(bench.misuse("run nothing.bin -q").contains("cannot read `nothing.bin`"));
    assert!(bench.misuse("run tcv_w1a1.bin -q -v").contains("cannot be used with"));
}

#[test]
fn verbose_says_each_stage_and_its_time() {
    let bench = bench();
    let model = "tcv_w1a1.onnx --pixel-offset -128";
    for (words, stages) in [
        (format!("compile {model} -o c.bin"), &["reading `tcv_w1a1.onnx`", "compiling"][..]),
        (
            format!("run {model} --input digit_3.png"),
            &["reading `tcv_w1a1.onnx`", "compiling", "loading: proofs and timing"],
        ),
        ("run tcv_w1a1.bin".into(), &["loading: proofs and timing"]),
        (
            "eval vector.bin --images one.idx".into(),
            &["loading: proofs and timing", "running images"],
        ),
        ("explain tcv_w1a1.bin".into(), &["simulating the point with each parameter changed"]),
        (
            "verify tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png".into(),
            &["reading `tcv_w1a1.onnx`", "loading: proofs and timing", "comparing images"],
        ),
        (
            "sweep space.ron -o out".into(),
            &["reading `space.ron`", "simulating points", "drawing the report"],
        ),
    ] {
        bench.write("one.idx", idx(&[3, 1, 1], &[1, 128, 255]));
        bench.write(
            "space.ron",
            r#"(models: [(file: "tcv_w1a1.onnx", pixel_offset: -128)],
                axes: { "mac.cols": List([8, 16]) })"#,
        );
        let silent = bench.ok(&words);
        fs::remove_dir_all(bench.path("out")).ok();
        let outcome = bench.run(&format!("{words} -v"));
        assert_eq!((outcome.code, &outcome.out), (0, &silent), "{words}: {}", outcome.err);
        let mut lines = outcome.err.lines();
        for stage in stages {
            assert_eq!(lines.next(), Some(&format!("{stage} ...")[..]), "{words}");
            let time = lines.next().and_then(|line| line.strip_prefix(&format!("{stage}: ")));
            let seconds = time.and_then(|time| time.strip_suffix(" s")).expect(stage);
            let seconds: f64 = seconds.parse().expect("a number");
            assert!((0.0..600.0).contains(&seconds), "{words}: {stage}: {seconds}");
        }
        assert_eq!(lines.next(), None, "{words}");
    }
}

/// A path that nothing can be written to costs none of the work.
#[test]
fn refusals_come_before_the_work() {
    let bench = bench();
    bench.write("one.idx", idx(&[3, 1, 1], &[1, 128, 255]));
    let model = "tcv_w1a1.onnx --pixel-offset -128";
    for (words, stage) in [
        (format!("compile {model} -o nowhere/p.bin"), "compiling"),
        (format!("explain {model} --dot nowhere/p.dot"), "simulating"),
        (format!("explain {model} --onnx nowhere/p.onnx"), "simulating"),
        ("explain tcv_w1a1.bin --onnx p.onnx".into(), "simulating"),
        ("run tcv_w1a1.bin --report nowhere/r.html".into(), "loading"),
        ("run tcv_w1a1.bin --wave nowhere/w.fst".into(), "loading"),
        ("eval vector.bin --images one.idx --output nowhere/o.npy".into(), "loading"),
    ] {
        let message = bench.misuse(&format!("{words} -v"));
        assert!(!message.contains(stage), "{words}: {message}");
        assert!(bench.files().iter().all(|name| !name.starts_with(".qnnsim-")), "{words}");
    }
}

#[test]
fn the_version_says_commit_and_formats() {
    let bench = Bench::new();
    let short = bench.ok("-V");
    assert_eq!(short, format!("qnnsim {}\n", env!("CARGO_PKG_VERSION")));
    let long = bench.ok("--version");
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], short.trim_end());
    let value = |name: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {long}")).trim()
    };
    assert_eq!(value("program files"), format!("version {VERSION}"));
    assert!(value("JSON").starts_with("version "), "{long}");
    let commit = value("commit");
    let is_hash = commit.len() == 12 && commit.chars().all(|c| c.is_ascii_hexdigit());
    assert!(is_hash || ["development build", "unknown"].contains(&commit), "{long}");
    assert!(!long.contains('/') && !long.contains('\\'), "no path: {long}");
}

#[test]
fn the_commit_is_that_of_the_sources_or_none() {
    let git = |folder: &Path, words: &[&str]| {
        let output = Command::new("git").args(words).current_dir(folder).output().expect("git");
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("skipped: git is not installed");
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    fs::write(folder.join("build.rs"), "").expect("a file");
    let is_inside = Command::new("git").arg("rev-parse").current_dir(folder).output();
    if !is_inside.expect("git").status.success() {
        assert_eq!(build::commit(folder, "build.rs"), None, "no repository");
    }
    git(folder, &["init", "-q"]);
    assert_eq!(build::commit(folder, "build.rs"), None, "nothing is committed");
    let commit = ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "a"];
    fs::write(folder.join("other"), "").expect("a file");
    git(folder, &["add", "other"]);
    git(folder, &commit);
    assert_eq!(build::commit(folder, "build.rs"), None, "a repository of something else");
    git(folder, &["add", "build.rs"]);
    git(folder, &commit);
    let head = git(folder, &["rev-parse", "HEAD"]);
    assert_eq!(build::commit(folder, "build.rs").as_deref(), Some(&head[..12]));
}

/// A machine is built for minutes, so cosim says so first. This Verilator builds nothing.
#[cfg(unix)]
#[test]
fn cosim_says_what_it_builds_before_it_does() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let script = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo Verilator 5.020; exit; fi\n\
                  echo nothing is built >&2; exit 1\n";
    bench.write("verilator", script);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.path("verilator"), mode).expect("a script");
    let run = |words: &str| {
        let mut command = bench.command(words);
        let path = format!("{}:/usr/bin:/bin", bench.path("").display());
        let command = command.env("PATH", path).env("QNNSIM_COSIM_DIR", bench.path("cache"));
        Outcome::of(command.output().expect("the binary starts"))
    };
    for words in ["cosim p.bin", "cosim --random 1 --points 1"] {
        let outcome = run(words);
        assert_eq!(outcome.code, 2, "{words}: {}", outcome.err);
        let first = outcome.err.lines().next().expect("a line");
        assert!(first.starts_with("building the RTL of ") && first.contains("minute"), "{first}");
        assert!(outcome.err.contains("nothing is built"), "{}", outcome.err);
        assert!(!run(&format!("{words} -q")).err.contains("building the RTL"), "{words}");
    }
    assert!(run("cosim p.bin").err.starts_with("building the RTL of 4x4x8 with Verilator"));
}

/// Every file that a command reads may be the standard input, and gives the same.
#[test]
fn a_dash_stands_for_every_file_that_is_read() {
    let bench = bench();
    // What comes from the standard input has no name of its own.
    bench.write("model.onnx", bench.read("tcv_w1a1.onnx"));
    bench.write("one.idx", idx(&[3, 1, 1], &[1, 2, 3]));
    bench.write("labels.idx", idx(&[3], &[0, 0, 3]));
    bench.write("point.ron", "(mac: (rows: 8))");
    bench.write("points.jsonl", "{\"mac.rows\": 8}\n");
    bench.write(
        "space.ron",
        r#"(models: [(file: "tcv_w1a1.onnx", pixel_offset: -128)],
                axes: { "mac.cols": List([8, 16]) })"#,
    );
    for (words, file) in [
        ("compile - -o out.bin --format json", "model.onnx"),
        ("compile tcv_w1a1.onnx --sample - -o out.bin", "digit_3.png"),
        ("compile tcv_w1a1.onnx --hw - -o out.bin", "point.ron"),
        ("compile tcv_w1a1.onnx --points -", "points.jsonl"),
        ("run -", "tcv_w1a1.bin"),
        ("run tcv_w1a1.bin --input -", "digit_3.png"),
        ("run tcv_w1a1.onnx --input digit_3.png --hw -", "point.ron"),
        ("eval - --images one.idx", "vector.bin"),
        ("eval vector.bin --images -", "one.idx"),
        ("eval vector.bin --images one.idx --labels -", "labels.idx"),
        ("verify - tcv_w1a1.bin --images digit_3.png", "model.onnx"),
        ("verify tcv_w1a1.onnx - --images digit_3.png", "tcv_w1a1.bin"),
        ("verify tcv_w1a1.onnx tcv_w1a1.bin --images -", "digit_3.png"),
        ("explain -", "tcv_w1a1.bin"),
        ("inspect -", "tcv_w1a1.bin"),
        ("disasm -", "tcv_w1a1.bin"),
        ("asm - -o out.bin", "source.qnn"),
        ("hw --hw -", "point.ron"),
        ("sweep - -o out", "space.ron"),
    ] {
        let named = |text: &str| {
            text.replace(&format!("{file}, image"), "-, image").replace(&format!("{file}:"), "-:")
        };
        let with_file = words.split(' ').map(|word| if word == "-" { file } else { word });
        let of_file = named(&bench.ok(&with_file.collect::<Vec<_>>().join(" ")));
        let written = bench.path("out.bin").exists().then(|| bench.read("out.bin"));
        fs::remove_dir_all(bench.path("out")).ok();
        let of_pipe = Outcome::of(bench.fed(words, bench.read(file)));
        assert_eq!((of_pipe.code, &of_pipe.out), (0, &of_file), "{words}: {}", of_pipe.err);
        assert_eq!(
            bench.path("out.bin").exists().then(|| bench.read("out.bin")),
            written,
            "{words}"
        );
        fs::remove_file(bench.path("out.bin")).ok();
    }
    // And the standard output for every file that is written.
    let trace = bench.run("run tcv_w1a1.bin --trace=-");
    assert_eq!(trace.code, 0, "{}", trace.err);
    assert!(serde_json::from_str::<serde_json::Value>(&trace.out).is_ok(), "{}", trace.out);
    assert!(trace.err.contains("class 7"), "the report");
    assert!(!bench.files().contains(&"-".into()));
}
