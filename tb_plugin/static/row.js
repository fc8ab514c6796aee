/** One unit's row in the grid: its name, and a cell for each variant. */

import {h, number} from "./dom.js";
import {ScaleGroup} from "./flow.js";
import {missing} from "./missing.js";
import {variantTitle} from "./model.js";
import {chosenScale, speed} from "./motion.js";
import {label} from "./rows.js";
import {state} from "./state.js";
import {stimulus} from "./stimulus.js";

/** What a unit is ordered by, for people: [text, what it means]. */
function measured(value, sort) {
  if (!value) {
    return sort === "activation" ? ["no activation known", "No curve of its activation is in the logdir."]
      : ["no selectivity known", "Mean responses to two classes or more, one of them positive, are needed."];
  }
  if (sort === "selectivity") {
    return [`${number(value.value, 2)} ${value.of}`, `Selectivity ${number(value.value)}: (a − b) / (a + b), a being the largest mean response to a `
      + `class (here ${value.of}) and b the mean over the other classes; negative means count as 0.`];
  }
  const [main, small] = variantTitle(value.item);
  const where = [main, small].filter(Boolean).join(", ");
  const scale = value.relative ? "in parts of the unit's largest value on validation clips" : "as it is: the unit's largest value on clips is not known";
  return [`${number(value.value, 3)}${value.relative ? " â" : ""}, ${where}`, `Activation at the stimulus (${where}), ${scale}`];
}

export class Row {
  /** @param {string} run @param {string} name the unit */
  constructor(run, name) {
    Object.assign(this, {run, name});
    /** By variant: what is shown there, and the cell. */
    this.cells = new Map();
    this.open = () => state.set({view: `unit:${name}`});
    this.group = new ScaleGroup();
    this.group.addEventListener("limit", () => this.showRim());
    this.button = h("button.name", {type: "button", tabIndex: -1, onclick: this.open, title: `Open ${name}`});
    this.notes = {layer: h("small"), measure: h("small.measure"), rim: h("small.rim")};
    this.head = h("th", {scope: "row"}, h("div.row-head", {}, this.button, ...Object.values(this.notes)));
    this.element = h("tr.unit", {"data-unit": name}, this.head);
  }

  /**
   * Takes up what is known by now; what is the same stays as it is, with its focus and all that it has loaded.
   * @param {object} unit @param {object[]} variants @param {{sort: string, value: ?object, across: boolean}} how it was ordered
   */
  show(unit, variants, {sort, value, across}) {
    this.button.textContent = label(unit);
    this.notes.layer.textContent = across ? unit.layer : "";
    const [text, title] = value === undefined ? ["", ""] : measured(value, sort);
    Object.assign(this.notes.measure, {textContent: text, title});
    const shown = new Set(variants.map(({variant}) => variant));
    for (const [variant, {element}] of this.cells) {
      if (shown.has(variant)) continue;
      element.remove();
      this.cells.delete(variant);
    }
    variants.forEach(({variant}, index) => {
      const cell = this.cell(unit, variant);
      if (this.element.children[index + 1] !== cell) this.element.insertBefore(cell, this.element.children[index + 1] ?? null);
    });
  }

  cell(unit, variant) {
    const item = unit.cells.get(variant);
    const key = item ? `${item.tag}\n${item.v}` : "missing";
    const before = this.cells.get(variant);
    if (before?.key === key) return before.element;
    const element = before?.element ?? h("td", {"data-variant": variant});
    const focused = element.contains(document.activeElement);
    element.replaceChildren(item ? this.player(item) : Object.assign(missing(unit.unit, variant), {tabIndex: -1}));
    if (focused) element.firstChild.focus({preventScroll: true});
    this.cells.set(variant, {key, element});
    return element;
  }

  player(item) {
    return h("button.cell", {type: "button", tabIndex: -1, onclick: this.open}, stimulus(this.run, item, {group: this.group}));
  }

  /** The largest speed of the row, where it is the scale of its pictures. */
  showRim() {
    this.notes.rim.textContent = chosenScale() === "unit" && this.group.limit ? `± ${speed(this.group.limit)}` : "";
  }

  /** What the keyboard reaches in a column: the name in column 0, then each cell. */
  stop(column) {
    const cell = this.element.children[Math.min(column, this.element.children.length - 1)];
    return cell === this.head ? this.button : cell.firstChild;
  }
}
