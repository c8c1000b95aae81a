#!/usr/bin/env python3
"""check-registers.py [--test PATH] [GUEST...]   what guestdump knows of a live guest's registers, against QEMU's own words.

Booted guests of boot.sh, machines at reset, and one with a kernel of six instructions.  Of a guest that stands still every vCPU's translation is known, what
`info registers` prints too has the same values, the run state stays as it is, nothing is left in QEMU; a running guest runs
again, also when the program is killed while it reads; a gdbstub of somebody else is left alone.  One line for each check,
then "N checks, M failed".  PATH is the test program `live_registers` (default: built by cargo here); the program that is
killed is $GUESTDUMP (default target/release/guestdump); the machines at reset run in $QEMU_DIR, where it is set.
"""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import guest as rig
import qmp

HERE = os.path.dirname(os.path.abspath(__file__))
QEMU = "%s -nodefaults -display none"
# No kernel of ours runs on riscv64.  This one, behind QEMU's own firmware, sets satp to an Sv39 table that maps RAM twice, and waits:
# auipc t0, 0; ld t0, 24(t0); csrw satp, t0; sfence.vma; j .; nop; the value of satp
RISCV64_RAM, SV39 = 0x80200000, 8 << 60
RISCV64_KERNEL = struct.pack("<6IQ", 0x297, 0x0182b283, 0x18029073, 0x12000073, 0x6f, 0x13, SV39 | (RISCV64_RAM + 0x1000) >> 12)
RISCV64_TABLE = [(RISCV64_RAM & ~0x3fffffff) >> 2 | 0xcf if index in (2, 510) else 0 for index in range(512)]
# name -> boot.sh's architecture and settings, or the command line of a machine that starts with -S
GUESTS = {
    "aarch64": ("aarch64", {}),
    "aarch64-sve": ("aarch64", {"CPU_OVERRIDE": "max"}),
    "s390x": ("s390x", {}),
    "ppc64le": ("ppc64le", {}),
    "x86_64": ("x86_64", {}),
    "i386-pae": ("i386-pae", {}),
    "riscv64 with Sv39": "qemu-system-riscv64 -M virt -m 64 -smp 2 -kernel {kernel}",
    "riscv64 at reset": "qemu-system-riscv64 -M virt -m 64 -smp 2 -S",
    "aarch64 at reset, EL3 to EL1": "qemu-system-aarch64 -M virt -cpu cortex-a57 -m 64 -smp 2 -S",
    "aarch64 big-endian at reset": "qemu-system-aarch64 -M virt -cpu cortex-a57,cfgend=on -m 64 -smp 2 -S",
    "aarch64 at reset in EL2": "qemu-system-aarch64 -M virt,virtualization=on -cpu max -m 64 -smp 2 -S",
    "ppc64 at reset": "qemu-system-ppc64 -M pseries,x-vof=on -cpu power9 -m 256 -smp 2 -S",
}

# how `info registers -a` of QEMU 10.0 prints a register, by our name for it
PRINTED = {
    "lpcr": r"\bLPCR ([0-9a-f]+)", "ptcr": r"\bPTCR ([0-9a-f]+)", "msr": r"\bMSR ([0-9a-f]+)",
    "dar": r"\bDAR ([0-9a-f]+)", "dsisr": r"\bDSISR ([0-9a-f]+)",
    "efer": r"\bEFER=([0-9a-f]+)",
    "satp": r"\bsatp\s+([0-9a-f]+)", "mstatus": r"\bmstatus\s+([0-9a-f]+)",
    "pc": r"\b(?:PC=|NIP |pc\s+)([0-9a-f]{8,})", "x1": r"\bX01=([0-9a-f]+)", "r1": r"\b(?:GPR00 \S+|R00=\S+ R01=) ?([0-9a-f]{16})",
    **{"cr%d" % n: r"\b(?:C%02d|CR%d)=([0-9a-f]+)" % (n, n) for n in range(16)},
}


def live_test():
    """The test program, built."""
    build = ["cargo", "test", "-q", "-p", "guestdump", "--test", "live_registers", "--no-run", "--message-format", "json"]
    out = subprocess.run(build, cwd=os.path.join(HERE, "..", ".."), check=True, stdout=subprocess.PIPE, text=True).stdout
    made = [json.loads(line).get("executable") for line in out.splitlines()]
    return [path for path in made if path][-1]


