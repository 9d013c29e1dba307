//! Builds the documentation as a site: `cargo run -p qnnsim-site -- DIRECTORY`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("error: say where: cargo run -p qnnsim-site -- DIRECTORY");
        return ExitCode::from(2);
    };
    let directory = Path::new(&directory);
    let wrong = match qnnsim_site::build(directory) {
        Ok(warnings) => [
            warnings,
            qnnsim_site::links::broken(directory).unwrap_or_else(|e| vec![e.to_string()]),
        ]
        .concat(),
        Err(error) => vec![format!("{error:#}")],
    };
    if wrong.is_empty() {
        println!("{}", directory.join("index.html").display());
        return ExitCode::SUCCESS;
    }
    wrong.iter().for_each(|what| eprintln!("error: {what}"));
    ExitCode::FAILURE
}
