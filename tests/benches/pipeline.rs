//! The path from a model to its results, stage by stage, on TCV_W1A1 and the default hardware
//! point; networks larger than the weight memory; and points of a sweep.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fs;
use std::hint::black_box;
use std::io::Cursor;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use qnnsim_assembler::{assemble, disassemble};
use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::lower_to;
use qnnsim_explore::evaluate::{Outcome, Source};
use qnnsim_explore::pareto::Objectives;
use qnnsim_explore::space::Space;
use qnnsim_explore::sweep::{Shard, Sweep, Watch};
use qnnsim_inspect::timeline::Timeline;
use qnnsim_inspect::{Recordings, perfetto, wave};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::{Simulation, Start, Technology, timing};
use qnnsim_tests::larger::{resnet, vgg};
use qnnsim_tests::models::imagenet::{mobilenet_v1, resnet18};
use qnnsim_tests::{compile, digits, programs, tcv_options};
use rayon::prelude::*;

fn program() -> Program {
    compile(&programs().join("tcv_w1a1.onnx"), &HardwarePoint::default())
}

fn compiler(c: &mut Criterion) {
    let model = fs::read(programs().join("tcv_w1a1.onnx")).expect("the model");
    let (options, hw) = (tcv_options(), HardwarePoint::default());
    let mut group = c.benchmark_group("compiler");
    group.sample_size(20);
    group.bench_function("import", |b| b.iter(|| import(black_box(&model), &options)));
    group.bench_function("import and compile", |b| {
        b.iter(|| qnnsim_compiler::compile(black_box(&model), &hw, &options));
    });
    group.finish();
}

fn assembler(c: &mut Criterion) {
    let hello = fs::read_to_string(programs().join("hello.qnn")).expect("the program");
    let tcv = disassemble(&program());
    let mut group = c.benchmark_group("assemble");
    group.sample_size(20);
    for (name, text) in [("hello", hello), ("tcv_w1a1", tcv)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| assemble(name, black_box(&text))));
    }
    group.finish();
}

/// What is done once a program.
fn loading(c: &mut Criterion) {
    let program = program();
    let file = program.to_bytes();
    let simulation = Simulation::new(program.clone()).expect("legal");
    let mut group = c.benchmark_group("load");
    group.sample_size(20);
    group.bench_function("read the file", |b| b.iter(|| Program::from_bytes(black_box(&file))));
    group.bench_function("check, time and plan both images", |b| {
        b.iter_batched(|| program.clone(), Simulation::new, BatchSize::SmallInput);
    });
    for start in [Start::Cold, Start::Warm] {
        group.bench_function(format!("time one {} image", start.name()), |b| {
            b.iter(|| timing::run(&program, simulation.code(), start, &mut ()));
        });
    }
    group.finish();
}

/// What is done once an image.
fn images(c: &mut Criterion) {
    let simulation = Simulation::new(program()).expect("legal");
    let digits = digits();
    let mut group = c.benchmark_group("values");
    group.sample_size(20);
    group.throughput(Throughput::Elements(1));
    let (mut executor, mut output) = (simulation.executor(), Vec::new());
    group.bench_function("one image", |b| {
        b.iter(|| executor.run(black_box(&digits[7]), &mut output))
    });

    // Two threads, wherever the benchmark runs.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let mut workers = [0; 2].map(|_| (simulation.executor(), Vec::new()));
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1,000 images on two threads", |b| {
        b.iter(|| {
            pool.install(|| {
                workers.par_iter_mut().for_each(|(executor, output)| {
                    digits
                        .iter()
                        .cycle()
                        .take(500)
                        .for_each(|image| executor.run(black_box(image), output));
                });
            });
        });
    });
    group.finish();
}

