//! The report of a sweep in a real browser: Chromium, without a window or a network, opens it from
//! disk in light and dark, wide and narrow.
//!
//! Screenshots are left in the target folder's `tmp/report`, to be looked at.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qnnsim_compiler::import::import;
use qnnsim_explore::explain::explain;
use qnnsim_explore::report::{self, Detail, ProgramReport, Sweep, program_page};
use qnnsim_explore::subject::Subject;
use qnnsim_explore::table::{Column, Table, Value};
use qnnsim_isa::HardwarePoint;
use qnnsim_isa::hardware::{Overrides, PARAMETERS};
use qnnsim_simulator::{Simulation, Start, Technology};
use qnnsim_tests::{programs, tcv_options};

/// Chromium, or none with a word of what is skipped. With QNNSIM_REQUIRE_BROWSER set it must be
/// there.
fn browser() -> Option<&'static str> {
    let quiet = |name: &&str| {
        let mut command = Command::new(name);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(quiet);
    if found.is_none() {
        assert!(std::env::var_os("QNNSIM_REQUIRE_BROWSER").is_none(), "chromium is not installed");
        eprintln!("SKIPPED: install chromium to run this test");
    }
    found
}

/// How a page is opened.
#[derive(Clone, Copy)]
struct View {
    dark: bool,
    width: u32,
    height: u32,
}

const WIDE: View = View { dark: false, width: 1280, height: 1000 };
const NARROW: View = View { width: 500, ..WIDE };

/// Runs the browser until it is done, and returns what it wrote and the lines of the page's
/// console.
fn run(browser: &str, view: View, page: &Path, what: &str) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| std::fs::File::create(folder.path().join(name)).expect("a file");
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
        ])
        // No name resolves: whatever the page asks the network for fails, and the console says so.
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={}", if view.dark { 0 } else { 1 }))
        .arg(format!("--window-size={},{}", view.width, view.height))
        .arg(what)
        .arg(format!("file://{}", page.display()))
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .expect("the browser starts");
    let started = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if started.elapsed() > Duration::from_secs(180) => {
                let _ = child.kill();
                panic!("the browser hangs on {}", page.display());
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    assert!(status.success(), "{status}");
    let text = |name| {
        String::from_utf8_lossy(&std::fs::read(folder.path().join(name)).expect("a file"))
            .into_owned()
    };
    let console =
        text("err").lines().filter(|l| l.contains("CONSOLE")).map(str::to_owned).collect();
    (text("out"), console)
}

/// The document after its scripts have run.
fn document(browser: &str, view: View, page: &Path) -> (String, Vec<String>) {
    run(browser, view, page, "--dump-dom")
}

