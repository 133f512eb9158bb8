/*
 * audio_output.js: the audio graph. Feeds samples to a Playout and determines which sample is
 * output when. The Playout runs in an AudioWorklet; without one (no secure context), in this
 * thread, rendered ahead into AudioBufferSourceNodes.
 *
 *   Playout ─► volume ─► loudspeaker
 *         └──► recorder (a MediaStream; not affected by volume and mute)
 *
 * Local times are seconds of performance.now(). The delay is decided by sync.js.
 */
"use strict";

class AudioOutput {
  /**
   * Without a worklet: how far ahead of the output to render, and the length of a block. Seconds.
   */
  static AHEAD_S = 0.08;
  static BLOCK_S = 0.01;
  /** Without an audio device, Firefox's AudioContext.resume() never settles. */
  static START_TIMEOUT_MS = 3000;

  /**
   * `onReport({ local, stamp, bufferedS, underruns })`: about ten times a second, the stamp that is
   * output at `local`. `onLost()`: the browser has stopped the output for good; state is "off".
   */
  constructor(onReport, onLost) {
    this.onReport = onReport;
    this.onLost = onLost;
    this.suspended = false; // by setSuspended
    this.state = "off"; // off, starting, on, failed
    this.context = null;
    this.worklet = null;
    this.playout = null;
    this.volume = 1;
    this.muted = false;
    this.latencies = [];
    this.eps = 0;
    this.prefillS = 0.03;
  }

  /**
   * To be called from a click. `rate` is the stream's (0: unknown), so that the browser need not
   * resample.
   */
  async start(rate) {
    if (this.state === "on" || this.state === "starting") return;
    this.state = "starting";
    try {
      this.context = AudioOutput.makeContext(rate);
      this.gain = this.context.createGain();
      this.gain.connect(this.context.destination);
      this.recorder = this.context.createMediaStreamDestination();
      this.applyVolume();
      const started = Promise.all([this.context.resume(), this.startPlayout()]);
      if (!(await settlesWithin(started, AudioOutput.START_TIMEOUT_MS))) throw new NoAudioOutput();
      this.state = "on";
      const { context } = this;
      context.onstatechange = () => this.onContextState(context);
    } catch (error) {
      this.stop();
      this.state = "failed";
      throw error;
    }
  }

  /** The browser has suspended the output, for example for a phone call: resumes it if it can. */
  async onContextState(context) {
    const isStopped = () => context === this.context && !this.suspended && context.state !== "running";
    if (!isStopped()) return;
    const resumed = settlesWithin(context.resume(), AudioOutput.START_TIMEOUT_MS);
    if ((await resumed.catch(() => false)) || !isStopped()) return;
    this.stop();
    this.onLost();
  }

  static makeContext(rate) {
    const Context = window.AudioContext || window.webkitAudioContext;
    try {
      return new Context({ latencyHint: "interactive", ...(rate ? { sampleRate: rate } : {}) });
    } catch {
      return new Context({ latencyHint: "interactive" });
    }
  }

  async startPlayout() {
    const { context } = this;
    // No worklet: no secure context, or a Content-Security-Policy forbids its module.
    const worklet = context.audioWorklet && (await this.startWorklet().then(() => true, () => false));
    if (!worklet && context === this.context) this.startBuffers();
  }

  async startWorklet() {
    // From file:// only a data: URL loads (a Blob URL: AbortError). The policy of stampcast's own
    // server allows none, but it has the module at a path (src/api/page_headers.rs).
    const module = `${Playout}\n(${registerPlayout})(Playout);`;
    const load = (url) => this.context.audioWorklet.addModule(url);
    const loadText = () => load(`data:text/javascript,${encodeURIComponent(module)}`);
    await (location.protocol === "file:" ? loadText() : load("playout-worklet.js").catch(loadText));
    this.worklet = new AudioWorkletNode(this.context, "stampcast-playout", {
      numberOfInputs: 0,
      outputChannelCount: [2],
    });
    this.worklet.port.onmessage = (message) => this.report(message.data);
    this.worklet.connect(this.gain);
    this.worklet.connect(this.recorder);
  }

  startBuffers() {
    this.playout = new Playout(this.context.sampleRate);
    this.nextBlock = 0;
    this.nextReport = 0;
    this.timer = setInterval(() => this.renderAhead(), 20);
  }

