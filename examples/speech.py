"""Speech recognition: each spoken word with the UNIX time at which it was said. Works offline.

    pip install websockets pocketsphinx        (on Debian in a venv: see README.md)
    python3 speech.py [HOST:PORT [WORD...]]

With a list of the words to expect ("stop go left right"), recognition is far more reliable.
Everything uses one TCP connection, so it also works through `ssh -L 8080:localhost:8080 robot`.
"""
import sys

from pocketsphinx import Decoder, Endpointer, set_loglevel

from read_stream import packets

RATE = 16_000  # of the recogniser's model; the server resamples


def words(server="localhost:8080", vocabulary=(), **query):
    """Yields (start in UNIX seconds, end, word)."""
    set_loglevel("FATAL")
    endpointer = Endpointer(sample_rate=RATE)
    decoder = Decoder(samprate=RATE)
    if vocabulary:
        decoder.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <words> = ({'|'.join(vocabulary)})+;")
        decoder.activate_search("words")
    waiting = b""
    received = 0  # samples before this packet
    for packet in packets(server, backlog=60, delivery="all", video=0, audio_rate=RATE, audio_channels=1, **query):
        # UNIX time of the recogniser's second 0, updated with each packet, so it does not drift.
        origin = packet.stamp - received / RATE
        received += len(packet.data) // 2
        waiting += packet.data
        while len(waiting) >= endpointer.frame_bytes:
            frame, waiting = waiting[: endpointer.frame_bytes], waiting[endpointer.frame_bytes :]
            speaking = endpointer.in_speech
            speech = endpointer.process(frame)
            if speech is None:
                continue
            if not speaking:
                began = endpointer.speech_start
                decoder.start_utt()
            decoder.process_raw(speech)
            if not endpointer.in_speech:
                decoder.end_utt()
                for segment in decoder.seg():
                    if segment.word[0] not in "<[":  # not silence or noise
                        at = origin + began
                        # The recogniser counts in hundredths of a second; "(2)" marks a second pronunciation.
                        word = segment.word.split("(")[0]
                        yield at + segment.start_frame / 100, at + (segment.end_frame + 1) / 100, word


if __name__ == "__main__":
    for begin, end, word in words(*sys.argv[1:2], vocabulary=sys.argv[2:]):
        print(f"{begin:.3f} {end:.3f} {word}", flush=True)
