//! Arrays of a caller as images of a program.

use qnnsim_isa::descriptor::{InputDescriptor, MapShape};

use crate::Error;

/// Images that fit a program's input: pixels, or real inputs.
#[derive(Debug, Clone)]
pub struct Inputs {
    values: Values,
    count: usize,
    shape: MapShape,
}

/// In the order image, channel, row, column.
#[derive(Debug, Clone)]
enum Values {
    Pixels(Vec<u8>),
    Real(Vec<f64>),
}

impl Inputs {
    /// Pixels of 8 bits, which become `pixel_scale * pixel + pixel_offset`. `dims` are the sizes of
    /// the array: `[N, channels, height, width]` or without sizes of 1 that are not there in the
    /// model; a single image may lack its `N`.
    ///
    /// # Errors
    /// The sizes are not those of the program's input, or there is no image.
    pub fn pixels(input: &InputDescriptor, dims: &[usize], values: Vec<u8>) -> Result<Self, Error> {
        let count = count(input.shape, dims, values.len())?;
        Ok(Inputs { values: Values::Pixels(values), count, shape: input.shape })
    }

    /// Real inputs, as the model's graph takes them; `dims` as in [`Inputs::pixels`].
    ///
    /// # Errors
    /// Those of [`Inputs::pixels`], or a value is not a number.
    pub fn real(input: &InputDescriptor, dims: &[usize], values: Vec<f64>) -> Result<Self, Error> {
        let count = count(input.shape, dims, values.len())?;
        if let Some(at) = values.iter().position(|value| value.is_nan()) {
            let (image, value) = (at / input.shape.values(), at % input.shape.values());
            return Err(Error::InvalidInput(format!(
                "value {value} of image {image} is not a number (NaN)\n  help: no quantizer has \
                 an integer for it; give finite values"
            )));
        }
        Ok(Inputs { values: Values::Real(values), count, shape: input.shape })
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The real input values of image `index`, in the order channel, row, column.
    pub fn reals(&self, index: usize, input: &InputDescriptor) -> Vec<f64> {
        let places = index * self.shape.values()..(index + 1) * self.shape.values();
        match &self.values {
            Values::Pixels(pixels) => pixels[places]
                .iter()
                .map(|&pixel| input.pixel_scale * f64::from(pixel) + input.pixel_offset)
                .collect(),
            Values::Real(values) => values[places].to_vec(),
        }
    }
}

/// How many images of a shape an array holds.
fn count(shape: MapShape, dims: &[usize], values: usize) -> Result<usize, Error> {
    let [c, h, w] = [shape.channels, shape.height, shape.width].map(|n| n as usize);
    let found = match *dims {
        [n, a, b, d] if [a, b, d] == [c, h, w] => Some(n),
        [a, b, d] if [a, b, d] == [c, h, w] => Some(1),
        [n, a, b] if c == 1 && [a, b] == [h, w] => Some(n),
        [n, a, b] if h == 1 && [a, b] == [c, w] => Some(n),
        [a, b] if c == 1 && [a, b] == [h, w] => Some(1),
        [a, b] if h == 1 && w != 1 && [a, b] == [c, w] => Some(1),
        _ if h != 1 || w != 1 => None,
        _ if dims.iter().product::<usize>() == c => Some(1),
        [n, ref rest @ ..] if rest.iter().product::<usize>() == c => Some(n),
        _ => None,
    };
    match found {
        Some(0) => Err(Error::InvalidInput("the array holds no image".into())),
        Some(count) if count * shape.values() == values => Ok(count),
        _ => Err(Error::InvalidInput(format!(
            "the array has the shape {dims:?}, but the program's input is {c} x {h} x {w} \
             (channels x height x width)\n  help: give arrays of {}",
            match (h, w) {
                (1, 1) => format!("[N, {c}]"),
                (1, _) => format!("[N, {c}, {w}]"),
                _ => format!("[N, {c}, {h}, {w}]"),
            }
        ))),
    }
}

/// Turns images into the bytes of a program's input in DRAM.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    input: &'a InputDescriptor,
    inputs: &'a Inputs,
    /// The byte for each pixel, and whether the quantizer clips it: for each channel, or for all.
    pixels: Vec<[(u8, bool); 256]>,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(input: &'a InputDescriptor, inputs: &'a Inputs) -> Self {
        let of_channel =
            |channel| std::array::from_fn(|pixel| input.byte_of_pixel(pixel as u8, channel));
        let pixels = match inputs.values {
            Values::Pixels(_) => (0..input.distinct_channels()).map(of_channel).collect(),
            Values::Real(_) => Vec::new(),
        };
        Encoder { input, inputs, pixels }
    }

    /// The bytes of one image, pixel after pixel. Returns how many values were clipped.
    pub(crate) fn encode(&self, index: usize, bytes: &mut [u8]) -> u64 {
        let channels = self.input.shape.channels as usize;
        let (values, size) = (bytes.len(), bytes.len() / channels);
        let mut clipped = 0;
        for channel in 0..channels {
            let start = index * values + channel * size;
            let places = bytes.iter_mut().skip(channel).step_by(channels);
            let mut put = |byte: &mut u8, (code, clips): (u8, bool)| {
                *byte = code;
                clipped += u64::from(clips);
            };
            match &self.inputs.values {
                Values::Pixels(pixels) => {
                    let table = &self.pixels[channel.min(self.pixels.len() - 1)];
                    let pixels = &pixels[start..start + size];
                    places.zip(pixels).for_each(|(b, &p)| put(b, table[usize::from(p)]));
                }
                Values::Real(reals) => {
                    let reals = &reals[start..start + size];
                    places
                        .zip(reals)
                        .for_each(|(b, &x)| put(b, self.input.byte_of_real(x, channel)));
                }
            }
        }
        clipped
    }
}
