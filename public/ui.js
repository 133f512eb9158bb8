/*
 * ui.js: the controls of the page and their event handlers; starts everything.
 */
"use strict";

/** Parameters of the page's address that are no settings: ui, fit, muted. */
const pageParameters = new URLSearchParams(location.search);
const settings = new Settings(location.href);
const viewer = new Viewer($("canvas"), $("video"), settings, {
  onPhase: showPhase,
  onFrame: showFrame,
  onPause: showPause,
  onNotice: (key, { seconds, reason }) => {
    toast(t(key, { value: seconds && signed(seconds, "s", 3), reason: reason && t(`webrtc_${reason}`) }));
  },
});
const statsLog = new StatsLog();
let server = null;

/* Connecting */

const PAGE_IS_FILE = location.protocol === "file:";

/** The server at `address`, or the default if empty; null if it is not an address. */
function serverAt(address) {
  return address ? parseServer(address, location.protocol === "https:") : defaultServer(location.href);
}

/** The token in `address`, else the one stored for that server, else "". */
function tokenFor({ token, base }) {
  return token || settings.token(base);
}

/**
 * Connects to `address` (see serverAt), with its stored token if `token` is null; false if it is
 * not an address.
 */
function connectTo(address, token) {
  const next = serverAt(address);
  if (!next) return false;
  server = next;
  const known = token ?? tokenFor(next);
  settings.setToken(next.base, known);
  showServer();
  delete document.body.dataset.seen;
  zoom.reset();
  viewer.connect(next, known);
  return true;
}

/** The address to show in the settings: the label, unless that would lead to another server. */
function addressOf({ label, base }) {
  const parsed = serverAt(label);
  return !base || (parsed && parsed.base === base) ? label : base;
}

function showServer() {
  $("server-label").textContent = server.label;
  setLabel($("open-server"), `${server.label}: ${t("change")}`);
}

function connectAtStart() {
  const page = readPageAddress(location.href);
  const token = page.token || null;
  if (page.cleaned) history.replaceState(null, "", page.cleaned);
  if (page.server) {
    if (!connectTo(page.server, token)) showInvalidServer(page.server);
    return;
  }
  // A served page belongs to its own server.
  if (!PAGE_IS_FILE || !connectTo(settings.get("server"), token)) connectTo("", token);
}

function showInvalidServer(label) {
  server = { label };
  showServer();
  viewer.connect(server, "");
}

/**
 * Keeps the server for the next visit. A local file remembers the last one. A served page does not,
 * since others open the same address to see its own camera: there the server is in the address of
 * the page, for bookmarks.
 */
function rememberServer(address) {
  if (PAGE_IS_FILE) settings.set("server", address);
  const url = new URL(location.href);
  if (PAGE_IS_FILE && !url.searchParams.has("server")) return;
  if (address) url.searchParams.set("server", address);
  else url.searchParams.delete("server");
  history.replaceState(null, "", url);
}

/* Audio */

/** Not stored: whoever starts audio wants to hear it. */
let muted = false;
/** The volume after unmuting if it was 0. */
const UNMUTE_VOLUME = 0.5;

/** A volume of 0 counts as muted. */
const isMuted = () => muted || settings.get("volume") === 0;

function unmute() {
  muted = false;
  if (isMuted()) settings.set("volume", UNMUTE_VOLUME);
}

/**
 * `muted=0` in the address: starts audio at once, or with the first click if the browser requires
 * one.
 */
async function startAudioUnasked() {
  if (await viewer.startAudio().then(() => true, () => false)) return showAudioControls();
  const start = () => {
    document.removeEventListener("pointerdown", start);
    if (!isAudioOn()) startAudio({ silent: false });
  };
  document.addEventListener("pointerdown", start);
  return undefined;
}

