/*
 * matroska.js: writes a clip as Matroska (RFC 9559): the camera's JPEG frames and PCM audio as they
 * were received, at their capture times. The date of the segment plus the time of a block is its
 * capture time, in microseconds.
 */
"use strict";

const EBML = {
  header: 0x1a45dfa3,
  docType: 0x4282,
  docTypeVersion: 0x4287,
  docTypeReadVersion: 0x4285,
  segment: 0x18538067,
  info: 0x1549a966,
  timestampScale: 0x2ad7b1,
  duration: 0x4489,
  dateUtc: 0x4461,
  muxingApp: 0x4d80,
  writingApp: 0x5741,
  tracks: 0x1654ae6b,
  trackEntry: 0xae,
  trackNumber: 0xd7,
  trackUid: 0x73c5,
  trackType: 0x83,
  flagLacing: 0x9c,
  codecId: 0x86,
  video: 0xe0,
  pixelWidth: 0xb0,
  pixelHeight: 0xba,
  audio: 0xe1,
  samplingFrequency: 0xb5,
  channels: 0x9f,
  bitDepth: 0x6264,
  cluster: 0x1f43b675,
  timestamp: 0xe7,
  simpleBlock: 0xa3,
  cues: 0x1c53bb6b,
  cuePoint: 0xbb,
  cueTime: 0xb3,
  cueTrackPositions: 0xb7,
  cueTrack: 0xf7,
  cueClusterPosition: 0xf1,
};

/** Big-endian bytes of a non-negative integer, at least `bytes`. */
function bigEndian(value, bytes = 1) {
  const out = [];
  for (let rest = BigInt(value); rest > 0n || out.length < bytes; rest >>= 8n) out.unshift(Number(rest & 0xffn));
  return Uint8Array.from(out);
}

function float64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value);
  return bytes;
}

const ascii = (text) => new TextEncoder().encode(text);

/** An element as a list of byte arrays: id, size, content. The content may itself be a list. */
function element(id, ...content) {
  const parts = content.flat(Infinity);
  const size = bytesOf(parts);
  // Eight bytes hold any size: 0x01, then 56 bits.
  return [bigEndian(id), Uint8Array.of(0x01), bigEndian(size, 7), ...parts];
}

const bytesOf = (parts) => parts.reduce((sum, part) => sum + part.byteLength, 0);

class Clip {
  /** Blocks count from their cluster in 16 bits of microseconds. */
  static MAX_CLUSTER_US = 32_000;
  /** Microseconds from 1970 to 2001, where Matroska's dates begin. */
  static EPOCH_US = 978_307_200_000_000;
  static VIDEO = 1;
  static AUDIO = 2;

  /**
   * `frames`: { stampText, width, height, jpeg }, `packets`: { stampText, rate, channels, pcm },
   * both in order. The clip ends where the size of the frames changes, since a track has one.
   */
  constructor(frames, packets) {
    const [first] = frames;
    const changed = frames.findIndex(({ width, height }) => width !== first.width || height !== first.height);
    const video = changed < 0 ? frames : frames.slice(0, changed);
    const startUs = microseconds(first.stampText);
    const endUs = microseconds(video[video.length - 1].stampText);
    const heard = packets.filter(({ stampText }) => {
      const atUs = microseconds(stampText);
      return atUs >= startUs && atUs <= endUs;
    });
    // A track has one format: that of the clip's first audio packet. Without one there is no track.
    const [sound] = heard;
    const blocks = video.map((frame) => this.block(Clip.VIDEO, frame, frame.jpeg, startUs));
    for (const packet of heard) {
      if (packet.rate !== sound.rate || packet.channels !== sound.channels) continue;
      const { buffer, byteOffset, byteLength } = packet.pcm;
      blocks.push(this.block(Clip.AUDIO, packet, new Uint8Array(buffer, byteOffset, byteLength), startUs));
    }
    blocks.sort((a, b) => a.us - b.us || a.track - b.track);
    this.seconds = (endUs - startUs) / 1e6;
    const { clusters, cues } = this.clusters(blocks);
    const head = [...this.info(startUs, endUs - startUs), ...this.tracks(first, sound)];
    const headBytes = bytesOf(head);
    const cuePoints = cues.map(({ us, at }) =>
      element(
        EBML.cuePoint,
        element(EBML.cueTime, bigEndian(us)),
        element(
          EBML.cueTrackPositions,
          element(EBML.cueTrack, bigEndian(Clip.VIDEO)),
          element(EBML.cueClusterPosition, bigEndian(headBytes + at)),
        ),
      ),
    );
    this.parts = [
      ...element(
        EBML.header,
        element(EBML.docType, ascii("matroska")),
        element(EBML.docTypeVersion, bigEndian(4)),
        element(EBML.docTypeReadVersion, bigEndian(2)),
      ),
      ...element(EBML.segment, head, clusters, element(EBML.cues, cuePoints)),
    ];
  }

