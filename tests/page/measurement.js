/*
 * measurement.js: measures the output of the page: flash and time code in its video, beep in its
 * audio graph. Does not use the page's own statistics.
 */

/** Init script: stores the node that is connected to the loudspeaker. */
export function tapAudio() {
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) globalThis.toLoudspeaker = this;
    return connect.call(this, to, ...rest);
  };
}

/**
 * Runs in the page. Starts to record beeps and flashes; audio must be on. `flash` is a pixel of the
 * frame that is white during a flash, `code` true if the frame has a time code
 * (docs/test-picture.md).
 */
export async function beginMeasuring({ flash, code }) {
  const notes = { beeps: [], flashes: [], latencies: [] };
  globalThis.notes = notes;
  /** Number of beeps with a flash of the same second. */
  globalThis.pairs = () =>
    notes.beeps.filter((beep) => notes.flashes.some((flash) => Math.abs(flash - beep) < 400)).length;
  const node = globalThis.toLoudspeaker;
  if (node) {
    const { context } = node;
    const module = `
      registerProcessor("onset", class extends AudioWorkletProcessor {
        constructor() { super(); this.quiet = 0; }
        process([[samples]]) {
          if (!samples) return true;
          for (let i = 0; i < samples.length; i++) {
            if (Math.abs(samples[i]) < 0.05) { this.quiet++; continue; }
            if (this.quiet > sampleRate / 2) this.port.postMessage(currentTime + i / sampleRate);
            this.quiet = 0;
          }
          return true;
        }
      });`;
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(module)}`);
    const onset = new AudioWorkletNode(context, "onset", { numberOfOutputs: 0 });
    node.connect(onset);
    onset.port.onmessage = ({ data }) => {
      const { contextTime, performanceTime } = context.getOutputTimestamp();
      notes.beeps.push(performanceTime + (data - contextTime) * 1000);
    };
  }

  /**
   * The time code's UNIX microseconds, or null: 5 rows of 16 cells, the last row a CRC-16/IBM-3740.
   */
  function readCode(pixels, width, height) {
    const cellW = width / 20;
    const cellH = height / 24;
    const bytes = [];
    let byte = 0;
    for (let cell = 0; cell < 80; cell++) {
      const x = Math.floor(cellW * (2.5 + (cell % 16)));
      const y = Math.floor(cellH * (17.5 + Math.floor(cell / 16)));
      const luma = pixels[(y * width + x) * 4];
      if (luma >= 96 && luma <= 160) return null;
      byte = (byte << 1) | (luma > 160 ? 1 : 0);
      if (cell % 8 === 7) {
        bytes.push(byte);
        byte = 0;
      }
    }
    let crc = 0xffff;
    for (const value of bytes.slice(0, 8)) {
      crc ^= value << 8;
      for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    if (crc !== ((bytes[8] << 8) | bytes[9])) return null;
    return bytes.slice(0, 8).reduce((sum, value) => sum * 256n + BigInt(value), 0n);
  }

  const canvas = document.getElementById("canvas");
  const film = document.getElementById("video");
  const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  let lit = null;
  let lastCode = null;
  const look = () => {
    const now = performance.now();
    const unix = (performance.timeOrigin + now) / 1000;
    // With WebRTC the <video> is visible.
    const [seen, width, height] = canvas.hidden
      ? [film, film.videoWidth, film.videoHeight]
      : [canvas, canvas.width, canvas.height];
    if (copy.canvas.width !== width || copy.canvas.height !== height) Object.assign(copy.canvas, { width, height });
    copy.drawImage(seen, 0, 0);
    const pixels = copy.getImageData(0, 0, width, height).data;
    const x = Math.floor(flash.x * width);
    const y = Math.floor(flash.y * height);
    const white = pixels[(y * width + x) * 4] > 160;
    if (white && lit === false) notes.flashes.push(now);
    lit = white;
    if (code) {
      const micros = readCode(pixels, width, height);
      if (micros !== null && micros !== lastCode) notes.latencies.push(unix - Number(micros) / 1e6);
      if (micros !== null) lastCode = micros;
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

/** Milliseconds from each beep to its flash: > 0 if video was late. */
export function offsets({ beeps, flashes }) {
  const found = [];
  for (const beep of beeps) {
    const nearest = flashes.reduce((best, flash) => (Math.abs(flash - beep) < Math.abs(best - beep) ? flash : best), 1e12);
    if (Math.abs(nearest - beep) < 400) found.push(nearest - beep);
  }
  return found;
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length > 0 ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : NaN;
}
