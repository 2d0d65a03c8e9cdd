// Times, durations, numbers and sizes as people read them.

import { h } from "./dom.js";

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const YEAR = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const NUMBER = new Intl.NumberFormat();
const TICK_MS = 1000;

/** The elements that tick, each with what gives its text now. @type {Set<{node: WeakRef<HTMLElement>, text: () => string}>} */
const ticking = new Set();
let timer = 0;

/**
 * Show a time as its distance from now, which ticks; the exact one, in the reader's zone, is in the title.
 * @param {string | null | undefined} iso @returns {HTMLElement}
 */
export function time(iso) {
  return showTime(iso, (at) => ago(at));
}

/** Show the time since then, which ticks, such as that of something that runs. @param {string | null | undefined} iso */
export function elapsed(iso) {
  return showTime(iso, (at) => span(Math.max(0, Date.now() - at.getTime()) / 1000));
}

function showTime(iso, write) {
  const at = iso ? new Date(iso) : null;
  if (!at || Number.isNaN(at.getTime())) return h("span", { class: "muted", text: "–" });
  const node = h("time", { datetime: iso, title: EXACT.format(at), text: write(at) });
  ticking.add({ node: new WeakRef(node), text: () => write(at) });
  timer ||= setInterval(tick, TICK_MS);
  return node;
}

function tick() {
  if (document.hidden) return;
  for (const one of ticking) {
    const node = one.node.deref();
    if (!node) ticking.delete(one);
    else if (node.isConnected && node.textContent !== one.text()) node.textContent = one.text();
  }
}

/** Say how long ago, or in how long. @param {Date} at @param {number} [now] @returns {string} */
export function ago(at, now = Date.now()) {
  const seconds = (now - at.getTime()) / 1000;
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  if (size >= 7 * 86400) return (size < 300 * 86400 ? DAY : YEAR).format(at);
  const text = span(size);
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** Write a duration: 840 ms, 2.41 s, 1 min 5 s, 2 h 3 min. @param {number | null | undefined} ms @returns {string} */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(Number(ms))) return "–";
  const value = Math.max(0, Number(ms));
  if (value < 1000) return `${value < 10 && value > 0 ? value.toFixed(1) : Math.round(value)} ms`;
  const seconds = value / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Write a number in the reader's way. @param {number | null | undefined} n @returns {string} */
export function number(n) {
  return n === null || n === undefined ? "–" : NUMBER.format(n);
}

/** Write a size: 812 B, 1.4 kB, 10 MB. @param {number | null | undefined} n @returns {string} */
export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = n, unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit && size < 9.95 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}
