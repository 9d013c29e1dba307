//! What a result was made from, so that it can be made again years later.

use qnnsim_isa::program::VERSION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::columns::columns;
use crate::space::Space;
use crate::sweep::Shard;
use crate::table::Column;

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Manifest {
    /// Names the sweep: SHA-256 of all that its results depend on, which is `inputs`.
    pub id: String,
    /// What the results depend on.
    pub inputs: Inputs,
    /// `I/N`, of a part of the space.
    pub shard: Option<String>,
    /// Columns that the front is of.
    pub pareto: Vec<String>,
    /// Points that cannot reach the front were simulated, too.
    pub exhaustive: bool,
    /// Rows of the table.
    pub points: u64,
    /// The date, if the user gave one.
    pub date: Option<String>,
    /// The columns of the table.
    pub columns: Vec<Column>,
    /// The files of the results, by their names in the folder: which bytes the manifest speaks of.
    pub results: Vec<File>,
}

/// What the results of a sweep depend on.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Inputs {
    /// Version of this program.
    pub qnnsim: String,
    /// Version of program files and of the instruction set.
    pub program_version: u32,
    /// The space.
    pub space: Space,
    /// Every file that the space names.
    pub files: Vec<File>,
}

/// A file and what was in it.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct File {
    /// As the space or the manifest's folder names it.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl File {
    /// A file of these bytes.
    pub fn new(file: &str, bytes: &[u8]) -> Self {
        File { file: file.into(), sha256: sha256(bytes) }
    }
}

impl Inputs {
    /// Of a space and the files that it names.
    pub fn new(space: Space, files: Vec<File>) -> Self {
        Inputs { qnnsim: env!("CARGO_PKG_VERSION").into(), program_version: VERSION, space, files }
    }

    /// Names the sweep.
    pub fn id(&self) -> String {
        sha256(&serde_json::to_vec(self).expect("plain data serializes"))
    }
}

impl Manifest {
    /// Of a sweep with its choices.
    pub fn new(
        inputs: Inputs,
        shard: Shard,
        pareto: &[&str],
        exhaustive: bool,
        points: u64,
        date: Option<String>,
    ) -> Self {
        Manifest {
            id: inputs.id(),
            inputs,
            shard: (shard != Shard::WHOLE).then(|| shard.to_string()),
            pareto: pareto.iter().map(|name| (*name).into()).collect(),
            exhaustive,
            points,
            date,
            columns: columns(),
            results: Vec::new(),
        }
    }

    /// Checks that a file of the results is the one that the manifest speaks of.
    ///
    /// # Errors
    /// It is another, or none of the results.
    pub fn check(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        match self.results.iter().find(|known| known.file == file) {
            None => Err(format!("`{file}` is none of the files of the manifest")),
            Some(known) if known.sha256 == sha256(bytes) => Ok(()),
            Some(_) => Err(format!("`{file}` is not the file that the manifest speaks of")),
        }
    }

    /// Names the sweep and its part, for the journal.
    pub fn journal_name(&self) -> String {
        format!("{} {}", self.id, self.shard.as_deref().unwrap_or("whole"))
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
