/** <tbvis-matrix>: a confusion matrix on canvas; true classes in rows, predicted ones in columns. */

import {cellValues, columnSums, rowSums} from "./counts.js";
import {h, percent} from "./dom.js";

const MOST_LABELS = 30;
/** Smallest cells, in pixels, that more classes than that are labelled beside. */
const LABEL_CELL = 8;
const TEXT_CELL = 24;
const LARGEST_CELL = 52;
const COLOURS = ["--text", "--soft", "--right", "--wrong", "--empty", "--back", "--in-cell", "--on-cell", "--on-from"];

class Matrix extends HTMLElement {
  constructor() {
    super();
    /** Where the keyboard is: [row, column] of the matrix as shown. */
    this.cursor = [0, 0];
    this.pointed = null;
    this.canvas = h("canvas", {
      tabIndex: 0, role: "application", "aria-roledescription": "confusion matrix",
      "aria-label": "Confusion matrix: arrow keys move, Home and End go to the ends of a row, Enter opens the pair. "
        + "The table and the list of confused pairs below say the same in words.",
      onmousemove: (event) => this.point(this.under(event)), onmouseleave: () => this.point(null),
      onclick: (event) => this.click(event), onkeydown: (event) => this.key(event),
      onblur: () => this.point(null), onfocus: () => this.draw(),
    });
    this.tip = h("div.tip", {hidden: true, role: "status"});
    this.painted = document.createElement("canvas");
    this.observer = new ResizeObserver(() => this.paint());
  }

  /**
   * @param {{classes: string[], counts: number[][], cells: "row"|"column"|"count", order: number[], diagonal: boolean,
   *   chosen: ?[number, number], choose: (row: number, column: number) => void}} options
   *   `order` has the shown classes; numbers are indices of `classes`
   */
  show(options) {
    const before = this.order && this.cursor.map((at) => this.order[at]);
    Object.assign(this, options);
    this.sums = {row: rowSums(this.counts), column: columnSums(this.counts)};
    this.values = cellValues(this.counts, this.cells);
    this.largest = {wrong: 0, right: 0};
    for (const i of this.order) {
      for (const j of this.order) {
        const kind = i === j ? "right" : "wrong";
        this.largest[kind] = Math.max(this.largest[kind], this.values[i][j]);
      }
    }
    // The keyboard stays with its classes when they are ordered anew.
    const kept = (this.chosen ?? before)?.map((index) => this.order.indexOf(index)) ?? [0, 0];
    this.cursor = kept.every((at) => at >= 0) ? kept : [0, 0];
    this.pointed = null;
    this.tip.hidden = true;
    this.paint();
    return this;
  }

  connectedCallback() {
    if (!this.canvas.isConnected) this.replaceChildren(this.canvas, this.tip);
    this.observer.observe(this);
    this.paint();
  }

  disconnectedCallback() {
    this.observer.disconnect();
  }

  layout() {
    const size = this.order.length;
    const width = Math.max(200, this.clientWidth);
    const names = (font) => {
      const context = this.painted.getContext("2d");
      context.font = this.font(font);
      return Math.max(...this.order.map((index) => context.measureText(this.classes[index]).width));
    };
    const plain = {size, width, labelled: false, left: 22, top: 22, cell: Math.min(LARGEST_CELL, (width - 24) / size)};
    if (size <= MOST_LABELS) {
      const longest = names(12);
      const left = Math.min(longest + 14, width * 0.34);
      // Slanted heads reach beyond the last column.
      const cell = Math.min(LARGEST_CELL, (width - left - Math.min(longest * 0.5, 60)) / size);
      return {...plain, labelled: true, slant: Math.PI / 4, font: 12, left, top: Math.min(longest * 0.72 + 26, 130), cell: Math.max(1, cell)};
    }
    const longest = names(9);
    const cell = Math.min(LARGEST_CELL, (width - longest - 14) / size);
    if (cell < LABEL_CELL) return {...plain, cell: Math.max(1, plain.cell)};
    return {...plain, labelled: true, slant: Math.PI / 2, font: 9, left: longest + 10, top: longest + 28, cell};
  }

  font(size) {
    return `${size}px ${getComputedStyle(this).fontFamily}`;
  }