async function startAudio({ silent }) {
  if (silent) muted = true;
  else unmute();
  if (!viewer.audioFormat && viewer.lastAudioAt !== null) toast(t("noAudioFormat"));
  try {
    await viewer.startAudio();
  } catch (error) {
    const missing = error instanceof NoAudioOutput;
    toast(missing ? t("noAudioOutput") : t("audioFailed", { error: error.message }));
  }
  showAudioControls();
}

const isAudioOn = () => viewer.audio.state === "on" || viewer.audio.state === "starting";

/** Hides the button if the server has no audio. */
function showStartButton() {
  const none = viewer.info && viewer.info.audio === null;
  setHidden($("start-audio"), Boolean(isAudioOn() || none));
}

function showAudioControls() {
  showStartButton();
  $("audio-controls").hidden = !isAudioOn();
  setLabel($("mute"), t(isMuted() ? "unmute" : "mute"));
  setIcon($("mute"), isMuted() ? "i-muted" : "i-sound");
  $("volume").value = settings.get("volume");
  viewer.setVolume(settings.get("volume"), isMuted() || viewer.paused);
}

function setVolume(volume) {
  // Turning the volume up unmutes; turning it down does not.
  if (volume > settings.get("volume")) muted = false;
  settings.set("volume", Math.min(1, Math.max(0, Math.round(volume * 100) / 100)));
  showAudioControls();
}

function toggleMute() {
  if (viewer.audio.state !== "on") return startAudio({ silent: false });
  if (isMuted()) unmute();
  else muted = true;
  return showAudioControls();
}

/* Saving */

async function snapshot() {
  const name = await saveSnapshot(await viewer.captureStill(), settings.get("snapshot"));
  toast(name ? t("savedAs", { name }) : t("nothingYet"));
}

let recordingIsStarting = false;

async function toggleRecording() {
  if (viewer.recording) return viewer.recording.stop();
  // A second click while the first waits for a frame or for audio would start a second recorder.
  if (recordingIsStarting) return undefined;
  recordingIsStarting = true;
  try {
    return await startRecording();
  } finally {
    recordingIsStarting = false;
  }
}

async function startRecording() {
  viewer.resume();
  const first = await viewer.captureStill();
  if (!first) return toast(t("nothingYet"));
  if (!Recording.type()) return toast(t("noRecorder"));
  // A recording contains audio even if audio was not started: start it muted.
  if (viewer.audio.state === "off" && viewer.audioFormat && !viewer.transport.webrtcPlays) {
    await startAudio({ silent: true });
  }
  viewer.recording = new Recording(viewer.recordingStream(), first.stampText, ({ name, full }) => {
    viewer.recording = null;
    viewer.canvasSink.background = false;
    toast(t(full ? "recordingFull" : "savedAs", { name }));
    showRecording();
  });
  viewer.canvasSink.background = true;
  return showRecording();
}

function showRecording() {
  const { recording } = viewer;
  const button = $("record");
  button.classList.toggle("active", recording !== null);
  setLabel(button, t(recording ? "stopRecord" : "record"));
  setIcon(button, recording ? "i-stop" : "i-record");
  $("recording-badge").hidden = recording === null;
  if (!recording) return;
  const seconds = Math.floor(recording.seconds());
  const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  setText($("recording-time"), t("recording", { time }));
}

/* Pause and review */

function togglePause() {
  if (viewer.paused) viewer.resume();
  else if (viewer.recording) toast(t("noPauseWhileRecording"));
  else viewer.pause();
}

function stepFrame(count) {
  viewer.reviewFrame((review) => review.step(count));
}

/** Saves frames and audio from the shown frame to the pause. */
function saveClip() {
  if (!viewer.review) return;
  const clip = viewer.review.clip();
  const name = savedName(viewer.review.frame.stampText, "mkv");
  saveBlob(clip.blob(), name);
  toast(t("savedClip", { name, seconds: clip.seconds.toFixed(1) }));
}

