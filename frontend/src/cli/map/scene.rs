//! What is drawn, whatever it is drawn with: cells in rows, holes between them, the kernel, page-table roots.

use guestdump_arch::{PhysAddr, PhysRange};
use guestdump_core::block::BlockKind;
use guestdump_core::guest::Guest;
use guestdump_core::kernel;
use guestdump_core::verify::{Cell, FRAME, Kind, Memory, cell_size, picture};
use indicatif::HumanBytes;

use crate::cli::info::vcpu;

/// A page-table root of a vCPU.
pub struct Root {
    /// The vCPU.
    pub vcpu: u32,
    /// Guest-physical address.
    pub at: u64,
}

/// Everything that is drawn.
pub struct Scene {
    /// What the user calls the guest.
    pub source: String,
    /// Architecture.
    pub arch: &'static str,
    /// OSRELEASE, or nothing.
    pub release: String,
    /// RAM.
    pub ranges: Vec<PhysRange>,
    /// Bytes of a cell.
    pub cell_bytes: u64,
    /// Cells of a row.
    pub columns: u64,
    /// Cells with memory, ascending.
    pub cells: Vec<Cell>,
    /// The kernel's image.
    pub kernel: Option<PhysRange>,
    /// Where page tables start.
    pub roots: Vec<Root>,
}

/// A line of the picture.
pub enum Line<'a> {
    /// A row that starts at this address, with its cells.
    Row(u64, &'a [Cell]),
    /// So many bytes between the rows above and below that are no memory.
    Hole(u64),
}

impl Scene {
    /// Reads the guest. There are at most `most` cells, and about as many in rows of `columns`.
    pub fn of(source: &str, guest: &Guest, columns: u64, most: usize) -> Self {
        let ram = guest.blocks.iter().filter(|block| block.kind == BlockKind::Ram);
        let mut ranges: Vec<PhysRange> = Vec::new();
        for block in ram {
            match ranges.last_mut() {
                Some(last) if last.end() == block.range.start() => {
                    *last = PhysRange::between(last.start(), block.range.end());
                }
                _ => ranges.push(block.range),
            }
        }
        let cell_bytes = cell_size(&ranges, most);
        let cells = picture(Memory { memory: guest.memory.as_ref(), ranges: &ranges }, cell_bytes);
        let arch = guest.arch_of_dump();
        let mut roots: Vec<Root> = Vec::new();
        for one in &guest.vcpus {
            let short = vcpu::summary(arch, one);
            roots.extend(short.roots.into_iter().map(|at| Root { vcpu: one.id, at }));
        }
        Self {
            source: source.to_owned(),
            arch: arch.identity().name,
            release: guest.vmcoreinfo.as_ref().and_then(|info| info.release()).unwrap_or_default().to_owned(),
            ranges,
            cell_bytes,
            columns,
            cells,
            kernel: kernel::image(guest),
            roots,
        }
    }

    /// Bytes of a row.
    pub const fn row_bytes(&self) -> u64 {
        self.cell_bytes.saturating_mul(self.columns)
    }

    /// The lines of the picture, from address 0 on.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut out = Vec::new();
        let mut end = 0_u64;
        let row = |cell: &Cell| cell.range.start().0 / self.row_bytes();
        for cells in self.cells.chunk_by(|a, b| row(a) == row(b)) {
            let Some(first) = cells.first() else { continue };
            let start = row(first) * self.row_bytes();
            if start > end {
                out.push(Line::Hole(start - end));
            }
            out.push(Line::Row(start, cells));
            end = start.saturating_add(self.row_bytes());
        }
        out
    }

    /// Column of an address in its row.
    pub const fn column(&self, at: PhysAddr) -> u64 {
        at.0 / self.cell_bytes % self.columns
    }

    /// Whether a cell holds a part of the kernel.
    pub fn is_kernel(&self, cell: &Cell) -> bool {
        self.kernel.is_some_and(|kernel| !kernel.intersect(cell.range).is_empty())
    }

    /// vCPUs whose page tables start in a cell.
    pub fn roots_in(&self, cell: &Cell) -> Vec<u32> {
        let inside = self.roots.iter().filter(|root| cell.range.contains(PhysAddr(root.at)));
        let mut vcpus: Vec<u32> = inside.map(|root| root.vcpu).collect();
        vcpus.dedup();
        vcpus
    }

    /// Frames of each kind.
    pub fn totals(&self) -> [u64; 5] {
        let mut totals = [0; 5];
        for cell in &self.cells {
            totals.iter_mut().zip(cell.frames).for_each(|(sum, frames)| *sum += frames);
        }
        totals
    }

    /// Bytes of memory, by whole frames.
    pub fn bytes(&self) -> u64 {
        self.totals().iter().sum::<u64>() * FRAME as u64
    }
}

/// Bytes for people, without decimals that say nothing.
pub fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string().replace(".00 ", " ")
}

/// The kind that most of a cell is of. What is not zero wins over zeros where it has a quarter, so that it can be seen.
pub fn dominant(cell: &Cell) -> Option<Kind> {
    let of = |kind: &Kind| Kind::ALL.iter().zip(cell.frames).find(|one| one.0 == kind).map_or(0, |one| one.1);
    let damaged = of(&Kind::Damaged) > 0;
    let all = cell.total();
    let rest: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Zero).collect();
    let most = rest.into_iter().max_by_key(of)?;
    match all {
        0 => None,
        _ if damaged => Some(Kind::Damaged),
        _ if of(&most) * 4 >= all => Some(most),
        _ => Some(Kind::Zero),
    }
}

/// What a cell is, in words.
pub fn words(scene: &Scene, cell: &Cell) -> String {
    let parts = Kind::ALL.iter().zip(cell.frames).filter(|kind| kind.1 > 0);
    let parts: Vec<String> = parts.map(|(kind, frames)| format!("{frames} {}", kind.name())).collect();
    let kernel = if scene.is_kernel(cell) { "; kernel image" } else { "" };
    let roots: Vec<String> = scene.roots_in(cell).iter().map(u32::to_string).collect();
    let roots = if roots.is_empty() { String::new() } else { format!("; page tables of vCPU {}", roots.join(", ")) };
    format!("{}: pages: {}{kernel}{roots}", cell.range, parts.join(", "))
}
