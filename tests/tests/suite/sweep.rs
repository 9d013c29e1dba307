//! Sweeps: every row is what a separate compilation and simulation of its point gives, bounds never
//! exceed the exact figures, and neither filter nor threads change what comes out.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fs;

use proptest::prelude::*;
use qnnsim_compiler::backend::Plan;
use qnnsim_compiler::backend::emit::emit_code;
use qnnsim_compiler::diagnostic::Kind;
use qnnsim_compiler::import::{ImportOptions, import};
use qnnsim_compiler::ir::Network;
use qnnsim_compiler::lower_to;
use qnnsim_explore::bound;
use qnnsim_explore::columns::position;
use qnnsim_explore::evaluate::{Outcome, Source};
use qnnsim_explore::manifest::{Inputs, Manifest};
use qnnsim_explore::merge::merge;
use qnnsim_explore::pareto::Objectives;
use qnnsim_explore::space::{Point, Sample, Space};
use qnnsim_explore::sweep::{Shard, Sweep, Watch};
use qnnsim_explore::table::{Table, Value};
use qnnsim_isa::hardware::Overrides;
use qnnsim_isa::{HardwarePoint, Program};
use qnnsim_simulator::energy::Events;
use qnnsim_simulator::report::{ColdWarm, Cost, Report};
use qnnsim_simulator::{Fault, Simulation, Technology};
use qnnsim_tests::{cases, cramped, for_all, hardware_point, network_seed, programs, tcv_options};

/// A sweep that starts from nothing and tells nobody.
struct Alone;

impl Watch for Alone {
    type Error = Infallible;

    fn simulated(&self, _: usize, _: &Outcome) -> Result<(), Infallible> {
        Ok(())
    }
}

fn technologies() -> BTreeMap<String, Technology> {
    Technology::BUILTIN
        .into_iter()
        .map(|name| (name.to_owned(), Technology::builtin(name).unwrap()))
        .collect()
}

fn objectives(names: &[&str]) -> Objectives {
    Objectives::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn run(
    sweep: &Sweep,
    objectives: &Objectives,
    shard: Shard,
    filter: bool,
    threads: usize,
) -> Table {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let Ok(table) = pool.install(|| sweep.run(objectives, shard, filter, &HashMap::new(), &Alone));
    table
}

fn column<'a>(table: &'a Table, name: &str) -> Vec<&'a Value> {
    let at = position(&table.columns, name).unwrap_or_else(|| panic!("no column `{name}`"));
    table.rows.iter().map(|row| &row[at]).collect()
}

/// Numbers of the points with a status, or on the front.
fn indices(table: &Table, name: &str, value: &Value) -> Vec<u64> {
    let index = column(table, "index").into_iter().map(|index| match index {
        Value::Integer(index) => *index,
        other => panic!("{other:?} is no index"),
    });
    index
        .zip(column(table, name))
        .filter(|(_, found)| *found == value)
        .map(|(index, _)| index)
        .collect()
}

fn front(table: &Table) -> Vec<u64> {
    indices(table, "pareto", &Value::Flag(true))
}

/// Names of the figures of which `a` is more than `b`.
fn more(a: &Cost, b: &Cost) -> Vec<String> {
    let mut all = Vec::new();
    let cold = |cost: &Cost| (cost.cycles.cold, cost.events.cold);
    let warm = |cost: &Cost| (cost.cycles.warm, cost.events.warm);
    for (image, (a_cycles, a), (b_cycles, b)) in
        [("cold", cold(a), cold(b)), ("warm", warm(a), warm(b))]
    {
        if a_cycles > b_cycles {
            all.push(format!("{image} cycles {a_cycles} > {b_cycles}"));
        }
        for ((name, a), b) in Events::NAMES.iter().zip(a.counts()).zip(b.counts()) {
            if a > b {
                all.push(format!("{image} {name} {a} > {b}"));
            }
        }
    }
    all
}

