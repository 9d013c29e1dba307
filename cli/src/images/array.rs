//! The numbers of a file, as they lie there.

use std::fmt;

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

/// Numbers in a file: the last dimension is the fastest.
#[derive(Debug, Clone)]
pub struct Array {
    /// Type of the numbers.
    pub element: Element,
    big_endian: bool,
    /// Sizes.
    pub dims: Vec<usize>,
    file: Vec<u8>,
    start: usize,
}

impl Array {
    /// The numbers of a file from byte `start` on.
    ///
    /// # Errors
    /// There are more or fewer than the sizes say.
    pub fn new(
        element: Element,
        big_endian: bool,
        dims: Vec<usize>,
        file: Vec<u8>,
        start: usize,
    ) -> Result<Self, String> {
        let there = file.len() - start;
        match byte_count(element, &dims) {
            Some(said) if said == there => Ok(Array { element, big_endian, dims, file, start }),
            Some(said) if said < there => Err(format!(
                "damaged file: its header says {dims:?}, {said} bytes, but more are there"
            )),
            Some(said) => Err(format!(
                "damaged file: its header says {dims:?}, {said} bytes, but {there} are there"
            )),
            None => {
                Err(format!("damaged file: its header says {dims:?}, more than any file holds"))
            }
        }
    }

    /// The bytes of the numbers.
    pub fn bytes(&self) -> &[u8] {
        &self.file[self.start..]
    }

    fn number<const N: usize>(&self, index: usize) -> [u8; N] {
        let mut bytes: [u8; N] = self.bytes()[index * N..][..N].try_into().expect("N bytes");
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    /// A number as a double.
    pub fn real(&self, index: usize) -> f64 {
        match self.element {
            Element::F32 => f64::from(f32::from_le_bytes(self.number(index))),
            Element::F64 => f64::from_le_bytes(self.number(index)),
            _ => self.integer(index).expect("an integer") as f64,
        }
    }

    /// A number as an integer; `None` for a float, and for what a 64-bit integer does not hold.
    pub fn integer(&self, index: usize) -> Option<i64> {
        Some(match self.element {
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
pub fn byte_count(element: Element, dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(element.bytes(), |bytes, &size| bytes.checked_mul(size))
}

/// Type and sizes, as `float32 [10, 1, 28, 28]`.
impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.element.name(), self.dims)
    }
}
