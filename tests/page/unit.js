/*
 * unit.js: tests without a browser: addresses, packets, clock offset, jitter buffer and its
 * control, choice of transport.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { load } from "./load.js";
import { test } from "./suite.js";

const { parseServer, defaultServer, readPageAddress } = load(
  ["address.js"],
  ["parseServer", "defaultServer", "readPageAddress"],
);
const { Settings } = load(["settings.js"], ["Settings"]);
const { stampTime } = load(["dom.js"], ["stampTime"]);
const { parseText, parseBinary, stampFromNs } = load(["wire.js"], ["parseText", "parseBinary", "stampFromNs"]);
const { ServerClock } = load(["clock.js"], ["ServerClock"]);
const { Stats } = load(["stats.js"], ["Stats"]);
const { Playout } = load(["playout.js"], ["Playout"]);
const { Sync } = load(["sync.js"], ["Sync"]);
const { Clip } = load(["matroska.js"], ["Clip"]);
const { FrameHistory, Review } = load(["frame_history.js"], ["FrameHistory", "Review"]);
const { encodeQr } = load(["qr_code.js"], ["encodeQr"]);
const { ZoomState } = load(["zoom.js"], ["ZoomState"]);
const { Transport } = load(["transport.js"], ["Transport"]);

/* Content-Security-Policy */

