//! Many images at once through one compiled plan.

use qnnsim_isa::Program;

use super::byte_batch::ByteMemory;
use super::compiled::{Byte, Compiled, Form, ROW_SUM_SLICES, Step, lanes_of_words};
use super::{OutputBits, extend, lane_words};
use crate::kernels::bytes::IMAGES;
use crate::kernels::isa;
use crate::kernels::sliced::{self, Scratch, Slice, Tile};

/// Bytes of a memory beyond which fewer images are computed at once.
const MEMORY_BYTES_MAX: usize = 1 << 28;

/// Computes many warm images at a time, to the outputs that [`Executor`](super::Executor) computes
/// one by one. Each thread has its own.
#[derive(Debug)]
pub struct Batch<'a> {
    program: &'a Program,
    compiled: &'a Compiled,
    slices: Slices,
}

/// The memories of as many images as a vector has lanes.
#[derive(Debug)]
enum Slices {
    Eight(Memory<8>),
    Four(Memory<4>),
    One(Memory<1>),
    Bytes(ByteMemory),
}

/// The kernel of a width.
type Kernel<const N: usize> = fn(&Tile, &mut [Slice<N>], &mut Scratch<N>);

/// All bits of `64 * N` images.
#[derive(Debug)]
struct Memory<const N: usize> {
    /// A row's sum of activations, then words by slot, then lane.
    slices: Vec<Slice<N>>,
    /// Bit `i` of input byte `b` at `8 * b + i`.
    input: Vec<Slice<N>>,
    scratch: Scratch<N>,
    kernel: Kernel<N>,
    /// Lanes of each lane word that a tile fills.
    lanes: Vec<usize>,
}

/// The same for whatever memory there is.
macro_rules! each {
    ($slices:expr, $memory:ident => $result:expr) => {
        match $slices {
            Slices::Eight($memory) => $result,
            Slices::Four($memory) => $result,
            Slices::One($memory) => $result,
            Slices::Bytes($memory) => $result,
        }
    };
}

impl<'a> Batch<'a> {
    /// Memories for as many images as pay off together; none if even the fewest take too much.
    pub fn new(program: &'a Program, compiled: &'a Compiled) -> Option<Self> {
        if compiled.form == Form::Bytes {
            let words = compiled.slots + 4 * compiled.wide;
            let bytes = words * lanes_of_words(&program.hardware) * IMAGES;
            let memory = || Slices::Bytes(ByteMemory::new(program, compiled));
            let slices = (bytes <= MEMORY_BYTES_MAX).then(memory)?;
            return Some(Batch { program, compiled, slices });
        }
        let slices = compiled.slots * lanes_of_words(&program.hardware) + ROW_SUM_SLICES;
        let slices = slices + 8 * program.input.shape.values();
        let fits = |words: usize| slices * 8 * words <= MEMORY_BYTES_MAX;
        let slices = match () {
            () if isa::vector_words() == 8 && fits(8) => {
                Slices::Eight(Memory::new(program, compiled, sliced::compute_512))
            }
            () if fits(4) => Slices::Four(Memory::new(program, compiled, sliced::compute_256)),
            () if fits(1) => Slices::One(Memory::new(program, compiled, sliced::compute_64)),
            () => return None,
        };
        Some(Batch { program, compiled, slices })
    }

    /// Images that are computed at once; fewer take as long.
    pub fn images(&self) -> usize {
        each!(&self.slices, memory => memory.images())
    }

    /// Computes images. `inputs` are their bytes in DRAM, one image after the other, at most
    /// [`Batch::images`] of them; `outputs` receives the output integers of one after the other, in
    /// the order of [`Executor::run`](super::Executor::run).
    ///
    /// # Panics
    /// If there are more images, or not whole ones.
    pub fn run(&mut self, inputs: &[u8], outputs: &mut Vec<i64>) {
        let values = self.program.input.shape.values();
        assert!(inputs.len().is_multiple_of(values), "whole images");
        assert!(inputs.len() / values <= self.images(), "as many images as fit");
        let (program, compiled) = (self.program, self.compiled);
        each!(&mut self.slices, memory => {
            memory.compute(program, compiled, inputs);
            memory.output(program, compiled, inputs.len() / values, outputs);
        });
    }

    /// The words of the activation memory that an image of the last run has left, in the order of
    /// [`Memories`](super::Memories). Only of a plan that was compiled to keep them.
    pub fn activations(&self, image: usize) -> Vec<u8> {
        let hw = &self.program.hardware;
        let (wl, rows) = (lane_words(hw), hw.mac_rows as usize);
        let bytes = hw.mac_lanes as usize / 8;
        let places = &self.compiled.places.activations;
        let mut out = Vec::new();
        for bank in 0..rows {
            for address in 0..hw.act_words as usize {
                for byte in 0..bytes {
                    let slot = places[(address * wl + byte / 8) * rows + bank];
                    let bit = |bit: usize| {
                        each!(&self.slices, memory => {
                            memory.bit(self.program, self.compiled, slot, byte % 8 * 8 + bit, image)
                        })
                    };
                    out.push((0..8).fold(0, |byte, i| byte | bit(i) << i));
                }
            }
        }
        out
    }
}

