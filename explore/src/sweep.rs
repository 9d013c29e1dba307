//! A sweep: every group of points simulated once, or skipped because its bounds say that it cannot
//! reach the front.
//!
//! What comes out depends on the space, the objectives and the shard alone: not on threads, not on
//! how often the sweep was interrupted. Decisions to skip are made between waves of a fixed size in
//! a fixed order, from exact results.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use qnnsim_simulator::Technology;
use qnnsim_simulator::report::Cost;
use rayon::prelude::*;

use crate::columns::{Figures, Status, columns, row};
use crate::evaluate::{Group, Outcome, Prospect, Source, groups};
use crate::pareto::{Fronts, Objectives};
use crate::space::Point;
use crate::table::{Table, Value};

/// Groups that are simulated between two looks at the front.
const WAVE_GROUPS: usize = 64;

/// One of several parts of a space: `index` of `count`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which.
    pub index: u64,
    /// How many.
    pub count: u64,
}

impl Shard {
    /// The whole space.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    fn holds(self, number: u64) -> bool {
        number % self.count == self.index
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `I/N`, I from 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index @ 1.., count)) if index <= count => Ok(Shard { index: index - 1, count }),
            _ => Err("must be I/N, part I of N, with I from 1 to N".into()),
        }
    }
}

/// What a sweep is told while it runs, from any thread.
pub trait Watch: Sync {
    /// Why it must stop.
    type Error: Send;

    /// A group was simulated.
    ///
    /// # Errors
    /// Stops the sweep.
    fn simulated(&self, group: usize, outcome: &Outcome) -> Result<(), Self::Error>;

    /// So many more points have their place in the table.
    fn settled(&self, points: u64) {
        let _ = points;
    }
}

/// The points of a space with all that is needed to simulate them.
pub struct Sweep<'a> {
    sources: &'a [Source],
    /// By name.
    technologies: &'a BTreeMap<String, Technology>,
    points: &'a [Point],
    groups: Vec<Group>,
}

/// What became of a group.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large variant")]
enum Fate {
    /// The compiler refuses it.
    Hopeless(String),
    /// Its points cannot reach the front: by member, the number of a point that dominates it.
    Skipped(Vec<u64>),
    Simulated(Outcome),
}

/// A group before it is simulated.
struct Candidate {
    group: usize,
    /// Members, and the least of their costs.
    members: Vec<(usize, Vec<f64>)>,
}

impl<'a> Sweep<'a> {
    /// Groups the points. Every technology that a point names must be there.
    pub fn new(
        sources: &'a [Source],
        technologies: &'a BTreeMap<String, Technology>,
        points: &'a [Point],
    ) -> Self {
        Sweep { sources, technologies, points, groups: groups(sources, points) }
    }

    /// Points of a shard.
    pub fn count(&self, shard: Shard) -> u64 {
        self.members(shard).len() as u64
    }

    /// Simulations that the space takes without a filter.
    pub fn simulations(&self) -> usize {
        self.groups.len()
    }

    /// Runs the shard. Outcomes that are known already are not simulated again; with `filter`,
    /// points that cannot reach the front are skipped.
    ///
    /// # Errors
    /// What the watch says.
    pub fn run<W: Watch>(
        &self,
        objectives: &Objectives,
        shard: Shard,
        filter: bool,
        known: &HashMap<usize, Outcome>,
        watch: &W,
    ) -> Result<Table, W::Error> {
        let mut fates: Vec<Option<Fate>> = Vec::new();
        fates.resize_with(self.groups.len(), || None);
        let mine: Vec<usize> =
            (0..self.groups.len()).filter(|&group| shard.holds(group as u64)).collect();
        let filter = if filter { Some(objectives) } else { None };
        let tell = |points: usize| watch.settled(points as u64);

        let prospects: Vec<Result<Candidate, String>> =
            mine.par_iter().map(|&group| self.prospect(group, filter)).collect();
        let mut open = Vec::new();
        for (&group, prospect) in mine.iter().zip(prospects) {
            match prospect {
                Ok(candidate) => open.push(candidate),
                Err(why) => {
                    fates[group] = Some(Fate::Hopeless(why));
                    tell(self.groups[group].members.len());
                }
            }
        }

        let mut fronts = Fronts::new();
        for wave in self.waves(open, filter.is_some()) {
            let mut chosen = Vec::new();
            for candidate in wave {
                let source = self.groups[candidate.group].source;
                match filter.and_then(|_| dominators(&candidate, fronts.get(&source)?)) {
                    Some(by) => {
                        fates[candidate.group] = Some(Fate::Skipped(by));
                        tell(self.groups[candidate.group].members.len());
                    }
                    None => chosen.push(candidate),
                }
            }
            let outcomes: Vec<Outcome> = chosen
                .par_iter()
                .map(|candidate| {
                    let Group { source, hw, members } = &self.groups[candidate.group];
                    let outcome = match known.get(&candidate.group) {
                        Some(outcome) => outcome.clone(),
                        None => {
                            let outcome = self.sources[*source].evaluate(hw);
                            watch.simulated(candidate.group, &outcome)?;
                            outcome
                        }
                    };
                    tell(members.len());
                    Ok(outcome)
                })
                .collect::<Result<_, W::Error>>()?;
            for (candidate, outcome) in chosen.into_iter().zip(outcomes) {
                if let Outcome::Exact(cost) = &outcome {
                    let front = fronts.entry(self.groups[candidate.group].source).or_default();
                    for (member, _) in candidate.members {
                        let point = &self.points[member];
                        front.add(
                            point.index,
                            &self.with_figures(point, cost, |f| objectives.costs(f)),
                        );
                    }
                }
                fates[candidate.group] = Some(Fate::Simulated(outcome));
            }
        }
        Ok(self.table(objectives, shard, &fates, &fronts))
    }

