//! What a dump of an AArch64 guest must look like, and where its kernel is. Numbers of VMCOREINFO are those of Debian
//! kernels under QEMU 10.0.2; translations are those of the same guests' tables.
#![allow(clippy::unwrap_used, reason = "code of tests")]

use guestdump_aarch64::ARCH;
use guestdump_arch::{
    Arch, Class, DumpInfo, Endian, GuestFacts, KernelFacts, PhysAddr, PhysRange, Registers, Vcpu, VirtAddr,
};

/// Lines of VMCOREINFO.
#[derive(Clone, Copy)]
struct Kernel(&'static str);

impl KernelFacts for Kernel {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.split_whitespace().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<i128> {
        let text = self.text(&format!("NUMBER({name})"))?;
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| i128::from_str_radix(hex, 16).ok())
    }

    fn symbol(&self, name: &str) -> Option<VirtAddr> {
        u64::from_str_radix(self.text(&format!("SYMBOL({name})"))?, 16).ok().map(VirtAddr)
    }

    fn page_size(&self) -> Option<u32> {
        self.text("PAGESIZE")?.parse().ok()
    }
}

/// 6.1, 48 bits, randomised linear map.
const KERNEL_6_1: Kernel = Kernel(
    "PAGESIZE=4096 SYMBOL(_stext)=ffffa4e8b9c10000 NUMBER(VA_BITS)=48 NUMBER(kimage_voffset)=0xffffa4e879a00000
     NUMBER(PHYS_OFFSET)=0xffffb4f140000000 NUMBER(TCR_EL1_T1SZ)=0x10",
);
/// 6.12, 52 bits on a CPU with LPA2.
const KERNEL_6_12: Kernel = Kernel(
    "PAGESIZE=4096 SYMBOL(_stext)=ffffa20e34210000 NUMBER(VA_BITS)=52 NUMBER(kimage_voffset)=0xffffa20df4000000
     NUMBER(PHYS_OFFSET)=0x40000000 NUMBER(TCR_EL1_T1SZ)=0xc",
);
/// The same on a Cortex-A57, which has 48 bits, with a randomised linear map.
const KERNEL_6_12_A57: Kernel = Kernel(
    "PAGESIZE=4096 SYMBOL(_stext)=ffffb0e2b4610000 NUMBER(VA_BITS)=52 NUMBER(kimage_voffset)=0xffffb0e274400000
     NUMBER(PHYS_OFFSET)=0xfff0975780000000 NUMBER(TCR_EL1_T1SZ)=0x10",
);
/// Before 5.4: the linear map is the upper half. Numbers made up by the formulas of 4.19.
const KERNEL_4_19: Kernel = Kernel(
    "PAGESIZE=4096 SYMBOL(_stext)=ffff000010081000 NUMBER(VA_BITS)=48 NUMBER(kimage_voffset)=0xfffeffffd0000000
     NUMBER(PHYS_OFFSET)=0x40000000",
);

fn phys(kernel: Kernel, virt: u64) -> Option<u64> {
    ARCH.linux().unwrap().image_phys(&kernel, VirtAddr(virt)).map(|phys| phys.0)
}

#[test]
fn the_image_is_where_the_tables_of_real_guests_have_it() {
    for (kernel, init_uts_ns, swapper_pg_dir, at) in [
        (KERNEL_6_1, 0xffff_a4e8_bbb1_c030, 0xffff_a4e8_bb25_8000, [0x4211_c030, 0x4185_8000]),
        (KERNEL_6_12, 0xffff_a20e_362d_fa38, 0xffff_a20e_35a6_6000, [0x422d_fa38, 0x41a6_6000]),
        (KERNEL_6_12_A57, 0xffff_b0e2_b66d_fa38, 0xffff_b0e2_b5e6_6000, [0x422d_fa38, 0x41a6_6000]),
        (KERNEL_4_19, 0xffff_0000_1141_2030, 0xffff_0000_1100_0000, [0x4141_2030, 0x4100_0000]),
    ] {
        assert_eq!([phys(kernel, init_uts_ns), phys(kernel, swapper_pg_dir)], at.map(Some));
    }
}

#[test]
fn the_linear_map_is_where_the_tables_of_real_guests_have_it() {
    // mem_section of each.
    assert_eq!(phys(KERNEL_6_1, 0xffff_4b0f_0ff4_f380), Some(0x4ff4_f380));
    assert_eq!(phys(KERNEL_6_12, 0xfff0_0000_0fe7_b040), Some(0x4fe7_b040));
    assert_eq!(phys(KERNEL_6_12_A57, 0xffff_68a8_cff6_c040), Some(0x4ff6_c040));
    assert_eq!(phys(KERNEL_4_19, 0xffff_8000_0ff4_f380), Some(0x4ff4_f380));
}