function showPause() {
  const { paused, review } = viewer;
  if (paused) document.body.dataset.paused = "yes";
  else delete document.body.dataset.paused;
  setIcon($("pause"), paused ? "i-play" : "i-pause");
  setLabel($("pause"), t(paused ? "resume" : "pause"));
  $("review").hidden = !paused;
  for (const id of ["review-time", "review-position", "previous-frame", "next-frame", "save-clip"]) $(id).hidden = !review;
  // Nobody expects live audio with an earlier frame.
  viewer.setVolume(settings.get("volume"), isMuted() || paused);
  showWhatCanBeSaved();
  if (!review) return;
  const { frames } = review;
  $("review-position").min = frames[0].stamp - frames[frames.length - 1].stamp;
  $("review-position").value = -review.secondsBack();
  $("review-position").setAttribute("aria-valuetext", signed(-review.secondsBack(), "s", 2));
  setText($("review-time"), signed(-review.secondsBack(), "s", 2));
}

/**
 * "1760000000.123456 2025-10-09T08:53:20.123456+00:00": UNIX time and local time of the frame
 * shown.
 */
async function copyStamp() {
  const { stampText } = (await viewer.captureStill()) || {};
  if (!stampText) return;
  const text = `${stampText} ${isoTime(stampText)}`;
  toast((await copyText(text)) ? t("copied", { text }) : t("copyFailed"));
}

function toggleOverlay() {
  settings.set("overlay", !settings.get("overlay"));
  if (!settings.get("overlay")) setHidden($("copy-stamp"), true);
}

/* Zoom */

const PAN_STEP_PX = 60;
const KEY_ZOOM_FACTOR = 1.25;

const zoom = new Zoom($("frame"), $("media"), (scale) => {
  setHidden($("reset-zoom"), scale === 1);
  setText($("reset-zoom"), `${scale.toFixed(1)}×`);
  $("frame").classList.toggle("zoomed", scale > 1);
});

/** Shift and an arrow key move the zoomed video. */
function panByKey(key) {
  const [x, y] = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key] || [0, 0];
  zoom.panBy(x * PAN_STEP_PX, y * PAN_STEP_PX);
}

/* Settings and small things */

function setLatency(latency) {
  settings.set("latency", latency);
  viewer.setLatency(settings.get("latency"));
  document.querySelector(`#latency input[value="${settings.get("latency")}"]`).checked = true;
}

function setTransport(choice) {
  settings.set("transport", choice);
  viewer.setTransport(settings.get("transport"));
  $("transport").value = settings.get("transport");
}

function showStatsPanel(open) {
  $("stats").hidden = !open;
  $("toggle-stats").setAttribute("aria-expanded", String(open));
}

/** In full screen the panel is shown only on request, which is not stored. */
function toggleStats() {
  const open = $("stats").hidden;
  if (!document.fullscreenElement) settings.set("stats", open);
  showStatsPanel(open);
}

/** On a small screen the panel would take the space of the video. */
const hasRoomForStats = matchMedia("(min-width: 64rem) and (min-height: 34rem)");

function showStatsByDefault() {
  const bare = document.body.classList.contains("bare");
  showStatsPanel(settings.get("stats") && hasRoomForStats.matches && !document.fullscreenElement && !bare);
}

const lightWanted = matchMedia("(prefers-color-scheme: light)");

function applyTheme() {
  const choice = settings.get("theme");
  document.documentElement.dataset.theme = choice === "auto" ? (lightWanted.matches ? "light" : "dark") : choice;
}

function applyLanguage() {
  chooseLanguage(settings.get("language"));
  for (const input of document.querySelectorAll("#latency input")) input.parentElement.title = t(`${input.value}Hint`);
  delete $("stat-gaps").dataset.key;
  viewer.update();
  showServer();
  showAudioControls();
  showRecording();
  showPause();
  setFullscreenLabel();
}

let tokenTyped = false;

/**
 * Unless the user has typed a token, the field contains the one stored for the server in the field
 * above.
 */
