//! `qnnsim sweep`: a space of hardware points, one row a point, and `merge`: the parts of a space
//! together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_explore::columns::{Figures, PARETO, named, named_schema, position};
use qnnsim_explore::evaluate::{Outcome, Source};
use qnnsim_explore::journal::{self, Journal};
use qnnsim_explore::manifest::{self, Inputs, Manifest};
use qnnsim_explore::merge::merge as join;
use qnnsim_explore::pareto::Objectives;
use qnnsim_explore::report::{self, Chosen, Drawn};
use qnnsim_explore::space::{self, Point, Setting, Space, SpaceError};
use qnnsim_explore::subject::RefusalKind;
use qnnsim_explore::sweep::{Shard, Sweep, Watch};
use qnnsim_explore::table::{Table, Value};
use qnnsim_isa::hardware::{HardwareError, Overrides};
use qnnsim_simulator::Technology;
use qnnsim_simulator::report::Report;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::{builtin, no_technology, technology_of};
use crate::args::{Format, MergeArgs, SweepArgs, SweepCommand};
use crate::chatter::{Task, warn};
use crate::document::{self, present};
use crate::failure::Failure;
use crate::files::{self, Output};
use crate::limits::INPUT_BYTES_MAX;
use crate::points;
use crate::render::{Column, energy, facts, grouped, line, table, title};

const CSV: &str = "points.csv";
const JSON_LINES: &str = "points.jsonl";
const MANIFEST: &str = "manifest.json";
const JOURNAL: &str = "journal";
const PAGE: &str = "report.html";
const PLOTS: &str = "plots";

/// Explores a space, or joins its parts.
///
/// # Errors
/// Something given is wrong, or results cannot be written.
pub fn run(args: &SweepArgs) -> Result<(), Failure> {
    if let Some(SweepCommand::Merge(args)) = &args.merge {
        return merge(args);
    }
    let Some(file) = &args.space else { unreachable!("it is required") };
    let format = args.format.unwrap_or(Format::Table);
    if let Some(points) = points::stream(args.points.as_deref(), None, args.format)? {
        return run_points(file, points);
    }
    let Some(directory) = &args.output else { unreachable!("it is required without --points") };
    let objectives = objectives(&args.pareto)?;
    let shard = args.shard.unwrap_or(Shard::WHOLE);
    let reading = Task::new(format!("reading `{}`", file.display()));
    let inputs = Loaded::read(file, Space::points)?;
    drop(reading);
    let sweep = Sweep::new(&inputs.sources, &inputs.technologies, &inputs.points);
    let points = sweep.count(shard);
    let manifest = Manifest::new(
        inputs.manifest,
        shard,
        &objectives.names(),
        args.exhaustive,
        points,
        args.date.clone(),
    );
    let (writer, known) = JournalFile::open(directory, &manifest)?;
    let resumed = known.outcomes.len();

    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.jobs.unwrap_or(0)).build();
    let pool =
        pool.map_err(|error| Failure::misuse(format_args!("cannot start threads: {error}")))?;
    say_how_to_go_on(directory);
    let watcher = Watcher {
        journal: Mutex::new(writer),
        progress: Task::counting("simulating points", points, "point"),
    };
    let result =
        pool.install(|| sweep.run(&objectives, shard, !args.exhaustive, &known.outcomes, &watcher));
    drop(watcher);
    let table = result?;

    let detail = |index: u64| {
        let point =
            &inputs.points[inputs.points.binary_search_by_key(&index, |point| point.index).ok()?];
        inputs.sources[point.source]
            .report(point.hw.as_ref().ok()?, inputs.technologies.get(&point.parameters.technology)?)
    };
    // Commands on the page run from any folder.
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(beside.unwrap_or(Path::new("."))).ok();
    let drawing = Task::new("drawing the report");
    let pictures = pool.install(|| draw(&table, &manifest, folder.as_deref(), detail));
    drop(drawing);
    write(directory, &table, &pictures, &manifest)?;
    tell(directory, (&table, &pictures.chosen), &manifest, resumed, format)
}

/// Exit code of a program that SIGINT ends, as shells give it.
const INTERRUPTED: i32 = 130;

