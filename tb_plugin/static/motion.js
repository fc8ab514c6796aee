/** The forms in which motion is drawn, each from values of u and v, and their legends. */

import {PIXELS_PER_UNIT} from "./flow.js";
import {number} from "./dom.js";
import {state} from "./state.js";

/** [name in the address, what a button says, what it means] */
export const MODES = [
  ["colours", "u, v, |·|", "R = u →, G = v ↓, B = speed: the paper's colours"],
  ["wheel", "Wheel", "hue = direction, saturation = speed; white is no motion"],
  ["arrows", "Arrows", "an arrow at each block's fastest pixel"],
];

/** [name in the address, what the list says] */
export const SCALES = [
  ["clip", "own scale, zero grey"],
  ["paper", "own min–max (paper)"],
  ["unit", "shared scale"],
];

const known = (options, value) => (options.some(([name]) => name === value) ? value : options[0][0]);

/** The chosen form; an address may hold anything. */
export const chosenMode = () => known(MODES, state.get("motion"));

/** The chosen scale. */
export const chosenScale = () => known(SCALES, state.get("scale"));

/** A speed for people: network units -> "5.2 px/frame". */
export const speed = (value) => `${number(value * PIXELS_PER_UNIT, 3)} px/frame`;

/** What the scale of a picture is, in one line; `sharing` tells how many have it. */
export function scaleText(mode, scale, choice, sharing) {
  const whose = choice === "unit" ? `the largest speed, shared by ${sharing} sequences` : "this sequence's largest speed";
  if (mode !== "colours") return `${mode === "arrows" ? "longest arrow" : "rim"} ${speed(scale.rim)}: ${whose}`;
  const range = `0 … 255 = ${number(scale.low * PIXELS_PER_UNIT, 3)} … ${number(scale.high * PIXELS_PER_UNIT, 3)} px/frame`;
  return choice === "paper" ? `${range}: this sequence's smallest and largest value, as the paper` : `${range}: ± ${whose}`;
}

/** R = u, G = v, B = |(u, v)|, one affine map for all three. */
function colours(u, v, {low, high}, data, at) {
  const slope = 255 / (high - low);
  data[at] = (u - low) * slope;
  data[at + 1] = (v - low) * slope;
  data[at + 2] = (Math.sqrt(u * u + v * v) - low) * slope;
}

const HUES = [0, 4, 2];

/** Hue: direction on the screen, clockwise from red = right; saturation: speed; value 1. */
function wheel(u, v, {rim}, data, at) {
  const saturation = Math.min(1, Math.sqrt(u * u + v * v) / rim);
  const sixth = (Math.atan2(v, u) * 3) / Math.PI + 6;
  for (let channel = 0; channel < 3; channel += 1) {
    const full = Math.min(1, Math.max(0, Math.abs(((sixth + HUES[channel]) % 6) - 3) - 1));
    data[at + channel] = 255 * (1 - saturation * (1 - full));
  }
}

const discs = new WeakMap();

/** The wheel's colours of all (u, v) that a rounded flow may have, a row for each v; null where these are more than its pixels. */
function disc(flow, scale) {
  const kept = discs.get(flow);
  if (kept?.scale === scale) return kept.table;
  const {levels, step} = flow;
  const side = 2 * levels + 1;
  let table = null;
  if (step && side * side < flow.frames * flow.width * flow.height) {
    const data = new Uint8ClampedArray(4 * side * side).fill(255);
    let at = 0;
    for (let v = -levels; v <= levels; v += 1) {
      for (let u = -levels; u <= levels; u += 1, at += 4) wheel(Math.fround(u * step), Math.fround(v * step), scale, data, at);
    }
    table = new Uint32Array(data.buffer);
  }
  discs.set(flow, {scale, table});
  return table;
}

/** Colours one frame of a flow; `mode` is not "arrows". */
export function colour(flow, frame, mode, scale) {
  const image = new ImageData(flow.width, flow.height);
  const {values, levels, step} = flow;
  const table = mode === "wheel" ? disc(flow, scale) : null;
  let from = 2 * frame * flow.width * flow.height;
  if (table) {
    // Looked up instead of computed, which takes several times as long.
    const target = new Uint32Array(image.data.buffer);
    const [side, middle] = [2 * levels + 1, levels + 0.5];
    for (let at = 0; at < target.length; at += 1, from += 2) {
      target[at] = table[Math.floor(values[from + 1] / step + middle) * side + Math.floor(values[from] / step + middle)];
    }
    return image;
  }
  const paint = mode === "wheel" ? wheel : colours;
  for (let at = 0; at < image.data.length; at += 4, from += 2) {
    paint(values[from], values[from + 1], scale, image.data, at);
    image.data[at + 3] = 255;
  }
  return image;
}

