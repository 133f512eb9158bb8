#!/bin/bash
# Reads both streams in a shell with curl: read_stream.sh [HOST:PORT]
#
#   read_stream.sh localhost:8080                    prints what arrives
#   read_stream.sh --raw | grep -m 1 ^video | cut -d : -f 5 | base64 -d >picture.jpg
#
# --raw prints the messages unchanged, one per line: video:<stamp>:<width>:<height>:<base64>, audio:<stamp>:<base64>.
set -euo pipefail
export LC_ALL=C # bytes, not characters

raw=
[ "${1:-}" != --raw ] || { raw=yes && shift; }
server=${1:-localhost:8080}

# curl performs the handshake of a WebSocket client and prints the raw frames. Each begins with the byte 0x81, which the text
# never contains: replaced by a newline, it separates them. Between it and the text is the frame's length.
messages() {
    curl --silent --show-error --no-buffer --http1.1 \
        --header "Connection: Upgrade" --header "Upgrade: websocket" --header "Sec-WebSocket-Version: 13" \
        --header "Sec-WebSocket-Key: $(head -c 16 /dev/urandom | base64)" "http://$server/stream" |
        tr '\201' '\n' |
        grep --text --only-matching --line-buffered -E '(video:[0-9.]+:[0-9]+:[0-9]+|audio:[0-9.]+):[A-Za-z0-9+/=]+'
}

if [ -n "$raw" ]; then
    messages
else
    messages | awk -F : '
        function bytes(base64) { return length(base64) * 3 / 4 - gsub("=", "", base64) }
        $1 == "video" { printf "%s  frame of %sx%s: %d bytes\n", $2, $3, $4, bytes($5) }
        $1 == "audio" { printf "%s  audio: %d samples\n", $2, bytes($3) / 2 }
        { fflush() }'
fi
