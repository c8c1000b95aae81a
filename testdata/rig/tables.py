"""Walkers of page tables in Python, from the manuals; they share nothing with the crates.

Each yields leaves: (virtual address, physical address, size, tables on the way as a tuple of (level, table, first virtual address)).
Intel SDM volume 3 chapter 4; Arm ARM D8; z/Architecture Principles of Operation chapter 3, "Dynamic Address Translation"; Power ISA
3.0B book III chapter 5.7; Power ISA 2.07B book III-S chapter 5.7 for hashed tables.
"""
import bisect
import collections
import mmap
import struct

ADDRESS = 0x000ffffffffff000        # bits 51:12


class Ram:
    """Guest-physical memory behind a file: [(start, length, offset in the file)]."""

    def __init__(self, path, pieces):
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.path, self.pieces = path, sorted(pieces)
        self.starts = [piece[0] for piece in self.pieces]

    def read(self, at, size):
        """None if any of it is no RAM."""
        index = bisect.bisect_right(self.starts, at) - 1
        if index < 0:
            return None
        start, length, offset = self.pieces[index]
        return self.map[offset + at - start:offset + at - start + size] if at + size <= start + length else None

    def words(self, at, count, shape):
        raw = self.read(at, count * struct.calcsize(shape))
        return struct.unpack(shape[0] + str(count) + shape[1:], raw) if raw is not None else ()

    def find(self, text):
        """Physical addresses where `text` is."""
        for start, length, offset in self.pieces:
            at = self.map.find(text, offset, offset + length)
            while at >= 0:
                yield start + at - offset
                at = self.map.find(text, at + 1, offset + length)


def x86_long(ram, cr3, levels):
    """SDM 4.5: 4 or 5 levels of 512 entries."""
    def table(at, level, base, way):
        way += ((level, at, base),)
        for index, entry in enumerate(ram.words(at, 512, "<Q")):
            if not entry & 1:
                continue
            shift = 12 + 9 * level
            virt = base + (index << shift)
            if level == levels - 1 and virt >> (9 * levels + 11):
                virt |= (1 << 64) - (1 << 9 * levels + 12)
            if level == 0 or (entry & 0x80 and level in (1, 2)):
                yield virt, entry & ADDRESS & -(1 << shift), 1 << shift, way
            elif not entry & 0x80:
                yield from table(entry & ADDRESS, level - 1, virt, way)
    return table(cr3 & ADDRESS, levels - 1, 0, ())


def x86_pae(ram, cr3):
    """SDM 4.4: four pointers, two levels of 512 entries."""
    for top, pointer in enumerate(ram.words(cr3 & 0xffffffe0, 4, "<Q")):
        directory = pointer & ADDRESS
        for middle, entry in enumerate(ram.words(directory, 512, "<Q") if pointer & 1 else ()):
            base = top << 30 | middle << 21
            way = ((2, cr3, 0), (1, directory, top << 30))
            if entry & 0x81 == 0x81:
                yield base, entry & ADDRESS & -(1 << 21), 1 << 21, way
            elif entry & 1:
                for low, page in enumerate(ram.words(entry & ADDRESS, 512, "<Q")):
                    if page & 1:
                        yield base | low << 12, page & ADDRESS, 4096, way + ((0, entry & ADDRESS, base),)


def x86_32(ram, cr3, pse):
    """SDM 4.3, with PSE-36 (bits 20:13 of a 4 MiB entry are address bits 39:32)."""
    for top, entry in enumerate(ram.words(cr3 & 0xfffff000, 1024, "<I")):
        base, way = top << 22, ((1, cr3, 0),)
        if entry & 0x81 == 0x81 and pse:
            yield base, entry & 0xffc00000 | (entry >> 13 & 0xff) << 32, 1 << 22, way
        elif entry & 1:
            for low, page in enumerate(ram.words(entry & 0xfffff000, 1024, "<I")):
                if page & 1:
                    yield base | low << 12, page & 0xfffff000, 4096, way + ((0, entry & 0xfffff000, base),)


def aarch64(ram, ttbr0, ttbr1, tcr):
    """Arm ARM D8.2, D8.3: granule of 4 KiB, addresses of up to 48 bits."""
    def table(at, level, base, entries, way):
        way += ((level, at, base),)
        for index, entry in enumerate(ram.words(at, entries, "<Q")):
            shift = 39 - 9 * level
            virt, address = base + (index << shift), entry & 0x0000fffffffff000
            if entry & 3 == 3 and level < 3:
                yield from table(address, level + 1, virt, 512, way)
            elif entry & 3 == (3 if level == 3 else 1) and level:
                yield virt, address & -(1 << shift), 1 << shift, way

    for ttbr, size, granule, four_kib, off, high in ((ttbr0, tcr & 63, tcr >> 14 & 3, 0, tcr >> 7 & 1, False),
                                                     (ttbr1, tcr >> 16 & 63, tcr >> 30 & 3, 2, tcr >> 23 & 1, True)):
        if off:
            continue
        assert granule == four_kib and size >= 16, "TCR_EL1 %#x: not 4 KiB and 48 bits" % tcr
        bits = 64 - size
        level = 4 - (bits - 12 + 8) // 9
        entries = 1 << (bits - (39 - 9 * level))
        yield from table(ttbr & 0x0000fffffffffffe, level, (1 << 64) - (1 << bits) if high else 0, entries, ())


