//! From text to program: lines, directives, sections; then addresses, then the lines that need
//! them.

use std::collections::HashMap;

use qnnsim_isa::descriptor::{InputDescriptor, OutputDescriptor};
use qnnsim_isa::hardware::{CODE_WORD_BYTES, HardwareError, HardwarePoint, Overrides};
use qnnsim_isa::program::{LayerInfo, Program, ProgramError, Scratch, Segment, Stream};
use serde::Deserialize;

use crate::cursor::Cursor;
use crate::limits::{DATA_BYTES_MAX, LINE_BYTES_MAX};
use qnnsim_diagnostic::{Collector, Diagnostic, Diagnostics, Kind, Span};

use crate::Parsed;
use crate::expression::{Scope, Symbol, digits, malformed};
use crate::instruction::instruction;
use crate::layout::{self, Region};
use crate::text::{self, InputText, LayerText, OutputText, SEMAPHORES};

/// Assembles a text; `name` is that of its file, for messages and for a program that gives itself
/// no name.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn assemble(name: &str, source: &str) -> Result<Program, Diagnostics> {
    assembled(name, source, None)
}

/// Assembles a text for another hardware point than its own.
///
/// # Errors
/// Everything that is wrong with the text, on that hardware.
pub fn assemble_for(
    name: &str,
    source: &str,
    hardware: &HardwarePoint,
) -> Result<Program, Diagnostics> {
    assembled(name, source, Some(hardware.clone()))
}

fn assembled(
    name: &str,
    source: &str,
    instead: Option<HardwarePoint>,
) -> Result<Program, Diagnostics> {
    let mut assembler = Assembler { instead, ..Assembler::new(source) };
    assembler.read_lines();
    let program = assembler.finish(name);
    match program {
        Some(program) if assembler.problems.count() == 0 => Ok(program),
        _ => Err(assembler.problems.finish(name, source)),
    }
}

/// The directives, and what each is for.
pub(crate) const DIRECTIVES: [&str; 22] = [
    ".program",
    ".hardware",
    ".semaphore",
    ".const",
    ".layer",
    ".input",
    ".output",
    ".scratch",
    ".cold",
    ".warm",
    ".code",
    ".data",
    ".sample",
    ".u8",
    ".u16",
    ".u32",
    ".u64",
    ".bytes",
    ".fill",
    ".threshold",
    ".word",
    ".align",
];

/// What the following lines belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Nothing is open yet.
    None,
    Cold,
    Warm,
    /// Both streams.
    Code,
    /// A data segment, by number.
    Data(usize),
    Sample,
}

const COLD: usize = 0;
const WARM: usize = 1;

impl Section {
    /// The code streams that the section fills.
    fn streams(self) -> &'static [usize] {
        match self {
            Section::Cold => &[COLD],
            Section::Warm => &[WARM],
            Section::Code => &[COLD, WARM],
            Section::None | Section::Data(_) | Section::Sample => &[],
        }
    }
}

/// Where a region of DRAM is written, and at which address it shall lie.
#[derive(Debug, Default)]
struct RegionAddress {
    address: Option<u32>,
    span: Span,
}

/// A line that needs an address: it is read again when all are known.
struct LateLine {
    /// Offset of the statement in the text.
    at: usize,
    section: Section,
    /// Offset of what it produced: words in each stream, or bytes of data.
    offsets: [usize; 2],
}

struct Assembler<'s> {
    source: &'s str,
    problems: Collector,
    scope: Scope,
    /// Labels: a section and an offset in bytes.
    labels: Vec<(String, Section, usize)>,
    late: Vec<LateLine>,

    name: Option<String>,
    hardware: Option<HardwarePoint>,
    /// Takes the place of the text's hardware point.
    instead: Option<HardwarePoint>,
    /// Names as the program keeps them.
    semaphores: Vec<String>,
    /// Names by which the text refers to semaphores; quoted ones are not among them.
    semaphore_words: Vec<String>,
    layers: Vec<(LayerInfo, Span)>,
    /// Number of the layer of each name; `None` if several have it.
    layer_numbers: HashMap<String, Option<u32>>,
    input: Option<(InputDescriptor, RegionAddress)>,
    output: Option<(OutputDescriptor, RegionAddress)>,
    scratch: Option<(Scratch, RegionAddress)>,
    streams: [(Stream, RegionAddress); 2],
    data: Vec<(Segment, RegionAddress)>,
    sample: Option<(Vec<u8>, Span)>,

    section: Section,
    /// The layer that the following instructions serve.
    layer: Option<u32>,
    data_bytes: usize,
}

