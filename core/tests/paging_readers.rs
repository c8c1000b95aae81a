//! What readers that are not ours find by virtual address in our dumps: gdb and drgn, of which each takes another one of two
//! segments with the same address. With `GUESTDUMP_REQUIRE_ORACLES=1` (CI) their absence is a failure.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::path::Path;
use std::process::Command;

use guestdump_core::arch::{self, Endian, PhysAddr, Registers, Vcpu};
use guestdump_core::block::{BlockKind, Bytes};
use guestdump_core::format;
use guestdump_core::guest::Guest;
use guestdump_core::plan::mapped::Wanted;
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::Seekable;
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

const PAGE: u64 = 4096;
const PRESENT: u64 = 3;
/// An address of the kernel and one of a process.
const KERNEL: u64 = 0xffff_9000_0000_0000;
const USER: u64 = 0x40_0000;

/// RAM from 0 on, every page of which starts with its number, unless it is a table of four levels.
struct Ram {
    bytes: Vec<u8>,
    free: u64,
}

impl Ram {
    fn new(pages: u64) -> Self {
        let page = |number: u64| (0..PAGE / 8).flat_map(move |_| (number | 0x5a5a << 48).to_le_bytes());
        Self { bytes: (0..pages).flat_map(page).collect(), free: 0 }
    }

    fn table(&mut self) -> u64 {
        self.bytes[self.free as usize..][..PAGE as usize].fill(0);
        self.free += PAGE;
        self.free - PAGE
    }

    fn entry(&mut self, table: u64, index: u64) -> &mut [u8; 8] {
        (&mut self.bytes[(table + index * 8) as usize..][..8]).try_into().unwrap()
    }

    fn map(&mut self, root: u64, virt: u64, phys: u64) {
        let mut table = root;
        for shift in [39, 30, 21] {
            let old = u64::from_le_bytes(*self.entry(table, virt >> shift & 511));
            let next = if old == 0 { self.table() | PRESENT } else { old };
            *self.entry(table, virt >> shift & 511) = next.to_le_bytes();
            table = next & !0xfff;
        }
        *self.entry(table, virt >> 12 & 511) = (phys | PRESENT).to_le_bytes();
    }

    fn guest(self, roots: &[u64]) -> Guest {
        let arch = arch::by_name("x86_64").unwrap().0;
        let len = self.bytes.len() as u64;
        let mut guest =
            common::guest(arch, Endian::Little, vec![(0, BlockKind::Ram, len, Box::new(Bytes(self.bytes)) as Box<_>)]);
        guest.vcpus = (0..).zip(roots).map(|(id, root)| vcpu(id, *root)).collect();
        let text = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff82a10000\nNUMBER(phys_base)=0\n";
        guest.vmcoreinfo = Some(Vmcoreinfo::new(text.as_bytes().to_vec(), Origin::Given));
        guest
    }
}

fn vcpu(id: u32, root: u64) -> Vcpu {
    let mut registers = Registers::unknown(arch::by_name("x86_64").unwrap().0.registers());
    for (name, value) in [("cr0", 0x8000_0001), ("cr3", root), ("cr4", 0x20), ("efer", 0x500)] {
        registers.set_named(name, &u64::to_le_bytes(value)).unwrap();
    }
    Vcpu { id, registers }
}

fn write(guest: &Guest, wanted: Wanted, path: &Path) {
    let options = PlanOptions {
        format: format::by_name("elf").unwrap(),
        range: None,
        dump_level: 0,
        device_memory: false,
        page_size: None,
        paging: Some(wanted),
    };
    let plan = Plan::new(guest, &options).unwrap();
    let mut sink = Seekable::new(std::fs::File::create(path).unwrap());
    run(&plan, guest, &mut sink, RunOptions::new(1), &Unobserved).unwrap();
}

/// What a program prints; `None` if it or a module of it is not there and none is required.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output();
    let required = std::env::var("GUESTDUMP_REQUIRE_ORACLES").is_ok_and(|value| value == "1");
    let missing =
        output.as_ref().is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("ModuleNotFoundError"));
    assert!(output.is_ok() && !missing || !required, "GUESTDUMP_REQUIRE_ORACLES=1, and there is no {program} {args:?}");
    let output = output.ok().filter(|_| !missing)?;
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

const DRGN: &str = "
import sys, drgn
program = drgn.Program()
program.set_core_dump(sys.argv[1])
for at in sys.argv[2:]:
    print('0x%x' % int.from_bytes(program.read(int(at, 0), 8), 'little'))
";

