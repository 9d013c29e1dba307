//! What bounds each layer of a program, and which parameter would help.
//!
//! **What bounds it** is counted, not estimated. Every cycle of an image is charged to one cause:
//! in a cycle in which the array works, the array; in any other, whoever the array waits for,
//! followed from unit to unit until one is met that works (`Accountant::unit` has the rules). So
//! the charges of a layer add up to its cycles. A resource can be the bound without ever being
//! waited for long (a drain that keeps up with the array to the cycle), so a layer is *bound by*
//! what was occupied for most of its cycles: working for this layer, or charged.
//!
//! **Which parameter would help** is found by simulating the point once more for each parameter,
//! with twice its value (half, where the value is a latency) and everything else as it was.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use qnnsim_isa::hardware::{HardwarePoint, Overrides, PARAMETERS, Parameter};
use qnnsim_isa::table::Action;
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::report::{ColdWarm, Report};
use qnnsim_simulator::timing::{self, Code, FrontEnd, Issue, Observer, Stall, Start, Work};
use qnnsim_simulator::{Fault, Technology, Trap};
use rayon::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::subject::{Refusal, RefusalKind, Subject, simulate};

/// What a cycle can be charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The array computes.
    Array,
    /// The threshold unit drains a bank, or its words are written.
    Drain,
    /// LOAD writes or packs what has arrived.
    Load,
    /// STORE reads the activation memory.
    Store,
    /// Bursts are under way, or the DRAM accepts none.
    Dram,
    /// The front end: code that is not there, one word decoded a cycle, CFG, HALT.
    Fetch,
    /// Nothing works: a post is in a pipe, a SYNC passes, units wait for each other's hand-off.
    Semaphores,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Cause; 7] = [
        Cause::Array,
        Cause::Drain,
        Cause::Load,
        Cause::Store,
        Cause::Dram,
        Cause::Fetch,
        Cause::Semaphores,
    ];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        ["array", "drain", "load", "store", "dram", "fetch", "semaphores"][self as usize]
    }
}

/// Cycles by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cycles([u64; Cause::ALL.len()]);

impl Cycles {
    /// Of one cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// Of all.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The cause with the most; of equal ones the first.
    fn most(&self) -> Cause {
        let first = Cause::ALL[0];
        Cause::ALL
            .into_iter()
            .fold(first, |best, cause| if self.of(cause) > self.of(best) { cause } else { best })
    }
}

impl Serialize for Cycles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Cause::ALL.len()))?;
        Cause::ALL
            .into_iter()
            .try_for_each(|cause| map.serialize_entry(cause.name(), &self.of(cause)))?;
        map.end()
    }
}

impl JsonSchema for Cycles {
    fn schema_name() -> Cow<'static, str> {
        "Cycles".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names = Cause::ALL.map(Cause::name);
        let cycles = generator.subschema_for::<u64>();
        let properties: BTreeMap<&str, &Schema> = names.map(|name| (name, &cycles)).into();
        json_schema!({
            "description": "Cycles by what they are charged to.",
            "type": "object",
            "properties": properties,
            "required": names
        })
    }
}

/// Where the cycles of a row of the report go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Every cycle, by what it is charged to.
    pub charged: Cycles,
    /// Cycles in which each resource works for this row, or is charged.
    pub occupied: Cycles,
}

/// Runs an image and accounts for every cycle of it. `spans` are the cycles of the rows `fetch`,
/// the layers, `tail`.
///
/// # Errors
/// The program traps.
pub fn account(program: &Program, start: Start, spans: &[u64]) -> Result<Vec<Account>, Trap> {
    let code = [Code::new(&program.cold), Code::new(&program.warm)];
    let layers = &[&program.cold, &program.warm][start as usize].layers;
    let mut accountant = Accountant::new(&program.hardware, &code[start as usize], layers, spans);
    timing::run(program, [&code[0], &code[1]], start, &mut accountant)?;
    Ok(accountant.finish())
}

/// A stage that is held, and for which row of the report.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    until: u64,
    row: usize,
    sync: bool,
}

impl Held {
    fn works(&self, now: u64) -> bool {
        self.until > now && !self.sync
    }
}