/// The first line that is longer than any that can be meant: its number, and where it begins.
fn long_line(source: &str) -> Option<(usize, Span)> {
    let mut start = 0;
    for (line, number) in source.split_inclusive('\n').zip(1..) {
        if line.len() > LINE_BYTES_MAX {
            return Some((number, start..start));
        }
        start += line.len();
    }
    None
}

impl<'s> Assembler<'s> {
    fn new(source: &'s str) -> Self {
        Assembler {
            source,
            problems: Collector::default(),
            scope: Scope::new(),
            labels: Vec::new(),
            late: Vec::new(),
            name: None,
            hardware: None,
            instead: None,
            semaphores: Vec::new(),
            semaphore_words: Vec::new(),
            layers: Vec::new(),
            layer_numbers: HashMap::new(),
            input: None,
            output: None,
            scratch: None,
            streams: Default::default(),
            data: Vec::new(),
            sample: None,
            section: Section::None,
            layer: None,
            data_bytes: 0,
        }
    }

    fn read_lines(&mut self) {
        // A byte order mark is no part of the text.
        let start = if self.source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut cursor = Cursor::new(self.source, start);
        if let Some((number, span)) = long_line(self.source) {
            let message = format!("line {number} is longer than {} MiB", LINE_BYTES_MAX >> 20);
            self.problems.report(Diagnostic::in_text(span, message));
            return;
        }
        while !cursor.at_end_of_source() {
            if let Err(mistake) = self.line(&mut cursor) {
                self.problems.report(mistake);
            }
            cursor.next_line();
        }
    }

    fn line(&mut self, cursor: &mut Cursor<'s>) -> Parsed<()> {
        loop {
            let Some(first) = cursor.peek() else { return Ok(()) };
            let start = cursor.at;
            if first != b'.'
                && let Some(word) = cursor.name()
                && cursor.touches(b':')
            {
                cursor.take(":");
                self.label(cursor.slice(&word), word)?;
                continue;
            }
            cursor.at = start;
            if first == b'.' {
                self.directive(cursor)?;
            } else {
                self.instruction(cursor)?;
            }
            return match cursor.peek() {
                None => Ok(()),
                Some(_) => Err(Diagnostic::in_text(cursor.here(), "expected the end of the line")),
            };
        }
    }

    fn label(&mut self, name: &str, span: Span) -> Parsed<()> {
        let offset = match self.section {
            Section::Cold => self.streams[COLD].0.dram_bytes() as usize,
            Section::Warm => self.streams[WARM].0.dram_bytes() as usize,
            Section::Data(index) => self.data[index].0.bytes.len(),
            Section::Code => {
                return Err(Diagnostic::in_text(
                    span,
                    "a label in `.code` would have two addresses",
                )
                .cause("use .cold and .warm around what needs a label"));
            }
            Section::None | Section::Sample => {
                return Err(Diagnostic::in_text(span, "a label names a place in code or data")
                    .cause("open a section first, with .cold, .warm or .data"));
            }
        };
        self.scope.define(name, Symbol::Label, span)?;
        self.labels.push((name.into(), self.section, offset));
        Ok(())
    }

    fn instruction(&mut self, cursor: &mut Cursor<'s>) -> Parsed<()> {
        let at = cursor.at;
        let problems = self.problems.count();
        let encoded = instruction(cursor, &self.scope, &self.semaphore_words, &mut self.problems)?;
        if self.section.streams().is_empty() {
            return Err(Diagnostic::in_text(cursor.since(at), "an instruction outside of code")
                .cause("open a code stream first, with .code, .cold or .warm"));
        }
        if encoded.late && self.problems.count() == problems {
            self.remember(at);
        }
        self.push_code(encoded.word);
        Ok(())
    }

    /// Notes that the statement at `at` is to be read again; before what it produces is stored.
    fn remember(&mut self, at: usize) {
        let offsets = match self.section {
            Section::Data(index) => [self.data[index].0.bytes.len(); 2],
            Section::Sample => [self.sample.as_ref().map_or(0, |(bytes, _)| bytes.len()); 2],
            _ => [COLD, WARM].map(|stream| self.streams[stream].0.words.len()),
        };
        self.late.push(LateLine { at, section: self.section, offsets });
    }

    fn push_code(&mut self, word: u128) {
        for &stream in self.section.streams() {
            self.streams[stream].0.words.push(word);
            self.streams[stream].0.layers.push(self.layer);
        }
    }

