//! The report of made-up sweeps: what it says, and that nothing in a table breaks it.

use std::collections::BTreeMap;

use qnnsim_explore::report::{Detail, Sweep, html, plots, rows_to_detail};
use qnnsim_explore::table::{Column, Table, Value};
use qnnsim_isa::HardwarePoint;
use qnnsim_simulator::Technology;
use qnnsim_simulator::area::area;
use qnnsim_simulator::energy::Activity;
use qnnsim_simulator::report::{ColdWarm, LayerReport, Report, UnitReport};
use roxmltree::Document;

fn column(name: &str, unit: &str) -> Column {
    Column { name: name.into(), unit: unit.into(), doc: format!("Sentence of {name}.") }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Columns of a sweep over the array's rows and columns.
fn columns() -> Vec<Column> {
    [
        ("index", ""),
        ("source", ""),
        ("mac.rows", "elements"),
        ("mac.cols", "elements"),
        ("mac.lanes", "bits"),
        ("thr.cols", "columns"),
        ("status", ""),
        ("reason", ""),
        ("pareto", ""),
        ("cycles", "cycles"),
        ("energy_pj", "pJ"),
        ("memory_bits", "bits"),
    ]
    .map(|(name, unit)| column(name, unit))
    .to_vec()
}

/// A row of a point that was simulated.
fn row(
    index: u64,
    source: &str,
    [rows, cols]: [u64; 2],
    front: bool,
    figures: [f64; 3],
) -> Vec<Value> {
    let [cycles, energy_pj, bits] = figures;
    vec![
        Value::Integer(index),
        text(source),
        Value::Integer(rows),
        Value::Integer(cols),
        Value::Integer(64),
        Value::Integer(cols.div_ceil(2)),
        text("ok"),
        Value::Null,
        Value::Flag(front),
        Value::Integer(cycles as u64),
        Value::Number(energy_pj),
        Value::Integer(bits as u64),
    ]
}

/// A row of a point that was not.
fn other(index: u64, source: &str, status: &str, reason: &str) -> Vec<Value> {
    let mut values = row(index, source, [16, 16], false, [0.0; 3]);
    (values[6], values[7]) = (text(status), text(reason));
    values[9..].fill(Value::Null);
    values
}

/// Four points of a front, one that is dominated, and three that were not simulated.
fn table() -> Table {
    let rows = vec![
        row(0, "net", [4, 8], true, [8000.0, 100e3, 1e5]),
        row(1, "net", [8, 8], true, [4000.0, 200e3, 2e5]),
        row(2, "net", [16, 32], true, [2000.0, 240e3, 4e5]),
        row(3, "net", [16, 64], true, [1000.0, 800e3, 8e5]),
        row(4, "net", [16, 16], false, [4000.0, 300e3, 9e5]),
        other(5, "net", "unfit", "the weight memory lacks 12 bytes"),
        other(6, "net", "unfit", "the weight memory lacks 3,400 bytes"),
        other(7, "net", "skipped", "at least 9,000 cycles"),
    ];
    Table { columns: columns(), rows }
}

/// A report of one layer between `fetch` and `tail`, of which the rows and units add up.
fn report(layer: &str) -> Report {
    let row = |name: &str, cycles: u64, lane_operations: u64, bytes: [u64; 2]| LayerReport {
        name: name.into(),
        summary: String::new(),
        cycles,
        cycles_cold: 2 * cycles,
        share: cycles as f64 / 1000.0,
        macs: lane_operations,
        lane_operations,
        dram_bytes: bytes[1],
        dram_bytes_cold: bytes[0],
        utilization: 0.5,
        energy_pj: 100.0 * cycles as f64,
        energy_pj_cold: 300.0 * cycles as f64,
        stalls: BTreeMap::new(),
    };
    let unit = |name: &str, busy: u64, stalls: &[(&str, u64)], energy_pj: f64| UnitReport {
        name: name.into(),
        busy,
        stalls: stalls.iter().map(|&(cause, n)| (cause.into(), n)).collect(),
        idle: 1000 - busy - stalls.iter().map(|s| s.1).sum::<u64>(),
        energy_pj,
    };
    let both = |warm: f64| ColdWarm { cold: 3.0 * warm, warm };
    let hw = [
        ("mac.rows", 16u32),
        ("mac.cols", 16),
        ("mac.lanes", 64),
        ("dram.width", 8),
        ("clock.mhz", 200),
    ];
    Report {
        name: "net".into(),
        hw: hw.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect(),
        cycles: ColdWarm { cold: 2000, warm: 1000 },
        energy_pj: both(100e3),
        energy_pj_streamed_weights: both(0.0),
        energy_pj_resident_weights: both(0.0),
        latency_us: both(5.0),
        power_mw: both(20.0),
        images_per_s: 200_000.0,
        // 4,096,000 operations in 800 cycles are 5,120 a cycle of 16,384; in the cold image, 2,560
        // a cycle and 128 per byte.
        layers: vec![
            row("fetch", 0, 0, [2000, 1000]),
            row(layer, 800, 4_096_000, [32_000, 0]),
            row("tail", 200, 0, [0, 0]),
        ],
        units: vec![
            unit("ld", 100, &[], 20e3),
            unit("mac", 600, &[("rows", 300), ("port", 2)], 70e3),
        ],
        memories: Vec::new(),
        area: area(&Technology::builtin("45nm").expect("it is there"), &HardwarePoint::default()),
        clock: None,
        leakage_pj: both(10e3),
        dram_background_pj: both(0.0),
        purposes: Vec::new(),
        activity: Activity::STATED,
        energy_error: 0.0,
        notes: Vec::new(),
    }
}

/// The page as a tree. It is XML but for its first line and its style and scripts.
fn checked(page: &str) -> String {
    let mut page = page.strip_prefix("<!doctype html>\n").expect("a page").to_owned();
    for (open, close, count) in [("<style>", "</style>", 1), ("<script>", "</script>", 1)] {
        let (from, to) =
            (page.find(open).expect(open) + open.len(), page.rfind(close).expect(close));
        assert_eq!(page.matches(open).count(), count);
        page.replace_range(from..to, "");
    }
    let tree = Document::parse(&page).unwrap_or_else(|e| panic!("{e}"));
    let ids: Vec<&str> = tree.descendants().filter_map(|n| n.attribute("id")).collect();
    assert!(
        ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1),
        "ids are unlike each other"
    );
    finite(&tree);
    page
}

