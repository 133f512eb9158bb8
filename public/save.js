/*
 * save.js: saves snapshots and recordings to disk, named by the stamp of their (first) frame.
 */
"use strict";

/** "stampcast-1760000000.123456.jpg"; without a stamp, named by the time of saving. */
function savedName(stampText, extension) {
  return `stampcast-${stampText || `saved-${Math.round(Date.now() / 1000)}`}.${extension}`;
}

function saveBlob(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The download has its own reference by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Saves one frame, { stampText, canvas, jpeg }. "jpeg": the camera's JPEG, not encoded again, if
 * there is one (WebRTC has none); "png": the pixels. Resolves to the file's name; null if there is
 * no frame.
 */
async function saveSnapshot(still, format) {
  if (!still) return null;
  let blob = null;
  if (format === "jpeg" && still.jpeg) blob = new Blob([still.jpeg], { type: "image/jpeg" });
  else blob = await new Promise((done) => still.canvas.toBlob(done, `image/${format}`, 0.95));
  const name = savedName(still.stampText, format === "png" ? "png" : "jpg");
  saveBlob(blob, name);
  return name;
}

class Recording {
  /** A recording is held in memory; at this size it is stopped and saved. */
  static MAX_BYTES = 1_000_000_000;
  static TYPES = [
    "video/mp4;codecs=avc1.64003e,mp4a.40.2",
    "video/webm;codecs=vp9,opus",
    "video/webm;codecs=vp8,opus",
    "video/webm",
    "video/mp4",
  ];

  static type() {
    if (typeof MediaRecorder === "undefined") return null;
    return Recording.TYPES.find((type) => MediaRecorder.isTypeSupported(type)) || null;
  }

  /**
   * Stops the tracks of `stream` at its end. `onend({ name, bytes, full })`: it was saved; `full`:
   * it reached the limit.
   */
  constructor(stream, stampText, onend) {
    this.type = Recording.type();
    this.stream = stream;
    this.bytes = 0;
    this.startedAt = performance.now();
    const chunks = [];
    let full = false;
    this.recorder = new MediaRecorder(this.stream, { mimeType: this.type, videoBitsPerSecond: 5_000_000 });
    this.recorder.ondataavailable = (event) => {
      chunks.push(event.data);
      this.bytes += event.data.size;
      if (this.bytes > Recording.MAX_BYTES && this.recorder.state === "recording") {
        full = true;
        this.recorder.stop();
      }
    };
    this.recorder.onstop = () => {
      for (const track of this.stream.getTracks()) track.stop();
      const container = this.type.split(";")[0];
      const name = savedName(stampText, container.split("/")[1]);
      saveBlob(new Blob(chunks, { type: container }), name);
      onend({ name, bytes: this.bytes, full });
    };
    this.recorder.start(1000);
  }

  seconds() {
    return (performance.now() - this.startedAt) / 1000;
  }

  stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
  }
}
