/** <tbvis-pair>: two classes that are confused, their stimuli at the same chi side by side, and the clips. */

import * as api from "./api.js";
import {clip} from "./clip.js";
import {TOWER_NAMES, shownTower} from "./confusions.js";
import {rowSums} from "./counts.js";
import {h, number, percent} from "./dom.js";
import {downloads} from "./downloads.js";
import {evidence} from "./evidence.js";
import {ScaleGroup} from "./flow.js";
import {missing} from "./missing.js";
import {model, variantTitle} from "./model.js";
import {pairView, state} from "./state.js";
import {stimulus} from "./stimulus.js";
import {zoomField} from "./zoom.js";

class Pair extends HTMLElement {
  /** @param {string} a the true class. @param {string} b the predicted class; the same for one class alone. */
  show(a, b) {
    Object.assign(this, {a, b});
    const same = a === b;
    this.counted = h("p.counted");
    this.confused = h("section.clips");
    this.recognised = h("section.clips");
    this.evidence = h("div");
    const title = same ? h("h2", {}, a) : h("h2", {}, a, h("i", {}, " taken for "), b);
    this.replaceChildren(
      h("header.panel-head", {},
        h("button.plain.close", {type: "button", onclick: () => state.set({view: ""})}, "← All units"), title,
        !same && h("button.plain.reverse", {type: "button", onclick: () => state.set({view: pairView(b, a)}), title: `${b} taken for ${a}`}, "⇄ Reverse"),
        this.counted, model.run && zoomField()),
      this.confused, this.evidence, ...this.layers(same ? [a] : [a, b]), this.recognised);
    this.load();
    return this;
  }

  /** One table a layer that has units of these classes: prediction, prediction_motion. */
  layers(classes) {
    const units = classes.map((name) => model.classUnits(name));
    const layers = [...new Set(units.flat().map((unit) => unit.layer))];
    if (!layers.length) {
      const run = model.run ? `Run ${model.run.name} has` : "This logdir has";
      const wanted = classes.map((name) => `prediction/${name}`);
      return [h("div.message", {}, h("p", {}, `${run} no stimulus of ${wanted.join(" or ")}. tbvis-maximize --units=${wanted.join(",")} makes them.`))];
    }
    return [
      this.grid(classes),
      ...layers.map((layer) => this.table(layer, classes, units.map((of) => of.find((unit) => unit.layer === layer)))),
    ];
  }

  /** The grid of units, filtered to these classes: all chi at a glance, before they are large. */
  grid(classes) {
    const grid = document.createElement("tbvis-units");
    grid.classes = classes;
    return grid;
  }

  table(layer, classes, units) {
    const group = new ScaleGroup();
    const roles = classes.length > 1 ? ["true class", "predicted class"] : ["class"];
    const head = h("tr", {}, h("th", {scope: "col"}, layer), ...classes.map((name, i) =>
      h("th", {scope: "col"}, h("button.name", {type: "button", disabled: !units[i], onclick: () => state.set({view: `unit:${units[i].unit}`})}, name),
        h("small", {}, roles[i]))));
    const rows = model.variants.filter(({variant}) => units.some((unit) => unit?.cells.has(variant))).map((item) => {
      const [main, small] = variantTitle(item);
      const cells = units.map((unit, i) => {
        const found = unit?.cells.get(item.variant);
        return h("td", {"data-class": classes[i]}, found ? this.cell(found, group) : missing(unit?.unit, item.variant));
      });
      return h("tr", {"data-variant": item.variant}, h("th", {scope: "row"}, main, small && h("small", {}, small)), ...cells);
    });
    return h("table.versus", {}, h("thead", {}, head), h("tbody", {}, ...rows));
  }

  cell(item, group) {
    const run = model.run.name;
    const player = stimulus(run, item, {group, full: true, zoomed: true});
    const below = h("div");
    player.addEventListener("ready", ({detail: {activation, a_hat: aHat}}) => {
      const told = activation === null ? "its activation is no number" : aHat ? `activation ${(activation / aHat).toFixed(2)} â` : `activation ${number(activation)}`;
      below.replaceChildren(h("p.notes", {}, told), downloads(run, item, player));
    });
    return h("div", {}, player, below);
  }

