//! The stages as text.

use std::fmt::Write;

use qnnsim_isa::operand::{ThresholdKind, WeightKind};
use qnnsim_isa::{HardwarePoint, MapLayout};

use super::Plan;
use super::facts::Facts;
use super::layout::Layouts;
use super::residency::{Constant, Slicing, Storage};
use super::schedule::{Action, Schedule, schedule};
use super::stripes::Home;
use super::tiling::{Kernel, Tiling};
use crate::diagnostic::Diagnostic;
use crate::ir::Network;

/// Writes a line of text.
macro_rules! line {
    ($text:expr, $($args:tt)*) => {
        writeln!($text, $($args)*).expect("a String takes any text")
    };
}

/// How the maps of a network lie on a machine, whatever its memories have room for.
///
/// # Errors
/// Every layer that no machine can run.
pub fn layouts(network: &Network, hw: &HardwarePoint) -> Result<String, Vec<Diagnostic>> {
    let facts = Facts::new(network)?;
    Ok(print_layouts(&facts, &Layouts::new(&facts, hw), hw))
}

/// How the work of each layer is cut on a machine, whatever its memories have room for.
///
/// # Errors
/// Every layer that no machine can run.
pub fn tilings(network: &Network, hw: &HardwarePoint) -> Result<String, Vec<Diagnostic>> {
    let facts = Facts::new(network)?;
    Ok(print_tilings(&facts, &Tiling::all(&facts, &Layouts::new(&facts, hw), hw), hw))
}

fn head(stage: &str, hw: &HardwarePoint) -> String {
    let (point, fingerprint) = (hw.short_name(), hw.fingerprint());
    format!("{stage} for {point} (fingerprint {fingerprint:08x})\n")
}

/// How maps lie, each as if it began at address 0.
fn print_layouts(facts: &Facts, layouts: &Layouts, hw: &HardwarePoint) -> String {
    let mut text = head("layout", hw);
    for input in &layouts.inputs {
        line!(
            text,
            "input for {}: {} windows a row of {} pixels, step {}, left {}; {}",
            facts.name(input.layer),
            input.windows,
            input.gather.kernel,
            input.gather.stride,
            input.gather.before,
            layout(&input.layout)
        );
    }
    for (layer, map) in layouts.maps.iter().enumerate() {
        line!(text, "{}: {}", facts.name(layer), layout(map));
    }
    text
}

/// How each layer's work is cut.
fn print_tilings(facts: &Facts, tilings: &[Tiling], hw: &HardwarePoint) -> String {
    let mut text = head("tiling", hw);
    for (layer, tiling) in tilings.iter().enumerate() {
        line!(text, "{}: {}", facts.name(layer), facts.layers[layer].summary);
        let (tiles, positions) = (tiling.tiles, tiling.position_count());
        let windows = tiling.window_tiles(tiling.out, hw.mac_rows);
        line!(
            text,
            "  tiles    {windows} of outputs x {tiles} of channels x {positions} positions"
        );
        for term in &tiling.terms {
            let signed = if term.signed { " signed" } else { "" };
            let byte = if term.byte { " byte" } else { "" };
            let (a, w, kind) = (term.a, term.w, WeightKind::NAMES[term.kind as usize]);
            let (maps, k, kernel) = (term.members.len(), term.k, kernel(&term.kernel));
            let bits = format!("a{a}{signed}{byte} w{w} {kind}");
            line!(text, "  array    {maps} map(s), {bits}, {k} words a plane in {kernel}");
        }
        let codes = &tiling.codes;
        let kind = ThresholdKind::NAMES[codes.kind() as usize];
        let signed = if codes.signed { " signed" } else { "" };
        let fraction = codes.thresholds.as_ref().map_or(0, |t| t.fraction);
        let entries = format!("fraction {fraction}, {} entries a channel tile", codes.tile);
        line!(text, "  codes    {kind} {} bit{signed}, {entries}", codes.bits);
    }
    text
}

impl Plan {
    /// What lies where.
    /// What lies where, and what stays in a memory, as text.
    pub fn print_placement(&self) -> String {
        let mut text = head("placement", &self.hw);
        let (placement, hw) = (&self.placement, &self.hw);
        let used = placement.used;
        line!(
            text,
            "words in use: activations {} of {}, weights {} of {}, thresholds {} of {}",
            used.activations,
            hw.act_words,
            used.weights,
            hw.wgt_words,
            used.thresholds,
            hw.thr_words
        );
        for of in Constant::ALL {
            let ring = placement.rings[of];
            if ring.words > 0 {
                let (base, end) = (ring.base, ring.base + ring.words);
                let others = format!("the others pass through words {base}..{end} in every image");
                line!(text, "{}: {base} words stay, {others}", name(of));
            }
        }
        if placement.maps.scratch > 0 {
            let bytes = placement.maps.scratch;
            line!(text, "maps: {bytes} bytes of DRAM for those that do not fit");
        }
        for (layer, maps) in placement.maps.layers.iter().enumerate() {
            line!(text, "{}", self.facts.name(layer));
            let (storage, tiles) = (placement.storage[layer], self.tilings[layer].tiles);
            for of in Constant::ALL {
                line!(text, "  {:<10} {}", name(of), stored(storage[of], tiles));
            }
            let parts: Vec<String> = placement.kernels[layer].iter().map(kernel).collect();
            line!(text, "  {:<10} {}", "kernels", parts.join(", "));
            match maps.home {
                Home::Memory(map) => line!(text, "  {:<10} {}", "map", layout(&map)),
                Home::Scratch { offset, layout: map } => line!(
                    text,
                    "  {:<10} byte {offset} of the scratch region on; {}",
                    "map",
                    layout(&map)
                ),
                Home::Output => line!(text, "  {:<10} the output in DRAM", "map"),
            }
            let (count, [height, width]) = (maps.runs.len(), maps.runs[0].size());
            if maps.striped {
                line!(text, "  {:<10} {count} of at most {height} x {width} outputs", "stripes");
            }
            for window in &maps.runs[0].windows {
                line!(
                    text,
                    "  {:<10} rows {}..{} first; {}",
                    "loads",
                    window.rows.start,
                    window.rows.end,
                    layout(&window.place.layout)
                );
            }
        }
        text
    }

