/*
 * load.js: runs scripts of public/ outside a browser, for those that do not need one.
 */
import { readFileSync } from "node:fs";

/** Runs the scripts in one scope and returns these top-level names. */
export function load(scripts, names) {
  const texts = scripts.map((script) => readFileSync(new URL(`../../public/${script}`, import.meta.url), "utf8"));
  // Not node:vm: access to globals is slow there, and a minute of audio has three million samples.
  return new Function(`${texts.join("\n")}\nreturn { ${names.join(", ")} };`)();
}
