/** Reads one array of a NumPy .npz file: a zip (stored or deflated) of .npy files with float16 or float32 values. */

const END = 0x06054b50;
const ENTRY = 0x02014b50;
/** A file that claims more is refused before anything is made for it. */
const LARGEST = 256 * 2 ** 20;

let halves = null;

/** Values of all float16 numbers by their bits. */
function halfTable() {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits += 1) {
    const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) halves[bits] = fraction ? NaN : sign * Infinity;
    else halves[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24);
  }
  return halves;
}

function entry(buffer, wanted) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error("Expected a zip file, found none.");
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  for (let i = 0; i < count && view.getUint32(at, true) === ENTRY; i += 1) {
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    if (new TextDecoder().decode(new Uint8Array(buffer, at + 46, nameLength)) === wanted) {
      const [packed, size] = [20, 24].map((offset) => view.getUint32(at + offset, true));
      const local = view.getUint32(at + 42, true);
      const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      return {deflated: view.getUint16(at + 10, true) === 8, bytes: new Uint8Array(buffer, from, packed), size};
    }
    at += 46 + nameLength + extra + comment;
  }
  throw new Error(`Expected ${wanted} in the file, found none.`);
}

async function inflate({deflated, bytes, size}) {
  if (size > LARGEST) throw new Error(`Expected at most ${LARGEST} bytes of values, found ${size}.`);
  if (!deflated) return bytes.slice();
  const whole = new Uint8Array(size);
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  let filled = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (filled + part.value.length > size) {
      reader.cancel();
      throw new Error(`Expected ${size} bytes of values, found more.`);
    }
    whole.set(part.value, filled);
    filled += part.value.length;
  }
  if (filled < size) throw new Error(`Expected ${size} bytes of values, found ${filled}.`);
  return whole;
}

/**
 * @param {ArrayBuffer} buffer the file.
 * @param {string} name of the array.
 * @returns {Promise<{data: Float32Array, shape: number[]}>} values in the order of rows.
 */
export async function readNpz(buffer, name) {
  const bytes = await inflate(entry(buffer, `${name}.npy`));
  const view = new DataView(bytes.buffer);
  const long = bytes[6] > 1;
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const type = /'descr': '<(f[24])', 'fortran_order': False/.exec(header)?.[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1].split(",").filter((part) => part.trim()).map(Number);
  if (!type || !shape) throw new Error(`Expected float16 or float32 values in the order of rows, found ${header.trim()}.`);
  const count = shape.reduce((a, b) => a * b, 1);
  const body = bytes.slice(start + length).buffer;
  if (type === "f4") return {data: new Float32Array(body, 0, count), shape};
  const table = halfTable();
  return {data: Float32Array.from(new Uint16Array(body, 0, count), (bits) => table[bits]), shape};
}
