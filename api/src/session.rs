//! Models, and programs that are ready to run.

use std::sync::{Arc, OnceLock};

use qnnsim_compiler::diagnostic::Diagnostic;
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::lower_to;
use qnnsim_explore::explain::{Explanation, explain};
use qnnsim_explore::subject::{Refusal, Subject, simulate};
use qnnsim_host::{Codes, Decoder, Encoder};
use qnnsim_isa::Program;
use qnnsim_isa::descriptor::OutputTensor;
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::report::Report;
use qnnsim_simulator::trace::TraceLine;
use qnnsim_simulator::values::{Compiled, Executor, LayerMap};
use qnnsim_simulator::{Simulation, Start, Technology};
use rayon::prelude::*;

use crate::images::{self, Workers};
use crate::progress::Stopped;
use crate::{Error, Inputs, Progress};

/// A trained network, imported: integers only, for any hardware point.
#[derive(Debug, Clone)]
pub struct Model {
    import: Arc<Import>,
}

impl Model {
    /// Imports an ONNX file.
    ///
    /// # Errors
    /// [`Error::UnsupportedModel`] with everything that stands against it.
    pub fn from_onnx(name: &str, file: &[u8], options: &ImportOptions) -> Result<Self, Error> {
        let mut import = import(file, options).map_err(|diagnostics| Error::UnsupportedModel {
            name: name.to_owned(),
            diagnostics,
        })?;
        import.network.name = name.to_owned();
        Ok(Model { import: Arc::new(import) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.import.network.name
    }

    /// The graph, the integer network, and how their maps belong together.
    pub fn import(&self) -> &Import {
        &self.import
    }

    /// What may not be meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.import.warnings
    }
}

/// A program that is proven legal, timed and ready to compute.
#[derive(Debug)]
pub struct Session {
    simulation: Simulation,
    /// The plan for many images at once, from the first time on that there were many; none if it
    /// is not one that is compiled.
    compiled: OnceLock<Option<Compiled>>,
    encoder: Encoder,
    decoder: Arc<Decoder>,
    model: Option<Model>,
    /// What was said of the hardware point; what was not follows from it.
    hw: Overrides,
}

impl Session {
    /// Compiles a model for a hardware point; parameters that `hw` leaves out have their defaults.
    ///
    /// # Errors
    /// [`Error::InvalidPoint`], [`Error::DoesNotFit`] or [`Error::Trap`].
    pub fn compile(model: &Model, hw: &Overrides) -> Result<Self, Error> {
        let network = &model.import.network;
        let point = hw.resolve()?;
        let (_, program) = lower_to(network, &point)
            .map_err(|reasons| Error::of_refusal(&network.name, &Refusal::from(reasons)))?;
        Session::new(&program, Some(model.clone()), hw.clone())
    }

    /// Loads a program file.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Trap`].
    pub fn from_program_file(file: &[u8]) -> Result<Self, Error> {
        let program = Program::from_bytes(file)?;
        let hw = program.hardware.to_overrides();
        Session::new(&program, None, hw)
    }

    fn new(program: &Program, model: Option<Model>, hw: Overrides) -> Result<Self, Error> {
        let simulation =
            simulate(program).map_err(|refusal| Error::of_refusal(&program.name, &refusal))?;
        let for_host = |error| Error::ForHost { name: program.name.clone(), reason: error };
        let encoder = Encoder::new(&program.input).map_err(for_host)?;
        let decoder = Arc::new(Decoder::new(&program.output).map_err(for_host)?);
        Ok(Session { simulation, compiled: OnceLock::new(), encoder, decoder, model, hw })
    }

    /// The program; [`Program::to_bytes`] gives its file.
    pub fn program(&self) -> &Program {
        self.simulation.program()
    }

    /// What was said of its hardware point.
    pub fn hw(&self) -> &Overrides {
        &self.hw
    }

