/*
 * webrtc.js owns: the tests of the page's WebRTC mode, on the real program with its test camera.
 */
import assert from "node:assert/strict";
import { until, untilPhase } from "./browser.js";
import { assertAccessible, shoot } from "./looking.js";
import { beginMeasuring, offsets, quantile } from "./measuring.js";
import { Program, freePort } from "./program.js";
import { decode, download } from "./saved.js";
import { withPage } from "./session.js";
import { SlowLine } from "./slow-line.js";
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

/** Waits until WebRTC's picture moves on. */
async function plays(page, seconds = 30) {
  await until(page, "WebRTC plays", () => viewer.transport.plays && document.body.dataset.phase === "live", null, seconds);
  const shown = await page.evaluate(() => viewer.film.video.currentTime);
  await until(page, "WebRTC plays on", (from) => viewer.film.video.currentTime > from + 0.5, shown);
}

const untilText = (page, id, wanted, seconds) =>
  until(
    page,
    `${wanted} in #${id}`,
    ([name, source]) => new RegExp(source).test(document.getElementById(name).innerText),
    [id, wanted.source],
    seconds,
  );

test("WebRTC plays, and says how old the picture is and how sure that is", async () => {
  await withProgram([], async (page) => {
    await plays(page);
    await page.evaluate(beginMeasuring, { flash: FLASH, code: true });
    await until(page, "50 time codes", () => globalThis.notes.latencies.length >= 50, null, 40);
    const { latencies } = await page.evaluate(() => globalThis.notes);
    const median = quantile(latencies, 0.5);
    const shown = await page.evaluate(() => viewer.figures.latency.quantile(performance.now() / 1000, 0.5));
    console.log(`      time code p50 ${(median * 1000).toFixed(1)} ms, the page says ${(shown * 1000).toFixed(1)} ms`);
    assert.ok(median > 0 && median < 0.5, `captured ${median} s before it was seen`);
    assert.ok(Math.abs(shown - median) < 0.1, `the page says ${shown} s, the time code ${median} s`);
    await untilText(page, "f-latency-note", /^p95 \d+ ms\s± \d+\.\d ms$/);
    await untilText(page, "f-transport", /^WebRTC \(UDP\)$/);
    await untilText(page, "f-peer", /^WebRTC: connected$/);
    await untilText(page, "f-rate", /bit\/s/);
    await untilText(page, "transport-note", /^$/);
    assert.equal(await page.isVisible("#picture"), false);
    assert.equal(await page.isVisible("#stamp"), true);
    assert.match(await page.evaluate(() => viewer.film.last.stampText), /^\d+\.\d{3}$/);
    await assertAccessible(page, "webrtc");
    await shoot(page, "webrtc");
  });
});

test("beside WebRTC the WebSocket brings no picture, only events and the time", async () => {
  await withProgram([], async (page) => {
    await plays(page);
    assert.equal(await page.evaluate(() => new URL(viewer.link.socket.url).search), "?format=binary&events=1&video=0&audio=0");
    await until(page, "the clock's offset", () => viewer.clock.best() !== null);
    assert.equal(await page.evaluate(() => viewer.picture.last), null);
  });
});

test("by WebRTC the sound is heard after a click, is muted, and keeps step with the picture", async () => {
  await withProgram([], async (page) => {
    await plays(page);
    assert.equal(await page.evaluate(() => viewer.film.video.muted), true);
    await page.click("#start-audio");
    await until(page, "the sound is on", () => !viewer.film.video.muted);
    await page.keyboard.press("ArrowDown");
    await until(page, "quieter", () => Math.abs(viewer.film.video.volume - 0.95 ** 2) < 1e-6);
    await page.keyboard.press("m");
    await until(page, "muted", () => viewer.film.video.muted);
    await page.keyboard.press("m");
    await until(page, "the beep in the meter", () => Number($("meter").getAttribute("aria-valuenow")) > -30);
    const inStep = () => Math.abs(parseFloat($("f-offset").textContent.replace("−", "-"))) < 30;
    await until(page, "picture and sound in step by the page's own figure", inStep, null, 60);
    await page.evaluate(async () => {
      const context = new AudioContext();
      await context.resume();
      globalThis.toLoudspeaker = context.createMediaStreamSource(viewer.film.stream);
    });
    await page.evaluate(beginMeasuring, { flash: FLASH, code: false });
    await until(page, "five beeps with their flashes", () => globalThis.pairs() >= 5, null, 40);
    const found = offsets(await page.evaluate(() => globalThis.notes));
    const median = quantile(found, 0.5);
    console.log(`      flash after beep: ${found.map((ms) => ms.toFixed(0)).join(", ")} ms`);
    assert.ok(Math.abs(median) < 150, `the flash comes ${median} ms after the beep`);
  });
});

