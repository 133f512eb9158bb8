#!/bin/bash
# tests/examples.sh PROGRAM: runs the scripts of examples/ against PROGRAM with its test camera, as a reader of the README
# would, and expects each to print pictures and sound.
set -euo pipefail

program=$1
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

"$program" --camera-type test --enable-audio --host 127.0.0.1 --port 0 2>"$work/log" &
server=$!

address=
for _ in $(seq 200); do
    address=$(grep -o -m 1 '127\.0\.0\.1:[0-9]*' "$work/log") && break
    sleep 0.1
done
[ -n "$address" ] || {
    echo "the program did not say where it listens:" && cat "$work/log"
    exit 1
}

# check NAME COMMAND…: the first lines that it prints tell of both streams.
check() {
    local name=$1
    shift
    timeout 60 "$@" "ws://$address/stream" >"$work/out" 2>&1 &
    local reader=$!
    for _ in $(seq 600); do
        if grep -q 'picture of 640x480: [0-9]* bytes' "$work/out" && grep -q 'sound: [0-9]* samples' "$work/out"; then
            kill $reader
            wait $reader || true
            echo "$name: ok; it printed:"
            head -n 3 "$work/out"
            return 0
        fi
        kill -0 $reader 2>/dev/null || break
        sleep 0.1
    done
    echo "$name: FAILED; it printed:"
    cat "$work/out"
    return 1
}

python=target/examples-python
[ -x $python/bin/python3 ] || python3 -m venv $python
$python/bin/python3 -c 'import websockets' 2>/dev/null || $python/bin/pip install --quiet --disable-pip-version-check websockets
check "examples/read.py" $python/bin/python3 examples/read.py

# A global WebSocket since Node 22; before, behind an option.
node_options=()
[ "$(node -p 'typeof WebSocket')" = function ] || node_options=(--experimental-websocket)
check "examples/read.mjs" node "${node_options[@]}" examples/read.mjs
