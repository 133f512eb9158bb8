/*
 * webrtc.js owns: the WebRTC connection to the server's /whep (draft-ietf-wish-whep): offer, answer, the session's end,
 * the states between, and when to try again. It shows nothing: film.js does.
 *
 * States, told by onstate({ name, … }), named as RTCPeerConnection names them:
 *   new            the offer is on its way to the server
 *   connecting     answered; a way through the network is looked for
 *   connected      stream, peer
 *   disconnected   nothing comes just now; it may come back by itself
 *   failed         reason, until (local ms; null: tried again only when asked)
 *   closed         nobody wants it
 * Reasons: "unsupported" (by this browser), "absent" (on this server), "denied", "codec" (none in common), "full",
 *   "unanswered", "blocked" (no way through the network), "lost" (it had been connected)
 */
"use strict";

class Webrtc {
  /** From the offer to a connected peer; the server gives up after the same time. */
  static CONNECT_MS = 15_000;
  /** What is disconnected for so long is lost. */
  static LOST_MS = 3_000;
  static FIRST_WAIT_MS = 2_000;
  static LAST_WAIT_MS = 60_000;
  /** A connection that lasted so long was a good one: the waits begin anew. */
  static GOOD_MS = 30_000;
  /** No second try will go better, until the server is another. */
  static FINAL = ["unsupported", "absent", "denied", "codec"];
  static REASONS = { 401: "denied", 403: "denied", 404: "absent", 405: "absent", 410: "absent", 422: "codec", 501: "absent", 503: "full" };

  constructor(onstate) {
    this.onstate = onstate;
    this.state = { name: "closed" };
    this.attempt = 0;
    this.failures = 0;
    this.peer = null;
    this.session = null;
    window.addEventListener("pagehide", () => this.leave());
    // A page that comes back out of the browser's memory finds its connection gone.
    window.addEventListener("pageshow", (event) => event.persisted && this.state.name !== "closed" && this.open());
  }

  /** Leaves whatever there is and connects to `server` (of address.js). */
  start(server, token) {
    this.server = server;
    this.token = token;
    this.failures = 0;
    this.open();
  }

  stop() {
    this.leave();
    if (this.state.name !== "closed") this.tell({ name: "closed" });
  }

  /** The server is there again: what failed, or stands still, is tried at once. */
  again() {
    if (["connected", "disconnected", "failed"].includes(this.state.name)) this.open();
  }

  tell(state) {
    this.state = state;
    this.onstate(state);
  }

  async open() {
    this.leave();
    const attempt = this.attempt;
    if (typeof RTCPeerConnection === "undefined") return this.fail("unsupported");
    this.abort = new AbortController();
    this.tell({ name: "new" });
    this.timer = setTimeout(() => this.fail(this.session ? "blocked" : "unanswered"), Webrtc.CONNECT_MS);
    const peer = new RTCPeerConnection();
    const stream = new MediaStream();
    this.peer = peer;
    peer.ontrack = ({ track }) => stream.addTrack(track);
    peer.onconnectionstatechange = () => attempt === this.attempt && this.follow(peer, stream);
    for (const kind of ["video", "audio"]) askForCaptureTime(peer.addTransceiver(kind, { direction: "recvonly" }));
    try {
      await peer.setLocalDescription();
      const { sdp, status, retryS } = await this.offer(peer.localDescription.sdp, attempt);
      if (attempt !== this.attempt) return undefined;
      if (!sdp) return this.fail(Webrtc.REASONS[status] || "unanswered", retryS);
      this.tell({ name: "connecting" });
      await peer.setRemoteDescription({ type: "answer", sdp });
    } catch {
      // The request could not be sent, or what came back is no answer.
      if (attempt === this.attempt) this.fail("unanswered");
    }
    return undefined;
  }

  /** { sdp } of the answer; else { status, retryS }. */
  async offer(sdp, attempt) {
    const endpoint = `${this.server.base}whep`;
    const headers = { ...this.credentials(), "content-type": "application/sdp" };
    const { signal } = this.abort;
    const response = await fetch(endpoint, { method: "POST", headers, body: sdp, signal, credentials: "omit" });
    if (response.status !== 201) return { status: response.status, retryS: Number(response.headers.get("retry-after")) };
    // Only its last part: it is relative to the endpoint, but older servers gave their own path, which a proxy's prefix makes wrong.
    const id = (response.headers.get("location") || "").split("/").pop();
    const session = id ? `${endpoint}/${id}` : null;
    if (attempt === this.attempt) this.session = session;
    else this.end(session);
    return { sdp: await response.text() };
  }

  credentials() {
    return this.token ? { authorization: `Bearer ${this.token}` } : {};
  }

  follow(peer, stream) {
    switch (peer.connectionState) {
      case "connected":
        clearTimeout(this.timer);
        this.connectedAt ??= performance.now();
        this.tell({ name: "connected", peer, stream });
        break;
      case "disconnected":
        this.tell({ name: "disconnected" });
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
    this.leave();
    if (Webrtc.FINAL.includes(reason)) return this.tell({ name: "failed", reason, until: null });
    const doubled = Webrtc.FIRST_WAIT_MS * 2 ** Math.min(this.failures++, 10);
    // A random part keeps a hundred viewers of a restarted server from coming back in the same instant.
    const wait = Math.max((retryS || 0) * 1000, Math.min(Webrtc.LAST_WAIT_MS, doubled)) * (0.8 + 0.4 * Math.random());
    this.timer = setTimeout(() => this.open(), wait);
    return this.tell({ name: "failed", reason, until: performance.now() + wait });
  }

  /** Ends the connection and the session, without a word to the page. */
  leave() {
    this.attempt++;
    clearTimeout(this.timer);
    if (this.abort) this.abort.abort();
    if (this.peer) this.peer.close();
    this.end(this.session);
    this.abort = this.peer = this.session = this.connectedAt = null;
  }

  /** Frees the place on the server at once; it would notice by itself after 10 s. */
  end(session) {
    if (!session) return;
    // keepalive: it is sent even while the page goes away.
    const options = { method: "DELETE", headers: this.credentials(), keepalive: true, credentials: "omit" };
    fetch(session, options).catch(() => {});
  }
}

/** Asks for the abs-capture-time header extension, which Chromium leaves out unless told. */
function askForCaptureTime(transceiver) {
  if (!transceiver.setHeaderExtensionsToNegotiate) return;
  const extensions = transceiver.getHeaderExtensionsToNegotiate();
  for (const extension of extensions) {
    if (extension.uri.endsWith("/abs-capture-time")) extension.direction = "sendrecv";
  }
  transceiver.setHeaderExtensionsToNegotiate(extensions);
}
