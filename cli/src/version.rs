//! What `qnnsim --version` says: the release, the commit, and the formats that are read and written.

use std::sync::LazyLock;

use qnnsim_isa::program;

use crate::document::SCHEMAS;

/// The lines behind the program's name.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(lines);
    &TEXT
}

fn lines() -> String {
    let mut versions: Vec<u32> = SCHEMAS.iter().map(|entry| entry.version).collect();
    versions.sort_unstable();
    versions.dedup();
    let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
    format!(
        "{}\ncommit         {}\nprogram files  version {}\nJSON           version {}; \
         `qnnsim schema` lists the schemas",
        env!("CARGO_PKG_VERSION"),
        env!("QNNSIM_COMMIT"),
        program::VERSION,
        versions.join(", "),
    )
}
