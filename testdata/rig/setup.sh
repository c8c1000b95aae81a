#!/bin/sh
# setup.sh   on a Debian 12 machine, as root: QEMU (10.0 from backports, else 7.2) and the programs that read dumps.
# Idempotent; does nothing when everything is there.
set -eu
. "$(dirname "$0")/archs.sh"
export DEBIAN_FRONTEND=noninteractive
readers="crash makedumpfile python3-libkdumpfile gdb-multiarch binutils liblzo2-2 libsnappy1v5 libzstd1"
tools="cpio xz-utils debian-archive-keyring chromium fonts-dejavu-core"
qemu="qemu-system-x86 qemu-system-arm qemu-system-ppc qemu-system-misc qemu-system-s390x seabios"

missing() {     # those of the packages $* that are not installed
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s ' "$p"
    done
}

install() { apt-get -qq install -y --no-install-recommends "$@" >/dev/null; }

backports() {   # make bookworm-backports known to apt
    list=/etc/apt/sources.list.d/backports-for-qemu.sources
    [ -s "$list" ] || printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
        "$(apt_uri bookworm)" /usr/share/keyrings/debian-archive-keyring.gpg >"$list"
}

# shellcheck disable=SC2086
need=$(missing $readers $tools) needqemu=$(missing $qemu)
if [ -n "$need$needqemu" ]; then
    [ -n "${NO_BACKPORTS:-}" ] || backports
    apt-get -qq update || echo "note: apt-get update had errors" >&2
    # shellcheck disable=SC2086
    [ -z "$need" ] || install $need
    # shellcheck disable=SC2086
    [ -z "$needqemu" ] || install -t bookworm-backports $needqemu || install $needqemu
fi
# drgn has its own libkdumpfile in the wheel
python3 -c 'import drgn' 2>/dev/null || {
    python3 -m pip --version >/dev/null 2>&1 || install python3-pip
    python3 -m pip install -q drgn 2>/dev/null || python3 -m pip install -q --break-system-packages drgn
}
qemu-system-x86_64 --version | head -1
