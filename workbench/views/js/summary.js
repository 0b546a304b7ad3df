// The numbers of the header, the list of runs, the verdict, and the calm notice.

import { h, replace, stage } from "./dom.js";

export function mountScores(element, { get, on }) {
  const { root, stop } = stage(element, "wb-scores");
  function update() {
    const items = (get() || {}).items || [];
    replace(root, ...items.map((item) => h("div", { class: "wb-kpi", title: item.help },
      h("span", {}, item.label),
      h("b", { class: "wb-num" }, item.value, item.delta ? h("i", { class: `wb-${item.tone}` }, item.delta) : null))));
  }
  on(update);
  update();
  return stop;
}

function runRow(model, run, send) {
  const cells = run.cells.map((text, i) => h("td", { class: model.columns[i].number ? "wb-num wb-right" : "" }, text));
  const choose = () => send({ kind: "run", run: run.id });
  return h("tr", {
    tabindex: 0, "aria-selected": run.selected, title: run.tip, onclick: choose,
    onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } },
  }, ...cells);
}

export function mountRuns(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-runs");
  function update() {
    const model = get() || {};
    const table = h("table", {},
      h("thead", {}, h("tr", {}, ...(model.columns || []).map((column) => h("th", { class: column.number ? "wb-right" : "", title: column.help }, column.label)))),
      h("tbody", {}, ...(model.rows || []).map((run) => runRow(model, run, send))));
    replace(root, h("div", { class: "wb-plot-head" }, h("h2", {}, model.title || "Runs"), h("span", { class: "wb-dim" }, model.status || "")),
      (model.rows || []).length ? h("div", { class: "wb-scroll" }, table) : h("p", { class: "wb-empty" }, model.message || ""));
  }
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
      lines.length ? h("ul", { class: "wb-scroll" }, ...lines) : h("p", { class: "wb-empty" }, model.message || ""));
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
