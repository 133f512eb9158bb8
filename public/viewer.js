/*
 * viewer.js: one watched stream. Passes packets from the WebSocket client to canvas and audio
 * output, applies the delay of sync.js and the choice of transport.js, collects statistics and
 * reports the phase (phase.js). Uses no element of the page but the canvas and the
 * video.
 */
"use strict";

class Viewer {
  /** Without video, /info is requested this often. */
  static INFO_INTERVAL_S = 3;

  constructor(canvas, video, settings, { onPhase, onFrame, onNotice, onPause, onTransportChange, onAudioLost }) {
    this.settings = settings;
    this.onPhase = onPhase;
    this.onFrame = onFrame;
    this.onNotice = onNotice;
    this.onPause = onPause;
    this.onTransportChange = onTransportChange;
    this.clock = new ServerClock();
    this.stats = new Stats();
    this.sync = new Sync(settings.get("latency"));
    this.onAudioLost = onAudioLost;
    this.audio = new AudioOutput((report) => this.onReport(report), () => this.audioLost());
    this.canvasSink = new CanvasSink(canvas, {
      onDecoded: (frame, local) => this.sync.videoReady(local, frame.stamp),
      onShown: (frame, local) => this.onShown(frame, local),
      onDropped: (cause) => this.stats.gap(cause, 1),
    });
    this.ws = new WsClient({
      onState: (state) => this.onWsState(state),
      onPacket: (packet, bytes) => this.onPacket(packet, bytes),
      onInfo: (info) => this.onInfo(info),
      makePing: () => this.clock.ping(performance.now() / 1000),
    });
    this.transport = new Transport(settings.get("transport"));
    this.videoSink = new VideoSink(video, settings.get("latency"), (frame, local) => this.onVideoFrame(frame, local));
    this.webrtc = new Webrtc((state) => this.onWebrtcState(state));
    this.recording = null;
    this.history = new FrameHistory();
    this.paused = false;
    this.webrtcStateOfPause = null; // the last one reported while the video is paused
    this.review = null; // of a paused video, if there are frames to review
    this.server = {};
    this.reset();
    document.addEventListener("visibilitychange", () => this.transport.clearHistory());
    setInterval(() => {
      this.update();
      this.updateWebrtcStats();
    }, 500);
  }

  /**
   * Connects to another server, with all state reset. Without `server.stream` the address is
   * invalid.
   */
  connect(server, token) {
    if (this.recording && server.base !== this.server.base) this.recording.stop();
    this.endPause();
    this.history.clear();
    this.canvasSink.last = null;
    this.webrtc.stop();
    this.server = server;
    this.token = token;
    this.transport.setChoice(this.settings.get("transport"));
    this.transport.reset();
    this.reset();
    this.stats.reset();
    this.startedAt = new Date();
    this.ws.connect(server, token, this.transport.wsCarriesMedia);
    this.applyTransport();
  }

  reset() {
    this.wsState = { name: "connecting" };
    this.info = null;
    this.audioFormat = null;
    this.lastFrameAt = null;
    this.lastAudioAt = null;
    this.frameS = 0;
    this.lastMedia = null; // { stamp, local } of the last packet by WebSocket
    this.interruption = null; // the same at the loss of the connection
    this.lost = { video: null, audio: null };
    this.playback = null;
    this.resetClock();
  }

  /** Discards the clock offset and everything that depends on it. */
  resetClock() {
    this.clock.reset();
    this.resetStream();
  }

  resetStream() {
    this.sync.reset();
    this.transport.clearHistory();
    this.canvasSink.clear();
    this.audio.clear();
    this.stats.sequences = { video: null, audio: null };
    this.reportedGaps = { video: 0, audio: 0 };
    this.playback = null;
  }

  onWsState(state) {
    const wasOpen = this.wsState.name === "open";
    this.wsState = state;
    if (wasOpen && state.name === "waiting") this.interruption = this.lastMedia;
    if (state.name === "open" && state.switched) this.resetStream();
    else if (state.name === "open") {
      this.resetClock();
      this.lost = { video: null, audio: null };
      const silentS = performance.now() / 1000 - this.lastFrameAt;
      const flows = this.transport.webrtcPlays && silentS < Math.max(1, 2 * frameIntervalS(this));
      if (this.transport.wantsWebrtc && !flows && !this.paused) this.webrtc.reconnect();
    }
    this.update();
  }