    fn directive(&mut self, cursor: &mut Cursor<'s>) -> Parsed<()> {
        let word = cursor.run();
        match cursor.slice(&word) {
            ".program" => {
                let (name, _) = cursor.quoted()?;
                once(self.name.is_some(), &word)?;
                self.name = Some(name);
                Ok(())
            }
            ".hardware" => self.hardware(cursor, word),
            ".semaphore" => self.semaphore(cursor),
            ".const" => self.constant(cursor),
            ".layer" => self.layer(cursor),
            ".input" => {
                let address = self.address(cursor)?;
                let span = cursor.since(word.start);
                let (text, _) = ron::<InputText>(cursor, "the input's descriptor")?;
                once(self.input.is_some(), &word)?;
                self.input = Some((text.descriptor(), RegionAddress { address, span }));
                Ok(())
            }
            ".output" => {
                let address = self.address(cursor)?;
                let span = cursor.since(word.start);
                let (text, _) = ron::<OutputText>(cursor, "the output's descriptor")?;
                once(self.output.is_some(), &word)?;
                self.output = Some((text.descriptor(), RegionAddress { address, span }));
                Ok(())
            }
            ".scratch" => {
                let address = self.address(cursor)?;
                let (bytes, span) =
                    self.constant_u32(cursor, "the number of bytes of the scratch region")?;
                once(self.scratch.is_some(), &word)?;
                self.scratch = Some((Scratch { dram: 0, bytes }, RegionAddress { address, span }));
                Ok(())
            }
            ".cold" => self.stream(cursor, Section::Cold, word),
            ".warm" => self.stream(cursor, Section::Warm, word),
            ".code" => self.stream(cursor, Section::Code, word),
            ".data" => self.segment(cursor, word),
            ".sample" => {
                once(self.sample.is_some(), &word)?;
                self.sample = Some((Vec::new(), word));
                self.section = Section::Sample;
                Ok(())
            }
            ".word" if !self.section.streams().is_empty() => self.code_words(cursor),
            ".u8" | ".u16" | ".u32" | ".u64" | ".bytes" | ".fill" | ".threshold" | ".word"
            | ".align" => self.data_line(cursor, word),
            name => Err(Diagnostic::in_text(word, format!("unknown directive `{name}`"))
                .did_you_mean(name, DIRECTIVES)),
        }
    }

    /// Reads `[address]` if it is there.
    fn address(&self, cursor: &mut Cursor<'s>) -> Parsed<Option<u32>> {
        if !cursor.take("[") {
            return Ok(None);
        }
        let start = cursor.here().start;
        let value = self.scope.value_now(cursor)?;
        let span = cursor.since(start);
        cursor.expect("]", "`[ADDRESS]`")?;
        let Some(value) = value else { return Ok(None) };
        u32::try_from(value).map(Some).map_err(|_| {
            Diagnostic::in_text(span, format!("{value} is no DRAM address"))
                .label(format!("must be 0 to {}", u32::MAX))
        })
    }

    /// Reads a number that is known by now.
    fn constant_u32(&self, cursor: &mut Cursor<'s>, what: &str) -> Parsed<(u32, Span)> {
        let start = cursor.here().start;
        let value = self.scope.value_now(cursor)?;
        let span = cursor.since(start);
        match value.map(u32::try_from) {
            Some(Ok(value)) => Ok((value, span)),
            _ => Err(Diagnostic::in_text(span, format!("{what} must be 0 to {}", u32::MAX))),
        }
    }

    fn hardware(&mut self, cursor: &mut Cursor<'s>, word: Span) -> Parsed<()> {
        let (block, span) = cursor.block("the hardware point's parameters")?;
        once(self.hardware.is_some(), &word)?;
        let checked = Overrides::from_ron(&block).and_then(|overrides| overrides.resolve());
        // A wrong point is replaced by the default one: the rest of the text can still be checked.
        self.hardware = Some(checked.clone().unwrap_or_default());
        if self.section != Section::None {
            return Err(Diagnostic::in_text(word, "`.hardware` comes too late")
                .cause("the size of a word follows from it: put it above code and data"));
        }
        checked.map(|_| ()).map_err(|error| match error {
            HardwareError::Ron { line, column, message } => {
                let at = span.start
                    + text::offset(self.source.get(span).unwrap_or_default(), line, column);
                Diagnostic::in_text(at..at + 1, message)
            }
            error => Diagnostic::in_text(span, error.to_string()),
        })
    }

    fn point(&self) -> HardwarePoint {
        self.instead.as_ref().or(self.hardware.as_ref()).cloned().unwrap_or_default()
    }

