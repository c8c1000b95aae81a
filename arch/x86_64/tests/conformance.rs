//! x86-64 under the suite that every architecture runs.

guestdump_arch::conformance!(guestdump_x86_64::ARCH);
