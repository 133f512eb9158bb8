/*
 * panel.js owns: the showing of what is measured: the panel of figures, the level meter, the stamp on the picture. It
 * measures nothing; figures.js does.
 */
"use strict";

function showFrame(frame) {
  if (!document.body.dataset.seen) document.body.dataset.seen = "yes";
  const [width, height] = viewer.size();
  const ratio = (width / height).toFixed(4);
  if ($("frame").dataset.ratio !== ratio) {
    $("frame").dataset.ratio = ratio;
    $("frame").style.setProperty("--ratio", ratio);
  }
  showMeasured();
  const stamp = $("stamp");
  setHidden(stamp, !settings.get("overlay") || frame.stamp === null);
  if (stamp.hidden) return;
  const date = new Date(frame.stamp * 1000);
  const thousandths = String(date.getMilliseconds()).padStart(3, "0");
  drawStamp(stamp, `${clockTime(date)}.${thousandths}`, frame.stampText);
}

/**
 * Drawn, not written: for a text that changes with each picture the browser lays out the page again, and looks up what
 * is under the pointer.
 */
function drawStamp(canvas, time, unix) {
  // For programs that read the page: a canvas' own text is neither laid out nor shown.
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
let figuresShownAt = 0;

/** Shows level and figures anew where it is time: with a picture, so that the page is laid out once for all; `lateMs` later where none comes. */
function showMeasured(lateMs = 0) {
  const now = performance.now();
  if (now - meterShownAt > 100 + lateMs) showMeter();
  if (now - figuresShownAt > 500 + lateMs && !$("figures").hidden && !document.hidden) showFigures();
}

function showFigures() {
  figuresShownAt = performance.now();
  const now = performance.now() / 1000;
  const { figures } = viewer;
  const latency = figures.latency.quantile(now, 0.5);
  setText($("f-latency"), latency === null ? "–" : millis(latency));
  const worst = figures.latency.quantile(now, 0.95);
  setText($("f-latency-note"), worst === null ? latencyMissing() : t("worst", { value: millis(worst) }) + latencyError());
  drawTrace(figures.latency.trim(now));
  const offset = figures.offset.quantile(now, 0.5);
  setText($("f-offset"), offset === null ? "–" : signed(offset * 1000, "ms", 0));
  setText($("f-offset-note"), offset === null && !viewer.hears() ? t("soundOff") : t("avHint"));
  const fps = figures.shown.perSecond(now);
  setText($("f-fps"), fps === null ? "–" : fps.toFixed(1));
  const [width, height] = viewer.size();
  setText($("f-size"), width > 0 ? `${width} × ${height}` : "");
  const rate = figures.bytes.perSecond(now);
  setText($("f-rate"), rate === null ? "–" : bitRate(rate * 8));
  showClock();
  showSoundFigures();
  showTransport();
  showGaps(figures.gaps);
  showSource(viewer.info);
}

/** Why there is no latency to show. */
function latencyMissing() {
  if (viewer.phase !== "live") return "";
  if (viewer.clockOffset() === null) return t("noClock");
  return viewer.transport.plays ? t("noCaptureTime") : "";
}

/** How wrong the latency may be: half the round trip that told the clocks' distance, and a stamp of whole milliseconds. */
function latencyError() {
  const best = viewer.clock.best();
  if (!best) return "";
  const error = best.roundTrip / 2 + (viewer.transport.plays ? Film.ERROR_S : 0);
  return `\n${t("uncertainty", { value: millis(error, 1) })}`;
}

function showTransport() {
  const { transport, webrtc, protocol } = viewer;
  const over = transport.plays && protocol ? ` (${protocol.toUpperCase()})` : "";
  setText($("f-transport"), transport.linkCarries ? "WebSocket" : `WebRTC${over}`);
  const { until } = webrtc.state;
  const seconds = until ? Math.max(0, Math.ceil((until - performance.now()) / 1000)) : 0;
  const again = webrtc.state.name === "failed" && until ? ` ${t("webrtcAgain", { seconds })}` : "";
  const none = transport.choice === "auto" ? t("webrtcWhenSlow") : "";
  setText($("f-peer"), transport.plays ? t(`webrtc_${webrtc.state.name}`) : transportNote() + again || none);
}

const hereSamples = [];

/** This computer's UNIX time minus performance.now(), seconds: Date.now() is cut to milliseconds, the largest cut least. */
function unixHere() {
  hereSamples.push(Date.now() - performance.now());
  if (hereSamples.length > 20) hereSamples.shift();
  return Math.max(...hereSamples) / 1000;
}

function showClock() {
  const best = viewer.clock.best();
  // The server's clock against this computer's, both as UNIX time.
  const here = unixHere();
  setText($("f-clock"), best ? signed((best.offset - here) * 1000, "ms", 1) : "–");
  const none = viewer.phase === "live" ? t("noClock") : "";
  setText($("f-trip"), best ? t("roundTrip", { value: millis(best.roundTrip, 1) }) : none);
}

function showSoundFigures() {
  const playing = viewer.sound.state === "on" && viewer.bufferedS !== undefined;
  setText($("f-buffer"), playing ? millis(viewer.bufferedS) : "–");
  const format = viewer.soundFormat;
  const channels = format && t(format.channels === 1 ? "mono" : "stereo");
  const none = viewer.info && !viewer.info.audio ? t("noSound") : "";
  const coded = viewer.transport.plays ? ", Opus" : "";
  setText($("f-sound"), format ? t("soundFormat", { rate: format.rate, channels }) + coded : none);
}

function showGaps(gaps) {
  const rows = [...gaps].map(([cause, { count, seconds, times }]) => {
    const word = WORDS.en[`cause_${cause}`] ? t(`cause_${cause}`) : cause;
    const amounts = [count > 0 ? String(count) : "", seconds > 0 ? t("seconds", { n: seconds.toFixed(1) }) : ""];
    return [word, amounts.filter(Boolean).join(" + ") || t("times", { n: times })];
  });
  if (rows.length === 0) rows.push([t("noGaps"), ""]);
  const key = JSON.stringify(rows);
  const list = $("f-gaps");
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
  setText($("f-gaps-since"), t("since", { time: clockTime(viewer.startedAt) }));
}

function showSource(info) {
  const video = info && info.video;
  setHidden($("f-source-row"), !(video && video.device));
  if (!video || !video.device) return;
  setText($("f-source"), video.device);
  const { stamp } = video;
  const mark = stamp ? `${t("stampMarks")}: ${t(`mark_${stamp.marks}`)}` : "";
  const error = stamp && stamp.uncertainty_ns;
  const value = error > 0 ? ` ${t("uncertainty", { value: millis(error / 1e9, 2) })}` : "";
  setText($("f-marks"), mark + value);
}

/** The last seconds' latency as a line, its scale from zero. */
function drawTrace(items) {
  const line = $("f-trace").firstElementChild;
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
  const { figures } = viewer;
  const decibels = figures.peak > 0 ? Math.max(-60, 20 * Math.log10(figures.peak)) : -60;
  figures.peak *= 0.5;
  const meter = $("meter");
  setHidden(meter, viewer.lastSoundAt === null);
  const rounded = String(Math.round(decibels));
  if (meter.getAttribute("aria-valuenow") === rounded) return;
  meter.setAttribute("aria-valuenow", rounded);
  meter.setAttribute("aria-valuetext", `${rounded} dB`);
  meter.firstElementChild.style.transform = `scaleX(${(-decibels / 60).toFixed(3)})`;
}
