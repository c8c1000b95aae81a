#!/usr/bin/python3
"""Asks libkdumpfile's addrxlat what the addresses of a fixture translate to.

    addrxlat_oracle.py FILE...        - is standard input

Reads fixtures (README.md beside this script), ignores what they expect, and prints for each case its name and for each
address "VIRT -> ANSWER" in the words of the fixtures. Needs Debian's python3-libkdumpfile (written for 0.5.1).

addrxlat is only called, through its documented python module: PageTableMethod as the system's method for page tables,
maps for hardware and kernel-virtual addresses, a Context whose callbacks give pages.
"""

import re
import sys

import addrxlat

# Method of each form: format, widths of the address fields from the page offset up, mask of CR3, the words for the
# levels (by addrxlat's names for them).
LONG = {"pgd": "PML5", "p4d": "PML4", "pud": "PDPT", "pmd": "page directory", "pte": "page table"}
FORMS = {
    "x86_32": (addrxlat.PTE_IA32, (12, 10, 10), 0xFFFFF000, {"pgd": "page directory", "pte": "page table"}),
    "x86_pae": (
        addrxlat.PTE_IA32_PAE,
        (12, 9, 9, 2),
        0xFFFFFFE0,
        {"pgd": "PDPT", "pmd": "page directory", "pte": "page table"},
    ),
    "x86_64_4level": (addrxlat.PTE_X86_64, (12, 9, 9, 9, 9), 0xFFFFFFFFFF000, LONG),
    "x86_64_5level": (addrxlat.PTE_X86_64, (12, 9, 9, 9, 9, 9), 0xFFFFFFFFFF000, LONG),
}
CR4_PSE = 0x10
PAGE = 4096


class Memory(addrxlat.Context):
    """Pages of guest-physical memory; the others do not exist."""

    def __init__(self):
        super().__init__()
        self.pages = {}

    def ram(self, at):
        return self.pages.setdefault(at & ~(PAGE - 1), bytearray(PAGE))

    def put(self, at, width, order, value):
        self.ram(at)[at % PAGE : at % PAGE + width] = value.to_bytes(width, order)

    def cb_read_caps(self):
        return addrxlat.CAPS(addrxlat.MACHPHYSADDR)

    def cb_get_page(self, addr):
        addr.addr &= ~(PAGE - 1)
        if addr.addr not in self.pages:
            raise addrxlat.NoDataError(f"no RAM at {addr.addr:#x}")
        return self.pages[addr.addr], addrxlat.LITTLE_ENDIAN


class Case:
    """A memory, the registers of a vCPU, and addresses."""

    def __init__(self, name, form):
        self.name = name
        self.form = form
        self.memory = Memory()
        self.registers = {}
        self.walks = []

    def system(self):
        pte_format, fields, cr3_mask, _ = FORMS[self.form]
        root = addrxlat.FullAddress(addrxlat.MACHPHYSADDR, self.registers["cr3"] & cr3_mask)
        method = addrxlat.PageTableMethod(addrxlat.MACHPHYSADDR, root=root, pte_format=pte_format, fields=fields)
        system = addrxlat.System()
        system.set_meth(addrxlat.SYS_METH_PGT, method)
        everything = addrxlat.Map()
        everything.set(0, addrxlat.Range(addrxlat.ADDR_MAX, addrxlat.SYS_METH_PGT))
        system.set_map(addrxlat.SYS_MAP_HW, everything)
        system.set_map(addrxlat.SYS_MAP_KV_PHYS, everything)
        return system

    def answer(self, system, virt):
        if self.form == "x86_32" and not self.registers["cr4"] & CR4_PSE:
            return "not modelled: CR4.PSE is off"
        address = addrxlat.FullAddress(addrxlat.KVADDR, virt)
        try:
            address.conv(addrxlat.MACHPHYSADDR, self.memory, system)
            return f"{address.addr:#x}"
        except addrxlat.BaseException as error:
            return self.words(str(error.args[-1]))

    def words(self, error):
        """addrxlat's message in the words of the fixtures; as it is where there are none."""
        levels = FORMS[self.form][3]
        entry = re.search(r"not present: (\w+)\[(\d+)\] = (0x[0-9a-f]+)", error)
        if entry:
            return f"not present at {levels[entry[1]]}[{entry[2]}] = {entry[3]}"
        missing = re.search(r"Cannot read .* PTE at MACHPHYSADDR:(0x[0-9a-f]+)", error)
        if missing:
            return f"no RAM for entry at {missing[1]}"
        if error == "Virtual address too big":
            return "no root"
        return error


def cases(lines):
    form, width, order, case = None, 8, "little", None
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
        elif words[0] == "entries":
            width, order = int(words[1]), words[2]
        elif words[0][0] == "@":
            table = int(words[0][1:], 16)
            if words[1] == "ram":
                case.memory.ram(table)
            else:
                case.memory.put(table + width * int(words[1][1:-1], 16), width, order, int(words[2], 16))
        elif "->" in words:
            case.walks.append(int(words[0], 16))
        else:
            case.registers[words[0]] = int(words[1], 16)


def main(paths):
    for path in paths:
        lines = (sys.stdin if path == "-" else open(path, encoding="utf-8")).read().splitlines()
        for case in list(cases(lines)):
            print(f"[{case.name}]")
            system = case.system()
            for virt in case.walks:
                print(f"{virt:#x} -> {case.answer(system, virt)}")


if __name__ == "__main__":
    main(sys.argv[1:])
