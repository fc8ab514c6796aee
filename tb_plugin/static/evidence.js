/** The evidence of an explanation of a pair, where a run has one; tb_plugin/explanations.py defines its file. */

import * as api from "./api.js";
import {h, number} from "./dom.js";
import {model} from "./model.js";
import {state} from "./state.js";

/** Makes a section that stays away from the page while there is no explanation. */
export function evidence(run, tower, a, b) {
  const section = h("section.evidence", {hidden: true, "aria-label": "Explanation"});
  fill(section, run, tower, a, b);
  return section;
}

async function fill(section, run, tower, a, b) {
  let parts;
  try {
    const found = await api.explanation({run: run.name, true: a, predicted: b, tower});
    if (!found) return;
    parts = found.error ? [h("p", {}, `It could not be shown. ${found.error}`)] : shown(found);
  } catch (error) {
    parts = [h("p", {}, `It failed to load: ${error.message}`)];
  }
  section.replaceChildren(h("h3", {}, `Why ${a} is taken for ${b}`), ...parts);
  section.hidden = false;
}

function shown({summary, evidence: items, source}) {
  return [
    summary && h("p", {}, summary),
    ...items.map(({title, text, values, units}) => h("article", {}, h("h4", {}, title), text && h("p", {}, text),
      values.length > 0 && h("dl", {}, ...values.flatMap(({label, value, unit}) => [h("dt", {}, label), h("dd", {}, `${number(value)} ${unit}`)])),
      units.length > 0 && h("p.units", {}, ...units.map(link)))),
    source && h("p.quiet", {}, source),
  ].filter(Boolean);
}

function link(unit) {
  const known = model.units.some((other) => other.unit === unit);
  const title = known ? `Open ${unit}` : "This run has no stimulus of it";
  return h("button.plain", {type: "button", disabled: !known, title, onclick: () => state.set({view: `unit:${unit}`})}, unit);
}