/// What a sweep simulates, code without data on a machine with other memories, takes what the whole
/// program takes; and no bound exceeds it.
#[test]
fn costs_are_exact_and_bounds_are_bounds() {
    for_all(
        cases(100, 1_000),
        || {
            (
                network_seed(),
                hardware_point(),
                // Memories that hold everything, or not.
                prop_oneof![
                    2 => Just([255; 3]),
                    1 => any::<[u8; 2]>().prop_map(|[w, t]| [255, w, t]),
                    2 => any::<[u8; 3]>(),
                ],
            )
        },
        |(seed, hw, shares)| {
            let network = seed.build();
            let hw = cramped(&network, &hw, shares);
            let program = match lower_to(&network, &hw) {
                Ok((_, program)) => program,
                Err(errors) if errors[0].kind == Kind::ProgramLength => return Ok(()),
                Err(errors) => return Err(TestCaseError::fail(errors[0].to_string())),
            };
            let plan = Plan::of(&network, &hw);
            let plan = plan.map_err(|e| TestCaseError::fail(format!("{}", e[0])))?;
            let code = emit_code(&plan).map_err(|e| TestCaseError::fail(format!("{}", e[0])))?;
            let found = qnnsim_simulator::cost(&code);
            let described = program.clone();
            let exact = match Simulation::new(program) {
                Ok(simulation) => simulation.cost(),
                // What a load refuses, a sweep refuses.
                Err(trap) if matches!(trap.fault, Fault::TooLong(_)) => {
                    prop_assert_eq!(found, Err(trap));
                    return Ok(());
                }
                Err(trap) => return Err(TestCaseError::fail(trap.describe(&described))),
            };
            prop_assert_eq!(found.as_ref(), Ok(&exact));

            let above = more(&bound::of(&plan), &exact);
            prop_assert!(above.is_empty(), "{}", above.join(", "));
            Ok(())
        },
    );
}

fn import_as(name: &str, bytes: &[u8], options: &ImportOptions) -> Network {
    let import = import(bytes, options).unwrap_or_else(|e| panic!("{}", e[0]));
    Network { name: name.into(), ..import.network }
}

fn tcv() -> Source {
    let bytes = fs::read(programs().join("tcv_w1a1.onnx")).expect("the model");
    Source::model("tcv_w1a1".into(), import_as("tcv_w1a1", &bytes, &tcv_options()))
}

fn points(space: &str) -> Vec<Point> {
    let space = Space::from_ron(space).unwrap_or_else(|e| panic!("{e}"));
    space
        .points(&vec![Overrides::default(); space.source_names().len()])
        .unwrap_or_else(|e| panic!("{e}"))
}

const ARRAYS: &str = r#"(
    models: [(file: "tcv_w1a1.onnx")],
    axes: {
        "mac.rows": List([5, 8, 16, 24]),
        "mac.cols": List([8, 16, 24, 64]),
        "mac.lanes": List([32, 64, 72]),
        "acc.banks": Range(from: 2, to: 3),
        "dram.width": List([4, 8]),
        "act.words": List([256, 512]),
        "wgt.words": List([1024, 2048, 3000]),
        "technology": List(["45nm", "22nm"]),
    },
)"#;

/// 4 x 4 x 3 x 2 x 2 = 192 simulations of 2 x 3 x 2 points each.
#[test]
fn the_filter_keeps_the_front_and_threads_change_nothing() {
    let (sources, technologies, points) = ([tcv()], technologies(), points(ARRAYS));
    let sweep = Sweep::new(&sources, &technologies, &points);
    assert_eq!((points.len(), sweep.simulations()), (2304, 192));
    for names in [
        &["energy_pj", "cycles", "memory_bits"][..],
        &["images_per_s", "energy_pj_cold"],
        &["utilization", "power_mw"],
    ] {
        let objectives = objectives(names);
        let exhaustive = run(&sweep, &objectives, Shard::WHOLE, false, 3);
        let filtered = run(&sweep, &objectives, Shard::WHOLE, true, 1);
        assert_eq!(filtered, run(&sweep, &objectives, Shard::WHOLE, true, 5), "threads");
        assert!(!front(&exhaustive).is_empty());
        assert_eq!(front(&filtered), front(&exhaustive), "{names:?}");
        // Power is not bounded, so nothing can be skipped for it.
        let skipped = indices(&filtered, "status", &Value::Text("skipped".into())).len();
        assert_eq!(skipped > 0, !names.contains(&"power_mw"), "{names:?}: {skipped} skipped");
        assert!(indices(&exhaustive, "status", &Value::Text("skipped".into())).is_empty());
    }
}

