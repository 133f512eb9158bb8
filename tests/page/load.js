/*
 * load.js owns: the running of public/'s classic scripts outside a browser, for those that need none.
 */
import { readFileSync } from "node:fs";

/** Runs the scripts in one scope of their own and returns the top-level names asked for. */
export function load(scripts, names) {
  const texts = scripts.map((script) => readFileSync(new URL(`../../public/${script}`, import.meta.url), "utf8"));
  // Not node:vm: each use of a global is slow there, and a minute of sound has three million samples.
  return new Function(`${texts.join("\n")}\nreturn { ${names.join(", ")} };`)();
}
