#!/usr/bin/env python3
"""check-vmcore.py [options] [CASE...]      default: all cases (load, file)
    --guestdump PATH    the program to judge (default $GUESTDUMP, else target/release/guestdump)
    --keep              leave what was converted below $RIG/out/vmcore-CASE

Dumps that a kernel saved of itself.  A guest panics, the kernel that it had loaded with kexec copies /proc/vmcore to the host, as it is and
through makedumpfile (kdump-init.sh); these files are kept below $RIG/cache until a kernel or a script of theirs changes.  `load` is
loaded with kexec_load, so that kexec wrote the ELF headers; `file` with kexec_file_load, so that the kernel did.

guestdump reads them and converts /proc/vmcore to every format.  What is in it is told by readers of our own (judges.py), by the file's own
p_vaddr, by drgn and by the console; the programs that people use open what was converted, and the file as it was.  One line for each
check, then "N checks, M failed"; exit status 1 if any failed.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import guest as rig
import judges
import readers
import report as reports
from physical import merge, subtract

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTDUMP = os.environ.get("GUESTDUMP") or os.path.join(HERE, "..", "..", "target", "release", "guestdump")
ARCH = "x86_64"
CASES = {"load": "-c", "file": "-s"}            # case -> kexec's option
FORMATS = {"file": ("elf", "kdump-raw-zlib")}   # converted to; all where nothing is said: of "file" only the headers differ
# Room for the second kernel, and a first one of whose memory half is more than the second one's image: kexec insists on that.
MB, CRASH_MB = 320, 104
SAVED = ("vmcore", "compressed", "filtered", "elf", "flat")
READERS = {"elf": ("readelf", "gdb", "drgn", "drgn + vmlinux", "libkdumpfile", "crash", "makedumpfile -d 31", "makedumpfile --dump-dmesg"),
           "kdump-raw-zlib": ("drgn", "drgn + vmlinux", "libkdumpfile", "crash", "makedumpfile -d 31", "makedumpfile --dump-dmesg"),
           "kdump-raw-lzo": ("drgn", "libkdumpfile")}
DMESG = """
import logging, sys
import drgn
from drgn.helpers.linux.printk import get_dmesg
logging.disable(logging.CRITICAL)
program = drgn.Program()
program.set_core_dump(sys.argv[1])
program.load_debug_info([sys.argv[2]])
sys.stdout.buffer.write(get_dmesg(program))
"""
LINE = re.compile(r"\[ *\d+\.\d{6}\] .*$")
INDENT = " " * len("[    0.000000] ")


class Vmcore(judges.Elf):
    """/proc/vmcore: a segment may lie inside of another one, for the kernel's image has one of its own."""

    def __init__(self, path):
        super().__init__(path)
        self.segments = self.loads
        self.loads = [load for load in self.loads if not any(inside(load, other) for other in self.loads)]
        self._starts = [load.p_paddr for load in self.loads]


def inside(load, other):
    return load != other and other.p_paddr <= load.p_paddr and load.p_paddr + load.p_filesz <= other.p_paddr + other.p_filesz


