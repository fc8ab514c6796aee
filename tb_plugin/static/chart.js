/** What the small charts share: a vertical scale, its marks, and the look of a line. */

import {number, svg} from "./dom.js";

/** Values that spread over more than this factor are drawn on a logarithmic scale. */
const SPREAD = 50;
const LOOKS = 6;

/** The class of the n-th line, from 0. */
export const lineClass = (index) => `line-${index % LOOKS}${index >= LOOKS ? " dashed" : ""}`;

/** A number for little room: 0.000445 -> "4.45e-4", of `digits` digits where it has an exponent. */
export function short(value, digits = 3) {
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(digits - 1).replace("e+", "e") : number(value);
}

/** Where values lie between the heights `top` and `bottom`. */
export class Scale {
  /**
   * @param {(number|null)[]} values all that are drawn.
   * @param {{top: number, bottom: number, mayLog?: boolean}} place `mayLog`: whether positive values that spread far may be drawn
   *   logarithmically; otherwise zero is on the scale.
   */
  constructor(values, {top, bottom, mayLog = false}) {
    const known = values.filter(Number.isFinite);
    let [low, high] = [Math.min(...known), Math.max(...known)];
    this.log = mayLog && low > 0 && high / low >= SPREAD;
    if (!this.log) [low, high] = [Math.min(0, low), Math.max(0, high)];
    if (low === high) high = low + 1;
    Object.assign(this, {low, high, top, bottom});
  }

  y(value) {
    const of = this.log ? Math.log : Number;
    return this.bottom - ((this.bottom - this.top) * (of(value) - of(this.low))) / (of(this.high) - of(this.low));
  }

  /** Lines and numbers at both ends, and at zero where it lies between. */
  marks(left, right) {
    const zero = !this.log && this.low < 0 && this.high > 0;
    return [this.low, ...(zero ? [0] : []), this.high].flatMap((value) => {
      const y = this.y(value);
      const near = value === 0 && zero && Math.min(y - this.top, this.bottom - y) < 10;
      return [svg("line", {x1: left, x2: right, y1: y, y2: y, class: "axis"}),
        ...(near ? [] : [svg("text", {x: left - 6, y: y + 4, "text-anchor": "end"}, short(value, 2))])];
    });
  }
}
