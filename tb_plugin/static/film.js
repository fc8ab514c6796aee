/** The appearances of a stimulus, one or several, and how they and the frames of its motion lie in time. */

import {readNpz} from "./npz.js";

/** Pictures of one size, one after the other. */
export class Film {
  /** @param {ImageData[]} images */
  constructor(images) {
    const [{width, height}] = images;
    Object.assign(this, {images, width, height, frames: images.length});
  }

  /** From a picture with all frames one below the other. */
  static fromStack({data, width, height}, frames) {
    const rows = height / frames;
    if (!Number.isInteger(rows)) throw new Error(`Expected ${frames} pictures one below the other, found a height of ${height}.`);
    const size = 4 * width * rows;
    return new Film(Array.from({length: frames}, (_, i) => new ImageData(data.slice(i * size, (i + 1) * size), width, rows)));
  }

  /** From the array `appearance` (H, W, F, 3) of a file values.npz; values `low` and `high` are drawn as 0 and 255. */
  static async fromNpz(blob, [low, high]) {
    const {data, shape} = await readNpz(await blob.arrayBuffer(), "appearance");
    const [height, width, frames, components] = shape;
    if (shape.length !== 4 || components !== 3 || !data.length) throw new Error(`Expected appearance of shape (H, W, frames, 3), found (${shape}).`);
    const images = Array.from({length: frames}, () => new ImageData(width, height));
    const slope = 255 / (high - low);
    for (let pixel = 0, from = 0; pixel < height * width; pixel += 1) {
      for (const image of images) {
        // An ImageData rounds and clamps.
        for (let colour = 0; colour < 3; colour += 1, from += 1) image.data[4 * pixel + colour] = (data[from] - low) * slope;
        image.data[4 * pixel + 3] = 255;
      }
    }
    return new Film(images);
  }
}

/** Chunks of one picture each are no film: each stays for so many moments. */
const STAY = 5;

/**
 * Moments of a stimulus: as many as its longer input has frames; the other one keeps its last frame, in chunks the last one of each.
 * `longest` frames are shown for `stay` moments each.
 */
export class Timeline {
  /** @param {number} pictures @param {number} frames of motion @param {number} chunks in which both divide, where they are several. */
  constructor(pictures, frames, chunks) {
    const longest = Math.max(1, pictures, frames);
    const stay = chunks > 1 && longest === chunks ? STAY : 1;
    Object.assign(this, {pictures, frames, chunks, longest, stay, length: longest * stay, each: Math.max(1, Math.floor(longest / chunks))});
  }

  /** [chunk, frame inside it] of a moment. */
  place(moment) {
    const frame = Math.floor(moment / this.stay);
    return [Math.floor(frame / this.each), frame % this.each];
  }

  at(moment, count) {
    if (count < 2) return 0;
    const [chunk, inside] = this.place(moment);
    const own = Math.max(1, Math.floor(count / this.chunks));
    return Math.min(count - 1, chunk * own + Math.min(inside, own - 1));
  }

  /** Which picture is shown at a moment. */
  picture(moment) {
    return this.at(moment, this.pictures);
  }

  /** Which frame of the motion is. */
  frame(moment) {
    return this.at(moment, this.frames);
  }

  /** "chunk 2 of 3, frame 4", "frame 4 of 16"; of a chunk's single frame the chunk alone. */
  text(moment) {
    if (this.chunks < 2) return `frame ${moment + 1} of ${this.length}`;
    const [chunk, inside] = this.place(moment);
    return `chunk ${chunk + 1} of ${this.chunks}${this.each > 1 ? `, frame ${inside + 1}` : ""}`;
  }
}