#[test]
fn what_is_known_is_not_simulated_again() {
    struct Count(std::sync::Mutex<HashMap<usize, Outcome>>);
    impl Watch for Count {
        type Error = Infallible;

        fn simulated(&self, group: usize, outcome: &Outcome) -> Result<(), Infallible> {
            assert!(
                self.0.lock().unwrap().insert(group, outcome.clone()).is_none(),
                "group {group} twice"
            );
            Ok(())
        }
    }
    let (sources, technologies, points) = ([tcv()], technologies(), points(ARRAYS));
    let sweep = Sweep::new(&sources, &technologies, &points);
    let objectives = objectives(&["cycles", "energy_pj"]);
    let first = Count(Default::default());
    let Ok(whole) = sweep.run(&objectives, Shard::WHOLE, true, &HashMap::new(), &first);
    let known = first.0.into_inner().unwrap();
    let half: HashMap<usize, Outcome> =
        known.clone().into_iter().filter(|(group, _)| group % 2 == 0).collect();
    let rest = Count(Default::default());
    let Ok(resumed) = sweep.run(&objectives, Shard::WHOLE, true, &half, &rest);
    assert_eq!(resumed, whole);
    assert_eq!(rest.0.into_inner().unwrap().len(), known.len() - half.len());
}

/// Three parts of the exhaustive sweep are the whole; parts of a filtered one have its front.
#[test]
fn parts_are_the_whole() {
    let space = Space::from_ron(ARRAYS).unwrap();
    let (sources, technologies, points) = ([tcv()], technologies(), points(ARRAYS));
    let sweep = Sweep::new(&sources, &technologies, &points);
    let names = ["energy_pj", "cycles", "memory_bits"];
    let objectives = objectives(&names);
    let whole = run(&sweep, &objectives, Shard::WHOLE, false, 2);
    for exhaustive in [true, false] {
        let part = |index| {
            let shard = Shard { index, count: 3 };
            let inputs = Inputs::new(space.clone(), Vec::new());
            let manifest =
                Manifest::new(inputs, shard, &names, exhaustive, sweep.count(shard), None);
            (format!("part{index}"), manifest, run(&sweep, &objectives, shard, !exhaustive, 2))
        };
        // In any order.
        let (table, manifest) = merge(vec![part(2), part(0), part(1)]).unwrap();
        assert_eq!((manifest.points, manifest.shard), (2304, None));
        assert_eq!(front(&table), front(&whole));
        if exhaustive {
            assert_eq!(table, whole);
        }
        assert_eq!(merge(vec![part(0), part(2)]).unwrap_err(), "part 2/3 is missing");
        assert_eq!(
            merge(vec![part(1), part(0), part(1)]).unwrap_err(),
            "`part1` and `part1` are both part 2/3"
        );
    }
}

