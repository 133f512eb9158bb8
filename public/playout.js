/*
 * playout.js: the audio buffer, read at a slightly variable speed. Handles stamps and samples;
 * reads no clock.
 *
 * It runs in an AudioWorklet or in the page, where it renders ahead into buffers (audio_output.js).
 * The worklet's module is the source text of `Playout` and `registerPlayout`: neither may use
 * anything else of the page.
 */
"use strict";

class Playout {
  /** Capacity, seconds. When full, the oldest samples are dropped. */
  static CAPACITY_S = 4;
  /** Length of a fade in or out, samples: without it edges click. */
  static FADE = 64;
  /** Gaps up to this many seconds are filled with silence; longer ones are skipped. */
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
    this.read = 0; // playback position, fractional
    this.marks = []; // { index, stamp }: stamp of the sample `index`, oldest first
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
      const gap = stamp - this.stampAt(this.write, this.marks.length - 1);
      if (gap > 0.002 && gap <= Playout.FILL_S) this.fill(Math.round(gap * rate));
    }
    const fadeIn = this.fadeInNext;
    this.fadeInNext = false;
    for (let c = 0; c < channels; c++) {
      const data = this.data[c];
      let at = this.write % this.capacity;
      for (let i = 0, from = c; i < frames; i++, from += channels) {
        const fade = fadeIn && i < Playout.FADE ? i / Playout.FADE : 1;
        data[at] = (pcm[from] / 32768) * fade;
        if (++at === this.capacity) at = 0;
      }
    }
    this.marks.push({ index: this.write, stamp });
    this.write += frames;
    const oldest = this.write - this.capacity + 8;
    if (this.read < oldest) this.read = oldest;
    this.dropOldMarks();
  }

  /** Writes silence for missing samples, with a fade out before it and a fade in after it. */
  fill(samples) {
    const tail = Math.min(Playout.FADE, Math.max(0, Math.floor(this.write - this.read) - 4));
    for (const data of this.data) {
      for (let i = 1; i <= tail; i++) data[(this.write - i) % this.capacity] *= i / Playout.FADE;
      for (let i = 0; i < samples; i++) data[(this.write + i) % this.capacity] = 0;
    }
    this.write += samples;
    this.fadeInNext = true;
  }

  stampAt(index, markIndex) {
    const mark = this.marks[markIndex];
    return mark.stamp + (index - mark.index) / this.rate;
  }

  dropOldMarks() {
    while (this.marks.length > 1 && this.marks[1].index <= this.read) this.marks.shift();
  }

  /** Seconds of audio in the buffer. */
  bufferedS() {
    return this.rate ? Math.max(0, this.write - this.read) / this.rate : 0;
  }

  /** The stamp of the playback position; null if nothing is played. */
  stamp() {
    return this.playing && this.marks.length > 0 ? this.stampAt(this.read, 0) : null;
  }

  /** Skips samples (`seconds` > 0) or pauses (`seconds` < 0). */
  shift(seconds) {
    if (seconds > 0) this.skipS = seconds;
    else this.holdSamples = Math.round(-seconds * this.outRate);
  }

  /**
   * Writes `frames` samples into each array of `out`. Speed: the stream's rate divided by the
   * output's, times 1 + eps. On an underrun it fades to silence, counts it and waits until prefillS
   * seconds are buffered.
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
    this.dropOldMarks();
  }

  /** Called when the output has faded to silence: skips, pauses or counts an underrun. */
  pause(starved) {
    if (this.skipS > 0) {
      this.read = Math.min(this.read + this.skipS * this.rate, this.write);
      this.skipS = 0;
      this.dropOldMarks();
    } else if (this.holdSamples > 0) {
      this.playing = false;
    } else if (starved) {
      this.playing = false;
      this.underruns++;
    }
  }

  /**
   * Cubic Hermite interpolation between the samples `at` and `at + 1`: no audible error at these
   * speeds.
   */
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

  /** Executes a command from audio_output.js. */
  command(message) {
    switch (message.type) {
      case "pcm":
        // The speed comes with the samples: one message less for each packet.
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

  /** The state for audio_output.js at `time`, when the next sample is rendered. */
  report(time) {
    return { time, stamp: this.stamp(), bufferedS: this.bufferedS(), underruns: this.underruns };
  }
}

/** The processor; runs in AudioWorkletGlobalScope. */
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
