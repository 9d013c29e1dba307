//! Random hardware points and random programs for them, legal and free of races by construction.
//!
//! A [`Case`] is a list of items with plain numbers in them: loads, packed rows, layers, stores.
//! They are made legal for the hardware point, and for what the memories hold, only when the case
//! is turned into a program. So every part of a case shrinks on its own: items disappear, numbers
//! get smaller, and what is left still runs.
//!
//! In three steps: `plan` makes jobs of items, with every address known; `emit` writes the jobs as
//! instructions, and the SYNCs that their order needs; `mutate` spoils a program, for those that
//! are to trap.

mod emit;
mod items;
mod mutate;
mod plan;
mod point;

use proptest::prelude::*;
use qnnsim_isa::descriptor::{
    Code, InputDescriptor, MapShape, OutputDescriptor, Quantizer, Rounding, TensorLayout,
};
use qnnsim_isa::program::{LayerInfo, Scratch, Stream};
use qnnsim_isa::table::Halt;
use qnnsim_isa::{HardwarePoint, Instruction, Program};

use items::Item;
use mutate::Mutation;
use plan::{Input, OUTPUT_WORDS, Planner};
pub use point::point;

/// What the warm stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Warm {
    /// The cold one.
    Same,
    /// Without loads of weights and thresholds.
    Resident,
}

/// A random program for a hardware point.
#[derive(Clone)]
pub struct Case {
    hardware: HardwarePoint,
    items: Vec<Item>,
    warm: Warm,
    /// Of all bytes.
    seed: u64,
    /// Semaphore numbers are moved by this.
    shift: u32,
    input: [u32; 3],
    /// The input's codes are two's complement.
    signed: bool,
    layout: Layout,
    mutations: Vec<Mutation>,
}

/// Where things lie in DRAM, and how the output is described.
#[derive(Debug, Clone)]
struct Layout {
    /// First byte in use.
    origin: u32,
    /// Bytes by which the streams and the input begin behind a multiple of a beat.
    offset: [u32; 3],
    /// Bits of the output's codes, words of a pixel, unused lanes of the last.
    output: [u32; 3],
}

impl std::fmt::Debug for Case {
    /// The hardware point and the assembler text: what a person needs to follow a failure by hand.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.program();
        writeln!(f, "{:?}", self.hardware)?;
        let (input, output) = (&program.input, &program.output);
        writeln!(
            f,
            "input {:?} at {}, output {:?} at {}",
            input.shape, input.dram, output.shape, output.dram
        )?;
        for segment in &program.data {
            writeln!(f, "{} at {}, {} bytes", segment.name, segment.dram, segment.bytes.len())?;
        }
        for (name, stream) in [("cold", &program.cold), ("warm", &program.warm)] {
            writeln!(f, "{name} at {}:", stream.dram)?;
            for (i, &word) in stream.words.iter().enumerate() {
                writeln!(f, "{i:5}  {}", qnnsim_simulator::trap::instruction_text(&program, word))?;
            }
        }
        if !self.mutations.is_empty() {
            writeln!(f, "{:?}", self.mutations)?;
        }
        Ok(())
    }
}

