/** Which rows the grid of units has, in which order, and where each of them lies: functions of what they are given. */

/** Heights in pixels, as grid.css has them. */
export const HEAD = 48;
export const LAYER = 32;
/** What a row is higher than its pictures. */
const AROUND = 14;

const collator = new Intl.Collator("en", {numeric: true});
const SPECIAL = /[\\^$.|?*+()[\]{}]/;

/** What stands behind the layer in a unit's name. */
export const label = ({unit, layer}) => unit.slice(layer.length + 1) || unit;

/**
 * Reads a filter: plain words, all of which a name must have, or one regular expression; capitals do not matter.
 * @returns {{test: (unit: object) => boolean}|{problem: string}}
 */
export function parseFilter(text) {
  const trimmed = text.trim();
  if (!SPECIAL.test(trimmed)) {
    const words = trimmed.toLowerCase().split(/\s+/).filter(Boolean);
    return {test: ({unit, className}) => {
      const name = `${unit}\n${className ?? ""}`.toLowerCase();
      return words.every((word) => name.includes(word));
    }};
  }
  try {
    const pattern = new RegExp(trimmed, "i");
    return {test: ({unit, className}) => pattern.test(unit) || (className !== null && pattern.test(className))};
  } catch (error) {
    // "Invalid regular expression: /(/i: Unterminated group"
    return {problem: error.message.split(": ").at(-1).toLowerCase()};
  }
}

/** The best known value of a unit at a variant, or over all variants; null where none is known. */
function activation(unit, {activations, units}, at) {
  const items = at ? [unit.cells.get(at)].filter(Boolean) : [...unit.cells.values()];
  const known = items.filter(({tag}) => Object.hasOwn(activations, tag));
  const most = known.reduce((best, item) => (best && activations[best.tag] >= activations[item.tag] ? best : item), null);
  if (!most) return null;
  const largest = Object.hasOwn(units, unit.unit) ? units[unit.unit].a_hat : null;
  const relative = largest > 0;
  return {value: activations[most.tag] / (relative ? largest : 1), item: most, relative};
}

function selectivity(unit, {units}) {
  const known = Object.hasOwn(units, unit.unit) ? units[unit.unit] : null;
  return known?.selectivity === null || !known ? null : {value: known.selectivity, of: known.class};
}

/** Whether any unit's largest value on clips is known: activations are then given relative to it. */
export const isRelative = ({units}) => Object.values(units).some(({a_hat: largest}) => largest > 0);

/**
 * Orders units.
 * @param {object[]} units in the network's order
 * @param {{sort: string, at: string, across: boolean}} how `at` is a variant, or "" for the best of each unit
 * @param {?object} measures what the server knows of a run's units, see measures.js; null: not known (yet)
 * @returns {{units: object[], values: Map}} what each is ordered by, by unit; null where it is not known (these come last);
 *   nothing where it is known of none
 */
export function ordered(units, {sort, at, across}, measures) {
  const layers = new Map();
  for (const {layer} of units) if (!layers.has(layer)) layers.set(layer, layers.size);
  const values = new Map();
  const compare = {
    name: (a, b) => collator.compare(label(a), label(b)),
    activation: byValue, selectivity: byValue,
  }[sort];
  if (!compare || (sort !== "name" && !measures)) return {units, values};
  if (sort !== "name") {
    for (const unit of units) values.set(unit.unit, sort === "activation" ? activation(unit, measures, at) : selectivity(unit, measures));
    if (![...values.values()].some(Boolean)) return {units, values: new Map()};
  }
  function byValue(a, b) {
    const [first, second] = [values.get(a.unit), values.get(b.unit)];
    if (!first || !second) return Boolean(second) - Boolean(first);
    // Numbers on different scales are not compared.
    return (second.relative ?? true) - (first.relative ?? true) || second.value - first.value;
  }
  const sorted = [...units].sort((a, b) => (across ? 0 : layers.get(a.layer) - layers.get(b.layer)) || compare(a, b));
  return {units: sorted, values};
}

/**
 * Where each row lies below the table's head.
 * @param {object[]} units as ordered; with `layered` those of a layer are together
 * @param {number} side of a picture, in pixels
 * @returns {{items: {key: string, layer: string, count: number, unit: ?object, head: number, top: number, height: number}[],
 *   height: number}} an item is a unit's row, or the head of a layer (`unit` is null then); `head` is the index of its layer's, or -1
 */
export function layout(units, layered, side) {
  const items = [];
  let [top, layer, head] = [0, null, -1];
  const add = (item, height) => {
    items.push({...item, top, height});
    top += height;
  };
  for (const unit of units) {
    if (layered && unit.layer !== layer) {
      [layer, head] = [unit.layer, items.length];
      add({key: `layer\n${layer}`, layer, count: 0, unit: null, head}, LAYER);
    }
    if (layered) items[head].count += 1;
    add({key: `unit\n${unit.unit}`, layer: unit.layer, count: 1, unit, head}, side + AROUND);
  }
  return {items, height: top};
}

/** The index of the item at a height; of the last one where it lies below all, -1 where there is none. */
export function indexAt(items, height) {
  let [low, high] = [0, items.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (items[middle].top <= height) low = middle;
    else high = middle - 1;
  }
  return items.length ? low : -1;
}

/**
 * Indices of the items that have to be there, in order: those between two heights, the head of the layer that the first
 * of them is of, and those beside `kept`, where the keyboard is.
 */
export function needed(items, from, to, kept) {
  if (!items.length) return [];
  const [first, last] = [indexAt(items, from), indexAt(items, to)];
  const indices = new Set();
  for (let index = first; index <= last; index += 1) indices.add(index);
  if (items[first].head >= 0) indices.add(items[first].head);
  if (kept >= 0) for (const index of [kept - 1, kept, kept + 1]) if (index >= 0 && index < items.length) indices.add(index);
  return [...indices].sort((a, b) => a - b);
}
