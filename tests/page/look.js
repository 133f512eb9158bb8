/*
 * look.js owns: the tests of how the page looks and reads: every state in both themes and languages, on screens from a
 * phone to a desk.
 */
import assert from "node:assert/strict";
import { until, untilPhase } from "./browser.js";
import { SCREENS, assertAccessible, assertFits, settled, shoot } from "./looking.js";
import { freePort } from "./program.js";
import { withFake, withPage } from "./session.js";
import { test } from "./suite.js";

const LIVE = async (page) => {
  await untilPhase(page, "live");
  await page.click("#start-audio");
  if (await page.isHidden("#figures")) await page.click("#toggle-figures");
  await until(page, "figures", () => /\d/.test($("f-offset").textContent) && /\d/.test($("f-clock").textContent));
};
const STATES = {
  live: { run: LIVE },
  camera: { server: { video: false, message: "/dev/video0: no such device; waiting for it" }, phase: "camera" },
  "sound-only": { server: { video: false, camera: false }, phase: "sound-only" },
  token: { server: { token: "x" }, phase: "refused" },
  connecting: { server: { deaf: true }, phase: "connecting" },
  "webrtc-new": { server: { whep: 0 }, settings: { transport: "webrtc" }, phase: "connecting" },
  "webrtc-full": {
    server: { whep: 503 },
    settings: { transport: "webrtc" },
    run: async (page) => {
      await untilPhase(page, "live");
      await until(page, "the note", () => $("transport-note").textContent !== "" && viewer.picture.last !== null);
      await page.evaluate(() => $("toast").classList.remove("shown"));
    },
  },
  origin: { server: { status: 403 }, phase: "refused" },
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
    test(`"${name}" is readable by all in ${theme}, ${language}, on a ${screen}`, async () => {
      await withFake(
        server || {},
        async (page, fake) => {
          await (run ? run(page, fake) : untilPhase(page, phase));
          const where = `${name}-${theme}-${language}-${screen}`;
          await assertFits(page, where);
          await settled(page);
          await assertAccessible(page, where);
          // Some pass by themselves and come again.
          if (phase) await untilPhase(page, phase);
          await shoot(page, where);
        },
        { settings: { theme, language, ...settings }, ...SCREENS[screen] },
      );
    });
  }
}

test("reconnecting is shown, with a way out", async () => {
  const port = await freePort();
  await withPage({ port }, async (page) => {
    // A long one, which stays while it is looked at.
    const waiting = () => /Trying again in [4-9] s/.test($("card").innerText) && !$("retry").hidden && !$("card-server").hidden;
    await until(page, "the count-down and the ways out", waiting, null, 40);
    await assertAccessible(page, "reconnecting");
    await shoot(page, "reconnecting");
  });
});

test("dialogs are readable by all", async () => {
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

test("both languages have every word that the page uses", async () => {
  await withFake({}, async (page) => {
    await untilPhase(page, "live");
    const missing = await page.evaluate(() => {
      const used = [...document.querySelectorAll("[data-i18n], [data-i18n-label]")].flatMap((element) =>
        [element.dataset.i18n, element.dataset.i18nLabel].filter(Boolean),
      );
      const names = new Set([...used, ...Object.keys(WORDS.en), ...Object.keys(WORDS.ja)]);
      return [...names].filter((name) => !WORDS.en[name] || !WORDS.ja[name]);
    });
    assert.deepEqual(missing, []);
  });
});

test("the browser's language is followed: Japanese", async () => {
  await withFake(
    {},
    async (page) => {
      await untilPhase(page, "live");
      assert.equal(await page.textContent("#start-audio"), "クリックして音声を開始");
    },
    { locale: "ja-JP" },
  );
});

test("the button that starts the sound is called Click to Start Audio", async () => {
  await withFake({}, async (page) => {
    await page.getByRole("button", { name: "Click to Start Audio" }).click();
    await until(page, "sound on", () => viewer.sound.state === "on");
    assert.equal(await page.isVisible("#start-audio"), false);
  });
});
