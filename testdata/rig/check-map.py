#!/usr/bin/env python3
"""Pictures of `guestdump map` in a browser: what a person sees of them, and whether it is where the addresses say.

    check-map.py [options] [DUMP...]          default: all sample guests, a filtered dump, a damaged one; DUMP: ELF files, too
      --guestdump PATH    the program to judge (default target/release/guestdump)
      --pictures FOLDER   keep a screenshot of every page: light, dark, narrow

Pages of zeros, and those that become smaller, are counted again by judges.py and zlib; page-table roots come from the notes.
One line for each check, then "N checks, M failed"; exit status 1 if any failed.
"""
import argparse
import itertools
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib

import judges
import report as reports
from browser import Browser

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTDUMP = os.path.join(HERE, "..", "..", "target", "release", "guestdump")
PAGE = 4096
KINDS = ("zero", "compressible", "incompressible", "excluded", "damaged")
WIDE, NARROW, HEIGHT = 1280, 480, 900
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

# Everything that has a place in the page, in its own pixels.
SCENE = """(() => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] };
  const all = s => [...document.querySelectorAll(s)];
  const shade = e => getComputedStyle(e).fill;
  return {
    cells: all('svg rect').filter(e => e.querySelector('title'))
      .map(e => ({title: e.querySelector('title').textContent, box: box(e), fill: shade(e)})),
    labels: all('svg text').filter(e => /^0x/.test(e.textContent)).map(e => ({text: e.textContent, box: box(e)})),
    holes: all('svg text.hole').map(e => ({text: e.textContent, box: box(e)})),
    texts: all('svg text').map(e => ({text: e.textContent, box: box(e)})),
    roots: all('svg circle').map(e => box(e)), kernel: all('svg path.kernel').map(e => box(e)),
    bar: all('.bar span').map(e => ({box: box(e), fill: getComputedStyle(e).backgroundColor})),
    keys: all('.keys span').map(e => ({text: e.textContent, box: box(e), fill: getComputedStyle(e.querySelector('i')).backgroundColor})),
    words: all('h1,p,.keys span,#at,th,td').map(e => ({text: e.textContent, colour: getComputedStyle(e).color})),
    dim: all('svg text').slice(0, 1).map(shade), ground: document.body ? getComputedStyle(document.body).backgroundColor : '',
    about: (document.querySelector('p') || {}).textContent, wide: document.documentElement.scrollWidth, svg: all('svg').map(box)[0],
    rows: all('table:last-of-type tr').map(r => [...r.children].map(c => c.textContent)),
  }})()"""


# ---------------------------------------------------------------------------------------------------- colours

def rgb(text):
    """Three numbers from 0 to 1."""
    return [int(v) / 255 for v in re.findall(r"\d+", text)[:3]]


def linear(colour):
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]


def luminance(colour):
    """WCAG 2: relative luminance."""
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear(colour)))


