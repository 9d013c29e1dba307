//! `isa/MANUAL.md` is the manual that the tables give. `UPDATE=1 cargo test -p qnnsim-isa` writes it.

#[test]
fn manual_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/MANUAL.md");
    let manual = qnnsim_isa::manual::manual();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &manual).expect("the manual can be written");
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == manual, "isa/MANUAL.md is out of date; run UPDATE=1 cargo test -p qnnsim-isa --test manual");
}
