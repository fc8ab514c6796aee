/** Small helpers to build elements; text is always text, never markup. */

/**
 * Makes an element: h("button.primary", {onclick, title}, "Play").
 * Properties that the element has are set; others become attributes; null and false are left out.
 */
export function h(selector, properties = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Makes an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Makes a <select> of [value, text] pairs. */
export function select(options, value, onchange, properties = {}) {
  const element = h("select", {onchange: () => onchange(element.value), ...properties});
  for (const [key, text] of options) element.append(h("option", {value: key}, text));
  element.value = value;
  return element;
}

/** Makes a row of buttons of which one is pressed: a choice seen at once. */
export function segmented(options, value, onchange, label) {
  const buttons = options.map(([key, ...text]) =>
    h("button.segment", {type: "button", "aria-pressed": String(key === value), onclick: () => onchange(key), "data-value": key}, ...text));
  return h("div.segmented", {role: "group", "aria-label": label}, ...buttons);
}

const OPERABLE = "button, input, select, textarea, summary, a[href], [tabindex]";

/** Makes the parts of `root` anew by `act`; the keyboard stays at the same place of it, or at its heading where that is gone. */
export function keepingFocus(root, act) {
  const parts = () => [...root.querySelectorAll(OPERABLE)];
  const at = parts().indexOf(document.activeElement);
  act();
  if (at < 0 || root.contains(document.activeElement)) return;
  const after = parts()[at];
  (after && !after.disabled ? after : root.querySelector("h2"))?.focus();
}

/** 0.8333 -> "83.3 %". */
export const percent = (fraction, digits = 1) => `${(100 * fraction).toFixed(digits)} %`;

/** 12.3456 -> "12.3"; null -> "–". */
export const number = (value, digits = 3) =>
  value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
