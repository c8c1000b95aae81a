//! Every sample is what its description says: checked through the architecture's own walker and core's search.

use guestdump_arch::paging::walk::Walker;
use guestdump_arch::{KernelFacts, PhysAddr, VirtAddr};
use guestdump_core::kernel;
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

use super::build::{GREETING, HELLO, IDLE, IMAGE, IMAGE_LEN, NOTE, RELEASE, TABLES, USER, USER_PAGES, UTS};
use super::*;

fn each(check: impl Fn(&Demo, Guest)) {
    for demo in ALL {
        check(demo, guest(demo.name).unwrap());
    }
}

fn translate(guest: &Guest, virt: u64) -> Option<u64> {
    let paging = guest.arch.paging(&guest.vcpus[0]).unwrap();
    Walker::new(&paging, guest.memory.as_ref()).translate(VirtAddr(virt)).unwrap().map(|phys| phys.0)
}

fn bytes(guest: &Guest, phys: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    assert!(guest.memory.read(PhysAddr(phys), &mut buf).unwrap());
    buf
}

fn pages(guest: &Guest) -> Vec<Vec<u8>> {
    let starts = guest.blocks.iter().flat_map(|block| (block.range.start().0..block.range.end().0).step_by(4096));
    starts.map(|at| bytes(guest, at, 4096)).collect()
}

fn distinct_bytes(page: &[u8]) -> usize {
    let mut seen = [false; 256];
    page.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}

fn searched(mut guest: Guest) -> (Guest, Vmcoreinfo) {
    kernel::find_vmcoreinfo(&mut guest);
    let info = guest.vmcoreinfo.clone().unwrap();
    (guest, info)
}

#[test]
fn aliases_name_samples_too() {
    for name in names() {
        assert_eq!(guest(name).unwrap().arch.identity().name, name);
    }
    assert_eq!(guest("amd64").unwrap().arch.identity().name, "x86_64");
    assert!(guest("vax").is_none());
}

#[test]
fn all_registers_of_two_vcpus_are_known() {
    each(|demo, guest| {
        assert_eq!(guest.vcpus.len(), 2);
        for vcpu in &guest.vcpus {
            let known: Vec<&str> = vcpu.registers.known().map(|(def, _)| def.name).collect();
            let unknown = guest.arch.registers().iter().filter(|def| !known.contains(&def.name)).map(|def| def.name);
            // lma stands in for efer where that is not known; the others are of machines that translate otherwise.
            let others = |name: &&str| ["lma", "c_bit", "sdr1"].contains(name) || name.starts_with("slb");
            assert_eq!(unknown.filter(|name| !others(name)).collect::<Vec<_>>(), Vec::<&str>::new(), "{}", demo.name);
        }
    });
}

#[test]
fn memory_has_a_hole_and_a_device() {
    each(|_, guest| {
        let sorted = guestdump_core::block::sorted(guest.blocks.clone()).unwrap();
        assert_eq!(sorted, guest.blocks);
        assert!(guest.blocks.iter().any(|block| block.kind == BlockKind::Device));
        let gaps = guest.blocks.windows(2).filter(|pair| pair[0].range.end() < pair[1].range.start());
        assert_eq!(gaps.count(), 1);
    });
}

#[test]
fn kernel_addresses_translate() {
    each(|demo, guest| {
        let greeting = translate(&guest, demo.image_virt + GREETING).unwrap();
        assert_eq!(bytes(&guest, greeting, HELLO.len()), HELLO);
        for at in (0..IMAGE_LEN).step_by(4096) {
            assert_eq!(translate(&guest, demo.image_virt + at), Some(demo.main + IMAGE + at));
        }
        for block in &guest.blocks {
            let at = block.range.start().0;
            assert_eq!(translate(&guest, demo.linear_virt + at), Some(at));
        }
        let end = demo.linear_virt + guest.blocks.last().unwrap().range.end().0;
        assert_eq!((translate(&guest, end), translate(&guest, end - 1)), (None, Some(end - 1 - demo.linear_virt)));
        assert_eq!(translate(&guest, 0), None);
    });
}

