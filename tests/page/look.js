/*
 * look.js owns: the tests of how the page looks and reads: every state in both themes and languages, by axe-core's
 * rules (WCAG A and AA, contrast included), on screens from a phone to a desk. Pictures of them go to shots/.
 */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { until, untilPhase } from "./browser.js";
import { freePort } from "./program.js";
import { withFake, withPage } from "./session.js";
import { test } from "./suite.js";

const AXE = fileURLToPath(new URL("node_modules/axe-core/axe.min.js", import.meta.url));
const SHOTS = fileURLToPath(new URL("shots/", import.meta.url));
mkdirSync(SHOTS, { recursive: true });
const SCREENS = {
  desk: {},
  phone: { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

const shoot = (page, name) => page.screenshot({ path: `${SHOTS}${name}.png` });

/** The picture under a card dims slowly; contrast is judged when it has. */
async function settled(page) {
  await page.evaluate(() => {
    const fading = document.getAnimations().filter((animation) => animation.transitionProperty);
    return Promise.all(fading.map((animation) => animation.finished));
  });
}

async function assertAccessible(page, where) {
  await page.addScriptTag({ path: AXE });
  const { violations } = await page.evaluate(() =>
    axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  const lines = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  assert.deepEqual(lines, [], where);
}

async function assertFits(page, where) {
  const spilt = await page.evaluate(() => {
    // Not innerWidth: a phone's grows with what does not fit.
    const { clientWidth, scrollWidth } = document.documentElement;
    const wide = scrollWidth > clientWidth ? ["the page is wider than the screen"] : [];
    const visible = [...document.querySelectorAll("button, input, .status, canvas")].filter((e) => e.checkVisibility());
    return wide.concat(
      visible
        .filter((e) => !e.closest("dialog, aside, #card"))
        .filter((e) => {
          const box = e.getBoundingClientRect();
          return box.left < -1 || box.right > clientWidth + 1 || box.top < -1 || box.bottom > innerHeight + 1;
        })
        .map((e) => e.id || e.className),
    );
  });
  assert.deepEqual(spilt, [], where);
}

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

for (const [name, { server, phase, run }] of Object.entries(STATES)) {
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
          await shoot(page, where);
        },
        { settings: { theme, language }, ...SCREENS[screen] },
      );
    });
  }
}

test("connecting and reconnecting are shown, with a way out", async () => {
  const port = await freePort();
  await withPage({ port }, async (page) => {
    await until(page, "the count-down", () => /Trying again in \d+ s/.test($("card").innerText));
    assert.equal(await page.isVisible("#retry"), true);
    assert.equal(await page.isVisible("#card-server"), true);
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
