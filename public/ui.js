/*
 * ui.js owns: the page's elements: what is clicked, typed and pressed, and the showing of phase and figures. It
 * measures nothing and decides nothing about the stream; viewer.js does.
 */
"use strict";

const $ = (id) => document.getElementById(id);

const settings = new Settings();
const viewer = new Viewer($("picture"), settings, {
  onphase: showPhase,
  onframe: showFrame,
  onnotice: (key, seconds) => toast(t(key, { value: signed(seconds, "s", 3) })),
});
let server = null;
let shownPhase = "";
let wakeLock = null;

/* Connecting */

/** Goes to `address`, or to the default where it is empty; false where it is no address. */
function goTo(address, token) {
  const secure = location.protocol === "https:";
  const next = address ? parseServer(address, secure) : defaultServer(location.href);
  if (!next) return false;
  server = next;
  const known = token || next.token || settings.token(next.base);
  settings.setToken(next.base, known);
  showServer();
  delete document.body.dataset.seen;
  viewer.connect(next, known);
  return true;
}

function showServer() {
  $("server-label").textContent = server.label;
  setLabel($("open-server"), `${server.label}: ${t("change")}`);
}

function begin() {
  const page = readPageAddress(location.href);
  if (page.cleaned) history.replaceState(null, "", page.cleaned);
  if (!(page.server && goTo(page.server, page.token)) && !goTo(settings.get("server"), page.token)) goTo("", page.token);
}

/* Phase */

const STATUS_WORDS = {
  connecting: "connecting",
  live: "live",
  camera: "waitingCamera",
  "sound-only": "soundOnly",
  lost: "lost",
  reconnecting: "reconnecting",
  refused: "refused",
};

function showPhase(state) {
  document.body.dataset.phase = state.phase;
  const tokenMissing = state.phase === "refused" && /token$/.test(state.reason);
  setText($("status-text"), t(tokenMissing ? "token" : STATUS_WORDS[state.phase]));
  const card = cardFor(state);
  $("card").hidden = card === null;
  if (card) {
    setText($("card-title"), card.title);
    setText($("card-text"), card.text);
    $("card-text").classList.toggle("bad", Boolean(card.bad));
    $("card-spinner").hidden = !card.spinner;
    $("retry").hidden = !card.retry;
    $("card-server").hidden = !card.change;
    $("token-form").hidden = !tokenMissing;
  }
  if (tokenMissing && shownPhase !== "refused") $("token").focus();
  if (shownPhase !== state.phase) keepAwake(state.phase === "live");
  shownPhase = state.phase;
  const { audio } = viewer.lost;
  setText($("sound-note"), audio ? t("soundLost", { time: clockTime(audio) }) : "");
}

/** What the card over the picture says in this state; null: no card. */
function cardFor(state) {
  const name = { server: server.label };
  switch (state.phase) {
    case "live":
      return null;
    case "connecting":
      return { title: t("connectingTo", name), text: "", spinner: true };
    case "camera":
      return { title: t("waitingCamera"), text: viewer.cameraMessage() || t("waitingCameraHint"), spinner: true };
    case "sound-only":
      return { title: t("soundOnly"), text: t("soundOnlyHint") };
    case "lost": {
      const title = t("lostSince", { time: clockTime(state.since) });
      return { title, text: viewer.cameraMessage() || t("lostHint"), spinner: true };
    }
    case "reconnecting": {
      const seconds = Math.max(0, Math.ceil((state.until - performance.now()) / 1000));
      const trying = !state.reason || seconds === 0;
      return {
        title: trying ? t("connectingTo", name) : t("reconnectingIn", { seconds }),
        text: state.reason ? t(`reason_${state.reason}`, name) : "",
        spinner: trying,
        retry: !trying,
        change: true,
      };
    }
    case "refused":
      return refusalCard(state.reason, name);
  }
  return null;
}

function refusalCard(reason, name) {
  switch (reason) {
    case "token":
      return { title: t("tokenTitle"), text: t("tokenHint", name), change: true };
    case "wrong-token":
      return { title: t("tokenTitle"), text: t("tokenWrong"), bad: true, change: true };
    case "origin":
      return { title: t("originTitle"), text: t("originHint"), retry: true, change: true };
    case "insecure":
      return { title: t("insecureTitle"), text: t("insecureHint", name), change: true };
    default:
      return { title: t("addressTitle"), text: server.label, change: true };
  }
}

