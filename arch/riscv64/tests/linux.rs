//! What Linux fixes on riscv64. The lines are what `arch_crash_save_vmcoreinfo` of these versions prints, with the numbers
//! that QEMU's virt machine gives them; no kernel was booted for them.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_arch::{Arch, GuestFacts, KernelFacts, LinearMap, PhysAddr, VirtAddr};
use guestdump_riscv64::ARCH;

/// Lines of VMCOREINFO.
struct Lines(&'static str);

impl KernelFacts for Lines {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<i128> {
        let text = self.text(&format!("NUMBER({name})"))?;
        match text.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    fn symbol(&self, name: &str) -> Option<VirtAddr> {
        u64::from_str_radix(self.text(&format!("SYMBOL({name})"))?, 16).ok().map(VirtAddr)
    }

    fn page_size(&self) -> Option<u32> {
        self.text("PAGESIZE")?.parse().ok()
    }
}

/// Sv57, since 6.4; KASLR moved the image by 32 MiB.
const NEW: Lines = Lines(
    "PAGESIZE=4096\nNUMBER(phys_ram_base)=2147483648\nNUMBER(PAGE_OFFSET)=0xff60000000000000\nNUMBER(VA_BITS)=57\n\
     NUMBER(MODULES_VADDR)=0xffffffff03a00000\nNUMBER(MODULES_END)=0xffffffff82000000\n\
     NUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\nNUMBER(va_kernel_pa_offset)=0xfffffffeffe00000\n",
);

/// Sv39, before 6.4.
const OLD: Lines = Lines(
    "PAGESIZE=4096\nNUMBER(VA_BITS)=39\nNUMBER(phys_ram_base)=2149580800\nNUMBER(PAGE_OFFSET)=0xffffffd800000000\n\
     NUMBER(MODULES_END)=0xffffffff80000000\nNUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n",
);

fn phys(kernel: &Lines, virt: u64) -> Option<u64> {
    ARCH.linux().unwrap().image_phys(kernel, VirtAddr(virt)).map(|phys| phys.0)
}

#[test]
fn the_image_is_where_its_offset_says() {
    assert_eq!(phys(&NEW, 0xffff_ffff_8200_0000), Some(0x8220_0000));
    assert_eq!(phys(&NEW, 0xffff_ffff_8320_1234), Some(0x8340_1234));
    // Modules and BPF code, below the image.
    for virt in [0xffff_ffff_81ff_ffff, 0xffff_ffff_8000_0000, 0xffff_ffff_7fff_ffff] {
        assert_eq!(phys(&NEW, virt), None, "{virt:#x}");
    }
}

#[test]
fn before_there_was_an_offset_the_image_is_at_the_start_of_ram() {
    assert_eq!(phys(&OLD, 0xffff_ffff_8000_0000), Some(0x8020_0000));
    assert_eq!(phys(&OLD, 0xffff_ffff_8120_1234), Some(0x8140_1234));
    assert_eq!(phys(&OLD, 0xffff_ffff_7fff_ffff), None);
}

#[test]
fn the_linear_map_starts_at_phys_ram_base_and_has_a_quarter_of_the_addresses() {
    let map = |kernel| ARCH.linux().unwrap().linear_map(kernel, &mut |_| None);
    let (virt, phys_start) = (VirtAddr(0xff60_0000_0000_0000), PhysAddr(0x8000_0000));
    assert_eq!(map(&NEW), Some(LinearMap { virt, phys: phys_start, len_bytes: 1 << 55 }));
    let (virt, phys_start) = (VirtAddr(0xffff_ffd8_0000_0000), PhysAddr(0x8020_0000));
    assert_eq!(map(&OLD), Some(LinearMap { virt, phys: phys_start, len_bytes: 1 << 37 }));
    assert_eq!(phys(&NEW, 0xff60_0000_1234_5678), Some(0x9234_5678));
    assert_eq!(phys(&OLD, 0xffff_ffd8_1234_5678), Some(0x9254_5678));
    // vmalloc below, KASAN's shadow above.
    assert_eq!(phys(&NEW, 0xff5f_ffff_ffff_ffff), None);
    assert_eq!(phys(&NEW, 0xffe0_0000_0000_0000), None);
    assert_eq!(phys(&OLD, 0x1000), None);
}

#[test]
fn a_note_that_does_not_say_gives_nothing() {
    let linux = ARCH.linux().unwrap();
    for lines in ["", "NUMBER(PAGE_OFFSET)=0xff60000000000000\nNUMBER(VA_BITS)=57\n", "NUMBER(KERNEL_LINK_ADDR)=-1\n"] {
        let kernel = Lines(lines);
        assert_eq!(linux.linear_map(&kernel, &mut |_| None), None);
        assert_eq!(phys(&kernel, 0xff60_0000_0000_0000), None);
        assert_eq!(phys(&kernel, u64::MAX), None);
    }
}

#[test]
fn the_page_size_is_the_kernels() {
    let kernel = Lines("PAGESIZE=16384\n");
    let facts = |kernel| GuestFacts { vcpus: &[], ram: &[], endian: None, machine_page_size: None, kernel };
    assert_eq!(ARCH.dump_info(&facts(Some(&kernel))).unwrap().page_size, 16384);
    assert_eq!(ARCH.dump_info(&facts(None)).unwrap().page_size, 4096);
}
