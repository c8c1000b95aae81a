//! Logs made by hand, of both kinds, both byte orders, 32 and 64 bits, whole and broken; and what is read of them.
//!
//! The images are laid out here by the numbers of this file's VMCOREINFO, which are not those of any kernel: a reader that
//! knows an offset by itself fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

use std::fmt::Write as _;
use std::sync::Arc;

use guestdump_arch::{Endian, PhysAddr, PhysRange, Registers, Vcpu};
use guestdump_core::arch;
use guestdump_core::block::{Backing, Block, BlockKind, BlockMemory, Bytes};
use guestdump_core::guest::{Guest, Past};
use guestdump_core::kernel::dmesg::{self, DmesgError, Kind, Record};
use guestdump_core::vmcoreinfo::{Origin, Vmcoreinfo};

const RAM: usize = 0x40000;
const RB: usize = 0x1000;
const DESCS: usize = 0x2000;
const INFOS: usize = 0x4000;
const TEXT: usize = 0x10000;
const OLD: usize = 0x20000;
const VARIABLES: usize = 0x800;

/// A kernel: its architecture, byte order, width of `long`, where its memory is mapped.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    arch: &'static str,
    endian: Endian,
    word: usize,
    base: u64,
}

const KERNELS: [Kernel; 3] = [
    Kernel { arch: "ppc64", endian: Endian::Big, word: 8, base: 0xc000_0000_0000_0000 },
    Kernel { arch: "ppc64", endian: Endian::Little, word: 8, base: 0xc000_0000_0000_0000 },
    Kernel { arch: "i386", endian: Endian::Little, word: 4, base: 0xc000_0000 },
];

/// RAM that is being filled, and the text that says where things are.
struct Image {
    kernel: Kernel,
    ram: Vec<u8>,
    info: String,
}

impl Image {
    fn new(kernel: Kernel) -> Self {
        Self { kernel, ram: vec![0; RAM], info: "OSRELEASE=6.1.0\nPAGESIZE=4096\n".to_owned() }
    }

    fn put(&mut self, at: usize, width: usize, value: u64) {
        let bytes = value.to_le_bytes();
        for (index, byte) in bytes[..width].iter().enumerate() {
            let place = if self.kernel.endian == Endian::Little { index } else { width - 1 - index };
            self.ram[at + place] = *byte;
        }
    }

    fn word(&mut self, at: usize, value: u64) {
        self.put(at, self.kernel.word, value);
    }

    fn pointer(&mut self, at: usize, to: usize) {
        self.word(at, self.kernel.base + to as u64);
    }

    fn say(&mut self, lines: &[(&str, usize)]) {
        for (key, value) in lines {
            writeln!(self.info, "{key}={value}").unwrap();
        }
    }

    fn symbol(&mut self, name: &str, at: usize) {
        writeln!(self.info, "SYMBOL({name})={:x}", self.kernel.base + at as u64).unwrap();
    }

    fn guest(mut self) -> Guest {
        let arch = arch::by_name(self.kernel.arch).unwrap().0;
        let mut registers = Registers::unknown(arch.registers());
        if self.kernel.word == 4 {
            // One page directory whose entry for 0xc0000000 is a page of 4 MiB at 0.
            let directory = RAM - 4096;
            self.put(directory + 0x300 * 4, 4, 0x83);
            for (name, value) in [("cr0", 0x8000_0011), ("cr3", directory as u64), ("cr4", 0x10)] {
                registers.set(registers.find(name).unwrap(), value);
            }
        }
        let range = PhysRange::new(PhysAddr(0), RAM as u64).unwrap();
        let backed: Vec<(PhysRange, Box<dyn Backing>)> = vec![(range, Box::new(Bytes(self.ram)))];
        Guest {
            arch,
            endian: Some(self.kernel.endian),
            machine_page_size: None,
            blocks: vec![Block { range, kind: BlockKind::Ram, name: "ram".to_owned() }],
            memory: Arc::new(BlockMemory::new(backed)),
            vcpus: vec![Vcpu { id: 0, registers }],
            notes: None,
            vmcoreinfo: Some(Vmcoreinfo::new(self.info.into_bytes(), Origin::Given)),
            banner: None,
            remarks: Vec::new(),
            past: Past::default(),
        }
    }
}

