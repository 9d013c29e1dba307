//! JSON of every command against its schema, by a validator that is not this project's; the kept
//! schemas against the types; and versions that change with them.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::{Bench, MAP, idx, project, vector};
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

const KEPT: &str = "docs/schemas";

/// All schemas, as the command prints them, by name.
fn schemas(bench: &Bench) -> BTreeMap<String, Value> {
    let list = bench.ok("schema");
    let names = list.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(|name| (name.to_owned(), bench.json(&format!("schema {name}")))).collect()
}

#[test]
fn the_kept_schemas_are_those_of_the_types() {
    let bench = Bench::new();
    let mut expected = BTreeSet::from(["versions.txt".to_owned()]);
    for (name, schema) in schemas(&bench) {
        let file = format!("{KEPT}/{name}.json");
        assert!(jsonschema::meta::is_valid(&schema), "{name} is no schema");
        let text = bench.ok(&format!("schema {name}"));
        if is_update() {
            fs::write(project(&file), &text).expect("the file can be written");
        }
        assert_eq!(
            fs::read_to_string(project(&file)).unwrap_or_default(),
            text,
            "out of date; see what changed and run UPDATE=1 cargo test -p qnnsim schema::"
        );
        expected.insert(format!("{name}.json"));
    }
    let files = fs::read_dir(project(KEPT))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    assert_eq!(files.collect::<BTreeSet<_>>(), expected);
    assert!(bench.misuse("schema nothing").contains("possible values: compile"));
}

/// Whether kept files are written anew; what versions.txt says of a version stays.
fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// What a reader depends on: a schema without its sentences.
fn shape(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                let value = match (&key[..], value) {
                    ("title" | "description", Value::String(_)) => return None,
                    // In whatever order.
                    ("required", Value::Array(names)) => {
                        let names: BTreeSet<&str> =
                            names.iter().filter_map(Value::as_str).collect();
                        json!(names)
                    }
                    // Names of properties, whatever they are.
                    ("properties" | "$defs", Value::Object(all)) => {
                        all.iter().map(|(key, value)| (key.clone(), shape(value))).collect()
                    }
                    (_, value) => shape(value),
                };
                Some((key.clone(), value))
            };
            members.iter().filter_map(member).collect()
        }
        Value::Array(all) => all.iter().map(shape).collect(),
        other => other.clone(),
    }
}

fn digest(schema: &Value) -> String {
    let mut shape = shape(schema);
    shape.sort_all_objects();
    let digest = Sha256::digest(shape.to_string());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_schema_that_changes_has_another_version() {
    let bench = Bench::new();
    let file = project(&format!("{KEPT}/versions.txt"));
    let mut kept = fs::read_to_string(&file).unwrap_or_default();
    let schemas = schemas(&bench);
    let version = |name: &str| -> u32 {
        let title = schemas[name]["title"].as_str().expect("a title");
        let version = title.strip_prefix(&format!("qnnsim/{name}/"));
        version.and_then(|version| version.parse().ok()).expect(title)
    };
    if is_update() {
        for (name, schema) in &schemas {
            let line = format!("{name} {} ", version(name));
            if !kept.lines().any(|other| other.starts_with(&line)) {
                kept += &format!("{line}{}\n", digest(schema));
            }
        }
        fs::write(&file, &kept).expect("the file can be written");
    }
    let mut versions: BTreeMap<&str, Vec<(u32, &str)>> = BTreeMap::new();
    for line in kept.lines().filter(|line| !line.starts_with('#')) {
        let [name, version, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        versions.entry(name).or_default().push((version.parse().expect("a number"), digest));
    }
    for (name, schema) in &schemas {
        let version = version(name);
        let known = versions.remove(&name[..]).unwrap_or_default();
        assert_eq!(
            known.last(),
            Some(&(version, &digest(schema)[..])),
            "`{name}` changed. A reader of version {version} may not find what it reads: raise the \
             version in cli/src/document.rs and run UPDATE=1 cargo test -p qnnsim schema::"
        );
        let numbers = known.iter().map(|(version, _)| *version);
        assert!(numbers.eq(1..=version), "`{name}`: one line a version, in order");
    }
    assert!(versions.is_empty(), "no such schemas: {versions:?}");

    // Every change that a reader can notice is one, and sentences are none.
    let schema = bench.json("schema run");
    let changed = |at: &str, value: Value| {
        let mut other = schema.clone();
        *other.pointer_mut(at).expect(at) = value;
        digest(&other) != digest(&schema)
    };
    assert!(changed("/properties/class/type", json!(["string", "null"])));
    assert!(changed("/required", json!(["schema"])));
    assert!(changed("/$defs/LayerReport/properties/macs", json!({})));
    assert!(changed("/properties/schema/const", json!("qnnsim/run/0")));
    assert!(!changed("/properties/class/description", json!("Another sentence.")));
    assert!(!changed("/$defs/LayerReport/description", json!("Another sentence.")));
}

/// The same schema, which takes no property that it does not name.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let mut all: Map<String, Value> =
                members.iter().map(|(key, value)| (key.clone(), closed(value))).collect();
            // Properties may be called "properties"; none is.
            if all.get("properties").is_some_and(Value::is_object) {
                all.entry("additionalProperties").or_insert(false.into());
            }
            Value::Object(all)
        }
        Value::Array(all) => all.iter().map(closed).collect(),
        other => other.clone(),
    }
}

