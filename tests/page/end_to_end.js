/*
 * end_to_end.js: tests with the real program and its test camera: canvas and audio graph show what
 * was captured at the stamp, and resume after each process of the program was killed.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { until, untilPhase } from "./browser.js";
import { assertAccessible } from "./appearance_checks.js";
import { beginMeasuring, offsets, quantile } from "./measurement.js";
import { Program, freePort } from "./program.js";
import { withPage } from "./session.js";
import { test } from "./suite.js";

const FLASH = { x: 0.5, y: 0.375 };

async function withProgram(extra, body, pageOptions = {}) {
  const program = await new Program(await freePort(), extra).ready();
  try {
    await withPage({ port: program.port, ...pageOptions }, (page, context) => body(page, program, context));
  } finally {
    await program.stop();
  }
}

/** Process id of the program's child process `name`. */
function part(program, name) {
  const found = readdirSync("/proc").find((id) => {
    if (!/^\d+$/.test(id)) return false;
    try {
      const [, comm, , parent] = /^\d+ \((.*)\) (\S) (\d+)/.exec(readFileSync(`/proc/${id}/stat`, "latin1"));
      return comm === name && Number(parent) === program.child.pid;
    } catch {
      return false;
    }
  });
  assert.ok(found, `no process ${name}`);
  return Number(found);
}

const newerThan = (page, stamp) =>
  until(page, "newer frames", (before) => document.body.dataset.phase === "live" && viewer.canvasSink.last.stamp > before, stamp);

test("the frame shown has the time code of its stamp and is recent", async () => {
  await withProgram([], async (page) => {
    await untilPhase(page, "live");
    await until(page, "the clock's offset", () => viewer.clock.best() !== null);
    await page.evaluate(beginMeasuring, { flash: FLASH, code: true });
    await until(page, "20 time codes", () => globalThis.notes.latencies.length >= 20);
    const { latencies } = await page.evaluate(() => globalThis.notes);
    // A sanity check only: measure.mjs measures the latency.
    const median = quantile(latencies, 0.5);
    assert.ok(median > 0 && median < 1, `captured ${median} s before it was seen`);
    const shown = await page.evaluate(() => viewer.stats.latency.quantile(performance.now() / 1000, 0.5));
    assert.ok(Math.abs(shown - median) < 0.3, `the page says ${shown} s, the time code ${median} s`);
  });
});

test("flash and beep are in sync", async () => {
  await withProgram(
    [],
    async (page) => {
      await untilPhase(page, "live");
      await page.click("#start-audio");
      await until(page, "audio paces frames", () => viewer.canvasSink.due !== null);
      await page.evaluate(beginMeasuring, { flash: FLASH, code: false });
      await until(page, "five beeps with their flashes", () => globalThis.pairs() >= 5, null, 40);
      const found = offsets(await page.evaluate(() => globalThis.notes));
      const median = quantile(found, 0.5);
      assert.ok(Math.abs(median) < 150, `the flash comes ${median} ms after the beep`);
    },
    { settings: { latency: "lowest" } },
  );
});

test("audio is played at the right pitch for rate and channels", async () => {
  await withProgram(["--audio-channels", "2"], async (page) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    const pitch = await page.waitForFunction(() => {
      if (!globalThis.toLoudspeaker) return null;
      const { context } = globalThis.toLoudspeaker;
      if (!globalThis.ear) {
        globalThis.ear = context.createAnalyser();
        globalThis.ear.fftSize = 1024;
        globalThis.toLoudspeaker.connect(globalThis.ear);
      }
      const samples = new Float32Array(1024);
      globalThis.ear.getFloatTimeDomainData(samples);
      const crossings = [];
      for (let i = 1; i < samples.length; i++) {
        const [before, after] = [samples[i - 1], samples[i]];
        if (before < 0 && after >= 0) crossings.push(i - after / (after - before));
      }
      const loud = samples.every((_, i) => i % 64 !== 0 || Math.max(...samples.subarray(i, i + 64)) > 0.1);
      if (!loud) return null;
      // The median: on a busy machine an audio jump in the window may shorten one period.
      const periods = crossings.slice(1).map((at, i) => at - crossings[i]);
      return context.sampleRate / periods.sort((a, b) => a - b)[periods.length >> 1];
    }, null, { timeout: 60_000 });
    const hertz = await pitch.jsonValue();
    assert.ok(Math.abs(hertz - 1000) < 10, `${hertz} Hz`);
    assert.deepEqual(await page.evaluate(() => ({ ...viewer.audioFormat })), { rate: 48_000, channels: 2 });
  });
});

test("video worker killed: the connection stays and video resumes", async () => {
  await withProgram([], async (page, program) => {
    await untilPhase(page, "live");
    const before = await page.evaluate(() => [viewer.canvasSink.last.stamp, viewer.ws.attempt]);
    const killed = part(program, "stampcast-video");
    process.kill(killed, "SIGKILL");
    await newerThan(page, before[0] + 1);
    assert.notEqual(part(program, "stampcast-video"), killed);
    assert.equal(await page.evaluate(() => viewer.ws.attempt), before[1]);
  });
});

