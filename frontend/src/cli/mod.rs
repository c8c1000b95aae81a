//! The command line: what was typed ([`args`]), what it does (one module for each command), how it ends.

pub mod args;
mod dmesg;
mod dump;
mod info;
mod lists;
mod map;
mod mapped;
mod plan;
mod request;
mod tuning;
mod verify;
mod walk;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use guestdump_core::arch::ArchError;
use guestdump_core::arch::paging::walk::WalkError;
use guestdump_core::kernel::dmesg::DmesgError;
use guestdump_core::plan::PlanError;
use guestdump_core::run::RunError;
use thiserror::Error;

use crate::number::NumberError;
use crate::output::OutputError;
use crate::source::{SourceError, qmp};
use args::{Cli, Command};

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// The dump is written, but something that it should hold is missing; each such thing was named.
    Incomplete,
    /// Two dumps are not equal.
    Different,
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// Options that make no sense together, or at all.
    #[error("{0}")]
    Usage(String, Option<String>),
    /// A number that is none.
    #[error("{option}: {source}")]
    Number {
        /// Which option.
        option: &'static str,
        /// What is wrong.
        source: NumberError,
    },
    /// No guest.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No kernel log.
    #[error("{name}: {source}")]
    Dmesg {
        /// The source.
        name: String,
        /// Why.
        source: DmesgError,
    },
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The dump failed on its way.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Page tables cannot be read.
    #[error("vCPU {vcpu}, {space} space: {source}")]
    Walk {
        /// Which vCPU.
        vcpu: u32,
        /// Which of its spaces.
        space: &'static str,
        /// Why.
        source: WalkError,
    },
    /// The host refuses something else.
    #[error("{what}: {source}")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl CliError {
    /// 2 for what was refused before anything happened, 1 for what failed.
    fn code(&self) -> u8 {
        match self {
            Self::Usage(..) | Self::Number { .. } | Self::Plan(_) => 2,
            Self::Output(OutputError::Io { .. } | OutputError::NoSpace { .. }) => 1,
            Self::Output(_) | Self::Source(SourceError::Contradiction { .. } | SourceError::NoDemo { .. }) => 2,
            Self::Source(SourceError::NoArch { .. } | SourceError::Several { .. } | SourceError::Raw { .. }) => 2,
            Self::Source(_) | Self::Dmesg { .. } | Self::Run(_) | Self::Walk { .. } | Self::Io { .. } => 1,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage(_, hint) => hint.clone(),
            Self::Source(error) => error.hint(),
            Self::Output(error) => error.hint(),
            Self::Plan(error) => plan_hint(error),
            Self::Run(RunError::Sink(source)) if source.kind() == io::ErrorKind::StorageFull => {
                Some("nothing was left behind; kdump-zstd or kdump-zlib take less room than elf".to_owned())
            }
            Self::Dmesg { source: DmesgError::Memory { .. }, .. } => Some(
                "guestdump info --registers shows which registers are known: page tables are found by them".to_owned(),
            ),
            Self::Dmesg { .. } => None,
            Self::Number { .. } => Some("for example 4096, 0x1000, 4K, 1G".to_owned()),
            Self::Run(_) | Self::Walk { .. } | Self::Io { .. } => None,
        }
    }
}

fn plan_hint(error: &PlanError) -> Option<String> {
    match error {
        PlanError::DumpLevel { .. } => {
            Some("take --dump-level 1 and let makedumpfile -d filter the dump afterwards".to_owned())
        }
        PlanError::ElfLevel { .. } => {
            Some("leave --dump-level out: an ELF file keeps zeros as gaps that take no room".to_owned())
        }
        PlanError::RangeOutside { .. } => Some("guestdump plan SOURCE lists the guest's memory".to_owned()),
        PlanError::NoMemory => Some("--device-memory dumps memory of devices too".to_owned()),
        PlanError::KdumpPaging { .. } => Some("take --format elf, or leave --format out".to_owned()),
        PlanError::FewSegments { .. } => Some("leave --max-segments out".to_owned()),
        PlanError::NoVcpu { .. } => Some("guestdump info SOURCE lists the vCPUs".to_owned()),
        PlanError::NoVcpus => Some("leave --paging out: memory is dumped by physical address then".to_owned()),
        PlanError::Arch(ArchError::RegisterUnknown { .. } | ArchError::Unsupported { .. }) => Some(
            "a manifest can give registers of vCPUs; without --paging memory is dumped by physical address".to_owned(),
        ),
        PlanError::Arch(_) | PlanError::PageSize { .. } | PlanError::Codec { .. } | PlanError::TooLarge { .. } => None,
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|arg| arg == qmp::RESUME_GUARD_ARGUMENT) {
        return qmp::resume_guard_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Help that nobody reads is no failure.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(cli) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Incomplete) => ExitCode::from(3),
        Ok(Exit::Different) => ExitCode::from(4),
        Err(CliError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.code())
        }
    }
}

/// One `error:` line, then what to do.
fn complain(error: &CliError) {
    let mut stderr = io::stderr();
    // With standard error gone there is nobody to tell.
    let _ = writeln!(stderr, "error: {error}");
    if let Some(hint) = error.hint() {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}

fn run(cli: Cli) -> Result<Exit, CliError> {
    match cli.command {
        Command::Dump(args) => dump::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Map(args) => map::run(&args),
        Command::Dmesg(args) => dmesg::run(&args),
        Command::Walk(args) => walk::run(&args),
        Command::Formats(args) => lists::formats(args.json),
        Command::Arches(args) => lists::arches(args.json),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "guestdump", &mut io::stdout());
            Ok(Exit::Done)
        }
        Command::Man => {
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut io::stdout()).map_err(|source| CliError::Io { what: "standard output", source })?;
            Ok(Exit::Done)
        }
    }
}

/// Workers that are asked for, or one for each CPU.
fn threads(wanted: Option<usize>) -> Result<usize, CliError> {
    match wanted {
        Some(0) => Err(CliError::Usage("--threads 0: somebody must do the work".to_owned(), None)),
        Some(threads) if threads > 1024 => Err(CliError::Usage(format!("--threads {threads}: at most 1024"), None)),
        Some(threads) => Ok(threads),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Puts text on standard output.
fn print(text: &str) -> Result<(), CliError> {
    io::stdout().write_all(text.as_bytes()).map_err(|source| CliError::Io { what: "standard output", source })
}
