#!/bin/busybox sh
# /init of a guest that crashes and saves its own memory: one file, two kernels.  The first one loads the second with kexec and
# panics; the second finds /proc/vmcore and writes what it is asked for to the folder that QEMU shares (9p, tag "out").
# Kernel command line of the first:
#   rig.kexec=OPTIONS   how the second is loaded (default -c; commas for spaces)
#   rig.save=NAMES      what is saved, with commas: vmcore, and of makedumpfile compressed, filtered, elf, flat (default vmcore)
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev 2>/dev/null
$B --install -s /bin
export PATH=/bin
options=-c save=vmcore serial=
for word in $(cat /proc/cmdline); do
    case $word in
    rig.kexec=*) options=$(echo "${word#*=}" | tr , ' ') ;;
    rig.save=*)  save=${word#*=} ;;
    console=*)   serial=$word ;;
    esac
done
# in the order of fetch-kdump.sh, which is that of what needs what
for module in $(cat /lib/order); do insmod "/lib/$module"; done

crash() {
    echo "RIG: $(uname -a)"
    # something to be found in user memory, and files that fill pages
    for i in 1 2 3; do RIG_ENV="RIGSEED-ENV-$i" sh -c 'while :; do sleep 100000000; done' sh "RIGSEED-PROC-$i" & done
    mkdir /mem && mount -t tmpfs tmpfs /mem
    dd if=/dev/urandom of=/mem/random bs=64k count=64 2>/dev/null
    dd if=/dev/zero of=/mem/zero bs=64k count=64 2>/dev/null
    # a CPU that is caught in user space
    sh -c 'while :; do :; done' &
    # shellcheck disable=SC2086
    kexec -p $options /kdump/vmlinuz --initrd=/kdump/initrd.gz \
        --append="$serial nr_cpus=1 reset_devices irqpoll no_timer_check loglevel=1 panic=-1 rig.save=$save" || { echo "RIG: kexec failed"; poweroff -f; }
    echo "RIG: crash kernel loaded $(cat /sys/kernel/kexec_crash_loaded)"
    sleep 1
    echo c >/proc/sysrq-trigger
}

saved() {       # saved NAME STATUS
    echo "RIG: saved $1: exit $2, $(wc -c <"/out/$1") bytes"
}

capture() {
    mkdir /out && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /out || { echo "RIG: no folder"; poweroff -f; }
    for name in $(echo "$save" | tr , ' '); do
        case $name in
        vmcore)     dd if=/proc/vmcore of=/out/vmcore bs=1M 2>/dev/null ;;
        compressed) makedumpfile -c /proc/vmcore /out/compressed ;;
        filtered)   makedumpfile -l -d 31 /proc/vmcore /out/filtered ;;
        elf)        makedumpfile -E -d 31 /proc/vmcore /out/elf ;;
        flat)       makedumpfile -F -c -d 31 /proc/vmcore >/out/flat ;;
        esac >"/out/$name.log" 2>&1
        saved "$name" $?
    done
    sync
    echo "RIG-READY"
    while :; do sleep 100000000; done
}

if [ -e /proc/vmcore ]; then capture; else crash; fi
while :; do sleep 100000000; done
