#!/bin/bash
# Cargo's RUSTC_WRAPPER for the fuzz targets: coverage counters for the crates whose parsing is ours to fuzz, and no others.
# All of them would take minutes to build, and blur what is covered.
counters=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)
case " $* " in
*" --crate-name stampcast "*) exec "$@" --cfg fuzzing "${counters[@]}" ;;
*" --crate-name tungstenite "*) exec "$@" "${counters[@]}" ;;
*) exec "$@" ;;
esac
