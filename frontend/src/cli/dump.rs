//! `guestdump dump`: everything that can refuse refuses before the guest is touched; then the guest is stopped, read,
//! and goes on; then the dump appears under its name.

use std::time::{Duration, Instant};

use guestdump_core::guest::Guest;
use guestdump_core::plan::mapped::Mapped;
use guestdump_core::plan::{Body, Plan};
use guestdump_core::run::{self, Summary};
use indicatif::HumanBytes;
use serde_json::json;

use super::args::DumpArgs;
use super::tuning::Tuning;
use super::{CliError, Exit, mapped, print, request};
use crate::output::{Output, Target};
use crate::progress::Reporter;
use crate::signals::Interrupt;
use crate::source::qmp::QmpError;
use crate::source::{self, Opened, Purpose, SourceError};

/// Runs the command.
pub fn run(args: &DumpArgs) -> Result<Exit, CliError> {
    let target = Target::parse(&args.output)?;
    let tuning = Tuning::of(args)?;
    let interrupt = Interrupt::install().map_err(|source| CliError::Io { what: "signals", source })?;
    // What was typed is checked before the output is opened, and the output before the guest is.
    tuning.check(request::plan(&args.plan, true)?.format)?;
    let request = request::source(&args.plan, Purpose::Dump)?;
    let mut output = Output::open(&target, args.force)?;
    let options = request::plan(&args.plan, output.seekable())?;
    tuning.check(options.format)?;
    output.check(options.format, 0)?;
    output.prepare(options.format, &tuning.manner)?;

    let started = Instant::now();
    let Opened { guest, session } = source::open(&request)?;
    let plan = Plan::new(&guest, &options)?;
    remarks(args, &guest, &plan);
    tuning.be_nice()?;
    let mut sink = output.sink(plan.format, &tuning.manner, &interrupt);
    let reporter = Reporter::new(args.progress, interrupt);
    let result = run::run(&plan, &guest, sink.as_mut(), tuning.run, &reporter);
    drop(sink);
    reporter.clear();
    // The guest goes on before anything else is looked at, and before the disk has everything.
    let resumed = session.finish();
    if let (Err(_), Err(error)) = (&result, &resumed) {
        // The dump's own error is told last; that the guest may stand still must not be lost over it.
        eprintln!("warning: {error}");
    }
    let summary = result?;
    output.publish()?;
    let (pause, disturbed) = pause(resumed)?;
    let report = Report {
        args,
        plan: &plan,
        target: &target,
        summary: &summary,
        pause,
        wall: started.elapsed(),
        damage: &guest.past.damage,
    };
    report.print()?;
    let unmapped = plan.mapped.as_ref().is_some_and(Mapped::is_incomplete);
    let incomplete = summary.lost_pages > 0 || !guest.past.damage.is_empty() || unmapped;
    Ok(if incomplete || disturbed { Exit::Incomplete } else { Exit::Done })
}

/// For how long the guest stood still, and whether somebody let it run meanwhile: the dump is kept then, but it is no
/// picture of one moment. That a guest could not be let run again is an error even though the dump is whole.
fn pause(resumed: Result<Option<Duration>, SourceError>) -> Result<(Option<Duration>, bool), CliError> {
    match resumed {
        Ok(pause) => Ok((pause, false)),
        Err(error @ SourceError::Qmp(QmpError::Interfered { .. })) => {
            eprintln!("warning: {error}");
            Ok((None, true))
        }
        Err(error) => Err(error.into()),
    }
}

/// With -v, how everything was found out; without, only what a user must know.
fn remarks(args: &DumpArgs, guest: &Guest, plan: &Plan) {
    if args.verbose {
        for remark in &guest.remarks {
            eprintln!("{remark}");
        }
        for block in &plan.left_out {
            eprintln!("left out: {} {} (device memory)", block.range, block.name);
        }
    }
    for damage in &guest.past.damage {
        eprintln!("warning: source: {damage}");
    }
    if guest.vmcoreinfo.is_none() && args.plan.vmcoreinfo.as_deref() != Some("none") {
        eprintln!("warning: no VMCOREINFO found: drgn needs one, and no reader can undo KASLR without");
    }
}

/// The end of a dump, for people and for programs.
struct Report<'a> {
    args: &'a DumpArgs,
    plan: &'a Plan,
    target: &'a Target,
    summary: &'a Summary,
    pause: Option<Duration>,
    wall: Duration,
    /// What the source lacks.
    damage: &'a [String],
}

