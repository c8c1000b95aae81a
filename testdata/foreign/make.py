#!/usr/bin/env python3
"""Makes the samples beside this file anew: make.py [FOLDER].  Needs makedumpfile, QEMU, for qemu72-* testdata/rig/fetch-qemu72.sh, and for
avml-* avml 0.21.0: `cargo install avml --version 0.21.0 --no-default-features --features convert`.

The memory of each is written down in `content`; the test that reads them (core/tests/foreign.rs) makes it from the same rule.
"""
import os
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RIG = os.path.join(HERE, "..", "rig")
sys.path.insert(0, RIG)
import qmp

AT, RAM = 0x4000, 0x10000
MACHINES = {"s390x": "qemu", "ppc64": "power9", "riscv64": "rv64", "aarch64": "cortex-a57"}
TEXT_MAP = 0xFFFFFFFF80000000       # where the kernel's text is mapped
DIRECT_MAP = 0xFFFF888000000000
INFO = """OSRELEASE=6.1.0-foreign
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffffffff80001000
SYMBOL(node_online_map)=ffffffff80001800
SYMBOL(swapper_pg_dir)=ffffffff80002000
SYMBOL(init_top_pgt)=ffffffff80002000
SYMBOL(_stext)=ffffffff80000000
SYMBOL(mem_map)=ffffffff80001900
SYMBOL(contig_page_data)=ffffffff80001a00
NUMBER(phys_base)=0
NUMBER(pgtable_l5_enabled)=0
KERNELOFFSET=0
SIZE(page)=64
SIZE(pglist_data)=4096
SIZE(zone)=1024
SIZE(free_area)=88
SIZE(list_head)=16
SIZE(nodemask_t)=8
OFFSET(page.flags)=0
OFFSET(page._refcount)=52
OFFSET(page.mapping)=24
OFFSET(page.lru)=8
OFFSET(page._mapcount)=48
OFFSET(page.private)=40
OFFSET(pglist_data.node_zones)=0
OFFSET(pglist_data.nr_zones)=3000
OFFSET(pglist_data.node_mem_map)=3008
OFFSET(pglist_data.node_start_pfn)=3016
OFFSET(pglist_data.node_spanned_pages)=3024
OFFSET(pglist_data.node_id)=3032
OFFSET(zone.free_area)=192
OFFSET(zone.vm_stat)=1000
OFFSET(zone.spanned_pages)=128
OFFSET(free_area.free_list)=0
OFFSET(list_head.next)=0
OFFSET(list_head.prev)=8
LENGTH(zone.free_area)=11
LENGTH(free_area.free_list)=5
"""


def content():
    """A page of text, one of zeros, one that a codec makes a little shorter."""
    text = (b"foreign memory, page of text. " * 200)[:4096]
    return text + bytes(4096) + bytes((i * i >> 3) & 255 for i in range(4096))


def tiny_memory():
    """64 KiB that makedumpfile takes for those of an x86_64 Linux: what it asks for, and `content`."""
    memory = bytearray(RAM)

    def put(at, *words):
        memory[at:at + 8 * len(words)] = struct.pack("<%dQ" % len(words), *words)

    for number, word in enumerate((b"Linux", b"foreign", b"6.1.0-foreign", b"#1 SMP", b"x86_64", b"none")):
        memory[0x1004 + 65 * number:0x1004 + 65 * number + len(word)] = word
    put(0x1800, 1)                                      # node_online_map
    put(0x1900, DIRECT_MAP + 0x1000)                    # mem_map
    put(0x1A00 + 128, RAM >> 12)                        # the zone's spanned_pages
    put(0x1A00 + 3000, 1, DIRECT_MAP + 0x1000, 0, RAM >> 12)
    put(0x2000 + 8 * 273, 0x3063)                       # PML4: direct map, text; a 1 GiB page at 0 each
    put(0x2000 + 8 * 511, 0x7063)
    put(0x3000, 0xE3)
    put(0x7000 + 8 * 510, 0x1E3)
    memory[AT:AT + len(content())] = content()
    return bytes(memory)


