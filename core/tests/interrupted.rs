//! A dump that ends in the middle says so itself, for whoever finds the file.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "code of tests")]

mod common;

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use guestdump_core::arch;
use guestdump_core::format::{self, read};
use guestdump_core::plan::{Plan, PlanOptions};
use guestdump_core::run::{Observer, RunOptions, run};
use guestdump_core::sink::Seekable;

/// Cancels when it is asked for the last time of so many.
struct Asked(AtomicUsize);

impl Observer for Asked {
    fn cancelled(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

/// `status` of a 64-bit header (makedumpfile 1.7.2, `DUMP_DH_COMPRESSED_INCOMPLETE`; crash warns of it).
const STATUS: usize = 424;
const INCOMPLETE: u8 = 8;

#[test]
fn kdump_files_are_marked_until_the_last_byte() {
    for name in ["aarch64", "s390x"] {
        let arch = arch::by_name(name).unwrap().0;
        let endian = arch.identity().endians[0];
        let guest = common::sample(arch, endian);
        for format in format::ALL.iter().filter(|format| format.name.starts_with("kdump-raw-")) {
            let options =
                PlanOptions { format, range: None, dump_level: 1, device_memory: false, page_size: None, paging: None };
            let plan = Plan::new(&guest, &options).unwrap();
            let dump = |asked| {
                let mut out = Vec::new();
                let observer = Asked(AtomicUsize::new(asked));
                let mut sink = Seekable::new(Cursor::new(&mut out));
                let done = run(&plan, &guest, &mut sink, RunOptions::new(1), &observer).is_ok();
                (done, out)
            };
            let low = if endian == arch::Endian::Little { STATUS } else { STATUS + 3 };
            let (done, whole) = dump(usize::MAX);
            // A codec, or none: one bit at most.
            assert!(done && whole[low].count_ones() <= 1 && whole[low] & INCOMPLETE == 0, "{name} {}", format.name);
            for asked in [0, 1, 2] {
                let (done, cut) = dump(asked);
                let marked = cut.get(low).is_some_and(|status| status & INCOMPLETE != 0);
                assert_eq!((done, marked), (false, true), "{name} {} {asked}, {} bytes", format.name, cut.len());
                let said = read::open(Arc::new(cut)).map(|dump| dump.warnings.join("; "));
                let said = said.unwrap_or_else(|error| error.to_string());
                assert!(said.contains("not finished"), "{name} {} {asked}: {said}", format.name);
            }
        }
    }
}
