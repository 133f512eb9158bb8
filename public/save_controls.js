/*
 * save_controls.js: the controls of snapshots and recordings.
 */
"use strict";

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
    viewer.drawInBackground(pip.active !== null);
    toast(t(full ? "recordingFull" : "savedAs", { name }));
    showRecording();
  });
  viewer.drawInBackground(true);
  return showRecording();
}

function showRecording() {
  const { recording } = viewer;
  const button = $("record");
  button.classList.toggle("active", recording !== null);
  setLabel(button, t(recording ? "stopRecord" : "record"));
  setIcon(button, recording ? "i-stop" : "i-record");
  setHidden($("recording-badge"), recording === null);
  if (!recording) return;
  const seconds = Math.floor(recording.seconds());
  const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  setText($("recording-time"), t("recording", { time }));
}
