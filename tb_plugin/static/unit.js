/** <tbvis-unit>: one unit, all its stimuli large, what it answers to, and how they were made. */

import * as api from "./api.js";
import {curves} from "./curve.js";
import {h, number} from "./dom.js";
import {downloads} from "./downloads.js";
import {ScaleGroup} from "./flow.js";
import {means} from "./means.js";
import {model, variantTitle} from "./model.js";
import {speed} from "./motion.js";
import {response} from "./response.js";
import {settings} from "./settings.js";
import {state} from "./state.js";
import {stimulus} from "./stimulus.js";
import {tops} from "./tops.js";
import {zoomField} from "./zoom.js";

class Unit extends HTMLElement {
  /** @param {string} name the unit, "conv5_fusion/f021" */
  show(name) {
    const unit = model.units.find((other) => other.unit === name);
    const close = h("button.plain.close", {type: "button", onclick: () => state.set({view: ""})}, "← All units");
    if (!unit) {
      const text = model.run ? `Run ${model.run.name} has no stimulus of it. tbvis-maximize --units=${name} makes them.` : "No run has stimuli.";
      this.replaceChildren(h("header.panel-head", {}, close, h("h2", {}, name)), h("div.message", {}, h("p", {}, text)));
      return this;
    }
    const run = model.run.name;
    const items = model.variants.filter(({variant}) => unit.cells.has(variant)).map(({variant}) => unit.cells.get(variant));
    this.response = h("div");
    this.means = h("div.known");
    this.tops = h("div");
    this.charts = h("section.charts", {"aria-label": "Through the search"});
    this.settings = h("section.settings", {"aria-label": "How it was made"});
    const group = new ScaleGroup();
    const figures = items.map((item) => this.figure(run, item, group));
    this.replaceChildren(
      h("header.panel-head", {}, close, h("h2", {}, name), ...this.neighbours(name), zoomField()),
      h("section.figures", {"aria-label": "Stimuli"}, ...figures.map(({element}) => element)), this.missing(unit),
      h("div.facts", {}, this.response, this.means), this.tops, this.charts, this.settings);
    this.details(run, items, figures);
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

  /** One stimulus; what is written below it comes with its values. */
  figure(run, item, group) {
    const [main, small] = variantTitle(item);
    const below = h("div");
    const player = stimulus(run, item, {group, full: true, zoomed: true});
    player.addEventListener("ready", ({detail}) => {
      below.replaceChildren(h("p.notes", {}, ...notes(detail, player)), downloads(run, item, player));
    });
    // Apart: the player writes below it when it is ready, be that before or after its record failed.
    const trouble = h("div");
    const element = h("figure.large", {}, h("figcaption", {}, h("b", {}, main), small && ` ${small}`), player, below, trouble);
    return {element, player, trouble};
  }

  /** What other units of the run have and this one has not. */
  missing(unit) {
    const lacking = model.variants.filter(({variant}) => !unit.cells.has(variant));
    const text = `Not run for this unit: ${lacking.map((item) => variantTitle(item).filter(Boolean).join(", ")).join("; ")}. `
      + `tbvis-maximize --units=${unit.unit} with these settings makes them.`;
    return lacking.length ? h("p.quiet.lacking", {}, text) : "";
  }

  /** Curves, responses and settings of all stimuli whose records can be read. */
  async details(run, items, figures) {
    const answers = await Promise.allSettled(items.map((item) => api.meta(run, item)));
    const read = [];
    answers.forEach(({status, value: meta, reason}, i) => {
      const {trouble, player} = figures[i];
      const said = reason ? `Its curve and settings failed to load: ${reason.message}` : "Nothing was found: the same tbvis-maximize command tries it again.";
      if (status === "rejected" || meta.error !== null) trouble.replaceChildren(h("p.notes", {}, said));
      if (status === "fulfilled") read.push({item: items[i], meta, player});
    });
    if (!read.length) {
      this.charts.replaceChildren(h("p.quiet", {}, "No record of these stimuli could be read, so that there are no curves to show."));
      return;
    }
    const [known, metas] = [read.map(({item}) => item), read.map(({meta}) => meta)];
    this.response.replaceChildren(response(known, metas, read.map(({player}) => player)));
    this.charts.replaceChildren(...curves(known, metas));
    this.settings.replaceChildren(...settings(known, metas));
  }

  async statistics(name) {
    const run = model.run;
    const without = "No statistics of clips lie in this run: a mean response by class and the clips that excite the unit most come from "
      + "tbvis-evaluate --output_dir, whose statistics.npz tbvis-maximize takes by --statistics (what is finished is not made again).";
    const say = (text) => this.means.replaceChildren(h("h3", {}, "Mean response by class, and clips"), h("p.quiet", {}, text));
    if (!run?.statistics) return say(without);
    try {
      const all = await api.statistics({run: run.name, v: run.statistics});
      const known = Object.hasOwn(all, name) ? all[name] : null;
      // The server says so where this unit's entry alone is damaged.
      if (known?.error) throw new Error(known.error);
      if (!known) return say(`The statistics of this run do not have ${name}: tbvis-maximize --units=${name} --statistics writes them.`);
      this.means.replaceChildren(means(known));
      this.tops.replaceChildren(tops(run, known));
    } catch (error) {
      say(`Statistics of units failed to load: ${error.message}`);
    }
  }
}

function notes(meta, player) {
  const ratio = meta.a_hat ? ` = ${number(meta.activation / meta.a_hat, 2)} â` : "";
  const parts = [h("span", {title: "activation at the stimulus; â is the unit's maximum on the validation clips"},
    meta.activation === null ? "its activation is no number" : `activation ${number(meta.activation)}${ratio}`)];
  if (player.flow) parts.push(h("span", {title: "largest speed, pixels of the 256-scaled frame a frame"}, `≤ ${speed(player.flow.largest)}`));
  for (const warning of meta.warnings ?? []) parts.push(h("span.warning", {role: "note"}, warning));
  return parts;
}

customElements.define("tbvis-unit", Unit);
