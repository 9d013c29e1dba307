//! Waveforms: the signals of a machine over its cycles, in FST and VCD.
//!
//! A signal has in a cycle the value that the decisions of this cycle see. The simulator and the
//! RTL have the same signals under the same names; what only one of them knows is another's without.

use std::io::{self, Seek, Write};

use qnnsim_isa::operand::{Memory, semaphore_name};
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::timing::{Stall, Work};

use crate::control::Control;
use crate::recording::{Recording, Stage, Waiting};

/// A stage that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The stage.
    pub stage: Stage,
    /// The cycle of the issue.
    pub from: u64,
    /// The cycle after the last in which it is held.
    pub to: u64,
    /// Index of the instruction.
    pub word: Option<u32>,
    /// It holds the activation memory's read port (0) or write port (1).
    pub port: Option<usize>,
}

/// What registers hold from a cycle on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// The cycle.
    pub cycle: u64,
    /// The semaphores.
    pub semaphores: [u32; 16],
    /// Words in the units' queues.
    pub queues: [u32; 4],
    /// Words in the code queue.
    pub code_queue: u32,
}

/// An image as signals show it.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// It is a warm one.
    pub warm: bool,
    /// Its cycles.
    pub cycles: u64,
    /// Stages that are held, in any order.
    pub held: Vec<Held>,
    /// Levels, by cycle; they stay until the next.
    pub levels: Vec<Levels>,
    /// Waits by unit, which only the simulator tells.
    pub waiting: Option<[Vec<Waiting>; 4]>,
    /// Buffers in use and bursts outstanding by cycle, which only the simulator tells: LOAD, THR,
    /// STORE, DRAM.
    pub buffers: Option<Vec<(u64, [u32; 4])>>,
}

/// A signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The scope within `machine`.
    pub scope: String,
    /// Its name there.
    pub name: String,
    /// Its bits.
    pub bits: u32,
}

/// Signals and their changes.
#[derive(Debug, Clone)]
pub struct Wave {
    /// The signals; those of a scope are neighbours.
    pub signals: Vec<Signal>,
    /// Cycle, signal, value, in the order of cycles. In cycle 0 every signal has a value.
    pub changes: Vec<(u64, usize, u64)>,
    /// The cycle behind the last.
    pub end: u64,
}

/// The number of a reason to wait, as the signal `stall` has it; 0 is none.
fn stall_number(reason: Stall) -> u64 {
    match reason {
        Stall::Semaphore(_) => 1,
        Stall::Pipe => 2,
        Stall::Buffer => 3,
        Stall::Port => 4,
        Stall::Dram => 5,
        Stall::Configure => 6,
    }
}

/// The simulator's signals of an image.
pub fn of_recording(recording: &Recording) -> Image {
    let port = |work: &Work| match work {
        Work::Mac(_) | Work::StoreRead(_) => Some(0),
        Work::ThrWrite(_) => Some(1),
        Work::LoadWrite(step) => matches!(step.memory, Memory::Act | Memory::Pack).then_some(1),
        Work::Sync
        | Work::Fetch { .. }
        | Work::LoadBurst { .. }
        | Work::Drain(_)
        | Work::StoreBurst { .. } => None,
    };
    let held = |step: &crate::recording::Step| Held {
        stage: Stage::of(&step.issue),
        from: step.issue.cycle,
        to: step.issue.cycle + step.issue.cycles,
        word: step.issue.word,
        port: port(&step.issue.work),
    };
    let mut control = Control::new(recording);
    let level = |control: &Control, cycle: u64| Levels {
        cycle,
        semaphores: control.semaphores,
        queues: control.units.each_ref().map(|unit| unit.queue.len() as u32),
        code_queue: control.code_queue,
    };
    let used = |control: &Control| {
        let [load, thr, store] = control.buffers;
        [load, thr, store, control.outstanding]
    };
    let mut levels = vec![level(&control, 0)];
    let mut buffers = vec![(0, used(&control))];
    let entries = recording.entries();
    let mut at = 0;
    while at < entries.len() {
        let cycle = entries[at].cycle;
        // What becomes visible is seen in its cycle, what is decided in the next.
        for decided in [false, true] {
            while entries
                .get(at)
                .is_some_and(|e| e.cycle == cycle && e.event.is_decided() == decided)
            {
                control.apply(recording, entries[at].event);
                at += 1;
            }
            let seen = cycle + u64::from(decided);
            levels.push(level(&control, seen));
            buffers.push((seen, used(&control)));
        }
    }
    // Of several in a cycle the last is seen.
    levels.dedup_by(|next, kept| {
        let same = next.cycle == kept.cycle;
        if same {
            *kept = *next;
        }
        same
    });
    buffers.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            *kept = *next;
        }
        same
    });
    Image {
        warm: recording.start() == qnnsim_simulator::Start::Warm,
        cycles: recording.cycles(),
        held: recording.steps().iter().map(held).collect(),
        levels,
        waiting: Some(Unit::ALL.map(|unit| recording.waiting(unit).to_vec())),
        buffers: Some(buffers),
    }
}

