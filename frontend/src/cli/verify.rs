//! `guestdump verify`: reads a whole dump and says whether it hangs together, and whether it equals another.

use std::fmt::Write as _;
use std::path::PathBuf;

use guestdump_arch::{PhysAddr, PhysRange};
use guestdump_core::format::Container;
use guestdump_core::format::read::{self, Dump};
use guestdump_core::verify::{
    Audit, Class, Content, Difference, FRAME, Memory, NoteDifference, audit_set, compare, compare_notes, survey,
};
use indicatif::HumanBytes;
use serde_json::{Map, Value, json};

use super::args::VerifyArgs;
use super::{CliError, Exit, print, threads};
use crate::source::{SourceError, dump};

/// One dump that is looked at.
struct Side {
    paths: Vec<PathBuf>,
    dump: Dump,
    audit: Audit,
    readable: Vec<PhysRange>,
}

impl Side {
    /// Opens a dump: one file, or those of a split set.
    fn open(paths: &[PathBuf]) -> Result<Self, CliError> {
        let first = paths.first().cloned().unwrap_or_default();
        let failed = |source| CliError::Source(SourceError::Dump { path: first.clone(), source });
        let files: Vec<_> = paths.iter().map(|path| dump::file(path)).collect::<Result<_, _>>()?;
        let dump = read::open_set(files.clone()).map_err(failed)?;
        let audit = audit_set(&files).map_err(failed)?;
        let readable = audit.readable(&dump.ranges);
        Ok(Self { paths: paths.to_vec(), dump, audit, readable })
    }

    fn names(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.display().to_string()).collect()
    }

    fn memory(&self) -> Memory<'_> {
        Memory { memory: self.dump.memory.as_ref(), ranges: &self.readable }
    }

    /// Frames whose bytes lie behind the end of the file.
    fn cut_frames(&self) -> u64 {
        self.audit.cut.iter().map(|range| range.len().div_ceil(FRAME as u64)).sum()
    }

    /// Whether the writer meant to leave pages out. An ELF file says so with each `p_memsz` above `p_filesz`.
    fn filtered(&self) -> bool {
        match self.dump.container {
            Container::Kdump => self.dump.dump_level > 1,
            Container::Elf => self.dump.filtered,
        }
    }

    /// Everything that makes the dump less than it should be.
    fn problems(&self, content: &Content) -> Vec<String> {
        let mut out = self.audit.problems.clone();
        let (missing, damaged) = (content.count(Class::Missing), content.count(Class::Damaged));
        if damaged > 0 {
            out.push(format!("{damaged} frames cannot be read"));
        }
        out.extend(content.errors.iter().map(|(at, why)| format!("frame {at}: {why}")));
        if missing > 0 && !self.filtered() {
            out.push(format!("{missing} frames of memory are not in the dump, and its dump_level does not say so"));
        }
        out
    }
}

/// What two dumps differ in.
struct Against {
    side: Side,
    content: Content,
    memory: Difference,
    notes: Vec<NoteDifference>,
}

/// Runs the command.
pub fn run(args: &VerifyArgs) -> Result<Exit, CliError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads(args.threads)?).build();
    let pool = pool.map_err(|error| CliError::Io { what: "threads", source: std::io::Error::other(error) })?;
    let side = Side::open(&args.files)?;
    let other = if args.against.is_empty() { None } else { Some(Side::open(&args.against)?) };
    let (content, against) = match other {
        None => (pool.install(|| survey(side.memory())), None),
        Some(other) => {
            let (content, theirs, memory) = pool.install(|| compare(side.memory(), other.memory()));
            let notes = compare_notes(&side.dump, &other.dump);
            (content, Some(Against { side: other, content: theirs, memory, notes }))
        }
    };
    let report = Report { side, content, against };
    print(&if args.json { format!("{}\n", report.json()) } else { report.text() })?;
    Ok(report.exit())
}

struct Report {
    side: Side,
    content: Content,
    against: Option<Against>,
}

impl Report {
    fn sides(&self) -> impl Iterator<Item = (&Side, &Content)> {
        let other = self.against.as_ref().map(|against| (&against.side, &against.content));
        [(&self.side, &self.content)].into_iter().chain(other)
    }

