"""What is in the dumps: everything in our files against QEMU's files of the same stopped guest."""
import os
import re

import cases
import completed_notes
import judges

def make_ours(run):
    """Every format of a stopped guest."""
    run.ours["elf"] = run.dump("elf", "elf")
    run.ours["elf --device-memory"] = run.dump("elf-device-memory", "elf", "--device-memory")
    for codec in run.case.codecs:
        run.ours["kdump-raw-" + codec] = run.dump("kdump-raw-" + codec, "kdump-raw-" + codec)
    for codec in run.case.codecs:
        if codec != "none":
            run.ours["kdump-" + codec] = run.dump_to_pipe("kdump-" + codec, "kdump-" + codec)
    run.equal("a stopped guest stays stopped", run.guest.status(), "paused")
    run.ours = {name: path for name, path in run.ours.items() if path}


def make_qemus(run):
    """QEMU's own files of the same stopped guest.  QEMU before 8.2 has no raw kdump."""
    with run.guest.watch() as monitor:
        known = monitor.cmd("query-dump-guest-memory-capability")["formats"]
    for name in ("elf", "kdump-raw-zlib", "kdump-zlib"):
        if name in known and (name != "kdump-zlib" or run.with_table or "kdump-raw-zlib" not in known):
            run.qemus[name] = run.path("qemu-" + name)
            run.guest.dump(run.qemus[name], name)


def make_all(run):
    """Our files and QEMU's; what is RAM and what is other memory; what QEMU's gdbstub knows."""
    make_ours(run)
    make_qemus(run)
    with run.guest.watch() as monitor:
        run.registers = completed_notes.known(monitor, run.case.arch)
    run.pieces, run.devices = run.guest.memory_map()
    run.ram = judges.merge((start, start + length) for start, length, _ in run.pieces)
    run.report.note(run.case.name, "RAM %s, device memory %s" % (judges.show_ranges(run.ram), judges.show_ranges(run.devices)))


def check_dumps(run):
    """Everything in our files against QEMU's of the same guest."""
    qemu = judges.Elf(run.qemus["elf"])
    check_elf(run, qemu)
    check_range(run, qemu)
    check_kdumps(run, qemu)
    check_flattened(run)


def check_elf(run, qemu):
    low_end = low_memory_end(qemu) if cases.is_i386(run.case) else 0
    for name in ("elf", "elf --device-memory"):
        if name not in run.ours:
            continue
        ours, within = judges.Elf(run.ours[name]), None if "device" in name else run.ram
        run.equal(name + ": structure", ours.problems(), [])
        verdict = judges.compare_memory(ours, qemu, within)
        run.check(name + ": memory is that of QEMU's", verdict, verdict)
        run.equal(name + ": ranges", ours.ranges(), qemu.ranges() if within is None else run.ram)
        check_segments(run, name, ours, qemu, low_end)
        check_notes(run, name, ours, qemu)
    path = run.guest.ram_file()
    if path and "elf" in run.ours:
        verdict = judges.compare_memory(judges.Elf(run.ours["elf"]), judges.RawRam(path, run.pieces))
        run.check("elf: memory is that of the RAM file", verdict, verdict)


def check_segments(run, name, ours, qemu, low_end):
    """Our segments are QEMU's, but for what cases.py says."""
    theirs = [load[:3] for load in qemu.loads]
    kept = theirs if "device" in name else [load for load in theirs if judges.intersect([(load[0], load[0] + load[2])], run.ram)]
    wanted = cases.expected_loads(run.case, kept, low_end)
    run.equal(name + ": PT_LOADs", [load[:3] for load in ours.loads], wanted)
    run.equal(name + ": p_vaddr", [hex(load.p_vaddr) for load in ours.loads],
              [hex(cases.expected_vaddr(run.case, paddr, low_end)) for paddr, _, _ in wanted])
    check_fields(run, name, ours, qemu, cases.expected_elf(run.case, wanted, theirs))


def low_memory_end(memory):
    """Where the linear map of an i386 kernel ends, in the kernel's own words, found in its log."""
    step, top = 1 << 24, memory.ranges()[0][1]
    for at in range(0, top, step):
        found = re.search(rb"mapped low ram: 0 - ([0-9a-f]{8})", memory.read(at, min(step + 64, top - at)))
        if found:
            return int(found.group(1), 16)
    raise RuntimeError("the i386 kernel's log does not say where low memory ends")


def check_notes(run, name, ours, theirs):
    """Our notes are QEMU's, completed, and nothing else."""
    notes, note_bytes = ours.notes, ours.note_bytes
    wanted = completed_notes.expected(run.case.arch, theirs.notes, run.registers, theirs.endian)
    wanted_bytes = theirs.note_bytes if wanted == theirs.notes else completed_notes.frame(wanted, theirs.endian)
    if run.case.arch in cases.WITHOUT_VMCOREINFO:
        last = notes[-1] if notes else None
        run.check(name + ": VMCOREINFO is the last note", last and last.name == "VMCOREINFO" and b"OSRELEASE=" in last.desc, "")
        notes, note_bytes = notes[:-1], note_bytes[:len(wanted_bytes)]
    lines = judges.note_differences(notes, wanted)
    if run.registers:
        run.check(name + ": QEMU's notes lack what its gdbstub knows", wanted != theirs.notes, "")
    run.check(name + ": notes", note_bytes == wanted_bytes, "; ".join(lines) or completed_notes.what_differs(notes, theirs.notes))


