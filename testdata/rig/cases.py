"""The guests that check-guest.py boots, and what is expected of them: in which header fields our dumps are meant to differ from
QEMU's, and which readers refuse which file."""
import collections

import judges

Case = collections.namedtuple("Case", "name arch mb boot parts codecs readers")
ALL_CODECS = ("zlib", "lzo", "snappy", "zstd", "none")
PARTS = ("footprint", "state", "dumps", "makedumpfile", "readers")
ELF_READERS = ("readelf", "gdb")
KERNEL_READERS = ("drgn", "drgn + vmlinux", "libkdumpfile")
X86_READERS = ("crash", "makedumpfile -d 31", "makedumpfile --dump-dmesg")      # Debian builds them for x86_64 dumps only
SMALL = ELF_READERS + KERNEL_READERS

CASES = {case.name: case for case in [
    # five-level page tables (-cpu max has LA57), RAM in a shared file
    Case("x86_64", "x86_64", 512, {"RAM": "file"}, PARTS, ALL_CODECS, SMALL + X86_READERS),
    # four-level page tables, RAM in a memfd
    Case("x86_64-4level", "x86_64", 512, {"RAM": "memfd", "CPU_OVERRIDE": "Skylake-Client-v3"}, PARTS, ("zlib", "lzo"), SMALL + ("crash",)),
    # RAM above 4 GiB, split at the VGA hole and at the PCI hole, video RAM; anonymous memory
    Case("x86_64-5g-vga", "x86_64", 5120, {"RAM": "anon", "FILL": "2", "QEMU_ARGS": "-device VGA"}, PARTS,
         ("zlib",), SMALL),
    Case("i386-pae", "i386-pae", 512, {"RAM": "file"}, ("footprint", "state", "dumps", "readers"), ALL_CODECS, SMALL),
    Case("i386", "i386", 512, {"RAM": "memfd"}, ("footprint", "dumps", "readers"), ("zlib",), SMALL),
    # a 32-bit kernel on a 64-bit machine, with more RAM than 32 bits can say
    Case("i386-pae-5g", "i386-pae", 5120, {"RAM": "file", "FILL": "2", "QEMU_BIN": "qemu-system-x86_64"}, ("footprint", "dumps", "readers"), ("zlib",), SMALL),
    # the QEMU of Debian 12: no kdump-raw formats, other texts in its monitor
    Case("x86_64-qemu72", "x86_64", 512, {"RAM": "file", "QEMU_BIN": "@qemu72@"}, PARTS, ("zlib", "lzo"), SMALL + ("crash",)),
    # the other architectures: QEMU's own files of them are refused by most readers
    Case("aarch64", "aarch64", 512, {"RAM": "file"}, ("footprint", "state", "dumps", "readers"), ("zlib", "zstd"), SMALL),
    # vector registers: -cpu max has SVE
    Case("aarch64-sve", "aarch64", 512, {"RAM": "memfd", "CPU_OVERRIDE": "max,lpa2=off"}, ("dumps", "readers"), ("zlib",), SMALL),
    Case("s390x", "s390x", 512, {"RAM": "file"}, ("footprint", "dumps", "readers"), ("zlib", "lzo"), SMALL),
    Case("ppc64le", "ppc64le", 512, {"RAM": "anon"}, ("footprint", "dumps", "readers"), ("zlib", "none"), SMALL),
]}


# ---------------------------------------------------------------------------------------------------- what is expected to differ

# Header fields in which our dump is meant to differ from QEMU's, each with the reason.  Every other field must agree.
ELF_ALWAYS = {
    "e_phoff": "makedumpfile reads program headers behind the ELF header only",
    "e_ehsize": "QEMU since 7.2 stores the size of a pointer",
    "e_shoff": "no section headers are needed",
    "e_shentsize": "no section headers are needed",
    "e_shnum": "no section headers are needed",
    "e_shstrndx": "no section headers are needed",
    "sections": "no section headers are needed",
    "PT_NOTE p_offset": "follows from the above",
    "PT_LOAD p_offset": "follows from the above",
}
ELF_LOADS = {
    "PT_LOAD": "device memory is left out; a block is split where the kernel's linear map ends, and at 1 MiB if it is alone at 0",
    "e_phnum": "the same",
}
I386_PAGE_OFFSET = 0xC0000000           # CONFIG_PAGE_OFFSET of Debian's kernels
ELF_I386 = {"PT_LOAD p_vaddr": "drgn finds the kernel by its linear map"}
ELF_CLASS32 = {
    "class": "QEMU takes the BIOS, which ends at 4 GiB, for a reason to write ELFCLASS64",
    "e_phentsize": "ELFCLASS32",
}
KDUMP_ALWAYS = {name: "drgn and libkdumpfile take the architecture from it" for name in judges.UTS}
KDUMP_BELOW_4G = {name: "ends where RAM ends; makedumpfile trips over more" for name in
                  ("max_mapnr", "sub.max_mapnr_64", "bitmap_blocks", "bitmap length")}
KDUMP_X86_64 = {"sub.phys_base": "QEMU reads the decimal number as hexadecimal"}
KDUMP_I386 = {name: "the header is that of a 32-bit kernel" for name in ("class", "sub.offset_note", "sub.offset_vmcoreinfo")}


