//! debug, timelines, waveforms, a program's page, and a model with its costs.

use crate::common;

use common::{Bench, project, vector};
use serde_json::{Value, json};

#[test]
fn a_session_comes_from_a_script_or_the_standard_input() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    bench.write("session.txt", "# the map of a product\ngoto end\noutput\nquit\nnever reached\n");
    // The sample is 6; weights are 1, -1, -2, 0.
    let text = bench.ok("debug p.bin --script session.txt");
    assert!(text.starts_with("> goto end\ncycle ") && text.contains("> output\n6 -6 -12 0\n"));
    let lines = bench.ok("debug p.bin --cold --script session.txt --format json");
    let answers: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers[1]["answer"]["image"], "cold");
    let schema = "qnnsim/debug-line/1";
    let output = json!({"schema": schema, "command": "output", "answer": [6, -6, -12, 0]});
    assert_eq!(answers[2], output);
    // A script ends at what cannot be done, and says where.
    bench.write("wrong.txt", "goto end\nmap nowhere\n");
    let outcome = bench.run("debug p.bin --script wrong.txt");
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("`wrong.txt`, line 2: there is no layer `nowhere`"));
    // The standard input goes on.
    let output = bench.fed("debug p.bin --format json", "map nowhere\ngoto end\noutput\n");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).expect("text");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["answer"], json!([6, -6, -12, 0]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("one command could not be done"));
    // Bytes that are no text, and a line without an end, are told and end nothing.
    let output = bench.fed("debug p.bin", vec![0xff; 200_000]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn it_stops_at_a_trap() {
    let bench = Bench::new();
    // Nobody posts what STORE waits for.
    bench.program("p.bin", &vector().replace("sync thr post=map", ""));
    let output = bench.fed("debug p.bin", "run\n");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("trap in the cold image") && text.contains("deadlock"), "{text}");
}

#[test]
fn real_values_come_from_the_model() {
    let bench = Bench::new();
    let (program, model) = (project("programs/tcv_w1a1.bin"), project("programs/tcv_w1a1.onnx"));
    let (program, model) = (program.display(), model.display());
    bench.write("real.txt", "step layer\nmap conv1 0 real\n");
    let command = format!("debug {program} --script real.txt --format json");
    let text = bench.ok(&format!("{command} --model {model} --pixel-offset -128"));
    let map: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let rows = map["answer"]["channels"][0]["rows"].as_array().expect("rows").clone();
    let values = rows.iter().flat_map(|row| row.as_array().expect("a row"));
    let mut values: Vec<f64> = values.map(|v| v.as_f64().expect("a number")).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    // One unsigned bit: zero, and the scale that the model file gives its quantizer.
    assert_eq!(values, [0.0, 4.461681842803955]);
    let refused = bench.run(&command);
    assert!(refused.code == 2 && refused.err.contains("--model MODEL.onnx"), "{}", refused.err);
}

#[test]
fn timelines_and_waveforms_are_files_of_their_kind() {
    let bench = Bench::new();
    bench.program("p.bin", &vector());
    for (which, images) in [("", 1), ("--cold ", 1), ("--both ", 2)] {
        let files = "--trace=t.pftrace --wave w.fst";
        bench.ok(&format!("run p.bin {which}{files}"));
        // A field 1 with a length: a packet.
        assert_eq!(bench.read("t.pftrace")[0], 0x0a);
        // FST begins with its header block.
        assert_eq!(bench.read("w.fst")[0], 0);
        bench.ok(&format!("run p.bin {which}--trace=t.kanata --wave w.vcd"));
        assert!(bench.read("t.kanata").starts_with(b"Kanata\t0004\n"));
        let vcd = String::from_utf8(bench.read("w.vcd")).expect("text");
        assert!(vcd.contains("$timescale 1 ps $end") && vcd.contains("$scope module mac $end"));
        bench.ok(&format!("run p.bin {which}--trace=t.json"));
        let trace: Value = serde_json::from_slice(&bench.read("t.json")).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("events");
        let processes = events.iter().filter(|e| e["name"] == "process_name").count();
        assert_eq!(processes, images);
        // True time: 200 MHz by default, so 5 ns a cycle.
        let spans = events.iter().filter(|e| e["ph"] == "X");
        for span in spans {
            let (us, cycle) = (span["ts"].as_f64(), span["args"]["cycle"].as_f64());
            assert!((us.expect("a time") - cycle.expect("a cycle") / 200.0).abs() < 1e-9);
        }
    }
    let text = bench.ok("run p.bin --both --trace");
    assert!(text.contains("timeline, cold image") && text.contains("timeline, warm image"));
    assert!(bench.misuse("run p.bin --trace=t.txt").contains("FILE.pftrace for Perfetto"));
    assert!(bench.misuse("run p.bin --wave w.txt").contains("FILE.fst or FILE.vcd"));
}

#[test]
fn a_page_and_a_model_have_the_costs() {
    let bench = Bench::new();
    let model = project("programs/tcv_w1a1.onnx");
    let program = project("programs/tcv_w1a1.bin");
    bench.ok(&format!("run {} --report page.html", program.display()));
    let page = String::from_utf8(bench.read("page.html")).expect("text");
    // The program's code is made for its columns, so they cannot be doubled; the pipeline can.
    for part in ["What would help", "mac.depth 4 -&gt; 2", "conv2", "Timeline, cold image"] {
        assert!(page.contains(part), "{part}");
    }
    let explain = format!("explain {} --pixel-offset -128", model.display());
    bench.ok(&format!("{explain} --onnx costs.onnx --dot net.dot"));
    let dot = String::from_utf8(bench.read("net.dot")).expect("text");
    assert!(dot.starts_with("digraph network {") && dot.contains("955 cycles"), "{dot}");
    // The same model with metadata: it compiles to the same program.
    for (file, out) in [(model.display().to_string(), "a.bin"), ("costs.onnx".into(), "b.bin")] {
        bench.ok(&format!("compile {file} -o {out} --pixel-offset -128"));
    }
    let code = |name: &str| {
        let json = bench.json(&format!("inspect {name} --format json"));
        json["cold"].clone()
    };
    assert_eq!(code("a.bin"), code("b.bin"));
    let bytes = bench.read("costs.onnx");
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("qnnsim.cycles") && has("qnnsim.bound_by") && has("955"));
    // Noted again, nothing stands twice.
    let before = bytes.len();
    bench.ok("explain costs.onnx --pixel-offset -128 --onnx again.onnx");
    assert_eq!(bench.read("again.onnx").len(), before);
    let refused = bench.misuse(&format!("explain {} --dot net.dot", program.display()));
    assert!(refused.contains("--onnx and --dot need MODEL.onnx"), "{refused}");
}
