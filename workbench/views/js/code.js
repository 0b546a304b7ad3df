// The same recipe as a command, as Python and as TOML, in a dialog.

import { h, replace, stage } from "./dom.js";

export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

export function mountCode(element, { get, on }) {
  const { root, stop } = stage(element, "wb-code");
  const state = { tab: 0 };
  const dialog = h("dialog", { class: "wb-dialog", "aria-label": "Show code" });
  root.append(dialog);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  function draw() {
    const tabs = get()?.tabs || [];
    const current = tabs[state.tab];
    if (!current) return;
    const button = h("button", { type: "button", class: "wb-button", onclick: () => copy(current.text, button) }, "Copy");
    replace(dialog,
      h("header", {},
        h("div", { class: "wb-segments", role: "group", "aria-label": "Language" }, ...tabs.map((tab, i) => h("button", {
          type: "button", class: "wb-seg", "aria-pressed": i === state.tab, onclick: () => { state.tab = i; draw(); },
        }, tab.label))),
        button, h("button", { type: "button", class: "wb-button", onclick: () => dialog.close() }, "Close")),
      h("p", { class: "wb-dim" }, current.note), h("pre", { tabindex: 0 }, current.text));
  }
  let shown = get()?.asked;
  on(() => {
    draw();
    const asked = get()?.asked;
    if (asked && asked !== shown && !dialog.open) dialog.showModal();
    shown = asked;
  });
  return stop;
}
