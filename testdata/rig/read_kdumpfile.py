#!/usr/bin/python3
"""read_kdumpfile.py DUMP REFERENCE-ELF START-END,...   open a dump with libkdumpfile; one JSON object of
{step: [ok, detail]}."""
import json
import sys

import kdumpfile

import judges

SAMPLES = 256


def physical(context, reference, ranges):
    """Pages spread over `ranges` that are not as in the reference."""
    bad, step = [], max(1, judges.total(ranges) // 4096 // SAMPLES) * 4096
    places = [at for start, end in ranges for at in range(start, end - 4095, step)]
    for at in places:
        if bytes(context.read(kdumpfile.KDUMP_MACHPHYSADDR, at, 4096)) != reference.read(at, 4096):
            bad.append(hex(at))
    assert not bad, "differ: " + " ".join(bad[:5])
    return "%d pages" % len(places)


def registers(context):
    """The program counter of every CPU; one may be in user mode, none may be at 0."""
    name = {"x86_64": "rip", "ia32": "eip", "aarch64": "pc", "ppc64": "pc", "s390x": "pswa"}[context.attr["arch.name"]]
    number = context.attr["cpu.number"]
    values = [context.attr["cpu.%d.reg.%s" % (cpu, name)] for cpu in range(number)]
    assert number == 2 and all(values), str(values)
    return " ".join("%s=0x%x" % (name, value) for value in values)


def release(context):
    """The uname of the header (kdump) agrees with the kernel's own note; an ELF has none."""
    noted = context.attr["linux.vmcoreinfo.lines.OSRELEASE"]
    for name, value in (("release", noted), ("sysname", "Linux")):
        if "linux.uts." + name in context.attr:
            assert context.attr["linux.uts." + name] == value, name
    return noted


def main(path, reference_path, ranges):
    results, places = {}, [tuple(map(int, r.split("-"))) for r in ranges.split(",")]

    def step(name, action):
        try:
            results[name] = [True, str(action())]
        except Exception as error:      # whatever the library raises is what there is to report
            results[name] = [False, "%s: %s" % (type(error).__name__, (str(error).splitlines() or [""])[0])]
        return results[name][0]

    context = []
    if step("open", lambda: (context.append(kdumpfile.kdumpfile(file=path)), context[0].attr["file.format"])[1]):
        step("arch", lambda: context[0].attr["arch.name"])
        step("linux", lambda: context[0].attr.__setitem__("addrxlat.ostype", "linux") or "ostype")
        step("physical", lambda: physical(context[0], judges.Elf(reference_path), places))
        step("registers", lambda: registers(context[0]))
        step("release", lambda: release(context[0]))
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
