//! s390x under the suite that every architecture runs.

guestdump_arch::conformance!(guestdump_s390x::ARCH);
