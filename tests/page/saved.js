/*
 * saved.js owns: what the page saves, caught and looked into.
 */
import { readFileSync } from "node:fs";

/** { name, bytes } of the file that `action` makes the page save. */
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
    const sound = await new AudioContext().decodeAudioData(data.buffer);
    const loudest = sound.getChannelData(0).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    return { width: video.videoWidth, seconds: sound.duration, loudest };
  }, bytes.toString("base64"));
}
