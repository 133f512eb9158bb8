/*
 * transport.js owns: the decision what carries picture and sound, the WebSocket or WebRTC. Pure: it is told what comes
 * and what fails, with local seconds, and opens nothing.
 *
 * "auto" begins with the WebSocket, which brings the camera's very pictures with exact stamps, and goes to WebRTC, which
 * needs a fraction of the rate, when the WebSocket proves too slow; it stays there until that fails.
 */
"use strict";

class Transport {
  /** A line is judged by its last seconds. */
  static WINDOW_S = 10;
  /** Too slow: a share of the pictures is left out for want of room on the way … */
  static LOST_SHARE = 0.2;
  static LOST_LEAST = 10;
  /** … or the freshest of the last two seconds is so much later than the freshest that ever came. */
  static BEHIND_S = 1;
  static FRESH_S = 2;
  /** After WebRTC failed, "auto" leaves it alone for so long; twice that the next time. */
  static FIRST_PAUSE_S = 60;
  static LAST_PAUSE_S = 900;

  constructor(choice) {
    this.choice = choice;
    this.reset();
  }

  /** Another server. */
  reset() {
    this.tooSlow = false;
    this.plays = false; // WebRTC's picture is on the screen
    this.failure = null; // why WebRTC did not play when it was last tried
    this.pauses = 0;
    this.pauseUntil = -Infinity;
    this.forget();
  }

  setChoice(choice) {
    const { plays } = this;
    this.choice = choice;
    this.reset();
    this.plays = plays; // until the connection is left
  }

  /** Another connection, or a clock that was set: what was seen of the line is void. */
  forget() {
    this.from = null;
    this.pictures = [];
    this.losses = [];
    this.freshest = Infinity;
  }

  /** A WebRTC connection is wanted. */
  get wantsPeer() {
    return this.choice === "webrtc" || (this.choice === "auto" && this.tooSlow);
  }

  /** The WebSocket has to bring picture and sound. */
  get linkCarries() {
    if (!this.wantsPeer) return true;
    // Who chose WebRTC waits for it; who is shown something already goes on seeing it until WebRTC plays.
    return !this.plays && (this.choice === "auto" || this.failure !== null);
  }

  peerPlays() {
    this.plays = true;
    this.failure = null;
  }

  peerFailed(local, reason) {
    this.plays = false;
    this.failure = reason;
    if (this.choice !== "auto") return;
    this.tooSlow = false;
    this.forget();
    this.pauseUntil = local + Math.min(Transport.LAST_PAUSE_S, Transport.FIRST_PAUSE_S * 2 ** this.pauses++);
  }

  /** A picture came by the WebSocket. */
  picture(local, stamp) {
    this.from ??= local;
    const behind = local - stamp;
    // It rises by 1 ms a second, so that a drift between the two clocks is not taken for a delay.
    const elapsed = this.pictures.length > 0 ? local - this.pictures[this.pictures.length - 1].local : 0;
    this.freshest = Math.min(this.freshest + elapsed * 0.001, behind);
    this.pictures.push({ local, behind });
    if (this.pictures.length > 2000) this.pictures.shift();
  }

  /** `count` pictures were left out because the line took no more. */
  lost(local, count) {
    this.losses.push({ local, count });
    if (this.losses.length > 2000) this.losses.shift();
  }

  /** Judges the line; true where it is found too slow now. */
  judge(local) {
    const since = local - Transport.WINDOW_S;
    while (this.pictures.length > 0 && this.pictures[0].local < since) this.pictures.shift();
    while (this.losses.length > 0 && this.losses[0].local < since) this.losses.shift();
    if (this.choice !== "auto" || this.tooSlow || this.from === null || this.from > since) return false;
    if (local < this.pauseUntil) return false;
    const lost = this.losses.reduce((sum, { count }) => sum + count, 0);
    const losing = lost >= Transport.LOST_LEAST && lost > Transport.LOST_SHARE * (lost + this.pictures.length);
    const latest = this.pictures.filter((picture) => picture.local >= local - Transport.FRESH_S);
    const fresh = Math.min(...latest.map((picture) => picture.behind));
    const behind = latest.length > 0 && fresh - this.freshest > Transport.BEHIND_S;
    this.tooSlow = losing || behind;
    return this.tooSlow;
  }
}
