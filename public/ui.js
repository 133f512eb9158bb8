/*
 * ui.js: creates the viewer, attaches the event handlers and starts everything.
 */
"use strict";

/** Parameters of the page's address that are no settings: ui, fit, muted. */
const pageParameters = new URLSearchParams(location.search);
const settings = new Settings(location.href);
const viewer = new Viewer($("canvas"), $("video"), settings, {
  onPhase: showPhase,
  onFrame: showFrame,
  onPause: showPause,
  onTransportChange: () => pip.close(),
  onAudioLost: showAudioControls,
  onNotice: (key, { seconds, reason }) => {
    toast(t(key, { value: seconds && signed(seconds, "s", 3), reason: reason && t(`webrtc_${reason}`) }));
  },
});
const statsLog = new StatsLog();

$("start-audio").onclick = () => startAudio({ silent: false });
$("mute").onclick = toggleMute;
$("volume").oninput = () => setVolume(Number($("volume").value));
$("snapshot").onclick = snapshot;
$("record").onclick = toggleRecording;
$("pip").onclick = togglePip;
$("pip").hidden = !PictureInPicture.isSupported();
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
  viewer.reviewFrame((review) => review.seek(Number($("review-position").value)));
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
  // Not where the press began inside, for example to select text.
  let pressedOutside = false;
  dialog.onpointerdown = (event) => {
    pressedOutside = isOnBackdrop(dialog, event);
  };
  dialog.onclick = (event) => {
    if (pressedOutside && isOnBackdrop(dialog, event)) dialog.close();
  };
}
for (const button of document.querySelectorAll("[data-close]")) {
  button.onclick = () => button.closest("dialog").close();
}
for (const input of document.querySelectorAll("#latency input")) input.onchange = () => setLatency(input.value);
$("transport").onchange = () => setTransport($("transport").value);
document.addEventListener("keydown", onKey);
document.addEventListener("change", releaseFocus);
// Not pointerdown: the tap would press the button that appears.
for (const type of ["pointermove", "click"]) document.addEventListener(type, resetIdleTimer);
document.addEventListener("fullscreenchange", () => {
  setFullscreenLabel();
  showStatsByDefault();
});
document.addEventListener("visibilitychange", () => keepAwake(shownPhase === "live"));
lightWanted.addEventListener("change", applyTheme);

applyTheme();
applyLatency();
applyTransport();
document.body.classList.toggle("bare", pageParameters.get("ui") === "0");
document.body.classList.toggle("framed", isFramed);
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
