/*
 * share_view.js: the dialog with the addresses of the server, and the QR code of the page for a
 * phone.
 */
"use strict";

/** Paths relative to the server's base. */
const SHARED_PATHS = { snapshot: "snapshot.jpg", mjpeg: "stream.mjpg", wav: "audio.wav", whep: "whep" };

/** { name: URL } of the server's addresses, each with the token if there is one. */
function sharedAddresses({ base, stream }, token) {
  const query = token ? `?token=${encodeURIComponent(token)}` : "";
  const entries = Object.entries(SHARED_PATHS).map(([name, path]) => [name, base + path + query]);
  return Object.fromEntries([...entries, ["websocket", stream + query]]);
}

/** The page as served by the server; in the fragment a token does not reach logs. */
function sharedPage({ base }, token) {
  return base + (token ? `#token=${encodeURIComponent(token)}` : "");
}

/** True if the server serves the page: with --serve-client it answers browsers with HTML. */
async function servesPage({ base }) {
  const options = { headers: { accept: "text/html" }, cache: "no-store", credentials: "omit" };
  const response = await fetch(base, options).catch(() => null);
  return response !== null && (response.headers.get("content-type") || "").startsWith("text/html");
}

async function openShare() {
  if (!server.base) return;
  $("share-token-row").hidden = viewer.token === "";
  $("share-token").checked = false;
  $("share-qr").hidden = true;
  setText($("share-hint"), "");
  showSharedAddresses(false);
  $("share").showModal();
  const shared = server;
  const served = await servesPage(shared);
  if (shared === server) showSharedAddresses(served);
}

function sharedToken() {
  return $("share-token").checked ? viewer.token : "";
}

/** `served`: the server serves the page, so that a phone can open it. */
function showSharedAddresses(served) {
  const token = sharedToken();
  const page = served ? { page: sharedPage(server, token) } : {};
  const rows = Object.entries({ ...page, ...sharedAddresses(server, token) });
  $("share-list").replaceChildren(...rows.map(([name, url]) => sharedAddressRow(name, url)));
  $("share-token").onchange = () => showSharedAddresses(served);
  const local = isSameMachine(server);
  const qr = served && !local ? encodeQr(page.page) : null;
  $("share-qr").hidden = qr === null;
  if (qr) drawQr($("share-qr"), qr, page.page);
  setText($("share-hint"), t(!served ? "shareNotServed" : local ? "shareLocal" : "shareScan"));
}

function sharedAddressRow(name, url) {
  const row = document.createElement("div");
  row.className = "shared";
  const label = document.createElement("label");
  const text = document.createElement("span");
  text.textContent = t(`share_${name}`);
  const field = document.createElement("input");
  Object.assign(field, { type: "text", readOnly: true, value: url });
  field.onfocus = () => field.select();
  label.append(text, field);
  const copy = document.createElement("button");
  Object.assign(copy, { type: "button", className: "quiet", textContent: t("copy") });
  copy.setAttribute("aria-label", `${t("copy")}: ${t(`share_${name}`)}`);
  copy.onclick = async () => {
    setText(copy, t((await copyText(url, $("share"))) ? "copiedShort" : "copyFailedShort"));
  };
  row.append(label, copy);
  return row;
}

/** Draws the modules with the required margin of four. */
function drawQr(canvas, modules, text) {
  const [margin, scale] = [4, 4];
  canvas.width = canvas.height = (modules.length + 2 * margin) * scale;
  canvas.setAttribute("aria-label", t("shareQr", { url: text }));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#000";
  modules.forEach((row, y) => {
    row.forEach((dark, x) => {
      if (dark) context.fillRect((x + margin) * scale, (y + margin) * scale, scale, scale);
    });
  });
}
