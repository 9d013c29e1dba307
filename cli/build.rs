//! Finds out from which commit the program is built.

use std::path::Path;
use std::process::Command;

/// What git says in a folder; nothing where there is no git or no repository.
fn git(folder: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).current_dir(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The commit that is checked out in a folder whose file `tracked` belongs to the repository:
/// sources may have been unpacked inside a repository of something else.
pub fn commit(folder: &Path, tracked: &str) -> Option<String> {
    git(folder, &["ls-files", "--error-unmatch", tracked])?;
    git(folder, &["rev-parse", "--short=12", "HEAD"])
}

#[allow(dead_code)] // A test reads this file as a module.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Development builds do not say it, so that a commit does not build everything again.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let mut known = "development build".to_owned();
    if is_release {
        let folder = Path::new(".");
        for file in ["HEAD", "logs/HEAD"] {
            if let Some(path) = git(folder, &["rev-parse", "--git-path", file]) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
        known = commit(folder, "build.rs").unwrap_or_else(|| "unknown".into());
    }
    println!("cargo::rustc-env=QNNSIM_COMMIT={known}");
}
