"""What other programs make of our files: makedumpfile as a judge, and every reader on every file."""
import concurrent.futures
import os

import cases
import guest as rig
import judges
import readers
from check_dumps import check_fields, check_notes, same_dump

def check_makedumpfile(run):
    """What makedumpfile makes of our ELF is our kdump; what it makes of our flattened file is our raw file."""
    elf, raw = run.ours.get("elf"), run.ours.get("kdump-raw-zlib")
    if elf and raw:
        check_converted(run, elf, raw)
        check_filtered(run, elf, raw)
    for codec in run.case.codecs:
        raw, flat = run.ours.get("kdump-raw-" + codec), run.ours.get("kdump-" + codec)
        if raw and flat:
            whole = run.path("rearranged")
            with open(flat, "rb") as stdin:
                status, text = readers.makedumpfile("-R", whole, stdin=stdin)
            same = status == 0 and (judges.same_bytes(whole, raw) or same_dump(whole, raw))
            run.check("makedumpfile -R kdump-" + codec, same, "" if same else readers.last_words(text))
            remove(whole)


def check_converted(run, elf, raw):
    path = run.path("converted")
    status, text = readers.makedumpfile("-c", "-d", "1", elf, path)
    if run.check("makedumpfile -c -d 1 elf", status == 0, "" if status == 0 else readers.last_words(text)):
        ours, theirs = judges.Kdump(raw), judges.Kdump(path)
        run.equal("makedumpfile -c -d 1: bitmaps", judges.bitmap_differences(ours, theirs), [])
        verdict = judges.compare_pages(ours, theirs)
        run.check("makedumpfile -c -d 1: pages", verdict, verdict)
        check_notes(run, "makedumpfile -c -d 1", ours, theirs)
        check_fields(run, "makedumpfile -c -d 1", ours, theirs, set())
    remove(path)


def check_filtered(run, elf, raw):
    """Filtered from our ELF or from our kdump, the result is the same."""
    paths = [run.path("filtered-elf"), run.path("filtered-kdump")]
    results = [readers.makedumpfile("-c", "-d", "31", source, path) for source, path in zip((elf, raw), paths)]
    if run.check("makedumpfile -c -d 31", all(status == 0 for status, _ in results), ""):
        a, b = map(judges.Kdump, paths)
        run.equal("makedumpfile -c -d 31: same pages from elf and kdump", judges.bitmap_differences(a, b), [])
        verdict = judges.compare_pages(a, b)
        run.check("makedumpfile -c -d 31: same content from elf and kdump", verdict, verdict)
    for path in paths:
        remove(path)


def remove(path):
    if os.path.exists(path):
        os.unlink(path)


# ---------------------------------------------------------------------------------------------------- readers

def reader_jobs(run):
    """(file, path, reader, ours?) of everything that is to be read."""
    flat = [name for name in ("kdump-zlib",) if name in run.ours]
    files = [(name, run.ours[name], True) for name in run.ours if not name.startswith("kdump-") or name.startswith("kdump-raw-")]
    files += [(name, run.ours[name], True) for name in flat]
    if run.with_table:
        files += [("QEMU's " + name, path, False) for name, path in run.qemus.items()]
    return [(name, path, reader, ours) for name, path, ours in files for reader in run.case.readers
            if applies(run.case, name, reader, run.with_table)]


def applies(case, name, reader, everything):
    """Whether a reader is for this kind of file; an ELF reader has nothing to say of a kdump."""
    vmlinux = os.path.exists(vmlinux_of(case))
    if reader in cases.ELF_READERS and "elf" not in name:
        return False
    if reader == "drgn":
        return not vmlinux or not kernel_reading(case, name)
    if reader == "drgn + vmlinux":
        return vmlinux and kernel_reading(case, name)
    if reader == "crash":
        return vmlinux and (everything or (name, case.name) in cases.CRASH_READS)
    return True


def kernel_reading(case, name):
    """drgn has no page walk for i386: it can follow the kernel's pointers only by p_vaddr of an ELF of 32 bits."""
    return not cases.is_i386(case) or ("elf" in name and cases.is_class32(case))


def vmlinux_of(case):
    return os.path.join(rig.RIG, "cache", case.arch, "vmlinux")


def check_readers(run):
    """Every reader on every file, two at a time; ours must open unless REFUSALS says why not."""
    jobs, reference = reader_jobs(run), readers.Reference(run.qemus["elf"], run.ram)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda job: readers.READERS[job[2]].read(job[1], reference, vmlinux_of(run.case)), jobs)
        for (name, _, reader, ours), outcome in zip(jobs, results):
            reason = cases.refusal(run.case, name, reader) if ours else "not our file"
            run.report.cell(run.case.name, name, reader, outcome._replace(detail=reason) if ours and reason else outcome)
            if reason:
                run.report.note(run.case.name, "%s: %s: %s (%s)" % (reader, name, "ok" if outcome.ok else outcome.detail, reason))
            else:
                run.check("%s: %s" % (reader, name), outcome.ok, outcome.detail)
