"""One line for every check, a count at the end, and the matrix of files and readers for the README."""
import re
import sys
import time

import readers


class Report:
    """Collects results; prints each as it comes."""

    def __init__(self):
        self.checks, self.failed = 0, []
        self.cells = {}                 # (case, file, reader) -> Outcome
        self.start = time.monotonic()

    def check(self, case, name, ok, detail=""):
        """Record one check; `detail` says what was compared, or what is wrong."""
        self.checks += 1
        detail = " / ".join(str(detail).split("\n"))[:600]
        print(" ".join(filter(None, ["ok  " if ok else "FAIL", case, name, detail])), flush=True)
        if not ok:
            self.failed.append((case, name, detail))
        return bool(ok)

    def note(self, case, text):
        """Something to know that is no check."""
        print("     %s %s" % (case, text), flush=True)

    def summary(self):
        print("%d checks, %d failed, %.0f s" % (self.checks, len(self.failed), time.monotonic() - self.start))
        for failure in self.failed:
            print("FAIL %s %s %s" % failure, file=sys.stderr)
        return 1 if self.failed else 0

    def cell(self, case, file, reader, outcome):
        self.cells[case, file, reader] = outcome

    def table(self):
        """The matrix as markdown, one part for each case."""
        out = []
        for case in dict.fromkeys(key[0] for key in self.cells):
            out += ["### " + case, ""] + self._case_table(case) + [""]
        return "\n".join(out)

    def _case_table(self, case):
        keys = [key for key in self.cells if key[0] == case]
        files = dict.fromkeys(key[1] for key in keys)
        columns = [name for name in readers.READERS if any(key[2] == name for key in keys)]
        heads = ["%s (%s)" % (name, readers.READERS[name].version()) for name in columns]
        rows = ["| file | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        return rows + ["| %s | %s |" % (file, " | ".join(self._cell_text(case, file, name) for name in columns)) for file in files]

    def _cell_text(self, case, file, reader):
        outcome = self.cells.get((case, file, reader))
        if outcome is None:
            return "–"
        words = re.sub(r"\b\w*(Exception|Error): |Cannot open dump: |Cannot set file.set.0.fd: ", "", outcome.detail)
        return "ok" if outcome.ok else words.replace("|", "\\|")[:100]
