#!/bin/bash
# tests/peers.sh PROGRAM: WebRTC with independent implementations: aiortc as player and as the media server that PROGRAM publishes
# to, GStreamer's webrtcbin as player. One line per check; exits with 1 if any failed.
set -euo pipefail

program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/peers"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install aiohttp aiortc numpy

passed=0
failed=0
# check NAME COMMAND…: passes if the command does; shows its output.
check() {
    local name=$1
    shift
    if timeout -s INT 150 "$@" >"$work/out" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name: $(grep -v '^|' "$work/out" | paste -sd ';')"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/        /' "$work/out" | tail -40
    fi
}

check "aiortc plays by the JSON offer" "$work/venv/bin/python" aiortc_player.py "$program"
check "aiortc receives by WHIP: TLS, redirect, token, restart, end" "$work/venv/bin/python" aiortc_sink.py "$program"
# Not from PyPI: the system's GStreamer has its bindings for the system's Python.
check "webrtcbin plays by WHEP" /usr/bin/python3 gst_player.py "$program"

echo "peers: $passed passed, $failed failed"
[ $failed = 0 ]
