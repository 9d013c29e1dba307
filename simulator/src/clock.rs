//! The highest clock of a hardware point, by static timing of its netlist.
//!
//! Machines of a grid of parameters are synthesized to a cell library and timed (`rtl/netlist/`);
//! the table of the longest path that ends in each unit is in the executable. What a path is made
//! of, levels of a rotation for example, are terms that are fitted to the table as areas are: least
//! squares of relative errors, no term negative. Machines that no fit sees tell how far off it is.
//! Other technologies take these times and a factor, whose source stands in their table.

use std::sync::LazyLock;

use qnnsim_isa::HardwarePoint;
use schemars::JsonSchema;
use serde::Serialize;

use crate::area::{bits, odd, terms};
use crate::energy::Technology;
use crate::fit::{self, Numbers, Stored, TERMS, least_squares};

/// The machines that were timed.
const TABLE: &str = include_str!("../../rtl/netlist/sky130_paths.csv");

/// Units of the report, with the units of the table that belong to them.
const PARTS: [(&str, &[&str]); 8] = [
    ("mac", &["mac", "array", "element", "row_sum"]),
    ("thr", &["thr", "threshold_unit", "threshold_column"]),
    ("pool", &["max_pool_unit"]),
    ("ld", &["load"]),
    ("st", &["store"]),
    ("front end", &["front_end", "sequencer", "semaphores"]),
    ("memories", &["memories"]),
    ("ports", &["machine", "dram"]),
];

/// What paths are made of: levels of a choice among rows, columns and lanes; dividers by what is no
/// power of two. The table varies little else, and the default point, whose buffers are larger than
/// those of all other machines, is held out.
fn path_terms(hw: &HardwarePoint) -> [f64; TERMS] {
    terms![
        1,
        bits(hw.mac_rows),
        odd(hw.mac_rows),
        bits(hw.mac_lanes),
        odd(hw.mac_lanes),
        bits(hw.mac_cols)
    ]
}

/// A machine of the table.
#[derive(Debug)]
pub struct Timed {
    /// Its parameters.
    pub hardware: HardwarePoint,
    /// Whether it is kept from the fit.
    pub held_out: bool,
    /// Longest path that ends in each unit of the report, in ns, at the library's corner.
    pub path_ns: [f64; PARTS.len()],
}

/// The machines of the table that the executable holds.
pub fn timed() -> Vec<Timed> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let mut all: Vec<(&str, Timed)> = Vec::new();
    for line in lines {
        let cells: Vec<&'static str> = line.split(',').collect();
        let column = |name: &str| names.iter().position(|n| *n == name).expect("a column");
        let cell = |name: &str| cells[column(name)];
        let parameters = cell("parameters");
        if all.last().is_none_or(|(of, _)| *of != parameters) {
            let hardware = fit::point_of(parameters);
            let held_out = cell("use") == "check";
            all.push((parameters, Timed { hardware, held_out, path_ns: [0.0; PARTS.len()] }));
        }
        let (_, machine) = all.last_mut().expect("pushed above");
        let part = PARTS.iter().position(|(_, units)| units.contains(&cell("unit")));
        let path = &mut machine.path_ns[part.expect("a unit of the machine")];
        *path = path.max(cell("path_ns").parse().expect("a number in the table"));
    }
    all.into_iter().map(|(_, machine)| machine).collect()
}

/// What every term costs in ns, by unit; and the largest relative error of the longest path of a
/// machine that the fit has not seen.
struct Fit {
    costs: [[f64; TERMS]; PARTS.len()],
    error: f64,
}

static FIT: LazyLock<Fit> = LazyLock::new(|| {
    let mut numbers = Numbers::of(STORED.text);
    let costs = std::array::from_fn(|_| numbers.row());
    let [error] = numbers.row();
    Fit { costs, error }
});

/// What [`fit`] gave.
const STORED: Stored = Stored {
    path: "rtl/netlist/sky130_paths_fit.txt",
    text: include_str!("../../rtl/netlist/sky130_paths_fit.txt"),
};

