//! guestdump's walker against the naive one: on random addresses, and over whole address spaces.

use guestdump_arch::conformance::tables::Told;
use guestdump_arch::conformance::{Random, describe};
use guestdump_arch::paging::walk::Walker;
use guestdump_arch::paging::{Span, Target};
use guestdump_arch::{Arch, VirtAddr};

use super::naive::ReservedPs;
use super::tables::{Scheme, Tables};

/// Random tables, random addresses: the same answer, from an entry that covers as much. One walker serves all
/// addresses of a case, so that what it keeps between walks is under test too.
pub fn random_tables_agree(arch: &dyn Arch, scheme: Scheme, cases: u64, addresses: u64) {
    let (mut mapped, mut deep) = (0, 0);
    for seed in 0..cases {
        let mut rng = Random(seed);
        let tables = Tables { pse: !rng.one_in(4), ..Tables::random(scheme, &mut rng) };
        let (paging, memory) = (tables.paging(arch), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        let told = Told::of(&paging, &memory);
        for _ in 0..addresses {
            let virt = tables.address(&mut rng);
            let span = walker.span_at(VirtAddr(virt)).unwrap();
            let (found, expected) = (describe(&paging, &span, virt), tables.naive(ReservedPs::Invalid, virt));
            let fixture = || tables.fixture(&format!("seed {seed}"), &[virt]);
            assert_eq!(found, expected.text, "{virt:#x} of\n{}", fixture());
            told.check(virt, &expected.text);
            if expected.size > 0 {
                let around = (virt & !(expected.size - 1), virt | (expected.size - 1));
                assert_eq!((span.virt.first().0, span.virt.last().0), around, "{virt:#x} of\n{}", fixture());
            }
            mapped += u64::from(matches!(span.target, Target::Phys(_)));
            deep += u64::from(expected.size == 4096);
        }
    }
    // The generator is worth something: all kinds of answers occur.
    let all = cases * addresses;
    assert!(mapped > all / 4 && mapped < all * 3 / 4 && deep > all / 4, "{mapped} mapped, {deep} deep of {all}");
}

/// An address bit that does not count: where entries and CR3 have it, with `register` saying so, all is as if they had not.
/// `clear`: that it is 0 in what comes out, even in an address inside of a page.
pub fn a_bit_does_not_count(arch: &dyn Arch, scheme: Scheme, bit: u32, register: (&'static str, u64), clear: bool) {
    let mut mapped = 0;
    for seed in 0..100 {
        let mut rng = Random(seed);
        let (plain, spoiled) = with_and_without(scheme, bit, register, &mut rng);
        let (paging, memory) = (spoiled.paging(arch), spoiled.memory());
        let (mut walker, told) = (Walker::new(&paging, &memory), Told::of(&paging, &memory));
        for _ in 0..60 {
            let virt = plain.address(&mut rng);
            let naive = plain.naive(ReservedPs::Invalid, virt).text;
            let naive = naive.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16).unwrap());
            let expected = naive.map(|phys| if clear { phys & !(1 << bit) } else { phys });
            let fixture = || spoiled.fixture(&format!("seed {seed}"), &[virt]);
            assert_eq!(walker.translate(VirtAddr(virt)).unwrap().map(|phys| phys.0), expected, "{}", fixture());
            assert_eq!(told.phys(virt), expected, "{virt:#x} of\n{}", fixture());
            mapped += u64::from(expected.is_some());
        }
    }
    assert!(mapped > 1000, "{mapped} mapped");
}

