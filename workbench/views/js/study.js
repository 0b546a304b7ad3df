// A view of parts: these at the left; at the right what was found, as sentences, charts and tables.

import { chartOf } from "./charts.js";
import { focusKeeper, h, nameElement, replace, stage } from "./dom.js";

function navigation(model, send) {
  const entries = model.parts.map((part) => h("button", {
    type: "button", class: "wb-part", role: "tab", "aria-selected": part.key === model.chosen, "data-key": part.key,
    disabled: model.waiting, onclick: () => part.key !== model.chosen && send({ kind: "part", part: part.key }),
  }, h("b", {}, part.title), h("span", {}, part.status)));
  return h("div", { class: "wb-parts", role: "tablist", "aria-label": "Parts" }, ...entries);
}

export function button(action, send) {
  return h("button", {
    type: "button", class: `wb-button${action.primary ? " wb-primary" : ""}`, title: action.help,
    onclick: (event) => { event.currentTarget.disabled = true; send(action.send); },
  }, action.label);
}

function barsOf(cell) {
  const tracks = cell.bars.map((bar) => {
    const length = h("i", { class: `wb-tone-${bar.tone}` });
    length.style.width = `${(bar.fraction * 100).toFixed(2)}%`;
    return h("span", { class: "wb-track" }, length);
  });
  return h("div", { class: "wb-measure" }, h("span", { class: "wb-tracks" }, ...tracks), h("span", { class: "wb-num" }, cell.text));
}

const CELLS = { number: "wb-num wb-right", action: "wb-right wb-dim", note: "wb-wrap" };

function cellOf(cell, column, row, send) {
  if (cell == null) return h("td");
  if (cell.send) return h("td", { class: "wb-right" }, button(cell, send));
  if (cell.bars) return h("td", {}, barsOf(cell));
  if (cell.picture != null) return h("td", { class: "wb-pictured" }, cell.picture ? h("img", { src: cell.picture, alt: cell.text }) : cell.text);
  if (cell.mark) return h("td", { class: `wb-mark wb-mark-${cell.mark}` }, cell.text);
  if (column.kind === "name") return h("td", { class: "wb-cell" }, nameElement(cell));
  return h("td", { class: CELLS[column.kind] || "", title: row.tip }, cell);
}

function entryOf(row, table, send) {
  return h("tr", { class: `wb-${row.tone}-row` }, ...row.cells.map((cell, i) => cellOf(cell, table.columns[i], row, send)));
}

function heading(column) {
  const right = column.kind === "number" || column.kind === "action";
  return h("th", { scope: "col", class: right ? "wb-right" : "", title: column.help || null }, column.label, column.unit ? h("small", {}, ` ${column.unit}`) : null);
}

// One cell over each run of columns with the same group; nothing where no column has one.
function groupsOf(columns) {
  if (!columns.some((column) => column.group)) return null;
  const runs = [];
  for (const { group } of columns) {
    const last = runs.at(-1);
    if (last && last.group === group) last.span += 1;
    else runs.push({ group, span: 1 });
  }
  return h("tr", {}, ...runs.map((run) => h("th", { scope: "colgroup", colspan: run.span, class: run.group ? "wb-group" : "" }, run.group)));
}

function filterButtons(table, tag, choose) {
  if (!table.filters.length) return null;
  return h("div", { class: "wb-segments", role: "group", "aria-label": "Rows to show" }, ...table.filters.map((filter) => h("button", {
    type: "button", class: "wb-seg", "aria-pressed": filter.tag === tag, onclick: () => choose(filter.tag),
  }, filter.label)));
}

