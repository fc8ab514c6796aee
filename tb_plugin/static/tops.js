/** The clips that excite a unit most: the snippet that the network saw, playing, with the place that fired. */

import {clip} from "./clip.js";
import {clock} from "./clock.js";
import {h, number} from "./dom.js";

const HOW = "tbvis-maximize writes them where it is told --statistics, --data_dir and --dataset (the prepared set that the statistics are of); "
  + "stimuli that are finished are not made again.";

/**
 * @param {{name: string, statistics: number}} run
 * @param {{top_clips?: object[]}} known what is known of a unit.
 * @returns {HTMLElement}
 */
export function tops(run, known) {
  const found = known.top_clips ?? [];
  const section = h("section.tops", {"aria-label": "Clips that excite it most"}, h("h3", {}, "Clips that excite it most"));
  if (!found.length) {
    section.append(h("p.quiet", {}, "No clips were written for this unit. tbvis-evaluate --output_dir finds them, and tbvis-maximize --statistics writes them beside the stimuli."));
    return section;
  }
  const pictures = found.some((top) => top.thumbnail);
  // The largest of a layer is its â: values of two towers compare by it alone.
  const largest = new Map();
  for (const {layer, value} of found) largest.set(layer, Math.max(largest.get(layer) ?? 0, value ?? 0));
  const towers = largest.size > 1;
  const told = ({layer, value}) => (towers && value !== null && largest.get(layer) > 0 ? `${(value / largest.get(layer)).toFixed(2)} â` : number(value));
  section.append(
    pictures
      ? h("p.quiet", {}, "The frames around the one that fired and their flow, in step with the stimuli. The ring is where the unit fired, the box what it sees; "
        + "both stand out in the frame that fired. Clips are validation clips; a click opens one large.")
      : h("p.quiet", {}, `No pictures of these clips were written. ${HOW}`),
    h("ol.top", {"data-pictures": String(pictures)}, ...found.map((top, rank) => entry(run, top, rank, {pictures, value: told(top), layer: towers ? top.layer : null}))));
  return section;
}

function entry(run, top, rank, {pictures, value, layer}) {
  const where = h("small", {}, [top.class, layer].filter(Boolean).map((name) => `${name}, `).join(""), stop(top), ` at x ${top.x}, y ${top.y}`);
  const told = [h("p.clip-name", {title: `${top.clip}: ${number(top.value)}`}, h("b", {}, value), ` ${top.clip}`), where];
  if (!pictures) return h("li", {}, ...told);
  const player = () => clip(run.name, run.statistics, top.clip, top.thumbnail, mark(top));
  const open = top.thumbnail
    ? h("button.enlarge", {type: "button", "aria-label": `Clip ${rank + 1}, ${top.clip}, large`, onclick: () => large(player(), top, value)}, player())
    : h("div.note", {}, "no picture of this clip was written");
  return h("li", {}, open, ...told);
}

/** Says the frame that fired, and stops all players there where it is in the animation. */
function stop(top) {
  const text = `frame ${top.frame}`;
  if (!top.thumbnail) return text;
  const act = () => {
    clock.play(false);
    clock.seek(top.fired);
  };
  return h("button.link.stop", {type: "button", title: "Stop all players at the frame that fired (frames are counted from 0)", onclick: act}, text);
}

/** The place that fired in parts of the frame; without a size nobody knows where in the picture it is. */
function mark({x, y, field, size, frames, fired}) {
  if (!size) return null;
  const [width, height] = size;
  // Where the centre of a pixel lies.
  const [left, top] = [(x + 0.5) / width, (y + 0.5) / height];
  const box = field && (field < width || field < height) ? [field / width, field / height] : null;
  return {left, top, box, frames, fired};
}

function large(player, top, value) {
  const close = h("button.plain", {type: "button", autofocus: true, onclick: () => dialog.close()}, "Close");
  const of = top.size.join(" × ");
  const seen = top.field && top.field < Math.max(...top.size) ? `sees ${top.field} × ${top.field} of ${of} px` : `sees the whole ${of} px`;
  const dialog = h("dialog.large-clip", {"aria-label": `Clip ${top.clip}`, onclose: () => dialog.remove()},
    player, h("p", {}, h("b", {}, value), ` ${top.clip}: `, stop(top), ` at x ${top.x}, y ${top.y}${"field" in top ? `; the unit ${seen}` : ""}.`), close);
  // Escape closes this, not the page behind it.
  dialog.addEventListener("keydown", (event) => event.key === "Escape" && event.stopPropagation());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
