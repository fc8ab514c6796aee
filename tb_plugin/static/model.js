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

/** Puts units of which nothing is finished where they will be. */
const inOrder = (units) => units.sort((a, b) => a.layerIndex - b.layerIndex || a.channel - b.channel || (a.unit < b.unit ? -1 : 1));

/** Units, in the network's order, and variants, sorted by their numbers, of a run. */
function grouped(run) {
  const [units, variants] = [new Map(), new Map()];
  const unitOf = (item) => {
    if (!units.has(item.unit)) {
      const {unit, layer, layer_index: layerIndex, channel, class_name: className} = item;
      units.set(unit, {unit, layer, layerIndex, channel, className, cells: new Map(), planned: new Map()});
    }
    return units.get(item.unit);
  };
  for (const item of run?.stimuli ?? []) {
    variants.set(item.variant, item);
    unitOf(item).cells.set(item.variant, item);
  }
  const planned = run?.planned ?? [];
  for (const item of planned) {
    if (!variants.has(item.variant)) variants.set(item.variant, item);
    unitOf(item).planned.set(item.variant, item);
  }
  const sorted = [...variants.values()].sort((a, b) =>
    a.isotropic - b.isotropic || a.kappa - b.kappa || a.chi - b.chi || a.seed - b.seed);
  const several = (name, of) => new Set(of.map((item) => item[name])).size > 1;
  const listed = [...units.values()];
  return {
    units: planned.length ? inOrder(listed) : listed, named: units, variants: sorted,
    // Of two lists of one run with the same version, the stimuli are the same.
    version: [run?.statistics, run?.stimuli.length, run?.stimuli.reduce((latest, {v}) => Math.max(latest, v), 0)].join(" "),
    varied: {kappa: several("kappa", sorted.filter(({isotropic}) => !isotropic)), seed: several("seed", sorted)},
  };
}

class Model extends EventTarget {
  constructor() {
    super();
    this.text = "";
    this.contents = null;
    this.error = null;
    this.timer = 0;
    this.growing = true;
    /** Whether as many stimuli were listed twice in turn: before that, what is missing may not have been loaded. */
    this.settled = false;
    this.listed = null;
    this.kept = {};
    clock.addEventListener("shown", () => this.text && this.refresh());
  }

  /** Reads the list of runs and stimuli again; "change" follows if it differs. */
  async refresh() {
    clearTimeout(this.timer);
    let changed = false;
    try {
      const text = await api.contentsText();
      changed = text !== this.text || this.error !== null || !this.settled;
      this.error = null;
      // The large loaders bring tags in little by little: what just grew is likely to grow on.
      this.growing = text !== this.text;
      if (this.growing) this.contents = parsed(text);
      this.text = text;
      const listed = this.contents.runs.reduce((sum, {stimuli}) => sum + stimuli.length, 0);
      this.settled ||= listed === this.listed;
      this.listed = listed;
    } catch (error) {
      changed = this.error === null;
      this.error = error;
    }
    if (changed) this.dispatchEvent(new Event("change"));
    const soon = this.growing || this.error || this.contents?.seen;
    this.timer = setTimeout(() => (clock.shown ? this.refresh() : null), soon ? SOON : LATER);
  }

  get stimulusRuns() {
    return (this.contents?.runs ?? []).filter((run) => run.stimuli.length || run.planned?.length);
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

  /** What the shown run is made of, grouped once for each list that was read. */
  get grouped() {
    const {contents, run} = this;
    if (this.kept.contents !== contents || this.kept.run !== run) this.kept = {contents, run, ...grouped(run)};
    return this.kept;
  }

  /**
   * Units of the shown run in the network's order: [{unit, layer, className, cells: Map(variant -> stimulus),
   * planned: Map(variant -> {state: "planned"|"running"|"interrupted", step, steps})}].
   */
  get units() {
    return this.grouped.units;
  }

  /** A unit of the shown run. */
  unitNamed(name) {
    return this.grouped.named.get(name);
  }

  /** The variants of the shown run, anisotropic ones first, each sorted by its numbers. */
  get variants() {
    return this.grouped.variants;
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

/** What the head of a column says: [main, small print]; kappa and seed where they vary, or are not the usual ones. */
export function variantTitle(item) {
  const {kappa, seed} = model.grouped.varied;
  const notes = [];
  if (item.isotropic) notes.push("isotropic");
  else if (kappa || item.kappa !== 1) notes.push(`κ = ${item.kappa}`);
  if (seed || item.seed) notes.push(`seed ${item.seed}`);
  const main = item.isotropic ? `κ = χ = ${item.chi}` : `χ = ${item.chi}`;
  return [main, notes.join(", ")];
}
