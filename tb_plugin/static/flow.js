/** Flow values: where they are read from, what can be asked of them, and the scale on which they are drawn. */

import {readNpz} from "./npz.js";

/** One unit of the network's motion input, in pixels of the 256-scaled frame a frame. */
export const PIXELS_PER_UNIT = 40 / 255;

let reader = null;
let honest = null;

/** Whether a page is given back what it drew: browsers that hide who uses them give noise instead. */
function readsBack() {
  const drawn = [1, 2, 3, 255, 250, 128, 7, 255];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2, 1];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.putImageData(new ImageData(Uint8ClampedArray.from(drawn), 2, 1), 0, 0);
  return String(context.getImageData(0, 0, 2, 1).data) === String(drawn);
}

/** Decodes an image blob to its exact values; throws where the browser would give others. */
export async function pixels(blob) {
  honest ??= readsBack();
  if (!honest) throw new Error("This browser alters pictures that a page reads (resistFingerprinting).");
  const bitmap = await createImageBitmap(blob, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  const {width, height} = bitmap;
  // One canvas for all, and kept off the GPU, whose read-back may round values.
  reader ??= document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const {canvas} = reader;
  if (canvas.width < width || canvas.height < height) {
    [canvas.width, canvas.height] = [Math.max(canvas.width, width), Math.max(canvas.height, height)];
  }
  reader.clearRect(0, 0, width, height);
  reader.drawImage(bitmap, 0, 0);
  bitmap.close();
  return reader.getImageData(0, 0, width, height);
}

/** A clip of flow, in network units. */
export class Flow {
  /**
   * @param {Float32Array} values u and v in turn; frame by frame, row by row.
   * @param {number[]} shape [frames, height, width].
   * @param {number} step distance between the values that could be stored, where they were rounded; else 0.
   */
  constructor(values, [frames, height, width], step = 0) {
    Object.assign(this, {values, frames, height, width, step});
    let [low, high, largest] = [Infinity, -Infinity, 0];
    for (let i = 0; i < values.length; i += 2) {
      const u = values[i];
      const v = values[i + 1];
      low = Math.min(low, u, v);
      high = Math.max(high, u, v);
      largest = Math.max(largest, u * u + v * v);
    }
    /** The smallest of all u and v (a magnitude is never smaller than its u). */
    this.low = low;
    /** How many steps the farthest u or v is from zero, where values were rounded; else 0. */
    this.levels = step ? Math.round(Math.max(high, -low) / step) : 0;
    /** The largest magnitude. */
    this.largest = Math.sqrt(largest);
  }

  /**
   * From a picture of R = 128 + u / step, G = 128 + v / step: frames one below the other, or `byRow`, the first rows of
   * all frames before all second ones. A picture wider than `width` has frames in several columns, as many in each (but the last).
   */
  static fromPlanes({data, width: whole, height}, frames, step, byRow = false, width = whole) {
    const columns = whole / width;
    const each = Math.ceil(frames / columns);
    const rows = height / each;
    const values = new Float32Array(2 * frames * rows * width);
    for (let row = 0, i = 0; row < height; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const to = byRow ? (row % frames) * rows + Math.floor(row / frames) : row + column * height;
        // What fills the last column up lies beyond the end of the values, and is left.
        for (let j = 2 * to * width; j < 2 * (to + 1) * width; i += 4, j += 2) {
          values[j] = (data[i] - 128) * step;
          values[j + 1] = (data[i + 1] - 128) * step;
        }
      }
    }
    return new Flow(values, [frames, rows, width], step);
  }

  /** From the array `motion` (H, W, T, 2) of a file values.npz. */
  static async fromNpz(blob) {
    const {data, shape} = await readNpz(await blob.arrayBuffer(), "motion");
    const [height, width, frames, components] = shape;
    if (shape.length !== 4 || components !== 2) throw new Error(`Expected motion of shape (H, W, T, 2), found (${shape}).`);
    const values = new Float32Array(data.length);
    const size = height * width;
    for (let pixel = 0, from = 0; pixel < size; pixel += 1) {
      for (let frame = 0; frame < frames; frame += 1, from += 2) {
        const to = 2 * (frame * size + pixel);
        values[to] = data[from];
        values[to + 1] = data[from + 1];
      }
    }
    return new Flow(values, [frames, height, width]);
  }

  /** [u, v] at a pixel, in network units. */
  at(frame, x, y) {
    const i = 2 * ((frame * this.height + y) * this.width + x);
    return [this.values[i], this.values[i + 1]];
  }
}

/** Clips that may share one scale, so that their speeds can be compared, and one place that is pointed at. */
export class ScaleGroup extends EventTarget {
  constructor() {
    super();
    this.members = new Set();
    this.limits = new Map();
  }

  /** Makes a member known, before it has anything to report. */
  join(member) {
    this.members.add(member);
  }

  /** Notes a member's own limit; the others redraw if the shared one changed, else say anew how many share it. */
  report(member, limit) {
    const before = this.limit;
    this.limits.set(member, limit);
    const changed = this.limit !== before;
    for (const other of this.limits.keys()) {
      if (other === member) continue;
      if (changed) other.recolour();
      else other.sayScale();
    }
    if (changed) this.dispatchEvent(new Event("limit"));
  }

  leave(member) {
    this.members.delete(member);
    this.limits.delete(member);
  }

  /** A scale that is shared needs the largest speed of all, also of those out of sight. */
  loadAll() {
    for (const member of this.members) member.load();
  }

  /** Reads the same place of all members, given in parts of their width and height: some may be small copies. */
  point(x, y) {
    for (const member of this.members) member.point(x, y);
  }

  get limit() {
    return Math.max(0, ...this.limits.values());
  }
}

/**
 * The scale of a clip's picture: low and high are drawn as 0 and as 255, rim is the speed at the rim of the legend.
 * @param {string} choice "clip": +- the clip's largest speed; "paper": from its smallest to its largest value;
 *   "unit": +- the largest speed of its group.
 */
export function scaleOf(flow, group, choice) {
  const rim = (choice === "unit" ? group.limit : flow.largest) || 1;
  return {low: choice === "paper" && flow.largest ? flow.low : -rim, high: rim, rim};
}
