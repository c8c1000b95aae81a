#!/usr/bin/env python3
"""check-paging.py [GUEST...]   the virtual addresses of our dumps of real guests, against their page tables.

Every guest is booted and stopped, with a process in user mode on each vCPU, and dumped with --paging.  Walkers of our own (tables.py) go through the tables in the guest's
RAM file from registers that QEMU's monitor and gdbstub tell: every pair of a virtual and a physical address in the dump is in the
tables of some vCPU, and every present page of RAM of every vCPU is in the dump.  Then QEMU's `info tlb` and `info mem`, gdb, drgn and
`guestdump walk` are asked, and every reader about a file of more segments than e_phnum counts.  One line for each check, then "N checks, M failed".  $GUESTDUMP: the program.
"""
import bisect
import collections
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

import elf_reader
import gdb_stub
import guest as rig
import readers
import tables

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("GUESTDUMP", os.path.join(HERE, "..", "..", "target", "release", "guestdump"))
GUESTS = {
    "x86_64": ("x86_64", {}),                                       # five levels
    "x86_64-4level": ("x86_64", {"CPU_OVERRIDE": "Skylake-Client-v3"}),
    "i386-pae": ("i386-pae", {}),
    "i386": ("i386", {}),
    "aarch64": ("aarch64", {}),
    "s390x": ("s390x", {}),
    "ppc64le": ("ppc64le", {}),
    "ppc64le-hashed": ("ppc64le", {"MACHINE_OVERRIDE": "powernv8", "CPU_OVERRIDE": "power8", "MB": 1024}),
    "ppc64le-hashed-power9": ("ppc64le", {"MACHINE_OVERRIDE": "powernv9", "CPU_OVERRIDE": "power9", "APPEND": "disable_radix", "MB": 1024}),
}
ADDRESSES = 16          # a table is described for so many of its addresses (guestdump dump --help)
UNMAPPED = 1 << 63      # 64-bit files have memory that nothing maps at its physical address and this
BANNER = re.compile(rb"Linux version \d[^\0\n]{60,400}\n\0")
SAMPLES = 200


class Report:
    def __init__(self):
        self.count = self.failed = 0

    def check(self, guest, what, ok, detail=""):
        self.count, self.failed = self.count + 1, self.failed + (not ok)
        print("%s %s: %s %s" % ("ok  " if ok else "FAIL", guest, what, detail), flush=True)


# ------------------------------------------------------------------------------------------------- runs of pairs of addresses

def clipped(leaves, pieces):
    """(virtual - physical, physical, end) of each part in RAM."""
    for virt, phys, size in leaves:
        for start, length, _ in pieces:
            low, high = max(phys, start), min(phys + size, start + length)
            if low < high:
                yield virt - phys, low, high


def merged(runs):
    """Sorted, joined where they touch."""
    out = []
    for distance, low, high in sorted(runs):
        if out and out[-1][0] == distance and low <= out[-1][2]:
            out[-1][2] = max(out[-1][2], high)
        else:
            out.append([distance, low, high])
    return out


def without(runs, others):
    """What `runs` have and `others` have not; both merged."""
    by_distance, out = collections.defaultdict(list), []
    for distance, low, high in others:
        by_distance[distance].append((low, high))
    for distance, low, high in runs:
        for start, end in by_distance[distance]:
            if start < high and end > low:
                if start > low:
                    out.append([distance, low, start])
                low = max(low, end)
        if low < high:
            out.append([distance, low, high])
    return out


def size(runs):
    return sum(high - low for _, low, high in runs)


def shown(runs):
    return "%d runs, %d bytes%s" % (len(runs), size(runs), "".join(", %x at %x" % (d + low, low) for d, low, _ in runs[:3]))


def owned(spaces, pieces):
    """Each virtual address with what the first of the spaces has there that has RAM there."""
    taken, out = [], []         # virtual addresses: (first, end), (first, end, virtual - physical)
    for leaves in spaces:
        new, index = [], 0
        for at, end, distance in sorted((distance + low, distance + high, distance) for distance, low, high in merged(clipped(leaves, pieces))):
            while index < len(taken) and taken[index][1] <= at:
                index += 1
            for low, high in taken[index:bisect.bisect_left(taken, (end,))]:
                if low > at:
                    new.append((at, low, distance))
                at = max(at, high)
            if at < end:
                new.append((at, end, distance))
        out += new
        taken = sorted(taken + [run[:2] for run in new])
    return merged((distance, first - distance, end - distance) for first, end, distance in out)


