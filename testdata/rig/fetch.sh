#!/bin/sh
# fetch.sh ARCH...   download the Debian kernel and busybox-static of ARCH (nothing is installed), and build a tiny initramfs.
# Cached.  Result: $RIG/cache/ARCH/{vmlinuz,initrd.gz,System.map,config,info}
set -eu
. "$(dirname "$0")/archs.sh"
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $ARCHS

get() {         # get PKG: download into the current directory unless a .deb of it is there
    ls "$1"_*.deb >/dev/null 2>&1 || { rig_apt_update && rig_apt_download "$1"; }
}

kernel_package() {      # the one versioned image on which the meta package depends
    [ -s ../kernel-package ] && return
    rig_apt_update
    rig_apt_cache show --no-all-versions "$METAPKG" |
        sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -1 >../kernel-package
    [ -s ../kernel-package ] || { echo "$METAPKG: no such package in the lists below $RIG/apt/$DEBARCH" >&2; exit 1; }
}

keep_modules() {        # only those that /init loads
    mkdir -p ../mods
    for m in $KMODS; do
        f=$(find ../kernel -path "*/$m*" | head -1)
        case $f in
        *.xz) xz -dc "$f" >"../mods/$(basename "$f" .xz)" ;;
        ?*)   cp "$f" ../mods/ ;;
        *)    echo "note: $ARCH has no module $m" >&2 ;;
        esac
    done
}

unpack() {
    [ -e ../unpacked ] && return
    dpkg-deb -x "$(ls "$kpkg"_*.deb)" ../kernel
    dpkg-deb -x "$(ls busybox-static_*.deb)" ../busybox
    keep_modules
    cp ../kernel/boot/vmlinu[xz]-* ../vmlinuz
    cp ../kernel/boot/System.map-* ../System.map
    cp ../kernel/boot/config-* ../config
    rm -rf ../kernel
    : >../unpacked
}

initramfs() {
    rm -rf initrd && mkdir -p initrd/bin initrd/lib initrd/proc initrd/sys initrd/dev initrd/mem
    cp busybox/bin/busybox initrd/bin/busybox
    ln -s busybox initrd/bin/sh
    for m in mods/*.ko; do [ -e "$m" ] && cp "$m" initrd/lib/; done
    cp "$HERE/guest-init.sh" initrd/init && chmod 755 initrd/init
    (cd initrd && find . | LC_ALL=C sort | cpio --quiet -o -H newc --owner 0:0) | gzip -9n >initrd.gz
}

for a in "$@"; do
    arch_table "$a"
    mkdir -p "$RIG/cache/$ARCH/deb" && cd "$RIG/cache/$ARCH/deb"
    kernel_package
    kpkg=$(cat ../kernel-package)
    get "$kpkg"
    get busybox-static
    unpack
    cd ..
    [ initrd.gz -nt "$HERE/guest-init.sh" ] || initramfs
    echo "arch=$ARCH kernel=${kpkg#linux-image-} deb=$(basename "$(ls deb/"$kpkg"_*.deb)")" | tee info
done
