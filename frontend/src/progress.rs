//! How far a dump is: one line on a terminal, a line for every tenth elsewhere, JSON for programs.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use guestdump_core::run::{Observer, Progress};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::signals::Interrupt;

/// What is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// A line on a terminal, a line for every tenth elsewhere
    Auto,
    /// Nothing
    Never,
    /// A JSON object on a line of standard error, ten times a second at most
    Json,
}

/// Shows progress on standard error, and passes interrupts on.
#[derive(Debug)]
pub struct Reporter {
    show: Show,
    interrupt: Interrupt,
    started: Instant,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    tenth: u64,
    at: Option<Instant>,
}

#[derive(Debug)]
enum Show {
    Bar(ProgressBar),
    Tenths,
    Json,
    Nothing,
}

impl Reporter {
    /// A reporter for a dump that starts now.
    #[must_use]
    pub fn new(mode: Mode, interrupt: Interrupt) -> Self {
        let show = match mode {
            Mode::Never => Show::Nothing,
            Mode::Json => Show::Json,
            Mode::Auto if std::io::stderr().is_terminal() => Show::Bar(bar()),
            Mode::Auto => Show::Tenths,
        };
        Self { show, interrupt, started: Instant::now(), last: Mutex::new(Last { tenth: 0, at: None }) }
    }

    /// Takes the line off the terminal.
    pub fn clear(&self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }

    fn line(&self, progress: Progress) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = progress.done as f64 / seconds;
        let left =
            Duration::from_secs_f64(((progress.total - progress.done.min(progress.total)) as f64 / rate).min(1e9));
        format!(
            "{:3}% {} of {}  {}/s  eta {}  zero {}%  written {}",
            percent(progress.done, progress.total),
            HumanBytes(progress.done),
            HumanBytes(progress.total),
            HumanBytes(rate as u64),
            HumanDuration(left),
            percent(progress.zero, progress.done),
            HumanBytes(progress.written),
        )
    }

    fn tenth(&self, progress: Progress) {
        let tenth = percent(progress.done, progress.total) / 10;
        let Ok(mut last) = self.last.lock() else { return };
        if tenth > last.tenth {
            last.tenth = tenth;
            eprintln!("dump {}", self.line(progress));
        }
    }

    fn json(&self, progress: Progress) {
        let Ok(mut last) = self.last.lock() else { return };
        let due = last.at.is_none_or(|at| at.elapsed() >= Duration::from_millis(100));
        if due || progress.done == progress.total {
            last.at = Some(Instant::now());
            let Progress { done, total, zero, written } = progress;
            let seconds = self.started.elapsed().as_secs_f64();
            let line = serde_json::json!({"schema": 1, "event": "progress", "done": done, "total": total,
                "zero": zero, "written": written, "seconds": seconds});
            // Nobody listening is no reason to stop a dump.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template("dump {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Hundredths, 0 of nothing.
fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(100)
}

impl Observer for Reporter {
    fn progress(&self, progress: Progress) {
        match &self.show {
            Show::Bar(bar) => {
                bar.set_message(self.line(progress));
                bar.tick();
            }
            Show::Tenths => self.tenth(progress),
            Show::Json => self.json(progress),
            Show::Nothing => {}
        }
    }

    fn cancelled(&self) -> bool {
        self.interrupt.came()
    }
}
