#!/usr/bin/env python3
"""Readers of ELF and kdump-compressed dumps, and what it takes to say that two of them hold the same guest.

    judges.py show FILE...          headers, notes, ranges and structural problems
    judges.py diff A B              memory, notes and header fields of two dumps

Written from the published structures alone (System V ABI; linux/include/linux/elfcore.h; makedumpfile's IMPLEMENTATION file
and diskdump_mod.h field order as seen in dumps); no code is shared with the program that is judged.  Only the standard library
and the C libraries of the codecs (by ctypes) are used.  Every comparison is complete, none is a sample.
"""
import bisect
import collections
import ctypes
import os
import struct
import sys
import tempfile
import zlib

CHUNK = 1 << 20
PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xFFFF        # e_phnum: the real number is sh_info of section 0 (System V ABI, "Number of program headers")

Note = collections.namedtuple("Note", "name type desc")
Load = collections.namedtuple("Load", "p_paddr p_filesz p_memsz p_offset p_vaddr p_flags p_align")
Descriptor = collections.namedtuple("Descriptor", "offset size flags page_flags")
Difference = collections.namedtuple("Difference", "ours theirs")


class Malformed(Exception):
    """The file breaks its format so badly that nothing can be compared."""


# ---------------------------------------------------------------------------------------------------- ranges and bytes

def merge(ranges):
    """Sorted, disjoint [start, end) pairs that cover the same addresses."""
    out = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def subtract(ranges, holes):
    """The part of `ranges` that is in none of `holes`."""
    out = []
    for start, end in merge(ranges):
        for hole_start, hole_end in merge(holes):
            if hole_end <= start or hole_start >= end:
                continue
            if start < hole_start:
                out.append((start, hole_start))
            start = max(start, hole_end)
        if start < end:
            out.append((start, end))
    return merge(out)


def intersect(a, b):
    """The addresses in both of two lists of ranges."""
    return subtract(a, subtract(a, b))


def total(ranges):
    return sum(end - start for start, end in merge(ranges))


def show_ranges(ranges):
    return " ".join("0x%x-0x%x" % r for r in ranges) or "none"


