/** Requests to the plugin's routes. Addresses are relative: they hold under any path prefix. */

const CONCURRENT = 6;
const CELLS_KEPT = 400;

let running = 0;
const waiting = [];
const cells = new Map();

/** Thrown where what was asked for is not wanted any more when its turn comes. */
export class Dropped extends Error {}

async function queued(task, wanted = () => true) {
  // Last asked, first served: what the user looks at now comes before what was scrolled past.
  if (running >= CONCURRENT) await new Promise((resolve) => waiting.push(resolve));
  running += 1;
  try {
    if (!wanted()) throw new Dropped("not wanted any more");
    return await task();
  } finally {
    running -= 1;
    waiting.pop()?.();
  }
}

async function get(route, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  let response;
  try {
    response = await fetch(query ? `./${route}?${query}` : `./${route}`);
  } catch {
    // What a browser says of it is for its makers.
    throw new Error("TensorBoard does not answer.");
  }
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

/** Small pictures of a stimulus: {meta, appearance: Blob|null, flow: Blob|null}; Dropped where `wanted` says no in time. */
export function cell(run, stimulus, wanted) {
  const key = `${run}\n${stimulus.tag}\n${stimulus.v}`;
  let promise = cells.get(key);
  if (!promise) {
    promise = queued(async () => unpack(await (await get("cell", {run, tag: stimulus.tag, v: stimulus.v})).arrayBuffer()), wanted);
    promise.catch(() => cells.delete(key));
  }
  cells.delete(key);
  cells.set(key, promise);
  if (cells.size > CELLS_KEPT) cells.delete(cells.keys().next().value);
  return promise;
}

function unpack(buffer) {
  let at = 4;
  let head = null;
  try {
    at += new DataView(buffer).getUint32(0, true);
    head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, at - 4)));
  } catch {
    throw new Error("Expected pictures from cell, received something else.");
  }
  const [appearance, flow] = head.lengths.map((size) => {
    const blob = size ? new Blob([new Uint8Array(buffer, at, size)], {type: "image/webp"}) : null;
    at += size;
    return blob;
  });
  return {meta: head.meta, appearance, flow};
}

/** A full-size file of a stimulus as a Blob. */
export const media = (run, stimulus, name) =>
  queued(async () => (await get("media", {run, tag: stimulus.tag, v: stimulus.v, name})).blob());

/** The address of a full-size file, for a download link. */
export const mediaAddress = (run, stimulus, name) =>
  `./media?${new URLSearchParams({run, tag: stimulus.tag, v: stimulus.v, name})}`;

const json = (route) => async (parameters) => {
  const response = await get(route, parameters);
  try {
    return await response.json();
  } catch {
    throw new Error(`Expected JSON from ${route}, received something else.`);
  }
};

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

/** What the units of a run can be ordered by: {activations: by tag, units: by name, error}. */
export const measures = json("measures");

/** The small animation of a clip as bytes. */
export const clip = (run, name, v) => queued(async () => (await get("clip", {run, name, v})).arrayBuffer());
