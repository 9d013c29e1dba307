//! The native part of the Python package `qnnsim`: arrays and dictionaries in, arrays and
//! dictionaries out. What users see is in `python/qnnsim/`.

mod errors;
mod hardware;
mod session;
mod sweep;
mod work;

/// The native part of `qnnsim`.
#[pyo3::pymodule]
mod _qnnsim {
    #[pymodule_export]
    use super::hardware::{hardware, hardware_settings, parameters};
    #[pymodule_export]
    use super::session::{Model, Session, verify};
    #[pymodule_export]
    use super::sweep::sweep;
    #[pymodule_export]
    use super::work::command;

    #[pymodule_export]
    const TRACKS: [&str; 9] = qnnsim_simulator::trace::TRACKS;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "its name in Python")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
