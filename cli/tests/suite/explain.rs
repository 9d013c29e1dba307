//! What bounds a layer, and which parameter would help.

use crate::common;

use common::{Bench, project, vector};
use serde_json::{Value, json};

fn model() -> Bench {
    let bench = Bench::new();
    bench.write("tcv.onnx", std::fs::read(project("programs/tcv_w1a1.onnx")).expect("the model"));
    bench.write("tcv.bin", std::fs::read(project("programs/tcv_w1a1.bin")).expect("the program"));
    bench
}

fn trial<'a>(explanation: &'a Value, parameter: &str) -> &'a Value {
    let all = explanation["parameters"].as_array().expect("trials");
    all.iter()
        .find(|trial| trial["parameter"] == parameter)
        .unwrap_or_else(|| panic!("{parameter} is tried"))
}

fn charged(row: &Value) -> [u64; 7] {
    ["array", "drain", "load", "store", "dram", "fetch", "semaphores"]
        .map(|cause| row["charged_cycles"][cause].as_u64().expect("cycles"))
}

/// The vector program of `common`, warm, by the rules of the manual; [a,b] are cycles.
///
/// | what | when | from |
/// |---|---|---|
/// | words 0 to 15 decode | [0,15] | resident, one a cycle |
/// | burst of the row | 5, ends at 5 + 50 + 1 = 56 | `ld` is word 4, visible at 5 |
/// | fetch of words 16 to 21 | 6, ends at max(6 + 50, 56) + 12 = 68 | 10 queued + 6 fit 16; 96 bytes are 12 beats |
/// | packed row | [56,56], posts `rows` for 59 | load.depth 2 |
/// | `sync mac` | 59 | |
/// | `mac` | [60,61], posts `full` for 66 | K * w = 2, mac.depth 4 |
/// | words 16 to 21 decode | [68,73] | so `thr` is visible at 69 |
/// | drain | [69,100] | ceil(4 / 2) * 16 planes |
/// | write | [103,118] | thr.depth 2; 16 words |
/// | `sync thr` | 119, posts `map` for 120 | |
/// | `sync st`, `st` | 120, [121,136] | 16 words |
/// | refill after HALT at 73 | 74 and 75, end at 124 + 16 = 140 and 156 | two bursts of 8 words, 16 beats |
/// | burst of the output | 138, ends at 156 + 2 = 158 | two beats, behind the refill |
/// | the end | 159, the 160th cycle | the pipe is empty one later |
///
/// So the layer takes [0,118] and the tail [119,159].
#[test]
fn a_program_is_explained_as_derived_by_hand() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    let json = bench.json("explain p.bin --format json");
    assert_eq!(json["cycles"]["warm"], 160);
    let rows = json["layers"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| &row["name"]).collect::<Vec<_>>(), ["fetch", "scale", "tail"]);
    assert_eq!(rows[0]["warm"]["bound_by"], json!(null));

    let scale = &rows[1]["warm"];
    // The array works in [60,61]. Fetch: no word for it yet in [0,6], CFG in [7,11], no code in
    // [62,67], decode at 68. DRAM: `rows` waits for the burst in [12,55]; LOAD writes at 56.
    // Drain: [69,100] and [103,118]. Semaphores: the post of `rows` in its pipe [57,58], `sync
    // mac` at 59, the drain's pipe [101,102].
    assert_eq!(charged(scale), [2, 32 + 16, 1, 0, 44, 7 + 5 + 6 + 1, 2 + 1 + 2]);
    assert_eq!((&scale["cycles"], &scale["bound_by"]), (&json!(119), &json!("drain")));
    assert_eq!(scale["share"], 48.0 / 119.0);
    // `sync thr` and `sync st` at 119 and 120; reads in [121,136]; the burst in [137,157]; its pipe
    // at 158; HALT at 159.
    let tail = &rows[2]["warm"];
    assert_eq!(charged(tail), [0, 0, 0, 16, 21, 1, 2 + 1]);
    assert_eq!((&tail["cycles"], &tail["bound_by"]), (&json!(41), &json!("dram")));

    for (parameter, to, cycles) in [
        // The row arrives at 31, the code at max(31, 31) + 12 = 43, so `thr` decodes and all of
        // THR is 25 earlier. HALT is at 48, the refill ends at 106, before STORE's burst
        // at 113: 113 + 1 + 2 + 2.
        ("dram.latency", 25, 118),
        // All 22 words are resident: `full` decides, and the drain is at 66, 3 earlier. HALT is at
        // 21, the refill ends at 116: 138 - 3 + 1 + 2 + 2.
        ("fetch.words", 32, 140),
        // The code arrives at 62, so again `full` decides; the refill ends at 118 + 16 = 134; the
        // output is one beat.
        ("dram.width", 16, 139),
        // The output is ready earlier, but the refill has the bus until 156.
        ("thr.depth", 1, 160),
        // These only bring `full` forward, and the code for THR is what is missing.
        ("mac.depth", 2, 160),
        ("load.depth", 1, 160),
        ("load.width", 8, 160),
        ("thr.buffers", 4, 160),
        ("wgt.words", 4096, 160),
    ] {
        let trial = trial(&json, parameter);
        assert_eq!(
            (&trial["to"], &trial["figures"]["cycles"]["warm"]),
            (&json!(to), &json!(cycles)),
            "{parameter}"
        );
    }
    assert_eq!(
        json["best"]["warm"],
        json!({"parameter": "dram.latency", "from": 50, "to": 25, "cycles": 118})
    );
    assert_eq!(
        scale["best"],
        json!({"parameter": "dram.latency", "from": 50, "to": 25, "cycles": 119 - 25})
    );
    assert_eq!(
        tail["best"],
        json!({"parameter": "dram.width", "from": 8, "to": 16, "cycles": 139 - 116})
    );
    for parameter in ["mac.rows", "mac.cols", "mac.lanes", "mac.taps", "acc.banks", "thr.cols"] {
        let trial = trial(&json, parameter);
        assert_eq!(
            (&trial["figures"], &trial["not_simulated"]["kind"]),
            (&json!(null), &json!("needs_model"))
        );
    }

    let text = bench.ok("explain p.bin");
    for part in [
        "scale     119  drain     40.3 %  dram.latency 50 -> 25           94  -21.0 %",
        "explain MODEL.onnx",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(bench.ok("explain p.bin --cold").contains("what bounds each layer, cold image"));
}

