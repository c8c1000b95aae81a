#!/bin/sh
# big-endian.sh [CARGO TEST ARGUMENT...]   the tests of arch, its architectures and core as programs of a big-endian machine: s390x, under
# QEMU's user-mode emulation. What depends on the host's byte order fails here. Installs Debian's cross compiler (libzstd is C) and
# qemu-user-static as root, and Rust's s390x target. PROPTEST_CASES: 16 unless it is set, for emulation is slow. Walks are checked
# against the naive walkers of the tests; comparisons with other programs of this machine are left to the tests on it.
set -eu
cd "$(dirname "$0")/../.."
target=s390x-unknown-linux-gnu
packages="gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-user-static"

missing() {     # those of the packages $* that are not installed
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s ' "$p"
    done
}

# shellcheck disable=SC2086
need=$(missing $packages)
if [ -n "$need" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -E"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get -qq update || echo "note: apt-get update had errors" >&2
    # shellcheck disable=SC2086
    $as_root apt-get -qq install -y --no-install-recommends $need >/dev/null
fi
[ -d "$(rustc --print target-libdir --target $target)" ] || rustup -q target add $target

crates=$(for manifest in arch/Cargo.toml arch/*/Cargo.toml core/Cargo.toml; do sed -n 's/^name = "\(guestdump-.*\)"/-p \1/p' "$manifest"; done)
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc CC_s390x_unknown_linux_gnu=s390x-linux-gnu-gcc
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER="qemu-s390x-static -L /usr/s390x-linux-gnu"
export PROPTEST_CASES="${PROPTEST_CASES:-16}" CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG=0
# shellcheck disable=SC2086
exec cargo test --target $target $crates "$@" -- --skip addrxlat_agrees --skip drgn_agrees --skip qemu_agrees --skip readelf_counts
