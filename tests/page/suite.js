/*
 * suite.js: the list of tests; runs them one after another and prints the summary.
 */
const tests = [];

/** Adds a test; its name states the behaviour. `seconds` is its time limit. */
export function test(name, body, seconds = 90) {
  tests.push({ name, body, seconds });
}

/**
 * Runs all whose name contains `filter`; prints a line for each and "N passed, N failed"; returns
 * whether all passed.
 */
export async function runAll(filter = "") {
  const chosen = tests.filter(({ name }) => name.includes(filter));
  let failed = 0;
  for (const { name, body, seconds } of chosen) {
    const started = performance.now();
    let timer;
    try {
      const hung = new Promise((_, no) => {
        timer = setTimeout(() => no(new Error(`still running after ${seconds} s`)), seconds * 1000);
      });
      await Promise.race([body(), hung]);
      console.log(`ok    ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed++;
      const lines = String(error.stack || error).split("\n").slice(0, 15);
      console.log(`FAIL  ${name}\n      ${lines.join("\n      ")}`);
    } finally {
      clearTimeout(timer);
    }
  }
  const passed = chosen.length - failed;
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0;
}
