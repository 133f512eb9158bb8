#!/bin/bash
# tests/examples.sh PROGRAM: runs the README's programs and each one of examples/ against PROGRAM with its test camera, and
# looks at what it really printed or wrote. The speech recogniser listens to espeak-ng, which the test beep
# cannot replace: a stand-in server says its sentence.
set -euo pipefail

program=$(realpath "$1")
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

python=$PWD/target/examples-python/bin/python3
[ -x "$python" ] || python3 -m venv target/examples-python
"$python" -c 'import cv2, pocketsphinx, websockets' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check websockets opencv-python-headless pocketsphinx

# A global WebSocket since Node 22; before, behind an option.
node=(node)
[ "$(node -p 'typeof WebSocket')" = function ] || node=(node --experimental-websocket)

stamp='^[0-9]{10}\.[0-9]{6}  '
picture="${stamp}picture of 640x480: [0-9]{5} bytes"

# in_readme LANGUAGE: the README's program in it, pointed at our server. (Python keeps what it prints when nobody looks.)
in_readme() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" README.md | sed "/^\`\`\`/d; s/localhost:8080/$server/"; }
in_readme python >"$work/readme.py"
in_readme js >"$work/readme.mjs"
prints "the README's Python" "${picture} of JPEG" -- "$python" -u "$work/readme.py"
prints "the README's JavaScript" "$picture" "${stamp}sound: [0-9]+ samples" -- "${node[@]}" "$work/readme.mjs"

prints read_stream.py "${stamp}video 640 480 [0-9]+ bytes" "${stamp}audio 48000 1 [0-9]+ bytes" -- "$python" examples/read_stream.py "$server"
prints read_stream.mjs "$picture" "${stamp}sound: [0-9]+ samples at 48000 Hz" -- \
    "${node[@]}" examples/read_stream.mjs "$server"
cargo build --quiet --locked --example read_stream
prints read_stream.rs "$picture" "${stamp}sound: [0-9]+ samples at 48000 Hz" -- target/debug/examples/read_stream "$server"
prints read_stream.sh "$picture" "${stamp}sound: [0-9]+ samples" -- examples/read_stream.sh "$server"
prints to_opencv.py "${stamp}640x480 .* moved  seen [0-9]+ ms after capture" -- "$python" examples/to_opencv.py "$server"

# A reader that dawdles: what it gets must be recent all the same.
cat >"$work/slow.py" <<'END'
import sys, time
sys.path.insert(0, "examples")
from read_stream import packets
ages = []
kinds = set()
for packet in packets(sys.argv[1]):
    ages.append(time.time() - packet.stamp)
    kinds.add(packet.kind)
    time.sleep(0.1)
    if len(ages) == 80:
        break
# Eighty packets take eight seconds, in which five hundred are captured. Sound may be a second old.
assert kinds == {"video", "audio"}, kinds
sys.exit(0 if max(ages[10:]) < 4 else f"packets were up to {max(ages[10:]):.1f} s old")
END
if timeout 60 "$python" "$work/slow.py" "$server" >"$work/out" 2>&1; then
    ok "read_stream.py never gives a slow reader anything old"
else
    not_ok "read_stream.py never gives a slow reader anything old"
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

# Speech: the words, and their times against the time at which the sentence was said.
[ -d tests/page/node_modules/ws ] || (cd tests/page && npm ci --no-audit --no-fund)
espeak-ng -v en-us -s 130 -w "$work/sentence.wav" "left. right. stop. forward. stop"
node tests/page/fake-server.js 0 "$work/sentence.wav" >"$work/said" &
servers+=($!)
speaker=$(address_in "$work/said")
words=(left right stop forward back)
sentence=()
for word in left right stop forward stop; do sentence+=("^[0-9.]+ [0-9.]+ $word\$"); done
prints speech.py "${sentence[@]}" -- "$python" examples/speech.py "$speaker" "${words[@]}"
if "$python" - "$work/said" "$work/out" >"$work/judged" 2>&1 <<'END'; then
import re, sys
said = [tuple(map(float, span)) for span in re.findall(r"speech from (\S+) to (\S+)", open(sys.argv[1]).read())]
heard = [(float(a), float(b), word) for a, b, word in re.findall(r"^(\S+) (\S+) (\w+)$", open(sys.argv[2]).read(), re.M)]
for begin, end, word in heard:
    # A tenth of a second of silence goes with the first word.
    assert any(a - 0.2 <= begin < end <= b + 0.2 for a, b in said), f"{word} at {begin} to {end}; said {said}"
begins = [begin for begin, _, _ in heard]
assert len(heard) >= 5 and begins == sorted(begins), heard
END
    ok "speech.py's word times lie within the sentence"
else
    cat "$work/judged" >>"$work/out"
    not_ok "speech.py's word times lie within the sentence"
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
