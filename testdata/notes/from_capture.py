#!/usr/bin/env python3
"""Turns the notes in the head of an ELF dump into text.

    from_capture.py [CAPTURE...]      default: every folder of ../captures
    from_capture.py --check           writes nothing; fails if a fixture is not what its capture gives

A capture is a folder with elf.head and query-version.json (../captures/README.md). Writes NAME.txt beside this script.
The parser of ELF is here and stands alone: nothing of guestdump takes part in making these fixtures.

Form of a fixture:

    elf class=64 endian=little machine=62      what the ELF header says
    CORE 1 336                                 a note: name, type, length of the descriptor, in the order of the file
    0020: 01 00 00 00 00 00 00 00 ...          its bytes from that offset on; lines of zeros are left out
"""

import json
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "captures"
PT_NOTE = 4
PN_XNUM = 0xFFFF


def elf_header(head):
    """Class (32 or 64), byte order ("<" or ">"), machine, and the program headers as (type, offset, filesz)."""
    if head[:4] != b"\x7fELF":
        raise SystemExit("not an ELF file")
    bits, order = {1: 32, 2: 64}[head[4]], {1: "<", 2: ">"}[head[5]]
    (machine,) = struct.unpack_from(order + "H", head, 18)
    if bits == 64:
        (phoff,) = struct.unpack_from(order + "Q", head, 32)
        entsize, phnum = struct.unpack_from(order + "HH", head, 54)
    else:
        (phoff,) = struct.unpack_from(order + "I", head, 28)
        entsize, phnum = struct.unpack_from(order + "HH", head, 42)
    if phnum == PN_XNUM:
        raise SystemExit("more than 65534 program headers: not a capture of ours")
    return bits, order, machine, [program_header(head, bits, order, phoff + i * entsize) for i in range(phnum)]


def program_header(head, bits, order, at):
    if bits == 64:
        p_type, _flags, offset, _vaddr, _paddr, filesz = struct.unpack_from(order + "IIQQQQ", head, at)
    else:
        p_type, offset, _vaddr, _paddr, filesz = struct.unpack_from(order + "IIIII", head, at)
    return p_type, offset, filesz


def notes(head, order, segments):
    """(name, type, descriptor) of every note; name and descriptor are padded to four bytes (System V ABI)."""
    for p_type, offset, filesz in segments:
        if p_type != PT_NOTE:
            continue
        end = offset + filesz
        if end > len(head):
            raise SystemExit(f"notes end at {end}, the capture at {len(head)}")
        while offset < end:
            namesz, descsz, n_type = struct.unpack_from(order + "III", head, offset)
            name_at = offset + 12
            desc_at = name_at + (namesz + 3) // 4 * 4
            yield head[name_at : name_at + namesz].rstrip(b"\0").decode(), n_type, head[desc_at : desc_at + descsz]
            offset = desc_at + (descsz + 3) // 4 * 4


def hex_lines(desc):
    for at in range(0, len(desc), 16):
        line = desc[at : at + 16]
        if any(line):
            yield f"{at:04x}: {line.hex(' ')}"


def fixture(capture):
    head = (capture / "elf.head").read_bytes()
    version = json.loads((capture / "query-version.json").read_text())
    qemu = version["qemu"]
    bits, order, machine, segments = elf_header(head)
    out = [
        f"# Notes that QEMU {qemu['major']}.{qemu['minor']}.{qemu['micro']} ({version['package']}) wrote",
        '# for {"execute": "dump-guest-memory", "arguments": {"paging": false, "protocol": "file:PATH"}}',
        f"# Made by: notes/from_capture.py captures/{capture.name}; never edited by hand",
        f"elf class={bits} endian={'little' if order == '<' else 'big'} machine={machine}",
    ]
    for name, n_type, desc in notes(head, order, segments):
        out.append(f"{name} {n_type:#x} {len(desc)}" if n_type > 9 else f"{name} {n_type} {len(desc)}")
        out.extend(hex_lines(desc))
    return "\n".join(out) + "\n"


def main(args):
    check = args[:1] == ["--check"]
    captures = [Path(arg) for arg in args[check:]] or sorted(path.parent for path in CAPTURES.glob("*/elf.head"))
    stale = []
    for capture in captures:
        target = HERE / f"{capture.resolve().name}.txt"
        text = fixture(capture)
        if not check:
            target.write_text(text)
        elif not target.exists() or target.read_text() != text:
            stale.append(target.name)
    if stale:
        raise SystemExit("not as their captures say: " + " ".join(stale))


if __name__ == "__main__":
    main(sys.argv[1:])
