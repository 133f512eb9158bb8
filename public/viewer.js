/*
 * viewer.js owns: one watched stream. It passes packets from the link to picture and sound, lets sync.js decide the
 * delay, keeps the figures, and says in one word what the person is looking at. It knows no element of the page but
 * the canvas.
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

  constructor(canvas, settings, { onphase, onframe, onnotice }) {
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
    this.recording = null;
    this.forget();
    setInterval(() => this.review(), 500);
  }

  /** Another server: nothing known of the last one holds. */
  connect(server, token) {
    this.server = server;
    this.forget();
    this.figures.reset();
    this.startedAt = new Date();
    this.link.connect(server, token);
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
    this.sync.reset();
    this.picture.clear();
    this.sound.clear();
    this.figures.sequences = { video: null, audio: null };
    this.told = { video: 0, audio: 0 };
    this.heard = null;
  }

  onlink(state) {
    this.linkState = state;
    if (state.name === "open") {
      this.forgetTimes();
      this.lost = { video: null, audio: null };
    }
    this.review();
  }

  onpacket(packet, bytes) {
    const now = performance.now() / 1000;
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
    this.lost.video = null;
    if (this.lastFrameAt !== null) this.frameS = now - this.lastFrameAt;
    const first = this.lastFrameAt === null;
    this.lastFrameAt = now;
    this.picture.push(frame);
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
        this.onnotice("clockStep", event.seconds);
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

  /** True where the sound's clock leads the picture. */
  synced() {
    return this.sound.state === "on" && (!this.sound.muted || this.recording !== null);
  }

  /** The sound says what is heard now. */
  onreport(report) {
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
    this.figures.shown.add(local, 1);
    const offset = this.clockOffset();
    if (offset !== null) this.figures.latency.add(local, local + offset - frame.stamp);
    if (this.heard && this.synced()) {
      const stampHeard = this.heard.stamp + (local - this.heard.local);
      this.figures.offset.add(local, frame.stamp - stampHeard);
    }
    this.onframe(frame);
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
  }

  setLatency(latency) {
    this.sync.setLatency(latency);
  }

  /** Looks at what came lately and says the phase. */
  review() {
    const now = performance.now() / 1000;
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

  judge(now) {
    const state = this.linkState;
    if (state.name === "connecting") {
      return this.lastFrameAt === null ? { phase: "connecting" } : { phase: "reconnecting", until: now * 1000 };
    }
    if (state.name === "waiting") return { phase: "reconnecting", until: state.until, reason: state.reason };
    if (state.name === "refused") return { phase: "refused", reason: state.reason };
    const missedS = Math.max(Viewer.MISSED_S, 5 * this.frameS);
    if (this.lost.video) return { phase: "lost", since: this.lost.video };
    if (this.lastFrameAt !== null && now - this.lastFrameAt < missedS) return { phase: "live" };
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