# QEMU knows no VMCOREINFO of these machines; we find it in RAM and append it
WITHOUT_VMCOREINFO = ("s390x", "ppc64le")
ELF_VMCOREINFO = {"PT_NOTE": "VMCOREINFO is the last note"}
ELF_ADDED_NOTES = {"PT_NOTE": "notes that QEMU leaves out (completed_notes.py)"}
KDUMP_ADDED_NOTES = {"sub.size_note": "the same"}
ELF_HOST_ORDER = {"sections": "QEMU writes the header of .shstrtab in the host's byte order"}
PPC64_PAGE_OFFSET = 0xC000000000000000
KDUMP_VMCOREINFO = {name: "VMCOREINFO is the last note" for name in ("sub.size_note", "sub.offset_vmcoreinfo", "sub.size_vmcoreinfo")}
# QEMU's pages of an aarch64 guest have 64 KiB, whatever the guest's have: libkdumpfile misreads such a file
KDUMP_PAGE_SIZE = {name: "the guest kernel's own page size" for name in
                   ("block_size", "sub_hdr_size", "bitmap_blocks", "max_mapnr", "sub.max_mapnr_64", "sub.offset_note",
                    "sub.offset_vmcoreinfo", "bitmap length")}


def is_i386(case):
    return case.arch.startswith("i386")


def is_class32(case):
    return is_i386(case) and case.mb <= 3072


def expected_loads(case, theirs, low_end):
    """(p_paddr, p_filesz, p_memsz) of our segments for these blocks of QEMU's; `low_end`: where an i386 kernel's linear map ends."""
    loads = [piece for load in theirs for piece in (cut(load, low_end) if is_i386(case) else [load])]
    if len(loads) == 1 and loads[0][0] == 0:
        loads = cut(loads[0], 1 << 20)          # drgn takes physical addresses for absent when all are 0
    return loads


def cut(load, at):
    """One segment in two, if `at` is inside of it."""
    start, size, _ = load
    if not start < at < start + size:
        return [load]
    return [(start, at - start, at - start), (at, start + size - at, start + size - at)]


def expected_vaddr(case, paddr, low_end):
    """p_vaddr of a segment of ours."""
    if case.arch == "ppc64le":
        return paddr + PPC64_PAGE_OFFSET        # drgn reads page tables through the linear map
    return paddr + I386_PAGE_OFFSET if is_i386(case) and paddr < low_end else paddr


def expected_elf(case, ours, theirs):
    """Names of the ELF header fields that differ from QEMU's, given our list of segments and QEMU's."""
    names = set(ELF_ALWAYS)
    if ours != theirs:
        names.add("PT_LOAD")
    if len(ours) != len(theirs):
        names.add("e_phnum")
    if is_i386(case):
        names |= set(ELF_I386)
    if is_class32(case):
        names |= set(ELF_CLASS32)
    if case.arch in WITHOUT_VMCOREINFO:
        names |= set(ELF_VMCOREINFO)
    if case.arch == "ppc64le":
        names.add("PT_LOAD p_vaddr")
    if case.arch == "aarch64":
        names |= set(ELF_ADDED_NOTES)
    return names


def expected_kdump(case, qemu):
    """Names of the kdump header fields that differ from those of QEMU's zlib dump."""
    names = set(KDUMP_ALWAYS)
    if case.arch == "aarch64":
        return names | set(KDUMP_PAGE_SIZE) | set(KDUMP_ADDED_NOTES)
    if case.arch in WITHOUT_VMCOREINFO:
        # with VMCOREINFO the notes of s390x need a second block of 4096 bytes
        return names | set(KDUMP_VMCOREINFO) | ({"sub_hdr_size"} if case.arch == "s390x" else set())
    if qemu < (10, 0) and not is_i386(case):
        names.discard("machine")                # was filled in before QEMU's dump code lost its target
    if case.mb <= 3072:
        names |= set(KDUMP_BELOW_4G)
    return names | set(KDUMP_I386 if is_i386(case) else KDUMP_X86_64)


# (our file, reader), or with the case before them -> why the reader refuses it; everything else must open
FLATTENED, NO_CODEC = "a flattened file is for `makedumpfile -R` and crash", "not in Debian's build"
I386_32 = "drgn cuts physical addresses of an i386 kernel to 32 bits in a kdump, whatever its header is"
REFUSALS = {
    ("kdump-zlib", "libkdumpfile"): FLATTENED,
    ("kdump-zlib", "makedumpfile -d 31"): FLATTENED,
    ("kdump-zlib", "makedumpfile --dump-dmesg"): FLATTENED,
    ("kdump-raw-snappy", "makedumpfile -d 31"): NO_CODEC,
    ("kdump-raw-snappy", "makedumpfile --dump-dmesg"): NO_CODEC,
    ("kdump-raw-zstd", "makedumpfile -d 31"): NO_CODEC,
    ("kdump-raw-zstd", "makedumpfile --dump-dmesg"): NO_CODEC,
    ("i386-pae-5g", "kdump-raw-zlib", "drgn"): I386_32,
    ("i386-pae-5g", "kdump-zlib", "drgn"): I386_32,
}


def refusal(case, name, reader):
    """Why this reader refuses this file of ours, or None."""
    return REFUSALS.get((name, reader)) or REFUSALS.get((case.name, name, reader))


CODEC_STATUS = {"zlib": 1, "lzo": 2, "snappy": 4, "zstd": 32, "none": 0}

# crash needs ten seconds for the kernel's debug information each time; with --table it reads every file
CRASH_READS = {(name, "x86_64") for name in ("elf", "kdump-raw-zlib", "kdump-raw-lzo", "kdump-raw-snappy", "kdump-raw-zstd", "kdump-zlib")}
CRASH_READS |= {("elf", "x86_64-4level"), ("elf", "x86_64-qemu72")}
