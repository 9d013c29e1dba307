//! Every file in `hardware/` is a point on which TCV_W1A1 compiles and classifies the drawn digits
//! right.

use std::path::{Path, PathBuf};

use qnnsim_host::Decoder;
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::Overrides;
use qnnsim_simulator::{Simulation, Technology};
use qnnsim_tests::{compile, digits, programs};

fn point(file: &Path) -> HardwarePoint {
    let text = std::fs::read_to_string(file).expect("a text file");
    Overrides::from_ron(&text)
        .and_then(|overrides| overrides.resolve())
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The files in `hardware/` with their points.
fn points() -> Vec<(PathBuf, HardwarePoint)> {
    let folder = programs().join("../hardware");
    let files =
        std::fs::read_dir(folder).expect("hardware/").map(|entry| entry.expect("an entry").path());
    files.map(|file| (file.clone(), point(&file))).collect()
}

#[test]
fn files_are_named_by_their_array() {
    let points = points();
    assert!(points.len() >= 6, "only {} points", points.len());
    for (file, point) in points {
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        let short = point.short_name();
        assert!(
            name == format!("{short}.ron") || name.starts_with(&format!("{short}_")),
            "{name} is {short}"
        );
        assert!(Technology::builtin(&point.technology).is_some(), "{name}: {}", point.technology);
    }
}

#[test]
fn the_explicit_point_is_the_default() {
    let explicit = point(&programs().join("../hardware/16x16x64.ron"));
    assert_eq!(explicit, HardwarePoint::default());
}

#[test]
fn digits_are_classified_right_on_every_point() {
    let digits = digits();
    for (file, point) in points() {
        let simulation = Simulation::new(compile(&programs().join("tcv_w1a1.onnx"), &point));
        let simulation =
            simulation.unwrap_or_else(|trap| panic!("{}: {}", file.display(), trap.fault));
        let (mut executor, mut output) = (simulation.executor(), Vec::new());
        for (digit, pixels) in digits.iter().enumerate() {
            // Pixels go into DRAM as they are: the packer makes them pixel - 128.
            executor.run(pixels, &mut output);
            let decoder = Decoder::new(&simulation.program().output).expect("the host's part");
            let real = decoder.decode(&output);
            assert_eq!(decoder.class(&real), Some(digit), "{}: {real:?}", file.display());
        }
    }
}
