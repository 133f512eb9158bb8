"""The camera as OpenCV images with their capture times; prints how much of the image moved.

    pip install websockets opencv-python-headless        (on Debian in a venv: see README.md)
    python3 to_opencv.py [HOST:PORT]
"""
import sys
import time

import cv2
import numpy

from read_stream import packets


def images(server="localhost:8080", **query):
    """Yields (packet with stamp and name, array of BGR bytes: height x width x 3), always the newest."""
    for packet in packets(server, audio=0, **query):
        image = cv2.imdecode(numpy.frombuffer(packet.data, numpy.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            yield packet, image


if __name__ == "__main__":
    before = None
    for packet, image in images(*sys.argv[1:2]):
        small = cv2.cvtColor(cv2.resize(image, (160, 120)), cv2.COLOR_BGR2GRAY)
        if before is not None:
            moved = cv2.threshold(cv2.absdiff(small, before), 25, 255, cv2.THRESH_BINARY)[1]
            share = 100 * cv2.countNonZero(moved) / moved.size
            age = 1000 * (time.time() - packet.stamp)
            height, width = image.shape[:2]
            print(f"{packet.name}  {width}x{height}  {share:4.1f} % moved  seen {age:.0f} ms after capture", flush=True)
        before = small
