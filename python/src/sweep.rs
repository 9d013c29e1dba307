//! Sweeps over hardware points.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::{depythonize, pythonize};
use qnnsim_api::sweep::{Shard, Space};

use crate::errors::invalid_input;
use crate::session::Model;
use crate::work;

/// Compiles and simulates models on a space, which is a dictionary as the RON file has it. Gives a
/// dictionary of columns, their units and sentences, and the page of the report.
#[pyfunction]
pub fn sweep<'py>(
    py: Python<'py>,
    models: Vec<PyRef<'py, Model>>,
    space: &Bound<'py, PyDict>,
    objectives: Vec<String>,
    filter: bool,
    shard: (u64, u64),
    watch: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let models: Vec<_> = models.iter().map(|model| model.model.clone()).collect();
    let space: Space = depythonize(space).map_err(|error| invalid_input(error.to_string()))?;
    space.check().map_err(invalid_input)?;
    let part: Shard = format!("{}/{}", shard.0, shard.1)
        .parse()
        .map_err(|why| invalid_input(format!("the shard {why}, not {shard:?}")))?;
    let swept = work::run(py, watch, move |progress| {
        qnnsim_api::sweep::sweep(&models, &space, &objectives, part, filter, progress)
    })?;
    let (columns, about) = (PyDict::new(py), PyDict::new(py));
    for (i, column) in swept.table.columns.iter().enumerate() {
        let values: Vec<_> = swept.table.rows.iter().map(|row| &row[i]).collect();
        columns.set_item(&column.name, pythonize(py, &values)?)?;
        about.set_item(&column.name, (&column.unit, &column.doc))?;
    }
    let all = PyDict::new(py);
    all.set_item("columns", columns)?;
    all.set_item("about", about)?;
    all.set_item("page", swept.page)?;
    Ok(all)
}