/// Builds the changes of one signal after the other.
struct Builder {
    signals: Vec<Signal>,
    changes: Vec<(u64, usize, u64)>,
    end: u64,
}

impl Builder {
    /// A signal from its values: cycle and value, of which the last in a cycle counts.
    fn signal(&mut self, scope: &str, name: &str, bits: u32, mut values: Vec<(u64, u64)>) {
        values.sort_by_key(|value| value.0);
        let number = self.signals.len();
        self.signals.push(Signal { scope: scope.into(), name: name.into(), bits });
        let mut before = None;
        if values.first().is_none_or(|first| first.0 > 0) {
            values.insert(0, (0, 0));
        }
        for (i, &(cycle, value)) in values.iter().enumerate() {
            let last = values.get(i + 1).is_none_or(|next| next.0 != cycle);
            if last && cycle < self.end && before != Some(value) {
                self.changes.push((cycle, number, value));
                before = Some(value);
            }
        }
    }

    /// A signal that is up while something is held. Neighbours may touch or overlap.
    fn flag(&mut self, scope: &str, name: &str, mut spans: Vec<(u64, u64)>) {
        spans.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (from, to) in spans {
            match joined.last_mut() {
                Some(last) if last.1 >= from => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        let values = joined.into_iter().flat_map(|(from, to)| [(from, 1), (to, 0)]).collect();
        self.signal(scope, name, 1, values);
    }
}

/// Scope of a stage.
fn scope(stage: Stage) -> &'static str {
    ["fetch", "ld", "ld_write", "mac", "thr", "thr_write", "st", "st_burst"][stage as usize]
}

/// A name as waveform viewers take it.
fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// The signals of images that follow one another.
pub fn wave(program: &Program, images: &[Image]) -> Wave {
    let mut begins = Vec::new();
    let mut end = 0;
    for image in images {
        begins.push(end);
        end += image.cycles.max(1);
    }
    let all = || begins.iter().copied().zip(images);
    let mut builder = Builder { signals: Vec::new(), changes: Vec::new(), end };
    let warm = all().map(|(begin, image)| (begin, image.warm.into())).collect();
    builder.signal("machine", "warm", 1, warm);
    let queue = |of: &dyn Fn(&Levels) -> u32| -> Vec<(u64, u64)> {
        let levels = all().flat_map(|(begin, image)| {
            let within = image.levels.iter().filter(|l| l.cycle < image.cycles);
            within.map(move |level| (begin + level.cycle, level))
        });
        levels.map(|(cycle, level)| (cycle, of(level).into())).collect()
    };
    builder.signal("machine", "code_queue", 16, queue(&|level| level.code_queue));
    for (port, name) in ["act_read_port", "act_write_port"].into_iter().enumerate() {
        let held = all().flat_map(|(begin, image)| {
            let held = image.held.iter().filter(move |held| held.port == Some(port));
            held.map(move |held| (begin + held.from, begin + held.to))
        });
        builder.flag("machine", name, held.collect());
    }
    for stage in Stage::ALL {
        let held = || {
            all().flat_map(move |(begin, image)| {
                let held = image.held.iter().filter(move |held| held.stage == stage);
                held.map(move |held| (begin, held))
            })
        };
        let scope = scope(stage);
        builder.flag(
            scope,
            "issue",
            held().map(|(begin, h)| (begin + h.from, begin + h.from + 1)).collect(),
        );
        builder.flag(scope, "busy", held().map(|(b, h)| (b + h.from, b + h.to)).collect());
        if stage == Stage::Fetch {
            continue;
        }
        let words = held().filter_map(|(b, h)| Some((b + h.from, u64::from(h.word?)))).collect();
        builder.signal(scope, "instruction", 20, words);
        let Some(unit) = Unit::ALL.into_iter().find(|u| Stage::issuing(*u) == stage) else {
            continue;
        };
        builder.signal(scope, "queue", 16, queue(&|level| level.queues[unit as usize]));
        if all().all(|(_, image)| image.waiting.is_some()) {
            let waits = || {
                all().flat_map(|(begin, image)| {
                    let waits = image.waiting.iter().flat_map(|w| &w[unit as usize]);
                    waits.map(move |w| (begin, w))
                })
            };
            // A wait ends before another begins in the same cycle.
            let values = |of: &dyn Fn(&Waiting) -> u64| -> Vec<(u64, u64)> {
                let both = waits().flat_map(|(b, w)| [(b + w.from, of(w)), (b + w.to, 0)]);
                let mut both: Vec<(u64, u64)> = both.collect();
                both.sort_by_key(|&(cycle, value)| (cycle, value != 0));
                both
            };
            builder.signal(scope, "stall", 3, values(&|w| stall_number(w.reason)));
            let semaphore = |w: &Waiting| match w.reason {
                Stall::Semaphore(s) => u64::from(s),
                _ => 0,
            };
            builder.signal(scope, "stall_semaphore", 4, values(&semaphore));
        }
    }
    if all().all(|(_, image)| image.buffers.is_some()) {
        let names = ["load_buffers", "thr_buffers", "store_buffers", "dram_outstanding"];
        for (i, name) in names.into_iter().enumerate() {
            let values = all().flat_map(|(begin, image)| {
                let within = image.buffers.iter().flatten().filter(|(c, _)| *c < image.cycles);
                within.map(move |(cycle, used)| (begin + cycle, u64::from(used[i])))
            });
            builder.signal("buffers", name, 16, values.collect());
        }
    }
    for s in 0..16 {
        let name = identifier(&semaphore_name(&program.semaphores, s));
        builder.signal("semaphores", &name, 16, queue(&|level| level.semaphores[s]));
    }
    let Builder { signals, mut changes, end } = builder;
    changes.sort_by_key(|&(cycle, signal, _)| (cycle, signal));
    Wave { signals, changes, end }
}

impl Wave {
    /// The same of some cycles only.
    #[must_use]
    pub fn between(&self, from: u64, to: u64) -> Wave {
        let mut first = vec![0; self.signals.len()];
        let mut changes = Vec::new();
        for &(cycle, signal, value) in &self.changes {
            if cycle <= from {
                first[signal] = value;
            } else if cycle < to {
                changes.push((cycle, signal, value));
            }
        }
        let begin = first.into_iter().enumerate().map(|(signal, value)| (from, signal, value));
        Wave {
            signals: self.signals.clone(),
            changes: begin.chain(changes).collect(),
            end: to.min(self.end),
        }
    }

