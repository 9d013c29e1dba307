//! The machine, the integer reference and the model's graph, compared map by map.

use qnnsim_compiler::import::Import;
use qnnsim_compiler::ir::MapId;
pub use qnnsim_compiler::tensor::Precision;
use qnnsim_host::HostError;
use qnnsim_isa::Program;
use qnnsim_isa::descriptor::{Code, InputDescriptor, MapShape};
use qnnsim_reference::Map;
use qnnsim_reference::verify::Verifier;
pub use qnnsim_reference::verify::{Difference, Differences, MapReport, Report};
use qnnsim_simulator::values::LayerMap;
use qnnsim_simulator::{Simulation, Start};
use rayon::prelude::*;

use crate::progress::Stopped;
use crate::{Error, Inputs, Model, Progress, Session};

/// Why a program cannot be compared with a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Incomparable {
    /// The program was made from another model.
    #[error("{what} of the program is {of_program}, and of the model {of_model}")]
    OtherModel {
        /// What differs.
        what: String,
        /// That of the program.
        of_program: String,
        /// That of the model.
        of_model: String,
    },
    /// A layer writes no map that could be compared.
    #[error("the {} image does not write every layer's map", .0.name())]
    MissingMap(Start),
    /// The host cannot compute what is around the program.
    #[error(transparent)]
    ForHost(#[from] HostError),
}

/// Compares the images, on all threads; the first of them cold, the others warm. A step of
/// `progress` is an image.
///
/// # Errors
/// The program is not made from the model, or the caller stopped it.
pub fn verify(
    model: &Model,
    session: &Session,
    inputs: &Inputs,
    precision: Precision,
    progress: &Progress,
) -> Result<Report, Error> {
    let (program, name) = (&session.program().name, model.name());
    let refuse = |why: Incomparable| match why {
        Incomparable::OtherModel { .. } => Error::InvalidInput(format!(
            "`{program}` is not made from `{name}`: {why}\n  help: compile the model again"
        )),
        Incomparable::MissingMap(_) => Error::InvalidInput(format!(
            "`{program}`: {why}\n  help: give a program that was compiled from the model"
        )),
        Incomparable::ForHost(reason) => Error::ForHost { name: name.to_owned(), reason },
    };
    match_model(model.import(), session.program()).map_err(refuse)?;
    let comparison =
        Comparison::new(model.import(), session.simulation(), precision).map_err(refuse)?;
    let encoder = session.encoder();
    let image = |index: usize, bytes: &mut [u8]| {
        inputs.encode(index, encoder, bytes);
        inputs.reals(index, encoder)
    };
    Ok(comparison.run(inputs.count(), image, progress)?)
}

/// A program beside the model that it was made from.
#[derive(Debug)]
pub struct Comparison<'a> {
    simulation: &'a Simulation,
    verifier: Verifier<'a>,
}

impl<'a> Comparison<'a> {
    /// Holds a program against a model from which it is made, as [`match_model`] finds out.
    ///
    /// # Errors
    /// A layer writes no map, or the host cannot compute what is around the program.
    pub fn new(
        import: &'a Import,
        simulation: &'a Simulation,
        precision: Precision,
    ) -> Result<Self, Incomparable> {
        for start in [Start::Cold, Start::Warm] {
            // Which maps an image writes does not depend on its values.
            let blank = vec![0; simulation.program().input.shape.values()];
            if machine(simulation, start, &blank).is_none() {
                return Err(Incomparable::MissingMap(start));
            }
        }
        Ok(Comparison { simulation, verifier: Verifier::new(import, precision)? })
    }

    /// Compares `count` images, on all threads; the first of them cold, the others warm. `image`
    /// writes the bytes of an image as they lie in DRAM, and returns its real values in the
    /// model's order. A step of `progress` is an image.
    ///
    /// # Errors
    /// The caller stopped it.
    pub fn run(
        &self,
        count: usize,
        image: impl Fn(usize, &mut [u8]) -> Vec<f64> + Sync,
        progress: &Progress,
    ) -> Result<Report, Stopped> {
        progress.expect(count as u64);
        let one = |mut report: Report, index: usize| -> Result<Report, Stopped> {
            progress.check()?;
            let mut bytes = vec![0; self.simulation.program().input.shape.values()];
            let reals = image(index, &mut bytes);
            let start = if index == 0 { Start::Cold } else { Start::Warm };
            let maps = machine(self.simulation, start, &bytes).expect("every map, as was checked");
            let maps: Vec<&[i64]> = maps.iter().map(Vec::as_slice).collect();
            self.verifier.image(index as u64, &reals, &maps, &mut report);
            progress.advance(1);
            Ok(report)
        };
        (0..count)
            .into_par_iter()
            .try_fold(|| self.verifier.report(), one)
            .try_reduce(|| self.verifier.report(), |a, b| Ok(a.merge(b)))
    }
}

