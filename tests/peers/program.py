"""Starts and stops the program under test, and reads the time code of the test pattern."""

import atexit
import json
import re
import signal
import subprocess
import threading
import time
import urllib.request


class Program:
    """stampcast with the test camera, on free ports."""

    def __init__(self, program, *options, host="127.0.0.1"):
        base = ["--camera-type", "test", "--enable-audio", "--fps", "30", "--host", host, "--port", "0", "--webrtc-port", "0"]
        self.process = subprocess.Popen([program, *base, *options], stderr=subprocess.PIPE, text=True)
        # Also when a check fails.
        atexit.register(self.process.terminate)
        self.lines = []
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self.line(r"listening on (http\S+)").group(1)

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            print("|", line, end="", flush=True)

    def line(self, pattern, patience=20):
        """Waits for a log line that matches."""
        return until(lambda: next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None), pattern, patience)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return answer.read().decode()

    def webrtc(self):
        return json.loads(self.get("/state"))["result"]["webrtc"]

    def end(self):
        """Ends the program by SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.process.returncode


def until(look, what, patience=20):
    """Polls until `look` returns something true; fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.02)


def time_code(luma):
    """UNIX seconds from the time code in a frame (docs/test-picture.md), or None. `luma`: a numpy array of rows."""
    height, width = luma.shape
    bits = []
    for row in range(17, 22):
        for column in range(2, 18):
            left, right = width * column // 20, width * (column + 1) // 20
            top, bottom = height * row // 24, height * (row + 1) // 24
            x, y = (right - left) // 4, (bottom - top) // 4
            mean = luma[top + y : bottom - y, left + x : right - x].mean()
            if 96 <= mean <= 160:
                return None
            bits.append(int(mean > 160))
    number = int("".join(map(str, bits[:64])), 2)
    crc = 0xFFFF
    for byte in number.to_bytes(8, "big"):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return number / 1e6 if crc == int("".join(map(str, bits[64:])), 2) else None