    fn semaphore(&mut self, cursor: &mut Cursor<'s>) -> Parsed<()> {
        let (name, span, quoted) = name_or_quoted(cursor)?;
        let start = cursor.here().start;
        let value = self.scope.value_now(cursor)?;
        let Some(number) = value else { return Ok(()) };
        let limit = SEMAPHORES - 1;
        let number = usize::try_from(number).ok().filter(|&n| n <= limit).ok_or_else(|| {
            Diagnostic::in_text(cursor.since(start), format!("there is no semaphore {number}"))
                .label(format!("must be 0 to {limit}"))
        })?;
        let taken = |list: &[String]| list.get(number).is_some_and(|s| !s.is_empty());
        if taken(&self.semaphores) {
            let message =
                format!("semaphore {number} has a name already: `{}`", self.semaphores[number]);
            return Err(Diagnostic::in_text(cursor.since(start), message));
        }
        if !quoted {
            if text::semaphore_number(&name).is_some_and(|built_in| built_in != number) {
                return Err(Diagnostic::in_text(
                    span,
                    format!("`{name}` is another semaphore's number"),
                ));
            }
            if self.semaphore_words.contains(&name) {
                return Err(Diagnostic::in_text(
                    span,
                    format!("another semaphore is named `{name}`"),
                ));
            }
            self.semaphore_words.resize(self.semaphore_words.len().max(number + 1), String::new());
            self.semaphore_words[number].clone_from(&name);
        }
        self.semaphores.resize(self.semaphores.len().max(number + 1), String::new());
        self.semaphores[number] = name;
        Ok(())
    }

    fn constant(&mut self, cursor: &mut Cursor<'s>) -> Parsed<()> {
        let Some(span) = cursor.name() else {
            return Err(Diagnostic::in_text(cursor.here(), "expected the constant's name")
                .cause("the form is `.const NAME VALUE`"));
        };
        let name = cursor.slice(&span);
        let value = self.scope.value_now(cursor);
        // A constant whose value is a mistake is known all the same, so that its uses are none.
        self.scope.define(name, Symbol::Constant(*value.as_ref().unwrap_or(&None)), span)?;
        value.map(|_| ())
    }

