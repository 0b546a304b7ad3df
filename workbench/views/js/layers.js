// The layers as a table or as a graph, in step. The table: one bar per layer against the theory for its bits; click or arrows select, heads sort.

import { h, nameElement, replace, stage } from "./dom.js";
import { graphView } from "./graph.js";
import { button, progressOf } from "./study.js";

// What both are coloured by, and which of the two is shown.
function layersBar(model, state, change, showAs) {
  const choices = h("select", { class: "wb-select wb-measures", "aria-label": "Coloured by", onchange: (event) => change(event.target.value) },
    ...model.measures.map((measure) => h("option", { value: measure.key, title: measure.help, selected: measure.key === state.measure }, measure.label)));
  const form = (key, label) => h("button", {
    type: "button", class: "wb-seg", "aria-pressed": state.form === key, "data-form": key, onclick: () => showAs(key),
  }, label);
  return h("div", { class: "wb-layers-bar" }, h("label", { class: "wb-dim" }, h("span", {}, "by"), choices),
    model.forms ? h("div", { class: "wb-segments", role: "group", "aria-label": "Show the network as" }, form("table", "table"), form("graph", "graph")) : null);
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

// The heads of the columns sort: by place in the network, by bits, by the measure.
function headOf(model, state, sort) {
  const measure = model.measures.find((item) => item.key === state.measure);
  const head = (key, label, className, help) => {
    const chosen = state.sort === key;
    const way = chosen ? (state.reverse ? " ▴" : " ▾") : "";
    return h("button", {
      type: "button", class: `wb-sort ${className}`, "aria-pressed": chosen, "aria-label": help, title: help, "data-sort": key, onclick: () => sort(key),
    }, label, h("span", { "aria-hidden": true }, way));
  };
  return h("div", { class: "wb-row wb-head", role: "group", "aria-label": "Sort by" },
    head("network", "layer", "", "In the order of the network"),
    head("bits", "bits", "wb-bits", "Bits of weights · activations; sort by those of the weights"),
    h("span", { "aria-hidden": true }, measure.bar), head("measure", measure.unit, "wb-right", `By ${measure.label}, worst first`));
}

const PATIENCE = 5000; // milliseconds

export function mountLayers(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-layers");
  const state = { measure: null, selected: null, sort: "measure", reverse: false, form: "table" };
  const list = h("div", { class: "wb-list", role: "listbox", tabindex: 0, "aria-label": "Layers" });
  const graph = graphView(send, choose);

  // Each message says all: of several that wait for the server only the last one is sent.
  function tell(kind) {
    const { selected, measure, form } = state;
    state.own = { selected, form, until: Date.now() + PATIENCE };
    send({ kind, layer: selected, measure, ...(get().forms ? { form } : {}) });
  }
  // An answer to an earlier click does not undo a later one that is still on its way.
  function agreed(model) {
    const { own } = state;
    const same = !own || (own.selected === model.selected && (!model.forms || own.form === model.forms.form));
    if (same || Date.now() > own.until) state.own = null;
    return !state.own;
  }
  function order() {
    const model = get();
    const names = { network: model.network, bits: model.order.bits }[state.sort] || model.order[state.measure];
    return state.reverse ? [...names].reverse() : names;
  }
  function sort(key) {
    state.reverse = state.sort === key && !state.reverse;
    state.sort = key;
    draw();
    root.querySelector(`[data-sort=${key}]`)?.focus();
  }
  function measureBy(measure) {
    Object.assign(state, { measure, sort: "measure", reverse: false });
    draw();
    root.querySelector(".wb-measures")?.focus();
    tell("measure");
  }
  function showAs(form) {
    state.form = form;
    draw();
    root.querySelector(`[data-form=${form}]`)?.focus();
    tell("form");
  }
  function choose(name) {
    state.selected = name;
    mark();
    tell("layer");
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
    if (state.form === "graph" && graph.plot.isConnected) graph.mark(state.selected);
  }
  // A layer that was chosen elsewhere comes into sight; the page around the table stays where it is.
  function reveal() {
    const [row, box] = [list.querySelector("[aria-selected=true]"), list].map((each) => each?.getBoundingClientRect());
    if (row && row.top < box.top) list.scrollTop += row.top - box.top;
    else if (row && row.bottom > box.bottom) list.scrollTop += row.bottom - box.bottom;
  }
  function below(model, guessed) {
    return [model.progress ? progressOf(model.progress) : null,
      h("div", { class: "wb-foot" }, h("p", {}, model.feet[state.measure]), guessed && model.action ? button(model.action, send) : null)];
  }
  // The drawing stays in the page while what is around it is drawn again: it keeps its place and focus.
  function drawGraph(model) {
    const parts = [layersBar(model, state, measureBy, showAs), ...below(model, model.estimated.includes(state.measure))];
    const middle = model.graph ? graph.plot : h("p", { class: "wb-empty" }, model.forms?.message || "");
    if (!middle.isConnected) replace(root, middle);
    for (const child of [...root.children]) if (child !== middle) child.remove();
    middle.before(parts[0]);
    middle.after(...parts.slice(1).filter((part) => part != null));
    if (model.graph) graph.draw(model, state);
  }
  function draw(keepFocus) {
    const model = get();
    if (!model || !model.rows) { replace(root, h("p", { class: "wb-empty" }, model?.message || "")); return; }
    if (state.form === "graph") { drawGraph(model); return; }
    const guessed = model.estimated.includes(state.measure);
    const rows = new Map(model.rows.map((row) => [row.name, row]));
    const top = list.scrollTop;
    const focused = keepFocus && document.activeElement === list;
    replace(list, ...order().map((name) => rowOf(rows.get(name), state, choose)));
    mark();
    replace(root, layersBar(model, state, measureBy, showAs), headOf(model, state, sort), list, ...below(model, guessed));
    list.scrollTop = top;
    if (focused) list.focus();
  }
  function update() {
    const model = get();
    if (model?.rows) {
      const asked = model.measure !== state.asked;
      if (asked || !model.measures.some((item) => item.key === state.measure)) state.measure = model.measure;
      state.asked = model.measure;
      if (!model.forms) state.form = "table";
      if (agreed(model)) Object.assign(state, { selected: model.selected, form: model.forms?.form || "table" });
    }
    const text = JSON.stringify([{ ...model, selected: null }, state.measure, state.form]);
    if (text === state.drawn && state.form === "table") mark();
    else draw(true);
    state.drawn = text;
    if (state.selected !== state.revealed) reveal();
    state.revealed = state.selected;
  }
  on(update);
  update();
  return () => { graph.stop(); stop(); };
}