class ByteFile:
    """A file read by position.  Not mapped: a read fault in a hole of a tmpfs file would fill the hole."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.fd).st_size

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def at(self, offset, length):
        """Exactly `length` bytes, or Malformed."""
        if offset < 0 or offset + length > self.size:
            raise Malformed("%s: %d bytes at 0x%x wanted, file has 0x%x" % (self.path, length, offset, self.size))
        out = os.pread(self.fd, length, offset)
        while len(out) < length:
            more = os.pread(self.fd, length - len(out), offset + len(out))
            if not more:
                raise Malformed("%s: shrank while being read" % self.path)
            out += more
        return out


def parse_notes(raw, endian):
    """Elf_Nhdr records: three words, then name and descriptor, each padded to 4 bytes (System V ABI, "Note section")."""
    notes, at = [], 0
    while at + 12 <= len(raw):
        namesz, descsz, kind = struct.unpack_from(endian + "III", raw, at)
        name_at = at + 12
        desc_at = name_at + (namesz + 3 & ~3)
        at = desc_at + (descsz + 3 & ~3)
        if desc_at + descsz > len(raw):
            raise Malformed("note at 0x%x leaves its area of 0x%x bytes" % (name_at - 12, len(raw)))
        notes.append(Note(raw[name_at:name_at + namesz].rstrip(b"\0").decode("latin1"), kind, raw[desc_at:desc_at + descsz]))
    if raw[at:].strip(b"\0"):
        raise Malformed("%d bytes behind the last note" % (len(raw) - at))
    return notes


def note_differences(a, b):
    """Lines that say how two note lists differ; [] when every name, type, length and byte agrees, in the same order."""
    out = []
    for i in range(max(len(a), len(b))):
        ours, theirs = (n[i] if i < len(n) else None for n in (a, b))
        if ours == theirs:
            continue
        if ours is None or theirs is None or ours[:2] != theirs[:2] or len(ours.desc) != len(theirs.desc):
            label = ["none" if n is None else "%s/0x%x:%d" % (n.name, n.type, len(n.desc)) for n in (ours, theirs)]
            out.append("note %d: %s, expected %s" % (i, *label))
        else:
            at = [k for k in range(len(ours.desc)) if ours.desc[k] != theirs.desc[k]]
            out.append("note %d %s/0x%x: %d bytes differ, first at %d" % (i, ours.name, ours.type, len(at), at[0]))
    return out


# ---------------------------------------------------------------------------------------------------- ELF

EHDR = ("e_type", "e_machine", "e_version", "e_entry", "e_phoff", "e_shoff", "e_flags", "e_ehsize", "e_phentsize", "e_phnum",
        "e_shentsize", "e_shnum", "e_shstrndx")
SHDR = ("sh_name", "sh_type", "sh_flags", "sh_addr", "sh_offset", "sh_size", "sh_link", "sh_info", "sh_addralign", "sh_entsize")
PHDR = {64: ("IIQQQQQQ", ("p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align")),
        32: ("IIIIIIII", ("p_type", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_flags", "p_align"))}


class Elf:
    """An ELF core of physical memory.  Layouts: System V ABI, chapters 4 and 5."""

    kind = "elf"

    def __init__(self, path):
        self.file = ByteFile(path)
        ident = self.file.at(0, 16)
        if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise Malformed("%s: no ELF identification" % path)
        self.bits = 32 * ident[4]
        self.endian = "<" if ident[5] == 1 else ">"
        self._read_header(ident)
        self._read_sections()
        self._read_program_headers()
        self._starts = [load.p_paddr for load in self.loads]

    def _read_header(self, ident):
        shape = self.endian + ("HHIQQQIHHHHHH" if self.bits == 64 else "HHIIIIIHHHHHH")
        self.header = {"class": self.bits, "byte order": self.endian, "e_ident": ident[6:].hex()}
        self.header.update(zip(EHDR, struct.unpack(shape, self.file.at(16, struct.calcsize(shape)))))
        self.ehdr_size = 16 + struct.calcsize(shape)

    def _read_sections(self):
        shape = self.endian + ("IIQQQQIIQQ" if self.bits == 64 else "IIIIIIIIII")
        step, start = self.header["e_shentsize"], self.header["e_shoff"]
        self.sections = [dict(zip(SHDR, struct.unpack(shape, self.file.at(start + i * step, struct.calcsize(shape)))))
                         for i in range(self.header["e_shnum"])]

    def _read_program_headers(self):
        number, step = self.header["e_phnum"], self.header["e_phentsize"]
        if number == PN_XNUM:
            if not self.sections:
                raise Malformed("e_phnum is PN_XNUM, but there is no section 0")
            number = self.sections[0]["sh_info"]
        shape, names = self.endian + PHDR[self.bits][0], PHDR[self.bits][1]
        if step != struct.calcsize(shape):
            raise Malformed("e_phentsize is %d" % step)
        table = self.file.at(self.header["e_phoff"], number * step)
        self.phdrs = [dict(zip(names, fields)) for fields in struct.iter_unpack(shape, table)]
        self.notes_at = [p for p in self.phdrs if p["p_type"] == PT_NOTE]
        self.note_bytes = b"".join(self.file.at(p["p_offset"], p["p_filesz"]) for p in self.notes_at)
        self.notes = parse_notes(self.note_bytes, self.endian)
        self.loads = sorted(Load(*(p[f] for f in Load._fields)) for p in self.phdrs if p["p_type"] == PT_LOAD)

    def ranges(self):
        """Physical addresses whose bytes are in the file."""
        return merge((x.p_paddr, x.p_paddr + x.p_filesz) for x in self.loads)

    def read(self, paddr, length):
        """`length` bytes of physical memory, possibly from several segments; None if any is absent."""
        out = []
        while length:
            i = bisect.bisect_right(self._starts, paddr) - 1
            load = self.loads[i] if i >= 0 else None
            if load is None or paddr >= load.p_paddr + load.p_filesz:
                return None
            n = min(length, load.p_paddr + load.p_filesz - paddr)
            out.append(self.file.at(load.p_offset + paddr - load.p_paddr, n))
            paddr, length = paddr + n, length - n
        return out[0] if len(out) == 1 else b"".join(out)

    def problems(self):
        """What a careful reader would object to, whatever it is compared with."""
        out = []
        if self.header["e_type"] != 4:
            out.append("e_type is %(e_type)d, not ET_CORE" % self.header)
        if self.header["e_ehsize"] != self.ehdr_size:
            out.append("e_ehsize is %d, the header has %d bytes" % (self.header["e_ehsize"], self.ehdr_size))
        if self.header["e_phoff"] != self.ehdr_size:
            out.append("program headers at %(e_phoff)d, not behind the header" % self.header)     # makedumpfile looks there only
        if self.phdrs and self.phdrs[0]["p_type"] != PT_NOTE:
            out.append("the first program header is not PT_NOTE")                                  # crash wants it there
        if [p["p_paddr"] for p in self.phdrs if p["p_type"] == PT_LOAD] != self._starts:
            out.append("PT_LOADs are not in the order of p_paddr")
        return out + self._overlaps()

    def _overlaps(self):
        """Places that two things claim: file offsets of segments, or physical addresses."""
        table_end = self.header["e_phoff"] + self.header["e_phentsize"] * len(self.phdrs)
        spans = [(0, table_end, "headers")]
        spans += [(p["p_offset"], p["p_offset"] + p["p_filesz"], "PT_NOTE") for p in self.notes_at]
        spans += [(x.p_offset, x.p_offset + x.p_filesz, "PT_LOAD 0x%x" % x.p_paddr) for x in self.loads if x.p_filesz]
        out = overlaps(spans, "file")
        out += overlaps([(x.p_paddr, x.p_paddr + x.p_memsz, "PT_LOAD 0x%x" % x.p_paddr) for x in self.loads], "memory")
        out += ["%s ends at 0x%x, behind the end of the file" % (name, end) for _, end, name in spans if end > self.file.size]
        return out


def overlaps(spans, where):
    spans = sorted(spans)
    return ["%s and %s share %s at 0x%x" % (a[2], b[2], where, b[0]) for a, b in zip(spans, spans[1:]) if b[0] < a[1]]


# ---------------------------------------------------------------------------------------------------- flattened files

def is_flattened(path):
    with open(path, "rb") as f:
        return f.read(16) == b"makedumpfile".ljust(16, b"\0")


def reassemble(path, out_path):
    """Put the records of a flattened file where they belong; returns {"records": n, "backward": n, "largest": bytes}.

    4096-byte header: 16-byte signature, then type and version, both 1, as big-endian i64; then records {offset, size, bytes};
    a record of -1, -1 ends the file.  Numbers are big-endian whatever the guest is.
    """
    stats = {"records": 0, "backward": 0, "largest": 0}
    with open(path, "rb") as f, open(out_path, "wb") as out:
        head = f.read(4096)
        if len(head) != 4096 or head[:16] != b"makedumpfile".ljust(16, b"\0") or head[16:32] != struct.pack(">qq", 1, 1):
            raise Malformed("%s: no flattened header" % path)
        if head[32:].strip(b"\0"):
            raise Malformed("%s: flattened header is not zero behind its fields" % path)
        position, whole = 0, os.fstat(f.fileno()).st_size
        while True:
            record = f.read(16)
            if len(record) != 16:
                raise Malformed("%s: no end record" % path)
            offset, size = struct.unpack(">qq", record)
            if (offset, size) == (-1, -1):
                break
            data = f.read(size) if offset >= 0 and 0 < size <= whole else b""
            if size <= 0 or len(data) != size:
                raise Malformed("%s: record %d says offset %d, size %d" % (path, stats["records"], offset, size))
            os.pwrite(out.fileno(), data, offset)
            stats["records"] += 1
            stats["backward"] += offset < position
            stats["largest"] = max(stats["largest"], size)
            position = offset + size
        if f.read(1):
            raise Malformed("%s: data behind the end record" % path)
    return stats


# ---------------------------------------------------------------------------------------------------- kdump-compressed

STATUS = {1: "zlib", 2: "lzo", 4: "snappy", 0x20: "zstd"}
INCOMPLETE = 8
MAIN = ("signature", "header_version", "sysname", "nodename", "release", "version", "machine", "domainname", "tv_sec", "tv_usec",
        "status", "block_size", "sub_hdr_size", "bitmap_blocks", "max_mapnr", "total_ram_blocks", "device_blocks",
        "written_blocks", "current_cpu", "nr_cpus")
UTS = ("sysname", "nodename", "release", "version", "machine", "domainname")
SUB = ("phys_base", "dump_level", "split", "start_pfn", "end_pfn", "offset_vmcoreinfo", "size_vmcoreinfo", "offset_note",
       "size_note", "offset_eraseinfo", "size_eraseinfo", "start_pfn_64", "end_pfn_64", "max_mapnr_64")
# The C structs as their compilers place them: a struct timeval of longs behind 6 * 65 bytes of utsname leaves 6 or 2 bytes of
# padding.  On i386 a u64 is aligned to 4, so that the 32-bit sub header has no padding.
MAIN_SHAPE = {64: "8si" + "65s" * 6 + "6xqqIiiIIIIIIi", 32: "8si" + "65s" * 6 + "2xiiIiiIIIIIIi"}
SUB_SHAPE = {64: "qii" + "Q" * 11, 32: "iiiIIQIQIQIQQQ"}


class Kdump:
    """A kdump-compressed file, raw or flattened (then put together in a temporary file first)."""

    kind = "kdump"
    RECENT = 1024           # decoded pages kept

    def __init__(self, path):
        self._recent = {}
        self.flattened = None
        self.path = path
        if is_flattened(path):
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(path)), prefix="flat-") as whole:
                self.flattened = reassemble(path, whole.name)
                self.file = ByteFile(whole.name)
        else:
            self.file = ByteFile(path)
        self._find_shape()
        self._read_sub_header()
        self._read_bitmaps()
        self._read_descriptors()

    def _find_shape(self):
        """Neither class nor byte order is named in the header: the shape in which block_size and version make sense is it.
        32 bits first, as in libkdumpfile: in a 64-bit file that place is tv_usec."""
        for bits in (32, 64):
            for endian in "<>":
                shape = endian + MAIN_SHAPE[bits]
                header = dict(zip(MAIN, struct.unpack(shape, self.file.at(0, struct.calcsize(shape)))))
                size = header["block_size"]
                if header["signature"] == b"KDUMP   " and 1 <= header["header_version"] <= 6 \
                        and 4096 <= size <= 1 << 18 and size & size - 1 == 0 and header["sub_hdr_size"] > 0:
                    self.bits, self.endian, self.block_size = bits, endian, size
                    self.header = {"class": bits, "byte order": endian, **header}
                    for name in UTS:
                        self.header[name] = header[name].rstrip(b"\0")
                    self.header_size = struct.calcsize(shape)
                    return
        raise Malformed("%s: no kdump header" % self.path)

    def _read_sub_header(self):
        shape = self.endian + SUB_SHAPE[self.bits]
        sub = dict(zip(SUB, struct.unpack(shape, self.file.at(self.block_size, struct.calcsize(shape)))))
        self.header.update(("sub." + name, value) for name, value in sub.items())
        self.note_bytes = self.file.at(sub["offset_note"], sub["size_note"]) if sub["size_note"] else b""
        self.notes = parse_notes(self.note_bytes, self.endian)
        self.vmcoreinfo = self.file.at(sub["offset_vmcoreinfo"], sub["size_vmcoreinfo"]) if sub["size_vmcoreinfo"] else None

    def _read_bitmaps(self):
        start = (1 + self.header["sub_hdr_size"]) * self.block_size
        length = self.header["bitmap_blocks"] // 2 * self.block_size
        self.bitmap1 = self.file.at(start, length)
        self.bitmap2 = self.file.at(start + length, length)
        self.descriptors_at = start + self.header["bitmap_blocks"] * self.block_size
        self.max_mapnr = self.header["sub.max_mapnr_64"] if self.header["header_version"] >= 6 else self.header["max_mapnr"]

    def _read_descriptors(self):
        self.page_count = int.from_bytes(self.bitmap2, "little").bit_count()
        self.table = self.file.at(self.descriptors_at, 24 * self.page_count)
        self.data_at = self.descriptors_at + len(self.table)

    def pages(self):
        """(pfn, Descriptor) of every page in the file, by rising pfn: the n-th descriptor belongs to the n-th set bit."""
        return zip(set_bits(self.bitmap2), map(Descriptor._make, struct.iter_unpack(self.endian + "QIIQ", self.table)))

    def content(self, descriptor):
        """The page's bytes; flags name the codec, 0 is a plain copy.  Shared copies, such as the zero page, are decoded once."""
        if descriptor not in self._recent:
            if len(self._recent) >= self.RECENT:
                self._recent.pop(next(iter(self._recent)))
            self._recent[descriptor] = self._decode(descriptor)
        return self._recent[descriptor]

    def _decode(self, descriptor):
        if descriptor.offset == 0:
            raise Malformed("a page without data")
        stored = self.file.at(descriptor.offset, descriptor.size)
        page = decode(stored, descriptor.flags, self.block_size)
        if len(page) != self.block_size:
            raise Malformed("a page of %d bytes at 0x%x" % (len(page), descriptor.offset))
        return page

    def ranges(self):
        """Physical addresses of the pages in the file."""
        return bitmap_ranges(self.bitmap2, self.block_size)

    def known_ranges(self):
        """Physical addresses of the pages that bitmap 1 says exist."""
        return bitmap_ranges(self.bitmap1, self.block_size)

    def problems(self):
        """What a careful reader would object to, whatever it is compared with."""
        out = []
        status = self.header["status"]
        if status & INCOMPLETE:
            out.append("marked incomplete")
        if status & ~INCOMPLETE not in (0, *STATUS):
            out.append("status 0x%x names no single codec" % status)
        if int.from_bytes(self.bitmap2, "little") & ~int.from_bytes(self.bitmap1, "little"):
            out.append("bitmap 2 holds pages that bitmap 1 does not")
        if int.from_bytes(self.bitmap1, "little").bit_length() > self.max_mapnr:
            out.append("bitmap 1 goes beyond max_mapnr 0x%x" % self.max_mapnr)
        if 8 * len(self.bitmap1) < self.max_mapnr:
            out.append("bitmaps are too short for max_mapnr 0x%x" % self.max_mapnr)
        if self.vmcoreinfo is not None and self.vmcoreinfo not in [n.desc for n in self.notes if n.name == "VMCOREINFO"]:
            out.append("offset_vmcoreinfo does not point at the VMCOREINFO note's descriptor")
        return out + self._descriptor_problems()

    def _descriptor_problems(self):
        codec = self.header["status"] & ~INCOMPLETE
        out, spans = [], set()
        for pfn, d in self.pages():
            if d.flags not in (0, codec) or d.page_flags:
                out.append("pfn 0x%x: flags 0x%x, page_flags 0x%x under status 0x%x" % (pfn, d.flags, d.page_flags, codec))
            if d.size > self.block_size or (d.flags == 0 and d.size != self.block_size):
                out.append("pfn 0x%x: size %d with flags %d" % (pfn, d.size, d.flags))
            if d.offset < self.data_at or d.offset + d.size > self.file.size:
                out.append("pfn 0x%x: data at 0x%x+%d" % (pfn, d.offset, d.size))
            spans.add((d.offset, d.offset + d.size, "page data"))
        return (out + overlaps(spans, "file"))[:20]


