//! Hardware points from the standard input: one, or a line each with a line of JSON in answer.

use crate::common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use common::{Bench, Outcome, idx, project, vector};
use serde_json::{Value, json};

/// The model, the program and an image.
fn bench() -> Bench {
    let bench = Bench::new();
    for (name, from) in [
        ("tcv.onnx", "tcv_w1a1.onnx"),
        ("tcv.bin", "tcv_w1a1.bin"),
        ("digit.png", "digits/digit_3.png"),
    ] {
        bench.write(
            name,
            std::fs::read(project(&format!("programs/{from}"))).expect("a file of the project"),
        );
    }
    bench
}

fn start(bench: &Bench, words: &str) -> Child {
    let mut command = bench.command(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Runs the command line with a standard input.
fn fed(bench: &Bench, words: &str, input: impl AsRef<[u8]>) -> Outcome {
    Outcome::of(bench.fed(words, input))
}

fn answers(outcome: &Outcome) -> Vec<Value> {
    outcome.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// An answer without what a report alone does not have.
fn report(mut answer: Value) -> Value {
    let members = answer.as_object_mut().expect("an object");
    for member in ["schema", "index", "point"] {
        assert!(members.remove(member).is_some(), "{member}");
    }
    answer
}

/// What a command prints, without the name of its schema.
fn figures(bench: &Bench, words: &str) -> Value {
    let mut json = bench.json(words);
    assert!(json.as_object_mut().expect("an object").remove("schema").is_some());
    json
}

#[test]
fn one_point_comes_from_the_standard_input() {
    let bench = bench();
    let set = bench.json("hw --format json --set mac.cols=32 --set acc.banks=3");
    for text in [
        r#"{"mac.cols": 32, "acc": {"banks": 3}}"#,
        "(\n  mac: (cols: 32),\n  acc: (banks: 3),\n)\n",
        "\n{\n  \"mac\": {\"cols\": 32.0},\n  \"acc.banks\": 3\n}\n",
    ] {
        let outcome = fed(&bench, "hw --hw - --format json", text);
        assert_eq!(
            serde_json::from_str::<Value>(&outcome.out).expect("JSON"),
            set,
            "{text}: {}",
            outcome.err
        );
    }
    bench.write("point.json", r#"{"mac.cols": 32, "acc": {"banks": 3}}"#);
    assert_eq!(bench.json("hw --format json --hw point.json"), set);

    // --set goes over it, as over any --hw.
    let point = r#"{"mac.cols": 32, "mac.rows": 4}"#;
    let compile = "compile tcv.onnx --pixel-offset -128 --sample digit.png";
    let outcome =
        fed(&bench, &format!("{compile} -o a.bin --hw - --set mac.rows=8 --format jsonl"), point);
    bench.ok(&format!("{compile} -o b.bin --set mac.cols=32 --set mac.rows=8"));
    assert!(bench.read("a.bin") == bench.read("b.bin"));
    let [summary] = &answers(&outcome)[..] else { panic!("one line: {}", outcome.out) };
    assert_eq!(
        (&summary["name"], &summary["output"], &summary["hw"]["thr.cols"]),
        (&json!("tcv"), &json!("a.bin"), &json!(16))
    );
    let contents = bench.json("inspect b.bin --format json");
    assert_eq!(summary["hw"]["fingerprint"], contents["hw"]["fingerprint"]);
    let memories = bench.json("run b.bin --format json")["memories"].clone();
    for (key, memory, word_bytes) in [
        ("activation_words", 0, 8 * 8),
        ("weight_words", 1, 32 * 8),
        ("threshold_entries", 2, 16 * 10),
    ] {
        assert_eq!(
            memories[memory]["bytes_used"],
            summary[key]["used"].as_u64().expect("words") * word_bytes,
            "{key}"
        );
    }

    // A model runs as the program that it is compiled into.
    let run = fed(
        &bench,
        "run tcv.onnx --pixel-offset -128 --input digit.png --hw - --set mac.rows=8 --format jsonl",
        point,
    );
    let [line] = &answers(&run)[..] else { panic!("one line: {}{}", run.out, run.err) };
    assert_eq!(*line, bench.json("run b.bin --input digit.png --format json"));
    for (input, part) in [
        (&b"{\"mac.cols\": 0}"[..], "mac.cols=0 is out of range"),
        (b"{\"mac.cols\": 8", "-: EOF while parsing an object"),
        (b"(mac: (cols: 8)", "-:1:"),
        (b"\xff", "the standard input is not text: byte 0 is not UTF-8"),
        (&[b' '; (1 << 20) + 1], "cannot read the standard input: it is longer than 1 MiB"),
    ] {
        let outcome = fed(&bench, "hw --hw -", input);
        assert!(
            outcome.code == 2 && outcome.out.is_empty() && outcome.err.contains(part),
            "{part}: {}",
            outcome.err
        );
    }
}

#[test]
fn each_line_is_answered_as_a_separate_compile_and_run() {
    let bench = bench();
    let points = [
        (r#"{"mac.rows": 8, "mac.cols": 8}"#, "--set mac.rows=8 --set mac.cols=8"),
        ("{}", ""),
        ("(mac: (lanes: 128), technology: \"22nm\")", "--set mac.lanes=128 --set technology=22nm"),
        (r#"{"acc.banks": 4, "dram.width": 32}"#, "--set acc.banks=4 --set dram.width=32"),
    ];
    let lines: String = points.iter().map(|(line, _)| format!("{line}\n")).collect();
    let base = "--pixel-offset -128 --set fetch.words=32";
    // The images: the sample and its mirror.
    let image = bench.json("run tcv.bin --input digit.png --format json");
    bench.write("images.idx", idx(&[2, 28, 28], &[[7u8; 784], [200; 784]].concat()));
    bench.write("labels.idx", idx(&[2], &[3, 1]));
    let run =
        answers(&fed(&bench, &format!("run tcv.onnx {base} --input digit.png --points -"), &lines));
    bench.write("points.jsonl", &lines);
    let of_file = bench.run(&format!(
        "eval tcv.onnx {base} --images images.idx --labels labels.idx --points points.jsonl"
    ));
    let eval = answers(&of_file);
    let compiled = answers(&fed(
        &bench,
        &format!("compile tcv.onnx {base} --points - --format jsonl -o p{{index}}.bin"),
        &lines,
    ));
    assert_eq!([run.len(), eval.len(), compiled.len()], [4; 3]);
    for (i, (_, set)) in points.iter().enumerate() {
        bench.ok(&format!("compile tcv.onnx -o tcv.bin {base} {set}"));
        assert!(bench.read("tcv.bin") == bench.read(&format!("p{i}.bin")), "{set}");
        assert_eq!(
            (&compiled[i]["index"], &compiled[i]["output"]),
            (&json!(i), &json!(format!("p{i}.bin")))
        );
        assert_eq!(
            report(run[i].clone()),
            figures(&bench, "run tcv.bin --input digit.png --format json"),
            "{set}"
        );
        let images = "--images images.idx --labels labels.idx --format json";
        let eval = report(eval[i].clone());
        assert_eq!(eval, figures(&bench, &format!("eval tcv.bin {images}")), "{set}");
        // Results do not depend on the point.
        assert_eq!(run[i]["output_int"], image["output_int"]);
    }
    assert_eq!(run[2]["point"], json!({"mac.lanes": 128, "technology": "22nm"}));
    assert_eq!(run[3]["point"], json!({"acc.banks": 4, "dram.width": 32}));
    let nothing = fed(&bench, &format!("run tcv.onnx {base} --input digit.png --points -"), "");
    assert_eq!((nothing.code, &nothing.out[..]), (0, ""));
}

/// A program's code stays; its timing follows.
#[test]
fn a_program_takes_the_points_that_its_code_can_run_on() {
    let bench = bench();
    let lines = "{\"dram.latency\": 20}\n{\"mac.cols\": 32}\n{\"mac.cols\": 16}\n";
    let outcome = fed(&bench, "run tcv.bin --input digit.png --points -", lines);
    let answers = answers(&outcome);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let fast = figures(&bench, "run tcv.bin --input digit.png --format json --set dram.latency=20");
    let own = figures(&bench, "run tcv.bin --input digit.png --format json");
    assert_eq!(report(answers[0].clone()), fast);
    assert_ne!(fast["cycles"]["cold"], own["cycles"]["cold"]);
    assert_eq!(fast["output_int"], own["output_int"]);
    assert_eq!(answers[1]["kind"], "needs_model");
    assert_eq!(
        answers[1]["error"],
        "the program is made for mac.cols=16; with 32 it would be another program"
    );
    assert_eq!(report(answers[2].clone()), own);
    let refused = bench.misuse("run tcv.bin --input digit.png --set mac.cols=32");
    assert!(
        refused.contains("`tcv.bin`: the program is made for mac.cols=16")
            && refused.contains("help: give the model")
    );
}

/// An optimizer sees what came of a point before it says the next.
#[test]
fn answers_come_at_once() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let mut child = start(&bench, "run p.bin --points -");
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut pipe = child.stdin.take().expect("a pipe");
    for latency in [50, 25, 13] {
        writeln!(pipe, "{{\"dram.latency\": {latency}}}").expect("it reads");
        let answer: Value =
            serde_json::from_str(&answers.next().expect("a line").expect("text")).expect("JSON");
        assert_eq!(answer["hw"]["dram.latency"], latency);
    }
    drop(pipe);
    assert!(answers.next().is_none());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_line_that_is_no_point_is_answered_and_the_next_follows() {
    let bench = bench();
    let run = "run tcv.onnx --pixel-offset -128 --input digit.png --points -";
    let lines = [
        (&b"{\"mac.rosw\": 8}"[..], "malformed", "did you mean `mac.rows`?"),
        (b"", "malformed", "an empty line"),
        (b"{\"mac.rows\": 1e300}", "malformed", "must be a whole number"),
        (b"\xc3\x28", "malformed", "not text: byte 0 is not UTF-8"),
        (b"{\"mac.rows\": 257}", "invalid_point", "mac.rows=257 is out of range"),
        (
            b"{\"mac.cols\": 4, \"thr.cols\": 8}",
            "invalid_point",
            "thr.cols=8 is more than mac.cols=4",
        ),
        (b"{\"technology\": \"1nm\"}", "invalid_point", "there is no technology `1nm`"),
        (b"{\"act.words\": 1}", "does_not_fit", "the activation memory lacks"),
    ];
    let last = b"{\"mac.rows\": 8}";
    let input: Vec<u8> = lines
        .iter()
        .map(|line| line.0)
        .chain([&last[..]])
        .flat_map(|line| [line, b"\n"].concat())
        .collect();
    let outcome = fed(&bench, run, &input);
    let all = answers(&outcome);
    assert_eq!(all.len(), lines.len() + 1);
    for (i, ((line, kind, part), answer)) in lines.iter().zip(&all).enumerate() {
        let error = answer["error"].as_str().expect("a reason");
        assert!(error.contains(part), "{}: {error}", line.escape_ascii());
        assert_eq!((&answer["kind"], &answer["index"]), (&json!(kind), &json!(i)));
        assert_eq!(
            (*kind == "malformed", answer.get("cycles")),
            (answer.get("point").is_none(), None)
        );
    }
    assert_eq!(all[8]["hw"]["mac.rows"], 8);
    assert!(
        outcome.code == 2 && outcome.err.contains("line 1 and 3 more is no hardware point"),
        "{}",
        outcome.err
    );

    // Points that have no figures are results.
    let fits = fed(&bench, run, "{\"act.words\": 1}\n{\"mac.rows\": 0}\n");
    assert_eq!((fits.code, &fits.err[..], answers(&fits).len()), (0, "", 2));
    // A trap is one, too, but nothing that is compiled should end in it: the word for it is 1.
    bench.program("p.bin", &vector());
    let trap = fed(&bench, "run p.bin --points -", "{\"act.words\": 1}\n{}\n");
    assert_eq!((trap.code, &answers(&trap)[0]["kind"]), (1, &json!("traps")));
    assert!(
        answers(&trap)[1].get("cycles").is_some()
            && trap.err.contains("line 1 makes the machine trap")
    );
}

/// What has no end is neither kept nor read to it.
#[test]
fn a_line_has_an_end() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let long = [b"{}\n", &[b'['; 1 << 22][..]].concat();
    let outcome = fed(&bench, "run p.bin --points -", long);
    let all = answers(&outcome);
    assert_eq!((outcome.code, all.len(), &all[1]["kind"]), (2, 2, &json!("malformed")));
    assert_eq!(all[1]["error"], "the line is longer than 65536 bytes");
    if cfg!(unix) {
        let endless = bench.run("run p.bin --points /dev/zero");
        assert!(
            endless.code == 2 && endless.out.contains("longer than 65536 bytes"),
            "{endless:?}"
        );
    }
    // A line at the limit is one.
    let full = format!("{}{{}}\n", " ".repeat((1 << 16) - 3));
    assert_eq!(fed(&bench, "run p.bin --points -", full).code, 0);
    let deep = format!("{{\"mac.rows\": {}", "[".repeat(60_000));
    assert!(
        answers(&fed(&bench, "run p.bin --points -", deep))[0]["error"]
            .as_str()
            .expect("a reason")
            .contains("recursion")
    );
    let long_key = format!("{{\"{}\": 1}}", "k".repeat(60_000));
    assert!(fed(&bench, "run p.bin --points -", long_key).out.len() < 3000);
}

#[test]
fn what_does_not_go_with_points_is_misuse() {
    let bench = bench();
    for (words, part) in [
        ("run tcv.bin --points - --hw -", "both want the standard input"),
        ("run tcv.bin --points - --format json", "--points answers with JSON lines only"),
        ("run tcv.bin --points - --format table", "--points answers with JSON lines only"),
        ("run tcv.bin --points missing.jsonl", "cannot read `missing.jsonl`"),
        ("run tcv.bin --points - --trace", "cannot be used with"),
        ("run tcv.onnx --points -", "`tcv.onnx` carries no sample to run"),
        ("eval tcv.bin --images digit.png --points - --output o.npy", "cannot be used with"),
        ("eval tcv.bin --images digit.png --points - --output-int o.npy", "cannot be used with"),
        (
            "compile tcv.onnx --points - -o p.bin",
            "every program needs a file of its own, not `p.bin`",
        ),
        ("compile tcv.onnx --points - --emit placement", "cannot be used with"),
        ("compile tcv.onnx --format json --emit placement", "cannot be used with"),
    ] {
        let message = bench.misuse(words);
        assert!(message.contains(part), "{words}: {part} is not in:\n{message}");
    }
    // A program that cannot be written ends the command before the answer that would say it was.
    let outcome = fed(
        &bench,
        "compile tcv.onnx --pixel-offset -128 --points - -o nowhere/{index}.bin",
        "{}\n{}\n",
    );
    assert_eq!((outcome.code, &outcome.out[..]), (2, ""));
    assert!(outcome.err.contains("its directory does not exist"), "{}", outcome.err);
}

#[test]
fn a_sweep_answers_with_the_rows_of_its_table() {
    let bench = bench();
    let space = |axes: &str| {
        format!(
            "(models: [(file: \"tcv.onnx\", pixel_offset: -128)], base: (acc: (banks: 3), wgt: (words: 4096)), {axes}
              tied: {{ \"thr.cols\": \"mac.cols / 2\" }}, constraints: [\"mac.rows * mac.cols <= 128\"])"
        )
    };
    bench.write(
        "grid.ron",
        space("axes: { \"mac.rows\": List([4, 8]), \"mac.cols\": List([8, 16]), \"act.words\": List([4096, 10]) },"),
    );
    bench.write("base.ron", space(""));
    bench.ok("sweep grid.ron -o out --exhaustive");
    let rows = String::from_utf8(bench.read("out/points.jsonl")).expect("text");
    let rows: Vec<Value> =
        rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let lines: String = rows
        .iter()
        .map(|row| {
            let keys = ["mac.rows", "mac.cols", "act.words"];
            let members: Vec<String> =
                keys.iter().map(|key| format!("\"{key}\": {}", row[*key])).collect();
            format!("{{{}}}\n", members.join(", "))
        })
        .collect();
    for space in ["grid.ron", "base.ron"] {
        let outcome = fed(&bench, &format!("sweep {space} --points - --format jsonl"), &lines);
        let answers = answers(&outcome);
        assert_eq!((outcome.code, answers.len()), (0, 8), "{}", outcome.err);
        let mut fit = 0;
        for (answer, mut row) in answers.into_iter().zip(rows.clone()) {
            if row["status"] == "ok" {
                for key in ["index", "status", "reason", "pareto"] {
                    row.as_object_mut().expect("an object").remove(key);
                }
                assert_eq!(report(answer), row);
                fit += 1;
            } else {
                assert_eq!(
                    (&answer["kind"], &answer["error"]),
                    (&json!("does_not_fit"), &row["reason"])
                );
            }
        }
        assert!((1..8).contains(&fit), "{fit}");
    }

    let lines = [
        "{\"mac.rows\": 32}",
        "{\"thr.cols\": 4}",
        "{\"mac.rows\": 0}",
        "{\"technology\": \"1nm\"}",
        "{",
        "{\"mac.cols\": 8}",
    ];
    let outcome = fed(&bench, "sweep base.ron --points -", lines.join("\n"));
    let all = answers(&outcome);
    for (answer, (kind, part)) in all.iter().zip([
        ("invalid_point", "misses the constraint `mac.rows * mac.cols <= 128`"),
        ("invalid_point", "`thr.cols` is tied to `mac.cols / 2` by the space"),
        ("invalid_point", "mac.rows=0 is out of range"),
        ("invalid_point", "misses the constraint"),
        ("malformed", "EOF"),
    ]) {
        assert!(
            answer["kind"] == kind && answer["error"].as_str().expect("a reason").contains(part),
            "{answer}"
        );
    }
    assert!(all[5]["cycles"].is_u64() && outcome.code == 2);
    let outcome =
        fed(&bench, "sweep base.ron --points -", "{\"technology\": \"1nm\", \"mac.cols\": 4}\n");
    assert!(outcome.out.contains("there is no technology `1nm`"), "{}", outcome.out);

    bench.write("two.ron", "(models: [(file: \"tcv.onnx\"), (file: \"copy.onnx\")])");
    bench.write("copy.onnx", bench.read("tcv.onnx"));
    for (words, part) in [
        (
            "sweep two.ron --points -",
            "takes a space of one model or program, but `two.ron` names 2",
        ),
        ("sweep base.ron --points - -o out", "cannot be used with"),
        ("sweep base.ron --points - --format table", "JSON lines only"),
        ("sweep base.ron", "--output <DIR>"),
        ("sweep missing.ron --points -", "cannot read `missing.ron`"),
    ] {
        let outcome = fed(&bench, words, "{}\n");
        assert!(
            outcome.code == 2 && outcome.out.is_empty() && outcome.err.contains(part),
            "{words}: {}",
            outcome.err
        );
    }
}