test("by WebRTC, too, a snapshot is saved with its stamp, and a recording has picture and sound", async () => {
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
    assert.equal(await page.evaluate(() => viewer.film.video.paused), false);
  });
});

test("the program is stopped and started again: the page plays by WebRTC again", async () => {
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

test("a program without WebRTC is watched by WebSocket, and the page says so", async () => {
  await withProgram(["--no-webrtc"], async (page) => {
    await untilPhase(page, "live");
    await untilText(page, "transport-note", /^WebRTC failed: this server does not offer it\. Playing by WebSocket\.$/);
    await untilText(page, "f-transport", /^WebSocket$/);
    assert.equal(await page.isVisible("#film"), false);
    await page.click("#open-settings");
    await page.selectOption("#language", "ja");
    await page.keyboard.press("Escape");
    await untilText(page, "transport-note", /このサーバーは対応していません/);
    await page.selectOption("#transport", "websocket");
    await untilText(page, "transport-note", /^$/);
  });
});

test("where no way through the network is found, the WebSocket plays and WebRTC is tried again", async () => {
  const program = await new Program(await freePort(), START).ready();
  await withPage({ port: program.port }, async (page) => {
    await untilPhase(page, "live");
    let blocked = true;
    await page.route("**/whep", async (route) => {
      const answer = await route.fetch();
      const sdp = await answer.text();
      // Port 9 is nobody's.
      const body = blocked ? sdp.replace(/^(a=candidate:(?:\S+ ){5})\d+/gm, "$19") : sdp;
      await route.fulfill({ response: answer, body });
    });
    await page.evaluate(() => {
      Webrtc.CONNECT_MS = 2500;
    });
    await page.selectOption("#transport", "webrtc");
    await untilText(page, "transport-note", /looking for a way/);
    await untilText(page, "transport-note", /no way through the network was found\. Playing by WebSocket/);
    await untilPhase(page, "live");
    await untilText(page, "f-peer", /Next try in \d+ s/);
    blocked = false;
    await plays(page, 60);
  });
  await program.stop();
});

test("a viewer that leaves gives its place back at once", async () => {
  await withProgram(["--webrtc-max-sessions", "1"], async (page, program, context) => {
    await plays(page);
    const other = await context.newPage();
    await other.goto(page.url());
    await untilText(other, "transport-note", /all its places are taken/);
    await untilPhase(other, "live");
    await page.goto(`http://127.0.0.1:${program.port}/healthz`);
    // The server alone would notice after 10 s.
    await other.evaluate(() => viewer.webrtc.again());
    await plays(other, 8);
  });
});

test("with a token, WebRTC asks for it and bears it", async () => {
  await withProgram(["--token", "s3cret-token"], async (page) => {
    await untilPhase(page, "refused");
    await untilText(page, "transport-note", /^$/);
    await page.fill("#token", "s3cret-token");
    await page.press("#token", "Enter");
    await plays(page);
  });
});

test("at a plain http address in the network, from the program itself, WebRTC plays with sound", async () => {
  const program = await new Program(await freePort(), [...START, "--serve-client", "--token", "s3cret-token"]).ready();
  const url = `http://lan.test:${program.port}/?token=s3cret-token`;
  await withPage({ url, settings: WEBRTC }, async (page) => {
    await plays(page);
    assert.equal(await page.evaluate(() => isSecureContext), false);
    await page.click("#start-audio");
    await until(page, "the sound is on", () => !viewer.film.video.muted);
    await until(page, "the beep in the meter", () => Number($("meter").getAttribute("aria-valuenow")) > -30);
  });
  await program.stop();
});

test("automatic stays with a WebSocket that is fast enough, and goes to WebRTC where it is too slow", async () => {
  const program = await new Program(await freePort(), [...START, "--audio-channels", "1"]).ready();
  const line = await new SlowLine(program.port).listen();
  try {
    await withPage({ port: line.port, settings: { transport: "auto" } }, async (page) => {
      await untilPhase(page, "live");
      await until(page, "the line was judged", () => performance.now() / 1000 - viewer.transport.from > 12, null, 40);
      assert.equal(await page.evaluate(() => viewer.transport.wantsPeer), false);
      line.bytesPerSecond = 60_000;
      await plays(page, 60);
      await untilText(page, "f-transport", /^WebRTC/);
    });
  } finally {
    await line.close();
    await program.stop();
  }
}, 150);
