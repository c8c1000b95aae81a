"""What the programs that people use say of a dump.  Each reader is a function of (dump, Reference, path of vmlinux) that
returns an Outcome; none looks at who wrote the dump."""
import collections
import functools
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 300

Outcome = collections.namedtuple("Outcome", "ok detail")
Reader = collections.namedtuple("Reader", "name version read")
Reference = collections.namedtuple("Reference", "path ranges")        # an ELF dump that says what physical memory holds


def run(command, **options):
    """(status, stdout, stderr) of a program; output that is not text does not matter here."""
    options = {"stdin": subprocess.DEVNULL, "timeout": TIMEOUT, "errors": "replace", **options}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    except subprocess.TimeoutExpired:
        return -1, "", "no end after %d s" % TIMEOUT
    return done.returncode, done.stdout, done.stderr


def last_words(*texts):
    """The line with which a program refused: the last one that is more than "Failed"."""
    lines = [line.strip() for text in texts for line in re.split(r"[\r\n]+", text) if line.strip()]
    telling = [line for line in lines if not re.fullmatch(r"(makedumpfile )?Failed\.?|crash:.*usage.*", line)]
    return (telling or lines or ["no message"])[-1][:160]


def expect(status, text, patterns, *also):
    """Ok when the program succeeded and every pattern is in what it printed."""
    lost = [p for p in patterns if not re.search(p, text, re.M)]
    if status != 0 or lost:
        return Outcome(False, last_words(text, *also) if status else "no /%s/ in what it printed" % lost[0])
    return Outcome(True, "")


# ---------------------------------------------------------------------------------------------------- binutils, gdb

def readelf(dump, _reference, _vmlinux):
    status, out, err = run(["readelf", "-hlnW", dump])
    if err.strip() or re.search(r"warning|error", out, re.I):
        return Outcome(False, last_words(err or out))
    return expect(status, out, [r"Type: +CORE", r"^  LOAD ", r"NT_PRSTATUS"])


def gdb(dump, _reference, _vmlinux):
    """Two threads, each with a program counter."""
    status, out, err = run(["gdb-multiarch", "-nx", "-batch", "-ex", "core-file " + dump, "-ex", "info threads",
                            "-ex", "thread apply all -q printf \"pc=%lx\\n\", (unsigned long)$pc"])
    counters = [int(value, 16) for value in re.findall(r"^pc=([0-9a-f]+)$", out, re.M)]
    if len(counters) != 2 or not all(counters):
        return Outcome(False, "program counters %s: %s" % (counters, last_words(err)))
    return expect(status, out, [r"^\* 1 ", r"^  2 "])


# ---------------------------------------------------------------------------------------------------- libraries with Python bindings

@functools.cache
def python_with(module):
    """A Python that can import `module`."""
    for python in (sys.executable, "python3", "/usr/bin/python3"):
        if run([python, "-c", "import " + module])[0] == 0:
            return python
    raise RuntimeError("no Python with the module %s; run setup.sh" % module)


def steps(module, script, dump, reference, *more):
    """Run one of the read_*.py scripts; the first step that failed is the outcome."""
    ranges = ",".join("%d-%d" % r for r in reference.ranges)
    status, out, err = run([python_with(module), os.path.join(HERE, script), dump, reference.path, ranges, *more])
    try:
        results = json.loads(out)
    except ValueError:
        return Outcome(False, "exit %d: %s" % (status, last_words(err)))
    failed = ["%s: %s" % (name, detail) for name, (ok, detail) in results.items() if not ok]
    return Outcome(not failed, failed[0] if failed else ", ".join(results))


def drgn(dump, reference, _vmlinux):
    return steps("drgn", "read_drgn.py", dump, reference)


def drgn_kernel(dump, reference, vmlinux):
    return steps("drgn", "read_drgn.py", dump, reference, vmlinux)


def libkdumpfile(dump, reference, _vmlinux):
    return steps("kdumpfile", "read_kdumpfile.py", dump, reference)


# ---------------------------------------------------------------------------------------------------- crash, makedumpfile

def crash(dump, _reference, vmlinux):
    """The system summary, the kernel log, the active task of both CPUs, memory usage."""
    with tempfile.NamedTemporaryFile("w", prefix="crash-") as commands:
        commands.write("sys\nlog\nbt -a\nkmem -i\nquit\n")
        commands.flush()
        status, out, err = run(["crash", "-s", "-i", commands.name, vmlinux, dump])
    return expect(status, out, [r"DUMPFILE:", r"CPUS: 2", r"Linux version", r"^PID:.*CPU: 0", r"^PID:.*CPU: 1", r"TOTAL MEM"], err)


def makedumpfile(*arguments, stdin=None):
    """(status, what it said) of one call."""
    status, out, err = run(["makedumpfile", *arguments], **({"stdin": stdin} if stdin else {}))
    return status, out + err


def makedumpfile_filter(dump, _reference, _vmlinux):
    """Filter as a user would: zlib, every kind of page left out that can be."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(dump), prefix="filter-") as where:
        status, text = makedumpfile("-c", "-d", "31", dump, os.path.join(where, "out"))
    return expect(status, text, ["makedumpfile Completed"])


def makedumpfile_dmesg(dump, _reference, _vmlinux):
    with tempfile.TemporaryDirectory(dir=os.path.dirname(dump), prefix="dmesg-") as where:
        log = os.path.join(where, "log")
        status, text = makedumpfile("--dump-dmesg", dump, log)
        if status == 0:
            with open(log, errors="replace") as f:
                text = f.read()
    return expect(status, text, ["Linux version"] if status == 0 else [])


# ---------------------------------------------------------------------------------------------------- the table

def first_version(command, pattern=r"(\d+(?:\.\d+)+)"):
    try:
        _, out, err = run(command)
    except FileNotFoundError:
        return "not installed"
    found = re.search(pattern, out + err)
    return found.group(1) if found else "?"


def library_version(package):
    return first_version(["dpkg-query", "-W", "-f", "${Version}", package])


def drgn_version():
    return first_version([python_with("drgn"), "-c", "import drgn; print(drgn.__version__)"])


READERS = {r.name: r for r in [
    Reader("readelf", lambda: first_version(["readelf", "--version"]), readelf),
    Reader("gdb", lambda: first_version(["gdb-multiarch", "--version"]), gdb),
    Reader("drgn", drgn_version, drgn),
    Reader("drgn + vmlinux", drgn_version, drgn_kernel),
    Reader("libkdumpfile", lambda: library_version("python3-libkdumpfile"), libkdumpfile),
    Reader("crash", lambda: first_version(["crash", "--version"]), crash),
    Reader("makedumpfile -d 31", lambda: first_version(["makedumpfile", "-v"]), makedumpfile_filter),
    Reader("makedumpfile --dump-dmesg", lambda: first_version(["makedumpfile", "-v"]), makedumpfile_dmesg),
]}
