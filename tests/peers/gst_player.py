"""Plays a running stampcast by WHEP with GStreamer's webrtcbin, an implementation independent of ours, aiortc's and the browsers'.

python3 gst_player.py PROGRAM      needs python3-gi, gir1.2-gst-plugins-bad-1.0, gstreamer1.0-nice and -plugins-bad
"""

import functools
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

from program import Program, time_code, until  # noqa: E402

VIDEO = "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96,packetization-mode=(string)1,profile-level-id=(string)42e01f"
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=97,encoding-params=(string)2"
DECODERS = {
    "video": "rtph264depay ! h264parse ! openh264dec ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=sink sync=false",
    "audio": "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE ! appsink name=sink sync=false",
}


class Luma:
    """A plane of bytes with the part of numpy's interface that `time_code` uses: the system's Python may have no numpy."""

    def __init__(self, data, width, height, stride):
        self.data, self.shape, self.stride = data, (height, width), stride

    def __getitem__(self, place):
        rows, columns = place
        block = [self.data[y * self.stride + x] for y in range(rows.start, rows.stop) for x in range(columns.start, columns.stop)]
        return Mean(sum(block) / len(block))


class Mean:
    def __init__(self, value):
        self.value = value

    def mean(self):
        return self.value


@functools.cache
def certificate():
    """An ECDSA key and its certificate, PEM."""
    make = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=player"]
    return subprocess.run([*make, "-keyout", "-", "-out", "-"], check=True, capture_output=True, text=True).stdout


def fingerprint():
    show = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    return subprocess.run(show, check=True, input=certificate(), capture_output=True, text=True).stdout.strip().split("=")[1]


class Player:
    def __init__(self, url):
        self.url = url
        self.codes, self.peak, self.location, self.kept = [], 0, None, []
        self.pipeline = Gst.Pipeline.new()
        self.pipeline.connect("deep-element-added", lambda *arguments: self.on_element(arguments[-1]))
        self.peer = Gst.ElementFactory.make("webrtcbin")
        assert self.peer, "webrtcbin is missing"
        self.peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.peer)
        self.peer.connect("pad-added", self.on_pad)
        for caps in (VIDEO, AUDIO):
            self.peer.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))
        self.pipeline.set_state(Gst.State.PLAYING)
        offer = self.promised("create-offer", None).get_value("offer")
        self.promised("set-local-description", offer)
        # No trickle ICE: the answer has all candidates, and the server learns ours from connectivity checks.
        text = re.sub(r"(a=fingerprint:sha-256) \S+", rf"\1 {fingerprint()}", offer.sdp.as_text())
        request = urllib.request.Request(url + "/whep", text.encode(), {"Content-Type": "application/sdp"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 201
            self.location = urllib.parse.urljoin(url + "/whep", answer.headers["Location"])
            _, sdp = GstSdp.SDPMessage.new_from_text(answer.read().decode())
        self.promised("set-remote-description", GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp))

    @staticmethod
    def on_element(element):
        # GStreamer's own certificate is RSA, which str0m's DTLS does not verify (docs/webrtc.md). The offer has its fingerprint.
        if type(element).__name__ == "GstDtlsDec":
            element.set_property("pem", certificate())

    def promised(self, action, argument):
        promise = Gst.Promise.new()
        self.peer.emit(action, argument, promise)
        promise.wait()
        reply = promise.get_reply()
        # They own their contents, which PyGObject does not know.
        self.kept += [promise, reply, argument]
        return reply

    def on_pad(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        decoder = Gst.parse_bin_from_description(DECODERS[kind], True)
        sink = decoder.get_by_name("sink")
        sink.set_property("emit-signals", True)
        sink.connect("new-sample", self.on_frame if kind == "video" else self.on_audio)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def on_frame(self, sink):
        sample = sink.emit("pull-sample")
        shape = sample.get_caps().get_structure(0)
        width, height = shape.get_value("width"), shape.get_value("height")
        at = time.time()
        data = bytes(sample.get_buffer().extract_dup(0, sample.get_buffer().get_size()))
        self.codes.append((at, time_code(Luma(data, width, height, len(data) // height)), (width, height)))
        return Gst.FlowReturn.OK

    def on_audio(self, sink):
        buffer = sink.emit("pull-sample").get_buffer()
        samples = memoryview(bytes(buffer.extract_dup(0, buffer.get_size()))).cast("h")
        self.peak = max(self.peak, max(map(abs, samples), default=0))
        return Gst.FlowReturn.OK

    def end(self):
        urllib.request.urlopen(urllib.request.Request(self.location, method="DELETE"), timeout=5).close()
        self.pipeline.set_state(Gst.State.NULL)


def main(program):
    Gst.init(None)
    # libnice does not use the loopback interface.
    camera = Program(program, host="0.0.0.0")
    player = Player(camera.url)
    until(lambda: len(player.codes) >= 90 and player.peak > 8000, "90 frames and a tone", 60)
    seen = camera.webrtc()["sessions"]
    assert [(s["kind"], s["connected"]) for s in seen] == [("whep", True)], seen
    player.end()
    until(lambda: not camera.webrtc()["sessions"], "the session's end")
    read = [(at, code) for at, code, _ in player.codes if code]
    latency = sorted(at - code for at, code in read)
    median = latency[len(latency) // 2]
    print(f"webrtcbin: {len(player.codes)} frames, {len(read)} with time code, median latency {median * 1000:.0f} ms")
    assert len(read) >= 85 and 0 < median < 5, latency
    assert all(size == (640, 480) for *_, size in player.codes)
    camera.end()


main(sys.argv[1])
