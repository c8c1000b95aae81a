//! What can be learned from a guest's own kernel: where its VMCOREINFO is, its utsname, its linear map, its log.
//!
//! Everything here reads guest memory that may be hostile: results are checked, sizes are bounded, and failing to find
//! something is no error.

pub mod dmesg;
mod memory;

use guestdump_arch::paging::Target;
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{
    Endian, KernelFacts, LinearMap, LinuxLayout, Paging, PhysAddr, PhysMemory, Presence, Registers, Space, Vcpu,
    VirtAddr,
};
use memchr::memmem;
use rayon::prelude::*;

use crate::block::{Block, BlockKind};
use crate::guest::Guest;
use crate::vmcoreinfo::{MAX_LEN, Origin, Vmcoreinfo};

pub use memory::{KernelMemory, Unmapped};

/// Bytes of RAM that a search reads at once.
const PIECE: u64 = 4 << 20;
/// Pieces overlap by this much, so that nothing that is searched for is cut.
const OVERLAP: u64 = 4096;
/// The first key of the text (linux `kernel/crash_core.c` writes OSRELEASE first).
const FIRST_KEY: &[u8] = b"OSRELEASE=";
/// The note's padded name and the first key of its text.
const NOTE: &[u8] = b"VMCOREINFO\0\0OSRELEASE=";
/// A kernel's buffer for the text is a page (`VMCOREINFO_BYTES`).
const TEXT_MAX: usize = 4096;
/// `namesz`, `descsz`, `type`.
const NOTE_HEADER: usize = 12;
/// Start of `linux_banner`.
const BANNER: &[u8] = b"Linux version ";
const BANNER_MAX: usize = 512;
/// More findings than this are not kept: memory full of forged notes costs time, not space.
const MAX_FOUND: usize = 64;

/// What a search of RAM found.
#[derive(Debug, Default)]
pub struct Found {
    /// VMCOREINFO notes, by address.
    pub notes: Vec<Vmcoreinfo>,
    /// Texts that read like that of such a note, by address. Some kernels (2.6.38) make the note when they crash; until then
    /// there is only its text (observed: 2.6.38).
    pub texts: Vec<Vmcoreinfo>,
    /// Texts that start like a kernel's banner, by address.
    pub banners: Vec<String>,
}

/// Searches all RAM for VMCOREINFO notes and kernel banners. Memory that was never touched is not read.
#[must_use]
pub fn search(guest: &Guest) -> Found {
    let memory = guest.memory.as_ref();
    let ram = guest.blocks.iter().filter(|block| block.kind == BlockKind::Ram);
    let pieces: Vec<(u64, u64)> = ram.flat_map(|block| pieces(memory, block)).collect();
    let found: Vec<Found> = pieces
        .par_iter()
        .map_init(Vec::new, |buf, &(start, len)| search_piece(guest, memory, buf, start, len))
        .collect();
    let mut all = Found::default();
    for piece in found {
        keep(&mut all.notes, piece.notes);
        keep(&mut all.texts, piece.texts);
        keep(&mut all.banners, piece.banners);
    }
    all
}

fn keep<T>(all: &mut Vec<T>, more: Vec<T>) {
    all.extend(more.into_iter().take(MAX_FOUND - all.len().min(MAX_FOUND)));
}

/// The pieces of a block that may hold something. Where nothing was ever stored there is nothing to be found, and such
/// holes can be far larger than what can be listed.
fn pieces(memory: &dyn PhysMemory, block: &Block) -> impl Iterator<Item = (u64, u64)> {
    let (mut at, end) = (block.range.start().0, block.range.end().0);
    core::iter::from_fn(move || {
        while at < end {
            let extent = memory.extent(PhysAddr(at), end - at);
            let blank = if extent.presence == Presence::Data { 0 } else { extent.len_bytes.min(end - at) };
            if blank < PIECE.min(end - at) {
                let piece = (at, (end - at).min(PIECE + OVERLAP));
                at = at.saturating_add(PIECE);
                return Some(piece);
            }
            at = at.saturating_add(if blank < end - at { blank / PIECE * PIECE } else { blank });
        }
        None
    })
}

