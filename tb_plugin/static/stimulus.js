/** <tbvis-stimulus>: an appearance, or several that play, and beside it the flow, on the shared clock. */

import * as api from "./api.js";
import {clock} from "./clock.js";
import {h} from "./dom.js";
import {Film, Timeline} from "./film.js";
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
    this.film = null;
    this.timeline = new Timeline(0, 0, 1);
    this.images = [];
    this.state = "idle";
    /** What is pointed at, in parts of width and height. */
    this.place = null;
    /** The stimulus itself, {film, flow}; which step of its search is shown, null for the end; the copies, once asked for. */
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
    if (!full) readableSmall(this, (target) => (target === this.moving ? target : null), (pixel) => this.reading(pixel), () => this.flow);
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

  /** Where it is in its own time. */
  get moment() {
    return clock.frame % this.timeline.length;
  }

  /** What is said of a pixel of the flow, now. */
  reading([x, y]) {
    const {timeline, moment} = this;
    return reading(this.flow, timeline.frame(moment), x, y, timeline.chunks > 1 ? timeline.text(moment) : undefined);
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
      const {appearance, motion} = cell.meta;
      this.fill(still && Film.fromStack(still, appearance.frames),
        strip && Flow.fromPlanes(strip, motion.frames, motion.small_step, motion.small_by_row));
      this.tell();
      if (this.full) await this.loadFull();
      this.setState("ready");
    } catch (error) {
      if (!(error instanceof api.Dropped)) return this.fail(error.message, "not readable");
      this.setState("idle");
      if (this.near) this.load();
    }
  }

  async loadFull() {
    const {appearance, motion} = this.meta;
    const loading = new Map();
    const load = (name) => {
      if (!loading.has(name)) loading.set(name, api.media(this.run, this.stimulus, name));
      return loading.get(name);
    };
    try {
      this.fill(...await Promise.all([appearance && this.loadFilm(load), motion && this.loadValues(load)]));
    } catch (error) {
      // The files lie beside the events and may be out of reach (a remote logdir): the small pictures stay.
      this.dataset.small = "";
      this.title = `Small pictures: the full-size files were not found beside the events. ${error.message}`;
      this.sayScale();
    }
    this.tell();
  }

  /** The picture, or of a film the values of all its frames. */
  async loadFilm(load) {
    const {frames, limits} = this.meta.appearance;
    return frames > 1 ? Film.fromNpz(await load("values.npz"), limits) : new Film([await pixels(await load("appearance.png"))]);
  }

  /** The values themselves; where they cannot be read, the lossless picture of them in 255 steps. */
  async loadValues(load) {
    try {
      return await Flow.fromNpz(await load("values.npz"));
    } catch {
      const {frames, step, size} = this.meta.motion;
      return Flow.fromPlanes(await pixels(await load("flow.webp")), frames, step, false, size[1]);
    }
  }

  tell() {
    this.dispatchEvent(new CustomEvent("ready", {detail: this.meta, bubbles: true}));
  }

  fill(film, flow) {
    this.end = {film, flow};
    Object.assign(this, {film, flow});
    if (flow) flow.chunks = this.meta.chunks;
    this.still = film ? canvas(film.width, film.height, "appearance") : null;
    this.moving = flow ? canvas(flow.width, flow.height, "flow") : null;
    // Where the network itself has no such input, nothing is missing.
    const there = (name, made) => made ?? (this.meta.inputs.includes(name) ? absent(`no ${name} input`) : null);
    const tiles = [there("appearance", this.still), there("motion", this.moving)].filter(Boolean);
    if (this.full) this.fillFull(...tiles);
    else this.replaceChildren(...tiles);
    this.append(this.note = h("small.step-note", {hidden: true}));
    this.put(null, this.end);
    this.toStep();
  }

  /** Shows a step of the search, or its end, in the canvases that are there. */
  put(step, {film, flow}) {
    Object.assign(this, {step, film, flow, feet: null, pictured: null});
    this.timeline = new Timeline(film?.frames ?? 0, flow?.frames ?? 0, this.meta.chunks);
    clock.reach(this.timeline.length);
    if (film) {
      Object.assign(this.still, {width: film.width, height: film.height});
      this.showPicture();
    }
    if (!flow) return this.draw();
    this.group.report(this, flow.largest);
    this.recolour();
  }

  /** Shows the picture of this moment. */
  showPicture() {
    const index = this.timeline.picture(this.moment);
    if (index === this.pictured) return;
    this.pictured = index;
    this.still.getContext("2d").putImageData(this.film.images[index], 0, 0);
  }

  /** The picture of a moment as a canvas, null where there is none. */
  pictureAt(moment) {
    const index = this.timeline.picture(moment);
    if (!this.film || index === this.pictured) return this.still;
    const made = h("canvas", {width: this.film.width, height: this.film.height});
    made.getContext("2d").putImageData(this.film.images[index], 0, 0);
    return made;
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
    const loading = step === this.step ? null : (this.kept ??= Kept.load(this.run, this.stimulus, kept));
    try {
      const copies = await loading;
      if (chosenStep() !== wanted) return;
      if (step !== this.step) this.put(step, copies.at(at));
      this.say(step === wanted ? "" : `step ${step}`);
    } catch (error) {
      if (this.kept === loading) this.kept = null;
      // Another step, or the end, was chosen while this one was loading: what failed is no longer asked for.
      if (chosenStep() !== wanted) return;
      if (this.step !== null) this.put(null, this.end);
      this.say("only the end: its steps failed to load", error.message);
    }
  }

  /** Names what is shown, and says on the picture where it is not the step that was asked for. */
  say(note, title = "") {
    const which = note || (this.step === null ? "" : `step ${this.step}`);
    this.setAttribute("aria-label", `${this.stimulus.unit}, ${this.stimulus.variant}: ${this.shown()}${which && `, ${which}`}`);
    if (this.note) Object.assign(this.note, {hidden: !note, textContent: note, title: title || note});
  }

  /** What it has, in words. */
  shown() {
    const {chunks = 1, inputs = ["appearance", "motion"]} = this.meta ?? {};
    const names = [inputs.includes("appearance") && "appearance", inputs.includes("motion") && "flow"].filter(Boolean).join(" and ");
    return chunks > 1 ? `${names} of ${chunks} chunks` : names;
  }

  /** Large pictures say their scale, and what is read at the pixel that is pointed at. */
  fillFull(...tiles) {
    const stages = tiles.map((tile) => (tile.tagName === "CANVAS" ? h("div.tile.stage", {}, tile, h("i.marker", {hidden: true})) : tile));
    this.markers = stages.map((stage) => stage.querySelector(".marker")).filter(Boolean);
    this.legend = h("canvas.wheel", {width: 36, height: 36, role: "img", "aria-label": "Colours of directions, or the longest arrow"});
    this.scaleLine = h("span.scale-text");
    this.timeLine = h("span.time-text", {"aria-live": "off"});
    // Only what is read by this player's own keys is spoken, not the same pixel of its neighbours.
    this.output = h("output.reading", {"aria-live": "off"}, "Point at a pixel to read its flow, or use the arrow keys on the picture.");
    const below = h("div.below", {}, this.legend, h("div", {}, this.timeLine, this.scaleLine, this.output));
    const {chunks, appearance} = this.meta;
    this.timeLine.hidden = chunks < 2 && !(appearance?.frames > 1);
    this.replaceChildren(...stages, ...(this.flow ? [below] : [h("div.below", {}, this.timeLine)]));
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
    if (this.pixel) this.output.textContent = this.reading(this.pixel);
  }

  /** Every pixel of the stimulus as a whole number of the screen's, where a zoom is chosen. */
  resize() {
    if (!this.zoomed || !this.full) return;
    const zoom = Number(state.get("zoom")) || 0;
    this.dataset.zoom = zoom || "fit";
    // A small copy is as large as the stimulus itself.
    for (const [tile, size] of [[this.still, this.end.film], [this.moving, this.end.flow]]) {
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
    if (!this.end || !this.near) return;
    const {moment} = this;
    if (this.film) this.showPicture();
    if (this.flow) this.paint(this.moving, moment);
    if (!this.full) return;
    this.timeLine.textContent = this.timeline.text(moment);
    if (this.flow) this.read();
  }

  /** Draws the flow of a moment as it is shown; the canvas has the size of the flow times `arrows.zoom`. */
  paint(target, moment) {
    const frame = this.timeline.frame(moment);
    if (this.mode === "arrows") return drawArrows(target, this.flow, frame, this.scale, this.pictureAt(moment), this.arrows);
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
