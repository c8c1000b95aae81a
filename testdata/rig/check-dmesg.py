#!/usr/bin/env python3
"""check-dmesg.py [GUEST...]   the kernel log that guestdump finds in real guests, against what others find.

Each guest of GUESTS is booted with its log on the serial console too, stopped, dumped, and ended.  `guestdump dmesg` of the live guest and
of both dumps must agree; its lines must be what drgn prints and its records what drgn's records are (where the kernel's debug
information is in the cache: fetch-dbg.sh), what makedumpfile --dump-dmesg prints (x86_64, the one that Debian's build reads), and
what the kernel printed on the console.  One line for each check, then "N checks, M failed".  The program is $GUESTDUMP (default
target/release/guestdump).
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import guest as rig

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTDUMP = os.environ.get("GUESTDUMP") or os.path.join(HERE, "..", "..", "target", "release", "guestdump")
# name -> judges: drgn with debug information, makedumpfile
GUESTS = {
    "x86_64": ("drgn", "makedumpfile"),
    "i386-pae": ("drgn",),
    "s390x": ("drgn",),
    "ppc64le": ("drgn",),
    "aarch64": (),
    "i386": (),
}
FORMATS = ("elf", "kdump-raw-lzo")
LINE = re.compile(r"\[ *(\d+)\.(\d{6})\] (.*)$")
INDENT = " " * len("[    0.000000] ")

DRGN = """
import json, logging, sys
import drgn
from drgn.helpers.linux.printk import get_dmesg, get_printk_records
logging.disable(logging.CRITICAL)
program = drgn.Program()
program.set_core_dump(sys.argv[1])
program.load_debug_info([sys.argv[2]])
text = lambda raw: raw.decode("utf-8", "replace")
records = [dict(seq=r.seq, ts_nsec=r.timestamp, level=r.level, facility=r.facility, text=text(r.text),
                dict={text(k): text(v) for k, v in r.context.items()}) for r in get_printk_records(program)]
