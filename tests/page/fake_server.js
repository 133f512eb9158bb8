/*
 * fake_server.js: a server of /stream and /info with configurable faults, for those that the real
 * program cannot be made to have. Frames flash and audio beeps during the first 100 ms of each UNIX
 * second.
 *
 * `node fake_server.js [PORT]` runs one without faults.
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const PACKET_S = 0.02;
const fixture = (name) => readFileSync(new URL(`fixtures/${name}.jpg`, import.meta.url));
const DARK = ["dark1", "dark2", "dark3"].map(fixture);
const FLASH = fixture("flash");
export const FLASH_AT = { x: 580, y: 420 };

/** The test beep: 1 kHz in the first 100 ms of each second. */
const beep = (t) => (t % 1 < 0.1 ? Math.round(12_000 * Math.sin(2 * Math.PI * 1000 * (t % 1))) : 0);
const unixNow = () => (performance.timeOrigin + performance.now()) / 1000;

export class FakeServer {
  /**
   * Options; all may be changed while it runs:
   *   fps, video, audio   what is sent
   *   camera, message     false: the server has no camera at all; its message on a missing camera
   *   microphoneMessage   its message on a missing microphone; for a server that has one without audio
   *   mute                true: sends nothing, as a dead connection
   *   token               required by /info and /stream
   *   status              status of every response; 0: normal
   *   retryAfter          seconds, in Retry-After; 0: none
 *   whep                status of responses to WebRTC offers; 0: no response
   *   deaf                true: accepts connections and sends nothing
 *   old                 true: knows neither query nor pings
   *   skewPpm             clock error of the sound card
   *   rate, channels      of audio
   *   sample(t)           the sample at UNIX second t, -32768 to 32767
   *   clockS              clock error, added to every stamp
   */
  constructor(options = {}) {
    const sending = { fps: 15, video: true, audio: true, camera: true, message: "", microphoneMessage: "", mute: false };
    const audio = { rate: 48_000, channels: 1, sample: beep, skewPpm: 0 };
    Object.assign(this, sending, audio, { token: "", status: 0, retryAfter: 0, whep: 404, deaf: false, old: false, clockS: 0 }, options);
    this.viewers = new Set();
    this.unanswered = [];
    this.sequence = { v: 0, a: 0 };
    this.handshakes = [];
    this.offers = 0;
  }

  async listen(port = 0) {
    this.http = createServer((request, response) => this.answer(request, response));
    this.sockets = new WebSocketServer({ noServer: true });
    this.http.on("upgrade", (request, socket, head) => this.upgrade(request, socket, head));
    await new Promise((done) => this.http.listen(port, "127.0.0.1", done));
    this.port = this.http.address().port;
    this.startedAt = unixNow();
    this.framesSent = Math.floor(this.startedAt * this.fps);
    this.samplesSent = 0;
    this.timer = setInterval(() => this.tick(), 4);
    return this;
  }

  async close() {
    clearInterval(this.timer);
    for (const viewer of this.viewers) viewer.terminate();
    for (const socket of this.unanswered) socket.destroy();
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }

  refusal(request) {
    if (this.status) return this.status;
    const url = new URL(request.url, "http://x");
    if (this.token && url.searchParams.get("token") !== this.token) return 401;
    return 0;
  }

  answer(request, response) {
    if (this.deaf) return undefined;
    const url = new URL(request.url, "http://x");
    const allow = { origin: "*", methods: "*", headers: "authorization, content-type" };
    const cors = Object.entries(allow).map(([what, value]) => [`access-control-allow-${what}`, value]);
    const headers = {
      ...Object.fromEntries(cors),
      "access-control-expose-headers": "retry-after",
      "content-type": "application/json",
      ...(this.retryAfter ? { "retry-after": String(this.retryAfter) } : {}),
    };
    if (request.method === "OPTIONS") return response.writeHead(204, headers).end();
    const whep = url.pathname === "/whep";
    if (whep) this.offers++;
    if (whep && this.whep === 0) return undefined;
    const status = this.refusal(request) || (url.pathname === "/info" ? 200 : whep ? this.whep : 404);
    response.writeHead(status, headers);
    return response.end(status === 200 ? JSON.stringify(this.info()) : "{}");
  }

  info() {
    const stamp = { marks: "end_of_frame", source: "driver", clock: "CLOCK_MONOTONIC", uncertainty_ns: 40_000 };
    const video = {
      state: this.video ? "streaming" : "waiting_for_device",
      message: this.video ? null : this.message || null,
      device: "Fake Camera (/dev/video0)",
      format: "jpeg",
      width: 640,
      height: 480,
      fps: { asked: this.fps, measured: this.fps },
      stamp,
    };
    const audio = { state: "streaming", message: null, format: "s16le", rate: this.rate, channels: this.channels };
    if (this.microphoneMessage) Object.assign(audio, { state: "waiting_for_device", message: this.microphoneMessage });
    const hasMicrophone = this.audio || this.microphoneMessage;
    return { name: "fake", version: "0", video: this.camera ? video : null, audio: hasMicrophone ? audio : null };
  }

