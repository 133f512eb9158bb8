/*
 * appearance_checks.js: checks of appearance: axe-core's rules (WCAG A and AA, contrast included),
 * overflow of the screen, and screenshots in shots/.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const SHOTS = fileURLToPath(new URL("shots/", import.meta.url));
mkdirSync(SHOTS, { recursive: true });
export const SCREENS = {
  desk: {},
  phone: { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

export const shoot = (page, name) => page.screenshot({ path: `${SHOTS}${name}.png` });

/** Waits for the transition of the video below a card: contrast is checked after it. */
export async function settled(page) {
  await page.evaluate(() => {
    const fading = document.getAnimations().filter((animation) => animation.transitionProperty);
    return Promise.all(fading.map((animation) => animation.finished));
  });
}

export async function assertAccessible(page, where) {
  // Not as a script element, which the policy of a served page forbids.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  const lines = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  assert.deepEqual(lines, [], where);
}

export async function assertFits(page, where) {
  const spilt = await page.evaluate(() => {
    // Not innerWidth: on a phone it grows with the overflow.
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
