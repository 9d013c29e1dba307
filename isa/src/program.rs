//! The program file: one binary is the whole job.
//!
//! Layout, little endian: magic (8 bytes), version (u32), CRC-32 of everything behind it (u32),
//! then sections, each a kind (u32), a length in bytes (u64) and the bytes. The sections, each once
//! and in this order: meta (JSON), cold code, warm code (16 bytes a word), data (the segments, one
//! after the other), and the sample if there is one. The length of nothing is believed before it is
//! compared with what is there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::descriptor::{Code, InputDescriptor, MapShape, OutputDescriptor};
use crate::hardware::{CODE_WORD_BYTES, HardwareError, HardwarePoint, Overrides};
use crate::layout::MapLayout;
use crate::limits::{MAP_VALUES_MAX, META_BYTES_MAX, SCRATCH_WORDS_MAX, WORDS_MAX};
use crate::table::{Instruction, PoolDst};

/// First bytes of a program file.
pub const MAGIC: [u8; 8] = *b"QNNSIM\r\n";

/// Version of the container and of the instruction set; a reader takes its own only.
pub const VERSION: u32 = 4;

/// A program: code, data, layout, hardware point, descriptors, sample, debug map.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Name of the network or of the hand-written program.
    pub name: String,
    /// The hardware point it was compiled for.
    pub hardware: HardwarePoint,
    /// Code that loads weights and thresholds on its way.
    pub cold: Stream,
    /// Code that finds them resident.
    pub warm: Stream,
    /// What lies in DRAM besides code, input and output.
    pub data: Vec<Segment>,
    /// The input map.
    pub input: InputDescriptor,
    /// The output map.
    pub output: OutputDescriptor,
    /// Where maps lie that do not fit the activation memory.
    pub scratch: Scratch,
    /// The bytes in DRAM of one input, `input.shape.values()` of them.
    pub sample: Option<Vec<u8>>,
    /// Source layers, in execution order.
    pub layers: Vec<LayerInfo>,
    /// Names of semaphores 0, 1, ...; empty names for unnamed ones.
    pub semaphores: Vec<String>,
}

/// One stream of code. Its last word is HALT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    /// Address of the first word in DRAM, a multiple of the word's 16 bytes.
    pub dram: u32,
    /// Encoded words.
    pub words: Vec<u128>,
    /// For each word, the index in [`Program::layers`] of the layer that it serves.
    pub layers: Vec<Option<u32>>,
}

/// Words of DRAM that an image stores and loads again; empty if there are no bytes. The file holds
/// none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scratch {
    /// Address of the first byte, a multiple of a word's size and of `dram.width`.
    pub dram: u32,
    /// Bytes, whole words.
    pub bytes: u32,
}

impl Scratch {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: u64) -> bool {
        (u64::from(self.dram)..u64::from(self.dram) + u64::from(self.bytes)).contains(&address)
    }
}

/// Bytes in DRAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What it is, for listings.
    pub name: String,
    /// Address of the first byte.
    pub dram: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What a report says about a source layer, and where its map lies while it is complete.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerInfo {
    /// Name in the source model.
    pub name: String,
    /// One line: what it does.
    pub summary: String,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Bits of an activation and of a weight.
    pub precision: [u32; 2],
    /// The map it writes, if it writes one.
    pub map: Option<MapPlace>,
}

/// Where a map lies in the activation memory, in the terms of `cfg pool.dst`; or where in DRAM, if
/// it passes through the memory in stripes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapPlace {
    /// Shape of the map.
    pub shape: MapShape,
    /// Type of its codes.
    pub code: Code,
    /// Where each of its words lies.
    pub layout: MapLayout,
    /// The byte of DRAM where it begins: the word at an address of a bank lies there `address *
    /// mac.rows + bank` words further. At the output's own place it is the output, pixel after
    /// pixel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dram: Option<u32>,
}

/// Everything of a program that is not a block of bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    name: String,
    hardware: Overrides,
    fingerprint: u32,
    cold: StreamMeta,
    warm: StreamMeta,
    data: Vec<SegmentMeta>,
    input: InputDescriptor,
    output: OutputDescriptor,
    #[serde(default, skip_serializing_if = "Scratch::is_empty")]
    scratch: Scratch,
    layers: Vec<LayerInfo>,
    semaphores: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamMeta {
    dram: u32,
    /// Run lengths: a layer (or none) and how many words in a row serve it.
    layers: Vec<(Option<u32>, u32)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentMeta {
    name: String,
    dram: u32,
    bytes: u32,
}

/// Why bytes are not a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Another kind of file.
    #[error("not a qnnsim program: the file does not begin with the program magic")]
    NotAProgram,
    /// Made by another version.
    #[error(
        "program version {found}, but this qnnsim reads version {VERSION}; compile or assemble it again"
    )]
    Version {
        /// What the file says.
        found: u32,
    },
    /// Shorter or longer than its own lengths say.
    #[error("damaged program: {0}")]
    Damaged(String),
    /// The checksum of the contents is not the one stored.
    #[error(
        "damaged program: checksum {found:08x} instead of {stored:08x}; copy or build the file again"
    )]
    Checksum {
        /// Stored in the file.
        stored: u32,
        /// Of the bytes there.
        found: u32,
    },
    /// The hardware point cannot be.
    #[error("damaged program: {0}")]
    Hardware(#[from] HardwareError),
}

