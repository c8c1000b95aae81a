//! Makes the seeds in `corpus/` from `testdata/` and from what our own writers write. Part of the test in
//! `frontend/tests/fuzz_replay.rs`, which says how to run it; the fuzz targets themselves do not need it.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use guestdump_core::arch::{self, Arch, Endian, PhysAddr, PhysRange, Reg, Registers, Vcpu};
use guestdump_core::block::{Backing, Block, BlockKind, BlockMemory, Bytes, Zeros};
use guestdump_core::compress;
use guestdump_core::format::flattened::{Flattened, HEADER_LEN};
use guestdump_core::format::read::{self, Dump};
use guestdump_core::format::{self, Format};
use guestdump_core::guest::Guest;
use guestdump_core::plan::Plan;
use guestdump_core::run::{RunOptions, Unobserved, run};
use guestdump_core::sink::{Seekable, Sink};
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

use crate::bodies::machine::{TAGS, Tag};
use crate::bodies::writing::options;
use crate::bodies::{elf, kdump};

/// Target, name and bytes of a seed.
pub type Seed = (&'static str, String, Vec<u8>);

/// Every seed. `testdata` is the project's folder of that name.
pub fn all(testdata: &Path) -> io::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for name in folders(&testdata.join("captures"))? {
        capture(&name, &testdata.join("captures").join(&name), &mut seeds)?;
    }
    for name in folders(&testdata.join("guests"))? {
        seeds.push(("manifest", name.clone(), fs::read(testdata.join("guests").join(name).join("guest.toml"))?));
    }
    for entry in fs::read_dir(testdata.join("paging"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "txt") {
            let form = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            tables(&form, &fs::read_to_string(&path)?, &mut seeds);
        }
    }
    own_dumps(&mut seeds);
    elf_fields(&mut seeds);
    two_vmcoreinfos(&mut seeds);
    overlapping_notes(&mut seeds);
    end_of_memory(&mut seeds);
    kdump_fields(&mut seeds);
    records(&mut seeds);
    pages(&mut seeds);
    plans(&mut seeds);
    texts(&mut seeds);
    Ok(seeds)
}

