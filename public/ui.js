/*
 * ui.js owns: the page's controls: what is clicked, typed and pressed. What is shown is card.js's and panel.js's. It
 * measures nothing and decides nothing about the stream; viewer.js does.
 */
"use strict";

const settings = new Settings();
const viewer = new Viewer($("picture"), $("film"), settings, {
  onphase: showPhase,
  onframe: showFrame,
  onnotice: (key, { seconds, reason }) => {
    toast(t(key, { value: seconds && signed(seconds, "s", 3), reason: reason && t(`webrtc_${reason}`) }));
  },
});
let server = null;

/* Connecting */

/** The server at `address`, or the default where it is empty; null where it is no address. */
function serverAt(address) {
  return address ? parseServer(address, location.protocol === "https:") : defaultServer(location.href);
}

/** The token that `address` carries, else the one that is remembered for that very server, else "". */
function tokenFor({ token, base }) {
  return token || settings.token(base);
}

/** Goes to `address` (as serverAt reads it), with tokenFor it where `token` is null; false where it is no address. */
function goTo(address, token) {
  const next = serverAt(address);
  if (!next) return false;
  server = next;
  const known = token ?? tokenFor(next);
  settings.setToken(next.base, known);
  showServer();
  delete document.body.dataset.seen;
  viewer.connect(next, known);
  return true;
}

/** What a person may type to come to a server: its label, where that does not lead elsewhere. */
function addressOf({ label, base }) {
  return serverAt(label).base === base ? label : base;
}

function showServer() {
  $("server-label").textContent = server.label;
  setLabel($("open-server"), `${server.label}: ${t("change")}`);
}

function begin() {
  const page = readPageAddress(location.href);
  const token = page.token || null;
  if (page.cleaned) history.replaceState(null, "", page.cleaned);
  if (page.server && goTo(page.server, token)) return;
  // Where a server sent the page, the token is that server's; of a file nobody knows another than the remembered one.
  const remembered = settings.get("server");
  const fits = !remembered || location.protocol === "file:";
  if (!goTo(remembered, fits ? token : null)) goTo("", token);
}

/* Sound */

/** Not remembered: whoever starts the sound wants to hear it. */
let muted = false;
/** What a volume of 0 becomes for who asks for the sound. */
const HEARABLE = 0.5;

/** A volume of 0 is a mute, and shown as one. */
const silenced = () => muted || settings.get("volume") === 0;

function unmute() {
  muted = false;
  if (silenced()) settings.set("volume", HEARABLE);
}

async function startSound({ silent }) {
  if (silent) muted = true;
  else unmute();
  if (!viewer.soundFormat && viewer.lastSoundAt !== null) toast(t("noSoundFormat"));
  try {
    await viewer.startSound();
  } catch (error) {
    toast(t("audioFailed", { error: error.message }));
  }
  showSoundControls();
}

const soundIsOn = () => viewer.sound.state === "on" || viewer.sound.state === "starting";

/** A server without sound has nothing to start. */
function showStart() {
  const none = viewer.info && viewer.info.audio === null;
  setHidden($("start-audio"), Boolean(soundIsOn() || none));
}

function showSoundControls() {
  showStart();
  $("sound-controls").hidden = !soundIsOn();
  setLabel($("mute"), t(silenced() ? "unmute" : "mute"));
  setIcon($("mute"), silenced() ? "i-muted" : "i-sound");
  $("volume").value = settings.get("volume");
  viewer.setVolume(settings.get("volume"), silenced());
}

function setVolume(volume) {
  // Louder is to be heard; quieter stays muted.
  if (volume > settings.get("volume")) muted = false;
  settings.set("volume", Math.min(1, Math.max(0, Math.round(volume * 100) / 100)));
  showSoundControls();
}

function toggleSound() {
  if (viewer.sound.state !== "on") return startSound({ silent: false });
  if (silenced()) unmute();
  else muted = true;
  return showSoundControls();
}

/* Saving */

async function snapshot() {
  const name = await saveSnapshot(await viewer.still(), settings.get("snapshot"));
  toast(name ? t("savedAs", { name }) : t("nothingYet"));
}

let recordingStarts = false;

async function toggleRecording() {
  if (viewer.recording) return viewer.recording.stop();
  // A second click while the first one waits for the picture or the sound would start a second recorder.
  if (recordingStarts) return undefined;
  recordingStarts = true;
  try {
    return await startRecording();
  } finally {
    recordingStarts = false;
  }
}

async function startRecording() {
  const first = await viewer.still();
  if (!first) return toast(t("nothingYet"));
  if (!Recording.type()) return toast(t("noRecorder"));
  // The recording has the sound even where the person does not want to hear it.
  if (viewer.sound.state === "off" && viewer.soundFormat && !viewer.transport.plays) {
    await startSound({ silent: true });
  }
  viewer.recording = new Recording(viewer.recordingStream(), first.stampText, ({ name, full }) => {
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

function setTransport(choice) {
  settings.set("transport", choice);
  viewer.setTransport(settings.get("transport"));
  $("transport").value = settings.get("transport");
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
  viewer.review();
  showServer();
  showSoundControls();
  showRecording();
  setFullscreenLabel();
}

let tokenTyped = false;

/** Until the person types one, the field holds the token of the server in the field above it, and of no other. */
function showTokenOfServer() {
  if (tokenTyped) return;
  const typed = serverAt($("server").value.trim());
  $("settings-token").value = typed ? tokenFor(typed) : "";
}

function openSettings(focus) {
  $("server").value = settings.get("server") || (server ? addressOf(server) : "");
  tokenTyped = false;
  showTokenOfServer();
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
  const parsed = serverAt(typed);
  if (!parsed) return showServerError(true);
  showTokenOfServer();
  const byDefault = defaultServer(location.href);
  // A token typed as part of the address is not remembered with it.
  const address = typed.replace(/[?#].*$/, "");
  settings.set("server", !typed || parsed.base === byDefault.base ? "" : address);
  goTo(typed, $("settings-token").value.trim() || parsed.token);
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
function stir() {
  const app = document.querySelector(".app");
  app.classList.remove("idle");
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => app.classList.add("idle"), 2500);
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
  // What scrolls is scrolled by them.
  if (event.key.startsWith("Arrow") && event.target.closest("#figures, #card")) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/* Everything starts here */

$("start-audio").onclick = () => startSound({ silent: false });
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
$("retry").onclick = () => (viewer.link.waiting ? viewer.link.retryNow() : goTo(server.base, null));
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
  if (token) goTo(server.base, token);
};
for (const button of document.querySelectorAll("[data-close]")) {
  button.onclick = () => button.closest("dialog").close();
}
for (const input of document.querySelectorAll("#latency input")) input.onchange = () => setLatency(input.value);
$("transport").onchange = () => setTransport($("transport").value);
document.addEventListener("keydown", onKey);
document.addEventListener("pointermove", stir);
document.addEventListener("fullscreenchange", setFullscreenLabel);
document.addEventListener("visibilitychange", () => keepAwake(shownPhase === "live"));
lightWanted.addEventListener("change", applyTheme);

applyTheme();
setLatency(settings.get("latency"));
setTransport(settings.get("transport"));
// On a phone they would take the picture's place: there, only when asked for.
showFiguresPanel(settings.get("figures") && matchMedia("(min-width: 46rem)").matches);
begin();
applyLanguage();
setInterval(() => showMeasured(200), 200);
setInterval(() => {
  if (document.hidden) return;
  showStart();
  if (viewer.recording) showRecording();
}, 500);
