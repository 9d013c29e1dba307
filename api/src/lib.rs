//! From a model's bytes to class, cycles and energy.
//!
//! ```
//! use qnnsim_api::{Inputs, Model, ModelOptions, Overrides, Progress, Session};
//!
//! let file = include_bytes!("../../programs/tcv_w1a1.onnx");
//! let model = Model::from_onnx("tcv_w1a1", file, &ModelOptions::default())?;
//! let session = Session::compile(&model, &Overrides::default())?;
//! let image = Inputs::real(&session, &[1, 1, 28, 28], vec![0.0; 28 * 28])?;
//! let outputs = session.predict(&image, &Progress::default())?;
//! let report = session.report(None, None)?;
//! println!("class {:?}, {} cycles, {} pJ", outputs.class(0), report.cycles.warm, report.energy_pj.warm);
//! # Ok::<(), qnnsim_api::Error>(())
//! ```
//!
//! A [`Model`] is imported once and compiled for as many hardware points as wanted. A [`Session`]
//! is a program that is proven legal and timed; it computes images on all threads of rayon's pool.
//! Long work takes a [`Progress`], which another thread can read and stop.
//!
//! No module does I/O or knows a terminal.

mod error;
pub mod images;
mod inputs;
mod progress;
mod session;
pub mod sweep;
pub mod verify;

pub use error::Error;
pub use inputs::Inputs;
pub use progress::{Progress, Stopped};
pub use qnnsim_compiler::import::ImportOptions as ModelOptions;
pub use qnnsim_isa::hardware::{HardwarePoint, Overrides};
pub use session::{Model, Outputs, Session, TracedMap};
