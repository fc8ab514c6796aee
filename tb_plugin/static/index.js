/** What TensorBoard imports into the tab's frame. */

import {failed} from "./messages.js";

/** Called by TensorBoard once; an error that left here would vanish, so it is shown. */
export async function render() {
  document.documentElement.lang = "en";
  for (const name of ["base.css", "grid.css", "motion.css", "confusions.css", "panels.css", "unit.css"]) {
    const link = document.createElement("link");
    Object.assign(link, {rel: "stylesheet", href: new URL(`./${name}`, import.meta.url).href});
    document.head.append(link);
  }
  document.title ||= "tbvis";
  try {
    const {start} = await import("./app.js");
    start(document.body);
  } catch (error) {
    document.body.replaceChildren(failed(error));
    throw error;
  }
}
