/** The mean response of a unit to each class, and how selective it is. */

import {h, number} from "./dom.js";

const SHOWN = 12;
const INDEX = "(μmax − μ₋max) / (μmax + μ₋max): the largest class mean against the mean of all others; 0 is alike for all, 1 a single class. "
  + "Class selectivity of Morcos et al. 2018, On the importance of single directions for generalization";

/**
 * @param {{class_means?: object, selectivity?: number|null}} known what is known of a unit.
 * @returns {HTMLElement}
 */
export function means(known) {
  const section = h("section.class-means", {"aria-label": "Mean response by class"});
  const found = Object.entries(known.class_means ?? {}).filter(([, mean]) => Number.isFinite(mean)).sort((a, b) => b[1] - a[1]);
  const title = h("h3", {}, "Mean response by class");
  if (!found.length) {
    section.append(title, h("p.quiet", {}, "No means by class were written for this unit. tbvis-evaluate --output_dir takes them, and tbvis-maximize --statistics writes them beside the stimuli."));
    return section;
  }
  const [high, low] = [Math.max(0, found[0][1]), Math.min(0, found[found.length - 1][1])];
  const place = (value) => (100 * (value - low)) / (high - low || 1);
  const row = ([name, mean]) => h("li", {}, h("span.class", {title: name}, name),
    h("span.bar", {}, h("span", {
      class: mean < 0 ? "negative" : null,
      style: `left:${place(Math.min(0, mean))}%;width:${Math.abs(place(mean) - place(0))}%`,
    }), low < 0 && h("i.zero", {style: `left:${place(0)}%`})),
    h("span.count", {}, number(mean)));
  const list = h("ol.means", {}, ...found.slice(0, SHOWN).map(row));
  const all = found.length > SHOWN && h("button.plain", {type: "button", "aria-expanded": "false", onclick: () => {
    const open = all.getAttribute("aria-expanded") === "false";
    all.setAttribute("aria-expanded", String(open));
    all.textContent = open ? `The first ${SHOWN}` : `All ${found.length} classes`;
    list.replaceChildren(...(open ? found : found.slice(0, SHOWN)).map(row));
  }}, `All ${found.length} classes`);
  const index = Number.isFinite(known.selectivity) ? known.selectivity.toFixed(2) : "none: no class has a positive mean, or there is one class only";
  section.append(title, h("p.selectivity", {title: INDEX}, "Selectivity index ", h("b", {}, index)),
    list, all || "",
    h("p.quiet", {}, `Means over validation clips of the unit's largest value before its ReLU. ${low < 0 ? "In the index, negative means count as 0." : ""}`));
  return section;
}