def set_bits(bitmap):
    """Numbers of the set bits, rising; bit n is bit n % 8 of byte n // 8."""
    table = [[k for k in range(8) if byte >> k & 1] for byte in range(256)]
    for at in range(0, len(bitmap), 512):
        block = bitmap[at:at + 512]
        if not any(block):
            continue
        for i, byte in enumerate(block):
            base = (at + i) * 8
            for k in table[byte]:
                yield base + k


def bitmap_ranges(bitmap, block_size):
    out, start, previous = [], None, None
    for pfn in set_bits(bitmap):
        if previous is None or pfn != previous + 1:
            if start is not None:
                out.append((start * block_size, (previous + 1) * block_size))
            start = pfn
        previous = pfn
    return out + ([(start * block_size, (previous + 1) * block_size)] if start is not None else [])


def library(name):
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise Malformed("cannot decode: %s" % error) from error


def decode_lzo(stored, size):
    """lzo1x_decompress_safe(src, src_len, dst, &dst_len, wrkmem): 0 is success (lzo/lzo1x.h)."""
    out, length = ctypes.create_string_buffer(size), ctypes.c_ulong(size)
    status = library("liblzo2.so.2").lzo1x_decompress_safe(stored, ctypes.c_ulong(len(stored)), out, ctypes.byref(length), None)
    if status:
        raise Malformed("lzo1x_decompress_safe: %d" % status)
    return out.raw[:length.value]


