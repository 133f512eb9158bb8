/*
 * view_controls.js: latency, transport, the statistics panel, zoom and full screen.
 */
"use strict";

const PAN_STEP_PX = 60;
const KEY_ZOOM_FACTOR = 1.25;

/** The page is shown in a frame of another page, which scrolls by wheel and touch. */
const isFramed = window.parent !== window;

const zoom = new Zoom($("frame"), $("media"), isFramed, (scale) => {
  setHidden($("reset-zoom"), scale === 1);
  setText($("reset-zoom"), `${scale.toFixed(1)}×`);
  $("frame").classList.toggle("zoomed", scale > 1);
});

/** Shift and an arrow key move the zoomed video. */
function panByKey(key) {
  const [x, y] = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key] || [0, 0];
  zoom.panBy(x * PAN_STEP_PX, y * PAN_STEP_PX);
}

function setLatency(latency) {
  settings.set("latency", latency);
  applyLatency();
}

function applyLatency() {
  viewer.setLatency(settings.get("latency"));
  document.querySelector(`#latency input[value="${settings.get("latency")}"]`).checked = true;
}

function setTransport(choice) {
  settings.set("transport", choice);
  applyTransport();
}

function applyTransport() {
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

const pip = new PictureInPicture($("canvas"), $("video"), showPip);

function togglePip() {
  if (!PictureInPicture.isSupported() || $("pip").disabled) return;
  pip.toggle(viewer.transport.webrtcPlays).catch((error) => toast(error.message));
}

function showPip() {
  setLabel($("pip"), t(pip.active ? "leavePip" : "pip"));
  $("pip").classList.toggle("on", pip.active !== null);
  viewer.drawInBackground(pip.active !== null);
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
