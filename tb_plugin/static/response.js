/** What a unit answers to its stimuli across chi, beside how fast these move: the paper's invariance to speed. */

import {Scale, lineClass} from "./chart.js";
import {h, number, svg} from "./dom.js";
import {PIXELS_PER_UNIT} from "./flow.js";

const WIDTH = 360;
const LEFT = 46;
const RIGHT = WIDTH - 8;
const PANEL = 108;

/** Mean over all pixels and frames of |(u, v)|, in pixels a frame. */
export function meanSpeed({values}) {
  let sum = 0;
  for (let i = 0; i < values.length; i += 2) sum += Math.hypot(values[i], values[i + 1]);
  return (sum / (values.length / 2)) * PIXELS_PER_UNIT;
}

/** Mean over all pixels of |(u, v) - (u, v) of the frame before| in the same chunk, in pixels a frame; null of single frames. */
export function meanChange({values, frames, width, height, chunks = 1}) {
  const size = 2 * width * height;
  const each = Math.floor(frames / chunks);
  if (each < 2) return null;
  let [sum, count] = [0, 0];
  for (let frame = 1; frame < frames; frame += 1) {
    if (frame % each === 0) continue;
    count += size / 2;
    for (let i = frame * size; i < (frame + 1) * size; i += 2) sum += Math.hypot(values[i] - values[i - size], values[i + 1] - values[i + 1 - size]);
  }
  return (sum / count) * PIXELS_PER_UNIT;
}

/**
 * @param {object[]} items the stimuli, as listed; @param {object[]} metas what is known of each; @param {HTMLElement[]} players
 *   of each, which tell when their values have come.
 * @returns {HTMLElement}
 */
export function response(items, metas, players) {
  const section = h("section.response", {"aria-label": "Response across chi"});
  const draw = () => section.replaceChildren(h("h3", {}, "Response across χ"), ...content(items, metas, players));
  for (const player of players) {
    player.addEventListener("ready", draw);
    // What is off the screen would not load by itself, and its speed is wanted here.
    player.load();
  }
  draw();
  return section;
}

function content(items, metas, players) {
  const inAHat = metas.every((meta) => meta.error !== null || meta.a_hat > 0);
  const points = items.map((item, i) => {
    const {activation, a_hat: aHat, error} = metas[i];
    const {flow} = players[i];
    return {
      item, error, chi: item.chi, rounded: Boolean(flow?.step),
      response: Number.isFinite(activation) && error === null ? activation / (inAHat ? aHat : 1) : null,
      speed: flow ? meanSpeed(flow) : null, change: flow ? meanChange(flow) : null,
    };
  });
  const known = points.filter((point) => point.response !== null);
  const chis = [...new Set(known.map((point) => point.chi))].sort((a, b) => a - b);
  if (!known.length) return [h("p.quiet", {}, "No stimulus of this unit has an activation: all searches failed, or ended at no number. The same tbvis-maximize command tries them again.")];
  const lines = byLine(points);
  const unit = inAHat ? "â" : "";
  const parts = [];
  if (!inAHat) parts.push(h("p.quiet", {}, "â of this unit was not measured, so activations stand as they are: tbvis-maximize --statistics takes it from tbvis-evaluate."));
  if (chis.length < 2) {
    parts.push(h("p.quiet", {}, `It was made at one χ only (χ = ${chis[0]}), so there is nothing to compare. tbvis-maximize --chi=0,1,5,10 makes others.`));
  } else {
    parts.push(plot(lines, chis, unit), ...lines.map((line) => sentence(line, unit, lines.length > 1)).filter(Boolean));
  }
  return [...parts, table(points, unit)];
}

/** Stimuli that differ in chi alone. */
function byLine(points) {
  const lines = new Map();
  for (const point of points) {
    const {isotropic, kappa, seed} = point.item;
    const label = `${isotropic ? "κ = χ" : `κ = ${kappa}`}${seed ? `, seed ${seed}` : ""}`;
    if (!lines.has(label)) lines.set(label, {label, points: [], look: lineClass(lines.size)});
    lines.get(label).points.push(point);
  }
  for (const {points: own} of lines.values()) own.sort((a, b) => a.chi - b.chi);
  return [...lines.values()];
}