/** A screen that sleeps is of no use to who watches; refused where the browser or its battery says no. */
async function keepAwake(wanted) {
  if (!wanted || document.hidden || !navigator.wakeLock) {
    if (wakeLock) wakeLock.release();
    wakeLock = null;
    return;
  }
  wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
}

/* Picture */

function showFrame(frame) {
  if (!document.body.dataset.seen) document.body.dataset.seen = "yes";
  const ratio = ($("picture").width / $("picture").height).toFixed(4);
  if ($("frame").dataset.ratio !== ratio) {
    $("frame").dataset.ratio = ratio;
    $("frame").style.setProperty("--ratio", ratio);
  }
  // With the picture, so that the page is laid out once for both.
  if (performance.now() - meterShownAt > 100) showMeter();
  const stamp = $("stamp");
  stamp.hidden = !settings.get("overlay");
  if (stamp.hidden) return;
  const date = new Date(frame.stamp * 1000);
  const thousandths = String(date.getMilliseconds()).padStart(3, "0");
  setText($("stamp-time"), `${clockTime(date)}.${thousandths}`);
  setText($("stamp-unix"), frame.stampText);
}

/* Figures */

function showFigures() {
  const now = performance.now() / 1000;
  const { figures } = viewer;
  const latency = figures.latency.quantile(now, 0.5);
  setText($("f-latency"), latency === null ? "–" : millis(latency));
  const worst = figures.latency.quantile(now, 0.95);
  const known = viewer.clockOffset() !== null;
  const live = viewer.phase === "live";
  const note = known || !live ? "" : t("noClock");
  setText($("f-latency-note"), worst === null ? note : t("worst", { value: millis(worst) }));
  drawTrace(figures.latency.trim(now));
  const offset = figures.offset.quantile(now, 0.5);
  setText($("f-offset"), offset === null ? "–" : signed(offset * 1000, "ms", 0));
  setText($("f-offset-note"), offset === null && !viewer.synced() ? t("soundOff") : t("avHint"));
  const fps = figures.shown.perSecond(now);
  setText($("f-fps"), fps === null ? "–" : fps.toFixed(1));
  const { last, canvas } = viewer.picture;
  setText($("f-size"), last ? `${canvas.width} × ${canvas.height}` : "");
  const rate = figures.bytes.perSecond(now);
  setText($("f-rate"), rate === null ? "–" : bitRate(rate * 8));
  showClock();
  showSoundFigures();
  showGaps(figures.gaps);
  showSource(viewer.info);
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
  setText($("f-sound"), format ? t("soundFormat", { rate: format.rate, channels }) : none);
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
  $("f-source-row").hidden = !(video && video.device);
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

let meterShownAt = 0;
function showMeter() {
  meterShownAt = performance.now();
  const { figures } = viewer;
  const decibels = figures.peak > 0 ? Math.max(-60, 20 * Math.log10(figures.peak)) : -60;
  figures.peak *= 0.5;
  const meter = $("meter");
  meter.hidden = viewer.lastSoundAt === null;
  const rounded = String(Math.round(decibels));
  if (meter.getAttribute("aria-valuenow") === rounded) return;
  meter.setAttribute("aria-valuenow", rounded);
  meter.setAttribute("aria-valuetext", `${rounded} dB`);
  meter.firstElementChild.style.transform = `scaleX(${(-decibels / 60).toFixed(3)})`;
}

/* Sound */

async function startSound() {
  if (!viewer.soundFormat && viewer.lastSoundAt !== null) toast(t("noSoundFormat"));
  try {
    await viewer.startSound();
  } catch (error) {
    toast(t("audioFailed", { error: error.message }));
  }
  showSoundControls();
}

function showSoundControls() {
  const on = viewer.sound.state === "on" || viewer.sound.state === "starting";
  $("start-audio").hidden = on;
  $("sound-controls").hidden = !on;
  const muted = settings.get("muted");
  $("mute").setAttribute("aria-pressed", String(muted));
  setLabel($("mute"), t(muted ? "unmute" : "mute"));
  setIcon($("mute"), muted ? "i-muted" : "i-sound");
  $("volume").value = settings.get("volume");
  viewer.sound.setVolume(settings.get("volume"), muted);
}

function setVolume(volume) {
  settings.set("volume", Math.min(1, Math.max(0, Math.round(volume * 100) / 100)));
  settings.set("muted", false);
  showSoundControls();
}

function toggleSound() {
  if (viewer.sound.state !== "on") return startSound();
  settings.set("muted", !settings.get("muted"));
  return showSoundControls();
}

/* Saving */

async function snapshot() {
  const name = await saveSnapshot(viewer.picture, settings.get("snapshot"));
  toast(name ? t("savedAs", { name }) : t("nothingYet"));
}

async function toggleRecording() {
  if (viewer.recording) return viewer.recording.stop();
  if (!viewer.picture.last) return toast(t("nothingYet"));
  if (!Recording.type()) return toast(t("noRecorder"));
  // The recording has the sound even where the person does not want to hear it.
  if (viewer.sound.state === "off" && viewer.soundFormat) {
    settings.set("muted", true);
    await startSound();
  }
  const audio = viewer.sound.state === "on" ? viewer.sound.recorder.stream : null;
  viewer.recording = new Recording($("picture"), audio, viewer.picture.last.stampText, ({ name, full }) => {
    viewer.recording = null;
    viewer.picture.background = false;
    toast(t(full ? "recordingFull" : "savedAs", { name }));
    showRecording();
  });
  viewer.picture.background = true;
  return showRecording();
}

function showRecording() {
  const { recording } = viewer;
  const button = $("record");
  button.setAttribute("aria-pressed", String(recording !== null));
  button.classList.toggle("active", recording !== null);
  setLabel(button, t(recording ? "stopRecord" : "record"));
  setIcon(button, recording ? "i-stop" : "i-record");
  $("taping").hidden = recording === null;
  if (!recording) return;
  const seconds = Math.floor(recording.seconds());
  const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  setText($("taping-text"), t("recording", { time }));
}

/* Settings and small things */

function setLatency(latency) {
  settings.set("latency", latency);
  viewer.setLatency(settings.get("latency"));
  document.querySelector(`#latency input[value="${settings.get("latency")}"]`).checked = true;
}

function showFiguresPanel(open) {
  $("figures").hidden = !open;
  $("toggle-figures").setAttribute("aria-expanded", String(open));
}

function toggleFigures() {
  settings.set("figures", $("figures").hidden);
  showFiguresPanel(settings.get("figures"));
}

const lightWanted = matchMedia("(prefers-color-scheme: light)");

function applyTheme() {
  const choice = settings.get("theme");
  document.documentElement.dataset.theme = choice === "auto" ? (lightWanted.matches ? "light" : "dark") : choice;
}

function applyLanguage() {
  chooseLanguage(settings.get("language"));
  for (const input of document.querySelectorAll("#latency input")) input.parentElement.title = t(`${input.value}Hint`);
  delete $("f-gaps").dataset.key;
  showServer();
  showSoundControls();
  showRecording();
  setFullscreenLabel();
}

function openSettings(focus) {
  $("server").value = settings.get("server") || (server ? server.label : "");
  $("settings-token").value = server ? settings.token(server.base) : "";
  for (const name of ["theme", "language"]) $(name).value = settings.get(name);
  $("snapshot-format").value = settings.get("snapshot");
  $("overlay").checked = settings.get("overlay");
  showServerError(false);
  $("settings").showModal();
  if (focus) $(focus).select();
}

function showServerError(wrong) {
  $("server").setAttribute("aria-invalid", String(wrong));
  setText($("server-hint"), t(wrong ? "serverBad" : "serverHint"));
  $("server-hint").classList.toggle("bad", wrong);
}

function submitSettings(event) {
  event.preventDefault();
  const typed = $("server").value.trim();
  const parsed = parseServer(typed || "localhost", location.protocol === "https:");
  if (!parsed) return showServerError(true);
  const byDefault = defaultServer(location.href);
  // A token typed as part of the address is not remembered with it.
  const address = typed.replace(/[?#].*$/, "");
  settings.set("server", !typed || parsed.base === byDefault.base ? "" : address);
  goTo(typed, $("settings-token").value.trim());
  return $("settings").close();
}

function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.querySelector(".app").requestFullscreen().catch((error) => toast(error.message));
}

function setFullscreenLabel() {
  setLabel($("fullscreen"), t(document.fullscreenElement ? "leaveFullscreen" : "fullscreen"));
}

let toastTimer = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("shown"), 4000);
}

