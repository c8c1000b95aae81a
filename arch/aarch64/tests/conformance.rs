//! AArch64 under the suite that every architecture runs.

guestdump_arch::conformance!(guestdump_aarch64::ARCH);
