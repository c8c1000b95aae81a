#!/usr/bin/env python3
"""check-reset.py [--guestdump PATH] [MACHINE...]   machines that are stopped before their first instruction (-S): no kernel is needed.

Byte orders, memory maps and vCPUs that the booted guests of check-guest.py do not have.  Our ELF with --device-memory holds what
QEMU's does, byte for byte, notes included; our kdump holds what our ELF and QEMU's kdump do.  One line for each check, then "N checks, M failed".
"""
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

import completed_notes
import judges
import qmp

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTDUMP = os.path.join(HERE, "..", "..", "target", "release", "guestdump")

# name -> (QEMU and its machine, monitor commands before the dump, byte order of the dump)
MACHINES = {
    "ppc64 big-endian": ("qemu-system-ppc64 -M pseries,x-vof=on -cpu power9 -m 256 -smp 2", [], "big"),
    # RAM of the power management at 0x203ffd800000: 2 GiB of bitmap for a guest of 1 GiB, almost all of it gaps
    "powernv9": ("qemu-system-ppc64 -M powernv9 -m 1G", [], "big"),
    "aarch64 with SVE": ("qemu-system-aarch64 -M virt -cpu max -m 64 -smp 2", [], "little"),
    "aarch64 big-endian": ("qemu-system-aarch64 -M virt -cpu cortex-a57,cfgend=on -m 64 -smp 2", [], "big"),
    "s390x": ("qemu-system-s390x -M s390-ccw-virtio -m 64 -smp 3", [], "big"),
    "riscv64": ("qemu-system-riscv64 -M virt -m 64 -smp 2", [], "little"),
    "x86_64 in 16-bit mode": ("qemu-system-x86_64 -M q35 -m 64 -smp 2", [], "little"),
    "i386 with VGA": ("qemu-system-i386 -M pc -m 64 -device VGA", [], "little"),
    "hot-plugged memory": ("qemu-system-x86_64 -M pc -m 64,slots=2,maxmem=1G", [
        ("object-add", {"qom-type": "memory-backend-ram", "id": "plugged", "size": 128 << 20}),
        ("device_add", {"driver": "pc-dimm", "id": "dimm0", "memdev": "plugged"})], "little"),
    "memory hot-plugged while running": ("qemu-system-x86_64 -M q35 -m 64,slots=2,maxmem=1G -smp 2", [
        ("cont", {}), ("sleep", {"seconds": 1}),
        ("object-add", {"qom-type": "memory-backend-memfd", "id": "plugged", "size": 128 << 20}),
        ("device_add", {"driver": "pc-dimm", "id": "dimm0", "memdev": "plugged"}), ("stop", {})], "little"),
    "two NUMA nodes": ("qemu-system-x86_64 -M q35 -m 128 -smp 2 -object memory-backend-memfd,id=m0,size=64M "
                       "-object memory-backend-ram,id=m1,size=64M -numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1", [], "little"),
}


# Two vCPUs that let SVE's registers be used and set a vector length of their own; the first turns the second on.
# CPACR_EL1 = ZEN | FPEN; isb; ZCR_EL1 = LEN; isb; then PSCI CPU_ON of vCPU 1 at the eighth next instruction; both end in "b ."
SET_LENGTH = [0xd2a00660, 0xd5181040, 0xd5033fdf, 0xd2800000, 0xd5181200, 0xd5033fdf]
CPU_ON = [0xd2800060, 0xf2b88000, 0xd2800021, 0x100000a2, 0xd2800003, 0xd4000002, 0x14000000, 0xd503201f]


