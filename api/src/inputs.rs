//! Arrays of a caller as images of a program.

use qnnsim_host::{Batch, Codes, Encoder};

use crate::{Error, Session};

/// Images that fit a program's input: pixels, or real inputs.
#[derive(Debug, Clone)]
pub struct Inputs {
    values: Values,
    batch: Batch,
    /// Values of one image.
    size: usize,
}

#[derive(Debug, Clone)]
enum Values {
    Pixels(Vec<u8>),
    Real(Vec<f64>),
}

impl Inputs {
    /// Pixels of 8 bits, which become `pixel_scale * pixel + pixel_offset`. `dims` are the sizes of
    /// the array: those of the model's input with the images stacked in front, or of one image;
    /// pictures may have their channels last, and lack a single one.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if these are not the sizes, or there is no image.
    pub fn pixels(session: &Session, dims: &[usize], values: Vec<u8>) -> Result<Self, Error> {
        let (batch, size) = batch(session.encoder(), "uint8", dims, values.len())?;
        Ok(Inputs { values: Values::Pixels(values), batch, size })
    }

    /// Real inputs, as the model's graph takes them; `dims` as in [`Inputs::pixels`].
    ///
    /// # Errors
    /// Those of [`Inputs::pixels`], or a value is not a number.
    pub fn real(session: &Session, dims: &[usize], values: Vec<f64>) -> Result<Self, Error> {
        let (batch, size) = batch(session.encoder(), "real values", dims, values.len())?;
        if let Some(at) = values.iter().position(|value| value.is_nan()) {
            let (image, value) = (at / size, at % size);
            return Err(Error::InvalidInput(format!(
                "value {value} of image {image} is not a number (NaN)\n  help: no quantizer has \
                 an integer for it; give finite values"
            )));
        }
        Ok(Inputs { values: Values::Real(values), batch, size })
    }

    /// How many images there are; never 0.
    pub fn count(&self) -> usize {
        self.batch.count
    }

    /// The real input values of image `index`, in the model's order.
    pub(crate) fn reals(&self, index: usize, encoder: &Encoder) -> Vec<f64> {
        let places = index * self.size..(index + 1) * self.size;
        match &self.values {
            Values::Pixels(pixels) => encoder.reals_of_pixels(&pixels[places], self.batch.order),
            Values::Real(values) => encoder.reals(&values[places], self.batch.order),
        }
    }

    /// The bytes in DRAM of image `index`.
    pub(crate) fn encode(&self, index: usize, encoder: &Encoder, bytes: &mut [u8]) -> Codes {
        let places = index * self.size..(index + 1) * self.size;
        match &self.values {
            Values::Pixels(pixels) => {
                encoder.encode_pixels(&pixels[places], self.batch.order, bytes)
            }
            Values::Real(values) => encoder.encode_reals(&values[places], self.batch.order, bytes),
        }
    }
}

/// How an array of some values holds images, and how many values an image has.
fn batch(
    encoder: &Encoder,
    what: &str,
    dims: &[usize],
    values: usize,
) -> Result<(Batch, usize), Error> {
    let size = encoder.values();
    match encoder.batch(dims) {
        Some(Batch { count: 0, .. }) => Err(Error::InvalidInput("the array holds no image".into())),
        Some(batch) if batch.count * size == values => Ok((batch, size)),
        _ => Err(Error::InvalidInput(format!(
            "the array holds {what} {dims:?}, but the model's input is {:?} for one image\n  \
             help: {}",
            encoder.dims(),
            encoder.forms()
        ))),
    }
}
