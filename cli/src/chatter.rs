//! What is said beside the result, on the standard error: warnings, progress, stages.

use std::fmt::Display;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::failure::{headed, tell};
use crate::render::grouped;

const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// How much is said beside the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Quiet,
    /// Warnings and notes, and on a terminal progress.
    Normal,
    /// Every stage as well, with the time that it takes.
    Verbose,
}

/// One for the process: what is said depends on nothing else.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Normal as u8);

/// Sets how much is said.
pub fn set(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether nothing is said beside the result.
pub fn is_quiet() -> bool {
    LEVEL.load(Ordering::Relaxed) == Level::Quiet as u8
}

fn is_verbose() -> bool {
    LEVEL.load(Ordering::Relaxed) == Level::Verbose as u8
}

/// Tells the user about a doubt.
pub fn warn(message: impl Display) {
    if !is_quiet() {
        tell(headed(WARNING, "warning", &message));
    }
}

/// Tells the user why it takes its time.
pub fn say(message: impl Display) {
    if !is_quiet() {
        tell(message);
    }
}

/// What is no result, such as what was written where: nothing if nothing else shall be said.
pub fn told(text: String) -> String {
    if is_quiet() { String::new() } else { text }
}

/// What is waited for: on a terminal it is shown from the second second on until it is dropped.
#[derive(Debug)]
pub struct Task {
    bar: ProgressBar,
    what: String,
    began: Instant,
}

impl Task {
    /// `what` says what is done, such as `compiling`.
    pub fn new(what: impl Into<String>) -> Self {
        let what = what.into();
        let style = ProgressStyle::with_template("{msg}, {elapsed}").expect("a legal template");
        let bar = hidden_if(is_quiet(), ProgressBar::new_spinner);
        let bar = bar.with_style(style).with_message(what.clone());
        Task::begin(what, bar)
    }

    /// Shows how far it is: `count` things in all, each of which is one `noun`.
    pub fn counting(what: impl Into<String>, count: u64, noun: &'static str) -> Self {
        let numbers = format!("{{human_pos}} of {{human_len}} {noun}s");
        let template = format!("{{bar:40}} {numbers}, {{rate}}, {{eta}} left");
        let rate = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A rate that cannot be written is not shown.
            let _ = write!(out, "{}", rate(state.per_sec(), noun));
        };
        let style = ProgressStyle::with_template(&template).expect("a legal template");
        let bar = hidden_if(is_quiet(), || ProgressBar::new(count));
        Task::begin(what.into(), bar.with_style(style.with_key("rate", rate)))
    }

    fn begin(what: String, bar: ProgressBar) -> Self {
        // Also while the first of several things is not done.
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_secs(2));
        }
        if is_verbose() {
            tell(format_args!("{what} ..."));
        }
        Task { bar, what, began: Instant::now() }
    }

    /// So many more are done.
    pub fn add(&self, count: u64) {
        self.bar.inc(count);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if is_verbose() {
            let seconds = self.began.elapsed().as_secs_f64();
            tell(format_args!("{}: {seconds:.3} s", self.what));
        }
    }
}

fn hidden_if(hidden: bool, bar: impl FnOnce() -> ProgressBar) -> ProgressBar {
    if hidden { ProgressBar::hidden() } else { bar() }
}

/// How fast it goes: three digits, whatever the speed.
fn rate(per_s: f64, noun: &str) -> String {
    match per_s {
        speed if !speed.is_finite() || speed <= 0.0 => format!("- {noun}s/s"),
        speed if speed >= 100.0 => format!("{} {noun}s/s", grouped(speed.round() as u64)),
        speed if speed >= 1.0 => format!("{speed:.1} {noun}s/s"),
        speed => format!("{:.1} s/{noun}", 1.0 / speed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_legible_at_every_speed() {
        for (per_s, text) in [
            (0.0, "- points/s"),
            (f64::NAN, "- points/s"),
            (0.04, "25.0 s/point"),
            (2.0 / 3.0, "1.5 s/point"),
            (12.34, "12.3 points/s"),
            (99.96, "100.0 points/s"),
            (1234.5, "1,235 points/s"),
            (2_700_000.0, "2,700,000 points/s"),
        ] {
            assert_eq!(rate(per_s, "point"), text);
        }
    }
}
