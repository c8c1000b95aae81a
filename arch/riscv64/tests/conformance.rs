//! riscv64 under the suite that every architecture runs.

guestdump_arch::conformance!(guestdump_riscv64::ARCH);
