//! Page tables of AArch64: stage 1 of the EL1&0 translation regime, and of EL2 for a kernel that runs there.
//!
//! Source: Arm ARM (DDI 0487), chapter D8: D8.2 "Translation process" (granules, initial lookup level, size and
//! alignment of the first table, TTBR selection) and D8.3 "Translation table descriptor formats"; D24.2 for the fields of
//! TCR_ELx and SCTLR_ELx.
//!
//! - Two halves: TTBR0 translates from 0 up, TTBR1 up to the top, each with a granule and a size of its own (TG, TxSZ)
//!   and a switch (EPD). Addresses between them have no root.
//! - With TBI, bits 63:56 of an address are a tag, which translation ignores; mappings are told without.
//! - What a translation would fault on for lack of rights (access flag, permissions, E0PD, PAN) is mapped all the same.
//! - EL1 in AArch32 state keeps tables of another format, which are refused. EL0 may be in either state.

use guestdump_arch::paging::form::{Entry, Field, Form, Level, Radix, Rights, Root};
use guestdump_arch::{ArchError, Endian, Paging, PhysAddr, Reg, Registers, Vcpu, VirtAddr, VirtRange};

use crate::registers::{
    CPSR, HCR_EL2, REGISTERS, SCTLR_EL1, SCTLR_EL2, TCR_EL1, TCR_EL2, TTBR0_EL1, TTBR0_EL2, TTBR1_EL1, TTBR1_EL2,
};

/// SCTLR_ELx.M.
const SCTLR_M: u64 = 1;
/// SCTLR_ELx.EE: byte order of data at ELx and of the tables of its regime.
const SCTLR_EE: u64 = 1 << 25;
/// TCR_ELx.DS: 52-bit addresses with the 4 KiB and 16 KiB granules (LPA2).
const TCR_DS: u64 = 1 << 59;
/// TCR_ELx.IPS for addresses of 52 bits.
const IPS_52: u64 = 6;
/// TCR_ELx.TBI0: the top byte of an address below is ignored; TBI1 follows.
const TCR_TBI0: u64 = 1 << 37;
/// TCR_ELx.HPD0: attributes in table descriptors of the low half do not count; HPD1 follows.
const TCR_HPD0: u64 = 1 << 41;
/// HCR_EL2.E2H: EL2 has two halves like EL1 (VHE).
const HCR_E2H: u64 = 1 << 34;
/// HCR_EL2.TGE: with E2H, EL0 uses the tables of EL2.
const HCR_TGE: u64 = 1 << 27;

/// Feature of the form: 52-bit addresses with the 64 KiB granule (LPA).
const LPA: u32 = 1;
/// Feature of the form: TCR_ELx.DS is set.
const LPA2: u32 = 2;

/// Feature of the form: attributes of table descriptors do not count (HPD).
const FLAT_RIGHTS: u32 = 4;
/// Feature of the form: one exception level uses these tables (EL2 without E2H).
const ONE_LEVEL: u32 = 8;

/// The levels of all granules, each level as wide as it can be. Halves may have different granules: a root starts at a
/// level of its own, and what is behind a granule's level 3 is never reached from it.
const LEVELS: &[Level] = &[
    Level { name: "level -1", shift: 48, bits: 4 },
    Level { name: "level 0", shift: 39, bits: 9 },
    Level { name: "level 1", shift: 30, bits: 9 },
    Level { name: "level 2", shift: 21, bits: 9 },
    Level { name: "level 3", shift: 12, bits: 9 },
    Level { name: "level 0", shift: 47, bits: 5 },
    Level { name: "level 1", shift: 36, bits: 11 },
    Level { name: "level 2", shift: 25, bits: 11 },
    Level { name: "level 3", shift: 14, bits: 11 },
    Level { name: "level 1", shift: 42, bits: 10 },
    Level { name: "level 2", shift: 29, bits: 13 },
    Level { name: "level 3", shift: 16, bits: 13 },
];

/// A translation granule: size of pages and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Granule {
    name: &'static str,
    page_shift: u8,
    /// Its levels in [`LEVELS`].
    levels: (usize, usize),
}

const K4: Granule = Granule { name: "AArch64 4K granule", page_shift: 12, levels: (0, 4) };
const K16: Granule = Granule { name: "AArch64 16K granule", page_shift: 14, levels: (5, 8) };
const K64: Granule = Granule { name: "AArch64 64K granule", page_shift: 16, levels: (9, 11) };

