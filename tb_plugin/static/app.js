/** Puts the parts on the page and keeps them in step with what is chosen and what the logdir holds. */

import "./gridbar.js";
import "./matrix.js";
import "./pair.js";
import "./toolbar.js";
import "./unit.js";
import "./units.js";

import {clock} from "./clock.js";
import {CHOICES} from "./confusions.js";
import {h, keepingFocus, segmented} from "./dom.js";
import {damaged, empty, failed, trouble} from "./messages.js";
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
  const focus = h("section.focus", {hidden: true, "aria-label": "What was chosen"});
  const panes = h("main.panes", {}, h("div.left", {}, bar, focus, units), confusions);
  // On a narrow window one of the two is shown, on a wide one both.
  const narrow = segmented([["units", "Units"], ["confusions", "Confusions"]], "", (pane) => state.set({pane}), "View");
  narrow.classList.add("narrow");
  narrow.setAttribute("role", "navigation");
  const page = h("div.page", {}, h("main.message", {}, h("h1", {}, "tbvis"), h("p", {}, "Loading the list of stimuli …")));
  body.replaceChildren(page);
  const [mistakes, leftOut] = [h("div"), h("div")];
  const wrong = h("section.wrong", {"aria-label": "What went wrong"}, mistakes, leftOut);
  const broken = (error) => (panes.isConnected
    ? mistakes.replaceChildren(trouble("Something on this page failed; reload it if it looks wrong.", error))
    : page.replaceChildren(failed(error)));
  // Without an error it is a browser's notice, as of sizes that change while they are watched.
  addEventListener("error", ({error}) => error && broken(error));
  addEventListener("unhandledrejection", ({reason}) => broken(reason));

  // Narrow, the page itself scrolls, and the choice may have been made far below.
  const toTop = () => matchMedia(NARROW).matches && scrollTo(0, 0);
  let shownView = null;
  let opener = null;
  const view = () => {
    const chosen = parseView(state.get("view"));
    const key = chosen && [state.get("view"), state.get("tower"), ...model.signature(chosen)].join("\n");
    if (key === shownView) return;
    const before = shownView?.split("\n")[0];
    const opened = chosen && state.get("view") !== before;
    shownView = key;
    // The keyboard goes where the eye does: into what opens, and back to what opened it.
    const {activeElement} = document;
    const [leaves, returns] = [units.contains(activeElement), focus.contains(activeElement)];
    if (leaves) opener = activeElement;
    units.hidden = bar.hidden = Boolean(chosen);
    focus.hidden = !chosen;
    if (!chosen) {
      const was = before && parseView(before);
      focus.replaceChildren();
      // The row of a unit may have been made anew since.
      if (was?.kind === "unit") units.go(was.unit);
      else if (returns && opener?.isConnected) opener.focus();
      return;
    }
    const element = document.createElement(chosen.kind === "unit" ? "tbvis-unit" : "tbvis-pair");
    keepingFocus(focus, () => {
      focus.replaceChildren(element);
      if (chosen.kind === "unit") element.show(chosen.unit);
      else element.show(chosen.true, chosen.predicted);
      focus.querySelector("h2").tabIndex = -1;
    });
    const title = focus.querySelector("h2");
    focus.setAttribute("aria-label", title.textContent);
    if (leaves) title.focus({preventScroll: true});
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
    } else page.replaceChildren(toolbar, wrong, narrow, panes);
    leftOut.replaceChildren(...[
      model.error && trouble("What is shown may be old: the list of stimuli could not be read again.", model.error), damaged(model.contents),
    ].filter(Boolean));
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
