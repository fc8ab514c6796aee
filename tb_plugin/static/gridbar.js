/** <tbvis-gridbar>: which units the grid shows, in which order, and how large. */

import {h, select} from "./dom.js";
import {measures} from "./measures.js";
import {model, variantTitle} from "./model.js";
import {isRelative} from "./rows.js";
import {SIDES, SORTS, chosenFilter, chosenOrder, side, state} from "./state.js";

const FILTER_HELP = "Looked for in the names of units and of their classes; capitals do not matter. Several plain words must all be there. "
  + "With any of \\ ^ $ . | ? * + ( ) [ ] { } it is a regular expression, such as ^conv[45].*f0[12] or Cello|Violin.";
const SORT_HELP = "Activation: of the stimulus, in parts of the unit's largest value on validation clips (â) where that is known. "
  + "Selectivity: (a − b) / (a + b), a being a unit's largest mean response to a class, b the mean over the other classes (Morcos et al. 2018).";

class GridBar extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", "Units of the grid");
    this.input = h("input", {
      id: "filter", type: "search", placeholder: "e.g. Cello, f0[12]", autocomplete: "off", spellcheck: false, title: FILTER_HELP,
      "aria-describedby": "filter-problem", oninput: () => state.set({filter: this.input.value}),
    });
    this.problem = h("span.problem", {id: "filter-problem", role: "status"});
    this.sort = select(SORTS, "", (sort) => state.set({sort}), {id: "sort"});
    this.at = h("select", {id: "at", "aria-label": "Activation at", onchange: () => state.set({at: this.at.value})});
    this.across = h("input", {id: "across", type: "checkbox", onchange: () => state.set({across: this.across.checked ? "yes" : "no"})});
    this.acrossField = h("label.field", {title: "One list of all layers instead of one a layer"}, this.across, h("span", {}, "Across layers"));
    this.size = h("input", {
      id: "size", type: "range", min: SIDES.min, max: SIDES.max, step: 4,
      oninput: () => state.set({size: this.size.value}, false), onchange: () => state.store(),
    });
    this.pixels = h("output.pixels", {"aria-live": "off"});
    this.note = h("p.note-line", {role: "status"});
    this.replaceChildren(
      h("label.field", {}, h("span", {}, "Units"), this.input), this.problem,
      h("div.group", {}, h("label.field", {title: SORT_HELP}, h("span", {}, "Sort by"), this.sort), this.at, this.acrossField),
      h("label.field", {title: "Side of a picture in pixels"}, h("span", {}, "Size"), this.size, this.pixels), this.note);
    measures.addEventListener("change", () => this.render());
    this.render();
  }

  render() {
    if (document.activeElement !== this.input) this.input.value = state.get("filter");
    const {problem} = chosenFilter();
    this.problem.textContent = problem ? `Not a regular expression: ${problem}. The grid stays as it was.` : "";
    this.input.setAttribute("aria-invalid", String(Boolean(problem)));
    this.size.value = side();
    this.pixels.textContent = `${side()} px`;
    this.renderOrder();
  }

  renderOrder() {
    const {sort, at, across} = chosenOrder(model.variants);
    const why = this.unavailable();
    const option = [...this.sort.options].find(({value}) => value === "selectivity");
    option.disabled = Boolean(why);
    option.textContent = why ? `selectivity (${why})` : "selectivity";
    this.sort.value = sort;
    this.at.hidden = sort !== "activation";
    const variants = [["", "at its best"], ...model.variants.map((item) => [item.variant, `at ${variantTitle(item).filter(Boolean).join(", ")}`])];
    const listed = JSON.stringify(variants);
    if (listed !== this.listed) this.at.replaceChildren(...variants.map(([value, text]) => h("option", {value}, text)));
    this.listed = listed;
    this.at.value = at;
    this.acrossField.hidden = sort === "network";
    this.across.checked = across;
    this.note.textContent = this.explanation(sort, why);
  }

  /** Why units cannot be ordered by selectivity, as far as is known. */
  unavailable() {
    if (!model.run?.statistics) return "no statistics of units in this run";
    const {found} = measures;
    if (measures.run !== model.run.name || !found) return "";
    if (found.error) return "the statistics of units are damaged";
    return Object.values(found.units).some(({selectivity}) => selectivity !== null) ? "" : "no mean responses by class in this run";
  }

  /** What is said of an order that is not (yet) what was asked for. */
  explanation(sort, why) {
    if (sort === "selectivity" && why) return `Network order: ${why}.`;
    if (sort !== "activation" && sort !== "selectivity") return "";
    const found = measures.get();
    if (measures.problem) return `${sort === "activation" ? "Activations" : "Selectivities"} failed to load: ${measures.problem}`;
    if (!found) return "Network order, while what to sort by is loading …";
    if (sort === "activation" && !Object.keys(found.activations).length) return "Network order: no activations are known in this run.";
    if (sort === "activation" && !isRelative(found)) return "No unit's largest value on clips is known: sorted by activation itself.";
    return "";
  }
}

customElements.define("tbvis-gridbar", GridBar);