  renderAhead() {
    const { context, playout } = this;
    const frames = Math.round(AudioOutput.BLOCK_S * context.sampleRate);
    const now = context.currentTime;
    if (this.nextBlock < now) this.nextBlock = now + 0.02;
    while (this.nextBlock < now + AudioOutput.AHEAD_S) {
      if (this.nextBlock >= this.nextReport) {
        this.nextReport = this.nextBlock + 0.1;
        this.report(playout.report(this.nextBlock));
      }
      const buffer = context.createBuffer(2, frames, context.sampleRate);
      playout.render([buffer.getChannelData(0), buffer.getChannelData(1)], frames);
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.gain);
      source.connect(this.recorder);
      source.start(this.nextBlock);
      this.nextBlock += frames / context.sampleRate;
    }
  }

  command(message, transfer) {
    if (this.worklet) this.worklet.port.postMessage(message, transfer || []);
    else if (this.playout) this.playout.command(message);
  }

  /** Queues a packet of interleaved samples. May transfer its buffer. */
  push(pcm, rate, channels, stamp) {
    if (this.state !== "on") return;
    const whole = pcm.byteLength === pcm.buffer.byteLength ? pcm : pcm.slice();
    const { eps, prefillS } = this;
    this.command({ type: "pcm", pcm: whole, rate, channels, stamp, eps, prefillS }, [whole.buffer]);
  }

  /** Applies the result of sync.js. */
  adjust({ eps, shiftS, prefillS }) {
    this.eps = eps;
    this.prefillS = prefillS;
    if (shiftS !== 0) this.command({ type: "shift", seconds: shiftS });
  }

  /** Empties the buffer: another connection or another clock. */
  clear() {
    this.command({ type: "clear" });
  }

  report({ time, stamp, bufferedS, underruns }) {
    const now = performance.now() / 1000;
    const local = this.outputTime(time, now);
    // How early a sample must be queued to be output in time. Output is rendered in bursts of
    // unknown length, and a report comes from anywhere in a burst: the largest value of the last
    // two seconds covers a whole burst.
    this.latencies.push(local - now);
    if (this.latencies.length > 20) this.latencies.shift();
    this.onReport({ local, stamp, bufferedS, underruns });
  }

  /** Least time from queuing a sample to its output, seconds. */
  outputS() {
    return this.latencies.length > 0 ? Math.max(0, ...this.latencies) + 0.003 : 0.03;
  }

  /** Seconds from the end of the audio graph to the loudspeaker, as reported by the browser. */
  deviceS() {
    return this.context ? this.context.outputLatency || this.context.baseLatency || 0 : 0;
  }

  /** Local time at which the output of audio context time `time` reaches the loudspeaker. */
  outputTime(time, now) {
    const { context } = this;
    const output = context.getOutputTimestamp ? context.getOutputTimestamp() : null;
    if (output && output.performanceTime > 0 && Math.abs(output.performanceTime / 1000 - now) < 1) {
      return output.performanceTime / 1000 + (time - output.contextTime);
    }
    return now + (time - context.currentTime) + this.deviceS();
  }

  setVolume(volume, muted) {
    this.volume = volume;
    this.muted = muted;
    this.applyVolume();
  }

  applyVolume() {
    if (!this.gain) return;
    // Squared: the middle of the slider sounds half as loud.
    const gain = this.muted ? 0 : this.volume * this.volume;
    this.gain.gain.setTargetAtTime(gain, this.context.currentTime, 0.015);
  }

  /**
   * Suspends the graph while WebRTC carries the audio. It stays allowed by the click that started
   * it.
   */
  setSuspended(suspended) {
    this.suspended = suspended;
    if (!this.context) return;
    if (suspended) this.context.suspend();
    else this.context.resume();
  }

  /** In a gesture: lets an attempt to start succeed that the browser has held back. */
  resume() {
    if (this.context) this.context.resume().catch(() => {});
  }

  stop() {
    clearInterval(this.timer);
    if (this.context) this.context.close().catch(() => {});
    this.context = this.gain = this.recorder = this.worklet = this.playout = null;
    this.latencies = [];
    this.state = "off";
  }
}

/** AudioContext.resume() did not settle. */
class NoAudioOutput extends Error {}

/** True when `promise` resolves, false after `ms`; rejects as `promise` does. */
function settlesWithin(promise, ms) {
  const timeout = new Promise((resolve) => setTimeout(() => resolve(false), ms));
  return Promise.race([promise.then(() => true), timeout]);
}

/** Peak of a packet, 0 to 1, from every fourth sample. */
function peakOf(pcm) {
  let peak = 0;
  for (let i = 0; i < pcm.length; i += 4) {
    const value = pcm[i] < 0 ? -pcm[i] : pcm[i];
    if (value > peak) peak = value;
  }
  return peak / 32768;
}