def s390x(ram, asce, prefix):
    """Region and segment tables of 2048 entries, page tables of 256; prefixing."""
    def absolute(at):
        if at < 8192:
            return at + prefix
        return at - prefix if prefix <= at < prefix + 8192 else at

    def table(at, kind, first, count, base, way):
        # kind 3, 2, 1: region tables; 0: segment table
        way += ((kind, at, base),)
        shift = 20 + 11 * kind
        for index, entry in enumerate(ram.words(at + 8 * first, count, ">Q"), first):
            virt = base + (index << shift)
            if entry & 0x20 or entry >> 2 & 3 != kind:
                continue
            if kind <= 1 and entry & 0x400:
                size = 1 << shift
                yield from real(virt, entry & -size & ~0xfff, size, way)
            elif kind:
                skipped, last = entry >> 6 & 3, entry & 3
                yield from table(entry & ~0xfff, kind - 1, 512 * skipped, 512 * (last + 1 - skipped) if last >= skipped else 0, virt, way)
            else:
                for low, page in enumerate(ram.words(entry & ~0x7ff, 256, ">Q")):
                    if not page & 0xc00:
                        yield from real(virt + (low << 12), page & ~0xfff, 4096, way + ((-1, entry & ~0x7ff, virt),))

    def real(virt, at, size, way):
        # prefixing cuts a large page
        cuts = sorted({0, size} | {cut - at for cut in (8192, prefix, prefix + 8192) if at < cut < at + size})
        for low, high in zip(cuts, cuts[1:]):
            yield virt + low, absolute(at + low), high - low, way

    if not asce & 0x20:
        yield from table(asce & ~0xfff, asce >> 2 & 3, 0, 512 * ((asce & 3) + 1), 0, ())


def ppc64(ram, process_table, pid):
    """Radix trees of quadrants 0 (the process) and 3 (process 0)."""
    def directory(at, bits, shift, base, way):
        way += ((shift, at, base),)
        shift -= bits
        for index, entry in enumerate(ram.words(at, 1 << bits, ">Q")):
            virt = base + (index << shift)
            if entry >> 62 == 3:
                yield virt, entry & 0x01fffffffffff000 & -(1 << shift), 1 << shift, way
            elif entry >> 62 == 2:
                yield from directory(entry & 0x0fffffffffffff00, entry & 31, shift, virt, way)

    for number, base in ((pid, 0), (0, 3 << 62)):
        root, = ram.words(process_table + 16 * number, 1, ">Q")
        width = 31 + ((root >> 61 & 3) << 3 | root >> 5 & 7)
        yield from directory(root & 0x0fffffffffffff00, root & 31, width, base, ())


def ppc64_hashed(ram, sdr1, slb, isa3=False):
    """A hashed table, through the segments of the SLB: [(ESID and V, VSID and the rest)], as `slbmte` takes them.  ISA 3.0 has B
    of an entry in its second doubleword."""
    segments = collections.defaultdict(list)
    for esid, vsid in slb:
        large, base = vsid >> 62, {0: 12, 5: 16, 4: 24, 6: 34}[(vsid >> 8 & 1) << 2 | vsid >> 4 & 3]
        shift, vsid = (40, vsid >> 24 & (1 << 38) - 1) if large else (28, vsid >> 12 & (1 << 50) - 1)
        segments[large, vsid].append((esid >> shift << shift, base))
    origin, mask = sdr1 & 0x0ffffffffffc0000, (1 << 11 + (sdr1 & 31)) - 1
    for group in range(mask + 1):
        words = ram.words(origin + group * 128, 16, ">Q")
        for high, low in zip(words[::2], words[1::2]):
            large, avpn = low >> 58 & 3 if isa3 else high >> 62, high >> 7 & (1 << 55) - 1
            shift = 40 if large else 28
            vsid = avpn >> shift - 23
            for first, base in segments.get((large, vsid), ()) if high & 1 else ():
                size = hashed_page(base, high >> 2 & 1, low)
                # what of the page's number the entry leaves out is in the hash
                short, left_out = avpn & (1 << shift - 23) - 1, max(0, 23 - base)
                spread = vsid ^ vsid << 25 if large else vsid
                hashed = ~group if high >> 1 & 1 else group
                page = short << left_out | (hashed ^ spread) & (1 << left_out) - 1 if left_out else short >> base - 23
                if size and not (spread ^ page ^ hashed) & mask:
                    inside = (page << base) % (1 << size)
                    yield first + (page << base), (low & (0x01fffffffffff000 if isa3 else 0x0ffffffffffff000)) >> size << size | inside, 1 << base, ()


def hashed_page(base, large, low):
    """Size of a page as a power of two: bit L of an entry and, in the low bits of its address, LP."""
    encodings = {12: ((16, 4, 7), (24, 8, 0x38)), 16: ((16, 4, 1), (24, 8, 8)), 24: ((24, 8, 0),), 34: ((34, 8, 3),)}
    if not large:
        return 12 if base == 12 else None
    return next((size for size, bits, value in encodings[base] if low >> 12 & (1 << bits) - 1 == value), None)
