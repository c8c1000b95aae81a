# Sourced by the other scripts: where the data lie, and one table of what each guest architecture needs.
# shellcheck shell=sh disable=SC2034
# Sets: HERE RIG; after arch_table: ARCH DEBARCH METAPKG QEMU MACHINE CPU CONSOLE VMCOREINFO SERIAL KMODS ARCH_APPEND
HERE=$(cd "$(dirname "$0")" && pwd)                                  # the scripts
RIG=${RIG:-${XDG_CACHE_HOME:-$HOME/.cache}/guestdump-rig}            # the data: cache/ run/ out/ apt/
mkdir -p "$RIG"
export RIG

ARCHS="x86_64 i386-pae i386 aarch64 s390x ppc64le"

arch_table() {
    SERIAL='-serial file:@CON@'
    VMCOREINFO='-device vmcoreinfo'
    KMODS='drivers/firmware/qemu_fw_cfg.ko'     # with it the guest hands its VMCOREINFO to QEMU
    CPU=max
    ARCH_APPEND=
    case $1 in
    x86_64|amd64)
        ARCH=x86_64 DEBARCH=amd64 METAPKG=linux-image-amd64
        QEMU=qemu-system-x86_64 MACHINE=q35 CONSOLE=ttyS0 ;;
    i386-pae)
        ARCH=i386-pae DEBARCH=i386 METAPKG=linux-image-686-pae
        ARCH_APPEND=nokaslr         # VMCOREINFO of i386 has no KERNELOFFSET: readers cannot find the shift
        QEMU=qemu-system-i386 MACHINE=pc CONSOLE=ttyS0 ;;
    i386)
        ARCH=i386 DEBARCH=i386 METAPKG=linux-image-686
        ARCH_APPEND=nokaslr
        QEMU=qemu-system-i386 MACHINE=pc CONSOLE=ttyS0 ;;
    aarch64|arm64)
        ARCH=aarch64 DEBARCH=arm64 METAPKG=linux-image-arm64
        QEMU=qemu-system-aarch64 MACHINE=virt,gic-version=3 CPU=cortex-a57 CONSOLE=ttyAMA0 ;;
    s390x)
        ARCH=s390x DEBARCH=s390x METAPKG=linux-image-s390x
        QEMU=qemu-system-s390x MACHINE=s390-ccw-virtio CONSOLE=ttysclp0
        SERIAL='-chardev file,id=con0,path=@CON@ -device sclpconsole,chardev=con0'
        VMCOREINFO='' KMODS='' ;;   # no fw_cfg on this machine
    ppc64le|ppc64el)
        ARCH=ppc64le DEBARCH=ppc64el METAPKG=linux-image-powerpc64le
        QEMU=qemu-system-ppc64 CPU=power9 CONSOLE=hvc0
        MACHINE=pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off
        VMCOREINFO='' KMODS='' ;;
    *)  echo "unknown ARCH '$1' (one of: $ARCHS)" >&2; exit 2 ;;
    esac
}

# the mirror that this machine's own apt uses for SUITE, else Debian's
apt_uri() {
    u=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 2>/dev/null | awk -v s="$1" '$2==s {print $1; exit}')
    case $1 in
    *-security) echo "${u:-http://deb.debian.org/debian-security}" ;;
    *)          echo "${u:-http://deb.debian.org/debian}" ;;
    esac
}

# apt with its own lists below $RIG/apt for architecture DEBARCH: needs no dpkg --add-architecture and leaves
# the system's apt alone.  rig_apt_update | rig_apt_download PKG | rig_apt_cache show PKG
rig_apt_opts() {
    d=$RIG/apt/$DEBARCH
    mkdir -p "$d/lists/partial" "$d/cache/archives/partial"
    [ -s "$d/list.sources" ] || cat >"$d/list.sources" <<SOURCES
Types: deb
URIs: ${DEB_MIRROR:-$(apt_uri bookworm)}
Suites: bookworm
Components: main
Architectures: $DEBARCH
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: ${DEB_SECURITY:-$(apt_uri bookworm-security)}
Suites: bookworm-security
Components: main
Architectures: $DEBARCH
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    printf '%s ' -o "APT::Architecture=$DEBARCH" -o "APT::Architectures=$DEBARCH" -o "Dir::State::status=/dev/null" \
        -o "Dir::Etc::sourcelist=$d/list.sources" -o Dir::Etc::sourceparts=- -o Acquire::Languages=none \
        -o Acquire::Retries=3 -o "Dir::State::lists=$d/lists" -o "Dir::Cache=$d/cache" -o APT::Sandbox::User=root
}

# A mirror in the middle of an update may fail for one suite; the packages of the other do as well.
rig_apt_update() {
    mark=$RIG/apt/$DEBARCH/updated
    [ ! -e "$mark" ] || return 0
    case " ${RIG_LISTS_TRIED:-} " in *" $DEBARCH "*) return 0 ;; esac
    RIG_LISTS_TRIED="${RIG_LISTS_TRIED:-} $DEBARCH"
    # shellcheck disable=SC2046
    if apt-get $(rig_apt_opts) -qq update; then
        : >"$mark"
    elif ls "$RIG/apt/$DEBARCH/lists/"*_Packages* >/dev/null 2>&1; then
        echo "note: $DEBARCH package lists are incomplete, going on with what there is" >&2
    else
        return 1
    fi
}
# shellcheck disable=SC2046
rig_apt_cache() { apt-cache $(rig_apt_opts) "$@"; }
# shellcheck disable=SC2046
rig_apt_download() { apt-get $(rig_apt_opts) -qq download "$@"; }