/// Follows an image in order; keeps nothing that grows with it.
#[derive(Debug)]
struct Accountant<'a> {
    hw: &'a HardwarePoint,
    layers: &'a [Option<u32>],
    /// For each row, the cycle in which the next one begins.
    ends: Vec<u64>,
    rows: Vec<Account>,
    row: usize,
    /// For each semaphore, the units whose instructions post it.
    posted_by: [[bool; 4]; 16],
    stages: [Held; 4],
    stalls: [Option<Stall>; 4],
    load_write: Held,
    thr_write: Held,
    /// From here on each unit's pipe is empty, if nothing waits between its stages.
    pipes: [u64; 4],
    /// When LOAD's steps that wait for their write have arrived.
    arrivals: VecDeque<u64>,
    /// STORE's steps that wait for their burst.
    reads: usize,
    /// Ends of the last bursts.
    load_bursts: u64,
    store_bursts: u64,
    /// The bus: first cycle, end and row of each transfer.
    bus: VecDeque<(u64, u64, usize)>,
}

impl<'a> Accountant<'a> {
    fn new(hw: &'a HardwarePoint, code: &Code, layers: &'a [Option<u32>], spans: &[u64]) -> Self {
        let mut posted_by = [[false; 4]; 16];
        for (_, action) in code.words().iter().flatten() {
            let (Action::Sync(unit, steps) | Action::Work(unit, steps)) = action else { continue };
            for (s, units) in posted_by.iter_mut().enumerate() {
                units[*unit as usize] |= steps.post >> s & 1 == 1;
            }
        }
        let ends = spans.iter().scan(0, |end, span| {
            *end += span;
            Some(*end)
        });
        Accountant {
            hw,
            layers,
            ends: ends.collect(),
            rows: vec![Account::default(); spans.len()],
            row: 0,
            posted_by,
            stages: [Held::default(); 4],
            stalls: [None; 4],
            load_write: Held::default(),
            thr_write: Held::default(),
            pipes: [0; 4],
            arrivals: VecDeque::new(),
            reads: 0,
            load_bursts: 0,
            store_bursts: 0,
            bus: VecDeque::new(),
        }
    }

    /// The accounts. The image's last cycle is HALT's.
    fn finish(mut self) -> Vec<Account> {
        if let Some(last) = self.rows.last_mut() {
            last.charged.0[Cause::Fetch as usize] += 1;
            last.occupied.0[Cause::Fetch as usize] += 1;
        }
        self.rows
    }

    /// The row of an instruction's layer; no row for none.
    fn row_of(&self, word: Option<u32>) -> usize {
        word.and_then(|word| self.layers[word as usize])
            .map_or(usize::MAX, |layer| layer as usize + 1)
    }

    /// What a cycle is charged to.
    fn cause(&self, front_end: FrontEnd, now: u64) -> Cause {
        let mac = Unit::Mac as usize;
        if self.stages[mac].until > now || self.stalls[mac].is_some() {
            return self.unit(Unit::Mac, front_end, now, [false; 4]);
        }
        // The array has no instruction. What it has left may still be drained; else whoever keeps
        // the next one from it.
        if self.stages[Unit::Thr as usize].works(now) || self.thr_write.works(now) {
            return Cause::Drain;
        }
        self.no_instruction(front_end, now, [false; 4])
    }

    /// What a unit does, or whoever it waits for. `seen` are units on the way here: waiting for one
    /// of them, with none at work, is a hand-off on its way.
    fn unit(&self, unit: Unit, front_end: FrontEnd, now: u64, mut seen: [bool; 4]) -> Cause {
        if std::mem::replace(&mut seen[unit as usize], true) {
            return Cause::Semaphores;
        }
        let stage = &self.stages[unit as usize];
        let at_work = match unit {
            Unit::Mac => stage.works(now).then_some(Cause::Array),
            Unit::Thr => (stage.works(now) || self.thr_write.works(now)).then_some(Cause::Drain),
            Unit::Load => {
                // While LOAD writes, the next data are on their way: it is LOAD that takes the time
                // only if they wait.
                let (writes, waits) =
                    (self.load_write.works(now), self.arrivals.front().is_some_and(|&t| t <= now));
                match (writes, waits, self.load_bursts > now) {
                    (true, true, _) | (true, false, false) => Some(Cause::Load),
                    // For the port.
                    (false, true, _) => Some(Cause::Drain),
                    (_, false, true) => Some(Cause::Dram),
                    (false, false, false) => None,
                }
            }
            Unit::Store if stage.works(now) => Some(Cause::Store),
            Unit::Store => (self.store_bursts > now || self.reads > 0).then_some(Cause::Dram),
        };
        if let Some(cause) = at_work {
            return cause;
        }
        if stage.until > now {
            return Cause::Semaphores;
        }
        match self.stalls[unit as usize] {
            None if self.pipes[unit as usize] > now => Cause::Semaphores,
            None => self.no_instruction(front_end, now, seen),
            Some(Stall::Semaphore(s)) => {
                let posts = |unit: &Unit| {
                    self.posted_by[s as usize][*unit as usize] && !seen[*unit as usize]
                };
                let poster = Unit::ALL.into_iter().find(posts);
                poster.map_or(Cause::Semaphores, |unit| self.unit(unit, front_end, now, seen))
            }
            Some(Stall::Pipe) => Cause::Semaphores,
            Some(Stall::Configure) => Cause::Fetch,
            Some(Stall::Dram) => Cause::Dram,
            Some(Stall::Buffer) => match unit {
                // Its words cannot be written, for LOAD has the port, or have not left the pipe.
                Unit::Thr if self.load_write.works(now) => Cause::Load,
                Unit::Thr | Unit::Mac => Cause::Drain,
                Unit::Load | Unit::Store => Cause::Dram,
            },
            // The activation memory's read port is shared by these two.
            Some(Stall::Port) if unit == Unit::Mac => Cause::Store,
            Some(Stall::Port) => Cause::Array,
        }
    }

