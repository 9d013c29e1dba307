//! From the trained model in `programs/` to its results, through the binary.

use crate::common;
use qnnsim_compiler::pipeline::Stage;

use common::{Bench, idx, project};
use serde_json::{Value, json};

const IMAGE: u32 = 28;

/// A bench with the model in it.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("tcv.onnx", std::fs::read(project("programs/tcv_w1a1.onnx")).expect("the model"));
    bench
}

fn digit(bench: &Bench, number: usize) -> String {
    let name = format!("digit_{number}.png");
    bench
        .write(&name, std::fs::read(project(&format!("programs/digits/{name}"))).expect("a digit"));
    name
}

#[test]
fn each_digit_is_classified_right() {
    let bench = bench();
    let sample = digit(&bench, 7);
    let summary =
        bench.ok(&format!("compile tcv.onnx -o tcv.bin --pixel-offset -128 --sample {sample}"));
    assert!(summary.contains("for 16x16x64") && summary.ends_with("with a sample\n"), "{summary}");
    let sample = bench.json("run tcv.bin --format json");
    assert_eq!((&sample["class"], &sample["class_name"]), (&json!(7), &json!(null)));
    for number in 0..10 {
        let image = digit(&bench, number);
        let json = bench.json(&format!("run tcv.bin --input {image} --format json"));
        assert_eq!(json["class"], number);
        assert_eq!(json["input"]["pixels_unchanged"], true);
        assert_eq!(
            (&json["cycles"], &json["energy_pj"]),
            (&sample["cycles"], &sample["energy_pj"])
        );
    }
}

