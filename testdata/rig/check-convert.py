#!/usr/bin/env python3
"""Dumps that others made, read and converted by guestdump; independent judges and the programs that people use look at the result.

    check-convert.py [options] [CASE...]      default: all cases (x86_64, x86_64-qemu72, i386-pae, s390x)
      --guestdump PATH    the program to judge (default target/release/guestdump)
      --table FILE        write the matrix "QEMU wrote it, we repaired it" as markdown
      --keep              leave the files below $RIG/out/convert-CASE

A guest is booted and stopped; QEMU dumps it in every format that it has, also with paging=true; makedumpfile filters, compresses and
splits our dump of it (x86_64).  Each of these files is converted to ELF and to a kdump.  Memory, page by page, must be that of QEMU's
plain ELF (what a filter left out stays left out, as judges.py sees it), and the readers must open what they refused before.  One file of an
x86_64 guest is converted to every format; crash and makedumpfile open what they know of them.

One line for each check, then "N checks, M failed"; exit status 1 if any failed.
"""
import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys

import guest as rig
import judges
import readers
import report as reports
from physical import intersect, subtract, total

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTDUMP = os.path.join(HERE, "..", "..", "target", "release", "guestdump")
CASES = {"x86_64": "x86_64", "x86_64-qemu72": "x86_64", "i386-pae": "i386-pae", "s390x": "s390x"}
MB = 256
# which readers look at which conversion
ELF_READERS, KDUMP_READERS = ("readelf", "gdb", "drgn", "libkdumpfile"), ("drgn", "libkdumpfile")
X86_64_READERS = ("crash", "makedumpfile -d 31")
# crash takes its time: one file of each kind, whole and filtered, and in all_formats one for each codec and a flattened one
CRASH_READS = (("QEMU's kdump-zlib", "elf"), ("QEMU's kdump-zlib", "kdump"), ("makedumpfile -c -d 31", "kdump"))
CRASH_FORMATS = ("kdump-raw-lzo", "kdump-raw-snappy", "kdump-raw-zstd", "kdump-raw-none", "kdump-zstd")
# what Debian's makedumpfile is not built with
NOT_FOR_MAKEDUMPFILE = ("snappy", "zstd")


