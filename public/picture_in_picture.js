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
    const video = webrtc ? this.video : await this.copyOfCanvas();
    video.onleavepictureinpicture = () => this.release(video);
    await video.requestPictureInPicture();
    this.active = video;
    this.onChange();
  }

  /** A <video> that plays what the canvas shows. */
  async copyOfCanvas() {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, srcObject: this.canvas.captureStream() });
    await video.play();
    return video;
  }

  close() {
    if (this.active && document.pictureInPictureElement === this.active) document.exitPictureInPicture();
  }

  release(video) {
    if (video !== this.video) {
      for (const track of video.srcObject.getTracks()) track.stop();
    }
    this.active = null;
    this.onChange();
  }
}
