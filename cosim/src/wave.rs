//! The RTL's signals, as the bench tells them, under the simulator's names.

use qnnsim_inspect::wave::{self, Held, Image, Wave};
use qnnsim_inspect::{Recordings, recording};
use qnnsim_isa::{Program, Unit};
use qnnsim_simulator::Start;

use crate::bench::{self, Bench, BenchError, Job, Port};
use crate::compare::Difference;
use crate::limits::WAVE_CYCLES_MAX;
use crate::replay::{Replay, Stage, replay};

/// The RTL's signals of a cold image and warm ones behind it, until one does not end.
///
/// # Errors
/// The machine's program broke.
pub fn machine(bench: &mut Bench, program: &Program, images: &[&[u8]]) -> Result<Wave, BenchError> {
    let job = Job {
        program,
        images,
        accesses: true,
        memories: false,
        levels: true,
        cycles_max: WAVE_CYCLES_MAX,
        power_up: 1,
    };
    let ran = bench.run(&job)?;
    let image = |(number, image): (usize, &bench::Image)| {
        let start = if number == 0 { Start::Cold } else { Start::Warm };
        of_image(start, image, &replay(program, start, image))
    };
    let images: Vec<Image> = ran.iter().enumerate().map(image).collect();
    Ok(wave::wave(program, &images))
}

/// The simulator's signals of as many images. None if a proof refuses the program.
pub fn simulator(program: &Program, images: usize) -> Option<Wave> {
    let recordings = Recordings::new(program).ok()?;
    let mut all = vec![wave::of_recording(&recordings.cold)];
    if let Some(warm) = &recordings.warm {
        let warm = wave::of_recording(warm);
        all.extend(std::iter::repeat_n(warm, images.saturating_sub(1)));
    }
    Some(wave::wave(program, &all))
}

/// Cycles before and behind a difference that are shown.
pub const AROUND: u64 = 500;

/// The signals around a difference: the RTL's and the simulator's, if it has any. The bench runs
/// the images again up to the one that differs, all of them the program's sample.
///
/// # Errors
/// The machine's program broke.
pub fn around(
    bench: &mut Bench,
    program: &Program,
    difference: &Difference,
) -> Result<(Wave, Option<Wave>), BenchError> {
    let image = program.sample.clone();
    let image = image.unwrap_or_else(|| vec![0; program.input.shape.values()]);
    let images = vec![&image[..]; difference.image + 1];
    let machine = machine(bench, program, &images)?;
    // The cycle, counted from the begin of the first image.
    let begin = match difference.image {
        0 => 0,
        before => simulator(program, before).map_or(0, |before| before.end),
    };
    let at = begin + difference.cycle;
    let part = |wave: &Wave| wave.between(at.saturating_sub(AROUND), at + AROUND);
    let simulator = simulator(program, difference.image + 1);
    Ok((part(&machine), simulator.as_ref().map(part)))
}

fn of_image(start: Start, image: &bench::Image, replay: &Replay) -> Image {
    let end = image.end + 1;
    let mut port_of = vec![None; replay.events.len()];
    for step in &replay.steps {
        let port = step.accesses.first().and_then(|access| match access.port {
            Port::ActMac | Port::ActStore => Some(0),
            Port::ActLoad | Port::ActThr => Some(1),
            Port::WgtMac | Port::WgtLoad | Port::ThrDrain | Port::ThrLoad => None,
        });
        // The array and STORE hold the read port whatever they read.
        port_of[step.event] = match replay.events[step.event].stage {
            Stage::Mac | Stage::StoreRead => Some(0),
            _ => port,
        };
    }
    let held = replay.events.iter().enumerate().filter_map(|(i, event)| {
        let stage = match event.stage {
            Stage::Sync => recording::Stage::issuing(event.unit.unwrap_or(Unit::Load)),
            Stage::StoreRead => recording::Stage::Store,
            Stage::LoadWrite => recording::Stage::LoadWrite,
            Stage::Mac => recording::Stage::Mac,
            Stage::ThrWrite => recording::Stage::ThrWrite,
            Stage::Drain => recording::Stage::Thr,
            Stage::Fetch => recording::Stage::Fetch,
            Stage::StoreBurst => recording::Stage::StoreBurst,
            Stage::LoadBurst => recording::Stage::Load,
            Stage::Configure | Stage::Decode => return None,
        };
        let to = event.last.map_or(end, |last| last + 1);
        Some(Held { stage, from: event.cycle, to, word: event.word, port: port_of[i] })
    });
    Image {
        warm: start == Start::Warm,
        cycles: end,
        held: held.collect(),
        levels: image.levels.clone(),
        waiting: None,
        buffers: None,
    }
}