/// On Ctrl-C the sweep ends, and says that nothing is lost.
fn say_how_to_go_on(directory: &Path) {
    let directory = directory.display().to_string();
    // Whoever runs this within a program of his own, with a handler of his own, keeps that.
    let _ = ctrlc::set_handler(move || {
        crate::failure::tell(format_args!(
            "\ninterrupted: what was simulated is kept in `{directory}`; the same command goes on \
             from there"
        ));
        std::process::exit(INTERRUPTED);
    });
}

/// Evaluates the points of a list over the base point of a space.
fn run_points(file: &Path, points: &Path) -> Result<(), Failure> {
    // The base point, and the base point in each technology that the space names: theirs are read.
    let base = |space: &Space, below: &[Overrides]| {
        let named = space.axes.0.iter().flat_map(|(_, axis)| axis.values());
        let named = named
            .filter_map(|value| if let Setting::Name(name) = value { Some(name) } else { None });
        let technologies: Vec<Option<String>> = [None].into_iter().chain(named.map(Some)).collect();
        let all = below.iter().enumerate().flat_map(|(source, below)| {
            let base = space.base.over(below);
            technologies.iter().map(move |technology| {
                let mut base = base.clone();
                base.technology = technology.clone().or(base.technology);
                Point::new(0, source, base.parameters())
            })
        });
        Ok(all.collect())
    };
    let inputs = Loaded::read(file, base)?;
    let ([source], [below]) = (&inputs.sources[..], &inputs.below[..]) else {
        let count = inputs.sources.len();
        return Err(Failure::misuse(format_args!(
            "--points takes a space of one model or program, but `{}` names {count}",
            file.display()
        ))
        .help("make a space for each, and start a command for each"));
    };
    let space = &inputs.manifest.space;
    points::answer(points, |index, change| {
        let refuse = |error: SpaceError| RefusalKind::InvalidPoint.because(error);
        let point = space.point_with(index, 0, below, change).map_err(refuse)?;
        let hw = match &point.hw {
            Ok(hw) => hw,
            Err(why) => return Err(RefusalKind::InvalidPoint.because(why).into()),
        };
        let own;
        let technology = match inputs.technologies.get(&hw.technology) {
            Some(technology) => technology,
            None => {
                own = builtin(&hw.technology)?;
                &own
            }
        };
        match source.evaluate_point(hw) {
            Outcome::Exact(cost) => {
                let figures = Figures::new(hw, technology, source.layers(), &cost);
                Ok(PointFigures(named(&point, &source.name, &figures)))
            }
            Outcome::Unfit(why) => Err(RefusalKind::DoesNotFit.because(why).into()),
            Outcome::Trap(why) => Err(RefusalKind::Traps.because(why).into()),
        }
    })
}

fn objectives(names: &[String]) -> Result<Objectives, Failure> {
    Objectives::new(names).map_err(|error| Failure::misuse(format_args!("--pareto: {error}")))
}

/// Everything that a sweep reads.
struct Loaded {
    sources: Vec<Source>,
    technologies: BTreeMap<String, Technology>,
    /// For each source, what lies below the base point.
    below: Vec<Overrides>,
    points: Vec<Point>,
    manifest: Inputs,
}

