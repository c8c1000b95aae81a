#!/usr/bin/env bash
# fuzz/run.sh SECONDS [TARGET...]     builds the fuzz targets with stable Rust and runs each (all, if none is named) for SECONDS.
#   SEED=1        libFuzzer's seed. A run starts from fuzz/corpus/ alone and takes the same path as every run of these sources with this
#                 seed: the one that has more time goes farther on it. So what ran before can run again without a surprise.
#   SEED=random   a new path each time. What it finds on the way stays in fuzz/target/corpus/, and the next one starts from there too.
#   JOBS=2        targets at a time [one for each CPU]
#
# One line for each: runs, runs a second, coverage (edges; of the seeds, and at last), most memory. Ends with 1 if an input made a target
# panic, take more than 5 seconds or 512 MiB; the input is then in fuzz/artifacts/TARGET/ (a short one also below, in base64), and
# TARGET's program takes it as its argument. With 0 SECONDS the targets are built, and that is all.
#
# cargo-fuzz needs a nightly compiler for -Zsanitizer; the coverage that libFuzzer asks for is an LLVM pass that stable has too.
# --target keeps the flags away from build scripts.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")"
triple=x86_64-unknown-linux-gnu
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
seconds=$1
shift
[ $# -ge 1 ] || set -- $(cd fuzz_targets && ls | sed 's/\.rs$//')

export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
bins=()
for target in "$@"; do bins+=(--bin "$target"); done
cargo build --quiet --release --locked --target-dir target --target $triple "${bins[@]}"
[ "$seconds" != 0 ] || exit 0

# What differs between runs and would lead elsewhere: addresses, which are among the numbers that -use_cmp=1 sees compared; the
# order of a folder's files; the lengths of paths, by which memory is aligned differently (hence relative ones).
inputs() {      # inputs TARGET: libFuzzer's options for what a run starts from, and for its path
    local seeds=("corpus/$1"/*)
    if [ "${SEED:-1}" = random ]; then
        mkdir -p "target/corpus/$1"
        printf '%s\n' "target/corpus/$1" "corpus/$1"
    else
        printf '%s\n' "-seed=${SEED:-1}" -use_cmp=0 "-seed_inputs=$(IFS=,; echo "${seeds[*]}")"
    fi
}

report() {      # report TARGET STATUS: how a run went, from its log
    local log=target/$1.log unit
    awk -v target="$1" '
        { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
        $2 == "INITED"                    { seeds = cov }
        /^stat::number_of_executed_units/ { runs = $2 }
        /^stat::average_exec_per_sec/     { rate = $2 }
        /^stat::peak_rss_mb/              { mib = $2 }
        END { printf "%-18s %9d runs %7d/s  cov %5d %5d  %4d MiB\n", target, runs, rate, seeds, cov, mib }' "$log"
    [ "$2" != 0 ] || return 0
    echo "$1 failed with $2:"
    grep -v -e '^#' -e '^INFO' -e '^stat::' -e NEW_FUNC "$log" | head -n 60
    unit=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    [ ! -s "$unit" ] || [ "$(stat -c %s "$unit")" -ge 4096 ] || echo "base64 -d >${unit##*/} <<<$(base64 -w 0 "$unit")"
}

fuzz() {        # fuzz TARGET: run one and say how it went
    local status=0 options
    mkdir -p "artifacts/$1"
    mapfile -t options < <(inputs "$1")
    RUST_BACKTRACE=1 "target/$triple/release/$1" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -print_final_stats=1 \
        -artifact_prefix="artifacts/$1/" "${options[@]}" >"target/$1.log" 2>&1 || status=$?
    printf '%s\n' "$(report "$1" $status)"
    return $status
}

rm -f target/failed
for target in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-$(nproc)}" ]; do sleep 0.2; done
    { fuzz "$target" || touch target/failed; } &
done
wait
[ ! -e target/failed ]
