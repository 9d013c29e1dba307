//! Reading with a limit, and writing so that a file is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use qnnsim_isa::Program;
use qnnsim_isa::program::{FILE_BYTES_MAX, ProgramError};
use tempfile::NamedTempFile;

use crate::failure::Failure;

/// Longest file of a model, of images or of text that is read.
pub const INPUT_BYTES_MAX: u64 = 1 << 30;

/// Reads a whole file, if it is no longer than `bytes_max`.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let refuse = |error: &dyn std::fmt::Display| {
        Err(Failure::misuse(format_args!("cannot read `{}`: {error}", path.display())))
    };
    let open = || -> io::Result<(File, fs::Metadata)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    };
    let (file, metadata) = match open() {
        Ok(opened) => opened,
        Err(error) => return refuse(&error),
    };
    if metadata.is_dir() {
        return refuse(&"it is a directory");
    }
    let too_long = format!("it is longer than {} MiB", bytes_max >> 20);
    if metadata.len() > bytes_max {
        return refuse(&too_long);
    }
    // A pipe or a device has no length of its own, so the limit is kept while reading as well.
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    match file.take(bytes_max + 1).read_to_end(&mut bytes) {
        Err(error) => refuse(&error),
        Ok(_) if bytes.len() as u64 > bytes_max => refuse(&too_long),
        Ok(_) => Ok(bytes),
    }
}

/// Reads a file of text.
///
/// # Errors
/// It cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path, INPUT_BYTES_MAX)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::misuse(format_args!("`{}` is not text: byte {at} is not UTF-8", path.display()))
    })
}

/// Longest hardware point that is read from the standard input.
const POINT_BYTES_MAX: u64 = 1 << 20;

/// Whether a path stands for the standard input.
pub fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads a hardware point: a file of text, or the standard input as a whole.
///
/// # Errors
/// Those of [`read_text`].
pub fn read_point(path: &Path) -> Result<String, Failure> {
    if !is_standard_input(path) {
        return read_text(path);
    }
    let refuse = |why: &dyn std::fmt::Display| {
        Failure::misuse(format_args!("cannot read the standard input: {why}"))
    };
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(POINT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(&error))?;
    if bytes.len() as u64 > POINT_BYTES_MAX {
        return Err(refuse(&format_args!("it is longer than {} MiB", POINT_BYTES_MAX >> 20)));
    }
    let not_text = |error: std::string::FromUtf8Error| error.utf8_error().valid_up_to();
    String::from_utf8(bytes)
        .map_err(|error| refuse(&format_args!("byte {} is not UTF-8", not_text(error))))
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
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Staged(file, _) => file.write(bytes),
            Target::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Staged(file, _) => file.flush(),
            Target::Direct(file) => file.flush(),
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
        }
    }
}

/// Writes a whole file; see [`Output::create`].
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, sources: &[&Path], bytes: &[u8]) -> Result<(), Failure> {
    let mut output = Output::create(path, sources)?;
    output.write_all(bytes).map_err(|e| output.refuse(&e))?;
    output.finish()
}
