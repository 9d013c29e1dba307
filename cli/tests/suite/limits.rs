//! Every limit that a file can reach: what is at it is taken, what is one above is refused with a
//! short message, each in a process that may have no more memory than a limit is worth.
//!
//! `QNNSIM_LIMITS=FILE` writes what each took as the table of docs/limits.md.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qnnsim_tests::models::{Model, ints};

use crate::common::{self, Bench, MAP, npy, project, vector};

/// Most bytes that a message may have, whatever it quotes.
const MESSAGE_BYTES_MAX: usize = 10_000;

/// Memory that a process may have, addresses that it never touches included.
const MEMORY_KIB: u64 = 6 << 20;

/// What a command did.
struct Done {
    code: i32,
    said: String,
    time: Duration,
    /// The most that it had in memory at a time, in MiB.
    peak_mib: u64,
}

/// Runs a command in little memory, and looks at it until it ends.
fn run(bench: &Bench, words: &str) -> Done {
    let line = format!("ulimit -v {MEMORY_KIB}; exec {} {words}", env!("CARGO_BIN_EXE_qnnsim"));
    let file = |name: &str| File::create(bench.path(name)).expect("a file");
    let mut command = Command::new("sh");
    let command = command.current_dir(bench.path(".")).args(["-c", &line]).stdin(Stdio::null());
    let begun = Instant::now();
    let mut child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().expect("a shell");
    let mut peak_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    };
    let said = [bench.read("stdout"), bench.read("stderr")].concat();
    Done {
        code: status.code().unwrap_or_else(|| panic!("{words}: {status}")),
        said: String::from_utf8_lossy(&said).into_owned(),
        time: begun.elapsed(),
        peak_mib: peak_kib >> 10,
    }
}

/// A limit and two commands.
struct Limit {
    /// The constant: crate and name.
    name: &'static str,
    /// What makes a file of this size.
    write: fn(&Bench, u64),
    /// The size at the limit.
    at: u64,
    /// Runs on the file; `{}` stands for the size.
    words: &'static str,
    /// What the message says above the limit.
    says: &'static str,
    /// It takes a while.
    is_slow: bool,
}

const fn limit(
    name: &'static str,
    at: u64,
    write: fn(&Bench, u64),
    words: &'static str,
    says: &'static str,
) -> Limit {
    Limit { name, write, at, words, says, is_slow: false }
}

const fn slow(limit: Limit) -> Limit {
    Limit { is_slow: true, ..limit }
}

/// A file of zeros that takes no place on the disk.
fn zeros(bench: &Bench, name: &str, bytes: u64) {
    File::create(bench.path(name)).and_then(|file| file.set_len(bytes)).expect("a sparse file");
}

/// The program of [`MAP`] with something in front of its end.
fn with_code(text: &str) -> String {
    MAP.replace("  halt\n", &format!("{text}  halt\n"))
}

fn spaced(text: &str, bytes: u64) -> String {
    text.to_owned() + &" ".repeat(bytes as usize - text.len())
}

fn space(bench: &Bench, axes: &str, rest: &str) {
    bench.write("map.qnn", MAP);
    bench.write("s.ron", format!("(programs: [\"map.qnn\"], axes: {{ {axes} }}, {rest})"));
}

fn onnx(bench: &Bench, model: Model, output: &str) {
    bench.write("m.onnx", model.bytes(output));
}

