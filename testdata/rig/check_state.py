"""What a dump does to the guest: to its host memory, and to whether it runs."""
import json
import os
import shutil
import signal
import subprocess
import time

GROWTH_KIB = 4096               # what QEMU may need for its own work while it is asked questions


def check_footprint(run):
    """Reading the guest's RAM does not fill the holes in it.  Must come first: any reader that does fill them does it for good."""
    before = run.guest.footprint()
    held = before["RssAnon"] if run.case.boot["RAM"] == "anon" else before["RAM file"]
    run.check("footprint: RAM has holes", held < run.case.mb * 1024 * 3 // 4, "KiB: %s" % before)
    for name in ("elf", "kdump-raw-lzo"):
        path = run.dump("footprint-" + name, name)
        after = run.guest.footprint()
        grown = {key: after[key] - before[key] for key in before if after[key] - before[key] > GROWTH_KIB}
        run.check("footprint: QEMU's memory does not grow (%s)" % name, not grown, "by KiB: %s" % grown if grown else "")
        if path:
            os.unlink(path)


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
    run.check("overwrites with --force", done.returncode == 0 and os.stat(path).st_mtime_ns != before.st_mtime_ns, "" if done.returncode == 0 else done.stderr.strip()[:200])


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
    if status == "paused":
        time.sleep(1)           # time for a helper to do the wrong thing
    waited = run.guest.wait_for(status, 2)
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
