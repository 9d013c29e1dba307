//! Models and programs.

use std::sync::Arc;

use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use pythonize::pythonize;
use qnnsim_api::verify::Precision;
use qnnsim_api::{Error, Inputs, ModelOptions};
use qnnsim_simulator::Start;
use qnnsim_simulator::trace::{TraceImage, trace_events};

use crate::errors::{exception, invalid_input};
use crate::hardware::{overrides, technology};
use crate::work;

/// The name of an output, and its values for all images.
type NamedArray<'py> = (String, Bound<'py, PyAny>);

/// An imported model.
#[pyclass(frozen, module = "qnnsim._qnnsim")]
pub struct Model {
    pub model: qnnsim_api::Model,
}

#[pymethods]
impl Model {
    /// Imports the bytes of an ONNX file.
    #[new]
    fn new(
        py: Python<'_>,
        name: String,
        file: Vec<u8>,
        pixel_scale: Vec<f64>,
        pixel_offset: Vec<f64>,
        classes: Vec<String>,
        unsigned_1bit_relu: bool,
    ) -> PyResult<Self> {
        let options = ModelOptions {
            unsigned_1bit_relu,
            pixel_scale,
            pixel_offset,
            classes,
            ..ModelOptions::default()
        };
        let model =
            work::run(py, None, move |_| qnnsim_api::Model::from_onnx(&name, &file, &options))?;
        Ok(Model { model })
    }

    #[getter]
    fn name(&self) -> &str {
        self.model.name()
    }

    /// What may not be meant, as texts.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.model.warnings().iter().map(ToString::to_string).collect()
    }

    /// The list of layers with bits of activations and weights.
    #[getter]
    fn layers(&self) -> Vec<String> {
        self.model.import().network.layers.iter().map(|layer| layer.name.clone()).collect()
    }
}

/// A program that is ready to run.
#[pyclass(frozen, module = "qnnsim._qnnsim")]
pub struct Session {
    session: Arc<qnnsim_api::Session>,
}

#[pymethods]
impl Session {
    /// Compiles a model for a hardware point in JSON or RON.
    #[staticmethod]
    fn compile(py: Python<'_>, model: &Model, hw: &str) -> PyResult<Self> {
        let hw = overrides(hw)?;
        let model = model.model.clone();
        let session = work::run(py, None, move |_| qnnsim_api::Session::compile(&model, &hw))?;
        Ok(Session { session: Arc::new(session) })
    }

    /// Loads the bytes of a program file.
    #[staticmethod]
    fn load(py: Python<'_>, file: Vec<u8>) -> PyResult<Self> {
        let session = work::run(py, None, move |_| qnnsim_api::Session::from_program_file(&file))?;
        Ok(Session { session: Arc::new(session) })
    }

