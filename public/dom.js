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

function clockTime(date) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
