/*
 * viewer.js owns: one watched stream. It passes packets from the link to picture and sound, lets sync.js decide the
 * delay and transport.js the way they come, keeps the figures, and says in one word what the person is looking at. It
 * knows no element of the page but the canvas and the video.
 *
 * Phases, told by onphase({ phase, … }):
 *   connecting, live, camera (open, no picture yet), sound-only, lost (since), reconnecting (until, reason),
 *   refused (reason)
 */
"use strict";

class Viewer {
  /** A live picture is missed after this long, or after five of its intervals where that is longer. */
  static MISSED_S = 3;
  /** While there is no picture, /info is read this often. */
  static ASK_INFO_S = 3;

  constructor(canvas, video, settings, { onphase, onframe, onnotice }) {
    this.settings = settings;
    this.onphase = onphase;
    this.onframe = onframe;
    this.onnotice = onnotice;
    this.clock = new ServerClock();
    this.figures = new Figures();
    this.sync = new Sync(settings.get("latency"));
    this.sound = new Sound((report) => this.onreport(report));
    this.picture = new Picture(canvas, {
      onready: (frame, local) => this.sync.videoReady(local, frame.stamp),
      onshown: (frame, local) => this.onshown(frame, local),
      onlost: (cause) => this.figures.gap(cause, 1),
    });
    this.link = new Link({
      onstate: (state) => this.onlink(state),
      onpacket: (packet, bytes) => this.onpacket(packet, bytes),
      oninfo: (info) => this.oninfo(info),
      makePing: () => this.clock.ping(performance.now() / 1000),
    });
    this.transport = new Transport(settings.get("transport"));
    this.film = new Film(video, settings.get("latency"), (frame, local) => this.onfilm(frame, local));
    this.webrtc = new Webrtc((state) => this.onwebrtc(state));
    this.recording = null;
    this.forget();
    document.addEventListener("visibilitychange", () => this.transport.forget());
    setInterval(() => {
      this.review();
      this.countFilm();
    }, 500);
  }

  /** Another server: nothing known of the last one holds. */
  connect(server, token) {
    this.webrtc.stop();
    this.server = server;
    this.token = token;
    this.transport.reset();
    this.forget();
    this.figures.reset();
    this.startedAt = new Date();
    this.link.connect(server, token, this.transport.linkCarries);
    this.steer();
  }

  forget() {
    this.linkState = { name: "connecting" };
    this.info = null;
    this.soundFormat = null;
    this.lastFrameAt = null;
    this.lastSoundAt = null;
    this.frameS = 0;
    this.lost = { video: null, audio: null };
    this.heard = null;
    this.forgetTimes();
  }

  /** What was learnt of the clocks and of the stream's place in time. */
  forgetTimes() {
    this.clock.reset();
    this.forgetStream();
  }

  forgetStream() {
    this.sync.reset();
    this.transport.forget();
    this.picture.clear();
    this.sound.clear();
    this.figures.sequences = { video: null, audio: null };
    this.told = { video: 0, audio: 0 };
    this.heard = null;
  }

  onlink(state) {
    this.linkState = state;
    if (state.name === "open" && state.switched) this.forgetStream();
    else if (state.name === "open") {
      this.forgetTimes();
      this.lost = { video: null, audio: null };
      const silentS = performance.now() / 1000 - this.lastFrameAt;
      const flows = this.transport.plays && silentS < Math.max(1, 2 * this.expectedS());
      if (this.transport.wantsPeer && !flows) this.webrtc.again();
    }
    this.review();
  }

  onpacket(packet, bytes) {
    const now = performance.now() / 1000;
    // On its way when WebRTC took over, or from a server that cannot leave it out.
    if (this.transport.plays && (packet.kind === "video" || packet.kind === "audio")) return;
    switch (packet.kind) {
      case "video":
        this.figures.bytes.add(now, bytes);
        this.onvideo(packet, now);
        break;
      case "audio":
        this.figures.bytes.add(now, bytes);
        this.onaudio(packet, now);
        break;
      case "event":
        this.onevent(packet);
        break;
      case "pong":
        this.clock.pong(packet, now);
        break;
    }
  }

  onvideo(frame, now) {
    this.followSequence("video", frame);
    this.transport.picture(now, frame.stamp);
    this.picture.push(frame);
    this.cameFrame(now);
  }

  cameFrame(now) {
    this.lost.video = null;
    // A pause is no rate.
    if (this.lastFrameAt !== null) this.frameS = Math.min(now - this.lastFrameAt, 30);
    const first = this.lastFrameAt === null;
    this.lastFrameAt = now;
    if (first || this.phase !== "live") this.review();
  }

  onaudio(packet, now) {
    this.followSequence("audio", packet);
    this.lost.audio = null;
    this.lastSoundAt = now;
    this.figures.peak = Math.max(this.figures.peak, peakOf(packet.pcm));
    if (packet.rate > 0) this.soundFormat = { rate: packet.rate, channels: packet.channels };
    if (!this.soundFormat) return;
    this.sync.audioReady(now, packet.stamp, this.sound.outputS());
    this.sound.push(packet.pcm, this.soundFormat.rate, this.soundFormat.channels, packet.stamp);
  }

