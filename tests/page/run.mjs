/*
 * run.mjs: all tests of the page. `node run.mjs [PART OF A NAME]`. Needs Chromium, and the built
 * stampcast (or STAMPCAST=path); fails with a message if one is missing. The last line is "N
 * passed, N failed".
 */
import { chromiumPath } from "./browser.js";
import { programPath } from "./program.js";
import { closeBrowser } from "./session.js";
import { runAll } from "./suite.js";

try {
  chromiumPath();
  programPath();
} catch (error) {
  console.error(`cannot run the page's tests: ${error.message}`);
  console.log("0 passed, 1 failed");
  process.exit(1);
}
await import("./unit.js");
await import("./faults.js");
await import("./features.js");
await import("./appearance.js");
await import("./end_to_end.js");
await import("./whep.js");
await import("./webrtc.js");
const passed = await runAll(process.argv[2]);
await closeBrowser();
process.exit(passed ? 0 : 1);