function tableOf(table, tags, draw, send) {
  const key = `${table.title}|${table.columns.map((column) => column.label).join("|")}`;
  const tag = tags.get(key) || "";
  const rows = table.rows.filter((row) => !tag || row.tags.includes(tag));
  const head = table.title || table.filters.length
    ? h("div", { class: "wb-table-head" }, h("h3", {}, table.title), filterButtons(table, tag, (chosen) => { tags.set(key, chosen); draw(); }))
    : null;
  const body = rows.length ? rows.map((row) => entryOf(row, table, send)) : [h("tr", {}, h("td", { colspan: table.columns.length, class: "wb-dim" }, "none"))];
  return h("section", { class: "wb-study-table" }, head,
    h("table", {}, h("thead", {}, groupsOf(table.columns), h("tr", {}, ...table.columns.map(heading))), h("tbody", {}, ...body)));
}

// What is being done and how far it is; without a fraction nobody knows how long it will take.
export function progressOf(progress) {
  const bar = h("i");
  const known = progress.fraction != null;
  if (known) bar.style.width = `${(progress.fraction * 100).toFixed(1)}%`;
  return h("div", { class: "wb-waiting", role: "status" }, h("span", {}, progress.text), h("div", { class: `wb-progress${known ? "" : " wb-unknown"}` }, bar));
}

const SIGNS = { good: "✓", warn: "!", bad: "✕" };

function findings(body) {
  const mark = SIGNS[body.tone] ? h("b", { class: `wb-${body.tone}`, "aria-hidden": true }, `${SIGNS[body.tone]} `) : null;
  return h("div", { class: "wb-found" },
    body.sentence ? h("p", { class: "wb-sentence" }, mark, body.sentence) : null,
    ...body.notes.map((note) => h("p", { class: "wb-dim" }, note)));
}

function choicesOf(body, send) {
  if (!body.choices.length) return null;
  return h("div", { class: "wb-choices", role: "group", "aria-label": "What is compared" }, ...body.choices.map((one) => h("button", {
    type: "button", class: "wb-choice-chip", "aria-pressed": one.chosen, title: one.help, onclick: () => send(one.send),
  }, h("i", { class: one.chosen ? `wb-run-${one.series % 8}` : "", "aria-hidden": true }), one.label)));
}

export function mountStudy(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-study");
  const tags = new Map();
  const list = h("div", { class: "wb-scroll wb-study-body", tabindex: 0, role: "tabpanel" });
  let shown = "";
  const ends = [];
  const keeping = focusKeeper(root, list);
  const draw = () => keeping(redraw);
  function redraw() {
    const model = get();
    ends.splice(0).forEach((end) => end());
    if (!model?.parts) { replace(root); return; }
    const { body } = model;
    const top = model.chosen === shown ? list.scrollTop : 0;
    shown = model.chosen;
    const actions = body.actions.length ? h("div", { class: "wb-study-actions" }, ...body.actions.map((action) => button(action, send))) : null;
    const bare = body.message && !body.sentence; // what can be done stands below why there is nothing yet
    replace(list, body.message ? h("div", { class: "wb-nothing" }, h("p", { class: "wb-empty" }, body.message), bare ? actions : null) : null,
      ...(body.charts.length ? [h("div", { class: "wb-charts" }, ...body.charts.map((chart) => chartOf(chart, send, ends)))] : []),
      ...body.tables.map((table) => tableOf(table, tags, draw, send)));
    root.classList.toggle("wb-alone", model.parts.length < 2);
    replace(root, model.parts.length > 1 ? navigation(model, send) : null, h("div", { class: "wb-study-part" },
      h("header", {}, findings(body), bare ? null : actions), choicesOf(body, send), body.progress ? progressOf(body.progress) : null, list));
    list.scrollTop = top;
  }
  on(draw);
  draw();
  return () => { ends.splice(0).forEach((end) => end()); stop(); };
}

// One line below a field: what the choice means, or why it cannot be.
export function mountHint(element, { get, on }) {
  const { root, stop } = stage(element, "wb-hint");
  function update() {
    const model = get() || {};
    replace(root, model.text ? h("p", { class: model.tone === "bad" ? "wb-bad" : "wb-dim", role: model.tone === "bad" ? "alert" : null }, model.text) : null);
  }
  on(update);
  update();
  return stop;
}
