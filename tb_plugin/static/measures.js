/** What units can be ordered by; asked for only when it is wanted, and again when the run has grown. */

import * as api from "./api.js";
import {model} from "./model.js";

class Measures extends EventTarget {
  constructor() {
    super();
    this.run = null;
    /** The version of the run's stimuli when they were asked for. */
    this.version = null;
    /** {activations: by tag, units: {a_hat, selectivity, class} by unit, error}; null: not there yet. */
    this.found = null;
    /** Why they could not be had. */
    this.problem = null;
    this.busy = false;
  }

  /** What is known of the shown run; asks for it where it is not known, or may have become more: "change" follows. */
  get() {
    const {run, grouped: {version}} = model;
    if (run?.name !== this.run) Object.assign(this, {run: run?.name ?? null, version: null, found: null, problem: null});
    if (run && version !== this.version && !this.busy) this.load(run.name, version);
    return this.found;
  }

  async load(run, version) {
    Object.assign(this, {version, busy: true});
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
