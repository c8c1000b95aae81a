//! Page tables of ppc64: radix trees, and which of the two kinds a vCPU uses.
//!
//! Source: the Power ISA 3.0B, book III, chapter "Storage Control": quadrants of the effective address space,
//! "Partition Table", "Process Table", "Radix Tree Translation". All of these tables are big-endian, whatever the guest's byte
//! order. Each directory entry says how many index bits the next directory has; Linux uses 13, 9, 9, 9 with pages of
//! 4 KiB and 13, 9, 9, 5 with pages of 64 KiB.
//!
//! Hashed page tables are walked in [`crate::hashed`].

use guestdump_arch::paging::form::{Entry, Field, Form, Level, Radix, Rights, Root};
use guestdump_arch::paging::mappings::{Bound, Visitor};
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::paging::walk::{Step, WalkError, Walker};
use guestdump_arch::paging::{Hole, Span, Target};
use guestdump_arch::{ArchError, Endian, Paging, PhysAddr, PhysMemory, Space, Spans, Vcpu, VirtAddr, VirtRange};

use crate::MSR_HV;
use crate::hashed::{Hashed, Where};
use crate::registers::{LPCR, MSR, PIDR, PRTBL, PTCR, RADIX_ROOT, RADIX_ROOT_USER, SDR1};

/// MSR.DR: data addresses are translated.
const MSR_DR: u64 = 1 << 4;
/// LPCR.HR: the partition translates by radix trees, not by a hashed page table.
const LPCR_HR: u64 = 1 << 20;
/// Address of a process table or partition table: bits 4 to 51, counted from the left as the ISA counts.
const TABLE: u64 = 0x0fff_ffff_ffff_f000;
/// PATS, PRTS: such a table has `1 << (12 + n)` bytes.
const TABLE_SIZE: u64 = 0x1f;
/// LPCR.UPRT: segments too are in tables, not in the SLB, where translation is hashed.
const LPCR_UPRT: u64 = 1 << 22;
/// V of a directory or page table entry.
const VALID: u64 = 1 << 63;
/// L: the entry maps a page.
const LEAF: u64 = 1 << 62;
/// RPDB of a process table entry, NLB of a directory entry: where the next directory is.
const DIRECTORY: u64 = 0x0fff_ffff_ffff_ff00;
/// RPDS, NLS: how many index bits it has.
const DIRECTORY_BITS: u64 = 0x1f;
/// The least number of them.
const FEWEST_BITS: u8 = 5;
/// RPN of a page table entry.
const PAGE: u64 = 0x01ff_ffff_ffff_f000;
/// Smallest page.
const PAGE_SHIFT: u8 = 12;
/// Bytes of an entry of the process table and of the partition table.
const PAIR: u64 = 16;

/// Width of an effective address below the quadrant. A process table entry may say another (RTS); no processor has one.
const ADDRESS_BITS: u8 = 52;

/// The table of level 0 is one entry, that of the process: no address bit takes part in choosing it. Numbers of the
/// other levels are Linux's with pages of 4 KiB; entries tell the real ones. With the fewest bits there are eight.
const LEVELS: &[Level] = &[
    Level { name: "process table", shift: ADDRESS_BITS, bits: 0 },
    Level { name: "level 1", shift: 39, bits: ROOT_BITS },
    Level { name: "level 2", shift: 30, bits: 9 },
    Level { name: "level 3", shift: 21, bits: 9 },
    Level { name: "level 4", shift: PAGE_SHIFT, bits: 9 },
    Level { name: "level 5", shift: PAGE_SHIFT, bits: FEWEST_BITS },
    Level { name: "level 6", shift: PAGE_SHIFT, bits: FEWEST_BITS },
    Level { name: "level 7", shift: PAGE_SHIFT, bits: FEWEST_BITS },
    Level { name: "level 8", shift: PAGE_SHIFT, bits: FEWEST_BITS },
];

/// Index bits of Linux's root directory (`RADIX_PGD_INDEX_SIZE`), where no process table entry says them.
const ROOT_BITS: u8 = 13;

const FORM: Form = Form {
    name: "ppc64 radix",
    levels: LEVELS,
    entry_bytes: 8,
    endian: Endian::Big,
    address_mask: PAGE,
    features: 0,
    decode,
    rights,
    fields,
};

/// RTS, in two pieces: bits 1:2 and 56:58 of doubleword 0 of a process table entry. The width of addresses less 31.
const fn address_bits(raw: u64) -> u64 {
    31 + ((((raw >> 61) & 3) << 3) | ((raw >> 5) & 7))
}

