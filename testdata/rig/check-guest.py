#!/usr/bin/env python3
"""Boot real guests, dump them with guestdump and with QEMU, and let independent judges and readers compare.

    check-guest.py [options] [CASE...]        default: all cases
      --guestdump PATH    the program to judge (default target/release/guestdump)
      --only PART,...     footprint, state, dumps, makedumpfile, readers (default: what the case has)
      --table FILE        also run the readers on QEMU's own files; write the matrix of files and readers as markdown
      --keep              leave the dumps below $RIG/out/CASE
      --list              print the cases

One line for each check: "ok" or "FAIL", case, check, detail; then "N checks, M failed"; exit status 1 if any failed.
"""
import argparse
import os
import shutil
import subprocess
import sys
import time

import check_dumps
import check_readers
import check_state
import guest as rig
import report as reports
from cases import CASES, PARTS
from run import Run

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTDUMP = os.path.join(HERE, "..", "..", "target", "release", "guestdump")


def run_case(case, options, report):
    """Boot one guest and go through the case's parts."""
    start = time.monotonic()
    boot = {key: qemu72() if value == "@qemu72@" else value for key, value in case.boot.items()}
    parts = [part for part in case.parts if part in options.only]
    with rig.Guest(case.name, case.arch, case.mb, **boot) as guest:
        report.note(case.name, "booted after %.0f s, QEMU %d.%d" % (time.monotonic() - start, *guest.qemu))
        run = Run(case, guest, options, report)
        with guest.watch() as monitor:
            monitor.cmd("stop")
        if "footprint" in parts:
            timed(run, "footprint", check_state.check_footprint)
        if "state" in parts:
            with guest.watch() as monitor:
                monitor.cmd("cont")
            timed(run, "state", check_state.check_state)
        with guest.watch() as monitor:
            monitor.cmd("stop")
        if set(parts) - {"footprint", "state"}:
            timed(run, "making dumps", check_dumps.make_all)
            if "dumps" in parts:
                timed(run, "comparing dumps", check_dumps.check_dumps)
    for part, action in (("makedumpfile", check_readers.check_makedumpfile), ("readers", check_readers.check_readers)):
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
