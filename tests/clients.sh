#!/bin/bash
# tests/clients.sh PROGRAM: starts PROGRAM with the test camera and points at it what people point at camera servers: curl,
# ffmpeg, ffprobe, OpenCV, GStreamer, VLC, promtool. Each check is a line; the exit code is 1 when any failed.
set -euo pipefail

program=$(realpath "$1")
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -rf "$work"' EXIT

"$program" --camera-type test --enable-audio --host 127.0.0.1 --port 0 2>"$work/log" &
server=$!
for _ in $(seq 100); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$work/log")
    [ -z "$url" ] || break
    sleep 0.1
done
[ -n "$url" ] || {
    cat "$work/log"
    exit 1
}

passed=0
failed=0
# check NAME COMMAND…: passes when the command does and prints nothing on stderr.
check() {
    local name=$1
    shift
    # What is no program of its own bounds its waits itself.
    local limit=(timeout 60)
    [ "$(type -t "$1")" != function ] || limit=()
    if "${limit[@]}" "$@" >"$work/out" 2>"$work/err" && [ ! -s "$work/err" ]; then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/        /' "$work/out" "$work/err" | head -20
    fi
}

check "curl: a snapshot is a JPEG" bash -c "curl -fsS $url/snapshot.jpg -o $work/s.jpg && ffprobe -v error -of csv=p=0 -show_entries stream=codec_name,width,height $work/s.jpg | grep -qx mjpeg,640,480"
check "curl: the state in ustreamer's shape" bash -c "curl -fsS $url/state | python3 -c 'import json,sys; assert json.load(sys.stdin)[\"result\"][\"source\"][\"online\"]'"
check "ffprobe and ffmpeg: a snapshot without a warning" bash -c "ffprobe -v warning -of csv=p=0 -show_entries stream=codec_name,width,height $url/snapshot.jpg | grep -qx mjpeg,640,480 && ffmpeg -nostdin -hide_banner -v warning -i $url/snapshot.jpg -f null -"
check "ffmpeg: 30 frames of MJPEG without a warning" ffmpeg -nostdin -hide_banner -v warning -f mpjpeg -i "$url/stream.mjpg" -frames:v 30 -f null -
check "ffmpeg: the same address without an upgrade" ffmpeg -nostdin -hide_banner -v warning -f mpjpeg -i "$url/stream" -frames:v 5 -f null -
check "ffmpeg: mjpg-streamer's dialect" ffmpeg -nostdin -hide_banner -v warning -f mpjpeg -i "$url/?action=stream" -frames:v 5 -f null -
check "ffprobe: MJPEG of 640x480 without a warning" bash -c "ffprobe -v warning -f mpjpeg -of csv=p=0 -show_entries stream=codec_name,width,height $url/stream.mjpg | grep -qx mjpeg,640,480"
# ffmpeg takes MJPEG to be 25 fps whatever comes: the frames that ffprobe counts are set against the stamps in their headers,
# which lie on the test camera's grid of 15 a second however fast this machine is.
check "ffprobe: every frame that was sent, 15 a second by their stamps" python3 - "$url/stream.mjpg" "$work/frames.mjpg" <<'PYTHON'
import math, re, subprocess, sys, urllib.request

address, path = sys.argv[1:]
stamps = []
with urllib.request.urlopen(address, timeout=20) as stream, open(path, "wb") as file:
    while len(stamps) < 40:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.readline()
        stamps.append(float(re.search(rb"X-Timestamp: ([0-9.]+)", head)[1]))
        file.write(head + stream.read(int(re.search(rb"Content-Length: (\d+)", head)[1])) + stream.readline())
