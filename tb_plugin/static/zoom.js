/** The choice of how many screen pixels a pixel of a stimulus takes. */

import {h, segmented} from "./dom.js";
import {state} from "./state.js";

const ZOOMS = [["fit", "Fit"], ...[1, 2, 3, 4, 6].map((zoom) => [String(zoom), `${zoom}×`])];

/** Makes the choice, which keeps the focus while it changes. */
export function zoomField() {
  const choose = (value) => {
    state.set({zoom: value});
    for (const button of field.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === value));
  };
  const chosen = ZOOMS.some(([value]) => value === state.get("zoom")) ? state.get("zoom") : "fit";
  const field = h("div.field.zoom", {title: "Screen pixels for each pixel of the stimulus, without smoothing"},
    h("span", {}, "Zoom"), segmented(ZOOMS, chosen, choose, "Zoom"));
  return field;
}
