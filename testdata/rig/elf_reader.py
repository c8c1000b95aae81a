"""A reader of ELF cores of physical memory, with their notes.  System V ABI, chapters 4 and 5."""
import bisect
import collections
import struct

from physical import ByteFile, Malformed, merge, overlaps

PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xFFFF        # e_phnum: the real number is sh_info of section 0 (System V ABI, "Number of program headers")

Note = collections.namedtuple("Note", "name type desc")
Load = collections.namedtuple("Load", "p_paddr p_filesz p_memsz p_offset p_vaddr p_flags p_align")


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