    fn layer(&mut self, cursor: &mut Cursor<'s>) -> Parsed<()> {
        if cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
            let start = cursor.at;
            let number = self.scope.value_now(cursor)?.unwrap_or_default();
            let known = u32::try_from(number).ok().filter(|&n| (n as usize) < self.layers.len());
            self.layer = Some(known.ok_or_else(|| {
                Diagnostic::in_text(cursor.since(start), format!("there is no layer {number}"))
                    .cause(format!("{} layers are defined above", self.layers.len()))
            })?);
            return Ok(());
        }
        let (name, span, quoted) = name_or_quoted(cursor)?;
        if cursor.peek() == Some(b'(') {
            let number = self.layers.len() as u32;
            let (text, _) = ron::<LayerText>(cursor, "the layer's description")?;
            self.layer_numbers
                .entry(name.clone())
                .and_modify(|n| *n = None)
                .or_insert(Some(number));
            self.layers.push((text.layer(name), span));
            self.layer = Some(number);
            return Ok(());
        }
        if !quoted && name == text::NO_LAYER {
            self.layer = None;
            return Ok(());
        }
        self.layer = Some(match self.layer_numbers.get(&name) {
            Some(Some(number)) => *number,
            Some(None) => {
                return Err(Diagnostic::in_text(
                    span,
                    format!("several layers are named `{name}`"),
                )
                .cause("write the layer's number: the first layer is 0"));
            }
            None => {
                let it = Diagnostic::in_text(span, format!("unknown layer `{name}`"));
                let known = self.layers.iter().map(|(layer, _)| layer.name.as_str());
                return Err(it
                    .did_you_mean(&name, known)
                    .cause("a layer is defined by `.layer NAME (...)`"));
            }
        });
        Ok(())
    }

    fn stream(&mut self, cursor: &mut Cursor<'s>, section: Section, word: Span) -> Parsed<()> {
        self.section = section;
        self.layer = None;
        if section == Section::Code && cursor.peek() == Some(b'[') {
            return Err(Diagnostic::in_text(
                cursor.here(),
                "`.code` fills two streams and cannot have one address",
            )
            .cause("give the addresses with .cold [...] and .warm [...]"));
        }
        let address = self.address(cursor)?;
        for &stream in section.streams() {
            let place = &mut self.streams[stream].1;
            if address.is_some() && place.address.is_some() {
                return Err(Diagnostic::in_text(
                    cursor.since(word.start),
                    "this stream has an address already",
                )
                .related(place.span.clone(), "given here"));
            }
            if address.is_some() || place.span.is_empty() {
                *place = RegionAddress { address, span: cursor.since(word.start) };
            }
        }
        Ok(())
    }

    fn segment(&mut self, cursor: &mut Cursor<'s>, word: Span) -> Parsed<()> {
        let named = name_or_quoted(cursor);
        let name = named.as_ref().map_or("", |(name, _, _)| name).to_owned();
        // The segment is opened whatever is wrong with its head, so that its lines are in place.
        let index = self.data.len();
        self.section = Section::Data(index);
        let place = RegionAddress { address: None, span: word.clone() };
        self.data.push((Segment { name, dram: 0, bytes: Vec::new() }, place));
        let (name, span, quoted) = named?;
        if !quoted {
            self.scope.define(&name, Symbol::Label, span)?;
            self.labels.push((name, self.section, 0));
        }
        let address = self.address(cursor)?;
        self.data[index].1 = RegionAddress { address, span: cursor.since(word.start) };
        Ok(())
    }

    fn code_words(&mut self, cursor: &mut Cursor<'s>) -> Parsed<()> {
        loop {
            let at = cursor.here().start;
            let (bytes, late) = self.wide(cursor, 8 * CODE_WORD_BYTES)?;
            if late {
                return Err(Diagnostic::in_text(
                    cursor.since(at),
                    "an instruction word cannot be an address",
                ));
            }
            let bytes = bytes.try_into().expect("a code word has its size");
            self.push_code(u128::from_le_bytes(bytes));
            if !cursor.take(",") {
                return Ok(());
            }
        }
    }

    /// Reads a line of data into the open section.
    fn data_line(&mut self, cursor: &mut Cursor<'s>, word: Span) -> Parsed<()> {
        if !matches!(self.section, Section::Data(_) | Section::Sample) {
            let directive = cursor.slice(&word);
            return Err(Diagnostic::in_text(
                word.clone(),
                format!("`{directive}` outside of data"),
            )
            .cause("open a data section first, with .data NAME or .sample"));
        }
        let (bytes, late) = self.data_values(cursor, word.clone())?;
        if late {
            self.remember(word.start);
        }
        self.data_bytes += bytes.len();
        self.buffer(self.section).extend(bytes);
        Ok(())
    }

    fn buffer(&mut self, section: Section) -> &mut Vec<u8> {
        match section {
            Section::Data(index) => &mut self.data[index].0.bytes,
            _ => &mut self.sample.get_or_insert_default().0,
        }
    }

    /// Reads a data directive's values: bytes, and whether they depend on an address not known yet.
    fn data_values(&mut self, cursor: &mut Cursor<'s>, word: Span) -> Parsed<(Vec<u8>, bool)> {
        let directive = cursor.slice(&word);
        let room = DATA_BYTES_MAX - self.data_bytes;
        let mut late = false;
        let mut out = Vec::new();
        let too_much = |span| {
            Diagnostic::in_text(span, "too much data")
                .cause(format!("data and sample together have at most {DATA_BYTES_MAX} bytes"))
        };
        match directive {
            ".bytes" => {
                let (text, span) = cursor.quoted()?;
                out = hex_bytes(&text).ok_or_else(|| {
                    Diagnostic::in_text(span, "expected pairs of hexadecimal digits")
                        .cause("blanks may stand between bytes")
                })?;
            }
            ".fill" => {
                let start = cursor.here().start;
                let count = self.scope.value_now(cursor)?;
                let span = cursor.since(start);
                cursor.expect(",", "`.fill COUNT, BYTE`")?;
                let byte = self.integer(cursor, 8, false, &mut late)?[0];
                let count = count.unwrap_or_default();
                let count = usize::try_from(count).map_err(|_| {
                    Diagnostic::in_text(span.clone(), format!("{count} is no number of bytes"))
                })?;
                if count > room {
                    return Err(too_much(span));
                }
                out.resize(count, byte);
            }
            ".align" => {
                let start = cursor.here().start;
                let value = self.scope.value_now(cursor)?.unwrap_or(1);
                let bytes =
                    usize::try_from(value).ok().filter(|b| b.is_power_of_two() && *b <= 4096);
                let bytes = bytes.ok_or_else(|| {
                    Diagnostic::in_text(cursor.since(start), format!("{value} is no alignment"))
                        .label("must be a power of two up to 4096")
                })?;
                let length = self.buffer(self.section).len();
                out.resize(length.next_multiple_of(bytes) - length, 0);
            }
            ".threshold" => {
                // Bits 0-47 the threshold, bits 48-79 the step, the rest zero.
                out.extend(self.integer(cursor, 48, true, &mut late)?);
                cursor.expect(",", "`.threshold A, B`")?;
                out.extend(self.integer(cursor, 32, true, &mut late)?);
                out.resize(self.point().threshold_bytes() as usize, 0);
            }
            ".word" => {
                let point = self.point();
                self.list(cursor, &mut out, |it, cursor| {
                    let (mut bytes, word_late) = it.wide(cursor, point.mac_lanes)?;
                    late |= word_late;
                    bytes.resize(point.word_bytes() as usize, 0);
                    Ok(bytes)
                })?;
            }
            _ => {
                let bits =
                    directive[2..].parse().expect("the other data directives are .u and a width");
                self.list(cursor, &mut out, |it, cursor| {
                    it.integer(cursor, bits, false, &mut late)
                })?;
            }
        }
        if out.len() > room {
            return Err(too_much(word));
        }
        Ok((out, late))
    }

    /// Reads values between commas.
    fn list(
        &mut self,
        cursor: &mut Cursor<'s>,
        out: &mut Vec<u8>,
        mut item: impl FnMut(&mut Self, &mut Cursor<'s>) -> Parsed<Vec<u8>>,
    ) -> Parsed<()> {
        loop {
            out.extend(item(self, cursor)?);
            if !cursor.take(",") {
                return Ok(());
            }
        }
    }

    /// Reads an expression as `bits` bits: two's complement, or also unsigned if not `signed`.
    fn integer(
        &mut self,
        cursor: &mut Cursor<'s>,
        bits: u32,
        signed: bool,
        late: &mut bool,
    ) -> Parsed<Vec<u8>> {
        let value = self.scope.value(cursor)?;
        *late |= value.number.is_none();
        let number = value.number.unwrap_or_default();
        let (min, max) = (-(1i128 << (bits - 1)), (1i128 << (bits - u32::from(signed))) - 1);
        if !(min..=max).contains(&number) {
            return Err(Diagnostic::in_text(
                value.span,
                format!("{number} does not fit in {bits} bits"),
            )
            .label(format!("must be {min} to {max}")));
        }
        Ok(number.to_le_bytes()[..(bits / 8) as usize].to_vec())
    }

    /// Reads a word of any width: a literal in hexadecimal or binary digits, or an expression.
    fn wide(&mut self, cursor: &mut Cursor<'s>, bits: u32) -> Parsed<(Vec<u8>, bool)> {
        let start = cursor.here().start;
        let span = cursor.run();
        let literal = cursor.slice(&span);
        let (text, base) = digits(literal);
        let alone = matches!(cursor.peek(), None | Some(b','));
        let too_wide =
            |span| Diagnostic::in_text(span, format!("this does not fit in a word of {bits} bits"));
        let mut bytes = vec![0; bits.div_ceil(8) as usize];
        if base != 10 && alone {
            let width = base.ilog2();
            let mut place = 0;
            let mut any = false;
            for digit in text.chars().rev().filter(|&c| c != '_') {
                let Some(digit) = digit.to_digit(base) else {
                    return Err(malformed(&span, literal));
                };
                any = true;
                for bit in (0..width).filter(|bit| digit >> bit & 1 == 1) {
                    let at = place + bit;
                    if at >= bits {
                        return Err(too_wide(span));
                    }
                    bytes[(at / 8) as usize] |= 1 << (at % 8);
                }
                // Leading zeros are free, in any number.
                place = place.saturating_add(width).min(bits);
            }
            return if any { Ok((bytes, false)) } else { Err(malformed(&span, literal)) };
        }
        cursor.at = start;
        let value = self.scope.value(cursor)?;
        let late = value.number.is_none();
        let number = value.number.unwrap_or_default();
        if number < 0 || bits < 128 && number >> bits != 0 {
            return Err(too_wide(value.span));
        }
        for (byte, part) in bytes.iter_mut().zip(number.to_le_bytes()) {
            *byte = part;
        }
        Ok((bytes, late))
    }

    /// Everything is read: gives addresses, reads the late lines, checks the whole.
    fn finish(&mut self, file: &str) -> Option<Program> {
        self.require_parts();
        self.check_descriptors();
        let regions = self.regions();
        let places = layout::place(&regions).unwrap_or_else(|mistakes| {
            mistakes.into_iter().for_each(|mistake| self.problems.report(mistake));
            vec![0; regions.len()]
        });
        self.place_all(&places);
        self.read_late_lines();
        if self.problems.count() > 0 {
            return None;
        }
        let program = self.take_program(file)?;
        match program.check() {
            Ok(()) => Some(program),
            Err(error) => {
                self.problems.report(Diagnostic::new(Kind::Syntax, plain(&error)));
                None
            }
        }
    }

    fn require_parts(&mut self) {
        // After a mistake a missing part may be its consequence.
        if self.problems.count() > 0 {
            return;
        }
        for (missing, what, note) in [
            (
                self.input.is_none(),
                "there is no input",
                "describe it: `.input (shape: (channels: 1, height: 28, width: 28))`",
            ),
            (
                self.output.is_none(),
                "there is no output",
                "describe it: `.output (shape: (channels: 10, height: 1, width: 1))`",
            ),
            (
                self.streams[COLD].0.words.is_empty(),
                "there is no cold code",
                "write it behind .cold, or behind .code for both streams",
            ),
            (
                self.streams[WARM].0.words.is_empty(),
                "there is no warm code",
                "write it behind .warm, or behind .code for both streams",
            ),
        ] {
            if missing {
                self.problems.report(Diagnostic::new(Kind::Syntax, what).cause(note));
            }
        }
    }

    /// Puts each described part alone into a small sound program, so that a refusal of the
    /// program's check has a place.
    fn check_descriptors(&mut self) {
        let mut sound = sound_program(self.point());
        let mut found = Vec::new();
        if let Some((input, place)) = &self.input {
            let legal = std::mem::replace(&mut sound.input, input.clone());
            match sound.check() {
                Ok(()) => {
                    if let Some((bytes, span)) = &self.sample {
                        let wanted = input.shape.values();
                        if bytes.len() != wanted && self.problems.count() == 0 {
                            found.push(
                                Diagnostic::in_text(
                                    span.clone(),
                                    format!(
                                        "the sample has {} bytes instead of {wanted}",
                                        bytes.len()
                                    ),
                                )
                                .related(
                                    place.span.clone(),
                                    "one byte for each value of this input",
                                ),
                            );
                        }
                    }
                }
                Err(error) => {
                    found.push(Diagnostic::in_text(place.span.clone(), plain(&error)));
                    self.input = None;
                }
            }
            sound.input = legal;
        }
        if let Some((output, place)) = &self.output {
            let legal = std::mem::replace(&mut sound.output, output.clone());
            if let Err(error) = sound.check() {
                found.push(Diagnostic::in_text(place.span.clone(), plain(&error)));
                self.output = None;
            }
            sound.output = legal;
        }
        if let Some((scratch, place)) = &self.scratch {
            sound.scratch = *scratch;
            if let Err(error) = sound.check() {
                found.push(Diagnostic::in_text(place.span.clone(), plain(&error)));
            }
            sound.scratch = Scratch::default();
        }
        for (layer, span) in &self.layers {
            sound.layers = vec![layer.clone()];
            if let Err(error) = sound.check() {
                found.push(Diagnostic::in_text(span.clone(), plain(&error)));
            }
        }
        found.into_iter().for_each(|mistake| self.problems.report(mistake));
    }

    /// The regions in the order of their automatic addresses.
    fn regions(&self) -> Vec<Region> {
        let region = |name: String, place: &RegionAddress, bytes: u64| Region {
            name,
            address: place.address,
            bytes,
            span: place.span.clone(),
        };
        let mut all = Vec::new();
        for (name, (stream, place)) in
            ["the cold code", "the warm code"].into_iter().zip(&self.streams)
        {
            all.push(region(name.into(), place, stream.dram_bytes()));
        }
        all.extend(
            self.data.iter().map(|(s, place)| {
                region(format!("data `{}`", s.name), place, s.bytes.len() as u64)
            }),
        );
        if let Some((input, place)) = &self.input {
            all.push(region("the input".into(), place, input.shape.values() as u64));
        }
        if let Some((output, place)) = &self.output {
            let mut sized = sound_program(self.point());
            sized.output = output.clone();
            all.push(region("the output".into(), place, sized.output_bytes()));
        }
        if let Some((scratch, place)) =
            self.scratch.as_ref().filter(|(scratch, _)| !scratch.is_empty())
        {
            all.push(region("the scratch region".into(), place, scratch.bytes.into()));
        }
        all
    }

    /// Stores addresses given in the order of [`Assembler::regions`].
    fn place_all(&mut self, places: &[u32]) {
        let mut places = places.iter().copied();
        let mut next = || places.next().expect("every region has a place");
        self.streams.iter_mut().for_each(|(stream, _)| stream.dram = next());
        self.data.iter_mut().for_each(|(segment, _)| segment.dram = next());
        if let Some((input, _)) = &mut self.input {
            input.dram = next();
        }
        if let Some((output, _)) = &mut self.output {
            output.dram = next();
        }
        if let Some((scratch, _)) = self.scratch.as_mut().filter(|(scratch, _)| !scratch.is_empty())
        {
            scratch.dram = next();
        }
        for (name, section, offset) in &self.labels {
            let base = match section {
                Section::Data(index) => self.data[*index].0.dram,
                Section::Warm => self.streams[WARM].0.dram,
                _ => self.streams[COLD].0.dram,
            };
            // A label behind the last byte of DRAM has no address; it wraps, as the machine's
            // adders do.
            self.scope.place(name, base.wrapping_add(*offset as u32));
        }
        self.scope.place(text::INPUT, self.input.as_ref().map_or(0, |(input, _)| input.dram));
        self.scope.place(text::OUTPUT, self.output.as_ref().map_or(0, |(output, _)| output.dram));
        self.scope.laid_out();
    }

    fn read_late_lines(&mut self) {
        for line in std::mem::take(&mut self.late) {
            let mut cursor = Cursor::new(self.source, line.at);
            self.section = line.section;
            if let Err(mistake) = self.late_line(&mut cursor, &line) {
                self.problems.report(mistake);
            }
        }
    }

    fn late_line(&mut self, cursor: &mut Cursor<'s>, line: &LateLine) -> Parsed<()> {
        if line.section.streams().is_empty() {
            let word = cursor.run();
            // What the line takes is counted already.
            let counted = std::mem::take(&mut self.data_bytes);
            let values = self.data_values(cursor, word);
            self.data_bytes = counted;
            let (bytes, _) = values?;
            let start = line.offsets[0];
            self.buffer(line.section)[start..start + bytes.len()].copy_from_slice(&bytes);
            return Ok(());
        }
        let encoded = instruction(cursor, &self.scope, &self.semaphore_words, &mut self.problems)?;
        for &stream in line.section.streams() {
            self.streams[stream].0.words[line.offsets[stream]] = encoded.word;
        }
        Ok(())
    }

    fn take_program(&mut self, file: &str) -> Option<Program> {
        let [(cold, _), (warm, _)] = std::mem::take(&mut self.streams);
        Some(Program {
            name: self.name.take().unwrap_or_else(|| stem(file).into()),
            hardware: self.point(),
            cold,
            warm,
            data: std::mem::take(&mut self.data).into_iter().map(|(segment, _)| segment).collect(),
            input: self.input.take()?.0,
            output: self.output.take()?.0,
            scratch: self.scratch.take().map_or(Scratch::default(), |(scratch, _)| scratch),
            sample: self.sample.take().map(|(bytes, _)| bytes),
            layers: std::mem::take(&mut self.layers).into_iter().map(|(layer, _)| layer).collect(),
            semaphores: std::mem::take(&mut self.semaphores),
        })
    }
}