const COUNT_BITS: usize = 4;
const SIZE_BITS: usize = 8;
const DESC: usize = 64;
const INFO: usize = 128;

/// An empty ring of 16 descriptors and 256 bytes of text with ids from `tail` to `head`.
fn ring(kernel: Kernel, tail: u64, head: u64) -> Image {
    let mut image = Image::new(kernel);
    image.say(&[
        ("OFFSET(printk_ringbuffer.desc_ring)", 0x40),
        ("OFFSET(printk_ringbuffer.text_data_ring)", 0xc0),
        ("OFFSET(prb_desc_ring.count_bits)", 4),
        ("OFFSET(prb_desc_ring.descs)", 0x10),
        ("OFFSET(prb_desc_ring.infos)", 0x18),
        ("OFFSET(prb_desc_ring.head_id)", 0x20),
        ("OFFSET(prb_desc_ring.tail_id)", 0x30),
        ("OFFSET(prb_data_ring.size_bits)", 8),
        ("OFFSET(prb_data_ring.data)", 0x18),
        ("OFFSET(atomic_long_t.counter)", 8),
        ("SIZE(prb_desc)", DESC),
        ("OFFSET(prb_desc.state_var)", 16),
        ("OFFSET(prb_desc.text_blk_lpos)", 40),
        ("OFFSET(prb_data_blk_lpos.begin)", 8),
        ("OFFSET(prb_data_blk_lpos.next)", 0),
        ("SIZE(printk_info)", INFO),
        ("OFFSET(printk_info.seq)", 24),
        ("OFFSET(printk_info.ts_nsec)", 8),
        ("OFFSET(printk_info.text_len)", 2),
        ("OFFSET(printk_info.caller_id)", 32),
        ("OFFSET(printk_info.dev_info)", 48),
        ("OFFSET(dev_printk_info.subsystem)", 0),
        ("LENGTH(printk_info_subsystem)", 8),
        ("OFFSET(dev_printk_info.device)", 16),
        ("LENGTH(printk_info_device)", 8),
    ]);
    image.symbol("prb", VARIABLES);
    image.pointer(VARIABLES, RB);
    image.put(RB + 0x40 + 4, 4, COUNT_BITS as u64);
    image.pointer(RB + 0x40 + 0x10, DESCS);
    image.pointer(RB + 0x40 + 0x18, INFOS);
    image.word(RB + 0x40 + 0x20 + 8, head);
    image.word(RB + 0x40 + 0x30 + 8, tail);
    image.put(RB + 0xc0 + 8, 4, SIZE_BITS as u64);
    image.pointer(RB + 0xc0 + 0x18, TEXT);
    image
}

const RESERVED: u64 = 0;
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;
const REUSABLE: u64 = 3;

impl Image {
    fn desc(&mut self, id: u64, state: u64, begin: u64, next: u64) {
        let at = DESCS + (id as usize % (1 << COUNT_BITS)) * DESC;
        let top = self.kernel.word as u32 * 8 - 2;
        self.word(at + 24, state << top | id);
        self.word(at + 48, begin);
        self.word(at + 40, next);
    }

    fn info(&mut self, id: u64, ts_nsec: u64, len: usize) {
        let at = INFOS + (id as usize % (1 << COUNT_BITS)) * INFO;
        self.put(at + 24, 8, 1000 + id);
        self.put(at + 8, 8, ts_nsec);
        self.put(at + 2, 2, len as u64);
        self.put(at + 32, 4, 77);
    }

    /// A record whose text is a block from `begin` to `next`.
    fn text(&mut self, id: u64, state: u64, (begin, next): (u64, u64), text: &str) {
        self.desc(id, state, begin, next);
        self.info(id, id.wrapping_mul(1_000_000), text.len());
        let crosses = begin >> SIZE_BITS != next >> SIZE_BITS && next % (1 << SIZE_BITS) != 0;
        let start = if crosses { 0 } else { begin as usize % (1 << SIZE_BITS) };
        self.word(TEXT + start, id);
        let at = TEXT + start + self.kernel.word;
        self.ram[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
}

fn read(guest: &Guest) -> (Vec<Record>, u64, Option<&'static str>) {
    let mut log = dmesg::open(guest).unwrap();
    let records: Vec<Record> = log.by_ref().collect();
    (records, log.damage().records, log.damage().first)
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.text.clone()).unwrap()).collect()
}

