/*
 * figures.js owns: what is measured while watching, over sliding windows, and the counts of what was missing. It
 * draws nothing and reads no clock: local times (seconds) are given to it.
 */
"use strict";

/** Numbers with their times, of the last `windowS` seconds and at most `max` of them. */
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

  /** Sum per second over the window, or over the time since the first item; null before a second has passed. */
  perSecond(local) {
    const items = this.trim(local);
    if (items.length < 2) return null;
    const span = items[items.length - 1].local - items[0].local;
    let sum = 0;
    for (let i = 1; i < items.length; i++) sum += items[i].value;
    return span > 1 ? sum / span : null;
  }
}

class Figures {
  static WINDOW_S = 5;

  constructor() {
    this.reset();
  }

  reset() {
    const window = () => new SlidingWindow(Figures.WINDOW_S, 2000);
    this.latency = window(); // capture to screen, seconds
    this.offset = window(); // picture's stamp minus the sound's, of what is seen and heard together, seconds
    this.shown = window();
    this.bytes = window();
    this.peak = 0;
    this.gaps = new Map(); // cause → { count, seconds, times }
    this.sequences = { video: null, audio: null };
  }

  /** Pictures come each `frameS` seconds: what comes seldom is measured over a longer time. */
  widen(frameS) {
    for (const window of [this.latency, this.shown, this.bytes]) window.windowS = Math.max(Figures.WINDOW_S, 5 * frameS);
  }

  /** A gap event, or a loss of the page's own. `count` null: only the time is known. */
  gap(cause, count, seconds) {
    const entry = this.gaps.get(cause) || { count: 0, seconds: 0, times: 0 };
    entry.count += count || 0;
    entry.seconds += count ? 0 : seconds || 0;
    entry.times++;
    this.gaps.set(cause, entry);
  }

  /**
   * Follows the sequence numbers of one stream; returns how many are missing before this packet that no event told
   * of. `told` is what gap events for this stream have told since the last packet.
   */
  follow(kind, sequence, told) {
    const before = this.sequences[kind];
    this.sequences[kind] = sequence;
    if (before === null || sequence === null) return 0;
    const jump = (sequence - before - 1) >>> 0;
    // Numbers wrap at 2^32; a step back is a server that began anew, no loss.
    return jump > 0x7fffffff ? 0 : Math.max(0, jump - told);
  }
}
