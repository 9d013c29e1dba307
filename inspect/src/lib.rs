//! Inside a running machine: a debugger that steps both ways, timelines and waveforms.
//!
//! Timing does not depend on data, so an image is written down once ([`recording`]), through the
//! engine's observer. A [`machine`] is a place in such a recording: the state of queues and
//! semaphores follows from the events ([`control`]), that of the memories from the effects of the
//! steps, and going back is a snapshot and the events behind it again. The [`debugger`] puts
//! commands over it. A [`timeline`] is what [`perfetto`] and [`konata`] write of it, a [`wave`] its
//! signals.
pub mod accesses;
pub mod control;
pub mod debugger;
pub mod konata;
pub mod limits;
pub mod machine;
pub mod perfetto;
pub mod products;
pub mod recording;
pub mod timeline;
pub mod wave;

pub use debugger::Debugger;
pub use machine::{Grain, Machine, Position};
pub use recording::{Recording, Recordings};