function plot(lines, chis, unit) {
  const panels = [["response", `response${unit && `, ${unit}`}`], ["speed", "mean speed, px/frame"], ["change", "change from frame to frame, px/frame"]]
    .filter(([name]) => lines.some((line) => line.points.some((point) => Number.isFinite(point[name]))));
  const height = panels.length * PANEL + 20;
  const picture = svg("svg", {viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": "Response, mean speed and change by chi; the table has the values"});
  const x = (chi) => LEFT + 20 + ((RIGHT - LEFT - 40) * chis.indexOf(chi)) / (chis.length - 1);
  panels.forEach(([name, title], row) => {
    const [top, bottom] = [row * PANEL + 36, (row + 1) * PANEL];
    const scale = new Scale(lines.flatMap((line) => line.points.map((point) => point[name])), {top, bottom});
    picture.append(svg("text", {x: LEFT, y: top - 22, class: "panel-title"}, title), ...scale.marks(LEFT, RIGHT));
    for (const {points, look, label} of lines) {
      const own = points.filter((point) => Number.isFinite(point[name]) && chis.includes(point.chi));
      picture.append(svg("polyline", {class: `line ${look}`, points: own.map((point) => `${x(point.chi)},${scale.y(point[name])}`).join(" ")}));
      for (const point of own) {
        const dot = svg("circle", {class: `dot ${look}`, cx: x(point.chi), cy: scale.y(point[name]), r: 3.5, "data-panel": name});
        dot.append(svg("title", {}, `${label}, χ = ${point.chi}: ${number(point[name])}`));
        picture.append(dot);
        if (lines.length === 1) picture.append(svg("text", {x: x(point.chi), y: scale.y(point[name]) - 7, "text-anchor": "middle"}, number(point[name])));
      }
    }
  });
  for (const chi of chis) picture.append(svg("text", {x: x(chi), y: height - 4, "text-anchor": "middle"}, `χ = ${chi}`));
  const key = lines.length > 1 && h("ul.key", {}, ...lines.map(({label, look}) => h("li", {class: look}, label)));
  return h("figure.curve", {}, picture, key || "");
}

const byValue = (points, name) => points.filter((point) => Number.isFinite(point[name])).sort((a, b) => a[name] - b[name]);

/** "Largest response over smallest: 1.2 (largest 6.6 â at chi = 5, ...), while mean speeds differ 3.1 times (...), and ...". */
function sentence({label, points}, unit, named) {
  const sorted = byValue(points, "response");
  if (sorted.length < 2) return null;
  const [least, most] = [sorted[0], sorted[sorted.length - 1]];
  const told = (point) => `${number(point.response)}${unit && ` ${unit}`} at χ = ${point.chi}`;
  const ends = `largest ${told(most)}, smallest ${told(least)}`;
  const ratio = least.response > 0
    ? `largest response over smallest: ${number(most.response / least.response)} (${ends})`
    : `no ratio, as a response is not positive (${ends})`;
  const moving = [["speed", "mean speeds differ"], ["change", "changes from frame to frame differ"]].map(([name, what]) => differ(points, name, what)).filter(Boolean);
  const text = `${ratio}${moving.length ? `, while ${moving.join(", and ")}` : ""}.`;
  return h("p.sentence", {}, named ? `${label}: ${text}` : text[0].toUpperCase() + text.slice(1));
}

function differ(points, name, what) {
  const values = byValue(points, name).map((point) => point[name]);
  const [least, most] = [values[0], values[values.length - 1]];
  return values.length > 1 && least > 0 ? `${what} ${number(most / least)} times (${number(least)} to ${number(most)} px/frame)` : null;
}

function table(points, unit) {
  const moves = points.some((point) => point.speed !== null);
  const head = ["χ", "κ", "seed", `response${unit && ` (${unit})`}`, ...(moves ? ["mean speed (px/frame)", "change (px/frame)"] : [])];
  const titles = {
    [head[4]]: "Mean length of (u, v) over all pixels and frames, in pixels of the 256-scaled frame a frame",
    [head[5]]: "Mean length of the difference of (u, v) between neighbouring frames: what χ holds down",
  };
  const value = (point, name) => (point[name] === null ? "–" : `${point.rounded && name !== "response" ? "≈ " : ""}${number(point[name])}`);
  const rows = points.map((point) => h("tr", {"data-variant": point.item.variant},
    h("th", {scope: "row"}, String(point.chi)), h("td", {}, String(point.item.kappa)), h("td", {}, String(point.item.seed)),
    h("td", {title: point.error}, point.error === null ? value(point, "response") : "failed"),
    ...(moves ? [h("td", {}, value(point, "speed")), h("td", {}, value(point, "change"))] : [])));
  const columns = h("tr", {}, ...head.map((name) => h("th", {scope: "col", title: titles[name]}, name)));
  return h("div.scroll", {tabIndex: 0, role: "region", "aria-label": "Values across chi"}, h("table.config", {}, h("thead", {}, columns), h("tbody", {}, ...rows)));
}