impl Granule {
    /// TCR_ELx.TG0. The reserved value means one that the CPU chooses.
    const fn of_tg0(tg: u64) -> Self {
        match tg & 3 {
            1 => K64,
            2 => K16,
            _ => K4,
        }
    }

    /// TCR_ELx.TG1, which counts otherwise.
    const fn of_tg1(tg: u64) -> Self {
        match tg & 3 {
            1 => K16,
            3 => K64,
            _ => K4,
        }
    }

    /// That of a level, by the shift of its index: no two granules share one.
    const fn of_level(shift: u8) -> Self {
        match shift {
            14 | 25 | 36 | 47 => K16,
            16 | 29 | 42 => K64,
            _ => K4,
        }
    }
}

/// Where an address has its tag, if it has one.
const TAG: u64 = bits(56, 63);

/// Bits `low` to `high`, both included.
const fn bits(low: u8, high: u8) -> u64 {
    (u64::MAX << low) & (u64::MAX >> (63 - high))
}

/// The address in a table, block or page descriptor (D8.3.1).
fn output(form: &Form, granule: Granule, raw: u64) -> u64 {
    let from = granule.page_shift;
    if granule == K64 {
        // LPA: bits 15:12 are bits 51:48.
        let high = if form.features & LPA != 0 { (raw >> 12) & 0xf } else { 0 };
        return (raw & bits(from, 47)) | (high << 48);
    }
    if form.features & LPA2 == 0 {
        return raw & bits(from, 47);
    }
    // LPA2: bits 9:8 are bits 51:50.
    (raw & bits(from, 49)) | (((raw >> 8) & 3) << 50)
}

/// Whether a level other than 3 may hold blocks (D8.3.1, "Block descriptor"). The 4 TiB blocks of the 64 KiB granule need
/// a CPU with 52-bit addresses; that it uses them shows in TCR_ELx.IPS.
fn has_blocks(form: &Form, shift: u8) -> bool {
    match shift {
        21 | 30 | 25 | 29 => true,
        39 | 36 => form.features & LPA2 != 0,
        42 => form.features & LPA != 0,
        _ => false,
    }
}

/// Decodes a descriptor. An address beyond TCR_ELx.IPS is an address size fault, whatever the entry is.
fn decode(form: &Form, _level: usize, shift: u8, raw: u64) -> Entry {
    let granule = Granule::of_level(shift);
    let page = shift == granule.page_shift;
    let at = output(form, granule, raw);
    match (raw & 1, raw & 2) {
        (0, _) => Entry::NotPresent,
        _ if at & !form.address_mask != 0 => Entry::Invalid,
        (_, 0) if !page && has_blocks(form, shift) => Entry::Leaf { at: PhysAddr(at), shift },
        (_, 0) => Entry::Invalid,
        _ if page => Entry::Leaf { at: PhysAddr(at), shift },
        _ => Entry::Table { at: PhysAddr(at), entries: None, bits: None },
    }
}

/// APTable\[0\]: no access from EL0 to what is below.
const AP_TABLE_NO_EL0: u64 = 1 << 61;
/// APTable\[1\]: no writes to what is below.
const AP_TABLE_READ_ONLY: u64 = 1 << 62;
const UXN_TABLE: u64 = 1 << 60;
const PXN_TABLE: u64 = 1 << 59;
/// AP\[1\]: EL0 reads, and writes if EL1 does.
const AP_EL0: u64 = 1 << 6;
/// AP\[2\].
const AP_READ_ONLY: u64 = 1 << 7;
/// UXN, or XN where one exception level uses the tables.
const UXN: u64 = 1 << 54;
const PXN: u64 = 1 << 53;

