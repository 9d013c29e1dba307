//! A program against its model, through the binary.

use crate::common;

use common::{Bench, MAP, idx, project};
use serde_json::json;

/// A bench with a trained model, its program and two of the drawn digits.
fn bench() -> Bench {
    let bench = Bench::new();
    for file in ["tcv_w1a1.onnx", "tcv_w1a1.bin", "tcv_w8a8.onnx", "digits/digit_3.png"] {
        let name = file.rsplit('/').next().expect("a name");
        bench.write(name, std::fs::read(project(&format!("programs/{file}"))).expect("a file"));
    }
    bench
}

#[test]
fn a_program_agrees_with_its_model() {
    let bench = bench();
    for (flag, precision) in [("", "double precision"), ("--float32", "float32")] {
        let words = format!("verify tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png {flag}");
        let json = bench.json(&format!("{words} --format json"));
        assert_eq!(
            (&json["agrees"], &json["images"], &json["precision"]),
            (&json!(true), &json!(1), &json!(precision))
        );
        let maps = json["maps"].as_array().expect("maps");
        let values: Vec<_> =
            maps.iter().map(|map| (map["name"].as_str(), map["values"].as_u64())).collect();
        let expected =
            [("input", 784), ("conv1", 64 * 196), ("conv2", 64 * 49), ("fc1", 64), ("out", 10)];
        assert_eq!(values, expected.map(|(name, values)| (Some(name), Some(values))));
        for map in maps {
            assert_eq!(map["machine"], json!({"count": 0, "first": null}));
            assert_eq!(map["graph"], json!({"count": 0, "first": null}));
        }
        let text = bench.ok(&words);
        assert!(text.contains("Simulator and integer reference are equal."), "{text}");
    }
}

#[test]
fn several_images_and_real_inputs_are_compared() {
    let bench = Bench::new();
    bench.write("tcv.onnx", std::fs::read(project("programs/tcv_w1a1.onnx")).expect("the model"));
    bench.ok("compile tcv.onnx -o tcv.bin --pixel-offset -128");
    let pixels: Vec<u8> = (0..3 * 784u32).map(|i| (i * i % 251) as u8).collect();
    bench.write("images.idx", idx(&[3, 28, 28], &pixels));
    let of = |words: &str| {
        bench.json(&format!("verify tcv.onnx tcv.bin --format json --images {words}"))
    };
    assert_eq!(of("images.idx")["images"], 3);
    assert_eq!(of("images.idx --limit 2")["maps"][0]["values"], 2 * 784);
    // Real values between the quantizer's steps, and beyond its ends.
    let reals: Vec<u8> = (0..784).flat_map(|i| ((i as f64 - 392.0) / 2.5).to_le_bytes()).collect();
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1, 28, 28), }";
    bench.write("real.npy", common::npy(header, &reals));
    assert_eq!(of("real.npy")["agrees"], true);
}

#[test]
fn a_program_with_other_weights_differs() {
    let bench = bench();
    // A layer's first 32 bytes of weights turned, four taps of a channel: legal, but another
    // network.
    let text = bench.ok("disasm tcv_w1a1.bin");
    let (head, data) = text.split_once(".data \"conv2 weights\"").expect("weights");
    let (place, bytes) = data.split_once(".bytes \"").expect("bytes");
    let turn = |digit: char| {
        char::from_digit(digit.to_digit(16).expect("hexadecimal") ^ 15, 16).expect("a digit")
    };
    let bytes: String = bytes[..64].chars().map(turn).chain(bytes[64..].chars()).collect();
    let turned = format!("{head}.data \"conv2 weights\"{place}.bytes \"{bytes}");
    bench.write("turned.qnn", turned);
    bench.ok("asm turned.qnn -o turned.bin");
    let outcome = bench.run("verify tcv_w1a1.onnx turned.bin --images digit_3.png");
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    for part in [
        "`turned.bin` differs: map `conv2`",
        "image 0, channel",
        "the simulator says",
        "compile it again",
    ] {
        assert!(outcome.err.contains(part), "{part} is not in:\n{}", outcome.err);
    }
    let row = outcome.out.lines().find(|line| line.starts_with("conv2 ")).expect("a row");
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_ne!(columns[2], "0", "the simulator differs");
    assert_eq!(columns[3], "0", "the graph does not");
    let outcome = bench.run("verify tcv_w1a1.onnx turned.bin --images digit_3.png --format json");
    let json: serde_json::Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!((outcome.code, &json["agrees"]), (1, &json!(false)));
}

#[test]
fn what_does_not_belong_together_is_misuse() {
    let bench = bench();
    bench.program("hand.bin", MAP);
    bench.write("map.idx", idx(&[1, 1, 4], &[1, 2, 3, 4]));
    // The instructions of one layer as if they were another's.
    let text = bench.ok("disasm tcv_w1a1.bin").replace(".layer conv2\n", ".layer conv1\n");
    bench.write("lost.qnn", text);
    bench.ok("asm lost.qnn -o lost.bin");
    bench.write("small.idx", idx(&[1, 8, 8], &[0; 64]));
    for (words, part) in [
        (
            "tcv_w8a8.onnx tcv_w1a1.bin --images digit_3.png",
            "the map of layer `conv1` of the program is 64 x 14 x 14 of unsigned 1 bits, and of the model 64 x 14 x 14 of unsigned 8 bits",
        ),
        (
            "tcv_w1a1.onnx hand.bin --images map.idx",
            "the input of the program is 1 x 1 x 4, and of the model 1 x 28 x 28",
        ),
        (
            "tcv_w1a1.onnx tcv_w1a1.bin --images small.idx",
            "holds uint8 [1, 8, 8], but the model's input is [1, 28, 28] for one image",
        ),
        (
            "tcv_w1a1.bin tcv_w1a1.onnx --images digit_3.png",
            "`tcv_w1a1.onnx`: not a qnnsim program",
        ),
        (
            "digit_3.png tcv_w1a1.bin --images digit_3.png",
            "`digit_3.png`: the file is not an ONNX model",
        ),
        ("missing.onnx tcv_w1a1.bin --images digit_3.png", "cannot read `missing.onnx`"),
        ("tcv_w1a1.onnx tcv_w1a1.bin", "--images <FILE>"),
        (
            "tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png --limit 0",
            "invalid value '0' for '--limit <N>'",
        ),
    ] {
        let message = bench.misuse(&format!("verify {words}"));
        assert!(message.contains(part), "{words}: {part} is not in:\n{message}");
    }
}
