/*
 * screenshot.mjs: takes the README's screenshot, docs/pictures/page.png, with the real program.
 */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { launch, pageUrl, until, untilPhase } from "./browser.js";
import { Program, freePort } from "./program.js";

const folder = fileURLToPath(new URL("../../docs/pictures/", import.meta.url));
const program = await new Program(await freePort()).ready();
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1280, height: 760 }, locale: "en-GB" });
await page.addInitScript(() => {
  localStorage.setItem("stampcast.settings", JSON.stringify({ theme: "dark", latency: "lowest" }));
});
await page.goto(pageUrl(program.port));
await untilPhase(page, "live");
await page.click("#start-audio");
await until(page, "stats", () => /\d/.test($("stat-offset").textContent));
await page.waitForTimeout(8000); // fills the five seconds of the statistics
await page.evaluate(() => {
  $("server-label").textContent = "localhost:8080";
});
mkdirSync(folder, { recursive: true });
console.log(await page.evaluate(() => `${$("stat-latency").textContent}; ${$("stat-gaps").innerText}`));
await page.screenshot({ path: `${folder}page.png` });
await browser.close();
await program.stop();
console.log(`${folder}page.png`);
