/*
 * webrtc.js: tests of the page with WebRTC, with the real program and its test camera.
 */
import assert from "node:assert/strict";
import { until, untilPhase } from "./browser.js";
import { assertAccessible, shoot } from "./appearance_checks.js";
import { beginMeasuring, offsets, quantile } from "./measurement.js";
import { Program, freePort } from "./program.js";
import { decode, download } from "./downloads.js";
import { withPage } from "./session.js";
import { ThrottledProxy } from "./throttled_proxy.js";
import { test } from "./suite.js";

const FLASH = { x: 0.5, y: 0.375 };
const WEBRTC = { transport: "webrtc", latency: "lowest" };
const START = ["--webrtc-port", "0", "--fps", "30"];

async function withProgram(extra, body, pageOptions = {}) {
  const program = await new Program(await freePort(), [...START, ...extra]).ready();
  try {
    await withPage({ port: program.port, settings: WEBRTC, ...pageOptions }, (page, context) => body(page, program, context));
  } finally {
    await program.stop();
  }
}

/** Waits until WebRTC plays. */
async function plays(page, seconds = 30) {
  await until(page, "WebRTC plays", () => viewer.transport.webrtcPlays && document.body.dataset.phase === "live", null, seconds);
  const shown = await page.evaluate(() => viewer.videoSink.video.currentTime);
  await until(page, "WebRTC plays on", (from) => viewer.videoSink.video.currentTime > from + 0.5, shown);
}

const untilText = (page, id, wanted, seconds) =>
  until(
    page,
    `${wanted} in #${id}`,
    ([name, source]) => new RegExp(source).test(document.getElementById(name).innerText),
    [id, wanted.source],
    seconds,
  );

test("WebRTC plays and shows the latency with its uncertainty", async () => {
  await withProgram([], async (page) => {
    await plays(page);
    await page.evaluate(beginMeasuring, { flash: FLASH, code: true });
    await until(page, "50 time codes", () => globalThis.notes.latencies.length >= 50, null, 40);
    const { latencies } = await page.evaluate(() => globalThis.notes);
    const median = quantile(latencies, 0.5);
    const shown = await page.evaluate(() => viewer.stats.latency.quantile(performance.now() / 1000, 0.5));
    console.log(`      time code p50 ${(median * 1000).toFixed(1)} ms, the page says ${(shown * 1000).toFixed(1)} ms`);
    assert.ok(median > 0 && median < 0.5, `captured ${median} s before it was seen`);
    assert.ok(Math.abs(shown - median) < 0.1, `the page says ${shown} s, the time code ${median} s`);
    await untilText(page, "stat-latency-note", /^p95 \d+ ms\s± \d+\.\d ms$/);
    await untilText(page, "stat-transport", /^WebRTC \(UDP\)$/);
    await untilText(page, "stat-peer", /^WebRTC: connected$/);
    await untilText(page, "stat-rate", /bit\/s/);
    await untilText(page, "transport-note", /^$/);
    assert.equal(await page.isVisible("#canvas"), false);
    assert.equal(await page.isVisible("#stamp"), true);
    assert.match(await page.evaluate(() => viewer.videoSink.last.stampText), /^\d+\.\d{3}$/);
    await assertAccessible(page, "webrtc");
    await shoot(page, "webrtc");
  });
});

test("beside WebRTC the WebSocket carries only events and pings", async () => {
  await withProgram([], async (page) => {
    await plays(page);
    assert.equal(await page.evaluate(() => new URL(viewer.ws.socket.url).search), "?format=binary&events=1&video=0&audio=0");
    await until(page, "the clock's offset", () => viewer.clock.best() !== null);
    assert.equal(await page.evaluate(() => viewer.canvasSink.last), null);
  });
});

test("WebRTC: audio starts by a click, can be muted and is in sync with video", async () => {
  await withProgram([], async (page) => {
    await plays(page);
    assert.equal(await page.evaluate(() => viewer.videoSink.video.muted), true);
    await page.click("#start-audio");
    await until(page, "audio on", () => !viewer.videoSink.video.muted);
    await page.keyboard.press("ArrowDown");
    await until(page, "quieter", () => Math.abs(viewer.videoSink.video.volume - 0.95 ** 2) < 1e-6);
    await page.keyboard.press("m");
    await until(page, "muted", () => viewer.videoSink.video.muted);
    await page.keyboard.press("m");
    await until(page, "the beep in the meter", () => Number($("meter").getAttribute("aria-valuenow")) > -30);
    const inStep = () => Math.abs(parseFloat($("stat-offset").textContent.replace("−", "-"))) < 30;
    await until(page, "audio and video in sync by the statistics", inStep, null, 60);
    await page.evaluate(async () => {
      const context = new AudioContext();
      await context.resume();
      globalThis.toLoudspeaker = context.createMediaStreamSource(viewer.videoSink.stream);
    });
    await page.evaluate(beginMeasuring, { flash: FLASH, code: false });
    await until(page, "five beeps with their flashes", () => globalThis.pairs() >= 5, null, 40);
    const found = offsets(await page.evaluate(() => globalThis.notes));
    const median = quantile(found, 0.5);
    console.log(`      flash after beep: ${found.map((ms) => ms.toFixed(0)).join(", ")} ms`);
    assert.ok(Math.abs(median) < 150, `the flash comes ${median} ms after the beep`);
  });
});