/// The numbers at virtual addresses, as each reader reads them.
fn read(path: &Path, at: &[u64]) -> Vec<(&'static str, Vec<u64>)> {
    let path = path.to_str().unwrap();
    let asked: Vec<String> = at.iter().map(|at| format!("output/x *(unsigned long *){at:#x}")).collect();
    let mut gdb = vec!["-nx", "-batch", "-c", path];
    asked.iter().for_each(|expression| gdb.extend(["-ex", expression, "-ex", "echo \\n"]));
    let numbers: Vec<String> = at.iter().map(|at| format!("{at:#x}")).collect();
    let mut drgn = vec!["-c", DRGN, path];
    drgn.extend(numbers.iter().map(String::as_str));
    let texts = [("gdb", said("gdb", &gdb)), ("drgn", said("python3", &drgn))];
    let number = |line: &str| u64::from_str_radix(line.strip_prefix("0x")?, 16).ok();
    texts.into_iter().filter_map(|(name, text)| Some((name, text?.lines().filter_map(number).collect()))).collect()
}

/// Every reader finds at each address what a guest has at a physical one.
fn readers_find(guest: &Guest, path: &Path, pairs: &[(u64, u64)]) {
    let at: Vec<u64> = pairs.iter().map(|pair| pair.0).collect();
    let content = |phys: u64| {
        let mut bytes = [0; 8];
        assert!(guest.memory.read(PhysAddr(phys), &mut bytes).unwrap());
        u64::from_le_bytes(bytes)
    };
    for (reader, found) in read(path, &at) {
        assert_eq!(found.len(), pairs.len(), "{reader}");
        for ((virt, phys), value) in pairs.iter().zip(found) {
            assert_eq!(value, content(*phys), "{reader} at {virt:#x}, where {phys:#x} is");
        }
    }
}

/// Whichever of two pages is the lower one, and wherever the run is in which it lies.
#[test]
fn where_vcpus_have_other_memory_readers_find_that_of_the_wanted_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("contested");
    let mut ram = Ram::new(512);
    let roots = [ram.table(), ram.table()];
    let frames = |i: u64| [(200 + i) * PAGE, (300 - i) * PAGE];
    for base in [USER, KERNEL] {
        for i in 0..8 {
            // The lower page is the first vCPU's at even addresses; neighbours of one are none of the other.
            let [low, high] = frames(i + if base == USER { 0 } else { 20 });
            let [first, second] = if i % 2 == 0 { [low, high] } else { [high, low] };
            ram.map(roots[0], base + i * PAGE, first);
            ram.map(roots[1], base + i * PAGE, second);
        }
        // A run of the second vCPU's around a page of the first's.
        ram.map(roots[0], base + 17 * PAGE, frames(8 + (base >> 63) * 20)[0]);
        (16..19).for_each(|i| ram.map(roots[1], base + i * PAGE, (400 + i + (base >> 63) * 20) * PAGE));
    }
    let guest = ram.guest(&roots);
    for (vcpu, first) in [(None, true), (Some(0), true), (Some(1), false)] {
        write(&guest, Wanted { vcpu, ..Wanted::default() }, &path);
        let mut pairs = Vec::new();
        for base in [USER, KERNEL] {
            for i in 0..8 {
                let [low, high] = frames(i + if base == USER { 0 } else { 20 });
                pairs.push((base + i * PAGE, if (i % 2 == 0) == first { low } else { high }));
            }
            let run = |i: u64| (400 + i + (base >> 63) * 20) * PAGE;
            pairs.extend([16, 18].map(|i| (base + i * PAGE, run(i))));
            pairs.push((base + 17 * PAGE, if first { frames(8 + (base >> 63) * 20)[0] } else { run(17) }));
        }
        readers_find(&guest, &path, &pairs);
    }
}

/// 131,072 pages, none of which goes on from another: PN_XNUM.
#[test]
fn more_segments_than_e_phnum_counts_by_virtual_address() {
    const PAGES: u64 = 131_072;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many");
    let mut ram = Ram::new(1024);
    let root = ram.table();
    let frame = |i: u64| (i * 389 % 1024) * PAGE;
    (0..PAGES).for_each(|i| ram.map(root, KERNEL + i * PAGE, frame(i)));
    let guest = ram.guest(&[root]);
    write(&guest, Wanted::default(), &path);
    let Some(text) = said("readelf", &["-W", "-h", path.to_str().unwrap()]) else { return };
    assert!(text.contains(&format!("65535 ({})", PAGES + 1)), "{text}");
    let picked = [0, 1, 65_533, 65_534, 65_535, PAGES - 1];
    readers_find(&guest, &path, &picked.map(|i| (KERNEL + i * PAGE, frame(i))));
}
