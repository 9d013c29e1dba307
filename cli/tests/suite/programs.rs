//! asm, disasm, inspect, run and eval on small hand-written programs.

use std::collections::BTreeSet;

use crate::common;

use common::{Bench, MAP, Outcome, idx, npy, project, vector};
use qnnsim_isa::program::VERSION;
use serde_json::json;

#[test]
fn disassembled_text_assembles_to_the_same_file() {
    let bench = Bench::new();
    bench.program("a.bin", &vector());
    let text = bench.ok("disasm a.bin");
    bench.write("again.qnn", text);
    let summary = bench.ok("asm again.qnn -o b.bin");
    assert!(summary.starts_with("b.bin: products for 4x4x8 (fingerprint "), "{summary}");
    assert!(bench.read("a.bin") == bench.read("b.bin"));
}

#[test]
fn inspect_shows_every_part() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let text = bench.ok("inspect p.bin");
    for part in [
        "program products",
        "4x4x8",
        "rows weights free full map",
        "real = 1 x pixel + 0; raw bytes go in unchanged",
        "4 x 1 x 1 (channels x height x width)",
        "accumulator x 0.5 + one of 4 by channel",
        "a, b, c, d",
        "1x1 convolution, 1 -> 4 channels",
        "cold code",
        "weights",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let json = bench.json("inspect p.bin --format json");
    assert_eq!(
        (&json["name"], &json["program_version"], &json["sample"]),
        (&json!("products"), &json!(VERSION), &json!(true))
    );
    assert_eq!(json["hw"]["mac.rows"], 4);
    assert_eq!(json["layers"][0]["macs"], 16);
    assert_eq!(
        json["memories"][0],
        json!({"name": "activations", "banks": 4, "words": 512, "word_bits": 8, "bytes": 2048})
    );
}

#[test]
fn run_without_input_takes_the_sample() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let json = bench.json("run p.bin --format json");
    assert_eq!(json["output_int"], json!([6, -6, -12, 0]));
    assert_eq!(json["output"], json!([3.0, -3.0, -6.0, 10.0]));
    assert_eq!(
        (&json["class"], &json["class_name"], &json["output_shape"]),
        (&json!(3), &json!("d"), &json!([4]))
    );
    assert_eq!(
        json["input"],
        json!({"source": "sample", "index": 0, "pixels_unchanged": true, "clipped": 0})
    );
    let text = bench.ok("run p.bin");
    assert!(text.contains("sample of the program file") && text.contains("class d"), "{text}");
}

#[test]
fn run_reads_each_kind_of_image() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    bench.write("images.idx", idx(&[3, 1, 1], &[4, 20, 200]));
    let of = |words: &str| bench.json(&format!("run p.bin --format json --input {words}"));
    let json = of("images.idx --index 2");
    assert_eq!((&json["output_int"], &json["class"]), (&json!([200, -200, -400, 0]), &json!(0)));
    assert_eq!(
        json["input"],
        json!({"source": "images.idx", "index": 2, "pixels_unchanged": true, "clipped": 0})
    );

    // A float is the real input: 300.0 is beyond the quantizer, 2.5 goes to the even 2.
    let header = "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 1, 1, 1)}";
    let numbers = [300f32, 2.5].map(f32::to_be_bytes).concat();
    bench.write("real.npy", npy(header, &numbers));
    let outcome = bench.run("run p.bin --format json --input real.npy --index 0");
    assert!(
        outcome
            .err
            .contains("warning: the input quantizer clips 1 values of image 0 of `real.npy`"),
        "{}",
        outcome.err
    );
    assert!(outcome.out.contains("\"clipped\": 1"));
    let json = of("real.npy --index 1");
    assert_eq!(json["output_int"], json!([2, -2, -4, 0]));
    assert_eq!(json["input"]["pixels_unchanged"], json!(null));
}

#[test]
fn a_map_has_no_class_and_is_written_channels_first() {
    let bench = Bench::new();
    bench.program("p.bin", MAP);
    bench.write("image.idx", idx(&[1, 4], &[1, 2, 3, 4]));
    let json = bench.json("run p.bin --format json --input image.idx");
    assert_eq!(json["class"], json!(null));
    assert_eq!(json["output_shape"], json!([4, 1, 4]));
    assert_eq!(json["output_int"], json!([1, 2, 3, 4, -1, -2, -3, -4, -2, -4, -6, -8, 0, 0, 0, 0]));
    let outcome = bench.run("run p.bin");
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.err.contains("carries no sample to run") && outcome.err.contains("--input FILE"),
        "{}",
        outcome.err
    );
}

