/*
 * frame_history.js: frames and audio of the last minute, for the review of a paused video.
 */
"use strict";

class FrameHistory {
  static SECONDS = 60;
  static MAX_BYTES = 64_000_000;
  static MAX_AUDIO_BYTES = 16_000_000;

  constructor() {
    this.clear();
  }

  clear() {
    this.frames = [];
    this.bytes = 0;
    this.packets = [];
    this.audioBytes = 0;
  }

  /** Adds a frame, { stamp, jpeg, … }; drops the oldest beyond the limits. */
  push(frame) {
    const newest = this.frames[this.frames.length - 1];
    // The server's clock was set back: order by stamp is lost.
    if (newest && frame.stamp < newest.stamp) this.clear();
    this.frames.push(frame);
    this.bytes += frame.jpeg.length;
    while (this.frames.length > 1 && this.isBeyondLimits(frame)) {
      this.bytes -= this.frames.shift().jpeg.length;
    }
  }

  /**
   * Adds an audio packet, { stamp, pcm, … }, with the same limits; `pcm` must not be transferred
   * later.
   */
  pushAudio(packet) {
    const newest = this.packets[this.packets.length - 1];
    if (newest && packet.stamp < newest.stamp) {
      this.packets = [];
      this.audioBytes = 0;
    }
    this.packets.push(packet);
    this.audioBytes += packet.pcm.byteLength;
    while (
      this.audioBytes > FrameHistory.MAX_AUDIO_BYTES ||
      this.packets[0].stamp < packet.stamp - FrameHistory.SECONDS
    ) {
      this.audioBytes -= this.packets.shift().pcm.byteLength;
    }
  }

  isBeyondLimits({ stamp }) {
    return this.bytes > FrameHistory.MAX_BYTES || this.frames[0].stamp < stamp - FrameHistory.SECONDS;
  }
}

/** The frames to review while the video is paused, and which of them is shown. */
class Review {
  /** `current`: the frame on the screen when the video was paused; `packets`: audio. */
  constructor(frames, current, packets) {
    this.frames = frames;
    this.packets = packets;
    const index = frames.indexOf(current);
    this.index = index >= 0 ? index : frames.length - 1;
  }

  get frame() {
    return this.frames[this.index];
  }

  /** Seconds from the shown frame to the newest. */
  secondsBack() {
    return this.frames[this.frames.length - 1].stamp - this.frame.stamp;
  }

  /** The clip from the shown frame to the newest. */
  clip() {
    return new Clip(this.frames.slice(this.index), this.packets);
  }

  /** Moves by `count` frames. */
  step(count) {
    this.index = Math.min(this.frames.length - 1, Math.max(0, this.index + count));
  }

  /** Moves to the frame `index`, from 0 for the oldest. */
  seek(index) {
    this.index = Math.min(this.frames.length - 1, Math.max(0, index));
  }
}
