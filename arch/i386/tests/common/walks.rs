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