fn folders(below: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(below)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The way back of `feed::expand`.
fn shrink(file: &[u8]) -> Vec<u8> {
    const SHORTEST: usize = 8;
    let (mut out, mut at) = (Vec::new(), 0);
    while at < file.len() {
        let rest = &file[at..];
        let zeros = rest.iter().take(usize::from(u16::MAX)).take_while(|byte| **byte == 0).count();
        if zeros >= SHORTEST || zeros == rest.len() {
            out.push(0);
            out.extend_from_slice(&(zeros as u16).to_le_bytes());
            at += zeros;
            continue;
        }
        let literal = rest.windows(SHORTEST).position(|window| window.iter().all(|byte| *byte == 0));
        let literal = literal.unwrap_or(rest.len()).min(255);
        out.push(literal as u8);
        out.extend_from_slice(&rest[..literal]);
        at += literal;
    }
    out
}

/// An input for `Feed`.
#[derive(Default)]
struct Input(Vec<u8>);

impl Input {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// For `Feed::scaled`: the highest 16 bits that say something.
    fn scaled(&mut self, value: u64) -> &mut Self {
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(16);
        self.u8(shift as u8).u16((value >> shift) as u16)
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn piece(&mut self, wanted: fn(&Tag) -> bool, page: u8, at: u16) -> &mut Self {
        let tag = TAGS.iter().position(wanted).unwrap_or(0);
        self.u8(tag as u8).u8(page).u16(at)
    }

    fn text(&mut self, page: u8, at: u16, text: &[u8]) -> &mut Self {
        for (number, part) in text.chunks(255).enumerate() {
            self.piece(|tag| matches!(tag, Tag::Text), page, at + number as u16 * 255).u8(part.len() as u8).bytes(part);
        }
        self
    }
}

/// What QEMU wrote and said of a real guest.
fn capture(name: &str, folder: &Path, seeds: &mut Vec<Seed>) -> io::Result<()> {
    let head = fs::read(folder.join("elf.head"))?;
    seeds.push(("elf_read", name.to_owned(), shrink(&head)));
    seeds.push(("flattened_read", name.to_owned(), shrink(&flat(&[(0, &head[..head.len().min(1500)])]))));
    if ["i386-pae", "s390x", "x86_64"].contains(&name) {
        seeds.push(("qmp_head", name.to_owned(), head.clone()));
    }
    let registers = fs::read(folder.join("registers_-a.txt"))?;
    seeds.push(("qmp_replies", format!("{name}-registers"), registers[..registers.len().min(1200)].to_vec()));
    for reply in ["query-memdev", "query-status"] {
        let reply = fs::read(folder.join(format!("{reply}.json")))?;
        seeds.push(("qmp_replies", format!("{name}-{}", reply.len()), reply));
    }
    if let Ok(Dump { notes, vmcoreinfo, arch: Some(arch), endian, .. }) = read::open(Arc::new(head)) {
        let number = arch::ALL.iter().position(|known| known.identity().name == arch.identity().name).unwrap_or(0);
        let order = arch.identity().endians.iter().position(|known| *known == endian).unwrap_or(0);
        seeds.extend(vmcoreinfo.map(|info| ("vmcoreinfo", name.to_owned(), info.bytes().to_vec())));
        let mut kinds: Vec<(Vec<u8>, u32)> = Vec::new();
        for note in notes.into_iter().filter(|note| note.desc.len() <= 1024) {
            if !kinds.contains(&(note.name.clone(), note.n_type)) {
                kinds.push((note.name.clone(), note.n_type));
                let kind = format!("{name}-{}-{:x}", String::from_utf8_lossy(&note.name), note.n_type);
                seeds.push(("notes", kind, [&[number as u8, order as u8], note.desc.as_slice()].concat()));
            }
        }
    }
    Ok(())
}

/// One case of a fixture of page tables: registers, entries as (table, index, value), addresses and what they map to.
#[derive(Default)]
struct Case {
    registers: Vec<(String, u64)>,
    entries: Vec<(u64, u64, u64)>,
    addresses: Vec<(u64, Option<u64>)>,
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The fixtures of `testdata/paging`, see its README; what is not understood is left out.
fn tables(form: &str, text: &str, seeds: &mut Vec<Seed>) {
    let (mut cases, mut width, mut big) = (Vec::<Case>::new(), 8, false);
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), cases.last_mut()) {
            (["entries", bytes, order], _) => (width, big) = (number(bytes).unwrap_or(8), *order == "big"),
            ([name, ..], _) if name.starts_with('[') => cases.push(Case::default()),
            ([table, index, value], Some(case)) if table.starts_with('@') => {
                let index = number(index.trim_start_matches('[').trim_end_matches(']'));
                case.entries.extend(number(&table[1..]).zip(index).zip(number(value)).map(|((t, i), v)| (t, i, v)));
            }
            ([virt, "->", phys, ..], Some(case)) => {
                case.addresses.extend(number(virt).map(|virt| (virt, number(phys))));
            }
            ([register, value], Some(case)) => {
                case.registers.extend(number(value).map(|value| ((*register).to_owned(), value)));
            }
            _ => {}
        }
    }
    for (number, case) in cases.iter().enumerate() {
        let Some(machine) = case.machine(width, big) else { continue };
        let mut walk = Input::default();
        for at in 0..4 {
            walk.u64(case.addresses.get(at).map_or(0, |address| address.0));
        }
        seeds.push(("walk", format!("{form}-{number}"), walk.bytes(&machine.0).0.clone()));
        if number == 0 {
            seeds.push(("kernel", form.to_owned(), case.kernel(machine)));
        }
    }
}

impl Case {
    /// The machine of `machine::machine`, of the first architecture that has all the registers.
    fn machine(&self, width: u64, big: bool) -> Option<Input> {
        let has = |arch: &&dyn Arch| {
            let registers = Registers::unknown(arch.registers());
            self.registers.iter().all(|register| registers.find(&register.0).is_some())
        };
        let arch = arch::ALL.iter().position(has)?;
        let registers = Registers::unknown(arch::ALL[arch].registers());
        let mut input = Input::default();
        let last = self.entries.iter().map(|entry| (entry.0 + entry.1 * width) / 4096).filter(|page| *page < 60).max();
        let pages = last.unwrap_or(0) as u8 + 3;
        input.u8(arch as u8).u8(u8::from(big)).u8(pages - 1).u16(0).u8(self.registers.len() as u8);
        for (name, value) in &self.registers {
            input.u8(registers.find(name)?.0 as u8).u64(*value);
        }
        let tag: fn(&Tag) -> bool = match (width, big) {
            (4, false) => |tag| matches!(tag, Tag::Entry(4, Endian::Little)),
            (4, true) => |tag| matches!(tag, Tag::Entry(4, Endian::Big)),
            (_, false) => |tag| matches!(tag, Tag::Entry(8, Endian::Little)),
            (_, true) => |tag| matches!(tag, Tag::Entry(8, Endian::Big)),
        };
        for (table, index, value) in &self.entries {
            let at = table + index * width;
            if at / 4096 < 64 {
                input.piece(tag, (at / 4096) as u8, (at % 4096 / width) as u16).u64(*value);
            }
        }
        Some(input)
    }

