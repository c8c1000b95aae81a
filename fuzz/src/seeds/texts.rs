//! Seeds written by hand: pages, plans, texts of people and of monitors.

use guestdump_core::{arch, compress, format};

use super::Seed;
use super::input::{Input, shrink};

/// All of them.
pub fn all(seeds: &mut Vec<Seed>) {
    pages(seeds);
    plans(seeds);
    frames(seeds);
    texts(seeds);
}

fn pages(seeds: &mut Vec<Seed>) {
    let mut text: Vec<u8> = b"the quick brown fox ".iter().copied().cycle().take(400).collect();
    text.resize(4096, 0);
    let mut mixed = vec![0; 4096];
    mixed[100..132].copy_from_slice(&text[7..39]);
    mixed[4095] = 1;
    let noise: Vec<u8> = (0..200_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut half = noise.clone();
    half.resize(700, 7);
    half.resize(4096, 0);
    for (name, page) in [("zeros", vec![0; 4096]), ("text", text), ("mixed", mixed), ("half", half)] {
        for (index, codec) in compress::ALL.iter().enumerate() {
            let mut out = vec![0; page.len()];
            let packed = codec.encoder(page.len()).and_then(|mut encoder| encoder.compress(&page, &mut out));
            if let Ok(Some(len)) = packed {
                let seed = [&[index as u8, 0], &out[..len]].concat();
                seeds.push(("decompress", format!("{}-{name}", codec.name()), seed));
            }
        }
        for index in 0..compress::ALL.len() as u8 {
            seeds.push(("compress", format!("{index}-{name}"), [&[index, 0], shrink(&page).as_slice()].concat()));
        }
    }
    seeds.push(("compress", "noise-64k".to_owned(), [&[1, 4], shrink(&noise).as_slice()].concat()));
}

/// Kind, start and length of each block.
type Layout = &'static [(u8, u64, u64)];

fn plans(seeds: &mut Vec<Seed>) {
    let layouts: [(&str, Layout); 5] = [
        ("one", &[(2, 0, 0x3000)]),
        ("unaligned", &[(2, 0x123, 0x2345), (3, 0x2468, 0x10), (0, 0x8001, 0x7fff)]),
        ("broken", &[(129, 0x1000, 0x4000), (1, 0x8000, 0x3000)]),
        ("huge", &[(0, 0, 1 << 40), (0, 1 << 52, 0xffff << 36)]),
        ("top", &[(0, 0xffff << 48, 0xfffe << 32), (2, 0x1000, 0x1000)]),
    ];
    for (number, (name, blocks)) in layouts.into_iter().enumerate() {
        for (format, about) in format::ALL.iter().enumerate().filter(|format| format.0 % 5 == number || format.0 < 2) {
            let mut input = Input::default();
            let choices = if about.flattened { 0b1_1011 } else { 0b0_1010 };
            input.u8(format as u8).u8(choices).u8(12).scaled(0).scaled(0x9000);
            input.u8(number as u8).u8(0).u8(2).u8(blocks.len() as u8);
            for (kind, start, len) in blocks {
                input.u8(*kind).scaled(*start).scaled(*len);
            }
            input.bytes(b"OSRELEASE=6\nPAGESIZE=8192\nNUMBER(phys_base)=4096\n");
            seeds.push(("plan", format!("{name}-{}", about.name), input.0));
        }
    }
}

/// As many frames as a page may have bytes: one layout of the kdump header has this number where another has the page
/// size.
fn frames(seeds: &mut Vec<Seed>) {
    for (number, arch) in arch::ALL.iter().enumerate() {
        let mut input = Input::default();
        input.u8(1).u8(0b1010).u8(12).scaled(0).scaled(0).u8(number as u8).u8(0).u8(1);
        input.u8(1).u8(2).scaled(0xff_f000).scaled(0x1000);
        seeds.push(("plan", format!("crash-4096-frames-{}", arch.identity().name), input.0));
    }
}

fn texts(seeds: &mut Vec<Seed>) {
    let mut add = |target, name: &str, text: &str| seeds.push((target, name.to_owned(), text.as_bytes().to_vec()));
    let zeros = "arch = \"amd64\"\nbyte-order = \"little\"\npage-size = \"4K\"\n[[memory]]\nstart = 0\nlength = \"1M\"\nzero = true\n\
                 [[memory]]\nstart = \"0x1_0000_0000\"\nlength = 4096\nzero = true\nkind = \"device\"\n\
                 [[cpu]]\nid = 1\nregisters = { rip = \"0xffffffff81000000\", cr0 = 0x80050033, efer = 0xd01 }\n[vmcoreinfo]\n";
    add("manifest", "zeros-search", &format!("{zeros}search = false\n"));
    add("manifest", "zeros-at", &format!("{zeros}at = 0x1000\nsize = \"1K\"\n"));
    add("manifest", "deep", &format!("a = {}", "[".repeat(2000)));
    add("manifest", "unknown-key", "arch = \"i386\"\n[[memory]]\nstrat = 0\n");
    for (name, text) in [("hex", "0xffff_ffff_ffff_ffff"), ("suffix", "16777215T"), ("bad", "1__0"), ("negative", "-1")]
    {
        add("numbers", name, text);
    }
    add("numbers", "binary", "101_1");
    add("qmp_wire", "greeting", GREETING);
    add("qmp_wire", "deep", &format!("a{}", "[".repeat(1000)));
    add("qmp_replies", "gpa2hva", "Host virtual address for 0xc0000 (a (b) is 0x1) is 0x7fb72fe00000\r\n");
    add("qmp_replies", "efer", "\r\nCPU#0\r\nRAX=0 RBX=0\r\nEFER=0000000000000d01\r\nCPU#1\r\nEFER=0\r\n");
    add("qmp_replies", "pci", PCI);
}

const GREETING: &str = "\x07{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}, \"package\": \"x\"}, \
    \"capabilities\": []}}\r\n{\"timestamp\": {\"seconds\": 1}, \"event\": \"STOP\"}\r\n\r\n{\"return\": {}, \"id\": 7}\r\n\
    {\"id\": 3, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n{\"x\"";
const PCI: &str = "[{\"bus\": 0, \"devices\": [{\"regions\": [{\"bar\": 2, \"size\": 1048576, \"address\": 4261412864, \
    \"type\": \"memory\"}, {\"bar\": 6, \"size\": 65536, \"address\": -1, \"type\": \"memory\"}], \
    \"pci_bridge\": {\"devices\": [{\"regions\": [{\"bar\": 4, \"size\": 32, \"address\": 49216, \"type\": \"io\"}]}]}}]}]";