    /// Calls `f` for the signals of every scope.
    fn scopes<E>(&self, mut f: impl FnMut(&str, &[Signal]) -> Result<(), E>) -> Result<(), E> {
        self.signals.chunk_by(|a, b| a.scope == b.scope).try_for_each(|all| f(&all[0].scope, all))
    }

    /// Writes FST.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_fst<W: Write + Seek>(&self, clock_mhz: u32, out: W) -> io::Result<W> {
        use fst_writer::{
            FstFileType, FstHeaderWriter, FstInfo, FstScopeType, FstSignalType, FstVarDirection,
            FstVarType,
        };
        let other = |error: fst_writer::FstWriteError| match error {
            fst_writer::FstWriteError::Io(error) => error,
            error => io::Error::other(error.to_string()),
        };
        let info = FstInfo {
            start_time: 0,
            timescale_exponent: -12,
            version: "qnnsim".into(),
            date: String::new(),
            file_type: FstFileType::Verilog,
        };
        let mut header = FstHeaderWriter::new(out, &info).map_err(other)?;
        let mut ids = Vec::new();
        self.scopes(|scope, signals| {
            header.scope(scope, "", FstScopeType::Module)?;
            for signal in signals {
                let kind = FstSignalType::bit_vec(signal.bits);
                let (wire, implicit) = (FstVarType::Wire, FstVarDirection::Implicit);
                ids.push(header.var(&signal.name, kind, wire, implicit, None)?);
            }
            header.up_scope()
        })
        .map_err(other)?;
        let mut body = header.finish().map_err(other)?;
        let mut now = None;
        for &(cycle, signal, value) in &self.changes {
            if now != Some(cycle) {
                body.time_change(ps(cycle, clock_mhz)).map_err(other)?;
                now = Some(cycle);
                // Changes wait in memory until they are written.
                if body.size() > 64 << 20 {
                    body.flush().map_err(other)?;
                }
            }
            let bits = self.signals[signal].bits;
            let text: Vec<u8> =
                (0..bits).rev().map(|bit| b'0' + (value >> bit & 1) as u8).collect();
            body.signal_change(ids[signal], &text).map_err(other)?;
        }
        if now.is_none_or(|now| now < self.end) {
            body.time_change(ps(self.end, clock_mhz)).map_err(other)?;
        }
        body.finish().map_err(other)
    }

    /// Writes VCD.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_vcd(&self, clock_mhz: u32, out: impl Write) -> io::Result<()> {
        let mut writer = vcd::Writer::new(out);
        writer.version("qnnsim")?;
        writer.timescale(1, vcd::TimescaleUnit::PS)?;
        let mut ids = Vec::new();
        self.scopes(|scope, signals| {
            writer.add_module(scope)?;
            for signal in signals {
                ids.push(writer.add_wire(signal.bits, &signal.name)?);
            }
            writer.upscope()
        })?;
        writer.enddefinitions()?;
        let mut now = None;
        for &(cycle, signal, value) in &self.changes {
            if now != Some(cycle) {
                writer.timestamp(ps(cycle, clock_mhz))?;
                now = Some(cycle);
            }
            let bits = self.signals[signal].bits;
            if bits == 1 {
                writer.change_scalar(ids[signal], value == 1)?;
            } else {
                let bits = (0..bits).rev().map(|bit| vcd::Value::from(value >> bit & 1 == 1));
                writer.change_vector(ids[signal], bits)?;
            }
        }
        if now.is_none_or(|now| now < self.end) {
            writer.timestamp(ps(self.end, clock_mhz))?;
        }
        writer.flush()
    }
}

/// The time of the begin of a cycle in picoseconds, rounded down.
pub fn ps(cycle: u64, clock_mhz: u32) -> u64 {
    (u128::from(cycle) * 1_000_000 / u128::from(clock_mhz)) as u64
}
