//! Builds the machine with Verilator: one program for each hardware point, kept between runs.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::PARAMETERS;

use crate::faults::{Fault, plant};

/// Oldest Verilator that the sources are known to build with.
const VERSION_MIN: (u32, u32) = (5, 6);

/// How to get Verilator.
pub const HOW_TO_INSTALL: &str =
    "install it, for example with `apt-get install verilator` (5.006 or newer)";

macro_rules! sources {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../../rtl/", $name)))),*] };
}

/// The machine in SystemVerilog and its test bench, packages first.
static SOURCES: &[(&str, &str)] = sources! {
    "isa_pkg.sv"
    "machine_pkg.sv"
    "array.sv"
    "element.sv"
    "front_end.sv"
    "load.sv"
    "mac.sv"
    "machine.sv"
    "max_pool_unit.sv"
    "packer.sv"
    "register_table.sv"
    "row_coordinates.sv"
    "scratchpad.sv"
    "semaphores.sv"
    "sequencer.sv"
    "store.sv"
    "thr.sv"
    "threshold_column.sv"
    "threshold_unit.sv"
    "tile_counter.sv"
    "bench/bench.sv"
    "bench/bench.cpp"
};

/// A source of the machine, by its file's name.
pub fn source(name: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(other, _)| *other == name).map(|(_, text)| *text)
}

/// Names of all sources of the machine itself.
pub fn source_names() -> impl Iterator<Item = &'static str> {
    let names = SOURCES.iter().map(|(name, _)| *name);
    names.filter(|name| name.ends_with(".sv") && !name.starts_with("bench/"))
}

/// Parameters that say nothing about the machine itself: those of the DRAM's model and of the
/// report.
const OUTSIDE: [&str; 3] = ["dram.latency", "dram.outstanding", "clock.mhz"];

/// Why there is no machine to run.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No `verilator` on the path.
    #[error("Verilator is not installed")]
    NotInstalled,
    /// Too old.
    #[error("Verilator {found} is too old")]
    TooOld {
        /// What `verilator --version` says.
        found: String,
    },
    /// No folder for what is built.
    #[error(
        "there is no folder to keep what is built: neither QNNSIM_COSIM_DIR nor XDG_CACHE_HOME nor HOME is set"
    )]
    NoFolder,
    /// A file cannot be written or read, or a tool not started.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// Verilator or the C++ compiler refuse the machine.
    #[error("{tool} failed:\n{output}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it printed.
        output: String,
    },
}

impl BuildError {
    /// Whether the machine could be built if Verilator were there.
    pub fn is_missing(&self) -> bool {
        matches!(self, BuildError::NotInstalled | BuildError::TooOld { .. })
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> BuildError {
    move |error| BuildError::Io { what: what.into(), error }
}

/// Names and texts of what is built.
pub type Sources = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// Makes other sources of the machine's, of sources and parameters.
pub type Translate = fn(Sources, &[(String, u32)]) -> Result<Sources, BuildError>;

/// Verilator and the folder in which machines are kept.
#[derive(Debug)]
pub struct Verilator {
    version: String,
    folder: PathBuf,
    translate: Option<Translate>,
    announce: Option<fn(&HardwarePoint)>,
}

/// The program of one hardware point.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The executable file.
    pub path: PathBuf,
    /// The point.
    pub hardware: HardwarePoint,
}

impl Verilator {
    /// Looks for Verilator on the path.
    ///
    /// # Errors
    /// It is not there or too old, or there is no folder for what is built.
    pub fn find() -> Result<Self, BuildError> {
        let version = match Command::new("verilator").arg("--version").output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BuildError::NotInstalled);
            }
            Err(error) => return Err(io_error("cannot run verilator")(error)),
        };
        if parse_version(&version).is_none_or(|version| version < VERSION_MIN) {
            return Err(BuildError::TooOld { found: version });
        }
        Ok(Verilator {
            version,
            folder: folder().ok_or(BuildError::NoFolder)?,
            translate: None,
            announce: None,
        })
    }

    /// What `verilator --version` says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Calls `announce` before each machine that has to be built, which takes its time.
    #[must_use]
    pub fn announcing(self, announce: fn(&HardwarePoint)) -> Self {
        Verilator { announce: Some(announce), ..self }
    }

    /// Builds what `translate` makes of the sources instead of them, for tests of other tools that
    /// read them.
    #[must_use]
    pub fn translated(self, translate: Translate) -> Self {
        Verilator { translate: Some(translate), ..self }
    }

    /// The machine of a hardware point, built unless it is there already. `faults` are planted in
    /// the sources, for tests of the comparison itself; the machine has the one that a job names.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn machine(
        &self,
        hardware: &HardwarePoint,
        faults: &[Fault],
    ) -> Result<Machine, BuildError> {
        let parameters = parameters(hardware);
        let mut hasher = DefaultHasher::new();
        let mut sources: Sources =
            SOURCES.iter().map(|&(name, text)| (name.into(), text.into())).collect();
        sources = plant(sources, faults);
        if let Some(translate) = self.translate {
            sources = translate(sources, &parameters)?;
        }
        (&sources, &parameters, FLAGS, COMPILER_FLAGS, OPTIMIZE, &self.version).hash(&mut hasher);
        let place = self.folder.join(format!("{:016x}", hasher.finish()));
        let machine = Machine { path: place.join("bench"), hardware: hardware.clone() };
        if machine.path.exists() {
            return Ok(machine);
        }
        let folder = self.folder.display();
        fs::create_dir_all(&self.folder).map_err(io_error(format!("cannot make `{folder}`")))?;
        // Whoever comes second waits for the first instead of building the same.
        let lock_path = place.with_extension("lock");
        let lock = File::create(&lock_path)
            .map_err(io_error(format!("cannot write `{}`", lock_path.display())))?;
        lock.lock().map_err(io_error("cannot lock a file of the cache"))?;
        if machine.path.exists() {
            return Ok(machine);
        }
        if let Some(announce) = self.announce {
            announce(hardware);
        }
        let staged = tempfile::Builder::new()
            .prefix(".build-")
            .tempdir_in(&self.folder)
            .map_err(io_error(format!("cannot write in `{folder}`")))?;
        self.build(staged.path(), &sources, &parameters)?;
        fs::create_dir_all(&place)
            .map_err(io_error(format!("cannot make `{}`", place.display())))?;
        fs::rename(staged.path().join("bench/bench"), &machine.path)
            .map_err(io_error("cannot keep what was built"))?;
        Ok(machine)
    }
}