/// Reads a block of RON.
fn ron<T: for<'de> Deserialize<'de>>(cursor: &mut Cursor, what: &str) -> Parsed<(T, Span)> {
    let (block, span) = cursor.block(what)?;
    let value = text::from_ron(&block).map_err(|error| {
        // Comments are blanks in `block`; where one has characters of several bytes, the place is
        // searched by line and column.
        let source = cursor.slice(&span);
        let place = |offset: usize| {
            let before = &block[..offset];
            let line = 1 + before.matches('\n').count();
            let column = 1 + before.chars().rev().take_while(|&c| c != '\n').count();
            span.start + text::offset(source, line, column)
        };
        Diagnostic::in_text(place(error.place.start)..place(error.place.end), error.message)
    })?;
    Ok((value, span))
}

/// Reads a name, quoted if it is none that can stand alone: the name, its place, whether it was
/// quoted.
fn name_or_quoted(cursor: &mut Cursor) -> Parsed<(String, Span, bool)> {
    if cursor.peek() == Some(b'"') {
        let (name, span) = cursor.quoted()?;
        return Ok((name, span, true));
    }
    match cursor.name() {
        Some(span) => Ok((cursor.slice(&span).into(), span, false)),
        None => Err(Diagnostic::in_text(cursor.here(), "expected a name").cause(
            "a name is letters, digits, `_` and `.`; any other text is put in double quotes",
        )),
    }
}