/// Pointers to all values that hold no others.
fn leaves(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            leaves(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all);
        }),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .for_each(|(index, value)| leaves(value, &format!("{at}/{index}"), all)),
        _ => all.push(at.to_owned()),
    }
}

struct Checked {
    validators: BTreeMap<String, Validator>,
    seen: BTreeSet<String>,
}

impl Checked {
    fn new(bench: &Bench) -> Self {
        let validator = |(name, schema): (String, Value)| {
            let validator = jsonschema::draft202012::new(&closed(&schema));
            (name, validator.expect("a schema"))
        };
        Checked {
            validators: schemas(bench).into_iter().map(validator).collect(),
            seen: BTreeSet::new(),
        }
    }

    /// Checks a document that says its schema.
    fn document(&mut self, words: &str, document: &Value) {
        let tag = document["schema"].as_str().unwrap_or_else(|| panic!("{words}: {document}"));
        let name = tag.split('/').nth(1).expect(tag).to_owned();
        self.named(words, &name, document);
        for key in document.as_object().expect("an object").keys() {
            // What is no point at all is answered without one.
            if key != "point" {
                let mut without = document.clone();
                without.as_object_mut().expect("an object").remove(key);
                assert!(!self.validators[&name].is_valid(&without), "{words}: without {key}");
            }
        }
    }

