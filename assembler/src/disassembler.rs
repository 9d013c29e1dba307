//! From program to text, complete: assembling the text gives the same program.

use std::collections::HashMap;
use std::fmt::Write;

use qnnsim_isa::program::{Program, Stream};
use qnnsim_isa::table::Instruction;

use crate::text::{self, InputText, LayerText, OutputText};

/// Bytes of a `.bytes` line.
const BYTES_PER_LINE: usize = 32;

/// Equal bytes that are worth a `.fill`.
const FILL_BYTES_MIN: usize = 2 * BYTES_PER_LINE;

/// Writes a program as text, from which [`crate::assemble`] makes the same program.
pub fn disassemble(program: &Program) -> String {
    let mut out = String::new();
    write_to(program, &mut out).expect("a String takes any text");
    out
}

fn write_to(program: &Program, out: &mut String) -> std::fmt::Result {
    writeln!(out, ".program {}", text::to_ron(&program.name))?;
    writeln!(out, ".hardware {}", text::to_ron_lines(&program.hardware.to_overrides()))?;

    let semaphores = semaphore_words(&program.semaphores);
    writeln!(out)?;
    for (number, (name, word)) in program.semaphores.iter().zip(&semaphores).enumerate() {
        // An unnamed last one is written too: the list has its length from it.
        if !word.is_empty() {
            writeln!(out, ".semaphore {word} {number}")?;
        } else if !name.is_empty() || number + 1 == program.semaphores.len() {
            writeln!(out, ".semaphore {} {number}", text::to_ron(name))?;
        }
    }
    for layer in &program.layers {
        writeln!(
            out,
            ".layer {} {}",
            quoted_unless_name(&layer.name),
            text::to_ron(&LayerText::of(layer))
        )?;
    }
    writeln!(
        out,
        "\n.input [{:#x}] {}",
        program.input.dram,
        text::to_ron_lines(&InputText::of(&program.input))
    )?;
    writeln!(
        out,
        "\n.output [{:#x}] {}",
        program.output.dram,
        text::to_ron_lines(&OutputText::of(&program.output))
    )?;
    if !program.scratch.is_empty() {
        writeln!(out, "\n.scratch [{:#x}] {}", program.scratch.dram, program.scratch.bytes)?;
    }

    let layers = layer_words(program);
    for (directive, stream) in [(".cold", &program.cold), (".warm", &program.warm)] {
        writeln!(out, "\n{directive} [{:#x}]", stream.dram)?;
        write_code(stream, &semaphores, &layers, out)?;
    }

    let labels = label_words(program);
    for (segment, label) in program.data.iter().zip(&labels) {
        writeln!(out, "\n.data {label} [{:#x}]", segment.dram)?;
        write_bytes(&segment.bytes, out)?;
    }
    if let Some(sample) = &program.sample {
        writeln!(out, "\n.sample")?;
        write_bytes(sample, out)?;
    }
    Ok(())
}

fn write_code(
    stream: &Stream,
    semaphores: &[String],
    layers: &[String],
    out: &mut String,
) -> std::fmt::Result {
    let mut current = None;
    for (index, &word) in stream.words.iter().enumerate() {
        let layer = stream.layers.get(index).copied().flatten();
        if layer != current {
            let name =
                layer.and_then(|l| layers.get(l as usize)).map_or(text::NO_LAYER, String::as_str);
            writeln!(out, ".layer {name}")?;
            current = layer;
        }
        match Instruction::decode(word) {
            Ok(instruction) => writeln!(out, "  {}", instruction.text(semaphores))?,
            Err(error) => writeln!(out, "  .word {word:#034x}  ; {error}")?,
        }
    }
    Ok(())
}

fn write_bytes(mut bytes: &[u8], out: &mut String) -> std::fmt::Result {
    while let Some(&first) = bytes.first() {
        let equal = bytes.iter().take_while(|&&b| b == first).count();
        if equal >= FILL_BYTES_MIN {
            writeln!(out, "  .fill {equal}, {first:#04x}")?;
            bytes = &bytes[equal..];
            continue;
        }
        let (line, rest) = bytes.split_at(bytes.len().min(BYTES_PER_LINE));
        out.push_str("  .bytes \"");
        for byte in line {
            write!(out, "{byte:02x}")?;
        }
        out.push_str("\"\n");
        bytes = rest;
    }
    Ok(())
}

/// The names by which the text refers to semaphores; empty where only the number is left, because
/// the name is no word, stands for another one, or is not alone.
fn semaphore_words(names: &[String]) -> Vec<String> {
    let usable = |number: usize, name: &String| {
        text::is_name(name)
            && text::semaphore_number(name).is_none_or(|built_in| built_in == number)
            && names.iter().filter(|other| *other == name).count() == 1
    };
    names
        .iter()
        .enumerate()
        .map(|(n, name)| if usable(n, name) { name.clone() } else { String::new() })
        .collect()
}

/// What names a layer in the text: its name, or its number if the name is not alone.
fn layer_words(program: &Program) -> Vec<String> {
    let counts = count(program.layers.iter().map(|l| l.name.as_str()));
    let word = |(number, name): (usize, &str)| match counts[name] {
        1 if name == text::NO_LAYER => text::to_ron(name),
        1 => quoted_unless_name(name),
        _ => number.to_string(),
    };
    program.layers.iter().map(|l| l.name.as_str()).enumerate().map(word).collect()
}

/// The segments' names, as labels where they can be.
fn label_words(program: &Program) -> Vec<String> {
    let counts =
        count(program.data.iter().map(|s| s.name.as_str()).chain([text::INPUT, text::OUTPUT]));
    let word =
        |name: &str| if counts[name] == 1 { quoted_unless_name(name) } else { text::to_ron(name) };
    program.data.iter().map(|s| word(&s.name)).collect()
}

fn count<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

fn quoted_unless_name(name: &str) -> String {
    if text::is_name(name) { name.into() } else { text::to_ron(name) }
}
