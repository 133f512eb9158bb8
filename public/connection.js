/*
 * connection.js: which server the page connects to, and what it remembers of it.
 */
"use strict";

let server = null;

const PAGE_IS_FILE = location.protocol === "file:";

/** The server at `address`, or the default if empty; null if it is not an address. */
function serverAt(address) {
  return address ? parseServer(address, location.protocol === "https:") : defaultServer(location.href);
}

/** The token in `address`, else the one stored for that server, else "". */
function tokenFor({ token, base }) {
  return token || settings.token(base);
}

/**
 * Connects to `address` (see serverAt), with its stored token if `token` is null; false if it is
 * not an address.
 */
function connectTo(address, token) {
  const next = serverAt(address);
  if (!next) return false;
  server = next;
  const known = token ?? tokenFor(next);
  settings.setToken(next.base, known);
  showServer();
  delete document.body.dataset.seen;
  zoom.reset();
  viewer.connect(next, known);
  return true;
}

/** The address to show in the settings: the label, unless that would lead to another server. */
function addressOf({ label, base }) {
  const parsed = serverAt(label);
  return !base || (parsed && parsed.base === base) ? label : base;
}

function showServer() {
  $("server-label").textContent = server.label;
  setLabel($("open-server"), `${server.label}: ${t("change")}`);
}

function connectAtStart() {
  const page = readPageAddress(location.href);
  const token = page.token || null;
  if (page.cleaned) history.replaceState(null, "", page.cleaned);
  if (page.server) {
    if (!connectTo(page.server, token)) showInvalidServer(page.server);
    return;
  }
  // A served page belongs to its own server.
  if (!PAGE_IS_FILE || !connectTo(settings.get("server"), token)) connectTo("", token);
}

function showInvalidServer(label) {
  server = { label };
  showServer();
  viewer.connect(server, "");
}

/**
 * Keeps the server for the next visit. A local file remembers the last one. A served page does not,
 * since others open the same address to see its own camera: there the server is in the address of
 * the page, for bookmarks.
 */
function rememberServer(address) {
  if (PAGE_IS_FILE) settings.set("server", address);
  const url = new URL(location.href);
  if (PAGE_IS_FILE && !url.searchParams.has("server")) return;
  if (address) url.searchParams.set("server", address);
  else url.searchParams.delete("server");
  history.replaceState(null, "", url);
}
