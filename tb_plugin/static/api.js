/** Requests to the plugin's routes. Addresses are relative: they hold under any path prefix. */

const CONCURRENT = 6;
const CELLS_KEPT = 400;

let running = 0;
const waiting = [];
const cells = new Map();

async function queued(task) {
  // Last asked, first served: what the user looks at now comes before what was scrolled past.
  if (running >= CONCURRENT) await new Promise((resolve) => waiting.push(resolve));
  running += 1;
  try {
    return await task();
  } finally {
    running -= 1;
    waiting.pop()?.();
  }
}

async function get(route, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(query ? `./${route}?${query}` : `./${route}`);
  if (response.ok) return response;
  let message = `${response.status} ${response.statusText}`;
  try {
    message = (await response.json()).error || message;
  } catch {
    // Not our JSON: the status line has to do.
  }
  throw new Error(message);
}

let list = {version: null, text: ""};

/** Every run with its stimuli, as text: two equal texts mean that nothing changed. What did not change is not read again. */
export async function contentsText() {
  const response = await get("contents");
  const version = response.headers.get("ETag");
  if (version && version === list.version) response.body.cancel();
  else list = {version, text: await response.text()};
  return list.text;
}

/** Small pictures of a stimulus: {meta, appearance: Blob|null, flow: Blob|null}. */
export function cell(run, stimulus) {
  const key = `${run}\n${stimulus.tag}\n${stimulus.v}`;
  let promise = cells.get(key);
  if (!promise) {
    promise = queued(async () => unpack(await (await get("cell", {run, tag: stimulus.tag, v: stimulus.v})).arrayBuffer()));
    promise.catch(() => cells.delete(key));
  }
  cells.delete(key);
  cells.set(key, promise);
  if (cells.size > CELLS_KEPT) cells.delete(cells.keys().next().value);
  return promise;
}

function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const {meta, lengths} = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const [appearance, flow] = lengths.map((size) => {
    const blob = size ? new Blob([new Uint8Array(buffer, offset, size)], {type: "image/webp"}) : null;
    offset += size;
    return blob;
  });
  return {meta, appearance, flow};
}

/** A full-size file of a stimulus as a Blob. */
export const media = (run, stimulus, name) =>
  queued(async () => (await get("media", {run, tag: stimulus.tag, v: stimulus.v, name})).blob());

/** The address of a full-size file, for a download link. */
export const mediaAddress = (run, stimulus, name) =>
  `./media?${new URLSearchParams({run, tag: stimulus.tag, v: stimulus.v, name})}`;

const json = (route) => async (parameters) => (await get(route, parameters)).json();

/** Everything about a stimulus but its pictures. */
export const meta = (run, stimulus) => json("meta")({run, tag: stimulus.tag, v: stimulus.v});

/** Classes, towers, matrices and accuracies of an evaluation. */
export const confusions = json("confusions");

/** Clips behind a cell of the matrix. */
export const clips = json("clips");

/** The evidence for why a class is taken for another; null where a run has none. */
export const explanation = json("explanation");

/** What is known of units from real clips. */
export const statistics = json("statistics");

/** The address of the small animation of a clip. */
export const clipAddress = (run, name, v) => `./clip?${new URLSearchParams({run, name, v})}`;

/** The small animation of a clip as bytes. */
export const clip = (run, name, v) => queued(async () => (await get("clip", {run, name, v})).arrayBuffer());
