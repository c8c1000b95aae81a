//! ELF core files: as bytes, and put together from fields so that every byte of the input counts.

use guestdump_core::arch::{self, Endian};

use super::dumps::explore;
use super::feed::{Feed, expand};

/// Files as they are; runs of zeros are short.
pub fn elf_read(data: &[u8]) {
    explore(expand(data));
}

/// Core files with program headers of any content.
pub fn elf_fields(data: &[u8]) {
    explore(build(data));
}

/// PT_LOAD, PT_NOTE, PT_NULL.
const KINDS: [u64; 4] = [1, 1, 4, 0];
const PN_XNUM: u64 = 0xffff;

/// Integers of a file of one class and byte order.
struct File {
    bytes: Vec<u8>,
    endian: Endian,
    /// Width of an address.
    word: usize,
}

impl File {
    fn int(&mut self, width: usize, value: u64) {
        let at = self.bytes.len();
        self.bytes.resize(at + width, 0);
        self.endian.put(value, &mut self.bytes[at..]);
    }

    fn words(&mut self, values: &[u64]) {
        values.iter().for_each(|value| self.int(self.word, *value));
    }

    fn halves(&mut self, values: &[u64]) {
        values.iter().for_each(|value| self.int(2, *value));
    }
}

/// The file that an input stands for: class, byte order, machine; program headers; what is left lies behind them.
/// Written down from the System V ABI, "Object Files".
pub fn build(data: &[u8]) -> Vec<u8> {
    let feed = &mut Feed(data);
    let word = feed.pick(&[8, 4]);
    let endian = feed.pick(&[Endian::Little, Endian::Big]);
    let machine = feed.pick(arch::ALL).identity().elf_machine;
    let choices = feed.u8();
    let count = u64::from(feed.u8() % 32);
    let (many, incomplete) = (choices & 1 != 0, u64::from(choices >> 1 & 1));
    let (ehdr, phdr, shdr) = if word == 8 { (64, 56, 64) } else { (52, 32, 40) };
    let phoff = if many { ehdr + shdr } else { ehdr };
    let mut file = File { bytes: vec![0x7f, b'E', b'L', b'F'], endian, word };
    file.bytes.extend([if word == 8 { 2 } else { 1 }, if endian == Endian::Little { 1 } else { 2 }, 1]);
    file.bytes.resize(16, 0);
    file.halves(&[4, u64::from(machine)]);
    file.int(4, 1);
    file.words(&[0, phoff, if many { ehdr } else { 0 }]);
    file.int(4, incomplete);
    file.halves(&[ehdr, phdr, if many { PN_XNUM } else { count }, shdr, u64::from(many), 0]);
    if many {
        file.section_header(count);
    }
    let data_at = phoff + count * phdr;
    for _ in 0..count {
        file.program_header(feed, data_at);
    }
    file.bytes.extend_from_slice(feed.0);
    file.bytes
}

impl File {
    /// Section header 0, which counts the program headers: `sh_info`.
    fn section_header(&mut self, count: u64) {
        self.int(4, 0);
        self.int(4, 0);
        self.words(&[0, 0, 0, 0]);
        self.int(4, 0);
        self.int(4, count);
        self.words(&[0, 0]);
    }

    fn program_header(&mut self, feed: &mut Feed<'_>, data_at: u64) {
        let choices = feed.u8();
        let kind = KINDS[usize::from(choices & 3)];
        let offset = if choices & 4 == 0 { data_at + u64::from(feed.u16()) } else { feed.u64() };
        let phys = if choices & 8 == 0 { u64::from(feed.u16()) << 8 } else { feed.scaled() };
        let file_len = if choices & 16 == 0 { u64::from(feed.u16()) } else { feed.scaled() };
        let mem_len = match choices >> 5 & 3 {
            0 => file_len,
            1 => u64::from(feed.u16()),
            2 => feed.scaled(),
            _ => feed.u64(),
        };
        self.int(4, kind);
        if self.word == 8 {
            self.int(4, 0);
            self.words(&[offset, phys, phys, file_len, mem_len, 0]);
        } else {
            self.words(&[offset, phys, phys, file_len, mem_len, 0, 0]);
        }
    }
}