    /// What the units do, in the order of the code, and what waits for what, as text.
    ///
    /// # Errors
    /// What stands against the schedule.
    pub fn print_schedule(&self) -> Result<String, Diagnostic> {
        let schedule = schedule(self)?;
        let mut text = head("schedule", &self.hw);
        let mut layer = None;
        for entry in &schedule.entries {
            if entry.layer != layer {
                layer = entry.layer;
                let name = layer.map_or("end", |origin| self.facts.given_name(origin));
                line!(text, "{name}:");
            }
            let cold = if entry.cold_only { " (cold)" } else { "" };
            line!(text, "  {}{cold}", self.describe(&entry.action, &schedule));
        }
        Ok(text)
    }

    fn describe(&self, action: &Action, schedule: &Schedule) -> String {
        let names = |mask: u16| {
            let set = (0..16).filter(|bit| mask >> bit & 1 == 1);
            let name = |bit: usize| schedule.semaphores.get(bit).copied().unwrap_or("?");
            let names: Vec<&str> = set.map(name).collect();
            if names.is_empty() { "-".to_owned() } else { names.join(",") }
        };
        let goes_on = |resume: &bool| if *resume { ", going on" } else { "" };
        match action {
            Action::Sync(sync) => format!(
                "{} waits {} posts {} x{}",
                sync.unit.name(),
                names(sync.wait),
                names(sync.post),
                sync.repeat
            ),
            Action::Load { of, block, base, post } => format!(
                "load {} of {}, tiles {:?}{} to {base}, posts {}",
                name(*of),
                self.facts.name(block.layer),
                block.tiles,
                block.part.map_or(String::new(), |(term, part)| format!(", part {term}.{part}")),
                names(*post)
            ),
            Action::Pack { at, window } => format!("pack window {window} of run {}", at.run),
            Action::Fetch { at, window } => format!("fetch window {window} of run {}", at.run),
            Action::Codes { at, tiles, table } => {
                format!("codes of run {}, tiles {tiles:?}, entries at {table}", at.run)
            }
            Action::Table { base, tile, .. } => format!("table at {base}, {tile} a tile"),
            Action::Map { at, .. } => format!("map of run {}", at.run),
            Action::Shape { .. } => "shape of the kernel".to_owned(),
            Action::Weights { tiles, base, tile, plane, .. } => {
                format!("weights at {base}, tiles {tiles:?} of {tile}, planes of {plane}")
            }
            Action::Taps { .. } => "tap tables".to_owned(),
            Action::Mac { steps, resume, post } => {
                format!("mac x{steps}{}, posts {}", goes_on(resume), names(*post))
            }
            Action::PartShape { part: (term, part), add, .. } => {
                format!("part {term}.{part}{}", if *add { ", added" } else { "" })
            }
            Action::PartStep { part: (term, part), position, resume, wait, post, .. } => format!(
                "mac part {term}.{part} at {position:?}{}, waits {} posts {}",
                goes_on(resume),
                names(*wait),
                names(*post)
            ),
            Action::Drain { steps, resume } => format!("thr x{steps}{}", goes_on(resume)),
            Action::Store { at } => format!("store run {}", at.run),
            Action::StoreOutput => "store the output".to_owned(),
            Action::Halt => "halt".to_owned(),
        }
    }
}

fn name(of: Constant) -> &'static str {
    match of {
        Constant::Weights => "weights",
        Constant::Thresholds => "thresholds",
    }
}

fn kernel(kernel: &Kernel) -> String {
    match kernel {
        Kernel::Whole { step: [y, x] } => format!("one part, table steps {y}x{x}"),
        Kernel::Parts(parts) => format!("{} part(s) one by one", parts.len()),
    }
}

/// Where tiles are, in words.
fn stored(Storage { resident, base, sliced }: Storage, tiles: u32) -> String {
    let Some(slicing) = sliced else { return format!("at {base}") };
    let slices = match slicing {
        Slicing::Word => "word of channels by word",
        Slicing::Tile => "tile by tile",
        Slicing::Part => "part by part",
    };
    match (resident, tiles - resident) {
        (0, _) => format!("loaded {slices}"),
        (_, rest) => format!("of {resident} tiles at {base}, of {rest} loaded {slices}"),
    }
}

fn layout(layout: &MapLayout) -> String {
    let MapLayout { base, block, plane, s: [s_y, s_x], pitch, .. } = *layout;
    let (end, planes) = (base + layout.words(), block / plane.max(1));
    format!(
        "words {base}..{end}, {planes} planes x {plane} words, phases {s_y}x{s_x}, pitch {pitch}"
    )
}