impl Loaded {
    /// Reads a space and its files; `points` says which of its points are wanted.
    fn read(
        file: &Path,
        points: impl FnOnce(&Space, &[Overrides]) -> Result<Vec<Point>, SpaceError>,
    ) -> Result<Self, Failure> {
        let refuse = |error: SpaceError| match error {
            SpaceError::Ron { line, column, message } => Failure::misuse(format_args!(
                "{}:{line}:{column}: {message}",
                file.display()
            ))
            .help("`qnnsim sweep --help` shows how a space is written, `qnnsim hw` the parameters"),
            other => Failure::misuse(format_args!("{}: {other}", file.display())),
        };
        let space = Space::from_ron(&files::read_text(file, INPUT_BYTES_MAX)?).map_err(refuse)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut read = Vec::new();
        let mut bytes_of = |name: &str| {
            let path = folder.join(name);
            let bytes = files::read(&path, INPUT_BYTES_MAX)?;
            read.push(manifest::File::new(name, &bytes));
            Ok::<(PathBuf, Vec<u8>), Failure>((path, bytes))
        };
        let text = |(path, bytes): (PathBuf, Vec<u8>)| {
            let text = String::from_utf8(bytes);
            let text = text
                .map_err(|_| Failure::misuse(format_args!("`{}` is not text", path.display())))?;
            Ok::<(PathBuf, String), Failure>((path, text))
        };

        let mut sources = Vec::new();
        let mut names = space.source_names().into_iter();
        for model in &space.models {
            let (path, bytes) = bytes_of(&model.file)?;
            let options = ImportOptions {
                unsigned_1bit_relu: model.unsigned_1bit_relu,
                pixel_scale: vec![model.pixel_scale],
                pixel_offset: vec![model.pixel_offset],
                input: None,
                classes: Vec::new(),
            };
            let imported = import(&bytes, &options).map_err(|all| {
                Failure::all(
                    all.iter().map(|diagnostic| format!("`{}`: {diagnostic}", path.display())),
                )
            })?;
            imported.warnings.iter().for_each(|w| warn(format_args!("`{}`: {w}", path.display())));
            sources.push(Source::model(
                names.next().expect("a name for every source"),
                imported.network,
            ));
        }
        for program in &space.programs {
            let (path, text) = text(bytes_of(program)?)?;
            let name = names.next().expect("a name for every source");
            let source = Source::program(name, text).map_err(|errors| {
                Failure::misuse(format_args!("`{}` cannot be assembled\n{errors}", path.display()))
            });
            sources.push(source?);
        }
        let base = match &space.base_file {
            None => Overrides::default(),
            Some(name) => {
                let (path, text) = text(bytes_of(name)?)?;
                Overrides::from_text(&text).map_err(|error| match error {
                    HardwareError::Ron { line, column, message } => Failure::misuse(format_args!(
                        "{}:{line}:{column}: {message}",
                        path.display()
                    )),
                    other => Failure::misuse(format_args!("{}: {other}", path.display())),
                })?
            }
        };
        let below: Vec<Overrides> =
            sources.iter().map(|source| base.over(&source.hardware())).collect();
        let points = points(&space, &below).map_err(refuse)?;

        let mut technologies = BTreeMap::new();
        for name in points.iter().map(|point| &point.parameters.technology).collect::<BTreeSet<_>>()
        {
            let technology = if name.ends_with(".ron") {
                technology_of(name, &text(bytes_of(name)?)?.1)?
            } else {
                Technology::builtin(name).ok_or_else(|| {
                    let known = Technology::BUILTIN.join(" and ");
                    no_technology(name).help(format_args!(
                        "there are {known}, or name a file of your own, FILE.ron"
                    ))
                })?
            };
            technologies.insert(name.clone(), technology);
        }
        let manifest = Inputs::new(space, read);
        Ok(Loaded { sources, technologies, below, points, manifest })
    }
}

/// The journal, open at its end, and locked: two sweeps in one folder would spoil it.
struct JournalFile {
    path: PathBuf,
    file: File,
}

impl JournalFile {
    fn open(directory: &Path, manifest: &Manifest) -> Result<(Self, Journal), Failure> {
        let path = directory.join(JOURNAL);
        let refuse = |error: std::io::Error| {
            Failure::misuse(format_args!("cannot write `{}`: {error}", path.display()))
        };
        fs::create_dir_all(directory).map_err(|error| {
            Failure::misuse(format_args!(
                "cannot make the folder `{}`: {error}",
                directory.display()
            ))
        })?;
        // Opening a pipe would wait for who writes into it.
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Failure::misuse(format_args!("`{}` is no file", path.display()))
                .help("give another folder with -o"));
        }
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(refuse)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::misuse(format_args!(
                "another sweep is at work in `{}`",
                directory.display()
            )),
            TryLockError::Error(error) => refuse(error),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(refuse)?;
        let mut journal = Journal::read(&bytes);
        let name = manifest.journal_name();
        match &journal.id {
            Some(id) if *id != name => {
                return Err(Failure::misuse(format_args!(
                    "`{}` holds the results of another sweep: space, files, shard or version differ",
                    directory.display()
                ))
                .help("give another folder with -o, or remove this one"));
            }
            None if !bytes.is_empty() && bytes.contains(&b'\n') => {
                return Err(Failure::misuse(format_args!(
                    "`{}` is not the journal of a sweep",
                    path.display()
                ))
                .help("give another folder with -o"));
            }
            _ => {}
        }
        if journal.damaged > 0 && journal.id.is_some() {
            warn(format_args!(
                "`{}`: {} of its lines are damaged; what they said is simulated again",
                path.display(),
                journal.damaged
            ));
        }
        // What a write left that was cut short goes away.
        file.set_len(journal.bytes as u64).map_err(refuse)?;
        file.seek(SeekFrom::End(0)).map_err(refuse)?;
        if journal.id.is_none() {
            file.write_all(journal::head(&name).as_bytes()).map_err(refuse)?;
            journal.id = Some(name);
        }
        Ok((JournalFile { path, file }, journal))
    }
}

