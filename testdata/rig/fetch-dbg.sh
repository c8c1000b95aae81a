#!/bin/sh
# fetch-dbg.sh ARCH...   download the debug package of the kernel that fetch.sh chose (400-860 MB) and keep only
# $RIG/cache/ARCH/vmlinux (300-650 MB).
set -eu
. "$(dirname "$0")/archs.sh"
for a in "$@"; do
    arch_table "$a"
    dir=$RIG/cache/$ARCH
    [ -s "$dir/kernel-package" ] || { echo "run fetch.sh $ARCH first" >&2; exit 1; }
    [ -s "$dir/vmlinux" ] && continue
    kpkg=$(cat "$dir/kernel-package")
    # the debug package must be of the very same build as the kernel
    version=$(dpkg-deb -f "$(ls "$dir/deb/$kpkg"_*.deb)" Version)
    mkdir -p "$RIG/cache/dbg" && cd "$RIG/cache/dbg"
    ls "$kpkg"-dbg_*.deb >/dev/null 2>&1 || { rig_apt_update && rig_apt_download "$kpkg-dbg=$version"; }
    # vmlinux comes early in the archive; tar stops reading at the first match, which dpkg-deb takes for an error
    member=./usr/lib/debug/boot/vmlinux-${kpkg#linux-image-}
    { dpkg-deb --fsys-tarfile "$(ls "$kpkg"-dbg_*.deb)" 2>/dev/null || :; } | tar -x --occurrence=1 -O "$member" >"$dir/vmlinux.part"
    mv "$dir/vmlinux.part" "$dir/vmlinux"
    rm -f "$kpkg"-dbg_*.deb
    echo "$ARCH: vmlinux $(stat -c %s "$dir/vmlinux") B"
done
