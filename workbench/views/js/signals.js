// Learning, site by site: a row of small pictures for each unit, one of them in detail, and a replay
// that goes back to any report.

import { h, nameElement, onSize, replace, short, stage } from "./dom.js";
import { replayBar } from "./replay.js";
import { bars, extent, heat, keysOf, plot, spark } from "./sparks.js";

const newest = (values) => { for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] != null) return values[i]; return null; };
const percent = (value) => (value == null ? "" : `${value > 0 && value < 0.001 ? "<0.1" : (100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);
const valuesOf = (item, name) => item.series[name] || [];
const trained = (item) => (valuesOf(item, "reconstruction").length ? "reconstruction" : "loss");
const judged = (item) => (valuesOf(item, "held_out").length ? "held_out" : "hard");

// What of an item (a unit or a site) was known at report `at`.
function until(item, at) {
  const count = item.at.filter((k) => k <= at).length;
  const series = Object.fromEntries(Object.entries(item.series).map(([name, values]) => [name, values.slice(0, count)]));
  return { ...item, count, series, xs: stepsOf(item).slice(0, count), h: item.h ? item.h.slice(0, count) : null, latent: item.latent ? item.latent.slice(0, count) : null };
}

const stepsOf = (item) => item.steps || item.at.map((_, k) => k);
const spanOf = (item) => { const xs = stepsOf(item); return [Math.min(...xs), Math.max(Math.min(...xs) + 1, ...xs)]; };

function drift(values) {
  const first = values.find((value) => value);
  return first ? values.map((value) => (value == null ? null : value / first)) : [];
}

// Columns of the table: head, tip, and what a cell shows of an item.
const COLUMNS = [
  ["loss", "Error on the examples it learns from (blue) and on those held out (orange); log axis of its own. The number says how much smaller the latter became.", (item, shared, span) => {
    const [own, held] = [valuesOf(item, trained(item)), valuesOf(item, judged(item))];
    const [first, end] = held.length ? [held[0], newest(held)] : [own[0], newest(own)];
    const text = first > 0 && end > 0 && own.length > 1 ? (first >= end ? `÷${short(first / end)}` : `×${short(end / first)}`) : "";
    return [spark([["float", own], ["quant", held]], item.xs, span, extent([...own, ...held], { log: true }), true), text];
  }],
  ["gradient", "Norm of the gradient; log axis of its own", (item, shared, span) => {
    const values = valuesOf(item, "gradient");
    return [spark([["float", values]], item.xs, span, extent(values, { log: true }), true), values.length ? short(newest(values)) : ""];
  }],
  ["moved", "Share of the codes that are not the nearest (blue) and of roundings still undecided (orange); all rows alike", (item, shared, span) => {
    const [flips, open] = [valuesOf(item, "flips"), valuesOf(item, "open")];
    return [spark([["float", flips], ["quant", open]], item.xs, span, [0, shared.moved], false), percent(newest(flips))];
  }],
  ["h(V)", "How far each weight is rounded up, from 0 to 1: at the end all are at either side", (item) => {
    const counts = item.h && newest(item.h);
    return [counts ? bars(counts) : null, ""];
  }],
  ["clipped", "Share of the values beyond the outermost levels; all rows alike", (item, shared, span) => {
    const values = valuesOf(item, "clipped");
    return [spark([["float", values]], item.xs, span, [0, shared.clipped], false), percent(newest(values))];
  }],
  ["scale", "Mean scale, against the first; all rows alike", (item, shared, span) => {
    const values = drift(valuesOf(item, "scale"));
    const change = values.some((value) => value !== 1) ? newest(values) - 1 : null;
    const text = change == null ? (newest(valuesOf(item, "scale")) == null ? "" : short(newest(valuesOf(item, "scale")))) : `${change < 0 ? "−" : "+"}${Math.abs(100 * change).toFixed(1)} %`;
    return [spark([["float", values]], item.xs, span, [1 - shared.drift, 1 + shared.drift], false), text];
  }],
];

// What each column shows; one that a run says nothing of is left out, so that names have room.
const SHOWN = {
  loss: ["reconstruction", "loss", "held_out", "hard"], gradient: ["gradient"], moved: ["flips", "open"],
  clipped: ["clipped"], scale: ["scale"],
};
function columnsOf(model) {
  const items = model.units.flatMap((unit) => [unit, ...unit.sites]);
  const has = (name) => items.some((item) => (name === "h(V)" ? item.h : SHOWN[name].some((series) => valuesOf(item, series).length)));
  return COLUMNS.filter(([name]) => has(name));
}

function sharedOf(items) {
  const all = (name) => items.flatMap((item) => valuesOf(item, name)).filter((value) => value != null);
  const drifts = items.flatMap((item) => drift(valuesOf(item, "scale"))).filter((value) => value != null);
  return {
    moved: Math.max(0.02, ...all("flips"), ...all("open")),
    clipped: Math.max(0.002, ...all("clipped")),
    drift: Math.max(0.02, ...drifts.map((value) => Math.abs(value - 1))),
  };
}

// Rows: every unit; below the chosen one, or the only one, its sites where they say more than it.
function rowsOf(model, chosen) {
  return model.units.flatMap((unit) => {
    const open = model.units.length === 1 || (chosen && chosen.unit === unit);
    const sites = open && unit.sites.length > (hasOwn(unit) ? 1 : 0) ? unit.sites : [];
    return [{ unit, item: unit, key: unit.name }, ...sites.map((site) => ({ unit, item: { ...site, steps: stepsFor(unit, site) }, key: `${unit.name}\n${site.name}`, inner: true }))];
  });
}

const hasOwn = (unit) => Object.keys(unit.series).length > 0;

// Steps of a site's reports; one that is not drawn of its unit lies between those that are.
function stepsFor(unit, site) {
  const steps = stepsOf(unit);
  return site.at.map((at, k) => {
    const i = unit.at.findIndex((known) => known >= at);
    if (i < 0) return steps.at(-1) ?? k;
    if (i === 0 || unit.at[i] === at) return steps[i];
    const [from, to] = [unit.at[i - 1], unit.at[i]];
    return steps[i - 1] + ((at - from) / (to - from)) * (steps[i] - steps[i - 1]);
  });
}

// The name of a layer or site; "network" and "ranges" are words.
const titled = ({ unit, inner }, name) => (inner || unit.layer ? nameElement(name) : h("span", {}, name));

// A site's name without what the rows around it say: its unit's name, and that it is a weight.
function shortName({ unit, item, inner }) {
  if (!inner) return item.name;
  if (item.name.startsWith(`${unit.name}.`)) return item.name.slice(unit.name.length + 1);
  const bare = item.name.replace(/\.weight$/, "");
  return unit.sites.some((site) => site.name === bare) ? item.name : bare;
}

function rowName(row) {
  const label = titled(row, shortName(row));
  label.title = row.item.name;
  return label;
}

function rowElement(row, at, columns, shared, selected, wrong, choose) {
  const item = until(row.item, at);
  const span = spanOf(row.item);
  const cells = columns.map(([, , cell]) => {
    const [picture, text] = item.count ? cell(item, shared, span) : [null, ""];
    return h("span", { class: "wb-signal-cell" }, picture || h("span"), h("span", { class: "wb-num" }, text));
  });
  const bad = wrong.has(row.item.name) || (!row.inner && row.unit.sites.some((site) => wrong.has(site.name)));
  return h("div", { class: `wb-signal-row${row.inner ? " wb-inner" : ""}${row.unit.current && !row.inner ? " wb-now" : ""}`, role: "option", "aria-selected": row.key === selected, "data-name": row.item.name, onclick: () => choose(row.key) },
    h("span", { class: "wb-signal-name" }, bad ? h("b", { class: "wb-bad", title: "has a concern" }, "!") : null, rowName(row)), ...cells);
}

const TONES = ["float", "ink", "good", "dim"];

// The plots of the chosen row: [title, what `plot` draws, entries of the legend].
function panels(row, at) {
  const item = until(row.item, at);
  const base = { xs: item.xs, span: spanOf(row.item), now: newest(item.xs) ?? 0 };
  const line = (tone, name, label = name) => ({ tone, label, values: valuesOf(item, name) });
  const parts = (row.item.parts || []).map((name, k) => line(TONES[k % TONES.length], name, name.replaceAll("_", " ")));
  const single = parts.length ? parts : [line("float", trained(item), row.item.parts ? "error" : "loss")];
  const found = [];
  const add = (title, drawn, options = {}) => {
    const lines = drawn.filter((one) => one.values.some((value) => value != null));
    if (!lines.length) return;
    const text = options.share ? percent : (value) => (value == null ? "" : short(value));
    found.push([title, (size) => plot(size, { ...base, lines, ...options }), lines.map((one) => [one.tone, one.label, text(newest(one.values))])]);
  };
  add("Loss and its parts", [...(parts.length > 1 ? [line("dim", "loss")] : []), ...single], { log: true });
  add("Learned from, and held out", valuesOf(item, judged(item)).length ? [line("float", trained(item), "learned from"), line("quant", judged(item), judged(item) === "hard" ? "codes fixed" : "held out")] : [], { log: true });
  add("Held-out examples", [line("float", "agreement", "agree with the teacher"), line("good", "score", "top-1")], { share: true });
  add("Gradient norm", [line("float", "gradient"), line("quant", "scale_gradient", "of scale and clip")], { log: true });
  add("Codes", [line("float", "flips", "not the nearest"), line("quant", "open", "undecided")], { share: true });
  if (item.h && item.h.some(Boolean)) {
    found.push(["h(V), as roundings harden", (size) => heat(size, { ...base, rows: item.h, ends: ["up 1", "down 0"] }), [["float", "weights at a side", percent(settled(newest(item.h)))]]]);
  }
  if (item.latent && item.latent.some(Boolean)) {
    found.push(["Weights around their levels", (size) => heat(size, { ...base, rows: item.latent, ends: ["+½", "−½"] }), [["float", "about to change their code", percent(settled(newest(item.latent)))]]]);
  }
  add("From step to step", [line("float", "flips_per_step", "codes change"), line("quant", "oscillating", "oscillate"), line("ink", "frozen", "frozen")], { share: true });
  add("Bits in use", [line("float", "effective_bits", "entropy of the codes"), line("quant", "bits", "width")]);
  add("Moved away from float", [line("float", "moved", "share of the weight's norm")], { share: true });
  add("Clipped", [line("float", "clipped", "beyond the levels")], { share: true });
  const band = valuesOf(item, "scale_min").length ? [valuesOf(item, "scale_min"), valuesOf(item, "scale_max")] : null;
  add("Scale", [line("float", "scale", band ? "mean; band: least to largest" : "scale")], { band, log: Boolean(band) });
  add("Learning rate", [line("float", "rate", "of the weights")]);
  add("Zero-point", [line("float", "zero_point", "mean")]);
  return found;
}

const settled = (counts) => (counts ? (counts[0] + counts[counts.length - 1]) / Math.max(1, counts.reduce((a, b) => a + b, 0)) : null);

function panelElement([title, draw, entries], stops) {
  const box = h("div", { class: "wb-plot" });
  stops.push(() => onSize(box, (width, height) => replace(box, draw([width, height]))));
  return h("section", { class: "wb-panel" }, h("h3", {}, title), box, keysOf(entries));
}

function concernList(model, choose) {
  const rows = model.concerns.map((concern) => h("button", { type: "button", class: "wb-line wb-warn", title: concern.text, onclick: () => choose(concern.site) }, h("b", {}, "!"), h("span", {}, concern.text)));
  return rows.length ? h("div", { class: "wb-concerns", role: "list", "aria-label": "Concerns" }, ...rows) : null;
}

// The row of a unit or a site by its name; null where there is none.
function keyOf(model, name) {
  const unit = model.units.find((one) => one.name === name || one.layer === name) || model.units.find((one) => one.sites.some((site) => site.name === name));
  if (!unit) return null;
  return unit.name === name || unit.layer === name || !unit.sites.length ? unit.name : `${unit.name}\n${name}`;
}

export function mountSignals(element, { get: read, on, send }) {
  const { root, stop } = stage(element, "wb-signals");
  const list = h("div", { class: "wb-scroll wb-signal-list", tabindex: 0, role: "listbox", "aria-label": "Units" });
  const detail = h("div", { class: "wb-signal-detail" });
  let [chosen, told, sizes, rows] = [null, "", [], []];
  const bar = replayBar(() => read()?.reports || 1, () => { body(read()); place(read()); });
  const { now } = bar;

  // Where Python keeps what is chosen, it is told; a name is enough for it.
  function choose(key) {
    chosen = key;
    draw();
    if (read().selected != null) send({ kind: "site", name: told = key.split("\n").at(-1) });
  }
  function follow(model) {
    if (model.selected == null || model.selected === told) return;
    told = model.selected;
    chosen = keyOf(model, told);
  }
  // A concern names a unit or a site; a site's row is only there once its unit is chosen.
  function chooseName(name) {
    const key = keyOf(read(), name);
    if (key) choose(key);
  }
  function body(model) {
    const wanted = model.units.find((unit) => chosen && unit.name === chosen.split("\n")[0]) || model.units.find((unit) => unit.current) || model.units.find(hasOwn) || model.units[0];
    rows = rowsOf(model, { unit: wanted });
    const row = rows.find((one) => one.key === chosen) || rows.find((one) => one.unit === wanted);
    const wrong = new Set(model.concerns.map((concern) => concern.site));
    const shared = sharedOf(rows.map((one) => one.item));
    const top = list.scrollTop;
    replace(list, ...rows.map((one) => rowElement(one, now(), columnsOf(model), shared, row.key, wrong, choose)));
    list.scrollTop = top;
    sizes.forEach((end) => end());
    const waiting = [];
    const found = panels(row, now()).map((panel) => panelElement(panel, waiting));
    replace(detail, h("div", { class: "wb-plot-head" }, h("h2", {}, titled(row, row.item.name)), h("span", { class: "wb-dim" }, [row.inner ? `site of ${row.unit.name}` : "", row.unit.method].filter(Boolean).join(" · "))),
      found.length ? h("div", { class: "wb-signal-panels" }, ...found) : h("p", { class: "wb-empty" }, row.item.at[0] <= now() ? "Choose one of its sites." : "Not begun at this report."));
    sizes = waiting.map((begin) => begin());
  }
  function place(model) {
    const current = now();
    const unit = [...model.units].reverse().find((one) => one.at[0] <= current) || model.units[0];
    const known = until(unit, current);
    const step = unit.steps && known.xs.length ? `, step ${newest(known.xs)}` : "";
    bar.label();
    bar.where.textContent = `${current + 1} of ${model.reports} · ${unit.name}${step}`;
  }
  function draw() {
    const model = read() || {};
    if (!model.units) { replace(root); return; }
    follow(model);
    const line = model.running ? h("div", { class: "wb-progress" }, h("i")) : null;
    if (line) line.firstChild.style.width = `${(model.fraction * 100).toFixed(1)}%`;
    const head = h("div", { class: "wb-plot-head" }, h("h2", {}, model.title), h("span", { class: "wb-dim wb-num" }, model.status));
    if (!model.units.length) { replace(root, head, line, h("p", { class: "wb-empty" }, model.message)); return; }
    const held = document.activeElement;
    const columns = columnsOf(model);
    root.style.setProperty("--columns", columns.length);
    const heads = h("div", { class: "wb-signal-row wb-head" }, h("span", {}, "unit"), ...columns.map(([label, tip]) => h("span", { title: tip }, label)));
    body(model);
    place(model);
    replace(root, head, line, concernList(model, chooseName), h("div", { class: "wb-signal-main" }, h("div", { class: "wb-signal-table" }, heads, list, model.reports > 1 ? bar.element : null), detail));
    if (held === list || bar.element.contains(held)) held.focus();
  }
  root.addEventListener("keydown", bar.key);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const index = rows.findIndex((row) => row.key === chosen);
    choose(rows[Math.min(rows.length - 1, Math.max(0, (index < 0 ? 0 : index) + step))].key);
    list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  });
  on(draw);
  draw();
  return () => { bar.stop(); sizes.forEach((end) => end()); stop(); };
}
