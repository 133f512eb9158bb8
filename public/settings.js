/*
 * settings.js: the user's choices, stored in this browser (localStorage). A token is stored for
 * this tab only (sessionStorage), never in localStorage, which all local files share.
 */
"use strict";

const SETTINGS_DEFAULTS = {
  server: "",
  latency: "balanced",
  transport: "auto",
  volume: 1,
  snapshot: "jpeg",
  language: "auto",
  theme: "auto",
  stats: true,
  overlay: true,
};

const SETTINGS_CHOICES = {
  latency: ["lowest", "balanced", "smooth"],
  transport: ["auto", "websocket", "webrtc"],
  snapshot: ["jpeg", "png"],
  language: ["auto", "en", "ja"],
  theme: ["auto", "dark", "light"],
};

class Settings {
  static KEY = "stampcast.settings";
  static TOKEN_KEY = "stampcast.token";

  constructor() {
    this.values = { ...SETTINGS_DEFAULTS };
    let saved = null;
    try {
      saved = JSON.parse(localStorage.getItem(Settings.KEY));
    } catch {
      // Storage is disabled or the entry is damaged: use the defaults.
    }
    for (const [name, value] of Object.entries(saved || {})) {
      if (this.accepts(name, value)) this.values[name] = value;
    }
  }

  accepts(name, value) {
    if (!(name in SETTINGS_DEFAULTS) || typeof value !== typeof SETTINGS_DEFAULTS[name]) return false;
    if (SETTINGS_CHOICES[name]) return SETTINGS_CHOICES[name].includes(value);
    return name !== "volume" || (value >= 0 && value <= 1);
  }

  get(name) {
    return this.values[name];
  }

  set(name, value) {
    if (!this.accepts(name, value)) return;
    this.values[name] = value;
    try {
      localStorage.setItem(Settings.KEY, JSON.stringify(this.values));
    } catch {
      // Not stored, but in effect until the page is left.
    }
  }

  /** The token for `base` (a server's address), or "". A tab stores one. */
  token(base) {
    try {
      const saved = JSON.parse(sessionStorage.getItem(Settings.TOKEN_KEY));
      return saved && saved.base === base ? saved.token : "";
    } catch {
      return "";
    }
  }

  setToken(base, token) {
    try {
      sessionStorage.setItem(Settings.TOKEN_KEY, JSON.stringify({ base, token }));
    } catch {
      // The page asks for it again after a reload.
    }
  }
}
