//! What the fuzz targets check, as functions of bytes: nothing panics, hangs or takes memory
//! without bound; what is accepted runs and agrees with the reference; what is written is read
//! back; a message stays short.

mod model;
mod stream;
mod sweep;

use arbitrary::{Arbitrary, Unstructured};
use qnnsim_assembler::{assemble, disassemble};
use qnnsim_compiler::import::ImportOptions;
use qnnsim_compiler::ir::Network;
use qnnsim_explore::space::Space;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::program::{MAGIC, Program, seal};
use qnnsim_simulator::{Simulation, Start};

pub use sweep::{journal, manifest};

/// Most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 10_000;

/// Most cycles of a program that is computed: longer ones are only loaded.
const CYCLES_MAX: u64 = 1 << 16;

/// Most points of a space that is enumerated.
const GRID_POINTS_MAX: u64 = 1 << 10;

/// A message that a user would see.
fn message(text: impl std::fmt::Display) {
    let length = text.to_string().len();
    assert!((1..=MESSAGE_BYTES_MAX).contains(&length), "a message of {length} bytes");
}

/// Bytes as a program file whose checksums are right: as they are if they begin like one, else as
/// changes of one, each a place, a byte to put there, and whether it replaces what is there, is put
/// in or is taken out.
pub fn program(data: &[u8]) {
    let mut file = data.to_vec();
    if !data.starts_with(&MAGIC) {
        file = stream::SMALL.to_bytes();
        for change in data.chunks_exact(4) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % file.len().max(1);
            match change[3] {
                0..192 if at < file.len() => file[at] = change[2],
                192..224 => file.insert(at, change[2]),
                _ if at < file.len() => drop(file.remove(at)),
                _ => {}
            }
        }
    }
    seal(&mut file);
    match Program::from_bytes(&file) {
        Ok(program) => run(program),
        Err(error) => message(error),
    }
}

/// A program whose code is changed by instructions drawn from the table.
pub fn instructions(data: &[u8]) {
    if let Some(program) = stream::program(data) {
        run(program);
    }
}

/// Takes a program through all that reads it.
fn run(program: Program) {
    let file = program.to_bytes();
    let back = Program::from_bytes(&file).expect("a program file that was written");
    assert!(back == program, "another program was read back");
    let text = disassemble(&program);
    match assemble("fuzz.qnn", &text) {
        Ok(back) => assert!(back == program, "another program from\n{text}"),
        Err(mistakes) => panic!("{mistakes}\n{text}"),
    }
    let simulation = match Simulation::new(program.clone()) {
        Ok(simulation) => simulation,
        Err(trap) => return message(trap.describe(&program)),
    };
    let cost = simulation.cost();
    if cost.cycles.cold.max(cost.cycles.warm) > CYCLES_MAX {
        return;
    }
    for start in [Start::Cold, Start::Warm] {
        assert!(!simulation.trace(start).is_empty());
    }
    let values = program.input.shape.values();
    let input = program.sample.clone().unwrap_or_else(|| vec![0x5a; values]);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    simulation.cold_executor().run(&input, &mut cold);
    simulation.executor().run(&input, &mut warm);
    assert_eq!(cold.len(), program.output.shape.values());
    assert_eq!(cold.len(), warm.len());
    many_at_once(&simulation, &input, &warm, &text);
}

/// Images that are computed together are those that are computed alone.
fn many_at_once(simulation: &Simulation, input: &[u8], expected: &[i64], shown: &str) {
    let Ok(compiled) = simulation.compile(false) else { return };
    let Some(mut batch) = simulation.batch(&compiled) else { return };
    let mut outputs = Vec::new();
    batch.run(&[input, input].concat(), &mut outputs);
    assert_eq!(outputs, [expected, expected].concat(), "{shown}");
}

