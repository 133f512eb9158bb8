/*
 * zoom.js: zoom and pan of the video by wheel, pinch, drag, double tap and keys.
 */
"use strict";

/**
 * Scale and offset (px, from the centre of the frame) of the video in its frame. Pure arithmetic.
 */
class ZoomState {
  static MAX_SCALE = 8;

  constructor() {
    this.reset();
  }

  reset() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
  }

  /** Multiplies the scale; the point (px, py), relative to the centre, stays where it is. */
  zoomAt(factor, px, py, width, height) {
    const scale = Math.min(ZoomState.MAX_SCALE, Math.max(1, this.scale * factor));
    const applied = scale / this.scale;
    this.scale = scale;
    this.x = px - (px - this.x) * applied;
    this.y = py - (py - this.y) * applied;
    this.clamp(width, height);
  }

  panBy(dx, dy, width, height) {
    this.x += dx;
    this.y += dy;
    this.clamp(width, height);
  }

  /** Keeps the frame covered by video. */
  clamp(width, height) {
    const [maxX, maxY] = [(width * (this.scale - 1)) / 2, (height * (this.scale - 1)) / 2];
    this.x = Math.min(maxX, Math.max(-maxX, this.x));
    this.y = Math.min(maxY, Math.max(-maxY, this.y));
  }
}

class Zoom {
  /** Scale after a double tap. */
  static TAP_SCALE = 2.5;
  static TAP_MS = 350;
  static TAP_PX = 30;

  /**
   * Transforms `media` in `frame`; `onChange(scale)`. `isFramed`: the page around this one scrolls
   * by wheel, unless the video is zoomed.
   */
  constructor(frame, media, isFramed, onChange) {
    this.isFramed = isFramed;
    this.frame = frame;
    this.media = media;
    this.onChange = onChange;
    this.state = new ZoomState();
    this.pointers = new Map(); // id -> { x, y }
    this.lastTap = null;
    this.pointerType = ""; // of the last press
    frame.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    frame.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    frame.addEventListener("pointermove", (event) => this.onPointerMove(event));
    for (const type of ["pointerup", "pointercancel"]) {
      frame.addEventListener(type, (event) => this.onPointerEnd(event));
    }
    new ResizeObserver(() => this.apply(() => this.state.clamp(...this.size()))).observe(frame);
  }

  size() {
    return [this.frame.clientWidth, this.frame.clientHeight];
  }

  /** Changes the state and shows it. */
  apply(change) {
    const { state } = this;
    const before = `${state.scale} ${state.x} ${state.y}`;
    change();
    if (before === `${state.scale} ${state.x} ${state.y}`) return;
    const zoomed = state.scale > 1;
    this.media.style.transform = zoomed ? `translate(${state.x}px, ${state.y}px) scale(${state.scale})` : "";
    this.onChange(state.scale);
  }

  reset() {
    this.apply(() => this.state.reset());
  }

  /** Zooms around a point of the screen, by default the centre of the frame. */
  zoomBy(factor, point) {
    const box = this.frame.getBoundingClientRect();
    const [px, py] = point ? [point.x - box.left - box.width / 2, point.y - box.top - box.height / 2] : [0, 0];
    this.apply(() => this.state.zoomAt(factor, px, py, ...this.size()));
  }

  panBy(dx, dy) {
    this.apply(() => this.state.panBy(dx, dy, ...this.size()));
  }

  onWheel(event) {
    if (this.isFramed && !event.ctrlKey && this.state.scale === 1) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    // A pinch on a touchpad is a wheel event with ctrlKey and small deltas.
    const speed = event.ctrlKey ? 0.01 : 0.002;
    this.zoomBy(Math.exp(-pixels * speed), { x: event.clientX, y: event.clientY });
  }

  onPointerDown(event) {
    if (event.button !== 0 || event.target.closest("button")) return;
    this.pointerType = event.pointerType;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pointers.size > 1) this.lastTap = null;
    this.frame.setPointerCapture(event.pointerId);
  }

  onPointerMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const after = { x: event.clientX, y: event.clientY };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, after);
    if (!other) {
      this.panBy(after.x - before.x, after.y - before.y);
      return;
    }
    const [, fixed] = other;
    const distance = (point) => Math.max(1, Math.hypot(point.x - fixed.x, point.y - fixed.y));
    this.zoomBy(distance(after) / distance(before), { x: (after.x + fixed.x) / 2, y: (after.y + fixed.y) / 2 });
    // The centre of the two fingers moves half as far as the one finger.
    this.panBy((after.x - before.x) / 2, (after.y - before.y) / 2);
  }

  onPointerEnd(event) {
    const alone = this.pointers.size === 1;
    if (!this.pointers.delete(event.pointerId)) return;
    if (event.type === "pointerup" && event.pointerType === "touch" && alone) this.onTap(event);
  }

  /** A double tap zooms in, or out again. */
  onTap({ clientX: x, clientY: y, timeStamp }) {
    const before = this.lastTap;
    this.lastTap = { x, y, timeStamp };
    if (!before || timeStamp - before.timeStamp > Zoom.TAP_MS) return;
    if (Math.hypot(x - before.x, y - before.y) > Zoom.TAP_PX) return;
    this.lastTap = null;
    if (this.state.scale > 1) this.reset();
    else this.zoomBy(Zoom.TAP_SCALE, { x, y });
  }
}