    /// Whether and how a group may run; otherwise why it does not fit.
    fn prospect(&self, group: usize, filter: Option<&Objectives>) -> Result<Candidate, String> {
        let Group { source, hw, members } = &self.groups[group];
        let bound = match self.sources[*source].prospect(hw) {
            Prospect::Open { bound } => bound,
            Prospect::Closed(why) => return Err(why),
        };
        let least = |&member: &usize| {
            let point = &self.points[member];
            let least = |objectives: &Objectives| {
                self.with_figures(point, &bound, |figures| objectives.least(figures))
            };
            (member, filter.map(least).unwrap_or_default())
        };
        Ok(Candidate { group, members: members.iter().map(least).collect() })
    }

    /// The order of simulation, in waves. With a filter, what promises most comes first: by the sum
    /// of its places in the orders of the objectives.
    fn waves(&self, mut open: Vec<Candidate>, filter: bool) -> Vec<Vec<Candidate>> {
        let length = if filter { WAVE_GROUPS } else { open.len().max(1) };
        if filter {
            let best = |candidate: &Candidate, o: usize| {
                candidate.members.iter().map(|(_, costs)| costs[o]).fold(f64::INFINITY, f64::min)
            };
            let objectives = open.first().map_or(0, |candidate| candidate.members[0].1.len());
            let mut places = vec![0u64; open.len()];
            for o in 0..objectives {
                let mut order: Vec<usize> = (0..open.len()).collect();
                order.sort_by(|&a, &b| best(&open[a], o).total_cmp(&best(&open[b], o)));
                order.into_iter().enumerate().for_each(|(place, i)| places[i] += place as u64);
            }
            let mut ranked: Vec<(u64, Candidate)> = places.into_iter().zip(open).collect();
            ranked.sort_by_key(|(place, candidate)| (*place, candidate.group));
            open = ranked.into_iter().map(|(_, candidate)| candidate).collect();
        }
        let mut waves = Vec::new();
        let mut rest = open.into_iter().peekable();
        while rest.peek().is_some() {
            waves.push(rest.by_ref().take(length).collect());
        }
        waves
    }

    fn with_figures<R>(&self, point: &Point, cost: &Cost, f: impl FnOnce(&Figures) -> R) -> R {
        let hw = point.hw.as_ref().expect("only points with a machine have a group");
        let technology = &self.technologies[&hw.technology];
        f(&Figures::new(hw, technology, self.sources[point.source].layers(), cost))
    }

    /// Points of a shard, in the order of the space.
    fn members(&self, shard: Shard) -> Vec<usize> {
        let groups = self.groups.iter().enumerate().filter(|&(group, _)| shard.holds(group as u64));
        let grouped = groups.flat_map(|(_, group)| group.members.iter().copied());
        let contradictory = self.points.iter().enumerate();
        let contradictory = contradictory.filter(|(_, p)| p.hw.is_err() && shard.holds(p.index));
        let mut all: Vec<usize> = grouped.chain(contradictory.map(|(i, _)| i)).collect();
        all.sort_unstable();
        all
    }

    fn table(
        &self,
        objectives: &Objectives,
        shard: Shard,
        fates: &[Option<Fate>],
        fronts: &Fronts,
    ) -> Table {
        let mut places: Vec<Option<(usize, usize)>> = vec![None; self.points.len()];
        for (number, group) in self.groups.iter().enumerate() {
            group
                .members
                .iter()
                .enumerate()
                .for_each(|(place, &point)| places[point] = Some((number, place)));
        }
        let row = |&i: &usize| self.row(objectives, &self.points[i], places[i], fates, fronts);
        Table { columns: columns(), rows: self.members(shard).par_iter().map(row).collect() }
    }

    fn row(
        &self,
        objectives: &Objectives,
        point: &Point,
        place: Option<(usize, usize)>,
        fates: &[Option<Fate>],
        fronts: &Fronts,
    ) -> Vec<Value> {
        let source = &self.sources[point.source];
        let without = |status| row(point, &source.name, &status, None, None);
        let Some((group, place)) = place else {
            let why = point.hw.as_ref().err().map(ToString::to_string);
            return without(Status::Invalid(why.unwrap_or_default()));
        };
        let fate =
            fates[group].as_ref().expect("every group of a shard has a fate when it is complete");
        match fate {
            Fate::Hopeless(why) => without(Status::Unfit(why.clone())),
            Fate::Skipped(by) => {
                let by = by[place];
                without(Status::Skipped(format!(
                    "point {by} is better than the least that this one takes"
                )))
            }
            Fate::Simulated(Outcome::Trap(why)) => without(Status::Trap(why.clone())),
            Fate::Simulated(Outcome::Unfit(why)) => without(Status::Unfit(why.clone())),
            Fate::Simulated(Outcome::Exact(cost)) => self.with_figures(point, cost, |figures| {
                let front = &fronts[&point.source];
                let pareto = front.dominator(&objectives.costs(figures)).is_none();
                row(point, &source.name, &Status::Ok, Some(pareto), Some(figures))
            }),
        }
    }
}

/// For each member a point of the front that dominates all it can be; none if one may reach it.
fn dominators(candidate: &Candidate, front: &crate::pareto::Front) -> Option<Vec<u64>> {
    candidate.members.iter().map(|(_, least)| front.dominator(least)).collect()
}
