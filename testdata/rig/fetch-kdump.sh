#!/bin/sh
# fetch-kdump.sh ARCH...   what a guest needs to save its own memory when it panics (kdump-init.sh): Debian's kexec and makedumpfile of
# ARCH with their libraries, and modules of its kernel for a folder that QEMU shares.  After fetch.sh ARCH.  Cached.
# Result: $RIG/cache/ARCH/kdump/initrd.gz
set -eu
. "$(dirname "$0")/archs.sh"
[ $# -gt 0 ] || set -- x86_64

# Only Debian's amd64 and arm64 kexec are linked against Xen's libraries.
xen="libxenmisc4.17 libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxentoolcore1 libxentoollog1"
packages="kexec-tools makedumpfile libc6 libdw1 libelf1 liblzma5 liblzo2-2 zlib1g libbz2-1.0"
# virtio of a PCI machine, then 9p; each after what it needs
modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p"

download() {
    for p in $packages $more; do
        ls "$p"_*.deb >/dev/null 2>&1 || { rig_apt_update && rig_apt_download "$p"; }
        dpkg-deb -x "$(ls "$p"_*.deb)" ../tree
    done
}

# needed FILE...: names of the libraries that these need, and those need, without end
needed() {
    todo=$* done_=
    while [ -n "$todo" ]; do
        next=
        for f in $todo; do
            for lib in $(readelf -d "$f" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
                case " $done_ " in *" $lib "*) continue ;; esac
                path=$(find ../tree -name "$lib" | head -1)
                [ -n "$path" ] || { echo "$f: no package here has $lib" >&2; exit 1; }
                done_="$done_ $lib" next="$next $path"
                echo "$path"
            done
        done
        todo=$next
    done
}

root() {        # the root of the second kernel: programs, libraries, modules
    rm -rf ../root && mkdir -p ../root/bin ../root/lib ../root/proc ../root/sys ../root/dev ../root/tmp
    cp ../../busybox/bin/busybox ../tree/sbin/kexec ../tree/usr/bin/makedumpfile ../root/bin/
    ln -s busybox ../root/bin/sh
    for lib in $(needed ../root/bin/kexec ../root/bin/makedumpfile); do cp -L "$lib" ../root/lib/; done
    # the loader is called by the path that the programs name
    loader=$(readelf -l ../root/bin/kexec | sed -n 's/.*interpreter: \(.*\)]/\1/p')
    mkdir -p "../root$(dirname "$loader")"
    cp -L "$(find ../tree -name "$(basename "$loader")" | head -1)" "../root$loader"
    : >../root/lib/order
    for m in $modules; do
        f=$(find ../kernel -name "$m.ko*" | head -1)
        case $f in
        *.xz) xz -dc "$f" >"../root/lib/$m.ko" ;;
        ?*)   cp "$f" ../root/lib/ ;;
        *)    continue ;;           # built in
        esac
        echo "$m.ko" >>../root/lib/order
    done
    cp "$HERE/kdump-init.sh" ../root/init && chmod 755 ../root/init
}

pack() { (cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc --owner 0:0) | gzip -6n; }

for a in "$@"; do
    arch_table "$a"
    dir=$RIG/cache/$ARCH/kdump
    mkdir -p "$dir/deb" && cd "$dir/deb"
    more=
    case $DEBARCH in amd64|arm64) more=$xen ;; esac
    kernel=$(ls ../../deb/linux-image-*.deb)
    if [ ! -e ../unpacked ]; then
        download
        dpkg-deb --fsys-tarfile "$kernel" | (mkdir -p ../kernel && cd ../kernel && tar -x --wildcards './lib/modules/*/kernel/drivers/virtio' './lib/modules/*/kernel/fs' './lib/modules/*/kernel/net/9p')
        : >../unpacked
    fi
    if [ ! ../initrd.gz -nt "$HERE/kdump-init.sh" ] || [ ! ../initrd.gz -nt "$HERE/fetch-kdump.sh" ]; then
        root
        pack ../root >../second.gz
        mkdir -p ../first/kdump
        cp ../../vmlinuz ../first/kdump/vmlinuz
        cp ../second.gz ../first/kdump/initrd.gz
        { cat ../second.gz; pack ../first; } >../initrd.new
        mv ../initrd.new ../initrd.gz
    fi
    ls -l "$dir/initrd.gz"
done
