#!/usr/bin/env python3
"""Readers of ELF and kdump-compressed dumps, and what it takes to say that two of them hold the same guest.

    judges.py show FILE...          headers, notes, ranges and structural problems
    judges.py diff A B              memory, notes and header fields of two dumps

The readers are in elf_reader.py, kdump_reader.py and physical.py; no code is shared with the program that is judged, and nothing
but the standard library is needed (and the C libraries of the codecs, by ctypes).  Every comparison is complete, none is a sample.
"""
import collections
import sys

from elf_reader import Elf, parse_notes                                         # noqa: F401
from kdump_reader import UTS, Kdump, bitmap_ranges, reassemble                  # noqa: F401
from physical import ByteFile, Malformed, RawRam, intersect, merge, show_ranges, subtract, total

CHUNK = 1 << 20
Difference = collections.namedtuple("Difference", "ours theirs")


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
    equal = set()                   # pairs of stored copies found equal; shared ones, such as zeros, come again and again
    while mine or other:
        if other is None or (mine and mine[0] < other[0]):
            verdict.blame("pfn 0x%x: unexpected" % mine[0])
            mine = next(ours, None)
        elif mine is None or other[0] < mine[0]:
            verdict.blame("pfn 0x%x: missing" % other[0])
            other = next(theirs, None)
        else:
            verdict.compared += 1
            if (mine[1], other[1]) not in equal and _same_page(verdict, mine[0], a, mine[1], lambda: b.content(other[1])):
                equal.add((mine[1], other[1]))
            mine, other = next(ours, None), next(theirs, None)
    return verdict


def _pages_outside(dump, ignore):
    skip = [(start // dump.block_size, -(-end // dump.block_size)) for start, end in merge(ignore)]
    for pfn, descriptor in dump.pages():
        if not any(start <= pfn < end for start, end in skip):
            yield pfn, descriptor


def _same_page(verdict, pfn, dump, descriptor, expected):
    try:
        if dump.content(descriptor) == expected():
            return True
        verdict.blame("pfn 0x%x: content differs" % pfn)
    except Malformed as error:
        verdict.blame("pfn 0x%x: %s" % (pfn, error))
    return False


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
            verdict.compared += 1
            _same_page(verdict, pfn, dump, descriptor, lambda: page)
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
