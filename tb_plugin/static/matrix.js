/** <tbvis-matrix>: a confusion matrix on canvas; true classes in rows, predicted ones in columns. */

import {h} from "./dom.js";

const MOST_LABELS = 30;
const TEXT_CELL = 24;

class Matrix extends HTMLElement {
  constructor() {
    super();
    this.cursor = [0, 0];
  }

  /**
   * @param {{classes: string[], counts: number[][], order: number[], rate: boolean, chosen: ?[number, number],
   *   choose: (row: number, column: number) => void}} options indices are of `classes`
   */
  show(options) {
    Object.assign(this, options);
    this.sums = this.counts.map((row) => row.reduce((sum, count) => sum + count, 0));
    this.largestError = Math.max(1e-9, ...this.counts.flatMap((row, i) => row.map((count, j) => (i === j ? 0 : this.share(i, count)))));
    if (this.isConnected) this.draw();
    return this;
  }

  connectedCallback() {
    this.canvas = h("canvas", {
      tabIndex: 0, role: "application",
      "aria-label": "Confusion matrix: arrow keys move, Enter chooses. The list of confusions says the same in words.",
      onmousemove: (event) => this.hover(event), onmouseleave: () => this.tip.hidden = true,
      onclick: (event) => this.click(event), onkeydown: (event) => this.key(event), onblur: () => this.draw(), onfocus: () => this.draw(),
    });
    this.tip = h("div.tip", {hidden: true, role: "status"});
    this.replaceChildren(this.canvas, this.tip);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this);
    this.draw();
  }

  disconnectedCallback() {
    this.observer.disconnect();
  }

  share(row, count) {
    return this.sums[row] ? count / this.sums[row] : 0;
  }

  layout() {
    const size = this.classes.length;
    const labelled = size <= MOST_LABELS;
    const width = Math.max(200, this.clientWidth);
    const context = this.canvas.getContext("2d");
    context.font = this.font();
    const longest = labelled ? Math.max(...this.classes.map((name) => context.measureText(name).width)) : 0;
    const left = labelled ? Math.min(longest + 14, width * 0.34) : 22;
    const top = labelled ? Math.min(longest * 0.72 + 26, 130) : 22;
    // Slanted heads reach beyond the last column.
    const right = labelled ? Math.min(longest * 0.5, 60) : 2;
    const cell = Math.max(1, Math.min(52, (width - left - right) / size));
    return {size, labelled, left, top, cell, width, height: top + cell * size + 4};
  }

  font() {
    return `12px ${getComputedStyle(this).fontFamily}`;
  }

  draw() {
    if (!this.counts || !this.clientWidth) return;
    const at = (this.place = this.layout());
    const ratio = devicePixelRatio || 1;
    this.canvas.width = at.width * ratio;
    this.canvas.height = at.height * ratio;
    this.canvas.style.width = `${at.width}px`;
    this.canvas.style.height = `${at.height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = this.font();
    const style = getComputedStyle(this);
    this.colours = Object.fromEntries(["--text", "--soft", "--right", "--wrong", "--empty", "--accent", "--on-cell"].map((n) => [n, style.getPropertyValue(n)]));
    this.drawLabels(context, at);
    this.order.forEach((row, y) => this.order.forEach((column, x) => this.drawCell(context, at, row, column, x, y)));
    if (this.chosen) this.outline(context, at, this.chosen.map((index) => this.order.indexOf(index)), this.colours["--text"]);
    if (document.activeElement === this.canvas) this.outline(context, at, this.cursor, this.colours["--accent"]);
  }

  drawLabels(context, at) {
    context.fillStyle = this.colours["--soft"];
    context.textBaseline = "middle";
    context.fillText("true ↓  predicted →", 0, 8);
    if (!at.labelled) return;
    this.order.forEach((index, i) => {
      const middle = (i + 0.5) * at.cell;
      context.textAlign = "right";
      context.fillStyle = this.chosen?.[0] === index ? this.colours["--text"] : this.colours["--soft"];
      context.fillText(this.classes[index], at.left - 8, at.top + middle, at.left - 8);
      context.save();
      context.translate(at.left + middle, at.top - 8);
      context.rotate(-Math.PI / 4);
      context.textAlign = "left";
      context.fillStyle = this.chosen?.[1] === index ? this.colours["--text"] : this.colours["--soft"];
      context.fillText(this.classes[index], 0, 0);
      context.restore();
    });
    context.textAlign = "left";
  }

  drawCell(context, at, row, column, x, y) {
    const count = this.counts[row][column];
    const share = this.share(row, count);
    const gap = at.cell >= 8 ? 1 : 0;
    const rectangle = [at.left + x * at.cell, at.top + y * at.cell, at.cell - gap, at.cell - gap];
    context.fillStyle = this.colours["--empty"];
    context.fillRect(...rectangle);
    if (!count) return;
    // Errors have a scale of their own, by square root: the diagonal would hide them.
    const strength = row === column ? share : Math.sqrt(share / this.largestError);
    // Small cells have no number to show that they are not empty.
    const faintest = at.cell < TEXT_CELL ? 0.4 : 0.12;
    context.globalAlpha = faintest + (1 - faintest) * strength;
    context.fillStyle = this.colours[row === column ? "--right" : "--wrong"];
    context.fillRect(...rectangle);
    context.globalAlpha = 1;
    if (at.cell < TEXT_CELL) return;
    context.textAlign = "center";
    context.fillStyle = strength > 0.55 ? this.colours["--on-cell"] : this.colours["--text"];
    const text = this.rate ? `${Math.round(100 * share)}` : String(count);
    context.fillText(text, rectangle[0] + at.cell / 2, rectangle[1] + at.cell / 2 + 1);
    context.textAlign = "left";
  }

  outline(context, at, [y, x], colour) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.strokeRect(at.left + x * at.cell, at.top + y * at.cell, at.cell - 1, at.cell - 1);
  }

  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const {left, top, cell, size} = this.place;
    const x = Math.floor((event.clientX - box.left - left) / cell);
    const y = Math.floor((event.clientY - box.top - top) / cell);
    return x >= 0 && y >= 0 && x < size && y < size ? [y, x] : null;
  }

  hover(event) {
    const found = this.under(event);
    this.canvas.style.cursor = found ? "pointer" : "";
    this.tip.hidden = !found;
    if (!found) return;
    this.describe(found);
    const box = this.getBoundingClientRect();
    const left = Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth);
    Object.assign(this.tip.style, {left: `${Math.max(0, left)}px`, top: `${event.clientY - box.top + 16}px`});
  }

  describe([y, x]) {
    const [row, column] = [this.order[y], this.order[x]];
    const count = this.counts[row][column];
    const verb = row === column ? "recognised" : `taken for ${this.classes[column]}`;
    this.tip.textContent = `${this.classes[row]} ${verb}: ${count} of ${this.sums[row]} clips (${(100 * this.share(row, count)).toFixed(1)} %)`;
  }

  click(event) {
    const found = this.under(event);
    if (!found) return;
    this.cursor = found;
    this.choose(this.order[found[0]], this.order[found[1]]);
  }

  key(event) {
    const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
    const limit = this.classes.length - 1;
    if (event.key === "Enter") this.choose(this.order[this.cursor[0]], this.order[this.cursor[1]]);
    else if (moves[event.key]) {
      this.cursor = this.cursor.map((at, axis) => Math.min(limit, Math.max(0, at + moves[event.key][axis])));
      this.describe(this.cursor);
      const {left, top, cell} = this.place;
      this.tip.hidden = false;
      Object.assign(this.tip.style, {left: `${left + this.cursor[1] * cell}px`, top: `${top + (this.cursor[0] + 1) * cell + 4}px`});
      this.draw();
    } else return;
    event.preventDefault();
  }
}

customElements.define("tbvis-matrix", Matrix);
