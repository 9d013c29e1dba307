#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, on the stable toolchain:
#   fuzz/run.sh [SECONDS] [TARGET...]
# and prints executions, seconds and edges by target. What a target finds that is new is kept in
# fuzz/found/TARGET, what breaks it in fuzz/crashes. Coverage comes from the flags that cargo-fuzz
# uses, without a sanitizer, for `unsafe` is forbidden here.
set -euo pipefail
cd "$(dirname "$0")"
seconds="${1:-60}"
shift || true
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
triple="$(rustc -vV | sed -n 's/^host: //p')"
export CARGO_INCREMENTAL=0
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
--cfg fuzzing -Ccodegen-units=1"
# Not --locked: what the crates of the workspace need may have changed.
cargo build --release --target "$triple" --target-dir target
mkdir -p crashes
printf '%-14s %12s %8s %8s\n' target executions seconds edges
failed=0
for target in "${targets[@]}"; do
    mkdir -p "found/$target"
    options=(-max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -entropic=0
        -print_final_stats=1 -artifact_prefix="crashes/$target-")
    if [ -e "dictionaries/$target" ]; then options+=(-dict="dictionaries/$target"); fi
    log="target/$target.log"
    status=0
    SECONDS=0
    "target/$triple/release/$target" "found/$target" "corpus/$target" "${options[@]}" \
        >"$log" 2>&1 || status=$?
    runs="$(sed -n 's/^stat::number_of_executed_units: //p' "$log")"
    edges="$(grep -ao 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)"
    printf '%-14s %12s %8s %8s\n' "$target" "${runs:-?}" "$SECONDS" "${edges:-?}"
    if [ "$status" != 0 ]; then
        tail -40 "$log"
        failed=1
    fi
done
exit "$failed"
