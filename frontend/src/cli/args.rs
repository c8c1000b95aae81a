//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::progress::Mode;

const SOURCES: &str = "\
Sources:
  qmp:PATH          a running QEMU, by its monitor socket (-qmp unix:PATH,server=on,wait=off)
  FILE.toml, FOLDER raw memory that a manifest (guest.toml) describes
  FILE              an existing dump: ELF, kdump or flattened, recognised by its content
  demo:ARCH         a small built-in sample guest

Outputs: a path, file:PATH, fd:N, or - for standard output.

Examples:
  guestdump dump qmp:/run/vm.qmp -o vmcore
  guestdump dump qmp:/run/vm.qmp -o - --format kdump-zstd | ssh host 'cat > vmcore.flat'
  guestdump dump guest.toml -o vmcore.elf --format elf
  guestdump dump demo:x86_64 -o vmcore

Exit status: 0 done, 1 failed, 2 refused before anything happened, 3 dump written but incomplete.";

/// Crash dumps of virtual machines that every reader opens
#[derive(Debug, Parser)]
#[command(name = "guestdump", version, about, max_term_width = 110, after_long_help = SOURCES)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a crash dump of a guest
    #[command(after_long_help = SOURCES)]
    Dump(DumpArgs),
    /// Say what a dump would contain, without writing one
    Plan(PlanArgs),
    /// Say everything that a dump says
    Info(InfoArgs),
    /// Explain how an address is translated, or list everything that is mapped
    Walk(WalkArgs),
    /// List the formats that can be written
    Formats(ListArgs),
    /// List the architectures and what is supported of each
    Arches(ListArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// What to dump and how, for `dump` and `plan`.
#[derive(Debug, Args)]
pub struct PlanOptions {
    /// Guest: qmp:SOCKET, guest.toml, demo:ARCH, or an existing dump
    #[arg(value_hint = ValueHint::AnyPath)]
    pub source: String,
    /// Format, see `guestdump formats` [default: kdump with zlib pages, flattened where the output cannot seek]
    #[arg(long, short, value_name = "NAME", help_heading = "Output")]
    pub format: Option<String>,
    /// Page size of a kdump file [default: the guest kernel's own]
    #[arg(long, value_name = "BYTES", help_heading = "Output")]
    pub page_size: Option<String>,
    /// Architecture, where the source does not say; see `guestdump arches`
    #[arg(long, value_name = "NAME", help_heading = "Source")]
    pub arch: Option<String>,
    /// Only memory from this guest-physical address on; needs --length
    #[arg(long, value_name = "ADDR", help_heading = "Filter", allow_hyphen_values = true)]
    pub begin: Option<String>,
    /// Only so many bytes; needs --begin
    #[arg(long, value_name = "BYTES", help_heading = "Filter", allow_hyphen_values = true)]
    pub length: Option<String>,
    /// Which pages may be missing: 0 none, 1 zeros are stored once
    #[arg(long, value_name = "LEVEL", help_heading = "Filter", allow_hyphen_values = true)]
    pub dump_level: Option<String>,
    /// Say at which virtual addresses memory is, as the page tables of all vCPUs say: for gdb. ELF only
    #[arg(long, help_heading = "Output")]
    pub paging: bool,
    /// With --paging: at most so many segments [default: 1048576]
    #[arg(long, value_name = "N", help_heading = "Output", allow_hyphen_values = true)]
    pub max_segments: Option<String>,
    /// Dump memory of devices too: video RAM, firmware, ROMs
    #[arg(long, help_heading = "Filter")]
    pub device_memory: bool,
}

/// `guestdump dump`
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// What and how
    #[command(flatten)]
    pub plan: PlanOptions,
    /// Where to: a path, file:PATH, fd:N, or - for standard output
    #[arg(long, short, value_name = "OUT", help_heading = "Output", value_hint = ValueHint::AnyPath)]
    pub output: String,
    /// Overwrite an existing file
    #[arg(long, help_heading = "Output")]
    pub force: bool,
    /// Worker threads [default: one for each CPU]
    #[arg(long, value_name = "N", help_heading = "Performance")]
    pub threads: Option<usize>,
    /// Print the summary as one line of JSON
    #[arg(long, help_heading = "Reports")]
    pub json: bool,
    /// What to show on standard error while writing
    #[arg(long, value_enum, default_value_t = Mode::Auto, help_heading = "Reports")]
    pub progress: Mode,
    /// Say how each thing was found out
    #[arg(long, short, help_heading = "Reports")]
    pub verbose: bool,
}

/// `guestdump plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What and how
    #[command(flatten)]
    pub plan: PlanOptions,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `guestdump info`
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// The dump
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: std::path::PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `guestdump walk`
#[derive(Debug, Args)]
pub struct WalkArgs {
    /// Guest: qmp:SOCKET, guest.toml, demo:ARCH, or an existing dump
    #[arg(value_hint = ValueHint::AnyPath)]
    pub source: String,
    /// Virtual address
    #[arg(value_name = "ADDR", required_unless_present = "all", conflicts_with = "all")]
    pub address: Option<String>,
    /// List everything that is mapped
    #[arg(long)]
    pub all: bool,
    /// Which vCPU [default: the first]
    #[arg(long, value_name = "N")]
    pub cpu: Option<u32>,
    /// Which of its address spaces [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub space: Option<String>,
    /// Architecture, where the source does not say; see `guestdump arches`
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Print JSON; with --all one line for each mapping and a summary
    #[arg(long)]
    pub json: bool,
}

/// `guestdump formats`, `guestdump arches`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