/// Writes what was simulated into the journal, at once, and shows how far the sweep is.
struct Watcher {
    journal: Mutex<JournalFile>,
    progress: Task,
}

impl Watch for Watcher {
    type Error = Failure;

    fn simulated(&self, group: usize, outcome: &Outcome) -> Result<(), Failure> {
        let line = journal::line(group, outcome);
        let mut journal = self.journal.lock().expect("no thread panics with the lock");
        journal.file.write_all(line.as_bytes()).map_err(|error| {
            Failure::misuse(format_args!("cannot write `{}`: {error}", journal.path.display()))
                .help("what was simulated is kept: make room and start again with the same words")
        })
    }

    fn settled(&self, points: u64) {
        self.progress.add(points);
    }
}

/// Joins the parts of a space.
fn merge(args: &MergeArgs) -> Result<(), Failure> {
    let mut parts = Vec::new();
    for directory in &args.parts {
        let (manifest, rows) = (directory.join(MANIFEST), directory.join(JSON_LINES));
        let refuse = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::misuse(format_args!("`{}`: {error}", path.display()))
        };
        if !manifest.exists() {
            return Err(Failure::misuse(format_args!(
                "`{}` holds no complete part of a sweep",
                directory.display()
            ))
            .help(format_args!(
                "each part needs to have run to its end: qnnsim sweep SPACE.ron -o {} --shard I/N",
                directory.display()
            )));
        }
        let part: Manifest = serde_json::from_str(&files::read_text(&manifest, INPUT_BYTES_MAX)?)
            .map_err(|error| refuse(&manifest, &error))?;
        for file in &part.results {
            let bytes = files::read(&directory.join(&file.file), INPUT_BYTES_MAX)?;
            part.check(&file.file, &bytes).map_err(|why| {
                refuse(&manifest, &why).help("run the part again; what it simulated is kept")
            })?;
        }
        let table =
            Table::from_json_lines(&part.columns, &files::read_text(&rows, INPUT_BYTES_MAX)?)
                .map_err(|error| refuse(&rows, &error))?;
        parts.push((directory.display().to_string(), part, table));
    }
    let (table, mut manifest) = join(parts).map_err(Failure::misuse)?;
    manifest.date.clone_from(&args.date);
    fs::create_dir_all(&args.output).map_err(|error| {
        Failure::misuse(format_args!("cannot make the folder `{}`: {error}", args.output.display()))
    })?;
    // The models are not at hand, so the page goes without what lies within a point.
    let pictures = draw(&table, &manifest, None, |_| None);
    write(&args.output, &table, &pictures, &manifest)?;
    let format = args.format.unwrap_or(Format::Table);
    tell(&args.output, (&table, &pictures.chosen), &manifest, 0, format)
}

/// The report of a sweep. `folder` is that of the space, if it is known; `detail` says what the point
/// of a number costs by layer and unit, if that can be known.
fn draw(
    table: &Table,
    manifest: &Manifest,
    folder: Option<&Path>,
    detail: impl Fn(u64) -> Option<Report> + Sync,
) -> Drawn {
    let Inputs { space, files, qnnsim, .. } = &manifest.inputs;
    let axes: Vec<String> = space.varied().into_iter().map(String::from).collect();
    let names = space.source_names();
    let mut facts =
        vec![("sweep".to_owned(), manifest.id.clone()), ("qnnsim".to_owned(), qnnsim.clone())];
    facts.extend(files.iter().map(|file| (file.file.clone(), format!("SHA-256 {}", file.sha256))));
    facts.extend(manifest.shard.iter().map(|shard| ("part".to_owned(), shard.clone())));
    facts.extend(manifest.date.iter().map(|date| ("date".to_owned(), date.clone())));
    let commands: Vec<(String, String)> =
        names.iter().cloned().zip(commands(space, folder)).collect();
    if folder.is_none() {
        let where_they_run = "they run in the folder of the space".to_owned();
        facts.push(("commands".to_owned(), where_they_run));
    }
    let title = format!("Hardware for {}", names.join(", "));
    let whole = report::Sweep {
        title: &title,
        table,
        axes: &axes,
        objectives: &manifest.pareto,
        points: &[],
        commands: &commands,
        facts: &facts,
    };
    report::draw(&report::Sweep { points: &report::details(&whole, detail), ..whole })
}

