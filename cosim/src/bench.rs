//! A running machine: jobs go in, what happened in every cycle comes out. The other side is
//! `rtl/bench/bench.cpp`.

use std::io::{self, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use qnnsim_inspect::wave::Levels;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::values::Memories;

use crate::verilator::Machine;

/// The machine's program broke.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// It does not start, or stopped before it answered.
    #[error("the machine's program `{path}` stopped: {error}")]
    Stopped {
        /// The executable file.
        path: String,
        /// What was met.
        error: io::Error,
    },
    /// Its answer is not one.
    #[error("the machine's program `{path}` answers in another format")]
    Format {
        /// The executable file.
        path: String,
    },
}

/// A program and the images that it computes one after the other, the first of them cold.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The program; its hardware point must be the machine's.
    pub program: &'a Program,
    /// The bytes in DRAM of every image.
    pub images: &'a [&'a [u8]],
    /// Whether accesses to memories are told.
    pub accesses: bool,
    /// Whether the memories are read when an image has ended.
    pub memories: bool,
    /// Whether semaphores and the depths of queues are told.
    pub levels: bool,
    /// An image that takes more is given up.
    pub cycles_max: u32,
    /// Seed of what registers and memories hold before the reset.
    pub power_up: u32,
}

/// Who asks for a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The fetcher.
    Fetch,
    /// STORE.
    Store,
    /// LOAD.
    Load,
}

/// A burst that the DRAM accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Who asks.
    pub source: Source,
    /// The first byte wanted.
    pub address: u64,
    /// Beats.
    pub beats: u32,
    /// Of LOAD: its step.
    pub step: Option<LoadStep>,
}

/// A step of LOAD as the machine makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadStep {
    /// First byte of the step in DRAM; with a later burst, of that.
    pub dram: u64,
    /// Bytes of the step.
    pub bytes: u32,
    /// Destination, in the encoding of `cfg ld.dst`.
    pub memory: u8,
}

/// A port of a memory, with who is using it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// MAC reads activations.
    ActMac,
    /// STORE reads activations.
    ActStore,
    /// LOAD writes activations.
    ActLoad,
    /// THR writes activations.
    ActThr,
    /// MAC reads weights.
    WgtMac,
    /// LOAD writes weights.
    WgtLoad,
    /// THR reads thresholds.
    ThrDrain,
    /// LOAD writes thresholds.
    ThrLoad,
}

/// An access to a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The port.
    pub port: Port,
    /// Bank.
    pub bank: u16,
    /// Address.
    pub address: u32,
}

/// What happens in a cycle; the bits are those of `bench.sv`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cycle {
    /// Its number.
    pub cycle: u64,
    /// The bits.
    pub probe: u32,
    /// The unit of the word that is decoded.
    pub decode_unit: u8,
    /// A burst that is accepted.
    pub burst: Option<Burst>,
    /// Accesses, if they are told.
    pub accesses: Vec<Access>,
}

/// How an image ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should; the cycle is its last one.
    End,
    /// The hardware found a fault.
    Fault {
        /// The unit, none for the front end.
        unit: Option<Unit>,
        /// It is one of the unit's second stage.
        write: bool,
        /// The cause, as `bench.sv` numbers it.
        cause: u8,
    },
    /// Nothing can change any more.
    Deadlock,
    /// It was given up.
    Limit,
}

/// One image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Cycles in which anything happened.
    pub cycles: Vec<Cycle>,
    /// Semaphores and depths of queues, where they change, if they are told.
    pub levels: Vec<Levels>,
    /// How it ended.
    pub ending: Ending,
    /// In which cycle.
    pub end: u64,
    /// The memories at the end, with the output region; without memories the rest is empty.
    pub memories: Memories,
}