const LIMITS: &[Limit] = &[
    slow(limit(
        "cli::INPUT_BYTES_MAX",
        1 << 30,
        |bench, size| zeros(bench, "a.qnn", size),
        "asm a.qnn -o a.bin",
        "it is longer than 1024 MiB",
    )),
    limit(
        "cli::POINT_BYTES_MAX",
        1 << 20,
        |bench, size| bench.write("p.ron", spaced("()", size)),
        "hw --hw p.ron",
        "it is longer than 1 MiB",
    ),
    limit(
        "cli::POINT_LINE_BYTES_MAX",
        1 << 16,
        |bench, size| {
            bench.program("v.bin", &vector());
            bench.write("p.jsonl", spaced("{}", size));
        },
        "run v.bin --points p.jsonl",
        "the line is longer than 65536 bytes",
    ),
    limit(
        "cli::SCRIPT_BYTES_MAX",
        1 << 20,
        |bench, size| {
            bench.program("v.bin", &vector());
            bench.write("s", spaced("", size));
        },
        "debug v.bin --script s",
        "it is longer than 1 MiB",
    ),
    limit(
        "cli::NPY_HEADER_BYTES_MAX",
        1 << 16,
        |bench, size| {
            bench.program("m.bin", MAP);
            let header =
                spaced("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 4), }", size);
            let mut file = npy("", &[])[..6].to_vec();
            file.extend([2, 0]);
            file.extend((size as u32).to_le_bytes());
            file.extend([header.as_bytes(), &[1, 2, 3, 4]].concat());
            bench.write("i.npy", file);
        },
        "run m.bin --input i.npy",
        "its npy header says to be 65537 bytes long",
    ),
    limit(
        "cli::IDX_DIMENSIONS_MAX",
        4,
        |bench, size| {
            bench.program("m.bin", MAP);
            let dims = [&vec![1; size as usize - 1][..], &[4]].concat();
            bench.write("i.idx", common::idx(&dims, &[1, 2, 3, 4]));
        },
        "run m.bin --input i.idx",
        "an IDX file of 5 dimensions, but only 1 to 4 are read",
    ),
    limit(
        "assembler::DEPTH_MAX",
        // What stands within no parentheses is a level.
        63,
        |bench, size| {
            let (open, close) = ("(".repeat(size as usize), ")".repeat(size as usize));
            bench.write("a.qnn", format!(".const A {open}1{close}\n{MAP}"));
        },
        "asm a.qnn -o a.bin",
        "an expression nests at most 64 deep",
    ),
    slow(limit(
        "assembler::LINE_BYTES_MAX",
        1 << 26,
        // With what begins and what ends it.
        |bench, size| bench.write("a.qnn", format!(";{}\n{MAP}", "a".repeat(size as usize - 2))),
        "asm a.qnn -o a.bin",
        "line 1 is longer than 64 MiB",
    )),
    slow(limit(
        "assembler::DATA_BYTES_MAX",
        1 << 28,
        // 8 bytes are there already.
        |bench, size| bench.write("a.qnn", format!("{MAP}.data z\n  .fill {}, 0\n", size - 8)),
        "asm a.qnn -o a.bin",
        "at most 268435456 bytes",
    )),
    limit(
        "isa::WORDS_MAX",
        1 << 20,
        // 26 words of cold code are there already.
        |bench, size| bench.write("a.qnn", with_code(&"  sync mac\n".repeat(size as usize - 26))),
        "asm a.qnn -o a.bin",
        "the cold code has 1048577 words, more than 1048576",
    ),
    limit(
        "isa::FILE_BYTES_MAX",
        1 << 30,
        |bench, size| {
            bench.program("v.bin", &vector());
            // The checksum of so many zeros is not looked for: their section ends too late.
            zeros(bench, "p.bin", size);
        },
        "inspect p.bin",
        "it is longer than 1024 MiB",
    ),
    limit(
        "isa::MEMORY_WORDS_MAX",
        (1 << 24) / 256,
        |_, _| {},
        "hw --set mac.rows=256 --set mac.cols=1 --set thr.cols=1 --set mac.lanes=8 --set act.words={}",
        "words is more than 16777216",
    ),
    limit(
        "isa::MEMORY_BITS_MAX",
        (1 << 30) / (256 * 256),
        |_, _| {},
        "hw --set mac.rows=256 --set mac.cols=1 --set thr.cols=1 --set mac.lanes=256 --set act.words={}",
        "are more than 1073741824 bits",
    ),
    limit(
        "isa::MAP_VALUES_MAX",
        // The output has 16 values, the map of the layer none.
        (1 << 25) - 16,
        |bench, size| {
            bench.write(
                "a.qnn",
                MAP.replace(
                    "height: 1, width: 4))\n.output",
                    &format!("height: {}, width: 16))\n.output", size.div_ceil(16),),
                ),
            );
        },
        "asm a.qnn -o a.bin",
        "values, more than 33554432",
    ),
    limit(
        "simulator::STEPS_MAX",
        1 << 22,
        |bench, size| {
            // Of the cold code, which has the more, these many steps are there already.
            let more = size - COLD_STEPS;
            let text = "  sync mac x16384\n".repeat((more / 16384) as usize);
            let rest = format!("  sync mac x{}\n", more % 16384);
            bench.program("m.bin", &with_code(&(text + &rest)));
            bench.write("i.idx", common::idx(&[1, 1, 4], &[1, 2, 3, 4]));
        },
        "run m.bin --input i.idx",
        "more than 4194304 steps an image",
    ),
    limit(
        "explore::AXIS_VALUES_MAX",
        1 << 16,
        |bench, size| {
            let axis = format!("\"wgt.words\": Range(from: 1, to: {size})");
            space(bench, &axis, "constraints: [\"wgt.words == 4096\"]");
        },
        "sweep s.ron -o out",
        "65537 values are more than 65536",
    ),
    limit(
        "explore::EXPRESSION_BYTES_MAX",
        1 << 10,
        |bench, size| {
            let constraint = spaced("mac.rows == 4", size);
            space(
                bench,
                "\"dram.latency\": List([10])",
                &format!("constraints: [\"{constraint}\"]"),
            );
        },
        "sweep s.ron -o out",
        "an expression has at most 1024 bytes",
    ),
    limit(
        "explore::EXPRESSIONS_MAX",
        1 << 12,
        |bench, size| {
            let constraints = "\"mac.rows == 4\",".repeat(size as usize);
            space(bench, "\"dram.latency\": List([10])", &format!("constraints: [{constraints}]"));
        },
        "sweep s.ron -o out",
        "at most 4096 ties and constraints",
    ),
    slow(limit(
        "explore::POINTS_MAX",
        1 << 20,
        |bench, size| {
            // Of 1025 times 1024 points the first.
            let axes = "\"wgt.words\": Range(from: 1, to: 1025), \
                        \"act.words\": Range(from: 1, to: 1024)";
            let index = "(wgt.words - 1) * 1024 + act.words - 1";
            space(bench, axes, &format!("constraints: [\"{index} < {size}\"]"));
        },
        "sweep s.ron -o out --shard 1/1048576",
        "the space has more than 1048576 points",
    )),
    limit(
        "explore::GRID_POINTS_MAX",
        1 << 24,
        |bench, size| {
            let first = size.div_ceil(4096);
            let axes = format!(
                "\"wgt.words\": Range(from: 1, to: {first}), \
                 \"act.words\": Range(from: 1, to: 4096)"
            );
            space(bench, &axes, "constraints: [\"wgt.words == 64\", \"act.words == 64\"]");
        },
        "sweep s.ron -o out",
        "points, more than 16777216",
    ),
    limit(
        "compiler::RANK_MAX",
        8,
        |bench, size| {
            let mut model = Model::new(&[1, 4]);
            let x = model.input();
            let last = model.last(&x, 4);
            let dims = vec![1; size as usize];
            let shape = model.shape(&dims);
            let y = model.node("Reshape", &[&last, &shape], &[]);
            onnx(bench, model, &y);
        },
        "compile m.onnx -o m.bin",
        "the new shape is a constant that keeps the number of values",
    ),
    limit(
        "compiler::OPERANDS_MAX",
        4096,
        |bench, size| {
            let mut model = Model::new(&[1, 2]);
            let x = model.input();
            let one = model.constant(&[1, 1], &[1.0]);
            let mut operands = vec![&x[..]];
            operands.resize(size as usize, &one);
            let joined = model.node("Concat", &operands, &[qnnsim_tests::models::int("axis", 1)]);
            let last = model.last(&joined, size as usize + 1);
            onnx(bench, model, &last);
        },
        "compile m.onnx -o m.bin",
        "4097",
    ),
    slow(limit(
        "compiler::NODES_MAX",
        1 << 16,
        |bench, size| {
            let mut model = Model::new(&[1, 4]);
            let mut x = model.input();
            // The input's quantizer, that of the weights and the layer are nodes as well.
            for _ in 0..size - 3 {
                x = model.node("Relu", &[&x], &[]);
            }
            let last = model.last(&x, 4);
            onnx(bench, model, &last);
        },
        "compile m.onnx -o m.bin",
        "65537 nodes",
    )),
    limit(
        "compiler::CHANNELS_MAX",
        65535,
        |bench, size| {
            let mut model = Model::new(&[1, 1, 1, 1]);
            let x = model.input();
            let weights = model.weights(&[size as i64, 1, 1, 1], &vec![1.0; size as usize]);
            let y = model.node("Conv", &[&x, &weights], &[ints("kernel_shape", &[1, 1])]);
            onnx(bench, model, &y);
        },
        "compile m.onnx -o m.bin --set wgt.words=262144",
        "1 to 65535 channels",
    ),
    limit(
        "compiler::OUTPUTS_MAX",
        64,
        |bench, size| {
            let mut model = Model::new(&[1, 4]);
            let x = model.input();
            let outputs: Vec<String> = (0..size).map(|_| model.last(&x, 4)).collect();
            let outputs: Vec<&str> = outputs.iter().map(|name| &name[..]).collect();
            use prost::Message;
            bench.write("m.onnx", model.message_of(&outputs).encode_to_vec());
        },
        "compile m.onnx -o m.bin",
        "1 to 64 outputs",
    ),
];

