/** What TensorBoard imports into the tab's frame. */

// Nothing is imported here but by render(): where a file of the page is missing, this one can still say so.

const STYLES = ["base.css", "messages.css", "grid.css", "motion.css", "confusions.css", "panels.css", "unit.css"];

/** Loads a style sheet; gives its name where that failed. */
function style(name) {
  const link = document.createElement("link");
  Object.assign(link, {rel: "stylesheet", href: new URL(`./${name}`, import.meta.url).href});
  document.head.append(link);
  return new Promise((done) => Object.assign(link, {onload: () => done(null), onerror: () => done(name)}));
}

/** A message as plain as can be. */
function said(title, text) {
  const main = Object.assign(document.createElement("main"), {className: "message error"});
  main.setAttribute("role", "alert");
  main.append(Object.assign(document.createElement("h1"), {textContent: title}), Object.assign(document.createElement("p"), {textContent: text}));
  return main;
}

/** Called by TensorBoard once; an error that left here would vanish, so it is shown. */
export async function render() {
  document.documentElement.lang = "en";
  document.title ||= "tbvis";
  const styles = Promise.all(STYLES.map(style));
  try {
    const {start} = await import("./app.js");
    start(document.body);
  } catch (error) {
    document.body.replaceChildren(said("The tbvis tab could not be shown",
      `${error?.message ?? error}. If TensorBoard was stopped, start it again and reload this page.`));
    throw error;
  }
  const missing = (await styles).filter(Boolean);
  if (missing.length) document.body.prepend(said("The tbvis tab is without its looks", `Failed to load: ${missing.join(", ")}. Reload this page.`));
}