  onPacket(packet, bytes) {
    const now = performance.now() / 1000;
    // Sent before WebRTC took over, or by a server that does not know `video=0&audio=0`.
    if (this.transport.webrtcPlays && (packet.kind === "video" || packet.kind === "audio")) return;
    switch (packet.kind) {
      case "video":
        this.stats.bytes.add(now, bytes);
        this.onVideo(packet, now);
        break;
      case "audio":
        this.stats.bytes.add(now, bytes);
        this.onAudio(packet, now);
        break;
      case "event":
        this.onEvent(packet);
        break;
      case "pong":
        this.clock.pong(packet, now);
        break;
    }
  }

  /** Counts an interruption of the connection at the first packet after it. */
  followConnection({ stamp }, now) {
    const before = this.interruption;
    this.interruption = null;
    this.lastMedia = { stamp, local: now };
    if (!before) return;
    const [byStamp, byLocal] = [stamp - before.stamp, now - before.local];
    // The server's clock may have been set.
    this.stats.gap("connection", 0, Math.abs(byStamp - byLocal) < 5 ? byStamp : byLocal);
  }

  onVideo(frame, now) {
    this.followConnection(frame, now);
    this.followSequence("video", frame);
    this.transport.onFrame(now, frame.stamp);
    this.history.push(frame);
    this.canvasSink.push(frame);
    this.onFrameArrived(now);
  }

  onFrameArrived(now) {
    this.lost.video = null;
    // The length of an outage is not a frame interval.
    if (this.lastFrameAt !== null) this.frameS = Math.min(now - this.lastFrameAt, 30);
    const first = this.lastFrameAt === null;
    this.lastFrameAt = now;
    if (first || this.phase !== "live") this.update();
  }

  onAudio(packet, now) {
    this.followConnection(packet, now);
    this.followSequence("audio", packet);
    this.lost.audio = null;
    this.lastAudioAt = now;
    this.stats.peak = Math.max(this.stats.peak, peakOf(packet.pcm));
    if (packet.rate > 0) this.audioFormat = { rate: packet.rate, channels: packet.channels };
    if (!this.audioFormat) return;
    // Copied where the output would transfer the buffer.
    const pcm = packet.pcm.byteLength === packet.pcm.buffer.byteLength ? packet.pcm.slice() : packet.pcm;
    this.history.pushAudio({ ...packet, ...this.audioFormat, pcm });
    this.sync.audioReady(now, packet.stamp, this.audio.outputS());
    this.audio.push(packet.pcm, this.audioFormat.rate, this.audioFormat.channels, packet.stamp);
  }

  followSequence(kind, packet) {
    const missing = this.stats.countMissing(kind, packet.sequence, this.reportedGaps[kind]);
    this.reportedGaps[kind] = 0;
    if (missing > 0) this.stats.gap("unknown", missing);
  }

  onEvent({ stamp, event }) {
    const stream = event.stream === "audio" ? "audio" : "video";
    switch (event.event) {
      case "gap":
        this.stats.gap(event.cause, event.count, event.seconds);
        this.reportedGaps[stream] += event.count || 0;
        if (event.cause === "viewer_queue" && stream === "video") {
          this.transport.onLoss(performance.now() / 1000, event.count || 0);
        }
        break;
      case "source_lost":
        this.lost[stream] = new Date(stamp * 1000);
        break;
      case "source_back":
        this.lost[stream] = null;
        break;
      case "format":
        this.ws.refreshInfo();
        break;
      case "clock_step":
        this.resetClock();
        this.onNotice("clockStep", { seconds: event.seconds });
        break;
    }
    this.update();
  }

  onInfo(info) {
    this.info = info;
    const format = audioFormatOf(info);
    if (format) this.audioFormat = format;
  }

  /** The server's message on why there is no "video" or "audio", or "". */
  sourceMessage(stream) {
    return (this.info && this.info[stream] && this.info[stream].message) || "";
  }

  /** True if audio is being played. */
  isAudible() {
    return this.audio.state === "on" && !this.audio.muted;
  }

  /** True if frames are shown in sync with audio. */
  isSynced() {
    return !this.transport.webrtcPlays && (this.isAudible() || (this.audio.state === "on" && this.recording !== null));
  }

  /** Position of the audio, about ten times a second. */
  onReport(report) {
    if (this.transport.webrtcPlays) return;
    const before = this.playback;
    this.playback = report.stamp === null ? null : report;
    if (before && report.underruns > this.underruns) this.stats.gap("underrun", report.underruns - this.underruns);
    this.underruns = report.underruns;
    this.bufferedS = report.bufferedS;
    this.audio.adjust(this.sync.update(report.local, report.stamp, report.underruns));
    const synced = this.isSynced() && this.sync.delay !== null;
    this.canvasSink.setPacer(synced ? (stamp) => stamp + (this.sync.delay || 0) : null);
  }