/** Below this part of the longest, an arrow would be a dot that only hides the appearance. */
const SHORTEST = 0.06;

/**
 * How arrows are laid out: `zoom` pixels of the canvas for one of the flow, blocks of `spacing` pixels, and in each
 * block as the arrow's foot the pixel that is fastest in any frame (the middle one where all are alike). Feet that
 * stand still let the eye follow the arrows; a fixed lattice would miss the small places where stimuli move.
 */
export function arrowLayout(flow, full) {
  const side = Math.max(flow.width, flow.height);
  const spacing = Math.max(3, Math.round(side / (full ? 12 : 8)));
  const speeds = new Float32Array(flow.width * flow.height);
  for (let frame = 0, i = 0; frame < flow.frames; frame += 1) {
    for (let at = 0; at < speeds.length; at += 1, i += 2) {
      const [u, v] = [flow.values[i], flow.values[i + 1]];
      speeds[at] = Math.max(speeds[at], u * u + v * v);
    }
  }
  const feet = [];
  for (let top = 0; top < flow.height; top += spacing) {
    for (let left = 0; left < flow.width; left += spacing) {
      feet.push(fastest(speeds, flow, left, top, spacing));
    }
  }
  return {zoom: Math.max(1, Math.ceil((full ? 336 : 192) / side)), spacing, feet};
}

function fastest(speeds, {width, height}, left, top, spacing) {
  const [right, bottom] = [Math.min(width, left + spacing), Math.min(height, top + spacing)];
  let foot = [(left + right) >> 1, (top + bottom) >> 1];
  let best = speeds[foot[1] * width + foot[0]];
  for (let y = top; y < bottom; y += 1) {
    for (let x = left; x < right; x += 1) {
      if (speeds[y * width + x] > best) [best, foot] = [speeds[y * width + x], [x, y]];
    }
  }
  return foot;
}

function arrow(path, x, y, dx, dy, zoom) {
  const length = Math.hypot(dx, dy);
  path.moveTo(x, y);
  path.lineTo(x + dx, y + dy);
  if (length < zoom) return;
  const barb = Math.min(0.4 * length, 1.5 * zoom) / length;
  for (const side of [-1, 1]) {
    path.moveTo(x + dx, y + dy);
    path.lineTo(x + dx - barb * (dx + 0.6 * side * dy), y + dy - barb * (dy - 0.6 * side * dx));
  }
}

/** White on black, which no appearance hides. */
function strokeArrows(context, path, width) {
  for (const [style, line] of [["rgb(0 0 0 / 75%)", width + 2], ["white", width]]) {
    Object.assign(context, {strokeStyle: style, lineWidth: line, lineCap: "round", lineJoin: "round"});
    context.stroke(path);
  }
}

/**
 * Draws a frame as arrows over the appearance. Each shows the flow of the pixel at its foot: no average.
 * The longest of the scale is 1.5 blocks long.
 */
export function drawArrows(canvas, flow, frame, scale, still, {zoom, spacing, feet}) {
  const context = canvas.getContext("2d");
  if (still) {
    context.imageSmoothingEnabled = false;
    context.drawImage(still, 0, 0, canvas.width, canvas.height);
  } else {
    context.fillStyle = "#808080";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  const path = new Path2D();
  const reach = (1.5 * spacing * zoom) / scale.rim;
  for (const [x, y] of feet) {
    const [u, v] = flow.at(frame, x, y);
    if (Math.hypot(u, v) >= SHORTEST * scale.rim) arrow(path, (x + 0.5) * zoom, (y + 0.5) * zoom, u * reach, v * reach, zoom);
  }
  strokeArrows(context, path, Math.max(1, 0.6 * zoom));
}

/** Draws the legend: the disc of all directions up to the speed of the rim, or the longest arrow. */
export function drawLegend(canvas, mode, scale = {low: -1, high: 1, rim: 1}) {
  const {width, height} = canvas;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (mode === "arrows") {
    const path = new Path2D();
    arrow(path, 4, height / 2, width - 8, 0, 6);
    return strokeArrows(context, path, 2);
  }
  const paint = mode === "wheel" ? wheel : colours;
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const [u, v] = [((2 * x) / (width - 1) - 1) * scale.rim, ((2 * y) / (height - 1) - 1) * scale.rim];
      const at = 4 * (y * width + x);
      paint(u, v, scale, image.data, at);
      image.data[at + 3] = Math.hypot(u, v) <= scale.rim ? 255 : 0;
    }
  }
  context.putImageData(image, 0, 0);
}
