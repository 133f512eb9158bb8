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
# ffmpeg takes MJPEG to be 25 fps whatever comes; the frames themselves are counted against the clock.
check "ffmpeg: 30 frames of MJPEG without a warning" ffmpeg -nostdin -hide_banner -v warning -f mpjpeg -i "$url/stream.mjpg" -frames:v 30 -f null -
check "ffmpeg: the same address without an upgrade" ffmpeg -nostdin -hide_banner -v warning -f mpjpeg -i "$url/stream" -frames:v 5 -f null -
check "ffmpeg: mjpg-streamer's dialect" ffmpeg -nostdin -hide_banner -v warning -f mpjpeg -i "$url/?action=stream" -frames:v 5 -f null -
check "ffprobe: MJPEG of 640x480" bash -c "ffprobe -v error -f mpjpeg -of csv=p=0 -show_entries stream=codec_name,width,height $url/stream.mjpg | grep -qx mjpeg,640,480"
check "ffprobe: a WAV of 3 seconds" bash -c "curl -fsS '$url/audio.wav?seconds=3' -o $work/a.wav && ffprobe -v error -of csv=p=0 -show_entries format=duration $work/a.wav | grep -qx 3.000000"
check "ffmpeg: 2 seconds of the endless WAV" ffmpeg -nostdin -hide_banner -v error -i "$url/audio.wav" -t 2 -f null -
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
