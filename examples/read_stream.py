"""Both streams as an iterator that never gives you an old picture, however slow you are. python3 read_stream.py [HOST:PORT]
    for packet in packets("localhost:8080"):
        packet.kind ("video", "audio", "event"), packet.stamp (UNIX seconds of capture), packet.name (the same), packet.data
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
    ns: int  # UNIX nanoseconds at which it was captured
    sequence: int  # per kind; a jump means that packets are missing
    data: bytes
    shape: tuple  # of video: width, height; of audio: samples per second, channels
    stamp = property(lambda self: self.ns / 1e9, doc="UNIX seconds, for reckoning.")
    name = property(lambda self: f"{self.ns // 10**9}.{self.ns // 1000 % 10**6:06}", doc="The stamp's digits on /stream, for file names.")


def read(stream, arrived):
    """Takes everything off the network at once, so that nothing grows old there. None is the end."""
    try:
        for message in stream:
            kind, header_bytes, _, sequence, ns = struct.unpack_from("<cBHIQ", message)
            shape = struct.unpack_from("<IH" if kind == b"a" else "<HH", message, 16)
            arrived.put(Packet({b"v": "video", b"a": "audio", b"e": "event"}[kind], ns, sequence, message[header_bytes:], shape))
            if kind == b"v":
                stream.send("ack")  # with window=2 no more than two pictures are ever on their way
    finally:
        arrived.put(None)


def packets(server="localhost:8080", backlog=0, **query):
    """Yields the newest picture and the last second's sound, or all of the last `backlog` seconds, until the server closes.
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
            waiting.sort(key=lambda p: p.kind == last)  # the kinds take turns, so that none waits for all of another
            last = waiting[0].kind
            yield waiting.pop(0)


if __name__ == "__main__":
    for packet in packets(*sys.argv[1:2]):
        print(packet.name + " ", packet.kind, *packet.shape, len(packet.data), "bytes", flush=True)
