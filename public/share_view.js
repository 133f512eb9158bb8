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

/** A server holds a request with a token for up to 10 s if its address has sent wrong ones. */
const SERVES_PAGE_TIMEOUT_MS = 12_000;

/** True if the server serves the page: with --serve-client it answers browsers with HTML. */
async function servesPage({ base }, token) {
  const headers = { accept: "text/html", ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const signal = AbortSignal.timeout(SERVES_PAGE_TIMEOUT_MS);
  const response = await fetch(base, { headers, signal, cache: "no-store", credentials: "omit" }).catch(() => null);
  // Without "ok" it may be the form for the token.
  return response !== null && response.ok && (response.headers.get("content-type") || "").startsWith("text/html");
}

let shareOpened = 0;

async function openShare() {
  if (!server.base) return;
  $("share-token-row").hidden = viewer.token === "";
  $("share-token").checked = false;
  $("share-qr").hidden = true;
  setText($("share-hint"), "");
  showSharedAddresses("checking");
  $("share").showModal();
  const opened = ++shareOpened;
  const shared = server;
  const served = await servesPage(shared, viewer.token);
  if (opened === shareOpened && shared === server) showSharedAddresses(served ? "yes" : "no");
}

function sharedToken() {
  return $("share-token").checked ? viewer.token : "";
}

/** `served`: the server serves the page, for a phone to open: "checking", "yes" or "no". */
function showSharedAddresses(served) {
  const token = sharedToken();
  const page = served === "yes" ? { page: sharedPage(server, token) } : {};
  const rows = Object.entries({ ...page, ...sharedAddresses(server, token) });
  $("share-list").replaceChildren(...rows.map(([name, url]) => sharedAddressRow(name, url)));
  $("share-token").onchange = () => showSharedAddresses(served);
  const local = isSameMachine(server);
  const qr = served === "yes" && !local ? encodeQr(page.page) : null;
  $("share-qr").hidden = qr === null;
  if (qr) drawQr($("share-qr"), qr, page.page);
  const hints = { checking: "shareChecking", no: "shareNotServed", yes: local ? "shareLocal" : "shareTooLong" };
  setText($("share-hint"), t(qr ? "shareScan" : hints[served]));
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
