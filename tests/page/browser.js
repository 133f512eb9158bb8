/*
 * browser.js: starts Debian's Chromium and opens the page from file://.
 */
import { existsSync } from "node:fs";
import { pathToFileURL, fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const PAGE_FILE = fileURLToPath(new URL("../../public/index.html", import.meta.url));

/** Path of Chromium; throws with the package to install if it is missing. */
export function chromiumPath() {
  const wanted = process.env.CHROMIUM;
  const found = (wanted ? [wanted] : ["/usr/bin/chromium", "/usr/bin/chromium-browser"]).find(existsSync);
  if (!found) throw new Error(`no Chromium at ${wanted || "/usr/bin/chromium"}: apt install chromium, or set CHROMIUM`);
  return found;
}

export const launch = (extraArgs = []) => chromium.launch(options(extraArgs));

/** A browser in a separate process, which a test may kill. */
export const launchServer = () => chromium.launchServer(options([]));

function options(extraArgs) {
  return {
    executablePath: chromiumPath(),
    args: [
      ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-default-apps",
      "--disable-sync",
      "--no-first-run",
      "--no-default-browser-check",
      "--no-pings",
      "--metrics-recording-only",
      ...extraArgs,
    ],
  };
}

export function pageUrl(port, fragment = "") {
  return `${pathToFileURL(PAGE_FILE).href}?server=127.0.0.1:${port}${fragment}`;
}

/**
 * Waits until `check` (run in the page) returns true; after `seconds` throws with the name `what`.
 */
export async function until(page, what, check, argument, seconds = 20) {
  try {
    await page.waitForFunction(check, argument, { timeout: seconds * 1000, polling: 50 });
  } catch (error) {
    if (error.name !== "TimeoutError") throw error;
    const phase = await page.evaluate(() => document.body.dataset.phase);
    throw new Error(`not within ${seconds} s: ${what} (the page says "${phase}")`);
  }
}

export const untilPhase = (page, phase, seconds) =>
  until(page, `phase ${phase}`, (wanted) => document.body.dataset.phase === wanted, phase, seconds);