def contrast(a, b):
    """WCAG 2: 4.5 is enough for text."""
    light, dark = sorted((luminance(rgb(a)), luminance(rgb(b))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def distance(a, b):
    """CIE 1976, from CIELAB for D65: 2.3 can just be seen."""
    def lab(colour):
        r, g, b = linear(rgb(colour))
        xyz = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505, 0.2126 * r + 0.7152 * g + 0.0722 * b, \
            (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
        x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
        return 116 * y - 16, 500 * (x - y), 200 * (y - z)
    return sum((p - q) ** 2 for p, q in zip(lab(a), lab(b))) ** 0.5


# ---------------------------------------------------------------------------------------------------- what the guest is

class Memory:
    """The guest once more: an ELF dump read by judges.py."""

    def __init__(self, path):
        self.elf = judges.Elf(path)
        self.ranges = self.elf.ranges()

    def pages(self, start, end):
        """Numbers of pages of zeros, of those that any codec makes much smaller, of those that none does, of others."""
        counts = [0, 0, 0, 0]
        for low, high in judges.intersect([(start, end)], self.ranges):
            for at in range(low, high, PAGE):
                page = self.elf.read(at, min(PAGE, high - at))
                size = len(zlib.compress(page, 1)) if any(page) else 0
                counts[0 if not size else 1 if size < PAGE // 8 else 2 if size > PAGE * 0.95 else 3] += 1
        return counts

    def roots(self):
        """Page-table roots as far as notes have them: CR3 in QEMU's note of a PC (cr[5] behind 18 registers and 10 segments of 24
        bytes), control registers 1, 7 and 13 of s390x (NT_S390_CTRS)."""
        out = set()
        for note in self.elf.notes:
            if note.name == "QEMU" and len(note.desc) >= 424:
                out.add(struct.unpack_from("<Q", note.desc, 416)[0] & ~0xfff)
            if note.type == 0x304:
                out |= {struct.unpack_from(">Q", note.desc, 8 * n)[0] & ~0xfff for n in (1, 7, 13)}
        return out


def size_of(text):
    number, unit = re.search(r"([\d.]+) (\w+)$", text).groups()
    return float(number) * UNITS[unit]


def parsed(title):
    """(start, end, {kind: pages}) of a cell's words."""
    start, end, pages = re.match(r"(0x[0-9a-f]+)\.\.(0x[0-9a-f]+): pages: ([^;]*)", title).groups()
    counts = {kind: int(count) for count, kind in (part.split(" ") for part in pages.split(", ") if part)}
    return int(start, 16), int(end, 16), counts


# ---------------------------------------------------------------------------------------------------- one picture

class Picture:
    """A page of one guest, and what is wrong with it."""

    def __init__(self, name, path, memory, browser, options, report):
        self.name, self.path, self.memory, self.browser, self.options, self.report = name, path, memory, browser, options, report

    def check(self, name, wrong, detail=""):
        self.report.check(self.name, name, not wrong, str(wrong)[:300] if wrong else detail)

    def open(self, scheme, width, name):
        self.browser.scheme(scheme)
        self.browser.window(width, HEIGHT)
        self.browser.open("file://" + self.path)
        scene = self.browser.script(SCENE)
        if self.options.pictures:
            self.browser.picture(os.path.join(self.options.pictures, "%s-%s.png" % (self.name.replace(":", "-"), name)))
        self.check(name + ": nothing in the console", self.browser.complaints())
        self.check(name + ": no requests", [url for url in self.browser.requests() if url != "file://" + self.path])
        return scene

    def run(self):
        light = self.open("light", WIDE, "light")
        self.places(light)
        self.contents(light)
        self.roots(light)
        self.keys(light)
        self.hover(light)
        self.colours(light, "light", dark=False)
        dark = self.open("dark", WIDE, "dark")
        self.colours(dark, "dark", dark=True)
        self.check("dark: the same picture", [c["title"] for c in light["cells"]] != [c["title"] for c in dark["cells"]])
        self.check("wide: fits", light["wide"] > WIDE and light["wide"])
        narrow = self.open("light", NARROW, "narrow")
        self.check("narrow: the page does not scroll sideways", narrow["wide"] > NARROW and narrow["wide"])
        small = [t for t in narrow["labels"] if t["box"][3] - t["box"][1] < 10]
        self.check("narrow: addresses keep their size", small)
        self.check("narrow: keys are inside", [k["text"] for k in narrow["keys"] if k["box"][2] > NARROW])
        for scene, what in ((light, "wide"), (narrow, "narrow")):
            self.overlaps(scene, what)

    def places(self, scene):
        """Every cell is where its addresses are: in the row whose label they follow, as far to the right as they are into it."""
        row_bytes = size_of(scene["about"].split("a row ")[1].rstrip("."))
        left = scene["labels"][0]["box"][2] + 8
        width = scene["svg"][2] - 8 - left
        wrong, seen = [], []
        rows = {round((box[1] + box[3]) / 2): int(text, 16) for text, box in ((t["text"], t["box"]) for t in scene["labels"])}
        for cell in scene["cells"]:
            (start, end, _), (x, y, right, bottom) = parsed(cell["title"]), cell["box"]
            base = min(rows.items(), key=lambda row: abs(row[0] - (y + bottom) / 2))[1]
            expected = left + (start - base) / row_bytes * width, left + (end - base) / row_bytes * width
            if abs(x - expected[0]) > 1 or abs(right - expected[1]) > 1:
                wrong.append("%s: %d..%d, expected %d..%d" % (cell["title"], x, right, *expected))
            seen.append((start, end))
        self.check("cells are where their addresses are", wrong, "%d cells" % len(seen))
        self.check("no address twice", [pair for pair in zip(sorted(seen), sorted(seen)[1:]) if pair[0][1] > pair[1][0]])
        lost = judges.subtract(self.memory.ranges, judges.merge(seen))
        self.check("all memory is there", lost and judges.show_ranges(lost), judges.show_ranges(self.memory.ranges)[:200])
        self.holes(scene, rows, row_bytes)

    def holes(self, scene, rows, row_bytes):
        """A gap of whole rows is a line that says how long it is."""
        wrong, labels = [], sorted(rows.items())
        for hole in scene["holes"]:
            above = [start for y, start in labels if y < hole["box"][1]]
            below = [start for y, start in labels if y > hole["box"][3]]
            gap = below[0] - (above[-1] + row_bytes if above else 0)
            if abs(size_of(hole["text"].replace(" without memory", "")) - gap) > gap / 100:
                wrong.append((hole["text"], gap))
        steps = [b[1] - a[1] for a, b in zip(labels, labels[1:])]
        expected = sum(step > row_bytes for step in steps) + (labels[0][1] > 0)
        self.check("holes are as long as they say", wrong or (expected != len(scene["holes"]) and expected), "%d holes" % expected)

    def contents(self, scene):
        wrong = []
        for cell in scene["cells"]:
            start, end, counts = parsed(cell["title"])
            zero, small, large, _ = self.memory.pages(start, end)
            if counts.get("excluded") or counts.get("damaged"):
                continue
            if counts.get("zero", 0) != zero or counts.get("compressible", 0) < small or counts.get("incompressible", 0) < large:
                wrong.append("%s: judges: %d zero, %d small, %d large" % (cell["title"], zero, small, large))
        self.check("pages by kind", wrong, "%d bytes read again" % judges.total(self.memory.ranges))

    def roots(self, scene):
        expected = self.memory.roots()
        listed = {int(row[1], 16) for row in scene["rows"] if len(row) == 2 and row[1].startswith("0x")}
        self.check("roots are those of the notes", expected and expected != listed and (expected, listed))
        marked = [cell for cell in scene["cells"] if any(inside(box, cell["box"]) for box in scene["roots"])]
        wrong = [hex(root) for root in listed if not any(parsed(c["title"])[0] <= root < parsed(c["title"])[1] for c in marked)]
        wrong += [c["title"] for c in marked if "page tables of vCPU" not in c["title"]]
        self.check("roots are marked", wrong or not scene["roots"], "%d marks" % len(scene["roots"]))
        image = [cell for cell in scene["cells"] if "kernel image" in cell["title"]]
        bars = sum(box[2] - box[0] for box in scene["kernel"])
        self.check("the kernel image is marked", abs(bars - sum(c["box"][2] - c["box"][0] for c in image)) > 1 and bars, "%d pixels" % bars)

    def keys(self, scene):
        counts = {kind: sum(parsed(cell["title"])[2].get(kind, 0) for cell in scene["cells"]) for kind in KINDS}
        there = [kind for kind in KINDS if counts[kind]]
        names = [re.match(r"\w+", key["text"]).group() for key in scene["keys"]][:len(there)]
        self.check("keys name the kinds", names != there and (names, there), ", ".join(there))
        whole = scene["bar"][-1]["box"][2] - scene["bar"][0]["box"][0]
        shares = [(part["box"][2] - part["box"][0]) / whole - counts[kind] / sum(counts.values()) for kind, part in zip(there, scene["bar"])]
        self.check("the bar's parts are in proportion", [share for share in shares if abs(share) > 0.005])
        self.check("the bar has the keys' colours", [p["fill"] for p in scene["bar"]] != [k["fill"] for k in scene["keys"]][:len(there)])
        pure = [cell for cell in scene["cells"] if len(parsed(cell["title"])[2]) == 1]
        fills = dict(zip(there, (key["fill"] for key in scene["keys"])))
        self.check("cells of one kind have its colour", [c["title"] for c in pure if fills[next(iter(parsed(c["title"])[2]))] != c["fill"]])

    def hover(self, scene):
        """The pointer on a cell shows its addresses."""
        picked = scene["cells"][:2] + scene["cells"][-2:] + [c for c in scene["cells"] if "page tables" in c["title"] or "damaged" in c["title"]][:3]
        wrong = []
        for cell in picked:
            middle = "%d, %d" % (cell["box"][0], cell["box"][1])
            self.browser.script("scrollTo(0, %d)" % max(0, cell["box"][1] - 300))
            top = self.browser.script("scrollY")
            x, y = (cell["box"][0] + cell["box"][2]) / 2, (cell["box"][1] + cell["box"][3]) / 2 - top
            self.browser.point(1, 1)
            self.browser.point(x, y)
            said, seen = self.browser.script("document.getElementById('at').textContent"), self.browser.script(
                "(() => { const r = document.getElementById('at').getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight })()")
            if said != cell["title"] or not seen:
                wrong.append("%s: %s shows %s" % (middle, cell["title"], said if seen else "nothing in sight"))
        self.check("the pointer shows addresses", wrong, "%d cells" % len(picked))

    def colours(self, scene, what, dark):
        ground = scene["ground"]
        self.check(what + ": ground", (luminance(rgb(ground)) < 0.1) != dark and ground)
        poor = ["%s: %.1f" % (w["text"][:20], contrast(w["colour"], ground)) for w in scene["words"] if contrast(w["colour"], ground) < 4.5]
        poor += ["addresses: " + dim for dim in scene["dim"] if contrast(dim, ground) < 4.5]
        self.check(what + ": words can be read", poor, "%d texts" % len(scene["words"]))
        fills = [key["fill"] for key in scene["keys"]]
        near = [(a, b) for a, b in itertools.combinations(fills + [ground], 2) if distance(a, b) < 12]
        self.check(what + ": colours can be told apart", near, "at least %d" % min(distance(a, b) for a, b in itertools.combinations(fills + [ground], 2)))

    def overlaps(self, scene, what):
        on = [(a["text"], b["text"]) for a, b in itertools.pairwise(scene["texts"]) if overlap(a["box"], b["box"], 3)]
        left = min(cell["box"][0] for cell in scene["cells"])
        on += [label["text"] for label in scene["labels"] if label["box"][2] > left]
        on += [(a["text"], b["text"]) for a, b in itertools.combinations(scene["keys"], 2) if overlap(a["box"], b["box"], 1)]
        self.check(what + ": nothing lies on something else", on)


def inside(small, large):
    """Whether the middle of a box is in another."""
    x, y = (small[0] + small[2]) / 2, (small[1] + small[3]) / 2
    return large[0] <= x < large[2] and large[1] <= y < large[3]


def overlap(a, b, room):
    """By more than `room` in both directions: the boxes of letters are higher than these."""
    return min(a[2], b[2]) - max(a[0], b[0]) > room and min(a[3], b[3]) - max(a[1], b[1]) > room


# ---------------------------------------------------------------------------------------------------- guests

class Guests:
    """The pictures to look at: (name, page, Memory)."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder

    def guestdump(self, *arguments):
        done = subprocess.run([self.options.guestdump, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode not in (0, 3):
            raise RuntimeError("guestdump %s: %s" % (" ".join(arguments), done.stderr.strip()))
        return done.stdout

    def path(self, name):
        return os.path.join(self.folder, name.replace(":", "-").replace("/", "-"))

    def picture(self, name, source, elf):
        page = self.path(name) + ".html"
        self.guestdump("map", source, "-o", page)
        return name, page, Memory(elf)

    def elf(self, source):
        out = self.path(source) + ".elf"
        self.guestdump("dump", source, "-o", out, "--format", "elf")
        return out

    def all(self):
        for arch in json.loads(self.guestdump("arches", "--json"))["arches"]:
            sample = "demo:" + arch["name"]
            yield self.picture(sample, sample, self.elf(sample))
        elf, whole = self.path("demo:x86_64") + ".elf", self.path("whole")
        self.guestdump("dump", "demo:x86_64", "-o", whole, "--format", "kdump-raw-none")
        yield self.picture("filtered", filtered(whole, self.path("filtered")), elf)
        yield self.picture("damaged", cut(whole, self.path("damaged")), elf)
        for dump in self.options.dumps:
            yield self.picture(os.path.basename(dump), os.path.abspath(dump), os.path.abspath(dump))


def filtered(path, out):
    """The last 256 pages are gone, and dump_level (at 4 of the sub-header of a 64-bit file) says that this was meant."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    block, sub_blocks, bitmap_blocks = struct.unpack_from("<iiI", data, 428)
    struct.pack_into("<i", data, block + 8, 31)
    second = block * (1 + sub_blocks) + bitmap_blocks * block // 2
    bits = [bit for bit in range(bitmap_blocks * block * 4) if data[second + bit // 8] >> bit % 8 & 1]
    for bit in bits[-256:]:
        data[second + bit // 8] &= ~(1 << bit % 8)
    return write(out, data)


def cut(path, out):
    """Three quarters of a file."""
    with open(path, "rb") as f:
        data = f.read()
    return write(out, data[:len(data) * 3 // 4])


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def svg(guests, browser, options, report):
    """The picture as a file of its own: nothing sticks out."""
    browser.window(WIDE, HEIGHT)
    for name, source in (("demo:s390x", "demo:s390x"), ("filtered", guests.path("filtered")), ("damaged", guests.path("damaged"))):
        path = guests.path(name) + ".svg"
        guests.guestdump("map", source, "-o", path)
        for scheme in ("light", "dark"):
            browser.scheme(scheme)
            browser.open("file://" + path)
            scene = browser.script(SCENE)
            if options.pictures:
                browser.picture(os.path.join(options.pictures, "%s-svg-%s.png" % (name.replace(":", "-"), scheme)))
            left, top, right, bottom = scene["svg"]
            out = [t["text"] for t in scene["texts"] if t["box"][0] < left or t["box"][2] > right or t["box"][3] > bottom or t["box"][1] < top]
            report.check(name, "SVG, %s: everything is inside" % scheme, not out and len(scene["texts"]) > 5, out or "")
            lying = [(a["text"], b["text"]) for a, b in itertools.pairwise(scene["texts"]) if overlap(a["box"], b["box"], 3)]
            report.check(name, "SVG, %s: nothing lies on something else" % scheme, not lying, lying or "")
            report.check(name, "SVG, %s: nothing in the console" % scheme, not browser.complaints(), browser.complaints() or "")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dumps", nargs="*", metavar="DUMP")
    parser.add_argument("--guestdump", default=GUESTDUMP)
    parser.add_argument("--pictures")
    options = parser.parse_args(argv)
    options.guestdump = os.path.abspath(options.guestdump)
    if options.pictures:
        os.makedirs(options.pictures, exist_ok=True)
    report = reports.Report()
    with tempfile.TemporaryDirectory(prefix="check-map-") as folder, Browser() as browser:
        guests = Guests(options, folder)
        for name, page, memory in guests.all():
            Picture(name, page, memory, browser, options, report).run()
        svg(guests, browser, options, report)
    return report.summary()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