#[test]
fn rings_are_read_from_their_oldest_record_on() {
    for kernel in KERNELS {
        // Ids 30 to 37: indices 14, 15, 0 to 5. Texts count on beyond 256; the fifth does not fit before the ring's end.
        let mut image = ring(kernel, 30, 37);
        image.desc(30, REUSABLE, 0, 0);
        image.text(31, FINALIZED, (0x120, 0x140), "first");
        image.text(32, COMMITTED, (0x140, 0x160), "two\nlines");
        image.desc(33, RESERVED, 0x160, 0x180);
        image.desc(34, FINALIZED, 1, 1);
        image.info(34, 34_000_000, 0);
        image.text(35, FINALIZED, (0x1f0, 0x220), "from the ring's start");
        image.text(36, FINALIZED, (0x2c0, 0x2cc), "");
        image.text(37, FINALIZED, (0x2e0, 0x300), "up to its end");
        let guest = image.guest();
        assert_eq!(dmesg::open(&guest).unwrap().kind(), Kind::Ring);
        let (records, damage, _) = read(&guest);
        let expected = ["first", "two\nlines", "", "from the ring's start", "", "up to its end"];
        assert_eq!((texts(&records), damage), (expected.map(str::to_owned).to_vec(), 0), "{kernel:?}");
        let first = &records[0];
        assert_eq!((first.seq, first.ts_nsec, first.caller), (Some(1031), 31_000_000, Some(77)));
        // 28 bytes lie between text_len and caller_id, not the two that hold level and facility.
        assert_eq!((first.level, first.facility), (None, None));
    }
}

#[test]
fn ids_go_round() {
    for kernel in KERNELS {
        let last = (1_u64 << (kernel.word * 8 - 2)) - 1;
        let mut image = ring(kernel, last, 0);
        image.text(last, FINALIZED, (0, 0x20), "b");
        image.text(0, FINALIZED, (0x20, 0x40), "after");
        let (records, damage, why) = read(&image.guest());
        assert_eq!((texts(&records), damage, why), (vec!["b".to_owned(), "after".to_owned()], 0, None), "{kernel:?}");
    }
}

#[test]
fn level_and_device_where_the_members_are_as_ever() {
    for (kernel, flags) in KERNELS.into_iter().zip([0b1010_1100_u64, 0b1000_0011, 0b1000_0011]) {
        let mut image = ring(kernel, 16, 16);
        image.info = image.info.replace("(printk_info.caller_id)=32", "(printk_info.caller_id)=6");
        image.text(16, FINALIZED, (0, 0x20), "text");
        image.put(INFOS + 4, 1, 3);
        image.put(INFOS + 5, 1, flags);
        image.ram[INFOS + 48..][..3].copy_from_slice(b"pci");
        image.ram[INFOS + 64..][..8].copy_from_slice(b"0000:00:");
        let (records, ..) = read(&image.guest());
        assert_eq!((records[0].level, records[0].facility), (Some(4), Some(3)), "{kernel:?}");
        let dict = [("SUBSYSTEM".to_owned(), "pci".to_owned()), ("DEVICE".to_owned(), "0000:00:".to_owned())];
        assert_eq!(records[0].dict, dict);
    }
}

