"""Receives what stampcast publishes by WHIP (RFC 9725) with aiortc, aiohttp and numpy (PyPI), independent implementations.

python3 aiortc_sink.py PROGRAM      starts PROGRAM --whip; redirects, requires a token, stops, restarts
"""

import asyncio
import datetime
import ssl
import sys
import tempfile
import time

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from program import Program, time_code

TOKEN = "s3cret-of-the-sink"
FRAMES = 60


class Sink:
    """A WHIP endpoint at /start, which redirects to /live/whip."""

    def __init__(self):
        self.token = TOKEN
        self.requests, self.refused, self.deleted = [], 0, []
        self.sessions = {}
        self.codes, self.tones = [], 0
        self.ending = False

    async def start(self, port=0, tls=None):
        app = web.Application()
        app.router.add_post("/start", self.redirect)
        app.router.add_post("/live/whip", self.offer)
        app.router.add_delete("/live/sessions/{id}", self.delete)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True, ssl_context=tls)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self):
        """As if killed: nothing is sent over HTTP, and the sessions go silent."""
        await self.runner.cleanup()
        for peer in self.sessions.values():
            await peer.close()

    def is_known(self, request):
        self.requests.append((request.method, request.path))
        known = request.headers.get("Authorization") == f"Bearer {self.token}"
        self.refused += not known
        return known

    async def redirect(self, request):
        return web.Response(status=307, headers={"Location": "live/whip"}) if self.is_known(request) else web.Response(status=401)

    async def offer(self, request):
        if not self.is_known(request):
            return web.Response(status=401)
        assert request.content_type == "application/sdp", request.content_type
        offer = await request.text()
        assert "a=sendonly" in offer and "a=setup:actpass" in offer, offer
        peer = RTCPeerConnection()
        name = str(len(self.sessions) + 1)
        self.sessions[name] = peer
        peer.on("track", lambda track: asyncio.ensure_future(self.read(track)))
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        # Relative to /live/whip. Link names STUN and TURN servers.
        headers = {"Location": f"sessions/{name}", "Link": '<turn:turn.example.net>; rel="ice-server"; username="u"; credential="c"'}
        return web.Response(status=201, content_type="application/sdp", text=peer.localDescription.sdp, headers=headers)

    async def delete(self, request):
        if not self.is_known(request):
            return web.Response(status=401)
        name = request.match_info["id"]
        self.deleted.append(name)
        await self.sessions[name].close()
        return web.Response()

    async def read(self, track):
        try:
            while True:
                frame = await track.recv()
                if self.ending:
                    continue
                if track.kind == "video":
                    assert (frame.width, frame.height) == (640, 480)
                    self.codes.append((time.time(), time_code(frame.to_ndarray(format="gray"))))
                else:
                    self.tones += int(abs(frame.to_ndarray()).max() > 8000)
        except Exception as e:
            if type(e).__name__ != "MediaStreamError":
                print(f"reading {track.kind}: {e!r}")
                raise


    async def end(self, camera):
        """Ends the program, which has 1.5 s for its DELETE; decoding would take them on a loaded machine."""
        self.ending = True
        await asyncio.to_thread(camera.end)


async def until(look, what, patience=20):
    deadline = time.monotonic() + patience
    while not look():
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        await asyncio.sleep(0.02)


