/** <tbvis-units>: units in rows by layer, chi in columns; only the rows near the window are there. */

import {h} from "./dom.js";
import {measures} from "./measures.js";
import {model, variantTitle} from "./model.js";
import {Row} from "./row.js";
import {HEAD, LAYER, indexAt, layout, needed, ordered} from "./rows.js";
import {chosenFilter, chosenOrder, side, state} from "./state.js";

/** How far above and below the window rows are kept, in pixels. */
const BEYOND = 240;
const count = (shown, all) => (shown === all ? `${all} ${all === 1 ? "unit" : "units"}` : `${shown} of ${all} units`);
const THUMBNAILS = "Pictures here are drawn from small copies: at most 96 pixels wide, 10 to 40 steps from zero to the largest value. "
  + "A unit's page has the values themselves.";

class Units extends HTMLElement {
  constructor() {
    super();
    /** Where set, units of these classes are shown, whatever the filter says. */
    this.classes = null;
    this.items = [];
    this.height = 0;
    this.rows = new Map();
    /** Where the keyboard is: a unit, and a column (0 is its name). */
    this.cursor = {unit: null, column: 0};
    /** Where it was scrolled to; a hidden element forgets. */
    this.at = {scrollTop: 0, scrollLeft: 0};
    this.pending = 0;
    this.observer = new ResizeObserver(() => this.resized());
    this.onmeasures = () => this.render();
    this.head = h("thead");
    this.body = h("tbody");
    this.table = h("table.grid", {role: "grid", onkeydown: (event) => this.key(event), onclick: (event) => this.follow(event.target)}, this.head, this.body);
    this.table.addEventListener("focusin", (event) => this.follow(event.target));
    /** Indices of the items that are there, and what else the table's rows are made of. */
    this.indices = [];
    this.layers = new Map();
    this.gaps = [];
  }

  connectedCallback() {
    this.setAttribute("role", "region");
    const label = this.classes ? `Stimuli of ${this.classes.join(" and ")} by chi` : "Stimuli by unit and chi";
    this.setAttribute("aria-label", label);
    this.table.setAttribute("aria-label", label);
    this.addEventListener("scroll", () => this.scrolled(), {passive: true});
    this.observer.observe(this);
    if (!this.classes) measures.addEventListener("change", this.onmeasures);
    this.render();
  }

  disconnectedCallback() {
    this.observer.disconnect();
    measures.removeEventListener("change", this.onmeasures);
    cancelAnimationFrame(this.pending);
  }

  /** Takes up what is known and chosen; rows, focus and the place in the list stay where they can. */
  render() {
    const units = this.filtered();
    const {sort, at, across} = this.classes ? {sort: "network", at: "", across: false} : chosenOrder(model.variants);
    const {units: sorted, values} = ordered(units, {sort, at, across}, sort === "activation" || sort === "selectivity" ? measures.get() : null);
    this.how = {sort, values, across};
    // Another choice starts at its top; more of the same stays where it is.
    const choice = [model.run?.name, sort, at, across, this.classes ? "" : chosenFilter().applied].join("\n");
    const anchor = choice === this.choice ? this.anchor() : {top: 0};
    this.choice = choice;
    if (this.run !== model.run?.name) this.rows.clear();
    this.run = model.run?.name;
    Object.assign(this, layout(sorted, !across, side()));
    this.places = new Map(this.items.map((item, index) => [item.key, index]));
    if (!units.length) {
      this.rows.clear();
      return this.replaceChildren(this.nothing());
    }
    if (!this.table.isConnected) this.replaceChildren(this.table);
    this.renderHead(units.length);
    for (const [name, row] of this.rows) {
      const index = this.places.get(`unit\n${name}`);
      if (index !== undefined) this.fill(row, this.items[index].unit);
    }
    const place = anchor.key === undefined ? undefined : this.places.get(anchor.key);
    this.at.scrollTop = place === undefined ? anchor.top : this.items[place].top + anchor.offset;
    this.indices = [];
    this.layers.clear();
    this.update(this.at.scrollTop);
    // A grid that is as high as its rows has its height now, and with it more of them in view.
    if (this.classes) this.update(this.at.scrollTop);
    if (this.clientHeight) Object.assign(this, this.at);
    this.mark();
  }

  filtered() {
    if (this.classes) return this.ofClasses(this.classes);
    return model.units.filter(chosenFilter().test);
  }

