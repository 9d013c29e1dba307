//! Writes the numbers of every fit beside its table:
//!
//!     cargo run -p qnnsim-simulator --example fits

use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for refit in qnnsim_simulator::fit::FITS {
        let (stored, fitted) = refit();
        std::fs::write(root.join(stored.path), fitted)?;
    }
    Ok(())
}
