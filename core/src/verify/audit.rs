//! What a dump's file says of itself, apart from the memory in it: whether everything lies inside of the file, nothing lies on
//! something else, and the writer had finished.

use std::sync::Arc;

use guestdump_arch::{PhysAddr, PhysRange};
use object::elf as raw;

use crate::compress;
use crate::format::elf::read::{Headers, Segment, headers};
use crate::format::kdump::layout::STATUS_INCOMPLETE;
use crate::format::kdump::stored::{Stored, each_stored};
use crate::format::read::unwrapped;
use crate::format::{DumpFile, ReadError, elf, kdump, read_there};

/// Pages whose places are kept to see whether they overlap: 1 GiB of memory. Files with more are told so.
const MAX_PLACES: usize = 1 << 26;
/// Places that are named for each kind of problem.
const NAMED: usize = 4;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// What is wrong, for people.
    pub problems: Vec<String>,
    /// What was not looked at, and why.
    pub skipped: Vec<String>,
    /// Memory whose bytes should be in the file and lie behind its end.
    pub cut: Vec<PhysRange>,
    /// Pages of a kdump that share their bytes with an earlier one.
    pub shared_pages: u64,
    /// Stored copies that are shared by pages in a row, as that of zeros is: the address of a page that has it, and how many
    /// pages do. At most eight for each file.
    pub copies: Vec<(PhysAddr, u64)>,
}

impl Audit {
    /// `ranges` without what lies behind the end of the file.
    #[must_use]
    pub fn readable(&self, ranges: &[PhysRange]) -> Vec<PhysRange> {
        let cuts = merged(self.cut.clone());
        let mut left = Vec::new();
        for range in ranges {
            let mut at = range.start();
            let first = cuts.partition_point(|cut| cut.end() <= at);
            for cut in cuts.get(first..).unwrap_or_default().iter().take_while(|cut| cut.start() < range.end()) {
                left.push(PhysRange::between(at, cut.start()));
                at = PhysAddr(at.0.max(cut.end().0));
            }
            left.push(PhysRange::between(at, range.end()));
        }
        left.retain(|range| !range.is_empty());
        left
    }
}

/// The same bytes as disjoint ranges, ascending.
fn merged(mut ranges: Vec<PhysRange>) -> Vec<PhysRange> {
    ranges.sort_by_key(|range| range.start());
    let mut out: Vec<PhysRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.end() >= range.start() => {
                *last = PhysRange::between(last.start(), PhysAddr(last.end().0.max(range.end().0)));
            }
            _ => out.push(range),
        }
    }
    out
}

/// Looks at a dump's file.
///
/// # Errors
/// [`ReadError`] for what is no dump.
pub fn audit(file: Arc<dyn DumpFile>) -> Result<Audit, ReadError> {
    audit_set(&[file])
}

/// Looks at the files of a split set, each by itself and as a set; files are numbered from 1. A part that is looked at alone
/// lacks the others.
///
/// # Errors
/// [`ReadError`] for what is no dump.
pub fn audit_set(files: &[Arc<dyn DumpFile>]) -> Result<Audit, ReadError> {
    let (mut all, mut kdumps) = (Audit::default(), Vec::new());
    for (number, file) in (1..).zip(files) {
        let mut one = Audit::default();
        kdumps.extend(of_file(Arc::clone(file), &mut one)?);
        let named = |what: String| if files.len() == 1 { what } else { format!("file {number}: {what}") };
        all.problems.extend(one.problems.into_iter().map(named));
        all.skipped.extend(one.skipped.into_iter().map(named));
        all.cut.extend(one.cut);
        all.copies.extend(one.copies);
        all.shared_pages += one.shared_pages;
    }
    all.problems.extend(kdump::parts::problems(&kdumps)?);
    Ok(all)
}

/// Looks at one file; what is given back is a kdump without its records.
fn of_file(file: Arc<dyn DumpFile>, audit: &mut Audit) -> Result<Option<Arc<dyn DumpFile>>, ReadError> {
    let (file, complete) = unwrapped(file)?;
    if complete == Some(false) {
        audit.problems.push("the flattened file has no end record: it was cut".to_owned());
    }
    let start = read_there(file.as_ref(), 0, 16)?;
    if start.starts_with(&raw::ELFMAG) {
        elf(&headers(file.as_ref())?, file.len(), audit);
        return Ok(None);
    }
    if !start.starts_with(kdump::layout::SIGNATURE) {
        return Ok(None);
    }
    pages(&file, audit)?;
    Ok(Some(file))
}

fn elf(headers: &Headers, file_len: u64, audit: &mut Audit) {
    if headers.flags & elf::write::INCOMPLETE != 0 {
        audit.problems.push("e_flags says that the dump is not finished".to_owned());
    }
    let loads: Vec<&Segment> =
        headers.segments.iter().filter(|part| part.kind == raw::PT_LOAD.0 && part.file_len > 0).collect();
    let mut cut_bytes = 0_u64;
    for load in &loads {
        let there = load.file_len.min(file_len.saturating_sub(load.offset));
        let start = load.phys.checked_add(there).map(PhysAddr);
        if let Some(cut) =
            start.and_then(|start| PhysRange::new(start, load.file_len - there)).filter(|cut| !cut.is_empty())
        {
            cut_bytes = cut_bytes.saturating_add(cut.len());
            audit.cut.push(cut);
        }
    }
    if cut_bytes > 0 {
        audit.problems.push(format!("{cut_bytes} bytes of memory lie behind the end of the file: it was cut"));
    }
    overlapping_loads(loads, audit);
}

