/** <tbvis-clip>: a real clip and its flow, on the shared clock where the browser can step through an animation. */

import * as api from "./api.js";
import {clock} from "./clock.js";
import {h} from "./dom.js";

const near = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && entry.target.load()),
  {rootMargin: "200px"},
);

async function decode(data) {
  const decoder = new ImageDecoder({data, type: "image/webp"});
  await Promise.all([decoder.completed, decoder.tracks.ready]);
  const frames = [];
  for (let frameIndex = 0; frameIndex < decoder.tracks.selectedTrack.frameCount; frameIndex += 1) {
    const {image} = await decoder.decode({frameIndex});
    frames.push(await createImageBitmap(image));
    image.close();
  }
  decoder.close();
  return frames;
}

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
      const data = await api.clip(this.run, this.thumbnail, this.version);
      // ImageDecoder is there on secure pages only; elsewhere the picture plays on its own, out of step.
      if (typeof ImageDecoder === "undefined") {
        return this.replaceChildren(h("img", {alt: this.name, src: api.clipAddress(this.run, this.thumbnail, this.version)}));
      }
      this.frames = await decode(data);
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
