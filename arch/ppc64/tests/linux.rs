//! What Linux fixes on ppc64, with the VMCOREINFO of a real kernel, and the page size of a dump.

mod common;

use guestdump_arch::{Arch, GuestFacts, KernelFacts, LinearMap, PhysAddr, VirtAddr};
use guestdump_ppc64::ARCH;

/// Lines of VMCOREINFO.
struct Lines(&'static str);

impl KernelFacts for Lines {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
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

/// From the VMCOREINFO of Debian's 6.1.0-50-powerpc64le.
const REAL: Lines = Lines("PAGESIZE=65536\nSYMBOL(init_uts_ns)=c0000000026ab1c0\nSYMBOL(_stext)=c000000000000000\n");

#[test]
fn the_image_is_in_the_linear_map() {
    let linux = ARCH.linux().unwrap();
    let phys = |virt| linux.image_phys(&REAL, VirtAddr(virt)).map(|phys| phys.0);
    assert_eq!(phys(0xc000_0000_026a_b1c0), Some(0x26a_b1c0));
    assert_eq!(phys(0xc000_0000_0000_0000), Some(0));
    // vmalloc, user space, nothing.
    for virt in [0xc008_0000_0000_0000, 0x1000_0000, 0xbfff_ffff_ffff_ffff, u64::MAX] {
        assert_eq!(phys(virt), None, "{virt:#x}");
    }
}

#[test]
fn the_linear_map_holds_all_memory_that_a_guest_may_have() {
    let linux = ARCH.linux().unwrap();
    let map = linux.linear_map(&REAL, &mut |_| None);
    let (virt, phys) = (VirtAddr(0xc000_0000_0000_0000), PhysAddr(0));
    assert_eq!(map, Some(LinearMap { virt, phys, len_bytes: 1 << 51 }));
    for kernel in [Lines("PAGESIZE=65536\n"), Lines("SYMBOL(_stext)=ffffffff81000000\n")] {
        assert_eq!(linux.linear_map(&kernel, &mut |_| None), None);
    }
}

#[test]
fn the_page_size_is_the_kernels_or_the_machines_or_that_of_pseries() {
    let small = Lines("PAGESIZE=4096\n");
    let cases: [(Option<&dyn KernelFacts>, Option<u32>, u32); 5] = [
        (Some(&REAL), Some(4096), 65536),
        (Some(&small), Some(65536), 4096),
        (None, Some(4096), 4096),
        (None, None, 65536),
        (Some(&Lines("")), None, 65536),
    ];
    for (kernel, machine_page_size, expected) in cases {
        let facts = GuestFacts { vcpus: &[], ram: &[], endian: None, machine_page_size, kernel };
        assert_eq!(ARCH.dump_info(&facts).unwrap().page_size, expected);
    }
}