    /// The model that it was compiled from, if it was compiled here.
    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// The program with its timing and proofs.
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// From images to what the machine reads: shape of the input, and its quantizer.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// From last accumulators to the model's outputs: their names and shapes.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Computes images on all threads of rayon's pool; a step of `progress` is an image.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn predict(&self, inputs: &Inputs, progress: &Progress) -> Result<Outputs, Error> {
        let count = inputs.count();
        let mut accumulators = vec![0; count * self.decoder.accumulators()];
        progress.expect(count as u64);
        let compiled = match images::are_many(count) {
            true => self.compiled.get_or_init(|| self.simulation.compile(false).ok()).as_ref(),
            false => None,
        };
        let codes = Workers::new(&self.simulation, compiled, count).run(
            &mut accumulators,
            |index, bytes| inputs.encode(index, &self.encoder, bytes),
            progress,
        )?;
        Ok(Outputs { decoder: self.decoder.clone(), accumulators, codes })
    }

    /// Cycles, energy and area, by layer, unit and memory. Technology and clock are the hardware
    /// point's own if they are not given.
    ///
    /// # Errors
    /// [`Error::InvalidPoint`] if the hardware point names a technology that is none of ours.
    pub fn report(
        &self,
        technology: Option<&Technology>,
        clock_mhz: Option<u32>,
    ) -> Result<Report, Error> {
        let hw = &self.program().hardware;
        let own;
        let technology = match technology {
            Some(technology) => technology,
            None => {
                own = builtin_technology(&hw.technology)?;
                &own
            }
        };
        Ok(self.simulation.report(technology, clock_mhz.unwrap_or(hw.clock_mhz)))
    }

    /// Every instruction and stage of an image, by cycle.
    pub fn timeline(&self, start: Start) -> Vec<TraceLine> {
        self.simulation.trace(start)
    }

    /// What bounds each layer, and which hardware parameter would help. A program without its
    /// model cannot be tried with parameters that its code is made for; they say so.
    ///
    /// # Errors
    /// [`Error::InvalidPoint`] if the hardware point names a technology that is none of ours.
    pub fn explain(&self) -> Result<Explanation, Error> {
        let program = self.program();
        let hw = &program.hardware;
        let subject = match &self.model {
            Some(model) => {
                Subject::Network(Box::new(model.import.network.clone()), self.hw.clone())
            }
            None => Subject::of_program(program.clone(), &Overrides::default()),
        };
        let technology = builtin_technology(&hw.technology)?;
        explain(&subject, &technology, hw.clock_mhz, &|| ())
            .map_err(|refusal| Error::of_refusal(&program.name, &refusal))
    }

    /// The map of every layer for each image, in the order of the layers. A step of `progress` is
    /// an image.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn trace(&self, inputs: &Inputs, progress: &Progress) -> Result<Vec<TracedMap>, Error> {
        let program = self.program();
        progress.expect(inputs.count() as u64);
        let one = |executor: &mut Executor, index: usize| -> Result<Vec<LayerMap>, Stopped> {
            progress.check()?;
            let mut bytes = vec![0; self.encoder.values()];
            inputs.encode(index, &self.encoder, &mut bytes);
            let mut maps = executor.run_with_maps(&bytes, &mut Vec::new());
            maps.sort_by_key(|map| map.layer);
            progress.advance(1);
            Ok(maps)
        };
        let images: Vec<Vec<LayerMap>> = (0..inputs.count())
            .into_par_iter()
            .map_init(|| self.simulation.executor(), one)
            .collect::<Result<_, _>>()?;
        // Which layers write a map does not depend on values.
        let layers: Vec<usize> = images[0].iter().map(|map| map.layer as usize).collect();
        let mut traced: Vec<TracedMap> =
            layers.iter().map(|&layer| self.traced(&program.layers[layer], layer)).collect();
        for image in images {
            for (traced, map) in traced.iter_mut().zip(image) {
                traced.values.extend(map.values);
            }
        }
        Ok(traced)
    }

    fn traced(&self, layer: &qnnsim_isa::program::LayerInfo, index: usize) -> TracedMap {
        let place = layer.map.expect("a layer that wrote a map has a place for it");
        let of_model = self.model.as_ref().map(|model| &model.import.maps[index + 1]);
        // Sums on the way and parts of integers are no values of the graph.
        let of_graph = of_model.filter(|map| map.value.is_some());
        let shape = place.shape;
        TracedMap {
            name: layer.name.clone(),
            dims: [shape.channels, shape.height, shape.width].map(|size| size as usize),
            bits: place.code.bits,
            signed: place.code.signed,
            scale: of_graph.map(|map| map.scale.clone()),
            zero_point: of_graph.map(|map| map.zero_point),
            values: Vec::new(),
        }
    }
}