#[test]
fn eval_counts_one_cold_image_and_then_warm_ones() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    // p / 2 against 10: class 3, a tie that goes to the lower index, class 0.
    bench.write("images.idx", idx(&[3, 1, 1], &[4, 20, 200]));
    bench.write("labels.idx", idx(&[3], &[3, 0, 1]));
    let json = bench.json(
        "eval p.bin --images images.idx --labels labels.idx --output real.npy --output-int int.npy --format json",
    );
    let run = bench.json("run p.bin --format json");
    let [cold, warm] = ["cold", "warm"].map(|image| run["cycles"][image].as_u64().expect("cycles"));
    assert_eq!(json["cycles"], json!({"cold": cold, "warm": warm, "total": cold + 2 * warm}));
    assert_eq!((&json["images"], &json["correct"]), (&json!(3), &json!(2)));
    assert!((json["accuracy"].as_f64().expect("a number") - 2.0 / 3.0).abs() < 1e-12);
    assert!(json.get("output").is_none());

    let real: Vec<f64> = npyz::NpyFile::new(&bench.read("real.npy")[..])
        .and_then(|f| f.into_vec())
        .expect("float64");
    assert_eq!(
        real,
        [2.0, -2.0, -4.0, 10.0, 10.0, -10.0, -20.0, 10.0, 100.0, -100.0, -200.0, 10.0]
    );
    let bytes = bench.read("int.npy");
    let file = npyz::NpyFile::new(&bytes[..]).expect("npy");
    assert_eq!(file.shape(), [3, 4]);
    assert_eq!(
        file.into_vec::<i32>().expect("int32"),
        [4, -4, -8, 0, 20, -20, -40, 0, 200, -200, -400, 0]
    );

    let json = bench.json("eval p.bin --images images.idx --limit 1 --format json");
    assert_eq!((&json["images"], &json["accuracy"]), (&json!(1), &json!(null)));
    let json =
        bench.json("eval p.bin --images images.idx --labels labels.idx --limit 18446744073709551615 --format json");
    assert_eq!(json["images"], 3);
    let text = bench.ok("eval p.bin --images images.idx --labels labels.idx");
    assert!(text.contains("66.67 % (2 of 3)"), "{text}");
}

#[test]
fn many_images_come_out_in_order() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let pixels: Vec<u8> = (0..10_000u32).map(|i| (i * i % 251) as u8).collect();
    bench.write("images.idx", idx(&[10_000, 1, 1], &pixels));
    bench.ok("eval p.bin --images images.idx --output-int int.npy");
    let int: Vec<i32> =
        npyz::NpyFile::new(&bench.read("int.npy")[..]).and_then(|f| f.into_vec()).expect("int32");
    assert!(int.chunks(4).map(|image| image[0]).eq(pixels.iter().map(|&p| i32::from(p))));
}

#[test]
fn a_dash_is_the_standard_input_or_output() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    // The program goes to the standard output alone, and what is said of it elsewhere.
    let assembled = bench.fed("asm - -o -", vector());
    assert_eq!(assembled.status.code(), Some(0));
    assert_eq!(assembled.stdout, bench.read("p.bin"));
    let said = String::from_utf8(assembled.stderr).expect("text");
    assert!(said.starts_with("-: products for "), "{said}");
    let text = bench.fed("disasm -", bench.read("p.bin"));
    assert_eq!(String::from_utf8(text.stdout).expect("text"), bench.ok("disasm p.bin"));

    let images = idx(&[3, 1, 1], &[4, 20, 200]);
    bench.write("images.idx", &images);
    let of_file = bench.ok("eval p.bin --images images.idx --format json");
    let of_pipe = bench.fed("eval p.bin --images - --format json", &images);
    assert_eq!(String::from_utf8(of_pipe.stdout).expect("text"), of_file);
    bench.ok("eval p.bin --images images.idx --output real.npy");
    let results = bench.fed("eval p.bin --images - --output -", &images);
    assert_eq!(results.stdout, bench.read("real.npy"));
    assert!(!results.stderr.is_empty(), "the report");

    let error = bench.misuse("eval p.bin --images images.idx --output - --output-int -");
    assert!(error.contains("name the same file"), "{error}");
    assert_eq!(bench.fed("run - --input - --index 1", &images).status.code(), Some(2));
    assert!(!bench.files().contains(&"-".into()));
}

