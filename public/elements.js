/*
 * elements.js owns: the small things that every part of the page's surface uses: finding an element, writing only what
 * changed, the message that goes by itself, and how numbers and times are written. It knows no stream.
 */
"use strict";

const $ = (id) => document.getElementById(id);

/** Writes only what changed: an unchanged text costs no layout. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The same: set to what it is, `hidden` still costs the page a frame. */
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
