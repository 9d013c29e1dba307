//! What the tables give is what is committed. `UPDATE=1 cargo test -p qnnsim-isa generated::`
//! writes it.

fn current(path: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).expect("the file can be written");
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == text,
        "{path} is out of date; run UPDATE=1 cargo test -p qnnsim-isa generated::"
    );
}

#[test]
fn manual_is_current() {
    current("MANUAL.md", &qnnsim_isa::manual::manual());
}

#[test]
fn systemverilog_package_is_current() {
    current("../rtl/isa_pkg.sv", &qnnsim_isa::systemverilog::package());
}
