/*
 * stats.js: statistics of the stream over sliding windows, and counts of lost packets by cause.
 * Draws nothing and reads no clock: local times (seconds) are arguments.
 */
"use strict";

/** Timed values of the last `windowS` seconds, at most `max`. */
class SlidingWindow {
  constructor(windowS, max) {
    this.windowS = windowS;
    this.max = max;
    this.items = [];
  }

  add(local, value) {
    this.items.push({ local, value });
    if (this.items.length > this.max) this.items.shift();
  }

  trim(local) {
    while (this.items.length > 0 && this.items[0].local < local - this.windowS) this.items.shift();
    return this.items;
  }

  quantile(local, share) {
    const items = this.trim(local);
    if (items.length === 0) return null;
    const sorted = Float64Array.from(items, (item) => item.value).sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  }

  /** Sum per second over the window, or since the first item; null during the first second. */
  perSecond(local) {
    const items = this.trim(local);
    if (items.length < 2) return null;
    const span = items[items.length - 1].local - items[0].local;
    let sum = 0;
    for (let i = 1; i < items.length; i++) sum += items[i].value;
    return span > 1 ? sum / span : null;
  }
}

class Stats {
  static WINDOW_S = 5;

  constructor() {
    this.reset();
  }

  reset() {
    const window = () => new SlidingWindow(Stats.WINDOW_S, 2000);
    this.latency = window(); // capture to screen, seconds
    this.offset = window(); // stamp of the frame shown minus stamp of the audio played at that moment, seconds
    this.shown = window();
    this.bytes = window();
    this.peak = 0;
    this.gaps = new Map(); // cause -> { count, seconds, times }
    this.sequences = { video: null, audio: null };
  }

  /** Sets the interval between frames: low frame rates need longer windows. */
  setFrameInterval(frameS) {
    for (const window of [this.latency, this.shown, this.bytes]) window.windowS = Math.max(Stats.WINDOW_S, 5 * frameS);
  }

  /** Counts a gap event, or a loss in the page itself. `count` null: only the duration is known. */
  gap(cause, count, seconds) {
    const entry = this.gaps.get(cause) || { count: 0, seconds: 0, times: 0 };
    entry.count += count || 0;
    entry.seconds += count ? 0 : seconds || 0;
    entry.times++;
    this.gaps.set(cause, entry);
  }

  /**
   * Checks the sequence number of a packet. Returns how many packets before it are missing that no
   * gap event has reported; `reported` is the count in gap events of this stream since its previous
   * packet.
   */
  countMissing(kind, sequence, reported) {
    const before = this.sequences[kind];
    this.sequences[kind] = sequence;
    if (before === null || sequence === null) return 0;
    const jump = (sequence - before - 1) >>> 0;
    // Numbers wrap at 2^32; a step back is a server that restarted, not a loss.
    return jump > 0x7fffffff ? 0 : Math.max(0, jump - reported);
  }
}