def note(name, n_type, desc):
    name += b"\0"
    pad = lambda b: b + bytes(-len(b) % 4)
    return struct.pack("<III", len(name), len(desc), n_type) + pad(name) + pad(desc)


def tiny_elf(path):
    """The dump that makedumpfile filters."""
    notes = note(b"CORE", 1, bytes(336)) + note(b"VMCOREINFO", 0, INFO.encode())
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    load = lambda kind, offset, virt, length: struct.pack("<IIQQQQQQ", kind, 7, offset, virt, 0, length, length, 0)
    header += load(4, 232, 0, len(notes)) + load(1, 4096, DIRECT_MAP, RAM) + load(1, 4096, TEXT_MAP, 0x3000)
    with open(path, "wb") as f:
        f.write((header + notes).ljust(4096, b"\0") + tiny_memory())


def makedumpfiles(out):
    tiny = os.path.join(out, "tiny.elf")
    tiny_elf(tiny)
    path = lambda name: os.path.join(out, "makedumpfile-" + name)
    quiet = {"stdout": subprocess.DEVNULL, "check": True}
    for name, options in (("c-d1", "-c -d 1"), ("l-d0", "-l -d 0"), ("E-d1", "-E -d 1")):
        subprocess.run(["makedumpfile", "-f", *options.split(), tiny, path(name)], **quiet)
    subprocess.run(["makedumpfile", "-f", "-c", "-d", "1", "--split", tiny, path("split-1"), path("split-2")], **quiet)
    with open(path("F-c-d1"), "wb") as f:
        subprocess.run(["makedumpfile", "-F", "-c", "-d", "1", tiny], stdout=f, stderr=subprocess.DEVNULL, check=True)
    os.unlink(tiny)


def qemu(program, arguments, dumps):
    """Dumps of a machine that never ran, with `content` at AT."""
    text, socket = "/tmp/foreign.%d.bin" % os.getpid(), "/tmp/foreign.%d.sock" % os.getpid()
    with open(text, "wb") as f:
        f.write(content())
    loader = "loader,file=%s,addr=%#x,force-raw=on" % (text, AT)
    command = [program, *arguments, "-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-device", loader]
    process = subprocess.Popen([*command, "-qmp", "unix:%s,server=on,wait=off" % socket])
    try:
        for _ in range(100):
            if os.path.exists(socket):
                break
            time.sleep(0.1)
        monitor = qmp.Qmp(socket)
        for path, more in dumps:
            monitor.cmd("dump-guest-memory", protocol="file:" + path, **{"paging": False, **more})
        monitor.cmd("quit")
        process.wait(timeout=20)
    finally:
        process.kill()
        for name in (text, socket):
            if os.path.exists(name):
                os.unlink(name)


def qemus(out):
    path = lambda name: os.path.join(out, name)
    part = {"begin": AT, "length": len(content())}
    for arch, cpu in MACHINES.items():
        dumps = [(path("qemu10-%s-range.elf" % arch), part)]
        if arch != "aarch64":               # its pages of 64 KiB make it ten times as long
            dumps += [(path("qemu10-%s-%s" % (arch, name)), {"format": name}) for name in ("kdump-zlib", "kdump-raw-zlib")]
        qemu("qemu-system-" + arch, ["-M", "none", "-cpu", cpu, "-m", "32k"], dumps)
    old = subprocess.run([os.path.join(RIG, "fetch-qemu72.sh")], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    for name, program in (("qemu10", "qemu-system-x86_64"), ("qemu72", old)):
        qemu(program, ["-M", "pc", "-m", "1M"], [(path(name + "-i386-range.elf"), part)])


def avmls(out):
    raw = os.path.join(out, "raw")
    with open(raw, "wb") as f:
        f.write(bytes(AT) + content())
    for name in ("lime", "lime_compressed"):
        path = os.path.join(out, "avml-" + name)
        if os.path.exists(path):
            os.unlink(path)
        subprocess.run(["avml", "convert", "--source-format", "raw", "--format", name, raw, path], check=True)
        os.chmod(path, 0o644)
    os.unlink(raw)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else HERE
    makedumpfiles(folder)
    qemus(folder)
    avmls(folder)