fn search_piece(guest: &Guest, memory: &dyn PhysMemory, buf: &mut Vec<u8>, start: u64, len: u64) -> Found {
    let untouched = memory.extent(PhysAddr(start), len);
    if untouched.presence != Presence::Data && untouched.len_bytes >= len {
        return Found::default();
    }
    buf.resize(usize::try_from(len).unwrap_or(0), 0);
    if !memory.read(PhysAddr(start), buf).unwrap_or(false) {
        read_pages(memory, start, buf);
    }
    let mut found = Found::default();
    for at in memmem::find_iter(buf, FIRST_KEY).take(MAX_FOUND) {
        let header = at.checked_sub(NOTE.len() - FIRST_KEY.len() + NOTE_HEADER);
        let header = header.map(|header| header as u64).filter(|header| *header < PIECE);
        match header.and_then(|header| note_at(memory, guest.endian, PhysAddr(start + header), Origin::Search)) {
            Some(note) => found.notes.push(note),
            None => found.texts.extend(
                text(buf.get(at..).unwrap_or_default())
                    .filter(|_| (at as u64) < PIECE)
                    .map(|text| Vmcoreinfo::new(text.to_vec(), Origin::Search(PhysAddr(start + at as u64)))),
            ),
        }
    }
    let banners = memmem::find_iter(buf, BANNER).take(MAX_FOUND).filter_map(|at| banner(buf.get(at..)?));
    found.banners.extend(banners);
    found
}

/// The text up to its end, if it is one: lines of `key=value`, a page size and symbols among them.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.get(..TEXT_MAX.min(bytes.len()))?;
    let text = bytes.get(..bytes.iter().position(|byte| *byte == 0)?)?;
    let lines = text.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
    let is_line = |line: &[u8]| line.contains(&b'=') && line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let has = |key: &[u8]| lines.clone().any(|line| line.starts_with(key));
    (lines.clone().all(is_line) && has(b"PAGESIZE=") && has(b"SYMBOL(")).then_some(text)
}

/// Reads what there is of a piece of which not all can be read; the rest is zero.
fn read_pages(memory: &dyn PhysMemory, start: u64, buf: &mut [u8]) {
    for (page, at) in buf.chunks_mut(4096).zip((start..).step_by(4096)) {
        if !memory.read(PhysAddr(at), page).unwrap_or(false) {
            page.fill(0);
        }
    }
}

/// The VMCOREINFO note whose header is at `at`, if there is one.
fn note_at(
    memory: &dyn PhysMemory,
    endian: Option<Endian>,
    at: PhysAddr,
    origin: fn(PhysAddr) -> Origin,
) -> Option<Vmcoreinfo> {
    let mut head = [0; NOTE_HEADER + NOTE.len()];
    memory.read(at, &mut head).ok().filter(|whole| *whole)?;
    if head.get(NOTE_HEADER..)? != NOTE {
        return None;
    }
    let orders = [Endian::Little, Endian::Big].into_iter().filter(|order| endian.is_none_or(|endian| endian == *order));
    for order in orders {
        let word = |i: usize| head.get(4 * i..4 * i + 4).map(|bytes| order.get(bytes));
        let len = usize::try_from(word(1)?).ok().filter(|len| (10..=MAX_LEN).contains(len));
        if let (Some(11), Some(len), Some(0)) = (word(0), len, word(2)) {
            let mut text = vec![0; len];
            let desc = at.checked_add((NOTE_HEADER + 12) as u64)?;
            memory.read(desc, &mut text).ok().filter(|whole| *whole)?;
            return Some(Vmcoreinfo::new(text, origin(at)));
        }
    }
    None
}

/// A banner's text up to its end, if it reads like one.
fn banner(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..BANNER_MAX.min(bytes.len()))?;
    let end = bytes.iter().position(|byte| *byte == b'\n' || *byte == 0)?;
    let text = core::str::from_utf8(bytes.get(..end)?).ok()?;
    (text.contains(" (") && text.contains(" #")).then(|| text.to_owned())
}

/// Finds the kernel's VMCOREINFO where the source did not hand it over: first where the architecture keeps a pointer to
/// it, then by searching RAM. Says what it found in the guest's remarks.
pub fn find_vmcoreinfo(guest: &mut Guest) {
    if guest.vmcoreinfo.is_some() {
        return;
    }
    if let Some(note) = pointed_to(guest) {
        guest.vmcoreinfo = Some(note);
        return;
    }
    let found = search(guest);
    let (what, all) = if found.notes.is_empty() {
        ("texts like a VMCOREINFO note's", found.texts)
    } else {
        ("VMCOREINFO notes", found.notes)
    };
    let several = all.len();
    // A kernel that was kexec'ed leaves the note of the one before it behind: take the one whose utsname is in memory.
    let confirmed = all.iter().position(|note| read_utsname(guest, note).is_some());
    guest.vmcoreinfo = all.into_iter().nth(confirmed.unwrap_or(0));
    if several > 1 {
        guest.remarks.push(format!("{several} {what} in RAM; took number {}", confirmed.unwrap_or(0) + 1));
    }
    if guest.vmcoreinfo.is_none() {
        guest.remarks.push("no VMCOREINFO note in RAM".to_owned());
        if let Some(banner) = found.banners.first() {
            guest.remarks.push(format!("kernel banner in RAM: {banner}"));
            guest.banner = Some(banner.clone());
        }
    }
}

