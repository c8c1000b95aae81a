//! The virtual addresses of a dump's memory, as the page tables of all vCPUs say: the plan of `--paging`.
//!
//! What is planned here is a list of loads: one for each run of mapped memory, and one for each run that nothing maps, so
//! that no page is lost. How tables are read is the business of the architectures; what a guest wrote into them decides
//! neither how long this takes nor how much it holds.

mod home;
mod pieces;

use core::ops::ControlFlow;

use guestdump_arch::paging::mappings::{Bound, Limits, Mapping, Shared, Visitor};
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::paging::walk::WalkError;
use guestdump_arch::{ArchError, Class, PhysAddr, PhysMemory, PhysRange, Space, Vcpu, VirtAddr, VirtRange};

use super::PlanError;
use super::segments::{self, Load};
use crate::guest::Guest;
use crate::kernel;
use pieces::{Full, Pieces};

/// PT_LOADs that a dump has at most, where the user says nothing: 56 MiB of program headers.
pub const MAX_SEGMENTS: u32 = 1 << 20;

/// What is wanted of a dump with virtual addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// PT_LOADs that it has at most.
    pub max_segments: u32,
    /// Whose memory an address has that vCPUs have other memory at; the first vCPU's, where it is `None`.
    pub vcpu: Option<u32>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { max_segments: MAX_SEGMENTS, vcpu: None }
    }
}

/// A table that tables lead to at more addresses than this is described for so many. Linux has some with thousands: the
/// 65,536 aliases of one page for espfix (x86_64), the shadow of memory without objects (KASAN). Tables that lead to
/// themselves have more than anybody can write down.
pub const ADDRESSES: u32 = 16;

/// What bounded the description of the tables. All memory is in the dump all the same.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// The vCPU whose tables were gone through.
    pub vcpu: u32,
    /// The address space.
    pub space: &'static str,
    /// What there was too much of, and where.
    pub bound: Bound,
}

impl core::fmt::Display for Stopped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "vCPU {}, {} space: {}", self.vcpu, self.space, self.bound)
    }
}

/// Something that was found at several places: how often, and the first of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted<T> {
    /// How often.
    pub count: u64,
    /// The first.
    pub first: Option<T>,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self { count: 0, first: None }
    }
}

impl<T> Counted<T> {
    fn add(&mut self, first: impl FnOnce() -> T) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(first);
    }
}

/// Memory that is not found by its virtual address, because an earlier space has other memory there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hidden {
    /// The vCPU that has it there.
    pub vcpu: u32,
    /// The address space.
    pub space: &'static str,
    /// The address.
    pub virt: VirtAddr,
    /// What it has there.
    pub phys: PhysAddr,
    /// What the dump has there.
    pub kept: PhysAddr,
}

/// What tables say of a dump's memory.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// Number of loads whose addresses are from tables. The others are memory that nothing maps.
    pub mappings: usize,
    /// Number of loads that tables say nothing of.
    pub rest: usize,
    /// Bytes of the dump's memory that something maps.
    pub mapped_bytes: u64,
    /// Bytes that nothing maps.
    pub unmapped_bytes: u64,
    /// Bytes of virtual addresses that lead to devices or to nothing. They are left out.
    pub outside_bytes: u64,
    /// Bytes of virtual addresses that lead to memory that this dump leaves out.
    pub left_out_bytes: u64,
    /// Bytes of virtual addresses that have other memory of an earlier space.
    pub hidden_bytes: u64,
    /// The runs of them.
    pub hidden: Counted<Hidden>,
    /// Tables at further addresses, which are not described.
    pub shared: Counted<Shared>,
    /// Tables that are not in RAM: the addresses that they would translate.
    pub absent: Counted<(VirtRange, PhysAddr)>,
    /// Tables that could not be read: why.
    pub unreadable: Counted<String>,
    /// What ended it early.
    pub stopped: Option<Stopped>,
    /// Address spaces that were gone through.
    pub spaces: usize,
    /// Entries of tables that were read.
    pub entries_read: u64,
    /// vCPUs that do not tell their tables: of these the kernel's own addresses are described, and no process's.
    pub untold: usize,
    /// Tables that were remembered, of [`Limits::KEY_BYTES`] each.
    pub tables_held: usize,
}