/// The command that compiles each model of a space for its base point.
fn commands(space: &Space, folder: Option<&Path>) -> Vec<String> {
    let place = |file: &str| {
        let path = folder.map_or_else(|| file.into(), |folder| folder.join(file));
        report::quoted(&path.to_string_lossy())
    };
    let base = serde_json::to_value(&space.base).expect("plain data serializes");
    let settings =
        base.as_object().into_iter().flatten().flat_map(|(group, value)| match value.as_object() {
            Some(fields) => fields
                .iter()
                .map(|(name, value)| format!(" --set {group}.{name}={value}"))
                .collect(),
            None => value
                .as_str()
                .map(|name| format!(" --set {group}={name}"))
                .into_iter()
                .collect::<Vec<_>>(),
        });
    let file = space.base_file.as_ref().map(|file| format!(" --hw {}", place(file)));
    let hardware: String = file.into_iter().chain(settings).collect();
    let command = |model: &space::Model| {
        let mut text = format!("qnnsim compile {} -o point.bin", place(&model.file));
        if model.pixel_scale != 1.0 {
            text += &format!(" --pixel-scale {}", model.pixel_scale);
        }
        if model.pixel_offset != 0.0 {
            text += &format!(" --pixel-offset {}", model.pixel_offset);
        }
        if model.unsigned_1bit_relu {
            text += " --unsigned-1bit-relu";
        }
        text + &hardware
    };
    space.models.iter().map(command).collect()
}

/// Writes the results. Where a manifest is, all files that it speaks of are as it says: every file
/// is written beside its place first, so that a full disk changes nothing; then the manifest of
/// earlier results goes, then all files take their places, and the new manifest is the last.
fn write(
    directory: &Path,
    table: &Table,
    pictures: &Drawn,
    manifest: &Manifest,
) -> Result<(), Failure> {
    let plots = directory.join(PLOTS);
    let refuse = |error: std::io::Error| {
        Failure::misuse(format_args!("cannot write in `{}`: {error}", directory.display()))
    };
    fs::create_dir_all(&plots).map_err(refuse)?;
    // What a run left that was killed while it wrote.
    for folder in [directory, &plots] {
        files::remove_staged(folder).map_err(refuse)?;
    }
    let mut results: Vec<(String, Cow<[u8]>)> = pictures
        .plots
        .iter()
        .map(|(name, plot)| (format!("{PLOTS}/{name}"), plot.as_bytes().into()))
        .collect();
    results.push((PAGE.into(), pictures.page.as_bytes().into()));
    results.push((CSV.into(), table.to_csv().into()));
    results.push((JSON_LINES.into(), table.to_json_lines().into_bytes().into()));
    let named = results.iter().map(|(name, bytes)| manifest::File::new(name, bytes));
    let manifest = Manifest { results: named.collect(), ..manifest.clone() };
    let manifest = ManifestFile { row_schema: document::row_tag(), manifest: &manifest };
    results.push((MANIFEST.into(), document::json(&manifest).into_bytes().into()));

    let mut staged = Vec::new();
    for (name, bytes) in &results {
        let mut output = Output::create(&directory.join(name), &[])?;
        output.write_all(bytes).and_then(|()| output.flush()).map_err(|e| output.refuse(&e))?;
        staged.push(output);
    }
    match fs::remove_file(directory.join(MANIFEST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(refuse(error)),
        _ => {}
    }
    // Other objectives have other plots; none of an earlier sweep stays.
    for entry in fs::read_dir(&plots).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        let is_new = results.iter().any(|(name, _)| directory.join(name) == path);
        if !is_new && path.extension().is_some_and(|ending| ending == "svg") {
            fs::remove_file(path).map_err(refuse)?;
        }
    }
    staged.into_iter().try_for_each(Output::finish)
}