  /** Draws the matrix itself, kept for the many times when only the cursor moves. */
  paint() {
    if (!this.counts || !this.clientWidth) return;
    const at = (this.place = this.layout());
    at.height = at.top + at.cell * at.size + 4;
    const ratio = devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.painted]) Object.assign(canvas, {width: at.width * ratio, height: at.height * ratio});
    Object.assign(this.canvas.style, {width: `${at.width}px`, height: `${at.height}px`});
    const context = this.painted.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this);
    this.colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(name)]));
    this.drawLabels(context, at);
    context.font = this.font(12);
    this.order.forEach((row, y) => this.order.forEach((column, x) => this.drawCell(context, at, row, column, x, y)));
    this.draw();
  }

  /** Shows the painted matrix, and on it what is chosen, pointed at, and where the keyboard is. */
  draw() {
    if (!this.place) return;
    const context = this.canvas.getContext("2d");
    context.resetTransform();
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.painted, 0, 0);
    context.scale(devicePixelRatio || 1, devicePixelRatio || 1);
    if (this.chosen) this.outline(context, this.chosen.map((index) => this.order.indexOf(index)));
    const focused = document.activeElement === this.canvas ? this.cursor : null;
    if (this.pointed ?? focused) this.cross(context, this.pointed ?? focused);
    if (focused) this.outline(context, focused);
  }

  drawLabels(context, at) {
    context.font = this.font(12);
    context.fillStyle = this.colours["--soft"];
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillText("true ↓  predicted →", 0, 8);
    if (!at.labelled) return;
    context.font = this.font(at.font);
    this.order.forEach((index, i) => {
      const middle = (i + 0.5) * at.cell;
      context.textAlign = "right";
      context.fillStyle = this.colours[this.chosen?.[0] === index ? "--text" : "--soft"];
      context.fillText(this.classes[index], at.left - 8, at.top + middle, at.left - 8);
      context.save();
      context.translate(at.left + middle, at.top - 8);
      context.rotate(-at.slant);
      context.textAlign = "left";
      context.fillStyle = this.colours[this.chosen?.[1] === index ? "--text" : "--soft"];
      context.fillText(this.classes[index], 0, 0);
      context.restore();
    });
  }

  drawCell(context, at, row, column, x, y) {
    const hidden = row === column && !this.diagonal;
    const value = this.values[row][column];
    const gap = at.cell >= 8 ? 1 : 0;
    // Whole pixels: edges in between would show as a pattern of their own.
    const [left, top, right, bottom] = [at.left + x * at.cell, at.top + y * at.cell, at.left + (x + 1) * at.cell, at.top + (y + 1) * at.cell].map(Math.round);
    const rectangle = [left, top, right - left - gap, bottom - top - gap];
    context.fillStyle = this.colours[hidden ? "--back" : "--empty"];
    context.fillRect(...rectangle);
    if (hidden || !value) return;
    // Errors have a scale of their own, by square root: few of them are all that there is to see.
    const strength = row === column ? value / this.largest.right : Math.sqrt(value / this.largest.wrong);
    // Small cells have no number to show that they are not empty.
    const faintest = at.cell < TEXT_CELL ? 0.3 : 0.12;
    context.globalAlpha = faintest + (1 - faintest) * strength;
    context.fillStyle = this.colours[row === column ? "--right" : "--wrong"];
    context.fillRect(...rectangle);
    context.globalAlpha = 1;
    if (at.cell < TEXT_CELL) return;
    context.textAlign = "center";
    // From there on the other of the two is the easier to read.
    context.fillStyle = this.colours[strength > Number(this.colours["--on-from"]) ? "--on-cell" : "--in-cell"];
    const text = this.cells === "count" ? String(value) : `${Math.round(100 * value)}`;
    context.fillText(text, rectangle[0] + at.cell / 2, rectangle[1] + at.cell / 2 + 1);
  }

  /** Lines from both heads to a cell: among 101 classes the eye does not find the row otherwise. */
  cross(context, [y, x]) {
    const {left, top, cell, slant} = this.place;
    // Slanted heads lie beside a line upwards, which would lead to another's name.
    const start = slant === Math.PI / 4 ? top : 14;
    context.globalAlpha = 0.16;
    context.fillStyle = this.colours["--text"];
    context.fillRect(0, top + y * cell, left + x * cell, cell);
    context.fillRect(left + x * cell, start, cell, top - start + y * cell);
    context.globalAlpha = 1;
  }

  outline(context, [y, x]) {
    if (x < 0 || y < 0) return;
    const {left, top, cell} = this.place;
    // A frame around the cell, with a rim that sets it off from any colour.
    for (const [width, colour] of [[4, "--back"], [2, "--text"]]) {
      context.strokeStyle = this.colours[colour];
      context.lineWidth = width;
      context.strokeRect(left + x * cell - 1, top + y * cell - 1, cell + 1, cell + 1);
    }
  }

  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const {left, top, cell, size} = this.place;
    const x = Math.floor((event.clientX - box.left - left) / cell);
    const y = Math.floor((event.clientY - box.top - top) / cell);
    return x >= 0 && y >= 0 && x < size && y < size ? [y, x] : null;
  }

  /** Describes a cell beside it; null: none. */
  point(place) {
    if (String(place) === String(this.pointed) && place) return;
    this.pointed = place;
    this.canvas.style.cursor = place ? "pointer" : "";
    this.tip.hidden = !place;
    if (place) this.describe(place);
    this.draw();
  }

  describe([y, x]) {
    const [row, column] = [this.order[y], this.order[x]];
    const count = this.counts[row][column];
    const [of, called] = [this.sums.row[row], this.sums.column[column]];
    const verb = row === column ? "recognised" : `taken for ${this.classes[column]}`;
    const share = (total) => percent(count / (total || 1));
    this.tip.replaceChildren(
      h("b", {}, `${this.classes[row]} ${verb}: ${count} of ${of} clips (${share(of)})`),
      h("span", {}, `${share(called)} of the ${called} clips called ${this.classes[column]}`));
    const {left, top, cell} = this.place;
    const right = Math.max(0, this.clientWidth - this.tip.offsetWidth);
    Object.assign(this.tip.style, {left: `${Math.min(right, left + (x + 1) * cell + 6)}px`, top: `${top + (y + 1) * cell + 6}px`});
  }

  click(event) {
    const found = this.under(event);
    if (found) this.choose(...found.map((at) => this.order[at]));
  }

  key(event) {
    const limit = this.order.length - 1;
    const [y, x] = this.cursor;
    const moved = {
      ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1], Home: [y, 0], End: [y, limit],
    }[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey || (event.key !== "Enter" && !moved)) return;
    event.preventDefault();
    if (event.key === "Enter") return this.choose(...this.cursor.map((at) => this.order[at]));
    this.cursor = moved.map((at) => Math.min(limit, Math.max(0, at)));
    this.point(this.cursor);
  }
}

customElements.define("tbvis-matrix", Matrix);
