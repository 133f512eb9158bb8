/*
 * downloads.js: reads files that the page saves.
 */
import { readFileSync } from "node:fs";

/** { name, bytes } of the file that the page saves on `action`. */
export async function download(page, action) {
  const [file] = await Promise.all([page.waitForEvent("download"), action()]);
  return { name: file.suggestedFilename(), bytes: readFileSync(await file.path()) };
}

/** { width, seconds, loudest (0 to 1) } of a recording, as the browser decodes it. */
export function decode(page, bytes) {
  return page.evaluate(async (base64) => {
    const data = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const video = document.createElement("video");
    video.src = URL.createObjectURL(new Blob([data]));
    await new Promise((done, failed) => Object.assign(video, { onloadeddata: done, onerror: failed }));
    const audio = await new AudioContext().decodeAudioData(data.buffer);
    const loudest = audio.getChannelData(0).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    return { width: video.videoWidth, seconds: audio.duration, loudest };
  }, bytes.toString("base64"));
}