class Report:
    def __init__(self):
        self.count = self.failed = 0

    def check(self, guest, what, ok, detail=""):
        self.count, self.failed = self.count + 1, self.failed + (not ok)
        print("%s %s: %s %s" % ("ok  " if ok else "FAIL", guest, what, detail), flush=True)


def read(test, sock, look=False):
    """What the program says: exit status, lines, registers of each vCPU."""
    environment = {**os.environ, "GUESTDUMP_LIVE": sock, **({"GUESTDUMP_LOOK": "1"} if look else {})}
    done = subprocess.run([test, "--ignored", "--nocapture"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines, vcpus, numbers = done.stdout.splitlines(), {}, 0
    for line in lines:
        if re.match(r"vcpu \d+$", line):
            current = vcpus.setdefault(int(line.split()[1]), {})
            numbers += 1
        elif re.match(r"\w+ [0-9a-f]+$", line) and vcpus:
            name, digits = line.split()
            current[name] = int(digits, 16)
    if numbers != len(vcpus):
        raise RuntimeError("%d vCPUs with %d numbers" % (numbers, len(vcpus)))
    return done.returncode, lines, vcpus


def printed(monitor):
    """Registers of each vCPU as the human monitor prints them."""
    out = {}
    for part in monitor.hmp("info registers -a").split("CPU#")[1:]:
        number, text = part.split("\n", 1)
        found = {name: re.search(pattern, text) for name, pattern in PRINTED.items()}
        out[int(number)] = {name: int(match.group(1), 16) for name, match in found.items() if match}
    return out


def leftovers(monitor):
    return [device["label"] for device in monitor.cmd("query-chardev") if device["label"] in ("gdb", "guestdump-gdb")]


def state(monitor):
    return monitor.cmd("query-status")["status"], leftovers(monitor), monitor.cmd("query-fdsets"), [e["event"] for e in monitor.events]


def check_still(report, name, test, sock, monitor):
    monitor.events.clear()
    before, hmp = state(monitor), printed(monitor)
    status, lines, vcpus = read(test, sock)
    after = state(monitor)
    # the dump that is cut short sends its own event
    events = [event for event in after[3] if event != "DUMP_COMPLETED"]
    report.check(name, "translation is known", status == 0 and bool(vcpus), "; ".join(sorted({l for l in lines if l.startswith("paging")}))[:100]
                 or "\n".join(lines[-8:]))
    report.check(name, "state stays, nothing is left", (before[:3], events) == (after[:3], []), "%s" % (after,))
    same = different = 0
    wrong = []
    for number, registers in hmp.items():
        for register, value in registers.items():
            ours = vcpus.get(number, {}).get(register)
            if ours is not None:
                same, different = same + (ours == value), different + (ours != value)
                wrong += ["%s of %d: %x, QEMU %x" % (register, number, ours, value)] if ours != value else []
    report.check(name, "registers are those that QEMU prints", same > 0 and not different, "%d equal; %s" % (same, ", ".join(wrong)[:200]))
    for line in lines:
        if re.match(r"remark .*(gdbstub|saved device|not known)", line):
            print("     %s: %s" % (name, line))


def check_kernel(report, name, test, sock):
    """The tables that registers lead to map the kernel's data.  Not those of a vCPU in user mode, where the kernel hides then."""
    found = [line for line in read(test, sock)[1] if line.startswith("kernel found through ")]
    report.check(name, "the kernel's name is where its tables say", bool(found) and found != ["kernel found through 0 vCPUs"], "; ".join(found))


def check_running(report, name, test, sock, monitor):
    for look in (True, False):
        monitor.cmd("cont")
        time.sleep(0.3)
        monitor.events.clear()
        pauses = []
        for _ in range(5 if look else 1):
            status, lines, vcpus = read(test, sock, look)
            pauses += [int(line.split()[1]) for line in lines if line.startswith("pause ")]
        after = state(monitor)
        report.check(name, "a running guest runs after a " + ("look" if look else "dump"),
                     status == 0 and after[:2] == ("running", []), "pauses in us: %s %s" % (pauses, after[1:]))
    check_killed(report, name, test, sock, monitor)
    monitor.cmd("stop")


def check_killed(report, name, test, sock, monitor):
    """kill -9 while the gdbstub is open: the guard lets the guest run, and the next one finds a usual QEMU."""
    program = os.environ.get("GUESTDUMP", os.path.join(HERE, "..", "..", "target", "release", "guestdump"))
    hit = False
    for _ in range(100):
        process = subprocess.Popen([program, "dump", "qmp:" + sock, "-o", "-", "--progress", "never"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 3
        while not hit and process.poll() is None and time.monotonic() < deadline:
            hit = "guestdump-gdb" in leftovers(monitor)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if hit:
            break
    deadline = time.monotonic() + 2
    while monitor.status() != "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    report.check(name, "killed with the gdbstub open: the guest runs", hit and monitor.status() == "running", "hit: %s, left: %s" % (hit, leftovers(monitor)))
    status, lines, _ = read(test, sock)
    report.check(name, "the next one reads registers", status == 0 and not leftovers(monitor) and monitor.status() == "running", "%s" % leftovers(monitor))


def ask(gdb, packet):
    """The answer to a packet, with its acknowledgement."""
    gdb.sendall(packet)
    answer = b""
    while not re.search(rb"#..$", answer):
        answer += gdb.recv(100) or b"#.."
    return answer


def check_somebody(report, name, test, sock, monitor):
    """Somebody debugs: left alone."""
    with tempfile.TemporaryDirectory() as where:
        path = os.path.join(where, "gdb")
        monitor.hmp("gdbserver unix:%s,server=on,wait=off" % path)
        with socket.socket(socket.AF_UNIX) as gdb:
            gdb.settimeout(5)
            gdb.connect(path)
            ask(gdb, b"$?#3f")
            status, lines, vcpus = read(test, sock)
            said = [line for line in lines if "gdbstub is in use" in line]
            alive = ask(gdb, b"+$qC#b4")
        monitor.hmp("gdbserver none")
    report.check(name, "a gdbstub in use is left alone", bool(said) and status != 0 and b"QC" in alive, "%s %s" % (said, alive))


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("nothing happens within %d s" % seconds)
        time.sleep(0.1)


class Still:
    """A QEMU that stands before its first instruction."""

    def __init__(self, command):
        self.where = tempfile.TemporaryDirectory(prefix="guestdump-registers-")
        self.socket, watch = (os.path.join(self.where.name, name) for name in ("qmp", "watch"))
        kernel = os.path.join(self.where.name, "kernel")
        with open(kernel, "wb") as f:
            f.write(RISCV64_KERNEL.ljust(0x1000, b"\0") + struct.pack("<512Q", *RISCV64_TABLE))
        command = command.format(kernel=kernel)
        monitors = ["-qmp", "unix:%s,server=on,wait=off" % self.socket, "-qmp", "unix:%s,server=on,wait=off" % watch]
        self.process = subprocess.Popen(os.path.join(os.environ.get("QEMU_DIR", ""), QEMU % command).split() + monitors, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not os.path.exists(watch) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.watch = lambda: qmp.Qmp(watch)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.where.cleanup()


def run(report, name, test):
    what = GUESTS[name]
    if isinstance(what, str):
        with Still(what) as guest, guest.watch() as monitor:
            if "-kernel" in what:
                wait_for(lambda: any(vcpu.get("satp") for vcpu in printed(monitor).values()), 30)
                monitor.cmd("stop")
            check_still(report, name, test, guest.socket, monitor)
        return
    arch, settings = what
    with rig.Guest("registers-" + name, arch, 512, RAM="memfd", STOP="1", **settings) as guest, guest.watch() as monitor:
        check_still(report, name, test, guest.socket, monitor)
        check_kernel(report, name, test, guest.socket)
        if arch in ("aarch64", "ppc64le") and not settings:
            check_running(report, name, test, guest.socket, monitor)
            check_somebody(report, name, test, guest.socket, monitor)


def main(argv):
    test = argv[argv.index("--test") + 1] if "--test" in argv else live_test()
    report = Report()
    for name in [arg for arg in argv if arg in GUESTS] or GUESTS:
        try:
            run(report, name, test)
        except Exception as error:              # one broken guest must not hide the others
            report.check(name, "guest", False, "%s: %s" % (type(error).__name__, error))
    print("%d checks, %d failed" % (report.count, report.failed))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
