"""Registers of a stopped guest by name, from QEMU's gdbstub.  "Debugging with GDB", appendix "GDB Remote Serial Protocol"."""
import os
import re
import socket
import tempfile
import xml.etree.ElementTree as xml


class Stub:
    """QEMU's gdbstub while it is open; `monitor` opens and closes it."""

    def __init__(self, monitor):
        self.monitor = monitor
        self.where = tempfile.TemporaryDirectory(prefix="guestdump-stub-")
        path = os.path.join(self.where.name, "gdb")
        monitor.hmp("gdbserver unix:%s,server=on,wait=off" % path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.bytes = self.socket.makefile("rb")
        self.ask("qSupported:qXfer:features:read+;multiprocess+;xmlRegisters=i386")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bytes.close()
        self.socket.close()
        self.monitor.hmp("gdbserver none")
        self.where.cleanup()

    def ask(self, text):
        """The answer to a packet."""
        self.socket.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xff))
        while self.bytes.read(1) != b"$":
            pass
        raw = bytearray()
        while (byte := self.bytes.read(1)) != b"#":
            raw += byte
        self.bytes.read(2)
        self.socket.sendall(b"+")
        raw = re.sub(rb"(.)\*(.)", lambda m: m.group(1) * (m.group(2)[0] - 28), bytes(raw), flags=re.S)
        return re.sub(rb"}(.)", lambda m: bytes([m.group(1)[0] ^ 0x20]), raw, flags=re.S)

    def document(self, name):
        """A target description."""
        out = b""
        while True:
            part = self.ask("qXfer:features:read:%s:%x,800" % (name, len(out)))
            out += part[1:]
            if part[:1] != b"m":
                return out.decode()

    def registers(self, wanted, order):
        """[{name: value}] of each vCPU; a name that the stub does not have is missing."""
        # QEMU leaves out what declares the prefix of xi:include
        target, numbers, number = xml.fromstring(self.document("target.xml").replace("xi:include", "include")), {}, 0
        parts = [xml.fromstring(self.document(node.get("href"))) for node in target.iter() if node.tag.endswith("include")]
        for register in (node for part in [target] + parts for node in part.iter() if node.tag.endswith("reg")):
            number = int(register.get("regnum") or number)
            numbers.setdefault(register.get("name").lower(), number)
            number += 1
        out, threads = [], self.ask("qfThreadInfo").decode()
        while threads.startswith("m"):
            for thread in threads[1:].split(","):
                self.ask("Hg" + thread)
                values = {name: self.ask("p%x" % numbers[name]) for name in wanted if name in numbers}
                out.append({name: int.from_bytes(bytes.fromhex(value.decode()), order) for name, value in values.items() if not value.startswith(b"E")})
            threads = self.ask("qsThreadInfo").decode()
        return out
