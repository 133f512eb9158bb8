/*
 * wire.js: parses the messages of /stream, text and binary. A packet is one of
 *   { kind: "video", stamp, stampText, sequence, width, height, jpeg: Uint8Array }
 *   { kind: "audio", stamp, stampText, sequence, rate, channels, pcm: Int16Array }
 *   { kind: "event", stamp, event: { event: "gap", … } }
 *   { kind: "pong", echo, received, sent }
 * `stamp` is UNIX time in seconds (resolution 0.3 µs), `stampText` the same with six decimals, as
 * in the text format. In text, `sequence` is null, `rate` and `channels` are 0 (GET /info has
 * them).
 */
"use strict";

const BINARY_HEADER_BYTES = 24;

/** Parses a text message; null if it is of no known kind. */
function parseText(text) {
  const first = text.indexOf(":");
  switch (text.slice(0, first)) {
    case "video": {
      const second = text.indexOf(":", first + 1);
      const third = text.indexOf(":", second + 1);
      const fourth = text.indexOf(":", third + 1);
      if (second < 0 || third < 0 || fourth < 0) return null;
      const stampText = text.slice(first + 1, second);
      const jpeg = decodeBase64(text.slice(fourth + 1));
      if (!jpeg) return null;
      return {
        kind: "video",
        stamp: Number(stampText),
        stampText,
        sequence: null,
        width: Number(text.slice(second + 1, third)),
        height: Number(text.slice(third + 1, fourth)),
        jpeg,
      };
    }
    case "audio": {
      const second = text.indexOf(":", first + 1);
      if (second < 0) return null;
      const stampText = text.slice(first + 1, second);
      const bytes = decodeBase64(text.slice(second + 1));
      if (!bytes) return null;
      return {
        kind: "audio",
        stamp: Number(stampText),
        stampText,
        sequence: null,
        rate: 0,
        channels: 0,
        pcm: samplesOf(bytes),
      };
    }
    case "event": {
      const second = text.indexOf(":", first + 1);
      if (second < 0) return null;
      return eventPacket(Number(text.slice(first + 1, second)), text.slice(second + 1));
    }
    case "pong": {
      const parts = text.split(":");
      if (parts.length !== 4) return null;
      return { kind: "pong", echo: parts[1], received: Number(parts[2]), sent: Number(parts[3]) };
    }
    default:
      return null;
  }
}

/** Parses a binary message (an ArrayBuffer); null if it is of no known kind. */
function parseBinary(buffer) {
  if (buffer.byteLength < BINARY_HEADER_BYTES) return null;
  const view = new DataView(buffer);
  const headerBytes = view.getUint8(1);
  if (headerBytes < BINARY_HEADER_BYTES || headerBytes > buffer.byteLength) return null;
  const sequence = view.getUint32(4, true);
  const ns = view.getBigUint64(8, true);
  const stamp = Number(ns) / 1e9;
  const payload = new Uint8Array(buffer, headerBytes);
  switch (String.fromCharCode(view.getUint8(0))) {
    case "v":
      return {
        kind: "video",
        stamp,
        stampText: stampFromNs(ns),
        sequence,
        width: view.getUint16(16, true),
        height: view.getUint16(18, true),
        jpeg: payload,
      };
    case "a":
      return {
        kind: "audio",
        stamp,
        stampText: stampFromNs(ns),
        sequence,
        rate: view.getUint32(16, true),
        channels: view.getUint16(20, true),
        pcm: samplesOf(payload),
      };
    case "e":
      return eventPacket(stamp, new TextDecoder().decode(payload));
    default:
      return null;
  }
}

/** UNIX seconds with six decimals, truncated, as in the text format. */
function stampFromNs(ns) {
  const micros = ns / 1000n;
  return `${micros / 1000000n}.${String(micros % 1000000n).padStart(6, "0")}`;
}

function eventPacket(stamp, json) {
  let event;
  try {
    event = JSON.parse(json);
  } catch {
    return null;
  }
  if (!event || typeof event.event !== "string") return null;
  return { kind: "event", stamp, event };
}

/** Little-endian samples; copied only if the bytes are not aligned to a sample. */
function samplesOf(bytes) {
  const samples = bytes.byteLength >> 1;
  if (bytes.byteOffset % 2 === 0) return new Int16Array(bytes.buffer, bytes.byteOffset, samples);
  return new Int16Array(bytes.slice(0, samples * 2).buffer);
}

/**
 * Decodes base64; null if invalid. Uint8Array.fromBase64, where the browser has it, is 20 times
 * faster.
 */
function decodeBase64(text) {
  try {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  } catch {
    return null;
  }
}
