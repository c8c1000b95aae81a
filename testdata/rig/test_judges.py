#!/usr/bin/env python3
"""The judges must be able to fail: every kind of damage that they look for is put into small dumps made here.

    python3 -m unittest test_judges.py

The builders below lay out the files by hand from the same public formats; they share no tables with judges.py.
"""
import ctypes
import os
import random
import struct
import tempfile
import unittest
import zlib

import completed_notes
import judges

PAGE = 4096
NOTES = [("CORE", 1, bytes(range(144))), ("QEMU", 0, b"\1\0\0\0" + bytes(436)), ("VMCOREINFO", 0, b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\n")]
UTS = [b"Linux", b"rig", b"6.1.0-test", b"#1 SMP", b"x86_64", b"(none)"]


def pad(data, unit):
    return data + bytes(-len(data) % unit)


def build_notes(notes, order):
    out = b""
    for name, kind, desc in notes:
        text = name.encode() + b"\0"
        out += struct.pack(order + "III", len(text), len(desc), kind) + pad(text, 4) + pad(desc, 4)
    return out


def build_elf(memory, bits=64, order="<", notes=NOTES, xnum=False, gap=0):
    """An ELF core of {physical address: bytes}; `gap` bytes lie between the headers and the notes."""
    note = build_notes(notes, order)
    ehdr, phent, shent = (64, 56, 64) if bits == 64 else (52, 32, 40)
    count = 1 + len(memory)
    at = ehdr + phent * count + shent * xnum + gap
    rows = [(4, at, 0, 0, len(note))]
    data, where = note, at + len(note)
    for paddr in sorted(memory):
        rows.append((1, where, paddr, paddr, len(memory[paddr])))
        data += memory[paddr]
        where += len(memory[paddr])
    table = b""
    for kind, offset, vaddr, paddr, size in rows:
        table += struct.pack(order + "IIQQQQQQ", kind, 0, offset, vaddr, paddr, size, size, 0) if bits == 64 else \
            struct.pack(order + "IIIIIIII", kind, offset, vaddr, paddr, size, size, 0, 0)
    section = struct.pack(order + ("IIQQQQIIQQ" if bits == 64 else "IIIIIIIIII"), 0, 0, 0, 0, 0, 0, 0, count, 0, 0) if xnum else b""
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    head = struct.pack(order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"), 4, 62 if bits == 64 else 3, 1, 0, ehdr,
                       ehdr + phent * count if xnum else 0, 0, ehdr, phent, 0xffff if xnum else count, shent if xnum else 0, int(xnum), 0)
    return ident + head + table + section + bytes(gap) + data


def compress(page, status):
    """(stored bytes, flags) of a page."""
    if status == 1:
        packed = zlib.compress(page, 1)
    elif status == 2:
        out, n = ctypes.create_string_buffer(2 * PAGE), ctypes.c_ulong(2 * PAGE)
        ctypes.CDLL("liblzo2.so.2").lzo1x_1_compress(page, ctypes.c_ulong(PAGE), out, ctypes.byref(n), ctypes.create_string_buffer(1 << 18))
        packed = out.raw[:n.value]
    elif status == 4:
        out, n = ctypes.create_string_buffer(2 * PAGE), ctypes.c_size_t(2 * PAGE)
        ctypes.CDLL("libsnappy.so.1").snappy_compress(page, ctypes.c_size_t(PAGE), out, ctypes.byref(n))
        packed = out.raw[:n.value]
    elif status == 32:
        out, z = ctypes.create_string_buffer(2 * PAGE), ctypes.CDLL("libzstd.so.1")
        z.ZSTD_compress.restype = ctypes.c_size_t
        length = z.ZSTD_compress(out, ctypes.c_size_t(2 * PAGE), page, ctypes.c_size_t(PAGE), 1)
        packed = out.raw[:length]
    else:
        packed = page
    return (packed, status) if len(packed) < PAGE else (page, 0)


def bitmap(pfns, length):
    out = bytearray(length)
    for pfn in pfns:
        out[pfn // 8] |= 1 << pfn % 8
    return bytes(out)


def build_kdump(pages, bits=64, order="<", status=1, notes=NOTES, uts=UTS, max_mapnr=None, bitmap1=None, share=True, spoil=None):
    """A kdump-compressed file of {pfn: page}.  `bitmap1`: pfns that exist; `spoil`: called with the descriptor rows."""
    max_mapnr = max_mapnr or max(pages) + 1
    note = build_notes(notes, order)
    sub_size = 104 if bits == 64 else 80
    sub_blocks = -(-(sub_size + len(note)) // PAGE)
    one = len(pad(bytes(-(-max_mapnr // 8)), PAGE))
    data_at = PAGE * (1 + sub_blocks) + 2 * one + 24 * len(pages)
    rows, data, known = [], b"", {}
    for pfn in sorted(pages):
        stored, flags = compress(pages[pfn], status)
        if not share or stored not in known:
            known[stored] = data_at + len(data)
            data += stored
        rows.append([known[stored], len(stored), flags, 0])
    if spoil:
        spoil(rows)
    vmci_at = PAGE + sub_size + len(note) - len(pad(notes[-1][2], 4))
    tail = (0, 0, 0, 0, vmci_at, len(notes[-1][2]), PAGE + sub_size, len(note), 0, 0, 0, 0, max_mapnr)
    sub = struct.pack(order + ("q2i11Q" if bits == 64 else "iiiIIQIQIQIQQQ"), -4096, 1, *tail[1:] if bits == 32 else tail[1:])
    main = struct.pack(order + "8si", b"KDUMP   ", 6) + b"".join(u.ljust(65, b"\0") for u in uts)
    main = main.ljust(408 if bits == 64 else 404, b"\0") + bytes(16 if bits == 64 else 8)
    main += struct.pack(order + "IiiIIIIIIi", status, PAGE, sub_blocks, 2 * one // PAGE, max_mapnr, 0, 0, 0, 0, 2)
    out = pad(main, PAGE) + (sub + note).ljust(sub_blocks * PAGE, b"\0")
    out += bitmap(bitmap1 or pages, one) + bitmap(pages, one)
    return out + b"".join(struct.pack(order + "QIIQ", *row) for row in rows) + data


def flatten(data, step=1000, end=True, backwards=True):
    """The flattened form: records of `step` bytes, the first one last."""
    pieces = [(at, data[at:at + step]) for at in range(0, len(data), step)]
    if backwards:
        pieces = pieces[1:] + pieces[:1]
    out = b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)
    out = out.ljust(4096, b"\0") + b"".join(struct.pack(">qq", at, len(piece)) + piece for at, piece in pieces)
    return out + (struct.pack(">qq", -1, -1) if end else b"")


def sample_memory():
    rng = random.Random(7)
    text = (b"the quick brown fox %d " * 150 % tuple(range(150)))
    return {0: pad(text, PAGE), 1: bytes(PAGE), 2: rng.randbytes(PAGE), 3: bytes(PAGE), 0x50: pad(text[7:], PAGE), 0x51: rng.randbytes(PAGE)}


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.count = 0

    def path(self, data):
        self.count += 1
        name = os.path.join(self.dir.name, "file%d" % self.count)
        with open(name, "wb") as f:
            f.write(data)
        return name

    def elf(self, *args, **kwargs):
        return judges.Elf(self.path(build_elf(*args, **kwargs)))

    def kdump(self, *args, **kwargs):
        return judges.Kdump(self.path(build_kdump(*args, **kwargs)))


class Ranges(unittest.TestCase):
    def test_merge_subtract_intersect(self):
        self.assertEqual(judges.merge([(4, 6), (0, 2), (2, 3), (5, 9), (7, 7)]), [(0, 3), (4, 9)])
        self.assertEqual(judges.subtract([(0, 10)], [(2, 3), (9, 12)]), [(0, 2), (3, 9)])
        self.assertEqual(judges.subtract([(0, 4)], [(0, 4)]), [])
        self.assertEqual(judges.intersect([(0, 4), (6, 9)], [(3, 7)]), [(3, 4), (6, 7)])

    def test_against_sets(self):
        rng = random.Random(1)
        for _ in range(300):
            a, b = ([(x, x + rng.randrange(6)) for x in rng.sample(range(40), 5)] for _ in "ab")
            as_set = lambda ranges: {x for start, end in ranges for x in range(start, end)}
            self.assertEqual(as_set(judges.subtract(a, b)), as_set(a) - as_set(b))
            self.assertEqual(as_set(judges.intersect(a, b)), as_set(a) & as_set(b))
            self.assertEqual(judges.total(a), len(as_set(a)))


class Notes(unittest.TestCase):
    def differences(self, a, b):
        parse = lambda notes: judges.parse_notes(build_notes(notes, "<"), "<")
        return judges.note_differences(parse(a), parse(b))

    def test_equal(self):
        self.assertEqual(self.differences(NOTES, NOTES), [])

    def test_one_byte_one_name_one_missing_one_moved(self):
        name, kind, desc = NOTES[0]
        self.assertEqual(self.differences([(name, kind, flip(desc, 77))] + NOTES[1:], NOTES), ["note 0 CORE/0x1: 1 bytes differ, first at 77"])
        self.assertEqual(len(self.differences([("LINUX", kind, desc)] + NOTES[1:], NOTES)), 1)
        self.assertEqual(len(self.differences([(name, kind, desc + b"\0")] + NOTES[1:], NOTES)), 1)
        self.assertEqual(len(self.differences(NOTES[:-1], NOTES)), 1)
        self.assertEqual(len(self.differences(NOTES[:-2] + NOTES[:-3:-1], NOTES)), 2)

    def test_note_that_leaves_its_area(self):
        with self.assertRaises(judges.Malformed):
            judges.parse_notes(build_notes(NOTES, "<")[:-8], "<")


class ElfFiles(Case):
    MEMORY = {0: os.urandom(3 * PAGE), 0x100000: os.urandom(PAGE + 100)}

    def test_every_shape_says_the_same(self):
        plain = self.elf(self.MEMORY)
        for bits in (32, 64):
            for order in "<>":
                for xnum in (False, True):
                    dump = self.elf(self.MEMORY, bits, order, xnum=xnum, gap=17)
                    self.assertEqual(dump.problems(), [])
                    self.assertTrue(judges.compare_memory(dump, plain))
                    self.assertEqual(judges.note_differences(dump.notes, plain.notes), [])
        self.assertEqual(judges.compare_memory(plain, plain).compared, 4 * PAGE + 100)

    def test_every_flipped_byte_of_memory_is_found(self):
        data = build_elf(self.MEMORY)
        plain, start = self.elf(self.MEMORY), len(data) - 4 * PAGE - 100
        for at in range(start, len(data), 97):
            self.assertFalse(judges.compare_memory(judges.Elf(self.path(flip(data, at))), plain), at)

    def test_missing_and_unexpected_memory(self):
        plain = self.elf(self.MEMORY)
        more = self.elf({**self.MEMORY, 0x200000: bytes(5)})
        self.assertEqual(str(judges.compare_memory(more, plain)), "unexpected: 0x200000-0x200005")
        self.assertEqual(str(judges.compare_memory(plain, more)), "missing: 0x200000-0x200005")
        self.assertTrue(judges.compare_memory(plain, more, within=[(0, 0x200000)]))

    def test_header_fields(self):
        plain = self.elf(self.MEMORY)
        self.assertEqual(judges.header_differences(plain, plain), {})
        self.assertEqual(set(judges.header_differences(self.elf(self.MEMORY, gap=8), plain)), {"PT_NOTE p_offset", "PT_LOAD p_offset"})
        data = build_elf(self.MEMORY)
        spoiled = data[:52] + struct.pack("<H", 8) + data[54:]
        dump = judges.Elf(self.path(spoiled))
        self.assertEqual(judges.header_differences(dump, plain), {"e_ehsize": (8, 64)})
        self.assertEqual(dump.problems(), ["e_ehsize is 8, the header has 64 bytes"])
        load = 64 + 56 + 56             # the second PT_LOAD
        vaddr = judges.Elf(self.path(flip(data, load + 16 + 5)))
        self.assertEqual(set(judges.header_differences(vaddr, plain)), {"PT_LOAD p_vaddr"})
        flags = judges.Elf(self.path(flip(data, load + 4)))
        self.assertEqual(set(judges.header_differences(flags, plain)), {"PT_LOAD p_flags"})

    def test_problems(self):
        data = build_elf(self.MEMORY)
        overlapping = data[:64 + 56 + 8] + struct.pack("<Q", 70) + data[64 + 56 + 16:]
        self.assertTrue(judges.Elf(self.path(overlapping)).problems())
        self.assertTrue(judges.Elf(self.path(data[:-1])).problems())

    def test_against_raw_ram(self):
        ram = self.path(self.MEMORY[0x100000] + self.MEMORY[0])
        pieces = [(0x100000, PAGE + 100, 0), (0, 3 * PAGE, PAGE + 100)]
        self.assertTrue(judges.compare_memory(self.elf(self.MEMORY), judges.RawRam(ram, pieces)))
        wrong = judges.RawRam(ram, [(0x100000, PAGE + 100, 1), (0, 3 * PAGE, PAGE + 100)])
        self.assertFalse(judges.compare_memory(self.elf(self.MEMORY), wrong))


class KdumpFiles(Case):
    def test_every_shape_and_codec_says_the_same(self):
        pages = sample_memory()
        plain = self.kdump(pages)
        for bits in (32, 64):
            for order in "<>":
                for status in (0, 1, 2, 4, 32):
                    dump = self.kdump(pages, bits, order, status, share=bits == 64)
                    self.assertEqual((dump.bits, dump.endian), (bits, order))
                    self.assertEqual(dump.problems(), [])
                    self.assertTrue(judges.compare_pages(dump, plain))
                    self.assertEqual(judges.note_differences(dump.notes, plain.notes), [])
        self.assertEqual(judges.compare_pages(plain, plain).compared, len(pages))

    def test_negative_phys_base(self):
        for bits in (32, 64):
            self.assertEqual(self.kdump(sample_memory(), bits).header["sub.phys_base"], -4096)

    def test_content(self):
        pages = sample_memory()
        plain = self.kdump(pages)
        for status in (0, 1, 2, 4, 32):
            for pfn in pages:
                dump = self.kdump({**pages, pfn: flip(pages[pfn], 4095)}, status=status)
                self.assertEqual(str(judges.compare_pages(dump, plain)), "pfn 0x%x: content differs" % pfn)

    def test_damaged_stream(self):
        pages = sample_memory()
        data, plain = build_kdump(pages), self.kdump(pages)
        found = 0
        for at in range(plain.data_at, len(data), 61):
            found += not judges.compare_pages(judges.Kdump(self.path(flip(data, at))), plain)
        self.assertEqual(found, len(range(plain.data_at, len(data), 61)))

    def test_page_sets(self):
        pages = sample_memory()
        plain = self.kdump(pages)
        less = {pfn: page for pfn, page in pages.items() if pfn != 2}
        self.assertEqual(str(judges.compare_pages(self.kdump(less), plain)), "pfn 0x2: missing")
        self.assertEqual(str(judges.compare_pages(plain, self.kdump(less))), "pfn 0x2: unexpected")
        self.assertTrue(judges.compare_pages(plain, self.kdump(less), ignore=[(2 * PAGE, 3 * PAGE)]))
        self.assertEqual(len(judges.bitmap_differences(self.kdump(less), plain)), 2)
        self.assertEqual(len(judges.bitmap_differences(self.kdump(less, bitmap1=pages), plain)), 1)
        self.assertEqual(judges.bitmap_differences(self.kdump(less), plain, [(2 * PAGE, 3 * PAGE)]), [])

    def test_swapped_descriptors(self):
        def swap(rows):
            rows[0], rows[2] = rows[2], rows[0]
        self.assertEqual(judges.compare_pages(self.kdump(sample_memory(), spoil=swap), self.kdump(sample_memory())).problems,
                         ["pfn 0x0: content differs", "pfn 0x2: content differs"])

    def test_problems(self):
        def spoilt(row, field, value):
            def spoil(rows):
                rows[row][field] = value
            return self.kdump(sample_memory(), spoil=spoil).problems()
        self.assertTrue(spoilt(0, 0, 0))                # no data
        self.assertTrue(spoilt(0, 0, 1 << 40))          # beyond the file
        self.assertTrue(spoilt(2, 1, 17))               # a plain page that is too short
        self.assertTrue(spoilt(0, 2, 2))                # a codec that the header does not name
        self.assertTrue(spoilt(0, 3, 1))                # page_flags
        overlap = self.kdump(sample_memory()).data_at + 1
        self.assertTrue(spoilt(2, 0, overlap))          # shares half of another page
        data = bytearray(build_kdump(sample_memory()))
        data[424] |= 8
        self.assertEqual(judges.Kdump(self.path(bytes(data))).problems()[0], "marked incomplete")
        self.assertTrue(self.kdump(sample_memory(), max_mapnr=0x51).problems())
        self.assertTrue(self.kdump(sample_memory(), bitmap1=[0, 1, 2]).problems())

    def test_header_fields(self):
        pages = sample_memory()
        plain = self.kdump(pages)
        self.assertEqual(judges.header_differences(plain, plain), {})
        other = self.kdump(pages, uts=[b""] * 4 + [b"Unknown", b""], max_mapnr=0x8000, status=2)
        self.assertEqual(set(judges.header_differences(other, plain)), {
            "sysname", "nodename", "release", "version", "machine", "domainname", "status", "max_mapnr", "sub.max_mapnr_64"})
        self.assertEqual(set(judges.header_differences(self.kdump(pages, max_mapnr=0x8000), plain)), {"max_mapnr", "sub.max_mapnr_64"})
        self.assertEqual(set(judges.header_differences(self.kdump(pages, max_mapnr=0x8001), plain)),
                         {"max_mapnr", "sub.max_mapnr_64", "bitmap_blocks", "bitmap length"})
        wrong = bytearray(build_kdump(pages))
        wrong[PAGE + 32] ^= 4           # offset_vmcoreinfo
        dump = judges.Kdump(self.path(bytes(wrong)))
        self.assertEqual(set(judges.header_differences(dump, plain)), {"sub.offset_vmcoreinfo"})
        self.assertTrue(dump.problems())

    def test_against_memory(self):
        pages = sample_memory()
        memory = {0: b"".join(pages[i] for i in range(4)), 0x50 * PAGE: pages[0x50] + pages[0x51]}
        elf = self.elf(memory)
        self.assertTrue(judges.compare_to_memory(self.kdump(pages), elf))
        self.assertFalse(judges.compare_to_memory(self.kdump({**pages, 3: flip(pages[3], 9)}), elf))
        self.assertFalse(judges.compare_to_memory(self.kdump({**pages, 9: bytes(PAGE)}), elf))


class CompletedNotes(unittest.TestCase):
    """What is expected of notes, laid out by hand."""

    def test_notes_of_each_vcpu(self):
        theirs = [note_of("CORE", 1, b"a"), note_of("CORE", 1, b"b"), note_of("LINUX", 0x405, b"c"), note_of("VMCOREINFO", 0, b"d")]
        vcpus = [{"tpidr_el0": 1, "pauth_dmask": 2, "pauth_cmask": 3}, {"tpidr_el0": 4, "tpidr2_el0": 5}]
        tls = [note_of("LINUX", 0x401, b"\0\0\0\0\0\0\0\1"), note_of("LINUX", 0x401, b"\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\5")]
        mask = note_of("LINUX", 0x406, b"\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3")
        wanted = [theirs[0], tls[0], mask, theirs[1], theirs[2], tls[1]]
        self.assertEqual(completed_notes.expected("aarch64", theirs, vcpus, ">"), wanted + theirs[3:])
        self.assertEqual(completed_notes.expected("aarch64", theirs[:3], vcpus, ">"), wanted)
        self.assertEqual(completed_notes.expected("x86_64", theirs, [], "<"), theirs)
        raw = completed_notes.frame(wanted, ">")
        self.assertEqual((raw, judges.parse_notes(raw, ">")), (build_notes(wanted, ">"), wanted))

    def test_fields_that_are_zero(self):
        theirs = [note_of("CORE", 1, bytes(448) + b"\7" + bytes(55)), note_of("CORE", 0x100, bytes(544))]
        wanted = [note_of("CORE", 1, bytes(440) + b"\x34\x12" + bytes(6) + b"\7" + bytes(55)), note_of("CORE", 0x100, bytes(528) + b"\xff" * 4 + bytes(12))]
        self.assertEqual(completed_notes.expected("ppc64le", theirs, [{"dar": 0x1234, "dsisr": 9, "vrsave": 0xffffffff}], "<"), wanted)


def note_of(name, kind, desc):
    return completed_notes.Note(name, kind, desc)


class Flattened(Case):
    def test_assembled(self):
        raw = build_kdump(sample_memory())
        flat = judges.Kdump(self.path(flatten(raw)))
        self.assertEqual(flat.flattened["backward"], 1)
        self.assertTrue(judges.compare_pages(flat, self.kdump(sample_memory())))
        self.assertFalse([n for n in os.listdir(self.dir.name) if n.startswith("flat-")])

    def test_same_bytes(self):
        raw = build_kdump(sample_memory())
        out = self.path(b"")
        judges.reassemble(self.path(flatten(raw)), out)
        self.assertTrue(judges.same_bytes(out, self.path(raw)))
        self.assertFalse(judges.same_bytes(out, self.path(flip(raw, len(raw) - 1))))
        self.assertFalse(judges.same_bytes(out, self.path(raw + b"\0")))

    def test_malformed(self):
        raw = build_kdump(sample_memory())
        whole = flatten(raw)
        for broken in (flatten(raw, end=False), whole + b"x", whole[:-20], flip(whole, 23), flip(whole, 100), flip(whole, 4096 + 8)):
            with self.assertRaises(judges.Malformed):
                judges.reassemble(self.path(broken), self.path(b""))


if __name__ == "__main__":
    unittest.main()
