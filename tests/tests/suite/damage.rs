//! Damaged program files, their checksum sealed again: a clear message or a program that works,
//! never a panic, a hang or memory without bound.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use qnnsim_assembler::{assemble, disassemble};
use qnnsim_isa::hardware::{HardwarePoint, Overrides};
use qnnsim_isa::program::{Program, seal};
use qnnsim_isa::{Instruction, operand::Kind};
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::{cases, compile, for_all, hardware_point, network_seed, programs};

/// Far more than any program may take, and far less than a hang.
const PATIENCE: Duration = Duration::from_secs(600);

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Refused,
    Trapped,
    Ran,
}

/// Takes a file through everything that reads it.
fn survive(file: &[u8]) -> Fate {
    let started = Instant::now();
    let fate = match Program::from_bytes(file) {
        Ok(program) => work(program),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Fate::Refused
        }
    };
    assert!(started.elapsed() < PATIENCE, "took {:?}", started.elapsed());
    fate
}

fn work(program: Program) -> Fate {
    let text = disassemble(&program);
    match assemble("damaged.qnn", &text) {
        Ok(back) => assert!(back == program, "another program from\n{text}"),
        Err(mistakes) => panic!("{mistakes}\n{text}"),
    }
    let simulation = match Simulation::new(program.clone()) {
        Ok(simulation) => simulation,
        Err(trap) => {
            assert!(trap.describe(&program).contains("cause: "));
            return Fate::Trapped;
        }
    };
    let report = simulation
        .report(&Technology::builtin("45nm").expect("it is built in"), program.hardware.clock_mhz);
    assert_eq!(report.layers.len(), program.layers.len() + 2);
    let input = program.sample.clone().unwrap_or_else(|| vec![0x5a; program.input.shape.values()]);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    simulation.cold_executor().run(&input, &mut first);
    simulation.executor().run_with_maps(&input, &mut second);
    assert_eq!(first.len(), program.output.shape.values());
    assert_eq!(first.len(), second.len());
    if let Ok(decoder) = qnnsim_host::Decoder::new(&program.output) {
        let outputs = decoder.decode(&second);
        decoder.class(&outputs);
    }
    if let Ok(encoder) = qnnsim_host::Encoder::new(&program.input) {
        let mut bytes = vec![0; encoder.values()];
        encoder.encode_pixels(&vec![7; bytes.len()], qnnsim_host::Order::Model, &mut bytes);
        encoder.encode_reals(&vec![0.7; bytes.len()], qnnsim_host::Order::Model, &mut bytes);
    }
    for start in [Start::Cold, Start::Warm] {
        assert!(!simulation.trace(start).is_empty());
    }
    Fate::Ran
}

/// Files of random networks on random points, and of TCV_W1A1.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        let (seed, hw) = (network_seed(), hardware_point())
            .new_tree(&mut runner)
            .expect("nothing is rejected")
            .current();
        let network = seed.build();
        qnnsim_compiler::lower_to(&network, &hw).map(|(_, program)| program.to_bytes())
    };
    let mut files: Vec<Vec<u8>> = (0..60).filter_map(|_| draw().ok()).collect();
    let model = programs().join("tcv_w1a1.onnx");
    files.push(compile(&model, &HardwarePoint::default()).to_bytes());
    // With maps in stripes, by way of scratch.
    files.push(
        compile(
            &model,
            &HardwarePoint::default().with(|p| p.act_words = 24).expect("a valid point"),
        )
        .to_bytes(),
    );
    files
});

/// A section: kind, bytes.
type Section = (u32, Vec<u8>);

const META: usize = 0;
const HEADER: usize = 16;
const SECTION_HEADER: usize = 12;

/// The sections, as far as they go.
fn sections(file: &[u8]) -> Vec<Section> {
    let mut found = Vec::new();
    let mut rest = &file[HEADER.min(file.len())..];
    while let Some((head, body)) = rest.split_at_checked(SECTION_HEADER) {
        let (kind, length) = head.split_at(4);
        let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
        let (body, tail) =
            body.split_at(body.len().min(usize::try_from(length).unwrap_or(usize::MAX)));
        found.push((u32::from_le_bytes(kind.try_into().expect("4 bytes")), body.to_vec()));
        rest = tail;
    }
    found
}

