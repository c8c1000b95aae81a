#!/usr/bin/python3
"""Asks others what the addresses of an s390x fixture translate to.

    s390x_oracle.py addrxlat FILE...        libkdumpfile (Debian's python3-libkdumpfile, written for 0.5.1)
    s390x_oracle.py qemu FILE...            qemu-system-s390x (written for 10.0.2)         - is standard input

Reads fixtures (README.md beside this script), ignores what they expect, and prints for each case its name and for each
address "VIRT -> ANSWER".

addrxlat is called through its documented python module and answers in the words of the fixtures. It has no PSW, no control
registers and no prefix: it is told the first table of the ASCE in CR13 and gives real addresses. It knows enhanced DAT as
always on, checks neither the length of the first table, nor common segments, nor bit 52 of a page-table entry, and takes
every index for one in the first quarter of a table when it looks at table offset and length.

QEMU is a machine that never runs: the tables go into its RAM (4 GiB in a sparse file), registers are set through its
gdbstub, and its monitor's gva2gpa is asked. It knows of each address only what it maps to, or "unmapped"; all of its RAM is
there, zeros where a fixture has none. Its TCG has no enhanced DAT, and takes the secondary space for the primary one.
"""

import json
import mmap
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

PAGE = 4096
LEVELS = {
    "rg1": "region-first table",
    "pgd": "region-second table",
    "pud": "region-third table",
    "pmd": "segment table",
    "pte": "page table",
}
TABLES = {
    "Region 1 table": "region-first table",
    "Region 2 table": "region-second table",
    "Region 3 table": "region-third table",
    "Segment table": "segment table",
}


class Case:
    """Memory, the registers of a vCPU, and addresses."""

    def __init__(self, name):
        self.name = name
        self.pages = {}
        self.registers = {}
        self.walks = []

    def ram(self, at):
        return self.pages.setdefault(at & ~(PAGE - 1), bytearray(PAGE))

    def put(self, at, value):
        self.ram(at)[at % PAGE : at % PAGE + 8] = value.to_bytes(8, "big")


def cases(lines):
    case = None
    for line in lines:
        line = line.split("#")[0].strip()
        words = line.split()
        if not words or words[0] in ("form", "entries"):
            continue
        if line[0] == "[":
            case = Case(line[1:-1])
            yield case
        elif words[0][0] == "@":
            table = int(words[0][1:], 16)
            if words[1] == "ram":
                case.ram(table)
            else:
                case.put(table + 8 * int(words[1][1:-1], 16), int(words[2], 16))
        elif "->" in words:
            case.walks.append(int(words[0], 16))
        else:
            case.registers[words[0]] = int(words[1], 16)


def addrxlat_words(error):
    """addrxlat's message in the words of the fixtures; as it is where there are none."""
    entry = re.search(r"not present: (\w+)\[(\d+)\] = (0x[0-9a-f]+)", error)
    if entry:
        return f"not present at {LEVELS[entry[1]]}[{entry[2]}] = {entry[3]}"
    wrong = re.search(r"Table type field \d in (.*)", error)
    if wrong:
        return f"invalid at {TABLES[wrong[1]]}"
    outside = re.search(r"(\w+.* table) index (\d+) not within", error)
    if outside:
        return f"outside of table at {TABLES[outside[1]]}[{outside[2]}]"
    missing = re.search(r"Cannot read .* PTE at MACHPHYSADDR:(0x[0-9a-f]+)", error)
    if missing:
        return f"no RAM for entry at {missing[1]}"
    return "no root" if error == "Virtual address too big" else error


def addrxlat_answers(all_cases):
    import addrxlat

    class Memory(addrxlat.Context):
        def __init__(self, pages):
            super().__init__()
            self.pages = pages

        def cb_read_caps(self):
            return addrxlat.CAPS(addrxlat.MACHPHYSADDR)

        def cb_get_page(self, addr):
            addr.addr &= ~(PAGE - 1)
            if addr.addr not in self.pages:
                raise addrxlat.NoDataError(f"no RAM at {addr.addr:#x}")
            return self.pages[addr.addr], addrxlat.BIG_ENDIAN

    for case in all_cases:
        asce = case.registers.get("cr13", 0)
        root = addrxlat.FullAddress(addrxlat.MACHPHYSADDR, asce & ~0xFFF)
        fields = (12, 8) + (11,) * (1 + (asce >> 2 & 3))
        method = addrxlat.PageTableMethod(
            addrxlat.MACHPHYSADDR, root=root, pte_format=addrxlat.PTE_S390X, fields=fields
        )
        system, everything, memory = addrxlat.System(), addrxlat.Map(), Memory(case.pages)
        system.set_meth(addrxlat.SYS_METH_PGT, method)
        everything.set(0, addrxlat.Range(addrxlat.ADDR_MAX, addrxlat.SYS_METH_PGT))
        system.set_map(addrxlat.SYS_MAP_HW, everything)
        system.set_map(addrxlat.SYS_MAP_KV_PHYS, everything)
        answers = []
        for virt in case.walks:
            address = addrxlat.FullAddress(addrxlat.KVADDR, virt)
            try:
                address.conv(addrxlat.MACHPHYSADDR, memory, system)
                answers.append(f"{address.addr:#x}")
            except addrxlat.BaseException as error:
                answers.append(addrxlat_words(str(error.args[-1])))
        yield case, answers


