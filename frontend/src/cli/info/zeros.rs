//! How much of a dump's memory is zeros: what its file says of it, and the count of everything.

use std::io;

use guestdump_arch::PhysAddr;
use guestdump_core::format::Container;
use guestdump_core::format::read::Dump;
use guestdump_core::verify::{Audit, Class, Content, FRAME, KnownZeros, Memory, known_zeros, survey_with};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};

use super::Shown;
use crate::cli::CliError;

/// Zeros that are known without reading the memory.
pub enum Zeros {
    /// Pages of a kdump whose stored copy, which they share, is one of zeros.
    Shared {
        /// Number of pages.
        pages: u64,
        /// Bytes of each.
        page_size: u32,
    },
    /// Holes of an ELF file.
    Holes(KnownZeros),
}

impl Zeros {
    /// What a dump's file says. Pages of zeros may be stored in other ways too.
    pub fn of(dump: &Dump, audit: &Audit) -> Self {
        match (dump.container, dump.page_size) {
            (Container::Kdump, Some(page_size)) => {
                let copies = audit.copies.iter().filter(|copy| is_zero(dump, copy.0, page_size));
                Self::Shared { pages: copies.map(|copy| copy.1).sum(), page_size }
            }
            _ => Self::Holes(known_zeros(Memory { memory: dump.memory.as_ref(), ranges: &dump.ranges })),
        }
    }

    /// How many bytes.
    pub const fn bytes(&self) -> u64 {
        match self {
            Self::Shared { pages, page_size } => pages.saturating_mul(*page_size as u64),
            Self::Holes(known) => known.len_bytes,
        }
    }

    /// In words, if there are some.
    pub fn line(&self) -> Option<String> {
        match self {
            _ if self.bytes() == 0 => None,
            Self::Shared { pages, .. } => Some(format!("{pages} pages share one copy of zeros")),
            Self::Holes(known) => {
                let least = if known.whole { "" } else { "at least " };
                Some(format!("{least}{} are holes of the file", HumanBytes(known.len_bytes)))
            }
        }
    }
}

fn is_zero(dump: &Dump, at: PhysAddr, page_size: u32) -> bool {
    let mut page = vec![1; usize::try_from(page_size).unwrap_or(0)];
    dump.memory.read(at, &mut page).unwrap_or(false) && page.iter().all(|byte| *byte == 0)
}

impl Shown {
    /// Reads all of the memory; on a terminal a line says how far it is.
    pub fn count(&mut self, threads: usize) -> Result<(), CliError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| CliError::Io { what: "threads", source: io::Error::other(error) })?;
        let ranges = self.audit.readable(&self.dump.ranges);
        let memory = Memory { memory: self.dump.memory.as_ref(), ranges: &ranges };
        let bar = ProgressBar::with_draw_target(Some(self.memory_bytes()), ProgressDrawTarget::stderr_with_hz(8));
        if let Ok(style) = ProgressStyle::with_template("count {percent}% {bytes} of {total_bytes}  eta {eta}") {
            bar.set_style(style);
        }
        self.content = Some(pool.install(|| survey_with(memory, &mut |bytes| bar.inc(bytes))));
        bar.finish_and_clear();
        Ok(())
    }
}

/// Frames of each class that there are.
fn frames(content: &Content) -> impl Iterator<Item = (&'static str, u64)> {
    let counts = Class::ALL.iter().map(|class| (class.name(), content.count(*class)));
    counts.filter(|class| class.1 > 0)
}

/// The count in words.
pub fn frames_line(content: &Content) -> String {
    let parts: Vec<String> = frames(content).map(|(name, count)| format!("{count} {name}")).collect();
    format!("{} of {FRAME} bytes: {}", content.total(), parts.join(", "))
}

/// The count as JSON.
pub fn frames_json(content: &Content) -> Value {
    Value::Object(frames(content).map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>())
}
