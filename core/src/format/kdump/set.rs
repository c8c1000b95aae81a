//! The files of one dump as one memory, and what their bitmaps say of it.

use guestdump_arch::{Extent, MemoryError, PhysAddr, PhysMemory, PhysRange, Presence};

use super::bitmap::{PIECE, PIECE_BITS};
use super::pages::Pages;
use crate::compress;
use crate::format::ReadError;

/// More runs of memory than this are not listed.
const MAX_RUNS: usize = 1 << 20;

/// What the bitmaps of a set say.
pub(super) struct Survey {
    /// Runs of memory by the first bitmap.
    pub runs: Vec<PhysRange>,
    /// Pages of memory without a bit in the second one.
    pub missing: u64,
    /// Pages of memory whose descriptors are in none of the files.
    pub elsewhere: u64,
}

/// The files of one dump: one, or a split set.
#[derive(Debug)]
pub(super) struct Set(Vec<Pages>);

impl Set {
    pub const fn new(parts: Vec<Pages>) -> Self {
        Self(parts)
    }

    pub fn filtered(&self) -> bool {
        self.0.first().is_some_and(|part| part.filtered)
    }

    pub fn survey(&self) -> Result<Survey, ReadError> {
        let mut survey = Survey { runs: Vec::new(), missing: 0, elsewhere: 0 };
        let Some(first) = self.0.first() else { return Ok(survey) };
        for number in first.pieces(first.bitmap1) {
            let (memory, all) = (first.piece(first.bitmap1, number)?, first.piece(first.bitmap2, number)?);
            add_runs(&mut survey.runs, &memory, number * PIECE_BITS, first.page_size)?;
            let mut own = vec![0; PIECE as usize];
            for part in &self.0 {
                own.iter_mut().zip(part.own(number)?.iter()).for_each(|(sum, byte)| *sum |= byte);
            }
            for ((memory, all), own) in memory.iter().zip(all.iter()).zip(&own) {
                survey.missing += u64::from((memory & !all).count_ones());
                survey.elsewhere += u64::from((memory & all & !own).count_ones());
            }
        }
        Ok(survey)
    }

    /// How pages are stored: number of descriptors by codec.
    pub fn stored(&self, warnings: &mut Vec<String>) -> Result<Vec<(String, u64)>, ReadError> {
        let (mut counts, mut lost) = (Vec::new(), 0);
        for part in &self.0 {
            lost += part.stored(&mut counts)?;
        }
        if lost > 0 {
            warnings.push(format!("the data of {lost} pages is not in the file"));
        }
        let name =
            |flags| compress::by_flag(flags).map_or(format!("flags {flags:#x}"), |codec| codec.name().to_owned());
        Ok(counts.into_iter().map(|(flags, count)| (name(flags), count)).collect())
    }

    /// The file with frame `pfn`.
    fn part(&self, pfn: u64) -> Option<&Pages> {
        self.0.iter().find(|part| part.window.contains(&pfn))
    }

    fn page_size(&self) -> u64 {
        self.0.first().map_or(4096, |part| part.page_size)
    }
}

/// Appends the runs of a piece of the first bitmap.
fn add_runs(runs: &mut Vec<PhysRange>, bits: &[u8], first: u64, page_size: u64) -> Result<(), ReadError> {
    let mut add = |from: u64, count: u64| {
        let start = PhysAddr(from.saturating_mul(page_size));
        let end = PhysAddr(from.saturating_add(count).saturating_mul(page_size));
        match runs.last_mut() {
            Some(last) if last.end() == start => *last = PhysRange::between(last.start(), end),
            _ => runs.push(PhysRange::between(start, end)),
        }
    };
    for (byte, at) in bits.iter().zip((first..).step_by(8)) {
        match byte {
            0 => {}
            0xff => add(at, 8),
            _ => (0..8).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| add(at + bit, 1)),
        }
    }
    if runs.len() > MAX_RUNS {
        return Err(ReadError::TooMany { what: "runs of memory", limit: MAX_RUNS });
    }
    Ok(())
}

impl PhysMemory for Set {
    fn read(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<bool, MemoryError> {
        let size = self.page_size();
        let (mut at, mut rest) = (addr, buf);
        while !rest.is_empty() {
            let Some(part) = self.part(at.0 / size) else { return Ok(false) };
            let room = part.window.end.saturating_mul(size).saturating_sub(at.0);
            let (now, later) = rest.split_at_mut(usize::try_from(room).unwrap_or(usize::MAX).min(rest.len()));
            if now.is_empty() || !part.read(at, now)? {
                return Ok(false);
            }
            at = PhysAddr(at.0.saturating_add(now.len() as u64));
            rest = later;
        }
        Ok(true)
    }

    fn extent(&self, addr: PhysAddr, limit_bytes: u64) -> Extent {
        let size = self.page_size();
        let pfn = addr.0 / size;
        let limit = limit_bytes.div_ceil(size).saturating_add(1);
        let part = self.part(pfn).or_else(|| self.0.first());
        // What cannot be looked at cannot be read either: reading it says why.
        let (presence, frames) =
            part.map_or((Presence::Absent, 1), |part| part.run(pfn, limit).unwrap_or((Presence::Data, 1)));
        // Each file knows its own frames only.
        let borders = self.0.iter().flat_map(|part| [part.window.start, part.window.end]);
        let end = borders.filter(|border| *border > pfn).min().unwrap_or(u64::MAX);
        let next = pfn.saturating_add(frames).min(end).saturating_mul(size);
        Extent { presence, len_bytes: next.saturating_sub(addr.0).max(1) }
    }
}
