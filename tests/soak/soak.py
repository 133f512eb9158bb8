"""One soak run: starts the program, watches it as viewers of several manners, kills its processes, and judges.

Usage: soak.py PROGRAM MINUTES PLOT.svg      (see tests/soak.sh)
Knows the wire format and procfs; needs nothing but Python's own library.
"""

import asyncio
import json
import os
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urljoin

KINDS = {b"v": "video", b"a": "audio"}
WORKERS = ("stampcast-video", "stampcast-audio")
SERVER = "stampcast-serve"
# No packet for so long, with every process running, and the viewer has found a fault of its own.
PATIENCE_S = 30
# What memory and descriptors may grow by, once warm: noise of allocators and of viewers just coming in.
MEMORY_NOISE_KIB = 6 * 1024
DESCRIPTOR_NOISE = 8
# The same for the server alone, in the part of a long run in which it is not killed.
SERVER_NOISE_KIB = 2 * 1024


# What a browser offers that wants to see and hear; nobody is behind it.
OFFER = "\r\n".join((
    "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1",
    *(line
      for mid, media in enumerate((("video", 102, "H264/90000"), ("audio", 111, "opus/48000/2")))
      for line in (
          f"m={media[0]} 9 UDP/TLS/RTP/SAVPF {media[1]}", "c=IN IP4 0.0.0.0", "a=ice-ufrag:soak", "a=ice-pwd:" + 6 * "soak",
          "a=fingerprint:sha-256 " + ":".join(["A5"] * 32), "a=setup:actpass", f"a=mid:{mid}", "a=recvonly", "a=rtcp-mux",
          f"a=rtpmap:{media[1]} {media[2]}",
          *(("a=fmtp:102 packetization-mode=1;profile-level-id=42e01f",) if mid == 0 else ()),
      )),
    "",
))


class Tally:
    """What all viewers together saw."""

    def __init__(self):
        self.packets = self.connections = self.missing = self.told = self.sessions = 0
        self.causes = {}
        self.unaccounted = []
        self.faults = []


class Accounts:
    """One connection's packets: what is missing between two must have been told just before the second."""

    def __init__(self, tally, name, thinned):
        # What `max_fps` leaves out is not missing, but its numbers are.
        self.tally, self.name, self.thinned = tally, name, thinned
        self.last, self.told = {}, {}

    def message(self, data):
        header, payload = data[:24], data[24:]
        sequence = struct.unpack_from("<I", header, 4)[0]
        if header[:1] == b"e":
            event = json.loads(payload)
            if event["event"] == "gap":
                self.gap(event)
            return
        stream = KINDS[header[:1]]
        told = self.told.pop(stream, 0)
        if stream in self.last:
            missing = (sequence - self.last[stream] - 1) % 2**32
            thinned = stream == "video" and self.thinned
            if not thinned:
                self.tally.missing += missing
                self.tally.told += told
            if missing < told if thinned else missing != told:
                self.tally.unaccounted.append(f"{self.name}: {stream} {sequence}: {missing} missing, {told} told")
        self.last[stream] = sequence
        self.tally.packets += 1

    def gap(self, event):
        # An absence of unknown length has no count, and no numbers are missing for it.
        stream, count = event["stream"], event["count"] or 0
        self.told[stream] = self.told.get(stream, 0) + count
        self.tally.causes[event["cause"]] = self.tally.causes.get(event["cause"], 0) + 1


