#!/usr/bin/env python3
"""Whole dumps against QEMU's own and makedumpfile's, of the same stopped guests: a Markdown table of ratios.

    bench.py [--only ROW,...] [--rounds N] [--list] [--guestdump PATH] [--work FOLDER]

Boots what the rows need (x86_64, 2 GiB with FILL=55; 4 GiB idle), lets both sides take turns (A B A B ...), and prints for each row
the median times, the median of the ratios of each round, and the ratio of the processor time used. On a machine that does other things
too, trust the ratios, and of these the one of processor time most. BENCH.md says more. Outputs go to a tmpfs (/dev/shm).
"""
import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

import guest as rig
import qmp

ROOT = os.path.dirname(os.path.dirname(rig.HERE))
TICK = os.sysconf("SC_CLK_TCK")


class Cost:
    """Seconds on the clock and of processors, bytes of the file, most memory in MiB."""

    def __init__(self, wall, cpu, size=0, peak=0.0):
        self.wall, self.cpu, self.size, self.peak = wall, cpu, size, peak


def process_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Bench:
    def __init__(self, options):
        self.options, self.guests, self.footprints = options, {}, {}
        self.work = options.work
        self.out = os.path.join(self.work, "out")

    # ---- guests, booted when first needed ----

    def guest(self, name):
        if name not in self.guests:
            settings = {"mixed": (2048, {"FILL": "55", "RAM": "memfd"}), "anon": (2048, {"FILL": "55", "RAM": "anon"}),
                        "idle": (4096, {"FILL": "0", "SPIN": "0", "RAM": "memfd"})}
            self.end_guests()       # one at a time: they are large
            mb, environment = settings[name]
            print("booting %s (%d MiB)" % (name, mb), file=sys.stderr, flush=True)
            self.guests[name] = rig.Guest("bench-" + name, "x86_64", mb, STOP="1", **environment)
        return self.guests[name]

    def end_guests(self):
        while self.guests:
            self.guests.popitem()[1].__exit__()

    def close(self):
        self.end_guests()
        shutil.rmtree(self.work, ignore_errors=True)

    # ---- the sides ----

    def run(self, command, out=None, shell=False):
        """A command that we start; its cost. The kernel's ru_maxrss would be that of this Python, before exec."""
        if out and os.path.exists(out):
            os.unlink(out)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.Popen(command, shell=shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said, words = done.communicate()
        wall = time.monotonic() - start
        if done.returncode:
            raise RuntimeError("%s: exit %d: %s" % (command, done.returncode, words.strip()[-300:]))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peak = json.loads(said)["peak_memory_bytes"] / 2**20 if "--json" in command else 0
        return Cost(wall, cpu, os.path.getsize(out) if out else 0, peak)

    def ours(self, source, form, *more, out=None):
        out = out or self.out
        return self.run([self.options.guestdump, "dump", source, "-o", out, "--format", form, "--progress", "never", "--json", "--force", *more], out)

    def dump(self, name, form, *more):
        return lambda: self.ours("qmp:" + self.guest(name).socket, form, *more)

    def piped(self, name, form):
        command = "%s dump qmp:%s -o - --format %s --progress never | cat >/dev/null"
        return lambda: self.run(command % (self.options.guestdump, self.guest(name).socket, form), shell=True)

    def qemu(self, name, form):
        def dump():
            guest = self.guest(name)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.out)
            cpu, start = process_seconds(guest.pid), time.monotonic()
            guest.dump(self.out, form)
            wall = time.monotonic() - start
            return Cost(wall, process_seconds(guest.pid) - cpu, os.path.getsize(self.out))
        return dump

    def kept(self, name, form):
        """A dump of ours that stays for the rows that read one."""
        path = os.path.join(self.work, form)
        if not os.path.exists(path):
            self.ours("qmp:" + self.guest(name).socket, form, out=path)
        return path

    def makedumpfile(self, source, *options):
        """The best of its numbers of threads, measured once."""
        best = None
        for threads in ([], ["--num-threads", "1"], ["--num-threads", "2"]):
            command = ["makedumpfile", *options, *threads, source, self.out]
            with contextlib.suppress(RuntimeError):
                cost = self.run(command, self.out)
                best = min(best or (cost.wall, command), (cost.wall, command))
        if best is None:
            raise RuntimeError("makedumpfile %s writes nothing" % " ".join(options))
        return lambda: self.run(best[1], self.out)

    def bare(self, name, codec):
        """The least that could be done with the pages, by core/examples/bare.rs; of the file, the size without any descriptor."""
        command = [self.options.bare, self.guest(name).ram_file(), self.out, codec, str(os.cpu_count())]
        return lambda: self.run(command, self.out)

    def copy(self, name):
        """What the disk takes for as many bytes as the dump has: written at once and flushed."""
        source = self.kept(name, "elf")

        def copy():
            target = os.path.join(self.options.disk, "bench-copy")
            cost = self.run(["sh", "-c", "cp --sparse=always '%s' '%s' && sync '%s'" % (source, target, target)], target)
            os.unlink(target)
            return cost
        return copy

    def to_disk(self, name, form, *more):
        def dump():
            target = os.path.join(self.options.disk, "bench-dump")
            cost = self.ours("qmp:" + self.guest(name).socket, form, *more, out=target)
            os.unlink(target)
            return cost
        return dump