fn pointed_to(guest: &Guest) -> Option<Vmcoreinfo> {
    let at = guest.arch.linux()?.vmcoreinfo_at(guest.memory.as_ref()).ok()??;
    note_at(guest.memory.as_ref(), guest.endian, at, Origin::Pointer)
}

/// Bytes of one field of `struct new_utsname` (linux `include/uapi/linux/utsname.h`, `__NEW_UTS_LEN + 1`).
pub const UTS_FIELD: usize = 65;
/// Its fields, in order.
pub const UTS_FIELDS: [&str; 6] = ["sysname", "nodename", "release", "version", "machine", "domainname"];

/// Where a utsname comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UtsOrigin {
    /// `init_uts_ns` in guest memory.
    Memory,
    /// OSRELEASE of VMCOREINFO; fields that it does not say are filled as far as readers insist.
    Vmcoreinfo,
    /// The kernel's banner, found in RAM.
    Banner,
    /// Nothing is known: all fields but the machine are empty.
    Unknown,
}

/// What the kernel calls itself: six texts of at most 64 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Utsname {
    /// sysname, nodename, release, version, machine, domainname.
    pub fields: [Vec<u8>; 6],
    /// How it is known.
    pub origin: UtsOrigin,
}

impl Utsname {
    fn of(release: &str, version: &str, machine: &str, origin: UtsOrigin) -> Self {
        let sysname = if release.is_empty() { "" } else { "Linux" };
        let field = |text: &str| text.bytes().take(UTS_FIELD - 1).collect::<Vec<u8>>();
        let fields = [field(sysname), Vec::new(), field(release), field(version), field(machine), Vec::new()];
        Self { fields, origin }
    }

    /// A field as text.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        let index = UTS_FIELDS.iter().position(|field| *field == name);
        let bytes = index.and_then(|index| self.fields.get(index)).map(Vec::as_slice);
        String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
    }
}

/// The guest kernel's utsname: from its memory where VMCOREINFO says where, else from what VMCOREINFO or a banner say.
///
/// libkdumpfile and drgn insist on sysname "Linux" and on a release, a version and a machine that are not empty; where
/// the release is known but the version is not, the version says so.
#[must_use]
pub fn utsname(guest: &Guest, machine: &str) -> Utsname {
    if let Some(info) = &guest.vmcoreinfo {
        if let Some(read) = read_utsname(guest, info) {
            return read;
        }
        if let Some(release) = info.text("OSRELEASE") {
            return Utsname::of(release, "(version unknown)", machine, UtsOrigin::Vmcoreinfo);
        }
    }
    let banner = guest.banner.as_deref().and_then(|text| text.strip_prefix("Linux version "));
    if let Some((release, rest)) = banner.and_then(|text| text.split_once(' ')) {
        let version = rest.find(" #").and_then(|at| rest.get(at + 1..)).unwrap_or("(version unknown)");
        return Utsname::of(release, version, machine, UtsOrigin::Banner);
    }
    Utsname::of("", "", machine, UtsOrigin::Unknown)
}

/// `init_uts_ns.name`, if it is there and belongs to the kernel that `info` describes.
fn read_utsname(guest: &Guest, info: &Vmcoreinfo) -> Option<Utsname> {
    let offset = info.offset("uts_namespace.name")?;
    let at = info.symbol("init_uts_ns")?.checked_add(offset)?;
    let mut bytes = [0; UTS_FIELD * UTS_FIELDS.len()];
    read_kernel(guest, info, at, &mut bytes)?;
    let mut fields: [Vec<u8>; 6] = Default::default();
    for (field, raw) in fields.iter_mut().zip(bytes.chunks(UTS_FIELD)) {
        let end = raw.iter().position(|byte| *byte == 0)?;
        *field = raw.get(..end)?.to_vec();
    }
    let [sysname, _, release, version, machine, _] = &fields;
    let right = sysname == b"Linux" && info.text("OSRELEASE").is_some_and(|known| known.as_bytes() == release);
    (right && !version.is_empty() && !machine.is_empty())
        .then_some(Utsname { fields: fields.clone(), origin: UtsOrigin::Memory })
}

/// Reads kernel-virtual memory, page by page: by arithmetic inside the image, else through the tables of a vCPU.
fn read_kernel(guest: &Guest, info: &Vmcoreinfo, at: VirtAddr, buf: &mut [u8]) -> Option<()> {
    KernelMemory::new(guest, info).read(at, buf).ok()
}

fn kernel_phys(guest: &Guest, info: &Vmcoreinfo, virt: VirtAddr) -> Option<PhysAddr> {
    let by_image = guest.arch.linux().and_then(|linux| linux.image_phys(info, virt));
    by_image.or_else(|| translate(guest, virt).map(|map| map.phys))
}

/// No image is larger, and its parts are not farther apart.
const IMAGE_MAX: u64 = 256 << 20;