class Case:
    """One way to load the second kernel: its files and the checks of them."""

    def __init__(self, name, options, report):
        self.name, self.report, self.program = name, report, options.guestdump
        self.cache = os.path.join(rig.RIG, "cache", ARCH, "kdump", name)
        self.out = os.path.join(rig.RIG, "out", "vmcore-" + name)
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        self.vmlinux = os.path.join(rig.RIG, "cache", ARCH, "vmlinux")

    def check(self, name, ok, detail=""):
        return self.report.check(self.name, name, ok, detail)

    def path(self, name):
        return os.path.join(self.out, name.replace(" ", "_"))

    def saved(self, name):
        return os.path.join(self.cache, name)

    def guestdump(self, *arguments):
        """(exit status, standard output, standard error)."""
        done = subprocess.run([self.program, *arguments], stdin=subprocess.DEVNULL, capture_output=True)
        return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8").strip()

    def told(self, *arguments):
        """What a command prints, if it succeeds; else a failed check and nothing."""
        status, out, words = self.guestdump(*arguments)
        return out if self.check("guestdump " + " ".join(os.path.basename(word) for word in arguments), status == 0, words[-300:]) else ""

    # ---------------------------------------------------------------------------------------------------- the files

    def stamp(self):
        """What the saved files depend on."""
        seen = hashlib.sha256(repr((CASES[self.name], MB, CRASH_MB, SAVED)).encode())
        for path in (os.path.join(rig.RIG, "cache", ARCH, "kdump", "initrd.gz"), os.path.join(rig.RIG, "cache", ARCH, "vmlinuz")):
            with open(path, "rb") as f:
                seen.update(f.read())
        return seen.hexdigest()

    def make(self):
        """Boot, panic, save; unless that was done."""
        subprocess.run([os.path.join(HERE, "fetch-kdump.sh"), ARCH], check=True, stdout=subprocess.DEVNULL)
        mark, stamp = self.saved("made-from"), self.stamp()
        if os.path.exists(mark) and open(mark).read() == stamp:
            return
        shutil.rmtree(self.cache, ignore_errors=True)
        os.makedirs(self.cache)
        append = "loglevel=8 no_timer_check crashkernel=%dM rig.kexec=%s rig.save=%s" % (CRASH_MB, CASES[self.name], ",".join(SAVED))
        share = "-virtfs local,path=%s,mount_tag=out,security_model=none" % self.cache
        with rig.Guest("vmcore-" + self.name, ARCH, MB, STOP="1", APPEND=append, QEMU_ARGS=share, TIMEOUT="900",
                       INITRD=os.path.join(rig.RIG, "cache", ARCH, "kdump", "initrd.gz")) as guest:
            shutil.copy(os.path.join(guest.run, "console.log"), self.saved("console.log"))
        with open(mark, "w") as f:
            f.write(stamp)

    def all_saved(self):
        """The second kernel and makedumpfile in it said that each is whole."""
        with open(self.saved("console.log"), errors="replace") as f:
            self.console = f.read()
        for name in SAVED:
            said = re.search(r"RIG: saved %s: exit (\d+), (\d+) bytes" % name, self.console)
            there = os.path.getsize(self.saved(name)) if os.path.exists(self.saved(name)) else 0
            self.check(name + " was saved", said and said.group(1) == "0" and int(said.group(2)) == there > 1 << 20, "%d bytes" % there)
        self.vmcore = Vmcore(self.saved("vmcore"))
        self.ram = self.vmcore.ranges()
        hidden = [load for load in self.vmcore.segments if load not in self.vmcore.loads]
        same = all(self.vmcore.read(load.p_paddr, load.p_filesz) == self.vmcore.file.at(load.p_offset, load.p_filesz) for load in hidden)
        self.check("the image's segment shows what the linear map's does", hidden and same, len(hidden))

        self.reference = self.path("reference")
        shutil.copyfile(self.saved("vmcore"), self.reference)
        with open(self.reference, "r+b") as f:          # without the segments that lie inside of others, which our reader does not expect
            for number, header in enumerate(self.vmcore.phdrs):
                if header["p_type"] == 1 and any(load.p_offset == header["p_offset"] for load in hidden):
                    f.seek(self.vmcore.header["e_phoff"] + number * self.vmcore.header["e_phentsize"])
                    f.write(bytes(4))

    # ---------------------------------------------------------------------------------------------------- what is said of it

    def info(self):
        text = self.told("info", "--json", self.saved("vmcore"))
        if not text:
            return
        said = json.loads(text)
        first = re.search(r"RIG: Linux \S+ (\S+)", self.console).group(1)
        self.check("release", said["release"] == first, said["release"])
        self.check("crashed", isinstance(said["crash_time"], int))
        self.check("memory", [(r["start"], r["start"] + r["length"]) for r in said["memory"]] == self.ram, judges.total(self.ram))
        self.check("vCPUs by their numbers", [cpu["id"] for cpu in said["vcpus"]] == [0, 1], [cpu["id"] for cpu in said["vcpus"]])
        notes = [(note["name"], note["type"], note["length"]) for note in said["notes"]]
        theirs = [(note.name, note.type, len(note.desc)) for note in self.vmcore.notes if note.name != "VMCOREINFO"]
        self.check("notes", notes == theirs and len(theirs) == 2, notes)

    def dmesg(self):
        """The log up to the panic: that of the console and drgn's."""
        text = self.told("dmesg", self.saved("vmcore"))
        ours = [line[len(INDENT):].rstrip() if line.startswith(INDENT) else line.rstrip() for line in text.splitlines()]
        self.check("the log ends with the panic", any("sysrq triggered crash" in line for line in ours[-60:]), len(ours))
        done = subprocess.run([readers.python_with("drgn"), "-c", DMESG, self.saved("vmcore"), self.vmlinux], capture_output=True)
        theirs = [line.rstrip() for line in done.stdout.decode("utf-8", "replace").splitlines()]
        self.check("the log is drgn's", ours == theirs and len(ours) > 200, "%d and %d lines" % (len(ours), len(theirs)))
        # the second kernel's lines start where the time goes back
        first = self.console[:self.console.index("RIG: saved")]
        printed = {match.group(0).rstrip() for match in map(LINE.search, first.splitlines()) if match}
        with_time = [line for line in ours if LINE.match(line)]
        lost = [line for line in with_time if line not in printed]
        self.check("the log is on the console", with_time and not lost, "%d lines; not there: %s" % (len(with_time), lost[:2]))
        for name in ("filtered", "elf", "flat"):
            self.check("the log of %s is the same" % name, self.guestdump("dmesg", self.saved(name))[1] == text)

    def walk(self):
        """The kernel's page tables translate each segment's p_vaddr to its p_paddr."""
        places = [(load.p_vaddr + at, load.p_paddr + at) for load in self.vmcore.segments for at in (0, load.p_filesz // 2 & ~7, load.p_filesz - 8)]
        wrong = []
        for virt, phys in places:
            status, out, words = self.guestdump("walk", self.saved("vmcore"), hex(virt), "--json")
            if status or json.loads(out)["phys"] != phys:
                wrong.append("%#x: %s" % (virt, (out or words)[:200]))
        self.check("walk finds what p_vaddr says", len(places) > 6 and not wrong, wrong[0] if wrong else "%d addresses" % len(places))

    def map(self):
        picture = self.path("map.html")
        status, _, words = self.guestdump("map", self.saved("vmcore"), "-o", picture)
        self.check("map", status == 0 and os.path.getsize(picture) > 1000, words[-200:])

    # ---------------------------------------------------------------------------------------------------- conversions

    def convert_all(self):
        formats = [row["name"] for row in json.loads(self.told("formats", "--json"))["formats"]]
        digest = self.digest(self.told("verify", "--json", self.saved("vmcore")))
        for name in FORMATS.get(self.name, formats):
            out = self.path(name)
            status, _, words = self.guestdump("dump", self.saved("vmcore"), "-o", out, "--format", name, "--progress", "never")
            if not self.check("vmcore -> " + name, status == 0, words[-300:] if status else ""):
                continue
            self.compare(name, out)
            status, text, words = self.guestdump("verify", "--json", out, "--against", self.saved("vmcore"))
            self.check(name + ": verify against it", status == 0, words[-200:] or text[-300:] if status else "")
            self.check(name + ": digest", digest and self.digest(text) == digest, self.digest(text))
            for reader in READERS.get(name, ()):
                self.read(reader, out, name)
            os.unlink(out)
        for reader in READERS["elf"]:
            self.read(reader, self.saved("vmcore"), "vmcore as it is")

    def convert_saved(self):
        """What makedumpfile wrote in the second kernel, as a kdump: the pages that it kept."""
        kept = {}
        for name in SAVED[1:]:
            out = self.path(name)
            status, _, words = self.guestdump("dump", self.saved(name), "-o", out, "--format", "kdump-raw-lzo", "--progress", "never")
            # of "compressed" nothing was left out on purpose, and makedumpfile drops a page of which RAM has a part
            partial = name == "compressed" and "1 pages" in words
            if not self.check(name + " -> kdump", status == (3 if partial else 0), words[-300:] if status else ""):
                continue
            dump = judges.Kdump(out)
            kept[name] = dump.ranges()
            verdict = judges.compare_to_memory(dump, self.vmcore, kept[name])
            self.check(name + ": pages", verdict and verdict.compared > 1000, verdict)
            self.check(name + ": notes", judges.note_differences(dump.notes, self.vmcore.notes) == [])
            self.check(name + ": verify", self.guestdump("verify", out)[0] == (3 if partial else 0))
            self.check(name + " as it is: verify", self.guestdump("verify", self.saved(name))[0] == (3 if partial else 0))
            os.unlink(out)
        self.check("filtered and flat kept the same pages", kept.get("filtered") and kept["filtered"] == kept.get("flat"))
        # an ELF file has no page that stands for all zeros
        lost = subtract(kept["flat"], kept["elf"])
        self.check("elf kept those of them that are not zero", not any(self.vmcore.read(start, end - start).strip(b"\0") for start, end in lost),
                   judges.total(lost))
        whole = [(start + 4095 & ~4095, end & ~4095) for start, end in self.ram]
        self.check("compressed has all whole pages", kept.get("compressed") == whole, judges.total(kept.get("compressed", [])))

    def damage(self):
        """A copy that was cut in the middle gives what it has, and says what it lacks."""
        for name in ("vmcore", "compressed"):
            cut, out = self.path("cut"), self.path("from-cut")
            with open(self.saved(name), "rb") as source, open(cut, "wb") as f:
                f.write(source.read(os.path.getsize(source.name) // 2))
            status, _, words = self.guestdump("dump", cut, "-o", out, "--force", "--format", "kdump-raw-lzo", "--progress", "never")
            self.check(name + ", cut: exit status 3, and why", status == 3 and "warning: source:" in words, "%d: %s" % (status, words[:200]))
            verdict = judges.compare_to_memory(judges.Kdump(out), Filled(self.vmcore), judges.Kdump(out).ranges())
            self.check(name + ", cut: what there is", verdict and verdict.compared > 1000, verdict)
        # the image is first in /proc/vmcore
        with open(self.saved("vmcore"), "rb") as source, open(self.path("cut"), "wb") as f:
            f.write(source.read(os.path.getsize(source.name) // 2))
        self.check("vmcore, cut: the log", "sysrq triggered crash" in self.guestdump("dmesg", self.path("cut"))[1])

    def digest(self, text):
        return json.loads(text)["dumps"][0]["digest"] if text else None

    def paging(self):
        """An ELF file with the kernel's own addresses: gdb reads the same through them as through p_vaddr of /proc/vmcore."""
        out = self.path("paging")
        status, _, words = self.guestdump("dump", self.saved("vmcore"), "-o", out, "--format", "elf", "--paging", "--progress", "never")
        self.check("--paging: whose tables they are is said", status == 0 and "do not tell their page tables" in words, words[-300:])
        places = [load.p_vaddr + load.p_filesz // 2 & ~7 for load in self.vmcore.segments]
        commands = [word for at in places for word in ("-ex", "x/64xg %#x" % at)]
        texts = [readers.run(["gdb-multiarch", "-nx", "-batch", "-ex", "core-file " + path, *commands])[1] for path in (out, self.saved("vmcore"))]
        ours, theirs = ([line for line in text.splitlines() if line.startswith("0x")] for text in texts)
        self.check("--paging: gdb reads by address", ours == theirs and len(ours) == 32 * len(places), len(ours))
        os.unlink(out)

    def compare(self, name, path):
        if name == "elf":
            other = judges.Elf(path)
            verdict = judges.compare_memory(other, self.vmcore)
        else:
            if not name.startswith("kdump-raw"):
                judges.reassemble(path, path + ".raw")
                os.replace(path + ".raw", path + ".plain")
                path += ".plain"
            other = judges.Kdump(path)
            # a last page of which RAM has a part is whole in a kdump
            pages = merge((start & ~4095, end + 4095 & ~4095) for start, end in self.ram)
            verdict = judges.compare_to_memory(other, Filled(self.vmcore), pages)
        self.check(name + ": memory", verdict and verdict.compared > 1000, verdict)
        self.check(name + ": notes", judges.note_differences(other.notes, self.vmcore.notes) == [])
        self.check(name + ": structure", other.problems() == [], other.problems()[:3])
        if path.endswith(".plain"):
            os.unlink(path)

    def read(self, reader, path, what):
        whole = [(start + 4095 & ~4095, end & ~4095) for start, end in self.ram]
        outcome = readers.READERS[reader].read(path, readers.Reference(self.reference, whole), self.vmlinux)
        self.check("%s: %s" % (reader, what), outcome.ok, outcome.detail)


class Filled:
    """Memory with zeros where a page is not all RAM."""

    def __init__(self, memory):
        self.memory = memory

    def ranges(self):
        return merge((start & ~4095, end + 4095 & ~4095) for start, end in self.memory.ranges())

    def read(self, at, length):
        whole = self.memory.read(at, length)
        if whole is not None:
            return whole
        parts = [(max(at, start), min(at + length, end)) for start, end in self.memory.ranges() if start < at + length and at < end]
        out = bytearray(length)
        for start, end in parts:
            out[start - at:end - at] = self.memory.read(start, end - start)
        return bytes(out) if parts else None


def run_case(name, options, report):
    case = Case(name, options, report)
    case.make()
    case.all_saved()
    case.info()
    case.dmesg()
    case.walk()
    case.map()
    case.paging()
    case.convert_all()
    case.convert_saved()
    case.damage()
    if not options.keep:
        shutil.rmtree(case.out)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--guestdump", default=GUESTDUMP)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args(argv)
    options.guestdump = os.path.abspath(options.guestdump)
    report = reports.Report()
    for name in options.cases or CASES:
        try:
            run_case(name, options, report)
        except Exception as error:              # one broken case must not hide the other
            report.check(name, "case", False, "%s: %s" % (type(error).__name__, error))
    return report.summary()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
