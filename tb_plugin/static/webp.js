/**
 * Frames of an animated WebP file (RFC 9649), which browsers play but do not let anyone step through.
 *
 * ImageDecoder would, but is there on secure pages only, so not where TensorBoard is reached over plain HTTP, and in
 * browsers of late only. So each frame is made a file of its own, which every browser decodes.
 */

const HEAD = 12;
const FRAME_HEAD = 16;
/** Bits of a frame's last byte, and of the extended header. */
const [DISPOSE, OVERWRITE] = [1, 2];
const ALPHA = 16;

const name = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));

/** Chunks of a RIFF file from a place on: [{name, bytes, whole}], whole with the chunk's own head. */
function chunks(bytes, start) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = [];
  for (let at = start; at + 8 <= bytes.length;) {
    const size = view.getUint32(at + 4, true);
    if (at + 8 + size > bytes.length) throw new Error("Expected a whole WebP file, found its first part.");
    const next = at + 8 + size + (size % 2);
    found.push({name: name(bytes, at), bytes: bytes.subarray(at + 8, at + 8 + size), whole: bytes.subarray(at, next)});
    at = next;
  }
  return found;
}

const three = (bytes, at) => bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);

/** A file of one picture from its chunks. */
function file(...parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 4);
  const head = new Uint8Array(HEAD);
  head.set(new TextEncoder().encode("RIFF"), 0);
  new DataView(head.buffer).setUint32(4, size, true);
  head.set(new TextEncoder().encode("WEBP"), 8);
  return new Blob([head, ...parts], {type: "image/webp"});
}

/** The picture of an animation's frame alone. */
function still(frame) {
  const found = chunks(frame, FRAME_HEAD).filter((chunk) => ["ALPH", "VP8 ", "VP8L"].includes(chunk.name));
  const parts = found.map(({whole}) => whole);
  if (!found.some((chunk) => chunk.name === "ALPH")) return file(...parts);
  // Only an extended file may have its transparency apart.
  const extended = new Uint8Array(18);
  extended.set([...new TextEncoder().encode("VP8X"), 10, 0, 0, 0, ALPHA, 0, 0, 0, ...frame.subarray(6, 12)]);
  return file(extended, ...parts);
}

/** Pictures by frame, `count` of them: the encoder makes one of equal frames, shown for longer. */
function unmerged(pictures, durations, count) {
  if (pictures.length >= count) return pictures;
  const ends = durations.map((_, i) => durations.slice(0, i + 1).reduce((sum, one) => sum + one, 0));
  const at = (frame) => ends.findIndex((end) => end > ((frame + 0.5) * ends[ends.length - 1]) / count);
  return Array.from({length: count}, (_, frame) => pictures[Math.max(0, at(frame))]);
}

/**
 * @param {ArrayBuffer} buffer the file; one without animation has one frame.
 * @param {number} count how many frames were encoded, where that is known.
 * @returns {Promise<ImageBitmap[]>} all frames, each as a whole picture.
 */
export async function decodeFrames(buffer, count = 0) {
  const bytes = new Uint8Array(buffer);
  if (name(bytes, 0) !== "RIFF" || name(bytes, 8) !== "WEBP") throw new Error("Expected a WebP file, received something else.");
  const all = chunks(bytes, HEAD);
  const frames = all.filter((chunk) => chunk.name === "ANMF").map(({bytes}) => bytes);
  if (!frames.length) return unmerged([await createImageBitmap(new Blob([buffer], {type: "image/webp"}))], [1], count);
  const extended = all.find((chunk) => chunk.name === "VP8X");
  if (!extended) throw new Error("Expected the size of a WebP animation, found none.");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [4, 7].map((at) => three(extended.bytes, at) + 1);
  const context = canvas.getContext("2d");
  const stills = await Promise.all(frames.map((frame) => createImageBitmap(still(frame))));
  const whole = [];
  for (const [i, frame] of frames.entries()) {
    const place = [2 * three(frame, 0), 2 * three(frame, 3), three(frame, 6) + 1, three(frame, 9) + 1];
    if (frame[15] & OVERWRITE) context.clearRect(...place);
    context.drawImage(stills[i], place[0], place[1]);
    stills[i].close();
    whole.push(await createImageBitmap(canvas));
    if (frame[15] & DISPOSE) context.clearRect(...place);
  }
  return unmerged(whole, frames.map((frame) => three(frame, 12)), count);
}
