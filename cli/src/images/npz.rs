//! npz, numpy's form for several arrays: a zip file of npy files.

use std::io::{Read, Seek};

use zip::ZipArchive;

use super::array::{Array, Wanted};
use super::npy;

/// Takes one array out of an npz file: that of this name, or the only one.
pub fn read(
    file: impl Read + Seek,
    name: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<Array, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("damaged npz file: {error}");
    let mut archive = ZipArchive::new(file).map_err(|error| damaged(&error))?;
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let of_name = name.map(|name| format!("{name}.npy"));
    let entry = match (of_name, &names[..]) {
        (Some(entry), _) if names.contains(&entry) => entry,
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
    let mut entry = archive.by_name(&entry).map_err(|error| damaged(&error))?;
    let (header, _) = npy::header(&mut entry)?;
    // What the archive says of its size is not believed.
    Array::read(header, entry, None, wanted)
}