class Connection:
    """A WebSocket to read from, by hand: a library would hide what the soak is to see."""

    @classmethod
    async def open(cls, port, query):
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        self.writer.write(
            f"GET /stream?format=binary&events=1{query} HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(head.split(b"\r\n")[0].decode())
        return self

    async def message(self):
        """The next binary message; None at the end."""
        first, length = await self.reader.readexactly(2)
        if length == 126:
            length = struct.unpack(">H", await self.reader.readexactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", await self.reader.readexactly(8))[0]
        body = await self.reader.readexactly(length)
        return None if first & 15 == 8 else body

    def close(self):
        self.writer.transport.abort()


async def watch(soak, name, query, manner):
    """Watches again and again until the soak is over. `manner` yields how long to stay, and is asked before each message."""
    while not soak.over():
        try:
            connection = await asyncio.wait_for(Connection.open(soak.port, query), PATIENCE_S)
        except (OSError, EOFError, asyncio.TimeoutError) as e:
            # The server was killed a moment ago; the supervisor holds the port open meanwhile.
            if not soak.server_was_killed_lately():
                soak.tally.faults.append(f"{name} could not connect: {e!r}")
            await asyncio.sleep(0.05)
            continue
        soak.tally.connections += 1
        opened = time.monotonic()
        accounts = Accounts(soak.tally, name, "max_fps" in query)
        leave = time.monotonic() + manner.stay()
        try:
            while time.monotonic() < leave and not soak.over():
                await manner.pause()
                data = await asyncio.wait_for(connection.message(), PATIENCE_S)
                if data is None:
                    break
                accounts.message(data)
        except asyncio.TimeoutError:
            soak.tally.faults.append(f"{name} waited {PATIENCE_S} s for a packet")
        except (OSError, EOFError) as e:
            # Who stalls still has frames to read when the server that sent them is long gone.
            if soak.server_killed < opened:
                soak.tally.faults.append(f"{name} lost its connection: {e!r}")
        finally:
            connection.close()
        await asyncio.sleep(random.uniform(0, manner.away))


async def ask(port, request, body=""):
    """One HTTP request; the answer's head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{request} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n{body}".encode())
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    finally:
        writer.transport.abort()


async def open_sessions(soak):
    """WebRTC viewers that come, and go: half with a word, half without one."""
    while not soak.over():
        try:
            answer = await asyncio.wait_for(ask(soak.port, "POST /whep", OFFER), PATIENCE_S)
            location = re.search(r"(?im)^location: (\S+)", answer)
            if not answer.startswith("HTTP/1.1 201 ") or not location:
                raise ConnectionError(answer.split("\r\n")[0])
            soak.tally.sessions += 1
            await asyncio.sleep(random.uniform(0, 3))
            if random.random() < 0.5:
                await asyncio.wait_for(ask(soak.port, f"DELETE {urljoin('/whep', location[1])}"), PATIENCE_S)
        except (OSError, EOFError, asyncio.TimeoutError) as e:
            if not soak.server_was_killed_lately():
                soak.tally.faults.append(f"a WebRTC session could not be opened or ended: {e!r}")
            await asyncio.sleep(0.05)


class Steady:
    away = 0.1

    def stay(self):
        return float("inf")

    async def pause(self):
        pass


class Restless(Steady):
    away = 1.0

    def stay(self):
        return random.uniform(0.1, 4)


class Stalling(Steady):
    async def pause(self):
        if random.random() < 0.005:
            await asyncio.sleep(random.uniform(1, 5))


class Slow(Steady):
    async def pause(self):
        await asyncio.sleep(0.03)


class Soak:
    def __init__(self, program, seconds):
        self.tally, self.kills, self.samples = Tally(), {}, []
        self.began = time.monotonic()
        self.end = self.began + seconds
        self.server_killed = 0.0
        command = [program, "--camera-type", "test", "--enable-audio", "--fps", "30", "--host", "127.0.0.1", "--port", "0"]
        if os.geteuid() != 0:
            # Only root can count the descriptors of a server in its sandbox.
            command.append("--no-sandbox")
        self.log = open("target/soak.log", "w+", encoding="utf-8")
        self.program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)
        self.port = self.read_port()

    def read_port(self):
        for _ in range(200):
            found = re.search(r"http://127\.0\.0\.1:(\d+)", Path(self.log.name).read_text(encoding="utf-8"))
            if found:
                return int(found[1])
            time.sleep(0.05)
        raise SystemExit("the program did not say where it listens; see target/soak.log")

    def over(self):
        return time.monotonic() >= self.end

    def server_was_killed_lately(self):
        return time.monotonic() - self.server_killed < 10

    def server_stays(self):
        """In the last two thirds of a run of more than two minutes, so that a leak of its own has time to show."""
        length = self.end - self.began
        return length > 120 and time.monotonic() - self.began > length / 3

    def processes(self):
        """Process ids by name, the supervisor's own among them."""
        pid = self.program.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = {"stampcast": pid}
        for child in children:
            try:
                found[Path(f"/proc/{child}/comm").read_text().strip()] = int(child)
            except OSError:
                pass  # it ended between the two looks
        return found

    async def kill(self):
        turn = 0
        while not self.over():
            await asyncio.sleep(5)
            turn += 1
            name = SERVER if turn % 5 == 0 and not self.server_stays() else random.choice(WORKERS)
            pid = self.processes().get(name)
            if pid and not self.over():
                if name == SERVER:
                    self.server_killed = time.monotonic()
                os.kill(pid, random.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)))
                self.kills[name] = self.kills.get(name, 0) + 1

    async def sample(self):
        while not self.over():
            memory = descriptors = 0
            own = server = None
            processes = self.processes()
            for name, pid in processes.items():
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                    kib = int(re.search(r"RssAnon:\s+(\d+)", status)[1])
                    memory += kib
                    descriptors += len(os.listdir(f"/proc/{pid}/fd"))
                    own = kib if name == "stampcast" else own
                    server = kib if name == SERVER else server
                except (OSError, TypeError):
                    processes = {}  # it ended, or is a zombie: no sample of the whole
            if len(processes) == 4:
                self.samples.append((time.monotonic() - self.began, memory, descriptors, own, server))
            await asyncio.sleep(0.5)

    async def run(self):
        viewers = [
            ("steady 1", "", Steady()),
            ("steady 2", "&delivery=all", Steady()),
            ("thinned", "&max_fps=7", Steady()),
            ("stalling 1", "", Stalling()),
            ("stalling 2", "&delivery=all", Stalling()),
            ("slow", "&audio=0", Slow()),
            *((f"restless {n}", "", Restless()) for n in range(6)),
        ]
        tasks = [watch(self, *viewer) for viewer in viewers]
        await asyncio.gather(self.kill(), self.sample(), open_sessions(self), open_sessions(self), *tasks)

    def stop(self):
        self.program.send_signal(signal.SIGTERM)
        try:
            return self.program.wait(10)
        except subprocess.TimeoutExpired:
            self.program.kill()
            return None


