/** The terms of the search by optimisation step: a chart each, all with the same steps and one step that is read. */

import {Scale, lineClass, short} from "./chart.js";
import {h, svg} from "./dom.js";
import {variantTitle} from "./model.js";

const WIDTH = 280;
const HEIGHT = 112;
const LEFT = 46;
const RIGHT = WIDTH - 6;
const TOP = 8;
const BOTTOM = HEIGHT - 16;
const FIRST = ["activation_over_a_hat", "activation", "data", "data_weight"];

/** What terms mean, by how their names begin; docs/METHOD.md has their equations. */
const MEANINGS = [
  ["activation_over_a_hat", "The unit's value in parts of â, its largest on the validation clips"],
  ["activation", "The unit's value, before its ReLU"],
  ["data_weight", "Weight of the target, which the calibration adapts"],
  ["data", "The target's term: the value times its weight; what follows is taken from it"],
  ["energy_", "Regulariser: energy of the input, weighted (equation 2)"],
  ["tv_", "Regulariser: total variation over space and, of the motion, time, weighted by kappa and chi"],
  ["contrast_", "Standard deviation of the input over that of the start noise"],
  ["at_bound_", "Part of the pixels that lie at the bound"],
  ["balance_", "Factor that brings the target's gradients on both inputs to one size"],
];

/** Names come from the record: one may be that of a member that every object has. */
const valuesOf = (meta, name) => (Object.hasOwn(meta.history, name) ? meta.history[name] : []);

const meaning = (name) => MEANINGS.find(([start]) => name.startsWith(start))?.[1] ?? "";

/**
 * @param {object[]} items the stimuli, as listed.
 * @param {object[]} metas what is known of each.
 * @returns {HTMLElement[]}
 */
export function curves(items, metas) {
  const title = h("h3", {}, "Through the search");
  const lines = items.map((item, i) => ({label: variantTitle(item).filter(Boolean).join(", "), meta: metas[i], look: lineClass(i)}));
  const names = [...new Set(metas.flatMap((meta) => Object.keys(meta.history)))].filter((name) =>
    metas.some((meta) => valuesOf(meta, name).some(Number.isFinite)));
  if (!names.length) {
    return [title, h("p.quiet", {}, "No curve was written with these stimuli. tbvis-maximize writes the terms of every --log_every-th step with each stimulus that it makes.")];
  }
  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  names.sort((a, b) => rank(a) - rank(b));
  const steps = [...new Set(metas.flatMap((meta) => meta.steps))].sort((a, b) => a - b);
  const charts = names.map((name) => new Chart(name, lines, steps));
  const output = h("output.count");
  const slider = h("input", {type: "range", min: 0, max: steps.length - 1, step: 1, "aria-label": "Step whose values are read"});
  const read = (index) => {
    slider.value = index;
    slider.setAttribute("aria-valuetext", `step ${steps[index]}`);
    output.textContent = steps[index];
    for (const chart of charts) chart.read(steps[index]);
  };
  slider.addEventListener("input", () => read(Number(slider.value)));
  for (const chart of charts) chart.onpoint = (step) => read(nearest(steps, step));
  read(steps.length - 1);
  const key = h("ul.key", {}, ...lines.map(({label, look}) => h("li", {class: look}, label)));
  return [
    h("header.charts-head", {}, title, h("label.step", {}, "Values at step ", slider, output), key),
    h("div.curves", {}, ...charts.map((chart) => chart.element)),
  ];
}

/** The place of the number in a sorted list that is nearest to `value`. */
function nearest(list, value) {
  let best = 0;
  list.forEach((other, i) => {
    if (Math.abs(other - value) < Math.abs(list[best] - value)) best = i;
  });
  return best;
}

class Chart {
  constructor(name, lines, steps) {
    const drawn = lines.filter(({meta}) => valuesOf(meta, name).some(Number.isFinite));
    const last = Math.max(1, steps[steps.length - 1]);
    const scale = new Scale(drawn.flatMap(({meta}) => meta.history[name]), {top: TOP, bottom: BOTTOM, mayLog: !name.startsWith("activation")});
    const x = (step) => LEFT + ((RIGHT - LEFT) * step) / last;
    const picture = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${name} by step`}, ...scale.marks(LEFT, RIGHT));
    picture.append(svg("text", {x: LEFT, y: HEIGHT - 3}, "0"), svg("text", {x: RIGHT, y: HEIGHT - 3, "text-anchor": "end"}, String(last)));
    for (const {meta, look} of drawn) {
      for (const points of unbroken(meta.steps, meta.history[name])) {
        const at = points.map(([step, value]) => `${x(step)},${scale.y(value)}`);
        // A single point would be no line at all.
        picture.append(svg("polyline", {class: `line ${look}`, points: (at.length > 1 ? at : [at[0], at[0]]).join(" "), "stroke-linecap": "round"}));
      }
    }
    const cursor = svg("line", {class: "cursor", y1: TOP, y2: BOTTOM});
    picture.append(cursor);
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      this.onpoint((((event.clientX - box.left) / box.width) * WIDTH - LEFT) * (last / (RIGHT - LEFT)));
    });
    const values = drawn.map(({label, look}) => h("li", {class: look, title: label}));
    this.element = h("figure.curve", {"data-term": name},
      h("figcaption", {title: meaning(name)}, name, scale.log && h("small", {}, " log scale")), picture, h("ul.key.values", {}, ...values));
    this.read = (step) => {
      cursor.setAttribute("x1", x(step));
      cursor.setAttribute("x2", x(step));
      drawn.forEach(({label, meta}, i) => {
        const value = meta.history[name][nearest(meta.steps, step)];
        values[i].replaceChildren(h("span.unseen", {}, `${label}: `), Number.isFinite(value) ? short(value) : "no number");
      });
    };
  }
}

/** The parts of a curve between values that are no numbers. */
function unbroken(steps, values) {
  const parts = [[]];
  steps.forEach((step, i) => {
    if (Number.isFinite(values[i])) parts[parts.length - 1].push([step, values[i]]);
    else parts.push([]);
  });
  return parts.filter((part) => part.length);
}
