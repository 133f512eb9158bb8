/*
 * phase.js: the phase of a stream that the page shows, determined from the state of a Viewer.
 *
 *   connecting, live, camera (connected, no frame yet), microphone (no camera, no audio yet),
 *   audio-only, lost (since), silent (since; the server does not respond),
 *   reconnecting (until, reason, status), refused (reason)
 */
"use strict";

/** Live video is lost after this long without a frame, or after five frame intervals if longer. */
const FRAME_TIMEOUT_S = 3;

/** Seconds between frames: between the last two, or as configured if that is longer. */
function frameIntervalS({ info, frameS }) {
  const configured = info && info.video && info.video.fps && info.video.fps.asked;
  return Math.max(frameS, configured > 0 ? 1 / configured : 0);
}

/** { phase, … } at `now`, local seconds. */
function currentPhase(viewer, now) {
  const { wsState: state, transport, lastFrameAt, lost, info } = viewer;
  const timeoutS = Math.max(FRAME_TIMEOUT_S, 5 * frameIntervalS(viewer));
  const hasFrames = lastFrameAt !== null && now - lastFrameAt < timeoutS;
  // WebRTC goes on without the WebSocket.
  if (transport.webrtcPlays && hasFrames && !lost.video) return { phase: "live" };
  const awaitsWebrtc = !transport.wsCarriesMedia && viewer.webrtc.state.name !== "connected";
  if (state.name === "connecting" || (state.name === "open" && awaitsWebrtc)) {
    return lastFrameAt === null ? { phase: "connecting" } : { phase: "reconnecting", until: now * 1000 };
  }
  if (state.name === "waiting") return { ...state, phase: "reconnecting" };
  if (state.name === "refused") return { phase: "refused", reason: state.reason };
  if (lastFrameAt !== null) {
    if (lost.video) return { phase: "lost", since: lost.video };
    if (hasFrames) return { phase: "live" };
    const since = new Date(Date.now() - (now - lastFrameAt) * 1000);
    return { phase: viewer.ws.isUnresponsive() ? "silent" : "lost", since };
  }
  if (!info || info.video) return { phase: "camera" };
  return { phase: viewer.lastAudioAt === null ? "microphone" : "audio-only" };
}