/// Refuses a directive that stands twice.
fn once(already: bool, word: &Span) -> Parsed<()> {
    if already {
        Err(Diagnostic::in_text(word.clone(), "this directive stands twice"))
    } else {
        Ok(())
    }
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| Some(c.to_digit(16)? as u8))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// The name of a file without folders and ending.
fn stem(file: &str) -> &str {
    let base = file.rsplit(['/', '\\']).next().unwrap_or(file);
    base.rsplit_once('.').map_or(base, |(stem, _)| stem)
}

/// A refusal of the program's check, in words for one who wrote the text.
fn plain(error: &ProgramError) -> String {
    match error {
        ProgramError::Damaged(why) => why.clone(),
        other => other.to_string(),
    }
}

/// The smallest program that is sound, out of the way of what is put into it at address 0.
fn sound_program(hardware: HardwarePoint) -> Program {
    let vector = "(shape: (channels: 1, height: 1, width: 1))";
    let mut input = text::from_ron::<InputText>(vector).ok().expect("a legal input").descriptor();
    let mut output =
        text::from_ron::<OutputText>(vector).ok().expect("a legal output").descriptor();
    let stream = |dram| Stream { dram, words: vec![1], layers: vec![None] };
    input.dram = 0xffff_0000;
    output.dram = 0xffff_1000;
    Program {
        name: String::new(),
        hardware,
        cold: stream(0xffff_8000),
        warm: stream(0xffff_9000),
        data: Vec::new(),
        input,
        output,
        scratch: Scratch::default(),
        sample: None,
        layers: Vec::new(),
        semaphores: Vec::new(),
    }
}