/// All maps of an image, channels first: the input, those of the inner layers, and the last as it
/// arrives in DRAM; `None` if a layer writes none.
fn machine(simulation: &Simulation, start: Start, bytes: &[u8]) -> Option<Vec<Vec<i64>>> {
    let Program { input, output, layers, .. } = simulation.program();
    let mut executor = match start {
        Start::Cold => simulation.cold_executor(),
        Start::Warm => simulation.executor(),
    };
    let mut last = Vec::new();
    let mut written = executor.run_with_maps(bytes, &mut last);
    written.sort_by_key(|map| map.layer);
    let layer = |map: &LayerMap| map.layer as usize;
    if !written.iter().map(layer).eq(0..layers.len()) {
        return None;
    }
    written.pop();
    let codes: Vec<i64> = bytes.iter().map(|&byte| input.code_of_byte(byte)).collect();
    let inner = written.into_iter().map(|map| map.values);
    let [first, last] = [Map::of_pixels(input.shape, &codes), Map::of_pixels(output.shape, &last)];
    Some([first.values].into_iter().chain(inner).chain([last.values]).collect())
}

/// Finds out whether a program was made from a model, by all that its file says.
///
/// # Errors
/// The first difference.
pub fn match_model(import: &Import, program: &Program) -> Result<(), Incomparable> {
    let network = &import.network;
    let refuse = |what: &str, of_program: &str, of_model: &str| {
        let [of_program, of_model] = [of_program, of_model].map(shortened);
        Err(Incomparable::OtherModel { what: what.to_owned(), of_program, of_model })
    };
    let shape = |s: MapShape| format!("{} x {} x {}", s.channels, s.height, s.width);
    let (given, wanted) = (&program.input, &network.input);
    if given.shape != wanted.shape {
        return refuse("the input", &shape(given.shape), &shape(wanted.shape));
    }
    if given.code != wanted.code || given.quantizer != wanted.quantizer {
        let quantizer = |input: &InputDescriptor| {
            let q = &input.quantizer;
            format!("{} to {} times {}, {:?}", q.min, q.max, q.scale, q.rounding)
        };
        return refuse("the input quantizer", &quantizer(given), &quantizer(wanted));
    }
    let layers =
        |names: Vec<&str>| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let given = layers(program.layers.iter().map(|layer| layer.name.as_str()).collect());
    let wanted = layers(network.layers.iter().map(|layer| layer.name.as_str()).collect());
    if given != wanted {
        return refuse("the list of layers", &given, &wanted);
    }
    for (index, layer) in program.layers.iter().enumerate() {
        let (shape_wanted, code_wanted) = network.map(MapId(index + 1));
        let codes = |code: Code| {
            format!("{} {} bits", if code.signed { "signed" } else { "unsigned" }, code.bits)
        };
        let map = |map_shape, code| format!("{} of {}", shape(map_shape), codes(code));
        let given =
            layer.map.as_ref().map_or("nothing".to_owned(), |place| map(place.shape, place.code));
        let wanted = map(shape_wanted, code_wanted);
        if given != wanted {
            return refuse(&format!("the map of layer `{}`", layer.name), &given, &wanted);
        }
    }
    let (given, wanted) = (&program.output, &network.output);
    if given.shape != wanted.shape {
        return refuse("the output", &shape(given.shape), &shape(wanted.shape));
    }
    if (&given.values, &given.outputs) != (&wanted.values, &wanted.outputs) {
        let values = [given, wanted].map(|o| format!("{:?} {:?}", o.values, o.outputs));
        return refuse("what makes real outputs of accumulators", &values[0], &values[1]);
    }
    if given.model != wanted.model {
        return refuse("what the host computes behind the last layer", "another", "one");
    }
    Ok(())
}

/// A text cut where nobody would read on.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}