def decode_snappy(stored, size):
    """snappy_uncompress(src, src_len, dst, &dst_len): 0 is success (snappy-c.h)."""
    out, length = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
    status = library("libsnappy.so.1").snappy_uncompress(stored, ctypes.c_size_t(len(stored)), out, ctypes.byref(length))
    if status:
        raise Malformed("snappy_uncompress: %d" % status)
    return out.raw[:length.value]


def decode_zstd(stored, size):
    """ZSTD_decompress(dst, capacity, src, size): the length, or an error code near SIZE_MAX (zstd.h)."""
    out, zstd = ctypes.create_string_buffer(size), library("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    length = zstd.ZSTD_decompress(out, ctypes.c_size_t(size), stored, ctypes.c_size_t(len(stored)))
    if length > size:
        raise Malformed("ZSTD_decompress failed")
    return out.raw[:length]


def decode_zlib(stored, size):
    """A zlib stream (RFC 1950) that ends where the stored bytes end."""
    stream = zlib.decompressobj()
    try:
        page = stream.decompress(stored, size + 1)
    except zlib.error as error:
        raise Malformed(str(error)) from error
    if not stream.eof or stream.unused_data:
        raise Malformed("zlib stream does not end with its page")
    return page


CODECS = {0: lambda stored, size: stored, 1: decode_zlib, 2: decode_lzo, 4: decode_snappy, 0x20: decode_zstd}


def decode(stored, flags, size):
    """A stored page by the codec that its flags name."""
    if flags not in CODECS:
        raise Malformed("page flags 0x%x" % flags)
    return CODECS[flags](stored, size)


# ---------------------------------------------------------------------------------------------------- comparisons

class RawRam:
    """Guest RAM in a file of its own: pieces are (guest physical start, length, offset in the file)."""

    kind = "ram"

    def __init__(self, path, pieces):
        self.file = ByteFile(path)
        self.pieces = sorted(pieces)

    def ranges(self):
        return merge((start, start + length) for start, length, _ in self.pieces)

    def read(self, paddr, length):
        out = []
        for start, size, offset in self.pieces:
            if start <= paddr < start + size and length:
                n = min(length, start + size - paddr)
                out.append(self.file.at(offset + paddr - start, n))
                paddr, length = paddr + n, length - n
        return b"".join(out) if not length else None


class Verdict:
    """What a comparison found: bytes or pages compared, and lines that say what is wrong."""

    LIMIT = 10

    def __init__(self):
        self.compared = 0
        self.problems = []
        self.more = 0

    def blame(self, line):
        if len(self.problems) < self.LIMIT:
            self.problems.append(line)
        else:
            self.more += 1

    def __bool__(self):
        return not self.problems

    def __str__(self):
        more = " and %d more" % self.more if self.more else ""
        return "; ".join(self.problems) + more if self.problems else "%d compared" % self.compared


def compare_memory(a, b, within=None):
    """Every byte of two memories (Elf or RawRam) that should hold the same ranges, or the same part `within`."""
    verdict = Verdict()
    ranges_a, ranges_b = a.ranges(), b.ranges()
    if within is not None:
        ranges_a, ranges_b = intersect(ranges_a, within), intersect(ranges_b, within)
    for name, lost in (("missing", subtract(ranges_b, ranges_a)), ("unexpected", subtract(ranges_a, ranges_b))):
        if lost:
            verdict.blame("%s: %s" % (name, show_ranges(lost)))
    for start, end in intersect(ranges_a, ranges_b):
        for at in range(start, end, CHUNK):
            n = min(CHUNK, end - at)
            ours, theirs = a.read(at, n), b.read(at, n)
            if ours != theirs:
                k = next(k for k in range(n) if ours[k] != theirs[k])
                verdict.blame("0x%x: 0x%02x, expected 0x%02x" % (at + k, ours[k], theirs[k]))
            verdict.compared += n
    return verdict


def compare_pages(a, b, ignore=()):
    """Every page of two Kdumps, and which pages they hold; `ignore` lists physical ranges left out in both."""
    verdict = Verdict()
    if a.block_size != b.block_size:
        verdict.blame("block_size %d, expected %d" % (a.block_size, b.block_size))
        return verdict
    ours, theirs = _pages_outside(a, ignore), _pages_outside(b, ignore)
    mine, other = next(ours, None), next(theirs, None)
    while mine or other:
        if other is None or (mine and mine[0] < other[0]):
            verdict.blame("pfn 0x%x: unexpected" % mine[0])
            mine = next(ours, None)
        elif mine is None or other[0] < mine[0]:
            verdict.blame("pfn 0x%x: missing" % other[0])
            other = next(theirs, None)
        else:
            _compare_page(verdict, mine[0], lambda: a.content(mine[1]), lambda: b.content(other[1]))
            mine, other = next(ours, None), next(theirs, None)
    return verdict


def _pages_outside(dump, ignore):
    skip = [(start // dump.block_size, -(-end // dump.block_size)) for start, end in merge(ignore)]
    for pfn, descriptor in dump.pages():
        if not any(start <= pfn < end for start, end in skip):
            yield pfn, descriptor


def _compare_page(verdict, pfn, ours, theirs):
    verdict.compared += 1
    try:
        if ours() != theirs():
            verdict.blame("pfn 0x%x: content differs" % pfn)
    except Malformed as error:
        verdict.blame("pfn 0x%x: %s" % (pfn, error))


def compare_to_memory(dump, memory, within=None):
    """Every page of a Kdump against an Elf or RawRam: both must hold exactly the pages of `within` (default: all of memory)."""
    verdict = Verdict()
    wanted = memory.ranges() if within is None else merge(within)
    for name, lost in (("missing", subtract(wanted, dump.ranges())), ("unexpected", subtract(dump.ranges(), wanted))):
        if lost:
            verdict.blame("%s: %s" % (name, show_ranges(lost)))
    for pfn, descriptor in dump.pages():
        page = memory.read(pfn * dump.block_size, dump.block_size)
        if page is not None:
            _compare_page(verdict, pfn, lambda: dump.content(descriptor), lambda: page)
    return verdict


def bitmap_differences(a, b, ignore=()):
    """Lines that say how the bitmaps of two Kdumps differ outside `ignore`."""
    out = []
    for name in ("bitmap1", "bitmap2"):
        ours, theirs = (subtract(bitmap_ranges(getattr(d, name), d.block_size), ignore) for d in (a, b))
        if ours != theirs:
            out.append("%s: %s, expected %s" % (name, show_ranges(ours), show_ranges(theirs)))
    return out


def header_differences(a, b):
    """{field name: Difference} of everything that the two dumps say about themselves.  Memory and note bytes are not part of it."""
    if a.kind != b.kind:
        return {"kind": Difference(a.kind, b.kind)}
    ours, theirs = (_elf_fields(d) if d.kind == "elf" else _kdump_fields(d) for d in (a, b))
    return {k: Difference(ours[k], theirs[k]) for k in ours if ours[k] != theirs[k]}


def _elf_fields(elf):
    fields = dict(elf.header)
    fields["sections"] = [s["sh_type"] for s in elf.sections]
    fields["PT_NOTE"] = [(p["p_filesz"], p["p_memsz"], p["p_vaddr"], p["p_paddr"], p["p_flags"], p["p_align"]) for p in elf.notes_at]
    fields["PT_NOTE p_offset"] = [p["p_offset"] for p in elf.notes_at]
    fields["PT_LOAD"] = [(x.p_paddr, x.p_filesz, x.p_memsz) for x in elf.loads]
    fields["PT_LOAD p_offset"] = [x.p_offset for x in elf.loads]
    fields["PT_LOAD p_vaddr"] = sorted({x.p_vaddr - x.p_paddr for x in elf.loads})
    fields["PT_LOAD p_flags"] = sorted({x.p_flags for x in elf.loads})
    fields["PT_LOAD p_align"] = sorted({x.p_align for x in elf.loads})
    return fields


def _kdump_fields(kdump):
    return {**kdump.header, "bitmap length": len(kdump.bitmap1)}


def same_bytes(path_a, path_b):
    """Whether two files hold the same bytes."""
    a, b = ByteFile(path_a), ByteFile(path_b)
    try:
        return a.size == b.size and all(a.at(o, min(CHUNK, a.size - o)) == b.at(o, min(CHUNK, a.size - o))
                                        for o in range(0, a.size, CHUNK))
    finally:
        a.close()
        b.close()


def open_dump(path):
    """Elf or Kdump, by content."""
    with open(path, "rb") as f:
        return Elf(path) if f.read(4) == b"\x7fELF" else Kdump(path)


# ---------------------------------------------------------------------------------------------------- by hand

def show(path):
    dump = open_dump(path)
    print("%s: %s" % (path, dump.kind))
    for name, value in (_elf_fields(dump) if dump.kind == "elf" else _kdump_fields(dump)).items():
        print("  %-24s %s" % (name, value))
    for note in dump.notes:
        print("  note %s/0x%x: %d bytes" % (note.name, note.type, len(note.desc)))
    print("  memory %s (0x%x bytes)" % (show_ranges(dump.ranges()), total(dump.ranges())))
    for line in dump.problems():
        print("  PROBLEM " + line)


def diff(path_a, path_b):
    a, b = open_dump(path_a), open_dump(path_b)
    if a.kind == b.kind:
        verdict = compare_pages(a, b) if a.kind == "kdump" else compare_memory(a, b)
    else:
        kdump, elf = (a, b) if a.kind == "kdump" else (b, a)
        verdict = compare_to_memory(kdump, elf)
    notes = note_differences(a.notes, b.notes)
    print("memory: %s\nnotes: %s" % (verdict, "; ".join(notes) or "%d equal" % len(a.notes)))
    for name, difference in header_differences(a, b).items():
        print("  %-24s %s | %s" % (name, *difference))
    return 0 if verdict and not notes else 1


def main(argv):
    if len(argv) >= 2 and argv[0] == "show":
        for path in argv[1:]:
            show(path)
        return 0
    if len(argv) == 3 and argv[0] == "diff":
        return diff(*argv[1:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
