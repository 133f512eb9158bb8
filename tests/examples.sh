#!/bin/bash
# tests/examples.sh PROGRAM READER: runs the README's programs and each one of examples/ (READER is examples/read_stream.rs,
# compiled) against PROGRAM with its test camera, and looks at what it really printed or wrote. (But examples/speech.py, to
# which somebody must speak: tests/vm/speech.rs.)
set -euo pipefail

program=$(realpath "$1")
reader=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
servers=()
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    kill "${servers[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

passed=0
failed=0
ok() { passed=$((passed + 1)) && echo "ok    $1"; }
not_ok() { failed=$((failed + 1)) && echo "FAIL  $1; it printed:" && head -n 20 "$work/out"; }

# address_in FILE: waits until a server says there where it listens.
address_in() {
    for _ in $(seq 300); do
        if grep -q '127\.0\.0\.1:[0-9]' "$1"; then
            sed -n 's/.*\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$1" | head -n 1
            return 0
        fi
        sleep 0.1
    done
    echo "the server did not say where it listens:" >&2
    cat "$1" >&2
    return 1
}

# prints NAME PATTERN… -- COMMAND…: all patterns are printed within a minute; the command, which never ends, is then ended.
prints() {
    local name=$1 patterns=() pattern missing
    shift
    while [ "$1" != -- ]; do
        patterns+=("$1")
        shift
    done
    shift
    timeout 60 "$@" >"$work/out" 2>&1 &
    local reader=$!
    for _ in $(seq 600); do
        missing=
        for pattern in "${patterns[@]}"; do
            grep -q -E "$pattern" "$work/out" || missing=yes
        done
        if [ -z "$missing" ] || ! kill -0 $reader 2>/dev/null; then break; fi
        sleep 0.1
    done
    kill $reader 2>/dev/null || true
    wait $reader 2>/dev/null || true
    if [ -z "$missing" ]; then ok "$name"; else not_ok "$name"; fi
}

"$program" --camera-type test --enable-audio --host 127.0.0.1 --port 0 2>"$work/log" &
servers+=($!)
server=$(address_in "$work/log")

tests/examples-python.sh
python=$PWD/target/examples-python/bin/python3

# A global WebSocket since Node 22; before, behind an option.
node=(node)
[ "$(node -p 'typeof WebSocket')" = function ] || node=(node --experimental-websocket)

stamp='^[0-9]{10}\.[0-9]{6}  '
frame="${stamp}frame of 640x480: [0-9]{5} bytes"