def set_length(vl):
    """Instructions that set a vector length of vl bytes: ZCR_EL1.LEN is in units of 16 bytes, less one."""
    return [word | (vl // 16 - 1) << 5 if word == 0xd2800000 else word for word in SET_LENGTH]


def loaded(words):
    """QEMU's options that put instructions into memory and start vCPU 0 there."""
    put = ["-device loader,addr=0x%x,data=0x%x,data-len=4" % (0x40100000 + 4 * i, word) for i, word in enumerate(words)]
    return " ".join(put) + " -device loader,addr=0x40100000,cpu-num=0"


def two_lengths(first, second):
    """A machine whose vCPUs have these vector lengths: the program lies in memory, and vCPU 0 starts there."""
    words = set_length(first) + CPU_ON + set_length(second) + [0x14000000]
    return "qemu-system-aarch64 -M virt -cpu max -m 64 -smp 2 " + loaded(words), [("cont", {}), ("sleep", {"seconds": 2}), ("stop", {})], "little"


MACHINES["aarch64, longer vectors second"] = two_lengths(32, 64)
MACHINES["aarch64, longer vectors first"] = two_lengths(64, 32)
# How far QEMU's notes end behind PT_NOTE, which it makes twice as long as the notes of vCPU 0: SVE_PT_SIZE is 1136 with vectors
# of 32 bytes, 2224 with 64.
NOTES_BEHIND = {"aarch64, longer vectors second": 2224 - 1136, "aarch64, longer vectors first": 1136 - 2224}

# QEMU's own kdump fails with "dump: failed to write elf notes" where they do not fit; that of powernv9 has 2 GiB of zeros.
WITHOUT_KDUMP = {"aarch64, longer vectors second", "powernv9"}

# A vCPU in AArch32 state: SPSR_EL1 = user mode, ELR_EL1 = the A32 instruction at the end, x13, x14, eret; then A32's "b ."
AARCH32 = [0xd2800200, 0xd5184000, 0x100000a0, 0xd5184020, 0xd282468d, 0xd28acf0e, 0xd69f03e0, 0xeafffffe]
MACHINES["aarch64 in AArch32 state"] = (
    "qemu-system-aarch64 -M virt -cpu cortex-a57 -m 64 %s" % loaded(AARCH32), [("cont", {}), ("sleep", {"seconds": 1}), ("stop", {})], "little")
# x13, x14 (which are r13 and r14 of user mode), pc and pstate's mode in NT_PRSTATUS (Arm ARM D1, mapping between the states)
AARCH32_FIELDS = {216: 0x1234, 224: 0x5678, 368: 0x4010001c}


def aarch32(notes):
    """What is wrong with the note of the vCPU in AArch32 state."""
    desc = next(note for note in notes if note.type == 1).desc
    found = {at: struct.unpack_from("<Q", desc, at)[0] for at in AARCH32_FIELDS}
    mode = desc[376] & 0x1f
    return "" if found == AARCH32_FIELDS and mode == 0x10 else "%s, mode 0x%x" % (found, mode)


def mend(path, behind):
    """Lets the program headers of a 64-bit little-endian dump say where its notes end and its memory is."""
    with open(path, "r+b") as file:
        ehdr = file.read(64)
        phoff, = struct.unpack_from("<Q", ehdr, 32)
        phentsize, phnum = struct.unpack_from("<HH", ehdr, 54)
        for at in range(phoff, phoff + phentsize * phnum, phentsize):
            file.seek(at)
            p_type, = struct.unpack("<I", file.read(4))
            field = at + (32 if p_type == 4 else 8)         # p_filesz of PT_NOTE, p_offset of PT_LOAD
            file.seek(field)
            value, = struct.unpack("<Q", file.read(8))
            file.seek(field)
            file.write(struct.pack("<Q", value + behind))


class Machine:
    """A QEMU that stands before its first instruction."""

    def __init__(self, command, where):
        self.socket, watch = os.path.join(where, "qmp.sock"), os.path.join(where, "watch.sock")
        monitors = ["-qmp", "unix:%s,server=on,wait=off" % self.socket, "-qmp", "unix:%s,server=on,wait=off" % watch]
        self.process = subprocess.Popen(command.split() + ["-S", "-nodefaults", "-display", "none", *monitors],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while not os.path.exists(watch):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("QEMU: " + self.process.stderr.read()[-300:])
            time.sleep(0.05)
        self.monitor = qmp.Qmp(watch)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def dumps(machine, program, where, with_kdump):
    """QEMU's ELF, and its kdump if wanted; our ELF with all memory, our ELF and our kdumps as they come."""
    paths = {name: os.path.join(where, name) for name in ("qemu", "all", "elf", "kdump", "kdump-all")}
    machine.monitor.cmd("dump-guest-memory", paging=False, protocol="file:" + paths["qemu"])
    if with_kdump:
        paths["qemu-kdump"] = os.path.join(where, "qemu-kdump")
        machine.monitor.cmd("dump-guest-memory", paging=False, protocol="file:" + paths["qemu-kdump"], format="kdump-raw-zlib")
    options = {"all": ["-f", "elf", "--device-memory"], "elf": ["-f", "elf"], "kdump": ["-f", "kdump-raw-zlib"],
               "kdump-all": ["-f", "kdump-raw-zlib", "--device-memory"]}
    for name, arguments in options.items():
        done = subprocess.run([program, "dump", "qmp:" + machine.socket, "-o", paths[name], "--progress", "never", *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("%s: exit %d: %s" % (name, done.returncode, done.stderr.strip()[-300:]))
    return paths


def checks(paths, order, arch, registers):
    """(name, ok, detail) of everything that must hold; `registers` of QEMU's gdbstub."""
    qemu, ours, plain = (judges.Elf(paths[name]) for name in ("qemu", "all", "elf"))
    yield "byte order", ours.endian == {"little": "<", "big": ">"}[order], ours.endian
    verdict = judges.compare_memory(ours, qemu)
    yield "elf --device-memory: memory is QEMU's", verdict, verdict
    wanted = completed_notes.expected(arch, qemu.notes, registers, qemu.endian)
    wanted_bytes = qemu.note_bytes if wanted == qemu.notes else completed_notes.frame(wanted, qemu.endian)
    lines = judges.note_differences(ours.notes, wanted)
    yield "elf --device-memory: notes are QEMU's", ours.note_bytes == wanted_bytes, "; ".join(lines) or completed_notes.what_differs(ours.notes, qemu.notes)
    verdict = judges.compare_memory(plain, qemu, plain.ranges())
    yield "elf: memory is QEMU's", verdict, verdict
    for name, elf in (("kdump", plain), ("kdump-all", ours)):
        verdict = judges.compare_to_memory(judges.Kdump(paths[name]), elf)
        yield name + ": pages are those of the ELF", verdict, verdict
        if name == "kdump-all" and "qemu-kdump" in paths:
            kdump, theirs = judges.Kdump(paths[name]), judges.Kdump(paths["qemu-kdump"])
            verdict = judges.compare_pages(kdump, theirs)
            yield name + ": pages and blocks are those of QEMU's", verdict and kdump.ranges() == theirs.ranges(), verdict
        held = os.stat(paths[name]).st_blocks * 512
        yield name + ": gaps take no room", held < 64 << 20, "%d of %d bytes" % (held, os.stat(paths[name]).st_size)


def main(argv):
    program = os.path.abspath(argv[argv.index("--guestdump") + 1] if "--guestdump" in argv else GUESTDUMP)
    count = failed = 0
    for name in [arg for arg in argv if arg in MACHINES] or MACHINES:
        command, plug, order = MACHINES[name]
        with tempfile.TemporaryDirectory(prefix="guestdump-reset-") as where:
            try:
                with Machine(command, where) as machine:
                    for what, arguments in plug:
                        if what == "sleep":
                            time.sleep(arguments["seconds"])
                        else:
                            machine.monitor.cmd(what, **arguments)
                    arch = re.match(r"qemu-system-(\w+)", command).group(1)
                    paths = dumps(machine, program, where, name not in WITHOUT_KDUMP)
                    # only now: a dump brings what QEMU keeps of AArch32 state to where its gdbstub looks
                    registers = completed_notes.known(machine.monitor, arch)
                if name in NOTES_BEHIND:
                    mend(paths["qemu"], NOTES_BEHIND[name])
                results = list(checks(paths, order, arch, registers))
                if "AArch32" in name:
                    wrong = aarch32(judges.Elf(paths["elf"]).notes)
                    results.append(("elf: registers are where AArch64 has them", not wrong, wrong))
            except Exception as error:          # one broken machine must not hide the others
                results = [("machine", False, "%s: %s" % (type(error).__name__, error))]
        for what, ok, detail in results:
            count, failed = count + 1, failed + (not ok)
            print("%s %s: %s %s" % ("ok  " if ok else "FAIL", name, what, detail))
    print("%d checks, %d failed" % (count, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
