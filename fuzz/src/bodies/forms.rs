//! Page tables, a target for each form: the registers of a case in `testdata/paging`, of which an input may change a few, and
//! memory that the input writes.

use guestdump_core::arch::{self, Endian, Registers};

use super::feed::Feed;
use super::machine::{PAGE, guest, pieces, walks};

/// A form: its target, the fixture and the number of the case in it whose registers it has, and where RAM starts.
#[derive(Debug)]
pub struct Form {
    /// Name of the target.
    pub target: &'static str,
    /// Name of the fixture.
    pub fixture: &'static str,
    /// Number of the case.
    pub case: usize,
    /// First address of RAM.
    pub base: u64,
    text: &'static str,
}

macro_rules! forms {
    ($($target:ident: $fixture:literal, $case:literal, $base:literal;)*) => {
        /// All of them.
        pub static FORMS: &[Form] = &[$(Form {
            target: stringify!($target),
            fixture: $fixture,
            case: $case,
            base: $base,
            text: include_str!(concat!("../../../testdata/paging/", $fixture)),
        }),*];

        $(
            /// The target of this name.
            pub fn $target(data: &[u8]) {
                FORMS.iter().filter(|form| form.target == stringify!($target)).for_each(|form| form.walk(data));
            }
        )*
    };
}

forms! {
    walk_x86_32: "x86_32.txt", 0, 0;
    walk_x86_pae: "x86_pae.txt", 0, 0;
    walk_x86_4level: "x86_64_4level.txt", 0, 0;
    walk_x86_5level: "x86_64_5level.txt", 0, 0;
    walk_aarch64_4k: "aarch64_4k.txt", 0, 0;
    walk_aarch64_16k: "aarch64_16k.txt", 0, 0;
    walk_aarch64_64k: "aarch64_64k.txt", 0, 0;
    walk_aarch64_52bit: "aarch64_52bit.txt", 0, 0;
    walk_ppc64_radix: "ppc64_radix.txt", 0, 0;
    walk_ppc64_hashed: "ppc64_hashed_linux.txt", 0, 0x3fe0_0000;
    walk_riscv64_sv39: "riscv64.txt", 0, 0x8000_0000;
    walk_riscv64_sv48: "riscv64.txt", 1, 0x8000_0000;
    walk_riscv64_sv57: "riscv64.txt", 2, 0x8000_0000;
    walk_s390x: "s390x.txt", 0, 0;
}

impl Form {
    /// Registers of the case: name and value.
    fn registers(&self) -> Vec<(&'static str, u128)> {
        let lines = self.text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let from = lines.scan(0, |cases, line| {
            *cases += usize::from(line.starts_with('['));
            Some((*cases, line))
        });
        let mine = from.filter(|(case, _)| *case == self.case + 1).filter_map(|(_, line)| line.split_once(' '));
        mine.filter_map(|(name, value)| Some((name, u128::from_str_radix(value.trim().strip_prefix("0x")?, 16).ok()?)))
            .filter(|(name, _)| !name.starts_with(['@', '[']) && !name.starts_with("0x"))
            .collect()
    }

    /// Four addresses, the size of RAM, registers that are otherwise, pieces of memory.
    fn walk(&self, data: &[u8]) {
        let feed = &mut Feed(data);
        let addresses = [feed.u64(), feed.u64(), feed.u64(), feed.u64(), 0];
        let own = self.registers();
        let has = |arch: &&'static dyn arch::Arch| {
            let registers = Registers::unknown(arch.registers());
            own.iter().all(|(name, _)| registers.find(name).is_some())
        };
        let arch = *arch::ALL.iter().find(|arch| has(arch)).expect("an architecture that has these registers");
        let mut registers = Registers::unknown(arch.registers());
        for (name, value) in &own {
            let len = 16 - value.leading_zeros() as usize / 8;
            registers.set_named(name, &value.to_le_bytes()[..len]).expect("a value that fits");
        }
        let pages = usize::from(feed.u8() % 64) + 1;
        let len = pages * PAGE - usize::from(feed.u16()) % PAGE;
        for _ in 0..feed.u8() % 4 {
            let (name, _) = feed.pick(&own);
            let reg = registers.find(name).expect("one of its registers");
            registers.set(reg, feed.u64());
        }
        let endian: Endian = feed.pick(arch.identity().endians);
        let ram = pieces(feed, pages, len, self.base);
        walks(&guest(arch, endian, registers, self.base, ram), addresses);
    }
}
