/*
 * sync.js owns: the decision how long after capture sound is played and a picture shown. Pure arithmetic: it is told
 * when packets were ready and where the sound is, and answers with a delay and a speed. It knows no browser API, so
 * that tests run hours of it in a second.
 *
 * A "delay" is local time (performance.now() / 1000) minus stamp, so it contains the unknown distance between the
 * two clocks; only differences matter. Packet p is presented when local time = stamp of p + delay.
 */
"use strict";

/*
 * `quantile` of the packets of the last `windowS` seconds must be in time, plus `marginS`; the buffer behind the
 * typical packet is at least `floorS`. Late sound is heard as a click, a late picture is hardly seen: so sound asks
 * for the higher share, and waits at most `pictureS` longer for the picture than for itself.
 */
const LATENCY_TARGETS = {
  lowest: { windowS: 10, audio: 0.98, video: 0.95, marginS: 0.004, floorS: 0, pictureS: 0.15 },
  balanced: { windowS: 20, audio: 0.99, video: 0.98, marginS: 0.02, floorS: 0.05, pictureS: 0.4 },
  smooth: { windowS: 60, audio: 1, video: 1, marginS: 0.06, floorS: 0.3, pictureS: 2 },
};

/** How late the packets of one stream were ready: a sliding window with a hard bound. */
class Readiness {
  static MAX_SAMPLES = 4096;

  constructor() {
    this.samples = [];
    this.sorted = null;
    this.sortedAt = 0;
  }

  add(local, need) {
    // A clock was set somewhere, or the source came back after a long absence: what was learnt is void.
    if (this.samples.length > 0 && Math.abs(need - this.samples[this.samples.length - 1].need) > 5) {
      this.samples = [];
    }
    this.samples.push({ local, need });
    if (this.samples.length > Readiness.MAX_SAMPLES) this.samples.shift();
  }

  /** The need that the share `quantile` of the packets of the last `windowS` seconds did not exceed; null: none. */
  quantile(local, windowS, quantile) {
    while (this.samples.length > 0 && this.samples[0].local < local - windowS) this.samples.shift();
    if (this.samples.length === 0) return null;
    // Sorting thousands at every packet would show in the page's CPU: a long window is sorted four times a second.
    if (!this.sorted || this.samples.length < 50 || local - this.sortedAt > 0.25) {
      this.sorted = Float64Array.from(this.samples, (sample) => sample.need).sort();
      this.sortedAt = local;
    }
    return this.sorted[Math.min(this.sorted.length - 1, Math.floor(quantile * this.sorted.length))];
  }
}

class Sync {
  /** Beyond this the sound jumps instead of being stretched: 0.5 % of stretching would take too long. */
  static JUMP_S = 0.15;
  /** The same while nobody has listened for long: in the first two seconds, or after a new latency was chosen. */
  static EARLY_JUMP_S = 0.012;
  static MAX_EPS = 0.005;
  /** Time constant of the correction, seconds: 200 ppm of drift leave an error of 0.6 ms. */
  static SETTLE_S = 3;

  constructor(latency) {
    this.latency = latency;
    this.reset();
  }

  /** Forgets everything learnt: a new connection, another server, a clock that was set. */
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

  /** A sound packet came; `outputS` is how long from rendering a sample to hearing it. */
  audioReady(local, stamp, outputS) {
    this.audio.add(local, local - stamp + outputS);
  }

  /** A picture is decoded and could be shown. */
  videoReady(local, stamp) {
    this.video.add(local, local - stamp);
  }

  /** The delay to aim at, or null before the first packet. */
  target(local) {
    const aim = LATENCY_TARGETS[this.latency];
    const audio = this.audio.quantile(local, aim.windowS, aim.audio);
    const video = this.video.quantile(local, aim.windowS, aim.video);
    if (audio === null) return video;
    const typical = this.audio.quantile(local, aim.windowS, 0.5);
    const picture = video === null ? -Infinity : Math.min(video, audio + aim.pictureS);
    return Math.max(audio, picture, typical + aim.floorS) + aim.marginS + this.extraS;
  }

  /**
   * Told where the sound is: at `local` the sample of `stamp` is heard. Answers { eps, shiftS, prefillS }: the speed
   * to play at is 1 + eps; shiftS is a jump in seconds (> 0: leave sound out, < 0: wait), else 0.
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
    const answer = { eps: 0, shiftS: 0, prefillS: this.prefill(local, target) };
    const jump = local - this.startedAt < 2 ? Sync.EARLY_JUMP_S : Sync.JUMP_S;
    if (Math.abs(error) > jump && this.recent.length >= 3 && local - this.jumpedAt > 1) {
      this.jumpedAt = local;
      this.recent = [];
      answer.shiftS = -error;
    } else {
      answer.eps = Math.max(-Sync.MAX_EPS, Math.min(Sync.MAX_EPS, -error / Sync.SETTLE_S));
    }
    return answer;
  }

  /** Seconds of sound to gather before playing starts: what lies between the typical packet and the target. */
  prefill(local, target) {
    const aim = LATENCY_TARGETS[this.latency];
    const typical = this.audio.quantile(local, aim.windowS, 0.5);
    if (typical === null || target === null) return 0.03;
    return Math.min(1, Math.max(0.005, target - typical));
  }
}
