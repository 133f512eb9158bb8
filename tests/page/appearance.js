/*
 * appearance.js: tests of appearance and accessibility: every state, both themes and languages,
 * phone and desktop.
 */
import assert from "node:assert/strict";
import { until, untilPhase } from "./browser.js";
import { SCREENS, assertAccessible, assertFits, settled, shoot } from "./appearance_checks.js";
import { freePort } from "./program.js";
import { withFake, withPage } from "./session.js";
import { test } from "./suite.js";

const LIVE = async (page) => {
  await untilPhase(page, "live");
  await page.click("#start-audio");
  await page.waitForSelector("#volume");
  if (await page.isHidden("#stats")) await page.click("#toggle-stats");
  const [mute, volume] = await page.evaluate(() =>
    ["mute", "volume"].map((id) => $(id).getBoundingClientRect().toJSON()),
  );
  assert.ok(volume.left >= mute.right, "the volume is beside the mute button");
  await until(page, "stats", () => /\d/.test($("stat-offset").textContent) && /\d/.test($("stat-clock").textContent));
};
const STATES = {
  live: { run: LIVE },
  camera: { server: { video: false, message: "/dev/video0: no such device; waiting for it" }, phase: "camera" },
  "audio-only": { server: { video: false, camera: false }, phase: "audio-only" },
  microphone: {
    server: { video: false, camera: false, audio: false, microphoneMessage: "microphone 0 not found" },
    phase: "microphone",
  },
  token: { server: { token: "x" }, phase: "refused" },
  connecting: { server: { deaf: true }, phase: "connecting" },
  "webrtc-new": { server: { whep: 0 }, settings: { transport: "webrtc" }, phase: "connecting" },
  "webrtc-full": {
    server: { whep: 503 },
    settings: { transport: "webrtc" },
    run: async (page) => {
      await untilPhase(page, "live");
      await until(page, "the note", () => $("transport-note").textContent !== "" && viewer.canvasSink.last !== null);
      await page.evaluate(() => $("toast").classList.remove("shown"));
    },
  },
  origin: { server: { status: 403 }, phase: "refused" },
  paused: {
    run: async (page) => {
      await untilPhase(page, "live");
      await until(page, "some frames", () => viewer.history.frames.length > 5);
      await page.click("#pause");
      await page.waitForSelector("#review", { state: "visible" });
    },
  },
  lost: {
    run: async (page, server) => {
      await untilPhase(page, "live");
      server.video = false;
      server.event({ event: "source_lost", stream: "video" });
      await untilPhase(page, "lost");
    },
  },
};

const VIEWS = [
  { theme: "dark", language: "en", screen: "desk" },
  { theme: "light", language: "ja", screen: "phone" },
];
const MORE_VIEWS = [
  { theme: "light", language: "en", screen: "desk" },
  { theme: "dark", language: "ja", screen: "phone" },
];

for (const [name, { server, phase, run, settings }] of Object.entries(STATES)) {
  const views = name === "live" ? [...VIEWS, ...MORE_VIEWS] : VIEWS;
  for (const { theme, language, screen } of views) {
    test(`"${name}" is accessible in ${theme}, ${language}, on a ${screen}`, async () => {
      await withFake(
        server || {},
        async (page, fake) => {
          await (run ? run(page, fake) : untilPhase(page, phase));
          const where = `${name}-${theme}-${language}-${screen}`;
          await assertFits(page, where);
          await settled(page);
          await assertAccessible(page, where);
          // Some phases end and come again.
          if (phase) await untilPhase(page, phase);
          await shoot(page, where);
        },
        { settings: { theme, language, ...settings }, ...SCREENS[screen] },
      );
    });
  }
}

test("reconnecting shows the countdown, a retry and a change of server", async () => {
  const port = await freePort();
  await withPage({ port }, async (page) => {
    // A long wait, which lasts during the checks.
    const waiting = () => /Retrying in [4-9] s/.test($("card").innerText) && !$("retry").hidden && !$("card-server").hidden;
    await until(page, "the count-down and the ways out", waiting, null, 40);
    await assertAccessible(page, "reconnecting");
    await shoot(page, "reconnecting");
  });
});

test("dialogs are accessible", async () => {
  for (const theme of ["dark", "light"]) {
    for (const screen of ["desk", "phone"]) {
      await withFake(
        {},
        async (page) => {
          await untilPhase(page, "live");
          const where = `${theme}-${screen}`;
          await page.click("#open-settings");
          await assertAccessible(page, `settings ${where}`);
          await shoot(page, `settings-${where}`);
          await page.keyboard.press("Escape");
          await page.keyboard.press("Shift+?");
          await assertAccessible(page, `help ${where}`);
          await shoot(page, `help-${where}`);
        },
        { settings: { theme }, ...SCREENS[screen] },
      );
    }
  }
});

test("both languages have every text of the page", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    const missing = await page.evaluate(() => {
      const used = [...document.querySelectorAll("[data-i18n], [data-i18n-label]")].flatMap((element) =>
        [element.dataset.i18n, element.dataset.i18nLabel].filter(Boolean),
      );
      const names = new Set([...used, ...Object.keys(TEXTS.en), ...Object.keys(TEXTS.ja)]);
      return [...names].filter((name) => !TEXTS.en[name] || !TEXTS.ja[name]);
    });
    assert.deepEqual(missing, []);
  });
});

test("a Japanese browser gets Japanese texts", async () => {
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      assert.equal(await page.textContent("#start-audio"), "音声を開始");
    },
    { locale: "ja-JP" },
  );
});

test('the button "Start audio" starts audio', async () => {
  await withFake({}, async (page) => {
    await page.getByRole("button", { name: "Start audio" }).click();
    await until(page, "audio on", () => viewer.audio.state === "on");
    assert.equal(await page.isVisible("#start-audio"), false);
  });
});