  block(track, { stampText }, payload, startUs) {
    return { track, payload, us: microseconds(stampText) - startUs };
  }

  info(startUs, durationUs) {
    return element(
      EBML.info,
      element(EBML.timestampScale, bigEndian(1000)),
      element(EBML.duration, float64(durationUs)),
      element(EBML.dateUtc, bigEndian(BigInt(startUs - Clip.EPOCH_US) * 1000n, 8)),
      element(EBML.muxingApp, ascii("stampcast")),
      element(EBML.writingApp, ascii("stampcast")),
    );
  }

  tracks({ width, height }, sound) {
    const track = (number, type, codec, ...settings) =>
      element(
        EBML.trackEntry,
        element(EBML.trackNumber, bigEndian(number)),
        element(EBML.trackUid, bigEndian(number)),
        element(EBML.trackType, bigEndian(type)),
        element(EBML.flagLacing, bigEndian(0)),
        element(EBML.codecId, ascii(codec)),
        settings,
      );
    const size = [element(EBML.pixelWidth, bigEndian(width)), element(EBML.pixelHeight, bigEndian(height))];
    const tracks = [track(Clip.VIDEO, 1, "V_MJPEG", element(EBML.video, size))];
    if (sound) {
      const format = [
        element(EBML.samplingFrequency, float64(sound.rate)),
        element(EBML.channels, bigEndian(sound.channels)),
        element(EBML.bitDepth, bigEndian(16)),
      ];
      tracks.push(track(Clip.AUDIO, 2, "A_PCM/INT/LIT", element(EBML.audio, format)));
    }
    return element(EBML.tracks, tracks);
  }

  /**
   * { clusters: parts, cues: [{ us, at }] }: a cue for each cluster with a frame, `at` bytes after
   * the first.
   */
  clusters(blocks) {
    const clusters = [];
    const cues = [];
    let at = 0;
    for (let from = 0; from < blocks.length; ) {
      const { us } = blocks[from];
      let to = from;
      while (to < blocks.length && blocks[to].us - us <= Clip.MAX_CLUSTER_US) to++;
      const group = blocks.slice(from, to);
      const cluster = element(
        EBML.cluster,
        element(EBML.timestamp, bigEndian(us)),
        group.map(({ track, us: blockUs, payload }) => {
          // Track number, time after the cluster, flags: keyframe.
          const header = [Uint8Array.of(0x80 | track), bigEndian(blockUs - us, 2), Uint8Array.of(0x80)];
          return element(EBML.simpleBlock, header, payload);
        }),
      );
      if (group.some(({ track }) => track === Clip.VIDEO)) cues.push({ us, at });
      at += bytesOf(cluster);
      clusters.push(...cluster);
      from = to;
    }
    return { clusters, cues };
  }

  blob() {
    return new Blob(this.parts, { type: "video/x-matroska" });
  }
}

/** Microseconds of UNIX seconds with six decimals; exact, below 2^53. */
function microseconds(stampText) {
  return Number(stampText.replace(".", ""));
}
