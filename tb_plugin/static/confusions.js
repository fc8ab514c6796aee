/** <tbvis-confusions>: the matrix of a tower, and its most frequent confusions as a list. */

import * as api from "./api.js";
import {classOrder, csv, matrixRows, mostConfused, mostConfusedClasses, pairRows} from "./counts.js";
import {h, number, percent, segmented, select} from "./dom.js";
import {matrixTable} from "./matrix_table.js";
import {model} from "./model.js";
import {pairView, parseView, state} from "./state.js";

const LISTED = 15;
const CELLS = [["row", "% of true class"], ["column", "% of predicted class"], ["count", "clips"]];
const ORDERS = [["az", "A to Z"], ["accuracy", "worst recognised first"], ["support", "most clips first"], ["cluster", "confused side by side"]];
const ORDER_HELP = "“Confused side by side”: average-linkage clustering of the rates at which two classes are taken for each other, "
  + "in both directions together; the result is the same every time.";
const TOPS = [5, 10, 20, 30, 50];

/** What the user chooses here, by its name in the address. */
export const CHOICES = ["tower", "view", "order", "cells", "top", "diagonal", "pairs", "listed"];

/** What a tower sees, for people. */
export const TOWER_NAMES = {appearance: "Appearance", hybrid: "Hybrid", motion: "Motion", fused: "Fused"};
const TOWER_HELP = {
  appearance: "the appearance tower alone, before fusion",
  hybrid: "the fused tower's own classifier (prediction)",
  motion: "the motion tower's own classifier (prediction_motion)",
  fused: "mean of the hybrid and the motion scores",
};

/** The tower whose predictions are shown: the chosen one where the evaluation has it, else its last. */
export const shownTower = (towers) => (towers.includes(state.get("tower")) ? state.get("tower") : towers.at(-1));

