/** <tbvis-toolbar>: runs, the clock's controls, and how motion is drawn. */

import {clock} from "./clock.js";
import {h, segmented, select} from "./dom.js";
import {model} from "./model.js";
import {MODES, SCALES, chosenMode, chosenScale, drawLegend} from "./motion.js";
import {state} from "./state.js";
import {stepSlider} from "./steps.js";

const SPEEDS = [[0.25, "¼×"], [0.5, "½×"], [1, "1×"], [2, "2×"]];
const RIMS = {clip: "each sequence's largest speed", paper: "each sequence's largest value", unit: "the largest speed of the row (panel)"};

class Toolbar extends HTMLElement {
  connectedCallback() {
    // Not a toolbar: in one of those the arrow keys would move between fields that need them.
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", "Runs and playback");
    this.runs = h("div.group");
    this.replaceChildren(h("h1.unseen", {}, "tbvis: stimuli of units, and confusions of classes"), this.runs, this.playback(), stepSlider(), this.colours());
    this.render();
    this.follow();
    const changed = () => {
      this.tick();
      this.note();
    };
    clock.addEventListener("frame", changed);
    clock.addEventListener("change", changed);
    state.addEventListener("change", ({detail}) => detail.has("frame") && this.follow());
    this.tick();
  }

  render() {
    this.renderRuns();
    this.showMotion();
  }

  /** The choices of runs are made anew only where there are others: an open list must not be taken away. */
  renderRuns() {
    const {run, evaluation, stimulusRuns, evaluationRuns} = model;
    const choices = [
      run && ["run", "Stimuli", stimulusRuns, run.name, {view: ""}],
      evaluationRuns.length > 1 && ["evaluation", "Confusions", evaluationRuns, evaluation.name, {}],
    ].filter(Boolean);
    const listed = JSON.stringify(choices.map(([id, , runs]) => [id, runs.map(({name}) => name)]));
    if (listed !== this.listed) {
      this.listed = listed;
      const focused = this.runs.contains(document.activeElement) && document.activeElement.id;
      this.runs.replaceChildren(...choices.map(([id, text, runs, name, others]) => h("label.field", {}, h("span", {}, text),
        select(runs.map((of) => [of.name, of.name]), name, (chosen) => state.set({[id]: chosen, ...others}), {id}))));
      if (focused) this.runs.querySelector(`#${focused}`)?.focus();
    }
    for (const [id, , , name] of choices) this.runs.querySelector(`#${id}`).value = name;
  }

  playback() {
    this.button = h("button.play", {type: "button", id: "play", "aria-keyshortcuts": "Space", onclick: () => clock.play(!clock.playing)});
    this.slider = h("input", {
      id: "frame", type: "range", min: 0, max: clock.span - 1, step: 1, "aria-label": "Frame", "aria-keyshortcuts": ", .",
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

  /** A link may name a frame, which then stands still. */
  follow() {
    const frame = Number.parseInt(state.get("frame"), 10) - 1;
    if (!(frame >= 0) || (!clock.playing && frame === clock.frame % clock.span)) return;
    clock.play(false);
    clock.seek(frame);
  }

  /** Keeps the frame that was stopped at in the address. */
  note() {
    state.set({frame: clock.playing ? "" : String((clock.frame % clock.span) + 1)});
  }

  tick() {
    const frame = clock.frame % clock.span;
    this.slider.max = clock.span - 1;
    this.slider.value = frame;
    this.slider.setAttribute("aria-valuetext", `${frame + 1} of ${clock.span}`);
    this.count.textContent = `${frame + 1} / ${clock.span}`;
    this.button.textContent = clock.playing ? "Pause" : "Play";
  }

  /** How motion is drawn, on which scale, and what its colours mean. */
  colours() {
    this.wheel = h("canvas.wheel", {width: 44, height: 44, role: "img", "aria-label": "Legend of flow"});
    this.modes = segmented(MODES.map(([name, text]) => [name, text]), chosenMode(), (motion) => state.set({motion}), "Form of motion");
    MODES.forEach(([, , meaning], i) => { this.modes.children[i].title = meaning; });
    this.scale = select(SCALES, chosenScale(), (scale) => state.set({scale}), {id: "scale", "aria-label": "Scale of flow"});
    this.meaning = h("span");
    const text = "Own scale: each sequence reaches the rim with its largest speed, and grey is no motion. Own min–max: each "
      + "sequence's smallest and largest value of u, v and speed are black and white, as in the paper; its grey is near zero. "
      + "Shared scale: the largest speed of the row (of the panel) reaches the rim, so that speeds can be compared. "
      + "Arrows slower than 6 % of the longest are left out. Real clips always have their own scale.";
    return h("div.group.legend", {title: text}, this.wheel,
      h("div.legend-text", {}, h("div.group", {}, this.modes, this.scale), this.meaning));
  }

  showMotion() {
    const [mode, scale] = [chosenMode(), chosenScale()];
    for (const button of this.modes.children) button.setAttribute("aria-pressed", String(button.dataset.value === mode));
    this.scale.value = scale;
    drawLegend(this.wheel, mode);
    const meaning = MODES.find(([name]) => name === mode)[2];
    this.meaning.textContent = `${meaning}; ${mode === "arrows" ? "the longest" : "rim"} = ${RIMS[scale]}`;
  }
}

customElements.define("tbvis-toolbar", Toolbar);
