//! The numbers of a file, as they lie there, and the part of them that is read.

use std::fmt;
use std::io::{self, Read, Seek};
use std::ops::Range;

use crate::limits::INPUT_BYTES_MAX;

/// Type of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Element {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::U64 | Element::I64 | Element::F64 => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Element::U8 => "uint8",
            Element::I8 => "int8",
            Element::U16 => "uint16",
            Element::I16 => "int16",
            Element::U32 => "uint32",
            Element::I32 => "int32",
            Element::U64 => "uint64",
            Element::I64 => "int64",
            Element::F32 => "float32",
            Element::F64 => "float64",
        }
    }
}

/// What a file says of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Type of the numbers.
    pub element: Element,
    /// Most significant byte first.
    pub big_endian: bool,
    /// Sizes: the last dimension is the fastest.
    pub dims: Vec<usize>,
}

/// Which numbers of an array are wanted, once its header is known.
pub type Wanted<'a> = &'a dyn Fn(&Header) -> Range<usize>;

/// Every number of an array.
pub fn all(header: &Header) -> Range<usize> {
    0..header.dims.iter().product()
}

/// Numbers of a file.
#[derive(Debug, Clone)]
pub struct Array {
    /// What the file says of all of them.
    pub header: Header,
    /// Index of the first that was read.
    first: usize,
    bytes: Vec<u8>,
}

impl Array {
    /// Numbers that are in memory, from the one with this index on.
    pub fn of(header: Header, first: usize, bytes: Vec<u8>) -> Self {
        Array { header, first, bytes }
    }

    /// Reads the numbers that are wanted from what stands behind a header. `there` are the bytes
    /// there, if that is known without reading them; else they are counted only as far as something
    /// is wanted.
    ///
    /// # Errors
    /// There are more or fewer than the header says, or more are wanted than are read at once.
    pub fn read(
        header: Header,
        body: impl Read,
        there: Option<u64>,
        wanted: Wanted<'_>,
    ) -> Result<Self, String> {
        let skip = |body: &mut _, bytes| io::copy(&mut Read::take(body, bytes), &mut io::sink());
        Self::read_behind(header, body, there, wanted, skip)
    }

    /// The same of a file, of which what is not wanted is not read.
    ///
    /// # Errors
    /// Those of [`Array::read`].
    pub fn seek(
        header: Header,
        body: impl Read + Seek,
        there: Option<u64>,
        wanted: Wanted<'_>,
    ) -> Result<Self, String> {
        let skip = |body: &mut _, bytes: u64| {
            Seek::seek_relative(body, bytes as i64)?;
            Ok(bytes)
        };
        Self::read_behind(header, body, there, wanted, skip)
    }

    fn read_behind<R: Read>(
        header: Header,
        mut body: R,
        there: Option<u64>,
        wanted: Wanted<'_>,
        skip: impl FnOnce(&mut R, u64) -> io::Result<u64>,
    ) -> Result<Self, String> {
        let Header { element, ref dims, .. } = header;
        let Some(said) = byte_count(element, dims) else {
            return Err(format!(
                "damaged file: its header says {dims:?}, more than any file holds"
            ));
        };
        let differs = |there: u64| {
            let there = if there > said { "more".into() } else { there.to_string() };
            format!("damaged file: its header says {dims:?}, {said} bytes, but {there} are there")
        };
        if let Some(there) = there.filter(|&there| there != said) {
            return Err(differs(there));
        }
        let range = wanted(&header);
        let [first, end] = [range.start, range.end].map(|at| (at * element.bytes()) as u64);
        if end - first > INPUT_BYTES_MAX {
            return Err(format!(
                "its header says {dims:?}, more than the {} MiB that are read",
                INPUT_BYTES_MAX >> 20
            ));
        }
        let failed = |error: io::Error| format!("it cannot be read: {error}");
        let skipped = skip(&mut body, first).map_err(failed)?;
        // What only a header says is not believed before it is there.
        let capacity = if there.is_some() { end - first } else { 0 };
        let mut bytes = Vec::with_capacity(capacity as usize);
        // One byte more tells whether the file ends where it says.
        let beyond = u64::from(there.is_none() && end == said);
        body.take(end - first + beyond).read_to_end(&mut bytes).map_err(failed)?;
        let read = skipped + bytes.len() as u64;
        if read != end {
            return Err(differs(read));
        }
        Ok(Array { header, first: range.start, bytes })
    }

    /// The bytes of the numbers that were read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Numbers of 8 bits.
    pub fn octets(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range.start - self.first..range.end - self.first]
    }

    fn number<const N: usize>(&self, index: usize) -> [u8; N] {
        let at = (index - self.first) * N;
        let mut bytes: [u8; N] = self.bytes[at..at + N].try_into().expect("N bytes");
        if self.header.big_endian {
            bytes.reverse();
        }
        bytes
    }

    /// A number as a double.
    pub fn real(&self, index: usize) -> f64 {
        match self.header.element {
            Element::F32 => f64::from(f32::from_le_bytes(self.number(index))),
            Element::F64 => f64::from_le_bytes(self.number(index)),
            _ => self.integer(index).expect("an integer") as f64,
        }
    }

    /// A number as an integer; `None` for a float, and for what a 64-bit integer does not hold.
    pub fn integer(&self, index: usize) -> Option<i64> {
        Some(match self.header.element {
            Element::U8 => u8::from_le_bytes(self.number(index)).into(),
            Element::I8 => i8::from_le_bytes(self.number(index)).into(),
            Element::U16 => u16::from_le_bytes(self.number(index)).into(),
            Element::I16 => i16::from_le_bytes(self.number(index)).into(),
            Element::U32 => u32::from_le_bytes(self.number(index)).into(),
            Element::I32 => i32::from_le_bytes(self.number(index)).into(),
            Element::U64 => i64::try_from(u64::from_le_bytes(self.number(index))).ok()?,
            Element::I64 => i64::from_le_bytes(self.number(index)),
            Element::F32 | Element::F64 => return None,
        })
    }
}

/// Bytes of an array, if there can be so many.
fn byte_count(element: Element, dims: &[usize]) -> Option<u64> {
    let bytes = dims.iter().try_fold(element.bytes(), |bytes, &size| bytes.checked_mul(size))?;
    isize::try_from(bytes).ok().map(|bytes| bytes as u64)
}

/// Type and sizes, as `float32 [10, 1, 28, 28]`.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.element.name(), self.dims)
    }
}