    /// Why a unit has no instruction.
    fn no_instruction(&self, front_end: FrontEnd, now: u64, seen: [bool; 4]) -> Cause {
        match front_end {
            FrontEnd::Decode | FrontEnd::Idle => Cause::Fetch,
            // Dispatch is in order.
            FrontEnd::Queue(unit) => self.unit(unit, front_end, now, seen),
            FrontEnd::Halt => {
                // No more is to come; whoever is still at it keeps the image going.
                let left = |unit: &Unit| {
                    let unit = *unit as usize;
                    let until = self.stages[unit].until.max(self.pipes[unit]);
                    !seen[unit] && (until > now || self.stalls[unit].is_some())
                };
                let unit = [Unit::Thr, Unit::Store, Unit::Load].into_iter().find(left);
                unit.map_or(Cause::Fetch, |unit| self.unit(unit, front_end, now, seen))
            }
        }
    }

    /// Charges cycles of one row in which nothing changes.
    fn charge(&mut self, front_end: FrontEnd, from: u64, cycles: u64) {
        let cause = self.cause(front_end, from);
        let row = self.row;
        let works = |held: &Held| held.works(from) && held.row == row;
        let stage = |unit: Unit| works(&self.stages[unit as usize]);
        let busy = [
            (Cause::Array, stage(Unit::Mac)),
            (Cause::Drain, stage(Unit::Thr) || works(&self.thr_write)),
            (Cause::Load, works(&self.load_write)),
            (Cause::Store, stage(Unit::Store)),
        ];
        while self.bus.pop_front_if(|transfer| transfer.1 <= from).is_some() {}
        let until = from + cycles;
        let overlap =
            |&(begin, end, _): &(u64, u64, usize)| end.min(until).saturating_sub(begin.max(from));
        let transfers: u64 =
            self.bus.iter().filter(|transfer| transfer.2 == row).map(overlap).sum();

        let account = &mut self.rows[row];
        account.charged.0[cause as usize] += cycles;
        let occupied = &mut account.occupied.0;
        occupied[cause as usize] += cycles;
        busy.iter().filter(|b| b.1 && b.0 != cause).for_each(|b| occupied[b.0 as usize] += cycles);
        if cause != Cause::Dram {
            occupied[Cause::Dram as usize] += transfers;
        }
    }
}

impl Observer for Accountant<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let row = self.row_of(issue.word);
        let held =
            Held { until: issue.cycle + issue.cycles, row, sync: matches!(issue.work, Work::Sync) };
        let mut stage = |unit: Unit, depth: u32| {
            self.stages[unit as usize] = held;
            if !held.sync {
                self.pipes[unit as usize] = held.until + u64::from(depth);
            }
        };
        match issue.work {
            Work::Fetch { .. } => {}
            Work::Sync => issue.unit.into_iter().for_each(|unit| stage(unit, 0)),
            Work::Mac(_) => stage(Unit::Mac, self.hw.mac_depth),
            Work::Drain(_) => stage(Unit::Thr, self.hw.thr_depth),
            Work::ThrWrite(_) => {
                self.thr_write = held;
                let pipe = &mut self.pipes[Unit::Thr as usize];
                *pipe = held.until.max(*pipe);
            }
            Work::LoadBurst { beats, end, last, .. } => {
                stage(Unit::Load, 0);
                self.load_bursts = end;
                self.pipes[Unit::Load as usize] = end;
                self.bus.push_back((end - beats, end, row));
                if last {
                    self.arrivals.push_back(end);
                }
            }
            Work::LoadWrite(_) => {
                self.load_write = held;
                self.arrivals.pop_front();
                let pipe = &mut self.pipes[Unit::Load as usize];
                *pipe = (held.until + u64::from(self.hw.load_depth)).max(*pipe);
            }
            Work::StoreRead(_) => {
                stage(Unit::Store, 1);
                self.reads += 1;
            }
            Work::StoreBurst { beats, end, .. } => {
                self.store_bursts = end;
                self.reads -= 1;
                self.pipes[Unit::Store as usize] = end + 1;
                self.bus.push_back((end - beats, end, row));
            }
        }
        Ok(())
    }

    fn stall(&mut self, unit: Unit, _: Option<u32>, reason: Stall, _: u64, _: u64) {
        self.stalls[unit as usize] = Some(reason);
    }

    fn elapse(&mut self, front_end: FrontEnd, from: u64, cycles: u64) {
        let (mut now, until) = (from, from + cycles);
        while now < until {
            while self.row + 1 < self.rows.len() && self.ends[self.row] <= now {
                self.row += 1;
            }
            let end =
                if self.row + 1 < self.rows.len() { until.min(self.ends[self.row]) } else { until };
            self.charge(front_end, now, end - now);
            now = end;
        }
        self.stalls = [None; 4];
    }
}

