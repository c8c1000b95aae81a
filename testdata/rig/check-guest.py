#!/usr/bin/env python3
"""Boot real guests, dump them with guestdump and with QEMU, and let independent judges and readers compare.

    check-guest.py [options] [CASE...]        default: all cases
      --guestdump PATH    the program to judge (default target/release/guestdump)
      --only PART,...     state, dumps, makedumpfile, readers (default: what the case has)
      --table FILE        also run the readers on QEMU's own files; write the matrix of files and readers as markdown
      --keep              leave the dumps below $RIG/out/CASE
      --list              print the cases

One line for each check: "ok" or "FAIL", case, check, detail; then "N checks, M failed"; exit status 1 if any failed.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import guest as rig
import judges
import readers
import report as reports

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTDUMP = os.path.join(HERE, "..", "..", "target", "release", "guestdump")

# ---------------------------------------------------------------------------------------------------- cases

Case = collections.namedtuple("Case", "name arch mb boot parts codecs readers")
ALL_CODECS = ("zlib", "lzo", "snappy", "zstd", "none")
PARTS = ("state", "dumps", "makedumpfile", "readers")
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
    Case("x86_64-5g-vga", "x86_64", 5120, {"RAM": "anon", "FILL": "2", "QEMU_ARGS": "-device VGA"}, ("state", "dumps", "makedumpfile", "readers"),
         ("zlib",), SMALL),
    Case("i386-pae", "i386-pae", 512, {"RAM": "file"}, ("state", "dumps", "readers"), ALL_CODECS, SMALL),
    Case("i386", "i386", 512, {"RAM": "memfd"}, ("dumps", "readers"), ("zlib",), SMALL),
    # a 32-bit kernel on a 64-bit machine, with more RAM than 32 bits can say
    Case("i386-pae-5g", "i386-pae", 5120, {"RAM": "file", "FILL": "2", "QEMU_BIN": "qemu-system-x86_64"}, ("dumps", "readers"), ("zlib",), SMALL),
    # the QEMU of Debian 12: no kdump-raw formats, other texts in its monitor
    Case("x86_64-qemu72", "x86_64", 512, {"RAM": "file", "QEMU_BIN": "@qemu72@"}, PARTS, ("zlib", "lzo"), SMALL + ("crash",)),
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
ELF_WITHOUT_DEVICES = {
    "PT_LOAD": "device memory is left out",
    "e_phnum": "device memory is left out",
}
ELF_I386 = {"PT_LOAD p_vaddr": "drgn finds the kernel by its linear map"}
ELF_CLASS32 = {
    "class": "QEMU takes the BIOS, which ends at 4 GiB, for a reason to write ELFCLASS64",
    "e_phentsize": "ELFCLASS32",
}
KDUMP_ALWAYS = {name: "drgn and libkdumpfile take the architecture from it" for name in judges.UTS}
KDUMP_BELOW_4G = {name: "ends where RAM ends; makedumpfile trips over more" for name in
                  ("max_mapnr", "sub.max_mapnr_64", "bitmap_blocks", "bitmap length")}
KDUMP_X86_64 = {"sub.phys_base": "QEMU reads the decimal number as hexadecimal"}
KDUMP_CLASS32 = {name: "the header is that of a 32-bit kernel" for name in ("class", "sub.offset_note", "sub.offset_vmcoreinfo")}


def is_i386(case):
    return case.arch.startswith("i386")


def is_class32(case):
    return is_i386(case) and case.mb <= 3072


def expected_elf(case, device_memory):
    """Names of the ELF header fields that differ from QEMU's."""
    names = set(ELF_ALWAYS)
    if not device_memory:
        names |= set(ELF_WITHOUT_DEVICES)
    if is_i386(case):
        names |= set(ELF_I386)
    if is_class32(case):
        names |= set(ELF_CLASS32)
    return names


