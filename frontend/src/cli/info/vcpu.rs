//! What a kernel engineer asks of a vCPU first: where it is, in which mode, with which page tables.

use guestdump_arch::{Arch, Paging, Registers, Vcpu};
use serde_json::{Map, Value, json};

/// Where program counter, stack pointer and mode are: the first row whose program counter is known counts. In user mode the
/// masked bits of the mode's register have the value.
struct Roles {
    pc: &'static str,
    sp: &'static str,
    mode: &'static str,
    mask: u64,
    user: u64,
}

/// Names as in gdb's target descriptions. Stack pointers by each System V ABI; modes: CPL of CS (Intel SDM 3A 5.5), M of
/// PSTATE (Arm ARM C5.2), PR of MSR (Power ISA III 4.2.1), P of the PSW (Principles of Operation 4), gdb's `priv`.
const ROLES: [Roles; 6] = [
    Roles { pc: "rip", sp: "rsp", mode: "cs", mask: 3, user: 3 },
    Roles { pc: "eip", sp: "esp", mode: "cs", mask: 3, user: 3 },
    Roles { pc: "pswa", sp: "r15", mode: "pswm", mask: 1 << 48, user: 1 << 48 },
    Roles { pc: "nip", sp: "r1", mode: "msr", mask: 1 << 14, user: 1 << 14 },
    Roles { pc: "pc", sp: "sp", mode: "pstate", mask: 0xf, user: 0 },
    Roles { pc: "pc", sp: "sp", mode: "priv", mask: 3, user: 0 },
];

/// A vCPU in short.
pub struct Summary {
    /// Its number.
    pub id: u32,
    /// Program counter.
    pub pc: Option<u64>,
    /// Stack pointer.
    pub sp: Option<u64>,
    /// "kernel" or "user", where it is known.
    pub mode: Option<&'static str>,
    /// Name of the page-table form, or why it is not known.
    pub paging: String,
    /// Where its page tables start.
    pub roots: Vec<u64>,
}

/// Sums a vCPU up.
pub fn summary(arch: &dyn Arch, vcpu: &Vcpu) -> Summary {
    let known = |name: &str| vcpu.registers.get_named(name);
    let roles = ROLES.iter().find(|roles| known(roles.pc).is_some() && known(roles.mode).is_some());
    let roles = roles.or_else(|| ROLES.iter().find(|roles| known(roles.pc).is_some()));
    let mode = roles.and_then(|roles| known(roles.mode).map(|bits| (roles, bits)));
    let (paging, mut roots) = match arch.paging(vcpu) {
        Ok(paging) => (form(&paging), roots(&paging)),
        Err(error) => (error.to_string(), Vec::new()),
    };
    roots.dedup();
    Summary {
        id: vcpu.id,
        pc: roles.and_then(|roles| known(roles.pc)),
        sp: roles.and_then(|roles| known(roles.sp)),
        mode: mode.map(|(roles, bits)| if bits & roles.mask == roles.user { "user" } else { "kernel" }),
        paging,
        roots,
    }
}

fn form(paging: &Paging) -> String {
    match paging {
        Paging::Off => "no translation".to_owned(),
        Paging::Custom(_) => "hashed page table".to_owned(),
        Paging::Radix(radix) => radix.form.name.to_owned(),
        Paging::Swapped(paging, _) => form(paging),
    }
}

fn roots(paging: &Paging) -> Vec<u64> {
    paging.radix().map_or(Vec::new(), |radix| radix.roots.iter().map(|root| root.table.0).collect())
}

impl Summary {
    /// One line.
    pub fn line(&self) -> String {
        let hex = |value: Option<u64>| value.map_or("unknown".to_owned(), |value| format!("{value:#x}"));
        let roots: Vec<String> = self.roots.iter().map(|root| format!("{root:#x}")).collect();
        let at = if roots.is_empty() { String::new() } else { format!(" at {}", roots.join(", ")) };
        let mode = self.mode.unwrap_or("mode unknown");
        format!("  {:>3}  {mode:<6} pc {}  sp {}  {}{at}", self.id, hex(self.pc), hex(self.sp), self.paging)
    }
}

/// Registers as hexadecimal numbers.
pub fn registers(registers: &Registers) -> Vec<(&'static str, String)> {
    let hex = |bytes: &[u8]| {
        let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        let short = digits.trim_start_matches('0');
        format!("0x{}", if short.is_empty() { "0" } else { short })
    };
    registers.known().map(|(def, bytes)| (def.name, hex(bytes))).collect()
}

/// All of a vCPU as JSON.
pub fn json(arch: &dyn Arch, vcpu: &Vcpu) -> Value {
    let all = registers(&vcpu.registers).into_iter().map(|(name, hex)| (name.to_owned(), hex.into()));
    let short = summary(arch, vcpu);
    json!({
        "id": vcpu.id,
        "mode": short.mode,
        "pc": short.pc,
        "sp": short.sp,
        "paging": short.paging,
        "roots": short.roots,
        "registers": all.collect::<Map<String, Value>>(),
    })
}
