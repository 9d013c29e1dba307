//! Images and labels from files, and the bytes that the machine finds in DRAM.
//!
//! A reader takes the bytes of a file apart into an [`Array`]; nothing in a file is believed before
//! it is compared with what is there. What the array means for a program is decided once, in
//! [`Images`].

mod array;
mod idx;
mod npy;
mod npz;
mod picture;

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
    /// Reads a file, PNG, JPEG, IDX, IDX.gz, npy or npz, or a folder of pictures.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or holds no images of the program's input shape.
    pub fn read(path: &Path, encoder: &Encoder) -> Result<Self, Failure> {
        let array = read_array(path, Some(encoder.name()))?;
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
            return Err(failure.help(encoder.forms()));
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
    let array = read_array(path, None)?;
    let no_labels = || {
        Failure::misuse(format_args!("`{}` holds {array}, which are no labels", path.display()))
            .help("give one integer an image: [N]")
    };
    let [count] = array.dims[..] else { return Err(no_labels()) };
    (0..count).map(|at| array.integer(at).ok_or_else(no_labels)).collect()
}

fn read_array(path: &Path, name: Option<&str>) -> Result<Array, Failure> {
    if path.is_dir() {
        return read_folder(path);
    }
    let bytes = files::read(path, files::INPUT_BYTES_MAX)?;
    parse(bytes, name).map_err(|why| Failure::misuse(format_args!("`{}`: {why}", path.display())))
}

/// The pictures of a folder, in the order of their names, as one array.
fn read_folder(path: &Path) -> Result<Array, Failure> {
    let refuse = |why: &dyn std::fmt::Display| {
        Failure::misuse(format_args!("cannot read `{}`: {why}", path.display()))
    };
    let is_picture = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| {
            ["png", "jpg", "jpeg"].iter().any(|known| known.eq_ignore_ascii_case(extension))
        })
    };
    let entries = std::fs::read_dir(path).map_err(|error| refuse(&error))?;
    let mut pictures = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| refuse(&error))?.path();
        if is_picture(&file) {
            pictures.push(file);
        }
    }
    pictures.sort();
    let mut all: Option<(Vec<usize>, Vec<u8>)> = None;
    for file in &pictures {
        let array = read_array(file, None)?;
        let (dims, bytes) = all.get_or_insert_with(|| (array.dims.clone(), Vec::new()));
        if *dims != array.dims {
            let failure = Failure::misuse(format_args!(
                "`{}` is of shape {:?}, but the pictures before it in the folder are of {dims:?}",
                file.display(),
                array.dims
            ));
            return Err(failure.help("give pictures of one size, all grey or all in colour"));
        }
        bytes.extend_from_slice(array.bytes());
        if bytes.len() as u64 > files::INPUT_BYTES_MAX {
            return Err(refuse(&"its pictures have more than 1024 MiB of pixels"));
        }
    }
    let Some((dims, bytes)) = all else { return Err(refuse(&"it holds no PNG or JPEG picture")) };
    let dims = [pictures.len()].into_iter().chain(dims).collect();
    Array::new(Element::U8, false, dims, bytes, 0).map_err(|why| refuse(&why))
}

/// Takes a file apart by what it begins with; of several arrays the one with this name.
fn parse(bytes: Vec<u8>, name: Option<&str>) -> Result<Array, String> {
    match bytes[..] {
        [] => Err("the file is empty".into()),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => picture::parse(&bytes),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npy::parse(bytes),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => npz::parse(bytes, name),
        [0x1f, 0x8b, ..] => idx::parse(idx::unzip(&bytes)?),
        [0, 0, ..] => idx::parse(bytes),
        _ => Err("the file is none of PNG, JPEG, IDX, IDX.gz, npy and npz".into()),
    }
}

#[cfg(test)]
mod tests;
