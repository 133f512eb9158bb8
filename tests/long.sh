#!/bin/bash
# tests/long.sh: what takes longer than a minute. For now: five minutes of clicks through the loopback sound card, whose
# stamps must not drift (tests/vm/stamps.rs).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
. scripts/setup.sh

need_rust
build_release
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/tests/vm/boot.sh -t 1200 --" \
    cargo test --locked --test vm -- --test-threads=1 --ignored