/// Compares a row with the report of a program that was compiled and loaded for its point alone.
fn same(table: &Table, row: usize, report: &Report) {
    let value = |name: &str| column(table, name)[row].clone();
    let unit = |name: &str| report.units.iter().find(|unit| unit.name == name).unwrap().energy_pj;
    let memory = |name: &str| report.memories.iter().find(|memory| memory.name == name).unwrap();
    let ColdWarm { cold, warm } = report.cycles;
    assert_eq!(value("cycles"), Value::Integer(warm));
    assert_eq!(value("cycles_cold"), Value::Integer(cold));
    let bits = ["activations", "weights", "thresholds", "accumulators", "code"]
        .map(|name| 8 * memory(name).bytes);
    // Lanes are a multiple of 8, so every memory is of whole bytes.
    assert_eq!(value("memory_bits"), Value::Integer(bits.iter().sum()));
    for (name, figure) in [
        ("latency_us", report.latency_us.warm),
        ("latency_us_cold", report.latency_us.cold),
        ("images_per_s", report.images_per_s),
        ("energy_pj", report.energy_pj.warm),
        ("energy_pj_cold", report.energy_pj.cold),
        ("power_mw", report.power_mw.warm),
        ("power_mw_cold", report.power_mw.cold),
        ("energy_pj_front_end", unit("front end")),
        ("energy_pj_ld", unit("ld")),
        ("energy_pj_mac", unit("mac")),
        ("energy_pj_thr", unit("thr")),
        ("energy_pj_pool", unit("pool")),
        ("energy_pj_st", unit("st")),
        ("energy_pj_leakage", report.leakage_pj.warm),
        ("energy_pj_dram_background", report.dram_background_pj.warm),
        ("energy_pj_activations", memory("activations").energy_pj),
        ("energy_pj_weights", memory("weights").energy_pj),
        ("energy_pj_thresholds", memory("thresholds").energy_pj),
        ("energy_pj_accumulators", memory("accumulators").energy_pj),
        ("energy_pj_code", memory("code").energy_pj),
        ("energy_pj_dram", memory("dram").energy_pj),
        ("energy_pj_streamed_weights_cold", report.energy_pj_streamed_weights.cold),
    ] {
        assert_eq!(value(name), Value::Number(figure), "{name}");
    }
    let area = &report.area;
    assert_eq!(
        [value("lut"), value("ff"), value("dsp")],
        [area.lut, area.ff, area.dsp].map(Value::Integer)
    );
    assert_eq!(value("bram36"), Value::Number(area.bram36));
    assert_eq!(value("mm2"), area.mm2.map_or(Value::Null, Value::Number));
    // Utilization of the image: that of its layers, weighted by their cycles.
    let useful: f64 =
        report.layers.iter().map(|layer| layer.utilization * layer.cycles as f64).sum();
    let Value::Number(utilization) = value("utilization") else { panic!("a number") };
    assert!((utilization - useful / warm as f64).abs() < 1e-12);
}

/// A point compiled alone, through the bytes of the program file, as `compile` and `run` do.
fn alone(network: &Network, hw: &HardwarePoint) -> Result<Report, String> {
    let (_, program) = lower_to(network, hw)
        .map_err(|all| all.iter().map(|e| e.message.clone()).collect::<Vec<_>>().join("; "))?;
    let program = Program::from_bytes(&program.to_bytes()).expect("sound");
    let technology = Technology::builtin(&program.hardware.technology).expect("known");
    let simulation = Simulation::new(program).expect("legal");
    Ok(simulation.report(&technology, hw.clock_mhz))
}

/// Points at random of the large space in `programs/`.
#[test]
fn rows_equal_separate_runs() {
    let text = fs::read_to_string(programs().join("sweep_array.ron")).expect("the space");
    let mut space = Space::from_ron(&text).unwrap_or_else(|e| panic!("{e}"));
    let count = cases(60, 200);
    space.sample = Some(Sample { points: count.into(), seed: 7 });
    assert_eq!(space.source_names(), ["tcv_w1a1", "tcv_w8a8"]);
    let network = |model: &qnnsim_explore::space::Model| {
        let path = programs().join(&model.file);
        let options = ImportOptions {
            pixel_scale: vec![model.pixel_scale],
            pixel_offset: vec![model.pixel_offset],
            ..ImportOptions::default()
        };
        import_as(
            path.file_stem().unwrap().to_str().unwrap(),
            &fs::read(&path).expect("the model"),
            &options,
        )
    };
    let networks: Vec<Network> = space.models.iter().map(network).collect();
    let sources: Vec<Source> =
        networks.iter().map(|n| Source::model(n.name.clone(), n.clone())).collect();
    let points = space.points(&vec![Overrides::default(); sources.len()]).unwrap();
    assert_eq!(points.len(), count as usize);

    let technologies = technologies();
    let sweep = Sweep::new(&sources, &technologies, &points);
    let table = run(&sweep, &objectives(&["cycles"]), Shard::WHOLE, false, 2);
    let mut simulated = 0;
    for (row, point) in points.iter().enumerate() {
        let text = |name: &str| match column(&table, name)[row] {
            Value::Text(text) => text.clone(),
            other => panic!("{name}: {other:?}"),
        };
        match (&text("status")[..], &point.hw) {
            ("invalid", Err(error)) => assert_eq!(text("reason"), error.to_string()),
            ("ok", Ok(hw)) => {
                same(&table, row, &alone(&networks[point.source], hw).expect("fits"));
                simulated += 1;
            }
            ("unfit", Ok(hw)) => {
                assert_eq!(text("reason"), alone(&networks[point.source], hw).unwrap_err())
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(2 * simulated >= count, "{simulated} of the points fit");
}