/// Checks that every coordinate is a number.
fn finite(tree: &Document<'_>) {
    for attribute in tree.descendants().flat_map(|n| n.attributes()) {
        let geometric = ["d", "x", "y", "cx", "cy", "width", "height", "transform", "viewBox"]
            .contains(&attribute.name());
        let value = attribute.value();
        assert!(
            !geometric || !value.contains("NaN") && !value.contains("inf"),
            "{}: {value}",
            attribute.name()
        );
    }
}

/// Checks page and plots, and returns the page.
fn made(sweep: &Sweep<'_>) -> String {
    let page = html(sweep);
    checked(&page);
    assert_eq!(page, html(sweep), "the same sweep gives the same bytes");
    let files = plots(sweep);
    let mut names: Vec<&String> = files.iter().map(|f| &f.0).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), files.len(), "names of files are unlike each other");
    for (name, svg) in &files {
        assert!(name.ends_with(".svg") && !name.starts_with('.'), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name}");
        let tree = Document::parse(svg).unwrap_or_else(|e| panic!("{name}: {e}"));
        finite(&tree);
    }
    page
}

fn sweep<'a>(
    table: &'a Table,
    axes: &'a [String],
    objectives: &'a [String],
    points: &'a [Detail],
) -> Sweep<'a> {
    Sweep { title: "a sweep", table, axes, objectives, points, commands: &[], facts: &[] }
}

/// Titles of marks.
fn titles(page: &str) -> Vec<String> {
    let page = checked(page);
    let tree = Document::parse(&page).expect("checked");
    tree.descendants()
        .filter(|n| n.has_tag_name("title"))
        .filter_map(|n| n.text().map(str::to_owned))
        .collect()
}

