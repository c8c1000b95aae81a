#!/usr/bin/env bash
# fuzz/run.sh SECONDS [TARGET...]     builds the fuzz targets with stable Rust and runs each (all, if none is named) for SECONDS.
#
# One line for each: runs, runs a second, coverage (edges), most memory.  Ends with 1 if an input made a target panic, take more than
# 5 seconds or 512 MiB; the input is then in fuzz/artifacts/TARGET/, and TARGET's program takes it as its argument.  What is found on the
# way stays in fuzz/target/corpus/, and the next run starts from there and from the seeds in fuzz/corpus/.
#
# cargo-fuzz needs a nightly compiler for -Zsanitizer; the coverage that libFuzzer asks for is an LLVM pass that stable has too.
# --target keeps the flags away from build scripts.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
triple=x86_64-unknown-linux-gnu
[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
seconds=$1
shift
[ $# -ge 1 ] || set -- $(cd "$here/fuzz_targets" && ls | sed 's/\.rs$//')

export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Ccodegen-units=1 --cfg fuzzing"
bins=()
for target in "$@"; do bins+=(--bin "$target"); done
cargo build --quiet --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$here/target" --target $triple "${bins[@]}"

fuzz() {        # fuzz TARGET: run one and say how it went
    local target=$1 found=$here/target/corpus/$1 artifacts=$here/artifacts/$1 log=$here/target/$1.log status=0
    mkdir -p "$found" "$artifacts"
    RUST_BACKTRACE=1 "$here/target/$triple/release/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -print_final_stats=1 \
        -artifact_prefix="$artifacts/" "$found" "$here/corpus/$target" >"$log" 2>&1 || status=$?
    awk -v target="$target" -v seconds="$seconds" '
        { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
        /^stat::number_of_executed_units/ { runs = $2 }
        /^stat::average_exec_per_sec/     { rate = $2 }
        /^stat::peak_rss_mb/              { mib = $2 }
        END { printf "%-18s %9d runs %7d/s  cov %5d  %4d MiB\n", target, runs, rate, cov, mib }' "$log"
    if [ $status != 0 ]; then
        echo "$target failed with $status:"
        grep -v -e '^#' -e '^INFO' -e '^stat::' "$log" | head -n 60
    fi
    return $status
}

# One target for each core.
rm -f "$here/target/failed"
for target in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do sleep 0.2; done
    { fuzz "$target" || touch "$here/target/failed"; } &
done
wait
[ ! -e "$here/target/failed" ]
