/*
 * status_view.js: shows the phase of the stream: the status at the top, the card over the video and
 * the notes.
 */
"use strict";

let shownPhase = "";
let wakeLock = null;

const STATUS_TEXTS = {
  connecting: "connecting",
  live: "live",
  camera: "waitingCamera",
  "audio-only": "audioOnly",
  microphone: "waitingMicrophone",
  lost: "lost",
  silent: "noResponse",
  reconnecting: "reconnecting",
  refused: "refused",
};

function showPhase(state) {
  if (document.body.dataset.phase !== state.phase) document.body.dataset.phase = state.phase;
  const tokenMissing = state.phase === "refused" && /token$/.test(state.reason);
  const status = t(tokenMissing ? "token" : STATUS_TEXTS[state.phase]);
  setText($("status-text"), status);
  showTitle(state.phase, status);
  // The frozen frame stays visible; the last frames of a camera that was lost can be reviewed.
  const card = viewer.paused ? null : cardFor(state);
  setHidden($("card"), card === null);
  if (card) {
    setText($("card-title"), card.title);
    setText($("card-text"), card.text);
    $("card-text").classList.toggle("bad", Boolean(card.bad));
    setHidden($("card-spinner"), !card.spinner);
    setHidden($("card-link"), !card.link);
    if (card.link) {
      $("card-link").href = card.link;
      setText($("card-link"), card.link);
    }
    setHidden($("retry"), !card.retry);
    setHidden($("card-server"), !card.change);
    setHidden($("token-form"), !tokenMissing);
  }
  if (tokenMissing && shownPhase !== "refused") $("token").focus();
  showWhatCanBeSaved();
  if (shownPhase !== state.phase) keepAwake(state.phase === "live");
  shownPhase = state.phase;
  setText($("transport-note"), transportNote());
  const { audio } = viewer.lost;
  setText($("audio-note"), audio ? t("audioLost", { time: clockTime(audio) }) : "");
}

/** Without a frame there is nothing to save. */
function showWhatCanBeSaved() {
  const nothing = viewer.frameSize()[0] === 0;
  if ($("snapshot").disabled !== nothing) $("snapshot").disabled = nothing;
  if ($("pause").disabled !== nothing) $("pause").disabled = nothing;
  const noPip = nothing && pip.active === null;
  if ($("pip").disabled !== noPip) $("pip").disabled = noPip;
  const nothingToRecord = nothing && viewer.recording === null;
  if ($("record").disabled !== nothingToRecord) $("record").disabled = nothingToRecord;
}

/** Names camera and state in the browser's tab. */
function showTitle(phase, status) {
  const dot = phase === "live" || phase === "audio-only" ? "●" : "○";
  const title = `${dot} ${server.label} – ${status}`;
  if (document.title !== title) document.title = title;
}

/** The state of a WebRTC connection that is wanted but does not play; else "". */
function transportNote() {
  const { transport, webrtc } = viewer;
  if (transport.webrtcPlays) return webrtc.state.name === "connected" ? "" : t(`webrtc_${webrtc.state.name}`);
  if (transport.failure === null) return transport.wantsWebrtc ? t(`webrtc_${webrtc.state.name}`) : "";
  // If the server cannot be reached or asks for a token, the card says so.
  if (viewer.wsState.name !== "open") return "";
  return t("webrtcFallback", { reason: t(`webrtc_${transport.failure}`) });
}

/** The content of the card in this state; null: no card. */
function cardFor(state) {
  const name = { server: server.label };
  switch (state.phase) {
    case "live":
      return null;
    case "connecting":
      return { title: t("connectingTo", name), text: transportNote(), spinner: true, change: true };
    case "camera":
      return { title: t("waitingCamera"), text: viewer.sourceMessage("video") || t("waitingCameraHint"), spinner: true };
    case "microphone": {
      const text = viewer.sourceMessage("audio") || t("waitingMicrophoneHint");
      return { title: t("waitingMicrophone"), text, spinner: true };
    }
    case "audio-only":
      return { title: t("audioOnly"), text: t("audioOnlyHint") };
    case "lost": {
      const title = t("lostSince", { time: clockTime(state.since) });
      return { title, text: viewer.sourceMessage("video") || t("lostHint"), spinner: true };
    }
    case "silent": {
      const title = t("noResponseSince", { ...name, time: clockTime(state.since) });
      return { title, text: t("noResponseHint"), spinner: true };
    }
    case "reconnecting": {
      const seconds = Math.max(0, Math.ceil((state.until - performance.now()) / 1000));
      const trying = !state.reason || seconds === 0;
      return {
        title: trying ? t("connectingTo", name) : t("reconnectingIn", { seconds }),
        ...reconnectReason(state, name),
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

/** { text, link } on why the connection has to be opened again. */
function reconnectReason({ reason, status }, name) {
  if (!reason) return { text: transportNote() };
  // A browser does not tell a certificate that it does not trust from a server that does not
  // respond.
  if (reason === "unreachable" && server.base.startsWith("https:")) {
    return { text: t("reason_unreachable_tls", name), link: server.info };
  }
  if (reason === "unreachable" && isSameMachine(server)) return { text: t("reason_unreachable_local", name) };
  return { text: t(`reason_${reason}`, { ...name, status }) };
}

function refusalCard(reason, name) {
  switch (reason) {
    case "token":
      return { title: t("tokenTitle"), text: t("tokenHint", name), change: true };
    case "wrong-token":
      return { title: t("tokenTitle"), text: t("tokenWrong"), bad: true, change: true };
    case "origin":
      return {
        title: t("originTitle"),
        text: t(location.protocol === "file:" ? "originFileHint" : "originHint", name),
        retry: true,
        change: true,
      };
    case "insecure":
      return { title: t("insecureTitle"), text: t("insecureHint", name), change: true };
    default:
      return { title: t("addressTitle"), text: server.label, change: true };
  }
}

let awakeWanted = false;

/** Keeps the screen on while video is shown. A browser may refuse, for example on low battery. */
async function keepAwake(wanted) {
  awakeWanted = wanted && !document.hidden && Boolean(navigator.wakeLock);
  const lock = awakeWanted ? await navigator.wakeLock.request("screen").catch(() => null) : null;
  // Another call may have come first.
  if (wakeLock) wakeLock.release();
  wakeLock = awakeWanted ? lock : null;
  if (lock && wakeLock !== lock) lock.release();
}