/// A directory that must translate `shift` address bits down to a page.
fn directory(shift: u8, raw: u64) -> Entry {
    let bits = u8::try_from(raw & DIRECTORY_BITS).unwrap_or(0);
    let below = shift.checked_sub(bits).filter(|below| bits >= FEWEST_BITS && *below >= PAGE_SHIFT);
    match below {
        Some(_) => Entry::Table { at: PhysAddr(raw & DIRECTORY), entries: None, bits: Some(bits) },
        None => Entry::Invalid,
    }
}

fn decode(form: &Form, level: usize, shift: u8, raw: u64) -> Entry {
    match (level, raw & VALID, raw & LEAF) {
        (0, ..) if raw == 0 => Entry::NotPresent,
        (0, ..) if address_bits(raw) != u64::from(ADDRESS_BITS) => Entry::Invalid,
        (0, ..) => directory(shift, raw),
        (_, 0, _) => Entry::NotPresent,
        (_, _, 0) => directory(shift, raw),
        _ => Entry::Leaf { at: PhysAddr(raw & form.address_mask), shift },
    }
}

/// Encoded access authority of a page table entry, bits 60 to 63: privileged, read, read and write, execute.
fn rights(_form: &Form, level: usize, _shift: u8, raw: u64) -> Rights {
    if level == 0 || raw & LEAF == 0 {
        return Rights::ALL;
    }
    Rights::ALL
        .without_if(raw & 0x8 != 0, Rights::USER)
        .without_if(raw & 0x6 == 0, Rights::READ)
        .without_if(raw & 0x2 == 0, Rights::WRITE)
        .without_if(raw & 0x1 == 0, Rights::EXECUTE)
}

const fn fields(_form: &Form, level: usize, _shift: u8, raw: u64) -> &'static [Field] {
    const V: Field = Field::bit("V", 63);
    const L: Field = Field::bit("L", 62);
    const NLS: Field = Field::bits("NLS", 0, 4);
    const PROCESS: &[Field] = &[Field::bits("RTS1", 61, 62), Field::bits("RTS2", 5, 7), Field::bits("RPDS", 0, 4)];
    const PAGE: &[Field] =
        &[V, L, Field::bit("R", 8), Field::bit("C", 7), Field::bits("ATT", 4, 5), Field::bits("EAA", 0, 3)];
    match (level, raw & VALID, raw & LEAF) {
        (0, ..) => PROCESS,
        (_, 0, _) => &[V],
        (_, _, 0) => &[V, L, NLS],
        _ => PAGE,
    }
}

/// The addresses of a quadrant that exist. Quadrants 1 and 2 belong to hypervisors that look into a guest.
fn quadrant(number: u64) -> Option<VirtRange> {
    let first = number << 62;
    VirtRange::new(VirtAddr(first), VirtAddr(first + ((1 << ADDRESS_BITS) - 1)))
}

/// Quadrant 0 is translated for the process in PIDR, quadrant 3 for process 0, the kernel.
fn process_table(prtbl: u64, pid: u64) -> Radix {
    let processes = 1_u64.checked_shl(8 + u32::try_from(prtbl & TABLE_SIZE).unwrap_or(0)).unwrap_or(0);
    let root = |number, pid: u64| {
        let table = PhysAddr((prtbl & TABLE).wrapping_add(pid.wrapping_mul(PAIR)));
        let entries = (pid >= processes).then_some(0..0);
        quadrant(number).map(|virt| Root { virt, table, level: 0, entries, ignored: 0 })
    };
    Radix { form: FORM, roots: [root(0, pid), root(3, 0)].into_iter().flatten().collect() }
}

/// Quadrant 3 from the kernel's root directory, and quadrant 0 from a process's, as Linux has them.
fn root_directories(kernel: u64, process: Option<u64>) -> Radix {
    let root = |number, table: u64| {
        quadrant(number).map(|virt| Root { virt, table: PhysAddr(table), level: 1, entries: None, ignored: 0 })
    };
    let roots = [process.and_then(|table| root(0, table)), root(3, kernel)];
    Radix { form: FORM, roots: roots.into_iter().flatten().collect() }
}

/// A guest that is a hypervisor itself, or runs on bare metal: entry 0 of its partition table has its process table.
#[derive(Debug)]
struct Host {
    ptcr: u64,
    pid: u64,
}