impl Mapped {
    /// Whether virtual addresses are missing that the dump should have.
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        self.stopped.is_some() || self.unreadable.count > 0
    }
}

/// The loads of `ranges` (ascending, disjoint), as many as are `wanted`, and what is to be said about it.
/// `plain` are those of a dump without virtual addresses: they are taken where no vCPU translates.
///
/// Each virtual address is in one of them, as readers need it ([`pieces`]). Where spaces have other memory at one address, it is
/// the kernel's, else that of the wanted vCPU, else that of the first which has any.
///
/// # Errors
/// [`PlanError::Arch`] for a vCPU whose translation is not known, [`PlanError::NoVcpus`], [`PlanError::NoVcpu`],
/// [`PlanError::FewSegments`] if not even the memory fits.
pub fn loads(
    guest: &Guest,
    ranges: &[PhysRange],
    plain: Vec<Load>,
    class: Class,
    wanted: Wanted,
) -> Result<(Vec<Load>, Mapped), PlanError> {
    let most = usize::try_from(wanted.max_segments).unwrap_or(usize::MAX);
    // Each mapping may leave one more run of memory that nothing maps.
    let few = PlanError::FewSegments { wanted: wanted.max_segments, ranges: plain.len() };
    let room = most.checked_sub(plain.len()).ok_or(few)? / 2;
    let (spaces, untold) = spaces(guest, wanted.vcpu)?;
    let (pieces, mapped) = (Pieces::new(ranges, room), Mapped { untold, ..Mapped::default() });
    let mut collector = Collector { guest, ranges, pieces, mapped, place: (0, "") };
    if spaces.iter().all(|(_, space)| space.paging.as_ref().is_ok_and(|paging| !paging.is_on())) {
        let mapped_bytes = plain.iter().map(|load| load.phys.len()).sum();
        return Ok((plain, Mapped { mapped_bytes, ..collector.mapped }));
    }
    collector.survey(&spaces, guest.memory.as_ref());
    let Collector { pieces, mut mapped, .. } = collector;
    let mut loads = pieces.finish();
    let rest = home::unmapped(ranges, &loads);
    let bytes = |ranges: &[PhysRange]| ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.len()));
    mapped.unmapped_bytes = bytes(&rest);
    mapped.mapped_bytes = bytes(ranges).saturating_sub(mapped.unmapped_bytes);
    mapped.mappings = loads.len();
    loads.extend(home::place(&rest, &loads, class));
    mapped.rest = loads.len() - mapped.mappings;
    order(&mut loads);
    Ok((segments::split_only(loads), mapped))
}

/// The order of loads in the file: by physical address, as readers of memory expect it; crash 8.0.2 and makedumpfile 1.7.2 open
/// such a file.
fn order(loads: &mut [Load]) {
    loads.sort_unstable_by_key(|load| (load.phys.start(), load.virt));
}

/// Address spaces and the vCPUs that they belong to.
type Spaces<'a> = Vec<(&'a Vcpu, Space)>;

