/** <tbvis-unit>: one unit, all its stimuli large, and how they were made. */

import * as api from "./api.js";
import {curve} from "./curve.js";
import {h, number, percent, segmented} from "./dom.js";
import {downloads} from "./downloads.js";
import {ScaleGroup} from "./flow.js";
import {model, variantTitle} from "./model.js";
import {speed} from "./motion.js";
import {state} from "./state.js";
import {stimulus} from "./stimulus.js";

const CLASSES_SHOWN = 6;
const ZOOMS = [["fit", "Fit"], ...[1, 2, 3, 4, 6].map((zoom) => [String(zoom), `${zoom}×`])];

class Unit extends HTMLElement {
  /** @param {string} name the unit, "conv5_fusion/f021" */
  show(name) {
    const unit = model.units.find((other) => other.unit === name);
    const close = h("button.plain.close", {type: "button", onclick: () => state.set({view: ""})}, "← All units");
    if (!unit) {
      const text = model.run ? `Run ${model.run.name} has no stimulus of it.` : "No run has stimuli.";
      this.replaceChildren(h("header.panel-head", {}, close, h("h2", {}, name)), h("div.message", {}, h("p", {}, text)));
      return this;
    }
    const run = model.run.name;
    const items = model.variants.filter(({variant}) => unit.cells.has(variant)).map(({variant}) => unit.cells.get(variant));
    this.charts = h("section.charts");
    this.known = h("section.known");
    this.settings = h("section.settings");
    this.replaceChildren(
      h("header.panel-head", {}, close, h("h2", {}, name), ...this.neighbours(name), this.zoom()),
      this.figures(run, items), h("div.facts", {}, this.charts, this.known), this.settings);
    this.details(run, items);
    this.statistics(name);
    return this;
  }

  neighbours(name) {
    const units = model.units;
    const at = units.findIndex((unit) => unit.unit === name);
    const button = (other, text) => h("button.plain", {
      type: "button", disabled: !other, title: other?.unit ?? "", onclick: () => state.set({view: `unit:${other.unit}`}),
    }, text);
    return [button(units[at - 1], "‹ Previous"), button(units[at + 1], "Next ›")];
  }

  /** The choice of a zoom, which keeps the focus while it changes. */
  zoom() {
    const choose = (value) => {
      state.set({zoom: value});
      for (const button of field.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === value));
    };
    const chosen = ZOOMS.some(([value]) => value === state.get("zoom")) ? state.get("zoom") : "fit";
    const field = h("div.field.zoom", {title: "Screen pixels for each pixel of the stimulus, without smoothing"},
      h("span", {}, "Zoom"), segmented(ZOOMS, chosen, choose, "Zoom"));
    return field;
  }

  figures(run, items) {
    const group = new ScaleGroup();
    const figures = items.map((item) => {
      const [main, small] = variantTitle(item);
      const caption = h("figcaption", {}, h("b", {}, main), small && ` ${small}`);
      const notes = h("p.notes");
      const player = stimulus(run, item, {group, full: true, zoomed: true});
      player.addEventListener("ready", (event) => notes.replaceChildren(...this.notes(event.detail, player)));
      return h("figure.large", {}, caption, player, notes, downloads(run, item, player));
    });
    return h("section.figures", {}, ...figures);
  }

  notes(meta, player) {
    const ratio = meta.a_hat ? ` = ${number(meta.activation / meta.a_hat, 2)} â` : "";
    const parts = [h("span", {title: "activation at the stimulus; â is the unit's maximum on the validation clips"},
      `activation ${number(meta.activation)}${ratio}`)];
    if (player.flow) parts.push(h("span", {title: "largest speed, pixels of the 256-scaled frame a frame"}, `≤ ${speed(player.flow.largest)}`));
    for (const warning of meta.warnings ?? []) parts.push(h("span.warning", {role: "note"}, warning));
    return parts;
  }

  async details(run, items) {
    try {
      const metas = await Promise.all(items.map((item) => api.meta(run, item)));
      const lines = metas.map((meta, i) => ({label: items[i].variant, steps: meta.steps, values: meta.history.activation ?? []}));
      this.charts.replaceChildren(curve(lines, "Activation by step"));
      this.settings.replaceChildren(...settings(items, metas));
    } catch (error) {
      this.charts.replaceChildren(h("p.quiet", {}, `The curves failed to load: ${error.message}`));
    }
  }

  async statistics(name) {
    const run = model.run;
    if (!run?.statistics) return;
    try {
      const known = (await api.statistics({run: run.name, v: run.statistics}))[name];
      // The server says so where this unit's entry alone is damaged.
      if (known?.error) throw new Error(known.error);
      if (known) this.known.replaceChildren(...facts(known));
    } catch (error) {
      this.known.replaceChildren(h("p.quiet", {}, `Statistics of units failed to load: ${error.message}`));
    }
  }
}

function facts(known) {
  const parts = [];
  const means = Object.entries(known.class_means ?? {}).sort((a, b) => b[1] - a[1]);
  if (means.length) {
    const largest = Math.max(1e-9, means[0][1]);
    const rows = means.slice(0, CLASSES_SHOWN).map(([name, mean]) => h("li", {}, h("span", {}, name),
      h("span.bar", {}, h("span", {style: `width:${Math.max(0, (100 * mean) / largest)}%`})), h("span.count", {}, number(mean))));
    parts.push(h("h3", {}, "Mean response on validation clips"), h("ol.means", {}, ...rows));
  }
  if (known.top_clips?.length) {
    parts.push(h("h3", {}, "Clips that excite it most"), h("ol.top", {}, ...known.top_clips.slice(0, CLASSES_SHOWN).map((top) =>
      h("li", {}, top.clip, h("small", {}, ` frame ${top.frame}, at ${top.x}, ${top.y}: ${number(top.value)}`)))));
  }
  return parts;
}

function flat(config, prefix = "") {
  return Object.entries(config ?? {}).flatMap(([key, value]) =>
    value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${prefix}${key}.`) : [[prefix + key, JSON.stringify(value)]]);
}

/** One table of settings: a single column where all stimuli agree, else one a stimulus. */
function settings(items, metas) {
  const tables = metas.map((meta) => new Map(flat(meta.config)));
  const keys = [...new Set(tables.flatMap((table) => [...table.keys()]))];
  if (!keys.length) return [];
  const rows = keys.map((key) => {
    const values = tables.map((table) => table.get(key) ?? "–");
    const same = values.every((value) => value === values[0]);
    const cells = same ? [h("td", {colSpan: items.length}, values[0])] : values.map((value) => h("td", {}, value));
    return h("tr", {}, h("th", {scope: "row"}, key), ...cells);
  });
  const head = h("tr", {}, h("th", {scope: "col"}, "setting"), ...items.map((item) => h("th", {scope: "col"}, item.variant)));
  const activation = (meta) => h("td", {}, `${number(meta.activation)}${meta.a_hat ? ` (${percent(meta.activation / meta.a_hat, 0)} of â)` : ""}`);
  const results = h("tr", {}, h("th", {scope: "row"}, "activation"), ...metas.map(activation));
  return [h("details", {}, h("summary", {}, "How it was made: all settings"),
    h("div.scroll", {tabIndex: 0, role: "group", "aria-label": "All settings"}, h("table.config", {}, h("thead", {}, head), h("tbody", {}, results, ...rows))))];
}

customElements.define("tbvis-unit", Unit);