/// Where the kernel's image is in physical memory, as far as VMCOREINFO's symbols reach: the lowest and the highest of those
/// that lie where `_stext` says they should.
#[must_use]
pub fn image(guest: &Guest) -> Option<guestdump_arch::PhysRange> {
    let info = guest.vmcoreinfo.as_ref()?;
    let text = info.symbol("_stext")?;
    let start = kernel_phys(guest, info, text)?;
    let lines = core::str::from_utf8(info.bytes()).ok()?.lines();
    let names = lines.filter_map(|line| line.strip_prefix("SYMBOL(")?.split_once(")=").map(|parts| parts.0));
    let near = |virt: VirtAddr| virt.0.checked_sub(text.0).filter(|distance| *distance < IMAGE_MAX);
    let linear = |distance: &u64| {
        let virt = text.checked_add(*distance)?;
        (kernel_phys(guest, info, virt)?.0 == start.0.checked_add(*distance)?).then_some(())
    };
    let distances = names.filter_map(|name| near(info.symbol(name)?));
    let end = distances.filter(|distance| linear(distance).is_some()).max()?;
    guestdump_arch::PhysRange::new(start, end.checked_next_multiple_of(4096)?.max(4096))
}

/// The kernel's own translation as VMCOREINFO tells it, where no vCPU has to be asked: of the architectures whose
/// [`LinuxLayout::registers`] know it.
#[must_use]
pub fn own_paging(guest: &Guest) -> Option<Paging> {
    let arch = guest.arch_of_dump();
    let known = arch.linux()?.registers(guest.vmcoreinfo.as_ref()?)?;
    let mut registers = Registers::unknown(arch.registers());
    known.into_iter().for_each(|(reg, value)| registers.set(reg, value));
    arch.paging(&Vcpu { id: 0, registers }).ok().filter(Paging::is_on)
}

/// Name of the address space that [`own_paging`] and [`tables`] are.
pub const OWN_SPACE: &str = "kernel";

/// The address spaces of a vCPU, the kernel's own among them if it is known. It is the first one where the vCPU's
/// registers do not tell which it is in.
#[must_use]
pub fn spaces(guest: &Guest, vcpu: &Vcpu) -> Vec<Space> {
    let mut spaces = guest.arch.spaces(vcpu);
    let own = tables(guest).map(|(_, paging)| paging).or_else(|| own_paging(guest));
    if let Some(paging) = own {
        let known = spaces.iter().any(|space| space.paging.is_ok());
        spaces
            .insert(if known { spaces.len() } else { 0 }, Space { name: OWN_SPACE, kernel: true, paging: Ok(paging) });
    }
    spaces
}

/// What the tables of the first vCPU that maps `virt` say about it, else the kernel's own.
fn translate(guest: &Guest, virt: VirtAddr) -> Option<LinearMap> {
    let through = |paging: &Paging| {
        let span = Walker::new(paging, guest.memory.as_ref()).span_at(virt).ok()?;
        let Target::Phys(_) = span.target else { return None };
        let len_bytes = (span.virt.last().0 - virt.0).checked_add(1)?;
        Some(LinearMap { virt, phys: span.phys(virt)?, len_bytes })
    };
    let known = guest.vcpus.iter().filter_map(|vcpu| guest.arch.kernel_paging(vcpu).ok());
    known.filter(Paging::is_on).find_map(|paging| through(&paging)).or_else(|| through(&own_paging(guest)?))
}

/// The kernel's own tables, which a vCPU in user mode need not have (page-table isolation), and a vCPU that they are shown
/// for: by the place of `swapper_pg_dir`, if they map that place itself, and the vCPU's other registers; else as [`own_paging`].
#[must_use]
pub fn tables(guest: &Guest) -> Option<(&Vcpu, Paging)> {
    by_registers(guest).or_else(|| Some((guest.vcpus.first()?, own_paging(guest)?)))
}

fn by_registers(guest: &Guest) -> Option<(&Vcpu, Paging)> {
    let info = guest.vmcoreinfo.as_ref()?;
    let virt = info.symbol("swapper_pg_dir")?;
    let root = kernel_phys(guest, info, virt)?;
    guest.vcpus.iter().find_map(|vcpu| {
        let paging = guest.arch.kernel_tables(vcpu, root)?;
        let found = Walker::new(&paging, guest.memory.as_ref()).translate(virt).ok()?;
        (found == Some(root)).then_some((vcpu, paging))
    })
}

/// The part of the kernel's linear map that this architecture's readers need as `p_vaddr`.
#[must_use]
pub fn linear_map(guest: &Guest) -> Option<LinearMap> {
    let linux: &dyn LinuxLayout = guest.arch_of_dump().linux()?;
    linux.linear_map(guest.vmcoreinfo.as_ref()?, &mut |virt| translate(guest, virt))
}
