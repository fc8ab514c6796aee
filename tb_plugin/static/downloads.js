/** Files of what a player shows. */

import * as api from "./api.js";
import {h} from "./dom.js";
import {encodeGif} from "./gif.js";
import {chosenScale} from "./motion.js";
import {state} from "./state.js";

/** As the authors' GIFs. */
const MILLISECONDS = 150;

/** Appearance (if wanted) and motion of a moment side by side, each pixel `zoom` pixels wide (as many more as arrows need). */
function compose(player, moment, zoom, withStill = true) {
  const {flow} = player;
  const still = withStill ? player.pictureAt(moment) : null;
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
    player.paint(moving, moment);
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
  const {moment, timeline: {length}} = player;
  const how = `${player.flow ? `_${player.mode}_${chosenScale()}` : ""}${length > 1 ? `_frame${moment + 1}` : ""}`;
  compose(player, moment, Number(state.get("zoom")) || 1).toBlob((blob) => save(blob, `${nameOf(player)}${how}.png`));
}

/** The appearance and all frames of the motion in a row, a row a chunk, at the chosen zoom as far as a picture may be so wide. */
function saveStrip(player) {
  const {film, flow, timeline: {longest, stay, chunks, each}} = player;
  const inner = flow ? player.arrows.zoom : 1;
  const width = flow ? ((film?.width ?? 0) + flow.width * each) * inner : film.width * each;
  const zoom = Math.max(1, Math.min(Number(state.get("zoom")) || 1, Math.floor(WIDEST / width)));
  const strip = h("canvas", {width: width * zoom, height: compose(player, 0, zoom).height * chunks});
  const context = strip.getContext("2d");
  for (let frame = 0, left = 0; frame < longest; frame += 1) {
    // An appearance stands for its whole chunk; without motion each frame is one.
    const shown = compose(player, frame * stay, zoom, !flow || frame % each === 0);
    if (frame % each === 0) left = 0;
    context.drawImage(shown, left, Math.floor(frame / each) * shown.height);
    left += shown.width;
  }
  strip.toBlob((blob) => save(blob, `${nameOf(player)}${flow ? `_${player.mode}_${chosenScale()}` : ""}_strip.png`));
}

/** All frames, in the chosen form and scale. */
function saveGif(player) {
  const frames = Array.from({length: player.timeline.length}, (_, moment) => {
    const canvas = compose(player, moment, 1);
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
    player.timeline.length > 1 && button("Strip", `PNG of the appearance and all frames in a row${player.timeline.chunks > 1 ? " for each chunk" : ""}, at the chosen zoom`, saveStrip),
    button("GIF", "All frames as shown, 150 ms each; at most 256 colours", saveGif),
    h("a", {
      href: api.mediaAddress(run, item, "values.npz"), download: `${nameOf({stimulus: item})}.npz`,
      title: "appearance (H, W, 3), of several frames (H, W, frames, 3), and motion (H, W, frames, 2) as float16 in units of the network's inputs; motion × 40/255 is pixels per frame",
    }, "values.npz"));
}
