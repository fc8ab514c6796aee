/** <tbvis-missing>: says why a cell has no stimulus, and keeps up with a sweep. */

import {model} from "./model.js";

/** [text, what it means] */
function reason(planned, settled) {
  const {state, step, steps} = planned ?? {};
  if (state === "running") return [`step ${step} of ${steps}`, "The search is at work on it."];
  if (state === "planned") return ["planned", "Its sweep will come to it."];
  if (state === "interrupted" && step) return [`interrupted at step ${step} of ${steps}`, "Its sweep shows no sign of life; begun again, it goes on from there."];
  if (state === "interrupted") return ["not run: interrupted", "Its sweep shows no sign of life; begun again, it will come to it."];
  if (!settled) return ["still loading", "TensorBoard may not have read all of the logdir yet."];
  return ["not run", "The logdir has no stimulus of it."];
}

class Missing extends HTMLElement {
  constructor() {
    super();
    this.onmodel = () => this.say();
  }

  /** @param {string} unit its name @param {string} variant */
  show(unit, variant) {
    Object.assign(this, {unit, variant});
    this.className = "note";
    this.say();
    return this;
  }

  connectedCallback() {
    model.addEventListener("change", this.onmodel);
    this.say();
  }

  disconnectedCallback() {
    model.removeEventListener("change", this.onmodel);
  }

  say() {
    const [text, title] = reason(model.unitNamed(this.unit)?.planned.get(this.variant), model.settled);
    if (this.textContent !== text) Object.assign(this, {textContent: text, title});
  }
}

customElements.define("tbvis-missing", Missing);

/** Makes the note of a cell; see Missing.show. */
export const missing = (unit, variant) => document.createElement("tbvis-missing").show(unit, variant);