/// Of a file of 4 GiB of pixels, of which the disk holds next to nothing, some are read.
#[cfg(unix)]
#[test]
fn what_is_not_wanted_is_not_read() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let count = u32::MAX;
    let mut file = idx(&[count, 1, 1], &[4, 20, 200]);
    bench.write("images.idx", &file);
    let sparse = std::fs::File::options().write(true).open(bench.path("images.idx"));
    sparse.expect("the file").set_len(16 + u64::from(count)).expect("room for nothing");
    let json = bench.json("eval p.bin --images images.idx --limit 3 --format json");
    assert_eq!(json["images"], 3);
    // The third pixel, and one far behind, which is 0.
    let output = |index: u32| {
        let json =
            bench.json(&format!("run p.bin --input images.idx --index {index} --format json"));
        json["output_int"][0].as_i64().expect("an integer")
    };
    assert_eq!([output(2), output(count - 1)], [200, 0]);
    let error = bench.misuse("eval p.bin --images images.idx");
    assert!(error.contains("more than the 1024 MiB that are read"), "{error}");
    // A pipe that never ends: the rest of it is left where it is.
    file.resize(1 << 20, 7);
    let piped = bench.fed("eval p.bin --images - --limit 2 --format json", &file);
    let json: serde_json::Value = serde_json::from_slice(&piped.stdout).expect("JSON");
    assert_eq!(json["images"], 2);
}

#[test]
fn the_clock_and_the_technology_change_time_and_energy_only() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let slow = bench.json("run p.bin --format json");
    let fast = bench.json("run p.bin --format json --clock 400");
    assert_eq!(slow["cycles"], fast["cycles"]);
    let latency = |json: &serde_json::Value| json["latency_us"]["warm"].as_f64().expect("a number");
    assert!((latency(&slow) / latency(&fast) - 2.0).abs() < 1e-9);
    let other = bench.json("run p.bin --format json --tech 22nm");
    assert_eq!(slow["cycles"], other["cycles"]);
    assert_ne!(slow["energy_pj"], other["energy_pj"]);
    assert!(bench.misuse("run p.bin --tech 3nm").contains("there is no technology `3nm`"));
    bench.write("t.ron", "(name: 5)");
    assert!(bench.misuse("run p.bin --tech t.ron").contains("t.ron"));
}

#[test]
fn the_trace_is_printed_or_written() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let text = bench.ok("run p.bin --trace");
    let (_, timeline) = text.split_once("timeline, warm image\n").expect("a timeline");
    assert!(timeline.lines().any(|line| line.contains("mac wait=free post=full")), "{timeline}");
    assert!(bench.ok("run p.bin --trace --cold").contains("timeline, cold image\n"));
    bench.json("run p.bin --trace=t.json --format json");
    let trace: serde_json::Value = serde_json::from_slice(&bench.read("t.json")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let tracks: Vec<_> = events
        .iter()
        .filter(|e| e["name"] == "thread_name")
        .map(|e| e["args"]["name"].as_str())
        .collect();
    for track in ["ld", "mac", "thr", "st", "fetch"] {
        assert!(tracks.contains(&Some(track)), "{tracks:?}");
    }
}

#[test]
fn a_trap_is_exit_code_1_with_its_place() {
    let bench = Bench::new();
    bench.program("deadlock.bin", &MAP.replace("sync thr post=map", "sync thr"));
    let outcome = bench.run("eval deadlock.bin --images image.idx --output o.npy");
    assert_eq!(outcome.code, 2, "the missing images come first: {}", outcome.err);
    bench.write("image.idx", idx(&[1, 4], &[1, 2, 3, 4]));
    for words in [
        "run deadlock.bin --input image.idx --trace=t.json",
        "eval deadlock.bin --images image.idx --output o.npy",
    ] {
        let outcome = bench.run(words);
        assert_eq!((outcome.code, &outcome.out[..]), (1, ""));
        for part in ["error: `deadlock.bin`: trap in the cold image", "deadlock", "map"] {
            assert!(outcome.err.contains(part), "{part} is not in:\n{}", outcome.err);
        }
    }
    assert_eq!(
        bench.files(),
        ["deadlock.bin", "image.idx", "source.qnn"],
        "nothing half written is left"
    );
}