let idleTimer = 0;
function stir() {
  const app = document.querySelector(".app");
  app.classList.remove("idle");
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => app.classList.add("idle"), 2500);
}

/** Writes only what changed: an unchanged text costs no layout. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#${name}`);
}

const millis = (seconds, digits = 0) => `${(seconds * 1000).toFixed(digits)} ms`;
const signed = (value, unit, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)} ${unit}`;
const bitRate = (bits) => (bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${(bits / 1e3).toFixed(0)} kbit/s`);

function clockTime(date) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

const KEYS = {
  m: toggleSound,
  f: toggleFullscreen,
  s: snapshot,
  r: toggleRecording,
  i: toggleFigures,
  ArrowUp: () => setVolume(settings.get("volume") + 0.05),
  ArrowDown: () => setVolume(settings.get("volume") - 0.05),
  1: () => setLatency("lowest"),
  2: () => setLatency("balanced"),
  3: () => setLatency("smooth"),
  "?": () => $("help").showModal(),
};

function onKey(event) {
  stir();
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector("dialog[open]")) return;
  // In a field, and on a control that uses the arrows itself, keys mean what they always mean.
  if (event.target.closest("input:not([type=checkbox]), select, textarea")) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/* Everything starts here */

$("start-audio").onclick = startSound;
$("mute").onclick = toggleSound;
$("volume").oninput = () => setVolume(Number($("volume").value));
$("snapshot").onclick = snapshot;
$("record").onclick = toggleRecording;
$("fullscreen").onclick = toggleFullscreen;
$("fullscreen").hidden = !document.fullscreenEnabled;
$("toggle-figures").onclick = toggleFigures;
$("open-settings").onclick = () => openSettings();
$("open-server").onclick = () => openSettings("server");
$("card-server").onclick = () => openSettings("server");
$("open-help").onclick = () => $("help").showModal();
$("retry").onclick = () => (viewer.link.waiting ? viewer.link.retryNow() : goTo(server.base, ""));
$("settings-form").onsubmit = submitSettings;
$("snapshot-format").onchange = () => settings.set("snapshot", $("snapshot-format").value);
$("overlay").onchange = () => settings.set("overlay", $("overlay").checked);
$("theme").onchange = () => {
  settings.set("theme", $("theme").value);
  applyTheme();
};
$("language").onchange = () => {
  settings.set("language", $("language").value);
  applyLanguage();
};
$("token-form").onsubmit = (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  $("token").value = "";
  if (token) goTo(server.base, token);
};
for (const button of document.querySelectorAll("[data-close]")) {
  button.onclick = () => button.closest("dialog").close();
}
for (const input of document.querySelectorAll("#latency input")) input.onchange = () => setLatency(input.value);
document.addEventListener("keydown", onKey);
document.addEventListener("pointermove", stir);
document.addEventListener("fullscreenchange", setFullscreenLabel);
document.addEventListener("visibilitychange", () => keepAwake(shownPhase === "live"));
lightWanted.addEventListener("change", applyTheme);

applyTheme();
setLatency(settings.get("latency"));
// On a phone they would take the picture's place: there, only when asked for.
showFiguresPanel(settings.get("figures") && matchMedia("(min-width: 46rem)").matches);
begin();
applyLanguage();
setInterval(() => performance.now() - meterShownAt > 300 && showMeter(), 200);
setInterval(() => {
  if (document.hidden) return;
  if (!$("figures").hidden) showFigures();
  if (viewer.recording) showRecording();
}, 500);
