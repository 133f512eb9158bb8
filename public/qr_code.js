/*
 * qr_code.js: encodes a text as a QR code (ISO/IEC 18004): byte mode, error correction level M,
 * versions 1 to 10, so at most 213 bytes.
 */
"use strict";

/** Level M, by version: error correction codewords of each block, and the number of blocks. */
const QR_EC_CODEWORDS = [0, 10, 16, 26, 18, 24, 16, 18, 22, 22, 26];
const QR_BLOCKS = [0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5];

/** Inverts the module at (x, y) where it is true. */
const QR_MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** Rows of modules, true is dark; null if the text is too long. */
function encodeQr(text) {
  const bytes = new TextEncoder().encode(text);
  for (let version = 1; version < QR_BLOCKS.length; version++) {
    const codewords = qrDataCodewords(bytes, version);
    if (codewords) return new QrMatrix(version, qrWithErrorCorrection(codewords, version)).best();
  }
  return null;
}

/** Bits for data and error correction in a symbol of this version. */
function qrRawBits(version) {
  const alignments = version > 1 ? Math.floor(version / 7) + 2 : 0;
  const alignmentBits = alignments > 0 ? (25 * alignments - 10) * alignments - 55 : 0;
  return (16 * version + 128) * version + 64 - alignmentBits - (version >= 7 ? 36 : 0);
}

/** The text with mode, length and padding; null if it does not fit. */
function qrDataCodewords(bytes, version) {
  const capacity = Math.floor(qrRawBits(version) / 8) - QR_EC_CODEWORDS[version] * QR_BLOCKS[version];
  const lengthBits = version < 10 ? 8 : 16;
  if (4 + lengthBits + 8 * bytes.length > 8 * capacity) return null;
  const bits = [];
  const append = (value, count) => {
    for (let i = count - 1; i >= 0; i--) bits.push((value >> i) & 1);
  };
  append(4, 4);
  append(bytes.length, lengthBits);
  for (const byte of bytes) append(byte, 8);
  append(0, Math.min(4, 8 * capacity - bits.length));
  append(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < 8 * capacity; pad ^= 0xec ^ 0x11) append(pad, 8);
  const byteAt = (i) => bits.slice(8 * i, 8 * i + 8).reduce((sum, bit) => (sum << 1) | bit, 0);
  return Array.from({ length: capacity }, (_, i) => byteAt(i));
}

/** Splits the codewords into blocks, adds error correction to each, and interleaves them. */
function qrWithErrorCorrection(codewords, version) {
  const [count, ecLength] = [QR_BLOCKS[version], QR_EC_CODEWORDS[version]];
  const total = Math.floor(qrRawBits(version) / 8);
  const shortBlocks = count - (total % count);
  const shortLength = Math.floor(total / count) - ecLength;
  const divisor = reedSolomonDivisor(ecLength);
  const blocks = [];
  for (let i = 0, from = 0; i < count; i++) {
    const length = shortLength + (i < shortBlocks ? 0 : 1);
    const data = codewords.slice(from, from + length);
    from += length;
    blocks.push({ data, correction: reedSolomonRemainder(data, divisor) });
  }
  const out = [];
  for (let i = 0; i <= shortLength; i++) {
    for (const { data } of blocks) if (i < data.length) out.push(data[i]);
  }
  for (let i = 0; i < ecLength; i++) for (const { correction } of blocks) out.push(correction[i]);
  return out;
}

/** Product in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1. */
function gfMultiply(a, b) {
  let product = 0;
  for (let i = 7; i >= 0; i--) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    product ^= ((b >> i) & 1) * a;
  }
  return product;
}

function reedSolomonDivisor(degree) {
  const divisor = new Array(degree).fill(0);
  divisor[degree - 1] = 1;
  let root = 1;
  for (let i = 0; i < degree; i++) {
    for (let j = 0; j < degree; j++) {
      divisor[j] = gfMultiply(divisor[j], root) ^ (j + 1 < degree ? divisor[j + 1] : 0);
    }
    root = gfMultiply(root, 2);
  }
  return divisor;
}

function reedSolomonRemainder(data, divisor) {
  const remainder = divisor.map(() => 0);
  for (const byte of data) {
    const factor = byte ^ remainder.shift();
    remainder.push(0);
    divisor.forEach((coefficient, i) => {
      remainder[i] ^= gfMultiply(coefficient, factor);
    });
  }
  return remainder;
}

class QrMatrix {
  constructor(version, codewords) {
    this.version = version;
    this.size = 17 + 4 * version;
    const empty = () => Array.from({ length: this.size }, () => new Array(this.size).fill(false));
    this.modules = empty();
    this.reserved = empty(); // function patterns, which are not masked
    this.drawFunctionPatterns();
    this.drawCodewords(codewords);
  }

