/** What the user has chosen; kept in the address, so that every view can be linked. */

import {parseFilter} from "./rows.js";

const PLUGIN = "tbvis";
const DEFAULTS = {
  run: "", evaluation: "", tower: "fused", filter: "", scale: "clip", view: "",
  // Of the grid: the side of a picture in pixels; what units are ordered by, at which variant, and whether across layers.
  size: "80", sort: "network", at: "", across: "no",
  // Of the motion: its form, the zoom of the unit's page, the paused frame.
  motion: "colours", zoom: "fit", frame: "",
  // The optimisation step; "" is the end.
  step: "",
  // Of the confusions: see confusions.js.
  order: "az", cells: "row", top: "0", diagonal: "hidden", pairs: "rate", listed: "some",
  // Which of the two is shown on a narrow window: "units", "confusions", or what there is.
  pane: "",
};

function host() {
  try {
    // Throws where TensorBoard is embedded from elsewhere.
    return window.parent.location.hash === undefined ? null : window.parent;
  } catch {
    return null;
  }
}

/** Reads "#tbvis&p.tbvis.run=a&..." into an object; null if another tab is shown. */
export function parseHash(hash) {
  const [plugin, ...parts] = hash.replace(/^#/, "").split("&");
  if (plugin !== PLUGIN) return null;
  const prefix = `p.${PLUGIN}.`;
  const found = {};
  for (const part of parts) {
    const [key, value, ...rest] = part.split("=");
    if (rest.length || value === undefined || !key.startsWith(prefix)) continue;
    const name = decoded(key.slice(prefix.length));
    if (Object.hasOwn(DEFAULTS, name)) found[name] = decoded(value);
  }
  return found;
}

/** Links are typed and cut short by people: a broken escape is taken as it stands. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The inverse of parseHash; defaults are left out. */
export function formatHash(values) {
  const parts = Object.entries(values)
    .filter(([name, value]) => Object.hasOwn(DEFAULTS, name) && value !== DEFAULTS[name])
    .map(([name, value]) => `p.${PLUGIN}.${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  return `#${[PLUGIN, ...parts].join("&")}`;
}

class State extends EventTarget {
  constructor() {
    super();
    this.values = {...DEFAULTS};
    const outer = host();
    if (!outer) return;
    Object.assign(this.values, parseHash(outer.location.hash) ?? {});
    outer.addEventListener("hashchange", () => {
      const found = parseHash(outer.location.hash);
      // A bare "#tbvis" is a click on the tab: the user comes back to what was there.
      if (found && Object.keys(found).length) this.set({...DEFAULTS, ...found});
      else if (found) this.store();
    });
  }

  get(name) {
    return this.values[name];
  }

  /** Changes values and tells who listens, with the names that changed; a slider on its way is not `kept` in the address. */
  set(changes, kept = true) {
    const names = Object.keys(changes).filter((name) => Object.hasOwn(DEFAULTS, name) && changes[name] !== this.values[name]);
    if (!names.length) return;
    for (const name of names) this.values[name] = changes[name];
    if (kept) this.store();
    this.dispatchEvent(new CustomEvent("change", {detail: new Set(names)}));
  }

  /** Writes the address, unless another tab is shown. */
  store() {
    const outer = host();
    if (!outer || parseHash(outer.location.hash) === null) return;
    const hash = formatHash(this.values);
    // The whole address: alone, the page has a <base> to which a bare fragment would belong.
    const address = outer.location.href.split("#")[0] + hash;
    if (hash !== outer.location.hash) outer.history.replaceState(outer.history.state, "", address);
  }
}

export const state = new State();

/** Smallest, largest and usual side of the grid's pictures; older addresses have letters. */
export const SIDES = {min: 48, max: 224, usual: 80};
const LETTERS = {s: 56, m: 80, l: 136};

/** The side of the grid's pictures in pixels; an address may hold anything. */
export function side() {
  const asked = LETTERS[state.get("size")] ?? Math.round(Number(state.get("size")));
  return Math.min(SIDES.max, Math.max(SIDES.min, asked || SIDES.usual));
}

/** What units may be ordered by: [name in the address, what the list says]. */
export const SORTS = [["network", "network order"], ["activation", "activation"], ["selectivity", "selectivity"], ["name", "name"]];

/** The chosen order: {sort, at, across}; `at` is one of `variants`, or "" for the best of each unit. */
export function chosenOrder(variants) {
  const sort = SORTS.some(([name]) => name === state.get("sort")) ? state.get("sort") : SORTS[0][0];
  const at = variants.some(({variant}) => variant === state.get("at")) ? state.get("at") : "";
  return {sort, at, across: sort !== SORTS[0][0] && state.get("across") === "yes"};
}

let filter = {text: null, test: () => true, problem: null, applied: ""};

/** The chosen filter: {test, problem, applied}; where what is typed is no regular expression, what was typed before is applied. */
export function chosenFilter() {
  const text = state.get("filter");
  if (text === filter.text) return filter;
  const {test, problem = null} = parseFilter(text);
  filter = test ? {text, test, problem, applied: text} : {...filter, text, problem};
  return filter;
}

// Of a class' name, what would be taken for the mark between two.
const escaped = (name) => name.replaceAll("%", "%25").replaceAll("~", "%7E");
const unescaped = (name) => name.replaceAll("%7E", "~").replaceAll("%25", "%");

/** The view of a pair of classes; parseView reads it. */
export const pairView = (a, b) => `pair:${escaped(a)}~${escaped(b)}`;

/** "unit:conv5_fusion/f021" or "pair:PlayingCello~PlayingViolin" -> {kind, ...}; null for the overview. */
export function parseView(view) {
  if (view.startsWith("unit:")) return {kind: "unit", unit: view.slice(5)};
  if (view.startsWith("pair:")) {
    const [a, b] = view.slice(5).split("~");
    if (a && b) return {kind: "pair", true: unescaped(a), predicted: unescaped(b)};
  }
  return null;
}