/// An ONNX graph drawn through the types of its file, on one of some hardware points.
pub fn onnx(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let point = u8::arbitrary(&mut bytes).unwrap_or(0);
    let Some(file) = model::bytes(&mut bytes) else { return };
    match qnnsim_compiler::import::import(&file, &ImportOptions::default()) {
        Ok(import) => compiled(&import.network, &stream::point(point)),
        Err(errors) => message(errors),
    }
}

/// Compiles a network, and holds the machine against the reference.
fn compiled(network: &Network, hw: &HardwarePoint) {
    let program = match qnnsim_compiler::lower_to(network, hw) {
        Ok((_, program)) => program,
        Err(errors) => return message(errors),
    };
    let file = program.to_bytes();
    assert!(Program::from_bytes(&file).expect("a program file that was written") == program);
    let shape = program.input.shape;
    let codes: Vec<i64> = {
        let code = program.input.code;
        let levels = code.max() - code.min() + 1;
        (0..shape.values() as i64).map(|i| code.min() + i * 7 % levels).collect()
    };
    let simulation = Simulation::new(program.clone())
        .unwrap_or_else(|trap| panic!("{}\n{network}", trap.describe(&program)));
    if simulation.cost().cycles.cold > CYCLES_MAX {
        return;
    }
    let bytes: Vec<u8> = codes.iter().map(|&code| program.input.byte(code)).collect();
    let maps = qnnsim_reference::Map::of_pixels(shape, &codes);
    let reference = qnnsim_reference::evaluate(network, &maps.values);
    let mut output = Vec::new();
    for map in simulation.executor().run_with_maps(&bytes, &mut output) {
        assert_eq!(map.values, reference[map.layer as usize + 1].values, "{network}");
    }
    many_at_once(&simulation, &bytes, &output, &network.to_string());
}

/// Text as assembly.
pub fn assembly(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match assemble("fuzz.qnn", text) {
        Ok(program) => run(program),
        Err(mistakes) => message(mistakes),
    }
}

/// Text as a hardware point and as a space of them.
pub fn points(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Overrides::from_text(text).and_then(|overrides| overrides.resolve()) {
        Ok(point) => {
            let json = serde_json::to_string(&point.to_overrides()).expect("plain data");
            let back = Overrides::from_text(&json).and_then(|overrides| overrides.resolve());
            assert!(back.expect("what was written is read") == point, "{json}");
        }
        Err(error) => message(error),
    }
    match Space::from_ron(text) {
        Ok(space) => {
            let json = serde_json::to_string(&space).expect("plain data");
            let back: Space = serde_json::from_str(&json).expect("what was written is read");
            assert!(back == space, "{json}");
            if space.grid_points().is_some_and(|points| points <= GRID_POINTS_MAX) {
                let below = vec![Overrides::default(); space.source_files().len()];
                if let Err(error) = space.points(&below) {
                    message(error);
                }
            }
        }
        Err(error) => message(error),
    }
}

/// Bytes as a file of images: npy, npz, IDX, PNG, JPEG, also compressed. A file and a stream of the
/// same bytes are the same array; an array of bytes is read back from IDX.
pub fn images(data: &[u8]) {
    let of_file = qnnsim::read_image_bytes(data, true);
    let of_stream = qnnsim::read_image_bytes(data, false);
    match (of_file, of_stream) {
        (Ok((dims, bytes)), Ok(of_stream)) => {
            assert_eq!(of_stream, (dims.clone(), bytes.clone()));
            let elements: usize = dims.iter().product();
            if (1..=4).contains(&dims.len()) && elements == bytes.len() {
                let mut idx = vec![0, 0, 8, dims.len() as u8];
                idx.extend(dims.iter().flat_map(|&size| (size as u32).to_be_bytes()));
                idx.extend(&bytes);
                assert_eq!(qnnsim::read_image_bytes(&idx, true), Ok((dims, bytes)));
            }
        }
        (Err(of_file), Err(of_stream)) => {
            message(of_file);
            message(of_stream);
        }
        (of_file, of_stream) => panic!("{of_file:?} is not {of_stream:?}"),
    }
}