  followSequence(kind, packet) {
    const missing = this.figures.follow(kind, packet.sequence, this.told[kind]);
    this.told[kind] = 0;
    if (missing > 0) this.figures.gap("unknown", missing);
  }

  onevent({ stamp, event }) {
    const stream = event.stream === "audio" ? "audio" : "video";
    switch (event.event) {
      case "gap":
        this.figures.gap(event.cause, event.count, event.seconds);
        this.told[stream] += event.count || 0;
        if (event.cause === "viewer_queue" && stream === "video") {
          this.transport.lost(performance.now() / 1000, event.count || 0);
        }
        break;
      case "source_lost":
        this.lost[stream] = new Date(stamp * 1000);
        break;
      case "source_back":
        this.lost[stream] = null;
        break;
      case "format":
        this.link.refreshInfo();
        break;
      case "clock_step":
        this.forgetTimes();
        this.onnotice("clockStep", { seconds: event.seconds });
        break;
    }
    this.review();
  }

  oninfo(info) {
    this.info = info;
    const format = soundFormatOf(info);
    if (format) this.soundFormat = format;
  }

  /** The server's own words on why there is no picture, or "". */
  cameraMessage() {
    return (this.info && this.info.video && this.info.video.message) || "";
  }

  /** True where the person is to hear something. */
  hears() {
    return this.sound.state === "on" && !this.sound.muted;
  }

  /** True where the sound's clock leads the picture. */
  synced() {
    return !this.transport.plays && (this.hears() || (this.sound.state === "on" && this.recording !== null));
  }

  /** The sound says what is heard now. */
  onreport(report) {
    if (this.transport.plays) return;
    const before = this.heard;
    this.heard = report.stamp === null ? null : report;
    if (before && report.underruns > this.underruns) this.figures.gap("underrun", report.underruns - this.underruns);
    this.underruns = report.underruns;
    this.bufferedS = report.bufferedS;
    this.sound.steer(this.sync.update(report.local, report.stamp, report.underruns));
    const lead = this.synced() && this.sync.delay !== null;
    this.picture.setPacer(lead ? (stamp) => stamp + (this.sync.delay || 0) : null);
  }

  onshown(frame, local) {
    if (this.transport.plays) return;
    this.noteShown(frame, local);
    if (this.heard && this.synced()) {
      const stampHeard = this.heard.stamp + (local - this.heard.local);
      this.figures.offset.add(local, frame.stamp - stampHeard);
    }
    this.onframe(frame);
  }

  noteShown(frame, local) {
    this.figures.shown.add(local, 1);
    const offset = this.clockOffset();
    if (offset !== null && frame.stamp !== null) this.figures.latency.add(local, local + offset - frame.stamp);
  }

  /* The other way: WebRTC */

  /** Does what transport.js decided. */
  steer() {
    if (!this.transport.wantsPeer) this.webrtc.stop();
    else if (this.webrtc.state.name === "closed") this.webrtc.start(this.server, this.token);
    this.link.setMedia(this.transport.linkCarries);
  }

  setTransport(choice) {
    this.transport.setChoice(choice);
    if (!this.server) return;
    this.steer();
    this.review();
  }

  onwebrtc(state) {
    if (state.name === "connected") this.film.play(state.peer, state.stream);
    else if (state.name !== "connecting" && state.name !== "disconnected") this.switchTo("websocket");
    if (state.name === "failed") {
      const news = this.linkState.name === "open" && this.transport.failure !== state.reason;
      if (news) this.onnotice("webrtcFailed", { reason: state.reason });
      this.transport.peerFailed(performance.now() / 1000, state.reason);
      this.steer();
    }
    this.review();
  }

  /** A frame that came by WebRTC is on the screen. */
  onfilm(frame, local) {
    this.switchTo("webrtc");
    this.cameFrame(local);
    this.noteShown(frame, local);
    this.onframe(frame);
  }

  /** What is seen and heard now comes this way. */
  switchTo(way) {
    const webrtc = way === "webrtc";
    if (!webrtc) this.film.stop();
    if (webrtc === this.transport.plays) return;
    // Its tracks are those of the way that is left.
    if (this.recording) this.recording.stop();
    if (webrtc) this.transport.peerPlays();
    else this.transport.plays = false;
    this.heard = null;
    this.picture.clear();
    this.picture.setPacer(null);
    this.picture.canvas.hidden = webrtc;
    this.sound.clear();
    this.sound.rest(webrtc);
    this.steer();
  }