# ------------------------------------------------------------------------------------------------------------ what QEMU says

# Each of these functions yields the spaces of the vCPUs in order: number of the vCPU, whether it is the kernel's alone, its leaves.

def printed(monitor, pattern):
    """{name: value} of each vCPU from `info registers -a`."""
    parts = monitor.hmp("info registers -a").split("CPU#")[1:]
    return [{name.lower(): int(value, 16) for name, value in re.findall(pattern, part)} for part in parts]


def x86(ram, monitor, symbols):
    for number, vcpu in enumerate(printed(monitor, r"\b(CR0|CR3|CR4|EFER)=([0-9a-f]+)")):
        if not vcpu["cr0"] >> 31:
            continue
        if vcpu.get("efer", 0) & 0x400:
            yield number, False, tables.x86_long(ram, vcpu["cr3"], 5 if vcpu["cr4"] >> 12 & 1 else 4)
        elif vcpu["cr4"] >> 5 & 1:
            yield number, False, tables.x86_pae(ram, vcpu["cr3"])
        else:
            yield number, False, tables.x86_32(ram, vcpu["cr3"], vcpu["cr4"] >> 4 & 1)


def aarch64(ram, monitor, symbols):
    with gdb_stub.Stub(monitor) as stub:
        vcpus = stub.registers(("ttbr0_el1", "ttbr1_el1", "tcr_el1"), "little")
    for number, vcpu in enumerate(vcpus):
        yield number, False, tables.aarch64(ram, vcpu["ttbr0_el1"], vcpu["ttbr1_el1"], vcpu["tcr_el1"])


def s390x(ram, monitor, symbols):
    with gdb_stub.Stub(monitor) as stub:
        prefixes = [vcpu["prefix"] for vcpu in stub.registers(("prefix",), "big")]
    masks = [int(mask, 16) for mask in re.findall(r"PSW=mask ([0-9a-f]+)", monitor.hmp("info registers -a"))]
    for number, vcpu in enumerate(printed(monitor, r"\b(C01|C07|C13)=([0-9a-f]+)")):
        # the PSW's address-space control says which is the current one
        current = ("c01", "c01", "c07", "c13")[masks[number] >> 46 & 3]
        for asce in dict.fromkeys([vcpu[current], *vcpu.values()]):
            yield number, asce == vcpu["c13"], tables.s390x(ram, asce, prefixes[number])


def ppc64(ram, monitor, symbols):
    """The process table is where the kernel's variable `process_tb` says; its linear map starts at 3 << 62."""
    linear = 3 << 62
    at, = ram.words(symbols["process_tb"] - linear, 1, "<Q")
    with gdb_stub.Stub(monitor) as stub:
        pids = [vcpu["pidr"] for vcpu in stub.registers(("pidr",), "little")]
    msrs = re.findall(r"\bMSR ([0-9a-f]+)", monitor.hmp("info registers -a"))
    for number, pid in enumerate(pids):
        walk = tables.ppc64(ram, at - linear, pid)
        # in real mode, where each interrupt starts, a vCPU has the kernel's quadrant alone
        yield number, False, walk if int(msrs[number], 16) & 0x10 else (leaf for leaf in walk if leaf[0] >> 62 == 3)


def ppc64_hashed(ram, monitor, symbols):
    """SDR1 of a machine without a hypervisor, or of POWER9 the first partition's, and the SLB as `info tlb` shows it."""
    registers = monitor.hmp("info registers -a")
    partitions = re.findall(r"\bPTCR ([0-9a-f]+)", registers)
    for number, value in enumerate(partitions or re.findall(r"\bSDR1 ([0-9a-f]+)", registers)):
        sdr1 = ram.words(int(value, 16) & 0x0ffffffffffff000, 1, ">Q")[0] if partitions else int(value, 16)
        said = monitor.cmd("human-monitor-command", command_line="info tlb", cpu_index=number).replace("\r\n", "\n")
        rows = re.findall(r"^\d+\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)$", said, re.M)
        yield number, False, tables.ppc64_hashed(ram, sdr1, [(int(esid, 16), int(vsid, 16)) for esid, vsid in rows], bool(partitions))


