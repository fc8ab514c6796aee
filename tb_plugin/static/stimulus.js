/** <tbvis-stimulus>: an appearance and, beside it, its flow playing on the shared clock. */

import * as api from "./api.js";
import {clock} from "./clock.js";
import {h} from "./dom.js";
import {Flow, ScaleGroup, pixels, scaleOf} from "./flow.js";
import {arrowLayout, chosenMode, chosenScale, colour, drawArrows, drawLegend, scaleText} from "./motion.js";
import {readable, readableSmall, reading} from "./probe.js";
import {state} from "./state.js";
import {Kept, chosenStep, known, placeOf} from "./steps.js";

const near = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.target.setNear(entry.isIntersecting)),
  {rootMargin: "300px"},
);

class Stimulus extends HTMLElement {
  constructor() {
    super();
    this.group = new ScaleGroup();
    this.full = false;
    this.flow = null;
    this.images = [];
    this.state = "idle";
    /** What is pointed at, in parts of width and height. */
    this.place = null;
    /** The stimulus itself, {still, flow}; which step of its search is shown, null for the end; the copies, once asked for. */
    this.end = null;
    this.step = null;
    this.kept = null;
    this.onframe = () => this.draw();
    this.onstate = ({detail}) => {
      if (detail.has("scale") || detail.has("motion")) this.recolour();
      if (detail.has("zoom")) this.resize();
      if (detail.has("step")) this.toStep();
    };
  }

  /**
   * @param {string} run
   * @param {object} stimulus as listed by the server
   * @param {{group?: ScaleGroup, full?: boolean, zoomed?: boolean}} options whose scale it may share; whether full size
   *   is wanted; whether it follows the zoom
   */
  show(run, stimulus, {group = new ScaleGroup(), full = false, zoomed = false} = {}) {
    Object.assign(this, {run, stimulus, group, full, zoomed});
    this.classList.toggle("full", full);
    // What can be pointed at must not be hidden inside one picture.
    this.setAttribute("role", full ? "group" : "img");
    this.say("");
    if (!full) readableSmall(this, (target) => (target === this.moving ? target : null), () => this.flow, () => this.frame);
    this.setState("idle");
    return this;
  }

  connectedCallback() {
    near.observe(this);
    this.group.join(this);
    state.addEventListener("change", this.onstate);
    if (this.flow) this.group.report(this, this.flow.largest);
  }

  disconnectedCallback() {
    near.unobserve(this);
    this.setNear(false);
    state.removeEventListener("change", this.onstate);
    this.group.leave(this);
  }

  get frame() {
    return clock.frame % this.flow.frames;
  }

  setState(name) {
    this.state = name;
    this.dataset.state = name;
  }

  setNear(isNear) {
    clock.removeEventListener("frame", this.onframe);
    this.near = isNear;
    if (!isNear) {
      // Coloured frames are the larger part of a player's memory, and quickly made again.
      this.images = [];
      this.kept = null;
      return;
    }
    clock.addEventListener("frame", this.onframe);
    if (this.state === "idle") return this.load();
    if (this.flow) this.recolour();
    this.toStep();
  }

  async load() {
    if (this.state !== "idle") return this.toStep(true);
    this.setState("loading");
    this.replaceChildren(h("div.tile.waiting"), h("div.tile.waiting"));
    try {
      const cell = await api.cell(this.run, this.stimulus, () => this.isConnected);
      this.meta = cell.meta;
      if (cell.meta.error) return this.fail(cell.meta.error);
      known.note(this.run, cell.meta.kept);
      const [still, strip] = await Promise.all([cell.appearance, cell.flow].map((blob) => blob && pixels(blob)));
      const {motion} = cell.meta;
      this.fill(still, strip && Flow.fromPlanes(strip, motion.frames, motion.small_step, motion.small_by_row));
      this.setState("ready");
      this.tell();
      if (this.full) await this.loadFull();
    } catch (error) {
      if (!(error instanceof api.Dropped)) return this.fail(error.message, "not readable");
      this.setState("idle");
      if (this.near) this.load();
    }
  }

  async loadFull() {
    const {appearance, motion} = this.meta;
    const load = (name) => api.media(this.run, this.stimulus, name);
    try {
      const [still, flow] = await Promise.all([appearance && load("appearance.png").then(pixels), motion && this.loadValues(load)]);
      this.fill(still, flow);
    } catch (error) {
      // The files lie beside the events and may be out of reach (a remote logdir): the small pictures stay.
      this.dataset.small = "";
      this.title = `Small pictures: the full-size files were not found beside the events. ${error.message}`;
      this.sayScale();
    }
    this.tell();
  }

