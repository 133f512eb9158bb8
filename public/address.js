/*
 * address.js: server addresses. Parses what the user typed, the page's own address or the default
 * into the URLs that the page needs, and takes the token out of them. Opens no connection.
 */
"use strict";

/** Paths of a server that users paste; only the part before them counts. */
const PASTED_PATH = /\/(?:index\.html|stream|stream\.mjpg|info|state|snapshot\.jpg|audio\.wav|whep)\/*$/;

/**
 * Parses an address as users write it: "pi.local", "192.168.1.5:8080", "https://host/webcam/",
 * "ws://host:8080/stream?token=…". Returns { label, base, stream, info, token }, or null if it is
 * not an address. `base` ends in a slash, so that a proxy's path prefix is kept; `token` is the
 * address's token, or "".
 */
function parseServer(text, pageIsSecure) {
  const typed = text.trim();
  if (!typed) return null;
  const scheme = /^(wss?|https?):\/\//i.exec(typed);
  if (!scheme && /^[a-z][a-z0-9+.-]*:\/\//i.test(typed)) return null;
  let url;
  try {
    url = new URL(scheme ? typed.replace(/^ws/i, "http") : `http://${typed}`);
  } catch {
    return null;
  }
  // Chromium escapes a space in a host name instead of rejecting it.
  if (!url.hostname || url.hostname.includes("%") || url.username || url.password) return null;
  let secure = url.protocol === "https:";
  if (!scheme) {
    // new URL() drops ":80" as http's default port, so the text itself says whether a port was
    // given.
    if (!/:\d+(?:[/?#]|$)/.test(typed)) url.port = "8080";
    secure = Boolean(pageIsSecure);
  }
  const port = url.port || (scheme ? "" : "80");
  const host = port ? `${url.hostname}:${port}` : url.hostname;
  const path = url.pathname.replace(PASTED_PATH, "").replace(/\/*$/, "/");
  const shownScheme = secure && !pageIsSecure ? "https://" : "";
  return {
    label: shownScheme + host + (path === "/" ? "" : path.slice(0, -1)),
    base: `${secure ? "https" : "http"}://${host}${path}`,
    stream: `${secure ? "wss" : "ws"}://${host}${path}stream`,
    info: `${secure ? "https" : "http"}://${host}${path}info`,
    token: url.searchParams.get("token") || "",
  };
}

/**
 * An invalid address without what may be a credential: the user info, the query and the fragment.
 * Everything before an "@" counts as user info: a password may contain slashes.
 */
function withoutCredentials(text) {
  return text
    .trim()
    .replace(/[?#].*$/s, "")
    .replace(/^([a-z][a-z0-9+.-]*:[\\/]+)?.*@/is, "$1");
}

/** True if the address means the computer that the page runs on. */
function isSameMachine({ base }) {
  return /^https?:\/\/(localhost|127\.|\[::1\])/.test(base || "");
}

/**
 * The server if none is given: the one that served this page; for a local file, the one on this
 * computer.
 */
function defaultServer(pageUrl) {
  const page = new URL(pageUrl);
  if (page.protocol === "http:" || page.protocol === "https:") {
    return parseServer(new URL(".", page).href, page.protocol === "https:");
  }
  return parseServer("localhost:8080", false);
}

/**
 * Reads `server` and `token` from the page's own address ("?server=…&token=…" or "#token=…").
 * Returns { server, token, cleaned }: `server` has no credentials; `cleaned` is the page's address
 * without any, which replaces the one in the browser's history; null if there were none.
 */
function readPageAddress(pageUrl) {
  const url = new URL(pageUrl);
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get("token") || url.searchParams.get("token") || "";
  const given = url.searchParams.get("server") || "";
  const parsed = parseServer(given, false);
  const server = parsed ? given.replace(/[?#].*$/s, "") : withoutCredentials(given);
  let cleaned = null;
  if (token || server !== given) {
    fragment.delete("token");
    url.searchParams.delete("token");
    if (server !== given) url.searchParams.set("server", server);
    url.hash = fragment.toString();
    cleaned = url.href;
  }
  return { server, token: token || (parsed && parsed.token) || "", cleaned };
}
