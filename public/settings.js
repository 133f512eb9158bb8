/*
 * settings.js owns: what the person chose, remembered in this browser. It knows no element of the page.
 * A token is kept for this tab only (sessionStorage), never in localStorage, which every local file shares.
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
  figures: true,
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
      // A browser that forbids storage, or a damaged entry: the defaults hold.
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
      // Not remembered, but still in force.
    }
  }

  /** The token for `base` (a server's address), or "". One tab remembers one. */
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
      // Asked for again after a reload.
    }
  }
}
