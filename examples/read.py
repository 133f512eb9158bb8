"""Prints what arrives: python3 -m pip install websockets; python3 read.py [ws://HOST:PORT/stream]"""
import base64
import sys

from websockets.sync.client import connect

with connect(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8080/stream", max_size=None) as stream:
    for packet in stream:
        kind, stamp, *rest = packet.split(":")
        data = base64.b64decode(rest[-1])
        if kind == "video":
            print(f"{stamp}  picture of {rest[0]}x{rest[1]}: {len(data)} bytes of JPEG", flush=True)
        else:
            print(f"{stamp}  sound: {len(data) // 2} samples", flush=True)