/// The major and minor number of `Verilator 5.006 2023-01-22 ...`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) =
        text.strip_prefix("Verilator ")?.split_whitespace().next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn folder() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
    };
    variable("QNNSIM_COSIM_DIR").or_else(|| {
        let cache =
            variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(cache.join("qnnsim").join("cosim"))
    })
}

/// Names and values of the parameters that the sources have, which know nothing of DRAM's latency
/// and of the clock.
pub fn parameters(hardware: &HardwarePoint) -> Vec<(String, u32)> {
    let inside =
        PARAMETERS.iter().zip(hardware.values()).filter(|(p, _)| !OUTSIDE.contains(&p.key));
    inside.map(|(p, value)| (p.key.replace('.', "_").to_uppercase(), value)).collect()
}

/// How Verilator translates. What a register or a memory holds at the start is random: the bench has
/// the seed.
const FLAGS: [&str; 8] =
    ["-O3", "--x-assign", "fast", "--x-initial", "unique", "--noassert", "-Wno-fatal", "-Wno-lint"];

/// What the C++ compiler is told in every file.
const COMPILER_FLAGS: [&str; 4] = ["-std=c++17", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0"];

/// How much it optimizes what runs in every cycle, and what runs once: a machine runs for seconds
/// and is built for tens of them.
const OPTIMIZE: [&str; 2] = ["-O1", "-O0"];

impl Verilator {
    /// Translates and compiles a machine in a folder; `bench` is in it then.
    ///
    /// Verilator's own makefile compiles dozens of small files that all read the same long headers,
    /// and its runtime with every machine; two files, and a runtime that is kept, take a sixth
    /// of the time.
    fn build(
        &self,
        folder: &Path,
        sources: &Sources,
        parameters: &[(String, u32)],
    ) -> Result<(), BuildError> {
        let mut header = String::from("#pragma once\n#include <cstddef>\n");
        for (name, value) in parameters {
            writeln!(header, "constexpr size_t {name} = {value};")
                .expect("a String takes any text");
        }
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).map_err(io_error("cannot write the sources"))
        };
        fs::create_dir_all(folder.join("bench")).map_err(io_error("cannot write the sources"))?;
        write("bench/parameters.h", &header)?;
        for (name, text) in sources {
            write(name, text)?;
        }
        let mut verilator = Command::new("verilator");
        verilator.args(["--cc", "--top-module", "bench", "--prefix", "Vbench", "--Mdir", "obj"]);
        verilator.args(FLAGS);
        verilator.args(parameters.iter().map(|(name, value)| format!("-G{name}={value}")));
        verilator
            .args(sources.iter().map(|(name, _)| &**name).filter(|name| name.ends_with(".sv")));
        run("verilator", verilator.current_dir(folder))?;

        let root = root()?;
        let mut generated: Vec<String> = fs::read_dir(folder.join("obj"))
            .and_then(|entries| {
                entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
            })
            .map_err(io_error("cannot read what Verilator wrote"))?;
        generated.retain(|name| name.ends_with(".cpp"));
        generated.sort();
        // Code that runs once lies in files of its own.
        let (once, always): (Vec<_>, Vec<_>) =
            generated.iter().partition(|name| name.contains("Slow") || name.contains("Syms"));
        let unit = |names: &[&String]| {
            names.iter().map(|name| format!("#include \"obj/{name}\"\n")).collect::<String>()
        };
        write("always.cpp", &(unit(&always) + "#include \"bench/bench.cpp\"\n"))?;
        write("once.cpp", &unit(&once))?;
        for (file, optimize) in ["always", "once"].into_iter().zip(OPTIMIZE) {
            let mut compile = compiler(&root);
            compile.args([
                optimize,
                "-Iobj",
                "-Ibench",
                "-c",
                &format!("{file}.cpp"),
                "-o",
                &format!("{file}.o"),
            ]);
            run("the C++ compiler", compile.current_dir(folder))?;
        }
        let mut link = compiler(&root);
        link.args(["always.o", "once.o"]).args(self.runtime(&root)?).args([
            "-pthread",
            "-o",
            "bench/bench",
        ]);
        run("the C++ compiler", link.current_dir(folder))
    }

    /// Verilator's runtime, compiled once.
    fn runtime(&self, root: &str) -> Result<[PathBuf; 2], BuildError> {
        let mut hasher = DefaultHasher::new();
        (&self.version, root, COMPILER_FLAGS, OPTIMIZE).hash(&mut hasher);
        let key = hasher.finish();
        let mut objects = Vec::new();
        for name in ["verilated", "verilated_threads"] {
            let object = self.folder.join(format!("{name}-{key:016x}.o"));
            if !object.exists() {
                let staged = tempfile::NamedTempFile::new_in(&self.folder)
                    .map_err(io_error(format!("cannot write in `{}`", self.folder.display())))?;
                let mut compile = compiler(root);
                compile
                    .args([OPTIMIZE[0], "-c", &format!("{root}/include/{name}.cpp"), "-o"])
                    .arg(staged.path());
                run("the C++ compiler", &mut compile)?;
                staged
                    .persist(&object)
                    .map_err(|error| io_error("cannot keep Verilator's runtime")(error.error))?;
            }
            objects.push(object);
        }
        Ok(objects.try_into().expect("two names"))
    }
}

