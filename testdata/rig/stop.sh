#!/bin/sh
# stop.sh NAME...   end the QEMU processes that boot.sh started (by their recorded pid)
RIG=${RIG:-${XDG_CACHE_HOME:-$HOME/.cache}/guestdump-rig}
for n in "$@"; do
    p=$(cat "$RIG/run/$n/pid" 2>/dev/null) || continue
    kill "$p" 2>/dev/null
    while kill -0 "$p" 2>/dev/null; do sleep 0.1; done
    rm -f "$RIG/run/$n/pid" "$RIG/run/$n/ram"
done
