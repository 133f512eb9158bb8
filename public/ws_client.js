/*
 * ws_client.js: the WebSocket client of /stream with reconnection, and requests of /info. While
 * WebRTC carries video and audio, it carries events and the clock's pings only.
 *
 * States, reported by onState({ name, … }):
 *   connecting
 *   open      switched: reconnected to the same server only to add or remove video and audio
 *   waiting   until (local ms), reason: "unreachable", "closed", "busy", "silent", "throttled" (too
 *             many wrong tokens from this address), "foreign" (another HTTP server: `status`)
 *   refused   reason: "token" (missing), "wrong-token", "origin" (or another 403), "insecure",
 *             "address"; no automatic retry
 */
"use strict";

class WsClient {
  static FIRST_WAIT_MS = 500;
  static LAST_WAIT_MS = 10_000;
  static OPEN_TIMEOUT_MS = 8_000;
  static INFO_TIMEOUT_MS = 4_000;
  /** For this long a server holds a request with a token whose address has sent wrong ones. */
  static HELD_MS = 10_000;
  static PING_MS = 2_000;
  /** No response, or that of a proxy whose server is down. */
  static UNREACHABLE = [0, 502, 504];
  /**
   * If the server answers pings: without any message for this long after a ping, the connection is
   * dead.
   */
  static SILENCE_MS = 6_000;
  /** After this long without any message after a ping, the server counts as unresponsive. */
  static UNRESPONSIVE_MS = 1_000;
  /** The query. A server that rejects it gets the URL without one. */
  static EXTRAS = { format: "binary", events: "1" };
  /** Added to the query while WebRTC carries video and audio. */
  static NO_MEDIA = { video: "0", audio: "0" };