    /// The same with a VMCOREINFO note, a banner and a utsname where the tables say.
    fn kernel(&self, mut machine: Input) -> Vec<u8> {
        let mapped = self.addresses.iter().find(|address| address.1.is_some_and(|phys| phys < 60 << 12));
        let (virt, phys) = mapped.map_or((0xffff_ffff_8000_8000, 0x8000), |found| (found.0, found.1.unwrap_or(0)));
        let text = format!(
            "OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(phys_base)=0\nSYMBOL(_stext)={virt:x}\nSYMBOL(init_uts_ns)={virt:x}\n\
             OFFSET(uts_namespace.name)=0\n"
        );
        let mut note = Vec::new();
        for word in [11, text.len() as u32, 0] {
            note.extend_from_slice(&word.to_le_bytes());
        }
        note.extend_from_slice(b"VMCOREINFO\0\0");
        note.extend_from_slice(text.as_bytes());
        let mut names = Vec::new();
        for name in ["Linux", "host", "6.1.0", "#1 SMP", "x86_64", "(none)"] {
            names.extend_from_slice(name.as_bytes());
            names.resize(names.len().next_multiple_of(65), 0);
        }
        let last = machine.0[2];
        machine.text(last, 0x123, &note);
        machine.text(last - 1, 0, b"Linux version 6.1.0 (gcc) #1 SMP\n");
        machine.text((phys >> 12) as u8, (phys % 4096) as u16, &names);
        machine.0
    }
}

/// A guest with text, noise, zeros, a gap, a block that is not page aligned, and two vCPUs whose registers differ.
fn tiny(arch: &'static dyn Arch, endian: Endian) -> Guest {
    let text: Vec<u8> = b"guest page ".iter().copied().cycle().take(0x180).collect();
    let mut first = vec![0; 0x1000];
    first.extend_from_slice(&text);
    first.resize(0x2000, 0);
    first.extend((0..0x180_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8));
    let parts: Vec<(u64, u64, Box<dyn Backing>)> = vec![
        (0, 0x2800, Box::new(Bytes(first))),
        (0x8000, 0x2000, Box::new(Zeros)),
        (0xc123, 0x200, Box::new(Bytes(text))),
    ];
    let range = |start, len| PhysRange::new(PhysAddr(start), len).expect("a short range");
    let block = |part: &(u64, u64, Box<dyn Backing>)| Block {
        range: range(part.0, part.1),
        kind: BlockKind::Ram,
        name: "ram".to_owned(),
    };
    let vcpu = |id: u32| {
        let mut registers = Registers::unknown(arch.registers());
        for index in 0..arch.registers().len() as u16 {
            registers.set(Reg(index), u64::from(index) << (8 * id) | 1);
        }
        Vcpu { id, registers }
    };
    let text = b"OSRELEASE=6.1.0-tiny\nPAGESIZE=4096\nNUMBER(phys_base)=-35651584\n".to_vec();
    Guest {
        arch,
        endian: Some(endian),
        machine_page_size: None,
        blocks: parts.iter().map(block).collect(),
        memory: Arc::new(BlockMemory::new(parts.into_iter().map(|part| (range(part.0, part.1), part.2)).collect())),
        vcpus: vec![vcpu(0), vcpu(1)],
        notes: None,
        vmcoreinfo: Some(Vmcoreinfo::new(text, Origin::Given)),
        banner: None,
        remarks: Vec::new(),
    }
}

fn written(guest: &Guest, format: &'static Format) -> Vec<u8> {
    let plan = Plan::new(guest, &options(format)).expect("a plan");
    let mut out = Vec::new();
    let threads = RunOptions { threads: 1 };
    if format.flattened {
        run(&plan, guest, &mut Flattened::new(&mut out), threads, &Unobserved)
    } else {
        run(&plan, guest, &mut Seekable::new(Cursor::new(&mut out)), threads, &Unobserved)
    }
    .expect("memory takes everything");
    out
}

