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

/** Names of settings in the page's address. */
const SETTINGS_IN_ADDRESS = { lang: "language" };
const FLAGS = { 0: false, 1: true };

class Settings {
  static KEY = "stampcast.settings";
  static TOKEN_KEY = "stampcast.token";

  /** `address`: of the page; its parameters override stored settings and are not stored. */
  constructor(address) {
    this.values = { ...SETTINGS_DEFAULTS };
    this.overrides = {};
    this.keptToken = null; // { base, token }, as stored
    let saved = null;
    try {
      saved = JSON.parse(localStorage.getItem(Settings.KEY));
    } catch {
      // Storage is disabled or the entry is damaged: use the defaults.
    }
    for (const [name, value] of Object.entries(saved || {})) {
      if (this.accepts(name, value)) this.values[name] = value;
    }
    for (const [parameter, text] of new URL(address).searchParams) {
      const name = SETTINGS_IN_ADDRESS[parameter] || parameter;
      const value = typeof SETTINGS_DEFAULTS[name] === "boolean" ? FLAGS[text] : text;
      if (name !== "server" && this.accepts(name, value)) this.overrides[name] = value;
    }
  }

  accepts(name, value) {
    if (!Object.hasOwn(SETTINGS_DEFAULTS, name) || typeof value !== typeof SETTINGS_DEFAULTS[name]) return false;
    if (SETTINGS_CHOICES[name]) return SETTINGS_CHOICES[name].includes(value);
    return name !== "volume" || (value >= 0 && value <= 1);
  }

  get(name) {
    return this.overrides[name] ?? this.values[name];
  }

  set(name, value) {
    if (!this.accepts(name, value)) return;
    delete this.overrides[name];
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
      this.keptToken ??= JSON.parse(sessionStorage.getItem(Settings.TOKEN_KEY));
    } catch {
      // Storage is disabled or the entry is damaged.
    }
    const kept = this.keptToken;
    return kept && kept.base === base ? kept.token : "";
  }

  setToken(base, token) {
    this.keptToken = { base, token };
    try {
      sessionStorage.setItem(Settings.TOKEN_KEY, JSON.stringify(this.keptToken));
    } catch {
      // The page asks for it again after a reload.
    }
  }
}