/// What makes an image hostile.
type Breaks = fn(&mut Image);
/// Records, how many are damaged, and why; or why there is no log.
type Outcome = Result<(usize, u64, Option<&'static str>), DmesgError>;

/// One good record, after what `break_it` does.
fn broken(break_it: impl Fn(&mut Image)) -> Vec<Outcome> {
    let one = |kernel| {
        let mut image = ring(kernel, 16, 17);
        image.text(16, FINALIZED, (0, 0x20), "bad");
        image.text(17, FINALIZED, (0x20, 0x40), "good");
        break_it(&mut image);
        let guest = image.guest();
        let mut log = dmesg::open(&guest)?;
        let count = log.by_ref().count();
        Ok((count, log.damage().records, log.damage().first))
    };
    KERNELS.into_iter().map(one).collect()
}

#[test]
fn broken_records_are_counted_and_the_others_read() {
    let cases: [(&str, Breaks); 5] = [
        ("a text is that of another record", |image| image.word(TEXT, 17)),
        ("a text ends before it starts", |image| image.desc(16, FINALIZED, 0x20, 0)),
        ("a text ends before it starts", |image| image.desc(16, FINALIZED, 2, 2)),
        ("a text goes around its ring", |image| image.desc(16, FINALIZED, 0, 0x240)),
        ("a text goes around its ring", |image| image.desc(16, FINALIZED, 0x100, 0)),
    ];
    for (why, break_it) in cases {
        for result in broken(break_it) {
            assert_eq!(result, Ok((1, 1, Some(why))));
        }
    }
}

#[test]
fn long_texts_are_those_of_their_blocks() {
    let long = |image: &mut Image| image.info(16, 0, 0xffff);
    for result in broken(long) {
        assert_eq!(result, Ok((2, 0, None)));
    }
}

#[test]
fn rings_that_cannot_be_are_refused_with_their_numbers() {
    let field = |what, value, why| DmesgError::Field { what, value, why };
    let cases: [(Breaks, DmesgError); 5] = [
        (|image| image.put(RB + 0x44, 4, 0), field("count_bits", 0, "no ring has that size")),
        (|image| image.put(RB + 0x44, 4, 64), field("count_bits", 64, "no ring has that size")),
        (|image| image.put(RB + 0xc8, 4, 0xffff_ffff), field("size_bits", 0xffff_ffff, "no ring has that size")),
        (|image| image.word(RB + 0x68, 15), field("head_id", 15, "farther from tail_id than the ring has room")),
        (
            |image| image.info = image.info.replace("SIZE(printk_info)=128", "SIZE(printk_info)=99999999999"),
            field("SIZE(printk_info)", 99_999_999_999, "no such structure has that size"),
        ),
    ];
    for (break_it, error) in cases {
        for result in broken(break_it) {
            assert_eq!(result, Err(error.clone()));
        }
    }
    let lost = broken(|image| image.pointer(VARIABLES, 1 << 24));
    assert!(lost.iter().all(|result| matches!(result, Err(DmesgError::Memory { what: "count_bits", .. }))), "{lost:?}");
    let missing = broken(|image| image.info = image.info.replace("OFFSET(prb_desc.state_var)", "OFFSET(x)"));
    let key = "OFFSET(prb_desc.state_var)".to_owned();
    assert!(missing.iter().all(|result| *result == Err(DmesgError::Key { key: key.clone() })), "{missing:?}");
}

#[test]
fn a_huge_ring_of_nothing_ends_soon() {
    let huge = |image: &mut Image| {
        image.put(RB + 0x44, 4, 26);
        image.word(RB + 0x68, 16 + (1 << 26) - 1);
    };
    for result in broken(huge) {
        // 64 Mi descriptors, of which the RAM has room for fewer than 4096.
        assert_eq!(result, Ok((0, 4097, Some("a descriptor is not in memory"))));
    }
}

/// A log of the older kind that holds `records` from `first` on, in a buffer of `len` bytes.
fn log_buf(kernel: Kernel, name: &str, len: usize, first: usize, records: &[(usize, &str, &str)]) -> Image {
    let mut image = Image::new(kernel);
    let keys = ["ts_nsec", "len", "text_len", "dict_len"].map(|member| format!("OFFSET({name}.{member})"));
    image.say(&[(&format!("SIZE({name})"), 24), (&keys[0], 8), (&keys[1], 0), (&keys[2], 4), (&keys[3], 2)]);
    for (index, symbol) in ["log_buf", "log_buf_len", "log_first_idx", "log_next_idx"].iter().enumerate() {
        image.symbol(symbol, VARIABLES + index * 8);
    }
    let mut at = first;
    for (number, (len, text, dict)) in records.iter().enumerate() {
        let place = OLD + at;
        image.put(place + 8, 8, number as u64 * 1_000_000_000);
        image.put(place, 2, *len as u64);
        image.put(place + 4, 2, text.len() as u64);
        image.put(place + 2, 2, dict.len() as u64);
        image.ram[place + 24..][..text.len()].copy_from_slice(text.as_bytes());
        image.ram[place + 24 + text.len()..][..dict.len()].copy_from_slice(dict.as_bytes());
        at = if *len == 0 { 0 } else { at + len };
    }
    image.pointer(VARIABLES, OLD);
    image.put(VARIABLES + 8, 4, len as u64);
    image.put(VARIABLES + 16, 4, first as u64);
    image.put(VARIABLES + 24, 4, at as u64);
    image
}

#[test]
fn older_logs_are_read_around_their_end() {
    let records: [(usize, &str, &str); 4] =
        [(48, "one", "SUBSYSTEM=pci\0"), (32, "two", ""), (0, "", ""), (48, "three", "")];
    for kernel in KERNELS {
        for name in ["printk_log", "log"] {
            let guest = log_buf(kernel, name, 0x400, 0x380, &records).guest();
            assert_eq!(dmesg::open(&guest).unwrap().kind(), Kind::LogBuf);
            let (found, damage, why) = read(&guest);
            assert_eq!((texts(&found).join(" "), damage, why), ("one two three".to_owned(), 0, None), "{kernel:?}");
            assert_eq!(found[0].dict, [("SUBSYSTEM".to_owned(), "pci".to_owned())]);
            assert_eq!(found[2].ts_nsec, 3_000_000_000);
        }
    }
}

#[test]
fn a_log_that_ends_at_the_end_of_its_buffer_goes_on_at_its_start() {
    for kernel in KERNELS {
        let mut image = log_buf(kernel, "printk_log", 64, 0, &[(32, "a", ""), (32, "b", "")]);
        image.put(VARIABLES + 16, 4, 32);
        image.put(VARIABLES + 24, 4, 32);
        assert_eq!(read(&image.guest()).0.len(), 0, "an empty one");
        let mut image = log_buf(kernel, "printk_log", 64, 0, &[(32, "a", ""), (32, "b", "")]);
        image.put(VARIABLES + 16, 4, 32);
        image.put(VARIABLES + 24, 4, 0);
        assert_eq!(texts(&read(&image.guest()).0), ["b"]);
    }
}

#[test]
fn older_logs_that_lie_end() {
    let records: [(usize, &str, &str); 2] = [(32, "one", ""), (32, "two", "")];
    let cases: [(Breaks, usize, &str); 4] = [
        (|image| image.put(OLD + 32, 2, 0xfff0), 1, "a record is longer than its place"),
        // Into what is the oldest record of a log that has gone around its end.
        (|image| image.put(VARIABLES + 24, 4, 60), 1, "a record is longer than its place"),
        (|image| image.put(OLD + 36, 2, 9), 1, "a record is longer than its place"),
        (|image| image.put(VARIABLES + 24, 4, 0x3fff), 2, "the records end before log_next_idx"),
    ];
    for kernel in KERNELS {
        for (break_it, count, why) in cases {
            let mut image = log_buf(kernel, "printk_log", 0x4000, 0, &records);
            break_it(&mut image);
            let (found, damage, first) = read(&image.guest());
            assert_eq!((found.len(), damage, first), (count, 1, Some(why)), "{kernel:?}");
        }
        let mut image = log_buf(kernel, "printk_log", 0x4000, 0, &records);
        image.put(VARIABLES + 24, 4, 0x4001);
        let error = dmesg::open(&image.guest()).unwrap_err();
        assert_eq!(error.to_string(), "log_next_idx is 0x4001: behind the end of log_buf");
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut guest = Image::new(KERNELS[0]).guest();
    assert_eq!(dmesg::open(&guest).unwrap_err(), DmesgError::NoSymbol);
    guest.vmcoreinfo = None;
    assert_eq!(dmesg::open(&guest).unwrap_err(), DmesgError::NoVmcoreinfo);
}

/// The kernel's image reaches as far as the symbols that lie in order behind `_stext`.
#[test]
fn the_image_ends_with_its_last_symbol() {
    for kernel in KERNELS {
        let mut image = Image::new(kernel);
        for (name, at) in [("_stext", 0x2000), ("a", 0x5123), ("before", 0x1000), ("module", 0x3000_0000)] {
            image.symbol(name, at);
        }
        let found = guestdump_core::kernel::image(&image.guest());
        assert_eq!(found, PhysRange::new(PhysAddr(0x2000), 0x4000), "{kernel:?}");
    }
}
