/** What the logdir holds, polled while it may grow. */

import * as api from "./api.js";
import {clock} from "./clock.js";
import {state} from "./state.js";

const SOON = 4000;
const LATER = 20000;

function sharedPrefix(a, b) {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return length;
}

function parsed(text) {
  let contents = null;
  try {
    contents = JSON.parse(text);
  } catch {
    // Said below: what is no JSON is no list either.
  }
  if (!Array.isArray(contents?.runs)) throw new Error("Expected a list of runs as JSON from contents, received something else.");
  return contents;
}

class Model extends EventTarget {
  constructor() {
    super();
    this.text = "";
    this.contents = null;
    this.error = null;
    this.timer = 0;
    this.growing = true;
    clock.addEventListener("shown", () => this.text && this.refresh());
  }

  /** Reads the list of runs and stimuli again; "change" follows if it differs. */
  async refresh() {
    clearTimeout(this.timer);
    let changed = false;
    try {
      const text = await api.contentsText();
      changed = text !== this.text || this.error !== null;
      this.error = null;
      // The large loaders bring tags in little by little: what just grew is likely to grow on.
      this.growing = text !== this.text;
      this.text = text;
      if (changed) this.contents = parsed(text);
    } catch (error) {
      changed = this.error === null;
      this.error = error;
    }
    if (changed) this.dispatchEvent(new Event("change"));
    const soon = this.growing || this.error || this.contents?.seen;
    this.timer = setTimeout(() => (clock.shown ? this.refresh() : null), soon ? SOON : LATER);
  }

  get stimulusRuns() {
    return (this.contents?.runs ?? []).filter((run) => run.stimuli.length);
  }

  get evaluationRuns() {
    return (this.contents?.runs ?? []).filter((run) => run.confusions);
  }

  /** The run whose stimuli are shown: the chosen one, else the one that has most of them. */
  get run() {
    const runs = this.stimulusRuns;
    const largest = [...runs].sort((a, b) => b.stimuli.length - a.stimuli.length)[0];
    return runs.find((run) => run.name === state.get("run")) ?? largest ?? null;
  }

  /** The run whose confusions are shown: the chosen one, else the one named most like the stimuli's. */
  get evaluation() {
    const runs = this.evaluationRuns;
    const chosen = runs.find((run) => run.name === state.get("evaluation"));
    const name = this.run?.name ?? "";
    return chosen ?? [...runs].sort((a, b) => sharedPrefix(b.name, name) - sharedPrefix(a.name, name))[0] ?? null;
  }

  /** Units of the shown run in the network's order: [{unit, layer, className, cells: Map(variant -> stimulus)}]. */
  get units() {
    const units = new Map();
    for (const item of this.run?.stimuli ?? []) {
      if (!units.has(item.unit)) {
        units.set(item.unit, {unit: item.unit, layer: item.layer, className: item.class_name, cells: new Map()});
      }
      units.get(item.unit).cells.set(item.variant, item);
    }
    return [...units.values()];
  }

  /** The variants of the shown run, anisotropic ones first, each sorted by its numbers. */
  get variants() {
    const variants = new Map();
    for (const item of this.run?.stimuli ?? []) variants.set(item.variant, item);
    return [...variants.values()].sort((a, b) =>
      a.isotropic - b.isotropic || a.kappa - b.kappa || a.chi - b.chi || a.seed - b.seed);
  }

  /** What a view is made of: while this stays the same, new data elsewhere leave the view alone. */
  signature({kind, unit, true: a, predicted: b}) {
    const shown = kind === "unit" ? this.units.filter((other) => other.unit === unit) : [a, b].flatMap((name) => this.classUnits(name));
    const cells = shown.flatMap(({cells: of}) => [...of.values()].map((item) => `${item.tag} ${item.v}`));
    return [this.run?.name, this.evaluation?.name, this.evaluation?.confusions, this.run?.statistics, ...cells];
  }

  /** Units that stand for a class. */
  classUnits(name) {
    return this.units.filter((unit) => unit.className === name);
  }
}

export const model = new Model();

/** What the head of a column says: [main, small print]. */
export function variantTitle(item) {
  const notes = [];
  if (item.isotropic) notes.push("isotropic");
  else if (item.kappa !== 1) notes.push(`κ = ${item.kappa}`);
  if (item.seed) notes.push(`seed ${item.seed}`);
  const main = item.isotropic ? `κ = χ = ${item.chi}` : `χ = ${item.chi}`;
  return [main, notes.join(", ")];
}