def check_time(codes):
    """The time codes of the frames increase, and are not old (a loaded machine decodes late)."""
    read = [(at, code) for at, code in codes if code]
    assert len(read) >= len(codes) * 0.95, f"{len(read)} of {len(codes)} time codes can be read"
    latency = sorted(at - code for at, code in read)
    assert 0 < latency[0] and latency[len(latency) // 2] < 5, latency
    steps = [b[1] - a[1] for a, b in zip(read, read[1:])]
    assert all(step > 0 for step in steps), steps
    return f"{len(read)} frames, median latency {latency[len(latency) // 2] * 1000:.0f} ms"


def certificate(file):
    """A server's TLS context with a self-signed certificate for localhost, which is written to `file`."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test sink")])
    now, names = datetime.datetime.now(datetime.timezone.utc), x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    # As `openssl req -x509` makes them: an authority and a server in one.
    made = made.add_extension(names, critical=False).add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    file.write(made.public_bytes(pem))
    file.flush()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as both:
        both.write(made.public_bytes(pem))
        both.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        both.flush()
        context.load_cert_chain(both.name)
    return context


async def over_tls(program):
    """In its sandbox, the program resolves the name and reads --whip-ca; without --whip-ca it does not connect."""
    sink = Sink()
    with tempfile.NamedTemporaryFile() as ca:
        await sink.start(tls=certificate(ca))
        options = ["--whip", f"https://localhost:{sink.port}/start", "--whip-token", TOKEN]
        untrusting = await asyncio.to_thread(Program, program, *options)
        await asyncio.to_thread(untrusting.line, r"WARN .*WHIP.*certificate is not trusted.*--whip-ca")
        await asyncio.to_thread(untrusting.end)
        assert not sink.requests, sink.requests
        camera = await asyncio.to_thread(Program, program, *options, "--whip-ca", ca.name)
        await until(lambda: len(sink.codes) >= FRAMES, "frames over TLS", 40)
        shown = open(f"/proc/{camera.process.pid}/cmdline").read()
        assert TOKEN not in shown and "/start" not in shown, shown
        await sink.end(camera)
    assert sink.deleted == ["1"], sink.requests
    await sink.stop()
    print("TLS: published with --whip-ca, refused without")


async def main(program):
    await over_tls(program)
    sink = Sink()
    await sink.start()
    with tempfile.NamedTemporaryFile("w") as token:
        token.write("wrong\n")
        token.flush()
        url = f"http://127.0.0.1:{sink.port}/start"
        camera = await asyncio.to_thread(Program, program, "--whip", url, "--whip-token-file", token.name)
        await asyncio.to_thread(camera.line, r"WARN .*WHIP.*401.*--whip-token")
        await until(lambda: sink.refused >= 2, "a second attempt with the wrong token")
        # Tokens are renewed by rename or, as here, by writing.
        with open(token.name, "w") as renewed:
            renewed.write(f"{TOKEN}\n")
        await until(lambda: len(sink.codes) >= FRAMES and sink.tones >= 1, "frames and a tone", 40)
        assert sink.requests[-2:] == [("POST", "/start"), ("POST", "/live/whip")], sink.requests
        print("published:", check_time(sink.codes))
        state = await asyncio.to_thread(camera.webrtc)
        assert state["whip"]["state"] == "connected" and state["whip"]["server"] == f"http://127.0.0.1:{sink.port}", state
        assert [s["kind"] for s in state["sessions"]] == ["whip"] and state["sessions"][0]["connected"], state
        assert "stampcast_whip_up 1" in await asyncio.to_thread(camera.get, "/metrics")

        port = sink.port
        await sink.stop()
        await asyncio.to_thread(camera.line, r"WARN .*WHIP.*session ended")
        await until(lambda: camera.webrtc()["whip"]["failures"] >= 3, "an attempt while the sink is away", 30)
        again = Sink()
        await again.start(port)
        await until(lambda: len(again.codes) >= FRAMES and again.tones >= 1, "frames after the sink's restart", 60)
        print("after a restart:", check_time(again.codes))
        await again.end(camera)
        assert again.deleted == ["1"] and again.refused == 0, (again.deleted, again.requests)
        await again.stop()

    log = "\n".join(camera.lines)
    assert log.count("401") == 1, "a repeated failure is logged once"
    assert log.count("TURN") == 1, "relays not being supported is logged once"
    assert log.count("publishing to") == 2
    for secret in (TOKEN, "a=candidate", "ufrag", "/start", "/live"):
        assert secret not in log, f"{secret} is in the log"
    print("ended: DELETE after SIGTERM")


asyncio.run(main(sys.argv[1]))
