// The survey's two maps: stages × signals with what fills each cell, and the adviser with its guide.

import { copy } from "./code.js";
import { h, replace, stage } from "./dom.js";

const CELL_STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

// The matrix: a button for each cell, shaded by how much is in it; arrows move between cells.
function matrixOf(model, send) {
  const most = Math.max(1, ...Object.values(model.cells).map((cell) => cell.count));
  const head = h("tr", {}, h("td"), ...model.signals.map((signal) => h("th", { scope: "col", title: signal.help }, h("span", {}, signal.label))));
  const cellOf = (row, signal) => {
    const key = `${row.key}/${signal.key}`;
    const cell = model.cells[key];
    const words = cell ? (cell.count ? String(cell.count) : "·") : "";
    const chosen = key === model.cell.key;
    const box = h("button", {
      type: "button", class: `wb-survey-cell${cell ? (cell.count ? "" : " wb-survey-read") : " wb-survey-none"}`, "data-cell": key, "aria-pressed": chosen, tabindex: chosen ? 0 : -1,
      title: cell ? cell.tip : "nothing, here or in the literature", "aria-label": `${row.label}, ${signal.label}: ${cell ? `${cell.count} here` : "empty"}`, onclick: () => send({ kind: "cell", cell: key }),
    }, words);
    if (cell?.count) box.style.setProperty("--heat", `${Math.round(100 * Math.sqrt(cell.count / most))}%`);
    return h("td", {}, box);
  };
  const rows = model.stages.map((row) => h("tr", {}, h("th", { scope: "row", title: row.help }, row.label), ...model.signals.map((signal) => cellOf(row, signal))));
  const table = h("table", { class: "wb-survey-matrix" }, h("thead", {}, head), h("tbody", {}, ...rows));
  table.addEventListener("keydown", (event) => {
    const step = CELL_STEPS[event.key];
    const at = event.target.closest("td");
    if (!step || !at) return;
    event.preventDefault();
    const body = table.tBodies[0];
    const row = at.parentNode.sectionRowIndex + step[0];
    body.rows[row]?.cells[at.cellIndex + step[1]]?.querySelector("button")?.focus();
  });
  return table;
}

function methodOf(entry, send) {
  return h("button", { type: "button", class: "wb-survey-method", "data-name": entry.name, "aria-pressed": entry.chosen, title: entry.citation, onclick: () => send({ kind: "method", of: entry.kind, name: entry.name }) },
    h("b", {}, entry.title, h("small", {}, ` ${entry.kind === "data" ? "maker of data" : entry.kind}`)), h("span", {}, entry.use), h("span", { class: "wb-dim" }, entry.needs));
}

// A recipe as text, with what to do with it.
function recipeOf(found, part, model, send) {
  const button = h("button", { type: "button", class: "wb-button", onclick: () => copy(found.recipe, button) }, "Copy");
  const use = model.use ? h("button", { type: "button", class: "wb-button wb-primary", onclick: () => send({ kind: "use", part }) }, model.use.replace("{sample}", found.sample)) : null;
  return h("div", { class: "wb-survey-recipe" }, h("div", { class: "wb-survey-actions" }, h("h3", {}, `Recipe, for ${found.sample}`), use, button),
    h("pre", { tabindex: 0 }, found.recipe), h("p", { class: "wb-dim" }, "On a command line: ", h("code", {}, found.command || found.shell)));
}

function cellView(model, send) {
  const { cell } = model;
  const nothing = cell.methods.length || cell.commands.length ? null : h("p", { class: "wb-dim" }, cell.published ? "Nothing of it is here." : "Empty: nothing is known here.");
  return [h("h2", {}, cell.title), h("p", { class: "wb-survey-text" }, cell.text), nothing,
    h("div", { class: "wb-survey-methods" }, ...cell.methods.map((entry) => methodOf(entry, send))),
    ...cell.commands.map((text) => h("p", {}, h("code", {}, text))),
    cell.published ? h("p", { class: "wb-dim" }, `In the literature: ${cell.published}.`) : null,
    model.opened ? recipeOf(model.opened, "opened", model, send) : null];
}

