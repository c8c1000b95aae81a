#!/bin/sh
# boot.sh ARCH [MEM_MB] [NCPU]   boot the test guest and wait until it prints RIG-READY.
# Environment:
#   ACCEL=tcg|kvm        accelerator (default tcg; kvm is for the x86 guests only)
#   NAME=name            run directory name below $RIG/run (default ARCH)
#   RAM=file|memfd|anon  guest RAM: file = shared mmap of $RUN/ram (default), memfd = shared memfd,
#                        anon = private anonymous memory (memory-backend-ram), huge = memfd of 2 MiB pages
#   FILL=PCT SPIN=N      passed to the guest's /init (default 25 and 1)
#   INITRD=file          another initramfs than that of fetch.sh
#   APPEND='...'         more kernel command line (for example no5lvl)
#   QEMU_BIN MACHINE_OVERRIDE CPU_OVERRIDE   replace what archs.sh says
#   QEMU_ARGS='...'      more QEMU arguments
#   STOP=1               stop the guest as soon as it is ready, so that it costs no CPU
#   TIMEOUT=SECONDS      give up waiting for RIG-READY (default 300)
# Leaves below $RUN: console.log pid cmdline qemu.log ram, qmp.sock (for the program under test) and watch.sock (QMP too, for us)
set -eu
. "$(dirname "$0")/archs.sh"
[ $# -ge 1 ] || { sed -n '2,16p' "$0" >&2; exit 2; }
arch_table "$1"
mem=${2:-512} ncpu=${3:-2}
QEMU=${QEMU_BIN:-$QEMU} MACHINE=${MACHINE_OVERRIDE:-$MACHINE} CPU=${CPU_OVERRIDE:-$CPU}
RUN=$RIG/run/${NAME:-$ARCH}
mkdir -p "$RUN"
[ -s "$RUN/pid" ] && kill -0 "$(cat "$RUN/pid")" 2>/dev/null && { echo "already running: pid $(cat "$RUN/pid")" >&2; exit 1; }
rm -f "$RUN"/*.sock "$RUN/ram" "$RUN/pid"
: >"$RUN/console.log"
case ${ACCEL:-tcg} in
kvm) accel='-accel kvm'; [ "$CPU" = max ] && CPU=host ;;
*)   accel='-accel tcg,thread=multi' ;;
esac
case ${RAM:-file} in
file)  ram="-object memory-backend-file,id=rigram,size=${mem}M,mem-path=$RUN/ram,share=on" ;;
memfd) ram="-object memory-backend-memfd,id=rigram,size=${mem}M,share=on" ;;
huge)  ram="-object memory-backend-memfd,id=rigram,size=${mem}M,share=on,hugetlb=on,hugetlbsize=2M" ;;
anon)  ram="-object memory-backend-ram,id=rigram,size=${mem}M" ;;
*)     echo "RAM=$RAM: not one of file, memfd, huge, anon" >&2; exit 2 ;;
esac
serial=$(printf %s "$SERIAL" | sed "s|@CON@|$RUN/console.log|")
# shellcheck disable=SC2086
set -- $QEMU -name "rig-${NAME:-$ARCH}" -nodefaults -no-user-config -display none -no-reboot \
    -machine "$MACHINE,memory-backend=rigram" $accel -cpu "$CPU" -m "${mem}M" -smp "$ncpu" \
    $ram $serial $VMCOREINFO \
    -qmp "unix:$RUN/qmp.sock,server=on,wait=off" -qmp "unix:$RUN/watch.sock,server=on,wait=off" \
    -kernel "$RIG/cache/$ARCH/vmlinuz" -initrd "${INITRD:-$RIG/cache/$ARCH/initrd.gz}" \
    ${QEMU_ARGS:-} \
    -append "console=$CONSOLE quiet panic=-1 rig.fill=${FILL:-25} rig.spin=${SPIN:-1} $ARCH_APPEND ${APPEND:-}"
printf '%s\n' "$*" >"$RUN/cmdline"
t0=$(date +%s)
"$@" </dev/null >"$RUN/qemu.log" 2>&1 &
pid=$!
echo $pid >"$RUN/pid"
give_up() {
    echo "$1" >&2
    cat "$RUN/qemu.log" >&2
    tail -5 "$RUN/console.log" >&2
    kill $pid 2>/dev/null || :
    rm -f "$RUN/pid"
    exit 1
}
while ! grep -q RIG-READY "$RUN/console.log"; do
    kill -0 $pid 2>/dev/null || give_up "QEMU exited:"
    [ $(($(date +%s) - t0)) -lt "${TIMEOUT:-300}" ] || give_up "no RIG-READY after ${TIMEOUT:-300} s"
    sleep 0.5
done
[ -z "${STOP:-}" ] || python3 "$HERE/qmp.py" "$RUN/watch.sock" stop
echo "$ARCH ready after $(($(date +%s) - t0)) s, pid $pid, run directory $RUN"
