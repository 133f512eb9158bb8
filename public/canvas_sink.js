/*
 * canvas_sink.js: decodes JPEG frames off the main thread and shows them on the canvas: the newest
 * at once, or each at the time that a pacer gives for its stamp.
 */
"use strict";

class CanvasSink {
  /** Length of the queue of undecoded frames. When full, the oldest is dropped. */
  static MAX_WAITING = 120;
  /** Length of the queue of decoded frames, of width x height x 4 bytes each. */
  static MAX_READY = 3;

  /**
   * `onDecoded(frame, local)`: decoded; `local` is when it would have been without waiting in the
   * queue.
   * `onShown(frame, local)`: presented at `local`, seconds of performance.now().
   * `onDropped(cause)`: "page" (later than its successor) or "undecodable".
   */
  constructor(canvas, { onDecoded, onShown, onDropped }) {
    this.canvas = canvas;
    // Transfers the decoded bitmap: nothing is painted or copied in this thread.
    this.context = canvas.getContext("bitmaprenderer", { alpha: false });
    this.onDecoded = onDecoded;
    this.onShown = onShown;
    this.onDropped = onDropped;
    this.due = null; // stamp -> local seconds; null: show the newest at once
    this.background = false; // draw while the page is hidden (for a recording)
    this.waiting = [];
    this.ready = [];
    this.decoding = false;
    this.timer = 0;
    this.generation = 0;
    this.refreshS = 1 / 60;
    this.paused = false;
    this.stills = 0;
    this.last = null; // the frame on the canvas
    document.addEventListener("visibilitychange", () => this.pump());
  }

  /**
   * `due(stamp)` returns the local time at which to show a frame; null shows the newest at once.
   */
  setPacer(due) {
    const changed = (due === null) !== (this.due === null);
    this.due = due;
    if (changed) this.schedule();
  }

  /** Stops showing live frames, until resume(); showStill() shows others. */
  pause() {
    this.clear();
    this.paused = true;
  }

  resume() {
    this.paused = false;
    this.stills++;
    this.pump();
  }

  /** Shows this frame of a paused video. */
  async showStill(frame) {
    const still = ++this.stills;
    const bitmap = await createImageBitmap(new Blob([frame.jpeg], { type: "image/jpeg" })).catch(() => null);
    if (!bitmap) return;
    if (still === this.stills) this.draw(frame, bitmap);
    else bitmap.close();
  }

  push(frame) {
    frame.arrived = performance.now() / 1000;
    this.waiting.push(frame);
    if (this.waiting.length > CanvasSink.MAX_WAITING) this.dropWaiting();
    this.pump();
  }

  /** Empties the queues; the canvas keeps its frame. */
  clear() {
    this.generation++;
    this.waiting = [];
    for (const { bitmap } of this.ready) bitmap.close();
    this.ready = [];
    clearTimeout(this.timer);
  }

  dropWaiting() {
    this.waiting.shift();
    this.onDropped("page");
  }

  /** Starts the next decode if one is due and none is running: decodes never queue up. */
  pump() {
    if (this.paused || (document.hidden && !this.background)) {
      // Keep the newest frame for later.
      this.waiting.splice(0, this.waiting.length - 1);
      return;
    }
    if (this.decoding || this.ready.length >= CanvasSink.MAX_READY) return;
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
      this.onDropped("undecodable");
    }
    this.decoding = false;
    if (bitmap && generation !== this.generation) bitmap.close();
    else if (bitmap) {
      // Not the current time: a frame that is early is decoded late on purpose, and counting that
      // as delay would keep the delay high permanently.
      this.onDecoded(frame, frame.arrived + (performance.now() / 1000 - began));
      this.ready.push({ frame, bitmap });
      this.schedule();
    }
    this.pump();
  }

  /** Shows the frame that is due, else sets a timer for the next. */
  schedule() {
    clearTimeout(this.timer);
    if (this.ready.length === 0) return;
    // A canvas is presented at the next screen refresh, half an interval later on average.
    const soon = performance.now() / 1000 + this.refreshS / 2;
    while (this.ready.length > 1 && (!this.due || this.due(this.ready[1].frame.stamp) <= soon)) {
      this.ready.shift().bitmap.close();
      this.onDropped("page");
    }
    const wait = this.due ? this.due(this.ready[0].frame.stamp) - soon : 0;
    // A time further off than any buffer is a clock error: show the frame.
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
    requestAnimationFrame(() => this.onShown(frame, performance.now() / 1000));
  }
}