  upgrade(request, socket, head) {
    if (this.deaf) {
      this.unanswered.push(socket);
      return;
    }
    const url = new URL(request.url, "http://x");
    this.handshakes.push(url.search);
    const status = this.refusal(request) || (this.old && url.search ? 400 : 0);
    if (status) {
      socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
      return;
    }
    this.sockets.handleUpgrade(request, socket, head, (viewer) => {
      viewer.binary = url.searchParams.get("format") === "binary";
      viewer.query = url.search;
      viewer.kinds = ["video", "audio"].filter((kind) => url.searchParams.get(kind) !== "0").map((kind) => kind[0]);
      viewer.events = url.searchParams.get("events") === "1";
      viewer.on("message", (data) => this.onmessage(viewer, String(data)));
      viewer.on("close", () => this.viewers.delete(viewer));
      viewer.on("error", () => {});
      this.viewers.add(viewer);
    });
  }

  onmessage(viewer, text) {
    const ping = /^ping:([^:]{0,64})$/.exec(text);
    if (!ping || this.old || this.mute) return;
    const now = (unixNow() + this.clockS).toFixed(6);
    viewer.send(`pong:${ping[1]}:${now}:${now}`);
  }

  tick() {
    const now = unixNow();
    while (this.framesSent / this.fps <= now - 0.005) {
      const stamp = this.framesSent++ / this.fps;
      if (this.video) this.sendVideo(stamp);
    }
    for (;;) {
      const stamp = this.startedAt + this.samplesSent / (this.rate * (1 + this.skewPpm * 1e-6));
      if (stamp + PACKET_S > now) break;
      this.samplesSent += this.rate * PACKET_S;
      if (this.audio) this.sendAudio(stamp);
    }
  }

  sendVideo(stamp) {
    const jpeg = stamp % 1 < 0.1 ? FLASH : DARK[this.sequence.v % DARK.length];
    const header = this.header("v", stamp);
    header.writeUInt16LE(640, 16);
    header.writeUInt16LE(480, 18);
    this.send(header, jpeg, () => `video:${this.text(stamp)}:640:480:${jpeg.toString("base64")}`);
  }

  sendAudio(stamp) {
    const frames = this.rate * PACKET_S;
    const pcm = Buffer.alloc(frames * this.channels * 2);
    for (let i = 0; i < frames; i++) {
      const value = this.sample(stamp + i / (this.rate * (1 + this.skewPpm * 1e-6)));
      for (let c = 0; c < this.channels; c++) pcm.writeInt16LE(value, (i * this.channels + c) * 2);
    }
    const header = this.header("a", stamp);
    header.writeUInt32LE(this.rate, 16);
    header.writeUInt16LE(this.channels, 20);
    this.send(header, pcm, () => `audio:${this.text(stamp)}:${pcm.toString("base64")}`);
  }

  header(kind, stamp) {
    const header = Buffer.alloc(24);
    header.write(kind, 0, "latin1");
    header.writeUInt8(24, 1);
    header.writeUInt32LE(kind === "e" ? 0 : this.sequence[kind]++, 4);
    header.writeBigUInt64LE(BigInt(Math.floor((stamp + this.clockS) * 1e6)) * 1000n, 8);
    return header;
  }

  text(stamp) {
    return (stamp + this.clockS).toFixed(6);
  }

  send(header, payload, text) {
    if (this.viewers.size === 0 || this.mute) return;
    const binary = Buffer.concat([header, payload]);
    const kind = String.fromCharCode(header[0]);
    for (const viewer of this.viewers) {
      if (viewer.kinds.includes(kind)) viewer.send(viewer.binary ? binary : text());
    }
  }

  /** Sends an event to all viewers with events=1. */
  event(event) {
    const json = JSON.stringify(event);
    const now = unixNow();
    const binary = Buffer.concat([this.header("e", now), Buffer.from(json)]);
    for (const viewer of this.viewers) {
      if (viewer.events) viewer.send(viewer.binary ? binary : `event:${this.text(now)}:${json}`);
    }
  }

  /** `count` frames are not sent; reported as a gap of `cause`, or not at all if null. */
  skipFrames(count, cause) {
    this.framesSent += count;
    this.sequence.v += count;
    if (cause) this.event({ event: "gap", stream: "video", count, cause });
  }

  /** Sets its clock forward by `seconds`. */
  stepClock(seconds) {
    this.clockS += seconds;
    this.event({ event: "clock_step", seconds });
  }

  dropViewers() {
    for (const viewer of this.viewers) viewer.close(1001);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await new FakeServer().listen(Number(process.argv[2] || 8080));
  console.log(`ws://127.0.0.1:${server.port}/stream`);
}