/// Many images through one compiled plan, one bit and eight, on one thread: as many at once as fill
/// the vectors.
fn batches(c: &mut Criterion) {
    let digits = digits();
    let mut group = c.benchmark_group("batch");
    group.sample_size(10);
    for name in ["tcv_w1a1", "tcv_w8a8"] {
        let program = compile(&programs().join(format!("{name}.onnx")), &HardwarePoint::default());
        let simulation = Simulation::new(program).expect("legal");
        group.bench_function(format!("{name}, compile the plan"), |b| {
            b.iter(|| simulation.compile(false).expect("a plan that is compiled"));
        });
        let compiled = simulation.compile(false).expect("a plan that is compiled");
        let mut batch = simulation.batch(&compiled).expect("small memories");
        let images = batch.images();
        let inputs: Vec<u8> = digits.iter().cycle().take(images).flatten().copied().collect();
        let mut outputs = Vec::new();
        group.throughput(Throughput::Elements(images as u64));
        group.bench_function(format!("{name}, {images} images at once"), |b| {
            b.iter(|| {
                outputs.clear();
                batch.run(black_box(&inputs), &mut outputs);
            });
        });
    }
    group.finish();
}

/// The two larger networks: compiling, loading, and images, of which criterion shows MACs per
/// second. What they take in cycles and energy is printed, and the most memory that the process has
/// had, where the system tells it.
fn larger(c: &mut Criterion) {
    let hw = HardwarePoint::default();
    let mut group = c.benchmark_group("larger networks");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for network in [vgg(1, 1), vgg(2, 2), resnet(1, 1), resnet(2, 2)] {
        let name = &network.name;
        group.bench_function(format!("{name}, compile"), |b| {
            b.iter(|| lower_to(black_box(&network), &hw))
        });
        let (_, program) = lower_to(&network, &hw).expect("compiles");
        load_and_run(&mut group, name, program);
    }
    group.finish();
}

/// What a look inside costs, of both images: writing down what happens, beside the load that every
/// run has, and the files, whose sizes are printed.
fn timelines(c: &mut Criterion) {
    let hw = HardwarePoint::default();
    let technology = Technology::builtin("45nm").expect("it is there");
    let mut group = c.benchmark_group("timelines");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for network in [vgg(1, 1), resnet(1, 1)] {
        let name = &network.name;
        let (_, program) = lower_to(&network, &hw).expect("compiles");
        group.bench_function(format!("{name}, load"), |b| {
            b.iter_batched(|| program.clone(), Simulation::new, BatchSize::LargeInput);
        });
        group.bench_function(format!("{name}, record"), |b| b.iter(|| Recordings::new(&program)));
        let recordings = Recordings::new(&program).expect("legal");
        let images = || [Start::Cold, Start::Warm].map(|start| recordings.of(start));
        let trace = || {
            let mut bytes = Vec::new();
            let timeline = Timeline::new(images(), &technology, hw.clock_mhz);
            perfetto::write(&timeline, &mut bytes).expect("memory");
            bytes
        };
        let fst = || {
            let wave = wave::wave(&program, &images().map(wave::of_recording));
            wave.write_fst(hw.clock_mhz, Cursor::new(Vec::new())).expect("memory").into_inner()
        };
        let cycles: u64 = images().iter().map(|image| image.cycles()).sum();
        let steps: usize = images().iter().map(|image| image.steps().len()).sum();
        println!(
            "{name}: {cycles} cycles, {steps} issues; Perfetto {} bytes, FST {} bytes",
            trace().len(),
            fst().len()
        );
        group.bench_function(format!("{name}, Perfetto"), |b| b.iter(trace));
        group.bench_function(format!("{name}, FST"), |b| b.iter(fst));
    }
    group.finish();
}

/// Networks of ImageNet's size, from the ONNX file: compiling, loading, and an image.
fn imagenet(c: &mut Criterion) {
    let (hw, options) = (HardwarePoint::default(), ImportOptions::default());
    let mut group = c.benchmark_group("imagenet");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, model) in [("resnet18", resnet18(4)), ("mobilenet_v1", mobilenet_v1(4))] {
        group.bench_function(format!("{name}, compile"), |b| {
            b.iter(|| qnnsim_compiler::compile(black_box(&model), &hw, &options));
        });
        let compiled = qnnsim_compiler::compile(&model, &hw, &options).expect("compiles");
        load_and_run(&mut group, name, compiled.program);
    }
    group.finish();
}

