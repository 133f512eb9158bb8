/*
 * audio_controls.js: start, mute and volume of audio.
 */
"use strict";

/** Not stored: a user who starts audio wants to hear it. */
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
  // Not pointerdown, which by touch does not count as a gesture. From before the attempt, which
  // fails only after seconds.
  const gestures = ["click", "keydown"];
  let attempting = true;
  let wanted = false;
  const start = () => {
    // Escape does not count as a user gesture.
    if (navigator.userActivation && !navigator.userActivation.hasBeenActive) return;
    for (const type of gestures) document.removeEventListener(type, start);
    wanted = true;
    if (attempting) viewer.audio.resume();
    else if (!isAudioOn()) startAudio({ silent: false });
  };
  for (const type of gestures) document.addEventListener(type, start);
  const started = await viewer.startAudio().then(() => true, () => false);
  attempting = false;
  if (!started && wanted) return startAudio({ silent: false });
  if (!started) return undefined;
  for (const type of gestures) document.removeEventListener(type, start);
  return showAudioControls();
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
  setHidden($("audio-controls"), !isAudioOn());
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
