/*
 * review_controls.js: pause, review of the last minute, clips and the timestamp.
 */
"use strict";

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
  // In frames, not in seconds: each step of the slider is a frame, its right end the newest.
  $("review-position").max = review.frames.length - 1;
  $("review-position").value = review.index;
  const time = `−${review.secondsBack().toFixed(2)} s`;
  $("review-position").setAttribute("aria-valuetext", time);
  setText($("review-time"), time);
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
  if (!settings.get("overlay")) setHidden($("stamp-overlay"), true);
}
