"""Plays stampcast by /api/webrtc/offer with aiortc (PyPI), an independent implementation.

python3 aiortc_player.py PROGRAM      exits with 0 if video and audio arrived
"""

import asyncio
import json
import sys
import urllib.request

from aiortc import RTCPeerConnection, RTCSessionDescription

from program import Program

FRAMES = 60
CHUNKS = 100


async def main(server: str) -> None:
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="recvonly")
    peer.addTransceiver("audio", direction="recvonly")
    got = {}

    async def read(track, count):
        frames = [await track.recv() for _ in range(count)]
        first, last = frames[0], frames[-1]
        got[track.kind] = (count, float((last.pts - first.pts) * last.time_base))
        if track.kind == "video":
            got["size"] = (last.width, last.height)
        else:
            got["peak"] = max(abs(s) for f in frames for s in memoryview(bytes(f.planes[0])).cast("h"))

    readers = []
    peer.on("track", lambda track: readers.append(asyncio.ensure_future(read(track, FRAMES if track.kind == "video" else CHUNKS))))
    await peer.setLocalDescription(await peer.createOffer())
    body = json.dumps({"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}).encode()
    request = urllib.request.Request(f"{server}/api/webrtc/offer", body, {"Content-Type": "application/json"})
    answer = json.load(await asyncio.to_thread(urllib.request.urlopen, request))
    await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
    async with asyncio.timeout(30):
        await asyncio.gather(*readers)
    await peer.close()
    print(got)
    assert got["size"] == (640, 480) and got["peak"] > 8000, got  # the test pattern and its tone


camera = Program(sys.argv[1])
asyncio.run(main(camera.url))
camera.end()
