/*
 * program.js: starts and stops the real stampcast for a test.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Path of the binary: STAMPCAST, or the one in target/; throws with advice if there is none. */
export function programPath() {
  const given = process.env.STAMPCAST;
  if (given) {
    if (!existsSync(given)) throw new Error(`STAMPCAST names ${given}, which is not there`);
    return given;
  }
  const found = ["release", "debug"].map((kind) => `${root}target/${kind}/stampcast`).find(existsSync);
  if (!found) throw new Error("no stampcast in target/: run `cargo build` first, or set STAMPCAST to the binary");
  return found;
}

/** A free port, for a server that must restart on the same one. */
export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

export class Program {
  constructor(port, extra = []) {
    this.port = port;
    const args = ["--camera-type", "test", "--enable-audio", "--host", "127.0.0.1", "--port", String(port), ...extra];
    this.log = "";
    this.child = spawn(programPath(), args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (data) => {
        this.log = (this.log + data).slice(-20_000);
      });
    }
    this.ended = new Promise((done) => this.child.on("exit", done));
  }

  /** Waits until the server responds. */
  async ready(seconds = 20) {
    const deadline = Date.now() + seconds * 1000;
    while (Date.now() < deadline) {
      if (this.child.exitCode !== null) throw new Error(`stampcast ended with ${this.child.exitCode}:\n${this.log}`);
      const answer = await fetch(`http://127.0.0.1:${this.port}/healthz`).catch(() => null);
      if (answer && answer.ok) return this;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`stampcast did not answer within ${seconds} s:\n${this.log}`);
  }

  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    const killer = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    await this.ended;
    clearTimeout(killer);
  }
}
