#!/usr/bin/python3
"""As addrxlat_oracle.py, for AArch64: asks libkdumpfile's addrxlat what the addresses of a fixture translate to.

    aarch64_oracle.py FILE...        - is standard input

The halves of the address space are two methods; which one an address takes, its format and its fields come from the
registers tcr_el1, ttbr0_el1 and ttbr1_el1 (Arm ARM, D8.2). addrxlat gets the address without the ones above a high half.
addrxlat 0.5.1 has no IPS: it checks no address against TCR_EL1.IPS.
"""

import re
import sys

import addrxlat
from addrxlat_oracle import Memory, cases

STRIDES = {12: 9, 14: 11, 16: 13}
LEVELS = {"pgd": -1, "p4d": 0, "pud": 1, "pmd": 2, "pte": 3}


class BigEndianMemory(Memory):
    def cb_get_page(self, addr):
        return super().cb_get_page(addr)[0], addrxlat.BIG_ENDIAN


class Half:
    """What TCR_EL1 says of one half of the address space."""

    def __init__(self, registers, high):
        tcr = registers["tcr_el1"]
        fields = tcr >> 16 if high else tcr
        granule = tcr >> 30 & 3 if high else tcr >> 14 & 3
        self.page = {(0, 1): 16, (1, 3): 16, (0, 2): 14, (1, 1): 14}.get((int(high), granule), 12)
        ds, lpa = tcr >> 59 & 1, tcr >> 32 & 7 == 6
        k64 = self.page == 16
        smallest, largest = (12 if k64 or ds else 16), (47 if k64 else 48)
        self.bits = 64 - min(max(fields & 63, smallest), largest)
        self.off = bool(fields >> 7 & 1)
        self.wide = lpa if k64 else ds
        self.format = addrxlat.PTE_AARCH64
        if self.wide:
            self.format = addrxlat.PTE_AARCH64_LPA if k64 else addrxlat.PTE_AARCH64_LPA2
        self.fields = self.split()
        # guestdump takes a first table of the high half as the end of one that is as wide as its level can be.
        most = min(STRIDES[self.page], 52 - (self.bits - self.fields[-1]))
        self.missing = (1 << most) - (1 << self.fields[-1]) if high else 0
        self.root = self.first_table(registers.get("ttbr1_el1" if high else "ttbr0_el1", 0))

    def split(self):
        fields, left = [self.page], self.bits - self.page
        while left > 0:
            fields.append(min(left, STRIDES[self.page]))
            left -= fields[-1]
        return tuple(fields)

    def first_table(self, ttbr):
        align = self.fields[-1] + 3
        if self.wide:
            align = max(align, 6)
        root = ttbr & ((1 << 48) - (1 << align))
        return root | (ttbr >> 2 & 15) << 48 if self.wide else root


class Aarch64Case:
    """A case of the other script, with its own translation."""

    def __init__(self, case, big):
        self.name, self.walks, self.memory = case.name, case.walks, case.memory
        if big:
            self.memory = BigEndianMemory()
            self.memory.pages = case.memory.pages
        self.halves = [Half(case.registers, high) for high in (False, True)]
        self.systems = [self.system(half) for half in self.halves]

    @staticmethod
    def system(half):
        root = addrxlat.FullAddress(addrxlat.MACHPHYSADDR, half.root)
        method = addrxlat.PageTableMethod(
            addrxlat.MACHPHYSADDR, root=root, pte_format=half.format, fields=half.fields
        )
        system = addrxlat.System()
        system.set_meth(addrxlat.SYS_METH_PGT, method)
        everything = addrxlat.Map()
        everything.set(0, addrxlat.Range(addrxlat.ADDR_MAX, addrxlat.SYS_METH_PGT))
        system.set_map(addrxlat.SYS_MAP_HW, everything)
        system.set_map(addrxlat.SYS_MAP_KV_PHYS, everything)
        return system

    def answer(self, virt):
        high = virt >> 55 & 1
        half = self.halves[high]
        above = (1 << 64 - half.bits) - 1 if high else 0
        if half.off or virt >> half.bits != above:
            return "no root"
        address = addrxlat.FullAddress(addrxlat.KVADDR, virt & (1 << half.bits) - 1)
        try:
            address.conv(addrxlat.MACHPHYSADDR, self.memory, self.systems[high])
            return f"{address.addr:#x}"
        except addrxlat.BaseException as error:
            return self.words(str(error.args[-1]), half)

    @staticmethod
    def words(error, half):
        """addrxlat's message in the words of the fixtures; as it is where there are none."""
        entry = re.search(r"not present: (\w+)\[(\d+)\] = (0x[0-9a-f]+)", error)
        if entry:
            level = LEVELS[entry[1]]
            missing = half.missing if level == 5 - len(half.fields) else 0
            return f"not present at level {level}[{int(entry[2]) + missing}] = {entry[3]}"
        missing = re.search(r"Cannot read .* PTE at MACHPHYSADDR:(0x[0-9a-f]+)", error)
        if missing:
            return f"no RAM for entry at {missing[1]}"
        return error


def main(paths):
    for path in paths:
        text = (sys.stdin if path == "-" else open(path, encoding="utf-8")).read()
        # One byte order a case: the last "entries" line before it.
        orders, big = [], False
        for line in text.splitlines():
            big = line.split("#")[0].split()[2] == "big" if line.startswith("entries") else big
            if line.startswith("["):
                orders.append(big)
        for case, big in zip(list(cases(text.splitlines())), orders):
            print(f"[{case.name}]")
            case = Aarch64Case(case, big)
            for virt in case.walks:
                print(f"{virt:#x} -> {case.answer(virt)}")


if __name__ == "__main__":
    main(sys.argv[1:])