function asked(axis, send) {
  const choose = (event) => send({ kind: "ask", [axis.axis]: axis.choices[event.target.selectedIndex].value });
  return h("label", {}, h("span", { class: "wb-dim" }, axis.label), h("select", { class: "wb-select", "data-axis": axis.axis, onchange: choose },
    ...axis.choices.map((one) => h("option", { selected: one.value === axis.value }, one.text))));
}

function adviceView(model, send) {
  const { advice } = model;
  return [h("div", { class: "wb-survey-ask" }, ...model.axes.map((axis) => asked(axis, send))),
    h("p", { class: "wb-sentence", role: "status" }, advice.recommended),
    h("ul", { class: "wb-survey-why" }, ...advice.reasons.map((text) => h("li", {}, text)), ...advice.cautions.map((text) => h("li", { class: "wb-warn" }, text))),
    recipeOf(advice, "adviser", model, send)];
}

function guideView(model, send) {
  const ask = (row) => send({ kind: "ask", ...row.ask });
  return h("table", { class: "wb-survey-guide" }, h("thead", {}, h("tr", {}, ...["data", "model", "for", "recommended", "why"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, ...model.guide.map((row) => h("tr", { class: row.taken ? "wb-survey-taken" : row.near ? "wb-survey-near" : "" },
      h("td", {}, row.data), h("td", {}, row.models), h("td", { class: "wb-num" }, row.constraints),
      h("td", {}, h("button", { type: "button", class: "wb-link", onclick: () => ask(row) }, row.recommended)), h("td", { class: "wb-dim" }, row.why)))));
}

export function mountSurvey(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-survey");
  const parts = { matrix: h("div"), cell: h("section", { class: "wb-survey-side", "aria-label": "What is in the cell" }), advice: h("section", { class: "wb-survey-advice", "aria-label": "Adviser" }), guide: h("div", { class: "wb-survey-rows" }) };
  const problem = h("p", { class: "wb-bad", role: "alert" });
  const drawn = {};
  let built = false;
  function build(model) {
    built = true;
    replace(root, problem, h("div", { class: "wb-scroll wb-survey-body" },
      h("div", { class: "wb-survey-map" }, h("section", {}, h("h2", {}, "Where a method acts, and what teaches it"), h("p", { class: "wb-dim" }, "A number says how many are here; a dot, that the literature has some. Choose a cell, then one of its methods."), parts.matrix), parts.cell),
      h("section", {}, h("h2", {}, "Which one to take"), h("p", { class: "wb-dim" }, "Say what you have and what you want; the reasons come with the recipe."), parts.advice),
      h("section", {}, h("h2", {}, "The guide, row by row"), parts.guide), h("p", { class: "wb-dim wb-survey-cite" }, model.citation)));
  }
  function fill(part, value, make) {
    const text = JSON.stringify(value);
    if (drawn[part] === text) return;
    drawn[part] = text;
    const place = parts[part];
    const held = place.contains(document.activeElement) ? document.activeElement : null;
    const mark = held && ["data-cell", "data-name", "data-axis"].find((name) => held.hasAttribute(name));
    const again = mark && `[${mark}=${JSON.stringify(held.getAttribute(mark))}]`;
    replace(place, ...[make()].flat());
    if (again) place.querySelector(again)?.focus();
  }
  function draw() {
    const model = get();
    if (!model?.cells) return;
    if (!built) build(model);
    problem.textContent = model.problem || "";
    problem.hidden = !model.problem;
    fill("matrix", [model.cells, model.cell.key], () => matrixOf(model, send));
    fill("cell", [model.cell, model.opened, model.use], () => cellView(model, send));
    fill("advice", [model.axes, model.advice, model.use], () => adviceView(model, send));
    fill("guide", model.guide, () => guideView(model, send));
  }
  on(draw);
  draw();
  return stop;
}
