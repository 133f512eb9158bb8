/*
 * throttled_proxy.js: a TCP proxy whose rate towards the viewer can be changed while it runs.
 */
import { connect, createServer } from "node:net";

export class ThrottledProxy {
  /** Least interval between chunks, ms. */
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
      // Delays the next chunk, which stays in the server's socket.
      server.pause();
      setTimeout(() => server.resume(), Math.max(ThrottledProxy.TICK_MS, (1000 * data.length) / this.bytesPerSecond));
    });
  }

  async close() {
    for (const end of this.ends) end.destroy();
    await new Promise((done) => this.server.close(done));
  }
}
