/*
 * measure.mjs: measures latency, A/V offset and CPU of the page. `node measure.mjs [--fake]
 * [--seconds 60] [--latency lowest] [--skew-ppm 0] [--check]`. With --fake the sound card may have
 * a clock error; else it uses the real program's test camera, by WebSocket and by WebRTC. With
 * --check a missed target gives exit code 1: for an idle machine.
 */
import { parseArgs } from "node:util";
import { launch, pageUrl, untilPhase } from "./browser.js";
import { FakeServer } from "./fake_server.js";
import { beginMeasuring, offsets, quantile, tapAudio } from "./measurement.js";
import { Program, freePort } from "./program.js";

const { values } = parseArgs({
  options: {
    fake: { type: "boolean", default: false },
    seconds: { type: "string", default: "60" },
    latency: { type: "string", default: "lowest" },
    "skew-ppm": { type: "string", default: "0" },
    check: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const server = values.fake
  ? await new FakeServer({ skewPpm: Number(values["skew-ppm"]) }).listen()
  : await new Program(await freePort()).ready();
const flash = values.fake ? { x: 580 / 640, y: 420 / 480 } : { x: 0.5, y: 0.375 };
const browser = await launch();
let missed = 0;

async function open({ port, transport, audio }) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.addInitScript(tapAudio);
  await page.addInitScript((settings) => {
    localStorage.setItem("stampcast.settings", JSON.stringify(settings));
  }, { latency: values.latency, transport });
  await page.goto(pageUrl(port));
  await untilPhase(page, "live");
  if (audio) {
    await page.click("#start-audio");
    await page.waitForFunction(() => viewer.audio.state === "on");
  }
  await page.waitForTimeout(8000);
  return page;
}

/** Share of the main thread's time spent in tasks, percent. */
async function busy(page, duration) {
  const devtools = await page.context().newCDPSession(page);
  // The thread's CPU time: on a busy machine wall-clock time would include other processes.
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const read = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
  };
  const before = await read();
  await page.waitForTimeout(duration * 1000);
  const after = await read();
  const share = (name) => (100 * (after[name] - before[name])) / duration;
  return { tasks: share("TaskDuration"), scripts: share("ScriptDuration"), layout: share("LayoutDuration") };
}

/** WebRTC, 640x480 at 30 fps, audio off: latency from the time code. */
async function measureWebrtc() {
  const program = await new Program(await freePort(), ["--fps", "30", "--webrtc-port", "0"]).ready();
  try {
    const page = await open({ port: program.port, transport: "webrtc", audio: false });
    if (!(await page.evaluate(() => viewer.transport.webrtcPlays))) throw new Error("WebRTC does not play");
    const share = await busy(page, 15);
    row("main thread busy, WebRTC at 30 fps, %", percent(share), share.tasks);
    await page.evaluate(beginMeasuring, { flash, code: true });
    await page.waitForTimeout(seconds * 1000);
    const latencies = (await page.evaluate(() => globalThis.notes.latencies)).map((s) => s * 1000);
    row("capture to screen, WebRTC, ms p50/p95/p99", spread(latencies), quantile(latencies, 0.5), 60);
    row("frames seen of those captured, %", ((100 * latencies.length) / (30 * seconds)).toFixed(1));
    row("the page's own latency, WebRTC", await page.evaluate(() => $("stat-latency").textContent));
    await page.close();
  } finally {
    await program.stop();
  }
}

/** Prints a result; `value` is compared with `limit` if given. */
function row(name, text, value, limit) {
  const target = limit === undefined ? "" : `<= ${limit}`;
  const miss = limit !== undefined && !(value <= limit);
  if (miss) missed++;
  console.log(`${name.padEnd(44)} ${String(text).padStart(34)}   ${target}${miss ? "  MISSED" : ""}`);
}
const spread = (list) => [0.5, 0.95, 0.99].map((share) => quantile(list, share).toFixed(1)).join(" / ");
const percent = ({ tasks, scripts, layout }) =>
  `${tasks.toFixed(1)} (scripts ${scripts.toFixed(1)}, layout ${layout.toFixed(1)})`;

try {
  for (const audio of values.fake ? [true] : [false, true]) {
    const page = await open({ port: server.port, transport: "websocket", audio });
    const name = audio ? "audio on" : "audio off";
    const share = await busy(page, 15);
    row(`main thread busy, ${name}, %`, percent(share), share.tasks, 5);
    await page.evaluate(beginMeasuring, { flash, code: !values.fake });
    await page.waitForTimeout(seconds * 1000);
    const notes = await page.evaluate(() => globalThis.notes);
    if (!values.fake) {
      const latencies = notes.latencies.map((s) => s * 1000);
      const limit = audio && values.latency !== "lowest" ? undefined : 80;
      row(`capture to screen, ${name}, ms p50/p95/p99`, spread(latencies), quantile(latencies, 0.5), limit);
    }
    if (audio) {
      const found = offsets(notes);
      const half = found.length >> 1;
      const sizes = found.map(Math.abs);
      row("|A/V offset|, ms p50/p95/p99", spread(sizes), quantile(sizes, 0.95), 20);
      row("A/V offset, ms p5/p50/p95", [0.05, 0.5, 0.95].map((share) => quantile(found, share).toFixed(1)).join(" / "));
      const drift = quantile(found.slice(half), 0.5) - quantile(found.slice(0, half), 0.5);
      row("A/V offset, second half less first, ms", drift.toFixed(1), Math.abs(drift), 10);
      row("flashes, beeps, pairs", `${notes.flashes.length}, ${notes.beeps.length}, ${found.length}`);
      row("underruns", await page.evaluate(() => viewer.underruns));
    }
    row(`the page's own latency, ${name}`, await page.evaluate(() => $("stat-latency").textContent));
    await page.close();
  }
  if (!values.fake) await measureWebrtc();
} finally {
  await browser.close();
  await (server.stop ? server.stop() : server.close());
}
if (values.check && missed > 0) process.exit(1);
