// The numbers of the header, the list of runs, the verdict, and the calm notice.

import { h, replace, stage } from "./dom.js";

export function mountScores(element, { get, on }) {
  const { root, stop } = stage(element, "wb-scores");
  function update() {
    const items = (get() || {}).items || [];
    replace(root, ...items.map((item) => h("div", { class: `wb-kpi${item.words ? " wb-kpi-words" : ""}`, title: item.help },
      h("span", {}, item.label),
      h("b", { class: "wb-num" }, item.value, item.delta ? h("i", { class: `wb-${item.tone}` }, item.delta) : null))));
  }
  on(update);
  update();
  return stop;
}

// Two clicks, so that no run goes by a slip.
function removal(model, run, armed, send) {
  const element = h("button", { type: "button", class: "wb-link wb-remove", "aria-label": armed.id === run.id ? null : model.remove, title: model.remove }, armed.id === run.id ? model.sure : "✕");
  element.addEventListener("click", (event) => {
    event.stopPropagation();
    if (armed.id === run.id) { send({ kind: "remove", run: run.id }); return; }
    armed.id = run.id;
    element.textContent = model.sure;
    element.removeAttribute("aria-label");
  });
  element.addEventListener("keydown", (event) => event.stopPropagation());
  return element;
}

// What is said of a run without numbers has the room of all of them; what it was told is in its tip.
function cellsOf(model, run) {
  const last = run.cells.findLastIndex((text) => text !== "");
  if (last < run.cells.length - 1) return [h("td", {}, run.cells[0]), h("td", { class: "wb-num", colspan: run.cells.length - 1 }, run.cells[last])];
  return run.cells.map((text, i) => h("td", { class: model.columns[i].number ? "wb-num wb-right" : "wb-num" }, text));
}

function runRow(model, run, armed, send) {
  const cells = cellsOf(model, run);
  const choose = () => send({ kind: "run", run: run.id });
  return h("tr", {
    tabindex: 0, "data-run": run.id, "aria-selected": run.selected, title: run.tip, onclick: choose,
    onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } },
  }, ...cells, h("td", { class: "wb-right" }, run.removable ? removal(model, run, armed, send) : null));
}

export function mountRuns(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-runs");
  const armed = { id: null };
  function update() {
    const model = get() || {};
    // it is drawn again while a job is at work: what has the focus keeps it
    const held = root.contains(document.activeElement) ? document.activeElement : null;
    const [row, inner] = [held?.closest("tr")?.dataset.run, held?.tagName === "BUTTON"];
    const table = h("table", {},
      h("thead", {}, h("tr", {}, ...(model.columns || []).map((column) => h("th", { class: `${column.number ? "wb-right" : ""}${column.label.length > 12 ? " wb-wrap" : ""}`, title: column.help }, column.label)), h("td"))),
      h("tbody", {}, ...(model.rows || []).map((run) => runRow(model, run, armed, send))));
    replace(root, h("div", { class: "wb-plot-head" }, h("h2", {}, model.title || "Runs"), h("span", { class: "wb-dim" }, model.status || "")),
      (model.rows || []).length ? h("div", { class: "wb-scroll", tabindex: 0, role: "region", "aria-label": "Runs" }, table) : h("p", { class: "wb-empty" }, model.message || ""));
    const again = row == null ? null : [...root.querySelectorAll("tbody tr")].find((each) => each.dataset.run === row);
    (inner ? again?.querySelector("button") : again)?.focus({ preventScroll: true });
  }
  root.addEventListener("focusout", (event) => {
    if (armed.id == null || !event.relatedTarget || event.relatedTarget.closest("tr")?.dataset.run === armed.id) return;
    armed.id = null;
    update();
  });
  on(update);
  update();
  return stop;
}

const MARKS = { good: "✓", warn: "!", bad: "✕", plain: "·" };

export function mountVerdict(element, { get, on }) {
  const { root, stop } = stage(element, "wb-verdict");
  function update() {
    const model = get() || {};
    const lines = (model.lines || []).map((line) => h("li", { class: `wb-line wb-${line.tone}`, title: line.tip },
      h("b", { "aria-hidden": true }, MARKS[line.tone] || "·"), h("span", {}, line.text)));
    replace(root, h("div", { class: "wb-plot-head" }, h("h2", {}, model.title || "Verification"), h("span", { class: "wb-dim" }, model.status || "")),
      lines.length ? h("ul", { class: "wb-scroll", tabindex: 0, "aria-label": "What was verified" }, ...lines) : h("p", { class: "wb-empty" }, model.message || ""));
  }
  on(update);
  update();
  return stop;
}

// A sentence that tells what went wrong and what to do; nothing is drawn when there is none.
export function mountNotice(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-notices");
  function update() {
    const model = get() || {};
    replace(root, model.text ? h("div", { class: `wb-notice wb-${model.tone || "bad"}`, role: model.tone === "bad" ? "alert" : "status" },
      h("span", {}, model.text),
      h("button", { type: "button", class: "wb-link", "aria-label": "Dismiss", onclick: () => { replace(root); send({ kind: "dismiss" }); } }, "✕")) : null);
  }
  on(update);
  update();
  return stop;
}