def expected_kdump(case, qemu):
    """Names of the kdump header fields that differ from those of QEMU's zlib dump."""
    names = set(KDUMP_ALWAYS)
    if qemu < (10, 0) and not is_i386(case):
        names.discard("machine")                # was filled in before QEMU's dump code lost its target
    if case.mb <= 3072:
        names |= set(KDUMP_BELOW_4G)
    return names | set(KDUMP_CLASS32 if is_class32(case) else ()) | set(() if is_i386(case) else KDUMP_X86_64)


# (our file, reader) -> why the reader refuses it; everything else must open
FLATTENED, NO_CODEC = "a flattened file is for `makedumpfile -R` and crash", "not in Debian's build"
REFUSALS = {
    ("kdump-zlib", "libkdumpfile"): FLATTENED,
    ("kdump-zlib", "makedumpfile -d 31"): FLATTENED,
    ("kdump-zlib", "makedumpfile --dump-dmesg"): FLATTENED,
    ("kdump-raw-snappy", "makedumpfile -d 31"): NO_CODEC,
    ("kdump-raw-snappy", "makedumpfile --dump-dmesg"): NO_CODEC,
    ("kdump-raw-zstd", "makedumpfile -d 31"): NO_CODEC,
    ("kdump-raw-zstd", "makedumpfile --dump-dmesg"): NO_CODEC,
}
CODEC_STATUS = {"zlib": 1, "lzo": 2, "snappy": 4, "zstd": 32, "none": 0}


# ---------------------------------------------------------------------------------------------------- one case

