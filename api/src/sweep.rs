//! A space of hardware points in memory: its table, its front and its report.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use qnnsim_explore::evaluate::{Outcome, Source};
use qnnsim_explore::pareto::Objectives;
use qnnsim_explore::report;
pub use qnnsim_explore::space::Space;
pub use qnnsim_explore::sweep::Shard;
use qnnsim_explore::sweep::{Sweep, Watch};
pub use qnnsim_explore::table::{Column, Table, Value};
use qnnsim_simulator::Technology;
use qnnsim_simulator::report::Report;

use crate::progress::Stopped;
use crate::session::builtin_technology;
use crate::{Error, Model, Progress};

/// What came of a sweep.
#[derive(Debug, Clone)]
pub struct Swept {
    /// A row for each point.
    pub table: Table,
    /// One HTML page that shows it, and needs no other file and no network.
    pub page: String,
}

struct Watcher<'a>(&'a Progress);

impl Watch for Watcher<'_> {
    type Error = Stopped;

    fn simulated(&self, _: usize, _: &Outcome) -> Result<(), Stopped> {
        self.0.check()
    }

    fn settled(&self, points: u64) {
        self.0.advance(points);
    }
}

/// Compiles and simulates the models on every point of a space, whose list of models has a name
/// for each of them, or those of one shard. With `filter`, points that cannot reach the front are skipped, and say so. A
/// step of `progress` is a point.
///
/// # Errors
/// The space has no point or too many, an objective is none, or the caller stopped it.
pub fn sweep(
    models: &[Model],
    space: &Space,
    objectives: &[String],
    shard: Shard,
    filter: bool,
    progress: &Progress,
) -> Result<Swept, Error> {
    let objectives = Objectives::new(objectives).map_err(Error::InvalidInput)?;
    let names = space.source_names();
    let sources: Vec<Source> = models
        .iter()
        .zip(&names)
        .map(|(model, name)| Source::model(name.clone(), model.import().network.clone()))
        .collect();
    let below: Vec<_> = sources.iter().map(Source::hardware).collect();
    let points = space.points(&below)?;
    let technologies: BTreeSet<&String> = points.iter().map(|p| &p.parameters.technology).collect();
    let technologies: BTreeMap<String, Technology> = technologies
        .into_iter()
        .map(|name| Ok((name.clone(), builtin_technology(name)?)))
        .collect::<Result<_, Error>>()?;
    let sweep = Sweep::new(&sources, &technologies, &points);
    progress.expect(sweep.count(shard));
    let table = sweep.run(&objectives, shard, filter, &HashMap::new(), &Watcher(progress))?;

    let axes: Vec<String> = space.varied().into_iter().map(String::from).collect();
    let objectives: Vec<String> = objectives.names().into_iter().map(String::from).collect();
    let title = format!("Hardware for {}", names.join(", "));
    let whole = report::Sweep {
        title: &title,
        table: &table,
        axes: &axes,
        objectives: &objectives,
        points: &[],
        commands: &[],
        facts: &[],
    };
    let detail = |index: u64| -> Option<Report> {
        progress.check().ok()?;
        let point = &points[points.binary_search_by_key(&index, |point| point.index).ok()?];
        let technology = technologies.get(&point.parameters.technology)?;
        sources[point.source].report(point.hw.as_ref().ok()?, technology)
    };
    let details = report::details(&whole, detail);
    progress.check()?;
    let page = report::html(&report::Sweep { points: &details, ..whole });
    Ok(Swept { table, page })
}
