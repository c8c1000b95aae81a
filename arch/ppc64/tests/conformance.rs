//! ppc64 under the suite that every architecture runs.

guestdump_arch::conformance!(guestdump_ppc64::ARCH);
