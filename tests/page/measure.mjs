/*
 * measure.mjs: what the page achieves, in figures. `node measure.mjs [--fake] [--seconds 60] [--latency lowest]
 * [--skew-ppm 0]`. With --fake the sound card may be skewed; else the real program's test camera is watched.
 */
import { parseArgs } from "node:util";
import { launch, pageUrl, untilPhase } from "./browser.js";
import { FakeServer } from "./fake-server.js";
import { beginMeasuring, offsets, quantile, tapAudio } from "./measuring.js";
import { Program, freePort } from "./program.js";

const { values } = parseArgs({
  options: {
    fake: { type: "boolean", default: false },
    seconds: { type: "string", default: "60" },
    latency: { type: "string", default: "lowest" },
    "skew-ppm": { type: "string", default: "0" },
  },
});
const seconds = Number(values.seconds);
const server = values.fake
  ? await new FakeServer({ skewPpm: Number(values["skew-ppm"]) }).listen()
  : await new Program(await freePort()).ready();
const flash = values.fake ? { x: 580 / 640, y: 420 / 480 } : { x: 0.5, y: 0.375 };
const browser = await launch();

async function open(sound) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.addInitScript(tapAudio);
  await page.addInitScript((latency) => {
    localStorage.setItem("stampcast.settings", JSON.stringify({ latency }));
  }, values.latency);
  await page.goto(pageUrl(server.port));
  await untilPhase(page, "live");
  if (sound) {
    await page.click("#start-audio");
    await page.waitForFunction(() => viewer.sound.state === "on");
  }
  await page.waitForTimeout(8000);
  return page;
}

/** Share of the main thread's time spent in tasks, per cent. */
async function busy(page, duration) {
  const devtools = await page.context().newCDPSession(page);
  // The thread's own CPU time: on a busy machine the wall clock would count the others' work too.
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

const row = (name, value, target = "") => console.log(`${name.padEnd(44)} ${String(value).padStart(28)}   ${target}`);
const spread = (list) => [0.5, 0.95, 0.99].map((share) => quantile(list, share).toFixed(1)).join(" / ");
const percent = ({ tasks, scripts, layout }) =>
  `${tasks.toFixed(1)} (scripts ${scripts.toFixed(1)}, layout ${layout.toFixed(1)})`;

try {
  for (const sound of [false, true]) {
    const page = await open(sound);
    const name = sound ? "sound on" : "sound off";
    row(`main thread busy, ${name}, %`, percent(await busy(page, 15)), "<= 5");
    await page.evaluate(beginMeasuring, { flash, code: !values.fake });
    await page.waitForTimeout(seconds * 1000);
    const notes = await page.evaluate(() => globalThis.notes);
    if (!values.fake) {
      const target = sound && values.latency !== "lowest" ? "" : "p50 <= 80";
      row(`capture to screen, ${name}, ms p50/p95/p99`, spread(notes.latencies.map((s) => s * 1000)), target);
    }
    if (sound) {
      const found = offsets(notes);
      const half = found.length >> 1;
      row("|A/V offset|, ms p50/p95/p99", spread(found.map(Math.abs)), "p95 <= 20");
      row("A/V offset, ms p5/p50/p95", [0.05, 0.5, 0.95].map((share) => quantile(found, share).toFixed(1)).join(" / "));
      const drift = quantile(found.slice(half), 0.5) - quantile(found.slice(0, half), 0.5);
      row("A/V offset, second half less first, ms", drift.toFixed(1), "about 0");
      row("flashes, beeps, pairs", `${notes.flashes.length}, ${notes.beeps.length}, ${found.length}`);
      row("underruns", await page.evaluate(() => viewer.underruns), "0");
    }
    row(`the page's own figure, ${name}`, await page.evaluate(() => $("f-latency").textContent));
    await page.close();
  }
} finally {
  await browser.close();
  await (server.stop ? server.stop() : server.close());
}
