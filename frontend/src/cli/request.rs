//! From what was typed to what it means. Nothing here touches a guest or a file.

use guestdump_core::arch::{self, Arch, Endian, PhysAddr, PhysRange};
use guestdump_core::format::{self, Format};
use guestdump_core::plan::PlanOptions;
use guestdump_core::plan::mapped::{MAX_SEGMENTS, Wanted};

use super::CliError;
use super::args;
use crate::number::parse_bytes;
use crate::source::{Purpose, Request, VmcoreinfoFrom};

/// Format where none was asked for, by whether the output can seek.
const DEFAULT: (&str, &str) = ("kdump-raw-zlib", "kdump-zlib");

/// What `--arch` says.
type ArchChoice = Option<(&'static dyn Arch, Option<Endian>)>;

/// The source that is meant.
///
/// # Errors
/// [`CliError::Usage`] for an architecture that does not exist.
pub fn source(typed: &args::PlanOptions, purpose: Purpose) -> Result<Request, CliError> {
    let vmcoreinfo = match typed.vmcoreinfo.as_deref() {
        None => VmcoreinfoFrom::Source,
        Some("scan") => VmcoreinfoFrom::Scan,
        Some("none") => VmcoreinfoFrom::Nowhere,
        Some(path) => VmcoreinfoFrom::File(path.into()),
    };
    let request = source_named(&typed.source, typed.arch.as_deref(), purpose)?;
    Ok(Request { more: typed.more.clone(), vmcoreinfo, ..request })
}

/// The source that is meant by its name and `--arch`.
///
/// # Errors
/// As [`source()`].
pub fn source_named(name: &str, arch: Option<&str>, purpose: Purpose) -> Result<Request, CliError> {
    let arch: ArchChoice = match arch {
        None => None,
        Some(name) => Some(arch::by_name(name).ok_or_else(|| unknown("architecture", name, &arch::names()))?),
    };
    // Where the program cannot find itself, the source says that it cannot be watched over.
    let watchdog = std::env::current_exe().ok();
    Ok(Request { arch, watchdog, ..Request::new(name.to_owned(), purpose) })
}

/// The plan that is meant, for an output that can seek or cannot.
///
/// # Errors
/// [`CliError::Usage`], [`CliError::Number`].
pub fn plan(typed: &args::PlanOptions, seekable: bool) -> Result<PlanOptions, CliError> {
    let format = match &typed.format {
        Some(name) => by_name(name)?,
        None if typed.paging => by_name("elf")?,
        None => by_name(if seekable { DEFAULT.0 } else { DEFAULT.1 })?,
    };
    let number = |option, text: &Option<String>| {
        let parse = |text: &String| parse_bytes(text).map_err(|source| CliError::Number { option, source });
        text.as_ref().map(parse).transpose()
    };
    let range = range(number("--begin", &typed.begin)?, number("--length", &typed.length)?)?;
    let level = number("--dump-level", &typed.dump_level)?;
    let page_size = number("--page-size", &typed.page_size)?;
    let usage = |text: String| CliError::Usage(text, None);
    let dump_level = match level {
        None => 1,
        Some(level @ 0..=31) => u8::try_from(level).unwrap_or(31),
        Some(level) => return Err(usage(format!("--dump-level {level}: levels are 0 to 31"))),
    };
    if level.is_some_and(|level| level & 1 != 0) && format.container == format::Container::Elf {
        return Err(guestdump_core::plan::PlanError::ElfLevel { level: dump_level }.into());
    }
    let too_large = |size: u64| usage(format!("--page-size {size}: no page is that large"));
    let page_size = page_size.map(|size| u32::try_from(size).map_err(|_| too_large(size))).transpose()?;
    let paging = paging(typed, number("--max-segments", &typed.max_segments)?)?;
    if paging.is_some() && format.container == format::Container::Kdump {
        return Err(guestdump_core::plan::PlanError::KdumpPaging { format: format.name }.into());
    }
    Ok(PlanOptions { format, range, dump_level, device_memory: typed.device_memory, page_size, paging })
}

/// What is wanted of a dump with virtual addresses, if it is to be one.
fn paging(typed: &args::PlanOptions, most: Option<u64>) -> Result<Option<Wanted>, CliError> {
    let usage = |text: String, hint: &str| Err(CliError::Usage(text, Some(hint.to_owned())));
    let max_segments = match (typed.paging, most) {
        (false, Some(most)) => {
            return usage(
                format!("--max-segments {most} without --paging"),
                "a dump without --paging has a segment for each block of memory",
            );
        }
        (_, None) => MAX_SEGMENTS,
        (true, Some(most)) => match u32::try_from(most) {
            Ok(most) if most < u32::MAX => most,
            _ => {
                return usage(
                    format!("--max-segments {most}: an ELF file counts them with 32 bits"),
                    "leave it out for 1048576",
                );
            }
        },
    };
    match (typed.paging, typed.paging_cpu) {
        (false, Some(vcpu)) => usage(format!("--paging-cpu {vcpu} without --paging"), "add --paging"),
        (wanted, vcpu) => Ok(wanted.then_some(Wanted { max_segments, vcpu })),
    }
}

fn range(begin: Option<u64>, length: Option<u64>) -> Result<Option<PhysRange>, CliError> {
    let usage = |text: String, hint: &str| Err(CliError::Usage(text, Some(hint.to_owned())));
    match (begin, length) {
        (None, None) => Ok(None),
        (Some(begin), None) => {
            usage(format!("--begin {begin:#x} without --length"), "say how many bytes with --length")
        }
        (None, Some(length)) => usage(format!("--length {length:#x} without --begin"), "say from where with --begin"),
        (_, Some(0)) => usage("--length 0: a dump of nothing".to_owned(), "leave both out to dump everything"),
        (Some(begin), Some(length)) => match PhysRange::new(PhysAddr(begin), length) {
            Some(range) => Ok(Some(range)),
            None => usage(
                format!("--begin {begin:#x} with --length {length:#x} ends beyond 2^64"),
                "guestdump plan SOURCE lists the guest's memory",
            ),
        },
    }
}

fn by_name(name: &str) -> Result<&'static Format, CliError> {
    let names: Vec<&str> = format::ALL.iter().map(|format| format.name).collect();
    format::by_name(name).ok_or_else(|| unknown("format", name, &names))
}

/// "no such thing", with the closest name that there is.
fn unknown(what: &str, name: &str, known: &[&str]) -> CliError {
    let closest = closest(name, known).map(|near| format!("did you mean {near}? "));
    let hint = format!("{}there are {}", closest.unwrap_or_default(), known.join(", "));
    CliError::Usage(format!("no {what} is called {name}"), Some(hint))
}

/// The name that needs the fewest edits, if these are few.
#[must_use]
pub fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|known| (edits(name, known), *known)).min()?;
    (near.0 <= name.chars().count() / 3 + 1).then_some(near.1)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let change = row[j] + usize::from(from != *to);
            next.push(change.min(row[j + 1] + 1).min(next[j] + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_name() {
        assert_eq!(closest("kdump-zilb", &["elf", "kdump-zlib", "kdump-lzo"]), Some("kdump-zlib"));
        assert_eq!(closest("vax", &["x86_64", "i386"]), None);
    }
}