/// Every known space of every vCPU, and the kernel's that no vCPU need have, in the order in which they have addresses: the
/// kernel's, then those of vCPU `first`. And the number of vCPUs that tell none.
fn spaces(guest: &Guest, first: Option<u32>) -> Result<(Spaces<'_>, usize), PlanError> {
    if guest.vcpus.is_empty() {
        return Err(PlanError::NoVcpus);
    }
    if let Some(vcpu) = first.filter(|first| guest.vcpus.iter().all(|vcpu| vcpu.id != *first)) {
        return Err(PlanError::NoVcpu { vcpu, vcpus: guest.vcpus.len() });
    }
    let mut all = Vec::new();
    let mut untold: (usize, Option<ArchError>) = (0, None);
    for vcpu in &guest.vcpus {
        let mut refused: Option<ArchError> = None;
        let before = all.len();
        for space in guest.arch.spaces(vcpu) {
            match space.paging {
                Ok(_) => all.push((vcpu, space)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(error) = refused.filter(|_| all.len() == before) {
            untold = (untold.0 + 1, untold.1.or(Some(error)));
        }
    }
    let own = kernel::tables(guest);
    if let (None, Some(error)) = (&own, untold.1) {
        return Err(error.into());
    }
    all.extend(own.map(|(vcpu, paging)| (vcpu, Space { name: kernel::OWN_SPACE, kernel: true, paging: Ok(paging) })));
    all.sort_by_key(|(vcpu, space)| (!space.kernel, first != Some(vcpu.id)));
    Ok((all, untold.0))
}

/// Takes what a survey tells.
struct Collector<'a> {
    guest: &'a Guest,
    ranges: &'a [PhysRange],
    pieces: Pieces<'a>,
    mapped: Mapped,
    /// The vCPU and the space whose tables are gone through.
    place: (u32, &'static str),
}

impl Collector<'_> {
    fn survey(&mut self, spaces: &[(&Vcpu, Space)], memory: &dyn PhysMemory) {
        let mut survey = Survey::new(Limits { addresses: ADDRESSES, ..Limits::default() });
        for (vcpu, space) in spaces {
            let Ok(paging) = &space.paging else { continue };
            self.place = (vcpu.id, space.name);
            if let Err(bound) = survey.visit(paging, memory, self) {
                self.mapped.stopped = Some(Stopped { vcpu: vcpu.id, space: space.name, bound });
                break;
            }
            self.mapped.spaces += usize::from(paging.is_on());
        }
        self.mapped.entries_read = survey.entries_read();
        self.mapped.tables_held = survey.tables_held();
    }

    /// Takes a part of a mapping, which lies in one range.
    fn push(&mut self, load: Load) -> Result<(), Full> {
        let (mapped, (vcpu, space)) = (&mut self.mapped, self.place);
        self.pieces.push(load, |pieces::Hidden { part, kept }| {
            let (virt, phys) = (VirtAddr(part.virt), part.phys.start());
            mapped.hidden_bytes = mapped.hidden_bytes.saturating_add(part.phys.len());
            mapped.hidden.add(|| Hidden { vcpu, space, virt, phys, kept });
        })
    }

    /// Counts addresses that lead to nothing in the dump.
    fn outside(&mut self, range: PhysRange) {
        let blocks = &self.guest.blocks;
        let from = blocks.partition_point(|block| block.range.end() <= range.start());
        let here = blocks.iter().skip(from).take_while(|block| block.range.start() < range.end());
        let known: u64 = here.map(|block| block.range.intersect(range).len()).sum();
        self.mapped.left_out_bytes = self.mapped.left_out_bytes.saturating_add(known);
        self.mapped.outside_bytes = self.mapped.outside_bytes.saturating_add(range.len() - known);
    }
}

impl Visitor for Collector<'_> {
    /// Splits at the borders of ranges, and leaves out what lies in none.
    fn mapping(&mut self, mapping: Mapping) -> ControlFlow<()> {
        let Mapping { virt, phys, .. } = mapping;
        let last = phys.0.saturating_add(virt.len_minus_one());
        let whole = PhysRange::between(phys, PhysAddr(last.saturating_add(1)));
        let mut at = phys;
        let from = self.ranges.partition_point(|range| range.end() <= phys);
        for range in self.ranges.iter().skip(from).take_while(|range| range.start() < whole.end()) {
            let part = range.intersect(whole);
            self.outside(PhysRange::between(at, part.start()));
            let virt = virt.first().0.wrapping_add(part.start().0 - phys.0);
            if self.push(Load { virt, phys: part }) == Err(Full) {
                return ControlFlow::Break(());
            }
            at = part.end();
        }
        self.outside(PhysRange::between(at, whole.end()));
        ControlFlow::Continue(())
    }

    fn shared(&mut self, shared: Shared) {
        self.mapped.shared.add(|| shared);
    }

    fn absent(&mut self, virt: VirtRange, table: PhysAddr, _level: u8) {
        self.mapped.absent.add(|| (virt, table));
    }

    fn unreadable(&mut self, _virt: VirtRange, error: &WalkError) {
        self.mapped.unreadable.add(|| error.to_string());
    }
}
