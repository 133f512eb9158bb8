/*
 * clock.js owns: how far the server's clock is from this computer's. It makes the text of a ping and learns from the
 * pongs; it knows no socket.
 *
 * Times are seconds. "Local" is performance.now() / 1000, which never steps, so that a change of this computer's
 * date does not matter.
 */
"use strict";

class ServerClock {
  /** Samples older than this are forgotten, so that a drift between the two clocks is followed. */
  static WINDOW_S = 60;

  constructor() {
    this.reset();
  }

  /** Forgets what was learnt: another server, or its clock was set. */
  reset() {
    this.samples = [];
    this.pending = new Map();
    this.next = 0;
  }

  /** The text to send; `local` is now. At most 16 unanswered pings are remembered, the oldest goes. */
  ping(local) {
    const echo = String(this.next++);
    this.pending.set(echo, local);
    if (this.pending.size > 16) this.pending.delete(this.pending.keys().next().value);
    return `ping:${echo}`;
  }

  /** Learns from a pong that came at `local`. */
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
   * { offset, roundTrip } of the exchange with the shortest round trip, or null before the first: server time =
   * local + offset, wrong by at most half the round trip.
   */
  best() {
    let best = null;
    for (const sample of this.samples) {
      if (!best || sample.roundTrip < best.roundTrip) best = sample;
    }
    return best;
  }
}