class Qemu:
    """A stopped machine: RAM in a file, gdbstub, QMP."""

    RAM = 4 << 30

    def __init__(self, folder):
        ram, gdb, qmp = (os.path.join(folder, name) for name in ("ram", "gdb", "qmp"))
        with open(ram, "wb") as file:
            file.truncate(self.RAM)
        machine = "s390-ccw-virtio,memory-backend=ram"
        backend = f"memory-backend-file,id=ram,size={self.RAM},mem-path={ram},share=on"
        server = "server=on,wait=off"
        self.process = subprocess.Popen(
            ["qemu-system-s390x", "-M", machine, "-cpu", "max", "-accel", "tcg", "-object", backend, "-m", "4096", "-S"]
            + ["-nodefaults", "-display", "none", "-gdb", f"unix:{gdb},{server}", "-qmp", f"unix:{qmp},{server}"]
        )
        self.ram = mmap.mmap(os.open(ram, os.O_RDWR), self.RAM)
        self.gdb = self.connect(gdb)
        self.qmp = self.connect(qmp).makefile("rw")
        self.qmp.readline()
        self.command("qmp_capabilities")
        self.numbers = self.register_numbers()

    def connect(self, path):
        for _ in range(200):
            try:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(path)
                return connection
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"nobody listens at {path}")

    def command(self, name, **arguments):
        self.qmp.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            reply = json.loads(self.qmp.readline())
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise SystemExit(reply)

    def packet(self, text):
        """One packet of the gdb remote protocol, and its reply."""
        self.gdb.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF))
        data = b""
        while not re.search(rb"#..$", data, re.S):
            data += self.gdb.recv(65536)
        self.gdb.sendall(b"+")
        return data[data.index(b"$") + 1 : -3]

    def description(self, file):
        """A file of the target description; it comes in pieces, the last of which starts with "l"."""
        text, piece = b"", b"m"
        while piece[:1] == b"m":
            piece = self.packet(f"qXfer:features:read:{file}:{len(text):x},ff0")
            text += piece[1:]
        return text.decode()

    def register_numbers(self):
        """gdb numbers registers in the order of the target description and of the files that it includes."""
        self.packet("qSupported:xmlRegisters=s390")
        files = re.findall(r'href="([^"]+)"', self.description("target.xml"))
        found = [re.findall(r'<reg name="(\w+)" bitsize="(\d+)"', self.description(file)) for file in files]
        return {name: (number, int(bits) // 8) for number, (name, bits) in enumerate(sum(found, []))}

    def set(self, name, value):
        number, width = self.numbers[name]
        reply = self.packet(f"P{number:x}={value.to_bytes(width, 'big').hex()}")
        if reply != b"OK":
            raise SystemExit(f"{name}: {reply}")

    def answer(self, virt):
        text = self.command("human-monitor-command", **{"command-line": f"gva2gpa {virt:#x}"}).strip()
        return "unmapped" if text == "Unmapped" else f"{int(text.removeprefix('gpa: '), 16):#x}"

    def close(self):
        self.process.kill()
        self.process.wait()


def qemu_answers(all_cases):
    with tempfile.TemporaryDirectory() as folder:
        qemu = Qemu(folder)
        try:
            used = set()
            for case in all_cases:
                for at in used:
                    qemu.ram[at : at + PAGE] = bytes(PAGE)
                used = {at for at in case.pages if at < qemu.RAM}
                for at in used:
                    qemu.ram[at : at + PAGE] = case.pages[at]
                for name, value in case.registers.items():
                    qemu.set(name, value)
                yield case, [qemu.answer(virt) for virt in case.walks]
        finally:
            qemu.close()


def main(judge, paths):
    judges = {"addrxlat": addrxlat_answers, "qemu": qemu_answers}
    texts = [sys.stdin.read() if path == "-" else open(path, encoding="utf-8").read() for path in paths]
    all_cases = [case for text in texts for case in cases(text.splitlines())]
    for case, answers in judges[judge](all_cases):
        print(f"[{case.name}]")
        for virt, answer in zip(case.walks, answers):
            print(f"{virt:#x} -> {answer}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
