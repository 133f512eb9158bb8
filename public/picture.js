/*
 * picture.js owns: JPEGs that wait, their decoding off the main thread, and the canvas. It is asked to show the newest
 * frame at once, or each frame at the time that a pacer gives for its stamp. It knows no socket and no sound.
 */
"use strict";

class Picture {
  /** Undecoded frames that wait for their time: full, the oldest goes. */
  static MAX_WAITING = 120;
  /** Decoded frames that wait; each holds width x height x 4 bytes. */
  static MAX_READY = 3;

  /**
   * `onready(frame, local)`: decoded, and would have been at `local` had it not waited for its turn. `onshown(frame, local)`: on its way to the screen at `local`, seconds of
   * performance.now(). `onlost(cause)`: "page" (later than its successor), "undecodable".
   */
  constructor(canvas, { onready, onshown, onlost }) {
    this.canvas = canvas;
    // The decoded bitmap itself becomes the canvas's picture: nothing is painted or copied in this thread.
    this.context = canvas.getContext("bitmaprenderer", { alpha: false });
    this.onready = onready;
    this.onshown = onshown;
    this.onlost = onlost;
    this.due = null; // stamp → local seconds; null: newest at once
    this.background = false; // draw although the page is hidden
    this.waiting = [];
    this.ready = [];
    this.decoding = false;
    this.timer = 0;
    this.generation = 0;
    this.refreshS = 1 / 60;
    this.last = null; // the frame on the canvas
    document.addEventListener("visibilitychange", () => this.pump());
  }

  /** `due(stamp)` gives the local second at which to show a frame; null shows the newest at once. */
  setPacer(due) {
    const changed = (due === null) !== (this.due === null);
    this.due = due;
    if (changed) this.schedule();
  }

  push(frame) {
    frame.arrived = performance.now() / 1000;
    this.waiting.push(frame);
    if (this.waiting.length > Picture.MAX_WAITING) this.dropWaiting();
    this.pump();
  }

  /** Forgets what waits; what is on the canvas stays. */
  clear() {
    this.generation++;
    this.waiting = [];
    for (const { bitmap } of this.ready) bitmap.close();
    this.ready = [];
    clearTimeout(this.timer);
  }

  dropWaiting() {
    this.waiting.shift();
    this.onlost("page");
  }

  /** Starts the next decode, if one is due and none runs: there is never a backlog of decodes. */
  pump() {
    if (document.hidden && !this.background) {
      // Nobody looks: keep the newest for the moment when somebody does.
      this.waiting.splice(0, this.waiting.length - 1);
      return;
    }
    if (this.decoding || this.ready.length >= Picture.MAX_READY) return;
    const now = performance.now() / 1000;
    while (this.waiting.length > 1 && (!this.due || this.due(this.waiting[1].stamp) <= now)) this.dropWaiting();
    const frame = this.waiting.shift();
    if (frame) this.decode(frame, this.generation);
  }

  async decode(frame, generation) {
    this.decoding = true;
    const began = performance.now() / 1000;
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(new Blob([frame.jpeg], { type: "image/jpeg" }));
    } catch {
      this.onlost("undecodable");
    }
    this.decoding = false;
    if (bitmap && generation !== this.generation) bitmap.close();
    else if (bitmap) {
      // Not now: a frame with time to spare is decoded late on purpose, and a delay that counted that as lateness
      // would keep itself up for ever.
      this.onready(frame, frame.arrived + (performance.now() / 1000 - began));
      this.ready.push({ frame, bitmap });
      this.schedule();
    }
    this.pump();
  }

  /** Shows what is due, and sets the timer for what is not. */
  schedule() {
    clearTimeout(this.timer);
    if (this.ready.length === 0) return;
    // A canvas reaches the screen with the next refresh, half of one later on average.
    const soon = performance.now() / 1000 + this.refreshS / 2;
    while (this.ready.length > 1 && (!this.due || this.due(this.ready[1].frame.stamp) <= soon)) {
      this.ready.shift().bitmap.close();
      this.onlost("page");
    }
    const wait = this.due ? this.due(this.ready[0].frame.stamp) - soon : 0;
    // A time further off than any buffer is a mistake of a clock: better shown than withheld.
    if (wait > 0.0005 && wait < 5) {
      this.timer = setTimeout(() => this.schedule(), wait * 1000);
      return;
    }
    const { frame, bitmap } = this.ready.shift();
    this.draw(frame, bitmap);
    if (this.ready.length > 0) this.schedule();
    this.pump();
  }

  draw(frame, bitmap) {
    const { canvas, context } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    context.transferFromImageBitmap(bitmap);
    this.last = frame;
    if (document.hidden) return;
    requestAnimationFrame(() => this.onshown(frame, performance.now() / 1000));
  }
}
