/*
 * settings_dialog.js: the dialog of settings, theme and language.
 */
"use strict";

const lightWanted = matchMedia("(prefers-color-scheme: light)");

function applyTheme() {
  const choice = settings.get("theme");
  document.documentElement.dataset.theme = choice === "auto" ? (lightWanted.matches ? "light" : "dark") : choice;
  const surface = getComputedStyle(document.documentElement).getPropertyValue("--surface");
  document.querySelector("meta[name=theme-color]").content = surface.trim();
}

function applyLanguage() {
  chooseLanguage(settings.get("language"));
  for (const input of document.querySelectorAll("#latency input")) input.parentElement.title = t(`${input.value}Hint`);
  delete $("stat-gaps").dataset.key;
  viewer.update();
  showServer();
  showAudioControls();
  showRecording();
  showPause();
  showPip();
  setFullscreenLabel();
}

let tokenTyped = false;

/**
 * Unless the user has typed a token, the field contains the one stored for the server in the field
 * above.
 */
function showTokenOfServer() {
  if (tokenTyped) return;
  const typed = serverAt($("server").value.trim());
  $("settings-token").value = typed ? tokenFor(typed) : "";
}

function openSettings(focus) {
  $("server").value = addressOf(server);
  tokenTyped = false;
  showTokenOfServer();
  for (const name of ["theme", "language"]) $(name).value = settings.get(name);
  for (const name of ["latency", "transport"]) $(`settings-${name}`).value = settings.get(name);
  $("show-token").checked = false;
  showToken();
  $("snapshot-format").value = settings.get("snapshot");
  $("overlay").checked = settings.get("overlay");
  showServerError(false);
  $("settings").showModal();
  if (focus) $(focus).select();
}

function showToken() {
  $("settings-token").type = $("show-token").checked ? "text" : "password";
}

/** True if a click hit the backdrop of a dialog, which belongs to the dialog. */
function isOnBackdrop(dialog, { target, clientX, clientY }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return target === dialog && (clientX < left || clientX > right || clientY < top || clientY > bottom);
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
  // A token in the address is not stored with it.
  const address = typed.replace(/[?#].*$/, "");
  rememberServer(!typed || parsed.base === byDefault.base ? "" : address);
  connectTo(typed, $("settings-token").value.trim() || parsed.token);
  return $("settings").close();
}
