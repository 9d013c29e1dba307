//! How the figures for clock and energy hold against the netlists they are fitted to, and against
//! those that the fit has not seen, as a page in Markdown:
//!
//!     cargo run -p qnnsim-simulator --example netlist > docs/netlist.md

use std::collections::BTreeMap;

use qnnsim_simulator::Technology;
use qnnsim_simulator::clock::{clock, timed};
use qnnsim_simulator::energy::{Measured, Model, measured};

/// Clock of a flip-flop and cycle at 130 nm, as `rtl/netlist/power.py` computes it, in pJ.
const CLOCK_PJ: f64 = 0.0599;

fn main() {
    let sky130 = Technology::builtin("sky130").expect("comes with the simulator");
    println!("# Clock and energy against netlists\n");
    println!("Written by `cargo run -p qnnsim-simulator --example netlist > docs/netlist.md` from");
    println!("`rtl/netlist/*.csv`. Figures are those of SkyWater 130 nm, high density, typical,");
    println!("1.8 V, 25 C. What is held out has no part in the fit.\n");

    println!("## Longest path into each unit\n");
    println!(
        "Netlist and model, in ns; machines are rows x columns x lanes, with small buffers.\n"
    );
    let units = clock(&sky130, &timed()[0].hardware).expect("has times").by_unit;
    let names: Vec<&str> = units.iter().map(|unit| unit.name).collect();
    println!("| machine | {} | longest, model / netlist |", names.join(" | "));
    println!("|{}", "---|".repeat(names.len() + 2));
    for machine in timed() {
        let told = clock(&sky130, &machine.hardware).expect("has times");
        let pairs = told.by_unit.iter().zip(machine.path_ns);
        let cells: Vec<String> =
            pairs.map(|(unit, ns)| format!("{ns:.1}, {:.1}", unit.path_ns)).collect();
        let longest = machine.path_ns.into_iter().fold(0.0, f64::max);
        println!(
            "| {} | {} | {:.2} |",
            label(&machine.hardware.short_name(), machine.held_out),
            cells.join(" | "),
            told.slowest().path_ns / longest
        );
    }

    let rows = || measured().into_iter().filter(|row| !row.alone);
    println!("\n## Energy by unit, without the clock\n");
    println!("Of all programs, cold and warm.\n");
    println!("| unit | netlist, nJ | model / netlist | held out: netlist, nJ | model / netlist |");
    println!("|---|---|---|---|---|");
    let mut by_unit: BTreeMap<&str, [[f64; 2]; 2]> = BTreeMap::new();
    for row in rows() {
        add(&mut by_unit.entry(row.unit).or_default()[usize::from(row.held_out)], &row);
    }
    for (unit, [fit, held_out]) in &by_unit {
        println!(
            "| {unit} | {:.0} | {:.2} | {:.0} | {:.2} |",
            fit[0] / 1e3,
            fit[1] / fit[0],
            held_out[0] / 1e3,
            held_out[1] / held_out[0]
        );
    }

    println!("\n## Whole machines\n");
    println!("An image of a small network: what switches, and all of it with the clock of every");
    println!("flip-flop. Memories and DRAM are not part of a netlist.\n");
    let head = ["machine", "program, image", "switching: model / netlist"];
    println!("| {} | with the clock: netlist, nJ | model / netlist |", head.join(" | "));
    println!("|---|---|---|---|---|");
    let mut images: BTreeMap<(bool, String, String), Image> = BTreeMap::new();
    for row in rows() {
        let key = (row.held_out, row.hardware.short_name(), row.what.clone());
        let image = images.entry(key).or_default();
        add(&mut image.switching, &row);
        image.netlist_clock_pj += (row.flip_flops * row.cycles) as f64 * CLOCK_PJ;
        image.clock_pj = Model::new(&sky130, &row.hardware).clock_pj(row.cycles);
    }
    for ((held_out, machine, what), image) in &images {
        let [netlist, modelled] = image.switching;
        let all = netlist + image.netlist_clock_pj;
        println!(
            "| {} | {what} | {:.2} | {:.0} | {:.3} |",
            label(machine, *held_out),
            modelled / netlist,
            all / 1e3,
            (modelled + image.clock_pj) / all
        );
    }

    println!("\n## An element alone\n");
    let about = [
        "On bits that are drawn, pJ a cycle without the clock: whether a word is bits or bytes,",
        "and the part of ones among activations and weights. In a machine operands arrive one",
        "after the other, and what they wake on the way is most; the model is fitted to that.",
    ];
    println!("{}\n", about.join("\n"));
    println!("| lanes | operands | netlist | model |");
    println!("|---|---|---|---|");
    for row in measured().iter().filter(|row| row.alone) {
        let cycles = row.cycles as f64;
        println!(
            "| {} | {} | {:.3} | {:.3} |",
            row.hardware.mac_lanes,
            row.what.trim_end_matches(", drawn"),
            row.dynamic_pj / cycles,
            row.modelled_pj() / cycles
        );
    }
}

/// An image of a program on a machine.
#[derive(Default)]
struct Image {
    /// What switches in the netlist, and what the model gives for it.
    switching: [f64; 2],
    netlist_clock_pj: f64,
    clock_pj: f64,
}

fn label(name: &str, held_out: bool) -> String {
    format!("{name}{}", if held_out { " (held out)" } else { "" })
}

/// Adds what the netlist took and what the model gives.
fn add(sum: &mut [f64; 2], row: &Measured) {
    sum[0] += row.dynamic_pj;
    sum[1] += row.modelled_pj();
}
