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

  show(run, version, name, thumbnail) {
    Object.assign(this, {run, version, name, thumbnail});
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
    if (!this.thumbnail) return this.replaceChildren(h("div.note", {}, "no picture of this clip was written"));
    try {
      this.frames = await decodeFrames(await api.clip(this.run, this.thumbnail, this.version));
      const {width, height} = this.frames[0];
      this.canvas = h("canvas", {width, height, role: "img", "aria-label": `clip ${this.name} and its flow`});
      this.replaceChildren(this.canvas);
      this.draw();
    } catch (error) {
      this.replaceChildren(h("div.note.failed", {}, error.message));
    }
  }

  draw() {
    if (this.frames.length) this.canvas.getContext("2d").drawImage(this.frames[clock.frame % this.frames.length], 0, 0);
  }
}

customElements.define("tbvis-clip", Clip);

/** Makes a player of a clip's thumbnail file. */
export const clip = (run, version, name, thumbnail) =>
  document.createElement("tbvis-clip").show(run, version, name, thumbnail);