/// Dumps of the tiny guest of every architecture and byte order: as ELF, and in some of the other formats each, so that all
/// of them come up.
fn own_dumps(seeds: &mut Vec<Seed>) {
    let guests = arch::ALL.iter().flat_map(|arch| arch.identity().endians.iter().map(move |endian| (*arch, endian)));
    for (number, (arch, endian)) in guests.enumerate() {
        for (index, format) in format::ALL.iter().enumerate() {
            if index == 0 || (index + number) % 4 == 0 {
                let dump = written(&tiny(arch, *endian), format);
                let name = format!("{}-{}-{}", arch.identity().name, endian.name(), format.name);
                seeds.push(match (format.flattened, format.container) {
                    (true, _) => ("flattened_read", name, shrink(&dump[HEADER_LEN..])),
                    (false, format::Container::Elf) => ("elf_read", name, shrink(&dump)),
                    (false, format::Container::Kdump) => ("kdump_read", name, shrink(&dump)),
                });
            }
        }
    }
}

/// ELF files of every class and byte order: notes, a block that is stored, one that is a hole.
fn elf_fields(seeds: &mut Vec<Seed>) {
    for number in 0..8 {
        let mut input = Input::default();
        input.u8(number & 1).u8(number >> 1 & 1).u8(number).u8(number >> 2).u8(3);
        input.u8(0b010).u16(0).u16(0).u16(32);
        input.u8(0).u16(32).u16(0x10).u16(300);
        input.u8(0b100_1000).u16(332).scaled(0x8000_0000).u16(0).scaled(0x4000);
        let mut note = [0; 12];
        let endian = if number & 2 == 0 { Endian::Little } else { Endian::Big };
        for (word, value) in note.chunks_mut(4).zip([5, 12, 0]) {
            endian.put(value, word);
        }
        input.bytes(&note).bytes(b"CORE\0\0\0\0A=1\nB=2\nC=3\n").bytes(&[b'm'; 300]);
        seeds.push(("elf_fields", format!("layout-{number}"), input.0));
    }
    // Two halves of the address space, neither of which is in the file.
    let mut input = Input::default();
    input.u8(0).u8(0).u8(0).u8(0).u8(2);
    for start in [0, 1 << 63] {
        input.u8(0b101_1000).u16(0).scaled(start).scaled(0xffff << 48).scaled(0x7fff << 48);
    }
    seeds.push(("elf_fields", "halves".to_owned(), input.0));
    let mut input = Input::default();
    input.u8(0).u8(0).u8(0).u8(0).u8(1).u8(0b111_0000).u16(0).u16(0).scaled(0).u64(u64::MAX);
    seeds.push(("elf_fields", "everything".to_owned(), input.0.clone()));
    seeds.push(("elf_fields", "everything-odd".to_owned(), input.u8(0).0.clone()));
}

/// Two notes of one name that should be there once.
fn two_vmcoreinfos(seeds: &mut Vec<Seed>) {
    for spare in 0..2 {
        let mut input = Input::default();
        input.u8(0).u8(0).u8(0).u8(0).u8(2);
        input.u8(0b010).u16(0).u16(0).u16(56).u8(0).u16(0).u16(0x10).u16(56);
        for text in [b"A=1\n", b"B=2\n"] {
            for word in [11_u32, 4, 0] {
                input.bytes(&word.to_le_bytes());
            }
            input.bytes(b"VMCOREINFO\0\0").bytes(text);
        }
        input.bytes(&vec![0; spare]);
        seeds.push(("elf_fields", format!("crash-two-vmcoreinfos-{spare}"), input.0));
    }
}

/// Many program headers that all say: these are the notes, forty thousand empty ones.
fn overlapping_notes(seeds: &mut Vec<Seed>) {
    let (count, len) = (150_u64, 500_000);
    let mut file = elf::build(&[0; 5]);
    file[56..58].copy_from_slice(&(count as u16).to_le_bytes());
    for _ in 0..count {
        file.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
        for word in [64 + 56 * count, 0, 0, len, len, 0] {
            file.extend_from_slice(&word.to_le_bytes());
        }
    }
    file.resize(file.len() + len as usize, 0);
    seeds.push(("elf_read", "overlapping-notes".to_owned(), shrink(&file)));
}

