/** Files of what a player shows. */

import * as api from "./api.js";
import {h} from "./dom.js";
import {encodeGif} from "./gif.js";
import {chosenScale} from "./motion.js";
import {state} from "./state.js";

/** As the authors' GIFs. */
const MILLISECONDS = 150;

/** Appearance (if wanted) and motion of a frame side by side, each pixel `zoom` pixels wide (as many more as arrows need). */
function compose(player, frame, zoom, withStill = true) {
  const {flow} = player;
  const still = withStill ? player.still : null;
  const inner = flow ? player.arrows.zoom : 1;
  const scale = inner * zoom;
  const height = Math.max(still?.height ?? 0, flow?.height ?? 0) * scale;
  const left = (still?.width ?? 0) * scale;
  const canvas = h("canvas", {width: left + (flow?.width ?? 0) * scale, height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingEnabled = false;
  if (still) context.drawImage(still, 0, 0, left, still.height * scale);
  if (flow) {
    const moving = h("canvas", {width: flow.width * inner, height: flow.height * inner});
    player.paint(moving, frame);
    context.drawImage(moving, left, 0, moving.width * zoom, moving.height * zoom);
  }
  return canvas;
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** The widest canvas that browsers make. */
const WIDEST = 16384;

const nameOf = ({stimulus, step = null}) => `${stimulus.unit.replaceAll("/", "_")}_${stimulus.variant}${step === null ? "" : `_step${step}`}`;

/** The frame that is shown, at the chosen zoom. */
function savePng(player) {
  const frame = player.flow ? player.frame : 0;
  const how = player.flow ? `_${player.mode}_${chosenScale()}_frame${frame + 1}` : "";
  compose(player, frame, Number(state.get("zoom")) || 1).toBlob((blob) => save(blob, `${nameOf(player)}${how}.png`));
}

/** The appearance and all frames of the motion in a row, at the chosen zoom as far as a picture may be so wide. */
function saveStrip(player) {
  const {still, flow} = player;
  const inner = player.arrows.zoom;
  const width = ((still?.width ?? 0) + flow.width * flow.frames) * inner;
  const zoom = Math.max(1, Math.min(Number(state.get("zoom")) || 1, Math.floor(WIDEST / width)));
  const first = compose(player, 0, zoom);
  const strip = h("canvas", {width: width * zoom, height: first.height});
  const context = strip.getContext("2d");
  context.drawImage(first, 0, 0);
  for (let frame = 1; frame < flow.frames; frame += 1) {
    const size = flow.width * inner * zoom;
    context.drawImage(compose(player, frame, zoom, false), first.width + (frame - 1) * size, 0);
  }
  strip.toBlob((blob) => save(blob, `${nameOf(player)}_${player.mode}_${chosenScale()}_strip.png`));
}

/** All frames, in the chosen form and scale. */
function saveGif(player) {
  const frames = Array.from({length: player.flow?.frames ?? 1}, (_, frame) => {
    const canvas = compose(player, frame, 1);
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  });
  save(encodeGif(frames, MILLISECONDS), `${nameOf(player)}_${player.mode ?? "still"}_${chosenScale()}.gif`);
}

/** Buttons and a link for a player's files. */
export function downloads(run, item, player) {
  const button = (text, title, act) => h("button.link", {type: "button", title, onclick: () => (player.scale || (player.still && !player.flow)) && act(player)}, text);
  const what = `${item.unit}, ${item.variant}`;
  return h("p.links", {role: "group", "aria-label": `Downloads of ${what}`}, "Download ",
    button("PNG", "The frame that is shown, appearance and motion, at the chosen zoom", savePng),
    player.flow && button("Strip", "PNG of the appearance and all frames of the motion in a row, at the chosen zoom", saveStrip),
    button("GIF", "All frames as shown, 150 ms each; at most 256 colours", saveGif),
    h("a", {
      href: api.mediaAddress(run, item, "values.npz"), download: `${nameOf({stimulus: item})}.npz`,
      title: "appearance (H, W, 3) and motion (H, W, frames, 2) as float16 in units of the network's inputs; motion × 40/255 is pixels per frame",
    }, "values.npz"));
}
