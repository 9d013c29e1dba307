//! IDX, the format of MNIST: two zero bytes, a type, the number of dimensions, the sizes (big
//! endian, 32 bits), the numbers. Only type 8, unsigned bytes, is read.

use std::io::Read;

use super::array::{Element, Header};
use crate::limits::IDX_DIMENSIONS_MAX;

const UNSIGNED_BYTE: u8 = 8;
/// Reads the header; the numbers follow. Gives how many bytes it takes as well.
pub fn header(file: &mut impl Read) -> Result<(Header, u64), String> {
    let mut bytes = |count: usize| {
        let mut bytes = Vec::new();
        let read = file.take(count as u64).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string()).map(|_| bytes)
    };
    let start = bytes(4)?;
    let [0, 0, element, dimensions] = start[..] else {
        return Err("not an IDX file: it does not begin with two zero bytes, a type and a number of dimensions".into());
    };
    if element != UNSIGNED_BYTE {
        return Err(format!(
            "an IDX file of type {element:#04x}, but only unsigned bytes (0x08) are read"
        ));
    }
    let dimensions = usize::from(dimensions);
    if dimensions == 0 || dimensions > IDX_DIMENSIONS_MAX {
        return Err(format!(
            "an IDX file of {dimensions} dimensions, but only 1 to {IDX_DIMENSIONS_MAX} are read"
        ));
    }
    let sizes = bytes(4 * dimensions)?;
    let (sizes, _) = sizes.as_chunks();
    if sizes.len() < dimensions {
        return Err("damaged file: it ends within its header".into());
    }
    let dims = sizes.iter().map(|&size| u32::from_be_bytes(size) as usize).collect();
    let header = Header { element: Element::U8, big_endian: true, dims };
    Ok((header, 4 + 4 * dimensions as u64))
}