  /** The modules with the mask of the least penalty. */
  best() {
    let best = null;
    for (let mask = 0; mask < QR_MASKS.length; mask++) {
      this.drawFormat(mask);
      const modules = this.modules.map((row, y) =>
        row.map((dark, x) => dark !== (!this.reserved[y][x] && QR_MASKS[mask](x, y))),
      );
      const penalty = qrPenalty(modules);
      if (!best || penalty < best.penalty) best = { penalty, modules };
    }
    return best.modules;
  }

  set(x, y, dark) {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return;
    this.modules[y][x] = dark;
    this.reserved[y][x] = true;
  }

  drawFunctionPatterns() {
    const { size, version } = this;
    for (let i = 0; i < size; i++) {
      this.set(6, i, i % 2 === 0);
      this.set(i, 6, i % 2 === 0);
    }
    // Rings of a finder pattern with its separator, and of an alignment pattern.
    for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
      this.drawRings(x, y, 4, [true, true, false, true, false]);
    }
    const positions = this.alignmentPositions();
    const last = positions.length - 1;
    positions.forEach((y, i) => {
      positions.forEach((x, j) => {
        const isFinder = (i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0);
        if (!isFinder) this.drawRings(x, y, 2, [true, false, true]);
      });
    });
    this.drawFormat(0);
    if (version < 7) return;
    let remainder = version;
    for (let i = 0; i < 12; i++) remainder = (remainder << 1) ^ ((remainder >> 11) * 0x1f25);
    const bits = (version << 12) | remainder;
    for (let i = 0; i < 18; i++) {
      const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
      this.set(a, b, ((bits >> i) & 1) === 1);
      this.set(b, a, ((bits >> i) & 1) === 1);
    }
  }

  drawRings(centerX, centerY, radius, rings) {
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) {
        this.set(centerX + dx, centerY + dy, rings[Math.max(Math.abs(dx), Math.abs(dy))]);
      }
    }
  }

  alignmentPositions() {
    if (this.version === 1) return [];
    const count = Math.floor(this.version / 7) + 2;
    const step = Math.ceil((this.size - 13) / (2 * count - 2)) * 2;
    const positions = [6];
    for (let at = this.size - 7; positions.length < count; at -= step) positions.splice(1, 0, at);
    return positions;
  }

  /** Format information: level M (bits 00) and the mask, twice. */
  drawFormat(mask) {
    const { size } = this;
    let remainder = mask;
    for (let i = 0; i < 10; i++) remainder = (remainder << 1) ^ ((remainder >> 9) * 0x537);
    const bits = ((mask << 10) | remainder) ^ 0x5412;
    const bit = (i) => ((bits >> i) & 1) === 1;
    for (let i = 0; i <= 5; i++) this.set(8, i, bit(i));
    this.set(8, 7, bit(6));
    this.set(8, 8, bit(7));
    this.set(7, 8, bit(8));
    for (let i = 9; i < 15; i++) this.set(14 - i, 8, bit(i));
    for (let i = 0; i < 8; i++) this.set(size - 1 - i, 8, bit(i));
    for (let i = 8; i < 15; i++) this.set(8, size - 15 + i, bit(i));
    this.set(8, size - 8, true);
  }

  /** In columns of two from the right, upwards and downwards in turn. */
  drawCodewords(codewords) {
    const { size } = this;
    let at = 0;
    for (let right = size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5;
      for (let vertical = 0; vertical < size; vertical++) {
        for (const x of [right, right - 1]) {
          const upwards = ((right + 1) & 2) === 0;
          const y = upwards ? size - 1 - vertical : vertical;
          if (this.reserved[y][x] || at >= 8 * codewords.length) continue;
          this.modules[y][x] = ((codewords[at >> 3] >> (7 - (at & 7))) & 1) === 1;
          at++;
        }
      }
    }
  }
}

/**
 * The standard's four penalties: long runs, blocks, patterns like a finder, uneven share of dark.
 */
function qrPenalty(modules) {
  const size = modules.length;
  const columns = modules.map((_, x) => modules.map((row) => row[x]));
  let penalty = 0;
  for (const line of [...modules, ...columns]) {
    const text = line.map((dark) => (dark ? "1" : "0")).join("");
    for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) penalty += run.length - 2;
    for (const pattern of ["10111010000", "00001011101"]) {
      for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + 1)) penalty += 40;
    }
  }
  let dark = 0;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      if (modules[y][x]) dark++;
      if (x === 0 || y === 0) continue;
      const block = [modules[y - 1][x - 1], modules[y - 1][x], modules[y][x - 1]];
      if (block.every((module) => module === modules[y][x])) penalty += 3;
    }
  }
  return penalty + 10 * Math.floor(Math.abs((20 * dark) / (size * size) - 10));
}
