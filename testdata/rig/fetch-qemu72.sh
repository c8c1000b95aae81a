#!/bin/sh
# fetch-qemu72.sh   Debian 12's own QEMU 7.2 for x86 guests, beside the installed one: downloaded and unpacked below
# $RIG/cache/qemu72, not installed.  Prints the path to give as QEMU_BIN to boot.sh.
set -eu
. "$(dirname "$0")/archs.sh"
arch_table x86_64
dir=$RIG/cache/qemu72
bin=$dir/qemu-system-x86_64

fetch() {
    mkdir -p "$dir/deb" && cd "$dir/deb"
    rig_apt_update
    for p in "$@"; do ls "$p"_*.deb >/dev/null 2>&1 || rig_apt_download "$p"; done
    for p in "$@"; do dpkg-deb -x "$(ls "$p"_*.deb)" "$dir/root"; done
}

wrapper() {     # firmware, modules and libraries come from what was unpacked
    cat >"$bin.part" <<RUN
#!/bin/sh
LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu:$dir/root/lib/x86_64-linux-gnu
QEMU_MODULE_DIR=$dir/root/usr/lib/x86_64-linux-gnu/qemu
export LD_LIBRARY_PATH QEMU_MODULE_DIR
exec $dir/root/usr/bin/qemu-system-x86_64 -L $dir/root/usr/share/qemu -L $dir/root/usr/share/seabios "\$@"
RUN
    chmod 755 "$bin.part" && mv "$bin.part" "$bin"
}

[ -x "$bin" ] || {
    fetch qemu-system-x86 qemu-system-common qemu-system-data seabios
    wrapper
}
"$bin" --version >/dev/null || { ldd "$dir/root/usr/bin/qemu-system-x86_64" | grep 'not found' >&2; exit 1; }
echo "$bin"
