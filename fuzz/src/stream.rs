//! Instruction streams: a program that runs, with words of its code replaced by what the
//! instruction table can say.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use qnnsim_assembler::assemble;
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::operand::Kind;
use qnnsim_isa::{HardwarePoint, Instruction, Program};

/// Most changes of one program.
const CHANGES_MAX: usize = 12;

/// The programs that are changed, written by hand; both use every unit.
pub static SMALL: LazyLock<Program> = LazyLock::new(|| {
    assemble("products.qnn", include_str!("../products.qnn")).expect("it assembles")
});
static HELLO: LazyLock<Program> = LazyLock::new(|| {
    assemble("hello.qnn", include_str!("../../programs/hello.qnn")).expect("it assembles")
});

/// One of some hardware points.
pub fn point(number: u8) -> HardwarePoint {
    let text = match number % 8 {
        5 => include_str!("../../hardware/1x1x8.ron"),
        6 => include_str!("../../hardware/3x5x24.ron"),
        7 => include_str!("../../hardware/4x4x32.ron"),
        _ => return HardwarePoint::default(),
    };
    Overrides::from_text(text).and_then(|point| point.resolve()).expect("a point of the repository")
}

/// A program with the changes that these bytes say; `None` if they say none.
pub fn program(data: &[u8]) -> Option<Program> {
    let mut bytes = Unstructured::new(data);
    let base = if bytes.ratio(1, 8).ok()? { &HELLO } else { &SMALL };
    let mut program = Program::clone(base);
    for _ in 0..bytes.int_in_range(1..=CHANGES_MAX).ok()? {
        change(&mut program, &mut bytes).ok()?;
    }
    program.check().is_ok().then_some(program)
}

fn change(program: &mut Program, bytes: &mut Unstructured) -> Result<()> {
    let stream = match bool::arbitrary(bytes)? {
        true => &mut program.warm,
        false => &mut program.cold,
    };
    if stream.words.is_empty() {
        return Ok(());
    }
    let at = bytes.choose_index(stream.words.len())?;
    match bytes.int_in_range(0..=5u8)? {
        0 => {
            stream.words.remove(at);
            stream.layers.remove(at);
        }
        1 => {
            stream.words.insert(at, instruction(bytes)?);
            stream.layers.insert(at, stream.layers[at]);
        }
        2 => stream.words[at] = instruction(bytes)?,
        3 => {
            let other = bytes.choose_index(stream.words.len())?;
            stream.words.swap(at, other);
        }
        _ => {
            if let Ok(old) = Instruction::decode(stream.words[at]) {
                stream.words[at] = with_an_operand(&old, bytes)?;
            }
        }
    }
    Ok(())
}

/// Any instruction that the table has.
fn instruction(bytes: &mut Unstructured) -> Result<u128> {
    let row = bytes.choose(Instruction::TABLE)?;
    let mut operands = Vec::with_capacity(row.fields.len());
    for field in row.fields {
        let mut parts = field.kind.default_parts();
        for (i, part) in parts.iter_mut().enumerate().take(field.kind.parts().len()) {
            *part = value(field.kind, i, bytes)?;
        }
        operands.push(parts);
    }
    Ok(encode(row.instruction(&operands).expect("values within their limits")))
}

/// An instruction with another value of one operand.
fn with_an_operand(old: &Instruction, bytes: &mut Unstructured) -> Result<u128> {
    let row = old.row();
    let mut operands = old.operands();
    if !row.fields.is_empty() {
        let field = bytes.choose_index(row.fields.len())?;
        let kind = row.fields[field].kind;
        let part = bytes.choose_index(kind.parts().len())?;
        operands[field][part] = value(kind, part, bytes)?;
    }
    Ok(encode(row.instruction(&operands).expect("values within their limits")))
}

/// A value of an operand: an end of its range, a small one, or any.
fn value(kind: Kind, part: usize, bytes: &mut Unstructured) -> Result<i64> {
    let (least, greatest) = kind.limits(part);
    Ok(match bytes.int_in_range(0..=3u8)? {
        0 => least,
        1 => greatest,
        2 => bytes.int_in_range(least..=greatest.min(least.saturating_add(15)))?,
        _ => bytes.int_in_range(least..=greatest)?,
    })
}

/// What is encoded is decoded again.
fn encode(instruction: Instruction) -> u128 {
    let word = instruction.encode().expect("an instruction of the table");
    assert!(Instruction::decode(word).as_ref() == Ok(&instruction), "{instruction:?}");
    word
}