  /** The values themselves; where they cannot be read, the lossless picture of them in 255 steps. */
  async loadValues(load) {
    try {
      return await Flow.fromNpz(await load("values.npz"));
    } catch {
      const {frames, step} = this.meta.motion;
      return Flow.fromPlanes(await pixels(await load("flow.webp")), frames, step);
    }
  }

  tell() {
    this.dispatchEvent(new CustomEvent("ready", {detail: this.meta, bubbles: true}));
  }

  fill(still, flow) {
    this.end = {still, flow};
    this.flow = flow;
    this.still = still ? canvas(still.width, still.height, "appearance") : null;
    this.moving = flow ? canvas(flow.width, flow.height, "flow") : null;
    const first = this.still ?? absent("no appearance input");
    const second = this.moving ?? absent("no motion input");
    if (this.full) this.fillFull(first, second);
    else this.replaceChildren(first, second);
    this.append(this.note = h("small.step-note", {hidden: true}));
    this.put(null, this.end);
    this.toStep();
  }

  /** Shows a step of the search, or its end, in the canvases that are there. */
  put(step, {still, flow}) {
    Object.assign(this, {step, flow, feet: null});
    if (still) {
      Object.assign(this.still, {width: still.width, height: still.height});
      this.still.getContext("2d").putImageData(still, 0, 0);
    }
    if (!flow) return;
    clock.reach(flow.frames);
    this.group.report(this, flow.largest);
    this.recolour();
  }

  /** Takes up the chosen step, where it was kept; `asked` by those that share its scale, also out of sight. */
  async toStep(asked = false) {
    if (!this.end || !(this.near || asked)) return;
    const wanted = chosenStep();
    const kept = this.meta.kept;
    if (wanted === null || !kept) {
      if (this.step !== null) this.put(null, this.end);
      return this.say(wanted === null ? "" : "only the end was kept");
    }
    const at = placeOf(kept.steps, wanted);
    const step = kept.steps[at];
    try {
      const copies = step === this.step ? null : await (this.kept ??= Kept.load(this.run, this.stimulus, kept));
      if (chosenStep() !== wanted) return;
      if (step !== this.step) this.put(step, copies.at(at));
      this.say(step === wanted ? "" : `step ${step}`);
    } catch (error) {
      this.kept = null;
      if (this.step !== null) this.put(null, this.end);
      this.say("only the end: its steps failed to load", error.message);
    }
  }

  /** Names what is shown, and says on the picture where it is not the step that was asked for. */
  say(note, title = "") {
    const which = note || (this.step === null ? "" : `step ${this.step}`);
    this.setAttribute("aria-label", `${this.stimulus.unit}, ${this.stimulus.variant}: appearance and flow${which && `, ${which}`}`);
    if (this.note) Object.assign(this.note, {hidden: !note, textContent: note, title: title || note});
  }

  /** Large pictures say their scale, and what is read at the pixel that is pointed at. */
  fillFull(...tiles) {
    const stages = tiles.map((tile) => (tile.tagName === "CANVAS" ? h("div.tile.stage", {}, tile, h("i.marker", {hidden: true})) : tile));
    this.markers = stages.map((stage) => stage.querySelector(".marker")).filter(Boolean);
    this.legend = h("canvas.wheel", {width: 36, height: 36, role: "img", "aria-label": "Colours of directions, or the longest arrow"});
    this.scaleLine = h("span.scale-text");
    // Only what is read by this player's own keys is spoken, not the same pixel of its neighbours.
    this.output = h("output.reading", {"aria-live": "off"}, "Point at a pixel to read its flow, or use the arrow keys on the picture.");
    const below = h("div.below", {}, this.legend, h("div", {}, this.scaleLine, this.output));
    this.replaceChildren(...stages, ...(this.flow ? [below] : []));
    this.still?.setAttribute("role", "img");
    this.still?.setAttribute("aria-label", `Appearance of ${this.stimulus.unit}, ${this.stimulus.variant}`);
    if (this.flow) {
      Object.assign(this.moving, {tabIndex: 0});
      this.moving.setAttribute("role", "application");
      this.moving.setAttribute("aria-label", `Motion of ${this.stimulus.unit}, ${this.stimulus.variant}: arrow keys read a pixel, with Shift in tens`);
      this.moving.addEventListener("focus", () => this.output.setAttribute("aria-live", "polite"));
      this.moving.addEventListener("blur", () => this.output.setAttribute("aria-live", "off"));
      for (const tile of [this.still, this.moving]) {
        if (tile) readable(tile, () => this.flow, () => this.pixel, (x, y) => this.group.point((x + 0.5) / this.flow.width, (y + 0.5) / this.flow.height));
      }
    }
    this.resize();
  }

