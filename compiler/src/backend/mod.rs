//! The back end: from the integer network to a program for one hardware point.
//!
//! [`facts`] knows what a network is on every point, [`plan`] decides (tiles, layouts, addresses),
//! [`memory`] which weights and thresholds stay in a memory, [`stripes`] which maps, and [`emit`]
//! writes it down (instructions, data).

pub mod emit;
pub mod facts;
pub mod memory;
pub mod plan;
pub mod stripes;
pub mod thresholds;
mod weights;