def check_fields(run, name, ours, theirs, expected):
    """The header differences are exactly those that are meant."""
    found = judges.header_differences(ours, theirs)
    wrong = ["%s: %s, QEMU %s" % (field, *found[field]) for field in found if field not in expected]
    wrong += ["%s: no difference" % field for field in sorted(expected - set(found))]
    run.check(name + ": header fields", not wrong, "; ".join(wrong) or "%d differ, as meant" % len(found))


def check_range(run, qemu):
    """--begin and --length, across the VGA hole and at odd addresses."""
    base = run.ram[0][0]
    for begin, length in ((base + 0x90000, 0x80000), (base + 0x100123, 0x1001)):
        name, within = "elf 0x%x+0x%x" % (begin, length), judges.intersect([(begin, begin + length)], run.ram)
        path = run.dump("elf-range", "elf", "--force", "--begin", hex(begin), "--length", hex(length))
        if path:
            verdict = judges.compare_memory(judges.Elf(path), qemu, within)
            run.check(name, verdict, verdict)
            run.equal(name + ": ranges", judges.Elf(path).ranges(), within)
            os.unlink(path)


def check_kdumps(run, qemu_elf):
    """Every raw kdump page by page against QEMU's."""
    theirs = judges.Kdump(run.qemus.get("kdump-raw-zlib") or run.qemus["kdump-zlib"])
    verdict = judges.compare_to_memory(theirs, qemu_elf)
    run.check("judge: QEMU's kdump holds what QEMU's ELF does", verdict, verdict)
    for codec in run.case.codecs:
        name = "kdump-raw-" + codec
        if name not in run.ours:
            continue
        ours = judges.Kdump(run.ours[name])
        run.equal(name + ": structure", ours.problems(), [])
        if ours.block_size == theirs.block_size:
            verdict = judges.compare_pages(ours, theirs, run.devices)
        else:                                   # aarch64: QEMU's pages are not the guest's
            verdict = judges.compare_to_memory(ours, qemu_elf, run.ram)
        run.check(name + ": pages", verdict, verdict)
        run.equal(name + ": ranges", (ours.ranges(), ours.known_ranges()), (run.ram, run.ram))
        check_notes(run, name, ours, theirs)
        check_fields(run, name, ours, theirs, cases.expected_kdump(run.case, run.guest.qemu) | (set() if codec == "zlib" else {"status"}))
        check_values(run, name, ours, codec)


def check_values(run, name, ours, codec):
    """The fields that are not QEMU's hold what the guest says of itself."""
    uname = run.guest.uname()
    for field, where in (("sysname", 0), ("nodename", 1), ("release", 2)):
        run.equal("%s: %s" % (name, field), ours.header[field].decode(), uname.split()[where])
    run.check(name + ": version", ours.header["version"] and ours.header["version"].decode() in uname, ours.header["version"].decode())
    run.equal(name + ": machine", ours.header["machine"].decode(), uname.split()[-2])
    run.equal(name + ": status", ours.header["status"], cases.CODEC_STATUS[codec])
    run.equal(name + ": max_mapnr", ours.max_mapnr, -(-run.ram[-1][1] // ours.block_size))
    run.equal(name + ": phys_base", ours.header["sub.phys_base"], phys_base(ours.vmcoreinfo or b""))


def phys_base(vmcoreinfo):
    """A signed number: of x86_64 in decimal, of aarch64 as 64 bits in hexadecimal, elsewhere nothing."""
    base = re.search(rb"^NUMBER\((?:phys_base|PHYS_OFFSET)\)=(\S+)$", vmcoreinfo, re.M)
    value = int(base.group(1), 0) if base else 0
    return value - (1 << 64) if value >= 1 << 63 else value


def check_flattened(run):
    """A flattened file, put together, is the raw file of the same codec."""
    for codec in run.case.codecs:
        raw, flat = run.ours.get("kdump-raw-" + codec), run.ours.get("kdump-" + codec)
        if not raw or not flat:
            continue
        whole = run.path("assembled")
        stats = judges.reassemble(flat, whole)
        if run.check("kdump-%s: is the raw file, flattened" % codec, judges.same_bytes(whole, raw) or same_dump(whole, raw),
                     "%(records)d records, %(backward)d backward" % stats):
            run.report.note(run.case.name, "kdump-%s: %s" % (codec, "byte for byte" if judges.same_bytes(whole, raw) else "by content"))
        os.unlink(whole)


def same_dump(path_a, path_b):
    """Same headers, notes, bitmaps and pages, though perhaps in another order in the file."""
    a, b = judges.Kdump(path_a), judges.Kdump(path_b)
    return (not judges.header_differences(a, b) and a.note_bytes == b.note_bytes and not judges.bitmap_differences(a, b)
            and bool(judges.compare_pages(a, b)))
