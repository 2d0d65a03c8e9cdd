// Small charts of one line, with their numbers in words.

import { h } from "./dom.js";
import { number } from "./format.js";

const WIDTH = 240, HEIGHT = 40, EDGE = 2;

/**
 * Draw points as a line.
 * @param {{points: (number | null)[], label: string, unit?: string, most?: number, tone?: string}} options
 *   A null is a gap. `most`: the value at the top, else the largest point.
 * @returns {SVGElement}
 */
export function sparkline({ points, label, unit = "", most, tone = "accent" }) {
  const known = points.filter((one) => one !== null && one !== undefined);
  const top = Math.max(most ?? 0, ...known, 1e-9);
  const x = (i) => EDGE + (i * (WIDTH - 2 * EDGE)) / Math.max(1, points.length - 1);
  const y = (value) => HEIGHT - EDGE - (value / top) * (HEIGHT - 2 * EDGE);
  const runs = toRuns(points).map((run) => run.map(([i, value]) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`));
  const base = HEIGHT - EDGE;
  return h("svg", {
    class: `sparkline spark-${tone}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": describe(known, label, unit),
  },
    h("line", { class: "spark-base", x1: 0, x2: WIDTH, y1: base, y2: base }),
    runs.map((run) => [
      run.length > 1 && h("path", { class: "spark-area", d: `M${run[0].split(",")[0]},${base} L${run.join(" L")} L${run.at(-1).split(",")[0]},${base} Z` }),
      run.length > 1 ? h("polyline", { class: "spark-line", points: run.join(" ") })
        : h("line", { class: "spark-line", x1: run[0].split(",")[0], x2: run[0].split(",")[0], y1: base, y2: run[0].split(",")[1] }),
    ]));
}

/** Split points at the gaps. @param {(number | null)[]} points @returns {[number, number][][]} */
function toRuns(points) {
  const runs = [[]];
  points.forEach((value, i) => {
    if (value === null || value === undefined) runs.push([]);
    else runs.at(-1).push([i, value]);
  });
  return runs.filter((run) => run.length);
}

function describe(known, label, unit) {
  if (!known.length) return `${label}: nothing yet`;
  const say = (value) => `${number(Math.round(value * 100) / 100)}${unit ? ` ${unit}` : ""}`;
  return `${label}: last ${say(known.at(-1))}, least ${say(Math.min(...known))}, most ${say(Math.max(...known))}`;
}
