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

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::ops::Range;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use qnnsim_host::{Batch, Codes, Encoder};

use crate::failure::Failure;
use crate::files;
use crate::limits::INPUT_BYTES_MAX;
use array::{Array, Element, Header, Wanted, all};

pub use npy::header_bytes as npy_header;

/// Images that fit a program's input: how many a file holds, and those of them that were read.
#[derive(Debug)]
pub struct Images {
    array: Array,
    batch: Batch,
    /// Values of one image.
    values: usize,
}

impl Images {
    /// Reads some images, those there are of `wanted`, from a file, PNG, JPEG, IDX, IDX.gz, npy or
    /// npz, or from a folder of pictures. Others are passed over without being kept.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or holds no images of the program's input shape.
    pub fn read(path: &Path, encoder: &Encoder, wanted: Range<usize>) -> Result<Self, Failure> {
        let values = encoder.values();
        let are_images =
            |element: Element| matches!(element, Element::U8 | Element::F32 | Element::F64);
        let part = |header: &Header| match encoder.batch(&header.dims) {
            Some(batch) if are_images(header.element) => {
                let [first, end] = [wanted.start, wanted.end].map(|at| at.min(batch.count));
                first * values..end.max(first) * values
            }
            _ => 0..0,
        };
        let array = read_array(path, Some(encoder.name()), &part, &wanted)?;
        let (file, header) = (path.display(), &array.header);
        if !are_images(header.element) {
            let failure =
                Failure::misuse(format_args!("`{file}` holds {header}, which are no images"));
            return Err(failure.help("give uint8 pixels, or float32 or float64 real inputs"));
        }
        let dims = encoder.dims();
        let Some(batch) = encoder.batch(&header.dims) else {
            let failure = Failure::misuse(format_args!(
                "`{file}` holds {header}, but the model's input is {dims:?} for one image"
            ));
            return Err(failure.help(encoder.forms()));
        };
        if batch.count == 0 {
            return Err(Failure::misuse(format_args!("`{file}` holds no image")));
        }
        let real = matches!(header.element, Element::F32 | Element::F64);
        if real && let Some(at) = part(header).find(|&at| array.real(at).is_nan()) {
            let (image, value) = (at / values, at % values);
            let failure = Failure::misuse(format_args!(
                "`{file}`: value {value} of image {image} is not a number (NaN)"
            ));
            return Err(failure.help("no quantizer has an integer for it; save finite values"));
        }
        Ok(Images { array, batch, values })
    }

    /// How many the file holds; never 0.
    pub fn count(&self) -> usize {
        self.batch.count
    }

    /// Whether they are 8-bit pixels, and not real inputs.
    pub fn are_pixels(&self) -> bool {
        self.array.header.element == Element::U8
    }

    /// The real values of image `index` as they lie in the file.
    fn numbers(&self, index: usize) -> Vec<f64> {
        (index * self.values..(index + 1) * self.values).map(|at| self.array.real(at)).collect()
    }

    fn pixels(&self, index: usize) -> &[u8] {
        self.array.octets(index * self.values..(index + 1) * self.values)
    }

    /// The real input values of image `index`, in the model's order.
    pub fn reals(&self, index: usize, encoder: &Encoder) -> Vec<f64> {
        match self.array.header.element {
            Element::U8 => encoder.reals_of_pixels(self.pixels(index), self.batch.order),
            _ => encoder.reals(&self.numbers(index), self.batch.order),
        }
    }

    /// The bytes of image `index` in DRAM; `bytes` has one for each value.
    pub fn encode(&self, index: usize, encoder: &Encoder, bytes: &mut [u8]) -> Codes {
        match self.array.header.element {
            Element::U8 => encoder.encode_pixels(self.pixels(index), self.batch.order, bytes),
            _ => encoder.encode_reals(&self.numbers(index), self.batch.order, bytes),
        }
    }
}

/// The classes of images.
#[derive(Debug)]
pub struct Labels {
    /// How many the file holds.
    pub count: usize,
    /// The first of them, as many as were wanted.
    pub classes: Vec<i64>,
}

/// Reads the classes of the first images: IDX, IDX.gz or an npy of integers.
///
/// # Errors
/// The file cannot be read, is damaged, or holds something else.
pub fn read_labels(path: &Path, wanted: usize) -> Result<Labels, Failure> {
    let part = |header: &Header| match header.dims[..] {
        [count] => 0..wanted.min(count),
        _ => 0..0,
    };
    let array = read_array(path, None, &part, &(0..1))?;
    let no_labels = || {
        let (file, header) = (path.display(), &array.header);
        Failure::misuse(format_args!("`{file}` holds {header}, which are no labels"))
            .help("give one integer an image: [N]")
    };
    let [count] = array.header.dims[..] else { return Err(no_labels()) };
    let classes: Result<_, _> =
        part(&array.header).map(|at| array.integer(at).ok_or_else(no_labels)).collect();
    Ok(Labels { count, classes: classes? })
}

