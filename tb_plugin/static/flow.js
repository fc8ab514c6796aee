/** Flow values and their colours: R = u, G = v, B = |(u, v)|, one affine map for all three and all frames, zero in the middle. */

/** One unit of the network's motion input, in pixels of the 256-scaled frame a frame. */
export const PIXELS_PER_UNIT = 40 / 255;

/** Decodes an image blob to its exact values. */
export async function pixels(blob) {
  const bitmap = await createImageBitmap(blob, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  // Kept off the GPU, whose read-back may round values.
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** A clip of flow. */
export class Flow {
  /**
   * @param {ImageData} image frames one below the other, R = 128 + u / step, G = 128 + v / step.
   * @param {number} frames how many.
   * @param {number} step value of one step, in network units.
   */
  constructor(image, frames, step) {
    this.data = image.data;
    this.frames = frames;
    this.width = image.width;
    this.height = image.height / frames;
    this.step = step;
    let largest = 0;
    for (let i = 0; i < this.data.length; i += 4) {
      const u = this.data[i] - 128;
      const v = this.data[i + 1] - 128;
      largest = Math.max(largest, u * u + v * v);
    }
    /** The largest magnitude, in network units. */
    this.largest = Math.sqrt(largest) * step;
  }

  /** Colours all frames so that +-limit (network units) are drawn as 255 and 0, and zero as mid-grey. */
  colour(limit) {
    const scale = limit > 0 ? (127.5 * this.step) / limit : 0;
    const size = this.width * this.height * 4;
    const coloured = [];
    for (let frame = 0; frame < this.frames; frame += 1) {
      const image = new ImageData(this.width, this.height);
      const from = frame * size;
      for (let i = 0; i < size; i += 4) {
        const u = this.data[from + i] - 128;
        const v = this.data[from + i + 1] - 128;
        image.data[i] = 127.5 + u * scale;
        image.data[i + 1] = 127.5 + v * scale;
        image.data[i + 2] = 127.5 + Math.sqrt(u * u + v * v) * scale;
        image.data[i + 3] = 255;
      }
      coloured.push(image);
    }
    return coloured;
  }
}

/** Clips that may share one scale, so that their speeds can be compared. */
export class ScaleGroup {
  constructor() {
    this.limits = new Map();
  }

  /** Notes a member's own limit; the others redraw if the shared one changed. */
  report(member, limit) {
    const before = this.limit;
    this.limits.set(member, limit);
    if (this.limit !== before) for (const other of this.limits.keys()) if (other !== member) other.recolour();
  }

  leave(member) {
    this.limits.delete(member);
  }

  get limit() {
    return Math.max(0, ...this.limits.values());
  }
}

/** Draws the legend: directions as colours, speed growing to the rim. */
export function drawLegend(canvas) {
  const {width, height} = canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const u = (2 * x) / (width - 1) - 1;
      const v = (2 * y) / (height - 1) - 1;
      const speed = Math.hypot(u, v);
      const at = 4 * (y * width + x);
      image.data.set([127.5 + 127.5 * u, 127.5 + 127.5 * v, 127.5 + 127.5 * speed, speed <= 1 ? 255 : 0], at);
    }
  }
  context.putImageData(image, 0, 0);
}
