// Prints what arrives: node read.mjs [ws://HOST:PORT/stream]   (Node 22 or newer; in a browser it runs as it is)
const url = globalThis.process?.argv[2] ?? "ws://localhost:8080/stream";
const stream = new WebSocket(url);
stream.onmessage = ({ data }) => {
  const [kind, stamp, ...rest] = data.split(":");
  const bytes = Uint8Array.from(atob(rest.at(-1)), (c) => c.charCodeAt(0));
  if (kind === "video") console.log(`${stamp}  picture of ${rest[0]}x${rest[1]}: ${bytes.length} bytes of JPEG`);
  else console.log(`${stamp}  sound: ${bytes.length / 2} samples`);
};
stream.onclose = ({ reason }) => console.log("closed", reason);