# in_readme LANGUAGE: the README's program in it, pointed at our server. (Python keeps what it prints when nobody looks.)
in_readme() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" README.md | sed "/^\`\`\`/d; s/localhost:8080/$server/"; }
in_readme python >"$work/readme.py"
in_readme js >"$work/readme.mjs"
prints "the README's Python" "${frame} of JPEG" -- "$python" -u "$work/readme.py"
prints "the README's JavaScript" "$frame" "${stamp}audio: [0-9]+ samples" -- "${node[@]}" "$work/readme.mjs"

# Every packet's stamp as its text message has it.
"$python" -u - "$server" >"$work/text" 2>&1 <<'END' &
import sys
from websockets.sync.client import connect
for message in connect(f"ws://{sys.argv[1]}/stream?delivery=all", max_size=None):
    print(message.split(":")[1] + "  ")
END
servers+=($!)
for _ in $(seq 300); do if [ -s "$work/text" ]; then break; else sleep 0.1; fi; done

# digits NAME: every stamp that NAME has just printed is, to the digit, that of the message with this packet.
digits() {
    if "$python" - "$work/text" "$work/out" >"$work/judged" 2>&1 <<'END'; then ok "$1's digits"; else cat "$work/judged" >>"$work/out" && not_ok "$1's digits"; fi
import bisect, re, sys, time
stamps = lambda name: sorted(int(a + b) for a, b in re.findall(r"^(\d{10})\.(\d{6})  ", open(name).read(), re.M))
printed, told = stamps(sys.argv[2]), []
for _ in range(300):
    told = stamps(sys.argv[1])
    if told and told[-1] > printed[-1]:
        break
    time.sleep(0.1)
# A stamp that is not among those told has none within 2 us.
near = [(us, told[at]) for us in printed for at in [bisect.bisect_left(told, us - 2)] if at < len(told) and told[at] <= us + 2]
assert near and all(ours == theirs for ours, theirs in near), (len(told), len(printed), near)
END
}

prints read_stream.py "${stamp}video 640 480 [0-9]+ bytes" "${stamp}audio 48000 1 [0-9]+ bytes" -- "$python" examples/read_stream.py "$server"
digits read_stream.py
prints read_stream.mjs "$frame" "${stamp}audio: [0-9]+ samples at 48000 Hz" -- \
    "${node[@]}" examples/read_stream.mjs "$server"
digits read_stream.mjs
prints read_stream.rs "$frame" "${stamp}audio: [0-9]+ samples at 48000 Hz" -- "$reader" "$server"
digits read_stream.rs
prints read_stream.sh "$frame" "${stamp}audio: [0-9]+ samples" -- examples/read_stream.sh "$server"
prints to_opencv.py "${stamp}640x480 .* moved  seen [0-9]+ ms after capture" -- "$python" examples/to_opencv.py "$server"

# What a slow reader gets must be recent all the same. First without a clock: all of ten seconds has arrived when it comes
# back; then with one: as fast as time goes by, so do the stamps of what it gets.
cat >"$work/slow.py" <<'END'
import struct, sys, threading, time
sys.path.insert(0, "examples")
import read_stream
class Line:
    """Ten seconds of a stream, all at once; then silence."""
    def __init__(self):
        self.whole = threading.Event()
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass
    def send(self, _):
        pass
    def __iter__(self):
        messages = [(b"v", n * 40, (640, 480)) for n in range(250)] + [(b"a", n * 20, (48000, 1)) for n in range(500)]
        for kind, ms, shape in sorted(messages, key=lambda m: m[1]):
            head = struct.pack("<cBHIQ", kind, 24, 0, 0, 10**18 + ms * 10**6)
            yield head + struct.pack("<IH" if kind == b"a" else "<HH", *shape).ljust(8, b"\0")
        self.whole.set()
        threading.Event().wait()
line, real = Line(), read_stream.connect
read_stream.connect = lambda *_, **__: line
packets = read_stream.packets()
next(packets)
assert line.whole.wait(60)
given = [next(packets)]
while given[-1].ns < 10**18 + 9_980 * 10**6:
    given.append(next(packets))
pictures, sounds = ([(p.ns - 10**18) // 10**6 for p in given if p.kind == kind] for kind in ("video", "audio"))
assert pictures == [9_960], f"pictures of {pictures} ms after ten seconds"
assert sounds == list(range(sounds[0], 10_000, 20)) and sounds[0] >= 8_980, f"sound of {sounds} ms after ten seconds"

read_stream.connect = real
given = []
for packet in read_stream.packets(sys.argv[1]):
    given.append((packet.kind, packet.stamp, time.time()))
    if len(given) == 24:
        break
    time.sleep(0.4)
# One that gives everything in turn comes 24/65 s far in these ten.
for kind in ("video", "audio"):
    (_, first, begin), *_, (_, last, end) = (g for g in given if g[0] == kind)
    assert last - first > 0.5 * (end - begin), f"{kind}: the stamps of {end - begin:.1f} s cover {last - first:.1f} s"
END
if timeout 120 "$python" "$work/slow.py" "$server" >"$work/out" 2>&1; then
    ok "read_stream.py gives a slow reader the newest picture and a second of sound"
else
    not_ok "read_stream.py gives a slow reader the newest picture and a second of sound"
fi

# A recording: JPEGs named by their stamps, and a WAV in which each beep is 100 ms of 1 kHz, one second apart.
timeout 60 "$python" examples/record.py "$server" "$work/recording" 4 >"$work/out" 2>&1 || true
if "$python" - "$work/recording" >>"$work/out" 2>&1 <<'END'; then ok record.py; else not_ok record.py; fi
import re, sys, wave
from pathlib import Path
import cv2, numpy
folder = Path(sys.argv[1])
pictures = sorted(folder.glob("*.jpg"))
assert len(pictures) > 3, f"{len(pictures)} pictures"
assert all(re.fullmatch(r"\d{10}\.\d{6}", picture.stem) for picture in pictures)
assert cv2.imread(str(pictures[0])).shape == (480, 640, 3)
(file,) = folder.glob("*.wav")
sound = wave.open(str(file))
assert (sound.getframerate(), sound.getnchannels()) == (48000, 1)
samples = numpy.frombuffer(sound.readframes(sound.getnframes()), numpy.int16).astype(int)
assert len(samples) > 3 * 48000, f"{len(samples)} samples"
loud = numpy.flatnonzero(abs(samples) > 1000)
starts = loud[numpy.flatnonzero(numpy.diff(loud, prepend=-48000) > 24000)]
assert len(starts) >= 3 and max(abs(numpy.diff(starts)[1:] - 48000)) < 480, f"beeps begin at {starts}"
END

echo "$passed passed, $failed failed"
[ $failed = 0 ]
