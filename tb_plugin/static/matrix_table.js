/** The matrix in words: a table for those who do not see the picture of it, made when it is opened. */

import {cellValues, rowSums} from "./counts.js";
import {h, percent} from "./dom.js";

/** Makes a closed part of the page; give what the matrix shows to its `show` (see Matrix.show). */
export function matrixTable() {
  const scroll = h("div.scroll", {tabIndex: 0, role: "group", "aria-label": "Matrix as a table"});
  const details = h("details.matrix-table", {ontoggle: () => fill()}, h("summary", {}, "Matrix as a table"), scroll);
  let shown = null;
  const fill = () => scroll.replaceChildren(...(details.open && shown ? [table(shown)] : []));
  details.show = (options) => {
    shown = options;
    fill();
  };
  return details;
}

function table({classes, counts, cells, order, diagonal}) {
  const values = cellValues(counts, cells);
  const sums = rowSums(counts);
  const text = (row, column) => {
    if (row === column && !diagonal) return "";
    return cells === "count" ? String(counts[row][column]) : percent(values[row][column], 0);
  };
  const head = h("tr", {}, h("th", {scope: "col"}, "true \\ predicted"), ...order.map((column) => h("th", {scope: "col"}, classes[column])),
    h("th", {scope: "col"}, "clips"));
  const rows = order.map((row) => h("tr", {}, h("th", {scope: "row"}, classes[row]), ...order.map((column) => h("td", {}, text(row, column))),
    h("td", {}, String(sums[row]))));
  return h("table.config", {}, h("thead", {}, head), h("tbody", {}, ...rows));
}
