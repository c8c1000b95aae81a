//! What Linux fixes on s390x: the pointer to VMCOREINFO, and where the image lies.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_arch::conformance::TestMemory;
use guestdump_arch::{Arch, KernelFacts, LinuxLayout, PhysAddr, VirtAddr};
use guestdump_s390x::ARCH;

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
        self.text("PAGESIZE")?.parse().ok()
    }
}

fn linux() -> &'static dyn LinuxLayout {
    ARCH.linux().unwrap()
}

#[test]
fn the_pointer_to_vmcoreinfo_is_in_low_storage_and_not_aligned() {
    let mut memory = TestMemory::default();
    assert_eq!(linux().vmcoreinfo_at(&memory).unwrap(), None);
    memory.put(0, &[0xff; 0xe0c]);
    assert_eq!(linux().vmcoreinfo_at(&memory).unwrap(), None);
    memory.put(0xe0c, &[0, 0, 0, 0, 0x01, 0xad, 0x20, 0x00, 0xff]);
    assert_eq!(linux().vmcoreinfo_at(&memory).unwrap(), Some(PhysAddr(0x1ad_2000)));
}

fn image(note: &'static str, virt: u64) -> Option<u64> {
    linux().image_phys(&Note(note), VirtAddr(virt)).map(|phys| phys.0)
}

#[test]
fn the_image_of_an_older_kernel_is_where_it_is_mapped() {
    let note = "SYMBOL(_stext)=100000\nKERNELOFFSET=0\n";
    assert_eq!(image(note, 0x100000), Some(0x10_0000));
    assert_eq!(image(note, 0x126_b3c0), Some(0x126_b3c0));
    assert_eq!(image(note, 0xf_ffff), None);
    assert_eq!(image(note, 0x3ff_e3b7_8c28), None, "vmalloc");
    let moved = "SYMBOL(_stext)=7a100000\nKERNELOFFSET=7a000000\n";
    assert_eq!(image(moved, 0x7b00_0000), Some(0x7b00_0000));
}

#[test]
fn the_image_of_a_newer_kernel_is_where_it_says() {
    let note = "SYMBOL(_stext)=3ffe0100000\nIDENTITYBASE=0\nKERNELOFFSET=3ffe0000000\nKERNELOFFPHYS=1000000\n";
    assert_eq!(image(note, 0x3ff_e012_3456), Some(0x112_3456));
    assert_eq!(image(note, 0x12_3456), None, "the linear map");
    assert_eq!(image("SYMBOL(_stext)=3ffe0100000\nKERNELOFFPHYS=1000000\n", 0x3ff_e012_3456), None);
    assert_eq!(image("KERNELOFFSET=0\n", 0x12_3456), None, "nothing says where the image starts");
}
