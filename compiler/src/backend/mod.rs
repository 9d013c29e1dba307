//! The back end: from the integer network to a program for one hardware point.
//!
//! [`plan`] decides (tiles, layouts, addresses, thresholds), [`emit`] writes it down (instructions, data).

pub mod emit;
pub mod plan;
pub mod thresholds;