/// Says what came out.
fn tell(
    directory: &Path,
    (results, chosen): (&Table, &[Chosen]),
    manifest: &Manifest,
    resumed: usize,
    format: Format,
) -> Result<(), Failure> {
    let at = |name: &str| position(&results.columns, name).expect("a column of every table");
    let (status, pareto) = (at("status"), at(PARETO));
    let mut by_status: BTreeMap<String, u64> = BTreeMap::new();
    for row in &results.rows {
        *by_status.entry(plain(&row[status])).or_default() += 1;
    }
    let front: Vec<&Vec<Value>> =
        results.rows.iter().filter(|row| row[pareto] == Value::Flag(true)).collect();
    let index = |row: &&Vec<Value>| match row[at("index")] {
        Value::Integer(index) => index,
        _ => unreachable!("an index is an integer"),
    };
    let swept = Swept {
        directory,
        points: manifest.points,
        status: &by_status,
        resumed_simulations: resumed,
        pareto: &manifest.pareto,
        front: front.iter().map(index).collect(),
    };
    present(format, &swept, || {
        let counts: Vec<String> = by_status
            .iter()
            .map(|(status, count)| format!("{} {status}", grouped(*count)))
            .collect();
        let mut lines = vec![
            ("points", format!("{}: {}", grouped(manifest.points), counts.join(", "))),
            ("results", directory.display().to_string()),
            ("report", directory.join(PAGE).display().to_string()),
        ];
        if resumed > 0 {
            lines.insert(
                1,
                ("resumed", format!("{} simulations were there already", grouped(resumed as u64))),
            );
        }
        let varied = manifest.inputs.space.varied();
        let mut columns = vec![Column::Text(""), Column::Number("point"), Column::Text("source")];
        columns.extend(varied.iter().map(|key| Column::Number(key)));
        columns.extend(manifest.pareto.iter().map(|name| Column::Number(name)));
        columns.push(Column::Text("best in"));
        let rows: Vec<Vec<String>> = chosen
            .iter()
            .map(|named| {
                let row = &results.rows[named.row];
                let hardware = varied.iter().map(|key| plain(&row[at(key)]));
                let figures = manifest.pareto.iter().map(|name| match &row[at(name)] {
                    Value::Number(pj) if name.starts_with("energy_pj") => energy(*pj),
                    other => plain(other),
                });
                [named.letter.to_string(), plain(&row[at("index")]), plain(&row[at("source")])]
                    .into_iter()
                    .chain(hardware)
                    .chain(figures)
                    .chain([named.roles.join(", ")])
                    .collect()
            })
            .collect();
        if !rows.is_empty() {
            let others =
                front.iter().filter(|row| chosen.iter().all(|c| results.rows[c.row] != ***row));
            lines.push((
                "front",
                format!("{} points in {}", front.len(), manifest.pareto.join(", ")),
            ));
            let others = others.count();
            let mut text = facts(&lines) + "\n" + &title("points that the report names");
            text += &table(&columns, rows, false);
            if others > 0 {
                let csv = directory.join("points.csv");
                text += &line(&format!(
                    "the other {others} points of the front have `pareto` true in `{}`",
                    csv.display()
                ));
            }
            return text;
        }
        facts(&lines)
    })
}

/// The JSON object.
#[derive(JsonSchema, Serialize)]
pub struct Swept<'a> {
    /// The folder of the results.
    directory: &'a Path,
    /// Points of the space or of its part.
    points: u64,
    /// Points by what became of them.
    status: &'a BTreeMap<String, u64>,
    /// Simulations that were in the folder already.
    resumed_simulations: usize,
    /// Columns that the front is of.
    pareto: &'a [String],
    /// Indices of the points of the front.
    front: Vec<u64>,
}

/// `manifest.json`.
#[derive(JsonSchema, Serialize)]
pub struct ManifestFile<'a> {
    /// Name and version of the schema of the lines of points.jsonl.
    row_schema: String,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

/// The figures of a point: the columns of points.jsonl that say something of one point alone.
#[derive(Serialize)]
#[serde(transparent)]
pub struct PointFigures(BTreeMap<String, Value>);

impl JsonSchema for PointFigures {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PointFigures".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        named_schema()
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(n) => grouped(*n),
        Value::Number(x) => x.to_string(),
        Value::Text(text) => text.clone(),
    }
}