  onShown(frame, local) {
    if (this.transport.webrtcPlays) return;
    if (this.paused) {
      this.onFrame(frame);
      return;
    }
    this.recordShown(frame, local);
    if (this.playback && this.isSynced()) {
      const audioStamp = this.playback.stamp + (local - this.playback.local);
      this.stats.offset.add(local, frame.stamp - audioStamp);
    }
    this.onFrame(frame);
  }

  recordShown(frame, local) {
    this.stats.shown.add(local, 1);
    const offset = this.clockOffset();
    if (offset !== null && frame.stamp !== null) this.stats.latency.add(local, local + offset - frame.stamp);
  }

  /* WebRTC */

  /** Opens and closes connections as transport.js decides; while the video is paused, on resume. */
  applyTransport() {
    if (!this.server.stream || this.paused) return;
    if (!this.transport.wantsWebrtc) this.webrtc.stop();
    else if (this.webrtc.state.name === "closed") this.webrtc.start(this.server, this.token);
    this.ws.setMedia(this.transport.wsCarriesMedia);
  }

  setTransport(choice) {
    if (this.paused) return; // on resume
    this.transport.setChoice(choice);
    if (!this.server.label) return;
    this.applyTransport();
    this.update();
  }

  onWebrtcState(state) {
    // Anything but the pause itself would replace the frozen frame.
    if (this.paused) {
      this.webrtcStateOfPause = state;
      return;
    }
    if (state.name === "connected") this.videoSink.play(state.peer, state.stream);
    else if (state.name !== "connecting" && state.name !== "disconnected") this.switchTo("websocket");
    if (state.name === "failed") {
      const isNew = this.wsState.name === "open" && this.transport.failure !== state.reason;
      if (isNew) this.onNotice("webrtcFailed", { reason: state.reason });
      this.transport.webrtcFailed(performance.now() / 1000, state.reason);
      this.applyTransport();
    }
    this.update();
  }

  /** A frame received by WebRTC was presented. */
  onVideoFrame(frame, local) {
    if (this.paused && !this.transport.webrtcPlays) return;
    this.switchTo("webrtc");
    this.lastMedia = this.interruption = null;
    this.onFrameArrived(local);
    this.recordShown(frame, local);
    this.onFrame(frame);
  }

  /** Switches the presentation to this transport. */
  switchTo(transport) {
    const webrtc = transport === "webrtc";
    if (!webrtc) this.videoSink.stop();
    if (webrtc === this.transport.webrtcPlays) return;
    // Its tracks belong to the previous transport.
    if (this.recording) this.recording.stop();
    this.onTransportChange();
    if (webrtc) this.transport.webrtcStarted();
    else this.transport.webrtcPlays = false;
    this.playback = null;
    this.canvasSink.clear();
    this.canvasSink.setPacer(null);
    this.canvasSink.canvas.hidden = webrtc;
    this.audio.clear();
    this.audio.setSuspended(webrtc);
    this.applyTransport();
  }

  /** Adds the browser's WebRTC statistics, twice a second. */
  async updateWebrtcStats() {
    const count = await this.videoSink.measure();
    if (!count || (this.paused && !this.transport.webrtcPlays)) return;
    const now = performance.now() / 1000;
    // A hidden or paused video gets no frame callbacks, but frames are counted.
    if (count.frames > 0 && (document.hidden || this.paused)) {
      this.switchTo("webrtc");
      this.onFrameArrived(now);
    }
    if (count.audioBytes > 0) this.lastAudioAt = now;
    if (!this.transport.webrtcPlays) return;
    const { stats } = this;
    const offset = this.videoSink.alignAudioVideo(this.audio.deviceS());
    stats.bytes.add(now, count.videoBytes + count.audioBytes);
    stats.peak = Math.max(stats.peak, count.level);
    if (count.dropped > 0 && !document.hidden) stats.gap("page", count.dropped);
    if (count.frozenS > 0 && !this.paused) stats.gap("frozen", 0, count.frozenS);
    if (count.concealed > 0 && this.videoSink.audible) stats.gap("underrun", count.concealed);
    if (offset !== null) stats.offset.add(now, offset);
    if (count.bufferedS !== null) this.bufferedS = count.bufferedS;
    this.protocol = count.protocol;
  }

  /** The current frame, for saveSnapshot; null if there is none. */
  async captureStill() {
    if (this.transport.webrtcPlays) return this.videoSink.captureStill();
    const { last, canvas } = this.canvasSink;
    return last && { stampText: last.stampText, jpeg: last.jpeg, canvas };
  }

