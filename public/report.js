/*
 * report.js: a report of the statistics of the last minutes, to attach to a problem report.
 */
"use strict";

/** One sample per second of the last five minutes. */
class StatsLog {
  static MAX_SAMPLES = 300;

  constructor() {
    this.samples = [];
  }

  add(sample) {
    this.samples.push(sample);
    if (this.samples.length > StatsLog.MAX_SAMPLES) this.samples.shift();
  }
}

const rounded = (value, digits) => (value === null || value === undefined ? null : Number(value.toFixed(digits)));

/** The present statistics, as a sample of the log. */
function sampleStats() {
  const { stats, phase } = viewer;
  const now = performance.now() / 1000;
  const milliseconds = (window, share) => {
    const value = window.quantile(now, share);
    return value === null ? null : rounded(value * 1000, 1);
  };
  const bytes = stats.bytes.perSecond(now);
  return {
    time: new Date().toISOString(),
    phase,
    latency_p50_ms: milliseconds(stats.latency, 0.5),
    latency_p95_ms: milliseconds(stats.latency, 0.95),
    av_offset_ms: milliseconds(stats.offset, 0.5),
    fps: rounded(stats.shown.perSecond(now), 2),
    kbit_per_s: bytes === null ? null : rounded((bytes * 8) / 1000, 0),
  };
}

/** No token, and no address of the page, which may contain one. */
function buildReport(log) {
  const { transport, webrtc, clock, info, stats } = viewer;
  const best = clock.best();
  return {
    server: server.label,
    browser: navigator.userAgent,
    page: PAGE_IS_FILE ? "file" : "served",
    screen: `${innerWidth} x ${innerHeight} at ${devicePixelRatio}`,
    transport: {
      choice: transport.choice,
      webrtc: transport.webrtcPlays,
      state: webrtc.state.name,
      failure: transport.failure,
    },
    latency: settings.get("latency"),
    audio: {
      state: viewer.audio.state,
      buffered_ms: rounded((viewer.bufferedS || 0) * 1000, 0),
      format: viewer.audioFormat,
    },
    clock: best && {
      offset_ms: rounded((best.offset - localUnixS()) * 1000, 1),
      round_trip_ms: rounded(best.roundTrip * 1000, 1),
    },
    lost: Object.fromEntries(stats.gaps),
    lost_since: viewer.startedAt,
    info,
    samples: log.samples,
  };
}