impl Host {
    /// Doubleword 1 of entry 0, or `None` if it lies outside of RAM.
    fn prtbl(&self, memory: &dyn PhysMemory) -> Result<Option<u64>, WalkError> {
        let table = PhysAddr(self.ptcr & TABLE);
        let (mut bytes, form, level) = ([0; 8], FORM.name, "partition table");
        let read = memory.read(PhysAddr(table.0 + 8), &mut bytes);
        let read = read.map_err(|source| WalkError::Entry { form, level, table, index: 0, source })?;
        Ok(read.then(|| FORM.endian.get(&bytes)))
    }
}

impl Spans for Host {
    fn span_at(&self, memory: &dyn PhysMemory, virt: VirtAddr) -> Result<Span, WalkError> {
        let prtbl = self.prtbl(memory)?;
        let radix = process_table(prtbl.unwrap_or(0), self.pid);
        let hole = match prtbl {
            None => Hole::TableAbsent { level: 0, table: PhysAddr(self.ptcr & TABLE) },
            Some(0) => Hole::NotPresent { level: 0, index: 0, raw: 0 },
            Some(_) => return Walker::new(&Paging::Radix(radix), memory).span_at(virt),
        };
        let whole = radix.roots.iter().find(|root| root.virt.contains(virt)).map(|root| root.virt);
        match whole {
            Some(virt) => Ok(Span { virt, target: Target::Hole(hole) }),
            None => Walker::new(&Paging::Radix(radix), memory).span_at(virt),
        }
    }

    fn steps(&self, memory: &dyn PhysMemory, virt: VirtAddr) -> Result<Vec<Step>, WalkError> {
        let prtbl = self.prtbl(memory)?;
        let says = match prtbl {
            None => "the table is not in RAM".to_owned(),
            Some(0) => "not present".to_owned(),
            Some(prtbl) => format!("process table at {}", PhysAddr(prtbl & TABLE)),
        };
        let fields = prtbl.map(|prtbl| ("PRTS", prtbl & TABLE_SIZE)).into_iter().collect();
        let table = PhysAddr(self.ptcr & TABLE);
        let (name, rights) = ("partition table", if prtbl.unwrap_or(0) == 0 { Rights::NONE } else { Rights::ALL });
        let mut steps = vec![Step { name, level: 0, table, index: 0, raw: prtbl, says, fields, rights }];
        if let Some(prtbl) = prtbl.filter(|prtbl| *prtbl != 0) {
            steps.extend(Walker::new(&Paging::Radix(process_table(prtbl, self.pid)), memory).steps(virt)?.0);
        }
        Ok(steps)
    }

    fn visit(&self, survey: &mut Survey, memory: &dyn PhysMemory, visitor: &mut dyn Visitor) -> Result<(), Bound> {
        let (table, quadrants) = (PhysAddr(self.ptcr & TABLE), [quadrant(0), quadrant(3)]);
        match self.prtbl(memory) {
            Ok(Some(0)) => {}
            Ok(Some(prtbl)) => return survey.visit(&Paging::Radix(process_table(prtbl, self.pid)), memory, visitor),
            Ok(None) => quadrants.into_iter().flatten().for_each(|virt| visitor.absent(virt, table, 0)),
            Err(error) => quadrants.into_iter().flatten().for_each(|virt| visitor.unreadable(virt, &error)),
        }
        Ok(())
    }
}

/// By LPCR; where that is not known, of a CPU that knows radix trees nobody gives SDR1.
fn is_hashed(vcpu: &Vcpu) -> bool {
    let get = |reg| vcpu.registers.get(reg);
    get(LPCR).map_or(get(PRTBL).is_none() && get(SDR1).is_some(), |lpcr| lpcr & LPCR_HR == 0)
}

/// A hashed page table, from SDR1 or, of a hypervisor of ISA 3.0, entry 0 of its partition table.
fn hashed(arch: &'static str, vcpu: &Vcpu, hypervisor: bool) -> Result<Paging, ArchError> {
    let get = |reg| vcpu.registers.get(reg);
    if let Some(lpcr) = get(LPCR).filter(|lpcr| lpcr & LPCR_UPRT != 0) {
        let what = format!("segment tables of hashed translation are not walked (LPCR.UPRT in lpcr {lpcr:#x})");
        return Err(ArchError::Unsupported { arch, vcpu: vcpu.id, what });
    }
    let needed_for = "a hashed page table (LPCR.HR is 0)";
    let unknown = |register| ArchError::RegisterUnknown { arch, vcpu: vcpu.id, register, needed_for };
    let partitions = get(PTCR).filter(|_| hypervisor).map(|ptcr| Where::PartitionTable(PhysAddr(ptcr & TABLE)));
    let place = get(SDR1).map(Where::Sdr1).or(partitions);
    let segments = Hashed::segments(&vcpu.registers).ok_or(unknown("slb0"))?;
    Ok(Paging::Custom(Box::new(Hashed::new(segments, place.ok_or(unknown("sdr1"))?))))
}