function download(name, rows) {
  const address = URL.createObjectURL(new Blob([csv(rows)], {type: "text/csv"}));
  h("a", {href: address, download: `${name.replace(/[^\w.=-]+/g, "_")}.csv`}).click();
  // The browser reads the address after the click has returned.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

class Confusions extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", "Confusions");
    this.update();
  }

  /** Loads the evaluation if it is another than the one shown. */
  async update() {
    const run = model.evaluation;
    const version = run && `${run.name}\n${run.confusions}`;
    if (!run) {
      this.version = this.data = null;
      return this.replaceChildren(h("div.message", {}, h("h2", {}, "No confusions in this logdir"),
        h("p", {}, "tbvis-evaluate writes them: predictions of every tower on labelled clips (tag tbvis/confusions).")));
    }
    // What is shown depends on this alone, and on choices that are told of apart: a list made anew would lose the focus.
    if (version === this.version) return;
    this.version = version;
    this.data = null;
    this.replaceChildren(h("div.message", {}, h("p", {}, "Loading confusions …")));
    try {
      const data = await api.confusions({run: run.name, v: run.confusions});
      if (version !== this.version) return;
      this.data = data;
      this.build(run.name);
      this.render();
    } catch (error) {
      this.version = null;
      this.replaceChildren(h("div.message", {}, h("h2", {}, "Confusions failed to load"), h("p", {}, error.message)));
    }
  }

  /** Makes the parts once for an evaluation: what has the keyboard's focus keeps it when something is chosen. */
  build(run) {
    const {data} = this;
    const source = [data.split, `${data.clips.length} clips`, `${data.classes.length} classes`, data.checkpoint].filter(Boolean).join(" · ");
    const towers = data.towers.map((name) => [name, h("b", {}, TOWER_NAMES[name]), h("small", {}, percent(data.accuracies[name]))]);
    this.towers = segmented(towers, this.tower, (name) => state.set({tower: name}), "Tower");
    this.towers.classList.add("towers");
    for (const button of this.towers.children) button.title = data.meanings?.[button.dataset.value] ?? TOWER_HELP[button.dataset.value];
    const tops = [["0", `all ${data.classes.length}`], ...TOPS.filter((top) => top < data.classes.length).map((top) => [String(top), `${top} most confused`])];
    this.chosen = {
      cells: this.choice("cells", "Cells", CELLS), order: this.choice("order", "Order", ORDERS, ORDER_HELP),
      top: this.choice("top", "Classes", tops), pairs: this.choice("pairs", "By", [["rate", "rate"], ["count", "clips"]]),
    };
    this.diagonal = h("input", {id: "diagonal", type: "checkbox", onchange: () => state.set({diagonal: this.diagonal.checked ? "shown" : "hidden"})});
    this.matrix = document.createElement("tbvis-matrix");
    this.scale = h("p.scale");
    this.table = matrixTable();
    this.most = h("section.most", {"aria-label": "Most confused pairs"});
    const name = () => `confusions ${run} ${this.tower}`;
    const save = (id, text, title, onclick) => h("button.plain", {type: "button", id, title, onclick}, text);
    this.replaceChildren(
      h("header", {}, h("h2", {}, "Confusions"), h("p.source", {title: source}, source)),
      this.towers,
      h("div.options", {}, ...["cells", "order", "top"].map((choice) => this.chosen[choice].parentElement),
        h("label.field", {}, this.diagonal, h("span", {}, "Diagonal")),
        save("matrix-csv", "Matrix CSV", "The matrix as it is shown, with n of every true class", () => {
          const {cells, order, diagonal} = this.shown;
          const parts = [cells, this.chosen.order.value, order.length < data.classes.length ? `top${order.length}` : "", diagonal ? "diagonal" : ""];
          download([name(), ...parts.filter(Boolean)].join(" "), matrixRows(this.shown));
        })),
      this.matrix, this.scale, this.table,
      h("div.options.most-head", {}, h("h3", {}, "Most confused"), this.chosen.pairs.parentElement,
        save("pairs-csv", "Pairs CSV", "All confused pairs of this tower", () =>
          download(`${name()} pairs`, pairRows(data.classes, data.matrices[this.tower], this.chosen.pairs.value)))),
      this.most);
  }

  /** A <select> inside its label, kept in the address under `name`. */
  choice(name, label, options, title = "") {
    const element = select(options, state.get(name), (value) => state.set({[name]: value}), {id: name});
    h("label.field", {title}, h("span", {}, label), element);
    return element;
  }

  get tower() {
    return shownTower(this.data.towers);
  }

  order(counts) {
    const order = classOrder(this.chosen.order.value, this.data.classes, counts);
    const top = Number(this.chosen.top.value);
    const kept = top && mostConfusedClasses(counts, top);
    return kept ? order.filter((index) => kept.has(index)) : order;
  }

  render() {
    if (!this.data || !this.isConnected) return;
    const {data, tower} = this;
    const {classes} = data;
    const counts = data.matrices[tower];
    const view = parseView(state.get("view"));
    const chosen = view?.kind === "pair" ? [view.true, view.predicted].map((name) => classes.indexOf(name)) : null;
    // On a narrow window the pair comes in the place of the matrix.
    const choose = (row, column) => state.set({view: pairView(classes[row], classes[column]), pane: ""});
    for (const button of this.towers.children) button.setAttribute("aria-pressed", String(button.dataset.value === tower));
    for (const [name, element] of Object.entries(this.chosen)) {
      element.value = state.get(name);
      // An address may ask for what there is not.
      if (element.selectedIndex < 0) element.selectedIndex = 0;
    }
    this.diagonal.checked = state.get("diagonal") === "shown";
    this.shown = {
      classes, counts, cells: this.chosen.cells.value, order: this.order(counts), diagonal: this.diagonal.checked,
      chosen: chosen?.every((index) => index >= 0) ? chosen : null, choose,
    };
    this.matrix.show(this.shown);
    this.table.show(this.shown);
    this.drawScale();
    this.list(counts, chosen, choose);
  }

  /** What the colours of confusions mean: half as strong is a quarter. */
  drawScale() {
    const largest = this.matrix.largest.wrong;
    const {cells, order} = this.shown;
    const text = (value) => (cells === "count" ? number(value) : percent(value, value && value < 0.095 ? 1 : 0));
    const part = order.length < this.data.classes.length && cells !== "count" ? " Rates are of all clips, also those of classes left out." : "";
    this.scale.replaceChildren(...(largest
      ? [h("span.scale-bar", {}, ...[0, largest / 4, largest].map((value) => h("span", {}, text(value)))), h("small", {}, `square-root scale.${part}`)]
      : [h("small", {}, "None of these classes is taken for another.")]));
  }

  list(counts, chosen, choose) {
    const {classes} = this.data;
    const found = mostConfused(counts, this.chosen.pairs.value);
    if (!found.length) return this.most.replaceChildren(h("p", {}, "No clip was taken for another class."));
    const {activeElement} = document;
    const focused = this.most.contains(activeElement) ? activeElement.dataset.pair : null;
    const all = state.get("listed") === "all";
    const listed = all ? found : found.slice(0, LISTED);
    const most = Math.max(...listed.map(({rate}) => rate));
    const rows = listed.map(({row, column, count, total, rate}) => {
      const here = chosen?.[0] === row && chosen?.[1] === column;
      const bar = h("span.bar", {}, h("span", {style: `width:${(100 * rate) / most}%`}));
      return h("li", {}, h("button", {type: "button", "data-pair": `${row} ${column}`, "aria-current": here ? "true" : null, onclick: () => choose(row, column)},
        h("span.pair", {}, classes[row], h("i", {}, " → "), classes[column]), bar,
        h("span.count", {title: `${total} clips are of ${classes[row]}`}, `${count} of ${total}`), h("span.rate", {}, percent(rate, 0))));
    });
    const more = h("button.plain.more", {
      type: "button", "data-pair": "more", "aria-expanded": String(all), onclick: () => state.set({listed: all ? "some" : "all"}),
    }, all ? `Show ${LISTED} pairs` : `Show all ${found.length} pairs`);
    this.most.replaceChildren(h("p.quiet", {}, `true → predicted, clips of n of the true class; ${rows.length} of ${found.length} pairs`), h("ol", {}, ...rows),
      ...(found.length > LISTED ? [more] : []));
    if (focused) this.most.querySelector(`[data-pair="${focused}"]`)?.focus();
  }
}

customElements.define("tbvis-confusions", Confusions);
