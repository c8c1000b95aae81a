#!/usr/bin/env python3
"""A small QMP client.

    qmp.py SOCKET COMMAND [JSON-ARGUMENTS]     run one command, print its reply
    qmp.py SOCKET --hmp LINE...                run one line of the human monitor
"""
import json
import socket
import sys


class QmpError(Exception):
    """The monitor answered with an error; the text is "CLASS: description"."""


class Qmp:
    """One connection to a QEMU monitor socket.  Events are collected in `events`."""

    def __init__(self, path, timeout=600):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.file = self.socket.makefile("rwb")
        self.events = []
        self.greeting = json.loads(self.file.readline())
        self.cmd("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def cmd(self, name, **arguments):
        """Run a command; underscores in argument names stand for QMP's dashes."""
        message = {"execute": name}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.file.write(json.dumps(message).encode() + b"\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError("the monitor closed the connection")
            reply = json.loads(line)
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise QmpError("%(class)s: %(desc)s" % reply["error"])
            else:
                return reply["return"]

    def hmp(self, line):
        """Run a line of the human monitor and return its text."""
        return self.cmd("human-monitor-command", command_line=line).replace("\r\n", "\n")

    def version(self):
        """QEMU's (major, minor)."""
        v = self.greeting["QMP"]["version"]["qemu"]
        return v["major"], v["minor"]

    def status(self):
        """What query-status says: "running", "paused", ..."""
        return self.cmd("query-status")["status"]


def main(argv):
    if len(argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    with Qmp(argv[0]) as monitor:
        if argv[1] == "--hmp":
            print(monitor.hmp(" ".join(argv[2:])), end="")
            return 0
        reply = monitor.cmd(argv[1], **(json.loads(argv[2]) if len(argv) > 2 else {}))
        if reply != {}:
            print(json.dumps(reply, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
