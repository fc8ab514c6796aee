/** Puts the parts on the page and keeps them in step with what is chosen and what the logdir holds. */

import "./gridbar.js";
import "./matrix.js";
import "./pair.js";
import "./toolbar.js";
import "./unit.js";
import "./units.js";

import {clock} from "./clock.js";
import {CHOICES} from "./confusions.js";
import {h, segmented} from "./dom.js";
import {damaged, empty, failed} from "./messages.js";
import {model} from "./model.js";
import {parseView, side, state} from "./state.js";
import {followTheme} from "./theme.js";

const NARROW = "(max-width: 1000px)";
const ORDER = ["sort", "at", "across"];

/** Starts the page inside `body`. */
export function start(body) {
  const toolbar = document.createElement("tbvis-toolbar");
  const bar = document.createElement("tbvis-gridbar");
  const units = document.createElement("tbvis-units");
  const confusions = document.createElement("tbvis-confusions");
  const focus = h("section.focus", {hidden: true, tabIndex: -1, "aria-label": "What was chosen"});
  const panes = h("main.panes", {}, h("div.left", {}, bar, focus, units), confusions);
  // On a narrow window one of the two is shown, on a wide one both.
  const narrow = segmented([["units", "Units"], ["confusions", "Confusions"]], "", (pane) => state.set({pane}), "View");
  narrow.classList.add("narrow");
  const page = h("div.page");
  body.replaceChildren(page);
  const leftOut = h("div.left-out");
  page.append(h("div.message", {}, h("p", {}, "Loading the list of stimuli …")));

  // Narrow, the page itself scrolls, and the choice may have been made far below.
  const toTop = () => matchMedia(NARROW).matches && scrollTo(0, 0);
  let shownView = null;
  const view = () => {
    const chosen = parseView(state.get("view"));
    units.hidden = bar.hidden = Boolean(chosen);
    focus.hidden = !chosen;
    const key = chosen && [state.get("view"), state.get("tower"), ...model.signature(chosen)].join("\n");
    if (key === shownView) return;
    const before = shownView?.split("\n")[0];
    const opened = chosen && state.get("view") !== before;
    shownView = key;
    if (!chosen) {
      // Whoever comes back from a unit goes on where it stands in the grid.
      const was = before && parseView(before);
      focus.replaceChildren();
      return was?.kind === "unit" && units.go(was.unit);
    }
    const element = document.createElement(chosen.kind === "unit" ? "tbvis-unit" : "tbvis-pair");
    focus.replaceChildren(element);
    if (chosen.kind === "unit") element.show(chosen.unit);
    else element.show(chosen.true, chosen.predicted);
    if (!opened) return;
    focus.scrollTop = 0;
    toTop();
  };

  const look = () => {
    panes.style.setProperty("--side", `${side()}px`);
    panes.dataset.stimuli = model.run ? "some" : "none";
    view();
    const pane = state.get("pane") || (state.get("view") || model.run || !model.evaluation ? "units" : "confusions");
    if (pane !== panes.dataset.pane) toTop();
    panes.dataset.pane = pane;
    for (const button of narrow.children) button.setAttribute("aria-pressed", String(button.dataset.value === panes.dataset.pane));
  };

  const contents = () => {
    if (!model.contents) return page.replaceChildren(failed(model.error));
    if (model.contents.seen) return page.replaceChildren(empty(model.contents));
    if (panes.isConnected) {
      toolbar.render();
      bar.render();
      units.render();
      confusions.update();
    } else page.replaceChildren(toolbar, leftOut, narrow, panes);
    leftOut.replaceChildren(...[damaged(model.contents)].filter(Boolean));
    look();
  };

  model.addEventListener("change", contents);
  state.addEventListener("change", ({detail}) => {
    if (!panes.isConnected) return;
    const any = (...names) => names.some((name) => detail.has(name));
    if (any("run", "evaluation", "scale", "motion")) toolbar.render();
    if (any("run", "filter", "size", ...ORDER)) bar.render();
    panes.style.setProperty("--side", `${side()}px`);
    if (any("run", "filter", ...ORDER)) units.render();
    if (any("size")) for (const grid of document.querySelectorAll("tbvis-units")) grid.render();
    if (any("scale")) for (const grid of document.querySelectorAll("tbvis-units")) grid.showRims();
    if (any("run", "evaluation")) confusions.update();
    else if (any(...CHOICES)) confusions.render();
    if (any("view")) units.mark();
    look();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.key === "Escape" && state.get("view") && !typing) state.set({view: ""});
    if (event.key === " " && !typing && !event.target.closest?.("button, canvas, summary, a")) {
      event.preventDefault();
      clock.play(!clock.playing);
    }
    if ((event.key === "," || event.key === ".") && !typing) {
      clock.play(false);
      clock.seek(clock.frame + (event.key === "." ? 1 : clock.span - 1));
    }
  });
  clock.addEventListener("shown", () => state.store());
  followTheme(() => confusions.data && confusions.render());
  clock.watch(document.documentElement);
  model.refresh();
}