/// The sizes of the array of a file of images and the bytes of its numbers, as they lie in it.
/// `seekable` is whether the bytes are read as those of a file or as those of a stream.
///
/// # Errors
/// Why they are none of the files that are read, or damaged.
pub fn of_bytes(bytes: &[u8], seekable: bool) -> Result<(Vec<usize>, Vec<u8>), String> {
    let length = Some(bytes.len() as u64);
    let array = match seekable {
        true => parse(BufReader::new(Cursor::new(bytes)), length, None, &all),
        false => parse_stream(bytes, None, &all),
    }?;
    let bytes = array.bytes().to_vec();
    Ok((array.header.dims, bytes))
}

/// Reads a file, or some pictures of a folder; of several arrays the one with this name.
fn read_array(
    path: &Path,
    name: Option<&str>,
    wanted: Wanted<'_>,
    pictures: &Range<usize>,
) -> Result<Array, Failure> {
    if path.is_dir() {
        return read_folder(path, pictures);
    }
    let read = match files::open(path)? {
        files::Opened::File(file) => {
            let length = file.metadata().map(|metadata| metadata.len()).ok();
            parse(BufReader::new(file), length, name, wanted)
        }
        files::Opened::Stream(stream) => parse_stream(BufReader::new(stream), name, wanted),
    };
    read.map_err(|why| Failure::misuse(format_args!("{}: {why}", files::source_name(path))))
}

/// Some pictures of a folder, in the order of their names, as one array.
fn read_folder(path: &Path, wanted: &Range<usize>) -> Result<Array, Failure> {
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
    if pictures.is_empty() {
        return Err(refuse(&"it holds no PNG or JPEG picture"));
    }
    // One is read in any case: it tells the shape.
    let first = wanted.start.min(pictures.len() - 1);
    let end = wanted.end.clamp(first + 1, pictures.len());
    let mut found: Option<(Vec<usize>, Vec<u8>)> = None;
    for file in &pictures[first..end] {
        let array = read_array(file, None, &all, &(0..1))?;
        let dims = &array.header.dims;
        let (same, bytes) = found.get_or_insert_with(|| (dims.clone(), Vec::new()));
        if same != dims {
            let failure = Failure::misuse(format_args!(
                "`{}` is of shape {dims:?}, but the pictures before it in the folder are of {same:?}",
                file.display(),
            ));
            return Err(failure.help("give pictures of one size, all grey or all in colour"));
        }
        bytes.extend_from_slice(array.bytes());
        if bytes.len() as u64 > INPUT_BYTES_MAX {
            return Err(refuse(&"its pictures have more than 1024 MiB of pixels"));
        }
    }
    let (shape, bytes) = found.expect("one at least");
    let values: usize = shape.iter().product();
    let dims = [pictures.len()].into_iter().chain(shape).collect();
    let header = Header { element: Element::U8, big_endian: false, dims };
    Ok(Array::of(header, first * values, bytes))
}

/// Takes a file apart by what it begins with. `length` are its bytes, if that is known.
fn parse<R: Read + Seek>(
    mut file: BufReader<R>,
    length: Option<u64>,
    name: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<Array, String> {
    let failed = |error: io::Error| error.to_string();
    match *file.fill_buf().map_err(failed)? {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => npz::read(file, name, wanted),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] | [0, 0, ..] => {
            let (header, start) = plain_header(&mut file)?;
            let there = length.map(|length| length.saturating_sub(start));
            Array::seek(header, file, there, wanted)
        }
        _ => parse_stream(file, name, wanted),
    }
}

/// The header of a file that is its numbers behind it, and its length.
fn plain_header(file: &mut impl BufRead) -> Result<(Header, u64), String> {
    match *file.fill_buf().map_err(|error| error.to_string())? {
        [0, 0, ..] => idx::header(file),
        _ => npy::header(file),
    }
}

/// What is in a gzip file.
struct Unzipped<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Unzipped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|e| io::Error::other(format!("damaged gzip file: {e}")))
    }
}

/// Takes what cannot be read from the middle apart by what it begins with.
fn parse_stream(
    mut file: impl BufRead,
    name: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<Array, String> {
    let failed = |error: io::Error| error.to_string();
    let whole = |file: &mut dyn Read| {
        let mut bytes = Vec::new();
        file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        match bytes.len() as u64 > INPUT_BYTES_MAX {
            true => Err(format!("it is longer than {} MiB", INPUT_BYTES_MAX >> 20)),
            false => Ok(bytes),
        }
    };
    match *file.fill_buf().map_err(failed)? {
        [] => Err("the file is empty".into()),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => {
            let (header, pixels) = picture::parse(&whole(&mut file)?)?;
            let there = Some(pixels.len() as u64);
            Array::read(header, &pixels[..], there, wanted)
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] | [0, 0, ..] => {
            let (header, _) = plain_header(&mut file)?;
            Array::read(header, file, None, wanted)
        }
        [b'P', b'K', 3 | 5, 4 | 6, ..] => npz::read(Cursor::new(whole(&mut file)?), name, wanted),
        [0x1f, 0x8b, ..] => {
            let mut unzipped = Unzipped(MultiGzDecoder::new(file));
            let damaged = |why: String| format!("in the gzip file: {why}");
            let (header, _) = idx::header(&mut unzipped).map_err(damaged)?;
            Array::read(header, unzipped, None, wanted)
        }
        _ => Err("the file is none of PNG, JPEG, IDX, IDX.gz, npy and npz".into()),
    }
}

#[cfg(test)]
mod tests;
