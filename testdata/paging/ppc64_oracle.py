#!/usr/bin/env python3
"""Asks drgn what the kernel addresses of a ppc64 fixture translate to.

    ppc64_oracle.py FILE...        - is standard input

Reads fixtures (README.md beside this script), ignores what they expect, and prints for each case its name and for each
address "VIRT -> ANSWER": a physical address, "hole", or "not asked". Needs drgn (written for 0.3.0, from PyPI).

drgn is only called: it gets VMCOREINFO, a memory whose reads are watched, and the one kernel variable by which it tells
a radix kernel from a hashed one. It knows the two shapes of tree that Linux makes, by PAGESIZE: form ppc64_radix_4k and
form ppc64_radix_64k; other forms, and addresses outside of quadrant 3, are not asked.
"""

import sys

from drgn import Architecture, FaultError, Object, Platform, PlatformFlags, Program, TypeMember

PAGE = 4096
PAGE_SIZES = {"ppc64_radix_4k": 4096, "ppc64_radix_64k": 65536}
QUADRANT_3 = range(0xC000000000000000, 0xC010000000000000)
# Where a struct cpu_spec is for drgn, at the end of the quadrant: the walk of no fixture ends up here.
CPU_SPEC_AT = 0xC00FFFFFFFF00000
MMU_FTR_TYPE_RADIX = 0x40


class Case:
    """A memory, the registers of a vCPU, and addresses."""

    def __init__(self, name, form):
        self.name = name
        self.page_size = PAGE_SIZES.get(form)
        self.pages = {}
        self.registers = {}
        self.walks = []
        self.last_read = None

    def page(self, at):
        return self.pages.setdefault(at & -PAGE, bytearray(PAGE))

    def put(self, at, value):
        self.page(at)[at % PAGE : at % PAGE + 8] = value.to_bytes(8, "big")

    def word(self, at):
        page = self.pages.get(at & -PAGE, bytes(PAGE))
        return int.from_bytes(page[at % PAGE : at % PAGE + 8], "big")

    def root(self):
        if "radix_root" in self.registers:
            return self.registers["radix_root"]
        entry = self.word(self.registers["prtbl"] & 0x0FFFFFFFFFFFF000)
        return entry & 0x0FFFFFFFFFFFFF00

    def read(self, at, count, _offset, physical):
        """Memory for drgn: tables, and zeros where a page may be; a table that is not RAM reads as not present."""
        if physical:
            self.last_read = at
        return b"".join(self.byte(at + i) for i in range(count))

    def byte(self, at):
        page = self.pages.get(at & -PAGE)
        return b"\0" if page is None else page[at % PAGE : at % PAGE + 1]

    def program(self):
        program = Program(Platform(Architecture.PPC64, PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN))
        program.add_memory_segment(0, 1 << 60, self.read, True)
        # drgn finds the root directory itself by arithmetic.
        root = QUADRANT_3.start + self.root()
        info = f"OSRELEASE=6.1.0\nPAGESIZE={self.page_size}\nSYMBOL(swapper_pg_dir)={root:x}\nKERNELOFFSET=0\n"
        program.set_linux_kernel_custom(info.encode(), False)
        features = MMU_FTR_TYPE_RADIX.to_bytes(4, "little")
        program.add_memory_segment(CPU_SPEC_AT, 4, lambda _at, count, offset, _: features[offset : offset + count], False)
        program.register_object_finder("cpu_spec", cpu_spec, enable_index=0)
        return program

    def answer(self, program, virt):
        if virt not in QUADRANT_3 or self.page_size is None or virt >= CPU_SPEC_AT:
            return "not asked"
        try:
            program.read(virt, 1)
        except FaultError:
            return "hole"
        return f"{self.last_read:#x}"


def cpu_spec(program, name, _flags, _filename):
    """struct cpu_spec *cur_cpu_spec, as far as drgn looks at it."""
    if name != "cur_cpu_spec":
        return None
    number = program.int_type("unsigned int", 4, False)
    spec = program.struct_type("cpu_spec", 4, (TypeMember(number, "mmu_features", 0),))
    return Object(program, program.pointer_type(spec), value=CPU_SPEC_AT)


def cases(lines):
    form, case = None, None
    for line in lines:
        line = line.split("#")[0].strip()
        words = line.split()
        if not words:
            continue
        if line[0] == "[":
            case = Case(line[1:-1], form)
            yield case
        elif words[0] == "form":
            form = words[1]
        elif words[0][0] == "@":
            table = int(words[0][1:], 16)
            if words[1] == "ram":
                case.page(table)
            else:
                case.put(table + 8 * int(words[1][1:-1], 16), int(words[2], 16))
        elif "->" in words:
            case.walks.append(int(words[0], 16))
        elif words[0] != "entries":
            case.registers[words[0]] = int(words[1], 16)


def main(paths):
    for path in paths:
        lines = (sys.stdin if path == "-" else open(path, encoding="utf-8")).read().splitlines()
        for case in list(cases(lines)):
            print(f"[{case.name}]")
            program = case.program()
            for virt in case.walks:
                print(f"{virt:#x} -> {case.answer(program, virt)}")


if __name__ == "__main__":
    main(sys.argv[1:])