  constructor({ onState, onPacket, onInfo, makePing }) {
    this.onState = onState;
    this.onPacket = onPacket;
    this.onInfo = onInfo;
    this.makePing = makePing;
    this.attempt = 0;
    this.socket = null;
    this.server = null;
    this.token = "";
    this.legacy = false;
    this.media = true;
    window.addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.waiting) this.retryNow();
    });
  }

  /**
   * Closes any connection and connects to `server` (from address.js); `media`: with video and
   * audio.
   */
  connect(server, token, media) {
    this.close();
    this.server = server;
    this.token = token;
    this.legacy = false;
    this.media = media;
    this.failures = 0;
    if (!server.stream) {
      this.setState({ name: "refused", reason: "address" });
      return;
    }
    if (location.protocol === "https:" && server.stream.startsWith("ws:")) {
      this.setState({ name: "refused", reason: "insecure" });
      return;
    }
    this.open();
  }

  /** Turns video and audio on or off: reconnects if that changes anything. */
  setMedia(media) {
    if (media === this.media) return;
    this.media = media;
    this.legacy = false;
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

  setState(state) {
    this.waiting = state.name === "waiting";
    this.onState(state);
  }

  open() {
    const attempt = ++this.attempt;
    this.setState({ name: "connecting" });
    const url = new URL(this.server.stream);
    const extras = this.legacy ? {} : { ...WsClient.EXTRAS, ...(this.media ? {} : WsClient.NO_MEDIA) };
    for (const [name, value] of Object.entries(extras)) url.searchParams.set(name, value);
    if (this.token) url.searchParams.set("token", this.token);
    const info = this.readInfo();
    let socket;
    try {
      socket = new WebSocket(url);
    } catch {
      this.setState({ name: "refused", reason: "address" });
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    let opened = false;
    const openTimeout = setTimeout(() => socket.close(), WsClient.OPEN_TIMEOUT_MS + this.heldMs());
    socket.onopen = () => {
      if (attempt !== this.attempt) return;
      opened = true;
      clearTimeout(openTimeout);
      this.setState({ name: "open", switched: this.switched });
      this.switched = false;
      this.startPings(socket, attempt);
      info.then(({ value }) => value && attempt === this.attempt && this.onInfo(value));
    };
    socket.onmessage = (message) => {
      if (attempt !== this.attempt) return;
      this.lastMessageAt = performance.now();
      const data = message.data;
      const packet = typeof data === "string" ? parseText(data) : parseBinary(data);
      if (!packet) return;
      this.failures = 0;
      if (packet.kind === "pong") this.gotPong = true;
      this.onPacket(packet, typeof data === "string" ? data.length : data.byteLength);
    };
    // onclose follows every onerror.
    socket.onclose = async () => {
      clearTimeout(openTimeout);
      if (attempt !== this.attempt) return;
      clearInterval(this.pinger);
      this.socket = null;
      if (opened) {
        // The query may have been rejected for another reason (server full), so try it again.
        this.legacy = false;
        this.waitAndRetry("closed");
      } else this.afterRefusal(await info, attempt);
    };
  }

  /** A browser does not tell why a handshake failed; the response to /info does. */
  afterRefusal({ status, value, retryS }, attempt) {
    if (attempt !== this.attempt) return;
    if (status === 401) this.setState({ name: "refused", reason: this.token ? "wrong-token" : "token" });
    else if (status === 403) this.setState({ name: "refused", reason: "origin" });
    else if (status === 429) this.waitAndRetry("throttled", status, retryS);
    else if (status === 200 && !value) this.waitAndRetry("foreign", status);
    else if (status === 200) {
      // The server is up but refused the handshake: it is full, or does not know the query.
      this.legacy = !this.legacy;
      if (this.legacy) this.open();
      else this.waitAndRetry("busy");
    } else if (status === 503) this.waitAndRetry("busy");
    else if (WsClient.UNREACHABLE.includes(status)) this.waitAndRetry("unreachable");
    else this.waitAndRetry("foreign", status);
  }

  waitAndRetry(reason, status, retryS = 0) {
    const doubled = WsClient.FIRST_WAIT_MS * 2 ** Math.min(this.failures++, 10);
    // Jitter, so that the viewers of a restarted server do not all reconnect at once.
    const wait = Math.max(retryS * 1000, Math.min(WsClient.LAST_WAIT_MS, doubled) * (0.8 + 0.4 * Math.random()));
    this.timer = setTimeout(() => this.open(), wait);
    this.setState({ name: "waiting", until: performance.now() + wait, reason, status });
  }

  heldMs() {
    return this.token ? WsClient.HELD_MS : 0;
  }

  /** Requests /info: { status, value, retryS }; status 0: no response, value null: no JSON. */
  async readInfo() {
    const url = new URL(this.server.info);
    if (this.token) url.searchParams.set("token", this.token);
    const options = { cache: "no-store", credentials: "omit" };
    try {
      const signal = AbortSignal.timeout(WsClient.INFO_TIMEOUT_MS + this.heldMs());
      const response = await fetch(url, { ...options, signal });
      const value = response.ok ? await response.json().catch(() => null) : null;
      return { status: response.status, value, retryS: Number(response.headers.get("retry-after")) || 0 };
    } catch (error) {
      if (error.name === "TimeoutError") return { status: 0, value: null };
      // A server that refuses this page responds, but the browser hides the response. Without the
      // token: it would count as another wrong one, and be held.
      url.searchParams.delete("token");
      const probe = { ...options, signal: AbortSignal.timeout(WsClient.INFO_TIMEOUT_MS), mode: "no-cors" };
      const responds = await fetch(url, probe).then(() => true, () => false);
      return { status: responds ? 403 : 0, value: null };
    }
  }

  /** True if nothing has been received since a ping, and that for at least `ms`. */
  isUnresponsive(ms = WsClient.UNRESPONSIVE_MS) {
    if (!this.socket || !this.gotPong || this.lastMessageAt >= this.pingSentAt) return false;
    return performance.now() - this.pingSentAt >= ms;
  }

  /** Requests /info again: a stream's format may have changed. */
  async refreshInfo() {
    const attempt = this.attempt;
    const { value } = await this.readInfo();
    if (value && attempt === this.attempt) this.onInfo(value);
  }

  /** Five pings at once, to determine the clock offset, then one every two seconds. */
  startPings(socket, attempt) {
    this.lastMessageAt = performance.now();
    this.gotPong = false;
    this.pingSentAt = -Infinity;
    let sent = 0;
    const tick = () => {
      if (attempt !== this.attempt || socket.readyState !== WebSocket.OPEN || this.legacy) return;
      const now = performance.now();
      const unanswered = this.isUnresponsive(0);
      if (this.isUnresponsive(WsClient.SILENCE_MS)) {
        // Closing a dead connection can take a minute: do not wait for it.
        this.close();
        this.waitAndRetry("silent");
      } else if (!unanswered && (sent < 5 || now - this.pingSentAt >= WsClient.PING_MS)) {
        this.pingSentAt = now;
        sent++;
        socket.send(this.makePing());
      }
    };
    tick();
    this.pinger = setInterval(tick, 250);
  }
}