class Run:
    """One booted guest, the program under test, and the files made so far."""

    def __init__(self, case, guest, options, report):
        self.case, self.guest, self.report = case, guest, report
        self.guestdump, self.with_table = options.guestdump, bool(options.table)
        self.out = os.path.join(rig.RIG, "out", case.name)
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        self.ours, self.qemus = {}, {}          # format -> path
        self.pieces, self.ram, self.devices = [], [], []

    def path(self, name):
        return os.path.join(self.out, name)

    def check(self, name, ok, detail=""):
        return self.report.check(self.case.name, name, ok, detail)

    def equal(self, name, got, expected):
        return self.check(name, got == expected, "" if got == expected else "%s, expected %s" % (got, expected))

    def command(self, out, format_name, *arguments):
        return [self.guestdump, "dump", "qmp:" + self.guest.socket, "-o", out, "--format", format_name, *arguments]

    def dump(self, name, format_name, *arguments):
        """Write a file with the program under test; its path, or None (and a failed check)."""
        path, start = self.path(name), time.monotonic()
        done = subprocess.run(self.command(path, format_name, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.said = done.stdout
        detail = "%.1f s" % (time.monotonic() - start) if done.returncode == 0 else "exit %d: %s" % (done.returncode, done.stderr.strip()[-300:])
        if not self.check("dump " + name, done.returncode == 0 and os.path.exists(path), detail):
            return None
        return path

    def dump_to_pipe(self, name, format_name):
        """The same through standard output, which is a pipe."""
        path = self.path(name)
        with open(path, "wb") as out:
            done = subprocess.Popen(self.command("-", format_name), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            shutil.copyfileobj(done.stdout, out, 1 << 20)
            error = done.stderr.read().decode(errors="replace")
            done.stdout.close()
            done.stderr.close()
        return path if self.check("dump %s to a pipe" % name, done.wait() == 0, error.strip()[-300:] if done.returncode else "") else None


# ---------------------------------------------------------------------------------------------------- part: the guest's state

def check_state(run):
    """On a running guest: it is stopped while dumped and runs again, whatever becomes of the program."""
    guest = run.guest
    path = run.dump("running.elf", "elf", "--json")
    run.equal("runs after a dump", guest.status(), "running")
    check_json(run)
    if path:
        check_overwrite(run, path)
        os.unlink(path)
    check_killed(run, "running")
    for number in (signal.SIGINT, signal.SIGTERM):
        check_interrupted(run, number)
    check_lost_pipe(run)
    with guest.watch() as monitor:
        monitor.cmd("stop")
    check_killed(run, "paused")
    path = run.dump("paused.elf", "elf")
    run.equal("a paused guest stays paused", guest.status(), "paused")
    if path:
        os.unlink(path)
    with guest.watch() as monitor:
        monitor.cmd("cont")


def check_json(run):
    """The last line of --json is the summary."""
    lines = run.said.splitlines() or [""]
    try:
        summary = json.loads(lines[-1])
    except ValueError:
        summary = {}
    run.check("--json: summary", summary.get("schema") == 1, lines[-1][:200])


def check_overwrite(run, path):
    """A file that is there is kept without --force and replaced with it."""
    before = os.stat(path)
    done = subprocess.run(run.command(path, "elf"), capture_output=True, text=True)
    same = os.stat(path).st_ino == before.st_ino and os.stat(path).st_mtime_ns == before.st_mtime_ns
    run.check("does not overwrite", done.returncode != 0 and same, done.stderr.strip().splitlines()[0][:100] if done.stderr else "")
    done = subprocess.run(run.command(path, "elf", "--force"), capture_output=True, text=True)
    run.check("overwrites with --force", done.returncode == 0 and os.stat(path).st_mtime_ns != before.st_mtime_ns, done.stderr.strip()[:200])


def stalled(run):
    """A dump into a pipe that nobody reads: it stops half way, for certain."""
    process = subprocess.Popen(run.command("-", "kdump-zlib"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    run.check("stops the guest", run.guest.wait_for("paused", 10) is not None)
    time.sleep(0.5)
    run.check("is in the middle of a dump", process.poll() is None and run.guest.status() == "paused")
    return process


def check_killed(run, status):
    """kill -9 in the middle of a dump: within 2 seconds the guest is as it was, and nothing of the program is left."""
    process = stalled(run)
    process.kill()
    process.wait()
    waited = run.guest.wait_for(status, 2)
    if status == "paused":
        time.sleep(1)           # time for a helper to do the wrong thing
        waited = 0 if run.guest.status() == "paused" else None
    run.check("kill -9: guest is %s again" % status, waited is not None, "" if waited is None else "after %.2f s" % waited)
    process.stdout.close()
    run.check("kill -9: no process left", wait_until(lambda: not processes_with(run.guest.socket, run.guest.pid), 2))
    if run.guest.status() != status:            # so that the next checks start from the same place
        with run.guest.watch() as monitor:
            monitor.cmd("cont" if status == "running" else "stop")


def check_interrupted(run, number):
    """A signal in the middle of a dump to a file: failure, a running guest, no file."""
    name, where = signal.Signals(number).name, run.path("interrupted")
    os.makedirs(where)
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *run.command(os.path.join(where, "out"), "kdump-raw-zlib")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)        # on one CPU, to be slow enough
    begun = wait_until(lambda: any(os.path.getsize(os.path.join(where, f)) for f in os.listdir(where)), 10)
    process.send_signal(number)
    try:
        status = process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        status = "no end"
    run.check("%s: comes in the middle" % name, begun and status != 0, "exit %s" % status)
    run.check("%s: guest runs" % name, run.guest.wait_for("running", 2) is not None)
    run.equal("%s: leaves no file" % name, os.listdir(where), [])
    shutil.rmtree(where)


def check_lost_pipe(run):
    """The reader of the pipe goes away in the middle."""
    process = stalled(run)
    process.stdout.close()
    try:
        status = process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait() and None
    run.check("reader goes away: ends", status is not None, "exit %s" % status)
    run.check("reader goes away: guest runs", run.guest.wait_for("running", 2) is not None)


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def processes_with(text, but):
    """Processes other than `but` that have `text` in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                if text.encode() in f.read() and int(pid) != but:
                    found.append(int(pid))
        except OSError:         # it ended
            continue
    return found


# ---------------------------------------------------------------------------------------------------- part: what is in the dumps

GROWTH_KIB = 4096               # what QEMU may need for its own work while it is asked questions


def make_ours(run):
    """Every format of a stopped guest, with an eye on QEMU's memory."""
    before = run.guest.footprint()
    run.ours["elf"] = run.dump("elf", "elf")
    check_footprint(run, "elf", before)
    run.ours["elf --device-memory"] = run.dump("elf-device-memory", "elf", "--device-memory")
    for codec in run.case.codecs:
        run.ours["kdump-raw-" + codec] = run.dump("kdump-raw-" + codec, "kdump-raw-" + codec)
    check_footprint(run, "kdump", before)
    for codec in run.case.codecs:
        if codec != "none":
            run.ours["kdump-" + codec] = run.dump_to_pipe("kdump-" + codec, "kdump-" + codec)
    run.equal("a stopped guest stays stopped", run.guest.status(), "paused")
    run.ours = {name: path for name, path in run.ours.items() if path}


def check_footprint(run, name, before):
    """Holes of the guest's RAM were not filled by reading them."""
    after = run.guest.footprint()
    grown = {key: after[key] - before[key] for key in before if after[key] - before[key] > GROWTH_KIB}
    run.check("%s: QEMU's memory does not grow" % name, not grown, "KiB: %s" % (grown or after))


def make_qemus(run):
    """QEMU's own files of the same stopped guest.  QEMU before 8.2 has no raw kdump."""
    with run.guest.watch() as monitor:
        known = monitor.cmd("query-dump-guest-memory-capability")["formats"]
    for name in ("elf", "kdump-raw-zlib", "kdump-zlib"):
        if name in known and (name != "kdump-zlib" or run.with_table or "kdump-raw-zlib" not in known):
            run.qemus[name] = run.path("qemu-" + name)
            run.guest.dump(run.qemus[name], name)


def make_all(run):
    """Our files and QEMU's; what is RAM and what is other memory."""
    make_ours(run)
    make_qemus(run)
    run.pieces, run.devices = run.guest.memory_map()
    run.ram = judges.merge((start, start + length) for start, length, _ in run.pieces)
    run.report.note(run.case.name, "RAM %s, device memory %s" % (judges.show_ranges(run.ram), judges.show_ranges(run.devices)))


def check_dumps(run):
    """Everything in our files against QEMU's of the same guest."""
    qemu = judges.Elf(run.qemus["elf"])
    check_elf(run, qemu)
    check_range(run, qemu)
    check_kdumps(run, qemu)
    check_flattened(run)


def check_elf(run, qemu):
    ram = run.ram
    for name in ("elf", "elf --device-memory"):
        if name not in run.ours:
            continue
        ours, within = judges.Elf(run.ours[name]), None if "device" in name else ram
        run.equal(name + ": structure", ours.problems(), [])
        verdict = judges.compare_memory(ours, qemu, within)
        run.check(name + ": memory is that of QEMU's", verdict, verdict)
        run.equal(name + ": ranges", ours.ranges(), qemu.ranges() if within is None else ram)
        wanted = [load for load in qemu.loads if within is None or judges.intersect([(load.p_paddr, load.p_paddr + load.p_memsz)], ram)]
        run.equal(name + ": PT_LOADs", [x[:3] for x in ours.loads], [x[:3] for x in wanted])
        check_notes(run, name, ours, qemu)
        check_fields(run, name, ours, qemu, expected_elf(run.case, within is None))
    path = run.guest.ram_file()
    if path and "elf" in run.ours:
        verdict = judges.compare_memory(judges.Elf(run.ours["elf"]), judges.RawRam(path, run.pieces))
        run.check("elf: memory is that of the RAM file", verdict, verdict)


def check_notes(run, name, ours, theirs):
    lines = judges.note_differences(ours.notes, theirs.notes)
    run.check(name + ": notes", ours.note_bytes == theirs.note_bytes, "; ".join(lines) or "%d equal" % len(ours.notes))


def check_fields(run, name, ours, theirs, expected):
    """The header differences are exactly those that are meant."""
    found = judges.header_differences(ours, theirs)
    wrong = ["%s: %s, QEMU %s" % (field, *found[field]) for field in found if field not in expected]
    wrong += ["%s: no difference" % field for field in sorted(expected - set(found))]
    run.check(name + ": header fields", not wrong, "; ".join(wrong) or "%d differ, as meant" % len(found))


def check_range(run, qemu):
    """--begin and --length, across the VGA hole and at odd addresses."""
    for begin, length in ((0x90000, 0x80000), (0x100123, 0x1001)):
        name, within = "elf 0x%x+0x%x" % (begin, length), judges.intersect([(begin, begin + length)], run.ram)
        path = run.dump("elf-range", "elf", "--force", "--begin", hex(begin), "--length", hex(length))
        if path:
            verdict = judges.compare_memory(judges.Elf(path), qemu, within)
            run.check(name, verdict, verdict)
            run.equal(name + ": ranges", judges.Elf(path).ranges(), within)
            os.unlink(path)


def check_kdumps(run, qemu_elf):
    """Every raw kdump page by page against QEMU's."""
    theirs = judges.Kdump(run.qemus.get("kdump-raw-zlib") or run.qemus["kdump-zlib"])
    verdict = judges.compare_to_memory(theirs, qemu_elf)
    run.check("judge: QEMU's kdump holds what QEMU's ELF does", verdict, verdict)
    for codec in run.case.codecs:
        name = "kdump-raw-" + codec
        if name not in run.ours:
            continue
        ours = judges.Kdump(run.ours[name])
        run.equal(name + ": structure", ours.problems(), [])
        verdict = judges.compare_pages(ours, theirs, run.devices)
        run.check(name + ": pages", verdict, verdict)
        run.equal(name + ": ranges", (ours.ranges(), ours.known_ranges()), (run.ram, run.ram))
        check_notes(run, name, ours, theirs)
        check_fields(run, name, ours, theirs, expected_kdump(run.case, run.guest.qemu) | (set() if codec == "zlib" else {"status"}))
        check_values(run, name, ours, codec)


def check_values(run, name, ours, codec):
    """The fields that are not QEMU's hold what the guest says of itself."""
    uname = run.guest.uname()
    for field, where in (("sysname", 0), ("nodename", 1), ("release", 2)):
        run.equal("%s: %s" % (name, field), ours.header[field].decode(), uname.split()[where])
    run.check(name + ": version", ours.header["version"] and ours.header["version"].decode() in uname, ours.header["version"].decode())
    run.equal(name + ": machine", ours.header["machine"].decode(), uname.split()[-2])
    run.equal(name + ": status", ours.header["status"], CODEC_STATUS[codec])
    run.equal(name + ": max_mapnr", ours.max_mapnr, -(-run.ram[-1][1] // ours.block_size))
    base = re.search(rb"^NUMBER\(phys_base\)=(-?\d+)$", ours.vmcoreinfo or b"", re.M)
    run.equal(name + ": phys_base", ours.header["sub.phys_base"], int(base.group(1)) if base else 0)


def check_flattened(run):
    """A flattened file, put together, is the raw file of the same codec."""
    for codec in run.case.codecs:
        raw, flat = run.ours.get("kdump-raw-" + codec), run.ours.get("kdump-" + codec)
        if not raw or not flat:
            continue
        whole = run.path("assembled")
        stats = judges.reassemble(flat, whole)
        if run.check("kdump-%s: is the raw file, flattened" % codec, judges.same_bytes(whole, raw) or same_dump(whole, raw),
                     "%(records)d records, %(backward)d backward" % stats):
            run.report.note(run.case.name, "kdump-%s: %s" % (codec, "byte for byte" if judges.same_bytes(whole, raw) else "by content"))
        os.unlink(whole)


def same_dump(path_a, path_b):
    """Same headers, notes, bitmaps and pages, though perhaps in another order in the file."""
    a, b = judges.Kdump(path_a), judges.Kdump(path_b)
    return (not judges.header_differences(a, b) and a.note_bytes == b.note_bytes and not judges.bitmap_differences(a, b)
            and bool(judges.compare_pages(a, b)))


# ---------------------------------------------------------------------------------------------------- part: makedumpfile as a judge

def check_makedumpfile(run):
    """What makedumpfile makes of our ELF is our kdump; what it makes of our flattened file is our raw file."""
    elf, raw = run.ours.get("elf"), run.ours.get("kdump-raw-zlib")
    if elf and raw:
        check_converted(run, elf, raw)
        check_filtered(run, elf, raw)
    for codec in run.case.codecs:
        raw, flat = run.ours.get("kdump-raw-" + codec), run.ours.get("kdump-" + codec)
        if raw and flat:
            whole = run.path("rearranged")
            with open(flat, "rb") as stdin:
                status, text = readers.makedumpfile("-R", whole, stdin=stdin)
            same = status == 0 and (judges.same_bytes(whole, raw) or same_dump(whole, raw))
            run.check("makedumpfile -R kdump-" + codec, same, "" if same else readers.last_words(text))
            remove(whole)


def check_converted(run, elf, raw):
    path = run.path("converted")
    status, text = readers.makedumpfile("-c", "-d", "1", elf, path)
    if run.check("makedumpfile -c -d 1 elf", status == 0, "" if status == 0 else readers.last_words(text)):
        ours, theirs = judges.Kdump(raw), judges.Kdump(path)
        run.equal("makedumpfile -c -d 1: bitmaps", judges.bitmap_differences(ours, theirs), [])
        verdict = judges.compare_pages(ours, theirs)
        run.check("makedumpfile -c -d 1: pages", verdict, verdict)
        check_notes(run, "makedumpfile -c -d 1", ours, theirs)
        check_fields(run, "makedumpfile -c -d 1", ours, theirs, set())
    remove(path)


def check_filtered(run, elf, raw):
    """Filtered from our ELF or from our kdump, the result is the same."""
    paths = [run.path("filtered-elf"), run.path("filtered-kdump")]
    results = [readers.makedumpfile("-c", "-d", "31", source, path) for source, path in zip((elf, raw), paths)]
    if run.check("makedumpfile -c -d 31", all(status == 0 for status, _ in results), ""):
        a, b = map(judges.Kdump, paths)
        run.equal("makedumpfile -c -d 31: same pages from elf and kdump", judges.bitmap_differences(a, b), [])
        verdict = judges.compare_pages(a, b)
        run.check("makedumpfile -c -d 31: same content from elf and kdump", verdict, verdict)
    for path in paths:
        remove(path)


def remove(path):
    if os.path.exists(path):
        os.unlink(path)


# ---------------------------------------------------------------------------------------------------- part: readers

def reader_jobs(run):
    """(file, path, reader, ours?) of everything that is to be read."""
    flat = [name for name in ("kdump-zlib",) if name in run.ours]
    files = [(name, run.ours[name], True) for name in run.ours if not name.startswith("kdump-") or name.startswith("kdump-raw-")]
    files += [(name, run.ours[name], True) for name in flat]
    if run.with_table:
        files += [("QEMU's " + name, path, False) for name, path in run.qemus.items()]
    return [(name, path, reader, ours) for name, path, ours in files for reader in run.case.readers 
            if applies(run.case, name, reader, run.with_table)]


def applies(case, name, reader, everything):
    """Whether a reader is for this kind of file; an ELF reader has nothing to say of a kdump."""
    vmlinux = os.path.exists(vmlinux_of(case))
    if reader in ELF_READERS and "elf" not in name:
        return False
    if reader == "drgn":
        return not vmlinux or not kernel_reading(case, name)
    if reader == "drgn + vmlinux":
        return vmlinux and kernel_reading(case, name)
    if reader == "crash":
        return vmlinux and (everything or (name, case.name) in CRASH_READS)
    return True


# crash needs ten seconds for the kernel's debug information each time; with --table it reads every file
CRASH_READS = {(name, "x86_64") for name in ("elf", "kdump-raw-zlib", "kdump-raw-lzo", "kdump-raw-snappy", "kdump-raw-zstd", "kdump-zlib")}
CRASH_READS |= {("elf", "x86_64-4level"), ("elf", "x86_64-qemu72")}


def kernel_reading(case, name):
    """drgn has no page walk for i386: it can follow the kernel's pointers only by p_vaddr of an ELF of 32 bits."""
    return not is_i386(case) or ("elf" in name and is_class32(case) and "device" not in name)


def vmlinux_of(case):
    return os.path.join(rig.RIG, "cache", case.arch, "vmlinux")


def check_readers(run):
    """Every reader on every file, two at a time; ours must open unless REFUSALS says why not."""
    jobs, reference = reader_jobs(run), readers.Reference(run.qemus["elf"], run.ram)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda job: readers.READERS[job[2]].read(job[1], reference, vmlinux_of(run.case)), jobs)
        for (name, _, reader, ours), outcome in zip(jobs, results):
            run.report.cell(run.case.name, name, reader, outcome)
            if not ours:
                run.report.note(run.case.name, "%s: %s: %s" % (reader, name, "ok" if outcome.ok else outcome.detail))
            elif (name, reader) in REFUSALS:
                run.report.note(run.case.name, "%s: %s: %s (%s)" % (reader, name, "ok" if outcome.ok else outcome.detail, REFUSALS[name, reader]))
            else:
                run.check("%s: %s" % (reader, name), outcome.ok, outcome.detail)


# ---------------------------------------------------------------------------------------------------- all cases

def run_case(case, options, report):
    """Boot one guest and go through the case's parts."""
    start = time.monotonic()
    boot = {key: qemu72() if value == "@qemu72@" else value for key, value in case.boot.items()}
    parts = [part for part in case.parts if part in options.only]
    with rig.Guest(case.name, case.arch, case.mb, **boot) as guest:
        report.note(case.name, "booted after %.0f s, QEMU %d.%d" % (time.monotonic() - start, *guest.qemu))
        run = Run(case, guest, options, report)
        if "state" in parts:
            timed(run, "state", check_state)
        with guest.watch() as monitor:
            monitor.cmd("stop")
        if set(parts) - {"state"}:
            timed(run, "making dumps", make_all)
            if "dumps" in parts:
                timed(run, "comparing dumps", check_dumps)
    for part, action in (("makedumpfile", check_makedumpfile), ("readers", check_readers)):
        if part in parts:
            timed(run, part, action)
    if not options.keep:
        shutil.rmtree(run.out)
    report.note(case.name, "took %.0f s" % (time.monotonic() - start))


def timed(run, name, action):
    start = time.monotonic()
    action(run)
    run.report.note(run.case.name, "%s took %.0f s" % (name, time.monotonic() - start))


def qemu72():
    """The wrapper that runs the unpacked QEMU 7.2."""
    return subprocess.run([os.path.join(HERE, "fetch-qemu72.sh")], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--guestdump", default=GUESTDUMP)
    parser.add_argument("--only", default=",".join(PARTS), type=lambda text: text.split(","))
    parser.add_argument("--table")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(argv)
    options.guestdump = os.path.abspath(options.guestdump)
    for name in options.cases:
        if name not in CASES:
            parser.error("no case %s; there are %s" % (name, ", ".join(CASES)))
    return options


def main(argv):
    options = parse(argv)
    if options.list:
        print("\n".join("%-16s %s" % (case.name, ", ".join(case.parts)) for case in CASES.values()))
        return 0
    if not os.access(options.guestdump, os.X_OK):
        print("no program %s" % options.guestdump, file=sys.stderr)
        return 2
    report = reports.Report()
    for name in options.cases or CASES:
        try:
            run_case(CASES[name], options, report)
        except Exception as error:              # one broken case must not hide the others
            report.check(name, "case", False, "%s: %s" % (type(error).__name__, error))
    if options.table:
        with open(options.table, "w") as f:
            f.write(report.table())
    return report.summary()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