/// Loads a program and runs an image; prints what it takes.
fn load_and_run(group: &mut BenchmarkGroup<WallTime>, name: &str, program: Program) {
    group.bench_function(format!("{name}, load"), |b| {
        b.iter_batched(|| program.clone(), Simulation::new, BatchSize::LargeInput);
    });
    let (values, clock_mhz) = (program.input.shape.values(), program.hardware.clock_mhz);
    let simulation = Simulation::new(program).expect("legal");
    let report = simulation.report(&Technology::builtin("45nm").expect("it is there"), clock_mhz);
    let macs: u64 = report.layers.iter().map(|layer| layer.macs).sum();
    group.throughput(Throughput::Elements(macs));
    let image: Vec<u8> = (0..values).map(|i| (i * 37 % 256) as u8).collect();
    let (mut executor, mut output) = (simulation.executor(), Vec::new());
    group.bench_function(format!("{name}, one image"), |b| {
        b.iter(|| executor.run(black_box(&image), &mut output))
    });
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    println!(
        "{name}: {macs} MACs, {} cycles warm, {} cold, {:.1} uJ warm; {}",
        report.cycles.warm,
        report.cycles.cold,
        report.energy_pj.warm / 1e6,
        peak.split_whitespace().collect::<Vec<_>>().join(" "),
    );
}

/// A sweep that starts from nothing and tells nobody.
struct Alone;

impl Watch for Alone {
    type Error = Infallible;

    fn simulated(&self, _: usize, _: &Outcome) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What a design point takes without values, and the space of `programs/sweep.ron`, with and
/// without the filter.
fn exploration(c: &mut Criterion) {
    let sources: Vec<Source> = ["tcv_w1a1", "tcv_w8a8"]
        .into_iter()
        .map(|name| {
            let model = fs::read(programs().join(format!("{name}.onnx"))).expect("the model");
            Source::model(
                name.into(),
                import(&model, &tcv_options()).expect("a supported model").network,
            )
        })
        .collect();
    let mut group = c.benchmark_group("explore");
    group.sample_size(20);
    for source in &sources {
        for array in [[4, 4, 32], [16, 16, 64]] {
            let [mac_rows, mac_cols, mac_lanes] = array;
            let hw = HardwarePoint::default().with(|p| {
                (p.mac_rows, p.mac_cols, p.mac_lanes) = (mac_rows, mac_cols, mac_lanes);
                p.thr_cols = mac_cols / 2;
            });
            let hw = hw.expect("a valid point").timing_point();
            group.bench_function(format!("{} on {}", source.name, hw.short_name()), |b| {
                b.iter(|| source.evaluate(black_box(&hw)));
            });
        }
    }

    let space = fs::read_to_string(programs().join("sweep.ron")).expect("the space");
    let space = Space::from_ron(&space).expect("a legal space");
    let points = space.points(&[Overrides::default()]).expect("points");
    let technologies =
        BTreeMap::from([("45nm".to_owned(), Technology::builtin("45nm").expect("it is there"))]);
    let objectives = ["energy_pj", "cycles", "lut"].map(String::from);
    let objectives = Objectives::new(&objectives).expect("columns of the table");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(points.len() as u64));
    for (name, filter) in [("sweep.ron, filtered", true), ("sweep.ron, exhaustive", false)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let sweep = Sweep::new(&sources[..1], &technologies, &points);
                pool.install(|| {
                    sweep.run(&objectives, Shard::WHOLE, filter, &HashMap::new(), &Alone)
                })
            });
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    compiler,
    assembler,
    loading,
    images,
    batches,
    larger,
    timelines,
    imagenet,
    exploration
);
criterion_main!(benches);