/// What a descriptor allows (D8.4, "Memory access control"), by direct permissions. Where FEAT_S1PIE is in use, bits mean
/// something else that registers say which no source tells.
fn rights(form: &Form, level: usize, shift: u8, raw: u64) -> Rights {
    let (flat, one) = (form.features & FLAT_RIGHTS != 0, form.features & ONE_LEVEL != 0);
    let all = Rights::ALL.without_if(one, Rights::USER);
    let has = |bit| raw & bit != 0;
    match decode(form, level, shift, raw) {
        Entry::Table { .. } if flat => all,
        Entry::Table { .. } => all
            .without_if(has(AP_TABLE_NO_EL0), Rights::USER_READ.or(Rights::USER_WRITE))
            .without_if(has(AP_TABLE_READ_ONLY), Rights::WRITE)
            .without_if(has(UXN_TABLE), if one { Rights::EXECUTE } else { Rights::USER_EXECUTE })
            .without_if(has(PXN_TABLE) && !one, Rights::KERNEL_EXECUTE),
        _ if one => all.without_if(has(AP_READ_ONLY), Rights::WRITE).without_if(has(UXN), Rights::EXECUTE),
        _ => all
            .without_if(!has(AP_EL0), Rights::USER_READ.or(Rights::USER_WRITE))
            .without_if(has(AP_READ_ONLY), Rights::WRITE)
            .without_if(has(UXN), Rights::USER_EXECUTE)
            // What EL0 may write EL1 never executes.
            .without_if(has(PXN) || (has(AP_EL0) && !has(AP_READ_ONLY)), Rights::KERNEL_EXECUTE),
    }
}

/// D8.3.1 and D8.3.2.
fn fields(form: &Form, level: usize, shift: u8, raw: u64) -> &'static [Field] {
    const TYPE: Field = Field::bits("type", 0, 1);
    const TABLE: &[Field] = &[
        Field::bit("NSTable", 63),
        Field::bits("APTable", 61, 62),
        Field::bit("UXNTable", 60),
        Field::bit("PXNTable", 59),
        TYPE,
    ];
    const LEAF: &[Field] = &[
        Field::bits("PBHA", 59, 62),
        Field::bits("software", 55, 58),
        Field::bit("UXN", 54),
        Field::bit("PXN", 53),
        Field::bit("contiguous", 52),
        Field::bit("DBM", 51),
        Field::bit("GP", 50),
        Field::bit("nG", 11),
        Field::bit("AF", 10),
        Field::bits("SH", 8, 9),
        Field::bits("AP[2:1]", 6, 7),
        Field::bit("NS", 5),
        Field::bits("AttrIndx", 2, 4),
        TYPE,
    ];
    // With LPA2, bits 9:8 are address.
    const LEAF_LPA2: &[Field] = &[
        Field::bits("PBHA", 59, 62),
        Field::bits("software", 55, 58),
        Field::bit("UXN", 54),
        Field::bit("PXN", 53),
        Field::bit("contiguous", 52),
        Field::bit("DBM", 51),
        Field::bit("GP", 50),
        Field::bit("nG", 11),
        Field::bit("AF", 10),
        Field::bits("AP[2:1]", 6, 7),
        Field::bit("NS", 5),
        Field::bits("AttrIndx", 2, 4),
        TYPE,
    ];
    match decode(form, level, shift, raw) {
        Entry::NotPresent | Entry::Invalid => &[TYPE],
        Entry::Table { .. } => TABLE,
        Entry::Leaf { .. } if form.features & LPA2 != 0 && Granule::of_level(shift) != K64 => LEAF_LPA2,
        Entry::Leaf { .. } => LEAF,
    }
}

/// Bits of a physical address: TCR_ELx.IPS, at most 48 unless descriptors have room for more.
const fn output_bits(ips: u64, wide: bool) -> u8 {
    match ips & 7 {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ if wide => 52,
        _ => 48,
    }
}

/// One half of the address space, as TCR_EL1 describes it.
#[derive(Debug, Clone, Copy)]
struct Half {
    high: bool,
    on: bool,
    granule: Granule,
    /// Whether their top byte is ignored.
    tagged: bool,
    /// Bits of its addresses: 64 - TxSZ.
    input_bits: u8,
    /// Whether physical addresses of 52 bits are possible.
    wide: bool,
}

/// TCR_ELx in the format of TCR_EL1.
#[derive(Debug, Clone, Copy)]
struct Tcr(u64);

impl Tcr {
    fn features(self) -> u32 {
        let lpa = if (self.0 >> 32) & 7 == IPS_52 { LPA } else { 0 };
        let lpa2 = if self.0 & TCR_DS != 0 { LPA2 } else { 0 };
        lpa | lpa2 | if self.hierarchical() { 0 } else { FLAT_RIGHTS }
    }

    /// Whether attributes of table descriptors count in a half that is on. Linux has both the same.
    fn hierarchical(self) -> bool {
        [(self.low(), TCR_HPD0), (self.high(), TCR_HPD0 << 1)].iter().any(|(half, hpd)| half.on && self.0 & hpd == 0)
    }

    fn low(self) -> Half {
        self.half(false, self.0, Granule::of_tg0(self.0 >> 14))
    }

