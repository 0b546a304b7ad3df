// The layer table: one bar per layer against the theory for its bits; click or arrows select.

import { h, nameElement, replace, stage } from "./dom.js";

function segments(model, state, change) {
  const buttons = model.measures.map((measure) => h("button", {
    type: "button", class: "wb-seg", "aria-pressed": measure.key === state.measure, title: measure.help,
    onclick: () => change(measure.key),
  }, measure.label));
  return h("div", { class: "wb-segments", role: "group", "aria-label": "What the bars show" }, ...buttons);
}

function barOf(cell) {
  const bar = h("span", { class: "wb-bar" });
  if (!cell) return bar;
  const fillBar = h("i");
  fillBar.style.width = `${(cell.fraction * 100).toFixed(2)}%`;
  fillBar.style.setProperty("--heat", `${Math.round(cell.heat * 100)}%`);
  bar.append(fillBar);
  if (cell.reference != null) {
    const mark = h("b");
    mark.style.left = `${(cell.reference * 100).toFixed(2)}%`;
    bar.append(mark);
  }
  return bar;
}

function rowOf(row, state, choose) {
  const cell = row.cells[state.measure];
  const chosen = row.name === state.selected;
  return h("div", {
    class: "wb-row", role: "option", id: row.id, "data-name": row.name, "aria-selected": chosen,
    "aria-label": `${row.name}, ${row.op}, ${row.bits_long}, ${cell ? cell.spoken : "not quantized"}`,
    title: row.tip, onclick: () => choose(row.name),
  },
  h("span", { class: "wb-cell-name" }, nameElement(row.name), row.tag ? h("small", {}, row.tag) : null),
  h("span", { class: "wb-num wb-dim wb-bits" }, row.bits),
  barOf(cell),
  h("span", { class: "wb-num wb-right" }, cell ? cell.text : "–"));
}

function headOf(model, state) {
  const measure = model.measures.find((item) => item.key === state.measure);
  return h("div", { class: "wb-row wb-head", "aria-hidden": true },
    h("span", {}, "layer"), h("span", { class: "wb-bits", title: "bits of weights · activations" }, "bits"),
    h("span", {}, measure.bar), h("span", { class: "wb-right" }, measure.unit));
}

export function mountLayers(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-layers");
  const state = { measure: null, selected: null };
  const list = h("div", { class: "wb-list", role: "listbox", tabindex: 0, "aria-label": "Layers, worst first" });

  const order = () => get().order[state.measure];
  function choose(name) {
    if (name === state.selected) return;
    state.selected = name;
    mark();
    send({ kind: "layer", layer: name });
  }
  function key(event) {
    const names = order();
    const at = names.indexOf(state.selected);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(names[Math.min(names.length - 1, Math.max(0, to))]);
    list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }
  list.addEventListener("keydown", key);

  function mark() {
    for (const row of list.children) row.setAttribute("aria-selected", row.dataset.name === state.selected);
    const current = list.querySelector("[aria-selected=true]");
    if (current) list.setAttribute("aria-activedescendant", current.id);
  }
  function draw(keepFocus) {
    const model = get();
    if (!model || !model.rows) { replace(root, h("p", { class: "wb-empty" }, model?.message || "")); return; }
    const rows = new Map(model.rows.map((row) => [row.name, row]));
    const top = list.scrollTop;
    const focused = keepFocus && document.activeElement === list;
    replace(list, ...order().map((name) => rowOf(rows.get(name), state, choose)));
    mark();
    replace(root, segments(model, state, (measure) => { state.measure = measure; draw(); }),
      headOf(model, state), list, h("p", { class: "wb-foot" }, model.feet[state.measure]));
    list.scrollTop = top;
    if (focused) list.focus();
  }
  function update() {
    const model = get();
    if (model?.rows) {
      if (!model.measures.some((item) => item.key === state.measure)) state.measure = model.measure;
      state.selected = model.selected;
    }
    draw(true);
  }
  on(update);
  update();
  return stop;
}
