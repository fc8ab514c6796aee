/** A small chart of activation by optimisation step, one line a stimulus. */

import {h, number, svg} from "./dom.js";

const WIDTH = 320;
const HEIGHT = 130;
const LEFT = 40;
const BOTTOM = 18;

/** @param {{label: string, steps: number[], values: (number|null)[]}[]} lines */
export function curve(lines, title) {
  const drawn = lines.filter((line) => line.values.some((value) => value !== null));
  if (!drawn.length) return h("p.quiet", {}, "No curve was written.");
  const values = drawn.flatMap((line) => line.values.filter((value) => value !== null));
  const last = Math.max(1, ...drawn.flatMap((line) => line.steps));
  let [low, high] = [Math.min(0, ...values), Math.max(...values)];
  if (low === high) high = low + 1;
  const x = (step) => LEFT + ((WIDTH - LEFT - 4) * step) / last;
  const y = (value) => 6 + (HEIGHT - BOTTOM - 6) * (1 - (value - low) / (high - low));
  const chart = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title});
  for (const value of [low, high]) {
    chart.append(
      svg("line", {x1: LEFT, x2: WIDTH - 4, y1: y(value), y2: y(value), class: "axis"}),
      svg("text", {x: LEFT - 6, y: y(value) + 4, "text-anchor": "end"}, number(value)));
  }
  chart.append(
    svg("text", {x: LEFT, y: HEIGHT - 3}, "0"),
    svg("text", {x: WIDTH - 4, y: HEIGHT - 3, "text-anchor": "end"}, `step ${last}`));
  drawn.forEach((line, index) => {
    const points = line.steps.map((step, i) => [step, line.values[i]]).filter(([, value]) => value !== null);
    const path = svg("polyline", {class: `line line-${index % 6}`, points: points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ")});
    path.append(svg("title", {}, line.label));
    chart.append(path);
  });
  const key = h("ul.key", {}, ...drawn.map((line, index) => h(`li.line-${index % 6}`, {}, line.label)));
  return h("figure.curve", {}, h("figcaption", {}, title), chart, key);
}
