//! What Linux fixes on x86-64: where the image is, and the kernel's page tables from VMCOREINFO alone.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_arch::conformance::TestMemory;
use guestdump_arch::paging::Target;
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{Arch, KernelFacts, Paging, PhysAddr, Registers, Vcpu, VirtAddr};
use guestdump_x86_64::ARCH;

/// Lines of a VMCOREINFO note.
struct Note(&'static str);

impl KernelFacts for Note {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.split_once('=').filter(|(name, _)| *name == key)).map(|(_, value)| value)
    }

    fn number(&self, name: &str) -> Option<i128> {
        self.text(&format!("NUMBER({name})"))?.parse().ok()
    }

    fn symbol(&self, name: &str) -> Option<VirtAddr> {
        u64::from_str_radix(self.text(&format!("SYMBOL({name})"))?, 16).ok().map(VirtAddr)
    }

    fn page_size(&self) -> Option<u32> {
        None
    }
}

fn paging(note: &'static str) -> Option<Paging> {
    let mut registers = Registers::unknown(ARCH.registers());
    for (reg, value) in ARCH.linux().unwrap().registers(&Note(note))? {
        registers.set(reg, value);
    }
    Some(ARCH.paging(&Vcpu { id: 0, registers }).unwrap())
}

/// Tables at 0x3000 and behind, with one page of 1 GiB at 0x40000000 for the last GiB but one of all addresses.
fn phys(note: &'static str, levels: u64, bits_of_entries: u64) -> u64 {
    let mut memory = TestMemory::default();
    for level in 0..levels {
        let (table, next) = (0x3000 + 0x1000 * level, 0x4000 + 0x1000 * level);
        let (index, entry) = if level + 1 == levels { (510, 0x4000_0083) } else { (511, next | 3) };
        memory.put(table + 8 * index, &(entry | bits_of_entries).to_le_bytes());
    }
    let paging = paging(note).unwrap();
    let span = Walker::new(&paging, &memory).span_at(VirtAddr(0xffff_ffff_8123_4567)).unwrap();
    assert!(matches!(span.target, Target::Phys(_)), "{span:?}");
    let PhysAddr(at) = span.phys(VirtAddr(0xffff_ffff_8123_4567)).unwrap();
    at
}

#[test]
fn the_kernels_tables_are_where_vmcoreinfo_says() {
    // phys_base is -16 MiB: the top table is at 0x3000.
    let four = "SYMBOL(init_top_pgt)=ffffffff81003000\nNUMBER(phys_base)=-16777216\nNUMBER(pgtable_l5_enabled)=0\nNUMBER(sme_mask)=0\n";
    let five = "SYMBOL(init_top_pgt)=ffffffff80003000\nNUMBER(phys_base)=0\nNUMBER(pgtable_l5_enabled)=1\n";
    let old = "SYMBOL(init_level4_pgt)=ffffffff80003000\nNUMBER(phys_base)=0\n";
    let encrypted = "SYMBOL(init_top_pgt)=ffffffff80003000\nNUMBER(phys_base)=0\nNUMBER(sme_mask)=140737488355328\n";
    for (note, levels, bits) in [(four, 2, 0), (five, 3, 0), (old, 2, 0), (encrypted, 2, 1 << 47)] {
        assert_eq!(phys(note, levels, bits), 0x4123_4567, "{note}");
    }
}

#[test]
fn without_a_place_there_are_no_tables() {
    for note in
        ["", "SYMBOL(init_top_pgt)=ffffffff81003000\n", "SYMBOL(init_top_pgt)=ffff888001003000\nNUMBER(phys_base)=0\n"]
    {
        assert!(paging(note).is_none(), "{note}");
    }
}