impl<const N: usize> Memory<N> {
    fn new(program: &Program, compiled: &Compiled, kernel: Kernel<N>) -> Self {
        let hw = &program.hardware;
        let lanes = lanes_of_words(hw);
        let mut slices = vec![[0; N]; ROW_SUM_SLICES + compiled.slots * lanes];
        for (word, pattern) in compiled.constants.iter().enumerate() {
            for lane in 0..lanes {
                let bit = if pattern >> lane & 1 == 1 { u64::MAX } else { 0 };
                slices[ROW_SUM_SLICES + word * lanes + lane] = [bit; N];
            }
        }
        let of_word = (0..lane_words(hw)).map(|i| (hw.mac_lanes as usize - 64 * i).min(64));
        let of_word: Vec<usize> = of_word.collect();
        Memory {
            slices,
            input: vec![[0; N]; program.input.shape.values() * 8],
            scratch: Scratch::default(),
            kernel,
            lanes: of_word.repeat(hw.words_per_tile() as usize),
        }
    }

    fn images(&self) -> usize {
        64 * N
    }

    /// Takes the bits of images apart.
    fn read(&mut self, inputs: &[u8], values: usize) {
        for part in 0..N {
            let images = inputs.chunks_exact(values).skip(part * 64).take(64);
            for first in (0..values).step_by(8) {
                let mut rows = [0; 64];
                for (row, image) in rows.iter_mut().zip(images.clone()) {
                    let mut bytes = [0; 8];
                    let count = (values - first).min(8);
                    bytes[..count].copy_from_slice(&image[first..first + count]);
                    *row = u64::from_le_bytes(bytes);
                }
                sliced::transpose(&mut rows);
                for (slice, row) in self.input[8 * first..].iter_mut().zip(rows) {
                    slice[part] = row;
                }
            }
        }
    }

    fn compute(&mut self, program: &Program, compiled: &Compiled, inputs: &[u8]) {
        self.read(inputs, program.input.shape.values());
        let lanes = lanes_of_words(&program.hardware);
        for step in &compiled.steps {
            match step {
                Step::Pack { word, bytes } => {
                    let first = ROW_SUM_SLICES + *word as usize * lanes;
                    for (slices, byte) in
                        self.slices[first..][..lanes].chunks_exact_mut(8).zip(bytes)
                    {
                        for (bit, slice) in slices.iter_mut().enumerate() {
                            match *byte {
                                Byte::Constant(byte) => *slice = [bit_mask(byte, bit); N],
                                Byte::Input(at, xor) => {
                                    let flip = bit_mask(xor, bit);
                                    let input = &self.input[at as usize * 8 + bit];
                                    for word in 0..N {
                                        slice[word] = input[word] ^ flip;
                                    }
                                }
                            }
                        }
                    }
                }
                Step::Clear { word, lane, .. } => {
                    let first = ROW_SUM_SLICES + *word as usize * lanes;
                    self.slices[first + *lane as usize..first + lanes].fill([0; N]);
                }
                Step::Tile(tile) => {
                    let columns = &compiled.columns[tile.columns as usize];
                    let (rows, groups) = (tile.rows as usize, tile.groups as usize);
                    let first = tile.first_lane as usize;
                    let run = Tile {
                        levels: &compiled.levels,
                        terms: &compiled.terms,
                        row_sum: columns.row_sum.as_ref(),
                        numbers: &columns.numbers,
                        added: &columns.added,
                        columns: &columns.columns,
                        sources: &compiled.sources[tile.sources as usize..][..rows * groups],
                        groups,
                        reads: &columns.reads,
                        targets: &compiled.targets[tile.targets as usize..]
                            [..tile.targets_len as usize],
                        first: [first / 64, first % 64],
                        lanes: &self.lanes,
                        bits: tile.bits as usize,
                        signed: tile.signed,
                        merges: tile.merges,
                        compares_signed: tile.compares_signed,
                    };
                    (self.kernel)(&run, &mut self.slices, &mut self.scratch);
                }
            }
        }
    }

    /// A bit of a word for one image.
    fn bit(&self, program: &Program, _: &Compiled, slot: u32, lane: usize, image: usize) -> u8 {
        let lanes = lanes_of_words(&program.hardware);
        let slice = &self.slices[ROW_SUM_SLICES + slot as usize * lanes + lane];
        (slice[image / 64] >> (image % 64) & 1) as u8
    }

    /// Puts the output integers of images together.
    fn output(
        &self,
        program: &Program,
        compiled: &Compiled,
        images: usize,
        outputs: &mut Vec<i64>,
    ) {
        let descriptor = &program.output;
        let (lanes, places) = (lanes_of_words(&program.hardware), OutputBits::of(program));
        let (bits, values) = (places.bits, descriptor.shape.values());
        outputs.clear();
        outputs.resize(images * values, 0);
        for value in 0..values {
            // A row is a plane, the most significant first; its bits are images.
            for part in 0..images.div_ceil(64) {
                let mut rows = [0; 64];
                for plane in 0..bits {
                    let (place, lane) = places.place(value, plane);
                    if let Some(&slot) = compiled.places.output.get(&place) {
                        let first = ROW_SUM_SLICES + slot as usize * lanes;
                        rows[bits - 1 - plane] = self.slices[first + lane][part];
                    }
                }
                sliced::transpose(&mut rows);
                let images = (images - 64 * part).min(64);
                for (image, &row) in rows[..images].iter().enumerate() {
                    outputs[(64 * part + image) * values + value] =
                        extend(row as i64, bits, descriptor.code.signed);
                }
            }
        }
    }
}

/// All bits that one of a byte's is.
fn bit_mask(byte: u8, bit: usize) -> u64 {
    if byte >> bit & 1 == 1 { u64::MAX } else { 0 }
}
