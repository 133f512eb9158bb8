/*
 * playout.js owns: the samples that wait to be played, and the reading of them at a slightly changed speed. It knows
 * stamps and samples, but no clock, no socket and no page.
 *
 * It runs in the page (where it renders ahead into buffers, see sound.js) or in an AudioWorklet, whose module sound.js
 * makes of the text of `Playout` and `registerPlayout`: neither may use anything else of the page.
 */
"use strict";

class Playout {
  /** Seconds held at most. Full: the oldest goes. */
  static CAPACITY_S = 4;
  /** Samples of a fade in or out, so that no edge clicks. */
  static FADE = 64;
  /** A hole of at most this many seconds is filled with silence; a longer one is jumped over. */
  static FILL_S = 1;

  constructor(outRate) {
    this.outRate = outRate;
    this.eps = 0;
    this.prefillS = 0.03;
    this.underruns = 0;
    this.configure(0, 0);
  }

  configure(rate, channels) {
    this.rate = rate;
    this.channels = channels;
    this.capacity = Math.ceil(rate * Playout.CAPACITY_S) || 1;
    this.data = [];
    for (let c = 0; c < channels; c++) this.data.push(new Float32Array(this.capacity));
    this.write = 0; // samples ever written
    this.read = 0; // position being played, with a fraction
    this.marks = []; // { index, stamp }: the stamp of the sample `index`, oldest first
    this.gain = 0;
    this.playing = false;
    this.skipS = 0;
    this.holdSamples = 0;
  }

  /** Adds interleaved 16-bit samples, the first of which was captured at `stamp` (seconds). */
  push(pcm, rate, channels, stamp) {
    if (rate !== this.rate || channels !== this.channels) this.configure(rate, channels);
    const frames = Math.floor(pcm.length / channels);
    if (frames === 0 || frames > this.capacity / 2) return;
    if (this.marks.length > 0) {
      const hole = stamp - this.stampAt(this.write, this.marks.length - 1);
      if (hole > 0.002 && hole <= Playout.FILL_S) this.fill(Math.round(hole * rate));
    }
    const patched = this.patched;
    this.patched = false;
    for (let c = 0; c < channels; c++) {
      const data = this.data[c];
      let at = this.write % this.capacity;
      for (let i = 0, from = c; i < frames; i++, from += channels) {
        const fade = patched && i < Playout.FADE ? i / Playout.FADE : 1;
        data[at] = (pcm[from] / 32768) * fade;
        if (++at === this.capacity) at = 0;
      }
    }
    this.marks.push({ index: this.write, stamp });
    this.write += frames;
    const oldest = this.write - this.capacity + 8;
    if (this.read < oldest) this.read = oldest;
    this.forgetMarks();
  }

  /** Silence for samples that never came; what was written before it fades out, what follows fades in. */
  fill(samples) {
    const tail = Math.min(Playout.FADE, Math.max(0, Math.floor(this.write - this.read) - 4));
    for (const data of this.data) {
      for (let i = 1; i <= tail; i++) data[(this.write - i) % this.capacity] *= i / Playout.FADE;
      for (let i = 0; i < samples; i++) data[(this.write + i) % this.capacity] = 0;
    }
    this.write += samples;
    this.patched = true;
  }

  stampAt(index, markIndex) {
    const mark = this.marks[markIndex];
    return mark.stamp + (index - mark.index) / this.rate;
  }

  forgetMarks() {
    while (this.marks.length > 1 && this.marks[1].index <= this.read) this.marks.shift();
  }

  /** Seconds that wait. */
  bufferedS() {
    return this.rate ? Math.max(0, this.write - this.read) / this.rate : 0;
  }

  /** The stamp being played now, or null where nothing is. */
  stamp() {
    return this.playing && this.marks.length > 0 ? this.stampAt(this.read, 0) : null;
  }

  /** Moves the playing position later (`seconds` > 0, samples are left out) or waits (`seconds` < 0). */
  shift(seconds) {
    if (seconds > 0) this.skipS = seconds;
    else this.holdSamples = Math.round(-seconds * this.outRate);
  }