    fn high(self) -> Half {
        self.half(true, self.0 >> 16, Granule::of_tg1(self.0 >> 30))
    }

    /// The half whose TxSZ (bits 5:0) and EPDx (bit 7) are at the bottom of `fields`. A size that the CPU cannot have is
    /// taken as the nearest that it can, a choice that D8.2 leaves open; 52 bits are possible with 64 KiB pages (LVA) or DS,
    /// and with TTST sizes go down to a table of level 3 alone.
    fn half(self, high: bool, fields: u64, granule: Granule) -> Half {
        let k64 = granule == K64;
        let smallest = if k64 || self.0 & TCR_DS != 0 { 12 } else { 16 };
        let size = u8::try_from(fields & 0x3f).unwrap_or(0).clamp(smallest, if k64 { 47 } else { 48 });
        let wide = if k64 { (self.0 >> 32) & 7 == IPS_52 } else { self.0 & TCR_DS != 0 };
        let tagged = self.0 & if high { TCR_TBI0 << 1 } else { TCR_TBI0 } != 0;
        Half { high, on: fields & (1 << 7) == 0, granule, tagged, input_bits: 64 - size, wide }
    }

    /// TCR_EL2 without E2H (one half, other places) in the format of TCR_EL1.
    const fn from_one_half(tcr: u64) -> Self {
        let same_places = tcr & bits(0, 15) & !(1 << 7);
        let ds = ((tcr >> 32) & 1) << 59;
        let (tbi, hpd) = (((tcr >> 20) & 1) << 37, ((tcr >> 24) & 1) << 41);
        let epd1 = 1 << 23;
        Self(same_places | ((tcr >> 16) & 7) << 32 | ds | tbi | hpd | epd1)
    }

    /// The form that serves both halves.
    fn form(self, endian: Endian) -> Form {
        let (low, high) = (self.low(), self.high());
        let name = match (low.on, high.on) {
            (true, true) if low.granule != high.granule => "AArch64 two granules",
            (_, true) => high.granule.name,
            (_, false) => low.granule.name,
        };
        let wide = (low.on && low.wide) || (high.on && high.wide);
        let address_mask = bits(0, output_bits(self.0 >> 32, wide) - 1);
        let features = self.features();
        Form { name, levels: LEVELS, entry_bytes: 8, endian, address_mask, features, decode, rights, fields }
    }
}

impl Half {
    /// Its root: the first level whose index has bits of the address.
    fn root(self, ttbr: u64) -> Option<Root> {
        let (first, last) = self.granule.levels;
        let mut levels = LEVELS.iter().enumerate().take(last + 1).skip(first);
        let (level, row) = levels.find(|(_, row)| row.shift < self.input_bits)?;
        let index_bits = self.input_bits - row.shift;
        // All address bits above a high half are ones: of a level that could be wider, the last entries are used.
        let below = if self.high { (1_u32 << row.bits) - (1 << index_bits) } else { 0 };
        let table = PhysAddr(self.table(index_bits, ttbr).wrapping_sub(8 * u64::from(below)));
        let entries = Some(below..below + (1 << index_bits));
        Some(Root { virt: self.virt()?, table, level, entries, ignored: if self.tagged { TAG } else { 0 } })
    }

    fn virt(self) -> Option<VirtRange> {
        let size = 1_u64 << self.input_bits;
        let (first, last) = if self.high { (size.wrapping_neg(), u64::MAX) } else { (0, size - 1) };
        VirtRange::new(VirtAddr(first), VirtAddr(last))
    }

    /// Where the first table of `1 << index_bits` entries is: aligned to its size, and to 64 bytes where bits 5:2 of the
    /// register are bits 51:48 of the address. Above and below are ASID and CnP.
    fn table(self, index_bits: u8, ttbr: u64) -> u64 {
        let size_shift = index_bits + 3;
        if self.wide {
            return (ttbr & bits(size_shift.max(6), 47)) | ((ttbr >> 2) & 0xf) << 48;
        }
        ttbr & bits(size_shift, 47)
    }
}

/// Byte order that SCTLR_ELx says.
#[must_use]
pub const fn sctlr_endian(sctlr: u64) -> Endian {
    if sctlr & SCTLR_EE != 0 { Endian::Big } else { Endian::Little }
}

/// The registers that say how a vCPU translates now.
#[derive(Debug, Clone, Copy)]
struct Regime {
    sctlr: Reg,
    tcr: Reg,
    ttbr0: Reg,
    ttbr1: Reg,
    /// Whether there is a high half.
    two_halves: bool,
}

