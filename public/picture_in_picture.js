/*
 * picture_in_picture.js: shows the video in a small window above other windows.
 */
"use strict";

class PictureInPicture {
  /** `canvas` and `video`: where frames are shown, by WebSocket and WebRTC. `onChange()`: opened or closed. */
  constructor(canvas, video, onChange) {
    this.canvas = canvas;
    this.video = video;
    this.onChange = onChange;
    this.active = null; // the <video> in the window
    this.opening = false;
  }

  static isSupported() {
    return Boolean(document.pictureInPictureEnabled);
  }

  /** Opens the window, or closes it. `webrtc`: which of the two is visible. Needs a click. */
  async toggle(webrtc) {
    if (this.active) {
      this.close();
      return;
    }
    if (this.opening) return;
    this.opening = true;
    const video = webrtc ? this.video : this.copyOfCanvas();
    video.onleavepictureinpicture = () => this.release(video);
    try {
      if (!webrtc) await video.play();
      await video.requestPictureInPicture();
      this.active = video;
    } catch (error) {
      this.stopCopy(video);
      throw error;
    } finally {
      this.opening = false;
    }
    this.onChange();
  }

  /** A <video> of what the canvas shows. */
  copyOfCanvas() {
    const video = document.createElement("video");
    return Object.assign(video, { muted: true, playsInline: true, srcObject: this.canvas.captureStream() });
  }

  stopCopy(video) {
    if (video === this.video) return;
    for (const track of video.srcObject.getTracks()) track.stop();
  }

  close() {
    if (this.active && document.pictureInPictureElement === this.active) document.exitPictureInPicture();
  }

  release(video) {
    this.stopCopy(video);
    this.active = null;
    this.onChange();
  }
}
