/*
 * whep.js: tests of WHEP with Chromium as the peer, with the real program and its test camera.
 */
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { launchServer } from "./browser.js";
import { quantile } from "./measurement.js";
import { freePort, Program } from "./program.js";
import { withPage } from "./session.js";
import { test } from "./suite.js";

/**
 * Runs in the page: plays by WHEP, ignoring candidates of the protocol `without`; records the
 * latency of each time code.
 */
async function play({ path, without }) {
  const peer = new RTCPeerConnection();
  globalThis.peer = peer;
  const video = document.createElement("video");
  Object.assign(video, { muted: true, autoplay: true });
  document.body.append(video);
  const stream = new MediaStream();
  video.srcObject = stream;
  peer.ontrack = ({ track }) => stream.addTrack(track);
  for (const kind of ["video", "audio"]) {
    const transceiver = peer.addTransceiver(kind, { direction: "recvonly" });
    // Off by default; it carries the capture time of frames.
    const extensions = transceiver.getHeaderExtensionsToNegotiate();
    for (const extension of extensions) if (extension.uri.endsWith("/abs-capture-time")) extension.direction = "sendrecv";
    transceiver.setHeaderExtensionsToNegotiate(extensions);
  }
  await peer.setLocalDescription();
  const headers = { "content-type": "application/sdp" };
  const answer = await fetch(path, { method: "POST", headers, body: peer.localDescription.sdp });
  if (answer.status !== 201) throw new Error(`${answer.status}: ${await answer.text()}`);
  const lines = (await answer.text()).split("\r\n");
  const sdp = lines.filter((line) => !without || !(line.startsWith("a=candidate:") && line.includes(` ${without} `))).join("\r\n");
  await peer.setRemoteDescription({ type: "answer", sdp });

  const [videoReceiver] = peer.getReceivers();
  const latencies = [];
  globalThis.latencies = latencies;
  globalThis.frameGaps = [];
  globalThis.captureTimes = [];
  const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  let lastCode = null;
  let lastAt = null;
  const look = (now, frame) => {
    const unix = (performance.timeOrigin + performance.now()) / 1000;
    const { videoWidth: width, videoHeight: height } = video;
    Object.assign(copy.canvas, { width, height });
    copy.drawImage(video, 0, 0);
    const pixels = copy.getImageData(0, 0, width, height).data;
    let value = 0n;
    for (let cell = 0; cell < 64; cell++) {
      const x = Math.floor((width / 20) * (2.5 + (cell % 16)));
      const y = Math.floor((height / 24) * (17.5 + Math.floor(cell / 16)));
      value = (value << 1n) | (pixels[(y * width + x) * 4] > 128 ? 1n : 0n);
    }
    if (value !== lastCode) {
      const micros = Number(value);
      latencies.push(unix - micros / 1e6);
      // Capture time (whole ms since 1900) of the last frame received, plus the difference in RTP
      // time.
      const [source] = videoReceiver.getSynchronizationSources();
      if (source?.captureTimestamp) {
        const captured = source.captureTimestamp - 2208988800000 + (frame.rtpTimestamp - source.rtpTimestamp) / 90;
        globalThis.captureTimes.push(captured - micros / 1000);
      }
      if (lastAt !== null) globalThis.frameGaps.push(unix - lastAt);
      lastAt = unix;
    }
    lastCode = value;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  const location = new URL(answer.headers.get("location"), answer.url).pathname;
  return { location, etag: answer.headers.get("etag"), sdp };
}

/** Runs in the page: receive statistics and the protocol. */
async function received() {
  const stats = [...(await globalThis.peer.getStats()).values()];
  const inbound = (kind) => stats.find((s) => s.type === "inbound-rtp" && s.kind === kind) ?? {};
  const { framesDecoded = 0, freezeCount, totalFreezesDuration, nackCount, pliCount, frameWidth } = inbound("video");
  const { totalSamplesReceived = 0, concealedSamples = 0, silentConcealedSamples = 0, totalAudioEnergy = 0 } = inbound("audio");
  const transport = stats.find((s) => s.type === "transport");
  const pair = stats.find((s) => s.id === transport?.selectedCandidatePairId);
  const protocol = stats.find((s) => s.id === pair?.remoteCandidateId)?.protocol;
  const state = globalThis.peer.connectionState;
  return { framesDecoded, freezeCount, totalFreezesDuration, nackCount, pliCount, frameWidth, totalSamplesReceived, concealedSamples, silentConcealedSamples, totalAudioEnergy, protocol, state };
}

async function until(what, look, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

async function withProgram(extra, body) {
  const program = await new Program(await freePort(), ["--webrtc-port", "0", ...extra]).ready();
  try {
    await body(program, { url: `http://127.0.0.1:${program.port}/healthz` });
  } finally {
    await program.stop();
  }
}

const plays = async (page, frames, samples) =>
  until(`${frames} frames and ${samples} audio samples decoded`, async () => {
    const got = await page.evaluate(received);
    return got.framesDecoded >= frames && got.totalSamplesReceived - got.silentConcealedSamples >= samples && got;
  });

test("three browsers play video and audio by WHEP with low latency", async () => {
  await withProgram(["--fps", "30"], async (program, at) => {
    await withPage(at, async (one, context) => {
      const pages = [one, await context.newPage(), await context.newPage()];
      await Promise.all(pages.slice(1).map((page) => page.goto(at.url)));
      const answers = await Promise.all(pages.map((page, n) => page.evaluate(play, { path: n === 0 ? "/whep" : "/door/whep" })));
      assert.match(answers[0].location, /^\/whep\/[0-9a-f]{32}$/);
      assert.match(answers[1].location, /^\/door\/whep\/[0-9a-f]{32}$/);
      assert.ok(answers[0].etag);
      for (const page of pages) {
        const got = await plays(page, 150, 48000 * 2);
        assert.equal(got.frameWidth, 640);
        console.log(`      ${JSON.stringify(got)}`);
      }
      // Only the page in front renders.
      await one.bringToFront();
      // Three starting browsers keep a small machine busy for a while: the final latency counts.
      const newest = () => one.evaluate(() => ({ latencies: globalThis.latencies.slice(-150), captureTimes: globalThis.captureTimes }));
      const settled = async () => {
        const got = await newest();
        return got.latencies.length === 150 && quantile(got.latencies, 0.5) < 0.25 && got;
      };
      const { latencies, captureTimes } = await until("a low latency", settled, 45).catch(async (error) => {
        throw new Error(`${error.message}: p50 ${quantile((await newest()).latencies, 0.5)} s`);
      });
      const milliseconds = (values, share) => (quantile(values, share) * 1000).toFixed(1);
      console.log(`      latency ms: p50 ${milliseconds(latencies, 0.5)}, p95 ${milliseconds(latencies, 0.95)} of ${latencies.length}`);
      const off = captureTimes.map(Math.abs);
      console.log(`      abs-capture-time less time code, ms: p50 ${quantile(off, 0.5).toFixed(3)}, p95 ${quantile(off, 0.95).toFixed(3)} of ${off.length}`);
      assert.ok(off.length > 50 && quantile(off, 0.95) < 1.5, "frames know when they were captured");
      const { location } = answers[0];
      const ended = () => one.evaluate(async (path) => (await fetch(path, { method: "DELETE" })).status, location);
      assert.equal(await ended(), 200);
      await until("the session's end", async () => (await ended()) === 404);
      await until("the peer hears of it", async () => ["disconnected", "failed", "closed"].includes((await one.evaluate(received)).state));
    });
  });
});

test("without UDP a browser plays over TCP", async () => {
  await withProgram([], async (program, at) => {
    await withPage(at, async (page) => {
      await page.evaluate(play, { path: "/whep", without: "udp" });
      const got = await plays(page, 45, 48000);
      assert.equal(got.protocol, "tcp");
      console.log(`      ${JSON.stringify(got)}`);
    });
  });
});

test("a video-only token gives no audio", async () => {
  await withProgram(["--token", "whole", "--video-token", "part"], async (program, at) => {
    await withPage(at, async (page) => {
      const post = { method: "POST", headers: { "content-type": "application/sdp" }, body: "v=0" };
      assert.equal((await fetch(`http://127.0.0.1:${program.port}/whep`, post)).status, 401);
      await page.evaluate(play, { path: "/whep?token=part" });
      const got = await plays(page, 60, 0);
      assert.equal(got.totalSamplesReceived - got.silentConcealedSamples, 0, JSON.stringify(got));
    });
  });
});

test("a killed browser's session ends within 12 s; until then others get Retry-After", async () => {
  await withProgram(["--webrtc-max-sessions", "1"], async (program, at) => {
    const doomed = await launchServer();
    const browser = await chromium.connect(doomed.wsEndpoint());
    const victim = await browser.newPage();
    await victim.goto(at.url);
    await victim.evaluate(play, { path: "/whep" });
    await plays(victim, 15, 4800);
    await withPage(at, async (page) => {
      const tries = () => page.evaluate(play, { path: "/whep" }).then(() => null, (error) => error.message);
      assert.match(await tries(), /503: .*limit of 1 WebRTC sessions/);
      const refused = await page.evaluate(async (sdp) => {
        const answer = await fetch("/whep", { method: "POST", headers: { "content-type": "application/sdp" }, body: sdp });
        return [answer.status, answer.headers.get("retry-after")];
      }, await page.evaluate(() => globalThis.peer.localDescription.sdp));
      assert.deepEqual(refused, [503, "5"]);
      const killed = Date.now();
      await doomed.kill();
      await until("the place is free", async () => (await tries()) === null, 20);
      const seconds = (Date.now() - killed) / 1000;
      console.log(`      free after ${seconds.toFixed(1)} s`);
      assert.ok(seconds < 12.5, `${seconds} s`);
      await plays(page, 15, 4800);
    });
  });
});
