/*
 * sync.js: the playout delay, from capture to presentation, which keeps audio and video in sync.
 * Pure arithmetic: the input is when packets were ready and which audio is being played, the output
 * a delay and a playback speed. It uses no browser API, so that tests simulate hours in a second.
 *
 * A "delay" is local time (performance.now() / 1000) minus stamp. It contains the unknown offset of
 * the two clocks; only differences matter. Packet p is presented when local time = stamp of p +
 * delay.
 */
"use strict";

/*
 * The shares `audio` and `video` of the packets of the last `windowS` seconds must be in time, plus
 * `marginS`; the buffer behind the typical packet is at least `floorS`. Late audio is audible as a
 * click, a late frame is hardly visible: so audio has the higher share, and the delay exceeds what
 * audio needs by at most `maxVideoWaitS`.
 */
const LATENCY_TARGETS = {
  lowest: { windowS: 10, audio: 0.98, video: 0.95, marginS: 0.004, floorS: 0, maxVideoWaitS: 0.15 },
  balanced: { windowS: 20, audio: 0.99, video: 0.98, marginS: 0.02, floorS: 0.05, maxVideoWaitS: 0.4 },
  smooth: { windowS: 60, audio: 1, video: 1, marginS: 0.06, floorS: 0.3, maxVideoWaitS: 2 },
};

/** Delays at which the packets of one stream were ready: a sliding window of bounded size. */
class Readiness {
  static MAX_SAMPLES = 4096;

  constructor() {
    this.samples = [];
    this.sorted = null;
    this.sortedAt = 0;
  }

  add(local, delay) {
    // A clock was set, or the source came back after a long outage: earlier samples do not apply.
    if (this.samples.length > 0 && Math.abs(delay - this.samples[this.samples.length - 1].delay) > 5) {
      this.samples = [];
    }
    this.samples.push({ local, delay });
    if (this.samples.length > Readiness.MAX_SAMPLES) this.samples.shift();
  }

  /** That quantile of the delays of the last `windowS` seconds; null if there were no packets. */
  quantile(local, windowS, quantile) {
    while (this.samples.length > 0 && this.samples[0].local < local - windowS) this.samples.shift();
    if (this.samples.length === 0) return null;
    // Sorting thousands of samples for every packet would cost CPU: a long window is sorted four
    // times a second.
    if (!this.sorted || this.samples.length < 50 || local - this.sortedAt > 0.25) {
      this.sorted = Float64Array.from(this.samples, (sample) => sample.delay).sort();
      this.sortedAt = local;
    }
    return this.sorted[Math.min(this.sorted.length - 1, Math.floor(quantile * this.sorted.length))];
  }
}

class Sync {
  /** Larger errors are corrected by a jump: 0.5 % of time stretching would take too long. */
  static JUMP_S = 0.15;
  /** The same in the first two seconds, also after a new latency was chosen. */
  static EARLY_JUMP_S = 0.012;
  static MAX_EPS = 0.005;
  /** Time constant of the correction, seconds: a drift of 200 ppm leaves an error of 0.6 ms. */
  static SETTLE_S = 3;

  constructor(latency) {
    this.latency = latency;
    this.reset();
  }

  /** Discards all measurements: a new connection, another server, or a clock was set. */
  reset() {
    this.audio = new Readiness();
    this.video = new Readiness();
    this.recent = [];
    this.extraS = 0;
    this.underruns = 0;
    this.lastUpdate = null;
    this.delay = null;
    this.jumpedAt = -Infinity;
    this.startedAt = null;
  }

  setLatency(latency) {
    this.latency = latency;
    this.startedAt = null;
  }

  /** An audio packet was received; `outputS` is the time from rendering a sample to its output. */
  audioReady(local, stamp, outputS) {
    this.audio.add(local, local - stamp + outputS);
  }

  /** A frame is decoded and could be shown. */
  videoReady(local, stamp) {
    this.video.add(local, local - stamp);
  }

  /** The target delay, or null before the first packet. */
  target(local) {
    const aim = LATENCY_TARGETS[this.latency];
    const audio = this.audio.quantile(local, aim.windowS, aim.audio);
    const video = this.video.quantile(local, aim.windowS, aim.video);
    if (audio === null) return video;
    const typical = this.audio.quantile(local, aim.windowS, 0.5);
    const videoDelay = video === null ? -Infinity : Math.min(video, audio + aim.maxVideoWaitS);
    return Math.max(audio, videoDelay, typical + aim.floorS) + aim.marginS + this.extraS;
  }

  /**
   * Takes the position of the audio: at `local` the sample of `stamp` is output. Returns { eps,
   * shiftS, prefillS }: the playback speed is 1 + eps; shiftS is a jump in seconds (> 0: skip
   * samples, < 0: wait), else 0.
   */
  update(local, stamp, underruns) {
    const elapsed = this.lastUpdate === null ? 0 : Math.max(0, local - this.lastUpdate);
    this.lastUpdate = local;
    this.extraS = Math.max(0, this.extraS - elapsed * 0.001);
    if (underruns > this.underruns) this.extraS = Math.min(0.3, this.extraS + 0.01);
    this.underruns = underruns;

    const target = this.target(local);
    if (stamp === null || target === null) {
      this.recent = [];
      this.delay = null;
      this.startedAt = null;
      return { eps: 0, shiftS: 0, prefillS: this.prefill(local, target) };
    }
    if (this.startedAt === null) this.startedAt = local;
    this.recent.push(local - stamp);
    if (this.recent.length > 7) this.recent.shift();
    const sorted = Float64Array.from(this.recent).sort();
    this.delay = sorted[sorted.length >> 1];

    const error = target - this.delay;
    const result = { eps: 0, shiftS: 0, prefillS: this.prefill(local, target) };
    const jump = local - this.startedAt < 2 ? Sync.EARLY_JUMP_S : Sync.JUMP_S;
    if (Math.abs(error) > jump && this.recent.length >= 3 && local - this.jumpedAt > 1) {
      this.jumpedAt = local;
      this.recent = [];
      result.shiftS = -error;
    } else {
      result.eps = Math.max(-Sync.MAX_EPS, Math.min(Sync.MAX_EPS, -error / Sync.SETTLE_S));
    }
    return result;
  }

  /** Seconds of audio to buffer before playback starts: from the typical packet to the target. */
  prefill(local, target) {
    const aim = LATENCY_TARGETS[this.latency];
    const typical = this.audio.quantile(local, aim.windowS, 0.5);
    if (typical === null || target === null) return 0.03;
    return Math.min(1, Math.max(0.005, target - typical));
  }
}