class Convert:
    """One case: its folder, its guest's files, the program under test."""

    def __init__(self, name, options, report):
        self.name, self.arch, self.report, self.options = name, CASES[name], report, options
        self.out = os.path.join(rig.RIG, "out", "convert-" + name)
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        self.foreign = {}               # name -> list of paths of what others wrote
        self.filtered = set()           # names of those that lack pages on purpose
        self.vmlinux = os.path.join(rig.RIG, "cache", self.arch, "vmlinux")

    def path(self, name):
        return os.path.join(self.out, name.replace(" ", "_"))

    def check(self, name, ok, detail=""):
        return self.report.check(self.name, name, ok, detail)

    def guestdump(self, sources, out, *arguments):
        """(exit status, what it said on standard error)."""
        command = [self.options.guestdump, "dump", *sources, "-o", out, "--force", "--progress", "never", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.returncode, done.stderr.strip()

    # ------------------------------------------------------------------------------------------------ foreign files

    def make_qemus(self, guest):
        """Every format that this QEMU has."""
        with guest.watch() as monitor:
            formats = monitor.cmd("query-dump-guest-memory-capability")["formats"]
        for name in (name for name in formats if name != "win-dmp"):
            self.foreign["QEMU's " + name] = [self.path("qemu-" + name)]
            guest.dump(self.path("qemu-" + name), name)
        with guest.watch() as monitor:
            path = self.path("qemu-paging")
            monitor.cmd("dump-guest-memory", paging=True, protocol="file:" + path)
        if self.arch != "s390x":                # QEMU has no walk for it: the file is that without paging
            self.foreign["QEMU's elf, paging"] = [path]

    def make_makedumpfiles(self, guest):
        """What makedumpfile makes of our dump."""
        ours = self.path("ours")
        status, words = self.guestdump(["qmp:" + guest.socket], ours, "--format", "elf")
        if not self.check("our dump", status == 0, words[-300:] if status else ""):
            return
        for options in (["-c"], ["-l"], ["-c", "-d", "31"], ["-E", "-d", "31"]):
            name = "makedumpfile " + " ".join(options)
            self.made(name, [*options, ours, self.path(name)], [self.path(name)], "31" in options)
        halves = [self.path("half-%d" % i) for i in (1, 2)]
        split = ["-c", "-d", "31", "--split", "--splitblock-size", "64", ours, *halves]
        self.made("makedumpfile --split", split, halves, True)
        with open(self.path("makedumpfile -F"), "wb") as out:
            done = subprocess.run(["makedumpfile", "-F", "-c", "-d", "31", ours], stdout=out, stderr=subprocess.PIPE)
        if self.check("makedumpfile -F writes", done.returncode == 0):
            self.foreign["makedumpfile -F"] = [self.path("makedumpfile -F")]
            self.filtered.add("makedumpfile -F")

    def made(self, name, arguments, paths, filtered):
        status, words = readers.makedumpfile(*arguments)
        if self.check(name + " writes", status == 0, "" if status == 0 else readers.last_words(words)):
            self.foreign[name] = paths
            if filtered:
                self.filtered.add(name)

    # ------------------------------------------------------------------------------------------------ conversions

    def convert_all(self):
        reference = judges.Elf(self.foreign["QEMU's elf"][0])
        # device memory: what QEMU calls RAM in the last 256 MiB below 4 GiB of a PC
        devices = [(0xF0000000, 1 << 32)] if self.arch != "s390x" else []
        self.ram = subtract(reference.ranges(), devices)
        kept = None
        for name, paths in self.foreign.items():
            elf, kdump = self.convert(name, paths, "elf"), self.convert(name, paths, "kdump-raw-zlib")
            if not elf or not kdump:
                continue
            filtered = name in self.filtered
            wanted = self.ram
            if name.endswith("paging"):         # memory that no page table maps is not in such a file
                theirs = judges.Elf(paths[0]).ranges()
                wanted = intersect(self.ram, theirs)
                self.check(name + ": nearly all is mapped", total(wanted) > 0.9 * total(self.ram), judges.total(wanted))
            verdict = judges.compare_memory(judges.Elf(elf), reference, stored(elf)) if filtered else \
                judges.compare_memory(judges.Elf(elf), reference, wanted)
            self.check(name + " as elf: memory", verdict, verdict)
            ranges = judges.Kdump(kdump).ranges()
            if filtered:
                self.check(name + ": pages are left out", 0 < total(ranges) < total(self.ram), judges.total(ranges))
                if name == "makedumpfile -c -d 31":
                    kept = ranges
                elif name != "makedumpfile -E -d 31":     # that keeps short runs of pages
                    self.check(name + ": the pages of -c -d 31", ranges == kept)
                self.check(name + " as kdump: first bitmap is all memory", judges.Kdump(kdump).known_ranges() == self.ram)
                self.check(name + ": elf and kdump hold the same", stored(elf) == ranges)
            verdict = judges.compare_to_memory(judges.Kdump(kdump), reference, ranges if filtered else wanted)
            self.check(name + " as kdump: pages", verdict, verdict)
            if self.arch.startswith("i386"):
                self.check(name + " as elf: ELFCLASS32 for readelf", elf_class(elf) == "ELF32", elf_class(elf))
            self.check(name + " as elf: structure", judges.Elf(elf).problems() == [], judges.Elf(elf).problems()[:3])
            self.check(name + " as kdump: structure", judges.Kdump(kdump).problems() == [], judges.Kdump(kdump).problems()[:3])
            self.read(name, paths, elf, kdump)
            os.unlink(elf)
            os.unlink(kdump)

    def convert(self, name, paths, format_name):
        out = self.path("converted-" + format_name)
        status, words = self.guestdump(paths, out, "--format", format_name)
        if self.check("%s -> %s" % (name, format_name), status == 0, words[-300:] if status else ""):
            return out
        return None

    def read(self, name, paths, elf, kdump):
        """Every reader on what was converted, and on the file as it was."""
        if re.search("lzo|snappy|makedumpfile -l|makedumpfile -c$", name):
            return                              # the same content as its zlib neighbour
        reference = readers.Reference(self.foreign["QEMU's elf"][0], stored(elf))
        more = X86_64_READERS if self.arch == "x86_64" and (name.startswith("QEMU") or name == "makedumpfile -c -d 31") else ()
        for form, path, names in (("elf", elf, ELF_READERS + more), ("kdump", kdump, KDUMP_READERS + more)):
            for reader in names:
                if reader.startswith("makedumpfile") and form == "elf" and name in self.filtered:
                    continue                    # 1.7.2 maps more of such a file than there is: SIGBUS without --non-mmap
                if reader == "crash" and (not os.path.exists(self.vmlinux) or (name, form) not in CRASH_READS):
                    continue
                outcome = readers.READERS[reader].read(path, reference, self.vmlinux)
                self.check("%s: %s as %s" % (reader, name, form), outcome.ok, outcome.detail)
                self.report.cell(self.name, name + " -> " + form, reader, outcome)
        if self.options.table and name.startswith("QEMU"):
            for reader in dict.fromkeys(ELF_READERS + KDUMP_READERS + more):
                if reader != "crash" and (reader not in ("readelf", "gdb") or "elf" in name):
                    self.report.cell(self.name, name, reader, readers.READERS[reader].read(paths[0], reference, self.vmlinux))

    # ------------------------------------------------------------------------------------------------ every format, flattened, sets

    def all_formats(self):
        """One file in every format that we have: its pages, crash, makedumpfile."""
        source = self.foreign["QEMU's kdump-zlib"]
        elf = judges.Elf(self.foreign["QEMU's elf"][0])
        done = subprocess.run([self.options.guestdump, "formats", "--json"], check=True, stdout=subprocess.PIPE)
        for name in (row["name"] for row in json.loads(done.stdout)["formats"]):
            if name in ("elf", "kdump-raw-zlib"):
                continue                        # convert_all has these
            out = self.path("converted-" + name)
            status, words = self.guestdump(source, out, "--format", name)
            if not self.check("QEMU's kdump-zlib -> " + name, status == 0, words[-300:] if status else ""):
                continue
            if "-raw-" in name:                 # a flattened one is judged as makedumpfile -R reassembles it
                verdict = judges.compare_to_memory(judges.Kdump(out), elf, self.ram)
                self.check(name + ": pages", verdict, verdict)
            if name in CRASH_FORMATS and os.path.exists(self.vmlinux):
                outcome = readers.READERS["crash"].read(out, None, self.vmlinux)
                self.check("crash: " + name, outcome.ok, outcome.detail)
            codec = name.rsplit("-", 1)[1]
            if "-raw-" not in name:
                self.reassemble(source, out, "kdump-raw-" + codec, 0)
            elif codec not in NOT_FOR_MAKEDUMPFILE:
                outcome = readers.READERS["makedumpfile -d 31"].read(out, None, self.vmlinux)
                self.check("makedumpfile -d 31: " + name, outcome.ok, outcome.detail)
            os.unlink(out)

    def reassemble(self, source, flat, raw_format, expected_status):
        """makedumpfile -R makes of a flattened file, byte for byte, the one that we write raw."""
        raw, rebuilt = self.path("raw"), self.path("rebuilt")
        status, words = self.guestdump(source, raw, "--format", raw_format)
        with open(flat, "rb") as records:
            done, said = readers.makedumpfile("-R", rebuilt, stdin=records)
        ok = status == expected_status and done == 0 and judges.same_bytes(rebuilt, raw)
        detail = "%d bytes" % os.path.getsize(raw) if ok else "%d %s, %d %s" % (status, words[-200:], done, readers.last_words(said))
        self.check("makedumpfile -R: %s, flattened" % raw_format, ok, detail)
        for path in (raw, rebuilt):
            if os.path.exists(path):
                os.unlink(path)

    def reassemble_lossy(self):
        """Pages that are lost on the way change bitmaps that were written before them: a second record for the same bytes."""
        cut, flat = self.path("lossy"), self.path("lossy-flat")
        with open(self.foreign["QEMU's elf"][0], "rb") as source, open(cut, "wb") as f:
            shutil.copyfileobj(source, f)
            f.truncate(f.tell() // 2)
        status, words = self.guestdump([cut], flat, "--format", "kdump-zlib")
        ranges = records_of(flat)
        again = [pair for pair in zip(ranges, ranges[1:]) if pair[0][1] > pair[1][0]]
        said = "%d of %d records" % (len(again), len(ranges))
        self.check("a flattened file with lost pages has records that overlap", status == 3 and again, said)
        self.reassemble([cut], flat, "kdump-raw-zlib", 3)

    def verify(self, *paths):
        """(exit status, report) of guestdump verify."""
        done = subprocess.run([self.options.guestdump, "verify", *paths], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def sets(self):
        """A set that makedumpfile has split, whole and damaged, as verify sees it."""
        halves = self.foreign.get("makedumpfile --split")
        if not halves:
            return
        for name, paths in (("", halves), (", in another order", halves[::-1])):
            status, text = self.verify(*paths)
            self.check("verify: a split set" + name, status == 0 and "verdict       sound" in text, text[-300:] if status else "")
        for missing in (0, 1):
            status, text = self.verify(halves[1 - missing])
            self.check("verify: part %d is missing" % (missing + 1), status == 3 and "a part of the set is missing" in text, text[-300:])
        block = 4096
        cases = [("the parts overlap", block + 80, "<Q", lambda start: start - 100, "are in file 1 and in file 2"),
                 ("a gap", block + 80, "<Q", lambda start: start + 3000, "a part of the set is missing"),
                 ("another dump_level", block + 8, "<i", lambda level: level - 1, "file 2: dump_level is 0x1e, file 1's is 0x1f"),
                 ("a bit of its bitmap", 3 * block, "<B", lambda bits: bits ^ 1, "file 2: its first bitmap differs from file 1's in 1 frames")]
        for name, at, kind, change, expected in cases:
            changed = self.path("changed")
            shutil.copy(halves[1], changed)
            with open(changed, "r+b") as f:
                f.seek(at)
                value, = struct.unpack(kind, f.read(struct.calcsize(kind)))
                f.seek(at)
                f.write(struct.pack(kind, change(value)))
            status, text = self.verify(halves[0], changed)
            self.check("verify: " + name, status == 3 and expected in text, "" if expected in text else text[-400:])

    # ------------------------------------------------------------------------------------------------ damage, VMCOREINFO

    def damage(self):
        """A cut file gives what it has, exit status 3."""
        for name in ("QEMU's elf", "QEMU's kdump-raw-zlib", "makedumpfile -c -d 31"):
            if name not in self.foreign:
                continue
            cut, out = self.path("cut"), self.path("from-cut")
            with open(self.foreign[name][0], "rb") as source, open(cut, "wb") as f:
                shutil.copyfileobj(source, f)
                f.truncate(f.tell() * 2 // 3)
            status, words = self.guestdump([cut], out, "--format", "kdump-raw-lzo")
            said = "could not be read" in words and "warning: source:" in words
            self.check(name + ", cut: exit status 3 and what is missing", status == 3 and said, "%d: %s" % (status, words[:200]))
            verdict = judges.compare_to_memory(judges.Kdump(out), judges.Elf(self.foreign["QEMU's elf"][0]), judges.Kdump(out).ranges())
            self.check(name + ", cut: what there is", verdict and verdict.compared > 1000, verdict)

    def vmcoreinfo(self):
        """Left out, found again, given."""
        source, bare, found = self.foreign["QEMU's elf"][0], self.path("bare"), self.path("found")
        status, words = self.guestdump([source], bare, "--format", "elf", "--vmcoreinfo", "none")
        self.check("--vmcoreinfo none", status == 0 and not named(bare), words if status else "")
        status, words = self.guestdump([bare], found, "--format", "elf", "--vmcoreinfo", "scan")
        text = named(found)
        self.check("--vmcoreinfo scan", status == 0 and text and text.startswith(b"OSRELEASE="), words if status else "")
        with open(self.path("text"), "wb") as f:
            f.write(text or b"")
        status, words = self.guestdump([bare], self.path("given"), "--format", "elf", "--vmcoreinfo", self.path("text"))
        self.check("--vmcoreinfo FILE", status == 0 and judges.same_bytes(self.path("given"), found), words if status else "")


def stored(path):
    """Ranges of which an ELF file has the bytes."""
    return judges.merge((load.p_paddr, load.p_paddr + load.p_filesz) for load in judges.Elf(path).loads if load.p_filesz)


def elf_class(path):
    """What readelf says."""
    found = re.search(r"^  Class: +(\S+)$", readers.run(["readelf", "-h", path])[1], re.M)
    return found.group(1) if found else "none"


def records_of(path):
    """(start, end) of the bytes of every record of a flattened file, sorted: a header of 4096 bytes, then offset and length, eight bytes
    each, big-endian, and the bytes; -1, -1 ends it."""
    out = []
    with open(path, "rb") as f:
        f.seek(4096)
        while True:
            offset, length = struct.unpack(">qq", f.read(16))
            if offset < 0:
                return sorted(out)
            out.append((offset, offset + length))
            f.seek(length, os.SEEK_CUR)


def named(path):
    notes = [note.desc for note in judges.Elf(path).notes if note.name.strip(b"\0" if isinstance(note.name, bytes) else "\0") in (b"VMCOREINFO", "VMCOREINFO")]
    return notes[-1] if notes else None


def run_case(name, options, report):
    case = Convert(name, options, report)
    # on a busy host the timer check of an x86 kernel may fail
    boot = {"RAM": "file", "STOP": "1", "APPEND": "no_timer_check"}
    if name.endswith("qemu72"):
        boot["QEMU_BIN"] = subprocess.run([os.path.join(HERE, "fetch-qemu72.sh")], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with rig.Guest("convert-" + name, case.arch, MB, **boot) as guest:
        case.make_qemus(guest)
        if name == "x86_64":
            case.make_makedumpfiles(guest)
    case.convert_all()
    if name == "x86_64":
        case.all_formats()
        case.reassemble_lossy()
        case.sets()
    case.damage()
    case.vmcoreinfo()
    if not options.keep:
        shutil.rmtree(case.out)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--guestdump", default=GUESTDUMP)
    parser.add_argument("--table")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args(argv)
    options.guestdump = os.path.abspath(options.guestdump)
    report = reports.Report()
    for name in options.cases or CASES:
        try:
            run_case(name, options, report)
        except Exception as error:              # one broken case must not hide the others
            report.check(name, "case", False, "%s: %s" % (type(error).__name__, error))
    if options.table:
        with open(options.table, "w") as f:
            f.write(report.table())
    return report.summary()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