  /** Units of classes by layer, in the order in which the classes are given. */
  ofClasses(classes) {
    const units = model.units.filter((unit) => classes.includes(unit.className));
    const layers = [...new Set(units.map((unit) => unit.layer))];
    const place = (unit) => layers.indexOf(unit.layer) * classes.length + classes.indexOf(unit.className);
    return units.sort((a, b) => place(a) - place(b));
  }

  nothing() {
    const filter = chosenFilter().applied;
    const all = model.units.length;
    if (!all) {
      return h("div.message", {}, h("h2", {}, "No stimuli in this logdir yet"),
        h("p", {}, "Confusions are there; stimuli appear here as tbvis-maximize writes them."));
    }
    return h("div.message", {}, h("h2", {}, `No unit matches “${filter}”`),
      h("p", {}, `The names and classes of all ${all} units of run ${model.run.name} were searched.`),
      h("button.plain", {type: "button", onclick: () => state.set({filter: ""})}, "Show all units"));
  }

  renderHead(shown) {
    const {variants} = model;
    const titles = variants.map((item) => variantTitle(item));
    const text = JSON.stringify([shown, model.units.length, titles]);
    this.table.setAttribute("aria-rowcount", this.items.length + 1);
    if (text === this.headed) return;
    this.headed = text;
    this.table.style.setProperty("--columns", variants.length);
    this.head.replaceChildren(h("tr", {"aria-rowindex": 1},
      h("th.corner", {scope: "col"}, count(shown, model.units.length), h("small", {title: THUMBNAILS}, "thumbnails")),
      ...titles.map(([main, small], i) => h("th", {scope: "col", "data-variant": variants[i].variant, title: "On the left the appearance, on the right the motion"}, main, small && h("small", {}, small)))));
  }

  fill(row, unit) {
    const {sort, values, across} = this.how;
    row.show(unit, model.variants, {sort, across, value: values.get(unit.unit)});
  }

  /** What is in view stays where it is while rows come in above it: the row with the focus, else the first one. */
  anchor() {
    const {scrollTop} = this.at;
    const index = indexAt(this.items, scrollTop + 1);
    const focused = this.places?.get(`unit\n${this.cursor.unit}`);
    const inView = this.focused && focused !== undefined && Math.abs(this.items[focused].top - scrollTop) < this.clientHeight;
    const item = inView ? this.items[focused] : scrollTop > 0 && this.items[index];
    return item ? {key: item.key, offset: scrollTop - item.top, top: scrollTop} : {top: scrollTop};
  }

  get focused() {
    return this.contains(document.activeElement);
  }

  scrolled() {
    if (!this.clientHeight) return;
    this.at = {scrollTop: this.scrollTop, scrollLeft: this.scrollLeft};
    this.pending ||= requestAnimationFrame(() => this.update(this.scrollTop));
  }

  resized() {
    if (!this.clientHeight || !this.items.length) return;
    Object.assign(this, this.at);
    this.update(this.at.scrollTop);
  }

  /** Puts the rows into the table that are near the window, when it is scrolled to `top`. */
  update(top) {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    if (!this.clientHeight || !this.table.isConnected) return;
    const kept = this.focused ? this.places.get(`unit\n${this.cursor.unit}`) ?? -1 : -1;
    const indices = needed(this.items, top - HEAD - BEYOND, top + this.clientHeight - HEAD + BEYOND, kept);
    if (String(indices) === String(this.indices)) return;
    this.indices = indices;
    const [wanted, gaps] = [[], []];
    const gap = (height) => {
      const element = this.gaps[gaps.length] ?? h("tr.gap", {"aria-hidden": "true"}, h("td"));
      Object.assign(element.firstChild, {colSpan: model.variants.length + 1, style: `height: ${height}px`});
      gaps.push(element);
      return element;
    };
    let below = 0;
    for (const index of indices) {
      const item = this.items[index];
      if (item.top > below) wanted.push(gap(item.top - below));
      wanted.push(this.element(item, index));
      below = item.top + item.height;
    }
    if (below < this.height) wanted.push(gap(this.height - below));
    this.gaps = gaps;
    const {focused} = this;
    this.place(wanted);
    // Rows in another order are moved, which takes the focus.
    if (focused && !this.focused) this.rows.get(this.cursor.unit)?.stop(this.cursor.column).focus({preventScroll: true});
    this.setStop();
  }

