//! The plan of a dump: everything that can be known before memory is read in bulk.
//!
//! A plan is made from a guest and options alone, may refuse, and can be printed. It holds every offset that does not
//! depend on how well pages compress.

pub mod excluded;
pub mod mapped;
pub mod notes;
pub mod pages;
pub mod segments;

use guestdump_arch::{ArchError, Class, DumpInfo, PhysRange};
use thiserror::Error;

use crate::block::{Block, BlockKind};
use crate::compress::MAX_PAGE_SIZE;
use crate::format::elf::layout::ElfLayout;
use crate::format::kdump::layout::KdumpLayout;
use crate::format::{Container, Format};
use crate::guest::Guest;
use crate::kernel::{self, Utsname};
use mapped::Mapped;
use notes::NoteArea;

/// What the user wants.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// Format of the dump.
    pub format: &'static Format,
    /// Only these addresses.
    pub range: Option<PhysRange>,
    /// Which pages may be missing: makedumpfile's levels. 0: none; 1: pages of zeros are stored once.
    pub dump_level: u8,
    /// Whether memory of devices is dumped too.
    pub device_memory: bool,
    /// Page size of a kdump file, if it is not to be found out.
    pub page_size: Option<u32>,
    /// Describe memory by the virtual addresses of all vCPUs.
    pub paging: Option<mapped::Wanted>,
}

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlanError {
    /// The architecture cannot describe such a guest.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// The guest has no memory that would be dumped.
    #[error("the guest has no memory to dump")]
    NoMemory,
    /// The wanted addresses hold no memory.
    #[error("no guest memory in {range}: memory is at {memory}")]
    RangeOutside {
        /// What was wanted.
        range: PhysRange,
        /// Where memory is.
        memory: String,
    },
    /// Page classes of the kernel are not known yet.
    #[error(
        "dump level {level}: levels above 1 leave out pages by the kernel's own page classes, which this version does not read"
    )]
    DumpLevel {
        /// What was wanted.
        level: u8,
    },
    /// An ELF file cannot share its zero pages.
    #[error("dump level {level} with an ELF file: only kdump files can share pages of zeros")]
    ElfLevel {
        /// What was wanted.
        level: u8,
    },
    /// A kdump file has no virtual addresses.
    #[error("paging with format {format}: only ELF files say at which virtual addresses memory is")]
    KdumpPaging {
        /// Name of the format.
        format: &'static str,
    },
    /// Nobody says where page tables are.
    #[error("paging of a guest without vCPUs: their registers say where page tables are")]
    NoVcpus,
    /// There is no such vCPU.
    #[error("no vCPU {vcpu}: the guest has {vcpus}")]
    NoVcpu {
        /// What was wanted.
        vcpu: u32,
        /// How many there are.
        vcpus: usize,
    },
    /// Not even the memory can be described.
    #[error("at most {wanted} segments: the memory alone needs {ranges}")]
    FewSegments {
        /// What was wanted.
        wanted: u32,
        /// How many a dump without virtual addresses has.
        ranges: usize,
    },
    /// No kdump file has such pages.
    #[error("page size {size}: must be a power of two from 4096 to {MAX_PAGE_SIZE}")]
    PageSize {
        /// What was wanted.
        size: u32,
    },
    /// This build lacks the codec.
    #[error("format {format} needs the codec {codec}, which this build does not have")]
    Codec {
        /// Name of the format.
        format: &'static str,
        /// Name of the codec.
        codec: &'static str,
    },
    /// The dump cannot be described by its headers.
    #[error("{what} is {value:#x}, more than {limit:#x}: the format cannot say so")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much.
        value: u64,
        /// How much it may be.
        limit: u64,
    },
}

/// The part that depends on the format.
#[derive(Clone, Debug)]
pub enum Body {
    /// An ELF core file.
    Elf(ElfLayout),
    /// A kdump-compressed file.
    Kdump(KdumpLayout),
}

/// A plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is written.
    pub format: &'static Format,
    /// Class, byte order and so on.
    pub info: DumpInfo,
    /// The level that the dump has.
    pub dump_level: u8,
    /// The memory that is dumped: ascending, disjoint.
    pub ranges: Vec<PhysRange>,
    /// Memory in these ranges that the source left out on purpose, and that the dump leaves out too: ascending, disjoint.
    pub excluded: Vec<PhysRange>,
    /// What each of them is called.
    pub names: Vec<String>,
    /// Blocks that are left out as memory of devices.
    pub left_out: Vec<Block>,
    /// Notes.
    pub notes: NoteArea,
    /// Number of vCPUs.
    pub vcpus: usize,
    /// What the guest's kernel calls itself.
    pub utsname: Utsname,
    /// What page tables say of the memory, where that was wanted.
    pub mapped: Option<Mapped>,
    /// The layout.
    pub body: Body,
}

