/*
 * card.js owns: what the page says of the stream's phase: the word at the top and the card over the picture. It decides
 * no phase; viewer.js does.
 */
"use strict";

let shownPhase = "";
let wakeLock = null;

const STATUS_WORDS = {
  connecting: "connecting",
  live: "live",
  camera: "waitingCamera",
  "sound-only": "soundOnly",
  lost: "lost",
  reconnecting: "reconnecting",
  refused: "refused",
};

function showPhase(state) {
  document.body.dataset.phase = state.phase;
  const tokenMissing = state.phase === "refused" && /token$/.test(state.reason);
  setText($("status-text"), t(tokenMissing ? "token" : STATUS_WORDS[state.phase]));
  const card = cardFor(state);
  setHidden($("card"), card === null);
  if (card) {
    setText($("card-title"), card.title);
    setText($("card-text"), card.text);
    $("card-text").classList.toggle("bad", Boolean(card.bad));
    $("card-spinner").hidden = !card.spinner;
    $("retry").hidden = !card.retry;
    $("card-server").hidden = !card.change;
    $("token-form").hidden = !tokenMissing;
  }
  if (tokenMissing && shownPhase !== "refused") $("token").focus();
  if (shownPhase !== state.phase) keepAwake(state.phase === "live");
  shownPhase = state.phase;
  setText($("transport-note"), transportNote());
  const { audio } = viewer.lost;
  setText($("sound-note"), audio ? t("soundLost", { time: clockTime(audio) }) : "");
}

/** What there is to say of a WebRTC connection that is wanted and does not play; "" where there is nothing. */
function transportNote() {
  const { transport, webrtc } = viewer;
  if (transport.plays) return webrtc.state.name === "connected" ? "" : t(`webrtc_${webrtc.state.name}`);
  if (transport.failure === null) return transport.wantsPeer ? t(`webrtc_${webrtc.state.name}`) : "";
  // Where the server itself cannot be reached, or asks for a token, the card says so.
  if (viewer.linkState.name !== "open") return "";
  return t("webrtcInstead", { reason: t(`webrtc_${transport.failure}`) });
}

/** What the card over the picture says in this state; null: no card. */
function cardFor(state) {
  const name = { server: server.label };
  switch (state.phase) {
    case "live":
      return null;
    case "connecting":
      return { title: t("connectingTo", name), text: transportNote(), spinner: true, change: true };
    case "camera":
      return { title: t("waitingCamera"), text: viewer.cameraMessage() || t("waitingCameraHint"), spinner: true };
    case "sound-only":
      return { title: t("soundOnly"), text: t("soundOnlyHint") };
    case "lost": {
      const title = t("lostSince", { time: clockTime(state.since) });
      return { title, text: viewer.cameraMessage() || t("lostHint"), spinner: true };
    }
    case "reconnecting": {
      const seconds = Math.max(0, Math.ceil((state.until - performance.now()) / 1000));
      const trying = !state.reason || seconds === 0;
      return {
        title: trying ? t("connectingTo", name) : t("reconnectingIn", { seconds }),
        text: state.reason ? t(`reason_${state.reason}`, name) : transportNote(),
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

function refusalCard(reason, name) {
  switch (reason) {
    case "token":
      return { title: t("tokenTitle"), text: t("tokenHint", name), change: true };
    case "wrong-token":
      return { title: t("tokenTitle"), text: t("tokenWrong"), bad: true, change: true };
    case "origin":
      return { title: t("originTitle"), text: t("originHint"), retry: true, change: true };
    case "insecure":
      return { title: t("insecureTitle"), text: t("insecureHint", name), change: true };
    default:
      return { title: t("addressTitle"), text: server.label, change: true };
  }
}

/** A screen that sleeps is of no use to who watches; refused where the browser or its battery says no. */
async function keepAwake(wanted) {
  if (!wanted || document.hidden || !navigator.wakeLock) {
    if (wakeLock) wakeLock.release();
    wakeLock = null;
    return;
  }
  wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
}