/// Figures of a report as `explain` has them.
fn figures(report: &Value) -> Value {
    let row = |layer: &Value| {
        json!({
            "name": layer["name"],
            "cycles": {"cold": layer["cycles_cold"], "warm": layer["cycles"]},
            "energy_pj": {"cold": layer["energy_pj_cold"], "warm": layer["energy_pj"]},
        })
    };
    let layers: Vec<Value> = report["layers"].as_array().expect("layers").iter().map(row).collect();
    json!({"cycles": report["cycles"], "energy_pj": report["energy_pj"], "layers": layers})
}

#[test]
fn each_trial_of_a_model_equals_a_separate_compile_and_run() {
    let bench = model();
    bench.write(
        "digit.png",
        std::fs::read(project("programs/digits/digit_4.png")).expect("a digit"),
    );
    let point = "--pixel-offset -128 --set acc.banks=3 --set dram.latency=20";
    let json = bench.json(&format!("explain tcv.onnx {point} --format json --tech 22nm"));
    let mut simulated = 0;
    for trial in json["parameters"].as_array().expect("trials") {
        let set = format!("--set {}={}", trial["parameter"].as_str().expect("a key"), trial["to"]);
        bench.ok(&format!("compile tcv.onnx -o p.bin {point} {set} --sample digit.png"));
        let run = bench.json("run p.bin --format json --tech 22nm");
        assert_eq!(trial["figures"], figures(&run), "{set}");
        for change in trial["follow"].as_array().expect("changes") {
            assert_eq!(
                run["hw"][change["parameter"].as_str().expect("a key")],
                change["to"],
                "{set}"
            );
        }
        simulated += 1;
    }
    assert_eq!(simulated, 22, "every parameter but the clock");
    assert_eq!(
        trial(&json, "mac.cols")["follow"],
        json!([{"parameter": "thr.cols", "from": 8, "to": 16}])
    );
    // What a point has no room for is told with its reason.
    let full = bench.json(&format!(
        "explain tcv.onnx {point} --format json --set thr.words=32 --set wgt.words=2048"
    ));
    let refused = |parameter| trial(&full, parameter)["not_simulated"].clone();
    assert_eq!(refused("thr.cols"), json!(null), "wider drains need fewer entries");
    let narrow = "explain tcv.onnx --pixel-offset -128 --set mac.cols=4 --set thr.cols=4 --set thr.words=4096 --set wgt.words=8192";
    let narrow = bench.json(&format!("{narrow} --format json"));
    let why = &trial(&narrow, "thr.cols")["not_simulated"];
    assert_eq!(why["kind"], "invalid_point");
    assert!(
        why["reason"].as_str().expect("a text").contains("thr.cols=8 is more than mac.cols=4"),
        "{why}"
    );
}