const EL1: Regime = Regime { sctlr: SCTLR_EL1, tcr: TCR_EL1, ttbr0: TTBR0_EL1, ttbr1: TTBR1_EL1, two_halves: true };
const EL2_VHE: Regime = Regime { sctlr: SCTLR_EL2, tcr: TCR_EL2, ttbr0: TTBR0_EL2, ttbr1: TTBR1_EL2, two_halves: true };
const EL2: Regime = Regime { two_halves: false, ..EL2_VHE };

/// What is needed of a vCPU, or the error that names it.
struct Needed<'a> {
    arch: &'static str,
    vcpu: u32,
    registers: &'a Registers,
}

impl Needed<'_> {
    fn unknown(&self, register: &'static str, needed_for: &'static str) -> ArchError {
        ArchError::RegisterUnknown { arch: self.arch, vcpu: self.vcpu, register, needed_for }
    }

    fn get(&self, reg: Reg) -> Result<u64, ArchError> {
        let name = REGISTERS.get(usize::from(reg.0)).map_or("", |def| def.name);
        self.registers.get(reg).ok_or_else(|| self.unknown(name, "address translation"))
    }

    fn cpsr(&self) -> u64 {
        self.registers.get(CPSR).unwrap_or(0)
    }

    /// By the exception level in cpsr (M[4:0]: bit 4 is AArch32, bits 3:2 of the others the level). Where that is not
    /// known it is the kernel's below a hypervisor, EL1.
    fn regime(&self) -> Result<Regime, ArchError> {
        let mode = self.cpsr() & 0x1f;
        let host = self.registers.get(HCR_EL2).unwrap_or(0) & (HCR_E2H | HCR_TGE) == HCR_E2H | HCR_TGE;
        match mode {
            // EL0, User mode of AArch32.
            0 | 0x10 if host => Ok(EL2_VHE),
            0x11.. => {
                let what = format!("EL1 is in AArch32 state (cpsr {:#x}), whose tables are not walked", self.cpsr());
                Err(ArchError::Unsupported { arch: self.arch, vcpu: self.vcpu, what })
            }
            0xc..=0xf => Err(self.unknown("tcr_el3", "address translation at EL3")),
            0x8..=0xb => Ok(if self.get(HCR_EL2)? & HCR_E2H != 0 { EL2_VHE } else { EL2 }),
            _ => Ok(EL1),
        }
    }
}

/// How a vCPU translates addresses.
///
/// # Errors
/// [`ArchError::RegisterUnknown`] if a register of its regime is not known; those of EL3 never are.
/// [`ArchError::Unsupported`] if EL1 is in AArch32 state.
pub fn paging(arch: &'static str, vcpu: &Vcpu) -> Result<Paging, ArchError> {
    let needed = Needed { arch, vcpu: vcpu.id, registers: &vcpu.registers };
    let regime = needed.regime()?;
    let sctlr = needed.get(regime.sctlr)?;
    if sctlr & SCTLR_M == 0 {
        return Ok(Paging::Off);
    }
    let tcr = needed.get(regime.tcr)?;
    let tcr = if regime.two_halves { Tcr(tcr) } else { Tcr::from_one_half(tcr) };
    let mut roots = Vec::new();
    for (half, ttbr) in [(tcr.low(), regime.ttbr0), (tcr.high(), regime.ttbr1)] {
        if half.on {
            roots.extend(half.root(needed.get(ttbr)?));
        }
    }
    let mut form = tcr.form(sctlr_endian(sctlr));
    form.features |= if regime.two_halves { 0 } else { ONE_LEVEL };
    Ok(Paging::Radix(Radix { form, roots }))
}

/// The high half by another table than that of TTBR1, for EL1: Linux with page-table isolation has one with little of the kernel
/// there while EL0 runs.
pub fn kernel_tables(arch: &'static str, vcpu: &Vcpu, root: PhysAddr) -> Option<Paging> {
    let mut vcpu = vcpu.clone();
    // Bits 51:48 of an address of 52 bits are bits 5:2 of the register.
    vcpu.registers.set(TTBR1_EL1, (root.0 & bits(0, 47)) | (root.0 >> 48 & 0xf) << 2);
    let Ok(Paging::Radix(mut radix)) = paging(arch, &vcpu) else { return None };
    radix.roots.retain(|root| root.virt.first().0 >> 63 == 1);
    Some(Paging::Radix(radix))
}
