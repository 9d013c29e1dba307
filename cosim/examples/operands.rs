//! Runs a program in the RTL, and says what its images cost in the simulator's events, as JSON:
//!
//!     QNNSIM_PINS=FILE cargo run -p qnnsim-cosim --example operands -- PROGRAM.bin CYCLES
//!
//! The bench writes what goes in and out of the machine in each cycle to the file that
//! `QNNSIM_PINS` names: `rtl/netlist/characterize.py` runs the machine's netlist on it. Of the
//! program's sample a cold image and a warm one are run, or as many cycles as are given.

use qnnsim_cosim::bench::{Bench, Job};
use qnnsim_cosim::verilator::{Verilator, parameters};
use qnnsim_isa::Program;
use qnnsim_simulator::energy::Events;
use qnnsim_simulator::report::LayerReport;
use qnnsim_simulator::{Simulation, Start, Technology};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, cycles] = &words[..] else { panic!("a program and a number of cycles") };
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let program: Program =
        Program::from_bytes(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    let verilator = Verilator::find().unwrap_or_else(|error| panic!("{error}"));
    let machine = verilator.machine(&program.hardware, &[]).unwrap_or_else(|e| panic!("{e}"));
    let mut bench = Bench::start(&machine).unwrap_or_else(|error| panic!("{error}"));
    let sample = program.sample.clone();
    let sample = sample.unwrap_or_else(|| vec![0x5a; program.input.shape.values()]);
    let images = [&sample[..], &sample[..]];
    let job = Job {
        program: &program,
        images: &images,
        accesses: false,
        memories: false,
        levels: false,
        cycles_max: cycles.parse().expect("a number of cycles"),
        power_up: 1,
    };
    bench.run(&job).unwrap_or_else(|error| panic!("{error}"));
    let simulation = Simulation::new(program.clone()).expect("a program that loads");
    let list = |events: &Events| {
        let pairs = Events::NAMES.iter().zip(events.counts());
        let pairs: Vec<String> = pairs.map(|(name, n)| format!("\"{name}\": {n}")).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    let technology = Technology::builtin("45nm").expect("comes with the simulator");
    let rows = simulation.report(&technology, program.hardware.clock_mhz).layers;
    let image = |start: Start| {
        let cycles = simulation.timing(start).cycles;
        let span = |row: &LayerReport| match start {
            Start::Cold => row.cycles_cold,
            Start::Warm => row.cycles,
        };
        let spans: Vec<u64> = rows.iter().map(span).collect();
        let layers: Vec<String> = simulation.profile(start).events.iter().map(list).collect();
        format!(
            "{{\"cycles\": {cycles}, \"spans\": {spans:?}, \"layers\": [{}]}}",
            layers.join(",\n  ")
        )
    };
    let parameters = parameters(&program.hardware);
    let parameters: Vec<String> =
        parameters.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    println!(
        "{{\"parameters\": {{{}}},\n \"cold\": {},\n \"warm\": {}}}",
        parameters.join(", "),
        image(Start::Cold),
        image(Start::Warm)
    );
}
