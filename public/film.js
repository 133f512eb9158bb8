/*
 * film.js owns: the <video> that shows what came by WebRTC, when each of its frames was captured, and what the browser
 * counts of it. It opens no connection.
 */
"use strict";

class Film {
  /** How much the browser is asked to hold back, ms. */
  static TARGET_MS = { lowest: 0, balanced: 40, smooth: 300 };
  /** NTP's era, in which captureTimestamp counts, begins so many seconds before UNIX time's. */
  static NTP_S = 2_208_988_800;
  /** captureTimestamp is cut to whole milliseconds. */
  static ERROR_S = 0.001;
  /** Neither picture nor sound waits longer for the other. */
  static MAX_HOLD_S = 1;

  /** `onshown(frame, local)`: a frame was given to the screen; frame is { stamp, stampText }, stamp null: not told. */
  constructor(video, latency, onshown) {
    this.video = video;
    this.onshown = onshown;
    this.latency = latency;
    this.showing = 0;
    this.heard = false;
    this.setVolume(0, true);
    this.stop();
  }

  /** Plays `stream`, received by `peer`. */
  play(peer, stream) {
    if (this.peer === peer) return;
    this.stop();
    this.peer = peer;
    this.stream = stream;
    const showing = this.showing;
    const { video } = this;
    this.setLatency(this.latency);
    video.srcObject = stream;
    video.hidden = false;
    this.start();
    const look = (_, frame) => {
      if (showing !== this.showing) return;
      video.requestVideoFrameCallback(look);
      const stamp = this.stampOf(frame);
      const local = performance.now() / 1000;
      this.last = { stamp, stampText: stamp === null ? "" : stamp.toFixed(3) };
      if (stamp !== null) this.delays.video.push(local - stamp);
      this.listen(local);
      for (const taken of this.awaiting.splice(0)) taken();
      this.onshown(this.last, local);
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(look);
  }

  stop() {
    this.showing++;
    this.peer = this.stream = this.last = null;
    this.before = null; // the counts at the last look
    this.awaiting = [];
    this.holdS = 0; // the picture is held back for the sound so long; < 0: the sound for the picture
    this.delays = { video: [], audio: [] };
    this.video.srcObject = null;
    this.video.hidden = true;
  }

  /** Without the person's click a browser plays no sound; then the picture alone. */
  start() {
    this.video.play().catch((error) => {
      if (error.name !== "NotAllowedError") return;
      this.video.muted = true;
      this.video.play().catch(() => {});
    });
  }

  /** UNIX seconds of a frame's capture: its RTP time's distance from the last one that was told with its capture time. */
  stampOf({ rtpTimestamp }) {
    const [source] = this.peer.getReceivers()[0].getSynchronizationSources();
    if (!source || !source.captureTimestamp || rtpTimestamp === undefined) return null;
    // RTP time counts 90 kHz and wraps at 2^32.
    const ticks = (rtpTimestamp - source.rtpTimestamp) | 0;
    return source.captureTimestamp / 1000 - Film.NTP_S + ticks / 90_000;
  }

  setLatency(latency) {
    this.latency = latency;
    if (!this.peer) return;
    const [video, audio] = this.peer.getReceivers();
    const target = Film.TARGET_MS[latency];
    video.jitterBufferTarget = target + Math.max(0, 1000 * this.holdS);
    audio.jitterBufferTarget = target + Math.max(0, -1000 * this.holdS);
  }

  /** Notes how late the sound that is played now is. Its source is told once a packet: the smallest value counts. */
  listen(local) {
    const [source] = this.peer.getReceivers()[1].getSynchronizationSources();
    if (!source || !source.captureTimestamp) return;
    this.delays.audio.push(local - (source.captureTimestamp / 1000 - Film.NTP_S));
  }

  /**
   * Seconds by which the picture is ahead of the sound, null where it is not known; and keeps them in step, as the
   * browser would not: both come in streams of their own, so that who listens to nothing need not wait for the sound.
   * `outputS` is how long the loudspeaker's own way takes.
   */
  keepStep(outputS) {
    const { video, audio } = this.delays;
    this.delays = { video: [], audio: [] };
    if (!this.heard || video.length < 3 || audio.length < 3) {
      if (!this.heard && this.holdS !== 0) this.hold(0);
      return null;
    }
    const offset = Math.min(...audio) + outputS - video.sort((a, b) => a - b)[video.length >> 1];
    if (Math.abs(offset) > 0.01) this.hold(this.holdS + offset / 2);
    return offset;
  }

  hold(seconds) {
    this.holdS = Math.min(Film.MAX_HOLD_S, Math.max(-Film.MAX_HOLD_S, seconds));
    this.setLatency(this.latency);
  }

  setVolume(volume, muted) {
    this.heard = !muted;
    // Squared: half of the slider sounds half as loud.
    this.video.volume = volume * volume;
    this.video.muted = muted;
  }

  /** { stampText, canvas } of the next frame, or of the one that stands still. */
  async still() {
    const next = new Promise((taken) => this.awaiting.push(taken));
    await Promise.race([next, new Promise((done) => setTimeout(done, 500))]);
    if (!this.last) return null;
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    return { stampText: this.last.stampText, canvas };
  }

  /**
   * What came since the last call: { frames, videoBytes, audioBytes, dropped, frozenS, concealed, level (0 to 1),
   * bufferedS, protocol }. Null when nothing plays.
   */
  async measure() {
    const { peer } = this;
    if (!peer) return null;
    const stats = [...(await peer.getStats()).values()];
    if (peer !== this.peer) return null;
    const inbound = (kind) => stats.find((entry) => entry.type === "inbound-rtp" && entry.kind === kind) || {};
    const [video, audio] = [inbound("video"), inbound("audio")];
    const now = {
      frames: video.framesDecoded || 0,
      videoBytes: video.bytesReceived || 0,
      audioBytes: audio.bytesReceived || 0,
      dropped: video.framesDropped || 0,
      frozenS: video.totalFreezesDuration || 0,
      concealed: audio.concealmentEvents || 0,
      delayS: audio.jitterBufferDelay || 0,
      emitted: audio.jitterBufferEmittedCount || 0,
      energy: audio.totalAudioEnergy || 0,
      heardS: audio.totalSamplesDuration || 0,
    };
    const before = this.before || now;
    this.before = now;
    const since = Object.fromEntries(Object.entries(now).map(([name, value]) => [name, value - before[name]]));
    return {
      ...since,
      // Of all that was heard since: audioLevel is of one instant, and a beep once a second would fall between two looks.
      level: since.heardS > 0 ? Math.sqrt(since.energy / since.heardS) : 0,
      bufferedS: since.emitted > 0 ? since.delayS / since.emitted : null,
      protocol: protocolOf(stats),
    };
  }

  /** Picture and sound for a recorder, whose tracks it may stop. */
  recordingStream() {
    return new MediaStream(this.stream.getTracks().map((track) => track.clone()));
  }
}

/** "udp", "tcp", or "" where it is not known. */
function protocolOf(stats) {
  const byId = (id) => stats.find((entry) => entry.id === id) || {};
  const transport = stats.find((entry) => entry.type === "transport") || {};
  return byId(byId(transport.selectedCandidatePairId).remoteCandidateId).protocol || "";
}
