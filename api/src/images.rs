//! Many images on all threads.

use std::sync::Mutex;

use qnnsim_host::Codes;
use qnnsim_simulator::Simulation;
use qnnsim_simulator::values::{Batch, Compiled, Executor};
use rayon::prelude::*;

use crate::Progress;
use crate::progress::Stopped;

/// Images that a thread takes at a time and computes one by one.
const CHUNK_IMAGES_MAX: usize = 32;
/// Images from which on computing many at once pays off: they take as long as a full vector.
const BATCH_IMAGES_MIN: usize = 16;

/// Whether so many images are worth a plan that is compiled for many at once.
pub fn are_many(count: usize) -> bool {
    count >= BATCH_IMAGES_MIN
}

/// What all threads need to compute warm images, made once.
#[derive(Debug)]
pub struct Workers<'a> {
    workers: Vec<Worker<'a>>,
    /// Bytes of an image in DRAM.
    values: usize,
    /// Accumulators of an image.
    outputs: usize,
}

/// What one thread needs.
#[derive(Debug)]
struct Worker<'a> {
    executor: Executor<'a>,
    batch: Option<Batch<'a>>,
    /// The bytes of all images that are computed at once.
    inputs: Vec<u8>,
    output: Vec<i64>,
}

impl<'a> Workers<'a> {
    /// Prepares as many threads as `count` images keep busy. `compiled` is the
    /// plan for many at once; without it they are computed one by one.
    pub fn new(simulation: &'a Simulation, compiled: Option<&'a Compiled>, count: usize) -> Self {
        let worker = |_| Worker {
            executor: simulation.executor(),
            batch: compiled.and_then(|compiled| simulation.batch(compiled)),
            inputs: Vec::new(),
            output: Vec::new(),
        };
        let threads = rayon::current_num_threads().min(count);
        let program = simulation.program();
        Workers {
            workers: (0..threads).map(worker).collect(),
            values: program.input.shape.values(),
            outputs: program.output.shape.values(),
        }
    }

    /// Computes as many images as `accumulators` has room for, on all threads: each takes the next
    /// few images as soon as it is done with its last. `encode` writes the bytes in DRAM of an
    /// image, counted from 0. A step of `progress` is an image.
    ///
    /// # Errors
    /// The caller stopped it.
    pub fn run(
        &mut self,
        accumulators: &mut [i64],
        encode: impl Fn(usize, &mut [u8]) -> Codes + Sync,
        progress: &Progress,
    ) -> Result<Codes, Stopped> {
        let images = accumulators.len() / self.outputs;
        // Full vectors, or enough chunks for all threads.
        let (chunk_images, chunk_images_max) = match &self.workers[0].batch {
            Some(batch) => (images.div_ceil(self.workers.len()), batch.images()),
            None => (images / (4 * self.workers.len()), CHUNK_IMAGES_MAX),
        };
        let chunk_images = chunk_images.clamp(1, chunk_images_max);
        let chunks = accumulators.chunks_mut(chunk_images * self.outputs);
        let chunks = Mutex::new(chunks.zip((0..).step_by(chunk_images)));
        let (values, outputs) = (self.values, self.outputs);
        let work = |worker: &mut Worker| -> Result<Codes, Stopped> {
            let mut codes = Codes::default();
            let next = || chunks.lock().expect("no thread panics while it holds this").next();
            while let Some((chunk, first)) = next() {
                progress.check()?;
                worker.inputs.resize(chunk.len() / outputs * values, 0);
                for (input, index) in worker.inputs.chunks_exact_mut(values).zip(first..) {
                    codes = codes.merge(encode(index, input));
                }
                worker.compute(values, chunk, outputs, progress)?;
            }
            Ok(codes)
        };
        self.workers.par_iter_mut().map(work).try_reduce(Codes::default, |a, b| Ok(a.merge(b)))
    }
}

impl Worker<'_> {
    /// Computes the images whose bytes are in `inputs`.
    fn compute(
        &mut self,
        values: usize,
        chunk: &mut [i64],
        outputs: usize,
        progress: &Progress,
    ) -> Result<(), Stopped> {
        let images = chunk.len() / outputs;
        match &mut self.batch {
            Some(batch) if images >= BATCH_IMAGES_MIN => {
                batch.run(&self.inputs, &mut self.output);
                chunk.copy_from_slice(&self.output);
                progress.advance(images as u64);
            }
            _ => {
                let inputs = self.inputs.chunks_exact(values);
                for (accumulators, input) in chunk.chunks_exact_mut(outputs).zip(inputs) {
                    progress.check()?;
                    self.executor.run(input, &mut self.output);
                    accumulators.copy_from_slice(&self.output);
                    progress.advance(1);
                }
            }
        }
        Ok(())
    }
}