#[test]
fn the_page_names_the_points_to_choose() {
    let (table, axes, objectives) =
        (table(), strings(&["mac.rows", "mac.cols"]), strings(&["energy_pj", "cycles"]));
    let mut sweep = sweep(&table, &axes, &objectives, &[]);
    // Least energy is point 0, least cycles point 3. On logarithmic scales from 100 to 800 nJ and
    // from 1,000 to 8,000 cycles, each a factor of 8, point 1 is at (1/3, 2/3), so 0.745 from
    // the corner, and point 2 at (0.421, 1/3), so 0.537: the knee.
    assert_eq!(rows_to_detail(&sweep), [0, 1, 2, 3]);
    let points = [Detail { row: 2, report: report("conv") }];
    sweep.points = &points;
    let page = made(&sweep);
    for (letter, role, name) in [
        ("A", "Least energy", "4x8x64"),
        ("B", "Least cycles", "16x64x64"),
        ("C", "Knee", "16x32x64"),
    ] {
        let head = format!(
            "<span class=\"letter\">{letter}</span>{role}</h4><p class=\"point\">{name}</p>"
        );
        assert!(page.contains(&head), "{head}");
    }
    // The knee takes 2.4 times the least energy and twice the least cycles.
    for cells in [
        "<td>240.0 nJ</td><td>2.40x</td>",
        "<td>2,000</td><td>2.00x</td>",
        "<td>100.0 nJ</td><td>least</td>",
    ] {
        assert!(page.contains(cells), "{cells}");
    }
    assert!(page.contains(
        "8 points, 5 simulated, 2 do not fit, 1 skipped because they cannot reach the front."
    ));
    assert!(page.contains(
        "The array works 60\u{a0}% of the time; it waits for rows 30\u{a0}%; 10\u{a0}% of it has no instruction."
    ));
    // Reasons that differ in a number are told once.
    assert!(page.contains(
        "<tr><td>2</td><td class=\"l\">unfit</td><td class=\"l wrap\">the weight memory lacks 12 bytes</td></tr>"
    ));
    assert!(!page.contains("3,400 bytes"));
}

#[test]
fn a_point_that_is_best_in_everything_is_named_once() {
    let table =
        Table { columns: columns(), rows: vec![row(0, "net", [4, 8], true, [10.0, 20.0, 30.0])] };
    let (axes, objectives) =
        (strings(&["mac.rows"]), strings(&["energy_pj", "cycles", "memory_bits"]));
    let page = made(&sweep(&table, &axes, &objectives, &[]));
    assert!(page.contains("Best in every objective") && page.contains("1 point is on the front"));
}

#[test]
fn more_images_a_second_are_better() {
    let mut table = table();
    table.columns[9] = column("images_per_s", "1/s");
    let objectives = strings(&["images_per_s", "energy_pj"]);
    let page = made(&sweep(&table, &[], &objectives, &[]));
    // Point 0 has the most images a second and the least energy; were fewer better, point 3 would
    // be named.
    assert!(page.contains("</span>Best in every objective</h4><p class=\"point\">4x8x64</p>"));
    assert!(page.contains("images a second (more is better)") && !page.contains("16x64x64</p>"));
}

#[test]
fn commands_set_what_differs_from_the_default_point() {
    let mut table = table();
    // thr.cols is half of mac.cols by default, so row 2 need not say it; row 3 does.
    table.rows[3][5] = Value::Integer(8);
    let (axes, objectives) = (strings(&["mac.rows"]), strings(&["energy_pj", "cycles"]));
    let commands = [("net".to_owned(), "qnnsim compile 'my net.onnx' -o net.bin".to_owned())];
    let page = made(&Sweep { commands: &commands, ..sweep(&table, &axes, &objectives, &[]) });
    let start = "<code class=\"command\">qnnsim compile 'my net.onnx' -o net.bin";
    for settings in [
        " --set mac.rows=4 --set mac.cols=8</code>",
        " --set mac.cols=32</code>",
        " --set mac.cols=64 --set thr.cols=8</code>",
    ] {
        assert!(page.contains(&format!("{start}{settings}")), "{settings}");
    }
}