#[test]
fn other_addresses_are_not_guessed() {
    // vmalloc, vmemmap, user space; an image without a symbol; a linear map whose start is not known.
    for virt in [0xffff_8000_0800_0000, 0xffff_fc00_0000_0000, 0x40_0000, 0] {
        assert_eq!(phys(KERNEL_6_1, virt), None, "{virt:#x}");
    }
    assert_eq!(phys(KERNEL_4_19, 0xffff_7dff_fe00_0000), None);
    assert_eq!(phys(Kernel("NUMBER(kimage_voffset)=0xffffa4e879a00000"), 0xffff_a4e8_bbb1_c030), None);
    let without_start = Kernel("SYMBOL(_stext)=ffffa4e8b9c10000 NUMBER(VA_BITS)=48");
    assert_eq!(phys(without_start, 0xffff_4b0f_0ff4_f380), None);
    // 5.10 for 52 bits on a CPU with 48 gave PHYS_OFFSET otherwise: no such memory.
    let kernel_5_10 = Kernel(
        "SYMBOL(_stext)=ffff800010081000 NUMBER(VA_BITS)=52 NUMBER(PHYS_OFFSET)=0x40000000 NUMBER(TCR_EL1_T1SZ)=0x10",
    );
    assert_eq!(phys(kernel_5_10, 0xffff_0000_0000_0000), None);
    let senseless = Kernel("SYMBOL(_stext)=ffff800010081000 NUMBER(VA_BITS)=-1 NUMBER(PHYS_OFFSET)=0");
    assert_eq!(phys(senseless, 0xffff_0000_0000_0000), None);
}

fn info(endian: Option<Endian>, sctlr: Option<u64>, machine: Option<u32>, kernel: Option<Kernel>) -> DumpInfo {
    let mut registers = Registers::unknown(ARCH.registers());
    sctlr.into_iter().for_each(|value| registers.set_named("sctlr_el1", &value.to_le_bytes()).unwrap());
    let vcpus = [Vcpu { id: 0, registers }];
    let ram = [PhysRange::new(PhysAddr(0x4000_0000), 0x1000_0000).unwrap()];
    let kernel = kernel.as_ref().map(|kernel| kernel as &dyn KernelFacts);
    ARCH.dump_info(&GuestFacts { vcpus: &vcpus, ram: &ram, endian, machine_page_size: machine, kernel }).unwrap()
}

#[test]
fn the_byte_order_is_what_the_source_says_then_what_sctlr_says() {
    let of = |endian, sctlr| {
        let info = info(endian, sctlr, None, None);
        assert_eq!((info.machine, info.class, info.abi.word), (183, Class::Elf64, 8));
        (info.endian, info.uts_machine)
    };
    let (little, big) = ((Endian::Little, "aarch64"), (Endian::Big, "aarch64_be"));
    assert_eq!([of(None, None), of(None, Some(0)), of(None, Some(1 << 25))], [little, little, big]);
    assert_eq!([of(Some(Endian::Little), Some(1 << 25)), of(Some(Endian::Big), Some(0))], [little, big]);
}

#[test]
fn the_page_size_is_the_kernels_then_the_machines_then_qemus() {
    let of = |machine, kernel| {
        let info = info(None, None, machine, kernel);
        (info.page_size, info.page_size_from)
    };
    assert_eq!(of(Some(16384), Some(KERNEL_6_1)), (4096, "VMCOREINFO"));
    assert_eq!(of(Some(16384), Some(Kernel(""))), (16384, "the machine"));
    assert_eq!(of(None, None), (65536, "QEMU's rule"));
}

#[test]
fn phys_base_is_the_start_of_the_linear_map_in_64_bits_else_that_of_ram() {
    let of = |kernel| info(None, None, None, kernel).phys_base;
    assert_eq!([of(None), of(Some(Kernel(""))), of(Some(KERNEL_6_12))], [0x4000_0000; 3]);
    assert_eq!(of(Some(KERNEL_6_1)).cast_unsigned(), 0xffff_b4f1_4000_0000);
    assert_eq!(of(Some(Kernel("NUMBER(PHYS_OFFSET)=-4096"))), -4096);
}
