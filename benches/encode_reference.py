"""What the Python original does with a frame, timed: YUYV to JPEG by OpenCV, base64, the text message.

Reads, again and again, a line "WIDTH HEIGHT QUALITY" and a YUYV frame from standard input, and answers with the CPU
seconds that one message took. One thread, like the program that it is compared with.
"""

import base64
import sys
import time

import cv2
import numpy

cv2.setNumThreads(1)
print("ready", flush=True)
while line := sys.stdin.buffer.readline():
    width, height, quality = map(int, line.split())
    frame = numpy.frombuffer(sys.stdin.buffer.read(width * height * 2), numpy.uint8).reshape(height, width, 2)
    begin = time.thread_time()
    picture = cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_YUYV)
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    text = base64.b64encode(jpeg).decode("ascii")
    message = f"video:{time.time():.6f}:{width}:{height}:{text}"
    print(time.thread_time() - begin, flush=True)
