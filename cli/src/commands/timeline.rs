//! Timelines and waveforms of `qnnsim run` in the files that viewers open.

use std::io::{Cursor, Write};
use std::path::Path;

use qnnsim_inspect::timeline::Timeline;
use qnnsim_inspect::{Recordings, konata, perfetto, wave};
use qnnsim_isa::Program;
use qnnsim_simulator::trace::{TraceImage, trace_events};
use qnnsim_simulator::{Simulation, Start, Technology};

use crate::failure::Failure;
use crate::files::Output;

/// A file of a timeline, by how its name ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TraceForm {
    Json,
    Perfetto,
    Konata,
}

/// A file of signals, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaveForm {
    Fst,
    Vcd,
}

/// A timeline to be written.
#[derive(Debug)]
pub struct TraceFile {
    file: Output,
    form: TraceForm,
}

/// Signals to be written.
#[derive(Debug)]
pub struct WaveFile {
    file: Output,
    form: WaveForm,
}

fn ending(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

impl TraceFile {
    /// Begins the file; `sources` are files that the command reads.
    ///
    /// # Errors
    /// Its name says no format, or it cannot be written.
    pub fn create(path: &Path, sources: &[&Path]) -> Result<Self, Failure> {
        let form = match &ending(path)[..] {
            "json" => TraceForm::Json,
            "pftrace" | "perfetto-trace" => TraceForm::Perfetto,
            "kanata" | "konata" => TraceForm::Konata,
            _ if path == Path::new("-") => TraceForm::Json,
            _ => {
                let message = format_args!("the name of `{}` says no format", path.display());
                return Err(Failure::misuse(message).help(
                    "--trace=FILE.pftrace for Perfetto, FILE.json for Chrome, FILE.kanata for Konata",
                ));
            }
        };
        Ok(TraceFile { file: Output::create(path, sources)?, form })
    }

    /// Writes the images that begin so, one after the other.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        self,
        simulation: &Simulation,
        recordings: Option<&Recordings>,
        starts: &[Start],
        technology: &Technology,
        clock_mhz: u32,
    ) -> Result<(), Failure> {
        let TraceFile { mut file, form } = self;
        let timeline = |recordings| {
            let images = starts.iter().map(|&start| Recordings::of(recordings, start));
            Timeline::new(images, technology, clock_mhz)
        };
        let written = match (form, recordings) {
            (TraceForm::Perfetto, Some(all)) => perfetto::write(&timeline(all), &mut file),
            (TraceForm::Konata, Some(all)) => konata::write(&timeline(all), &mut file),
            _ => {
                let mut begin = 0;
                let mut images = Vec::new();
                for &start in starts {
                    let name = format!("{}, {} image", simulation.program().name, start.name());
                    images.push(TraceImage { name, begin, lines: simulation.trace(start) });
                    begin += simulation.timing(start).cycles;
                }
                serde_json::to_writer(&mut file, &trace_events(&images, clock_mhz))
                    .map_err(Into::into)
            }
        };
        written.map_err(|error| file.refuse(&error))?;
        file.finish()
    }

    /// Whether it shows more than the timeline that every run has.
    pub fn needs_recording(&self) -> bool {
        self.form != TraceForm::Json
    }
}

impl WaveFile {
    /// Begins the file; `sources` are files that the command reads.
    ///
    /// # Errors
    /// Its name says no format, or it cannot be written.
    pub fn create(path: &Path, sources: &[&Path]) -> Result<Self, Failure> {
        let form = match &ending(path)[..] {
            "fst" => WaveForm::Fst,
            "vcd" => WaveForm::Vcd,
            _ => {
                let message = format_args!("the name of `{}` says no format", path.display());
                return Err(Failure::misuse(message).help("--wave FILE.fst or FILE.vcd"));
            }
        };
        Ok(WaveFile { file: Output::create(path, sources)?, form })
    }

    /// Writes the simulator's signals of the images that begin so.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        self,
        program: &Program,
        recordings: &Recordings,
        starts: &[Start],
        clock_mhz: u32,
    ) -> Result<(), Failure> {
        let images: Vec<wave::Image> =
            starts.iter().map(|&start| wave::of_recording(recordings.of(start))).collect();
        self.put(&wave::wave(program, &images), clock_mhz)
    }

    /// Writes signals.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(self, wave: &wave::Wave, clock_mhz: u32) -> Result<(), Failure> {
        let WaveFile { mut file, form } = self;
        let written = match form {
            WaveForm::Vcd => wave.write_vcd(clock_mhz, &mut file),
            // The format goes back to its head at the end.
            WaveForm::Fst => wave
                .write_fst(clock_mhz, Cursor::new(Vec::new()))
                .and_then(|bytes| file.write_all(bytes.get_ref())),
        };
        written.map_err(|error| file.refuse(&error))?;
        file.finish()
    }
}
