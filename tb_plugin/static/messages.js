/** What is said where there is nothing to show: what was looked for, and what was found instead. */

import {h} from "./dom.js";

function listed(names, total) {
  const more = total - names.length;
  return h("ul.listed", {tabIndex: 0}, ...names.map((name) => h("li", {}, h("code", {}, name))), more > 0 && h("li", {}, `… and ${more} more`));
}

/** Names records that were left out, and why; null where there are none. */
export function damaged({damaged: records, damaged_count: count}) {
  if (!count) return null;
  const rows = records.map(({run, tag, why}) => h("li", {}, h("code", {}, run), " ", h("code", {}, tag), `: ${why}`));
  const more = count - records.length;
  return h("details.damaged", {}, h("summary", {}, `${count} ${count === 1 ? "record" : "records"} of this logdir could not be read`),
    h("ul.listed", {tabIndex: 0}, ...rows, more > 0 && h("li", {}, `… and ${more} more`)));
}

/** For a logdir without data of ours. */
export function empty(contents) {
  const {logdir, seen} = contents;
  const where = logdir ? h("code", {}, logdir) : "the logdir";
  const found = [];
  if (!seen.logdir_exists) found.push(h("p", {}, "There is no such folder. Check the path given to ", h("code", {}, "--logdir"), "."));
  else if (!seen.run_count) found.push(h("p", {}, "There are no runs at all in it (no event files)."));
  else {
    const [runs, tags] = [seen.run_count, seen.tag_count];
    found.push(h("p", {}, `Found instead: ${runs} ${runs === 1 ? "run" : "runs"} without them,`), listed(seen.runs, runs));
    found.push(h("p", {}, tags ? `with ${tags} scalar and image ${tags === 1 ? "tag" : "tags"}:` : "with no scalar or image tags."));
    if (tags) found.push(listed(seen.tags, tags));
  }
  return h("main.message.empty", {}, h("h1", {}, "No stimuli and no confusions here"),
    h("p", {}, "Looked in ", where, " for tags ", h("code", {}, "tbvis/stimulus/…"), " (written by tbvis-maximize) and ",
      h("code", {}, "tbvis/confusions"), " (written by tbvis-evaluate)."),
    ...found, damaged(contents),
    h("p.quiet", {}, "This page looks again every few seconds: leave it open while a sweep runs."));
}

const words = (error) => h("code", {}, String(error?.message ?? error));

/** For a server that does not answer, or a page that broke. */
export function failed(error) {
  return h("main.message.error", {}, h("h1", {}, "The tbvis tab could not be shown"),
    h("div", {role: "alert"}, h("p", {}, words(error)),
      h("p.quiet", {}, "If TensorBoard was stopped, start it again: this page asks for it every few seconds.")));
}

/** For a page that is there, where something went wrong later. */
export function trouble(text, error) {
  return h("p.trouble", {role: "alert"}, text, " ", words(error));
}
