"""Both streams as an iterator that never gives you an old picture, however slow you are.

    pip install websockets        (on Debian in a venv: see README.md)
    python3 read_stream.py [HOST:PORT]

    for packet in packets("localhost:8080"):
        packet.kind ("video", "audio", "event"), packet.stamp (UNIX seconds of capture), packet.data
"""
import struct
import sys
from dataclasses import dataclass
from urllib.parse import urlencode

from websockets.sync.client import connect


@dataclass
class Packet:
    kind: str  # "video": data is a JPEG; "audio": 16-bit little-endian samples; "event": JSON
    stamp: float  # UNIX seconds at which it was captured
    sequence: int  # per kind; a jump means packets are missing
    data: bytes
    width: int = 0  # of video
    height: int = 0
    rate: int = 0  # of audio, samples per second
    channels: int = 0

    @property
    def name(self):
        """The stamp with six decimals, good for file names."""
        return f"{self.stamp:.6f}"


def packets(server="localhost:8080", **query):
    """Yields what arrives until the server closes. `query`: video=0, audio=0, max_fps=…, audio_rate=…, token=…"""
    # window=1: the server sends the next picture only after "ack", so none grows old in the network's buffers.
    query = urlencode({"format": "binary", "window": 1, **query})
    with connect(f"ws://{server}/stream?{query}", max_size=None, compression=None) as stream:
        for message in stream:
            kind, header_bytes, _flags, sequence, nanoseconds = struct.unpack_from("<cBHIQ", message)
            data = message[header_bytes:]
            stamp = nanoseconds / 1e9
            if kind == b"v":
                width, height = struct.unpack_from("<HH", message, 16)
                yield Packet("video", stamp, sequence, data, width=width, height=height)
                stream.send("ack")  # reached when you ask for the next packet: you are done with this one
            elif kind == b"a":
                rate, channels = struct.unpack_from("<IH", message, 16)
                yield Packet("audio", stamp, sequence, data, rate=rate, channels=channels)
            elif kind == b"e":
                yield Packet("event", stamp, sequence, data)


if __name__ == "__main__":
    for packet in packets(*sys.argv[1:2]):
        if packet.kind == "video":
            print(f"{packet.name}  picture of {packet.width}x{packet.height}: {len(packet.data)} bytes", flush=True)
        elif packet.kind == "audio":
            print(f"{packet.name}  sound: {len(packet.data) // 2 // packet.channels} samples at {packet.rate} Hz", flush=True)