/// A parameter with another value.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Change {
    /// The parameter's key.
    pub parameter: &'static str,
    /// Value of the point that is explained.
    pub from: u32,
    /// Value tried.
    pub to: u32,
}

/// What a row of the report costs with a parameter changed.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct RowFigures {
    /// `fetch`, a layer, or `tail`.
    pub name: String,
    /// Cycles.
    pub cycles: ColdWarm<u64>,
    /// Energy.
    pub energy_pj: ColdWarm<f64>,
}

/// What an image costs.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct Figures {
    /// Cycles of an image.
    pub cycles: ColdWarm<u64>,
    /// Energy of an image.
    pub energy_pj: ColdWarm<f64>,
    /// By row of the report; they add up to the image.
    pub layers: Vec<RowFigures>,
}

impl From<&Report> for Figures {
    fn from(report: &Report) -> Self {
        let row = |layer: &qnnsim_simulator::report::LayerReport| RowFigures {
            name: layer.name.clone(),
            cycles: ColdWarm { cold: layer.cycles_cold, warm: layer.cycles },
            energy_pj: ColdWarm { cold: layer.energy_pj_cold, warm: layer.energy_pj },
        };
        let layers = report.layers.iter().map(row).collect();
        Figures { cycles: report.cycles, energy_pj: report.energy_pj, layers }
    }
}

/// A parameter with another value, simulated.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct Trial {
    /// The parameter and its values.
    #[serde(flatten)]
    pub change: Change,
    /// Parameters that nobody gave a value and that follow from this one.
    pub follow: Vec<Change>,
    /// What the image costs then.
    pub figures: Option<Figures>,
    /// Why that is not known.
    pub not_simulated: Option<Refusal>,
}

/// The trial that saves the most cycles.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Best {
    /// The parameter and its values.
    #[serde(flatten)]
    pub change: Change,
    /// Cycles then.
    pub cycles: u64,
}

/// What bounds a row of the report.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct RowBound {
    /// Cycles.
    pub cycles: u64,
    /// What was occupied for most of them; none if there are none.
    pub bound_by: Option<Cause>,
    /// For which part of the cycles, 0 to 1.
    pub share: f64,
    /// Every cycle, by what it is charged to.
    pub charged_cycles: Cycles,
    /// Cycles in which each resource works for this row or is charged.
    pub occupied_cycles: Cycles,
    /// What would help most; none if nothing tried does.
    pub best: Option<Best>,
}

/// A row of the report, explained.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct RowExplanation {
    /// `fetch`, a layer, or `tail`.
    pub name: String,
    /// In both images.
    #[serde(flatten)]
    pub bound: ColdWarm<RowBound>,
}

/// A program, explained.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct Explanation {
    /// Its report.
    #[serde(skip)]
    pub report: Report,
    /// Cycles of an image.
    pub cycles: ColdWarm<u64>,
    /// Energy of an image.
    pub energy_pj: ColdWarm<f64>,
    /// What would help the whole image most.
    pub best: ColdWarm<Option<Best>>,
    /// Rows `fetch`, the layers, `tail`.
    pub layers: Vec<RowExplanation>,
    /// Every parameter that cycles depend on, in the order of the table.
    pub parameters: Vec<Trial>,
}

/// Parameters that an explanation changes, one after the other.
pub fn trial_count() -> u64 {
    changed().count() as u64
}