impl Report<'_> {
    fn print(&self) -> Result<(), CliError> {
        self.lost();
        for warning in self.plan.mapped.as_ref().map(mapped::warnings).unwrap_or_default() {
            eprintln!("warning: {warning}");
        }
        if self.args.json {
            let line = format!("{}\n", self.json());
            // A dump on standard output leaves only standard error for words.
            return if *self.target == Target::Stdout {
                eprint!("{line}");
                Ok(())
            } else {
                print(&line)
            };
        }
        eprint!("{}", self.text());
        Ok(())
    }

    /// Names what is missing.
    fn lost(&self) {
        let Summary { lost_pages, first_lost, first_cause, .. } = self.summary;
        if *lost_pages > 0 {
            let first: Vec<String> = first_lost.iter().map(ToString::to_string).collect();
            let cause = first_cause.as_deref().unwrap_or("unknown cause");
            eprintln!("warning: {lost_pages} pages could not be read and are missing: {cause}");
            eprintln!("warning: missing pages start at {}", first.join(", "));
        }
    }

    fn text(&self) -> String {
        let summary = self.summary;
        let seconds = self.wall.as_secs_f64().max(0.001);
        let rate = HumanBytes((summary.memory_bytes as f64 / seconds) as u64);
        let ratio = summary.memory_bytes as f64 / summary.written_bytes.max(1) as f64;
        let pause = self.pause.map_or("the source does not run".to_owned(), |pause| match pause {
            Duration::ZERO => "was paused before and still is".to_owned(),
            pause => format!("stood still for {} ms", pause.as_millis()),
        });
        let mapped = self.plan.mapped.as_ref().map(mapped::lines).unwrap_or_default();
        let mapped: String = mapped.iter().map(|line| format!("paging: {line}\n")).collect();
        format!(
            "{}: {}, {} of memory in {} ({ratio:.1} to 1), {seconds:.2} s, {rate}/s\n\
             pages: {} in all, {} zero ({} never touched), {} compressed, {} plain, {} shared, {} lost\n\
             {mapped}guest: {pause}; peak memory of guestdump {}\n\
             next: {}\n",
            self.target.name(),
            self.plan.format.name,
            HumanBytes(summary.memory_bytes),
            HumanBytes(summary.written_bytes),
            summary.pages,
            summary.zero_pages,
            summary.untouched_pages,
            summary.compressed_pages,
            summary.plain_pages,
            summary.shared_pages,
            summary.lost_pages,
            peak_memory().map_or("unknown".to_owned(), |bytes| HumanBytes(bytes).to_string()),
            self.next(),
        )
    }

    /// What to type next.
    fn next(&self) -> String {
        const ANY_FILE: &str = "drgn -c FILE   or   crash vmlinux FILE";
        let release = self.plan.utsname.text("release");
        let vmlinux = if release.is_empty() { "vmlinux".to_owned() } else { format!("vmlinux-{release}") };
        match self.target {
            // What went into a device or a pipe is not there to be read.
            Target::File(path) if !path.is_file() => ANY_FILE.to_owned(),
            Target::File(path) if self.plan.format.flattened => {
                format!("makedumpfile -R {0}.vmcore < {0}", path.display())
            }
            Target::File(path) => format!("drgn -c {0} -s {vmlinux}   or   crash {vmlinux} {0}", path.display()),
            Target::Fd(_) | Target::Stdout => ANY_FILE.to_owned(),
        }
    }

    fn json(&self) -> serde_json::Value {
        let summary = self.summary;
        json!({
            "schema": 1,
            "event": "summary",
            "output": self.target.name(),
            "format": self.plan.format.name,
            "pages": {
                "total": summary.pages,
                "zero": summary.zero_pages,
                "untouched": summary.untouched_pages,
                "compressed": summary.compressed_pages,
                "plain": summary.plain_pages,
                "shared": summary.shared_pages,
                "lost": summary.lost_pages,
            },
            "lost_at": summary.first_lost.iter().map(|addr| addr.0).collect::<Vec<_>>(),
            "memory_bytes": summary.memory_bytes,
            "excluded_bytes": summary.excluded_bytes,
            "source_damage": self.damage,
            "written_bytes": summary.written_bytes,
            "file_bytes": summary.file_len,
            "seconds": self.wall.as_secs_f64(),
            "pause_ms": self.pause.map(|pause| pause.as_secs_f64() * 1000.0),
            "peak_memory_bytes": peak_memory(),
            "release": self.plan.utsname.text("release"),
            "vcpus": self.plan.vcpus,
            "segments": if let Body::Elf(layout) = &self.plan.body { Some(layout.segments.len()) } else { None },
            "paging": self.plan.mapped.as_ref().map(mapped::json),
        })
    }
}

/// Most memory that this process ever had: VmHWM of /proc/self/status, in bytes (proc_pid_status(5)).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
