#!/bin/bash
# tests/soak.sh MINUTES: the test camera with viewers that come, go and stall, and WebRTC sessions that are answered and end (nobody
# connects to them, so no media flows: tests/it/webrtc plays), while its workers and its server are killed.
# Prints what was restarted, the gaps that viewers were told of beside those they saw, and memory and descriptors over time;
# draws the latter to target/soak.svg. Exit code 1 when a gap was not accounted for, or something grew.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/setup.sh
. scripts/setup.sh

[[ "${1:-}" =~ ^[0-9]+$ ]] || fail "how many minutes? tests/soak.sh 20"
have python3 || fail "python3 is missing; install it with your system's packages"
need_to_build
install_needed
build_release
python3 tests/soak/soak.py "$(released_program)" "$1" target/soak.svg