  async load() {
    const run = model.evaluation;
    if (!run) {
      const text = "No run has confusions, so no clips are behind this pair: tbvis-evaluate --logdir writes them.";
      return this.confused.replaceChildren(h("p.quiet", {}, text));
    }
    const {a, b} = this;
    try {
      const {towers, classes, matrices} = await api.confusions({run: run.name, v: run.confusions});
      const unknown = [a, b].find((name) => !classes.includes(name));
      if (unknown) return this.confused.replaceChildren(h("div.message", {}, h("p", {}, `These confusions have no class ${unknown}.`)));
      const tower = shownTower(towers);
      if (a !== b) this.evidence.replaceChildren(evidence(run, tower, a, b));
      const found = await api.clips({run: run.name, v: run.confusions, tower, true: a, predicted: b});
      const total = rowSums(matrices[tower])[classes.indexOf(a)];
      if (a === this.a && b === this.b) this.fill(run, found, tower, total);
    } catch (error) {
      this.confused.replaceChildren(h("div.message", {}, h("p", {}, `Clips failed to load: ${error.message}`)));
    }
  }

  fill(run, found, tower, total) {
    const {a, b} = this;
    const name = TOWER_NAMES[tower];
    const {counts} = found;
    const part = (title, key) => [
      h("h3", {}, title, h("small", {}, counts[key] > found[key].length ? `${found[key].length} of ${counts[key]}, the surest` : `${counts[key]}`)),
      found[key].length ? this.clips(run, found[key], key, tower) : h("p.quiet", {}, "None."),
    ];
    const share = (count) => `${count} of ${total} clips (${percent(count / (total || 1))})`;
    if (a === b) {
      this.counted.textContent = `${name} scores: ${share(counts.true)} recognised`;
      this.recognised.replaceChildren(...part(`${a}, recognised`, "true"));
      return;
    }
    this.counted.textContent = `${name} scores: ${share(counts.confused)}`;
    this.confused.replaceChildren(...part(`Clips of ${a} taken for ${b}`, "confused"));
    this.recognised.replaceChildren(
      h("div.halves", {}, h("div", {}, ...part(`${a}, recognised`, "true")), h("div", {}, ...part(`${b}, recognised`, "predicted"))));
  }

  /** Clips with both classes' scores; of clips without any picture the names and scores alone. */
  clips(run, rows, kind, tower) {
    const pictures = rows.some((row) => row.thumbnail);
    // A row that scrolls sideways is reached with the keyboard, too.
    const row = kind === "confused" ? {tabIndex: 0, "aria-label": `Clips of ${this.a} taken for ${this.b}`} : {};
    return h("ul.clip-list", {"data-kind": kind, "data-pictures": String(pictures), ...row}, ...rows.map((row) => {
      const scores = kind === "confused" ? this.everyTower(row, tower) : this.ownScores(row, tower);
      return h("li", {}, pictures && clip(run.name, run.confusions, row.clip, row.thumbnail), h("p.clip-name", {title: row.clip}, row.clip), scores);
    }));
  }

  ownScores(row, tower) {
    const {a, b} = this;
    const own = row.towers[tower];
    const others = Object.entries(row.towers)
      .map(([name, p]) => `${TOWER_NAMES[name]}: ${a} ${percent(p.true)}${a === b ? "" : `, ${b} ${percent(p.predicted)}`}, best ${p.best}`);
    const score = (label, value) => h("span.score", {}, h("span", {}, `${label} `), h("b", {}, percent(value, 0)));
    return h("p.scores", {title: others.join("\n")}, score(a, own.true), a === b ? null : score(b, own.predicted));
  }

  /** What each tower made of a clip that was taken for another class: who erred, and how surely. */
  everyTower(row, tower) {
    const {a, b} = this;
    const line = ([name, p]) => h("tr", {"data-tower": name, class: name === tower ? "own" : null}, h("th", {scope: "row", title: `best: ${p.best}`}, TOWER_NAMES[name]),
      h("td", {}, percent(p.true, 0)), h("td", {}, percent(p.predicted, 0)));
    return h("table.scores", {}, h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "score"), h("th", {scope: "col"}, a), h("th", {scope: "col"}, b))),
      h("tbody", {}, ...Object.entries(row.towers).map(line)));
  }
}

customElements.define("tbvis-pair", Pair);