/// A process that takes jobs.
#[derive(Debug)]
pub struct Bench {
    machine: Machine,
    /// Number of the fault that is planted, 0 for none.
    fault: u16,
    process: Child,
    jobs: ChildStdin,
    results: BufReader<ChildStdout>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It waits for jobs only; nothing is lost.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bench {
    /// Starts the program of a hardware point.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(machine: &Machine) -> Result<Self, BenchError> {
        let stopped =
            |error| BenchError::Stopped { path: machine.path.display().to_string(), error };
        let mut process = Command::new(&machine.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(stopped)?;
        let (Some(jobs), Some(results)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both were asked for")
        };
        let results = BufReader::new(results);
        Ok(Bench { machine: machine.clone(), fault: 0, process, jobs, results })
    }

    /// The machine with a fault, by its number among those that it was built with.
    #[must_use]
    pub fn with_fault(self, number: u16) -> Self {
        let mut bench = self;
        bench.fault = number;
        bench
    }

    /// The hardware point.
    pub fn hardware(&self) -> &HardwarePoint {
        &self.machine.hardware
    }

    /// Runs a job. Images after one that does not end are not run.
    ///
    /// # Errors
    /// The process stopped or answers nonsense; the next job finds a new one.
    pub fn run(&mut self, job: &Job) -> Result<Vec<Image>, BenchError> {
        let result = self
            .jobs
            .write_all(&encode(job, self.fault))
            .and_then(|()| self.jobs.flush())
            .and_then(|()| {
                let mut length = [0; 8];
                self.results.read_exact(&mut length)?;
                let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
                self.results.read_exact(&mut bytes)?;
                Ok(bytes)
            });
        let path = || self.machine.path.display().to_string();
        match result {
            Ok(bytes) => {
                let hardware = &job.program.hardware;
                images(&bytes, hardware).ok_or_else(|| BenchError::Format { path: path() })
            }
            Err(error) => {
                let path = path();
                *self = Bench::start(&self.machine)?.with_fault(self.fault);
                Err(BenchError::Stopped { path, error })
            }
        }
    }
}

fn encode(job: &Job, fault: u16) -> Vec<u8> {
    let Job { program, images, .. } = job;
    let mut bytes = Vec::new();
    let mut put = |value: &[u8]| bytes.extend_from_slice(value);
    let flags = [job.accesses, job.memories, job.levels];
    let flags = flags.iter().rev().fold(0u32, |flags, &flag| flags << 1 | u32::from(flag));
    put(&flags.to_le_bytes());
    put(&fault.to_le_bytes());
    put(&job.power_up.to_le_bytes());
    put(&program.hardware.dram_latency.to_le_bytes());
    put(&program.hardware.dram_outstanding.to_le_bytes());
    put(&u64::from(job.cycles_max).to_le_bytes());
    let streams = [&program.cold, &program.warm];
    for stream in streams {
        put(&stream.dram.to_le_bytes());
        put(&(stream.words.len() as u32).to_le_bytes());
    }
    put(&u64::from(program.output.dram).to_le_bytes());
    put(&program.output_bytes().to_le_bytes());
    put(&(2 + program.data.len() as u32).to_le_bytes());
    for stream in streams {
        put(&u64::from(stream.dram).to_le_bytes());
        put(&stream.dram_bytes().to_le_bytes());
        stream.words.iter().for_each(|word| put(&word.to_le_bytes()));
    }
    for segment in &program.data {
        put(&u64::from(segment.dram).to_le_bytes());
        put(&(segment.bytes.len() as u64).to_le_bytes());
        put(&segment.bytes);
    }
    put(&u64::from(program.input.dram).to_le_bytes());
    put(&(program.input.shape.values() as u64).to_le_bytes());
    put(&(images.len() as u32).to_le_bytes());
    images.iter().for_each(|image| put(image));
    bytes
}

/// Bytes still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self, count: usize) -> Option<u64> {
        Some(self.bytes(count)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn small<T: TryFrom<u64>>(&mut self, count: usize) -> Option<T> {
        T::try_from(self.number(count)?).ok()
    }
}

fn images(bytes: &[u8], hardware: &HardwarePoint) -> Option<Vec<Image>> {
    let mut reader = Reader(bytes);
    let mut images = Vec::new();
    let mut image = empty();
    while let Some(record) = reader.small::<u8>(1) {
        match record {
            1 | 2 => {
                let cycle = reader.number(4)?;
                if image.cycles.last().is_none_or(|last| last.cycle != cycle) {
                    image.cycles.push(Cycle { cycle, ..Cycle::default() });
                }
                let last = image.cycles.last_mut()?;
                if record == 1 {
                    (last.probe, last.decode_unit) = (reader.small(4)?, reader.small(1)?);
                    last.burst =
                        if reader.number(1)? == 1 { Some(burst(&mut reader)?) } else { None };
                } else {
                    let count = reader.number(2)?;
                    last.accesses =
                        (0..count).map(|_| access(&mut reader)).collect::<Option<_>>()?;
                }
            }
            3 => {
                let ending = reader.number(1)?;
                image.end = reader.number(4)?;
                let (unit, write, cause) =
                    (reader.small::<usize>(1)?, reader.number(1)? == 1, reader.small(1)?);
                image.ending = match ending {
                    0 => Ending::End,
                    1 => Ending::Fault { unit: Unit::ALL.get(unit).copied(), write, cause },
                    2 => Ending::Deadlock,
                    3 => Ending::Limit,
                    _ => return None,
                };
            }
            4 => memories(&mut reader, hardware, &mut image.memories)?,
            6 => {
                let mut levels = Levels { cycle: reader.number(4)?, ..Levels::default() };
                for semaphore in &mut levels.semaphores {
                    *semaphore = reader.small(2)?;
                }
                for queue in &mut levels.queues {
                    *queue = reader.small(2)?;
                }
                levels.code_queue = reader.small(2)?;
                image.levels.push(levels);
            }
            5 => {
                let length = reader.number(4)? as usize;
                image.memories.output = reader.bytes(length)?.to_vec();
                images.push(std::mem::replace(&mut image, empty()));
            }
            _ => return None,
        }
    }
    Some(images)
}

fn empty() -> Image {
    let memories = Memories {
        activations: Vec::new(),
        weights: Vec::new(),
        thresholds: Vec::new(),
        accumulators: Vec::new(),
        row_sums: Vec::new(),
        output: Vec::new(),
    };
    Image { cycles: Vec::new(), levels: Vec::new(), ending: Ending::Limit, end: 0, memories }
}

fn burst(reader: &mut Reader) -> Option<Burst> {
    let source = *[Source::Fetch, Source::Store, Source::Load].get(reader.small::<usize>(1)?)?;
    let (address, beats) = (reader.number(8)?, reader.small(2)?);
    let step = if source == Source::Load {
        Some(LoadStep {
            dram: reader.number(8)?,
            bytes: reader.small(4)?,
            memory: reader.small(1)?,
        })
    } else {
        None
    };
    Some(Burst { source, address, beats, step })
}

fn access(reader: &mut Reader) -> Option<Access> {
    use Port::{ActLoad, ActMac, ActStore, ActThr, ThrDrain, ThrLoad, WgtLoad, WgtMac};
    let ports = [ActMac, ActStore, ActLoad, ActThr, WgtMac, WgtLoad, ThrDrain, ThrLoad];
    let port = *ports.get(reader.small::<usize>(1)?)?;
    Some(Access { port, bank: reader.small(2)?, address: reader.small(4)? })
}

/// The machine tells words in the order of addresses, all banks of one after the other; here a bank
/// follows the other.
fn memories(reader: &mut Reader, hw: &HardwarePoint, memories: &mut Memories) -> Option<()> {
    let word = hw.mac_lanes as usize / 8;
    let by_bank = |reader: &mut Reader, banks: u32, words: u32, size: usize| {
        let (banks, words) = (banks as usize, words as usize);
        let all = reader.bytes(banks * words * size)?;
        let places =
            (0..banks).flat_map(|bank| (0..words).map(move |address| address * banks + bank));
        Some(
            places
                .flat_map(|place| all[place * size..][..size].iter().copied())
                .collect::<Vec<u8>>(),
        )
    };
    memories.activations = by_bank(reader, hw.mac_rows, hw.act_words, word)?;
    memories.weights = by_bank(reader, hw.mac_cols, hw.wgt_words, word)?;
    let entries = by_bank(reader, hw.thr_cols, hw.thr_words, 10)?;
    memories.thresholds = entries.as_chunks::<10>().0.iter().map(entry).collect();
    for _ in 0..hw.acc_banks {
        memories.accumulators.extend(numbers(reader, hw.mac_rows as usize * hw.mac_cols as usize)?);
        memories.row_sums.extend(numbers(reader, hw.mac_rows as usize)?);
    }
    Some(())
}

/// A threshold entry: A in the low 48 bits, B above.
fn entry(bytes: &[u8; 10]) -> (i64, i32) {
    let mut low = [0; 8];
    low[2..].copy_from_slice(&bytes[..6]);
    (i64::from_le_bytes(low) >> 16, i32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]))
}

fn numbers(reader: &mut Reader, count: usize) -> Option<Vec<i32>> {
    Some(
        reader
            .bytes(4 * count)?
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&bytes| i32::from_le_bytes(bytes))
            .collect(),
    )
}