  /**
   * Writes `frames` samples into each array of `out`. Speed is the stream's rate over the output's, times 1 + eps.
   * When the samples run out it fades to silence, counts an underrun and waits until prefillS seconds are there.
   */
  render(out, frames) {
    const step = (this.rate / this.outRate) * (1 + this.eps);
    const fadeStep = 1 / Playout.FADE;
    for (let i = 0; i < frames; i++) {
      const left = this.write - this.read;
      if (!this.playing) {
        if (this.holdSamples > 0) this.holdSamples--;
        else if (left > Playout.FADE + 4 && left >= this.prefillS * this.rate) this.playing = true;
      }
      const starved = left < Playout.FADE + 4;
      const wanted = this.playing && !starved && this.skipS === 0 && this.holdSamples === 0 ? 1 : 0;
      if (this.gain < wanted) this.gain = Math.min(1, this.gain + fadeStep);
      else if (this.gain > wanted) this.gain = Math.max(0, this.gain - fadeStep);
      if (this.playing && this.gain === 0 && wanted === 0) this.pause(starved);
      if (!this.playing) {
        for (const channel of out) channel[i] = 0;
        continue;
      }
      const at = Math.floor(this.read);
      const x = this.read - at;
      for (let c = 0; c < out.length; c++) {
        const data = this.data[Math.min(c, this.channels - 1)];
        out[c][i] = this.gain * this.interpolate(data, at, x);
      }
      this.read += step;
    }
    this.forgetMarks();
  }

  /** The output is silent: now is the moment to jump, to hold, or to admit that the samples ran out. */
  pause(starved) {
    if (this.skipS > 0) {
      this.read = Math.min(this.read + this.skipS * this.rate, this.write);
      this.skipS = 0;
      this.forgetMarks();
    } else if (this.holdSamples > 0) {
      this.playing = false;
    } else if (starved) {
      this.playing = false;
      this.underruns++;
    }
  }

  /** Cubic Hermite between the samples `at` and `at + 1`: no audible error at the tiny speed changes used here. */
  interpolate(data, at, x) {
    const n = this.capacity;
    const b = data[at % n];
    if (x === 0) return b;
    const a = data[(at + n - 1) % n];
    const c = data[(at + 1) % n];
    const d = data[(at + 2) % n];
    const slope = (c - a) / 2;
    const slopeNext = (d - b) / 2;
    const e = 2 * (b - c) + slope + slopeNext;
    return ((e * x + (c - b - slope - e)) * x + slope) * x + b;
  }

  /** One command of sound.js. */
  command(message) {
    switch (message.type) {
      case "pcm":
        // The speed rides on the samples: a message less for each packet.
        this.eps = message.eps;
        this.prefillS = message.prefillS;
        this.push(message.pcm, message.rate, message.channels, message.stamp);
        break;
      case "shift":
        this.shift(message.seconds);
        break;
      case "clear":
        this.configure(0, 0);
        break;
    }
  }

  /** What sound.js needs to know, said of the moment `time` at which the next sample will be rendered. */
  report(time) {
    return { time, stamp: this.stamp(), bufferedS: this.bufferedS(), underruns: this.underruns };
  }
}

/** The worklet's half; runs in AudioWorkletGlobalScope. */
function registerPlayout(Playout) {
  class PlayoutProcessor extends AudioWorkletProcessor {
    constructor() {
      super();
      this.playout = new Playout(sampleRate);
      this.nextReport = 0;
      this.port.onmessage = (message) => this.playout.command(message.data);
    }

    process(_inputs, outputs) {
      if (currentTime >= this.nextReport) {
        this.nextReport = currentTime + 0.1;
        this.port.postMessage(this.playout.report(currentTime));
      }
      this.playout.render(outputs[0], outputs[0][0].length);
      return true;
    }
  }
  registerProcessor("stampcast-playout", PlayoutProcessor);
}
