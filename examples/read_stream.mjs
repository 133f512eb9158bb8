// Reads both streams and the events in Node.js, and reconnects: node read_stream.mjs [HOST:PORT]
// Node 22 or newer; Node 20 with --experimental-websocket.
const server = process.argv[2] ?? "localhost:8080";

/** Calls onpacket({ kind, ns, sequence, data, … }) for each packet; resolves when the connection ends. */
function read(url, onpacket) {
  return new Promise((ended) => {
    const stream = new WebSocket(url);
    stream.binaryType = "arraybuffer";
    stream.onmessage = ({ data: buffer }) => {
      const view = new DataView(buffer);
      const kind = { v: "video", a: "audio", e: "event" }[String.fromCharCode(view.getUint8(0))];
      const packet = {
        kind,
        ns: view.getBigUint64(8, true), // capture time, UNIX nanoseconds; Number(ns) / 1e9 are seconds for arithmetic
        sequence: view.getUint32(4, true), // per kind; after a gap it jumps
        data: new Uint8Array(buffer, view.getUint8(1)),
      };
      if (kind === "video") {
        Object.assign(packet, { width: view.getUint16(16, true), height: view.getUint16(18, true) });
      } else if (kind === "audio") {
        Object.assign(packet, { rate: view.getUint32(16, true), channels: view.getUint16(20, true) });
      }
      onpacket(packet);
      // With window=1 the server waits for this before it sends the next frame, so that none gets old on its way.
      if (kind === "video") stream.send("ack");
    };
    stream.onclose = ended;
    stream.onerror = () => {}; // onclose follows
  });
}

function print({ kind, ns, data, width, height, rate, channels }) {
  const time = `${ns / 10n ** 9n}.${String((ns / 1000n) % 10n ** 6n).padStart(6, "0")}`; // the digits of /stream
  if (kind === "video") console.log(`${time}  frame of ${width}x${height}: ${data.length} bytes`);
  else if (kind === "audio") console.log(`${time}  audio: ${data.length / 2 / channels} samples at ${rate} Hz`);
  else console.log(`${time}  ${new TextDecoder().decode(data)}`);
}

for (let wait = 500; ; wait = Math.min(2 * wait, 10_000)) {
  await read(`ws://${server}/stream?format=binary&events=1&window=1`, (packet) => {
    wait = 250; // connected: the delay after the next failure is short again
    print(packet);
  });
  await new Promise((done) => setTimeout(done, wait));
}