IDLE = ("elf", "kdump-raw-zlib", "kdump-raw-lzo")       # Debian's QEMU has no LZO: then that row fails


# ---- rows: name, target, (baseline, ours), what must hold of the sizes ----

def rows(b):
    mixed = "mixed"
    yield "elf", 3.3, "QEMU elf", lambda: (b.qemu(mixed, "elf"), b.dump(mixed, "elf")), None
    yield "zlib", 5.3, "QEMU kdump-raw-zlib", lambda: (b.qemu(mixed, "kdump-raw-zlib"), b.dump(mixed, "kdump-raw-zlib")), "not larger"
    yield "zstd", 10.0, "QEMU kdump-raw-zlib", lambda: (b.qemu(mixed, "kdump-raw-zlib"), b.dump(mixed, "kdump-raw-zstd")), "not larger"
    yield "lzo", 2.5, "makedumpfile -l -d 0", lambda: (b.makedumpfile(b.kept(mixed, "elf"), "-l", "-d", "0"), b.dump(mixed, "kdump-raw-lzo")), None
    yield "bare-write", 1.0, "as many bytes written, none read", lambda: (b.bare(mixed, "write"), b.dump(mixed, "elf")), None
    for codec, form in ("copy", "elf"), ("zlib", "kdump-raw-zlib"), ("zstd", "kdump-raw-zstd"), ("lzo", "kdump-raw-lzo"), ("snappy", "kdump-raw-snappy"):
        yield "bare-" + codec, 1.0, "pages through the codec", lambda codec=codec, form=form: (b.bare(mixed, codec), b.dump(mixed, form)), None
    yield "snappy", 1.0, "our own lzo", lambda: (b.dump(mixed, "kdump-raw-lzo"), b.dump(mixed, "kdump-raw-snappy")), None
    yield "disk", 1.0, "cp of the data present", lambda: (b.copy(mixed), b.to_disk(mixed, "elf")), None
    yield "direct", 1.0, "cp of the data present", lambda: (b.copy(mixed), b.to_disk(mixed, "elf", "--direct")), None
    yield "pipe", 0.9, "our own raw file", lambda: (b.dump(mixed, "kdump-raw-snappy"), b.piped(mixed, "kdump-snappy")), None
    yield "threads", 1.85, "ours, 1 thread", lambda: (b.dump(mixed, "kdump-raw-zlib", "--threads", "1"), b.dump(mixed, "kdump-raw-zlib")), None
    yield "dedup", 1.0, "ours without --dedup", lambda: (b.dump(mixed, "kdump-raw-zstd"), b.dump(mixed, "kdump-raw-zstd", "--dedup")), "not larger"
    yield "again", 3.0, "makedumpfile -l", lambda: recompressed(b), None
    yield "anon", 0.8, "ours, RAM in a memfd", lambda: anonymous(b), None
    for form in IDLE:
        yield "idle-" + form.split("-")[-1], 20.0, "QEMU " + form, lambda form=form: idle(b, form), None