fn put_together(header: &[u8], sections: &[Section]) -> Vec<u8> {
    let mut file = header.to_vec();
    for (kind, bytes) in sections {
        file.extend(kind.to_le_bytes());
        file.extend((bytes.len() as u64).to_le_bytes());
        file.extend(bytes);
    }
    file
}

#[derive(Debug, Clone)]
enum Damage {
    Truncate(Index),
    /// Bits of the whole file.
    Flip(Vec<(Index, u8)>),
    /// Bits of one section.
    FlipIn(Index, Vec<(Index, u8)>),
    /// The length that a section gives.
    Length(Index, u64),
    /// Words of code, replaced.
    Words(bool, Vec<(Index, u128)>),
    /// Operands of words of code.
    Operands(bool, Vec<(Index, Index, Index, Extreme)>),
    /// A word of code twice, or not at all.
    Repeat(bool, Index, u8),
    /// Numbers of the meta section.
    Numbers(Vec<(Index, Number)>),
    /// A hardware parameter, with the fingerprint that goes with it.
    Parameter(Index, u32),
    Swap(Index, Index),
}

/// A value of an operand.
#[derive(Debug, Clone, Copy)]
enum Extreme {
    Least,
    Greatest,
    Any(i64),
}

impl Extreme {
    fn within(self, kind: Kind, part: usize) -> i64 {
        let (least, greatest) = kind.limits(part);
        match self {
            Extreme::Least => least,
            Extreme::Greatest => greatest,
            Extreme::Any(bits) => least + bits.rem_euclid(greatest - least + 1),
        }
    }
}

#[derive(Debug, Clone)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Real(f64),
    Null,
}

impl Number {
    fn json(&self) -> serde_json::Value {
        match *self {
            Number::Unsigned(x) => x.into(),
            Number::Signed(x) => x.into(),
            Number::Real(x) => x.into(),
            Number::Null => serde_json::Value::Null,
        }
    }
}

fn flips() -> impl Strategy<Value = Vec<(Index, u8)>> {
    vec((any::<Index>(), 0..8u8), 1..8)
}

fn extreme() -> impl Strategy<Value = Extreme> {
    prop_oneof![Just(Extreme::Least), Just(Extreme::Greatest), any::<i64>().prop_map(Extreme::Any)]
}

/// A legal instruction, its operands often at their limits.
fn instruction() -> impl Strategy<Value = u128> {
    (select(Instruction::TABLE), vec([extreme(), extreme(), extreme(), extreme()], 16)).prop_map(
        |(row, values)| {
            let operands: Vec<[i64; 4]> = row
                .fields
                .iter()
                .zip(values)
                .map(|(field, values)| {
                    let mut parts = [0; 4];
                    let count = field.kind.parts().len();
                    (0..count).for_each(|part| parts[part] = values[part].within(field.kind, part));
                    parts
                })
                .collect();
            row.instruction(&operands).and_then(|i| i.encode()).expect("operands in range")
        },
    )
}

