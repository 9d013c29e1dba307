//! npz, numpy's form for several arrays: a zip file of npy files.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::array::Array;
use super::npy;
use crate::files::INPUT_BYTES_MAX;

/// Takes one array out of an npz file: that of this name, or the only one.
pub fn parse(file: Vec<u8>, name: Option<&str>) -> Result<Array, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("damaged npz file: {error}");
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(|error| damaged(&error))?;
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let wanted = name.map(|name| format!("{name}.npy"));
    let entry = match (wanted, &names[..]) {
        (Some(wanted), _) if names.contains(&wanted) => wanted,
        (_, [only]) => only.clone(),
        _ => {
            let list: Vec<&str> =
                names.iter().take(20).map(|n| n.trim_end_matches(".npy")).collect();
            return Err(format!(
                "the npz file holds {} arrays: {}\n  help: name one as the model's input{}",
                names.len(),
                list.join(", "),
                name.map_or(String::new(), |name| format!(", `{name}`"))
            ));
        }
    };
    let entry = archive.by_name(&entry).map_err(|error| damaged(&error))?;
    // What it says of its size is not believed.
    let mut bytes = Vec::new();
    let read = entry.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| damaged(&error))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(format!("its array is longer than {} MiB", INPUT_BYTES_MAX >> 20));
    }
    match bytes[..] {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npy::parse(bytes),
        _ => Err("its entry is no npy array".into()),
    }
}
