/** <tbvis-units>: units in rows by layer, chi in columns. */

import {h} from "./dom.js";
import {ScaleGroup} from "./flow.js";
import {model, variantTitle} from "./model.js";
import {chosenScale, speed} from "./motion.js";
import {state} from "./state.js";
import {stimulus} from "./stimulus.js";

const count = (shown, all) => (shown === all ? `${all} ${all === 1 ? "unit" : "units"}` : `${shown} of ${all} units`);
const THUMBNAILS = "Pictures here are drawn from small copies: at most 96 pixels wide, 10 to 40 steps from zero to the largest value. "
  + "A unit's page has the values themselves.";

class Units extends HTMLElement {
  constructor() {
    super();
    // Cells outlive a rebuild of the table: what is loaded stays loaded.
    this.cells = new Map();
    this.groups = new Map();
    /** Where set, units of these classes are shown, whatever the filter says. */
    this.classes = null;
  }

  connectedCallback() {
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", this.classes ? `Stimuli of ${this.classes.join(" and ")} by chi` : "Stimuli by unit and chi");
    this.render();
  }

  render() {
    const units = this.filtered();
    const variants = model.variants;
    const {scrollTop, scrollLeft} = this;
    this.replaceChildren(units.length ? this.table(units, variants) : this.nothing());
    Object.assign(this, {scrollTop, scrollLeft});
    this.showRims();
    this.mark();
  }

  filtered() {
    if (this.classes) return this.ofClasses(this.classes);
    const words = state.get("filter").toLowerCase().split(/\s+/).filter(Boolean);
    return model.units.filter((unit) => words.every((word) => unit.unit.toLowerCase().includes(word)));
  }

  /** Units of classes by layer, in the order in which the classes are given. */
  ofClasses(classes) {
    const units = model.units.filter((unit) => classes.includes(unit.className));
    const layers = [...new Set(units.map((unit) => unit.layer))];
    const place = (unit) => layers.indexOf(unit.layer) * classes.length + classes.indexOf(unit.className);
    return units.sort((a, b) => place(a) - place(b));
  }

  nothing() {
    const filter = state.get("filter");
    const all = model.units.length;
    if (!all) {
      return h("div.message", {}, h("h2", {}, "No stimuli in this logdir yet"),
        h("p", {}, "Confusions are there; stimuli appear here as tbvis-maximize writes them."));
    }
    return h("div.message", {}, h("h2", {}, `No unit matches “${filter}”`),
      h("p", {}, `${all} units of run ${model.run.name} were searched by name.`),
      h("button.plain", {type: "button", onclick: () => state.set({filter: ""})}, "Show all units"));
  }

  table(units, variants) {
    const head = h("tr", {}, h("th.corner", {scope: "col"}, count(units.length, model.units.length),
      h("small", {title: THUMBNAILS}, "thumbnails")));
    for (const item of variants) {
      const [main, small] = variantTitle(item);
      head.append(h("th", {scope: "col", "data-variant": item.variant}, main, small && h("small", {}, small)));
    }
    const body = h("tbody");
    let layer = null;
    for (const unit of units) {
      if (unit.layer !== layer) {
        layer = unit.layer;
        const count = units.filter((other) => other.layer === layer).length;
        body.append(h("tr.layer", {}, h("th", {scope: "rowgroup", colSpan: variants.length + 1},
          h("span", {}, layer, h("small", {}, `${count} ${count === 1 ? "unit" : "units"}`)))));
      }
      body.append(this.row(unit, variants));
    }
    return h("table.grid", {}, h("thead", {}, head), body);
  }

  row(unit, variants) {
    const open = () => state.set({view: `unit:${unit.unit}`});
    const label = unit.unit.slice(unit.layer.length + 1) || unit.unit;
    const row = h("tr.unit", {"data-unit": unit.unit},
      h("th", {scope: "row"}, h("button.name", {type: "button", onclick: open, title: `Open ${unit.unit}`}, label), h("small.rim")));
    for (const {variant} of variants) {
      const item = unit.cells.get(variant);
      row.append(h("td", {"data-variant": variant}, item ? this.cell(item, open) : h("div.note", {}, "not run")));
    }
    return row;
  }

  cell(item, open) {
    const key = `${model.run.name}\n${item.tag}\n${item.v}`;
    if (!this.cells.has(key)) {
      const player = stimulus(model.run.name, item, {group: this.group(item.unit)});
      this.cells.set(key, h("button.cell", {type: "button", onclick: open, "aria-label": `Open ${item.unit}, ${item.variant}`}, player));
    }
    return this.cells.get(key);
  }

  /** What the players of a unit's row share; the row says so where it is their scale. */
  group(unit) {
    const key = `${model.run.name}\n${unit}`;
    if (!this.groups.has(key)) {
      const group = new ScaleGroup();
      group.addEventListener("limit", () => this.showRim(unit, group));
      this.groups.set(key, group);
    }
    return this.groups.get(key);
  }

  showRim(unit, group) {
    const rim = this.querySelector(`tr.unit[data-unit="${CSS.escape(unit)}"] small.rim`);
    if (rim) rim.textContent = chosenScale() === "unit" && group.limit ? `± ${speed(group.limit)}` : "";
  }

  /** Takes up the chosen scale. */
  showRims() {
    for (const {dataset} of this.querySelectorAll("tr.unit")) this.showRim(dataset.unit, this.group(dataset.unit));
  }

  /** Marks the unit that is open, and brings it into view. */
  mark() {
    const view = state.get("view");
    for (const row of this.querySelectorAll("tr.unit")) row.classList.toggle("chosen", view === `unit:${row.dataset.unit}`);
  }
}

customElements.define("tbvis-units", Units);
