#!/usr/bin/env python3
"""read_drgn.py DUMP REFERENCE-ELF START-END,... [VMLINUX]   open a dump with drgn; one JSON object of {step: [ok, detail]}.

REFERENCE-ELF tells what to expect in the physical addresses START-END.  With VMLINUX the kernel's own structures are followed as well.
"""
import json
import logging
import sys

import drgn

import judges

SAMPLES = 256
BANNER = "Linux version"


def physical(program, reference, ranges):
    """Pages spread over `ranges` that are not as in the reference."""
    bad, step = [], max(1, judges.total(ranges) // 4096 // SAMPLES) * 4096
    places = [at for start, end in ranges for at in range(start, end - 4095, step)]
    for at in places:
        if program.read(at, 4096, physical=True) != reference.read(at, 4096):
            bad.append(hex(at))
    assert not bad, "differ: " + " ".join(bad[:5])
    return "%d pages" % len(places)


def tasks(program):
    from drgn.helpers.linux.pid import for_each_task
    names = [task.comm.string_().decode() for task in for_each_task(program)]
    assert len(names) >= 20 and names.count("sh") >= 4, "%d tasks, %d sh" % (len(names), names.count("sh"))
    return "%d tasks" % len(names)


def dmesg(program):
    from drgn.helpers.linux.printk import get_dmesg
    lines = get_dmesg(program).decode(errors="replace").splitlines()
    assert any(BANNER in line for line in lines), "no banner in %d lines" % len(lines)
    return "%d lines" % len(lines)


def cpu_stacks(program):
    from drgn.helpers.linux.cpumask import for_each_online_cpu
    from drgn.helpers.linux.sched import cpu_curr
    depths = {cpu: len(program.stack_trace(cpu_curr(program, cpu))) for cpu in for_each_online_cpu(program)}
    assert depths and all(depths.values()), str(depths)
    return "%d cpus" % len(depths)


def cmdlines(program):
    """Strings of user processes: drgn walks their page tables."""
    from drgn.helpers.linux.mm import cmdline
    from drgn.helpers.linux.pid import for_each_task
    found = [b" ".join(cmdline(task) or []) for task in for_each_task(program) if task.mm and task.comm.string_() == b"sh"]
    seeds = [line for line in found if b"RIGSEED-PROC-" in line]
    assert len(seeds) == 3, str(found[:4])
    return seeds[0].decode()[-14:]


def main(path, reference_path, ranges, vmlinux=None):
    logging.disable(logging.CRITICAL)
    program, results = drgn.Program(), {}
    places = [tuple(map(int, r.split("-"))) for r in ranges.split(",")]

    def step(name, action):
        try:
            results[name] = [True, str(action())]
        except Exception as error:      # whatever drgn raises is what there is to report
            results[name] = [False, "%s: %s" % (type(error).__name__, (str(error).splitlines() or [""])[0])]
        return results[name][0]

    if step("open", lambda: (program.set_core_dump(path), program.platform.arch.name)[1]):
        step("kernel", lambda: program["VMCOREINFO"].string_().decode().splitlines()[0])
        step("physical", lambda: physical(program, judges.Elf(reference_path), places))
        if vmlinux and step("debug info", lambda: program.load_debug_info([vmlinux])):
            step("tasks", lambda: tasks(program))
            step("dmesg", lambda: dmesg(program))
            if program.platform.arch == drgn.Architecture.X86_64:       # drgn has no page walk and no unwinder for i386
                step("cpu stacks", lambda: cpu_stacks(program))
                step("cmdlines", lambda: cmdlines(program))
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