fn changed() -> impl Iterator<Item = &'static Parameter> {
    PARAMETERS.iter().filter(|p| p.in_fingerprint)
}

/// Explains a program with a technology, at a clock. `done` is told of each of the [`trial_count`].
///
/// # Errors
/// The program is not one, or traps.
pub fn explain(
    subject: &Subject,
    technology: &Technology,
    clock_mhz: u32,
    done: &(dyn Fn() + Sync),
) -> Result<Explanation, Refusal> {
    let program = subject.program(&Overrides::default())?;
    let report = simulate(&program)?.report(technology, clock_mhz);
    let traps = |trap: Trap| RefusalKind::Traps.because(trap.describe(&program));
    let spans = ColdWarm {
        cold: report.layers.iter().map(|l| l.cycles_cold).collect::<Vec<_>>(),
        warm: report.layers.iter().map(|l| l.cycles).collect(),
    };
    let cold = account(&program, Start::Cold, &spans.cold).map_err(traps)?;
    let warm = account(&program, Start::Warm, &spans.warm).map_err(traps)?;

    let rows: Vec<&Parameter> = changed().collect();
    let parameters: Vec<Trial> = rows
        .par_iter()
        .map(|p| {
            let trial = trial(subject, p, &program.hardware, technology, clock_mhz);
            done();
            trial
        })
        .collect();

    let row = |i: usize| RowExplanation {
        name: report.layers[i].name.clone(),
        bound: ColdWarm {
            cold: bound(
                spans.cold[i],
                &cold[i],
                best(&parameters, spans.cold[i], |figures| figures.layers[i].cycles.cold),
            ),
            warm: bound(
                spans.warm[i],
                &warm[i],
                best(&parameters, spans.warm[i], |figures| figures.layers[i].cycles.warm),
            ),
        },
    };
    let layers = (0..spans.warm.len()).map(row).collect();
    let best = ColdWarm {
        cold: best(&parameters, report.cycles.cold, |figures| figures.cycles.cold),
        warm: best(&parameters, report.cycles.warm, |figures| figures.cycles.warm),
    };
    Ok(Explanation {
        cycles: report.cycles,
        energy_pj: report.energy_pj,
        best,
        layers,
        parameters,
        report,
    })
}

fn bound(cycles: u64, account: &Account, best: Option<Best>) -> RowBound {
    let most = account.occupied.most();
    RowBound {
        cycles,
        bound_by: (cycles > 0).then_some(most),
        share: if cycles == 0 { 0.0 } else { account.occupied.of(most) as f64 / cycles as f64 },
        charged_cycles: account.charged,
        occupied_cycles: account.occupied,
        best,
    }
}

/// The trial with the fewest cycles, if it has fewer than now; of equal ones the first.
fn best(trials: &[Trial], now: u64, cycles: impl Fn(&Figures) -> u64) -> Option<Best> {
    let all = trials.iter().filter_map(|trial| Some((trial, cycles(trial.figures.as_ref()?))));
    let (trial, cycles) = all.min_by_key(|&(_, cycles)| cycles)?;
    (cycles < now).then(|| Best { change: trial.change.clone(), cycles })
}

/// Simulates the point with one parameter doubled.
fn trial(
    subject: &Subject,
    row: &Parameter,
    point: &HardwarePoint,
    technology: &Technology,
    clock_mhz: u32,
) -> Trial {
    let value = |point: &HardwarePoint, key: &str| {
        let at = PARAMETERS.iter().position(|p| p.key == key).expect("a row of the table");
        point.values()[at]
    };
    let from = value(point, row.key);
    // Of a latency less is more.
    let to = if row.unit == "cycles" { from.div_ceil(2) } else { from * 2 };
    let change = Change { parameter: row.key, from, to };
    let mut follow = Vec::new();
    let mut figures = || {
        if to == from {
            return Err(RefusalKind::InvalidPoint
                .because(format_args!("{}={from} is the least it can be", row.key)));
        }
        let mut overrides = Overrides::default();
        overrides.set(&format!("{}={to}", row.key))?;
        let program = subject.program(&overrides)?;
        for p in PARAMETERS.iter().filter(|p| p.key != row.key) {
            let (from, to) = (value(point, p.key), value(&program.hardware, p.key));
            if from != to {
                follow.push(Change { parameter: p.key, from, to });
            }
        }
        Ok(Figures::from(&simulate(&program)?.report(technology, clock_mhz)))
    };
    let (figures, not_simulated) = match figures() {
        Ok(figures) => (Some(figures), None),
        Err(why) => (None, Some(why)),
    };
    Trial { change, follow, figures, not_simulated }
}
