"""One guest that is being judged: the program under test and the files made so far."""
import os
import shutil
import subprocess
import time

import guest as rig


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
        self.registers = []                     # of each vCPU, as far as QEMU's notes lack them

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
