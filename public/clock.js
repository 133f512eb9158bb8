/*
 * clock.js: estimates the offset of the server's clock from this computer's, from ping and pong
 * messages. Uses no socket.
 *
 * Times are seconds. "Local" is performance.now() / 1000, which is monotonic: setting this
 * computer's clock has no effect.
 */
"use strict";

class ServerClock {
  /** Older samples are discarded, so that the estimate follows the drift between the two clocks. */
  static WINDOW_S = 60;

  constructor() {
    this.reset();
  }

  /** Discards all samples: another server, or its clock was set. */
  reset() {
    this.samples = [];
    this.pending = new Map();
    this.next = 0;
  }

  /**
   * The text to send; `local` is the current time. At most 16 unanswered pings are kept; the oldest
   * is dropped.
   */
  ping(local) {
    const echo = String(this.next++);
    this.pending.set(echo, local);
    if (this.pending.size > 16) this.pending.delete(this.pending.keys().next().value);
    return `ping:${echo}`;
  }

  /** Adds the sample of a pong received at `local`. */
  pong(packet, local) {
    const sent = this.pending.get(packet.echo);
    if (sent === undefined) return;
    this.pending.delete(packet.echo);
    const inServer = packet.sent - packet.received;
    const roundTrip = local - sent - inServer;
    if (!(roundTrip >= 0)) return;
    const offset = (packet.received + packet.sent) / 2 - (sent + local) / 2;
    this.samples.push({ local, roundTrip, offset });
    while (this.samples[0].local < local - ServerClock.WINDOW_S) this.samples.shift();
  }

  /**
   * { offset, roundTrip } of the exchange with the shortest round trip; null before the first.
   * Server time = local + offset, with an error of at most half the round trip.
   */
  best() {
    let best = null;
    for (const sample of this.samples) {
      if (!best || sample.roundTrip < best.roundTrip) best = sample;
    }
    return best;
  }
}