/// Opens a page, wants a silent console, and returns the pixels as (width, height, RGB).
fn picture(browser: &str, view: View, page: &Path, name: &str) -> (usize, usize, Vec<[u8; 3]>) {
    let file = folder().join(format!("{name}.png"));
    let (_, console) = run(browser, view, page, &format!("--screenshot={}", file.display()));
    assert_eq!(console, [""; 0], "{name}: the console is silent");
    let file = std::io::BufReader::new(std::fs::File::open(file).expect("a screenshot"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG file");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut bytes).expect("a frame");
    let samples = info.color_type.samples();
    let pixels = bytes.chunks_exact(samples).map(|p| [p[0], p[1], p[2]]).collect();
    (info.width as usize, info.height as usize, pixels)
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn write(name: &str, text: &str) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

/// A small sweep of TCV: page, and plots. One of its points does not fit.
fn report_of_tcv() -> (String, Vec<(String, String)>) {
    let points: Vec<HardwarePoint> =
        [(4u32, 8u32, 512), (8, 16, 512), (16, 16, 512), (16, 32, 512), (32, 32, 512), (4, 8, 64)]
            .into_iter()
            .flat_map(|(rows, cols, words)| [4u32, 8].map(|width| (rows, cols, words, width)))
            .map(|(rows, cols, words, width)| {
                let mut overrides = Overrides::default();
                (overrides.mac.rows, overrides.mac.cols) = (Some(rows), Some(cols));
                (overrides.act.words, overrides.dram.width) = (Some(words), Some(width));
                overrides.resolve().expect("a valid point")
            })
            .collect();
    let model = std::fs::read(programs().join("tcv_w1a1.onnx")).expect("the model");
    let network = import(&model, &tcv_options()).expect("imports").network;
    let technology = Technology::builtin("45nm").expect("comes with the simulator");
    let reports: Vec<_> = points
        .iter()
        .map(|hw| {
            let (_, program) =
                qnnsim_compiler::lower_to(&network, hw).map_err(|e| e[0].to_string())?;
            let simulation = Simulation::new(program).unwrap_or_else(|e| panic!("{e:?}"));
            Ok::<_, String>(simulation.report(&technology, hw.clock_mhz))
        })
        .collect();

    let column = |name: &str, unit: &str| Column {
        name: name.into(),
        unit: unit.into(),
        doc: String::new(),
    };
    let mut columns =
        vec![column("index", ""), column("source", ""), column("status", ""), column("reason", "")];
    columns.extend(PARAMETERS.iter().map(|p| Column {
        name: p.key.into(),
        unit: p.unit.into(),
        doc: p.doc.into(),
    }));
    columns.extend([column("cycles", "cycles"), column("energy_pj", "pJ"), column("pareto", "")]);
    let costs: Vec<Option<(u64, f64)>> = reports
        .iter()
        .map(|r| r.as_ref().ok().map(|r| (r.cycles.warm, r.energy_pj.warm)))
        .collect();
    let rows = points.iter().zip(&reports).enumerate().map(|(i, (hw, result))| {
        let text = |text: &str| Value::Text(text.into());
        let mut row = vec![Value::Integer(i as u64), text("tcv_w1a1")];
        match result {
            Ok(_) => row.extend([text("ok"), Value::Null]),
            Err(reason) => row.extend([text("unfit"), text(reason)]),
        }
        row.extend(hw.values().into_iter().map(|v| Value::Integer(v.into())));
        match costs[i] {
            Some(cost) => {
                let beats = |o: &(u64, f64)| o.0 <= cost.0 && o.1 <= cost.1 && *o != cost;
                let front = !costs.iter().flatten().any(beats);
                row.extend([Value::Integer(cost.0), Value::Number(cost.1), Value::Flag(front)]);
            }
            None => row.extend([Value::Null, Value::Null, Value::Flag(false)]),
        }
        row
    });
    let table = Table { columns, rows: rows.collect() };
    let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let (axes, objectives) = (
        names(&["mac.rows", "mac.cols", "act.words", "dram.width"]),
        names(&["energy_pj", "cycles"]),
    );
    let mut sweep = Sweep {
        title: "TCV on small arrays",
        table: &table,
        axes: &axes,
        objectives: &objectives,
        points: &[],
        commands: &[],
        facts: &[],
    };
    let detail = |row: usize| Detail {
        row,
        report: reports[row].clone().expect("points of the front were simulated"),
    };
    let details: Vec<Detail> = report::rows_to_detail(&sweep).into_iter().map(detail).collect();
    sweep.points = &details;
    (report::html(&sweep), report::plots(&sweep))
}

/// What a person does with the page, as a script: hover over a mark, over the cloud, sort, copy.
/// What it finds goes into the body's attributes.
const HANDS: &str = r#"<script>
const say = (name, value) => document.body.setAttribute("data-" + name, value);
const tip = document.getElementById("tip");
const over = (target, x, y) =>
  target.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: x, clientY: y }));