const META: u32 = 1;
const COLD: u32 = 2;
const WARM: u32 = 3;
const DATA: u32 = 4;
const SAMPLE: u32 = 5;

/// Offset of the bytes that the checksum covers.
const HEADER_BYTES: usize = 16;

fn damaged(message: impl Into<String>) -> ProgramError {
    ProgramError::Damaged(message.into())
}

impl Stream {
    fn meta(&self) -> StreamMeta {
        let mut layers: Vec<(Option<u32>, u32)> = Vec::new();
        for &layer in &self.layers {
            match layers.last_mut() {
                Some((last, count)) if *last == layer => *count += 1,
                _ => layers.push((layer, 1)),
            }
        }
        StreamMeta { dram: self.dram, layers }
    }

    fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn from_parts(meta: StreamMeta, bytes: &[u8], name: &str) -> Result<Self, ProgramError> {
        let (chunks, rest) = bytes.as_chunks::<{ CODE_WORD_BYTES as usize }>();
        if !rest.is_empty() {
            return Err(damaged(format!("the {name} code is not a whole number of words")));
        }
        let words: Vec<u128> = chunks.iter().map(|c| u128::from_le_bytes(*c)).collect();
        let total: u64 = meta.layers.iter().map(|&(_, count)| u64::from(count)).sum();
        if total != words.len() as u64 {
            return Err(damaged(format!(
                "the debug map of the {name} code is for {total} words, not {}",
                words.len()
            )));
        }
        let layers = meta
            .layers
            .iter()
            .flat_map(|&(layer, count)| std::iter::repeat_n(layer, count as usize))
            .collect();
        Ok(Stream { dram: meta.dram, words, layers })
    }

    /// Bytes of the code in DRAM.
    pub fn dram_bytes(&self) -> u64 {
        self.words.len() as u64 * u64::from(CODE_WORD_BYTES)
    }
}

