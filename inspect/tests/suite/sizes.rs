//! How large files of large networks are, and how long they take beside the load that every run has:
//! printed, and held within bounds.

use std::io::Cursor;
use std::time::Instant;

use qnnsim_compiler::lower_to;
use qnnsim_inspect::timeline::Timeline;
use qnnsim_inspect::{Recordings, perfetto, wave};
use qnnsim_isa::HardwarePoint;
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::larger::{resnet, vgg};

#[test]
fn files_of_large_networks_stay_small() {
    let hw = HardwarePoint::default();
    let technology = Technology::builtin("45nm").expect("it is there");
    for network in [vgg(1, 1), resnet(1, 1)] {
        let (_, program) = lower_to(&network, &hw).expect("compiles");
        let clock = Instant::now();
        let simulation = Simulation::new(program.clone()).expect("legal");
        let load = clock.elapsed();
        let clock = Instant::now();
        let recordings = Recordings::new(&program).expect("legal");
        let record = clock.elapsed();
        let images = [Start::Cold, Start::Warm].map(|start| recordings.of(start));
        let cycles: u64 = images.iter().map(|image| image.cycles()).sum();
        let timed = [Start::Cold, Start::Warm].map(|start| simulation.timing(start).cycles);
        assert_eq!(cycles, timed.iter().sum::<u64>());
        let issues: usize = images.iter().map(|image| image.steps().len()).sum();
        let clock = Instant::now();
        let mut trace = Vec::new();
        let timeline = Timeline::new(images, &technology, hw.clock_mhz);
        perfetto::write(&timeline, &mut trace).expect("memory");
        let traced = clock.elapsed();
        let clock = Instant::now();
        let wave = wave::wave(&program, &images.map(wave::of_recording));
        let fst = wave.write_fst(hw.clock_mhz, Cursor::new(Vec::new())).expect("memory");
        let waved = clock.elapsed();
        let fst = fst.into_inner();
        eprintln!(
            "{}: {cycles} cycles, {issues} issues; load {load:?}, record {record:?}; Perfetto {} bytes \
             in {traced:?}, FST {} bytes in {waved:?}",
            network.name,
            trace.len(),
            fst.len()
        );
        // A step is two packets and at most a few counters' values; a cycle changes a few signals.
        assert!(trace.len() < 250 * issues, "{} bytes", trace.len());
        assert!(fst.len() < 16 * cycles as usize, "{} bytes", fst.len());
    }
}
