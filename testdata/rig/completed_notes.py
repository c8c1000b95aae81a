"""Notes that are meant to be more than QEMU's: what QEMU's gdbstub says of registers that its notes leave out.

Layouts: linux `include/uapi/linux/elf.h` (types), `arch/arm64/include/uapi/asm/ptrace.h` (`struct user_pac_mask`),
`arch/powerpc/include/uapi/asm/ptrace.h` (`struct pt_regs`, at 112 of `struct elf_prstatus`); VRSAVE is word 0 of the vector behind VSCR's.
"""
import re
import struct

import gdb_stub
from elf_reader import Note

NT_ARM_TLS, NT_ARM_PAC_MASK, NT_PPC_VMX = 0x401, 0x406, 0x100
# architecture -> notes that QEMU does not write: name, type, registers of eight bytes each, how many of them make the note
ADDED = {"aarch64": [("LINUX", NT_ARM_TLS, ("tpidr_el0", "tpidr2_el0"), 1), ("LINUX", NT_ARM_PAC_MASK, ("pauth_dmask", "pauth_cmask"), 2)]}
# architecture -> fields that QEMU leaves zero: name and type of the note -> offset, width, register
FIELDS = {"ppc64": {("CORE", 1): [(440, 8, "dar"), (448, 8, "dsisr")], ("CORE", NT_PPC_VMX): [(528, 4, "vrsave")]}}
# architecture -> registers that read differently from both ends, and how `info registers` prints them: one of them is printed (of
# aarch64 the second in AArch32 state, where the stub's cpsr is none)
ORDER = {"aarch64": [("cpsr", r"\bPSTATE=([0-9a-f]+)"), ("pc", r"\bR15=([0-9a-f]+)")], "ppc64": [("msr", r"\bMSR ([0-9a-f]+)")]}


def of(architecture):
    """The name in the tables above of an architecture that goes by several."""
    return "ppc64" if architecture.startswith("ppc64") else architecture


def known(monitor, architecture):
    """[{register: value}] of each vCPU of a stopped guest, from QEMU's gdbstub, in the byte order of `info registers`."""
    architecture = of(architecture)
    if architecture not in ORDER:
        return []
    text = monitor.hmp("info registers -a")
    anchor, printed = next((name, [int(value, 16) for value in found]) for name, pattern in ORDER[architecture] if (found := re.findall(pattern, text)))
    wanted = [name for _, _, names, _ in ADDED.get(architecture, []) for name in names]
    wanted += [name for fields in FIELDS.get(architecture, {}).values() for _, _, name in fields]
    with gdb_stub.Stub(monitor) as stub:
        both = [stub.registers(wanted + [anchor], order) for order in ("little", "big")]
    found = [vcpus for vcpus in both if [vcpu.get(anchor) for vcpu in vcpus] == printed]
    if len(found) != 1:
        raise RuntimeError("%s in QEMU's gdbstub is %s, printed is %s" % (anchor, [[v.get(anchor) for v in vcpus] for vcpus in both], printed))
    return found[0]


def expected(architecture, theirs, vcpus, endian):
    """QEMU's notes, completed: exactly what ours are to be.  `vcpus` is of `known`."""
    architecture, out, counts, index = of(architecture), [], {}, -1
    for note in theirs:
        if index >= 0 and (note.name, note.type) in (("CORE", 1), ("VMCOREINFO", 0)):
            out += added(architecture, vcpus[index:index + 1], endian)
        index += (note.name, note.type) == ("CORE", 1)
        number = counts[note[:2]] = counts.get(note[:2], -1) + 1
        out.append(filled(FIELDS.get(architecture, {}).get(note[:2], []), note, vcpus[number:number + 1], endian))
    ends_apart = bool(theirs) and theirs[-1].name == "VMCOREINFO"
    return out if ends_apart else out + added(architecture, vcpus[index:index + 1], endian)


def filled(fields, note, vcpu, endian):
    """The note with these fields, where they are zero."""
    desc = bytearray(note.desc)
    for at, width, name in fields:
        if vcpu and name in vcpu[0] and not any(desc[at:at + width]):
            desc[at:at + width] = vcpu[0][name].to_bytes(width, "little" if endian == "<" else "big")
    return note._replace(desc=bytes(desc))


def added(architecture, vcpu, endian):
    """The notes of a vCPU that QEMU does not write: those whose first registers it has."""
    out = []
    for name, kind, registers, least in ADDED.get(architecture, []) if vcpu else []:
        values = [vcpu[0][register] for register in registers if register in vcpu[0]]
        if len(values) >= least:
            out.append(Note(name, kind, struct.pack("%s%dQ" % (endian, len(values)), *values)))
    return out


def frame(notes, endian):
    """The bytes of these notes."""
    out = b""
    for name, kind, desc in notes:
        text = name.encode() + b"\0"
        out += struct.pack(endian + "III", len(text), len(desc), kind) + text + bytes(-len(text) % 4) + desc + bytes(-len(desc) % 4)
    return out


def what_differs(ours, theirs):
    """For people: what ours have and QEMU's do not."""
    same = sum(note in ours for note in theirs)
    new = sorted({"%s/0x%x" % note[:2] for note in ours} - {"%s/0x%x" % note[:2] for note in theirs})
    words = ["%d equal" % same, "%d with fields filled" % (len(theirs) - same) if same < len(theirs) else "", "added to each vCPU: " + " ".join(new) if new else ""]
    return ", ".join(filter(None, words))
