/** Follows TensorBoard's own dark mode, which is a class on its page's body. */

/** Keeps <html data-theme> right; calls `changed` after every change. */
export function followTheme(changed) {
  const root = document.documentElement;
  const apply = (dark) => {
    const theme = dark ? "dark" : "light";
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    changed();
  };
  try {
    const body = window.parent.document.body;
    if (window.parent === window) throw new Error("not embedded");
    const read = () => apply(body.classList.contains("dark-mode"));
    new MutationObserver(read).observe(body, {attributes: true, attributeFilter: ["class"]});
    read();
  } catch {
    const query = matchMedia("(prefers-color-scheme: dark)");
    query.addEventListener("change", () => apply(query.matches));
    apply(query.matches);
  }
}