def quarter(samples, n, column):
    """The median of a column over the n-th quarter of the run."""
    share = len(samples) // 4
    return statistics.median(sample[column] for sample in samples[n * share : (n + 1) * share])


def judge(soak, code):
    """What is wrong, in lines."""
    tally, samples, wrong = soak.tally, soak.samples, []
    if len(samples) < 8:
        return ["too few samples: the program was hardly ever complete"]
    if code != 0:
        wrong.append(f"the program ended with {code}, not 0")
    wrong += [f"not accounted for: {line}" for line in tally.unaccounted[:10]]
    wrong += tally.faults[:10]
    if not tally.sessions:
        wrong.append("no WebRTC session came about")
    if not soak.kills:
        wrong.append("nothing was killed")
    if soak.server_stays():
        # The server that is there at the end was started in the first third: the last half is all its own.
        warm, late = quarter(samples, 2, 4), quarter(samples, 3, 4)
        if late > warm + SERVER_NOISE_KIB:
            wrong.append(f"the server's memory (KiB) grew from {warm:.0f} to {late:.0f}")
    for what, column, noise in (
        ("memory of all (KiB)", 1, MEMORY_NOISE_KIB),
        ("descriptors of all", 2, DESCRIPTOR_NOISE),
        ("the supervisor's memory (KiB)", 3, 512),
    ):
        warm, late = quarter(samples, 1, column), quarter(samples, 3, column)
        if late > warm + noise:
            wrong.append(f"{what} grew from {warm:.0f} to {late:.0f}")
    return wrong


def table(soak):
    tally = soak.tally
    lines = [
        f"packets seen        {tally.packets}",
        f"connections         {tally.connections}",
        f"WebRTC sessions     {tally.sessions}",
        f"killed              {', '.join(f'{name} {n}' for name, n in sorted(soak.kills.items()))}",
        f"packets missing     {tally.missing}",
        f"of these told       {tally.told}",
        f"gap events          {', '.join(f'{cause} {n}' for cause, n in sorted(tally.causes.items())) or 'none'}",
        f"not accounted for   {len(tally.unaccounted)}",
        "",
        "   time   memory  descriptors",
    ]
    step = max(1, len(soak.samples) // 12)
    lines += [f"{t:6.0f} s  {kib / 1024:5.1f} MiB  {fds:6d}" for t, kib, fds, *_ in soak.samples[::step]]
    return "\n".join(lines)


def plot(samples, path):
    """Two curves over time, each to its own scale from zero."""
    width, height, left, top = 800, 200, 60, 30
    span = samples[-1][0] or 1
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 2 * left}" height="{2 * (height + 60)}" font-family="sans-serif" font-size="12">']
    for row, (title, column, scale) in enumerate((("memory of all processes, MiB", 1, 1024), ("open descriptors", 2, 1))):
        base = top + row * (height + 60) + height
        most = max(s[column] for s in samples) / scale * 1.1 or 1
        points = " ".join(f"{left + s[0] / span * width:.1f},{base - s[column] / scale / most * height:.1f}" for s in samples)
        parts += [
            f'<text x="{left}" y="{base - height - 8}">{title}</text>',
            f'<path d="M{left} {base - height}V{base}H{left + width}" fill="none" stroke="#888"/>',
            f'<text x="{left - 6}" y="{base}" text-anchor="end">0</text>',
            f'<text x="{left - 6}" y="{base - height + 10}" text-anchor="end">{most:.0f}</text>',
            f'<text x="{left + width}" y="{base + 16}" text-anchor="end">{span:.0f} s</text>',
            f'<polyline points="{points}" fill="none" stroke="#06c"/>',
        ]
    Path(path).write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")


def main():
    program, minutes, picture = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    Path("target").mkdir(exist_ok=True)
    soak = Soak(program, minutes * 60)
    try:
        asyncio.run(soak.run())
    finally:
        code = soak.stop()
    print(table(soak))
    if soak.samples:
        plot(soak.samples, picture)
        print(f"\nplot: {picture}")
    wrong = judge(soak, code)
    for line in wrong:
        print(f"WRONG: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
