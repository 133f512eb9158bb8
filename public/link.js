/*
 * link.js owns: the WebSocket to /stream, the reading of /info beside it, and when to try again. It passes packets on
 * and knows nothing of what is in them but whether they are one of ours. Beside WebRTC it brings events and the time.
 *
 * States, told by onstate({ name, … }):
 *   connecting
 *   open      switched: only to bring picture and sound, or no longer, to the same server
 *   waiting   until (local ms), reason: "unreachable", "closed", "busy", "silent"
 *   refused   reason: "token" (missing), "wrong-token", "origin", "insecure", "address"; tried again only when asked
 */
"use strict";

class Link {
  static FIRST_WAIT_MS = 500;
  static LAST_WAIT_MS = 10_000;
  static OPEN_TIMEOUT_MS = 8_000;
  static INFO_TIMEOUT_MS = 4_000;
  static PING_MS = 2_000;
  /** Where pings were answered, nothing at all for this long after one is a dead line (Wi-Fi gone, cable pulled). */
  static SILENCE_MS = 6_000;
  /** What is asked for first. A server that knows none of it gets the plain address. */
  static EXTRAS = { format: "binary", events: "1" };
  /** Asked for beside these when picture and sound come another way. */
  static NO_MEDIA = { video: "0", audio: "0" };

  constructor({ onstate, onpacket, oninfo, makePing }) {
    this.onstate = onstate;
    this.onpacket = onpacket;
    this.oninfo = oninfo;
    this.makePing = makePing;
    this.attempt = 0;
    this.socket = null;
    this.server = null;
    this.token = "";
    this.plain = false;
    this.media = true;
    window.addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.waiting) this.retryNow();
    });
  }

  /** Leaves whatever there is and connects to `server` (of address.js); `media`: for picture and sound. */
  connect(server, token, media) {
    this.close();
    this.server = server;
    this.token = token;
    this.plain = false;
    this.media = media;
    this.failures = 0;
    if (location.protocol === "https:" && server.stream.startsWith("ws:")) {
      this.tell({ name: "refused", reason: "insecure" });
      return;
    }
    this.open();
  }

  /** Connects anew where it has, and should not, or should, and has not, brought picture and sound. */
  setMedia(media) {
    if (media === this.media) return;
    this.media = media;
    this.plain = false;
    if (!this.socket) return;
    this.close();
    this.switched = true;
    this.open();
  }

  close() {
    this.attempt++;
    this.switched = false;
    clearTimeout(this.timer);
    clearInterval(this.pinger);
    this.waiting = false;
    if (this.socket) this.socket.close();
    this.socket = null;
  }

  retryNow() {
    if (!this.waiting) return;
    clearTimeout(this.timer);
    this.open();
  }

  tell(state) {
    this.waiting = state.name === "waiting";
    this.onstate(state);
  }

  open() {
    const attempt = ++this.attempt;
    this.tell({ name: "connecting" });
    const url = new URL(this.server.stream);
    const extras = this.plain ? {} : { ...Link.EXTRAS, ...(this.media ? {} : Link.NO_MEDIA) };
    for (const [name, value] of Object.entries(extras)) url.searchParams.set(name, value);
    if (this.token) url.searchParams.set("token", this.token);
    const info = this.readInfo();
    let socket;
    try {
      socket = new WebSocket(url);
    } catch {
      this.tell({ name: "refused", reason: "address" });
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    let opened = false;
    const giveUp = setTimeout(() => socket.close(), Link.OPEN_TIMEOUT_MS);
    socket.onopen = () => {
      if (attempt !== this.attempt) return;
      opened = true;
      clearTimeout(giveUp);
      this.tell({ name: "open", switched: this.switched });
      this.switched = false;
      this.startPings(socket, attempt);
      info.then(({ value }) => value && attempt === this.attempt && this.oninfo(value));
    };
    socket.onmessage = (message) => {
      if (attempt !== this.attempt) return;
      this.heard = performance.now();
      const data = message.data;
      const packet = typeof data === "string" ? parseText(data) : parseBinary(data);
      if (!packet) return;
      this.failures = 0;
      if (packet.kind === "pong") this.ponged = true;
      this.onpacket(packet, typeof data === "string" ? data.length : data.byteLength);
    };
    // onerror says nothing that onclose does not.
    socket.onclose = async (event) => {
      clearTimeout(giveUp);
      if (attempt !== this.attempt) return;
      clearInterval(this.pinger);
      this.socket = null;
      if (opened) {
        // Text alone may have been an accident (a place was taken just then), so the whole is asked for again.
        this.plain = false;
        this.waitAndRetry("closed", event.code);
      } else this.afterRefusal(await info, attempt);
    };
  }

  /** A browser does not say why a handshake failed; the answer to /info does. */
  afterRefusal({ status }, attempt) {
    if (attempt !== this.attempt) return;
    if (status === 401) this.tell({ name: "refused", reason: this.token ? "wrong-token" : "token" });
    else if (status === 403) this.tell({ name: "refused", reason: "origin" });
    else if (status === 200) {
      // It is there, but it did not take the handshake: too many viewers, or it does not know what we asked for.
      this.plain = !this.plain;
      if (this.plain) this.open();
      else this.waitAndRetry("busy");
    } else this.waitAndRetry(status === 503 ? "busy" : "unreachable");
  }

  waitAndRetry(reason) {
    const doubled = Link.FIRST_WAIT_MS * 2 ** Math.min(this.failures++, 10);
    // A random part keeps a hundred viewers of a restarted server from coming back in the same instant.
    const wait = Math.min(Link.LAST_WAIT_MS, doubled) * (0.8 + 0.4 * Math.random());
    this.timer = setTimeout(() => this.open(), wait);
    this.tell({ name: "waiting", until: performance.now() + wait, reason });
  }

  /** { status, value }: status 0 where nothing answered, value null where it was not the JSON expected. */
  async readInfo() {
    const url = new URL(this.server.info);
    if (this.token) url.searchParams.set("token", this.token);
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), Link.INFO_TIMEOUT_MS);
    const options = { signal: abort.signal, cache: "no-store", credentials: "omit" };
    try {
      const response = await fetch(url, options);
      const value = response.ok ? await response.json().catch(() => null) : null;
      return { status: response.status, value };
    } catch {
      // A server that turns this page's origin away answers, but lets the page read nothing.
      const there = await fetch(url, { ...options, mode: "no-cors" }).then(() => true, () => false);
      return { status: there ? 403 : 0, value: null };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Reads /info again: a stream's rate or size has changed. */
  async refreshInfo() {
    const attempt = this.attempt;
    const { value } = await this.readInfo();
    if (value && attempt === this.attempt) this.oninfo(value);
  }

  /** A quick handful first, to learn the clock's offset, then one every two seconds. */
  startPings(socket, attempt) {
    this.heard = performance.now();
    this.ponged = false;
    let sent = 0;
    let sentAt = -Infinity;
    const tick = () => {
      if (attempt !== this.attempt || socket.readyState !== WebSocket.OPEN || this.plain) return;
      const now = performance.now();
      const unanswered = this.ponged && this.heard < sentAt;
      if (unanswered && now - sentAt > Link.SILENCE_MS) {
        // Closing a dead line can take a minute: leave it behind.
        this.close();
        this.waitAndRetry("silent");
      } else if (!unanswered && (sent < 5 || now - sentAt >= Link.PING_MS)) {
        sentAt = now;
        sent++;
        socket.send(this.makePing());
      }
    };
    tick();
    this.pinger = setInterval(tick, 250);
  }
}
