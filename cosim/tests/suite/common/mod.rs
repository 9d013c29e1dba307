//! What the tests on the RTL share.

use std::io::Write;

use qnnsim_cosim::verilator::{HOW_TO_INSTALL, Verilator};

/// Verilator, or none with a word of what is skipped. With QNNSIM_REQUIRE_COSIM set it must be
/// there.
pub fn verilator() -> Option<Verilator> {
    match Verilator::find() {
        Ok(verilator) => Some(verilator),
        Err(error) if error.is_missing() && std::env::var_os("QNNSIM_REQUIRE_COSIM").is_none() => {
            // Not eprintln!, which a passing test keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED, nothing ran on the RTL: {error}; {HOW_TO_INSTALL}"
            );
            None
        }
        Err(error) => panic!("{error}; {HOW_TO_INSTALL}"),
    }
}

/// Whether a tool is there, and else a word of what is skipped. With QNNSIM_REQUIRE_COSIM set it
/// must be there.
pub fn tool(name: &str, version: &str) -> bool {
    let there = std::process::Command::new(name).arg(version).output().is_ok();
    assert!(there || std::env::var_os("QNNSIM_REQUIRE_COSIM").is_none(), "{name} is not installed");
    if !there {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {name} is not installed; get it with `apt-get install {name}`"
        );
    }
    there
}