    fn named(&mut self, words: &str, name: &str, document: &Value) {
        let validator = &self.validators[name];
        let errors: Vec<String> = validator
            .iter_errors(document)
            .take(5)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{words}: {errors:#?}");
        // A schema that takes everything would prove nothing.
        let mut all = Vec::new();
        leaves(document, "", &mut all);
        for at in all.iter().step_by(all.len().div_ceil(200)) {
            let mut wrong = document.clone();
            *wrong.pointer_mut(at).expect(at) = json!({ "wrong": [[]] });
            assert!(!validator.is_valid(&wrong), "{words}: {at} may be anything");
        }
        self.seen.insert(name.to_owned());
    }
}

#[test]
fn json_of_every_command_is_valid_by_its_schema() {
    let bench = Bench::new();
    for file in ["tcv_w1a1.onnx", "tcv_w1a1.bin", "tcv_w8a8.onnx", "digits/digit_3.png"] {
        let bytes = fs::read(project(&format!("programs/{file}"))).expect("a file");
        bench.write(file.trim_start_matches("digits/"), bytes);
    }
    bench.program("map.bin", MAP);
    bench.write("map.qnn", MAP);
    bench.program("vector.bin", &vector());
    bench.write("four.idx", idx(&[3, 1, 4], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
    bench.write("one.idx", idx(&[3, 1, 1], &[1, 2, 3]));
    bench.write("labels.idx", idx(&[3], &[0, 0, 3]));
    bench.write(
        "points.jsonl",
        "{\"dram.latency\": 60}\n{\"mac.cols\": 32, \"technology\": \"22nm\"}\nnone\n{\"mac.taps\": 7}\n{\"act.words\": 1}\n",
    );
    bench.write(
        "space.ron",
        r#"(models: [(file: "tcv_w1a1.onnx", pixel_offset: -128)], base: (acc: (banks: 3)),
            axes: { "mac.cols": List([16, 32]), "act.words": Range(from: 1, to: 512, step: 511),
                    "mac.taps": Powers(from: 2, to: 32), "technology": List(["45nm"]) },
            tied: { "thr.cols": "mac.cols / 2" }, constraints: ["mac.rows < 20"])"#,
    );
    bench.write("hand.ron", r#"(programs: ["map.qnn"], sample: (points: 1, seed: 1))"#);
    let mut checked = Checked::new(&bench);

    for words in [
        "hw",
        "hw --set mac.rows=8",
        "compile tcv_w1a1.onnx --pixel-offset -128 -o compiled.bin",
        "compile tcv_w1a1.onnx --pixel-offset -128 --explain",
        "inspect tcv_w1a1.bin",
        "inspect map.bin",
        "run tcv_w1a1.bin",
        "run vector.bin",
        "run map.bin --input four.idx --index 1",
        "run tcv_w1a1.onnx --pixel-offset -128 --input digit_3.png --tech 22nm",
        "eval vector.bin --images one.idx --labels labels.idx",
        "eval map.bin --images four.idx",
        "explain tcv_w1a1.bin",
        "explain map.bin",
        "verify tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png",
        "verify tcv_w1a1.onnx tcv_w1a1.bin --images digit_3.png --float32",
        "sweep space.ron -o swept",
        "sweep hand.ron -o hand",
        "sweep space.ron -o part1 --shard 1/2",
        "sweep space.ron -o part2 --shard 2/2 --date today",
        "sweep merge part1 part2 -o whole",
    ] {
        let document = bench.json(&format!("{words} --format json"));
        checked.document(words, &document);
        // The same in one line.
        if !words.starts_with("sweep") {
            let line = bench.ok(&format!("{words} --format jsonl"));
            assert_eq!(line.lines().count(), 1, "{words}");
            assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), document, "{words}");
        }
    }
    // What differs is said, too.
    let text = bench.ok("disasm tcv_w1a1.bin");
    let (head, data) = text.split_once(".data \"conv2 weights\"").expect("weights");
    let (place, bytes) = data.split_once(".bytes \"").expect("bytes");
    // All bits of the first weights are turned.
    let turn = |digit: char| {
        let digit = digit.to_digit(16).expect("hexadecimal");
        char::from_digit(digit ^ 15, 16).expect("a digit")
    };
    let turned: String = bytes[..64].chars().map(turn).collect();
    let text = format!("{head}.data \"conv2 weights\"{place}.bytes \"{turned}{}", &bytes[64..]);
    bench.write("other.qnn", text);
    bench.ok("asm other.qnn -o other.bin");
    let words = "verify tcv_w1a1.onnx other.bin --images digit_3.png --format json";
    let outcome = bench.run(words);
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    checked.document(words, &serde_json::from_str(&outcome.out).expect("JSON"));
    for words in [
        "compile tcv_w1a1.onnx --pixel-offset -128 --points points.jsonl",
        "run tcv_w1a1.onnx --pixel-offset -128 --input digit_3.png --points points.jsonl",
        "run tcv_w1a1.bin --points points.jsonl",
        "eval tcv_w1a1.onnx --pixel-offset -128 --images digit_3.png --points points.jsonl",
        "sweep space.ron --points points.jsonl",
    ] {
        let outcome = bench.run(words);
        let answers: Vec<Value> =
            outcome.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(answers.len(), 5, "{words}: {}", outcome.err);
        answers.iter().for_each(|answer| checked.document(words, answer));
    }
    for folder in ["swept", "hand", "part1", "whole"] {
        let read =
            |name: &str| String::from_utf8(bench.read(&format!("{folder}/{name}"))).expect("text");
        let manifest: Value = serde_json::from_str(&read("manifest.json")).expect("JSON");
        checked.document(folder, &manifest);
        let schema = bench.json("schema sweep-row");
        assert_eq!(manifest["row_schema"], schema["title"]);
        let rows = read("points.jsonl");
        assert!(!rows.is_empty());
        for row in rows.lines() {
            checked.named(folder, "sweep-row", &serde_json::from_str(row).expect("JSON"));
        }
    }
    // What the debugger finds has keys of its own by command; the line around it has not.
    bench.write("session.txt", "help\noutput\nstep layer\nnonsense\n");
    let session =
        bench.run("debug map.bin --input four.idx --index 0 --script session.txt --format json");
    let lines: Vec<Value> =
        session.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((session.code, lines.len()), (2, 4), "{}", session.err);
    for line in &lines {
        let validator = &checked.validators["debug-line"];
        assert!(validator.is_valid(line), "{line}");
        for key in line.as_object().expect("an object").keys() {
            let mut without = line.clone();
            without.as_object_mut().expect("an object").remove(key);
            assert!(!validator.is_valid(&without), "without {key}");
        }
    }
    checked.seen.insert("debug-line".into());
    if is_there("verilator") {
        bench.write("point.ron", "(mac: (rows: 4, cols: 4, lanes: 8))");
        for words in
            ["cosim map.bin --input four.idx --index 0", "cosim --random 2 --hw point.ron --traps"]
        {
            checked.document(words, &bench.json(&format!("{words} --format json")));
        }
    } else {
        assert!(std::env::var_os("QNNSIM_REQUIRE_COSIM").is_none(), "verilator is not there");
        eprintln!("skipped: the JSON of cosim, for verilator is not installed");
        checked.seen.insert("cosim".into());
    }
    assert!(checked.seen.iter().eq(checked.validators.keys()), "{:?}", checked.seen);
}

fn is_there(tool: &str) -> bool {
    std::process::Command::new(tool).arg("--version").output().is_ok()
}
