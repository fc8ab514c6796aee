/** Optimisation steps: small copies of what the search for a stimulus had on its way, and the slider that chooses one. */

import * as api from "./api.js";
import {h} from "./dom.js";
import {Film} from "./film.js";
import {Flow, pixels} from "./flow.js";
import {model} from "./model.js";
import {state} from "./state.js";

/** The chosen step, a number; null for the end. An address may hold anything. */
export function chosenStep() {
  return /^\d{1,9}$/.test(state.get("step")) ? Number(state.get("step")) : null;
}

/** By run: the steps that any of its stimuli seen so far has kept. */
class Known extends EventTarget {
  constructor() {
    super();
    this.runs = new Map();
  }

  /** Notes what a stimulus has kept. */
  note(run, kept) {
    const before = this.runs.get(run) ?? new Set();
    const after = new Set([...before, ...(kept?.steps ?? [])]);
    if (after.size === before.size) return;
    this.runs.set(run, after);
    this.dispatchEvent(new Event("change"));
  }

  /** Ascending, the chosen one among them. */
  of(run) {
    const chosen = chosenStep();
    return [...new Set([...(this.runs.get(run) ?? []), ...(chosen === null ? [] : [chosen])])].sort((a, b) => a - b);
  }
}

export const known = new Known();

/** The copies of one stimulus, cut out of their picture when they are shown. */
export class Kept {
  /**
   * @param {ImageData} picture a column a copy: its flow frames one below the other, and its appearances below.
   * @param {object} meta {steps, size: [h, w], frames, pictures, scales, limits} as listed by the server.
   */
  constructor(picture, meta) {
    const {steps, size: [height, width], frames, pictures} = meta;
    if (picture.width !== steps.length * width || picture.height !== (frames + pictures) * height) {
      throw new Error(`Expected ${steps.length} copies of ${width} × ${height} pixels, found a picture of ${picture.width} × ${picture.height}.`);
    }
    Object.assign(this, {picture, meta, height, width});
  }

  static async load(run, stimulus, meta) {
    return new Kept(await pixels(await api.media(run, stimulus, "steps.webp")), meta);
  }

  /** A copy's rows of pixels from `frame` on. */
  cut(index, frame, frames) {
    const {picture: {data, width: whole}, width, height} = this;
    const image = new ImageData(width, frames * height);
    for (let y = 0; y < image.height; y += 1) {
      const from = 4 * ((frame * height + y) * whole + index * width);
      image.data.set(data.subarray(from, from + 4 * width), 4 * y * width);
    }
    return image;
  }

  /** {film: Film or null, flow: Flow or null} of a copy. */
  at(index) {
    const {frames, pictures, scales} = this.meta;
    return {
      film: pictures ? Film.fromStack(this.cut(index, frames, pictures), pictures) : null,
      flow: frames ? Flow.fromPlanes(this.cut(index, 0, frames), frames, scales[index]) : null,
    };
  }
}

/** The place of the last copy that is not after a step; the first where all are. */
export const placeOf = (steps, step) => Math.max(0, steps.findLastIndex((other) => other <= step));

/** A slider over all kept steps and the end, for all stimuli at once. */
export function stepSlider() {
  const slider = h("input", {id: "step", type: "range", min: 0, step: 1, "aria-label": "Optimisation step"});
  const output = h("output.count", {"aria-live": "off"});
  const field = h("label.field.steps", {}, h("span", {}, "Step"), slider, output);
  const update = () => {
    const steps = known.of(model.run?.name);
    const chosen = chosenStep();
    const text = chosen === null ? "end" : String(chosen);
    field.hidden = !model.run;
    slider.disabled = !steps.length;
    slider.max = steps.length;
    slider.value = chosen === null ? steps.length : placeOf(steps, chosen);
    slider.setAttribute("aria-valuetext", text);
    output.textContent = text;
    field.title = steps.length
      ? "Optimisation steps taken when a small copy of the search was kept, for all stimuli at once: 0 is the start noise. Each copy is drawn on its own scale."
      : "Only the end of each search was kept (tbvis-maximize --kept_steps).";
  };
  slider.addEventListener("input", () => {
    const steps = known.of(model.run?.name);
    state.set({step: String(steps[Number(slider.value)] ?? "")});
  });
  known.addEventListener("change", update);
  model.addEventListener("change", update);
  state.addEventListener("change", ({detail}) => (detail.has("step") || detail.has("run")) && update());
  update();
  return field;
}