function showTokenOfServer() {
  if (tokenTyped) return;
  const typed = serverAt($("server").value.trim());
  $("settings-token").value = typed ? tokenFor(typed) : "";
}

function openSettings(focus) {
  $("server").value = addressOf(server);
  tokenTyped = false;
  showTokenOfServer();
  for (const name of ["theme", "language"]) $(name).value = settings.get(name);
  for (const name of ["latency", "transport"]) $(`settings-${name}`).value = settings.get(name);
  $("show-token").checked = false;
  showToken();
  $("snapshot-format").value = settings.get("snapshot");
  $("overlay").checked = settings.get("overlay");
  showServerError(false);
  $("settings").showModal();
  if (focus) $(focus).select();
}

function showToken() {
  $("settings-token").type = $("show-token").checked ? "text" : "password";
}

/** True if a click hit the backdrop of a dialog, which belongs to the dialog. */
function isOnBackdrop(dialog, { target, clientX, clientY }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return target === dialog && (clientX < left || clientX > right || clientY < top || clientY > bottom);
}

function showServerError(wrong) {
  $("server").setAttribute("aria-invalid", String(wrong));
  setText($("server-hint"), t(wrong ? "serverBad" : "serverHint"));
  $("server-hint").classList.toggle("bad", wrong);
}

function submitSettings(event) {
  event.preventDefault();
  const typed = $("server").value.trim();
  const parsed = serverAt(typed);
  if (!parsed) return showServerError(true);
  showTokenOfServer();
  const byDefault = defaultServer(location.href);
  // A token in the address is not stored with it.
  const address = typed.replace(/[?#].*$/, "");
  rememberServer(!typed || parsed.base === byDefault.base ? "" : address);
  connectTo(typed, $("settings-token").value.trim() || parsed.token);
  return $("settings").close();
}

function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.querySelector(".app").requestFullscreen().catch((error) => toast(error.message));
}

function setFullscreenLabel() {
  setLabel($("fullscreen"), t(document.fullscreenElement ? "leaveFullscreen" : "fullscreen"));
}

let idleTimer = 0;
function resetIdleTimer() {
  const app = document.querySelector(".app");
  app.classList.remove("idle");
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => app.classList.add("idle"), 2500);
}

const KEYS = {
  m: toggleMute,
  f: toggleFullscreen,
  s: snapshot,
  r: toggleRecording,
  i: toggleStats,
  l: openShare,
  ArrowUp: () => setVolume(settings.get("volume") + 0.05),
  ArrowDown: () => setVolume(settings.get("volume") - 0.05),
  1: () => setLatency("lowest"),
  2: () => setLatency("balanced"),
  3: () => setLatency("smooth"),
  c: copyStamp,
  o: toggleOverlay,
  k: saveClip,
  " ": togglePause,
  ArrowLeft: () => stepFrame(-1),
  ArrowRight: () => stepFrame(1),
  "+": () => zoom.zoomBy(KEY_ZOOM_FACTOR),
  "-": () => zoom.zoomBy(1 / KEY_ZOOM_FACTOR),
  0: () => zoom.reset(),
  "?": () => $("help").showModal(),
};

/** Holding these down repeats them. */
const REPEATED_KEYS = /^(Arrow.*|[+-])$/;
const NAVIGATION_KEYS = /^(Arrow.*|Home|End|PageUp|PageDown)$/;

/** True if the focused control uses this key itself. */
function isKeyOfControl({ key, target }) {
  if (target.closest("input[type=range], input[type=radio]")) return NAVIGATION_KEYS.test(key);
  if (target.closest("input:not([type=checkbox]), select, textarea")) return true;
  // What can be scrolled.
  if (key.startsWith("Arrow")) return target.closest("#stats, #card") !== null;
  return key === " " && target.closest("button, a, input") !== null;
}

/** After a change by pointer, a control does not keep the focus: it would take arrow keys. */
function releaseFocus({ target }) {
  if (target.closest(".controls, .review") && !target.matches(":focus-visible")) target.blur();
}

