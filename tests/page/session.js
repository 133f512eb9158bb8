/*
 * session.js: one browser for all tests; each test opens the page in a new profile. Script errors
 * in the page are failures.
 */
import assert from "node:assert/strict";
import { FakeServer } from "./fake_server.js";
import { launch, pageUrl } from "./browser.js";
import { tapAudio } from "./measurement.js";

let browser = null;

export async function closeBrowser() {
  if (browser) await browser.close();
  browser = null;
}

/**
 * Opens the page and calls body(page, context). Options: `url`, or `port` and `fragment`; stored
 * `settings`; the rest are Playwright's context options.
 */
export async function withPage({ url, port, fragment, settings, ...options }, body) {
  browser ??= await launch(["--host-resolver-rules=MAP lan.test 127.0.0.1", "--autoplay-policy=user-gesture-required"]);
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options });
  const errors = [];
  try {
    await context.addInitScript(tapAudio);
    if (settings) {
      await context.addInitScript((values) => {
        if (!localStorage.getItem("stampcast.settings")) localStorage.setItem("stampcast.settings", values);
      }, JSON.stringify(settings));
    }
    const page = await context.newPage();
    page.on("pageerror", (error) => errors.push(error.stack));
    await page.goto(url || pageUrl(port, fragment));
    await body(page, context);
    assert.deepEqual(errors, [], "script errors in the page");
  } finally {
    await context.close();
  }
}

/** Starts a fake server and opens the page on it. */
export async function withFake(options, body, pageOptions = {}) {
  const server = await new FakeServer(options).listen();
  try {
    await withPage({ port: server.port, ...pageOptions }, (page, context) => body(page, server, context));
  } finally {
    await server.close();
  }
}
