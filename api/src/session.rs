//! Models, and programs that are ready to run.

use std::sync::{Arc, Mutex};

use qnnsim_compiler::diagnostic::Diagnostic;
use qnnsim_compiler::import::{Import, ImportOptions, import};
use qnnsim_compiler::lower_to;
use qnnsim_explore::explain::{Explanation, explain};
use qnnsim_explore::subject::{Refusal, Subject, simulate};
use qnnsim_isa::Program;
use qnnsim_isa::descriptor::{InputDescriptor, OutputDescriptor};
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::report::Report;
use qnnsim_simulator::trace::TraceLine;
use qnnsim_simulator::values::{Executor, LayerMap};
use qnnsim_simulator::{Simulation, Start, Technology};
use rayon::prelude::*;

use crate::inputs::Encoder;
use crate::progress::Stopped;
use crate::{Error, Inputs, Progress};

/// Images that a thread takes at once.
const CHUNK_IMAGES_MAX: usize = 16;

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
#[derive(Debug, Clone)]
pub struct Session {
    simulation: Arc<Simulation>,
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
        let point = hw.resolve();
        point.validate()?;
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
        Ok(Session { simulation: Arc::new(simulation), model, hw })
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

    /// What an image is made for.
    pub fn input(&self) -> &InputDescriptor {
        &self.program().input
    }

    /// What the last accumulators mean.
    pub fn output(&self) -> &OutputDescriptor {
        &self.program().output
    }

    /// Computes images on all threads of rayon's pool; a step of `progress` is an image.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn predict(&self, inputs: &Inputs, progress: &Progress) -> Result<Outputs, Error> {
        let values = self.output().shape.values();
        let encoder = Encoder::new(self.input(), inputs);
        let threads = rayon::current_num_threads().min(inputs.count());
        let mut accumulators = vec![0; inputs.count() * values];
        progress.expect(inputs.count() as u64);
        let chunk_images = (inputs.count() / (4 * threads)).clamp(1, CHUNK_IMAGES_MAX);
        let chunks = accumulators.chunks_mut(chunk_images * values);
        let chunks = Mutex::new(chunks.zip((0..).step_by(chunk_images)));
        let worker = |_| -> Result<u64, Stopped> {
            let mut executor = self.simulation.executor();
            let (mut bytes, mut output) =
                (vec![0; self.input().shape.values()], Vec::with_capacity(values));
            let mut clipped = 0;
            let next = || chunks.lock().expect("no thread panics while it holds this").next();
            while let Some((chunk, first)) = next() {
                for (target, index) in chunk.chunks_exact_mut(values).zip(first..) {
                    progress.check()?;
                    clipped += encoder.encode(index, &mut bytes);
                    executor.run(&bytes, &mut output);
                    target.copy_from_slice(&output);
                    progress.advance(1);
                }
            }
            Ok(clipped)
        };
        let clipped = (0..threads).into_par_iter().map(worker).sum::<Result<u64, Stopped>>()?;
        Ok(Outputs { descriptor: self.output().clone(), accumulators, clipped })
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
        explain(&subject, &technology, hw.clock_mhz)
            .map_err(|refusal| Error::of_refusal(&program.name, &refusal))
    }

    /// The map of every layer for each image, in the order of the layers. A step of `progress` is
    /// an image.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn trace(&self, inputs: &Inputs, progress: &Progress) -> Result<Vec<TracedMap>, Error> {
        let program = self.program();
        let encoder = Encoder::new(self.input(), inputs);
        progress.expect(inputs.count() as u64);
        let one = |executor: &mut Executor, index: usize| -> Result<Vec<LayerMap>, Stopped> {
            progress.check()?;
            let mut bytes = vec![0; self.input().shape.values()];
            encoder.encode(index, &mut bytes);
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
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    descriptor: OutputDescriptor,
    /// In the order image, row, column, channel.
    accumulators: Vec<i64>,
    /// Input values that the input quantizer clipped, in all images.
    pub clipped: u64,
}

impl Outputs {
    /// Sizes for one image: channels, height, width; a vector has its channels alone.
    pub fn dims(&self) -> Vec<usize> {
        let shape = self.descriptor.result_shape();
        let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        if self.descriptor.is_vector() { vec![sizes[0]] } else { sizes.to_vec() }
    }

    /// The real outputs of the model, exact but for the last operators in double precision, in the
    /// order image, channel, row, column.
    pub fn real(&self) -> Vec<f64> {
        self.channels_first(&self.descriptor.real(&self.accumulators))
    }

    /// The last accumulators in the same order.
    pub fn accumulators(&self) -> Vec<i64> {
        self.channels_first(&self.descriptor.arranged(&self.accumulators))
    }

    /// The index of the largest output of an image, the lowest of equal ones; none where the
    /// output is not one vector.
    pub fn class(&self, image: usize) -> Option<usize> {
        let values = self.descriptor.shape.values();
        let accumulators = &self.accumulators[image * values..][..values];
        let outputs = self.descriptor.real(accumulators);
        let first =
            (0..outputs.len()).reduce(|best, i| if outputs[i] > outputs[best] { i } else { best });
        first.filter(|_| self.descriptor.is_vector())
    }

    fn channels_first<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let shape = self.descriptor.result_shape();
        let (channels, size) = (shape.channels as usize, shape.values());
        let image = |values: &[T]| -> Vec<T> {
            (0..channels).flat_map(|c| values.iter().skip(c).step_by(channels).copied()).collect()
        };
        values.chunks_exact(size).flat_map(image).collect()
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
