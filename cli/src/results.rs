//! Files of results: one array as npy, or several by name as npz.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::failure::Failure;
use crate::files::Output;
use crate::images::npy_header;

/// An array of a file: its name, numpy's type string, and its sizes.
#[derive(Debug)]
pub struct Table {
    /// Name of the array.
    pub name: String,
    /// Type of the numbers, as `<f8`.
    pub element: &'static str,
    /// Sizes.
    pub shape: Vec<u64>,
}

/// A file of arrays, of which parts arrive in turn.
#[derive(Debug)]
pub enum Results {
    /// One array.
    Npy(Output),
    /// Several, each in a file of its own until all is there.
    Npz(Output, Vec<(String, File)>),
}

impl Results {
    /// Begins a file: npz if its name ends so, else npy, which holds one array. `sources` are files
    /// that the command reads and must not replace.
    ///
    /// # Errors
    /// Nothing can be written there, or an npy shall hold several arrays.
    pub fn create(path: &Path, sources: &[&Path], tables: &[Table]) -> Result<Self, Failure> {
        let npz = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"));
        if !npz && tables.len() > 1 {
            let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            let failure = Failure::misuse(format_args!(
                "`{}` can hold one array, but there are {}: {}",
                path.display(),
                tables.len(),
                names.join(", ")
            ));
            return Err(
                failure.help("give a name that ends with .npz, which holds each by its name")
            );
        }
        let mut output = Output::create(path, sources)?;
        let header = |table: &Table| npy_header(table.element, &table.shape);
        if !npz {
            output.write_all(&header(&tables[0])).map_err(|error| output.refuse(&error))?;
            return Ok(Results::Npy(output));
        }
        let begin = |table: &Table| -> io::Result<(String, File)> {
            let mut file = tempfile::tempfile()?;
            file.write_all(&header(table))?;
            Ok((format!("{}.npy", table.name), file))
        };
        let arrays: io::Result<Vec<_>> = tables.iter().map(begin).collect();
        let arrays = arrays.map_err(|error| output.refuse(&error))?;
        Ok(Results::Npz(output, arrays))
    }

    /// Adds bytes of numbers to array `index`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, index: usize, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Results::Npy(output) => output.write_all(bytes).map_err(|error| output.refuse(&error)),
            Results::Npz(output, arrays) => {
                arrays[index].1.write_all(bytes).map_err(|error| output.refuse(&error))
            }
        }
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// The rest cannot be written.
    pub fn finish(self) -> Result<(), Failure> {
        match self {
            Results::Npy(output) => output.finish(),
            Results::Npz(mut output, arrays) => {
                let packed = pack(&mut output, arrays);
                packed.map_err(|error| output.refuse(&error))?;
                output.finish()
            }
        }
    }
}

fn pack(output: &mut Output, arrays: Vec<(String, File)>) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(output);
    // As numpy writes it: not compressed, and always of the same time.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true)
        .last_modified_time(zip::DateTime::default());
    for (name, mut file) in arrays {
        zip.start_file(name, options)?;
        file.seek(SeekFrom::Start(0))?;
        io::copy(&mut file, &mut zip)?;
    }
    zip.finish()?;
    Ok(())
}