/// Blocks up to the end of all addresses, and so many notes that offsets in a file would pass it.
fn end_of_memory(seeds: &mut Vec<Seed>) {
    for spare in 0..2 {
        let mut file = elf::build(&[0; 5]);
        file[56..58].copy_from_slice(&3_u16.to_le_bytes());
        let notes = 0x5000 + spare;
        for (kind, offset, phys, file_len, mem_len) in [
            (4, 64 + 3 * 56, 0, notes, notes),
            (1, 0, 0, 0, 0_u64.wrapping_sub(0x3000)),
            (1, 0, 0_u64.wrapping_sub(0x2000), 0, 0x1fff),
        ] {
            file.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
            for word in [offset, phys, phys, file_len, mem_len, 0] {
                file.extend_from_slice(&word.to_le_bytes());
            }
        }
        file.resize(file.len() + notes as usize, 0);
        seeds.push(("elf_read", format!("crash-end-of-memory-{spare}"), shrink(&file)));
    }
}

/// kdump files of every layout and byte order with a page of every codec.
fn kdump_fields(seeds: &mut Vec<Seed>) {
    let page: Vec<u8> = b"page".iter().copied().cycle().take(4096).collect();
    let packed: Vec<(u32, Vec<u8>)> = compress::ALL
        .iter()
        .filter_map(|codec| {
            let mut out = vec![0; page.len()];
            let len = codec.encoder(page.len()).and_then(|mut encoder| encoder.compress(&page, &mut out)).ok()??;
            Some((codec.flag(), out[..len].to_vec()))
        })
        .collect();
    for (number, (endian, abi)) in (0..2).flat_map(|endian| (0..3).map(move |abi| (endian, abi))).enumerate() {
        let mut input = Input::default();
        input.u8(endian).u8(abi).u8(0).u8(number as u8).u16(0).u8(1);
        let bits = (1_u8 << packed.len()) - 1;
        input.u8(1).u8(bits).u8(1).u8(bits).u8(packed.len() as u8);
        let mut at = 0;
        for (flag, data) in &packed {
            let kind = kdump::FLAGS.iter().position(|known| known == flag).unwrap_or(0);
            input.u8(kind as u8).u16(at).u16(data.len() as u16);
            at += data.len() as u16;
        }
        input.u8(1).u8(20).u8(0).scaled(0xfff0_0000);
        for (_, data) in &packed {
            input.bytes(data);
        }
        let file = kdump::build(&input.0);
        seeds.push(("kdump_fields", format!("layout-{number}"), input.0));
        seeds.push(("kdump_read", format!("layout-{number}"), shrink(&file)));
    }
}

/// Records without the header in front of them.
fn flat(records: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = Flattened::new(&mut out);
    for (offset, bytes) in records {
        sink.write_at(*offset, bytes).expect("memory takes everything");
    }
    sink.finish(0).expect("memory takes everything");
    out.split_off(HEADER_LEN)
}

/// Records that overlap; one far away; one so far away that there is room for the bitmaps of 2^38 frames before it.
fn records(seeds: &mut Vec<Seed>) {
    let overlapping = flat(&[(0, b"\x7fELF\x02\x01\x01"), (4, &[1; 60]), (2, &[2; 8]), (0, &[3; 100]), (50, &[4; 2])]);
    seeds.push(("flattened_read", "overlapping".to_owned(), shrink(&overlapping)));
    seeds.push(("flattened_read", "far".to_owned(), shrink(&flat(&[(0, b"KDUMP   "), (1 << 40, b"end")]))));
    let mut input = Input::default();
    input.bytes(&[0; 4]).u16(0).u8(1).u8(0).u8(0).u8(0).u8(2);
    // The numbers of bitmap_blocks and max_mapnr_64 among the integers of both headers.
    input.u8(6).u8(0).scaled(1 << 24).u8(26).u8(0).scaled(1 << 38);
    let headers = &kdump::build(&input.0)[..2 * 4096];
    seeds.push(("flattened_read", "timeout-far".to_owned(), shrink(&flat(&[(0, headers), (1 << 40, b"end")]))));
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
        // As many frames as a page may have bytes: a number that one layout of the header has where others have the page size.
        ("crash-4096-frames", &[(2, 0xff_f000, 0x1000)]),
        ("top", &[(0, 0xffff << 48, 0xfffe << 32), (2, 0x1000, 0x1000)]),
    ];
    for (number, (name, blocks)) in layouts.into_iter().enumerate() {
        for (format, about) in format::ALL.iter().enumerate().filter(|format| format.0 % 6 == number || format.0 < 2) {
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
