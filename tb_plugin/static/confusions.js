/** <tbvis-confusions>: the matrix of a tower, and its most frequent confusions as a list. */

import * as api from "./api.js";
import {h, percent, segmented, select} from "./dom.js";
import {model} from "./model.js";
import {parseView, state} from "./state.js";

const LISTED = 15;

/** What a tower sees, for people. */
export const TOWER_NAMES = {appearance: "Appearance", hybrid: "Hybrid", motion: "Motion", fused: "Fused"};
const TOWER_HELP = {
  appearance: "the appearance tower alone, before fusion",
  hybrid: "the fused tower's own classifier (prediction)",
  motion: "the motion tower's own classifier (prediction_motion)",
  fused: "mean of the hybrid and the motion scores",
};

/** Confusions of a matrix, the most frequent first: [{row, column, count, total}]. */
export function mostConfused(matrix) {
  const found = [];
  matrix.forEach((counts, row) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    counts.forEach((count, column) => {
      if (row !== column && count) found.push({row, column, count, total});
    });
  });
  return found.sort((a, b) => b.count / b.total - a.count / a.total || b.count - a.count);
}

class Confusions extends HTMLElement {
  connectedCallback() {
    this.setAttribute("aria-label", "Confusions");
    this.matrix = document.createElement("tbvis-matrix");
    this.update();
  }

  /** Loads the evaluation if it is another than the one shown. */
  async update() {
    const run = model.evaluation;
    const version = run && `${run.name}\n${run.confusions}`;
    if (!run) {
      this.version = null;
      return this.replaceChildren(h("div.message", {}, h("h2", {}, "No confusions in this logdir"),
        h("p", {}, "tbvis-evaluate writes them: predictions of every tower on labelled clips (tag tbvis/confusions).")));
    }
    if (version === this.version) return this.render();
    this.version = version;
    this.data = null;
    this.replaceChildren(h("div.message", {}, h("p", {}, "Loading confusions …")));
    try {
      const data = await api.confusions({run: run.name, v: run.confusions});
      if (version !== this.version) return;
      this.data = data;
      this.render();
    } catch (error) {
      this.version = null;
      this.replaceChildren(h("div.message", {}, h("h2", {}, "Confusions failed to load"), h("p", {}, error.message)));
    }
  }

  get tower() {
    const wanted = state.get("tower");
    return this.data.towers.includes(wanted) ? wanted : this.data.towers.at(-1);
  }

  order() {
    const {classes, matrices} = this.data;
    const order = classes.map((_, index) => index);
    if (state.get("order") === "az") return order.sort((a, b) => classes[a].localeCompare(classes[b]));
    const matrix = matrices[this.tower];
    const rate = (row) => matrix[row][row] / Math.max(1, matrix[row].reduce((sum, count) => sum + count, 0));
    return order.sort((a, b) => rate(a) - rate(b));
  }

  render() {
    if (!this.data || !this.isConnected) return;
    const {data, tower} = this;
    const view = parseView(state.get("view"));
    const chosen = view?.kind === "pair" ? [view.true, view.predicted].map((name) => data.classes.indexOf(name)) : null;
    const choose = (row, column) => state.set({view: `pair:${data.classes[row]}~${data.classes[column]}`});
    this.matrix.show({
      classes: data.classes, counts: data.matrices[tower], order: this.order(), rate: state.get("cells") === "rate",
      chosen: chosen?.every((index) => index >= 0) ? chosen : null, choose,
    });
    const towers = data.towers.map((name) => [name, h("b", {}, TOWER_NAMES[name]), h("small", {}, percent(data.accuracies[name]))]);
    const switcher = segmented(towers, tower, (name) => state.set({tower: name}), "Tower");
    switcher.classList.add("towers");
    for (const button of switcher.children) button.title = data.meanings?.[button.dataset.value] ?? TOWER_HELP[button.dataset.value];
    const source = [data.split, `${data.clips.length} clips`, data.checkpoint].filter(Boolean).join(" · ");
    this.replaceChildren(
      h("header", {}, h("h2", {}, "Confusions"), h("p.source", {title: source}, source)),
      switcher,
      h("div.options", {},
        h("label.field", {}, h("span", {}, "Cells"), select([["rate", "% of true class"], ["count", "clips"]], state.get("cells"), (cells) => state.set({cells}))),
        h("label.field", {}, h("span", {}, "Order"), select([["az", "A to Z"], ["accuracy", "worst first"]], state.get("order"), (order) => state.set({order})))),
      this.matrix,
      this.list(data, tower, chosen, choose));
  }

  list(data, tower, chosen, choose) {
    const found = mostConfused(data.matrices[tower]);
    const title = h("h3", {}, "Most confused", found.length > LISTED && h("small", {}, ` ${LISTED} of ${found.length}`));
    if (!found.length) return h("section.most", {}, title, h("p", {}, "No clip was taken for another class."));
    const rows = found.slice(0, LISTED).map(({row, column, count, total}) => {
      const here = chosen?.[0] === row && chosen?.[1] === column;
      const bar = h("span.bar", {}, h("span", {style: `width:${(100 * count) / total}%`}));
      return h("li", {}, h("button", {type: "button", "aria-current": here ? "true" : null, onclick: () => choose(row, column)},
        h("span.pair", {}, data.classes[row], h("i", {}, " → "), data.classes[column]), bar,
        h("span.count", {}, `${count} of ${total}`), h("span.rate", {}, percent(count / total, 0))));
    });
    return h("section.most", {}, title, h("ol", {}, ...rows));
  }
}

customElements.define("tbvis-confusions", Confusions);