#[test]
fn the_report_adds_up() {
    let bench = bench();
    bench.ok("compile tcv.onnx -o tcv.bin --pixel-offset -128 --classes a,b,c,d,e,f,g,h,i,j");
    let image = digit(&bench, 2);
    let json = bench.json(&format!("run tcv.bin --input {image} --format json --trace=t.json"));
    assert_eq!(json["class_name"], "c");
    let layers = json["layers"].as_array().expect("layers");
    let cycles: u64 = layers.iter().map(|l| l["cycles"].as_u64().expect("cycles")).sum();
    assert_eq!(json["cycles"]["warm"], cycles);
    let energy: f64 = layers.iter().map(|l| l["energy_pj"].as_f64().expect("energy")).sum();
    assert!((energy / json["energy_pj"]["warm"].as_f64().expect("energy") - 1.0).abs() < 1e-9);
    let macs: u64 = layers.iter().map(|l| l["macs"].as_u64().expect("macs")).sum();
    assert_eq!(macs, 451_584 + 7_225_344 + 200_704 + 640);
    assert!(
        layers
            .iter()
            .all(|l| (0.0..=1.0).contains(&l["utilization"].as_f64().expect("utilization")))
    );
    assert_eq!(json["hw"]["mac.rows"], 16);

    let trace: serde_json::Value = serde_json::from_slice(&bench.read("t.json")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let pool = events.iter().find(|e| e["args"]["name"] == "pool").expect("a track of its own");
    assert!(events.iter().any(|e| e["ph"] == "X" && e["tid"] == pool["tid"]));
}

#[test]
fn compiling_again_gives_the_same_bytes_on_each_point() {
    let bench = bench();
    bench.write("point.ron", "(mac: (rows: 4, cols: 4, lanes: 32))");
    let image = digit(&bench, 5);
    let mut outputs = Vec::new();
    for point in [
        "",
        "--hw point.ron",
        "--set mac.rows=3 --set mac.cols=5 --set mac.lanes=24 --set wgt.words=8192",
    ] {
        for name in ["a.bin", "b.bin"] {
            bench.ok(&format!("compile tcv.onnx -o {name} --pixel-offset=-128 {point} --set act.words=4096 --set thr.words=4096 --set wgt.words=8192"));
        }
        assert!(bench.read("a.bin") == bench.read("b.bin"));
        outputs.push(
            bench.json(&format!("run a.bin --input {image} --format json"))["output_int"].clone(),
        );
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
}

#[test]
fn each_stage_can_be_printed() {
    let bench = bench();
    let stages = [
        ("graph", "BatchNormalization"),
        ("quantizers", "BatchNormalization"),
        ("padding", "BatchNormalization"),
        ("functions", "BatchNormalization"),
        ("signs", "BatchNormalization"),
        ("input", "BatchNormalization"),
        ("canonical", "Linear(Product("),
        ("network", "layer conv2: map 1 -> map 2"),
        ("layout", "conv1: words 0.."),
        ("tiling", "conv 3x3 64 -> 64"),
        ("placement", "weights    at 0"),
        ("schedule", "thr waits - posts free x2"),
        ("code", "mac wait=free post=full"),
    ];
    let names: Vec<&str> = stages.iter().map(|(stage, _)| *stage).collect();
    let all: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    assert_eq!(names, all);
    for (stage, part) in stages {
        let text = bench.ok(&format!("compile tcv.onnx --pixel-offset -128 --emit {stage}"));
        assert!(text.contains(part), "{stage}: {part} is not in:\n{text}");
    }
    let asm = bench.ok("compile tcv.onnx --pixel-offset -128 --emit code -o tcv.bin");
    bench.write("tcv.qnn", &asm);
    bench.ok("asm tcv.qnn -o again.bin");
    assert!(bench.read("tcv.bin") == bench.read("again.bin"));
    // What comes before the memories' sizes matter can be seen even if the point has no room.
    for stage in ["network", "layout", "tiling"] {
        bench.ok(&format!("compile tcv.onnx --emit {stage} --set act.words=1"));
    }
    let refused = bench.misuse("compile tcv.onnx --emit placement --set act.words=1");
    assert!(refused.contains("activation memory lacks"), "{refused}");
}

#[test]
fn exactness_is_explained() {
    let bench = bench();
    let json = bench.json("compile tcv.onnx --pixel-offset -128 --explain --format json");
    assert_eq!(json["name"], "tcv");
    let layers = json["exactness"].as_array().expect("layers");
    // The last layer has no quantizer.
    let names: Vec<_> = layers.iter().map(|layer| &layer["layer"]).collect();
    assert_eq!(names, ["conv1", "conv2", "fc1"]);
    for layer in layers {
        // 64 channels of one step each, at most.
        assert!(layer["steps"].as_u64().expect("a count") <= 64);
        let margin = layer["nearest"]["margin"].as_f64().expect("a margin");
        assert!(margin > 0.0 && margin < 0.5, "{margin}");
        let may_differ = layer["float32_may_differ"].as_bool().expect("yes or no");
        assert_eq!(may_differ, layer["float32_undecided"].as_u64().expect("a count") > 0);
    }
    let text = bench.ok("compile tcv.onnx -o tcv.bin --pixel-offset -128 --explain");
    assert!(
        text.contains("for 16x16x64")
            && text.contains("float32 error")
            && text.contains("may differ"),
        "{text}"
    );
    // A layer of sums of 9 products whose margin is far above their rounding errors.
    assert!(
        text.lines().any(|line| line.starts_with("conv1 ") && line.ends_with("the same")),
        "{text}"
    );
    let only_json =
        bench.json("compile tcv.onnx -o again.bin --pixel-offset -128 --explain --format json");
    assert_eq!(only_json, json);
    assert!(bench.read("tcv.bin") == bench.read("again.bin"));
    // Without --explain the same format tells of the program.
    let program = bench.json("compile tcv.onnx -o again.bin --pixel-offset -128 --format json");
    assert_eq!(
        (&program["exactness"], &program["hw"]["mac.rows"]),
        (&Value::Null, &Value::from(16))
    );
}

#[test]
fn clipped_pixels_are_a_warning() {
    let bench = bench();
    let outcome = bench.run("compile tcv.onnx -o tcv.bin");
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.err.contains("warning: the input quantizer clips pixels from 128 to 255"),
        "{}",
        outcome.err
    );
    assert!(outcome.err.contains("--pixel-offset"), "{}", outcome.err);
    let image = digit(&bench, 0);
    let outcome = bench.run(&format!("run tcv.bin --format json --input {image}"));
    assert!(outcome.err.contains("warning: the input quantizer clips "), "{}", outcome.err);
    let right = bench.run("compile tcv.onnx -o tcv.bin --pixel-offset -128");
    assert_eq!((right.code, &right.err[..]), (0, ""));
}

#[test]
fn what_cannot_be_compiled_is_explained() {
    let bench = bench();
    let model = bench.read("tcv.onnx");
    bench.write("empty.onnx", "");
    bench.write("cut.onnx", &model[..model.len() / 2]);
    bench.write("foreign.onnx", idx(&[3, 1, 1], &[1, 2, 3]));
    bench.write("several.idx", idx(&[2, IMAGE, IMAGE], &vec![0; 2 * (IMAGE * IMAGE) as usize]));
    bench.write("small.idx", idx(&[2, 8, 8], &[0; 128]));
    for (words, part) in [
        ("empty.onnx", "`empty.onnx`: the file is not an ONNX model"),
        ("cut.onnx", "`cut.onnx`: the file is not an ONNX model"),
        ("foreign.onnx", "`foreign.onnx`: the file is not an ONNX model"),
        ("missing.onnx", "cannot read `missing.onnx`"),
        (".", "cannot read `.`: it is a directory"),
        ("tcv.onnx --classes a,b", "2 class names for 10 outputs"),
        (
            "tcv.onnx --sample small.idx",
            "holds uint8 [2, 8, 8], but the model's input is [1, 28, 28] for one image",
        ),
        ("tcv.onnx --sample several.idx", "holds 2 images, and --index does not say which"),
        ("tcv.onnx --sample several.idx --index 2", "--index 2 is out of range"),
        ("tcv.onnx --set act.words=10", "activation"),
        ("tcv.onnx --set mac.rows=0", "mac.rows=0 is out of range"),
        ("tcv.onnx --hw missing.ron", "cannot read `missing.ron`"),
    ] {
        let message = bench.misuse(&format!("compile -o out.bin --pixel-offset -128 {words}"));
        assert!(
            message.contains("error: ") && message.contains(part),
            "{words}: {part} is not in:\n{message}"
        );
    }
    assert!(!bench.path("out.bin").exists());
    let message = bench.misuse("compile tcv.onnx -o tcv.onnx --pixel-offset -128");
    assert!(message.contains("cannot write `tcv.onnx`: it is the file that is read"), "{message}");
    assert!(bench.read("tcv.onnx") == model);
}