/// Tables none of whose entries has `bit`, and the same where every other one that uses it for an address has.
fn with_and_without(scheme: Scheme, bit: u32, register: (&'static str, u64), rng: &mut Random) -> (Tables, Tables) {
    let mut plain = Tables::random(scheme, rng);
    let width = scheme.entry_bytes() as usize;
    // Bit 20 of a 4 MiB page is one of bits 39:32.
    let counts = |entry: &[u8]| entry[0] & 1 != 0 && !(scheme == Scheme::Legacy && entry[0] & 0x80 != 0);
    plain.cr3 &= !(1 << bit);
    let mut spoiled = plain.clone();
    for (at, page) in &mut plain.ram {
        for (start, entry) in (0..).step_by(width).zip(page.chunks_mut(width)).filter(|(_, entry)| counts(entry)) {
            entry[bit as usize / 8] &= !(1 << (bit % 8));
            let spoil = if rng.one_in(2) { 1 << (bit % 8) } else { 0 };
            let other = &mut spoiled.ram.get_mut(at).unwrap()[start..start + width];
            other.copy_from_slice(entry);
            other[bit as usize / 8] |= spoil;
        }
    }
    // CR3 outside of long mode has 32 bits.
    let cr3_has_it = bit < 32 || matches!(scheme, Scheme::FourLevel | Scheme::FiveLevel);
    spoiled.cr3 |= u64::from(cr3_has_it && rng.one_in(2)) << bit;
    spoiled.more.push(register);
    (plain, spoiled)
}

/// A chain of tables that branches a little: every table is reached once, so that the whole can be enumerated.
pub fn sparse(scheme: Scheme, rng: &mut Random, tables: u64) -> Tables {
    let levels = match scheme {
        Scheme::Legacy => 2,
        Scheme::Pae => 3,
        Scheme::FourLevel => 4,
        Scheme::FiveLevel => 5,
    };
    let count = if scheme == Scheme::Legacy { 1024 } else { 512 };
    let root = 0x1000;
    let mut out = Tables::empty(scheme, root);
    out.touch(root);
    let mut open = vec![(root, 1)];
    for n in 0..tables {
        let (parent, level) = rng.pick(&open);
        let entries = if level == 1 && scheme == Scheme::Pae { 4 } else { count };
        let child = 0x2000 + n * 0x1000;
        out.put(parent + rng.below(entries) * scheme.entry_bytes(), child | 1);
        if !rng.one_in(5) {
            out.touch(child);
            if level + 1 < levels {
                open.push((child, level + 1));
            }
        }
    }
    for page in out.ram.keys().copied().filter(|page| *page != root || levels == 2).collect::<Vec<_>>() {
        for _ in 0..rng.below(40) {
            // PS at every level but the root; not present now and then, so that raw entries differ.
            let low = if rng.one_in(6) { rng.bits() & 0xffe } else { 0xe7 };
            let at = page + rng.below(count) * scheme.entry_bytes();
            let taken = out.ram[&page][(at & 0xfff) as usize] & 1 != 0;
            if !taken {
                out.put(at, (rng.bits() & 0xf_ffff_f000) | low);
            }
        }
    }
    out
}

/// From 0 to the top, span by span: no gap, no overlap, and the naive walker says the same of the first and the last
/// byte of each.
pub fn enumeration_agrees(arch: &dyn Arch, scheme: Scheme, seeds: core::ops::Range<u64>) {
    for seed in seeds {
        let mut rng = Random(seed);
        let tables = sparse(scheme, &mut rng, 12);
        let (paging, memory) = (tables.paging(arch), tables.memory());
        let mut walker = Walker::new(&paging, &memory);
        let (mut next, mut spans) = (Some(VirtAddr(0)), 0);
        while let Some(virt) = next {
            let span = walker.span_at(virt).unwrap();
            assert_eq!(span.virt.first(), virt, "seed {seed}: a gap or an overlap before {}", span.virt);
            for end in [span.virt.first().0, span.virt.last().0] {
                let expected = tables.naive(ReservedPs::Invalid, end);
                let fixture = || tables.fixture("x", &[end]);
                assert_eq!(describe(&paging, &span, end), expected.text, "{end:#x} of\n{}", fixture());
                // As long as the entry says, so that no test can go on for ever either.
                let len = span.virt.len_minus_one().wrapping_add(1);
                assert!(expected.size == 0 || expected.size == len, "{end:#x}: {} of\n{}", span.virt, fixture());
            }
            same_from_inside(&mut walker, &span, &mut rng);
            next = span.virt.next();
            spans += 1;
        }
        assert!(spans > 500, "seed {seed}: only {spans} spans");
    }
}

/// A span is the same one from whatever address of it.
fn same_from_inside(walker: &mut Walker<'_>, span: &Span, rng: &mut Random) {
    if rng.one_in(16) {
        let inside = match span.virt.len_minus_one().checked_add(1) {
            Some(len) => span.virt.first().0 + rng.below(len),
            None => rng.bits(),
        };
        assert_eq!(walker.span_at(VirtAddr(inside)).unwrap(), *span);
    }
}
