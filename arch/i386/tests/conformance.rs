//! i386 under the suite that every architecture runs.

guestdump_arch::conformance!(guestdump_i386::ARCH);
