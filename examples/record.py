"""Records a WAV and a folder of JPEGs, all named by their capture time (UNIX seconds).

    pip install websockets        (on Debian in a venv: see README.md)
    python3 record.py HOST:PORT FOLDER SECONDS

FOLDER/1760000000.123456.jpg are the frames, FOLDER/1760000000.100000.wav is the audio, named by its first sample.
Missing audio becomes silence of the same duration, so second N of the WAV is N seconds after its name.
"""
import sys
import wave
from pathlib import Path

from read_stream import packets


class Audio:
    """A WAV file in which positions agree with stamps."""

    def __init__(self, folder, packet):
        self.path = folder / f"{packet.name}.wav"
        self.began, (self.rate, self.channels) = packet.stamp, packet.shape
        self.file = wave.open(str(self.path), "wb")
        self.file.setparams((self.channels, 2, self.rate, 0, "NONE", ""))

    def add(self, packet):
        missing = round((packet.stamp - self.began) * self.rate) - self.file.getnframes()
        if missing > self.rate // 50:  # less than 20 ms is clock drift, not a loss
            self.file.writeframes(bytes(missing * self.channels * 2))
        self.file.writeframes(packet.data)


def record(server, folder, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    began, frames, audio = None, 0, None
    for packet in packets(server, backlog=60):
        began = began or packet.stamp
        if packet.stamp > began + seconds:
            break
        if packet.kind == "video":
            (folder / f"{packet.name}.jpg").write_bytes(packet.data)
            frames += 1
        elif packet.kind == "audio":
            audio = audio or Audio(folder, packet)
            audio.add(packet)
    if audio:
        audio.file.close()
    print(f"{frames} frames and {audio.path if audio else 'no audio'} in {folder}")


if __name__ == "__main__":
    record(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