test("WebRTC: a snapshot is named by its stamp, a recording has video and audio", async () => {
  await withProgram([], async (page) => {
    await plays(page);
    const jpeg = await download(page, () => page.click("#snapshot"));
    const now = Date.now() / 1000;
    const stamp = Number(/^stampcast-(\d+\.\d{3})\.jpg$/.exec(jpeg.name)[1]);
    assert.ok(stamp < now && stamp > now - 5, `${stamp} at ${now}`);
    assert.deepEqual([...jpeg.bytes.subarray(0, 2)], [0xff, 0xd8]);
    await page.click("#record");
    await until(page, "two seconds", () => viewer.recording && viewer.recording.seconds() > 2.5);
    const { name, bytes } = await download(page, () => page.click("#record"));
    assert.match(name, /^stampcast-\d+\.\d{3}\.(webm|mp4)$/);
    const heard = await decode(page, bytes);
    assert.equal(heard.width, 640);
    assert.ok(heard.seconds > 1 && heard.loudest > 0.1, JSON.stringify(heard));
    assert.equal(await page.evaluate(() => viewer.videoSink.video.paused), false);
  });
});

test("program restarted: WebRTC resumes", async () => {
  const port = await freePort();
  let program = await new Program(port, START).ready();
  await withPage({ port, settings: WEBRTC }, async (page) => {
    await plays(page);
    await program.stop();
    await untilPhase(page, "reconnecting");
    program = await new Program(port, START).ready();
    await plays(page, 60);
  });
  await program.stop();
});

test("without WebRTC in the program, the page uses the WebSocket and says so", async () => {
  await withProgram(["--no-webrtc"], async (page) => {
    await untilPhase(page, "live");
    await untilText(page, "transport-note", /^WebRTC failed: not offered by this server\. Using WebSocket\.$/);
    await untilText(page, "stat-transport", /^WebSocket$/);
    assert.equal(await page.isVisible("#video"), false);
    await page.click("#open-settings");
    await page.selectOption("#language", "ja");
    await page.keyboard.press("Escape");
    await untilText(page, "transport-note", /このサーバーは対応していません/);
    await page.selectOption("#transport", "websocket");
    await untilText(page, "transport-note", /^$/);
  });
});

test("without a network path the WebSocket plays and WebRTC is retried", async () => {
  const program = await new Program(await freePort(), START).ready();
  await withPage({ port: program.port }, async (page) => {
    await untilPhase(page, "live");
    let blocked = true;
    await page.route("**/whep", async (route) => {
      const answer = await route.fetch();
      const sdp = await answer.text();
      // Nothing listens on port 9.
      const body = blocked ? sdp.replace(/^(a=candidate:(?:\S+ ){5})\d+/gm, "$19") : sdp;
      await route.fulfill({ response: answer, body });
    });
    await page.evaluate(() => {
      Webrtc.CONNECT_MS = 2500;
    });
    await page.selectOption("#transport", "webrtc");
    await untilText(page, "transport-note", /looking for a network path/);
    await untilText(page, "transport-note", /no network path found\. Using WebSocket/);
    await untilPhase(page, "live");
    await untilText(page, "stat-peer", /Retry in \d+ s/);
    blocked = false;
    await plays(page, 60);
  });
  await program.stop();
});

test("a viewer that leaves frees its session at once", async () => {
  await withProgram(["--webrtc-max-sessions", "1"], async (page, program, context) => {
    await plays(page);
    const other = await context.newPage();
    await other.goto(page.url());
    await untilText(other, "transport-note", /no free WebRTC slot/);
    await untilPhase(other, "live");
    await page.goto(`http://127.0.0.1:${program.port}/healthz`);
    // Without the DELETE, the server would notice after 10 s.
    await other.evaluate(() => viewer.webrtc.reconnect());
    await plays(other, 8);
  });
});

test("WebRTC sends the token", async () => {
  await withProgram(["--token", "s3cret-token"], async (page) => {
    await untilPhase(page, "refused");
    await untilText(page, "transport-note", /^$/);
    await page.fill("#token", "s3cret-token");
    await page.press("#token", "Enter");
    await plays(page);
  });
});

test("served over plain http in a network, WebRTC plays with audio", async () => {
  const program = await new Program(await freePort(), [...START, "--serve-client", "--token", "s3cret-token"]).ready();
  const url = `http://lan.test:${program.port}/?token=s3cret-token`;
  await withPage({ url, settings: WEBRTC }, async (page) => {
    await plays(page);
    assert.equal(await page.evaluate(() => isSecureContext), false);
    await page.click("#start-audio");
    await until(page, "audio on", () => !viewer.videoSink.video.muted);
    await until(page, "the beep in the meter", () => Number($("meter").getAttribute("aria-valuenow")) > -30);
  });
  await program.stop();
});

test("automatic switches to WebRTC if the WebSocket is too slow", async () => {
  const program = await new Program(await freePort(), [...START, "--audio-channels", "1"]).ready();
  const line = await new ThrottledProxy(program.port).listen();
  try {
    await withPage({ port: line.port, settings: { transport: "auto" } }, async (page) => {
      await untilPhase(page, "live");
      await until(page, "the line was judged", () => performance.now() / 1000 - viewer.transport.from > 12, null, 40);
      assert.equal(await page.evaluate(() => viewer.transport.wantsWebrtc), false);
      line.bytesPerSecond = 60_000;
      await plays(page, 60);
      await untilText(page, "stat-transport", /^WebRTC/);
    });
  } finally {
    await line.close();
    await program.stop();
  }
}, 150);
