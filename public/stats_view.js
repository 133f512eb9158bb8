/*
 * stats_view.js: shows the statistics panel, the level meter and the timestamp on the video.
 */
"use strict";

function showFrame(frame) {
  if (!document.body.dataset.seen) {
    document.body.dataset.seen = "yes";
    showWhatCanBeSaved();
  }
  const [width, height] = viewer.frameSize();
  const ratio = (width / height).toFixed(4);
  if ($("frame").dataset.ratio !== ratio) {
    $("frame").dataset.ratio = ratio;
    $("frame").parentElement.style.setProperty("--ratio", ratio);
  }
  showMeasured();
  setHidden($("stamp-overlay"), !settings.get("overlay") || frame.stamp === null);
  if ($("stamp-overlay").hidden) return;
  drawStamp($("stamp"), stampTime(frame.stampText), frame.stampText);
}

/**
 * Draws the timestamp on a canvas: text that changes with each frame would cost a layout and a hit
 * test for the pointer.
 */
function drawStamp(canvas, time, unix) {
  // For programs that read the page: the text content of a canvas is not laid out.
  canvas.textContent = `${time} ${unix}`;
  const [width, height, left, base] = [250, 23, 9, 16];
  const context = canvas.getContext("2d");
  if (canvas.height !== Math.round(height * devicePixelRatio)) {
    canvas.width = Math.round(width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
    context.scale(devicePixelRatio, devicePixelRatio);
    context.font = `500 12px ${getComputedStyle(canvas).fontFamily}`;
  }
  context.clearRect(0, 0, width, height);
  context.fillStyle = "#fff";
  context.fillText(time, left, base);
  context.fillStyle = "#c4ced8";
  context.fillText(unix, left + context.measureText(`${time}  `).width, base);
}

let meterShownAt = 0;
let statsShownAt = 0;

/**
 * Updates level meter and statistics if they are due: together with a frame, so that there is one
 * layout for all; `lateMs` later if no frame comes.
 */
function showMeasured(lateMs = 0) {
  const now = performance.now();
  if (now - meterShownAt > 100 + lateMs) showMeter();
  if (now - statsShownAt > 500 + lateMs && !$("stats").hidden && !document.hidden) showStats();
}

function showStats() {
  statsShownAt = performance.now();
  const now = performance.now() / 1000;
  // Values of an earlier connection would look like present ones.
  const stats = ["live", "audio-only"].includes(viewer.phase) ? viewer.stats : new Stats();
  const latency = stats.latency.quantile(now, 0.5);
  setText($("stat-latency"), latency === null ? "–" : millis(latency));
  const p95 = stats.latency.quantile(now, 0.95);
  setText($("stat-latency-note"), p95 === null ? latencyUnknownReason() : t("p95", { value: millis(p95) }) + latencyUncertainty());
  drawLatencyLine(stats.latency.trim(now));
  const offset = stats.offset.quantile(now, 0.5);
  setText($("stat-offset"), offset === null ? "–" : signed(offset * 1000, "ms", 0));
  setText($("stat-offset-note"), offset === null && !viewer.isAudible() ? t("audioOff") : t("avHint"));
  const fps = stats.shown.perSecond(now);
  setText($("stat-fps"), fps === null ? "–" : fps.toFixed(1));
  const [width, height] = viewer.frameSize();
  setText($("stat-size"), width > 0 ? `${width} × ${height}` : "");
  const rate = stats.bytes.perSecond(now);
  setText($("stat-rate"), rate === null ? "–" : bitRate(rate * 8));
  showClock();
  showAudioStats();
  showTransport();
  showGaps(viewer.stats.gaps);
  showSource(viewer.info);
}

/** Why the latency is not known. */
function latencyUnknownReason() {
  if (viewer.phase !== "live") return "";
  if (viewer.clockOffset() === null) return t("noClock");
  return viewer.transport.webrtcPlays ? t("noCaptureTime") : "";
}

/**
 * Uncertainty of the latency: half the round trip of the clock measurement, plus 1 ms for WebRTC's
 * stamps.
 */
function latencyUncertainty() {
  const best = viewer.clock.best();
  if (!best) return "";
  const error = best.roundTrip / 2 + (viewer.transport.webrtcPlays ? VideoSink.ERROR_S : 0);
  return `\n${t("uncertainty", { value: millis(error, 1) })}`;
}

function showTransport() {
  const { transport, webrtc, protocol } = viewer;
  const over = transport.webrtcPlays && protocol ? ` (${protocol.toUpperCase()})` : "";
  setText($("stat-transport"), transport.wsCarriesMedia ? "WebSocket" : `WebRTC${over}`);
  const { until } = webrtc.state;
  const seconds = until ? Math.max(0, Math.ceil((until - performance.now()) / 1000)) : 0;
  const again = webrtc.state.name === "failed" && until ? ` ${t("webrtcRetry", { seconds })}` : "";
  const none = transport.choice === "auto" ? t("webrtcWhenSlow") : "";
  setText($("stat-peer"), transport.webrtcPlays ? t(`webrtc_${webrtc.state.name}`) : transportNote() + again || none);
}

const localSamples = [];

/**
 * This computer's UNIX time minus performance.now(), seconds. Date.now() is truncated to ms: the
 * largest value is closest.
 */
function localUnixS() {
  localSamples.push(Date.now() - performance.now());
  if (localSamples.length > 20) localSamples.shift();
  return Math.max(...localSamples) / 1000;
}

function showClock() {
  const best = viewer.clock.best();
  const local = localUnixS();
  setText($("stat-clock"), best ? signed((best.offset - local) * 1000, "ms", 1) : "–");
  const none = viewer.phase === "live" ? t("noClock") : "";
  setText($("stat-trip"), best ? t("roundTrip", { value: millis(best.roundTrip, 1) }) : none);
}

function showAudioStats() {
  const playing = viewer.audio.state === "on" && viewer.bufferedS !== undefined;
  setText($("stat-buffer"), playing ? millis(viewer.bufferedS) : "–");
  const format = viewer.audioFormat;
  const channels = format && t(format.channels === 1 ? "mono" : "stereo");
  const none = viewer.info && !viewer.info.audio ? t("noAudio") : "";
  const coded = viewer.transport.webrtcPlays ? ", Opus" : "";
  setText($("stat-audio"), format ? t("audioFormat", { rate: format.rate, channels }) + coded : none);
}

function showGaps(gaps) {
  const rows = [...gaps].map(([cause, { count, seconds, times }]) => {
    const word = TEXTS.en[`cause_${cause}`] ? t(`cause_${cause}`) : cause;
    const amounts = [count > 0 ? String(count) : "", seconds > 0 ? t("seconds", { n: seconds.toFixed(1) }) : ""];
    const amount = amounts.filter(Boolean).join(" + ");
    const counted = t("times", { n: times });
    if (cause === "connection") return [word, `${counted} ${amount}`];
    return [word, amount || counted];
  });
  const started = viewer.lastFrameAt !== null || viewer.lastAudioAt !== null;
  if (rows.length === 0) rows.push([started ? t("noGaps") : "–", ""]);
  const key = JSON.stringify(rows);
  const list = $("stat-gaps");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(
    ...rows.map(([word, amount]) => {
      const item = document.createElement("li");
      const value = document.createElement("b");
      value.textContent = amount;
      item.append(word, value);
      return item;
    }),
  );
  setText($("stat-gaps-since"), started ? t("since", { time: clockTime(viewer.startedAt) }) : "");
}

function showSource(info) {
  const video = info && info.video;
  setHidden($("stat-source-row"), !(video && video.device));
  if (!video || !video.device) return;
  setText($("stat-source"), video.device);
  const { stamp } = video;
  const mark = stamp ? `${t("stampMarks")}: ${t(`mark_${stamp.marks}`)}` : "";
  const error = stamp && stamp.uncertainty_ns;
  const value = error > 0 ? ` ${t("uncertainty", { value: millis(error / 1e9, 2) })}` : "";
  setText($("stat-marks"), mark + value);
}

/** Draws the latency of the last seconds as a line, scaled from zero. */
function drawLatencyLine(items) {
  const line = $("stat-trace").firstElementChild;
  if (items.length < 2) return line.setAttribute("points", "");
  const from = items[0].local;
  const span = Math.max(0.001, items[items.length - 1].local - from);
  const top = Math.max(0.05, ...items.map((item) => item.value));
  const points = items.map(({ local, value }) => {
    const x = ((local - from) / span) * 120;
    const y = 31 - (Math.max(0, value) / top) * 29;
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  line.setAttribute("points", points.join(" "));
}

function showMeter() {
  meterShownAt = performance.now();
  const { stats } = viewer;
  const decibels = stats.peak > 0 ? Math.max(-60, 20 * Math.log10(stats.peak)) : -60;
  stats.peak *= 0.5;
  const meter = $("meter");
  setHidden(meter, viewer.lastAudioAt === null);
  const rounded = String(Math.round(decibels));
  if (meter.getAttribute("aria-valuenow") === rounded) return;
  meter.setAttribute("aria-valuenow", rounded);
  meter.setAttribute("aria-valuetext", `${rounded} dB`);
  meter.firstElementChild.style.transform = `scaleX(${(-decibels / 60).toFixed(3)})`;
}
