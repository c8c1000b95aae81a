//! drgn as an outside judge of walks, through `testdata/paging/ppc64_oracle.py`.

use guestdump_arch::conformance::judges;

/// The one that has drgn.
const PYTHON: &str = "python3";

/// Whether drgn can be asked.
pub fn available() -> bool {
    judges::runs(PYTHON, &["-c", "import drgn"])
}

/// What drgn says of every walk in `fixture`, in order: a physical address, "hole" or "not asked".
pub fn ask(fixture: &str) -> Vec<String> {
    judges::ask(PYTHON, "paging/ppc64_oracle.py", &[], fixture)
}
