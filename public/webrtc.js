/*
 * webrtc.js: the WHEP client (draft-ietf-wish-whep): offer, answer, session states, DELETE at the
 * end, retries.
 *
 * States, reported by onState({ name, … }), named as those of RTCPeerConnection:
 *   new            the offer was sent
 *   connecting     answered; ICE looks for a network path
 *   connected      stream, peer
 *   disconnected   interrupted; may recover by itself
 *   failed         reason, until (local ms; null: no automatic retry)
 *   closed         not wanted
 * Reasons: "unsupported" (by this browser), "absent" (on this server), "denied", "throttled" (too
 * many wrong tokens), "codec" (none in common), "full", "unanswered", "blocked" (no network path),
 * "lost" (after it was connected)
 */
"use strict";

class Webrtc {
  /** Time limit from the offer to a connected peer; the server's limit is the same. */
  static CONNECT_MS = 15_000;
  /** After this long in state `disconnected` the connection is lost. */
  static LOST_MS = 3_000;
  static FIRST_WAIT_MS = 2_000;
  static LAST_WAIT_MS = 60_000;
  /** A connection that lasted this long resets the retry interval. */
  static GOOD_MS = 30_000;
  /** Reasons that a retry would not change. */
  static FINAL = ["unsupported", "absent", "denied", "codec"];
  static REASONS = { 401: "denied", 403: "denied", 404: "absent", 405: "absent", 410: "absent", 422: "codec", 429: "throttled", 501: "absent", 503: "full" };

  constructor(onState) {
    this.onState = onState;
    this.state = { name: "closed" };
    this.attempt = 0;
    this.failures = 0;
    this.peer = null;
    this.session = null;
    window.addEventListener("pagehide", () => this.disconnect());
    // A page restored from the back/forward cache has lost its connection.
    window.addEventListener("pageshow", (event) => event.persisted && this.state.name !== "closed" && this.open());
  }

  /** Closes any session and connects to `server` (from address.js). */
  start(server, token) {
    this.server = server;
    this.token = token;
    this.failures = 0;
    this.open();
  }

  stop() {
    this.disconnect();
    if (this.state.name !== "closed") this.setState({ name: "closed" });
  }

  /** The server is reachable again: retry at once. */
  reconnect() {
    if (["connected", "disconnected", "failed"].includes(this.state.name)) this.open();
  }

  setState(state) {
    this.state = state;
    this.onState(state);
  }

  /** Without frame callbacks the page would not notice that WebRTC plays (Firefox before 132). */
  static isSupported() {
    return typeof RTCPeerConnection !== "undefined" && "requestVideoFrameCallback" in HTMLVideoElement.prototype;
  }

  async open() {
    this.disconnect();
    const attempt = this.attempt;
    if (!Webrtc.isSupported()) return this.fail("unsupported");
    this.abort = new AbortController();
    this.setState({ name: "new" });
    this.timer = setTimeout(() => this.fail(this.session ? "blocked" : "unanswered"), Webrtc.CONNECT_MS);
    const peer = new RTCPeerConnection();
    const stream = new MediaStream();
    this.peer = peer;
    peer.ontrack = ({ track }) => stream.addTrack(track);
    peer.onconnectionstatechange = () => attempt === this.attempt && this.onConnectionState(peer, stream);
    for (const kind of ["video", "audio"]) offerCaptureTime(peer.addTransceiver(kind, { direction: "recvonly" }));
    try {
      await peer.setLocalDescription();
      const { sdp, status, retryS } = await this.offer(peer.localDescription.sdp, attempt);
      if (attempt !== this.attempt) return undefined;
      if (!sdp) return this.fail(Webrtc.REASONS[status] || "unanswered", retryS);
      this.setState({ name: "connecting" });
      await peer.setRemoteDescription({ type: "answer", sdp });
    } catch {
      // The request failed, or the response is not an answer.
      if (attempt === this.attempt) this.fail("unanswered");
    }
    return undefined;
  }

  /** Sends the offer: { sdp } of the answer, or { status, retryS } of the error. */
  async offer(sdp, attempt) {
    const endpoint = `${this.server.base}whep`;
    const headers = { ...this.credentials(), "content-type": "application/sdp" };
    const { signal } = this.abort;
    const response = await fetch(endpoint, { method: "POST", headers, body: sdp, signal, credentials: "omit" });
    if (response.status !== 201) return { status: response.status, retryS: Number(response.headers.get("retry-after")) };
    // Only the last segment: older servers gave their own path, which is wrong behind a proxy's
    // path prefix.
    const id = (response.headers.get("location") || "").split("/").pop();
    const session = id ? `${endpoint}/${id}` : null;
    if (attempt === this.attempt) this.session = session;
    else this.deleteSession(session);
    return { sdp: await response.text() };
  }

  credentials() {
    return this.token ? { authorization: `Bearer ${this.token}` } : {};
  }

  onConnectionState(peer, stream) {
    switch (peer.connectionState) {
      case "connected":
        clearTimeout(this.timer);
        this.connectedAt ??= performance.now();
        this.setState({ name: "connected", peer, stream });
        break;
      case "disconnected":
        this.setState({ name: "disconnected" });
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.fail("lost"), Webrtc.LOST_MS);
        break;
      case "failed":
      case "closed":
        this.fail(this.connectedAt === null ? "blocked" : "lost");
        break;
    }
  }

  fail(reason, retryS) {
    if (this.connectedAt !== null && performance.now() - this.connectedAt > Webrtc.GOOD_MS) this.failures = 0;
    this.disconnect();
    if (Webrtc.FINAL.includes(reason)) return this.setState({ name: "failed", reason, until: null });
    const doubled = Webrtc.FIRST_WAIT_MS * 2 ** Math.min(this.failures++, 10);
    // Jitter, so that the viewers of a restarted server do not all reconnect at once.
    const wait = Math.max((retryS || 0) * 1000, Math.min(Webrtc.LAST_WAIT_MS, doubled)) * (0.8 + 0.4 * Math.random());
    this.timer = setTimeout(() => this.open(), wait);
    return this.setState({ name: "failed", reason, until: performance.now() + wait });
  }

  /** Closes the connection and the session; reports no state. */
  disconnect() {
    this.attempt++;
    clearTimeout(this.timer);
    if (this.abort) this.abort.abort();
    if (this.peer) this.peer.close();
    this.deleteSession(this.session);
    this.abort = this.peer = this.session = this.connectedAt = null;
  }

  /** Frees the slot on the server at once; the server would notice after 10 s. */
  deleteSession(session) {
    if (!session) return;
    // keepalive: the request is sent even if the page is being closed.
    const options = { method: "DELETE", headers: this.credentials(), keepalive: true, credentials: "omit" };
    fetch(session, options).catch(() => {});
  }
}

/** Offers the abs-capture-time header extension, which Chromium omits by default. */
function offerCaptureTime(transceiver) {
  if (!transceiver.setHeaderExtensionsToNegotiate) return;
  const extensions = transceiver.getHeaderExtensionsToNegotiate();
  for (const extension of extensions) {
    if (extension.uri.endsWith("/abs-capture-time")) extension.direction = "sendrecv";
  }
  transceiver.setHeaderExtensionsToNegotiate(extensions);
}