impl Program {
    /// The program file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let meta = Meta {
            name: self.name.clone(),
            hardware: self.hardware.to_overrides(),
            fingerprint: self.hardware.fingerprint(),
            cold: self.cold.meta(),
            warm: self.warm.meta(),
            data: self
                .data
                .iter()
                .map(|s| SegmentMeta {
                    name: s.name.clone(),
                    dram: s.dram,
                    bytes: s.bytes.len() as u32,
                })
                .collect(),
            input: self.input.clone(),
            output: self.output.clone(),
            scratch: self.scratch,
            layers: self.layers.clone(),
            semaphores: self.semaphores.clone(),
        };
        let meta = serde_json::to_vec(&meta).expect("plain data serializes");
        let data: Vec<u8> = self.data.iter().flat_map(|s| s.bytes.iter().copied()).collect();
        let mut sections =
            vec![(META, meta), (COLD, self.cold.bytes()), (WARM, self.warm.bytes()), (DATA, data)];
        sections.extend(self.sample.clone().map(|s| (SAMPLE, s)));

        let mut file = Vec::new();
        file.extend(MAGIC);
        file.extend(VERSION.to_le_bytes());
        file.extend([0; 4]);
        for (kind, bytes) in sections {
            file.extend(kind.to_le_bytes());
            file.extend((bytes.len() as u64).to_le_bytes());
            file.extend(bytes);
        }
        seal(&mut file);
        file
    }

    /// Reads a program file. What it returns is sound in itself: lengths agree, regions of DRAM do
    /// not overlap, indices exist, numbers are finite. Whether its code is legal is for the
    /// machine to say.
    ///
    /// # Errors
    /// The bytes are not a program file of this version, whole and undamaged.
    pub fn from_bytes(file: &[u8]) -> Result<Self, ProgramError> {
        if file.get(..8) != Some(&MAGIC) {
            return Err(ProgramError::NotAProgram);
        }
        let word = |at: usize| {
            file.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes")))
        };
        let (Some(version), Some(stored)) = (word(8), word(12)) else {
            return Err(damaged("the file ends within its header"));
        };
        if version != VERSION {
            return Err(ProgramError::Version { found: version });
        }
        let found = crc32fast::hash(&file[HEADER_BYTES..]);
        if found != stored {
            return Err(ProgramError::Checksum { stored, found });
        }
        let mut rest = &file[HEADER_BYTES..];
        let mut section = |kind: u32, name: &str| -> Result<&[u8], ProgramError> {
            let head = rest
                .split_at_checked(12)
                .ok_or_else(|| damaged(format!("the file ends before its {name} section")))?;
            let found = u32::from_le_bytes(head.0[..4].try_into().expect("4 bytes"));
            let length = u64::from_le_bytes(head.0[4..].try_into().expect("8 bytes"));
            if found != kind {
                return Err(damaged(format!("section {found} where the {name} section should be")));
            }
            let body = usize::try_from(length).ok().and_then(|n| head.1.split_at_checked(n));
            let body = body.ok_or_else(|| {
                damaged(format!(
                    "the {name} section says {length} bytes, but {} are left",
                    head.1.len()
                ))
            })?;
            rest = body.1;
            Ok(body.0)
        };
        let meta = section(META, "meta")?;
        if meta.len() > META_BYTES_MAX {
            return Err(damaged(format!("the meta section has more than {META_BYTES_MAX} bytes")));
        }
        let meta: Meta =
            serde_json::from_slice(meta).map_err(|e| damaged(format!("meta section: {e}")))?;
        let cold = section(COLD, "cold code")?;
        let warm = section(WARM, "warm code")?;
        let mut bytes = section(DATA, "data")?;
        let sample = if rest.is_empty() { None } else { Some(section_last(rest)?) };

        let hardware = meta.hardware.resolve()?;
        if hardware.fingerprint() != meta.fingerprint {
            return Err(damaged(
                "the hardware point does not have the fingerprint that the code was made for",
            ));
        }
        let mut data = Vec::new();
        for s in meta.data {
            let (body, tail) = bytes
                .split_at_checked(s.bytes as usize)
                .ok_or_else(|| damaged("the data section is too short"))?;
            data.push(Segment { name: s.name, dram: s.dram, bytes: body.to_vec() });
            bytes = tail;
        }
        if !bytes.is_empty() {
            return Err(damaged("the data section is longer than its segments"));
        }
        let program = Program {
            name: meta.name,
            hardware,
            cold: Stream::from_parts(meta.cold, cold, "cold")?,
            warm: Stream::from_parts(meta.warm, warm, "warm")?,
            data,
            input: meta.input,
            output: meta.output,
            scratch: meta.scratch,
            sample,
            layers: meta.layers,
            semaphores: meta.semaphores,
        };
        program.check()?;
        Ok(program)
    }

    /// Bytes of one pixel of the output in DRAM.
    pub fn output_pixel_bytes(&self) -> u64 {
        let words = self.output.shape.channels.div_ceil(self.hardware.mac_lanes);
        u64::from(self.output.code.bits) * u64::from(words) * u64::from(self.hardware.word_bytes())
    }

    /// Bytes of the output in DRAM.
    pub fn output_bytes(&self) -> u64 {
        let shape = self.output.shape;
        u64::from(shape.height) * u64::from(shape.width) * self.output_pixel_bytes()
    }

    /// Every region of DRAM: name, address, bytes.
    pub fn regions(&self) -> Vec<(&str, u32, u64)> {
        let mut all = vec![
            ("cold code", self.cold.dram, self.cold.dram_bytes()),
            ("warm code", self.warm.dram, self.warm.dram_bytes()),
            ("input", self.input.dram, self.input.shape.values() as u64),
            ("output", self.output.dram, self.output_bytes()),
        ];
        if !self.scratch.is_empty() {
            all.push(("scratch", self.scratch.dram, u64::from(self.scratch.bytes)));
        }
        all.extend(self.data.iter().map(|s| (s.name.as_str(), s.dram, s.bytes.len() as u64)));
        all.sort_by_key(|&(_, address, bytes)| (address, bytes));
        all
    }

    /// The invariants that `from_bytes` promises; what builds a program upholds them.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), ProgramError> {
        let require = |holds: bool, why: &str| if holds { Ok(()) } else { Err(damaged(why)) };
        for (name, stream) in [("cold", &self.cold), ("warm", &self.warm)] {
            let words = stream.words.len();
            require(words > 0, &format!("the {name} code is empty"))?;
            require(
                stream.dram.is_multiple_of(CODE_WORD_BYTES),
                &format!(
                    "the {name} code begins at DRAM address {}, no multiple of {CODE_WORD_BYTES}",
                    stream.dram
                ),
            )?;
            require(
                words <= WORDS_MAX,
                &format!("the {name} code has {words} words, more than {WORDS_MAX}"),
            )?;
            require(
                stream.layers.len() == words,
                &format!(
                    "the debug map of the {name} code is for {} words, not {words}",
                    stream.layers.len()
                ),
            )?;
            let known = |l: &Option<u32>| l.is_none_or(|l| (l as usize) < self.layers.len());
            require(
                stream.layers.iter().all(known),
                &format!("the debug map of the {name} code names an unknown layer"),
            )?;
        }
        require(self.semaphores.len() <= 16, "more than 16 semaphores are named")?;
        check_shape("input", self.input.shape)?;
        check_shape("output", self.output.shape)?;
        let mut values = self.input.shape.values() as u64 + self.output.shape.values() as u64;
        let code = self.input.code;
        require((1..=8).contains(&code.bits), "input codes must have 1 to 8 bits")?;
        require((1..=32).contains(&self.output.code.bits), "outputs must have 1 to 32 bits")?;
        self.input.check().map_err(damaged)?;
        self.output.check().map_err(damaged)?;
        for layer in &self.layers {
            let Some(map) = &layer.map else { continue };
            check_shape("map", map.shape)?;
            require((1..=32).contains(&map.code.bits), "a map's codes must have 1 to 32 bits")?;
            map.check()?;
            values += map.shape.values() as u64;
        }
        require(
            values <= MAP_VALUES_MAX,
            &format!("the maps have {values} values, more than {MAP_VALUES_MAX}"),
        )?;
        let Scratch { dram, bytes } = self.scratch;
        let word = self.hardware.word_bytes();
        let align = word.max(self.hardware.dram_width);
        require(bytes > 0 || dram == 0, "a scratch region of no bytes has a place")?;
        require(
            dram.is_multiple_of(align) && bytes.is_multiple_of(word),
            &format!(
                "the scratch region is not of whole words from a multiple of {align} bytes on"
            ),
        )?;
        require(
            u64::from(bytes / word) <= SCRATCH_WORDS_MAX,
            &format!("the scratch region has more than {SCRATCH_WORDS_MAX} words"),
        )?;
        if let Some(sample) = &self.sample {
            require(
                sample.len() == self.input.shape.values(),
                "the sample does not have the input's size",
            )?;
            let q = &self.input.quantizer;
            let is_code = |&byte: &u8| {
                let byte = byte ^ self.input.xor;
                let value = if code.signed { i64::from(byte as i8) } else { i64::from(byte) };
                (q.min..=q.max).contains(&value)
            };
            require(
                sample.iter().all(is_code),
                "the sample has a byte that is no code of the input",
            )?;
        }
        let mut regions = self.regions();
        regions.retain(|&(_, _, bytes)| bytes > 0);
        for &(name, address, bytes) in &regions {
            let end = u64::from(address) + bytes;
            require(end <= 1 << 32, &format!("region `{name}` ends beyond the 4 GiB of DRAM"))?;
        }
        for pair in regions.windows(2) {
            let [(name, address, bytes), (next, next_address, _)] = pair else { continue };
            let apart = u64::from(*address) + bytes <= u64::from(*next_address);
            require(apart, &format!("regions `{name}` and `{next}` overlap in DRAM"))?;
        }
        Ok(())
    }
}

