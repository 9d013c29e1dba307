//! Reading with a limit, and writing so that a file is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use qnnsim_isa::Program;
use qnnsim_isa::limits::FILE_BYTES_MAX;
use qnnsim_isa::program::ProgramError;
use tempfile::NamedTempFile;

use crate::failure::Failure;

/// What a path leads to.
pub enum Opened {
    /// A file, which has a length and can be read from anywhere.
    File(File),
    /// A pipe, a device, or the standard input.
    Stream(Box<dyn Read>),
}

/// Opens a file, or the standard input if the path is `-`.
///
/// # Errors
/// It cannot be opened, or is a directory.
pub fn open(path: &Path) -> Result<Opened, Failure> {
    if is_standard(path) {
        return Ok(Opened::Stream(Box::new(io::stdin().lock())));
    }
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::misuse(format_args!("cannot read `{}`: {error}", path.display()))
    };
    let file = File::open(path).map_err(|error| refuse(&error))?;
    let metadata = file.metadata().map_err(|error| refuse(&error))?;
    if metadata.is_dir() {
        return Err(refuse(&"it is a directory"));
    }
    Ok(match metadata.is_file() {
        true => Opened::File(file),
        false => Opened::Stream(Box::new(file)),
    })
}

/// What a message calls a file that is read.
pub fn source_name(path: &Path) -> String {
    match is_standard(path) {
        true => "the standard input".into(),
        false => format!("`{}`", path.display()),
    }
}

/// Reads a whole file, or the standard input if the path is `-`, if it is no longer than
/// `bytes_max`.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let refuse = |error: &dyn std::fmt::Display| {
        Err(Failure::misuse(format_args!("cannot read {}: {error}", source_name(path))))
    };
    let too_long = format!("it is longer than {} MiB", bytes_max >> 20);
    let (reader, length): (Box<dyn Read>, u64) = match open(path)? {
        Opened::File(file) => match file.metadata() {
            Ok(metadata) if metadata.len() > bytes_max => return refuse(&too_long),
            Ok(metadata) => (Box::new(file), metadata.len()),
            Err(error) => return refuse(&error),
        },
        Opened::Stream(stream) => (stream, 0),
    };
    // A file may grow, and a stream has no length of its own: the limit is kept while reading.
    let mut bytes = Vec::with_capacity(length as usize);
    match reader.take(bytes_max + 1).read_to_end(&mut bytes) {
        Err(error) => refuse(&error),
        Ok(_) if bytes.len() as u64 > bytes_max => refuse(&too_long),
        Ok(_) => Ok(bytes),
    }
}

/// Reads a file of text, if it is no longer than `bytes_max`.
///
/// # Errors
/// It cannot be read, is longer, or is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, Failure> {
    String::from_utf8(read(path, bytes_max)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let name = source_name(path);
        Failure::misuse(format_args!("{name} is not text: byte {at} is not UTF-8"))
    })
}

/// Whether a file is written to the standard output, so that reports go to the standard error.
static STANDARD_OUTPUT_TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether the standard output is a file's.
pub fn standard_output_is_taken() -> bool {
    STANDARD_OUTPUT_TAKEN.load(Ordering::Relaxed)
}

/// Whether a path stands for the standard input, or for the standard output.
pub fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads a program file.
///
/// # Errors
/// It cannot be read or is not a sound program.
pub fn read_program(path: &Path) -> Result<Program, Failure> {
    let bytes = read(path, FILE_BYTES_MAX)?;
    Program::from_bytes(&bytes).map_err(|error| {
        let failure = Failure::misuse(format_args!("`{}`: {error}", path.display()));
        match error {
            ProgramError::NotAProgram => {
                failure.help("make one with `qnnsim compile MODEL.onnx -o PROG.bin` or `qnnsim asm FILE -o PROG.bin`")
            }
            _ => failure,
        }
    })
}

/// How the names begin of files that are being written.
const STAGED: &str = ".qnnsim-";

/// Removes from a folder what commands left that were killed while they wrote. No other command may
/// be at work in the folder.
///
/// # Errors
/// The folder cannot be read, or a file not removed.
pub fn remove_staged(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGED) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file being written. It takes its place when it is finished; until then, and if it never is,
/// what was there before stays.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    writer: BufWriter<Target>,
}

#[derive(Debug)]
enum Target {
    /// A new file beside the place, and the place.
    Staged(NamedTempFile, PathBuf),
    /// A device or a pipe, which nothing can replace.
    Direct(File),
    /// The standard output.
    Standard(io::Stdout),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Staged(file, _) => file.write(bytes),
            Target::Direct(file) => file.write(bytes),
            Target::Standard(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Staged(file, _) => file.flush(),
            Target::Direct(file) => file.flush(),
            Target::Standard(output) => output.flush(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Output {
    /// Begins a file. `sources` are files that the command reads and must not replace.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn create(path: &Path, sources: &[&Path]) -> Result<Self, Failure> {
        let refuse = |why: &dyn std::fmt::Display| {
            Err(Failure::misuse(format_args!("cannot write `{}`: {why}", path.display())))
        };
        if is_standard(path) {
            if STANDARD_OUTPUT_TAKEN.swap(true, Ordering::Relaxed) {
                return refuse(&"another file is written to the standard output already");
            }
            let writer = BufWriter::new(Target::Standard(io::stdout()));
            return Ok(Output { path: path.to_owned(), writer });
        }
        let existing = fs::metadata(path).ok();
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return refuse(&"it is a directory");
        }
        let place = fs::canonicalize(path).ok();
        if place.is_some() && sources.iter().any(|source| fs::canonicalize(source).ok() == place) {
            return refuse(&"it is the file that is read");
        }
        let is_device = existing.is_some_and(|metadata| !metadata.is_file());
        match Self::open(path, place, is_device) {
            Ok(target) => Ok(Output { path: path.to_owned(), writer: BufWriter::new(target) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse(&"its directory does not exist")
            }
            Err(error) => refuse(&error),
        }
    }

    fn open(path: &Path, place: Option<PathBuf>, is_device: bool) -> io::Result<Target> {
        if is_device {
            return Ok(Target::Direct(File::options().write(true).open(path)?));
        }
        // Through a symbolic link the file behind it is replaced, not the link.
        let place = place.unwrap_or_else(|| path.to_owned());
        let directory = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(STAGED);
        #[cfg(unix)]
        {
            // As any other new file, and not as a secret: the user's mask still applies.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        Ok(Target::Staged(builder.tempfile_in(directory)?, place))
    }

    /// Writes all of a file and puts it in its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_all(bytes).map_err(|e| self.refuse(&e))?;
        self.finish()
    }

    /// The failure to write here.
    pub fn refuse(&self, error: &io::Error) -> Failure {
        Failure::misuse(format_args!("cannot write `{}`: {error}", self.path.display()))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// The rest cannot be written.
    pub fn finish(self) -> Result<(), Failure> {
        let refuse = |error: &io::Error| {
            Failure::misuse(format_args!("cannot write `{}`: {error}", self.path.display()))
        };
        match self.writer.into_inner().map_err(|e| refuse(e.error()))? {
            Target::Staged(file, place) => {
                file.persist(place).map(drop).map_err(|e| refuse(&e.error))
            }
            Target::Direct(_) => Ok(()),
            Target::Standard(mut output) => output.flush().map_err(|e| refuse(&e)),
        }
    }
}

/// Writes a whole file; see [`Output::create`].
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, sources: &[&Path], bytes: &[u8]) -> Result<(), Failure> {
    Output::create(path, sources)?.put(bytes)
}