test("server process killed: the page reconnects", async () => {
  await withProgram([], async (page, program) => {
    await untilPhase(page, "live");
    const before = await page.evaluate(() => [viewer.canvasSink.last.stamp, viewer.ws.attempt]);
    process.kill(part(program, "stampcast-serve"), "SIGKILL");
    await until(page, "another connection", (attempt) => viewer.ws.attempt > attempt, before[1]);
    await newerThan(page, before[0] + 1);
  });
});

test("program restarted: the page reconnects, video and audio resume", async () => {
  const port = await freePort();
  let program = await new Program(port).ready();
  await withPage({ port }, async (page) => {
    await untilPhase(page, "live");
    await page.click("#start-audio");
    await until(page, "audio plays", () => viewer.playback !== null);
    const before = await page.evaluate(() => viewer.canvasSink.last.stamp);
    await program.stop();
    await untilPhase(page, "reconnecting");
    program = await new Program(port).ready();
    await newerThan(page, before);
    await until(page, "in sync again", () => viewer.sync.delay !== null && viewer.canvasSink.due !== null);
  });
  await program.stop();
});

test("statistics show the program's size, fps, rate and source", async () => {
  await withProgram(["--width", "320", "--height", "240", "--fps", "10"], async (page) => {
    await untilPhase(page, "live");
    await until(page, "the size", () => $("stat-size").textContent === "320 × 240");
    await until(page, "the source", () => $("stat-source").textContent === "test pattern");
    await until(page, "the audio format", () => $("stat-audio").textContent === "48000 Hz, mono");
    await until(page, "about 10 fps", () => Math.abs(Number($("stat-fps").textContent) - 10) < 1.5, null, 40);
    await until(page, "the clock offset", () => /^[+−][\d.]+ ms$/.test($("stat-clock").textContent));
  });
});

test("the page asks for the program's token", async () => {
  await withProgram(["--token", "s3cret-token"], async (page) => {
    await untilPhase(page, "refused");
    await page.fill("#token", "wrong");
    await page.press("#token", "Enter");
    await until(page, "the refusal", () => /not accepted/.test($("card").innerText));
    await page.fill("#token", "s3cret-token");
    await page.press("#token", "Enter");
    await untilPhase(page, "live");
  });
});

test("with --no-file-origin a page opened as a file is refused", async () => {
  await withProgram(["--no-file-origin"], async (page) => {
    await untilPhase(page, "refused");
    assert.match(await page.textContent("#card-title"), /does not accept this page/);
  });
});

test("the served page has a QR code of its address, with the token only on request", async () => {
  const program = await new Program(await freePort(), ["--serve-client", "--token", "s3cret-token"]).ready();
  const address = `http://lan.test:${program.port}/`;
  try {
    await withPage({ url: `${address}?token=s3cret-token` }, async (page) => {
      await untilPhase(page, "live");
      await page.click("#open-share");
      await page.waitForSelector("#share-qr", { state: "visible" });
      assert.equal(await page.getAttribute("#share-qr", "aria-label"), `QR code of ${address}`);
      assert.equal(await page.inputValue("#share-list input >> nth=0"), address);
      await page.check("#share-token");
      assert.equal(await page.inputValue("#share-list input >> nth=0"), `${address}#token=s3cret-token`);
      await assertAccessible(page, "the dialog of links");
      await page.click("#share [data-close]");
    });
    // The link with the token, as from the QR code: opened in a browser that has never seen the page.
    for (const parameters of ["", "?ui=0"]) {
      await withPage({ url: `${address}${parameters}#token=s3cret-token` }, async (page) => {
        await untilPhase(page, "live");
        assert.equal(page.url(), `${address}${parameters}`);
        assert.equal(await page.evaluate(() => history.length) <= 2, true, "the token's address stays in the history");
      });
    }
    await withPage({ url: `${address}#token=wrong` }, async (page) => {
      await page.waitForSelector("#wrong:not([hidden])");
    });
  } finally {
    await program.stop();
  }
});

test("the served page connects to its own server", async () => {
  const program = await new Program(await freePort(), ["--serve-client", "--token", "s3cret-token"]).ready();
  try {
    await withPage({ url: `http://127.0.0.1:${program.port}/?token=s3cret-token` }, async (page) => {
      await untilPhase(page, "live");
      assert.equal(page.url(), `http://127.0.0.1:${program.port}/`);
      assert.equal(await page.textContent("#server-label"), `127.0.0.1:${program.port}`);
      await page.click("#start-audio");
      await until(page, "in sync", () => viewer.audio.worklet !== null && viewer.sync.delay !== null);
      await page.reload();
      await untilPhase(page, "live");
      assert.equal(page.url(), `http://127.0.0.1:${program.port}/`, "the tab remembers the token, the address does not");
    });
    await withPage({ url: `http://127.0.0.1:${program.port}/` }, async (page) => {
      await assertAccessible(page, "the form for the token");
      await page.fill("#token", "wrong");
      await page.click("button");
      await page.waitForSelector("#wrong:not([hidden])");
      await page.fill("#token", "s3cret-token");
      await page.press("#token", "Enter");
      await untilPhase(page, "live");
      assert.equal(page.url(), `http://127.0.0.1:${program.port}/`);
    });
  } finally {
    await program.stop();
  }
});
