/*
 * shortcuts.js: the keyboard shortcuts.
 */
"use strict";

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
  p: togglePip,
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