SPACES = {"x86_64": x86, "i386-pae": x86, "i386": x86, "aarch64": aarch64, "s390x": s390x, "ppc64le": ppc64,
          "ppc64le-hashed": ppc64_hashed, "ppc64le-hashed-power9": ppc64_hashed}


def kernels_half(arch, ram, monitor, facts):
    """The kernel's half by swapper_pg_dir: a vCPU in user mode may have tables without it (page-table isolation)."""
    symbol = int(facts["SYMBOL(swapper_pg_dir)"], 16)
    if arch == "x86_64":
        cr4 = printed(monitor, r"\b(CR4)=([0-9a-f]+)")[0]["cr4"]
        walk = tables.x86_long(ram, symbol - 0xffffffff80000000 + int(facts["NUMBER(phys_base)"]), 5 if cr4 >> 12 & 1 else 4)
    elif arch == "aarch64":
        with gdb_stub.Stub(monitor) as stub:
            tcr = stub.registers(("tcr_el1",), "little")[0]["tcr_el1"]
        walk = tables.aarch64(ram, 0, symbol - int(facts["NUMBER(kimage_voffset)"], 16), tcr | 1 << 7)
    else:
        return
    yield 0, True, (leaf for leaf in walk if leaf[0] >> 63)


def vmcoreinfo(elf):
    text = b"".join(note.desc for note in elf.notes if note.name == "VMCOREINFO").decode()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def symbols_of(arch):
    """Addresses of symbols in the kernel's vmlinux, and its path, if the rig has one."""
    path = os.path.join(rig.RIG, "cache", arch, "vmlinux")
    if not os.path.exists(path):
        return {}, None
    lines = subprocess.run(["nm", path], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {name: int(at, 16) for at, _, name in (line.split() for line in lines if len(line.split()) == 3)}, path


# ------------------------------------------------------------------------------------------------------------------ checks

class Tables:
    """The leaves of all vCPUs."""

    def __init__(self, spaces, pieces):
        self.leaves, self.firsts, places, order = {}, [], collections.defaultdict(set), []
        for vcpu, kernel, walk in spaces:
            found = list(walk)
            self.firsts.append([leaf[:3] for leaf in found])
            order.append((not kernel, vcpu))
            for virt, phys, length, way in found:
                self.leaves[virt, phys, length] = way
                for level, table, base in way:
                    places[level, table].add(base)
        many = {table for table, bases in places.items() if len(bases) > ADDRESSES}
        self.runs = merged(clipped(self.leaves, pieces))
        few = [leaf for leaf, way in self.leaves.items() if not any(step[:2] in many for step in way)]
        # an address has what the first vCPU has there, the kernel's before all
        rank = lambda first: [self.firsts[n] for n in sorted(range(len(order)), key=lambda n: (order[n][0], order[n][1] != first))]
        self.owned, self.owned_by_last = owned(rank(0), pieces), owned(rank(1), pieces)
        self.needed = without(self.owned, without(self.owned, merged(clipped(few, pieces))))
        # of a table with more addresses, so many are described: each page in it has one, unless an earlier space has them all
        self.pages = merged((0, low, high) for _, low, high in self.owned)


def check_pairs(report, name, elf, known):
    loads = [(load.p_vaddr, load.p_paddr, load.p_memsz) for load in elf.loads]
    follows = sorted((v, v + n) for v, _, n in loads)
    twice = [now for before, now in zip(follows, follows[1:]) if before[1] > now[0]]
    report.check(name, "no address twice", not twice, "%d loads %s" % (len(loads), ["%x-%x" % pair for pair in twice[:3]]))
    mapped = {(low, high) for _, low, high in known.pages}
    is_rest = lambda p, n: not any(low < p + n and high > p for low, high in mapped)
    rest = [load for load in loads if is_rest(load[1], load[2])]
    ours = merged((v - p, p, p + n) for v, p, n in loads if not is_rest(p, n))
    invented = without(ours, known.runs)
    report.check(name, "every pair is in the tables", bool(ours) and not invented, shown(invented) if invented else shown(ours)[:60])
    missing = without(known.needed, ours)
    report.check(name, "every page of the tables is here", bool(known.needed) and not missing,
                 shown(missing) if missing else "%d bytes in %d leaves; %d bytes of aliases more" % (size(known.needed), len(known.leaves), size(known.runs) - size(known.needed)))
    others = without(ours, known.owned)
    report.check(name, "each address has the memory that the first vCPU has there", not others,
                 shown(others) if others else "%d bytes of others at such addresses" % (size(known.runs) - size(known.owned)))
    unseen = without(known.pages, merged((0, p, p + n) for _, p, n in loads))
    report.check(name, "every mapped page is in a segment", not unseen, shown(unseen))
    used = sorted((virt, virt + length) for virt, _, length in known.leaves)
    collides = [v for v, _, n in rest if any(low < v + n and high > v for low, high in used)]
    in_window = elf.bits == 32 or all(v == p + UNMAPPED for v, p, _ in rest)
    report.check(name, "what nothing maps is where nothing is mapped", not collides and in_window, "%d loads, %d bytes" % (len(rest), sum(n for _, _, n in rest)))


def check_memory(report, name, elf, ram):
    """All memory is in the dump, as it is in the guest."""
    covered = merged((0, load.p_paddr, load.p_paddr + load.p_filesz) for load in elf.loads)
    lost = without([[0, start, start + length] for start, length, _ in ram.pieces], covered)
    report.check(name, "all memory is in the dump", not lost, shown(lost))
    rng, bad = random.Random(1), 0
    for load in rng.sample(elf.loads, min(SAMPLES, len(elf.loads))):
        at = rng.randrange(load.p_memsz) & ~0xfff
        bad += elf.file.at(load.p_offset + at, 4096) != ram.read(load.p_paddr + at, 4096)
    report.check(name, "loads show their memory", not bad, "%d bad" % bad)


def check_monitor(report, name, said, known):
    # with PAE QEMU 10.0 shows XD as bit 63 of the physical address
    rows = [(int(virt, 16), int(phys, 16) & ~(1 << 63)) for virt, phys in re.findall(r"^([0-9a-f]+): ([0-9a-f]+) \S+$", said[0], re.M)]
    ours = [leaf[:2] for leaf in known.firsts[0]]
    # QEMU lists them in the order of the tables, with the addresses of the low half first
    wrong = set(rows) ^ set(ours)
    report.check(name, "info tlb", bool(rows) and not wrong, "%d pages %s" % (len(rows), ["%x:%x" % pair for pair in sorted(wrong)[:3]]))
    if len(said) < 2:
        return
    rows = [(int(first, 16), int(last, 16)) for first, last in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ", said[1], re.M)]
    mask = (1 << 48) - 1
    joined = lambda runs: {(low, high) for _, low, high in merged((0, low & mask, (low & mask) + length) for low, length in runs)}
    wrong = joined((low, high - low) for low, high in rows) ^ joined((virt, length) for virt, _, length in known.firsts[0])
    report.check(name, "info mem", bool(rows) and not wrong, "%d ranges %s" % (len(rows), ["%x-%x" % pair for pair in sorted(wrong)[:3]]))


def check_gdb(report, name, path, ram, known, symbols):
    """gdb prints the kernel's banner at every virtual address of it, whatever tables lead there."""
    wanted = {}
    for at in ram.find(b"Linux version "):
        text = BANNER.match(ram.read(at, 512) or b"")
        for virt, phys, length in known.leaves if text and b"debian-kernel" in text.group() else ():
            if phys <= at < phys + length and at + 512 <= phys + length:
                wanted[virt + at - phys] = text.group()[:40].decode()
    commands = [arg for at in wanted for arg in ("-ex", "x/s 0x%x" % at)]
    out = subprocess.run(["gdb-multiarch", "-q", "-batch", "-nx", "-ex", "set print elements 60", "-ex", "core " + path] + commands,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    read = {int(at, 16): text for at, text in re.findall(r'^(0x[0-9a-f]+)[^:\n]*:\s+"(.*)', out, re.M)}
    wrong = ["%x" % at for at, text in wanted.items() if not read.get(at, "").startswith(text)]
    report.check(name, "gdb reads the kernel's banner by virtual address", bool(wanted) and not wrong, "%d addresses %s" % (len(wanted), wrong[:3]))
    if "linux_banner" in symbols:
        offset = re.search(rb"\nKERNELOFFSET=([0-9a-f]+)\n", b"".join(note.desc for note in elf_reader.Elf(path).notes if note.name == "VMCOREINFO"))
        at = symbols["linux_banner"] + (int(offset.group(1), 16) if offset else 0)
        report.check(name, "gdb reads linux_banner", at in wanted and at in read, "at %x" % at)


DRGN = """
import json, sys, drgn
program, vmlinux, pairs = drgn.Program(), sys.argv[2], json.load(sys.stdin)
program.set_core_dump(sys.argv[1])
if vmlinux:
    program.load_debug_info([vmlinux])
bad = 0
for virt, text in pairs:
    try:
        bad += program.read(virt, len(text) // 2).hex() != text
    except drgn.FaultError as error:
        bad += 1
        print(error, file=sys.stderr)
print(bad)
"""


def check_drgn(report, name, arch, plain, ram, known, elf, vmlinux):
    """drgn goes through the kernel's tables itself, in a dump without virtual addresses."""
    if arch.startswith("i386") or "hashed" in name:
        return print("     %s: drgn has no page walk for it" % name)
    # on s390x the kernel's space is the one whose table is swapper_pg_dir: the lowest addresses are its own
    half = [load for load in elf.loads if load.p_vaddr >> 63 and load.p_vaddr >> 60 != 8] if arch != "s390x" else \
        [load for load in elf.loads if load.p_vaddr == load.p_paddr]
    rng = random.Random(2)
    pairs = []
    for load in rng.sample(half, min(SAMPLES, len(half))):
        at = rng.randrange(load.p_memsz) & ~0xfff
        pairs.append((load.p_vaddr + at, ram.read(load.p_paddr + at, 64).hex()))
    done = subprocess.run([sys.executable, "-c", DRGN, plain, vmlinux or ""], input=json.dumps(pairs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    report.check(name, "drgn's own walk agrees", bool(pairs) and done.stdout.strip() == "0", "%d addresses %s" % (len(pairs), done.stdout.strip() + done.stderr[-300:]))


def check_contested(report, name, path, ram, runs, owner):
    """Where vCPUs have other memory at one address, gdb and drgn read what the first has."""
    wanted = {}
    starts = sorted((distance + low, distance + high, distance) for distance, low, high in owner)
    for distance, low, high in without(runs, owner):
        for virt in {distance + low, distance + high - 4096}:
            first, end, distance_of_owner = starts[bisect.bisect_right(starts, (virt, 1 << 64)) - 1]
            assert first <= virt < end, "%x has no owner" % virt
            ours, theirs = ram.read(virt - distance_of_owner, 4096), ram.read(virt - distance, 4096)
            # where the two differ first, so that a reader that takes the other one is seen
            at = next((i & ~7 for i in range(4096) if ours[i] != theirs[i]), None)
            if at is not None:
                wanted[virt + at] = ours[at:at + 8]
    wanted = dict(random.Random(4).sample(sorted(wanted.items()), min(SAMPLES, len(wanted))))
    if not wanted:
        return print("     %s: no two vCPUs have other memory at one address" % name)
    commands = [arg for at in wanted for arg in ("-ex", "x/8xb 0x%x" % at)]
    out = subprocess.run(["gdb-multiarch", "-q", "-batch", "-nx", "-ex", "core " + path] + commands,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    read = gdb_bytes(out)
    wrong = ["%x" % at for at, data in wanted.items() if read.get(at) != data]
    report.check(name, "gdb reads the first vCPU's where two have one address", not wrong, "%d addresses %s" % (len(wanted), wrong[:3]))
    pairs = json.dumps([(at, data.hex()) for at, data in wanted.items()])
    done = subprocess.run([sys.executable, "-c", DRGN, path, ""], input=pairs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    report.check(name, "drgn reads the first vCPU's where two have one address", done.stdout.strip() == "0", "%d addresses %s" % (len(wanted), done.stdout.strip() + done.stderr[-300:]))


def check_walk(report, name, guest, known, space):
    """`guestdump walk --all` of a space of the first vCPU: no page that our own walker does not find."""
    command = [PROGRAM, "walk", "qmp:" + guest.socket, "--space", space, "--json"]
    out = subprocess.run(command + ["--all"], stdout=subprocess.PIPE, text=True)
    events = [json.loads(line) for line in out.stdout.splitlines()]
    rows = merged((e["virt"] - e["phys"], e["phys"], e["phys"] + e["last"] + 1 - e["virt"]) for e in events if e["event"] == "mapping")
    theirs = merged((virt - phys, phys, phys + length) for virt, phys, length in known.leaves)
    invented = without(rows, theirs)
    report.check(name, "walk --all", out.returncode == 0 and bool(rows) and not invented, shown(invented) if invented else "%d runs" % len(rows))
    rng, bad = random.Random(3), []
    for virt, phys, length in rng.sample(known.firsts[0], min(8, len(known.firsts[0]))):
        out = subprocess.run(command + [hex(virt + length - 1)], stdout=subprocess.PIPE, text=True)
        if json.loads(out.stdout or "{}").get("phys") != phys + length - 1:
            bad.append("%x" % virt)
    report.check(name, "walk ADDR", not bad, " ".join(bad))


MANY = 0xffffa00000000000       # where check_many_segments maps all memory, page by page
TABLES = 1 << 40                # and where it puts the tables


def scattered(ram, path):
    """Writes tables that map every page of RAM from MANY on, in an order in which no page follows its neighbour; gives the pages."""
    pages = [at for start, length, _ in ram.pieces for at in range(start, start + length - 4095, 4096)]
    random.Random(5).shuffle(pages)
    words = lambda entries: struct.pack("<512Q", *entries, *[0] * (512 - len(entries)))
    low = [pages[i:i + 512] for i in range(0, len(pages), 512)]
    middle = [list(range(i, min(i + 512, len(low)))) for i in range(0, len(low), 512)]
    # the tables in this order: PML4, PDPT, page directories, page tables
    at = lambda number: (TABLES + number * 4096) | 0x63
    with open(path, "wb") as f:
        f.write(words([0] * (MANY >> 39 & 511) + [at(1)]))
        f.write(words([at(2 + number) for number in range(len(middle))]))
        for numbers in middle:
            f.write(words([at(2 + len(middle) + number) for number in numbers]))
        for some in low:
            f.write(words([page | 0x63 for page in some]))
    return pages


def check_many_segments(report, name, ram, where, plain, vmlinux):
    """A kernel's memory in more segments than e_phnum counts: what each reader makes of it."""
    tables_path, manifest, path = (os.path.join(where, file) for file in ("tables.bin", "guest.toml", "many.elf"))
    pages = scattered(ram, tables_path)
    said = subprocess.run([PROGRAM, "info", plain, "--registers", "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = ['arch = "x86_64"']
    for start, length, offset in ram.pieces + [(TABLES, os.path.getsize(tables_path), 0)]:
        file = tables_path if start == TABLES else os.path.realpath(ram.path)
        lines.append('[[memory]]\nstart = "%d"\nlength = "%d"\nfile = "%s"\noffset = "%d"' % (start, length, file, offset))
    for vcpu in json.loads(said)["vcpus"]:
        # four levels
        registers = {**vcpu["registers"], "cr3": hex(TABLES), "cr4": hex(int(vcpu["registers"]["cr4"], 16) & ~(1 << 12))}
        lines.append("[[cpu]]\nid = %d\nregisters = { %s }" % (vcpu["id"], ", ".join('%s = "%s"' % pair for pair in registers.items())))
    with open(manifest, "w") as f:
        f.write("\n".join(lines) + "\n")
    subprocess.run([PROGRAM, "dump", manifest, "-o", path, "--paging", "--progress", "never"], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    elf = elf_reader.Elf(path)
    wanted = {(MANY + i * 4096, page) for i, page in enumerate(pages)}
    # The kernel's own tables, which VMCOREINFO tells of, are in the file too, at other addresses.
    here = range(MANY, MANY + len(pages) * 4096)
    ours = {(load.p_vaddr + at, load.p_paddr + at) for load in elf.loads if load.p_vaddr in here for at in range(0, load.p_memsz, 4096)}
    report.check(name, "PN_XNUM: a segment for each page", elf.header["e_phnum"] == 0xffff and ours == wanted, "%d loads" % len(elf.loads))
    picks = {MANY + i * 4096: ram.read(pages[i], 8) for i in (0, 1, 65532, 65533, 65534, 65535, len(pages) - 1)}
    commands = [arg for at in picks for arg in ("-ex", "x/8xb 0x%x" % at)]
    out = subprocess.run(["gdb-multiarch", "-q", "-batch", "-nx", "-ex", "core " + path] + commands, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    wrong = ["%x" % at for at, data in picks.items() if gdb_bytes(out).get(at) != data]
    report.check(name, "PN_XNUM: gdb by virtual address", not wrong, " ".join(wrong))
    reference = readers.Reference(plain, [(start, start + length) for start, length, _ in ram.pieces])
    for reader in readers.READERS.values():
        outcome = reader.read(path, reference, vmlinux)
        report.check(name, "PN_XNUM: %s %s" % (reader.name, reader.version()), outcome.ok, outcome.detail)


def gdb_bytes(text):
    """{address: eight bytes} of what x/8xb printed."""
    rows = re.findall(r"^(0x[0-9a-f]+)[^:\n]*:((?:\s+0x[0-9a-f]{2}){8})$", text, re.M)
    return {int(at, 16): bytes(int(byte, 16) for byte in values.split()) for at, values in rows}


def dump(guest, path, *options):
    done = subprocess.run([PROGRAM, "dump", "qmp:" + guest.socket, "-o", path, "--format", "elf", "--force", "--progress", "never", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError("dump %s: %d %s" % (options, done.returncode, done.stderr[-300:]))
    for line in re.findall(r"^paging: .*", done.stderr, re.M):
        print("     %s: %s" % (guest.name, line))


def run(report, name):
    arch, settings = GUESTS[name][0], dict(GUESTS[name][1])
    symbols, vmlinux = symbols_of(arch)
    with rig.Guest("paging-" + name, arch, settings.pop("MB", 512), RAM="file", STOP="1", SPIN="2", **settings) as guest, tempfile.TemporaryDirectory(prefix="guestdump-paging-") as where:
        ram = tables.Ram(guest.ram_file(), guest.memory_map()[0])
        path, last, plain = (os.path.join(where, file) for file in ("paging.elf", "last.elf", "plain.elf"))
        dump(guest, path, "--paging")
        dump(guest, last, "--paging", "--paging-cpu", "1")
        dump(guest, plain)
        elf = elf_reader.Elf(path)
        # the socket takes one client at a time
        with guest.watch() as monitor:
            spaces = list(SPACES.get(name, SPACES[arch])(ram, monitor, symbols)) + list(kernels_half(arch, ram, monitor, vmcoreinfo(elf)))
            known = Tables(spaces, ram.pieces)
            # of a ppc64 vCPU in real mode
            msr = re.search(r"\bMSR ([0-9a-f]+)", monitor.hmp("info registers"))
            space = "kernel" if msr and not int(msr.group(1), 16) & 0x10 else "current"
            # with five levels QEMU 10.0 prints nothing, or is busy for minutes
            five = any(vcpu.get("cr4", 0) >> 12 & 1 for vcpu in printed(monitor, r"\b(CR4)=([0-9a-f]+)"))
            asked = ("info tlb",) if five else ("info tlb", "info mem")
            said = [monitor.hmp(line) for line in asked if SPACES[arch] is x86]
        check_pairs(report, name, elf, known)
        check_memory(report, name, elf, ram)
        if said:
            check_monitor(report, name, said, known)
        check_gdb(report, name, path, ram, known, symbols)
        check_drgn(report, name, arch, plain, ram, known, elf, vmlinux)
        check_contested(report, name, path, ram, known.runs, known.owned)
        check_contested(report, name + ", --paging-cpu 1 first", last, ram, known.runs, known.owned_by_last)
        check_walk(report, name, guest, known, space)
        if name == "x86_64":
            check_many_segments(report, name, ram, where, plain, vmlinux)


def main(argv):
    report = Report()
    for name in argv or GUESTS:
        try:
            run(report, name)
        except Exception as error:              # one broken guest must not hide the others
            report.check(name, "guest", False, "%s: %s" % (type(error).__name__, error))
    print("%d checks, %d failed" % (report.count, report.failed))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