#[test]
fn user_pages_lie_in_reverse_order() {
    each(|demo, guest| {
        for page in 0..USER_PAGES {
            let phys = translate(&guest, demo.user_virt + page * 4096).unwrap();
            assert_eq!(phys, demo.main + USER + (USER_PAGES - 1 - page) * 4096);
            assert!(bytes(&guest, phys, 16).starts_with(format!("user page {page}").as_bytes()));
        }
    });
}

#[test]
fn vcpus_are_where_their_code_is() {
    each(|demo, guest| {
        let ip = ["rip", "eip", "pc", "nip", "pswa"];
        let at = |cpu: usize| ip.iter().find_map(|name| guest.vcpus[cpu].registers.get_named(name)).unwrap();
        let idle = translate(&guest, at(0)).unwrap();
        assert!((IDLE..IDLE + 16).contains(&(idle - demo.main - IMAGE)));
        assert_eq!(bytes(&guest, demo.main + IMAGE + IDLE, demo.idle.len()), demo.idle);
        assert!(translate(&guest, at(1)).is_some());
    });
}

#[test]
fn vcpus_name_the_same_tables() {
    each(|_, guest| {
        let form = |cpu: usize| format!("{:?}", guest.arch.paging(&guest.vcpus[cpu]).unwrap());
        assert_eq!(form(0), form(1));
    });
}

#[test]
fn the_kernel_is_found_and_tells_the_truth() {
    each(|demo, guest| {
        let (guest, info) = searched(guest);
        let at = PhysAddr(demo.main + NOTE);
        let origin = if demo.name == "s390x" { Origin::Pointer(at) } else { Origin::Search(at) };
        assert_eq!(info.origin(), origin, "{}", demo.name);
        assert_eq!(info.text("OSRELEASE"), Some(RELEASE));
        assert_eq!(info.page_size(), Some(4096));
        for (symbol, at) in [("_stext", 0), ("swapper_pg_dir", TABLES), ("init_uts_ns", UTS)] {
            let virt = info.symbol(symbol).unwrap();
            assert_eq!(translate(&guest, virt.0), Some(demo.main + IMAGE + at), "{symbol}");
            let by_arithmetic = guest.arch.linux().and_then(|linux| linux.image_phys(&info, virt));
            assert!(by_arithmetic.is_none_or(|phys| phys.0 == demo.main + IMAGE + at), "{symbol}");
        }
    });
}

#[test]
fn utsname_is_that_of_the_guest() {
    each(|demo, guest| {
        let (guest, _) = searched(guest);
        let name = kernel::utsname(&guest, "");
        assert_eq!((name.text("sysname").as_str(), name.text("release").as_str()), ("Linux", RELEASE));
        let machine = match demo.name {
            "i386" => "i686",
            "ppc64" => "ppc64le",
            name => name,
        };
        assert_eq!(name.text("machine"), machine);
    });
}

#[test]
fn phys_base_is_negative() {
    let (_, info) = searched(guest("x86_64").unwrap());
    assert_eq!(info.number("phys_base"), Some(-0x1e0_0000));
    assert_eq!(info.text("KERNELOFFSET"), Some("1000000"));
}

#[test]
fn the_linear_map_of_i386_is_found() {
    let (guest, _) = searched(guest("i386").unwrap());
    let map = kernel::linear_map(&guest).unwrap();
    assert_eq!((map.virt.0, map.phys.0, map.len_bytes), (0xc000_0000, 0, 0x60_0000));
}

#[test]
fn content_is_mixed() {
    each(|_, guest| {
        let pages = pages(&guest);
        let zero = pages.iter().filter(|page| page.iter().all(|byte| *byte == 0)).count();
        let poison = pages.iter().filter(|page| page.iter().all(|byte| *byte == 0x6b)).count();
        let text = pages.iter().filter(|page| page.is_ascii() && page.windows(9).take(99).any(|w| w == b"brown fox"));
        let text = text.count();
        let noise = pages.iter().filter(|page| distinct_bytes(page) > 240).count();
        // The half page of noise counts too.
        assert_eq!((poison, text, noise), (128, 256, 193));
        assert!(zero > 500, "{zero}");
    });
}

#[test]
fn a_sample_is_the_same_each_time() {
    each(|demo, first| assert_eq!(pages(&first), pages(&guest(demo.name).unwrap())));
}