test("the page has nothing that a policy without 'unsafe-inline' and 'unsafe-eval' refuses", () => {
  const folder = new URL("../../public/", import.meta.url);
  const html = readFileSync(new URL("index.html", folder), "utf8");
  assert.deepEqual(html.match(/\s(?:style|on\w+)=|javascript:|<style|<script>|(?:src|href)="(?:https?:)?\/\//g), null);
  const scripts = [...html.matchAll(/<script src="([\w.]+)"><\/script>/g)].map(([, name]) => name);
  assert.deepEqual(scripts.toSorted(), readdirSync(folder).filter((name) => name.endsWith(".js")).toSorted());
  for (const name of scripts) {
    const text = readFileSync(new URL(name, folder), "utf8");
    assert.deepEqual(text.match(/\beval\(|new Function\b|innerHTML|setAttribute\("(?:style|on)/g), null, name);
  }
});

/* Addresses */

test("addresses are parsed as users type them", () => {
  const cases = [
    ["pi.local", "ws://pi.local:8080/stream"],
    ["192.168.1.5:9000", "ws://192.168.1.5:9000/stream"],
    ["  localhost:80 ", "ws://localhost:80/stream"],
    ["[::1]", "ws://[::1]:8080/stream"],
    ["[::1]:81", "ws://[::1]:81/stream"],
    ["host/webcam", "ws://host:8080/webcam/stream"],
    ["http://host/webcam/", "ws://host/webcam/stream"],
    ["https://host", "wss://host/stream"],
    ["wss://host:444/a/b/stream?token=x", "wss://host:444/a/b/stream"],
    ["http://host:1/info", "ws://host:1/stream"],
    ["host:1/cam/snapshot.jpg", "ws://host:1/cam/stream"],
    ["http://host:1/whep", "ws://host:1/stream"],
    ["http://host:1/stream.mjpg", "ws://host:1/stream"],
    ["host:1/upstream", "ws://host:1/upstream/stream"],
  ];
  for (const [typed, stream] of cases) assert.equal(parseServer(typed, false).stream, stream, typed);
  assert.equal(parseServer("host:1", true).stream, "wss://host:1/stream");
  assert.equal(parseServer("https://host:1/info", false).label, "https://host:1");
  assert.equal(parseServer("https://host:1", true).label, "host:1");
  assert.equal(parseServer("ws://host/stream?token=a%2Bb", false).token, "a+b");
  for (const typed of ["", "   ", "ftp://host", "javascript:alert(1)", "host:99999", "a b", "http://", "u:p@host"]) {
    assert.equal(parseServer(typed, false), null, typed);
  }
});

test("a page loaded by http uses its own server and path prefix", () => {
  assert.equal(defaultServer("file:///home/me/public/index.html").stream, "ws://localhost:8080/stream");
  assert.equal(defaultServer("http://pi:8080/").stream, "ws://pi:8080/stream");
  assert.equal(defaultServer("https://home.example/webcam/index.html").stream, "wss://home.example/webcam/stream");
  assert.equal(defaultServer("https://home.example/webcam/").info, "https://home.example/webcam/info");
});

test("a token is removed from the page's address", () => {
  const cases = [
    "file:///p/index.html?server=pi:8080&token=secret",
    "file:///p/index.html?server=pi:8080#token=secret",
    "file:///p/index.html?server=ws://pi:8080/stream%3Ftoken=secret",
  ];
  for (const address of cases) {
    const read = readPageAddress(address);
    assert.equal(read.token, "secret", address);
    assert.ok(!read.cleaned.includes("secret"), address);
    assert.equal(parseServer(read.server, false).stream, "ws://pi:8080/stream");
    assert.equal(parseServer(new URL(read.cleaned).searchParams.get("server"), false).stream, "ws://pi:8080/stream");
  }
  assert.equal(readPageAddress("file:///p/index.html?server=pi").cleaned, null);
  const secure = readPageAddress("file:///p/index.html?server=https://pi/cam/%3Ftoken=secret");
  assert.equal(parseServer(secure.server, false).stream, "wss://pi/cam/stream", "it leaves by TLS or not at all");
  assert.ok(!secure.cleaned.includes("secret"), secure.cleaned);
});

test("credentials of an invalid ?server= are neither shown nor kept in the address", () => {
  const cases = [
    ["ftp://cam/?token=SECRET", "ftp://cam/"],
    ["http://admin:SECRET@cam", "http://cam"],
    ["http://admin:SEC/RET@cam:99999/a", "http://cam:99999/a"],
    ["admin:SECRET@cam", "cam"],
    [" ftp://u@x:SECRET@cam/#token=SECRET", "ftp://cam/"],
    ["127.0.0.1:99999", "127.0.0.1:99999"],
  ];
  for (const [server, shown] of cases) {
    const address = `file:///p/index.html?ui=0&server=${encodeURIComponent(server)}`;
    const read = readPageAddress(address);
    assert.equal(read.server, shown, server);
    const cleaned = new URL(read.cleaned ?? address);
    assert.deepEqual([cleaned.searchParams.get("server"), cleaned.searchParams.get("ui"), cleaned.hash], [shown, "0", ""]);
  }
  // Not encoded, as users write it.
  const read = readPageAddress("file:///p/index.html?server=ftp://cam/?token=SECRET");
  assert.ok(read.server === "ftp://cam/" && !read.cleaned.includes("SECRET"), read.cleaned);
  const valid = readPageAddress("file:///p/index.html?server=http://cam/?key=SECRET");
  assert.ok(valid.server === "http://cam/" && !valid.cleaned.includes("SECRET"), valid.cleaned);
});

test("without storage the token is kept until the page is left", () => {
  // Node has no sessionStorage here, as a browser that denies it.
  assert.equal(typeof sessionStorage, "undefined");
  const settings = new Settings("file:///p/index.html");
  assert.equal(settings.token("http://cam/"), "");
  settings.setToken("http://cam/", "s3cret");
  assert.deepEqual([settings.token("http://cam/"), settings.token("http://other/")], ["s3cret", ""]);
});

/* Packets */

test("text and binary packets of the same frame parse alike", () => {
  const jpeg = Buffer.from([0xff, 0xd8, 1, 2, 3, 0xff, 0xd9]);
  const text = parseText(`video:1760000000.123456:640:480:${jpeg.toString("base64")}`);
  const header = Buffer.alloc(24);
  header.write("v");
  header[1] = 24;
  header.writeUInt32LE(7, 4);
  header.writeBigUInt64LE(1760000000123456789n, 8);
  header.writeUInt16LE(640, 16);
  header.writeUInt16LE(480, 18);
  const binary = parseBinary(arrayBuffer(Buffer.concat([header, jpeg])));
  for (const packet of [text, binary]) {
    assert.equal(packet.kind, "video");
    assert.equal(packet.stampText, "1760000000.123456");
    assert.ok(Math.abs(packet.stamp - 1760000000.123456) < 2e-6);
    assert.deepEqual([packet.width, packet.height], [640, 480]);
    assert.deepEqual([...packet.jpeg], [...jpeg]);
  }
  assert.equal(binary.sequence, 7);
  assert.equal(text.sequence, null);
});

test("audio packets have their samples, in binary also their rate", () => {
  const pcm = Buffer.from(Int16Array.of(1, -2, 32767, -32768).buffer);
  assert.deepEqual([...parseText(`audio:1.000000:${pcm.toString("base64")}`).pcm], [1, -2, 32767, -32768]);
  const header = Buffer.alloc(24);
  header.write("a");
  header[1] = 24;
  header.writeUInt32LE(44100, 16);
  header.writeUInt16LE(2, 20);
  const packet = parseBinary(arrayBuffer(Buffer.concat([header, pcm])));
  assert.deepEqual([packet.rate, packet.channels, ...packet.pcm], [44100, 2, 1, -2, 32767, -32768]);
});

test("a longer binary header of a later version is skipped over", () => {
  const header = Buffer.alloc(28);
  header.write("v");
  header[1] = 28;
  assert.deepEqual([...parseBinary(arrayBuffer(Buffer.concat([header, Buffer.from([9])]))).jpeg], [9]);
});

test("events and pongs are parsed", () => {
  const { event, stamp } = parseText('event:5.500000:{"event":"gap","stream":"video","count":3,"cause":"ring"}');
  assert.equal(stamp, 5.5);
  assert.deepEqual({ ...event }, { event: "gap", stream: "video", count: 3, cause: "ring" });
  const pong = parseText("pong:12:100.000001:100.000003");
  assert.deepEqual([pong.echo, pong.received, pong.sent], ["12", 100.000001, 100.000003]);
});

test("invalid packets parse to null", () => {
  for (const text of ["", ":", "video", "video:", "video:1:2", "audio:", "event:1:{", "event:1:3", "pong:1", "x:1:2"]) {
    assert.equal(parseText(text), null, text);
  }
  for (const bytes of [[], [118], new Array(24).fill(0), [118, 200, ...new Array(30).fill(0)]]) {
    assert.equal(parseBinary(arrayBuffer(Buffer.from(bytes))), null);
  }
});

test("the time of day of a stamp has the milliseconds of its text", () => {
  for (const [text, end] of [["123999", ":20.123"], ["001", ":20.001"], ["5", ":20.500"]]) {
    assert.ok(stampTime(`1760000000.${text}`).endsWith(end), text);
  }
});

test("stamps are truncated, not rounded", () => {
  assert.equal(stampFromNs(1760000000999999999n), "1760000000.999999");
  assert.equal(stampFromNs(1000000005000n), "1000.000005");
});

function arrayBuffer(buffer) {
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}

/* Review */

test("the frame history is limited by time and bytes", () => {
  const history = new FrameHistory();
  for (let i = 0; i < 1000; i++) history.push({ stamp: i / 8, jpeg: { length: 1000 } });
  assert.deepEqual([history.frames.length, history.frames[0].stamp, history.bytes], [481, 64.875, 481_000]);
  for (let i = 0; i < 100; i++) history.push({ stamp: 125 + i / 8, jpeg: { length: 1_000_000 } });
  assert.ok(history.bytes <= FrameHistory.MAX_BYTES && history.frames.length === 64);
  history.push({ stamp: 5, jpeg: { length: 1 } });
  assert.equal(history.frames.length, 1);
  for (let i = 0; i < 4000; i++) history.pushAudio({ stamp: i / 64, pcm: new Int16Array(960) });
  assert.deepEqual([history.packets.length, history.audioBytes], [3841, 3841 * 1920]);
  for (let i = 0; i < 200; i++) history.pushAudio({ stamp: 100 + i / 64, pcm: new Int16Array(100_000) });
  assert.deepEqual([history.packets.length, history.audioBytes], [80, 16_000_000]);
});

test("a review steps and seeks within its frames", () => {
  const frames = [0, 1, 2, 3, 4].map((i) => ({ stamp: 1.7e9 + i / 5 }));
  const review = new Review(frames, frames[3]);
  assert.ok(Math.abs(review.secondsBack() - 0.2) < 1e-6);
  review.step(-2);
  assert.equal(review.frame, frames[1]);
  review.step(-9);
  assert.equal(review.frame, frames[0]);
  for (const [wanted, index] of [[4, 4], [2, 2], [9, 4], [-1, 0]]) {
    review.seek(wanted);
    assert.equal(review.index, index);
  }
  assert.equal(new Review(frames, {}).frame, frames[4]);
});

test("a clip has each frame and audio packet at its capture time, and ends where the size changes", () => {
  const stamp = (us) => `1760000000.${String(us).padStart(6, "0")}`;
  const frame = (us, width = 640) => ({ stampText: stamp(us), width, height: 480, jpeg: Uint8Array.of(0xff, us % 251) });
  const packet = (us) => ({ stampText: stamp(us), rate: 48_000, channels: 1, pcm: Int16Array.of(us % 30_000) });
  const frames = [frame(100_001), frame(166_667), frame(233_335), frame(300_000, 320)];
  const packets = [packet(90_000), packet(110_000), packet(133_000), packet(233_335), packet(250_000)];
  const clip = new Clip(frames, packets);
  const [header, segment, ...none] = elements(Buffer.concat(clip.parts));
  assert.deepEqual([header.id, segment.id, none.length], [0x1a45dfa3, 0x18538067, 0]);
  const parts = elements(segment.content);
  const find = (list, id) => list.find((entry) => entry.id === id).content;
  const info = elements(find(parts, 0x1549a966));
  assert.equal(find(info, 0x2ad7b1).readUIntBE(0, 2), 1000);
  assert.equal(find(info, 0x4489).readDoubleBE(), 133_334);
  const dateUs = Number(find(info, 0x4461).readBigInt64BE() / 1000n) + 978_307_200_000_000;
  assert.equal(dateUs, 1_760_000_000_100_001);
  const blocks = parts.filter(({ id }) => id === 0x1f43b675).flatMap(({ content }) => {
    const [time, ...rest] = elements(content);
    return rest.map(({ content: block }) => [
      block[0] & 0x7f,
      dateUs - 1_760_000_000_000_000 + Number(`0x${time.content.toString("hex")}`) + block.readInt16BE(1),
      block.subarray(4).toString("hex"),
    ]);
  });
  const hex = (view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString("hex");
  assert.deepEqual(blocks, [
    [1, 100_001, hex(frames[0].jpeg)],
    [2, 110_000, hex(packets[1].pcm)],
    [2, 133_000, hex(packets[2].pcm)],
    [1, 166_667, hex(frames[1].jpeg)],
    [1, 233_335, hex(frames[2].jpeg)],
    [2, 233_335, hex(packets[3].pcm)],
  ]);
  // Each cue leads to a cluster with a frame, from the start of the segment's content.
  const cues = elements(find(parts, 0x1c53bb6b)).map(({ content }) => elements(content));
  assert.equal(cues.length, 3);
  for (const cue of cues) {
    const position = find(elements(find(cue, 0xb7)), 0xf1);
    assert.equal(segment.content.readUInt32BE(Number(`0x${position.toString("hex")}`)), 0x1f43b675);
  }
});

test("a clip's audio track has the format of the clip's own audio; without any there is no track", () => {
  const stamp = (us) => `1760000000.${String(us).padStart(6, "0")}`;
  const frames = [100_000, 200_000].map((us) => ({ stampText: stamp(us), width: 4, height: 4, jpeg: Uint8Array.of(us % 251) }));
  const packet = (us, rate) => ({ stampText: stamp(us), rate, channels: 1, pcm: Int16Array.of(1) });
  const written = (packets) => {
    const [, segment] = elements(Buffer.concat(new Clip(frames, packets).parts));
    const find = (list, id) => list.find((entry) => entry.id === id)?.content;
    const parts = elements(segment.content);
    const rates = elements(find(parts, 0x1654ae6b)).map(({ content }) => {
      const audio = find(elements(content), 0xe1);
      return audio ? find(elements(audio), 0xb5).readDoubleBE() : "video";
    });
    const clusters = parts.filter(({ id }) => id === 0x1f43b675);
    const tracks = clusters.flatMap(({ content }) => elements(content).slice(1).map((block) => block.content[0] & 0x7f));
    return { rates, audioBlocks: tracks.filter((track) => track === 2).length };
  };
  const mixed = [packet(50_000, 48_000), packet(150_000, 16_000), packet(160_000, 16_000), packet(170_000, 48_000)];
  assert.deepEqual(written(mixed), { rates: ["video", 16_000], audioBlocks: 2 });
  assert.deepEqual(written([packet(50_000, 48_000), packet(250_000, 48_000)]), { rates: ["video"], audioBlocks: 0 });
});

/** [{ id, content }] of the EBML elements in `bytes`. */
function elements(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const idBytes = Math.clz32(bytes[at]) - 23;
    const id = bytes.readUIntBE(at, idBytes);
    at += idBytes;
    const sizeBytes = Math.clz32(bytes[at]) - 23;
    const size = Number(BigInt(`0x${bytes.subarray(at, at + sizeBytes).toString("hex")}`) & ((1n << BigInt(7 * sizeBytes)) - 1n));
    at += sizeBytes;
    found.push({ id, content: bytes.subarray(at, at + size) });
    at += size;
  }
  return found;
}

/* QR code */

const QR_ROWS = [
  "1fc247f", "1046a41", "175a15d", "175e85d", "175645d", "105a341", "1fd557f", "1b200", "17cdb7c",
  "1ea2c82", "1541a6b", "98b111", "1ffd877", "1ca8c0a", "10432ab", "1686209", "13cf9f4", "1d51c",
  "1fc815f", "105631b", "1757bfc", "1757f77", "1759085", "104d179", "1fd4aff",
];

// Read by a decoder (jsQR), as were all lengths from 1 to 213 bytes.
test("a QR code has the modules that a decoder reads", () => {
  const modules = encodeQr("http://192.168.1.20:8080/");
  const rows = modules.map((row) => parseInt(row.map(Number).join(""), 2).toString(16));
  assert.deepEqual(rows, QR_ROWS);
  assert.equal(encodeQr("x".repeat(213)).length, 57);
  assert.equal(encodeQr("x".repeat(214)), null);
});

/* Zoom */

test("zoom keeps the point under the pointer and the frame covered", () => {
  const zoom = new ZoomState();
  const [width, height] = [640, 480];
  /** Where a point of the video, relative to its centre, is shown. */
  const shown = (x, y) => [zoom.x + x * zoom.scale, zoom.y + y * zoom.scale];
  zoom.zoomAt(2, 100, -50, width, height);
  assert.deepEqual(shown(100, -50), [100, -50]);
  zoom.panBy(1e4, -1e4, width, height);
  assert.deepEqual([shown(-320, 0)[0], shown(0, 240)[1]], [-320, 240]);
  zoom.zoomAt(100, 0, 0, width, height);
  assert.equal(zoom.scale, ZoomState.MAX_SCALE);
  zoom.zoomAt(0.001, 300, 200, width, height);
  assert.deepEqual([zoom.scale, Math.abs(zoom.x), Math.abs(zoom.y)], [1, 0, 0]);
});

/* Clock */

test("the clock offset is that of the shortest round trip", () => {
  const clock = new ServerClock();
  const exchange = (local, there, back) => {
    const echo = clock.ping(local).slice(5);
    const received = local + 1000 + there;
    clock.pong({ echo, received, sent: received + 0.01 }, local + there + 0.01 + back);
  };
  exchange(1, 0.05, 0.001);
  exchange(2, 0.002, 0.002);
  exchange(3, 0.001, 0.09);
  const { offset, roundTrip } = clock.best();
  assert.ok(Math.abs(offset - 1000) < 1e-9, String(offset));
  assert.ok(Math.abs(roundTrip - 0.004) < 1e-9, String(roundTrip));
});

test("unexpected and impossible pongs are ignored", () => {
  const clock = new ServerClock();
  clock.pong({ echo: "99", received: 1, sent: 1 }, 5);
  const echo = clock.ping(10).slice(5);
  clock.pong({ echo, received: 1, sent: 500 }, 10.1);
  assert.equal(clock.best(), null);
});

/* Losses */

test("a sequence jump is a loss unless a gap event reported it", () => {
  const stats = new Stats();
  assert.equal(stats.countMissing("video", 5, 0), 0);
  assert.equal(stats.countMissing("video", 6, 0), 0);
  assert.equal(stats.countMissing("video", 10, 0), 3);
  assert.equal(stats.countMissing("video", 15, 4), 0);
  assert.equal(stats.countMissing("video", 2, 0), 0);
  assert.equal(stats.countMissing("video", 0xffffffff, 0), 0);
  assert.equal(stats.countMissing("video", 1, 0), 1);
});

test("one frame per ten seconds still gives a rate and a latency", () => {
  const stats = new Stats();
  stats.setFrameInterval(10);
  for (const local of [0, 10, 20, 30]) {
    stats.shown.add(local, 1);
    stats.latency.add(local, 0.04);
  }
  assert.equal(stats.shown.perSecond(39), 0.1);
  assert.equal(stats.latency.quantile(39, 0.5), 0.04);
  stats.setFrameInterval(1 / 15);
  assert.equal(stats.latency.quantile(39, 0.5), null);
});

/* Audio */

const RATE = 48_000;

function sine(samples, from) {
  return Int16Array.from({ length: samples }, (_, i) =>
    Math.round(16_000 * Math.sin((2 * Math.PI * 440 * (from + i)) / RATE)),
  );
}

function render(playout, frames) {
  const out = [new Float32Array(frames), new Float32Array(frames)];
  playout.render(out, frames);
  return out;
}

test("samples come out as they went in, on both channels, once the buffer is filled", () => {
  const playout = new Playout(RATE);
  playout.prefillS = 0.02;
  playout.push(sine(480, 0), RATE, 1, 100);
  assert.ok(render(playout, 128)[0].every((sample) => sample === 0));
  for (let i = 1; i < 10; i++) playout.push(sine(480, i * 480), RATE, 1, 100 + i * 0.01);
  const [left, right] = render(playout, 2048);
  for (let i = Playout.FADE; i < 2048; i++) {
    assert.ok(Math.abs(left[i] - sine(1, i)[0] / 32768) < 1e-4, `sample ${i}`);
    assert.equal(left[i], right[i]);
  }
  assert.ok(Math.abs(playout.stamp() - (100 + 2048 / RATE)) < 1e-9);
});

test("resampling keeps a tone clean", () => {
  const playout = new Playout(44_100);
  playout.eps = 0.002;
  for (let i = 0; i < 100; i++) playout.push(sine(480, i * 480), RATE, 1, i * 0.01);
  const [left] = render(playout, 22_050);
  const step = (RATE / 44_100) * 1.002;
  let worst = 0;
  for (let i = 200; i < left.length; i++) {
    const ideal = 0.48828125 * Math.sin((2 * Math.PI * 440 * i * step) / RATE);
    worst = Math.max(worst, Math.abs(left[i] - ideal));
  }
  assert.ok(worst < 2e-4, `error ${worst}`);
});

test("an underrun is silent without a click, is counted once and resumes at the right stamp", () => {
  const playout = new Playout(RATE);
  playout.prefillS = 0.005;
  playout.push(new Int16Array(960).fill(16_384), RATE, 1, 10);
  const [left] = render(playout, 4096);
  for (let i = 1; i < left.length; i++) assert.ok(Math.abs(left[i] - left[i - 1]) < 0.02, `click at ${i}`);
  assert.equal(playout.underruns, 1);
  assert.equal(playout.stamp(), null);
  playout.push(new Int16Array(960).fill(16_384), RATE, 1, 10.02);
  render(playout, 128);
  assert.ok(playout.stamp() > 10.018 && playout.stamp() < 10.025, String(playout.stamp()));
});

test("missing packets become silence of the same length; stamps stay right", () => {
  const playout = new Playout(RATE);
  playout.push(new Int16Array(960).fill(16_384), RATE, 1, 10);
  playout.push(new Int16Array(960).fill(16_384), RATE, 1, 10.06);
  const [left] = render(playout, 3700);
  for (let i = 1; i < left.length; i++) assert.ok(Math.abs(left[i] - left[i - 1]) < 0.02, `click at ${i}`);
  assert.equal(left[2000], 0);
  assert.ok(left[3500] > 0.49);
  assert.ok(Math.abs(playout.stamp() - (10 + 3700 / RATE)) < 1e-6);
});

test("stereo channels stay separate; a new rate resets the buffer", () => {
  const playout = new Playout(RATE);
  const pcm = new Int16Array(2 * 4800);
  for (let i = 0; i < 4800; i++) pcm.set([8192, -16_384], 2 * i);
  playout.push(pcm, RATE, 2, 1);
  const [left, right] = render(playout, 1000);
  assert.ok(Math.abs(left[900] - 0.25) < 1e-6 && Math.abs(right[900] + 0.5) < 1e-6);
  playout.push(new Int16Array(1600), 16_000, 1, 50);
  render(playout, 128);
  assert.ok(Math.abs(playout.stamp() - 50.002666) < 1e-3, String(playout.stamp()));
});

test("the audio buffer is bounded and drops the oldest", () => {
  const playout = new Playout(RATE);
  for (let i = 0; i < 1000; i++) playout.push(sine(480, i * 480), RATE, 1, i * 0.01);
  assert.ok(playout.bufferedS() <= Playout.CAPACITY_S);
  render(playout, 128);
  assert.ok(playout.stamp() > 5.9, String(playout.stamp()));
  assert.ok(playout.marks.length < 500);
});

/**
 * Simulates playback: packets of 20 ms with network jitter, an output that renders in bursts and
 * has a clock error, the control loop as in viewer.js. Returns the underruns and the delay's
 * median, 1 % and 99 % quantiles (seconds) after the first `settleS`.
 */
function listen({ seconds, latency, jitterS, sourcePpm = 0, outputPpm = 0, settleS = 20, stallEveryS = 0, seed = 1 }) {
  const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647);
  const sync = new Sync(latency);
  const playout = new Playout(RATE);
  const outputS = 0.03;
  const burst = 480;
  const packet = 960;
  const silence = new Int16Array(packet);
  const sourceRate = RATE * (1 + sourcePpm * 1e-6);
  const outputRate = RATE * (1 + outputPpm * 1e-6);
  let sent = 0;
  let underrunsAtSettle = 0;
  let lastArrival = 0;
  const queue = [];
  const delays = [];
  for (let n = 0; (n * burst) / outputRate < seconds; n++) {
    const now = (n * burst) / outputRate;
    for (;;) {
      const stamp = (sent * packet) / sourceRate;
      const whole = ((sent + 1) * packet) / sourceRate;
      if (whole > now) break;
      const stalled = stallEveryS > 0 && whole % stallEveryS < 0.15 ? 0.15 - (whole % stallEveryS) : 0;
      // TCP keeps the order: a late packet delays those behind it.
      lastArrival = Math.max(lastArrival, whole + 0.002 + random() * jitterS + stalled);
      queue.push({ stamp, arrival: lastArrival });
      sent++;
    }
    while (queue.length > 0 && queue[0].arrival <= now) {
      const { stamp, arrival } = queue.shift();
      sync.audioReady(arrival, 1.7e9 + stamp, outputS + burst / RATE);
      playout.push(silence, RATE, 1, 1.7e9 + stamp);
    }
    if (n % 10 === 0) {
      const heard = now + outputS + (random() - 0.5) * 0.002;
      const stamp = playout.stamp();
      const { eps, shiftS, prefillS } = sync.update(heard, stamp, playout.underruns);
      playout.eps = eps;
      playout.prefillS = prefillS;
      if (shiftS !== 0) playout.shift(shiftS);
      if (now < settleS) underrunsAtSettle = playout.underruns;
      else if (stamp !== null) delays.push(now + outputS + 1.7e9 - stamp);
    }
    render(playout, burst);
  }
  delays.sort((a, b) => a - b);
  return {
    underruns: playout.underruns - underrunsAtSettle,
    delay: delays[delays.length >> 1],
    low: delays[Math.floor(delays.length * 0.01)],
    high: delays[Math.floor(delays.length * 0.99)],
  };
}

test("200 ppm of clock drift for ten minutes cause no underrun", () => {
  for (const sourcePpm of [200, -200]) {
    const heard = listen({ seconds: 600, latency: "lowest", jitterS: 0.003, sourcePpm, outputPpm: -sourcePpm / 4 });
    assert.equal(heard.underruns, 0);
    assert.ok(heard.high - heard.low < 0.012, JSON.stringify(heard));
    assert.ok(heard.delay < 0.085, JSON.stringify(heard));
  }
});

test("lowest, balanced and smooth have increasing delays", () => {
  const [lowest, balanced, smooth] = ["lowest", "balanced", "smooth"].map((latency) =>
    listen({ seconds: 120, latency, jitterS: 0.01 }),
  );
  for (const heard of [lowest, balanced, smooth]) assert.equal(heard.underruns, 0, JSON.stringify(heard));
  assert.ok(lowest.delay < balanced.delay && balanced.delay < smooth.delay);
  assert.ok(smooth.delay > 0.3 && smooth.delay < 0.6, JSON.stringify(smooth));
});

test("smooth: network stalls of 150 ms cause no underrun", () => {
  assert.equal(listen({ seconds: 300, latency: "smooth", jitterS: 0.01, stallEveryS: 10 }).underruns, 0);
});

test("lowest: stalls cause underruns, and the delay decreases again", () => {
  const heard = listen({ seconds: 300, latency: "lowest", jitterS: 0.003, stallEveryS: 60 });
  assert.ok(heard.underruns > 0 && heard.underruns < 30, JSON.stringify(heard));
  assert.ok(heard.delay < 0.1, JSON.stringify(heard));
});

/* WebSocket or WebRTC */

/**
 * 30 frames a second from `from` to `to`, `delay(t)` seconds late, `share` of them lost; the time
 * of "too slow", or null.
 */
function watch(transport, from, to, delay, share = 0) {
  for (let frame = from * 30; frame < to * 30; frame++) {
    const now = frame / 30;
    if ((frame * 7919) % 100 < share * 100) transport.onLoss(now, 1);
    else transport.onFrame(now, now - delay(now));
    if (frame % 15 === 0 && transport.checkTooSlow(now)) return now;
  }
  return null;
}

test("automatic keeps a WebSocket that is fast enough, whatever the clock offset", () => {
  assert.equal(watch(new Transport("auto"), 0, 600, () => 0.04), null);
  assert.equal(watch(new Transport("auto"), 0, 600, (t) => 3600 + 100e-6 * t), null);
  assert.equal(watch(new Transport("auto"), 0, 600, (t) => (t % 20 < 1.5 ? 1.9 : 0.1)), null, "hiccups");
  assert.equal(watch(new Transport("auto"), 0, 600, () => 0.04, 0.1), null, "a few losses");
});

test("automatic leaves a WebSocket that loses frames or falls behind", () => {
  const losing = watch(new Transport("auto"), 0, 60, () => 0.04, 0.4);
  assert.ok(losing >= 10 && losing < 12, `${losing}`);
  const late = watch(new Transport("auto"), 0, 60, (t) => 0.04 + Math.max(0, t - 20));
  assert.ok(late > 21 && late < 25, `${late}`);
  for (const choice of ["websocket", "webrtc"]) assert.equal(watch(new Transport(choice), 0, 60, () => 0.04, 0.9), null);
});

test("webrtc: the WebSocket carries media only after WebRTC failed", () => {
  const transport = new Transport("webrtc");
  assert.deepEqual([transport.wantsWebrtc, transport.wsCarriesMedia], [true, false]);
  transport.webrtcFailed(0, "blocked");
  assert.deepEqual([transport.wantsWebrtc, transport.wsCarriesMedia], [true, true]);
  transport.webrtcStarted();
  assert.deepEqual([transport.wantsWebrtc, transport.wsCarriesMedia, transport.failure], [true, false, null]);
});

test("automatic keeps the WebSocket until WebRTC plays; retries back off", () => {
  const transport = new Transport("auto");
  assert.deepEqual([transport.wantsWebrtc, transport.wsCarriesMedia], [false, true]);
  let now = watch(transport, 0, 60, () => 0.04, 0.5);
  assert.deepEqual([transport.wantsWebrtc, transport.wsCarriesMedia], [true, true]);
  for (const pause of [60, 120, 240, 480, 900, 900]) {
    transport.webrtcFailed(now, "blocked");
    assert.deepEqual([transport.wantsWebrtc, transport.wsCarriesMedia], [false, true]);
    const next = watch(transport, Math.ceil(now), now + 2000, () => 0.04, 0.5);
    assert.ok(next - now >= pause && next - now < pause + 2, `${next - now} s, not ${pause}`);
    now = next;
  }
  transport.webrtcStarted();
  assert.deepEqual([transport.wantsWebrtc, transport.wsCarriesMedia], [true, false]);
});
