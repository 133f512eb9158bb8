/*
 * sound.js owns: the audio graph. It feeds samples to a Playout (in an AudioWorklet; where the page is no secure
 * context, in this thread, rendered ahead into AudioBufferSourceNodes), and knows which sample is heard when.
 *
 *   Playout ─► volume ─► loudspeaker
 *         └──► recorder (a MediaStream; neither volume nor mute apply)
 *
 * Local times are seconds of performance.now(). It knows no element of the page and decides no delay: sync.js does.
 */
"use strict";

class Sound {
  /** Without a worklet: how far ahead of the output it is rendered, and in blocks of which length. Seconds. */
  static AHEAD_S = 0.08;
  static BLOCK_S = 0.01;

  /** `onreport({ local, stamp, bufferedS, underruns })` says about ten times a second what is heard at `local`. */
  constructor(onreport) {
    this.onreport = onreport;
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

  /** Called from a click. `rate` is the stream's (0: unknown), so that the browser need not resample. */
  async start(rate) {
    if (this.state === "on" || this.state === "starting") return;
    this.state = "starting";
    try {
      this.context = Sound.makeContext(rate);
      this.gain = this.context.createGain();
      this.gain.connect(this.context.destination);
      this.recorder = this.context.createMediaStreamDestination();
      this.applyVolume();
      const resumed = this.context.resume();
      // No worklet: no secure context, or a policy of the page's own server forbids its module.
      const worklet = this.context.audioWorklet && (await this.startWorklet().then(() => true, () => false));
      if (!worklet) this.startBuffers();
      await resumed;
      this.state = "on";
    } catch (error) {
      this.stop();
      this.state = "failed";
      throw error;
    }
  }

  static makeContext(rate) {
    const Context = window.AudioContext || window.webkitAudioContext;
    try {
      return new Context({ latencyHint: "interactive", ...(rate ? { sampleRate: rate } : {}) });
    } catch {
      return new Context({ latencyHint: "interactive" });
    }
  }

  async startWorklet() {
    // From file:// only a data: URL loads (a Blob URL: AbortError), and with --serve-client there is no file either.
    const module = `${Playout}\n(${registerPlayout})(Playout);`;
    await this.context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(module)}`);
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
    const frames = Math.round(Sound.BLOCK_S * context.sampleRate);
    const now = context.currentTime;
    if (this.nextBlock < now) this.nextBlock = now + 0.02;
    while (this.nextBlock < now + Sound.AHEAD_S) {
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

  /** One packet of interleaved samples. Its buffer may be given away. */
  push(pcm, rate, channels, stamp) {
    if (this.state !== "on") return;
    const whole = pcm.byteLength === pcm.buffer.byteLength ? pcm : pcm.slice();
    const { eps, prefillS } = this;
    this.command({ type: "pcm", pcm: whole, rate, channels, stamp, eps, prefillS }, [whole.buffer]);
  }

  /** What sync.js answered. */
  steer({ eps, shiftS, prefillS }) {
    this.eps = eps;
    this.prefillS = prefillS;
    if (shiftS !== 0) this.command({ type: "shift", seconds: shiftS });
  }

  /** Forgets what waits: another connection or another clock. */
  clear() {
    this.command({ type: "clear" });
  }

  report({ time, stamp, bufferedS, underruns }) {
    const now = performance.now() / 1000;
    const local = this.heardAt(time, now);
    // How early a sample must be there to be heard in time. Output is rendered in bursts of unknown length, and a
    // report comes from anywhere in a burst: the largest of the last two seconds covers a whole one.
    this.latencies.push(local - now);
    if (this.latencies.length > 20) this.latencies.shift();
    this.onreport({ local, stamp, bufferedS, underruns });
  }

  /** Seconds from handing over a sample to hearing it, at least. */
  outputS() {
    return this.latencies.length > 0 ? Math.max(0, ...this.latencies) + 0.003 : 0.03;
  }

  /** Seconds from the audio graph's end to the loudspeaker, as far as the browser says. */
  deviceS() {
    return this.context ? this.context.outputLatency || this.context.baseLatency || 0 : 0;
  }

  /** Local time at which the output of the graph's time `time` reaches the loudspeaker. */
  heardAt(time, now) {
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
    // Squared: half of the slider sounds half as loud.
    const gain = this.muted ? 0 : this.volume * this.volume;
    this.gain.gain.setTargetAtTime(gain, this.context.currentTime, 0.015);
  }

  /** Stands still while the sound comes another way. The click that started it counts for later, too. */
  rest(resting) {
    if (!this.context) return;
    if (resting) this.context.suspend();
    else this.context.resume();
  }

  stop() {
    clearInterval(this.timer);
    if (this.context) this.context.close().catch(() => {});
    this.context = this.gain = this.recorder = this.worklet = this.playout = null;
    this.latencies = [];
    this.state = "off";
  }
}

/** The loudest sample of a packet, 0 to 1, read from every fourth one. */
function peakOf(pcm) {
  let peak = 0;
  for (let i = 0; i < pcm.length; i += 4) {
    const value = pcm[i] < 0 ? -pcm[i] : pcm[i];
    if (value > peak) peak = value;
  }
  return peak / 32768;
}
