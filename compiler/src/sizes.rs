//! Sizes that instructions can hold. What a layer becomes is operands of instructions; the ranges
//! in the list of what is supported, and in the refusals, are those of the instruction table.

use std::fmt::Write;

use qnnsim_isa::operand::OperandError;
use qnnsim_isa::table::{LdRow, MacAct, MacShape, MacWgt, PoolDst, Row};

use crate::diagnostic::{Diagnostic, Kind};

/// Largest height and width of a map, and so largest kernel, stride, dilation and padding.
pub const MAX_SIZE: usize = MacAct::ROW.max("out") as usize;

/// Stands for [`MAX_SIZE`] in the sentences of limits.
const SIZE: &[u8] = b"{size}";

/// Digits of [`MAX_SIZE`].
const DIGITS: usize = MAX_SIZE.ilog10() as usize + 1;

/// Whether `{size}` stands at a place of a text.
const fn stands_at(text: &[u8], at: usize) -> bool {
    let mut i = 0;
    while i < SIZE.len() && at + i < text.len() && text[at + i] == SIZE[i] {
        i += 1;
    }
    i == SIZE.len()
}

/// Bytes of a sentence with its numbers.
pub const fn length(text: &str) -> usize {
    let (text, mut at, mut length) = (text.as_bytes(), 0, 0);
    while at < text.len() {
        let size = stands_at(text, at);
        at += if size { SIZE.len() } else { 1 };
        length += if size { DIGITS } else { 1 };
    }
    length
}

/// A sentence with its numbers, `N` bytes.
pub const fn with_size<const N: usize>(text: &str) -> [u8; N] {
    let (text, mut at, mut out, mut end) = (text.as_bytes(), 0, [0; N], 0);
    while at < text.len() {
        if stands_at(text, at) {
            let (mut rest, mut digit) = (MAX_SIZE, DIGITS);
            while digit > 0 {
                digit -= 1;
                out[end + digit] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            (at, end) = (at + SIZE.len(), end + DIGITS);
        } else {
            out[end] = text[at];
            (at, end) = (at + 1, end + 1);
        }
    }
    out
}

/// What sizes of a model become, with the operand that holds it.
const SIZES: &[(&str, &Row, &str)] = &[
    ("rows and columns of a map that a layer writes", MacAct::ROW, "out"),
    ("pixels of an image row", LdRow::ROW, "width"),
    ("channels of the image", LdRow::ROW, "channels"),
    ("columns of the kernel that reads the image", LdRow::ROW, "taps"),
    ("columns of padding before an image row", LdRow::ROW, "left"),
    ("stride along the columns of the image, if there is more than one output", LdRow::ROW, "step"),
    (
        "stride of a convolution times that of its pooling, along an axis with more than one output",
        PoolDst::ROW,
        "s",
    ),
    ("rows and columns of a pooling window", MacShape::ROW, "pool"),
    ("words of a pixel: its channels divided by `mac.lanes`", MacShape::ROW, "words"),
    ("those words times the bits of a code", MacAct::ROW, "block"),
    ("words of a kernel for one plane of weights", MacWgt::ROW, "plane"),
    ("channel tiles: output channels divided by `mac.cols`", MacWgt::ROW, "tiles"),
    ("words of weights for a channel tile", MacWgt::ROW, "tile"),
];

/// The section of the list of what is supported.
pub fn section() -> String {
    let mut text = String::from(
        "
## Sizes

What a layer becomes must fit the operands of its instructions; a refusal names layer, operand, \
value and range. A kernel may have any size up to that of the map: what the tap tables do not hold \
is added up in parts.

| what | operand | range |
|---|---|---|
",
    );
    for (what, row, name) in SIZES {
        let (operand, range) = (row.mnemonic, row.operand(name).kind.range());
        writeln!(text, "| {what} | `{name}` of `{operand}` | {range} |")
            .expect("a String takes any text");
    }
    text
}

/// A layer of which an instruction would have to say more than it can.
pub fn unencodable(layer: &str, error: &OperandError) -> Diagnostic {
    let OperandError { mnemonic, field, value } = *error;
    let (name, range) = (field.name, field.kind.range());
    let message =
        format!("layer `{layer}`: `{name}` of `{mnemonic}` would be {value}, but holds {range}");
    let what = field.doc.trim_end_matches('.');
    // Words and tiles are larger or more on a larger machine; what is counted in pixels is not.
    let help = match name {
        "block" | "plane" | "words" | "tile" | "tiles" | "phase" | "base" | "t0" | "t1" => {
            "use a hardware point with more lanes, columns or rows, or a smaller layer"
        }
        _ => "change the layer: this does not depend on the hardware point",
    };
    Diagnostic::new(Kind::Operand { mnemonic, name }, message)
        .cause(format!("`{name}`: {what}"))
        .help(help)
}
