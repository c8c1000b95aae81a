//! Outside judges of walks, through `testdata/paging/s390x_oracle.py`: libkdumpfile's addrxlat, and QEMU.

use guestdump_arch::conformance::judges::{self, PYTHON, runs};

/// Whether addrxlat can be asked.
pub fn addrxlat_is_there() -> bool {
    runs(PYTHON, &["-c", "import addrxlat"])
}

/// Whether QEMU can be asked.
pub fn qemu_is_there() -> bool {
    runs(PYTHON, &["-c", ""]) && runs("qemu-system-s390x", &["--version"])
}

/// What a judge says of every walk in `fixture`, in order.
pub fn ask(judge: &str, fixture: &str) -> Vec<String> {
    judges::ask(PYTHON, "paging/s390x_oracle.py", &[judge], fixture)
}