    /// The bytes of the program file.
    fn save<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.session.program().to_bytes()))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.session.program().name
    }

    /// The hardware point in JSON.
    #[getter]
    fn hw(&self) -> String {
        serde_json::to_string(&self.session.hw()).expect("plain data serializes")
    }

    /// Sizes of an input, without the batch.
    #[getter]
    fn input_shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.session.encoder().dims())
    }

    /// Names and sizes of the outputs, without the batch.
    #[getter]
    fn outputs(&self) -> Vec<(String, Vec<u32>)> {
        let outputs = self.session.decoder().outputs().iter();
        outputs.map(|output| (output.name.clone(), output.dims.clone())).collect()
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        self.session.program().output.classes.clone()
    }

    /// Scale and offset that make a real input of a pixel.
    #[getter]
    fn pixels(&self) -> (Vec<f64>, Vec<f64>) {
        let input = &self.session.program().input;
        (input.pixel_scale.clone(), input.pixel_offset.clone())
    }

    /// For each output its name and an array of all images: real outputs, or last accumulators.
    /// Then how many input values were clipped.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        integers: bool,
        watch: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Vec<NamedArray<'py>>, u64)> {
        let (session, inputs) = (self.session.clone(), inputs(x, &self.session)?);
        let count = inputs.count();
        let (outputs, clipped) = work::run(py, watch, move |progress| {
            let outputs = session.predict(&inputs, progress)?;
            let clipped = outputs.codes.clipped;
            if integers {
                let integers = outputs.integers().into_iter();
                let all = integers.map(|(name, dims, values)| (name, dims, Values::Whole(values)));
                return Ok((all.collect::<Vec<_>>(), clipped));
            }
            let all = outputs.tensors().iter().zip(outputs.real()).map(|(tensor, values)| {
                let dims = tensor.dims.iter().map(|&size| size as usize).collect();
                let values = match tensor.index_of {
                    None => Values::Real(values),
                    Some(_) => Values::Whole(values.into_iter().map(|x| x as i64).collect()),
                };
                (tensor.name.clone(), dims, values)
            });
            Ok((all.collect(), clipped))
        })?;
        let array = |(name, dims, values): (String, Vec<usize>, Values)| {
            let dims = [vec![count], dims].concat();
            let array = match values {
                Values::Real(values) => values.into_pyarray(py).reshape(dims)?.into_any(),
                Values::Whole(values) => values.into_pyarray(py).reshape(dims)?.into_any(),
            };
            Ok((name, array))
        };
        Ok((outputs.into_iter().map(array).collect::<PyResult<_>>()?, clipped))
    }

    /// The report as a dictionary. `tech` is a name or RON.
    fn report<'py>(
        &self,
        py: Python<'py>,
        tech: Option<&str>,
        clock_mhz: Option<u32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tech = tech.map(technology).transpose().map_err(exception)?;
        let session = self.session.clone();
        let report = work::run(py, None, move |_| session.report(tech.as_ref(), clock_mhz))?;
        Ok(pythonize(py, &report)?)
    }

    /// The maps of every layer as dictionaries.
    fn trace<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        watch: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (session, inputs) = (self.session.clone(), inputs(x, &self.session)?);
        let count = inputs.count();
        let maps = work::run(py, watch, move |progress| session.trace(&inputs, progress))?;
        let all = PyList::empty(py);
        for map in maps {
            let [channels, height, width] = map.dims;
            let one = PyDict::new(py);
            one.set_item("name", map.name)?;
            one.set_item("bits", map.bits)?;
            one.set_item("signed", map.signed)?;
            one.set_item("scale", map.scale)?;
            one.set_item("zero_point", map.zero_point)?;
            let values: Bound<'_, PyArrayDyn<i64>> =
                map.values.into_pyarray(py).reshape(vec![count, channels, height, width])?;
            one.set_item("values", values)?;
            all.append(one)?;
        }
        Ok(all)
    }

    /// What bounds each layer, as a dictionary.
    fn explain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let session = self.session.clone();
        let explanation = work::run(py, None, move |_| session.explain())?;
        Ok(pythonize(py, &explanation)?)
    }

    /// The timeline as the trace-event JSON that Perfetto opens.
    fn trace_events(&self, py: Python<'_>, cold: bool) -> PyResult<String> {
        let (session, start) = (self.session.clone(), start(cold));
        work::run(py, None, move |_| {
            let program = session.program();
            let name = format!("{}, {} image", program.name, start.name());
            let image = TraceImage { name, begin: 0, lines: session.timeline(start) };
            Ok(trace_events(&[image], program.hardware.clock_mhz).to_string())
        })
    }

    /// Columns of the timeline: start, end, track, layer, instruction, steps, busy, waited.
    #[expect(clippy::type_complexity, reason = "columns of a table")]
    fn timeline(
        &self,
        py: Python<'_>,
        cold: bool,
    ) -> PyResult<Vec<(u64, u64, &'static str, Option<String>, String, u64, u64, Vec<(String, u64)>)>>
    {
        let (session, start) = (self.session.clone(), start(cold));
        let lines = work::run(py, None, move |_| Ok(session.timeline(start)))?;
        Ok(lines
            .into_iter()
            .map(|l| (l.start, l.end, l.track, l.layer, l.text, l.steps, l.busy, l.waited))
            .collect())
    }
}

fn start(cold: bool) -> Start {
    if cold { Start::Cold } else { Start::Warm }
}

/// Values of an output.
enum Values {
    Real(Vec<f64>),
    /// Class numbers, or accumulators.
    Whole(Vec<i64>),
}

/// Images from an array of uint8, float32 or float64.
fn inputs(x: &Bound<'_, PyAny>, session: &qnnsim_api::Session) -> PyResult<Inputs> {
    let of = |result: Result<Inputs, Error>| result.map_err(exception);
    if let Ok(pixels) = x.extract::<PyReadonlyArrayDyn<'_, u8>>() {
        return of(Inputs::pixels(session, pixels.shape(), values_of(&pixels)));
    }
    if let Ok(reals) = x.extract::<PyReadonlyArrayDyn<'_, f32>>() {
        let values = values_of(&reals).into_iter().map(f64::from).collect();
        return of(Inputs::real(session, reals.shape(), values));
    }
    if let Ok(reals) = x.extract::<PyReadonlyArrayDyn<'_, f64>>() {
        return of(Inputs::real(session, reals.shape(), values_of(&reals)));
    }
    let dtype = x.getattr("dtype").map_or_else(|_| x.get_type().to_string(), |d| d.to_string());
    let dims: Vec<usize> = x.getattr("shape").and_then(|dims| dims.extract()).unwrap_or_default();
    Err(invalid_input(format!(
        "the array holds {dtype} {dims:?}, which are no images\n  help: give uint8 pixels, or float32 or \
         float64 real inputs"
    )))
}

/// The values of an array in row-major order.
fn values_of<T: numpy::Element + Copy>(array: &PyReadonlyArrayDyn<'_, T>) -> Vec<T> {
    let array = array.as_array();
    match array.as_slice() {
        Some(values) => values.to_vec(),
        None => array.iter().copied().collect(),
    }
}

/// Compares simulator, reference and graph, as a dictionary by map.
#[pyfunction]
pub fn verify<'py>(
    py: Python<'py>,
    model: &Model,
    session: &Session,
    x: &Bound<'py, PyAny>,
    float32: bool,
    watch: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (model, session) = (model.model.clone(), session.session.clone());
    let inputs = inputs(x, &session)?;
    let precision = if float32 { Precision::Single } else { Precision::Double };
    let report = work::run(py, watch, move |progress| {
        qnnsim_api::verify::verify(&model, &session, &inputs, precision, progress)
    })?;
    Ok(pythonize(py, &report)?)
}