#[test]
fn an_axis_shows_how_values_spread() {
    let cycles = [10.0, 20.0, 30.0, 40.0, 50.0, 7.0];
    let rows = [8, 8, 8, 8, 8, 16].into_iter().zip(cycles).enumerate();
    let rows = rows.map(|(i, (r, c))| row(i as u64, "net", [r, 8], false, [c, 1.0, 1.0])).collect();
    let table = Table { columns: columns(), rows };
    let page = made(&sweep(&table, &strings(&["mac.rows"]), &strings(&["cycles"]), &[]));
    let titles = titles(&page);
    assert!(
        titles.contains(&"mac.rows 8\n5 points\nleast 10\nmedian 30\nmost 50".to_owned()),
        "{titles:?}"
    );
    assert!(titles.contains(&"mac.rows 16\n1 point\nleast 7\nmedian 7\nmost 7".to_owned()));
}

#[test]
fn bars_split_cycles_and_energy_as_the_report_does() {
    let (table, objectives) = (table(), strings(&["energy_pj", "cycles"]));
    let points = [Detail { row: 2, report: report("conv") }];
    let titles = titles(&made(&sweep(&table, &[], &objectives, &points)));
    for title in [
        "C  16x32x64\nconv: 800 cycles, 80.0 %",
        "C  16x32x64\ntail: 200 cycles, 20.0 %",
        "C  16x32x64\nwaits: rows: 300 cycles, 30.0 %",
        "C  16x32x64\nidle: 98 cycles, 9.8 %",
        "C  16x32x64\nmac: 70.0 nJ, 70.0 %",
        "C  16x32x64\nleakage: 10.0 nJ, 10.0 %",
    ] {
        assert!(titles.iter().any(|t| t == title), "{title} is not in {titles:?}");
    }
}

#[test]
fn a_layer_lies_where_its_operations_bytes_and_cycles_put_it() {
    let (table, objectives) = (table(), strings(&["energy_pj", "cycles"]));
    let points = [Detail { row: 2, report: report("conv") }];
    let titles = titles(&made(&sweep(&table, &[], &objectives, &points)));
    for title in [
        // 5,120 of 16,384.
        "conv, warm\n5,120 lane operations a cycle, 31.2 % of the array\nno byte of the DRAM moved",
        "conv, cold\n2,560 lane operations a cycle, 15.6 % of the array\n128 lane operations per byte",
        // The image: 4,096,000 operations in 1,000 cycles and 1,000 bytes of code.
        "image, warm\n4,096 lane operations a cycle, 25.0 % of the array\n4,096 lane operations per byte",
        // 4,096,000 / 34,000 bytes.
        "image, cold\n2,048 lane operations a cycle, 12.5 % of the array\n120.5 lane operations per byte",
    ] {
        assert!(titles.iter().any(|t| t == title), "{title} is not in {titles:?}");
    }
}

#[test]
fn names_are_text_whatever_is_in_them() {
    const EVIL: &str = "</script><script>alert(1)</script>\"onload='x' ]]><!-- \u{0}\u{1b}\u{2028}../../etc/passwd";
    let mut table = table();
    for values in &mut table.rows {
        values[1] = text(EVIL);
        if values[7] != Value::Null {
            values[7] = text(EVIL);
        }
    }
    table.rows[5][6] = text(EVIL);
    for column in &mut table.columns {
        column.doc = EVIL.into();
    }
    table.columns[2] = Column { name: EVIL.into(), unit: EVIL.into(), doc: EVIL.into() };
    let (axes, objectives) = (strings(&[EVIL, "mac.cols"]), strings(&["energy_pj", "cycles"]));
    let facts = [(EVIL.to_owned(), EVIL.to_owned())];
    let mut report = report(EVIL);
    report.notes.push(EVIL.into());
    report.units[1].stalls.insert(EVIL.into(), 50);
    let points = [Detail { row: 0, report }];
    let sweep = Sweep {
        title: EVIL,
        table: &table,
        axes: &axes,
        objectives: &objectives,
        points: &points,
        commands: &[],
        facts: &facts,
    };
    let page = made(&sweep);
    // The data of the tooltips and the script itself, and no other.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
    for (_, svg) in plots(&sweep) {
        assert!(!svg.contains("<script") && !svg.contains("onload='"));
    }
}