steps = [(after - before) * 15 for before, after in zip(stamps, stamps[1:])]
assert all(round(step) >= 1 and abs(step - round(step)) < 0.01 for step in steps), steps
assert math.gcd(*(round(step) for step in steps)) == 1, f"less than 15 a second: {steps}"
probe = ["ffprobe", "-v", "warning", "-f", "mpjpeg", "-count_frames", "-of", "csv=p=0", "-show_entries", "stream=nb_read_frames"]
counted = subprocess.run([*probe, path], check=True, stdout=subprocess.PIPE, text=True).stdout
assert int(counted) == len(stamps), counted
PYTHON
check "ffprobe: a WAV of 3 seconds without a warning" bash -c "ffprobe -v warning -of csv=p=0 -show_entries format=duration '$url/audio.wav?seconds=3' | grep -qx 3.000000"
# Of mono without a named layout ffmpeg says that it guesses; so nothing is to be guessed.
check "ffmpeg: a WAV of 2 seconds without a warning" ffmpeg -nostdin -hide_banner -v warning -guess_layout_max 0 -i "$url/audio.wav?seconds=2" -f null -
# Of a WAV without end it says at "warning" that its size is the maximum (docs/recipes.md).
check "ffmpeg: 2 seconds of the endless WAV" ffmpeg -nostdin -hide_banner -v error -i "$url/audio.wav" -t 2 -f null -
check "ffmpeg: picture and sound into one file" ffmpeg -nostdin -hide_banner -v error -probesize 32 -analyzeduration 0 -use_wallclock_as_timestamps 1 -i "$url/audio.wav" -probesize 32 -analyzeduration 0 -use_wallclock_as_timestamps 1 -isync 0 -f mpjpeg -i "$url/stream.mjpg" -af aresample=async=1 -c:v copy -c:a aac -t 3 "$work/out.mkv"
check "ffprobe: that file has both" bash -c "ffprobe -v error -of csv=p=0 -show_entries stream=codec_name $work/out.mkv | sort | tr '\n' ' ' | grep -qx 'aac mjpeg '"
check "GStreamer: souphttpsrc ! multipartdemux ! jpegdec" gst-launch-1.0 -q souphttpsrc "location=$url/stream.mjpg" is-live=true ! multipartdemux ! jpegdec ! fakesink num-buffers=15
check "promtool: check metrics" bash -c "curl -fsS $url/metrics | promtool check metrics"

# VLC refuses to be root: then it is nobody. It does not end an MJPEG stream by itself, so its pictures are counted.
vlc=(env "HOME=$work/vlc" cvlc -q)
[ "$(id -u)" != 0 ] || vlc=(setpriv --reuid=65534 --regid=65534 --clear-groups "${vlc[@]}")
chmod 711 "$work"
mkdir -m 777 "$work/vlc"
vlc_sees() {
    local scene=(--no-audio --vout=dummy --video-filter=scene "--scene-path=$work/vlc" --scene-format=png --scene-ratio=1)
    "${vlc[@]}" "${scene[@]}" "$url/stream.mjpg" &
    local player=$!
    for _ in $(seq 500); do
        if compgen -G "$work/vlc/scene00030.png" >/dev/null; then break; fi
        sleep 0.1
    done
    kill $player
    wait $player || true
    ffprobe -v error -of csv=p=0 -show_entries stream=codec_name,width,height "$work/vlc/scene00029.png" | grep -qx png,640,480
}
vlc_hears() {
    timeout 60 "${vlc[@]}" --no-video "--sout=#std{access=file,mux=wav,dst=$work/vlc/a.wav}" --run-time=3 "$url/audio.wav" vlc://quit
    ffprobe -v error -of csv=p=0 -show_entries stream=codec_name,sample_rate "$work/vlc/a.wav" | grep -qx pcm_s16le,48000
}
check "VLC: 30 pictures of MJPEG" vlc_sees
check "VLC: the endless WAV" vlc_hears

python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install opencv-python-headless
check "OpenCV: VideoCapture gives 30 frames" "$work/venv/bin/python" - "$url/stream.mjpg" <<'PYTHON'
import sys
import cv2

capture = cv2.VideoCapture(sys.argv[1])
assert capture.isOpened(), "it does not open"
for _ in range(30):
    good, frame = capture.read()
    assert good and frame.shape == (480, 640, 3), (good, frame.shape)
PYTHON

echo "clients: $passed passed, $failed failed"
[ $failed = 0 ]
