/** How stimuli were made: all settings in a table, and the flags that make each again. */

import {h, number, percent} from "./dom.js";
import {variantTitle} from "./model.js";

const IDENTITY = ["kappa", "chi", "isotropic", "seed"];

function flat(config, prefix = "") {
  return Object.entries(config ?? {}).flatMap(([key, value]) =>
    value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${prefix}${key}.`) : [[prefix + key, JSON.stringify(value)]]);
}

/** All that a stimulus was made with; the flagfile has its own place. */
function settingsOf(item, meta) {
  const {flagfile, ...config} = meta.config;
  return new Map([...IDENTITY.map((name) => [name, JSON.stringify(item[name])]), ...flat(config)]);
}

/**
 * One table of settings: a single column where all stimuli agree, else one a stimulus.
 * @param {object[]} items the stimuli, as listed. @param {object[]} metas what is known of each.
 * @returns {HTMLElement[]}
 */
export function settings(items, metas) {
  const tables = metas.map((meta, i) => settingsOf(items[i], meta));
  const keys = [...new Set(tables.flatMap((table) => [...table.keys()]))];
  const rows = keys.map((key) => {
    const values = tables.map((table) => table.get(key) ?? "–");
    const same = values.every((value) => value === values[0]);
    const cells = same ? [h("td", {colSpan: items.length}, values[0])] : values.map((value) => h("td", {}, value));
    return h("tr", {}, h("th", {scope: "row"}, key), ...cells);
  });
  const head = h("tr", {}, h("th", {scope: "col"}, "setting"), ...items.map((item) => h("th", {scope: "col"}, item.variant)));
  const activation = (meta) => h("td", {}, `${number(meta.activation)}${meta.a_hat ? ` (${percent(meta.activation / meta.a_hat, 0)} of â)` : ""}`);
  const results = h("tr", {}, h("th", {scope: "row"}, "activation"), ...metas.map(activation));
  return [h("details", {}, h("summary", {}, "How it was made: all settings"),
    flags(items, metas),
    h("div.scroll", {tabIndex: 0, role: "region", "aria-label": "Settings"},
      h("table.config", {}, h("thead", {}, head), h("tbody", {}, results, ...rows))))];
}

/** A button for each stimulus that copies its flags; they are shown, too, for a page that may not write to the clipboard. */
function flags(items, metas) {
  const kept = items.map((item, i) => [item, metas[i].config.flagfile]).filter(([, text]) => text);
  if (!kept.length) {
    return h("p.quiet", {}, "The flags that make them again were not kept: an earlier version wrote this run. tbvis-maximize keeps checkpoint, version and flags now.");
  }
  const shown = h("textarea.flagfile", {readOnly: true, hidden: true, rows: 12, spellcheck: false, "aria-label": "Flags"});
  const said = h("output", {});
  const copy = async (item, text) => {
    Object.assign(shown, {hidden: false, value: text});
    shown.select();
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = `Copied ${item.variant}: save it, and run tbvis-maximize --flagfile=FILE --logdir=LOGDIR.`;
    } catch {
      said.textContent = "This page may not write to the clipboard: the text below is selected, to be copied by hand.";
    }
  };
  const buttons = kept.map(([item, text]) =>
    h("button.plain", {type: "button", onclick: () => copy(item, text)}, variantTitle(item).filter(Boolean).join(", ")));
  return h("div.flags", {role: "group", "aria-label": "Copy the flags"}, h("span", {}, "Copy the flags that make it again:"), ...buttons, said, shown);
}