impl MapPlace {
    /// The numbers are operands of `cfg pool.dst`.
    fn check(&self) -> Result<(), ProgramError> {
        let mut layout = self.layout;
        if self.dram.is_some() {
            // In DRAM phases may be as far apart as an address can say.
            let apart = layout.phase <= u32::MAX.into();
            layout.phase = if apart { 0 } else { layout.phase };
        }
        let place = Instruction::from(PoolDst::from(layout));
        for (field, value) in place.row().fields.iter().zip(place.operands()) {
            if field.kind.offending(&value).is_some() {
                return Err(damaged(format!(
                    "a map's {} must be {}",
                    field.name,
                    field.kind.range()
                )));
            }
        }
        Ok(())
    }
}

fn check_shape(name: &str, shape: MapShape) -> Result<(), ProgramError> {
    let MapShape { channels, height, width } = shape;
    let values = u64::from(channels)
        .checked_mul(u64::from(height))
        .and_then(|v| v.checked_mul(u64::from(width)));
    match values {
        Some(1..=MAP_VALUES_MAX) => Ok(()),
        _ => Err(damaged(format!(
            "the {name} shape {channels}x{height}x{width} is empty or too large"
        ))),
    }
}

fn section_last(rest: &[u8]) -> Result<Vec<u8>, ProgramError> {
    let (head, body) =
        rest.split_at_checked(12).ok_or_else(|| damaged("bytes behind the last section"))?;
    let (kind, length) = head.split_at(4);
    if kind != SAMPLE.to_le_bytes() || length != (body.len() as u64).to_le_bytes() {
        return Err(damaged("bytes behind the last section"));
    }
    Ok(body.to_vec())
}

/// Stores the checksum of a program file's contents, as after a deliberate change.
pub fn seal(file: &mut [u8]) {
    if file.len() >= HEADER_BYTES {
        let checksum = crc32fast::hash(&file[HEADER_BYTES..]);
        file[12..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }
}
