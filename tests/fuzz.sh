#!/bin/bash
# tests/fuzz.sh [RUNS [TARGET…]]: runs the fuzz targets, each for RUNS inputs (default 20000; webrtc_session a tenth), from its
# corpus in fuzz/corpus and always the same seed. Prints how much code each reached; exit code 1 when one broke a promise, with
# the input in fuzz/artifacts.
#
# libFuzzer and the compiler's coverage counters need neither a nightly compiler nor cargo-fuzz. No address sanitizer: what is
# fuzzed has no unsafe code. To let a target grow its corpus, and keep what is new in it:
#
#   tests/fuzz.sh build && target/debug/wire_decode -max_total_time=600 -max_len=1024 new fuzz/corpus/wire_decode
#   target/debug/wire_decode -merge=1 -use_counters=0 fuzz/corpus/wire_decode new
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
. scripts/setup.sh

runs=${1:-20000}
[[ $runs =~ ^([0-9]+|build)$ ]] || fail "how many runs? tests/fuzz.sh 20000"
shift || true
# The profile and the directory of the program's own tests: see fuzz/Cargo.toml.
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
CARGO_INCREMENTAL=0 RUSTC_WRAPPER=$PWD/fuzz/rustc.sh \
    cargo build --locked --manifest-path fuzz/Cargo.toml --target-dir "$target_dir"
[ "$runs" != build ] || exit 0

targets=("$@")
[ $# != 0 ] || mapfile -t targets < <(find fuzz/corpus -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
mkdir -p fuzz/artifacts
printf '%-16s %8s %9s %9s\n' target inputs edges "to keep"
failed=0
for target in "${targets[@]}"; do
    mkdir "$new/$target"
    count=$runs
    # str0m is not optimised here: milliseconds for each input.
    [ "$target" != webrtc_session ] || count=$((runs / 10))
    if "$target_dir/debug/$target" -runs="$count" -seed=1 -max_len=1024 -timeout=60 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target-" "$new/$target" "fuzz/corpus/$target" >"$new/log" 2>&1; then
        figure() { sed -n "s/^stat::$1: *//p" "$new/log"; }
        edges=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$new/log" | tail -1)
        printf '%-16s %8s %9s %9s\n' "$target" "$(figure number_of_executed_units)" \
            "$edges" "$(figure new_units_added)"
    else
        cat "$new/log"
        printf '%-16s FAILED\n' "$target"
        failed=1
    fi
done
exit $failed