/// How a vCPU translates addresses. In real mode addresses are physical; that the CPU then ignores the upper four bits
/// is not modelled.
///
/// # Errors
/// [`ArchError::RegisterUnknown`] if MSR is not known or nothing says where the tables are: that is so for every
/// pseries guest whose source does not give `prtbl` or `radix_root`, and for hashed page tables, which need the SLB and
/// `sdr1`. [`ArchError::Unsupported`] of hashed translation with segment tables.
pub fn paging(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    let unknown = |register, needed_for| ArchError::RegisterUnknown { arch, vcpu: vcpu.id, register, needed_for };
    let get = |reg| vcpu.registers.get(reg);
    let need = |reg, register| get(reg).ok_or(unknown(register, "address translation"));
    let msr = need(MSR, "msr")?;
    if msr & MSR_DR == 0 {
        return Ok(Paging::Off);
    }
    if let Some(root) = get(RADIX_ROOT) {
        return Ok(Paging::Radix(root_directories(root, get(RADIX_ROOT_USER))));
    }
    if is_hashed(vcpu) {
        return hashed(arch, vcpu, msr & MSR_HV != 0);
    }
    if let Some(prtbl) = get(PRTBL) {
        return Ok(Paging::Radix(process_table(prtbl, need(PIDR, "pidr")?)));
    }
    need(LPCR, "lpcr")?;
    // Without MSR.HV a hypervisor, here or below, keeps the process table's address to itself.
    if msr & MSR_HV == 0 {
        return Err(unknown("prtbl", "address translation under a hypervisor"));
    }
    Ok(Paging::Custom(Box::new(Host { ptcr: need(PTCR, "ptcr")?, pid: need(PIDR, "pidr")? })))
}

/// The space that the vCPU is in; and the kernel's, where it is in real mode or the process is not known.
pub fn spaces(arch: &'static str, vcpu: &Vcpu) -> Vec<Space> {
    let mut spaces = vec![Space { name: "current", kernel: false, paging: paging(arch, vcpu) }];
    let translates = spaces.iter().any(|space| space.paging.as_ref().is_ok_and(Paging::is_on));
    if let (false, Ok(paging)) = (translates, kernel(arch, vcpu))
        && paging.is_on()
    {
        // The segments of the SLB are the kernel's and the process's.
        spaces.push(Space { name: "kernel", kernel: paging.radix().is_some(), paging: Ok(paging) });
    }
    spaces
}

/// How the kernel's addresses, quadrant 3, are translated whatever the vCPU runs: with the process table that needs no PIDR,
/// which QEMU 7.2 does not tell. Of a hashed table the SLB counts in real mode too, in which each interrupt starts: it is as the
/// kernel has left it. Firmware has no valid entries.
///
/// # Errors
/// As [`paging`], where the process table is not known.
pub fn kernel(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    let get = |reg| vcpu.registers.get(reg);
    let is_empty = || Hashed::segments(&vcpu.registers).is_some_and(|segments| segments.is_empty());
    if let Some(msr) = get(MSR).filter(|_| get(RADIX_ROOT).is_none() && is_hashed(vcpu) && !is_empty()) {
        return hashed(arch, vcpu, msr & MSR_HV != 0);
    }
    match get(PRTBL).filter(|prtbl| *prtbl != 0 && !is_hashed(vcpu)) {
        Some(prtbl) => {
            let Radix { form, mut roots } = process_table(prtbl, 0);
            roots.retain(|root| root.virt.first().0 >> 62 == 3);
            Ok(Paging::Radix(Radix { form, roots }))
        }
        None => match paging(arch, vcpu)? {
            Paging::Off => behind_real_mode(arch, vcpu),
            on => Ok(on),
        },
    }
}

/// How a vCPU in real mode, of which neither tree nor table is known, translates the kernel's addresses otherwise: not at all, if
/// the registers that could say so are known.
fn behind_real_mode(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    let lacks = |reg| vcpu.registers.get(reg).is_none();
    let is_guest = vcpu.registers.get(MSR).is_some_and(|msr| msr & MSR_HV == 0);
    let needed_for = "translation of the kernel's addresses";
    let unknown = |register| Err(ArchError::RegisterUnknown { arch, vcpu: vcpu.id, register, needed_for });
    match lacks(RADIX_ROOT) {
        true if lacks(LPCR) => unknown("lpcr"),
        true if is_guest && lacks(PRTBL) => unknown("prtbl"),
        _ => Ok(Paging::Off),
    }
}
