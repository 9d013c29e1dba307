//! `qnnsim sweep` through the command line: rows against `compile` and `run`, interruption, parts,
//! mistakes.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Instant;

use common::{Bench, project};
use serde_json::Value;

/// 4 x 3 x 2 = 24 simulations, some of which take a while, of three points each.
const SPACE: &str = r#"(
    models: [(file: "tcv.onnx", pixel_offset: -128)],
    base: (acc: (banks: 3), technology: "22nm"),
    axes: {
        "mac.rows": Powers(from: 1, to: 8),
        "mac.cols": List([5, 8, 16]),
        "dram.latency": Range(from: 20, to: 50, step: 30),
        "wgt.words": List([2048, 4096, 8192]),
    },
    tied: { "thr.cols": "mac.cols / 2", "act.words": "8192 / mac.rows" },
)"#;

const RESULTS: [&str; 3] = ["points.csv", "points.jsonl", "manifest.json"];

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("tcv.onnx", fs::read(project("programs/tcv_w1a1.onnx")).expect("the model"));
    bench.write("space.ron", SPACE);
    bench
}

fn rows(bench: &Bench, directory: &str) -> Vec<Value> {
    let text = String::from_utf8(bench.read(&format!("{directory}/points.jsonl"))).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn results(bench: &Bench, directory: &str) -> [Vec<u8>; 3] {
    RESULTS.map(|file| bench.read(&format!("{directory}/{file}")))
}

/// The page and the plots, by their names.
fn pictures(bench: &Bench, directory: &str) -> BTreeMap<String, Vec<u8>> {
    let plots = fs::read_dir(bench.path(&format!("{directory}/plots"))).expect("plots");
    let plots =
        plots.map(|entry| format!("plots/{}", entry.expect("a file").file_name().display()));
    let names: Vec<String> = plots.chain(["report.html".to_owned()]).collect();
    names
        .into_iter()
        .map(|name| (name.clone(), bench.read(&format!("{directory}/{name}"))))
        .collect()
}

#[test]
fn rows_are_what_compile_and_run_say() {
    let bench = bench();
    let summary = bench.json("sweep space.ron -o out --exhaustive --date 2026-11-25 --format json");
    assert_eq!(summary["points"], 72);
    let rows = rows(&bench, "out");
    assert_eq!(rows.len(), 72);
    // An image that says nothing: cycles and energy are the same for all.
    bench.write("grey.idx", common::idx(&[28, 28], &[100; 784]));
    for row in rows.iter().step_by(11) {
        let set: Vec<String> = [
            "mac.rows",
            "mac.cols",
            "dram.latency",
            "wgt.words",
            "thr.cols",
            "act.words",
            "acc.banks",
        ]
        .iter()
        .map(|key| format!("--set {key}={}", row[key]))
        .collect();
        let compile = format!(
            "compile tcv.onnx -o p.bin --pixel-offset -128 --set technology=22nm {}",
            set.join(" ")
        );
        if row["status"] == "unfit" {
            let why = bench.misuse(&compile);
            assert!(why.contains(row["reason"].as_str().unwrap()), "{why}");
            continue;
        }
        bench.ok(&compile);
        let report = bench.json("run p.bin --input grey.idx --format json");
        let figures = [
            ("cycles", &report["cycles"]["warm"]),
            ("cycles_cold", &report["cycles"]["cold"]),
            ("latency_us", &report["latency_us"]["warm"]),
            ("images_per_s", &report["images_per_s"]),
            ("energy_pj", &report["energy_pj"]["warm"]),
            ("energy_pj_cold", &report["energy_pj"]["cold"]),
            ("power_mw", &report["power_mw"]["warm"]),
            ("energy_pj_leakage", &report["leakage_pj"]["warm"]),
            ("energy_pj_dram_background", &report["dram_background_pj"]["warm"]),
            ("clock_max_mhz", &report["clock"]["max_mhz"]),
            ("technology", &report["hw"]["technology"]),
        ];
        for (name, figure) in figures {
            assert_eq!(&row[name], figure, "{name} of {compile}");
        }
        for key in report["hw"].as_object().unwrap().keys().filter(|key| key.contains('.')) {
            assert_eq!(row[key], report["hw"][key], "{key}");
        }
    }
    // The CSV says the same.
    let csv = String::from_utf8(bench.read("out/points.csv")).unwrap();
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let at = names.iter().position(|name| *name == "cycles").unwrap();
    assert_eq!(csv.lines().count(), 73);
    for (line, row) in csv.lines().skip(1).zip(&rows).filter(|(_, row)| row["status"] == "ok") {
        assert_eq!(line.split(',').nth(at).unwrap(), row["cycles"].to_string());
    }
    let manifest: Value = serde_json::from_slice(&bench.read("out/manifest.json")).unwrap();
    assert_eq!((&manifest["date"], &manifest["points"]), (&"2026-11-25".into(), &72.into()));
    // sha256sum programs/tcv_w1a1.onnx
    assert_eq!(
        manifest["inputs"]["files"][0]["sha256"],
        "fdb697837681a580f3218e2b0e3ff3307b30a5bf9868eb73e2efd1e2f04dcf9a"
    );
    let documented: Vec<&str> = manifest["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(documented, names);
}

/// Killed at any moment and started again, it ends with the bytes of a sweep that nobody
/// interrupted; so it does from any beginning of a journal, as a write leaves it that was cut
/// short, and with any number of threads. QNNSIM_KILLS is how often.
#[test]
fn an_interrupted_sweep_loses_nothing() {
    let bench = bench();
    let words = "sweep space.ron -o";
    let begun = Instant::now();
    bench.ok(&format!("{words} whole --jobs 2"));
    let whole = begun.elapsed();
    let (expected, drawn) = (results(&bench, "whole"), pictures(&bench, "whole"));
    assert!(drawn.len() > 5 && drawn.values().all(|picture| picture.len() > 1000));

    let mut kills = 0;
    let tries = std::env::var("QNNSIM_KILLS").map_or(8, |n| n.parse::<u32>().expect("a number"));
    for i in 0..tries {
        // Anywhere from the start of the work to its end, whatever the machine's speed: multiples
        // of the golden section.
        let moment = whole.mul_f64((0.618_034 * f64::from(i + 1)).fract());
        let jobs = 1 + i % 3;
        let mut command = bench.command(&format!("{words} killed --jobs {jobs}"));
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        std::thread::sleep(moment);
        kills += u32::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("a child");
        child.wait().expect("a child");
        if i % 4 == 3 || i + 1 == tries {
            bench.ok(&format!("{words} killed --jobs {jobs}"));
            assert!(results(&bench, "killed") == expected, "after kill {i}");
            assert!(pictures(&bench, "killed") == drawn, "after kill {i}");
            fs::remove_dir_all(bench.path("killed")).expect("a folder");
        }
    }
    assert!(kills > 0, "every sweep had ended before it was killed");

    let journal = bench.read("whole/journal");
    for cut in [0, 1, 20, journal.len() / 3, journal.len() / 2, journal.len() - 1] {
        fs::create_dir(bench.path("cut")).expect("a folder");
        bench.write("cut/journal", &journal[..cut]);
        bench.ok(&format!("{words} cut"));
        assert!(results(&bench, "cut") == expected, "cut at {cut}");
        fs::remove_dir_all(bench.path("cut")).expect("a folder");
    }
    // A whole journal is not simulated again, with other objectives neither.
    let again = bench
        .json(&format!("{words} whole --pareto cycles,energy_pj_cold --exhaustive --format json"));
    assert!(again["resumed_simulations"].as_u64().unwrap() > 0);
    let leftovers = fs::read_dir(bench.path("whole")).unwrap().count();
    assert_eq!(leftovers, 6, "three results, a page, plots and a journal");
    let again = pictures(&bench, "whole");
    assert!(
        again.len() > 5 && !again.keys().eq(drawn.keys()),
        "plots of other objectives, and none of those before"
    );
}

#[test]
fn parts_make_a_whole() {
    let bench = bench();
    bench.ok("sweep space.ron -o whole --exhaustive");
    for i in 1..=3 {
        bench.ok(&format!("sweep space.ron -o part{i} --exhaustive --shard {i}/3"));
    }
    let message = bench.misuse("sweep merge part1 part3 -o joined");
    assert!(message.contains("part 2/3 is missing"), "{message}");
    assert!(!bench.path("joined").exists());
    bench.ok("sweep merge part3 part1 part2 -o joined");
    let joined_and_whole = ["joined", "whole"].map(|folder| {
        let [csv, lines, manifest] = results(&bench, folder);
        let mut manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        // The joined report goes without what lies within a point: the models are not at hand.
        let is_table = |file: &Value| RESULTS.iter().any(|name| file["file"] == *name);
        manifest["results"].as_array_mut().expect("files").retain(is_table);
        (csv, lines, manifest)
    });
    assert!(joined_and_whole[0] == joined_and_whole[1]);
    // What the manifest does not speak of is not joined.
    let rows = String::from_utf8(bench.read("part2/points.jsonl")).expect("UTF-8");
    bench.write("part2/points.jsonl", rows.replacen("\"cycles\":", "\"cycles\":1", 1));
    let message = bench.misuse("sweep merge part3 part1 part2 -o again");
    assert!(
        message.contains("`points.jsonl` is not the file that the manifest speaks"),
        "{message}"
    );
    assert!(!bench.path("again").exists());
    // Rows that say what cannot be, under hashes that are right.
    for (from, to, why) in [
        ("\"mac.rows\":", "\"mac.rows\":-", "line 1"),
        ("\"index\":", "\"index\":9999999", "`index` cannot be"),
        ("\"status\":\"", "\"status\":\"x", "`status` cannot be"),
    ] {
        reseal(&bench, "part2", &rows.replacen(from, to, 1));
        let message = bench.misuse("sweep merge part3 part1 part2 -o again");
        assert!(message.contains(why), "{message}");
    }
    let line = rows.lines().next().expect("a row");
    reseal(&bench, "part2", &rows.replacen(rows.lines().nth(1).expect("two rows"), line, 1));
    let message = bench.misuse("sweep merge part3 part1 part2 -o again");
    assert!(message.contains("is there twice"), "{message}");
    reseal(&bench, "part2", &rows);
    bench.ok("sweep merge part3 part1 part2 -o again");
    bench.ok("sweep space.ron -o other --exhaustive --shard 2/3 --pareto cycles");
    let message = bench.misuse("sweep merge part1 other part3 -o joined");
    assert!(
        message.contains("`other` was run with another --pareto or --exhaustive than `part1`"),
        "{message}"
    );
    let message = bench.misuse("sweep merge part1 nowhere -o joined");
    assert!(message.contains("`nowhere` holds no complete part of a sweep"), "{message}");
}

/// Puts rows in the place of a part's, with their hash in its manifest.
fn reseal(bench: &Bench, folder: &str, rows: &str) {
    use sha2::Digest;
    bench.write(&format!("{folder}/points.jsonl"), rows);
    let path = format!("{folder}/manifest.json");
    let text = String::from_utf8(bench.read(&path)).expect("UTF-8");
    let manifest: Value = serde_json::from_str(&text).expect("JSON");
    let hash: String = sha2::Sha256::digest(rows).iter().map(|b| format!("{b:02x}")).collect();
    let files = manifest["results"].as_array().expect("files");
    let file = files.iter().find(|f| f["file"] == "points.jsonl").expect("the rows");
    // As text, for the axes of a space have an order.
    bench.write(&path, text.replace(file["sha256"].as_str().expect("a hash"), &hash));
}

/// Whatever a manifest speaks of is there as it says, at every moment: while results are replaced
/// there is none.
#[test]
fn a_killed_rerun_leaves_no_manifest_beside_other_results() {
    let bench = bench();
    bench.ok("sweep space.ron -o out --exhaustive");
    let tries: u32 =
        std::env::var("QNNSIM_KILLS").map_or(6, |kills| kills.parse().expect("a number"));
    let (mut absent, mut present) = (0, 0);
    for i in 0..tries {
        let pareto = ["cycles", "lut", "cycles,lut"][i as usize % 3];
        let words = format!("sweep space.ron -o out --exhaustive --pareto {pareto}");
        let before = bench.read("out/points.csv");
        let mut command = bench.command(&words);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        // At once when the first result is another, or the manifest is gone: between the two.
        while child.try_wait().expect("a child").is_none() {
            let is_old = fs::read(bench.path("out/points.csv")).is_ok_and(|csv| csv == before);
            if !is_old || (i % 2 == 1 && !bench.path("out/manifest.json").exists()) {
                break;
            }
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
        match fs::read(bench.path("out/manifest.json")) {
            Err(_) => absent += 1,
            Ok(manifest) => {
                present += 1;
                let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
                for file in manifest["results"].as_array().expect("files") {
                    use sha2::Digest;
                    let name = file["file"].as_str().expect("a name");
                    let digest = sha2::Sha256::digest(bench.read(&format!("out/{name}")));
                    let hash: String = digest.iter().map(|b| format!("{b:02x}")).collect();
                    assert_eq!(file["sha256"], hash, "{name} after kill {i}");
                }
            }
        }
    }
    assert_eq!(absent + present, tries);
    // What was killed leaves nothing behind once a run ends.
    bench.ok("sweep space.ron -o out --exhaustive");
    let names = fs::read_dir(bench.path("out")).unwrap().map(|e| e.unwrap().file_name());
    let hidden = names.filter(|name| name.to_string_lossy().starts_with('.')).count();
    assert_eq!(hidden, 0);
}

#[test]
fn a_damaged_line_of_the_journal_is_said_and_simulated_again() {
    let bench = bench();
    bench.ok("sweep space.ron -o out --exhaustive");
    let expected = results(&bench, "out");
    let mut journal = bench.read("out/journal");
    let middle = journal.len() / 2;
    journal[middle] ^= 1;
    bench.write("out/journal", &journal);
    let outcome = bench.run("sweep space.ron -o out --exhaustive --format json");
    assert_eq!(outcome.code, 0);
    assert!(outcome.err.contains("1 of its lines are damaged"), "{}", outcome.err);
    let said: Value = serde_json::from_str(&outcome.out).expect("JSON");
    // 24 simulations; but for the damaged one all are there.
    assert_eq!(said["resumed_simulations"], 23);
    assert!(results(&bench, "out") == expected);
    #[cfg(target_os = "linux")]
    {
        fs::remove_file(bench.path("out/journal")).expect("a file");
        let pipe = std::process::Command::new("mkfifo").arg(bench.path("out/journal")).status();
        assert!(pipe.expect("mkfifo").success());
        let message = bench.misuse("sweep space.ron -o out --exhaustive");
        assert!(message.contains("journal` is no file"), "{message}");
    }
}

/// Constraints are pruned by axis, and what is left of the work is bounded.
#[test]
fn a_grid_is_not_searched_without_end() {
    let bench = bench();
    let axes = r#"axes: { "mac.rows": Range(from: 1, to: 256), "dram.latency": Range(from: 1, to: 256), "dram.burst": Range(from: 1, to: 256) }"#;
    let space = |constraints: &str| {
        format!("(models: [(file: \"tcv.onnx\")], {axes}, constraints: [{constraints}])")
    };
    // Each is about one axis, so that 256 values are looked at, and 2^24 points are too many.
    bench.write("many.ron", space(&"\"mac.rows > 0\",".repeat(1001)));
    let message = bench.misuse("sweep many.ron -o out");
    assert!(message.contains("the space has more than 1048576 points"), "{message}");
    // Of all axes at once.
    let heavy = vec!["mac.rows + dram.latency + dram.burst"; 25].join(" + ");
    bench.write("heavy.ron", space(&format!("\"{heavy} < 0\"")));
    let message = bench.misuse("sweep heavy.ron -o out");
    assert!(message.contains("bytes of expressions over this grid"), "{message}");
    bench.write("all.ron", space(&"\"mac.rows > 0\",".repeat(5000)));
    let message = bench.misuse("sweep all.ron -o out");
    assert!(message.contains("at most 4096 ties and constraints"), "{message}");
    // What one axis excludes costs nothing behind it.
    bench.write("one.ron", space("\"mac.rows * 0 == 1 || mac.rows > 256\""));
    let message = bench.misuse("sweep one.ron -o out");
    assert!(message.contains("none of the 16777216 points"), "{message}");
}

#[test]
fn a_folder_holds_one_sweep() {
    let bench = bench();
    bench.ok("sweep space.ron -o out --shard 1/8");
    let before = results(&bench, "out");
    let message = bench.misuse("sweep space.ron -o out --shard 2/8");
    assert!(message.contains("`out` holds the results of another sweep"), "{message}");
    bench.write("space.ron", SPACE.replace("banks: 3", "banks: 2"));
    let message = bench.misuse("sweep space.ron -o out --shard 1/8");
    assert!(message.contains("`out` holds the results of another sweep"), "{message}");
    assert!(results(&bench, "out") == before);
    // What the results do not depend on may change: comments, and the date.
    bench.write("space.ron", format!("// the same\n{SPACE}"));
    bench.ok("sweep space.ron -o out --shard 1/8 --date today");
}

/// A text is assembled for every point; what it says itself is below the space's base point.
#[test]
fn programs_are_swept_as_well() {
    let bench = Bench::new();
    bench.write("hello.qnn", fs::read(project("programs/hello.qnn")).expect("the program"));
    bench.write(
        "space.ron",
        r#"(programs: ["hello.qnn"], axes: { "dram.latency": List([10, 50]), "mac.lanes": List([8, 32]), "mac.rows": List([1, 4]) })"#,
    );
    bench.ok("sweep space.ron -o out");
    let rows = rows(&bench, "out");
    let status: Vec<&str> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
    // The text's words have 32 bits, and its addresses are for four rows.
    assert_eq!(status, ["unfit", "unfit", "trap", "ok", "unfit", "unfit", "trap", "ok"]);
    assert!(rows[0]["reason"].as_str().unwrap().starts_with("line "), "{}", rows[0]["reason"]);
    let text = fs::read_to_string(project("programs/hello.qnn")).unwrap();
    for row in [&rows[3], &rows[7]] {
        let with = format!("fetch: (words: 64), dram: (latency: {})", row["dram.latency"]);
        bench.program("p.bin", &text.replace("fetch: (words: 64)", &with));
        let report = bench.json("run p.bin --format json");
        assert_eq!(row["cycles"], report["cycles"]["warm"]);
        assert_eq!(row["energy_pj_cold"], report["energy_pj"]["cold"]);
    }
}

#[test]
fn mistakes_in_a_space_have_a_place() {
    let bench = bench();
    let model = r#"models: [(file: "tcv.onnx", pixel_offset: -128)]"#;
    for (rest, message) in [
        ("axis: {}", "space.ron:2:2: unknown field `axis`; did you mean `axes`?"),
        (
            r#"axes: {"mac.rowz": List([1])}"#,
            "space.ron:2:10: unknown hardware parameter `mac.rowz`; did you mean `mac.rows`?",
        ),
        (
            r#"axes: {"mac.rows": List([0])}"#,
            "mac.rows=0 is out of range: mac.rows is 1 to 256 elements",
        ),
        (r#"axes: {"mac.rows": List([2, 2])}"#, "2 is there twice"),
        (r#"axes: {"mac.rows": List([])}"#, "an axis needs at least one value"),
        (
            r#"axes: {"mac.rows": Power(from: 1, to: 2)}"#,
            "`Power` is none of List, Range, Powers; did you mean `Powers`?",
        ),
        (
            r#"axes: {"mac.rows": Range(from: 1, to: 2, step: 0)}"#,
            "a range needs a step of at least 1",
        ),
        (
            r#"axes: {"act.words": Range(from: 1, to: 1000000)}"#,
            "1000000 values are more than 65536",
        ),
        (r#"axes: {"mac.rows": List([1]), "mac.rows": List([2])}"#, "`mac.rows` is there twice"),
        (
            r#"axes: {"mac.rows": List([1])}, tied: {"mac.rows": "2"}"#,
            "`mac.rows` is an axis and tied as well",
        ),
        (r#"axes: {"technology": List(["7nm"])}"#, "there is no technology `7nm`"),
        (r#"axes: {"mac.rows": List(["7nm"])}"#, "\"7nm\" is not a number, as mac.rows needs"),
        (r#"base: (mac: (row: 1))"#, "unknown field `row`; did you mean `rows`?"),
        (r#"constraints: ["mac.rows +"]"#, "`mac.rows +` is not an expression: at 1:11"),
        (
            r#"constraints: ["rows > 1"]"#,
            "unknown hardware parameter `rows`; did you mean `mac.rows`?",
        ),
        (
            r#"constraints: ["[1, 2].all(x, x > 1)"]"#,
            "only operators over numbers, texts, lists and parameters can be used",
        ),
        (
            r#"constraints: ["mac.rows"]"#,
            "`mac.rows` with mac.rows=16: a constraint must be true or false",
        ),
        (
            r#"constraints: ["mac.rows / (mac.cols - 16) > 0"]"#,
            "with mac.rows=16, mac.cols=16: Division by zero",
        ),
        (
            r#"constraints: ["mac.rows > 16"]"#,
            "none of the 1 points of the grid meets the constraints",
        ),
        (r#"tied: {"thr.cols": "mac.cols - 17"}"#, "a parameter must lie between 0 and 4294967295"),
        (r#"sample: (points: 0)"#, "a sample has 1 to 1048576 points"),
        (r#"models: []"#, "duplicate field"),
        (r#"programs: ["tcv.qnn"]"#, "two models or programs are called `tcv`"),
        (r#"programs: ["nowhere.qnn"]"#, "cannot read `nowhere.qnn`"),
        (r#"base_file: "nowhere.ron""#, "cannot read `nowhere.ron`"),
    ] {
        bench.write("space.ron", format!("({model},\n {rest})"));
        let found = bench.misuse("sweep space.ron -o out");
        assert!(found.contains(message), "{rest}: {message} is not in:\n{found}");
    }
    let parameters =
        ["mac.rows", "mac.cols", "act.words", "wgt.words", "thr.words", "dram.latency"];
    let axes: Vec<String> =
        parameters.iter().map(|key| format!("\"{key}\": Range(from: 1, to: 256)")).collect();
    bench.write("space.ron", format!("({model}, axes: {{{}}})", axes.join(", ")));
    let found = bench.misuse("sweep space.ron -o out");
    assert!(
        found.contains("the grid has 281474976710656 points, more than 16777216; draw some"),
        "{found}"
    );
    for (words, part) in [
        ("sweep space.ron", "--output <DIR>"),
        ("sweep -o out", "<SPACE.ron>"),
        (
            "sweep space.ron -o out --pareto cycle",
            "`cycle` is not an objective; did you mean `cycles`?",
        ),
        ("sweep space.ron -o out --shard 0/2", "must be I/N"),
        ("sweep space.ron -o out --shard 3/2", "must be I/N"),
        ("sweep merge -o out", "<DIR>"),
        ("sweep nowhere.ron -o out", "cannot read `nowhere.ron`"),
        ("sweep tcv.onnx -o out", "`tcv.onnx` is not text"),
    ] {
        let found = bench.misuse(words);
        assert!(found.contains(part), "{words}: {part} is not in:\n{found}");
    }
    assert!(!bench.path("out").exists());
}

/// The same seed draws the same points, another others; each is one of the grid, and none comes
/// twice.
#[test]
fn a_sample_is_reproducible() {
    let bench = bench();
    let draw = |seed: u64| {
        bench.write(
            "space.ron",
            SPACE.replace("tied:", &format!("sample: (points: 20, seed: {seed}), tied:")),
        );
        bench.ok(&format!("sweep space.ron -o out{seed}"));
        rows(&bench, &format!("out{seed}"))
            .iter()
            .map(|row| row["index"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let (first, second) = (draw(1), draw(2));
    assert!(first.len() == 20 && first.is_sorted_by(|a, b| a < b) && first[19] < 72, "{first:?}");
    assert_ne!(first, second);
}

/// Ctrl-C ends a sweep with the code of a signal and says how to go on; what was simulated is kept.
#[cfg(unix)]
#[test]
fn an_interrupted_sweep_says_how_to_go_on() {
    let bench = bench();
    let mut stopped = None;
    for attempt in 0..200u64 {
        let mut command = bench.command("sweep space.ron -o out --exhaustive --jobs 1");
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("the binary starts");
        // From before the first point to after the last, whatever the machine's speed.
        std::thread::sleep(std::time::Duration::from_millis(5 + 4 * attempt));
        let id = child.id().to_string();
        std::process::Command::new("kill").args(["-INT", &id]).output().expect("kill");
        let output = child.wait_with_output().expect("it ends");
        let journal = fs::metadata(bench.path("out/journal")).map_or(0, |file| file.len());
        if output.status.code() == Some(130) && journal > 1000 {
            stopped = Some(String::from_utf8(output.stderr).expect("text"));
            break;
        }
        fs::remove_dir_all(bench.path("out")).ok();
    }
    let said = stopped.expect("interrupted before its end");
    assert!(said.contains("interrupted: what was simulated is kept in `out`"), "{said}");
    let table = bench.ok("sweep space.ron -o out --exhaustive");
    assert!(table.contains("simulations were there already"), "{table}");
    assert!(table.contains("points that the report names"), "{table}");
    let page = String::from_utf8(bench.read("out/report.html")).expect("text");
    // Each named point is on the page with its letter and what it is best in.
    let (_, named) = table.split_once("points that the report names\n").expect("a table");
    let letters = named.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let letters: Vec<&str> = letters.filter(|word| word.len() == 1).collect();
    assert!(letters.len() > 1, "{named}");
    for letter in letters {
        assert!(page.contains(&format!(">{letter}<")), "{letter}");
    }
}
