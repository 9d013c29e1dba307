//! Hardware points as dictionaries.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::pythonize;
use qnnsim_api::{Error, HardwarePoint, Overrides};
use qnnsim_isa::hardware::PARAMETERS;
use qnnsim_simulator::Technology;
use qnnsim_simulator::area::area;
use qnnsim_simulator::clock::clock;

use crate::errors::exception;

/// What a caller says of a point, in JSON or RON.
pub fn overrides(text: &str) -> PyResult<Overrides> {
    Overrides::from_text(text).map_err(|error| exception(error.into()))
}

/// What there is to know of a point that `text` gives, in JSON or RON.
#[pyfunction]
pub fn hardware<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyDict>> {
    let point: HardwarePoint =
        overrides(text)?.resolve().map_err(|error| exception(error.into()))?;
    let technology = technology(&point.technology).map_err(exception)?;
    let values = PyDict::new(py);
    for (row, value) in PARAMETERS.iter().zip(point.values()) {
        values.set_item(row.key, value)?;
    }
    let memories = PyDict::new(py);
    for memory in point.memories() {
        let size = PyDict::new(py);
        size.set_item("banks", memory.banks)?;
        size.set_item("words", memory.words)?;
        size.set_item("word_bits", memory.word_bits)?;
        size.set_item("bytes", memory.bytes)?;
        memories.set_item(memory.name, size)?;
    }
    let all = PyDict::new(py);
    all.set_item("values", values)?;
    all.set_item("technology", &point.technology)?;
    all.set_item("name", point.short_name())?;
    all.set_item("fingerprint", format!("{:08x}", point.fingerprint()))?;
    all.set_item("memories", memories)?;
    all.set_item("area", pythonize(py, &area(&technology, &point))?)?;
    all.set_item("clock", pythonize(py, &clock(&technology, &point))?)?;
    Ok(all)
}

/// The rows of the table of parameters: key, unit, least and greatest value, one sentence.
#[pyfunction]
pub fn parameters() -> Vec<(&'static str, &'static str, u32, u32, &'static str)> {
    PARAMETERS
        .iter()
        .map(|row| (row.key, row.unit, *row.range.start(), *row.range.end(), row.doc))
        .collect()
}

/// A technology by its name, or written in RON, which begins with a bracket.
pub fn technology(text: &str) -> Result<Technology, Error> {
    if text.trim_start().starts_with(['(', '/']) {
        return Technology::from_ron(text)
            .map_err(|error| Error::InvalidPoint(format!("technology: {error}")));
    }
    Technology::builtin(text).ok_or_else(|| {
        let choices = Technology::BUILTIN.join(" and ");
        Error::InvalidPoint(format!(
            "there is no technology `{text}`\n  help: there are {choices}, or give a file of your \
             own"
        ))
    })
}

/// What a text says of a point, in JSON or RON, as JSON.
#[pyfunction]
pub fn hardware_settings(text: &str) -> PyResult<String> {
    let overrides = overrides(text)?;
    Ok(serde_json::to_string(&overrides).expect("plain data serializes"))
}