/// What stands before two blanks, or at the end.
fn columns(line: &str) -> Vec<&str> {
    line.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// Words that a report has as titles of columns or names of facts: what is bold and in columns, and
/// what stands in front of a value.
fn titles(coloured: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for line in coloured.lines() {
        let plain = line.split('\u{1b}').map(|part| match part.split_once('m') {
            Some((code, rest)) if code.starts_with('[') => rest,
            _ => part,
        });
        let plain: String = plain.collect();
        let cells = columns(&plain);
        // A title alone is that of a table, and says what it is about.
        let is_head = line.starts_with("\u{1b}[1m") && cells.len() > 1 && cells[0] != "total";
        let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit());
        let is_fact = plain.starts_with("  ") && !plain.starts_with("   ") && cells.len() > 1;
        let is_fact = is_fact && !is_number(cells[0]);
        if is_head {
            all.extend(cells.iter().map(|cell| (*cell).to_owned()));
        } else if is_fact || is_row_of_image(&cells) {
            all.insert(cells[0].to_owned());
        }
    }
    all
}

/// Whether a row is one of the table of the image, whose rows are named by words.
fn is_row_of_image(cells: &[&str]) -> bool {
    let names = ["cycles", "latency", "images a second", "energy", "mean power", "time"];
    let is_number = |cell: &&str| cell.starts_with(|c: char| c.is_ascii_digit());
    cells.len() > 2 && cells[1..].iter().all(is_number) && names.contains(&cells[0])
}

#[test]
fn every_word_of_a_report_is_explained() {
    let bench = Bench::new();
    for file in ["tcv_w1a1.bin", "tcv_w1a1.onnx", "digits/digit_3.png"] {
        let bytes = std::fs::read(project(&format!("programs/{file}"))).expect("a file");
        bench.write(file.trim_start_matches("digits/"), bytes);
    }
    bench.program("vector.bin", &vector());
    bench.write("one.idx", idx(&[3, 1, 1], &[1, 2, 3]));
    bench.write("labels.idx", idx(&[3], &[0, 0, 3]));
    bench.write(
        "space.ron",
        r#"(models: [(file: "tcv_w1a1.onnx")], axes: { "mac.cols": List([8, 16]) })"#,
    );
    let explained = bench.ok("words");
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat(&bench.ok("help words")).contains(&flat(&explained)));
    let known: BTreeSet<&str> =
        explained.lines().filter_map(|line| columns(line).first().copied()).collect();

    let mut unknown = BTreeSet::new();
    let mut check = |words: &str, least: usize| {
        let mut command = bench.command(words);
        let command = command.env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR");
        let outcome = Outcome::of(command.output().expect("the binary starts"));
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.err);
        let titles = titles(&outcome.out);
        assert!(titles.len() >= least, "{words}: {titles:?}");
        let missing = titles.into_iter().filter(|title| {
            // A parameter is explained by `qnnsim hw`, and a sweep's columns are parameters.
            !known.contains(&title[..]) && title != "mac.cols"
        });
        unknown.extend(missing.map(|title| format!("{words}: {title}")));
    };
    check("run tcv_w1a1.bin --trace", 30);
    check("eval vector.bin --images one.idx --labels labels.idx", 10);
    check("inspect tcv_w1a1.bin", 20);
    check("hw", 15);
    check("explain tcv_w1a1.bin", 15);
    check("verify tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png", 6);
    check("compile tcv_w1a1.onnx --explain --pixel-offset -128", 8);
    check("sweep space.ron -o swept", 8);
    check("schema", 3);
    if std::process::Command::new("verilator").arg("--version").output().is_ok() {
        check("cosim vector.bin", 5);
    } else {
        eprintln!("skipped: the words of cosim, for verilator is not installed");
    }
    assert!(unknown.is_empty(), "not explained: {unknown:#?}");

    // Names in the rows: units, memories, the causes of stalls of all units.
    let json = bench.json("run tcv_w1a1.bin --format json");
    let names = |list: &str| -> Vec<String> {
        let all = json[list].as_array().expect("a list").iter();
        all.map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    let layers = names("layers");
    let mut words = [names("units"), names("memories")].concat();
    words.extend([layers[0].clone(), layers[layers.len() - 1].clone(), "total".into()]);
    let units = json["units"].as_array().expect("a list");
    let causes =
        units.iter().flat_map(|unit| unit["stalls"].as_object().expect("by cause").keys().cloned());
    words.extend(causes);
    let explanation = bench.json("explain tcv_w1a1.bin --format json");
    let charged = explanation["layers"][1]["warm"]["charged_cycles"].as_object().expect("by cause");
    words.extend(charged.keys().cloned());
    assert!(words.len() > 30, "{words:?}");
    for word in words {
        assert!(known.contains(&word[..]), "`{word}` is not explained");
    }
    let report = bench.ok("run tcv_w1a1.bin");
    assert!(report.trim_end().ends_with("`qnnsim words` says all of them"), "{report}");
}

