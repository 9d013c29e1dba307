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

use qnnsim_isa::descriptor::{InputDescriptor, MapShape};

use crate::failure::Failure;
use crate::files;
use array::{Array, Element};

pub use npy::header_bytes as npy_header;

/// Images that fit a program's input.
#[derive(Debug)]
pub struct Images {
    array: Array,
    count: usize,
    shape: MapShape,
}

impl Images {
    /// Reads a file: PNG, IDX, IDX.gz or npy.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or holds no images of the program's input shape.
    pub fn read(path: &Path, input: &InputDescriptor) -> Result<Self, Failure> {
        let array = read_array(path)?;
        let file = path.display();
        if !matches!(array.element, Element::U8 | Element::F32 | Element::F64) {
            let failure =
                Failure::misuse(format_args!("`{file}` holds {array}, which are no images"));
            return Err(failure.help("give uint8 pixels, or float32 or float64 real inputs"));
        }
        let MapShape { channels, height, width } = input.shape;
        let Some(count) = count(&array.dims, input.shape) else {
            let failure = Failure::misuse(format_args!(
                "`{file}` holds {array}, but the program's input is {channels} x {height} x {width} (channels x height x width)"
            ));
            return Err(failure.help(if channels == 1 {
                format!("give images of {height} x {width}, or arrays of [N, 1, {height}, {width}] or [N, {height}, {width}]")
            } else if input.shape.values() == channels as usize {
                format!("give arrays of [N, {channels}]")
            } else {
                format!("give arrays of [N, {channels}, {height}, {width}]")
            }));
        };
        if count == 0 {
            return Err(Failure::misuse(format_args!("`{file}` holds no image")));
        }
        let values = input.shape.values();
        let real = matches!(array.element, Element::F32 | Element::F64);
        if let Some(at) = (0..count * values).find(|&at| real && array.real(at).is_nan()) {
            let (image, value) = (at / values, at % values);
            let failure = Failure::misuse(format_args!(
                "`{file}`: value {value} of image {image} is not a number (NaN)"
            ));
            return Err(failure.help("no quantizer has an integer for it; save finite values"));
        }
        Ok(Images { array, count, shape: input.shape })
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether they are 8-bit pixels, and not real inputs.
    pub fn are_pixels(&self) -> bool {
        self.array.element == Element::U8
    }

    /// The real input values of image `index`, in the order channel, row, column.
    pub fn reals(&self, index: usize, input: &InputDescriptor) -> Vec<f64> {
        let values = self.shape.values();
        let places = index * values..(index + 1) * values;
        match self.array.element {
            Element::U8 => {
                let pixels = &self.array.bytes()[places];
                pixels
                    .iter()
                    .map(|&pixel| input.pixel_scale * f64::from(pixel) + input.pixel_offset)
                    .collect()
            }
            _ => places.map(|at| self.array.real(at)).collect(),
        }
    }

    /// Position in the file of the values of image `index`, in the order of DRAM: the file has
    /// channels first, DRAM has them last.
    fn positions(&self, index: usize) -> impl Iterator<Item = usize> {
        let (channels, pixels) =
            (self.shape.channels as usize, self.shape.values() / self.shape.channels as usize);
        let start = index * channels * pixels;
        (0..pixels).flat_map(move |pixel| {
            (0..channels).map(move |channel| start + channel * pixels + pixel)
        })
    }
}

/// How many images of a shape an array holds: channels first, a single image without its number,
/// one channel without its 1, and for a vector whatever has as many values.
fn count(dims: &[usize], shape: MapShape) -> Option<usize> {
    let [c, h, w] = [shape.channels, shape.height, shape.width].map(|n| n as usize);
    match *dims {
        [n, a, b, d] if [a, b, d] == [c, h, w] => Some(n),
        [a, b, d] if [a, b, d] == [c, h, w] => Some(1),
        [n, a, b] if c == 1 && [a, b] == [h, w] => Some(n),
        [a, b] if c == 1 && [a, b] == [h, w] => Some(1),
        _ if h != 1 || w != 1 => None,
        _ if dims.iter().product::<usize>() == c => Some(1),
        [n, ref rest @ ..] if rest.iter().product::<usize>() == c => Some(n),
        _ => None,
    }
}

/// Turns images into the bytes of a program's input in DRAM.
pub struct Encoder<'a> {
    input: &'a InputDescriptor,
    /// The byte for each pixel, and whether the quantizer clips it: for each channel, or for all.
    pixels: Vec<[(u8, bool); 256]>,
}

impl<'a> Encoder<'a> {
    /// An encoder for the input of a program.
    pub fn new(input: &'a InputDescriptor) -> Self {
        let of_channel =
            |channel| std::array::from_fn(|pixel| input.byte_of_pixel(pixel as u8, channel));
        Encoder { input, pixels: (0..input.distinct_channels()).map(of_channel).collect() }
    }

    /// The bytes of one image; `bytes` has one for each value. Returns how many values were
    /// clipped.
    pub fn encode(&self, images: &Images, index: usize, bytes: &mut [u8]) -> u64 {
        let array = &images.array;
        let mut clipped = 0;
        let mut put = |byte: &mut u8, (code, clips): (u8, bool)| {
            *byte = code;
            clipped += u64::from(clips);
        };
        let places = bytes.iter_mut().zip(images.positions(index));
        match (array.element, &self.pixels[..]) {
            (Element::U8, [of_all]) => {
                let pixels = array.bytes();
                places.for_each(|(byte, at)| put(byte, of_all[usize::from(pixels[at])]));
            }
            (Element::U8, of_channels) => {
                let pixels = array.bytes();
                let channels = of_channels.iter().cycle();
                places
                    .zip(channels)
                    .for_each(|((byte, at), table)| put(byte, table[usize::from(pixels[at])]));
            }
            _ => {
                let channels = (0..self.input.shape.channels as usize).cycle();
                let real = |at, channel| self.input.byte_of_real(array.real(at), channel);
                places.zip(channels).for_each(|((byte, at), channel)| put(byte, real(at, channel)));
            }
        }
        clipped
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