impl Plan {
    /// Plans a dump.
    ///
    /// # Errors
    /// [`PlanError`] if it cannot be made as wanted.
    pub fn new(guest: &Guest, options: &PlanOptions) -> Result<Self, PlanError> {
        let format = options.format;
        check(options)?;
        let (ranges, names) = clip(guest, options)?;
        let mut info = guest.dump_info(&ranges)?;
        if let Some(size) = options.page_size {
            (info.page_size, info.page_size_from) = (size, "the user");
        }
        check_page_size(info.page_size)?;
        let notes = NoteArea::of(guest, &info);
        let excluded = excluded::excluded(guest, &ranges);
        let mut mapped = None;
        let body = match format.container {
            Container::Elf => {
                let mut loads = segments::loads(&ranges, kernel::linear_map(guest));
                if let Some(wanted) = options.paging {
                    let found;
                    (loads, found) = mapped::loads(guest, &ranges, loads, info.class, wanted)?;
                    mapped = Some(found);
                }
                let layout = ElfLayout::new((&ranges, &excluded), &notes, info.class, &loads)?;
                info.class = layout.class;
                Body::Elf(layout)
            }
            Container::Kdump => Body::Kdump(kdump_layout(format, (&ranges, &excluded), &notes, &info)?),
        };
        let left_out = guest.blocks.iter().filter(|block| !options.device_memory && block.kind == BlockKind::Device);
        Ok(Self {
            format,
            info,
            dump_level: if format.container == Container::Elf { 0 } else { options.dump_level | guest.past.dump_level },
            ranges,
            excluded,
            names,
            left_out: left_out.cloned().collect(),
            notes,
            vcpus: guest.vcpus.len(),
            utsname: kernel::utsname(guest, info.uts_machine),
            mapped,
            body,
        })
    }

    /// Bytes of guest memory in the dump.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.len()).sum::<u64>() - self.excluded_bytes()
    }

    /// Bytes of guest memory that are left out because the source left them out.
    #[must_use]
    pub fn excluded_bytes(&self) -> u64 {
        self.excluded.iter().map(|range| range.len()).sum()
    }

    /// Length of the file, where it does not depend on the content of pages; otherwise the most that it can be.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        match &self.body {
            Body::Elf(layout) => layout.file_len,
            Body::Kdump(layout) => layout.longest(),
        }
    }
}

/// A flattened file has both bitmaps in full, gaps and all: more than this is refused rather than written.
const MAX_FLAT_BITMAPS: u64 = 16 << 30;

fn kdump_layout(
    format: &Format,
    (ranges, excluded): (&[PhysRange], &[PhysRange]),
    notes: &NoteArea,
    info: &DumpInfo,
) -> Result<KdumpLayout, PlanError> {
    let stored: Vec<PhysRange> = ranges.iter().flat_map(|range| excluded::without(*range, excluded)).collect();
    let layout = KdumpLayout::new((ranges, &stored), notes, info)?;
    let value = 2 * layout.bitmap_len;
    if format.flattened && value > MAX_FLAT_BITMAPS {
        let what = "the size of a flattened file's bitmaps";
        return Err(PlanError::TooLarge { what, value, limit: MAX_FLAT_BITMAPS });
    }
    Ok(layout)
}

fn check(options: &PlanOptions) -> Result<(), PlanError> {
    let (level, format) = (options.dump_level, options.format);
    if format.codec().is_none() {
        return Err(PlanError::Codec { format: format.name, codec: format.codec });
    }
    if level > 1 {
        return Err(PlanError::DumpLevel { level });
    }
    if options.paging.is_some() && format.container == Container::Kdump {
        return Err(PlanError::KdumpPaging { format: format.name });
    }
    if let Some(size) = options.page_size {
        check_page_size(size)?;
    }
    Ok(())
}

fn check_page_size(size: u32) -> Result<(), PlanError> {
    let fits = size.is_power_of_two() && size >= 4096 && usize::try_from(size).is_ok_and(|size| size <= MAX_PAGE_SIZE);
    if fits { Ok(()) } else { Err(PlanError::PageSize { size }) }
}

/// The memory that is dumped, with names. In a kdump file the range is widened to whole pages first.
fn clip(guest: &Guest, options: &PlanOptions) -> Result<(Vec<PhysRange>, Vec<String>), PlanError> {
    let blocks: Vec<&Block> = guest.dumped(options.device_memory).collect();
    if blocks.is_empty() {
        return Err(PlanError::NoMemory);
    }
    let Some(range) = options.range else {
        return Ok(blocks.iter().map(|block| (block.range, block.name.clone())).unzip());
    };
    let wide = match options.format.container {
        Container::Elf => range,
        Container::Kdump => whole_pages(range, guest, options)?,
    };
    let clipped = blocks.iter().map(|block| (block.range.intersect(wide), block.name.clone()));
    let (ranges, names): (Vec<PhysRange>, Vec<String>) = clipped.filter(|part| !part.0.is_empty()).unzip();
    if ranges.is_empty() {
        let memory: Vec<String> = blocks.iter().map(|block| block.range.to_string()).collect();
        return Err(PlanError::RangeOutside { range, memory: memory.join(", ") });
    }
    Ok((ranges, names))
}

fn whole_pages(range: PhysRange, guest: &Guest, options: &PlanOptions) -> Result<PhysRange, PlanError> {
    let size = u64::from(match options.page_size {
        Some(size) => size,
        None => guest.dump_info(&[])?.page_size,
    });
    let start = range.start().0 / size * size;
    let end = range.end().0.checked_next_multiple_of(size).unwrap_or(range.end().0);
    Ok(PhysRange::between(guestdump_arch::PhysAddr(start), guestdump_arch::PhysAddr(end)))
}

/// Name of a class.
#[must_use]
pub const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Elf32 => "ELFCLASS32",
        Class::Elf64 => "ELFCLASS64",
    }
}