#[test]
fn what_is_missing_is_left_out() {
    let full = table();
    let (axes, objectives) =
        (strings(&["mac.rows", "no.such"]), strings(&["energy_pj", "no_such", "cycles"]));
    let points = [Detail { row: 0, report: report("conv") }];
    for missing in 0..full.columns.len() {
        let mut table = full.clone();
        table.columns.remove(missing);
        table.rows.iter_mut().for_each(|row| drop(row.remove(missing)));
        made(&sweep(&table, &axes, &objectives, &points));
        made(&sweep(&table, &axes, &[], &[]));
    }
    let page = made(&sweep(&Table::default(), &axes, &objectives, &points));
    assert!(page.contains("0 points, 0 simulated."));
    // Rows shorter than the table has columns, and details of rows that are not there.
    let mut ragged = full.clone();
    ragged.rows[0].truncate(3);
    ragged.rows[1].clear();
    let nowhere = [Detail { row: 99, report: report("conv") }];
    made(&sweep(&ragged, &axes, &objectives, &nowhere));
}

#[test]
fn a_sweep_without_a_point_says_why() {
    let rows = vec![other(0, "net", "unfit", "no room"), other(1, "net", "skipped", "too slow")];
    let table = Table { columns: columns(), rows };
    let page = made(&sweep(&table, &strings(&["mac.rows"]), &strings(&["cycles"]), &[]));
    assert!(page.contains("No point of this model was simulated"));
    assert!(page.contains("no room") && page.contains("too slow"));
    assert!(plots(&sweep(&table, &[], &[], &[])).is_empty());
}

#[test]
fn without_a_front_the_best_of_all_points_are_named() {
    let mut table = table();
    table.rows.iter_mut().for_each(|row| row[8] = Value::Null);
    let page = made(&sweep(&table, &[], &strings(&["energy_pj", "cycles"]), &[]));
    assert!(page.contains("The table marks no front") && page.contains("Least energy"));
}

#[test]
fn each_model_has_its_own_front() {
    let mut table = table();
    table.rows.push(row(8, "other net", [8, 8], true, [90_000.0, 9e6, 1e5]));
    let page = made(&sweep(&table, &[], &strings(&["energy_pj", "cycles"]), &[]));
    assert!(page.contains("9 points of 2 models, 6 simulated"));
    assert!(page.contains("<h2>net</h2>") && page.contains("<h2>other net</h2>"));
    assert_eq!(
        page.matches(">A</span>").count()
            - page.matches("<td class=\"l\"><span class=\"letter\">A").count(),
        2
    );
}

#[test]
fn no_value_breaks_a_plot() {
    let odd =
        [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, 1e-300, 5e-324, 1.0];
    for a in odd {
        for b in odd {
            let mut rows: Vec<_> =
                (0..3).map(|i| row(i, "net", [8, 8], i == 0, [1.0; 3])).collect();
            rows[0][10] = Value::Number(a);
            rows[1][10] = Value::Number(b);
            rows[1][9] = Value::Integer(u64::MAX);
            rows[2][2] = Value::Number(a);
            let table = Table { columns: columns(), rows };
            let mut report = report("conv");
            report.layers[1].energy_pj = a.abs();
            report.energy_pj.warm = b;
            let points = [Detail { row: 2, report }];
            made(&sweep(
                &table,
                &strings(&["mac.rows"]),
                &strings(&["energy_pj", "cycles"]),
                &points,
            ));
        }
    }
}

#[test]
fn a_large_sweep_makes_a_small_page() {
    // 12,000 points on a curve, all on the front, and two models.
    let point = |i: u64| {
        let part = (i / 2) as f64 / 6000.0;
        let figures = [1e6 * (-7.0 * part).exp(), 1e3 * (7.0 * part).exp(), 1e5];
        let source = ["net", "other"][(i % 2) as usize];
        row(i, source, [1 + i / 2 % 256, 1 + i % 512], i % 4 < 2, figures)
    };
    let table = Table { columns: columns(), rows: (0..12_000).map(point).collect() };
    let page = made(&sweep(
        &table,
        &strings(&["mac.rows", "mac.cols"]),
        &strings(&["energy_pj", "cycles"]),
        &[],
    ));
    assert!(page.len() < 3 << 20, "{} bytes", page.len());
    // Settings of mac.rows come in groups.
    assert!(page.contains("Settings in 12 groups of equally many points."));
    assert!(page.contains("The first 500 of 3,000 by energy"));
}
