"""A test guest: booting it, its RAM as QEMU's monitor and the host describe it, and its footprint on the host."""
import os
import re
import subprocess
import time

import judges
import qmp

HERE = os.path.dirname(os.path.abspath(__file__))
RIG = os.environ.get("RIG") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "guestdump-rig")
RAM_NAME = "rigram"         # the memory backend's id in boot.sh; QEMU names the region after it


class Guest:
    """One guest started by boot.sh; `watch` opens a monitor of our own beside the one that the program under test uses."""

    def __init__(self, name, arch, mb=512, **environment):
        self.name, self.arch = name, arch
        self.run = os.path.join(RIG, "run", name)
        self.socket = os.path.join(self.run, "qmp.sock")
        environment = {**os.environ, "NAME": name, "RIG": RIG, **environment}
        done = subprocess.run([os.path.join(HERE, "boot.sh"), arch, str(mb)], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError("boot.sh: " + done.stdout.strip()[-300:])
        with open(os.path.join(self.run, "pid")) as f:
            self.pid = int(f.read())
        with self.watch() as monitor:
            self.qemu = monitor.version()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([os.path.join(HERE, "stop.sh"), self.name], check=True)

    def watch(self):
        return qmp.Qmp(os.path.join(self.run, "watch.sock"))

    def status(self):
        with self.watch() as monitor:
            return monitor.status()

    def wait_for(self, status, seconds):
        """Seconds until query-status says so, or None."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if self.status() == status:
                return time.monotonic() - start
            time.sleep(0.02)
        return None

    def uname(self):
        """What `uname -a` printed inside the guest."""
        with open(os.path.join(self.run, "console.log"), errors="replace") as f:
            return re.search(r"RIG: (Linux .*)", f.read()).group(1).strip()

    def dump(self, path, format_name, **arguments):
        """Have QEMU itself write a dump."""
        with self.watch() as monitor:
            monitor.cmd("dump-guest-memory", paging=False, protocol="file:" + path, format=format_name, **arguments)

    def memory_map(self):
        """(pieces of guest RAM, other memory that QEMU dumps): [(start, length, offset in the backend)], [(start, end)]."""
        with self.watch() as monitor:
            rows = list(flat_view(monitor.hmp("info mtree -f")))
        roms = {name for _, _, kind, name, _ in rows if kind == "romd"}        # flash: shows as rom or romd, is never dumped
        memory = [r for r in rows if r[2] in ("ram", "rom") and r[3] not in roms]
        ram = [(start, end - start, offset) for start, end, _, name, offset in memory if name == RAM_NAME]
        return ram, judges.merge((start, end) for start, end, _, name, _ in memory if name != RAM_NAME)

    def ram_file(self):
        """The file behind the guest's RAM, or None when it is anonymous memory."""
        path = os.path.join(self.run, "ram")
        if os.path.exists(path):
            return path
        for fd in os.listdir("/proc/%d/fd" % self.pid):
            path = "/proc/%d/fd/%s" % (self.pid, fd)
            try:
                if os.readlink(path).startswith("/memfd:") and os.stat(path).st_size >= 1 << 26:
                    return path
            except FileNotFoundError:       # a descriptor closed while we look
                continue
        return None

    def footprint(self):
        """KiB of the host's memory: anonymous and shared parts of QEMU's RSS, allocated blocks of the RAM file."""
        with open("/proc/%d/status" % self.pid) as f:
            status = dict(line.split(":", 1) for line in f)
        kib = {key: int(status[key].split()[0]) for key in ("RssAnon", "RssShmem", "RssFile")}
        path = self.ram_file()
        kib["RAM file"] = os.stat(path).st_blocks // 2 if path else 0
        return kib


ROW = re.compile(r"\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ([^)]*)\): (.*?)(?: @([0-9a-f]{16}))?( KVM)?$")


def flat_view(text):
    """(start, end, kind, name, offset) of each range in the flat view of the system's memory (`info mtree -f`)."""
    for view in text.split("FlatView #")[1:]:
        if re.search(r'AS "memory", root: system$', view, re.M):
            for line in view.splitlines():
                row = ROW.match(line)
                if row:
                    start, end, kind, name, offset, _ = row.groups()
                    yield int(start, 16), int(end, 16) + 1, kind, name, int(offset or "0", 16)
            return
    raise RuntimeError("info mtree -f shows no view of the system's memory")