const centre = (mark) => { const b = mark.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; };
say("hidden", tip.hidden);
const pick = document.querySelector("svg .pick[data-p]");
over(pick, ...centre(pick));
say("pick", tip.hidden ? "" : tip.textContent);
say("hot", document.querySelectorAll("tr.hot").length + " " + document.querySelectorAll("svg .pick.hot").length);
const svg = document.querySelector("svg[data-cloud]");
const points = JSON.parse(document.getElementById("cloud").textContent).figures[svg.dataset.cloud];
const at = new DOMPoint(points[0], points[1]).matrixTransform(svg.getScreenCTM());
over(svg, at.x + 2, at.y);
say("cloud", tip.hidden ? "" : tip.textContent);
over(document.body, 1, 1);
say("away", tip.hidden);
const head = [...document.querySelectorAll("table.sortable th")].find((th) => th.textContent === "cycles");
const column = () => [...head.closest("table").tBodies[0].rows].map((r) => +r.cells[head.cellIndex].dataset.v);
head.querySelector("button").click();
const up = column();
say("up", up.every((v, i) => i === 0 || up[i - 1] <= v) + " " + head.getAttribute("aria-sort"));
head.querySelector("button").click();
const down = column();
say("down", down.every((v, i) => i === 0 || down[i - 1] >= v) + " " + down.length);
say("copies", document.querySelectorAll("button.copy").length === document.querySelectorAll("code.command").length);
say("room", document.documentElement.scrollWidth <= innerWidth);
say("titles", document.querySelectorAll("svg title").length);
</script>"#;

#[test]
fn a_report_opens_in_a_browser_without_an_error() {
    let Some(browser) = browser() else { return };
    let (page, plots) = report_of_tcv();
    let path = write("report.html", &page);

    for (name, paper) in [("light", [0xff, 0xff, 0xff]), ("dark", [0x14, 0x17, 0x1a])] {
        for (size, view) in [("wide", WIDE), ("narrow", NARROW)] {
            let view = View { dark: name == "dark", ..view };
            let (width, height, pixels) = picture(browser, view, &path, &format!("{name}_{size}"));
            assert_eq!((width, height), (view.width as usize, view.height as usize));
            assert_eq!(pixels[0], paper, "{name}: the corner is paper");
            // Text and cards: much is not paper, and most is calm.
            let inked = pixels.iter().filter(|p| **p != paper).count() as f64 / pixels.len() as f64;
            assert!((0.05..0.7).contains(&inked), "{name} {size}: {inked}");
        }
    }

    // A plot of its own follows the reader's preference, too.
    let (name, svg) = &plots[0];
    let plot = write(name, svg);
    for (dark, paper) in [(false, [0xff, 0xff, 0xff]), (true, [0x14, 0x17, 0x1a])] {
        let (_, _, pixels) = picture(
            browser,
            View { dark, ..WIDE },
            &plot,
            if dark { "plot_dark" } else { "plot_light" },
        );
        assert_eq!(pixels[1280 * 5 + 5], paper);
    }
}

#[test]
fn the_report_answers_to_hands() {
    let Some(browser) = browser() else { return };
    let (page, _) = report_of_tcv();
    let path = write("hands.html", &page.replace("</body>", &format!("{HANDS}</body>")));
    for view in [WIDE, NARROW] {
        let (dom, console) = document(browser, view, &path);
        assert_eq!(console, [""; 0], "the console is silent");
        let body = &dom[dom.find("<body").expect("a body")..];
        let body = &body[..body.find("<header").expect("a header")];
        let said = |name: &str| {
            let start = body
                .find(&format!("data-{name}=\""))
                .unwrap_or_else(|| panic!("{name} was not reached: {body}"));
            body[start..].split('"').nth(1).expect("a value").to_owned()
        };
        assert_eq!(said("hidden"), "true");
        assert!(said("pick").contains(" cycles") && said("pick").contains("J"), "{}", said("pick"));
        // The mark's row of the front, and its mark in each plot.
        let hot = said("hot");
        let (rows, marks) = hot.split_once(' ').expect("two numbers");
        assert_eq!(rows, "1");
        assert!(marks.parse::<u32>().expect("a number") > 2, "{hot}");
        assert!(
            said("cloud").contains("x64") && said("cloud").contains(" cycles"),
            "{}",
            said("cloud")
        );
        assert_eq!(said("away"), "true");
        assert_eq!(said("up"), "true ascending");
        let (sorted, rows) = (said("down"), page.matches("<tr data-p=").count());
        assert_eq!(sorted, format!("true {rows}"));
        assert_eq!(said("copies"), "true");
        assert_eq!(said("room"), "true", "nothing is wider than the window");
        assert_eq!(said("titles"), "0");
    }
}