/// Segments of one address space that have the same physical memory. In a paging dump one page has many addresses, each
/// another distance away.
fn overlapping_loads(mut loads: Vec<&Segment>, audit: &mut Audit) {
    loads.sort_by_key(|load| (load.virt.wrapping_sub(load.phys), load.phys));
    let (mut count, mut named) = (0_u64, Vec::new());
    for (low, high) in loads.iter().zip(loads.iter().skip(1)) {
        let same_space = low.virt.wrapping_sub(low.phys) == high.virt.wrapping_sub(high.phys);
        let same_bytes = high.offset.wrapping_sub(low.offset) == high.phys - low.phys.min(high.phys);
        if same_space && !same_bytes && low.phys.saturating_add(low.file_len) > high.phys {
            count += 1;
            if named.len() < NAMED {
                named.push(format!("{:#x} ({} bytes) and {:#x}", low.phys, low.file_len, high.phys));
            }
        }
    }
    if count > 0 {
        audit.problems.push(format!("{count} PT_LOADs overlap others: {}", named.join(", ")));
    }
}

/// A kind of broken descriptor: how many there are, and the first ones.
#[derive(Default)]
struct Broken {
    count: u64,
    named: Vec<String>,
}

impl Broken {
    fn add(&mut self, page: &Stored) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{:#x}", page.pfn));
        }
    }

    fn report(&self, what: &str, audit: &mut Audit) {
        if self.count > 0 {
            let more = if self.count > NAMED as u64 { ", ..." } else { "" };
            audit.problems.push(format!("{} pages {what}: pfn {}{more}", self.count, self.named.join(", ")));
        }
    }
}

/// Places that two pages in a row have, each with the address of a page.
#[derive(Default)]
struct Rows {
    last: Option<(u64, u32)>,
    found: Vec<((u64, u32), PhysAddr)>,
}

impl Rows {
    fn add(&mut self, page: &Stored, page_size: u64) {
        const MOST: usize = 8;
        let place = (page.offset, page.size);
        let new = self.last == Some(place) && self.found.iter().all(|known| known.0 != place);
        if new && self.found.len() < MOST {
            self.found.push((place, PhysAddr(page.pfn.saturating_mul(page_size))));
        }
        self.last = Some(place);
    }

    /// How often each is among `places`, which are sorted.
    fn counted(self, places: &[(u64, u32)]) -> impl Iterator<Item = (PhysAddr, u64)> {
        self.found.into_iter().map(|(place, at)| {
            let first = places.partition_point(|other| *other < place);
            let count = places.get(first..).unwrap_or_default().partition_point(|other| *other == place);
            (at, count as u64)
        })
    }
}

fn pages(file: &Arc<dyn DumpFile>, audit: &mut Audit) -> Result<(), ReadError> {
    let (mut lost, mut outside, mut large, mut codec) =
        (Broken::default(), Broken::default(), Broken::default(), Broken::default());
    let mut places: Vec<(u64, u32)> = Vec::new();
    let mut too_many = 0_u64;
    let mut rows = Rows::default();
    let head = each_stored(file, &mut |page: Stored, page_size: u64| {
        let end = page.offset.checked_add(u64::from(page.size));
        if page.offset == 0 {
            lost.add(&page);
        } else if end.is_none_or(|end| end > file.len()) {
            outside.add(&page);
        } else if u64::from(page.size) > page_size || (page.flags == 0 && u64::from(page.size) != page_size) {
            large.add(&page);
        } else if page.flags != 0 && compress::by_flag(page.flags).is_none() {
            codec.add(&page);
        } else if places.len() < MAX_PLACES {
            rows.add(&page, page_size);
            places.push((page.offset, page.size));
        } else {
            too_many += 1;
        }
    })?;
    if head.status & STATUS_INCOMPLETE != 0 {
        audit.problems.push("the header's status says that the dump is not finished".to_owned());
    }
    lost.report("were never written", audit);
    outside.report("lie outside of the file", audit);
    large.report("have an impossible size", audit);
    codec.report("are stored by no codec of this build", audit);
    if too_many > 0 {
        audit.skipped.push(format!("whether pages overlap: there are {too_many} more than {MAX_PLACES}"));
    }
    places.sort_unstable();
    audit.copies.extend(rows.counted(&places));
    overlapping_pages(places, head.data_start, audit);
    Ok(())
}

/// Pages may share all of their bytes (pages of zeros, equal pages), but not some of them, nor those of the tables before.
/// `places` are sorted.
fn overlapping_pages(mut places: Vec<(u64, u32)>, data_start: u64, audit: &mut Audit) {
    let all = places.len();
    places.dedup();
    audit.shared_pages = (all - places.len()) as u64;
    let early = places.iter().filter(|place| place.0 < data_start).count();
    if early > 0 {
        let tables = format!("headers, bitmaps or descriptors, which end at {data_start:#x}");
        audit.problems.push(format!("{early} pages lie on {tables}"));
    }
    let over = places.iter().zip(places.iter().skip(1)).filter(|(low, high)| low.0 + u64::from(low.1) > high.0);
    let found: Vec<_> = over.map(|(_, high)| format!("{:#x}", high.0)).take(NAMED + 1).collect();
    if !found.is_empty() {
        let named = found.get(..found.len().min(NAMED)).unwrap_or_default().join(", ");
        let more = if found.len() > NAMED { ", ..." } else { "" };
        audit.problems.push(format!("pages overlap in the file, at offset {named}{more}"));
    }
}