/// Where Verilator's headers and its runtime's sources are.
fn root() -> Result<String, BuildError> {
    let output = Command::new("verilator").args(["--getenv", "VERILATOR_ROOT"]).output();
    let output = output.map_err(io_error("cannot run verilator"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The C++ compiler, which the environment variable CXX may name.
fn compiler(root: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "g++".into()));
    command.args(COMPILER_FLAGS);
    command.args([format!("-I{root}/include"), format!("-I{root}/include/vltstd")]);
    command
}

fn run(tool: &'static str, command: &mut Command) -> Result<(), BuildError> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(io_error(format!("cannot run {tool}")))?;
    if status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    Err(BuildError::Tool { tool, output: output.into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("Verilator 5.006 2023-01-22 rev (Debian 5.006-3)"), Some((5, 6)));
        assert_eq!(parse_version("Verilator 5.042 2025-11-02 rev"), Some((5, 42)));
        assert!(
            parse_version("Verilator 4.038 2020-07-11 rev v4.036")
                .is_some_and(|version| version < VERSION_MIN)
        );
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn every_source_is_built() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rtl");
        let mut files = Vec::new();
        for part in ["", "bench/"] {
            for entry in fs::read_dir(folder.join(part)).expect("the sources") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                if name.ends_with(".sv") || name.ends_with(".cpp") {
                    files.push(format!("{part}{name}"));
                }
            }
        }
        files.sort();
        let mut listed: Vec<&str> = SOURCES.iter().map(|&(name, _)| name).collect();
        listed.sort_unstable();
        assert_eq!(listed, files);
    }

    #[test]
    fn latency_and_clock_need_no_other_machine() {
        let point = HardwarePoint::default();
        let before = parameters(&point);
        let change = |p: &mut qnnsim_isa::hardware::Parameters| {
            (p.dram_latency, p.dram_outstanding, p.clock_mhz) = (300, 1, 500);
        };
        assert_eq!(parameters(&point.with(change).unwrap()), before);
        assert!(
            before.contains(&("MAC_ROWS".to_owned(), 16)) && before.len() == PARAMETERS.len() - 3
        );
    }
}