  /** Makes the table's rows those that are wanted; the ones that stay are not touched, for a row that is moved loses the focus. */
  place(wanted) {
    const {body} = this;
    const stay = new Set(wanted);
    for (const child of [...body.children]) if (!stay.has(child)) child.remove();
    wanted.forEach((element, index) => {
      if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null);
    });
    for (const [name, row] of this.rows) if (!stay.has(row.element)) this.rows.delete(name);
  }

  element(item, index) {
    const element = item.unit ? this.row(item.unit).element : this.layer(item);
    element.setAttribute("aria-rowindex", index + 2);
    return element;
  }

  layer(item) {
    if (!this.layers.has(item.key)) this.layers.set(item.key, this.layerHead(item));
    return this.layers.get(item.key);
  }

  layerHead({layer, count: units}) {
    return h("tr.layer", {}, h("th", {scope: "rowgroup", colSpan: model.variants.length + 1},
      h("span", {}, layer, h("small", {}, `${units} ${units === 1 ? "unit" : "units"}`))));
  }

  row(unit) {
    let row = this.rows.get(unit.unit);
    if (!row) {
      row = new Row(this.run, unit.unit);
      this.rows.set(unit.unit, row);
      this.fill(row, unit);
      row.showRim();
      row.element.classList.toggle("chosen", state.get("view") === `unit:${unit.unit}`);
    }
    return row;
  }

  /** Takes up the chosen scale. */
  showRims() {
    for (const row of this.rows.values()) row.showRim();
  }

  /** Marks the unit that is open. */
  mark() {
    const view = state.get("view");
    for (const [name, row] of this.rows) row.element.classList.toggle("chosen", view === `unit:${name}`);
  }

  /** One of all names and cells is reached with Tab, the others from there with the arrow keys. */
  setStop() {
    const inView = this.indices.find((index) => this.items[index].unit && this.items[index].top >= this.at.scrollTop);
    const first = this.items[inView]?.unit.unit;
    const row = this.rows.get(this.cursor.unit) ?? this.rows.get(first);
    const stop = row?.stop(row.name === this.cursor.unit ? this.cursor.column : 0);
    if (this.stop === stop) return;
    if (this.stop) this.stop.tabIndex = -1;
    if (stop) stop.tabIndex = 0;
    this.stop = stop;
  }

  /** The keyboard goes on from what was clicked or reached by Tab. */
  follow(target) {
    const cell = target.closest("tr.unit > *");
    if (!cell) return;
    this.cursor = {unit: cell.parentElement.dataset.unit, column: [...cell.parentElement.children].indexOf(cell)};
    this.setStop();
  }

  key(event) {
    const {unit, column} = this.cursor;
    const index = this.places.get(`unit\n${unit}`);
    if (index === undefined || event.altKey || event.metaKey) return;
    const last = model.variants.length;
    const page = Math.max(1, Math.floor((this.clientHeight - HEAD - LAYER) / this.items[index].height));
    const far = this.items.length;
    const moves = event.ctrlKey ? {Home: [-far, 0], End: [far, last]} : {
      ArrowUp: [-1, column], ArrowDown: [1, column], ArrowLeft: [0, column - 1], ArrowRight: [0, column + 1],
      Home: [0, 0], End: [0, last], PageUp: [-page, column], PageDown: [page, column],
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    this.go(this.unitFrom(index, move[0]), Math.min(last, Math.max(0, move[1])));
  }

  /** The unit some rows further, heads of layers not counted; the last one that way where there are fewer. */
  unitFrom(index, by) {
    let found = this.items[index].unit;
    for (let at = index + Math.sign(by), left = Math.abs(by); left > 0 && this.items[at]; at += Math.sign(by)) {
      if (!this.items[at].unit) continue;
      found = this.items[at].unit;
      left -= 1;
    }
    return found.unit;
  }

  /** Brings a unit into view, and the keyboard to it. */
  go(unit, column = unit === this.cursor.unit ? this.cursor.column : 0) {
    const index = this.places.get(`unit\n${unit}`);
    if (index === undefined || !this.clientHeight) return;
    const item = this.items[index];
    const [lowest, highest] = [item.top - LAYER, item.top + item.height + HEAD - this.clientHeight];
    const from = this.at.scrollTop;
    this.scrollTop = Math.max(0, highest > from ? highest : Math.min(lowest, from));
    this.at.scrollTop = this.scrollTop;
    this.cursor = {unit, column};
    this.update(this.scrollTop);
    const stop = this.rows.get(unit).stop(column);
    stop.focus({preventScroll: true});
    stop.scrollIntoView({block: "nearest", inline: "nearest"});
  }
}

customElements.define("tbvis-units", Units);