/// The page of TCV, cold and warm.
fn page_of_tcv() -> String {
    let file = std::fs::read(programs().join("tcv_w1a1.bin")).expect("the program");
    let program = qnnsim_isa::Program::from_bytes(&file).expect("a program file");
    let simulation = Simulation::new(program.clone()).unwrap_or_else(|e| panic!("{e:?}"));
    let technology = Technology::builtin("45nm").expect("comes with the simulator");
    let subject = Subject::of_program(program, &Overrides::default());
    let explanation = explain(&subject, &technology, 200, &|| ()).expect("it runs");
    let timelines = [Start::Cold, Start::Warm].map(|start| simulation.trace(start));
    let report = simulation.report(&technology, 200);
    program_page(&ProgramReport {
        program: simulation.program(),
        report: &report,
        timelines: timelines.each_ref().map(Vec::as_slice),
        explanation: Some(&explanation),
        facts: &[("file".into(), "<tcv> & \"others\"".into())],
    })
}

#[test]
fn a_page_of_a_program_opens_in_a_browser_and_answers_to_hands() {
    let Some(browser) = browser() else { return };
    let page = page_of_tcv();
    let path = write("program.html", &page);
    for (name, paper) in [("light", [0xff, 0xff, 0xff]), ("dark", [0x14, 0x17, 0x1a])] {
        for (size, view) in [("wide", WIDE), ("narrow", NARROW)] {
            let view = View { dark: name == "dark", height: 5000, ..view };
            let (_, _, pixels) = picture(browser, view, &path, &format!("program_{name}_{size}"));
            assert_eq!(pixels[0], paper, "{name}: the corner is paper");
            let inked = pixels.iter().filter(|p| **p != paper).count() as f64 / pixels.len() as f64;
            assert!((0.02..0.7).contains(&inked), "{name} {size}: {inked}");
        }
    }
    const HANDS: &str = r#"<script>
const say = (name, value) => document.body.setAttribute("data-" + name, value);
const tip = document.getElementById("tip");
const marks = document.querySelectorAll('svg[aria-label="Timeline, warm image"] rect');
const mark = [...marks].find((m) => (m.dataset.tip || "").includes("mac x16"));
const b = mark.getBoundingClientRect();
mark.dispatchEvent(new PointerEvent("pointermove",
  { bubbles: true, clientX: b.x + b.width / 2, clientY: b.y + b.height / 2 }));
say("span", tip.hidden ? "" : tip.textContent);
say("room", document.documentElement.scrollWidth <= innerWidth);
say("heads", [...document.querySelectorAll("h3")].map((h) => h.textContent).join("|"));
</script>"#;
    let path = write("program_hands.html", &page.replace("</body>", &format!("{HANDS}</body>")));
    for view in [WIDE, NARROW] {
        let (dom, console) = document(browser, view, &path);
        assert_eq!(console, [""; 0], "the console is silent");
        let said = |name: &str| {
            let start = dom.find(&format!("data-{name}=\"")).expect("it was reached");
            dom[start..].split('"').nth(1).expect("a value").to_owned()
        };
        // README: mac x16 of conv1 from cycle 106 to 167.
        assert!(said("span").contains("cycles 106 to 167"), "{}", said("span"));
        assert_eq!(said("room"), "true", "nothing is wider than the window");
        for head in ["What would help", "What bounds each layer", "Time", "The memories"] {
            assert!(said("heads").contains(head), "{head}");
        }
    }
    assert!(page.contains("&lt;tcv&gt; &amp; &quot;others&quot;"), "what is quoted is escaped");
}

#[test]
fn an_error_on_the_console_is_found() {
    let Some(browser) = browser() else { return };
    let (page, _) = report_of_tcv();
    // What the policy in the page's head forbids, and what throws.
    for (name, planted, told) in [
        ("network", "<img src=\"https://example.invalid/a.png\">", "Content Security Policy"),
        ("throws", "<script>undefined_name();</script>", "undefined_name"),
    ] {
        let path =
            write(&format!("{name}.html"), &page.replace("</body>", &format!("{planted}</body>")));
        let (_, console) = document(browser, WIDE, &path);
        assert!(console.iter().any(|line| line.contains(told)), "{name}: {console:?}");
    }
}