/// The integers of a layer's map for some images, with what they stand for.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedMap {
    /// Name of the layer.
    pub name: String,
    /// Channels, height, width.
    pub dims: [usize; 3],
    /// Width of an integer.
    pub bits: u32,
    /// Whether integers are two's complement.
    pub signed: bool,
    /// Real size of one step, for all channels or for each: `real = (integer - zero_point) x
    /// scale`. None where the program was loaded without its model, or the map is no tensor of the
    /// model's graph.
    pub scale: Option<Vec<f64>>,
    /// The integer that stands for 0; none where the scale is none.
    pub zero_point: Option<i64>,
    /// In the order image, channel, row, column.
    pub values: Vec<i64>,
}

/// What images came to.
#[derive(Debug)]
pub struct Outputs {
    decoder: Arc<Decoder>,
    /// Of one image after the other.
    accumulators: Vec<i64>,
    /// Which codes the inputs became, and how many of their values the quantizer clipped.
    pub codes: Codes,
}

impl Outputs {
    /// Names and shapes of the model's outputs, for one image.
    pub fn tensors(&self) -> &[OutputTensor] {
        self.decoder.outputs()
    }

    /// The values of each of the model's outputs, image after image: exact but for the last
    /// operators, which are in double precision.
    pub fn real(&self) -> Vec<Vec<f64>> {
        self.by_tensor(self.tensors().len(), |accumulators| self.decoder.decode(accumulators))
    }

    /// Name, sizes for one image, and integers of each tensor of last accumulators, image after
    /// image.
    pub fn integers(&self) -> Vec<(String, Vec<usize>, Vec<i64>)> {
        let tensors: Vec<_> = self.decoder.integer_tensors().collect();
        let values = self.by_tensor(tensors.len(), |image| self.decoder.integers(image));
        let tensors = tensors.into_iter().zip(values);
        tensors.map(|((name, dims), values)| (name.to_owned(), dims, values)).collect()
    }

    /// The class of an image: the lowest index of the maximum of the one output vector, or the
    /// class number that is the one output. None where there are several outputs or a map.
    pub fn class(&self, image: usize) -> Option<usize> {
        let accumulators =
            self.accumulators.chunks_exact(self.decoder.accumulators()).nth(image)?;
        self.decoder.class(&self.decoder.decode(accumulators))
    }

    fn by_tensor<T: Send>(
        &self,
        tensors: usize,
        of_image: impl Fn(&[i64]) -> Vec<Vec<T>> + Send + Sync,
    ) -> Vec<Vec<T>> {
        let images: Vec<Vec<Vec<T>>> =
            self.accumulators.par_chunks_exact(self.decoder.accumulators()).map(of_image).collect();
        let mut all: Vec<Vec<T>> = (0..tensors).map(|_| Vec::new()).collect();
        for image in images {
            all.iter_mut().zip(image).for_each(|(all, values)| all.extend(values));
        }
        all
    }
}

/// A technology that comes with the simulator.
///
/// # Errors
/// [`Error::InvalidPoint`] with the names that there are.
pub(crate) fn builtin_technology(name: &str) -> Result<Technology, Error> {
    Technology::builtin(name).ok_or_else(|| {
        let choices = Technology::BUILTIN.join(" and ");
        Error::InvalidPoint(format!("there is no technology `{name}`\n  help: there are {choices}"))
    })
}
