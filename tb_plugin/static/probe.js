/** Reading the flow of a pixel, with the mouse or with the arrow keys. */

import {h, number} from "./dom.js";
import {PIXELS_PER_UNIT} from "./flow.js";
import {speed} from "./motion.js";

const ARROWS = ["→", "↗", "↑", "↖", "←", "↙", "↓", "↘"];
const KEYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

/** What is said of a pixel: "x 4, y 7, frame 3: u +1.00, v −1.00, speed 1.41 px/frame, direction 45° ↗"; `when` names the frame. */
export function reading(flow, frame, x, y, when = `frame ${frame + 1}`) {
  const [u, v] = flow.at(frame, x, y).map((value) => value * PIXELS_PER_UNIT);
  // Counted as in geometry, 90 degrees being up, although v points down.
  const degrees = Math.round((Math.atan2(-v, u) * 180) / Math.PI + 360) % 360;
  const direction = u || v ? `direction ${degrees}° ${ARROWS[Math.round(degrees / 45) % 8]}` : "no direction";
  const values = `u ${signed(u)}, v ${signed(v)}, speed ${Math.hypot(u, v).toFixed(2)} px/frame, ${direction}`;
  const rounded = flow.step ? ` (rounded: ±${number((flow.step / 2) * PIXELS_PER_UNIT, 2)})` : "";
  return `x ${x}, y ${y}, ${when}: ${values}${rounded}`;
}

/** The pixel of a picture of width x height under the pointer. */
function pixelUnder(event, canvas, {width, height}) {
  const box = canvas.getBoundingClientRect();
  const inside = (at, size) => Math.min(size - 1, Math.max(0, Math.floor(at * size)));
  return [inside((event.clientX - box.left) / box.width, width), inside((event.clientY - box.top) / box.height, height)];
}

/** Makes a large picture readable; `point` is told the pixel. `shown` gives the flow, `now` the pixel that is marked, or null. */
export function readable(canvas, shown, now, point) {
  canvas.addEventListener("pointermove", (event) => point(...pixelUnder(event, canvas, shown())));
  canvas.addEventListener("keydown", (event) => {
    const by = KEYS[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const flow = shown();
    const [x, y] = now() ?? [flow.width >> 1, flow.height >> 1];
    const far = event.shiftKey ? 10 : 1;
    point(Math.min(flow.width - 1, Math.max(0, x + far * by[0])), Math.min(flow.height - 1, Math.max(0, y + far * by[1])));
  });
}

const tip = h("div.flow-tip", {role: "tooltip", hidden: true});

/** Makes a small picture readable: what is read floats beside the pointer. `read` says it and `flow` gives the flow when it moves. */
export function readableSmall(element, canvasOf, read, flow) {
  element.addEventListener("pointermove", (event) => {
    const canvas = canvasOf(event.target);
    tip.hidden = !canvas || !flow();
    if (tip.hidden) return;
    document.body.append(tip);
    const name = h("b", {}, `${element.stimulus.unit}, ${element.stimulus.variant}`);
    const text = read(pixelUnder(event, canvas, flow()));
    tip.replaceChildren(name, h("span", {}, text), h("span", {}, `thumbnail; its largest speed is ${speed(flow().largest)}`));
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    const top = below + tip.offsetHeight < innerHeight ? below : event.clientY - tip.offsetHeight - 10;
    Object.assign(tip.style, {left: `${left}px`, top: `${top}px`});
  });
  element.addEventListener("pointerleave", () => { tip.hidden = true; });
}
