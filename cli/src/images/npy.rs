//! npy, numpy's format for one array.
//!
//! Its header is a Python literal. Only the form that numpy writes for an array of numbers is read,
//! so that no file can make the reader nest without end.

use std::io::Read;

use super::array::{Element, Header};
use crate::limits::NPY_HEADER_BYTES_MAX;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Reads the header; the numbers follow. Gives how many bytes it takes as well.
pub fn header(file: &mut impl Read) -> Result<(Header, u64), String> {
    let mut bytes = |count: u32| {
        let mut bytes = Vec::new();
        let read = file.take(count.into()).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string()).map(|_| bytes)
    };
    let ends = "damaged npy file: it ends within its header";
    let start = bytes(8)?;
    let version = start.strip_prefix(MAGIC).ok_or("it is no npy array")?.first().ok_or(ends)?;
    let (start, length) = match version {
        1 => (10, bytes(2)?.try_into().map(u16::from_le_bytes).map(u32::from)),
        2 | 3 => (12, bytes(4)?.try_into().map(u32::from_le_bytes)),
        _ => return Err(format!("npy version {version}, but only 1 to 3 are read")),
    };
    let length = length.map_err(|_| ends)?;
    if length > NPY_HEADER_BYTES_MAX {
        return Err(format!(
            "its npy header says to be {length} bytes long, more than the {NPY_HEADER_BYTES_MAX} that are read"
        ));
    }
    let text = bytes(length)?;
    if text.len() < length as usize {
        return Err(ends.into());
    }
    let text =
        std::str::from_utf8(&text).map_err(|_| "damaged npy file: its header is not text")?;
    let literal = Literal::parse(text).ok_or_else(|| {
        format!(
            "the npy header is not that of one array of numbers: {}",
            text.trim().chars().take(120).collect::<String>()
        )
    })?;
    if literal.fortran_order {
        return Err(
            "the array is in Fortran order\n  help: save it with np.save(FILE, np.ascontiguousarray(ARRAY))".into()
        );
    }
    let (element, big_endian) = element(literal.descr).ok_or_else(|| {
        format!(
            "the array's type `{}` is not read, but integers of 1 to 8 bytes and floats of 4 and 8 bytes are",
            literal.descr
        )
    })?;
    Ok((Header { element, big_endian, dims: literal.shape }, start + u64::from(length)))
}

/// The element type of a numpy type string, and whether it is big endian.
fn element(descr: &str) -> Option<(Element, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let element = match kind {
        "u1" => Element::U8,
        "i1" => Element::I8,
        "u2" => Element::U16,
        "i2" => Element::I16,
        "u4" => Element::U32,
        "i4" => Element::I32,
        "u8" => Element::U64,
        "i8" => Element::I64,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => return None,
    };
    match order {
        "<" => Some((element, false)),
        ">" => Some((element, true)),
        "|" if element.bytes() == 1 => Some((element, false)),
        _ => None,
    }
}

/// What the header says: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
struct Literal<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl<'a> Literal<'a> {
    /// Reads the subset of Python that numpy writes for an array of numbers.
    fn parse(text: &'a str) -> Option<Self> {
        let mut rest = Rest(text);
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        rest.expect('{')?;
        while !rest.eat('}') {
            let key = rest.string()?;
            rest.expect(':')?;
            match key {
                "descr" => descr = Some(rest.string()?),
                "fortran_order" => fortran_order = Some(rest.boolean()?),
                "shape" => shape = Some(rest.tuple()?),
                _ => return None,
            }
            if !rest.eat(',') {
                rest.expect('}')?;
                break;
            }
        }
        let literal = Literal { descr: descr?, fortran_order: fortran_order?, shape: shape? };
        rest.0.trim().is_empty().then_some(literal)
    }
}

/// What is left of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn eat(&mut self, c: char) -> bool {
        let rest = self.0.trim_start().strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.eat(c).then_some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = if self.eat('\'') { '\'' } else { self.expect('"').map(|()| '"')? };
        let (string, rest) = self.0.split_once(quote)?;
        self.0 = rest;
        Some(string)
    }

    fn word(&mut self) -> &'a str {
        let text = self.0.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        word
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.word() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        }
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut all = Vec::new();
        self.expect('(')?;
        while !self.eat(')') {
            // Python 2 wrote long integers as `28L`.
            all.push(self.word().trim_end_matches('L').parse().ok()?);
            if !self.eat(',') {
                self.expect(')')?;
                break;
            }
        }
        Some(all)
    }
}

/// The bytes before the numbers of an npy file.
pub fn header_bytes(descr: &str, shape: &[u64]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
    // A tuple of one needs its comma.
    let sizes = sizes.join(", ") + if shape.len() == 1 { "," } else { "" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The numbers begin at a multiple of 64, and the last byte before them is a line feed.
    let end = (10 + text.len() + 1).next_multiple_of(64);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(end - 10).expect("a few sizes").to_le_bytes());
    bytes.extend(text.bytes());
    bytes.resize(end - 1, b' ');
    bytes.push(b'\n');
    bytes
}