function onKey(event) {
  resetIdleTimer();
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.repeat && !REPEATED_KEYS.test(event.key)) return;
  if (isKeyOfControl(event)) return;
  if (event.shiftKey && event.key.startsWith("Arrow")) {
    event.preventDefault();
    panByKey(event.key);
    return;
  }
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/* Start */

$("start-audio").onclick = () => startAudio({ silent: false });
$("mute").onclick = toggleMute;
$("volume").oninput = () => setVolume(Number($("volume").value));
$("snapshot").onclick = snapshot;
$("record").onclick = toggleRecording;
$("fullscreen").onclick = toggleFullscreen;
$("fullscreen").hidden = !document.fullscreenEnabled;
$("toggle-stats").onclick = toggleStats;
$("open-settings").onclick = () => openSettings();
$("open-server").onclick = () => openSettings("server");
$("card-server").onclick = () => openSettings("server");
$("pause").onclick = togglePause;
$("resume").onclick = togglePause;
$("previous-frame").onclick = () => stepFrame(-1);
$("next-frame").onclick = () => stepFrame(1);
$("review-position").oninput = () => {
  viewer.reviewFrame((review) => review.seek(-Number($("review-position").value)));
};
$("save-clip").onclick = saveClip;
$("copy-stamp").onclick = copyStamp;
$("reset-zoom").onclick = () => zoom.reset();
// As in video players; by touch, a double tap zooms.
$("frame").ondblclick = ({ target }) => {
  if (zoom.pointerType === "mouse" && document.fullscreenEnabled && !target.closest("button")) toggleFullscreen();
};
$("open-share").onclick = openShare;
$("settings-share").onclick = () => {
  $("settings").close();
  openShare();
};
$("open-help").onclick = () => $("help").showModal();
$("retry").onclick = () => (viewer.ws.waiting ? viewer.ws.retryNow() : connectTo(server.base, null));
$("settings-form").onsubmit = submitSettings;
$("server").oninput = showTokenOfServer;
$("settings-token").oninput = () => {
  tokenTyped = true;
};
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
  if (token) connectTo(server.base, token);
};
$("show-token").onchange = showToken;
$("settings-latency").onchange = () => setLatency($("settings-latency").value);
$("settings-transport").onchange = () => setTransport($("settings-transport").value);
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.onclick = (event) => isOnBackdrop(dialog, event) && dialog.close();
}
for (const button of document.querySelectorAll("[data-close]")) {
  button.onclick = () => button.closest("dialog").close();
}
for (const input of document.querySelectorAll("#latency input")) input.onchange = () => setLatency(input.value);
$("transport").onchange = () => setTransport($("transport").value);
document.addEventListener("keydown", onKey);
document.addEventListener("change", releaseFocus);
document.addEventListener("pointermove", resetIdleTimer);
document.addEventListener("fullscreenchange", () => {
  setFullscreenLabel();
  showStatsByDefault();
});
document.addEventListener("visibilitychange", () => keepAwake(shownPhase === "live"));
lightWanted.addEventListener("change", applyTheme);

applyTheme();
setLatency(settings.get("latency"));
setTransport(settings.get("transport"));
document.body.classList.toggle("bare", pageParameters.get("ui") === "0");
document.body.classList.toggle("cover", pageParameters.get("fit") === "cover");
showStatsByDefault();
connectAtStart();
applyLanguage();
if (pageParameters.get("muted") === "0") startAudioUnasked();
setInterval(() => showMeasured(200), 200);
$("copy-report").onclick = async () => {
  const text = JSON.stringify(buildReport(statsLog), null, 2);
  toast(t((await copyText(text)) ? "reportCopied" : "copyFailed"));
};
setInterval(() => statsLog.add(sampleStats()), 1000);
setInterval(() => {
  if (document.hidden) return;
  showStartButton();
  if (viewer.recording) showRecording();
}, 500);
