/*
 * video_sink.js: plays a WebRTC stream in the <video>; determines the capture time of its frames
 * and reads the browser's statistics.
 */
"use strict";

class VideoSink {
  /** Jitter buffer target for the browser, ms. */
  static TARGET_MS = { lowest: 0, balanced: 40, smooth: 300 };
  /** Seconds from the NTP epoch, which captureTimestamp counts from, to the UNIX epoch. */
  static NTP_S = 2_208_988_800;
  /** captureTimestamp is truncated to whole milliseconds. */
  static ERROR_S = 0.001;
  /** Neither video nor audio is delayed more than this for the other. */
  static MAX_HOLD_S = 1;

  /**
   * `onShown(frame, local)`: a frame was presented; frame is { stamp, stampText }, stamp null if
   * not known.
   */
  constructor(video, latency, onShown) {
    this.video = video;
    this.onShown = onShown;
    this.latency = latency;
    this.generation = 0;
    this.audible = false;
    this.setVolume(0, true);
    this.stop();
  }

  /** Plays `stream`, received by `peer`. */
  play(peer, stream) {
    if (this.peer === peer) return;
    this.stop();
    this.peer = peer;
    this.stream = stream;
    const generation = this.generation;
    const { video } = this;
    this.setLatency(this.latency);
    video.srcObject = stream;
    video.hidden = false;
    this.start();
    const onFrame = (_, frame) => {
      if (generation !== this.generation) return;
      video.requestVideoFrameCallback(onFrame);
      const stamp = this.stampOf(frame);
      const local = performance.now() / 1000;
      this.last = { stamp, stampText: stamp === null ? "" : stamp.toFixed(3) };
      if (stamp !== null) this.delays.video.push(local - stamp);
      this.recordAudioDelay(local);
      for (const resolve of this.stillWaiters.splice(0)) resolve();
      this.onShown(this.last, local);
    };
    video.requestVideoFrameCallback(onFrame);
  }

  stop() {
    this.generation++;
    this.peer = this.stream = this.last = null;
    this.lastCounts = null; // the counters at the previous measurement
    this.stillWaiters = [];
    this.holdS = 0; // extra delay of the video to match the audio; < 0: of the audio
    this.delays = { video: [], audio: [] };
    this.video.srcObject = null;
    this.video.hidden = true;
  }

  /** Freezes the video; the stream goes on. */
  pause() {
    this.video.pause();
  }

  resume() {
    if (this.peer) this.start();
  }

  /** Before the user's first click a browser refuses to play audio: then plays muted. */
  start() {
    this.video.play().catch((error) => {
      if (error.name !== "NotAllowedError") return;
      this.video.muted = true;
      this.video.play().catch(() => {});
    });
  }

  /**
   * Capture time of a frame, UNIX seconds: from its RTP time and the last pair of RTP time and
   * capture time.
   */
  stampOf({ rtpTimestamp }) {
    const [source] = this.peer.getReceivers()[0].getSynchronizationSources();
    if (!source || !source.captureTimestamp || rtpTimestamp === undefined) return null;
    // RTP time is in units of 1/90000 s and wraps at 2^32.
    const ticks = (rtpTimestamp - source.rtpTimestamp) | 0;
    return source.captureTimestamp / 1000 - VideoSink.NTP_S + ticks / 90_000;
  }

  setLatency(latency) {
    this.latency = latency;
    if (!this.peer) return;
    const [video, audio] = this.peer.getReceivers();
    const target = VideoSink.TARGET_MS[latency];
    video.jitterBufferTarget = target + Math.max(0, 1000 * this.holdS);
    audio.jitterBufferTarget = target + Math.max(0, -1000 * this.holdS);
  }

  /**
   * Records the delay of the audio that is played now. The source is updated once per packet: the
   * least value counts.
   */
  recordAudioDelay(local) {
    const [source] = this.peer.getReceivers()[1].getSynchronizationSources();
    if (!source || !source.captureTimestamp) return;
    this.delays.audio.push(local - (source.captureTimestamp / 1000 - VideoSink.NTP_S));
  }

  /**
   * Returns the A/V offset in seconds (> 0: video ahead), null if unknown, and corrects it. The
   * browser does not: video and audio are in separate media streams, so that muted video need not
   * wait for audio. `outputS` is the latency of the audio output.
   */
  alignAudioVideo(outputS) {
    const { video, audio } = this.delays;
    this.delays = { video: [], audio: [] };
    if (!this.audible || video.length < 3 || audio.length < 3) {
      if (!this.audible && this.holdS !== 0) this.hold(0);
      return null;
    }
    const offset = Math.min(...audio) + outputS - video.sort((a, b) => a - b)[video.length >> 1];
    if (Math.abs(offset) > 0.01) this.hold(this.holdS + offset / 2);
    return offset;
  }

  hold(seconds) {
    this.holdS = Math.min(VideoSink.MAX_HOLD_S, Math.max(-VideoSink.MAX_HOLD_S, seconds));
    this.setLatency(this.latency);
  }

  setVolume(volume, muted) {
    this.audible = !muted;
    // Squared: the middle of the slider sounds half as loud.
    this.video.volume = volume * volume;
    this.video.muted = muted;
  }

  /** { stampText, canvas } of the next frame, or of the current one if none comes. */
  async captureStill() {
    const next = new Promise((resolve) => this.stillWaiters.push(resolve));
    await Promise.race([next, new Promise((done) => setTimeout(done, 500))]);
    if (!this.last) return null;
    const canvas = document.createElement("canvas");
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    return { stampText: this.last.stampText, canvas };
  }

  /**
   * Statistics since the previous call: { frames, videoBytes, audioBytes, dropped, frozenS,
   * concealed, level (0 to 1), bufferedS, protocol }. Null if nothing is played.
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
      playedS: audio.totalSamplesDuration || 0,
    };
    const before = this.lastCounts || now;
    this.lastCounts = now;
    const since = Object.fromEntries(Object.entries(now).map(([name, value]) => [name, value - before[name]]));
    return {
      ...since,
      // Over the whole interval: audioLevel is of one instant and would miss a beep between two
      // calls.
      level: since.playedS > 0 ? Math.sqrt(since.energy / since.playedS) : 0,
      bufferedS: since.emitted > 0 ? since.delayS / since.emitted : null,
      protocol: protocolOf(stats),
    };
  }

  /** Video and audio for a recorder, which may stop the tracks. */
  recordingStream() {
    return new MediaStream(this.stream.getTracks().map((track) => track.clone()));
  }
}

/** "udp", "tcp", or "" if unknown. */
function protocolOf(stats) {
  const byId = (id) => stats.find((entry) => entry.id === id) || {};
  const transport = stats.find((entry) => entry.type === "transport") || {};
  return byId(byId(transport.selectedCandidatePairId).remoteCandidateId).protocol || "";
}
