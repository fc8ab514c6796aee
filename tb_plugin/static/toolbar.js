/** <tbvis-toolbar>: runs, filter, the clock's controls and the legend of flow colours. */

import {clock} from "./clock.js";
import {h, segmented, select} from "./dom.js";
import {drawLegend} from "./flow.js";
import {model} from "./model.js";
import {state} from "./state.js";

const SPEEDS = [[0.25, "¼×"], [0.5, "½×"], [1, "1×"], [2, "2×"]];
const SIZES = [["s", "S"], ["m", "M"], ["l", "L"]];
const FRAMES = 10;

class Toolbar extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "toolbar");
    this.setAttribute("aria-label", "Runs, filter and playback");
    this.runs = h("div.group");
    this.sizes = h("div.group");
    this.replaceChildren(this.runs, this.filter(), this.sizes, this.playback(), this.colours());
    this.render();
    clock.addEventListener("frame", () => this.tick());
    clock.addEventListener("change", () => this.tick());
    this.tick();
  }

  render() {
    const names = (runs) => runs.map((run) => [run.name, run.name]);
    const {run, evaluation, stimulusRuns, evaluationRuns} = model;
    this.runs.replaceChildren(...[
      run && h("label.field", {}, h("span", {}, "Stimuli"),
        select(names(stimulusRuns), run.name, (name) => state.set({run: name, view: ""}), {id: "run"})),
      evaluationRuns.length > 1 && h("label.field", {}, h("span", {}, "Confusions"),
        select(names(evaluationRuns), evaluation.name, (name) => state.set({evaluation: name}), {id: "evaluation"})),
    ].filter(Boolean));
    this.sizes.replaceChildren(
      h("div.field", {}, h("span", {}, "Size"), segmented(SIZES, state.get("size"), (size) => state.set({size}), "Size of pictures")));
    if (document.activeElement !== this.input) this.input.value = state.get("filter");
    this.scale.value = state.get("scale");
  }

  filter() {
    this.input = h("input", {
      id: "filter", type: "search", placeholder: "name, e.g. Cello", value: state.get("filter"), autocomplete: "off",
      oninput: () => state.set({filter: this.input.value}),
    });
    return h("label.field", {}, h("span", {}, "Units"), this.input);
  }

  playback() {
    this.button = h("button.play", {type: "button", id: "play", onclick: () => clock.play(!clock.playing)});
    this.slider = h("input", {
      id: "frame", type: "range", min: 0, max: FRAMES - 1, step: 1, "aria-label": "Frame",
      oninput: () => {
        // Read first: pausing puts the slider back to the clock's frame.
        const frame = Number(this.slider.value);
        clock.play(false);
        clock.seek(frame);
      },
    });
    this.count = h("output.count", {"aria-live": "off"});
    this.speed = select(SPEEDS, clock.speed, (speed) => clock.setSpeed(Number(speed)), {id: "speed", "aria-label": "Speed"});
    return h("div.group.playback", {}, this.button, this.slider, this.count, this.speed);
  }

  tick() {
    const frame = clock.frame % FRAMES;
    this.slider.value = frame;
    this.count.textContent = `${frame + 1} / ${FRAMES}`;
    this.button.textContent = clock.playing ? "Pause" : "Play";
    this.button.setAttribute("aria-pressed", String(clock.playing));
  }

  colours() {
    const wheel = h("canvas.wheel", {width: 44, height: 44, role: "img", "aria-label": "Colours of flow directions"});
    drawLegend(wheel);
    this.scale = select([["clip", "own scale each"], ["unit", "shared scale"]], state.get("scale"),
      (scale) => state.set({scale}), {id: "scale", "aria-label": "Scale of flow colours"});
    const text = "Flow (u, v) in colour: red = u (right), green = v (down), blue = speed |(u, v)|; grey is no motion. "
      + "Own scale: each stimulus' largest speed reaches the rim. Shared scale: the largest speed of the row (of the panel) "
      + "does, so that speeds can be compared. Real clips always have their own scale.";
    return h("div.group.legend", {title: text}, wheel,
      h("div.legend-text", {}, h("span", {}, "R = u →  G = v ↓  B = speed"), this.scale));
  }
}

customElements.define("tbvis-toolbar", Toolbar);
