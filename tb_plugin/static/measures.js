/** What units can be ordered by; asked for only when it is wanted, and again when the run has grown. */

import * as api from "./api.js";
import {model} from "./model.js";

class Measures extends EventTarget {
  constructor() {
    super();
    this.run = null;
    /** The list of stimuli that was there when they were asked for. */
    this.contents = null;
    /** {activations: by tag, units: {a_hat, selectivity, class} by unit, error}; null: not there yet. */
    this.found = null;
    /** Why they could not be had. */
    this.problem = null;
    this.busy = false;
  }

  /** What is known of the shown run; asks for it where it is not known, or may have become more: "change" follows. */
  get() {
    const {run, contents} = model;
    if (run?.name !== this.run) Object.assign(this, {run: run?.name ?? null, contents: null, found: null, problem: null});
    if (run && contents !== this.contents && !this.busy) this.load(run.name, contents);
    return this.found;
  }

  async load(run, contents) {
    Object.assign(this, {contents, busy: true});
    let [found, problem] = [null, null];
    try {
      found = await api.measures({run});
    } catch (error) {
      problem = error.message;
    }
    this.busy = false;
    // Meanwhile another run may have been chosen.
    if (run === this.run) Object.assign(this, {found: found ?? this.found, problem});
    this.dispatchEvent(new Event("change"));
  }
}

export const measures = new Measures();
