"""Both streams as an iterator that yields the newest frame, however slow its user is. python3 read_stream.py [HOST:PORT]
    for packet in packets("localhost:8080"):
        packet.kind ("video", "audio", "event"), packet.stamp (capture time, UNIX seconds), packet.name (as text), packet.data
"""
import struct
import sys
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from urllib.parse import urlencode

from websockets.sync.client import connect  # pip install websockets (on Debian in a venv: see README.md)


@dataclass
class Packet:
    kind: str  # "video": data is a JPEG; "audio": 16-bit little-endian samples; "event": JSON
    ns: int  # capture time, UNIX nanoseconds
    sequence: int  # per kind; after a gap it jumps
    data: bytes
    shape: tuple  # video: width, height; audio: samples per second, channels
    stamp = property(lambda self: self.ns / 1e9, doc="UNIX seconds, for arithmetic.")
    name = property(lambda self: f"{self.ns // 10**9}.{self.ns // 1000 % 10**6:06}", doc="The stamp with the digits of /stream, for file names.")


def read(stream, arrived):
    """Reads everything from the network at once, so that nothing gets old there. None is the end."""
    try:
        for message in stream:
            kind, header_bytes, _, sequence, ns = struct.unpack_from("<cBHIQ", message)
            shape = struct.unpack_from("<IH" if kind == b"a" else "<HH", message, 16)
            arrived.put(Packet({b"v": "video", b"a": "audio", b"e": "event"}[kind], ns, sequence, message[header_bytes:], shape))
            if kind == b"v":
                stream.send("ack")  # with window=2 at most two frames are in flight
    finally:
        arrived.put(None)


def packets(server="localhost:8080", backlog=0, **query):
    """Yields the newest frame and the last second of audio, or all of the last `backlog` seconds, until the server closes.
    `query`: video=0, audio=0, max_fps=…, audio_rate=…, events=1, token=…"""
    query = urlencode({"format": "binary", "window": 2, **query})
    stays = {"video": backlog, "audio": max(backlog, 1), "event": 60}  # seconds
    with connect(f"ws://{server}/stream?{query}", max_size=None, compression=None) as stream:
        arrived, waiting, last = SimpleQueue(), [], ""
        Thread(target=read, args=(stream, arrived), daemon=True).start()
        while True:
            while not waiting or not arrived.empty():
                if (new := arrived.get()) is None:
                    return
                waiting = [p for p in waiting if p.kind != new.kind or new.stamp - p.stamp <= stays[p.kind]] + [new]
            waiting.sort(key=lambda p: p.kind == last)  # alternate between the kinds, so that none waits for all of another
            last = waiting[0].kind
            yield waiting.pop(0)


if __name__ == "__main__":
    for packet in packets(*sys.argv[1:2]):
        print(packet.name + " ", packet.kind, *packet.shape, len(packet.data), "bytes", flush=True)