    fn exit(&self) -> Exit {
        if self.sides().any(|(side, content)| !side.problems(content).is_empty()) {
            Exit::Incomplete
        } else if self.against.as_ref().is_some_and(|against| against.memory.count() > 0 || !against.notes.is_empty()) {
            Exit::Different
        } else {
            Exit::Done
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (side, content) in self.sides() {
            // Writing to a String cannot fail.
            let _ = side_text(&mut out, side, content);
        }
        if let Some(against) = &self.against {
            let _ = against_text(&mut out, against);
        }
        let verdict = match self.exit() {
            Exit::Incomplete => "damaged or incomplete",
            Exit::Different => "sound, but different",
            Exit::Done if self.against.is_some() => "sound and equal",
            Exit::Done => "sound",
        };
        let _ = writeln!(out, "verdict       {verdict}");
        out
    }

    fn json(&self) -> Value {
        let sides: Vec<Value> = self.sides().map(|(side, content)| side_json(side, content)).collect();
        json!({
            "schema": 1,
            "dumps": sides,
            "difference": self.against.as_ref().map(against_json),
            "verdict": match self.exit() {
                Exit::Done => "sound",
                Exit::Incomplete => "damaged",
                Exit::Different => "different",
            },
        })
    }
}

/// The digest, if all that should be there could be read.
fn digest(content: &Content, side: &Side) -> Option<String> {
    (content.count(Class::Damaged) == 0 && side.cut_frames() == 0).then(|| content.digest.to_string())
}

fn side_text(out: &mut String, side: &Side, content: &Content) -> std::fmt::Result {
    writeln!(out, "{}", side.names().join(" "))?;
    let bytes: u64 = side.dump.ranges.iter().map(|range| range.len()).sum();
    writeln!(out, "  memory      {} ({bytes} bytes) in {} ranges", HumanBytes(bytes), side.dump.ranges.len())?;
    let classes = Class::ALL.iter().filter(|class| content.count(**class) > 0);
    let classes: Vec<String> = classes.map(|class| format!("{} {}", content.count(*class), class.name())).collect();
    writeln!(out, "  frames      {} of {FRAME} bytes: {}", content.total(), classes.join(", "))?;
    if side.cut_frames() > 0 {
        writeln!(out, "  cut         {} frames behind the end of the file", side.cut_frames())?;
    }
    if !side.dump.stored.is_empty() {
        let stored: Vec<String> = side.dump.stored.iter().map(|(codec, pages)| format!("{pages} {codec}")).collect();
        writeln!(out, "  stored      {}; {} share their bytes", stored.join(", "), side.audit.shared_pages)?;
    }
    writeln!(out, "  digest      {}", digest(content, side).as_deref().unwrap_or("none: not all of it can be read"))?;
    for problem in side.problems(content) {
        writeln!(out, "  problem     {problem}")?;
    }
    for skipped in &side.audit.skipped {
        writeln!(out, "  not checked {skipped}")?;
    }
    Ok(())
}

fn against_text(out: &mut String, against: &Against) -> std::fmt::Result {
    let memory = &against.memory;
    writeln!(out, "difference")?;
    match memory.first {
        None => writeln!(out, "  memory      none, {} frames are equal", memory.equal)?,
        Some(first) => {
            writeln!(
                out,
                "  memory      {} frames, the first byte at {first}; {} are equal",
                memory.count(),
                memory.equal
            )?;
        }
    }
    for ((one, other), count) in &memory.frames {
        let what = match (one, other) {
            (Class::Data, Class::Data) => "other bytes".to_owned(),
            (one, other) => format!("{} here, {} there", one.name(), other.name()),
        };
        writeln!(out, "              {count:>8}  {what}")?;
    }
    writeln!(
        out,
        "  notes       {}",
        if against.notes.is_empty() { "none".to_owned() } else { against.notes.len().to_string() }
    )?;
    for note in &against.notes {
        let lengths = |len: Option<usize>| len.map_or("not there".to_owned(), |len| format!("{len} bytes"));
        let first = note.first.map_or(String::new(), |at| format!(", differ from byte {at} on"));
        let (one, other) = (lengths(note.lengths.0), lengths(note.lengths.1));
        let number = note.index;
        writeln!(out, "              {} type {:#x} number {number}: {one}, {other}{first}", note.name, note.n_type)?;
    }
    Ok(())
}

fn side_json(side: &Side, content: &Content) -> Value {
    let frames: Map<String, Value> =
        Class::ALL.iter().skip(1).map(|class| (class.name().to_owned(), content.count(*class).into())).collect();
    let stored: Vec<Value> =
        side.dump.stored.iter().map(|(codec, pages)| json!({"codec": codec, "pages": pages})).collect();
    json!({
        "file": side.names().first(),
        "files": side.names(),
        "memory_bytes": side.dump.ranges.iter().map(|range| range.len()).sum::<u64>(),
        "frame_bytes": FRAME,
        "frames": frames,
        "cut_frames": side.cut_frames(),
        "stored": stored,
        "shared_pages": side.audit.shared_pages,
        "digest": digest(content, side),
        "problems": side.problems(content),
        "not_checked": side.audit.skipped,
    })
}

fn against_json(against: &Against) -> Value {
    let frames: Vec<Value> = against
        .memory
        .frames
        .iter()
        .map(|((one, other), count)| json!({"here": one.name(), "there": other.name(), "frames": count}))
        .collect();
    let notes: Vec<Value> = against
        .notes
        .iter()
        .map(|note| {
            json!({
                "name": note.name, "type": note.n_type, "number": note.index,
                "here_bytes": note.lengths.0, "there_bytes": note.lengths.1, "first_byte": note.first,
            })
        })
        .collect();
    let first = against.memory.first.map(|PhysAddr(at)| at);
    json!({"frames": frames, "equal_frames": against.memory.equal, "first_address": first, "notes": notes})
}