  /** What the browser counted, twice a second. */
  async countFilm() {
    const count = await this.film.measure();
    if (!count) return;
    const now = performance.now() / 1000;
    // A hidden page is not told of frames, but they are counted.
    if (count.frames > 0 && document.hidden) {
      this.switchTo("webrtc");
      this.cameFrame(now);
    }
    if (count.audioBytes > 0) this.lastSoundAt = now;
    if (!this.transport.plays) return;
    const { figures } = this;
    const offset = this.film.keepStep(this.sound.deviceS());
    figures.bytes.add(now, count.videoBytes + count.audioBytes);
    figures.peak = Math.max(figures.peak, count.level);
    if (count.dropped > 0 && !document.hidden) figures.gap("page", count.dropped);
    if (count.frozenS > 0) figures.gap("frozen", 0, count.frozenS);
    if (count.concealed > 0 && this.film.heard) figures.gap("underrun", count.concealed);
    if (offset !== null) figures.offset.add(now, offset);
    if (count.bufferedS !== null) this.bufferedS = count.bufferedS;
    this.protocol = count.protocol;
  }

  /** The frame that is seen now, for saveSnapshot; null where there is none. */
  async still() {
    if (this.transport.plays) return this.film.still();
    const { last, canvas } = this.picture;
    return last && { stampText: last.stampText, jpeg: last.jpeg, canvas };
  }

  /** What a recorder is given; it may stop the tracks. */
  recordingStream() {
    if (this.transport.plays) return this.film.recordingStream();
    const sound = this.sound.state === "on" ? this.sound.recorder.stream.clone().getTracks() : [];
    return new MediaStream([...this.picture.canvas.captureStream().getTracks(), ...sound]);
  }

  /** [width, height] of the picture that is seen; zeros before there is one. */
  size() {
    const { film, picture } = this;
    if (this.transport.plays) return [film.video.videoWidth, film.video.videoHeight];
    return picture.last ? [picture.canvas.width, picture.canvas.height] : [0, 0];
  }

  /** UNIX time of the server minus performance.now() / 1000, or null where it cannot be known. */
  clockOffset() {
    const best = this.clock.best();
    if (best) return best.offset;
    const here = this.server && /^(localhost|127\.|\[::1\])/.test(this.server.label);
    return here ? (Date.now() - performance.now()) / 1000 : null;
  }

  async startSound() {
    this.underruns = 0;
    await this.sound.start(this.soundFormat ? this.soundFormat.rate : 0);
    // How late packets were while the page loaded and the audio graph was built says nothing of the times to come.
    this.sync.reset();
    if (this.transport.plays) this.sound.rest(true);
  }

  /** The sound is heard once it was started, which only a click can. */
  setVolume(volume, muted) {
    this.sound.setVolume(volume, muted);
    this.film.setVolume(volume, muted || this.sound.state !== "on");
  }

  setLatency(latency) {
    this.sync.setLatency(latency);
    this.film.setLatency(latency);
  }

  /** Looks at what came lately and says the phase. */
  review() {
    const now = performance.now() / 1000;
    if (!document.hidden && this.transport.judge(now)) {
      this.onnotice("tooSlow", {});
      this.steer();
    }
    this.figures.widen(this.expectedS());
    const next = this.judge(now);
    this.phase = next.phase;
    this.onphase(next);
    // What the server says of its missing camera, and whether it has one at all.
    const asked = this.infoAskedAt !== undefined && now - this.infoAskedAt < Viewer.ASK_INFO_S;
    if ((next.phase === "camera" || next.phase === "lost") && !asked) {
      this.infoAskedAt = now;
      this.link.refreshInfo();
    }
  }

  /** Seconds between two pictures: as the last came, or as the camera was asked for where that is longer. */
  expectedS() {
    const asked = this.info && this.info.video && this.info.video.fps && this.info.video.fps.asked;
    return Math.max(this.frameS, asked > 0 ? 1 / asked : 0);
  }

  /** Whether there was a picture lately: in the last `leastS` seconds, or in five intervals where that is longer. */
  framesCome(now, leastS) {
    return this.lastFrameAt !== null && now - this.lastFrameAt < Math.max(leastS, 5 * this.expectedS());
  }

  judge(now) {
    const state = this.linkState;
    const fresh = this.framesCome(now, Viewer.MISSED_S);
    // WebRTC needs no link once it plays.
    if (this.transport.plays && fresh && !this.lost.video) return { phase: "live" };
    const waitsForPeer = !this.transport.linkCarries && this.webrtc.state.name !== "connected";
    if (state.name === "connecting" || (state.name === "open" && waitsForPeer)) {
      return this.lastFrameAt === null ? { phase: "connecting" } : { phase: "reconnecting", until: now * 1000 };
    }
    if (state.name === "waiting") return { phase: "reconnecting", until: state.until, reason: state.reason };
    if (state.name === "refused") return { phase: "refused", reason: state.reason };
    if (this.lost.video) return { phase: "lost", since: this.lost.video };
    if (fresh) return { phase: "live" };
    if (this.lastFrameAt !== null) {
      return { phase: "lost", since: new Date(Date.now() - (now - this.lastFrameAt) * 1000) };
    }
    const noCamera = this.info && this.info.video === null;
    if (noCamera && this.lastSoundAt !== null) return { phase: "sound-only" };
    return { phase: "camera" };
  }
}

/** { rate, channels } of /info's audio stream, or null where it has none or does not know them yet. */
function soundFormatOf({ audio }) {
  return audio && audio.rate > 0 && audio.channels > 0 ? { rate: audio.rate, channels: audio.channels } : null;
}
