/**
 * What is computed from a confusion matrix; nothing here touches the page.
 *
 * `counts` is everywhere a square array of clips: true classes in rows, predicted ones in columns.
 */

export const rowSums = (counts) => counts.map((row) => row.reduce((sum, count) => sum + count, 0));

export const columnSums = (counts) => counts.map((_, column) => counts.reduce((sum, row) => sum + row[column], 0));

/**
 * What the cells say: "count" clips, "row" share of the true class' clips, "column" share of the clips that were
 * called by the predicted class' name. A share of no clips is 0.
 */
export function cellValues(counts, kind) {
  if (kind === "count") return counts;
  const sums = kind === "column" ? columnSums(counts) : rowSums(counts);
  return counts.map((row, i) => row.map((count, j) => count / (sums[kind === "column" ? j : i] || 1)));
}

/** Confusions of a matrix: [{row, column, count, total, rate}], the highest rate ("rate") or the most clips ("count") first. */
export function mostConfused(counts, by = "rate") {
  const sums = rowSums(counts);
  const found = counts.flatMap((cells, row) =>
    cells.map((count, column) => ({row, column, count, total: sums[row], rate: count / (sums[row] || 1)})));
  const other = by === "rate" ? "count" : "rate";
  return found.filter(({row, column, count}) => row !== column && count).sort((a, b) => b[by] - a[by] || b[other] - a[other]);
}

/** The `most` classes that take part in most confusions, as a set: clips taken for others, and others' taken for them. */
export function mostConfusedClasses(counts, most) {
  const [rows, columns] = [rowSums(counts), columnSums(counts)];
  const wrong = counts.map((row, i) => rows[i] + columns[i] - 2 * row[i]);
  return new Set(wrong.map((_, i) => i).sort((a, b) => wrong[b] - wrong[a] || a - b).slice(0, most));
}

/**
 * The classes' indices in order: "az" by name, "accuracy" the worst recognised first, "support" the most clips first,
 * "cluster" see clusterOrder. Classes that tie are in the order of their names; one without clips has no accuracy and comes last.
 */
export function classOrder(kind, classes, counts) {
  if (kind === "cluster") return clusterOrder(counts);
  const sums = rowSums(counts);
  const key = {
    accuracy: (i) => (sums[i] ? counts[i][i] / sums[i] : 2),
    support: (i) => -sums[i],
  }[kind] ?? (() => 0);
  return classes.map((_, i) => i).sort((a, b) => key(a) - key(b) || classes[a].localeCompare(classes[b], "en") || a - b);
}

/** How much two classes are confused: the rates of both directions together; 0 on the diagonal. */
export function confusability(counts) {
  const rates = cellValues(counts, "row");
  return rates.map((row, i) => row.map((rate, j) => (i === j ? 0 : rate + rates[j][i])));
}

/**
 * An order in which confused classes are neighbours.
 *
 * Agglomerative clustering with average linkage: each class begins as a group of its own; again and again the two groups
 * whose classes are most confused with each other on average (see `confusability`) become one, and are put end to
 * end, each turned round or not, so that the most confused of their outer classes touch. It ends where no two groups share
 * a confusion; then larger groups come first. Ties go to the classes that come first in the matrix: nothing is drawn by chance.
 */
export function clusterOrder(counts) {
  const alike = confusability(counts);
  const linkage = alike.map((row) => [...row]);
  let groups = counts.map((_, index) => ({index, order: [index]}));
  for (;;) {
    let [best, first, second] = [0, null, null];
    groups.forEach((a, at) => {
      for (const b of groups.slice(at + 1)) {
        if (linkage[a.index][b.index] > best) [best, first, second] = [linkage[a.index][b.index], a, b];
      }
    });
    if (!first) break;
    const [m, n] = [first.order.length, second.order.length];
    for (const {index} of groups) {
      const mean = (m * linkage[first.index][index] + n * linkage[second.index][index]) / (m + n);
      linkage[first.index][index] = linkage[index][first.index] = mean;
    }
    first.order = joined(first.order, second.order, alike);
    groups = groups.filter((group) => group !== second);
  }
  return groups.sort((a, b) => b.order.length - a.order.length || a.index - b.index).flatMap(({order}) => order);
}

function joined(a, b, alike) {
  const turned = (order) => [order, [...order].reverse()];
  const ways = turned(a).flatMap((left) => turned(b).map((right) => ({left, right, touching: alike[left.at(-1)][right[0]]})));
  const {left, right} = ways.reduce((best, way) => (way.touching > best.touching ? way : best));
  return [...left, ...right];
}

/** Rows of a CSV file of the matrix as shown; values of the hidden diagonal are left empty, `clips` is n of the true class. */
export function matrixRows({classes, counts, cells, order, diagonal}) {
  const values = cellValues(counts, cells);
  const sums = rowSums(counts);
  const value = (i, j) => (i === j && !diagonal ? "" : Number(values[i][j].toFixed(6)));
  return [["true \\ predicted", ...order.map((i) => classes[i]), "clips"],
    ...order.map((i) => [classes[i], ...order.map((j) => value(i, j)), sums[i]])];
}

/** Rows of a CSV file of all confused pairs. */
export function pairRows(classes, counts, by) {
  return [["true", "predicted", "count", "n", "rate"],
    ...mostConfused(counts, by).map(({row, column, count, total, rate}) => [classes[row], classes[column], count, total, Number(rate.toFixed(6))])];
}

/** CSV text (RFC 4180). A name that a spreadsheet would run as a formula gets an apostrophe in front. */
export function csv(rows) {
  const field = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(field).join(",")}\r\n`).join("");
}