fn number() -> impl Strategy<Value = Number> {
    let unsigned = vec![
        0,
        1,
        2,
        15,
        16,
        255,
        4095,
        1 << 16,
        1 << 20,
        1 << 25,
        1 << 28,
        (1 << 32) - 1,
        1 << 32,
        u64::MAX,
    ];
    let reals = vec![-0.0, 0.5, 1e-320, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1e19];
    prop_oneof![
        4 => select(unsigned).prop_map(Number::Unsigned),
        4 => (0..300u64).prop_map(Number::Unsigned),
        1 => select(vec![-1, -128, i64::MIN]).prop_map(Number::Signed),
        2 => select(reals).prop_map(Number::Real),
        1 => Just(Number::Null),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        1 => index().prop_map(Damage::Truncate),
        2 => flips().prop_map(Damage::Flip),
        3 => (index(), flips()).prop_map(|(section, flips)| Damage::FlipIn(section, flips)),
        1 => (index(), prop_oneof![Just(1u64 << 32), Just(u64::MAX), any::<u64>(), 0..1000u64])
            .prop_map(|(section, length)| Damage::Length(section, length)),
        4 => (any::<bool>(), vec((index(), instruction()), 1..4)).prop_map(|(warm, words)| Damage::Words(warm, words)),
        8 => (any::<bool>(), vec((index(), index(), index(), extreme()), 1..4))
            .prop_map(|(warm, operands)| Damage::Operands(warm, operands)),
        2 => (any::<bool>(), index(), 0..3u8).prop_map(|(warm, word, times)| Damage::Repeat(warm, word, times)),
        4 => vec((index(), number()), 1..4).prop_map(Damage::Numbers),
        4 => (index(), prop_oneof![Just(0), Just(u32::MAX), 0..300u32, any::<u32>()])
            .prop_map(|(parameter, value)| Damage::Parameter(parameter, value)),
        1 => (index(), index()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

fn flip(bytes: &mut [u8], flips: &[(Index, u8)]) {
    if !bytes.is_empty() {
        flips.iter().for_each(|(at, bit)| bytes[at.index(bytes.len())] ^= 1 << bit);
    }
}

/// The places of a stream's words, if the file still has them.
fn code(sections: &[Section], warm: bool) -> Option<(usize, usize)> {
    let section = 1 + usize::from(warm);
    let words = sections.get(section)?.1.len() / 16;
    (words > 0).then_some((section, words))
}

fn word_range(at: usize) -> Range<usize> {
    16 * at..16 * at + 16
}

impl Damage {
    fn apply(&self, file: &mut Vec<u8>) {
        let mut parts = sections(file);
        match self {
            Damage::Truncate(at) => return file.truncate(at.index(file.len() + 1)),
            Damage::Flip(flips) => return flip(file, flips),
            Damage::Length(at, length) if !parts.is_empty() => {
                let before = &parts[..at.index(parts.len())];
                let start = HEADER
                    + before.iter().map(|(_, bytes)| SECTION_HEADER + bytes.len()).sum::<usize>()
                    + 4;
                return file[start..start + 8].copy_from_slice(&length.to_le_bytes());
            }
            _ if parts.is_empty() => return,
            Damage::FlipIn(at, flips) => {
                let at = at.index(parts.len());
                flip(&mut parts[at].1, flips);
            }
            Damage::Words(warm, words) => {
                let Some((section, count)) = code(&parts, *warm) else { return };
                for (at, word) in words {
                    parts[section].1[word_range(at.index(count))]
                        .copy_from_slice(&word.to_le_bytes());
                }
            }
            Damage::Operands(warm, operands) => {
                let Some((section, count)) = code(&parts, *warm) else { return };
                for (at, field, part, value) in operands {
                    let word = &mut parts[section].1[word_range(at.index(count))];
                    change_operand(word, field, part, *value);
                }
            }
            Damage::Repeat(warm, at, times) => {
                let Some((section, count)) = code(&parts, *warm) else { return };
                let range = word_range(at.index(count));
                let word = parts[section].1[range.clone()].repeat(usize::from(*times));
                parts[section].1.splice(range, word);
                let meta = &mut parts[META].1;
                change_meta(meta, |meta| {
                    let path = ["/cold/layers/0/1", "/warm/layers/0/1"][usize::from(*warm)];
                    if let Some(length) = meta.pointer_mut(path) {
                        let words = length.as_u64().unwrap_or(0).saturating_add(u64::from(*times));
                        *length = words.saturating_sub(1).into();
                    }
                });
            }
            Damage::Numbers(numbers) => change_meta(&mut parts[META].1, |meta| {
                for (at, number) in numbers {
                    let mut leaves = Vec::new();
                    leaves_of(meta, &mut leaves);
                    if !leaves.is_empty() {
                        let at = at.index(leaves.len());
                        *leaves.swap_remove(at) = number.json();
                    }
                }
                renew_fingerprint(meta);
            }),
            Damage::Parameter(at, value) => change_meta(&mut parts[META].1, |meta| {
                let mut leaves = Vec::new();
                leaves_of(&mut meta["hardware"], &mut leaves);
                let parameters = qnnsim_isa::hardware::PARAMETERS;
                if leaves.len() == parameters.len() {
                    let at = at.index(leaves.len());
                    *leaves.swap_remove(at) = (*value).into();
                }
                renew_fingerprint(meta);
            }),
            Damage::Swap(a, b) => {
                let (a, b) = (a.index(parts.len()), b.index(parts.len()));
                parts.swap(a, b);
            }
            Damage::Length(..) => return,
        }
        *file = put_together(&file[..HEADER], &parts);
    }
}

fn change_operand(word: &mut [u8], field: &Index, part: &Index, value: Extreme) {
    let bits = u128::from_le_bytes((&*word).try_into().expect("16 bytes"));
    let Ok(instruction) = Instruction::decode(bits) else { return };
    let row = instruction.row();
    if row.fields.is_empty() {
        return;
    }
    let mut operands = instruction.operands();
    let field = field.index(row.fields.len());
    let kind = row.fields[field].kind;
    let part = part.index(kind.parts().len());
    operands[field][part] = value.within(kind, part);
    let changed = row.instruction(&operands).and_then(|i| i.encode()).expect("an operand in range");
    word.copy_from_slice(&changed.to_le_bytes());
}

fn change_meta(meta: &mut Vec<u8>, change: impl FnOnce(&mut serde_json::Value)) {
    if let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(meta)
        && value.is_object()
    {
        change(&mut value);
        *meta = serde_json::to_vec(&value).expect("a value serializes");
    }
}

fn leaves_of<'v>(value: &'v mut serde_json::Value, leaves: &mut Vec<&'v mut serde_json::Value>) {
    match value {
        serde_json::Value::Array(all) => all.iter_mut().for_each(|v| leaves_of(v, leaves)),
        serde_json::Value::Object(all) => all.values_mut().for_each(|v| leaves_of(v, leaves)),
        serde_json::Value::Number(_) => leaves.push(value),
        _ => {}
    }
}

/// A changed point is told by its fingerprint; here the rest shall be tested.
fn renew_fingerprint(meta: &mut serde_json::Value) {
    if let Ok(overrides) = serde_json::from_value::<Overrides>(meta["hardware"].clone()) {
        meta["fingerprint"] = overrides.parameters().fingerprint().into();
    }
}

#[test]
fn damaged_files_give_messages() {
    for_all(
        cases(400, 4_000),
        || (any::<Index>(), vec(damage(), 1..4)),
        |(file, damages)| {
            let mut file = FILES[file.index(FILES.len())].clone();
            for damage in &damages {
                damage.apply(&mut file);
            }
            seal(&mut file);
            survive(&file);
            Ok(())
        },
    );
}

/// Small programs that ask for as much work or memory as they can: refused, or done in bearable
/// time.
#[test]
fn greedy_programs_end() {
    /// The output's only word comes from the data; between lies what is greedy.
    fn program(hardware: &str, code: &str) -> String {
        format!(
            ".hardware ({hardware}, dram: (width: 64, burst: 256), load: (buffers: 64))\n\
             .input (shape: (channels: 1, height: 1, width: 1))\n\
             .output (shape: (channels: 1, height: 1, width: 1), code: (bits: 1, signed: false))\n\
             .data d\n.fill 4096, 0xa5\n.code\n\
             cfg ld.src dram=d bytes=64\ncfg ld.dst memory=act span=1\nld\nsync ld post=s14\n\
             cfg st.map words=1 dram=OUTPUT\nsync st wait=s14\nst\n{code}halt\n"
        )
    }
    /// Weights from address 0 on, the same in every bank.
    fn weights(columns: u32, loads: u32) -> String {
        let load = |(bank, i): (u32, u32)| {
            format!("cfg ld.dst memory=wgt bank={bank} base={}\nld\n", 64 * i)
        };
        let all: String =
            (0..columns).flat_map(|bank| (0..loads).map(move |i| (bank, i))).map(load).collect();
        format!("cfg ld.src dram=d bytes=4096\n{all}sync ld post=s0\nsync mac wait=s0\n")
    }
    /// A layer with taps outside of every output, so that no activation has to be there.
    fn layer(shape: &str, last: u32) -> String {
        let tap = |i: u32| {
            let taps = format!("index={i} t0=0:[1,0] t1=0:[1,0]");
            format!("cfg mac.ytap {taps}\ncfg mac.xtap {taps}\n")
        };
        (0..32).map(tap).collect::<String>()
            + &format!(
                "cfg mac.act pitch=4095 out=4095x4095\ncfg mac.wgt last={last}\ncfg mac.shape {shape}\n"
            )
    }
    fn steps(mnemonic: &str, count: u32) -> String {
        let full = format!("{mnemonic} x65535 resume\n").repeat(count as usize / 65535);
        full + &format!("{mnemonic} x{} resume\n", count % 65535 + 1)
    }
    let wide = "mac: (rows: 256, cols: 512, lanes: 512, taps: 64), act: (words: 8192), wgt: (words: 4096), acc: (banks: 1)";
    let flat =
        "mac: (rows: 1, cols: 512, lanes: 512, taps: 64), wgt: (words: 4096), acc: (banks: 1)";
    let slim = "mac: (rows: 4, cols: 1, lanes: 512, taps: 64), wgt: (words: 1048576)";
    let by_turns = format!("sync ld post=s0\n{}", "sync ld x65535 wait=s0 post=s0\n".repeat(63));
    let eight = "a=8 w=8 kind=signed words=1 tail=512";
    let thr =
        "cfg pool.dst block=32 plane=1 pitch=4095\ncfg thr.table last=1 pitch=4095 out=4095x4095\n";
    let drains = |count| {
        format!(
            "cfg thr.mode kind=raw bits=32 pool=15x15\n{thr}sync mac post=s1\nsync thr wait=s1\n{}",
            steps("thr", count)
        )
    };
    let one = "words=1 tail=1";
    for (name, source) in [
        ("synchronization", program("queue: (depth: 1)", &by_turns)),
        (
            "small steps",
            program(
                "mac: (taps: 64), acc: (banks: 1)",
                &(weights(1, 1) + &layer(&format!("{one} pool=15x15"), 1) + &steps("mac", 400_000)),
            ),
        ),
        (
            "too many small steps",
            program(
                "mac: (taps: 64), acc: (banks: 1)",
                &(weights(1, 1) + &layer(one, 1) + &steps("mac", 4_300_000)),
            ),
        ),
        (
            "one large step",
            program(wide, &(weights(1, 4) + &layer(&format!("{eight} k=4x14"), 1) + "mac\n")),
        ),
        (
            "too large a step",
            program(wide, &(weights(1, 64) + &layer(&format!("{eight} k=64x64"), 1) + "mac\n")),
        ),
        (
            "weights of all columns",
            program(
                flat,
                &(weights(512, 2) + &layer("words=1 tail=512 k=8x16", 512) + &steps("mac", 1000)),
            ),
        ),
        (
            "weights of one column",
            program(
                slim,
                &(weights(1, 64) + &layer(&format!("{eight} k=64x64"), 1) + &steps("mac", 40)),
            ),
        ),
        (
            "additions",
            program(
                wide,
                &(weights(1, 1)
                    + &layer(one, 1)
                    + "mac\n"
                    + &layer("add words=1 tail=1", 1)
                    + &steps("mac", 3_000)),
            ),
        ),
        ("drains", program(wide, &(weights(1, 1) + &layer(one, 1) + "mac\n" + &drains(900)))),
        (
            "small drains",
            program(
                "mac: (taps: 64), acc: (banks: 1)",
                &(weights(1, 1) + &layer(one, 1) + "mac\n" + &drains(3000)),
            ),
        ),
    ] {
        let program = assemble(name, &source).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let fate = survive(&program.to_bytes());
        let legal = !name.starts_with("too ");
        assert_eq!(
            fate,
            if legal { Fate::Ran } else { Fate::Trapped },
            "{name}: {:?}",
            Simulation::new(program).err()
        );
    }
}
