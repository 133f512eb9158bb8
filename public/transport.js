/*
 * transport.js: decides what carries video and audio, the WebSocket or WebRTC. Pure logic: frames,
 * losses and failures are reported to it with local times (seconds).
 *
 * "auto" begins with the WebSocket, which carries the camera's own JPEGs with exact stamps. It
 * switches to WebRTC, which needs a fraction of the bit rate, if the WebSocket is too slow, and
 * stays there until WebRTC fails.
 */
"use strict";

class Transport {
  /** The connection is rated over its last seconds. */
  static WINDOW_S = 10;
  /** Too slow: the server dropped this share of the frames, because the send queue was full … */
  static MAX_LOSS_SHARE = 0.2;
  static MIN_LOST = 10;
  /** … or the least delay of the last two seconds exceeds the least delay ever by this much. */
  static MAX_EXTRA_DELAY_S = 1;
  static RECENT_S = 2;
  /** After WebRTC failed, "auto" does not try it for this long; twice as long the next time. */
  static FIRST_PAUSE_S = 60;
  static LAST_PAUSE_S = 900;

  constructor(choice) {
    this.choice = choice;
    this.reset();
  }

  /** Another server. */
  reset() {
    this.tooSlow = false;
    this.webrtcPlays = false; // the frames on the screen come by WebRTC
    this.failure = null; // why the last attempt at WebRTC failed
    this.pauses = 0;
    this.pauseUntil = -Infinity;
    this.clearHistory();
  }

  setChoice(choice) {
    const { webrtcPlays } = this;
    this.choice = choice;
    this.reset();
    this.webrtcPlays = webrtcPlays; // until the connection is closed
  }

  /** Another connection, or a clock was set: earlier measurements do not apply. */
  clearHistory() {
    this.from = null;
    this.frames = [];
    this.losses = [];
    this.leastDelay = Infinity;
  }

  /** True if there should be a WebRTC connection. */
  get wantsWebrtc() {
    return this.choice === "webrtc" || (this.choice === "auto" && this.tooSlow);
  }

  /** True if the WebSocket has to carry video and audio. */
  get wsCarriesMedia() {
    if (!this.wantsWebrtc) return true;
    // With "webrtc" chosen, wait for it; with "auto", the WebSocket goes on until WebRTC plays.
    return !this.webrtcPlays && (this.choice === "auto" || this.failure !== null);
  }

  webrtcStarted() {
    this.webrtcPlays = true;
    this.failure = null;
  }

  webrtcFailed(local, reason) {
    this.webrtcPlays = false;
    this.failure = reason;
    if (this.choice !== "auto") return;
    this.tooSlow = false;
    this.clearHistory();
    this.pauseUntil = local + Math.min(Transport.LAST_PAUSE_S, Transport.FIRST_PAUSE_S * 2 ** this.pauses++);
  }

  /** A frame was received by the WebSocket. */
  onFrame(local, stamp) {
    this.from ??= local;
    const delay = local - stamp;
    // Rises by 1 ms a second, so that drift between the two clocks does not count as delay.
    const elapsed = this.frames.length > 0 ? local - this.frames[this.frames.length - 1].local : 0;
    this.leastDelay = Math.min(this.leastDelay + elapsed * 0.001, delay);
    this.frames.push({ local, delay });
    if (this.frames.length > 2000) this.frames.shift();
  }

  /** The server dropped `count` frames because the send queue was full. */
  onLoss(local, count) {
    this.losses.push({ local, count });
    if (this.losses.length > 2000) this.losses.shift();
  }

  /** Rates the connection; true if it has become too slow. */
  checkTooSlow(local) {
    const since = local - Transport.WINDOW_S;
    while (this.frames.length > 0 && this.frames[0].local < since) this.frames.shift();
    while (this.losses.length > 0 && this.losses[0].local < since) this.losses.shift();
    if (this.choice !== "auto" || this.tooSlow || this.from === null || this.from > since) return false;
    if (local < this.pauseUntil) return false;
    const lost = this.losses.reduce((sum, { count }) => sum + count, 0);
    const losing = lost >= Transport.MIN_LOST && lost > Transport.MAX_LOSS_SHARE * (lost + this.frames.length);
    const recent = this.frames.filter((frame) => frame.local >= local - Transport.RECENT_S);
    const least = Math.min(...recent.map((frame) => frame.delay));
    const late = recent.length > 0 && least - this.leastDelay > Transport.MAX_EXTRA_DELAY_S;
    this.tooSlow = losing || late;
    return this.tooSlow;
  }
}