/// The numbers of the fit, as they stand in the repository and as the table gives them now.
pub(crate) fn refitted() -> (Stored, String) {
    let Fit { costs, error } = fit();
    let costs = costs.iter().map(|row| &row[..]);
    (STORED, fit::write(costs.chain([&[error][..]])))
}

fn fit() -> Fit {
    let machines = timed();
    let costs = std::array::from_fn(|part| {
        let seen = machines.iter().filter(|machine| !machine.held_out);
        let rows: Vec<_> = seen.map(|m| (path_terms(&m.hardware), m.path_ns[part])).collect();
        least_squares(&rows)
    });
    let mut fit = Fit { costs, error: 0.0 };
    let longest = |paths: &[f64]| paths.iter().copied().fold(0.0, f64::max);
    for machine in machines.iter().filter(|machine| machine.held_out) {
        let (modelled, timed) =
            (longest(&fit.paths_ns(&machine.hardware)), longest(&machine.path_ns));
        fit.error = fit.error.max((modelled - timed).abs() / timed);
    }
    fit
}

impl Fit {
    fn paths_ns(&self, hw: &HardwarePoint) -> [f64; PARTS.len()] {
        let terms = path_terms(hw);
        self.costs.map(|costs| costs.iter().zip(terms).map(|(cost, term)| cost * term).sum())
    }
}

/// The longest path that ends in a unit.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize)]
pub struct UnitClock {
    /// As in the report by unit; `memories` are the banks' inputs, `ports` what is in front of them
    /// and the DRAM's pins.
    pub name: &'static str,
    /// Time from a clock's edge to when the next may come.
    pub path_ns: f64,
    /// The highest clock that this path allows.
    pub mhz: f64,
}

/// The highest clock of a hardware point in a technology.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize)]
pub struct Clock {
    /// The highest clock, that of the unit with the longest path. The time that a memory takes to
    /// read a word is not part of it.
    pub max_mhz: f64,
    /// Where the times are from: the library, and how they come to this technology.
    pub source: String,
    /// Largest relative error of the longest path, of timed machines that the fit has not seen.
    pub error: f64,
    /// By unit.
    pub by_unit: [UnitClock; PARTS.len()],
}

impl Clock {
    /// The unit whose path bounds the clock.
    pub fn slowest(&self) -> &UnitClock {
        let longest = self.by_unit.iter().max_by(|a, b| a.path_ns.total_cmp(&b.path_ns));
        longest.expect("a machine has units")
    }

    /// What is to be said of a clock that lies above the highest.
    pub fn warning(&self, clock_mhz: u32) -> Option<String> {
        (f64::from(clock_mhz) > self.max_mhz).then(|| {
            format!(
                "clock.mhz = {clock_mhz} lies above {:.0} MHz, the highest clock of this point \
                 (a path of {:.1} ns into {}); set clock.mhz to that or less",
                self.max_mhz.floor(),
                self.slowest().path_ns,
                self.slowest().name
            )
        })
    }
}

/// The highest clock of a hardware point; none if the technology tells no times.
pub fn clock(technology: &Technology, hw: &HardwarePoint) -> Option<Clock> {
    let delay = technology.delay()?;
    let by_unit: [UnitClock; PARTS.len()] = {
        let paths = FIT.paths_ns(hw);
        std::array::from_fn(|part| {
            let path_ns = paths[part] * delay.factor();
            UnitClock { name: PARTS[part].0, path_ns, mhz: 1e3 / path_ns }
        })
    };
    let longest = by_unit.iter().map(|unit| unit.path_ns).fold(0.0, f64::max);
    let source = delay.source.clone();
    Some(Clock { max_mhz: 1e3 / longest, source, error: FIT.error, by_unit })
}

/// The highest clock alone, in MHz.
pub fn max_mhz(technology: &Technology, hw: &HardwarePoint) -> Option<f64> {
    let longest = FIT.paths_ns(hw).into_iter().fold(0.0, f64::max);
    Some(1e3 / (longest * technology.delay()?.factor()))
}