impl Case {
    /// The program.
    pub fn program(&self) -> Program {
        let hw = &self.hardware;
        let [height, width, channels] = self.input;
        let word = hw.word_bytes();
        let code = Code { bits: 8, signed: self.signed };
        let output = self.layout.origin.next_multiple_of(word.max(hw.dram_width));
        let input = (output + OUTPUT_WORDS * word).next_multiple_of(64) + self.layout.offset[2];
        let top = input + height * width * channels;
        let place = Input { dram: input, height, width, channels };
        let mut planner = Planner::new(hw, self.shift, self.warm, self.seed, place, output, top);
        for (number, item) in self.items.iter().enumerate() {
            planner.item(number as u32, item);
        }
        planner.finish();
        let Planner { mut cold, mut warm, data, top, stored, .. } = planner;
        for emitter in [&mut cold, &mut warm] {
            emitter.push(Halt::default());
        }
        let word = |i: &Instruction| i.encode().expect("operands in range by construction");
        let encode = |words: &[Instruction]| words.iter().map(word).collect::<Vec<u128>>();
        let cold_dram = top.next_multiple_of(64) + self.layout.offset[0];
        // Mutations may make it longer.
        let warm_dram = (cold_dram + 16 * (cold.words.len() as u32 + 16)).next_multiple_of(64)
            + self.layout.offset[1];
        let cold = Stream { dram: cold_dram, words: encode(&cold.words), layers: cold.layers };
        let warm = Stream { dram: warm_dram, words: encode(&warm.words), layers: warm.layers };
        let quantizer = Quantizer {
            scale: 1.0,
            zero_point: 0.0,
            min: code.min(),
            max: code.max(),
            rounding: Rounding::HalfEven,
        };
        let layer = |number: usize| LayerInfo {
            name: format!("item {number}"),
            summary: String::new(),
            macs: 0,
            precision: [1, 1],
            map: None,
        };
        let mut dice = Dice::new(self.seed ^ 1 << 60 | 1);
        let sample = (0..height * width * channels).map(|_| dice.next() as u8).collect();
        let mut program = Program {
            name: "random".into(),
            hardware: hw.clone(),
            cold,
            warm,
            data,
            input: InputDescriptor {
                name: "input".into(),
                shape: MapShape { channels, height, width },
                code,
                quantizer,
                layout: TensorLayout::channels_first(MapShape { channels, height, width }),
                model: None,
                pixel_scale: vec![1.0],
                pixel_offset: vec![0.0],
                xor: 0,
                dram: input,
            },
            output: self.output(output, stored),
            scratch: Scratch::default(),
            sample: Some(sample),
            layers: (0..self.items.len().max(1)).map(layer).collect(),
            semaphores: Vec::new(),
        };
        for mutation in &self.mutations {
            mutation.apply(&mut program);
        }
        program
    }

    /// The output of so many words.
    fn output(&self, dram: u32, words: u32) -> OutputDescriptor {
        let largest =
            |n: u32, most: u32| (1..=most).rev().find(|&d| n.is_multiple_of(d)).unwrap_or(1);
        let [bits, pixel, unused] = self.layout.output;
        let bits = largest(words, bits.clamp(1, 32));
        let pixel = largest(words / bits, pixel.max(1));
        let width = words / bits / pixel;
        let channels = pixel * self.hardware.mac_lanes - unused % self.hardware.mac_lanes;
        let shape = MapShape { channels, height: 1, width };
        let code = Code { bits, signed: bits % 2 == 0 };
        OutputDescriptor { dram, ..OutputDescriptor::of_map("output", shape, code, Vec::new()) }
    }
}

/// A random program for a hardware point. Of the point, only `dram.latency` and `dram.outstanding`
/// are others.
pub fn case(point: &HardwarePoint) -> impl Strategy<Value = Case> + use<> {
    any_case(point.clone(), Just(Vec::new()))
}

/// A random program that is likely to trap.
pub fn trap(point: &HardwarePoint) -> impl Strategy<Value = Case> + use<> {
    any_case(point.clone(), prop::collection::vec(mutate::mutation(), 1..=2))
}

fn any_case(
    point: HardwarePoint,
    mutations: impl Strategy<Value = Vec<Mutation>>,
) -> impl Strategy<Value = Case> {
    let dram = (point::latency(), 1u32..=8);
    let warm = prop_oneof![1 => Just(Warm::Same), 2 => Just(Warm::Resident)];
    let offset = || prop_oneof![4 => Just(0u32), 3 => (0u32..8).prop_map(|x| x * 16)];
    let layout = (
        prop_oneof![2 => Just(0u32), 1 => 0u32..1 << 20],
        [offset().boxed(), offset().boxed(), prop_oneof![Just(0u32), 0u32..64].boxed()],
        [1u32..=32, 1u32..=3, 0u32..=71],
    )
        .prop_map(|(origin, offset, output)| Layout { origin, offset, output });
    let input = [1u32..=8, 1u32..=12, 1u32..=6];
    (dram, items::items(), warm, any::<u64>(), 0u32..16, input, any::<bool>(), layout, mutations)
        .prop_map(
            move |(
                (latency, outstanding),
                items,
                warm,
                seed,
                shift,
                input,
                signed,
                layout,
                mutations,
            )| {
                let hardware = point
                    .with(|p| (p.dram_latency, p.dram_outstanding) = (latency, outstanding))
                    .expect("drawn in range");
                Case { hardware, items, warm, seed, shift, input, signed, layout, mutations }
            },
        )
}

/// Cheap choices from a seed; with seed 0 always the first.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        // SplitMix64, which passes over 0.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15).max(1);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number below n.
    fn roll(&mut self, n: u32) -> u32 {
        (self.next() % u64::from(n)) as u32
    }

    /// True once in n times, never with seed 0.
    fn one_in(&mut self, n: u32) -> bool {
        self.roll(n) == n - 1
    }
}
