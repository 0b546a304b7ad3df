// What each layer is asked for: bits, rounding, range; and what its output loses by it. Every control
// sends one change; the numbers come back.

import { h, nameElement, replace, stage } from "./dom.js";

function tuneSelect(row, key, values, send, words = String) {
  return h("select", {
    class: "wb-select", "aria-label": `${key} of ${row.layer}`, "data-key": key,
    onchange: (event) => send({ kind: "tune", layer: row.layer, key, value: values[event.target.selectedIndex] }),
  }, ...values.map((value) => h("option", { selected: value === row[key] }, words(value))));
}

function tunedRow(row, model, send) {
  const { bits, method, calibrator } = model.choices;
  const choose = (event) => { if (!event.target.closest("select, button") && row.layer !== model.selected) send({ kind: "layer", layer: row.layer }); };
  return h("div", { class: "wb-tune-row", role: "row", "data-name": row.layer, "aria-selected": row.layer === model.selected, title: row.tip, onclick: choose },
    h("button", { type: "button", class: "wb-tune-name", "aria-pressed": row.layer === model.selected, onclick: () => send({ kind: "layer", layer: row.layer }) }, nameElement(row.layer)),
    tuneSelect(row, "bits", bits, send), tuneSelect(row, "method", method, send, (value) => value || "as the recipe"),
    row.ranged ? tuneSelect(row, "calibrator", calibrator, send) : h("span", { class: "wb-dim wb-tune-own" }, "its own"),
    h("span", { class: "wb-num wb-right" }, row.share < 1 ? `${Math.round(100 * row.share)} %` : ""),
    h("span", { class: "wb-num wb-right" }, row.sqnr), h("span", { class: `wb-num wb-right wb-${row.tone}` }, row.gain),
    row.tuned ? h("button", { type: "button", class: "wb-tune-undo", title: "As the recipe has it", "aria-label": `Leave ${row.layer} to the recipe`, onclick: () => send({ kind: "untune", layer: row.layer }) }, "↺") : h("span"));
}

const TUNE_HEADS = [["layer", ""], ["bits", ""], ["rounding", ""], ["range", "How far the grid reaches, for nearest rounding"], ["kept", "Part of the range that is kept: drag the grid's end in the histogram"],
  ["dB", "SQNR of the layer's output, its input being float"], ["±", "Against the layer as the recipe has it"], ["", ""]];

export function mountTune(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-tune");
  const list = h("div", { class: "wb-list", role: "table", "aria-label": "Layers and what is asked of them", tabindex: 0 });
  const heads = h("div", { class: "wb-tune-row wb-head", role: "row" }, ...TUNE_HEADS.map(([label, tip], i) => h("span", { role: "columnheader", title: tip, class: i > 3 ? "wb-right" : "" }, label)));
  const head = h("header", { class: "wb-tune-head" });
  const drawnFrom = new WeakMap(); // a row's element, and what it shows; not where a hand has changed it
  list.addEventListener("change", (event) => drawnFrom.delete(event.target.closest(".wb-tune-row")));

  // Only what differs is drawn again: a row has four lists of choices.
  function place(model, row, k) {
    const there = list.children[k];
    const text = JSON.stringify([row, row.layer === model.selected, model.choices]);
    if (there && drawnFrom.get(there) === text) return;
    const key = there?.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const made = tunedRow(row, model, send);
    drawnFrom.set(made, text);
    if (!there) { list.append(made); return; }
    there.replaceWith(made);
    if (key !== null) made.querySelector(key ? `[data-key=${key}]` : "button")?.focus();
  }
  function draw() {
    const model = get();
    if (!model?.rows) { replace(root, h("p", { class: "wb-empty" }, model?.message || "")); return; }
    model.rows.forEach((row, k) => place(model, row, k));
    while (list.children.length > model.rows.length) list.lastChild.remove();
    replace(head, h("p", { class: "wb-sentence" }, model.sentence),
      model.changed ? h("button", { type: "button", class: "wb-button", onclick: () => send({ kind: "untune", layer: "" }) }, "Undo all") : null);
    if (list.parentNode !== root) replace(root, head, heads, list);
  }
  on(draw);
  draw();
  return stop;
}
