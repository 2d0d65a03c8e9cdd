// Elements made from plain calls, so that no text is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "use", "circle", "rect", "line", "polyline", "g"]);
const SAFE_SCHEMES = new Set(["http:", "https:", "blob:", "data:"]);

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any> | null} [props] `class`, `text`, `on: {click: f}`, `data: {k: v}`, `style: {width: "3px"}`, attributes and properties
 * @param {...Child} children
 * @returns {any}
 */
export function h(tag, props, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) setProp(node, name, value);
  node.append(frag(...children));
  return node;
}

/** @param {...Child} children @returns {DocumentFragment} */
export function frag(...children) {
  const made = document.createDocumentFragment();
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === true) continue;
    made.append(child instanceof Node ? child : String(child));
  }
  return made;
}

/**
 * Put children in the place of those that a node has.
 * @template {Element} T
 * @param {T} node @param {...Child} children @returns {T}
 */
export function replace(node, ...children) {
  node.replaceChildren(frag(...children));
  return node;
}

/** Make an icon of `icons.svg`, which says nothing to a screen reader. @param {string} name @returns {SVGElement} */
export function icon(name) {
  return h("svg", { class: "icon", "aria-hidden": "true", focusable: "false" }, h("use", { href: `/assets/icons.svg#${name}` }));
}

function setProp(node, name, value) {
  if (value === null || value === undefined) return;
  if (name === "class") node.setAttribute("class", [value].flat().filter(Boolean).join(" "));
  else if (name === "text") node.textContent = String(value);
  else if (name === "on") Object.entries(value).forEach(([event, f]) => f && node.addEventListener(event, f));
  else if (name === "data") Object.assign(node.dataset, value);
  else if (name === "style") Object.assign(node.style, value);
  else if (name === "href" || name === "src") setAddress(node, name, String(value));
  else if (isProperty(node, name, value)) node[name] = value;
  else if (value !== false || name.startsWith("aria-")) node.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
}

/** Tell if a prop is a property of the element: what is no plain text, has capitals, or is a control's value. */
function isProperty(node, name, value) {
  if (!(name in node) || node.namespaceURI === SVG) return false;
  return name === "value" || typeof value === "boolean" || /[A-Z]/.test(name);
}

/** Set an address, unless a browser would run it. */
function setAddress(node, name, value) {
  const scheme = URL.canParse(value, location.href) ? new URL(value, location.href).protocol : "";
  if (SAFE_SCHEMES.has(scheme)) node.setAttribute(name, value);
}
