/** <tbvis-stimulus>: an appearance and, beside it, its flow playing on the shared clock. */

import * as api from "./api.js";
import {clock} from "./clock.js";
import {h} from "./dom.js";
import {Flow, ScaleGroup, pixels} from "./flow.js";
import {state} from "./state.js";

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
    this.onframe = () => this.draw();
    this.onstate = (event) => event.detail.has("scale") && this.recolour();
  }

  /**
   * @param {string} run
   * @param {object} stimulus as listed by the server
   * @param {{group?: ScaleGroup, full?: boolean}} options whose scale it may share; whether full size is wanted
   */
  show(run, stimulus, {group = new ScaleGroup(), full = false} = {}) {
    Object.assign(this, {run, stimulus, group, full});
    this.setAttribute("role", "img");
    this.setAttribute("aria-label", `${stimulus.unit}, ${stimulus.variant}: appearance and flow`);
    this.setState("idle");
    return this;
  }

  connectedCallback() {
    near.observe(this);
    state.addEventListener("change", this.onstate);
    if (this.flow) this.group.report(this, this.flow.largest);
  }

  disconnectedCallback() {
    near.unobserve(this);
    this.setNear(false);
    state.removeEventListener("change", this.onstate);
    this.group.leave(this);
  }

  setState(name) {
    this.state = name;
    this.dataset.state = name;
  }

  setNear(isNear) {
    clock.removeEventListener("frame", this.onframe);
    if (!isNear) {
      // Coloured frames are the larger part of a player's memory, and quickly made again.
      this.images = [];
      return;
    }
    clock.addEventListener("frame", this.onframe);
    if (this.state === "idle") this.load();
    else if (this.flow) this.recolour();
  }

  async load() {
    this.setState("loading");
    this.replaceChildren(h("div.tile.waiting"), h("div.tile.waiting"));
    try {
      const cell = await api.cell(this.run, this.stimulus);
      this.meta = cell.meta;
      if (cell.meta.error) return this.fail(cell.meta.error);
      await this.fill(cell, cell.meta.motion?.small_step);
      this.setState("ready");
      this.dispatchEvent(new CustomEvent("ready", {detail: cell.meta, bubbles: true}));
      if (this.full) await this.loadFull();
    } catch (error) {
      this.fail(error.message);
    }
  }

  async loadFull() {
    const load = (name, wanted) => (wanted ? api.media(this.run, this.stimulus, name) : null);
    try {
      const [appearance, flow] = await Promise.all([
        load("appearance.png", this.meta.appearance), load("flow.webp", this.meta.motion)]);
      await this.fill({appearance, flow}, this.meta.motion?.step);
    } catch {
      // The files lie beside the events and may be out of reach (a remote logdir): the small pictures stay.
      this.dataset.small = "";
      this.title = "Small pictures: the full-size files were not found beside the events.";
    }
  }

  async fill({appearance, flow}, step) {
    const [still, strip] = await Promise.all([appearance && pixels(appearance), flow && pixels(flow)]);
    this.flow = strip ? new Flow(strip, this.meta.motion.frames, step) : null;
    const first = still ? canvas(still.width, still.height, "appearance") : absent("no appearance input");
    if (still) first.getContext("2d").putImageData(still, 0, 0);
    this.moving = this.flow ? canvas(this.flow.width, this.flow.height, "flow") : null;
    this.replaceChildren(first, this.moving ?? absent("no motion input"));
    if (this.flow) this.group.report(this, this.flow.largest);
    this.recolour();
  }

  fail(message) {
    this.setState("failed");
    this.title = message;
    this.replaceChildren(h("div.note.failed", {}, h("b", {}, "failed"), h("span", {}, message)));
  }

  recolour() {
    if (!this.flow) return;
    this.images = this.flow.colour(state.get("scale") === "unit" ? this.group.limit : this.flow.largest);
    this.draw();
  }

  draw() {
    if (!this.images.length) return;
    this.moving.getContext("2d").putImageData(this.images[clock.frame % this.images.length], 0, 0);
  }
}

function canvas(width, height, kind) {
  return h(`canvas.tile.${kind}`, {width, height});
}

function absent(why) {
  return h("div.tile.absent", {title: why}, "–");
}

customElements.define("tbvis-stimulus", Stimulus);

/** Makes a player; see Stimulus.show. */
export const stimulus = (run, item, options) => document.createElement("tbvis-stimulus").show(run, item, options);
