/** <tbvis-clip>: a real clip and its flow, on the shared clock. */

import * as api from "./api.js";
import {clock} from "./clock.js";
import {h} from "./dom.js";
import {decodeFrames} from "./webp.js";

const near = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && entry.target.load()),
  {rootMargin: "200px"},
);

class Clip extends HTMLElement {
  constructor() {
    super();
    this.frames = [];
    this.started = false;
    this.onframe = () => this.draw();
  }

  /** @param {object|null} mark the place that fired, see `clip`. */
  show(run, version, name, thumbnail, mark) {
    Object.assign(this, {run, version, name, thumbnail, mark});
    this.replaceChildren(h("div.clip-wait"));
    return this;
  }

  connectedCallback() {
    near.observe(this);
    clock.addEventListener("frame", this.onframe);
  }

  disconnectedCallback() {
    near.unobserve(this);
    clock.removeEventListener("frame", this.onframe);
  }

  async load() {
    if (this.started) return;
    this.started = true;
    if (!this.thumbnail) return this.replaceChildren(h("div.note", {title: "tbvis-evaluate --thumbnails=N writes those of N clips"}, "no picture of this clip was written (--thumbnails)"));
    try {
      this.frames = await decodeFrames(await api.clip(this.run, this.thumbnail, this.version), this.mark?.frames);
      const {width, height} = this.frames[0];
      this.canvas = h("canvas", {width, height, role: "img", "aria-label": `clip ${this.name} and its flow`});
      this.fill(this.canvas);
      this.draw();
    } catch (error) {
      this.replaceChildren(h("div.note.failed", {}, error.message));
    }
  }

  /** The picture, and over both of its halves the place that fired. */
  fill(picture) {
    this.replaceChildren(picture);
    if (!this.mark) return;
    const {left, top, box} = this.mark;
    const percent = (part) => `${100 * part}%`;
    const at = `left:${percent(left)};top:${percent(top)}`;
    for (const half of ["frames", "flow"]) {
      this.append(h(`i.half.${half}`, {}, h("i.fired", {style: at}),
        box && h("i.sees", {style: `${at};width:${percent(box[0])};height:${percent(box[1])}`})));
    }
  }

  draw() {
    if (!this.frames.length) return;
    const frame = clock.frame % this.frames.length;
    this.canvas.getContext("2d").drawImage(this.frames[frame], 0, 0);
    if (this.mark) this.classList.toggle("now", frame === this.mark.fired);
  }
}

customElements.define("tbvis-clip", Clip);

/**
 * Makes a player of a clip's thumbnail file. `mark`, if any, is the place that fired, in parts of the frame's width and height:
 * {left, top, box: [width, height] of what the unit sees or null, frames: how many, fired: the one of them}.
 */
export const clip = (run, version, name, thumbnail, mark = null) =>
  document.createElement("tbvis-clip").show(run, version, name, thumbnail, mark);