  /** The stream for a recorder, which may stop the tracks. */
  recordingStream() {
    if (this.transport.webrtcPlays) return this.videoSink.recordingStream();
    const audio = this.audio.state === "on" ? this.audio.recorder.stream.clone().getTracks() : [];
    return new MediaStream([...this.canvasSink.canvas.captureStream().getTracks(), ...audio]);
  }

  /**
   * Freezes the video; with the WebSocket, earlier frames can be reviewed. False if there is
   * nothing to freeze, or a recording, which would contain the frozen frame.
   */
  pause() {
    const { last } = this.canvasSink;
    if (this.paused || this.recording || this.frameSize()[0] === 0) return false;
    this.paused = true;
    if (this.transport.webrtcPlays) this.videoSink.pause();
    else {
      this.canvasSink.pause();
      this.review = new Review([...this.history.frames], last, [...this.history.packets]);
    }
    this.onPause();
    this.update();
    return true;
  }

  /** Shows live frames again, and makes the changes of the transport that were due meanwhile. */
  resume() {
    if (!this.paused) return;
    const state = this.webrtcStateOfPause;
    this.endPause();
    if (state) this.onWebrtcState(state);
    const choice = this.settings.get("transport");
    if (choice === this.transport.choice) this.applyTransport();
    else this.setTransport(choice);
    this.update();
  }

  endPause() {
    if (!this.paused) return;
    this.paused = false;
    this.webrtcStateOfPause = null;
    this.review = null;
    this.videoSink.resume();
    this.canvasSink.resume();
    this.onPause();
  }

  /** Shows another frame of the paused video: `move(review)` selects it. */
  reviewFrame(move) {
    if (!this.review) return;
    const before = this.review.frame;
    move(this.review);
    if (this.review.frame !== before) this.canvasSink.showStill(this.review.frame);
    this.onPause();
  }

  /** `wanted`: frames are needed also while the page is hidden. */
  drawInBackground(wanted) {
    this.canvasSink.background = wanted || this.recording !== null;
  }

  /** [width, height] of the current frame; zeros before the first. */
  frameSize() {
    const { video } = this.videoSink;
    if (this.transport.webrtcPlays) return [video.videoWidth, video.videoHeight];
    const { last, canvas } = this.canvasSink;
    return last ? [canvas.width, canvas.height] : [0, 0];
  }

  /** UNIX time of the server minus performance.now() / 1000, or null if unknown. */
  clockOffset() {
    const best = this.clock.best();
    if (best) return best.offset;
    return isSameMachine(this.server) ? (Date.now() - performance.now()) / 1000 : null;
  }

  async startAudio() {
    this.underruns = 0;
    await this.audio.start(this.audioFormat ? this.audioFormat.rate : 0);
    // Delays measured while the page loaded and the audio graph was built are not representative.
    this.sync.reset();
    if (this.transport.webrtcPlays) this.audio.setSuspended(true);
  }

  /** The browser has stopped the output: frames are no longer paced by it. */
  audioLost() {
    this.playback = null;
    this.canvasSink.setPacer(null);
    this.onAudioLost();
  }

  /** Audio is played only after startAudio, which needs a click. */
  setVolume(volume, muted) {
    this.audio.setVolume(volume, muted);
    this.videoSink.setVolume(volume, muted || this.audio.state !== "on");
  }

  setLatency(latency) {
    this.sync.setLatency(latency);
    this.videoSink.setLatency(latency);
  }

  /** Determines and reports the phase. */
  update() {
    const now = performance.now() / 1000;
    if (!document.hidden && !this.paused && this.transport.checkTooSlow(now)) {
      this.onNotice("tooSlow", {});
      this.applyTransport();
    }
    this.stats.setFrameInterval(frameIntervalS(this));
    const next = currentPhase(this, now);
    this.phase = next.phase;
    this.onPhase(next);
    // Why there is no video, and whether the server has a camera at all.
    const requested = this.infoRequestedAt !== undefined && now - this.infoRequestedAt < Viewer.INFO_INTERVAL_S;
    if (["camera", "microphone", "lost"].includes(next.phase) && !requested) {
      this.infoRequestedAt = now;
      this.ws.refreshInfo();
    }
  }
}

/** { rate, channels } of /info's audio stream, or null if it has none or they are not known yet. */
function audioFormatOf({ audio }) {
  return audio && audio.rate > 0 && audio.channels > 0 ? { rate: audio.rate, channels: audio.channels } : null;
}
