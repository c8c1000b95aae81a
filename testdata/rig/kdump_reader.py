"""A reader of kdump-compressed files, raw and flattened, and the codecs of their pages.

Order and offsets of the fields are those that dumps of makedumpfile 1.7.2 and of QEMU 7.2 and 10.0 show.
The codecs are the C libraries, by ctypes; zlib is Python's.
"""
import collections
import ctypes
import os
import struct
import tempfile
import zlib

from elf_reader import parse_notes
from physical import ByteFile, Malformed, overlaps

Descriptor = collections.namedtuple("Descriptor", "offset size flags page_flags")


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
        for d in set(map(Descriptor._make, struct.iter_unpack(self.endian + "QIIQ", self.table))):
            if d.flags not in (0, codec) or d.page_flags:
                out.append("page at 0x%x: flags 0x%x, page_flags 0x%x under status 0x%x" % (d.offset, d.flags, d.page_flags, codec))
            if d.size > self.block_size or (d.flags == 0 and d.size != self.block_size):
                out.append("page at 0x%x: size %d with flags %d" % (d.offset, d.size, d.flags))
            if d.offset < self.data_at or d.offset + d.size > self.file.size:
                out.append("page data at 0x%x+%d" % (d.offset, d.size))
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
