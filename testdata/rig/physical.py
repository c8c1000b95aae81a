"""Ranges of physical addresses, files read by position, and guest RAM in a file of its own."""
import os


class Malformed(Exception):
    """The file breaks its format so badly that nothing can be compared."""


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


def overlaps(spans, where):
    spans = sorted(spans)
    return ["%s and %s share %s at 0x%x" % (a[2], b[2], where, b[0]) for a, b in zip(spans, spans[1:]) if b[0] < a[1]]


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