def recompressed(b):
    source = b.kept("mixed", "kdump-raw-zlib")
    theirs = b.makedumpfile(source, "-l", "-d", "0")
    return theirs, lambda: b.ours(source, "kdump-raw-zstd")


def anonymous(b):
    """The file case first, with its guest; then the other guest. Only one of them fits."""
    first = [b.dump("mixed", "kdump-raw-lzo")() for _ in range(b.options.rounds)]
    costs = iter(first)
    b.guest("anon")
    return lambda: next(costs), b.dump("anon", "kdump-raw-lzo")


def idle(b, form):
    """A guest for each row, all of ours first, and QEMU's once: it brings all of the guest's memory into being, and the next is faster."""
    b.end_guests()
    before = sum(b.guest("idle").footprint().values())
    costs = iter([b.dump("idle", form)() for _ in range(b.options.rounds)])
    b.footprints[form] = before, sum(b.guest("idle").footprint().values())
    first = b.qemu("idle", form)()
    return lambda: first, lambda: next(costs)


def measure(sides, rounds):
    base, ours = sides
    return [(base(), ours()) for _ in range(rounds)]


def median(values):
    return statistics.median(list(values))


def show(name, target, against, pairs, sizes):
    wall = median(base.wall / ours.wall for base, ours in pairs)
    cpu = median(base.cpu / max(ours.cpu, 1 / TICK) for base, ours in pairs)
    spread = [base.wall / ours.wall for base, ours in pairs]
    base, ours = pairs[-1]
    verdict = "yes" if wall >= target else "no"
    if sizes and ours.size > base.size:
        verdict = "no: larger"
    size = "%.1f / %.1f" % (base.size / 1e6, ours.size / 1e6) if base.size and ours.size else "–"
    print("| %s | %s | %.2f s | %.2f s | %.2fx (%.2f–%.2f) | %.2fx | %.2gx | %s | %s | %.0f |" % (
        name, against, median(base.wall for base, _ in pairs), median(ours.wall for _, ours in pairs), wall, min(spread), max(spread),
        cpu, target, verdict, size, max(ours.peak for _, ours in pairs)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="rows, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--guestdump", default=os.path.join(ROOT, "target/release/guestdump"))
    parser.add_argument("--bare", default=os.path.join(ROOT, "target/release/examples/bare"))
    parser.add_argument("--work", default="/dev/shm/guestdump-bench", help="folder for outputs, about 5 GB, on a tmpfs")
    parser.add_argument("--disk", default=rig.RIG, help="folder on a disk, for the rows that write to one")
    options = parser.parse_args()
    b = Bench(options)
    wanted = set(options.only.split(",")) if options.only else None
    table = list(rows(b))
    names = [row[0] for row in table]
    if options.list:
        print("\n".join(names))
        return 0
    if wanted and not wanted <= set(names):
        parser.error("no such row: %s" % ", ".join(sorted(wanted - set(names))))
    os.makedirs(b.work, exist_ok=True)
    try:
        print("| row | against | theirs | ours | ratio (of rounds) | processor time | target | met | MB theirs / ours | MiB peak |")
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for name, target, against, sides, sizes in table:
            if wanted and name not in wanted:
                continue
            try:
                show(name, target, against, measure(sides(), options.rounds), sizes)
            except (RuntimeError, OSError, qmp.QmpError) as error:
                print("| %s | %s | failed: %s |" % (name, against, error), flush=True)
        for form, (before, after) in b.footprints.items():
            print("\nMemory of the idle guest's QEMU before and after our %s dumps: %d and %d KiB (%+.2f %%)" % (
                form, before, after, 100 * (after - before) / before))
    finally:
        b.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