print(json.dumps([get_dmesg(program).decode("utf-8", "replace"), records]))
"""


class Report:
    def __init__(self):
        self.lock, self.count, self.failed = threading.Lock(), 0, 0

    def check(self, guest, what, ok, detail=""):
        with self.lock:
            self.count, self.failed = self.count + 1, self.failed + (not ok)
            print("%s %s: %s %s" % ("ok  " if ok else "FAIL", guest, what, detail), flush=True)
        return ok


def guestdump(*arguments):
    done = subprocess.run([GUESTDUMP, *arguments], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError("guestdump %s: exit %d: %s" % (arguments[0], done.returncode, done.stderr.decode().strip()[-300:]))
    return done.stdout.decode("utf-8")


def same(report, name, what, ours, theirs):
    """Lists are equal; says how long they are, or where they part."""
    first = next((i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]), min(len(ours), len(theirs)))
    equal = ours == theirs and len(ours) > 50
    detail = "%d" % len(ours) if equal else "%d and %d, from %d on: %r and %r" % (len(ours), len(theirs), first, ours[first:][:1], theirs[first:][:1])
    report.check(name, what, equal, detail)


def flush_left(lines):
    """Further lines of a record without the room that dmesg leaves before them, as drgn prints them."""
    return [line[len(INDENT):] if line.startswith(INDENT) else line for line in lines]


def against_drgn(report, name, dump, text, records):
    vmlinux = os.path.join(rig.RIG, "cache", name, "vmlinux")
    if not os.path.exists(vmlinux):
        report.check(name, "debug information", False, "run fetch-dbg.sh %s" % name)
        return
    done = subprocess.run([sys.executable, "-c", DRGN, dump, vmlinux], capture_output=True, text=True)
    if not report.check(name, "drgn opens the dump", done.returncode == 0, done.stderr.strip()[-200:]):
        return
    theirs_text, theirs = json.loads(done.stdout)
    same(report, name, "lines are drgn's", flush_left(text.splitlines()), flush_left(theirs_text.splitlines()))
    ours = [{key: record[key] for key in ("seq", "ts_nsec", "level", "facility", "text", "dict")} for record in records]
    same(report, name, "records are drgn's: time, level, facility, text, device", ours, theirs)
    levels = {record["level"] for record in theirs}
    report.check(name, "levels differ", len(levels) > 2, "%s" % sorted(levels))
    if name != "s390x":     # whose virtual devices say nothing of themselves at boot
        report.check(name, "devices are named", any(record["dict"] for record in theirs))


def against_makedumpfile(report, name, dump, text, folder):
    log = os.path.join(folder, "makedumpfile.log")
    subprocess.run(["makedumpfile", "--dump-dmesg", dump, log], check=True, stdout=subprocess.DEVNULL)
    with open(log, encoding="utf-8", errors="replace") as f:
        theirs = f.read().splitlines()
    same(report, name, "lines are those of makedumpfile --dump-dmesg", [x.rstrip() for x in text.splitlines()], [x.rstrip() for x in theirs])


def against_console(report, name, records, console):
    """Every line that the kernel printed on the console with its time is in the log, in order, and the other way round."""
    printed = [match.groups() for match in map(LINE.search, console.splitlines()) if match]
    wanted = []
    for record in records:
        seconds, micros = divmod(record["ts_nsec"] // 1000, 1000000)
        wanted += [(str(seconds), "%06d" % micros, line.rstrip()) for line in record["text"].split("\n")]
    printed = [(seconds, micros, line.rstrip()) for seconds, micros, line in printed]
    # what a boot console printed last is printed again by the console that takes over
    same(report, name, "lines are those on the console", list(dict.fromkeys(wanted)), list(dict.fromkeys(printed)))


def judge(report, name, judges, folder, texts, records, console):
    try:
        text = texts["live"]
        for source, other in texts.items():
            same(report, name, "log of %s is that of the live guest" % source, other.splitlines(), text.splitlines())
        against_console(report, name, records, console)
        elf = os.path.join(folder, "elf")
        if "drgn" in judges:
            against_drgn(report, name, elf, text, records)
        if "makedumpfile" in judges:
            against_makedumpfile(report, name, elf, text, folder)
    except Exception as error:
        report.check(name, "judges", False, "%s: %s" % (type(error).__name__, error))
    finally:
        shutil.rmtree(folder)


def run(report, name, judges):
    folder = tempfile.mkdtemp(dir=rig.RIG, prefix="dmesg-")
    with rig.Guest("dmesg-" + name, name, 256, STOP="1", FILL="1", APPEND="loglevel=8") as guest:
        texts = {"live": guestdump("dmesg", "qmp:" + guest.socket)}
        for kind in FORMATS:
            path = os.path.join(folder, kind)
            guestdump("dump", "qmp:" + guest.socket, "-o", path, "--format", kind, "--progress", "never")
            texts[kind] = guestdump("dmesg", path)
        head, *records = map(json.loads, guestdump("dmesg", "--json", os.path.join(folder, "elf")).splitlines())
        report.check(name, "JSON says what the log is", head["schema"] == 1 and head["release"] in guest.uname(), "%(kind)s of %(release)s, %(vmcoreinfo)s" % head)
        with open(os.path.join(guest.run, "console.log"), errors="replace") as f:
            console = f.read()
    thread = threading.Thread(target=judge, args=(report, name, judges, folder, texts, records, console))
    thread.start()
    return thread


def main(argv):
    report, threads = Report(), []
    for name in argv or GUESTS:
        try:
            threads.append(run(report, name, GUESTS[name]))
        except Exception as error:              # one broken guest must not hide the others
            report.check(name, "guest", False, "%s: %s" % (type(error).__name__, error))
    for thread in threads:
        thread.join()
    print("%d checks, %d failed" % (report.count, report.failed))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
