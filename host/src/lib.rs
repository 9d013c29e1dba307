//! What the host does around a program: real inputs and pixels to the bytes that the machine reads
//! from DRAM, and the accumulators that it leaves there to the model's outputs.
//!
//! ```no_run
//! # fn example(program: &qnnsim_isa::Program, image: &[u8], accumulators: &[i64])
//! # -> Result<(), qnnsim_host::HostError> {
//! let encoder = qnnsim_host::Encoder::new(&program.input)?;
//! let batch = encoder.batch(&[28, 28]).expect("one image of 28 x 28");
//! let mut bytes = vec![0; encoder.values()];
//! encoder.encode_pixels(image, batch.order, &mut bytes);
//! // The simulator runs `bytes` and gives the accumulators.
//! let decoder = qnnsim_host::Decoder::new(&program.output)?;
//! let outputs = decoder.decode(accumulators);
//! let class = decoder.class(&outputs);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here reads a file.

mod decoder;
mod encoder;

pub use decoder::{Decoder, argmax};
pub use encoder::{Batch, Codes, Encoder, Order};

use qnnsim_compiler::diagnostic::Diagnostics;

/// Why a program's part for the host cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The model in front of the input quantizer, or behind the last layer, is refused.
    #[error("the program's part for the host: {0}")]
    Model(String),
    /// That model does not fit the input or the output that it belongs to.
    #[error("the program's part for the host has other {0} than the program says")]
    Shape(&'static str),
}

impl From<Diagnostics> for HostError {
    fn from(all: Diagnostics) -> Self {
        HostError::Model(all.to_string())
    }
}
