/*
 * dom.js: what all views share: finding elements, writing only what changed, the toast, formatting
 * of numbers and times.
 */
"use strict";

const $ = (id) => document.getElementById(id);

/** Writes only if changed: writing the same text would cost a layout. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Writes only if changed: setting `hidden` to its value would still cost a frame. */
function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#${name}`);
}

let toastTimer = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("shown"), 4000);
}

const millis = (seconds, digits = 0) => `${(seconds * 1000).toFixed(digits)} ms`;
const signed = (value, unit, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)} ${unit}`;
const bitRate = (bits) => (bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${(bits / 1e3).toFixed(0)} kbit/s`);

/**
 * Local time with zone: "2025-10-09T08:53:20.123456+02:00", with the decimals of `stampText` (UNIX
 * seconds).
 */
function isoTime(stampText) {
  const [seconds, decimals] = stampText.split(".");
  const date = new Date(Number(seconds) * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const offset = -date.getTimezoneOffset();
  const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${clockTime(date)}${decimals ? `.${decimals}` : ""}${zone}`;
}

/**
 * Local time of day to the millisecond, "08:53:20.123". From the text of the stamp, which is shown
 * next to it: that of WebRTC is rounded, where the time of a Date is truncated.
 */
function stampTime(stampText) {
  const [seconds, decimals = ""] = stampText.split(".");
  return `${clockTime(new Date(Number(seconds) * 1000))}.${decimals.slice(0, 3).padEnd(3, "0")}`;
}

/**
 * True if the text is on the clipboard. `host`: the open modal dialog, outside which nothing can be
 * selected.
 */
async function copyText(text, host = document.body) {
  // navigator.clipboard exists in secure contexts only, so not over plain http.
  if (navigator.clipboard && (await navigator.clipboard.writeText(text).then(() => true, () => false))) return true;
  const field = document.createElement("textarea");
  field.value = text;
  field.setAttribute("readonly", "");
  field.className = "unseen";
  host.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}

function clockTime(date) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
