//! Images and labels from files, and the bytes that the machine finds in DRAM.
//!
//! A reader takes the bytes of a file apart into an [`Array`]; nothing in a file is believed before
//! it is compared with what is there. What the array means for a program is decided once, in
//! [`Images`].

mod array;
mod idx;
mod npy;
mod png;

use std::path::Path;

use qnnsim_host::{Batch, Codes, Encoder};

use crate::failure::Failure;
use crate::files;
use array::{Array, Element};

pub use npy::header_bytes as npy_header;

/// Images that fit a program's input.
#[derive(Debug)]
pub struct Images {
    array: Array,
    batch: Batch,
    /// Values of one image.
    values: usize,
}

impl Images {
    /// Reads a file: PNG, IDX, IDX.gz or npy.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or holds no images of the program's input shape.
    pub fn read(path: &Path, encoder: &Encoder) -> Result<Self, Failure> {
        let array = read_array(path)?;
        let file = path.display();
        if !matches!(array.element, Element::U8 | Element::F32 | Element::F64) {
            let failure =
                Failure::misuse(format_args!("`{file}` holds {array}, which are no images"));
            return Err(failure.help("give uint8 pixels, or float32 or float64 real inputs"));
        }
        let dims = encoder.dims();
        let Some(batch) = encoder.batch(&array.dims) else {
            let failure = Failure::misuse(format_args!(
                "`{file}` holds {array}, but the model's input is {dims:?} for one image"
            ));
            let list = dims.iter().map(|size| format!(", {size}")).collect::<String>();
            let picture = match *dims {
                [1, height, width] => format!(", or images of {height} x {width}"),
                [channels, height, width] => format!(", or [N, {height}, {width}, {channels}]"),
                _ => String::new(),
            };
            return Err(failure.help(format!("give arrays of [N{list}]{picture}")));
        };
        if batch.count == 0 {
            return Err(Failure::misuse(format_args!("`{file}` holds no image")));
        }
        let values = encoder.values();
        let real = matches!(array.element, Element::F32 | Element::F64);
        if let Some(at) = (0..batch.count * values).find(|&at| real && array.real(at).is_nan()) {
            let (image, value) = (at / values, at % values);
            let failure = Failure::misuse(format_args!(
                "`{file}`: value {value} of image {image} is not a number (NaN)"
            ));
            return Err(failure.help("no quantizer has an integer for it; save finite values"));
        }
        Ok(Images { array, batch, values })
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.batch.count
    }

    /// Whether they are 8-bit pixels, and not real inputs.
    pub fn are_pixels(&self) -> bool {
        self.array.element == Element::U8
    }

    /// The real values of image `index` as they lie in the file.
    fn numbers(&self, index: usize) -> Vec<f64> {
        (index * self.values..(index + 1) * self.values).map(|at| self.array.real(at)).collect()
    }

    fn pixels(&self, index: usize) -> &[u8] {
        &self.array.bytes()[index * self.values..(index + 1) * self.values]
    }

    /// The real input values of image `index`, in the model's order.
    pub fn reals(&self, index: usize, encoder: &Encoder) -> Vec<f64> {
        match self.array.element {
            Element::U8 => encoder.reals_of_pixels(self.pixels(index), self.batch.order),
            _ => encoder.reals(&self.numbers(index), self.batch.order),
        }
    }

    /// The bytes of image `index` in DRAM; `bytes` has one for each value.
    pub fn encode(&self, index: usize, encoder: &Encoder, bytes: &mut [u8]) -> Codes {
        match self.array.element {
            Element::U8 => encoder.encode_pixels(self.pixels(index), self.batch.order, bytes),
            _ => encoder.encode_reals(&self.numbers(index), self.batch.order, bytes),
        }
    }
}

/// Reads the classes of images: IDX, IDX.gz or an npy of integers.
///
/// # Errors
/// The file cannot be read, is damaged, or holds something else.
pub fn read_labels(path: &Path) -> Result<Vec<i64>, Failure> {
    let array = read_array(path)?;
    let no_labels = || {
        Failure::misuse(format_args!("`{}` holds {array}, which are no labels", path.display()))
            .help("give one integer an image: [N]")
    };
    let [count] = array.dims[..] else { return Err(no_labels()) };
    (0..count).map(|at| array.integer(at).ok_or_else(no_labels)).collect()
}

fn read_array(path: &Path) -> Result<Array, Failure> {
    let bytes = files::read(path, files::INPUT_BYTES_MAX)?;
    parse(bytes).map_err(|why| Failure::misuse(format_args!("`{}`: {why}", path.display())))
}

/// Takes a file apart by what it begins with.
fn parse(bytes: Vec<u8>) -> Result<Array, String> {
    match bytes[..] {
        [] => Err("the file is empty".into()),
        [0x89, b'P', b'N', b'G', ..] => png::parse(&bytes),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npy::parse(bytes),
        [0x1f, 0x8b, ..] => idx::parse(idx::unzip(&bytes)?),
        [0, 0, ..] => idx::parse(bytes),
        _ => Err("the file is none of PNG, IDX, IDX.gz and npy".into()),
    }
}

#[cfg(test)]
mod tests;