/// Steps of the cold code of [`MAP`]: `ld post=weights`, `sync mac wait=weights`, `ld post=rows`,
/// `sync thr x2`, `sync mac wait=rows`, `mac`, `thr`, `sync thr post=map`, `sync st`, `st x4`.
const COLD_STEPS: u64 = 1 + 1 + 1 + 2 + 1 + 1 + 1 + 1 + 1 + 4;

#[test]
fn what_is_at_a_limit_is_taken_and_what_is_above_is_refused() {
    let thorough = std::env::var("QNNSIM_THOROUGH").is_ok_and(|value| value == "1");
    let table = std::env::var_os("QNNSIM_LIMITS");
    let (mut lines, mut wrong) = (String::new(), Vec::new());
    for limit in LIMITS.iter().filter(|limit| thorough || table.is_some() || !limit.is_slow) {
        let bench = Bench::new();
        let words = |size: u64| limit.words.replace("{}", &size.to_string());
        (limit.write)(&bench, limit.at);
        let at = run(&bench, &words(limit.at));
        let name = limit.name;
        let taken =
            !at.said.contains(limit.says) && (at.code == 0 || at.said.len() < MESSAGE_BYTES_MAX);
        let bench = Bench::new();
        (limit.write)(&bench, limit.at + 1);
        let above = run(&bench, &words(limit.at + 1));
        // 1 is a trap.
        let refused = matches!(above.code, 1 | 2)
            && above.said.contains(limit.says)
            && above.said.len() < MESSAGE_BYTES_MAX;
        if !taken || !refused {
            wrong.push(format!("{name}\nat it: {}\nabove: {}", at.said, above.said));
        }
        let cost = |done: &Done| format!("{:.2} | {}", done.time.as_secs_f64(), done.peak_mib);
        lines += &format!(
            "| `{name}` | `{}` | {} | {} | {} |\n",
            words(limit.at),
            if at.code == 0 { "taken" } else { "refused for another reason" },
            cost(&at),
            cost(&above)
        );
    }
    if let Some(path) = table {
        fs::write(path, lines).expect("a file");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Every bound is a constant of its crate's `limits.rs`, and a row of the page with its value.
#[test]
fn the_page_has_every_limit() {
    let page = fs::read_to_string(project("docs/limits.md")).expect("the page");
    let mut rows = 0;
    for name in [
        "isa",
        "assembler",
        "diagnostic",
        "compiler",
        "simulator",
        "explore",
        "inspect",
        "cosim",
        "cli",
    ] {
        let text = fs::read_to_string(project(&format!("{name}/src/limits.rs"))).expect("a file");
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("pub const ") else { continue };
            let (constant, rest) = rest.split_once(": ").expect("a type");
            let value = rest.split_once(" = ").expect("a value").1.trim_end_matches(';');
            let row = format!("| `{name}::{constant}` | `{value}` |");
            assert!(page.contains(&row), "docs/limits.md has no row that begins with\n{row}");
            rows += 1;
        }
    }
    let written =
        page.lines().filter(|line| line.starts_with("| `") && line.contains("::")).count();
    assert!(rows > 60 && written >= rows, "{rows} limits");
}
