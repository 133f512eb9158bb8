/*
 * slow-line.js owns: a TCP line to a server, whose rate towards the viewer can be limited while it runs.
 */
import { connect, createServer } from "node:net";

export class SlowLine {
  /** How often it lets something through, ms. */
  static TICK_MS = 20;

  constructor(port) {
    this.to = port;
    this.bytesPerSecond = Infinity;
    this.ends = new Set();
  }

  async listen() {
    this.server = createServer((viewer) => this.join(viewer));
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.port = this.server.address().port;
    return this;
  }

  join(viewer) {
    const server = connect({ port: this.to, host: "127.0.0.1" });
    for (const end of [viewer, server]) {
      this.ends.add(end);
      end.setNoDelay();
      end.on("error", () => {});
      end.on("close", () => {
        this.ends.delete(end);
        (end === viewer ? server : viewer).destroy();
      });
    }
    viewer.pipe(server);
    server.on("data", (data) => {
      viewer.write(data);
      if (this.bytesPerSecond === Infinity) return;
      // A chunk takes its time, and the next one waits in the server's socket.
      server.pause();
      setTimeout(() => server.resume(), Math.max(SlowLine.TICK_MS, (1000 * data.length) / this.bytesPerSecond));
    });
  }

  async close() {
    for (const end of this.ends) end.destroy();
    await new Promise((done) => this.server.close(done));
  }
}
