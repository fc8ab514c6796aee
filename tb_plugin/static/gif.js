/** Writes looping GIFs. A clip of at most 256 colours keeps them all; others share one palette by median cut. */

const bucketOf = (r, g, b) => ((r >> 3) << 10) | ((g >> 3) << 5) | (b >> 3);

/** Splits the colours into 256 boxes, each time the box with the most pixels times width, and takes their means. */
function medianCut(frames) {
  const sums = new Map();
  for (const {data} of frames) {
    for (let i = 0; i < data.length; i += 4) {
      const bucket = bucketOf(data[i], data[i + 1], data[i + 2]);
      let sum = sums.get(bucket);
      if (!sum) sums.set(bucket, (sum = {bucket, n: 0, total: [0, 0, 0]}));
      sum.n += 1;
      for (let c = 0; c < 3; c += 1) sum.total[c] += data[i + c];
    }
  }
  const box = (items) => {
    for (const item of items) item.mean ??= item.total.map((value) => value / item.n);
    const widths = [0, 1, 2].map((c) => {
      const values = items.map((item) => item.mean[c]);
      return Math.max(...values) - Math.min(...values);
    });
    const axis = widths.indexOf(Math.max(...widths));
    const n = items.reduce((a, item) => a + item.n, 0);
    return {items, axis, n, weight: items.length > 1 ? widths[axis] * Math.sqrt(n) : 0};
  };
  const boxes = [box([...sums.values()])];
  while (boxes.length < 256) {
    const widest = boxes.reduce((a, b) => (b.weight > a.weight ? b : a));
    if (!widest.weight) break;
    widest.items.sort((a, b) => a.mean[widest.axis] - b.mean[widest.axis]);
    let [at, counted] = [0, 0];
    while (at < widest.items.length - 1 && counted < widest.n / 2) counted += widest.items[at++].n;
    boxes.splice(boxes.indexOf(widest), 1, box(widest.items.slice(0, at)), box(widest.items.slice(at)));
  }
  const index = new Uint8Array(1 << 15);
  const palette = boxes.map(({items, n}, i) => {
    for (const item of items) index[item.bucket] = i;
    return [0, 1, 2].map((c) => Math.round(items.reduce((a, item) => a + item.total[c], 0) / n));
  });
  return {palette, indexOf: (r, g, b) => index[bucketOf(r, g, b)]};
}

function paletteOf(frames) {
  const exact = new Map();
  for (const {data} of frames) {
    for (let i = 0; i < data.length; i += 4) {
      const key = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
      if (!exact.has(key)) exact.set(key, exact.size);
      if (exact.size > 256) return medianCut(frames);
    }
  }
  const palette = [...exact.keys()].map((key) => [key >> 16, (key >> 8) & 255, key & 255]);
  return {palette, indexOf: (r, g, b) => exact.get((r << 16) | (g << 8) | b)};
}

/** GIF's variable-length LZW of 8-bit indices, in sub-blocks. */
function compress(indices) {
  const bytes = [];
  let [bits, held] = [0, 0];
  const put = (code, width) => {
    bits |= code << held;
    held += width;
    for (; held >= 8; held -= 8, bits >>>= 8) bytes.push(bits & 255);
  };
  const [clear, end] = [256, 257];
  let [width, next, table] = [9, 258, new Map()];
  put(clear, width);
  let prefix = indices[0];
  for (let i = 1; i < indices.length; i += 1) {
    const key = (prefix << 8) | indices[i];
    const found = table.get(key);
    if (found !== undefined) {
      prefix = found;
      continue;
    }
    put(prefix, width);
    prefix = indices[i];
    if (next < 4096) {
      // A code of the next width is first written after the entry that needs it.
      if (next === 1 << width) width += 1;
      table.set(key, next);
      next += 1;
    } else {
      put(clear, width);
      [width, next, table] = [9, 258, new Map()];
    }
  }
  put(prefix, width);
  // The reader adds an entry for the code just read, and may have grown by now.
  if (next === 1 << width && width < 12) width += 1;
  put(end, width);
  if (held) bytes.push(bits & 255);
  const blocks = [8];
  for (let from = 0; from < bytes.length; from += 255) {
    const part = bytes.slice(from, from + 255);
    blocks.push(part.length, ...part);
  }
  blocks.push(0);
  return blocks;
}

/**
 * @param {ImageData[]} frames of one size; alpha is left out.
 * @param {number} milliseconds time of each, in multiples of 10.
 */
export function encodeGif(frames, milliseconds) {
  const {palette, indexOf} = paletteOf(frames);
  const {width, height} = frames[0];
  const word = (value) => [value & 255, value >> 8];
  const text = (string) => [...string].map((letter) => letter.charCodeAt(0));
  const colours = new Uint8Array(768);
  palette.forEach((rgb, i) => colours.set(rgb, 3 * i));
  const parts = [[...text("GIF89a"), ...word(width), ...word(height), 0xf7, 0, 0], colours,
    [0x21, 0xff, 11, ...text("NETSCAPE2.0"), 3, 1, 0, 0, 0]];
  for (const {data} of frames) {
    const indices = new Uint8Array(width * height);
    for (let i = 0; i < indices.length; i += 1) indices[i] = indexOf(data[4 * i], data[4 * i + 1], data[4 * i + 2]);
    parts.push([0x21, 0xf9, 4, 4, ...word(milliseconds / 10), 0, 0, 0x2c, 0, 0, 0, 0, ...word(width), ...word(height), 0], compress(indices));
  }
  parts.push([0x3b]);
  return new Blob(parts.map((part) => Uint8Array.from(part)), {type: "image/gif"});
}
