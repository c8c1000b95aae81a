//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::progress::Mode;

const SOURCES: &str = "\
Sources:
  qmp:PATH          a running QEMU, by its monitor socket (-qmp unix:PATH,server=on,wait=off)
  FILE.toml, FOLDER raw memory that a manifest (guest.toml) describes
  FILE [FILE]...    an existing dump: ELF, kdump or flattened, known by its content; several: a split set
  FILE              a LiME or AVML image; needs --arch
  FILE@ADDR ...     raw memory from guest-physical address ADDR on; needs --arch
  demo:ARCH         a small built-in sample guest

Outputs: a path, file:PATH, fd:N, or - for standard output.

Examples:
  guestdump dump qmp:/run/vm.qmp -o vmcore
  guestdump dump qmp:/run/vm.qmp -o - --format kdump-zstd | ssh host 'cat > vmcore.flat'
  guestdump dump guest.toml -o vmcore.elf --format elf
  guestdump dump demo:x86_64 -o vmcore
  guestdump dump part1 part2 -o vmcore
  guestdump dump low.bin@0 high.bin@4G --arch x86_64 -o vmcore

Exit status: 0 done, 1 failed, 2 refused before anything happened, 3 dump written but incomplete, or read and found damaged,
4 verify found a difference.";

const VERIFY_EXIT: &str = "\
The digest is equal for equal memory, whatever the format, codec and page size. Zeros and what is no memory do not count.

Exit status: 0 sound (and equal), 1 failed, 3 damaged or incomplete, 4 sound, but different from the other dump.";

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
    /// Say what a dump is: guest, kernel, memory, vCPUs, who refuses it
    Info(InfoArgs),
    /// Read a whole dump: is it sound, does it equal another
    #[command(after_long_help = VERIFY_EXIT)]
    Verify(VerifyArgs),
    /// Draw what lies where in guest-physical memory
    Map(MapArgs),
    /// Print the kernel's log of a dump or a guest
    Dmesg(DmesgArgs),
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
    /// More files of the same guest: of a split set, or FILE@ADDR
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub more: Vec<String>,
    /// Format, see `guestdump formats` [default: kdump with zlib pages, flattened where the output cannot seek]
    #[arg(long, short, value_name = "NAME", help_heading = "Output")]
    pub format: Option<String>,
    /// Page size of a kdump file [default: the guest kernel's own]
    #[arg(long, value_name = "BYTES", help_heading = "Output")]
    pub page_size: Option<String>,
    /// Architecture, where the source does not say; see `guestdump arches`
    #[arg(long, value_name = "NAME", help_heading = "Source")]
    pub arch: Option<String>,
    /// VMCOREINFO: a file with its text, `scan` to search memory whatever the source hands over, or `none`
    #[arg(long, value_name = "FILE|scan|none", help_heading = "Source")]
    pub vmcoreinfo: Option<String>,
    /// Only memory from this guest-physical address on; needs --length
    #[arg(long, value_name = "ADDR", help_heading = "Filter", allow_hyphen_values = true)]
    pub begin: Option<String>,
    /// Only so many bytes; needs --begin
    #[arg(long, value_name = "BYTES", help_heading = "Filter", allow_hyphen_values = true)]
    pub length: Option<String>,
    /// Which pages may be missing: 0 none, 1 zeros are stored once
    #[arg(long, value_name = "LEVEL", help_heading = "Filter", allow_hyphen_values = true)]
    pub dump_level: Option<String>,
    /// Say at which virtual addresses memory is, as the page tables of all vCPUs say: for gdb. ELF only. Each address is said
    /// once; where vCPUs have other memory at one, the first vCPU's
    #[arg(long, help_heading = "Output")]
    pub paging: bool,
    /// With --paging: where vCPUs have other memory at one address, this vCPU's, to look into its process
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub paging_cpu: Option<u32>,
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
    /// Write zeros instead of leaving holes in the file
    #[arg(long, help_heading = "Output")]
    pub no_sparse: bool,
    /// Write past the page cache of the host (O_DIRECT), so that a dump does not push everything else out of it
    #[arg(long, help_heading = "Output")]
    pub direct: bool,
    /// Store equal pages once, as far as a table of 16 MiB remembers them
    #[arg(long, help_heading = "Output")]
    pub dedup: bool,
    /// Level of the codec: zlib 1 to 12 (9 without libdeflate), zstd -50 to 22 [default: see `guestdump formats`]
    #[arg(long, value_name = "N", help_heading = "Performance", allow_negative_numbers = true)]
    pub level: Option<i32>,
    /// Worker threads [default: one for each CPU]
    #[arg(long, value_name = "N", help_heading = "Performance")]
    pub threads: Option<usize>,
    /// Lower our priority by so much, 1 to 19, as nice(1) does; for that of reading and writing see ionice(1)
    #[arg(long, value_name = "N", help_heading = "Performance", allow_negative_numbers = true)]
    pub nice: Option<i32>,
    /// Write at most so many bytes a second
    #[arg(long, value_name = "BYTES", help_heading = "Performance", allow_hyphen_values = true)]
    pub rate_limit: Option<String>,
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
    /// All registers of every vCPU
    #[arg(long)]
    pub registers: bool,
    /// Every note, and VMCOREINFO line by line
    #[arg(long)]
    pub notes: bool,
    /// Read all of the memory, and count its frames of zeros and data
    #[arg(long)]
    pub count: bool,
    /// Worker threads for --count [default: one for each CPU]
    #[arg(long, value_name = "N", requires = "count")]
    pub threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `guestdump verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The dump, or all files of a split set
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<std::path::PathBuf>,
    /// Compare memory page by page and notes one by one with this dump; once for each file of a split set
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub against: Vec<std::path::PathBuf>,
    /// Worker threads [default: one for each CPU]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `guestdump map`
#[derive(Debug, Args)]
pub struct MapArgs {
    /// Guest: a dump, qmp:SOCKET, guest.toml, or demo:ARCH
    #[arg(value_hint = ValueHint::AnyPath)]
    pub source: String,
    /// Write a picture: FILE.html or FILE.svg, or - for HTML on standard output [default: draw in the terminal]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<std::path::PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// Architecture, where the source does not say; see `guestdump arches`
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Print JSON: every cell with its frames by kind
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
}

/// `guestdump dmesg`
#[derive(Debug, Args)]
pub struct DmesgArgs {
    /// Guest: a dump, qmp:SOCKET, guest.toml, or demo:ARCH
    #[arg(value_hint = ValueHint::AnyPath)]
    pub source: String,
    /// Architecture, where the source does not say; see `guestdump arches`
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Print JSON: a line about the log, then one for each record
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
