//! The library's errors as exceptions of `qnnsim.errors`.

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use qnnsim_api::Error;
use qnnsim_compiler::diagnostic::Place;

mod python {
    pyo3::import_exception!(qnnsim.errors, DoesNotFit);
    pyo3::import_exception!(qnnsim.errors, InvalidHardware);
    pyo3::import_exception!(qnnsim.errors, InvalidInput);
    pyo3::import_exception!(qnnsim.errors, MalformedProgram);
    pyo3::import_exception!(qnnsim.errors, Trap);
    pyo3::import_exception!(qnnsim.errors, UnsupportedModel);
}

/// The exception of an error, with the same text.
pub fn exception(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::UnsupportedModel { diagnostics, .. } => {
            let nodes: Vec<Option<String>> = diagnostics
                .iter()
                .map(|one| match one.place.as_deref() {
                    Some(Place::Node(node)) => Some(node.node.clone()),
                    _ => None,
                })
                .collect();
            python::UnsupportedModel::new_err((text, nodes))
        }
        Error::DoesNotFit { .. } => python::DoesNotFit::new_err(text),
        Error::Trap { .. } => python::Trap::new_err(text),
        Error::InvalidPoint(_) => python::InvalidHardware::new_err(text),
        Error::Malformed(_) => python::MalformedProgram::new_err(text),
        Error::ForHost { .. } => python::MalformedProgram::new_err(text),
        Error::InvalidInput(_) => python::InvalidInput::new_err(text),
        Error::Stopped(_) => PyKeyboardInterrupt::new_err(text),
    }
}

/// An [`Error::InvalidInput`] with a text of its own.
pub fn invalid_input(text: impl Into<String>) -> PyErr {
    python::InvalidInput::new_err(text.into())
}