#[test]
fn tables_fit_the_terminal_and_break_no_word() {
    let bench = Bench::new();
    for file in ["tcv_w1a1.bin", "tcv_w1a1.onnx", "digits/digit_3.png"] {
        let bytes = std::fs::read(project(&format!("programs/{file}"))).expect("a file");
        bench.write(file.trim_start_matches("digits/"), bytes);
    }
    bench.write(
        "space.ron",
        r#"(models: [(file: "tcv_w1a1.onnx")], axes: { "mac.cols": List([8, 16]) })"#,
    );
    let commands = [
        "run tcv_w1a1.bin",
        "run tcv_w1a1.bin --trace",
        "hw",
        "eval tcv_w1a1.bin --images digit_3.png",
        "verify tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png",
        "sweep space.ron -o swept",
        "schema",
        "explain tcv_w1a1.bin",
        "inspect tcv_w1a1.bin",
        "words",
        "compile tcv_w1a1.onnx --explain --pixel-offset -128",
    ];
    for words in commands {
        let wide = bench.ok(words);
        // Names and numbers of the unwrapped text must come out whole.
        let expected: BTreeSet<&str> = wide.split_whitespace().collect();
        for width in [60, 80, 120] {
            let mut command = bench.command(words);
            let outcome =
                Outcome::of(command.env("COLUMNS", width.to_string()).output().expect("it runs"));
            let narrow = outcome.out;
            for line in narrow.lines() {
                let length = line.chars().count();
                assert!(length <= width, "{words} at {width}: {length} columns: {line}");
            }
            let missing: Vec<&&str> = expected
                .iter()
                .filter(|word| !narrow.split_whitespace().any(|other| other == **word))
                .collect();
            assert!(missing.is_empty(), "{words} at {width} breaks {missing:?}:\n{narrow}");
        }
    }
}

#[test]
fn shells_and_man_know_the_commands() {
    let bench = Bench::new();
    let help = bench.ok("help");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        // A sentence goes on in lines that are set further in.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 14 && commands.contains(&"schema"), "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.ok(&format!("completions {shell}"));
        for word in commands.iter().chain(&["pixel-offset", "quiet", "verbose"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(bench.misuse("completions ksh").contains("possible values: bash"));
    bench.ok("man -o pages");
    let page = |name: &str| {
        let text = String::from_utf8(bench.read(&format!("pages/{name}.1"))).expect("text");
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{name}: {text}");
        text
    };
    assert!(page("qnnsim").contains("fBcompile"));
    for command in commands {
        let page = page(&format!("qnnsim-{command}"));
        assert!(page.contains("quiet") && page.contains("verbose"), "{command}: {page}");
    }
}

/// The blocks of a page that show what a command prints: each line is one that it does print, and
/// dots stand for others or for the rest of a line.
fn check_shown(page: &str, first: &str, printed: &str) {
    let text = std::fs::read_to_string(project(page)).expect("a page");
    let block = text.split("```\n").find(|block| block.trim_start().starts_with(first));
    let block = block.unwrap_or_else(|| panic!("{page} shows nothing that begins with {first}"));
    let mut printed = printed.lines();
    for line in block.lines().filter(|line| !line.is_empty() && *line != "...") {
        let is_shown = |other: &str| match line.strip_suffix("...") {
            Some(begin) => other.starts_with(begin),
            None => other == line,
        };
        assert!(printed.any(is_shown), "{page}: not printed, or in another order: {line}");
    }
}

#[test]
fn the_pages_show_what_is_printed() {
    let bench = Bench::new();
    bench.write("tcv.bin", std::fs::read(project("programs/tcv_w1a1.bin")).expect("the program"));
    // On a terminal of a hundred columns.
    let print = |words: &str| {
        let mut command = bench.command(words);
        let output = command.env("COLUMNS", "100").output();
        Outcome::of(output.expect("the binary starts")).out
    };
    check_shown("README.md", "program  tcv_w1a1", &print("run tcv.bin --trace"));
    let model = std::fs::read(project("programs/tcv_w1a1.onnx")).expect("the model");
    bench.write("tcv.onnx", model);
    let explained = print("explain tcv.onnx --pixel-offset -128");
    check_shown("docs/exploring.md", "what bounds each layer", &explained);
}
