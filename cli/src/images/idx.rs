//! IDX, the format of MNIST: two zero bytes, a type, the number of dimensions, the sizes (big
//! endian, 32 bits), the numbers. Only type 8, unsigned bytes, is read.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::array::{Array, Element, byte_count};
use crate::files::INPUT_BYTES_MAX;

const UNSIGNED_BYTE: u8 = 8;
const DIMENSIONS_MAX: usize = 4;

/// The header's length and the sizes it says.
fn header(file: &[u8]) -> Result<(usize, Vec<usize>), String> {
    let [0, 0, element, dimensions, sizes @ ..] = file else {
        return Err("not an IDX file: it does not begin with two zero bytes, a type and a number of dimensions".into());
    };
    if *element != UNSIGNED_BYTE {
        return Err(format!(
            "an IDX file of type {element:#04x}, but only unsigned bytes (0x08) are read"
        ));
    }
    let dimensions = usize::from(*dimensions);
    if dimensions == 0 || dimensions > DIMENSIONS_MAX {
        return Err(format!(
            "an IDX file of {dimensions} dimensions, but only 1 to {DIMENSIONS_MAX} are read"
        ));
    }
    let (sizes, _) = sizes.as_chunks();
    let sizes = sizes.get(..dimensions).ok_or("damaged file: it ends within its header")?;
    Ok((4 + 4 * dimensions, sizes.iter().map(|&size| u32::from_be_bytes(size) as usize).collect()))
}

/// Takes an IDX file apart.
pub fn parse(file: Vec<u8>) -> Result<Array, String> {
    let (start, dims) = header(&file)?;
    Array::new(Element::U8, true, dims, file, start)
}

/// Unpacks a zipped IDX file: never more than one byte beyond what its header says.
pub fn unzip(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoder = MultiGzDecoder::new(packed);
    let mut file = Vec::new();
    let mut more = |file: &mut Vec<u8>, bytes: usize| {
        let read = decoder.by_ref().take(bytes as u64).read_to_end(file);
        read.map_err(|error| format!("damaged gzip file: {error}"))
    };
    more(&mut file, 4 + 4 * DIMENSIONS_MAX)?;
    let (start, dims) = header(&file).map_err(|why| format!("in the gzip file: {why}"))?;
    let said = byte_count(Element::U8, &dims).and_then(|bytes| bytes.checked_add(start));
    let Some(said) = said.filter(|&bytes| bytes as u64 <= INPUT_BYTES_MAX) else {
        return Err(format!(
            "its header says {dims:?}, more than the {} MiB that are read",
            INPUT_BYTES_MAX >> 20
        ));
    };
    let missing = (said + 1).saturating_sub(file.len());
    more(&mut file, missing)?;
    Ok(file)
}