  /** The pixel that is pointed at, of the flow that is shown; null for none. */
  get pixel() {
    return this.place && [Math.floor(this.place[0] * this.flow.width), Math.floor(this.place[1] * this.flow.height)];
  }

  /** Marks a place, in parts of width and height, and reads its pixel, now and in every frame that follows. */
  point(x, y) {
    if (!this.full || !this.flow) return;
    this.place = [x, y];
    for (const marker of this.markers) {
      marker.hidden = false;
      marker.style.left = `${100 * x}%`;
      marker.style.top = `${100 * y}%`;
    }
    this.read();
  }

  read() {
    if (this.pixel) this.output.textContent = reading(this.flow, this.frame, ...this.pixel);
  }

  /** Every pixel of the stimulus as a whole number of the screen's, where a zoom is chosen. */
  resize() {
    if (!this.zoomed || !this.full) return;
    const zoom = Number(state.get("zoom")) || 0;
    this.dataset.zoom = zoom || "fit";
    // A small copy is as large as the stimulus itself.
    for (const [tile, size] of [[this.still, this.end.still], [this.moving, this.end.flow]]) {
      if (tile) tile.parentElement.style.width = zoom ? `${(size.width * zoom) / devicePixelRatio}px` : "";
    }
  }

  /** Says by name what became of it: the search failed, or its record cannot be read. */
  fail(message, what = "failed") {
    this.setState("failed");
    this.title = `${what}: ${message}`;
    this.setAttribute("aria-label", `${this.stimulus.unit}, ${this.stimulus.variant}: ${what}, ${message}`);
    this.replaceChildren(h("div.note.failed", {}, h("b", {}, what), h("span", {}, message)));
  }

  /** Takes up the chosen form and scale. */
  recolour() {
    this.images = [];
    // Out of sight it will be done on coming near; only what is drawn costs time.
    if (!this.flow || !this.near) return;
    const [mode, choice] = [chosenMode(), chosenScale()];
    this.mode = mode;
    this.scale = scaleOf(this.flow, this.group, choice);
    this.arrows = mode === "arrows" ? (this.feet ??= arrowLayout(this.flow, this.full)) : {zoom: 1};
    [this.moving.width, this.moving.height] = [this.flow.width * this.arrows.zoom, this.flow.height * this.arrows.zoom];
    this.moving.dataset.mode = mode;
    if (this.full) drawLegend(this.legend, mode, this.scale);
    this.sayScale();
    if (choice === "unit") this.group.loadAll();
    this.draw();
  }

  sayScale() {
    if (!this.full || !this.scale) return;
    const small = "small" in this.dataset ? ". Small picture: the full-size file could not be read" : "";
    const copy = this.step === null ? small : `; a copy of ${this.flow.width} × ${this.flow.height} px of step ${this.step}`;
    this.scaleLine.textContent = scaleText(this.mode, this.scale, chosenScale(), this.group.limits.size) + copy;
  }

  draw() {
    if (!this.flow || !this.near) return;
    this.paint(this.moving, this.frame);
    if (this.full) this.read();
  }

  /** Draws a frame as it is shown; the canvas has the size of the flow times `arrows.zoom`. */
  paint(target, frame) {
    if (this.mode === "arrows") return drawArrows(target, this.flow, frame, this.scale, this.still, this.arrows);
    this.images[frame] ??= colour(this.flow, frame, this.mode, this.scale);
    target.getContext("2d").putImageData(this.images[frame], 0, 0);
  }
}

function canvas(width, height, kind) {
  return h(`canvas.tile.${kind}`, {width, height, style: `--aspect: ${width / height}`});
}

function absent(why) {
  return h("div.tile.absent", {title: why}, "–");
}

customElements.define("tbvis-stimulus", Stimulus);

/** Makes a player; see Stimulus.show. */
export const stimulus = (run, item, options) => document.createElement("tbvis-stimulus").show(run, item, options);