/// The program's text with the parameter in its hardware line changed, assembled, is the same code
/// on another machine.
#[test]
fn each_trial_of_a_program_equals_the_same_code_on_that_point() {
    let bench = model();
    let json = bench.json("explain tcv.bin --format json");
    let text = bench.ok("disasm tcv.bin");
    let mut simulated = 0;
    for trial in json["parameters"]
        .as_array()
        .expect("trials")
        .iter()
        .filter(|trial| !trial["figures"].is_null())
    {
        let key = trial["parameter"].as_str().expect("a key");
        let (group, name) = key.split_once('.').expect("a group and a name");
        let from = text.find(".hardware").expect("a hardware line");
        let at = from + text[from..].find(&format!("{group}: (")).expect("the group");
        let at = at + text[at..].find(&format!("{name}: ")).expect("the name") + name.len() + 2;
        let end = at + text[at..].find(|c: char| !c.is_ascii_digit()).expect("more text");
        assert_eq!(trial["from"], text[at..end].parse::<u64>().expect("a number"), "{key}");
        bench.write("changed.qnn", format!("{}{}{}", &text[..at], trial["to"], &text[end..]));
        bench.ok("asm changed.qnn -o changed.bin");
        assert_eq!(
            trial["figures"],
            figures(&bench.json("run changed.bin --format json")),
            "{key}"
        );
        simulated += 1;
    }
    assert_eq!(simulated, 16, "all but the six that code is made for, and the clock");
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let bench = model();
    bench.write("text.bin", "no program");
    bench.write("text.onnx", "no model");
    for (words, part) in [
        ("explain", "<PROG.bin|MODEL.onnx>"),
        ("explain missing.bin", "cannot read `missing.bin`"),
        ("explain text.bin", "`text.bin`: "),
        ("explain text.onnx", "`text.onnx`: "),
        (
            "explain tcv.bin --pixel-offset -128",
            "--pixel-offset is for a model, but `tcv.bin` is a program",
        ),
        (
            "explain tcv.bin --set mac.cols=32",
            "the program is made for mac.cols=16; with 32 it would be another program",
        ),
        ("explain tcv.bin --set dram.width=3", "dram.width=3 is not a power of two"),
        ("explain tcv.bin --set technology=1nm", "there is no technology `1nm`"),
        ("explain tcv.onnx --set act.words=1", "the activation memory lacks"),
    ] {
        let message = bench.misuse(words);
        assert!(message.contains(part), "{words}: {part} is not in:\n{message}");
    }
    // With another latency it is the same program.
    let slow = bench.json("explain tcv.bin --set dram.latency=100 --format json");
    assert_eq!(
        (&slow["hw"]["dram.latency"], &trial(&slow, "dram.latency")["to"]),
        (&json!(100), &json!(50))
    );
    let usual = bench.json("explain tcv.bin --format json");
    assert_eq!(trial(&slow, "dram.latency")["figures"]["cycles"], usual["cycles"]);
}
