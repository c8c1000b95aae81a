//! How a dump is made, as opposed to what is in it: threads, level, priority, manner of writing. What does not fit
//! together is refused here.

use guestdump_core::format::{Container, Format};
use guestdump_core::run::RunOptions;

use super::CliError;
use super::args::DumpArgs;
use crate::number::parse_bytes;
use crate::output::Manner;

/// A slower dump is a mistake: it would let a guest stand still for days.
const SLOWEST: u64 = 64 << 10;

/// What was typed, checked.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// For the engine.
    pub run: RunOptions,
    /// For the output.
    pub manner: Manner,
    nice: Option<i32>,
}

fn usage(text: String, hint: &str) -> CliError {
    CliError::Usage(text, Some(hint.to_owned()))
}

impl Tuning {
    /// Reads the options.
    ///
    /// # Errors
    /// [`CliError::Usage`], [`CliError::Number`].
    pub fn of(args: &DumpArgs) -> Result<Self, CliError> {
        let run = RunOptions { level: args.level, dedup: args.dedup, ..RunOptions::new(super::threads(args.threads)?) };
        let manner = Manner { sparse: !args.no_sparse, direct: args.direct, rate_limit: rate_limit(args)? };
        if let Some(nice) = args.nice.filter(|nice| !(1..=19).contains(nice)) {
            return Err(usage(format!("--nice {nice}: priority can be lowered by 1 to 19"), "for example --nice 19"));
        }
        Ok(Self { run, manner, nice: args.nice })
    }

    /// Checks that a format can be made so.
    ///
    /// # Errors
    /// [`CliError::Usage`].
    pub fn check(&self, format: &Format) -> Result<(), CliError> {
        let name = format.name;
        if self.run.dedup && format.container == Container::Elf {
            let text = format!("--dedup with {name}: an ELF file has every page in its own place");
            return Err(usage(text, "kdump formats can share pages"));
        }
        let Some(level) = self.run.level else { return Ok(()) };
        let Some(levels) = format.codec().and_then(|codec| codec.levels()) else {
            let text = format!("--level {level} with {name}: {} has no levels", format.codec);
            return Err(usage(text, "zlib and zstd have levels"));
        };
        if !levels.contains(&level) {
            let (first, last) = levels.into_inner();
            let text = format!("--level {level} with {name}: {} has levels {first} to {last}", format.codec);
            return Err(usage(text, "leave it out for the level that is best for most dumps"));
        }
        Ok(())
    }

    /// Lowers the priority of this thread and those that it starts.
    ///
    /// # Errors
    /// [`CliError::Io`].
    pub fn be_nice(&self) -> Result<(), CliError> {
        let Some(nice) = self.nice else { return Ok(()) };
        let lowered = rustix::process::nice(nice);
        lowered.map(|_| ()).map_err(|source| CliError::Io { what: "--nice", source: source.into() })
    }
}

fn rate_limit(args: &DumpArgs) -> Result<Option<u64>, CliError> {
    let Some(text) = &args.rate_limit else { return Ok(None) };
    let rate = parse_bytes(text).map_err(|source| CliError::Number { option: "--rate-limit", source })?;
    if rate < SLOWEST {
        return Err(usage(
            format!("--rate-limit {rate}: at least {SLOWEST} bytes a second"),
            "for example --rate-limit 200M",
        ));
    }
    Ok(Some(rate))
}
