// What a tool, a resource or a prompt gave: texts, pictures, sounds and links, each shown harmlessly.

import { h } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { button, download } from "../core/parts.js";
import { safe } from "../core/text.js";

/** Kinds that a browser only paints; an SVG can hold a script. */
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const SOUNDS = new Set(["audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3", "audio/ogg", "audio/webm", "audio/mp4", "audio/aac", "audio/flac"]);
const MOST_TEXT = 4000;
const MOST_BLOCKS = 100;

/**
 * Show a result.
 * @param {any} result an MCP result: `content`, `contents` or `messages`
 * @param {AbortSignal} signal ends what the browser keeps of pictures and sounds
 * @returns {HTMLElement[]}
 */
export function showContent(result, signal) {
  const blocks = toBlocks(result);
  const shown = blocks.slice(0, MOST_BLOCKS).map((one) => showBlock(one, signal));
  const left = blocks.length - shown.length;
  return left > 0 ? [...shown, h("p", { class: "muted", text: `${left} more are in the download.` })] : shown;
}

/** Bring the three kinds of results into one form. */
function toBlocks(result) {
  if (Array.isArray(result?.content)) return result.content;
  if (Array.isArray(result?.contents)) return result.contents.map((resource) => ({ type: "resource", resource }));
  if (Array.isArray(result?.messages)) return result.messages.flatMap((one) => [one?.content].flat().map((content) => ({ ...content, role: one?.role })));
  return [];
}

function showBlock(block, signal) {
  const figure = h("figure", { class: "block" });
  if (block?.role) figure.append(h("figcaption", { class: "muted small" }, safe(block.role, { most: 40 })));
  switch (block?.type) {
    case "text":
      figure.append(textBlock(block.text));
      break;
    case "image":
    case "audio":
      figure.append(mediaBlock(block.data, block.mimeType, signal));
      break;
    case "resource_link":
      figure.append(linkBlock(block));
      break;
    case "resource":
      figure.append(resourceBlock(block.resource, signal));
      break;
    default:
      figure.append(h("p", { class: "muted" }, "Content of the kind ", safe(block?.type ?? "nothing", { most: 60 }), ": look at it as it was sent."));
  }
  return figure;
}

function textBlock(text) {
  return h("div", { class: "block-text", tabindex: "0", role: "group", "aria-label": "Text" }, safe(text, { most: MOST_TEXT }));
}

function resourceBlock(resource, signal) {
  const head = h("p", { class: "block-head small" }, address(resource?.uri), resource?.mimeType && h("span", { class: "muted" }, " · ", safe(resource.mimeType, { most: 80 })));
  if (typeof resource?.blob === "string") return h("div", {}, head, mediaBlock(resource.blob, resource.mimeType, signal));
  return h("div", {}, head, textBlock(resource?.text ?? ""));
}

function linkBlock(block) {
  return h("div", { class: "block-link" },
    h("p", {}, safe(block.title ?? block.name ?? "A resource", { most: 200 })),
    block.description && h("p", { class: "muted" }, safe(block.description, { most: 500 })),
    h("p", { class: "small" }, address(block.uri)));
}

/** Show an address as text; only one of the web can be clicked. */
function address(uri) {
  const text = safe(uri ?? "", { most: 500 });
  if (typeof uri !== "string" || !URL.canParse(uri) || !["http:", "https:"].includes(new URL(uri).protocol)) return h("code", {}, text);
  return h("a", { href: uri, rel: "noreferrer noopener", target: "_blank" }, text);
}

function mediaBlock(data, type, signal) {
  const content = decode(data);
  if (!content) return h("p", { class: "muted", text: "This content is no base64 and can't be shown; look at it as it was sent." });
  const isPicture = PICTURES.has(type), isSound = SOUNDS.has(type);
  const about = h("figcaption", { class: "block-about muted small" },
    safe(type ?? "unknown kind", { most: 80 }), ` · ${bytes(content.length)}`, isPicture || isSound ? null : " · shown only as a download",
    button("Download", () => download(`content.${isPicture || isSound ? type.split("/")[1] : "bin"}`, content, "application/octet-stream"), { class: "button-small" }));
  if (!isPicture && !isSound) return about;
  const src = URL.createObjectURL(new Blob([content], { type }));
  signal.addEventListener("abort", () => URL.revokeObjectURL(src));
  const media = isPicture
    ? h("img", { src, alt: `Picture of the result, ${type}`, decoding: "async" })
    : h("audio", { src, controls: true, preload: "metadata" });
  media.addEventListener("error", () => media.replaceWith(h("p", { class: "muted", text: `The browser can't read this ${isPicture ? "picture" : "sound"}.` })));
  return h("div", { class: "block-media" }, media, about);
}

/** @param {any} data base64 @returns {Uint8Array | null} */
function decode(data) {
  if (typeof data !== "string") return null;
  try {
    const text = atob(data);
    const content = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) content[i] = text.charCodeAt(i);
    return content;
  } catch {
    return null;
  }
}
