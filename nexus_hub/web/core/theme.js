// Light or dark: as the system says, unless the reader has chosen.

import { h, icon, replace } from "./dom.js";

const KEPT = "nexus-theme";
const WORDS = { system: "as the system", light: "light", dark: "dark" };
const NEXT = { system: "light", light: "dark", dark: "system" };
const SIGNS = { system: "contrast", light: "sun", dark: "moon" };

/** Make the button that changes it. @returns {HTMLButtonElement} */
export function themeButton() {
  const made = h("button", { type: "button", class: "icon-button" });
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    made.title = `Colours: ${WORDS[theme]}`;
    made.setAttribute("aria-label", `Colours: ${WORDS[theme]}; change to ${WORDS[NEXT[theme]]}`);
    replace(made, icon(SIGNS[theme]));
  };
  made.addEventListener("click", () => {
    const theme = NEXT[chosen()];
    localStorage.setItem(KEPT, theme);
    show(theme);
  });
  show(chosen());
  return made;
}

function chosen() {
  const kept = localStorage.getItem(KEPT);
  return kept && kept in WORDS ? kept : "system";
}
