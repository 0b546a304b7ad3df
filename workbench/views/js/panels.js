// Panels of a lesson: lines, bars, a number line, cells and tables, from plain records.
// A panel keeps its element while its numbers change, so that a drag is not interrupted.

import { h, linePath, onSize, pointIn, replace, s, short } from "./dom.js";
import { ticked } from "./charts.js";
import { extent, scaler } from "./sparks.js";

const written = (axis) => (axis.unit ? `${axis.label}, ${axis.unit}` : axis.label);
const toneOf = (tone) => (tone.startsWith("run-") ? `wb-${tone} wb-tone-run` : `wb-tone-${tone}`);

function endsOf(axis, values, zero) {
  const usable = values.filter((value) => value != null);
  const found = extent(usable, { log: axis.log });
  if (zero && !axis.log) { found[0] = Math.min(0, found[0]); found[1] = Math.max(0, found[1]); }
  const low = axis.low ?? (axis.log ? found[0] * 0.9 : found[0]);
  const high = axis.high ?? (axis.log ? found[1] * 1.1 : found[1] + (found[1] - found[0]) * 0.04);
  return high > low ? [low, high] : [low, low + 1];
}

function logTicks([low, high], count) {
  const decades = Math.log10(high / low);
  const steps = decades > count ? [1] : decades > 1.2 ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 7];
  const found = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k += decades > 2 * count ? 2 : 1) {
    for (const step of steps) { const at = step * 10 ** k; if (at >= low && at <= high) found.push([at, short(at)]); }
  }
  return found.length > 1 ? found : [[low, short(low)], [high, short(high)]];
}

const marksOf = (axis, ends, count) => (axis.log ? logTicks(ends, count) : ticked(ends, count));

// The room of a plot and its two scales; k is the size of the type.
function room(width, height, k, x, y, xEnds, yEnds) {
  const edge = { left: 50 * k, right: 12 * k, top: 14 * k, bottom: 34 * k };
  const right = width - edge.right;
  const base = height - edge.bottom;
  return { edge, right, base, k, width, height, xEnds, yEnds,
    x: scaler(xEnds, edge.left, right, x.log), y: scaler(yEnds, base, edge.top, y.log) };
}

function panelAxes(r, x, y, names) {
  const { edge, k } = r;
  const across = names ? [] : marksOf(x, r.xEnds, Math.max(2, Math.floor((r.width - edge.left) / (74 * k))));
  const up = marksOf(y, r.yEnds, Math.max(2, Math.floor((r.base - edge.top) / (38 * k))));
  return s("g", { class: "wb-axis" },
    ...up.flatMap(([value, text]) => [
      s("line", { class: "wb-rule", x1: edge.left, x2: r.right, y1: r.y(value), y2: r.y(value) }),
      s("text", { x: edge.left - 5 * k, y: r.y(value) + 3.5 * k, "text-anchor": "end" }, text)]),
    s("line", { x1: edge.left, x2: r.right, y1: r.base, y2: r.base }),
    ...across.flatMap(([value, text]) => [
      s("line", { x1: r.x(value), x2: r.x(value), y1: r.base, y2: r.base + 4 }),
      s("text", { x: r.x(value), y: r.base + 14 * k, "text-anchor": "middle" }, text)]),
    s("text", { x: r.right, y: r.height - 4 * k, "text-anchor": "end" }, written(x)),
    s("text", { x: 2, y: 9 * k }, written(y)));
}

// Straight marks with labels in free rows; those that can be dragged have a handle.
function marks(r, list) {
  const taken = [];
  return list.flatMap((mark) => {
    const tone = toneOf(mark.tone);
    if (mark.axis === "y") {
      const at = r.y(mark.at);
      return [s("line", { class: `wb-mark-line ${tone}`, x1: r.edge.left, x2: r.right, y1: at, y2: at }),
        s("text", { class: "wb-mark-text", x: r.right, y: at - 4 * r.k, "text-anchor": "end" }, mark.label)];
    }
    const at = r.x(mark.at);
    const long = (6.4 * mark.label.length + 8) * r.k;
    const left = at + long > r.right;
    let row = 0;
    while (taken.some(([other, line]) => line === row && Math.abs(other - at) < long)) row += 1;
    if (mark.label) taken.push([at, row]);
    const y = r.edge.top + (9 + 12 * row) * r.k;
    return [s("line", { class: `wb-mark-line ${tone}${mark.sets ? " wb-mark-held" : ""}`, x1: at, x2: at, y1: r.edge.top, y2: r.base }),
      mark.sets ? s("circle", { class: `wb-mark-knob ${tone}`, cx: at, cy: r.base, r: 5.5 * r.k }) : null,
      s("text", { class: "wb-mark-text", x: left ? at - 4 : at + 4, y, "text-anchor": left ? "end" : "start" }, mark.label)];
  });
}

const stepped = (points) => points.flatMap(([x, y], i) => (i ? [[x, points[i - 1][1]], [x, y]] : [[x, y]]));

function seriesOf(r, one) {
  const inside = (v, ends) => v != null && Number.isFinite(v) && (ends[0] <= 0 || v > 0);
  const points = one.x.map((x, i) => [r.x(x), inside(one.y[i], r.yEnds) ? r.y(one.y[i]) : null]);
  const tone = toneOf(one.tone);
  if (one.style === "dots") {
    return points.filter((p) => p[1] != null).map(([cx, cy]) => s("circle", { class: `wb-panel-dot ${tone}`, cx, cy, r: (points.length > 200 ? 1.6 : 3) * r.k }));
  }
  const path = linePath(one.style === "step" ? stepped(points) : points);
  const filled = one.style === "area" && path
    ? s("path", { class: `wb-panel-area ${tone}`, d: `${path}L${points.at(-1)[0]} ${r.base}L${points[0][0]} ${r.base}Z` }) : null;
  return [filled, s("path", { class: `wb-panel-line ${tone}${one.style === "dashed" ? " wb-dashed" : ""}`, d: path })];
}

function bandOf(r, band) {
  const there = band.x.map((_, i) => i).filter((i) => band.low[i] != null && band.high[i] != null);
  const line = [...there.map((i) => [r.x(band.x[i]), r.y(band.low[i])]), ...there.reverse().map((i) => [r.x(band.x[i]), r.y(band.high[i])])];
  return s("path", { class: `wb-panel-area ${toneOf(band.tone)}`, d: `${linePath(line)}Z` });
}

function linesPanel(panel, r0) {
  const values = (key) => [...panel.series.flatMap((one) => one[key]), ...panel.bands.flatMap((b) => (key === "x" ? b.x : [...b.low, ...b.high])),
    ...panel.marks.filter((m) => m.axis === key).map((m) => m.at)];
  const r = room(...r0, panel.x, panel.y, endsOf(panel.x, values("x")), endsOf(panel.y, values("y")));
  return [r, panelAxes(r, panel.x, panel.y), ...panel.bands.map((b) => bandOf(r, b)), ...panel.series.flatMap((one) => seriesOf(r, one)), ...marks(r, panel.marks)];
}

function barsPanel(panel, r0, sent) {
  const count = panel.names.length || panel.edges.length - 1;
  const heights = panel.groups.flatMap((group) => group[2]);
  const xEnds = panel.names.length ? [0, count] : [panel.edges[0], panel.edges.at(-1)];
  const r = room(...r0, panel.x, panel.y, xEnds, endsOf(panel.y, heights, true));
  const ends = (i, g) => {
    if (!panel.names.length) return [r.x(panel.edges[i]), r.x(panel.edges[i + 1])];
    const wide = 0.8 / panel.groups.length;
    return [r.x(i + 0.1 + g * wide), r.x(i + 0.1 + (g + 1) * wide)];
  };
  const floor = r.y(panel.y.log ? r.yEnds[0] : 0);
  const chosen = new Set(panel.chosen);
  const every = Math.ceil((panel.names.reduce((most, name) => Math.max(most, name.length), 1) * 7 * r.k + 6) / Math.max(1, (r.right - r.edge.left) / count));
  return [r, panelAxes(r, panel.x, panel.y, panel.names.length),
    ...panel.groups.flatMap(([, tone, tall], g) => tall.map((value, i) => {
      if (value == null) return null;
      const [from, to] = ends(i, g);
      const at = r.y(value);
      return s("rect", { class: `wb-panel-bar ${toneOf(tone)}${panel.sets ? " wb-can" : ""}${chosen.has(i) ? " wb-chosen" : ""}`, x: from, width: Math.max(0.6, to - from - (panel.names.length ? 0 : 0.6)), y: Math.min(at, floor), height: Math.max(value ? 1 : 0, Math.abs(floor - at)), onclick: panel.sets ? () => sent(panel.sets, i, true) : null },
        s("title", {}, `${panel.names[i] ?? `${short(panel.edges[i])} to ${short(panel.edges[i + 1])}`}: ${short(value)}`));
    })),
    ...panel.names.map((name, i) => (i % every ? null : s("text", { x: r.x(i + 0.5), y: r.base + 14 * r.k, "text-anchor": "middle" }, name))),
    ...marks(r, panel.marks)];
}

// A number line: levels as ticks with their codes, values above it with an arrow to their level.
function levelsPanel(panel, r0) {
  const at = [...panel.levels.map((level) => level.at), ...panel.dots.map((dot) => dot.at)];
  const r = room(...r0, panel.axis, {}, endsOf(panel.axis, at), [0, 1]);
  const middle = r.base - 34 * r.k;
  const close = panel.levels.length > 1 ? Math.abs(r.x(panel.levels[1].at) - r.x(panel.levels[0].at)) : 99;
  const tip = (x) => `M${x - 4 * r.k} ${middle - 14 * r.k}L${x} ${middle - 6 * r.k}L${x + 4 * r.k} ${middle - 14 * r.k}Z`;
  return [r, s("g", { class: "wb-axis" }, s("line", { x1: r.edge.left, x2: r.right, y1: middle, y2: middle }),
    ...marksOf(panel.axis, r.xEnds, Math.max(2, Math.floor(r.width / (80 * r.k)))).map(([value, text]) => s("text", { x: r.x(value), y: r.base + 14 * r.k, "text-anchor": "middle" }, text)),
    s("text", { x: r.right, y: r.height - 4 * r.k, "text-anchor": "end" }, written(panel.axis))),
  ...panel.levels.flatMap((level) => [
    s("line", { class: `wb-panel-level${level.used ? "" : " wb-unused"}`, x1: r.x(level.at), x2: r.x(level.at), y1: middle - 9 * r.k, y2: middle + 9 * r.k }),
    close > 16 * r.k && level.code ? s("text", { x: r.x(level.at), y: middle + 22 * r.k, "text-anchor": "middle" }, level.code) : null]),
  ...panel.dots.flatMap((dot) => [
    dot.to == null ? null : s("path", { class: `wb-panel-line ${toneOf(dot.tone)}`, d: `M${r.x(dot.at)} ${middle - 44 * r.k}C${r.x(dot.at)} ${middle - 24 * r.k} ${r.x(dot.to)} ${middle - 40 * r.k} ${r.x(dot.to)} ${middle - 12 * r.k}` }),
    dot.to == null ? null : s("path", { class: `wb-panel-tip ${toneOf(dot.tone)}`, d: tip(r.x(dot.to)) }),
    s("circle", { class: `wb-panel-dot ${toneOf(dot.tone)}`, cx: r.x(dot.at), cy: middle - 48 * r.k, r: 5 * r.k }),
    s("text", { class: "wb-mark-text", x: r.x(dot.at), y: middle - 58 * r.k, "text-anchor": "middle" }, dot.label)]),
  ...marks(r, panel.marks)];
}

function cellsPanel(panel, sent) {
  const most = Math.max(Math.abs(panel.low), Math.abs(panel.high)) || 1;
  const columns = Math.max(...panel.values.map((row) => row.length), 1);
  const paint = (value) => {
    const share = panel.low < 0 ? Math.abs(value) / most : (value - panel.low) / ((panel.high - panel.low) || 1);
    return `--share:${Math.round(100 * Math.min(1, Math.max(0, share)))}%`;
  };
  const chosen = new Set(panel.chosen.map(([row, column]) => row * columns + column));
  const cell = (value, row, column) => {
    const place = row * columns + column;
    const text = panel.texts[row]?.[column] ?? "";
    const where = `${panel.rows[row] ?? `row ${row + 1}`}, ${panel.columns[column] ?? `column ${column + 1}`}: ${value == null ? "none" : short(value)}`;
    const look = { class: `wb-cell-box${value < 0 ? " wb-below" : ""}${chosen.has(place) ? " wb-chosen" : ""}`, style: value == null ? "" : paint(value), title: where };
    return panel.sets
      ? h("button", { ...look, type: "button", "aria-label": where, "aria-pressed": chosen.has(place), "data-place": place, onclick: () => sent(panel.sets, place, true, panel.one_per_row ? columns : 0) }, text)
      : h("div", look, text);
  };
  const named = panel.rows.length > 0;
  const head = panel.columns.length ? [named ? h("span") : null, ...panel.columns.map((name) => h("span", { class: "wb-cells-head" }, name))] : [];
  // Many rows are lower, so that all are seen at once; the cells of a map are square, not wide.
  const tall = Math.min(1.9, 24 / panel.values.length);
  const fine = panel.values.length * columns > 400;
  const wide = fine && !named ? `;max-width:${0.85 * tall * columns}em` : "";
  const grid = h("div", { class: `wb-cells${fine ? " wb-fine" : ""}`, style: `--tall:${tall}em;grid-template-columns:${named ? "auto " : ""}repeat(${columns},minmax(0,1fr))${wide}` },
    ...head.filter(Boolean), ...panel.values.flatMap((row, i) => [...(named ? [h("span", { class: "wb-cells-head" }, panel.rows[i])] : []), ...row.map((value, j) => cell(value, i, j))]));
  return grid;
}

function tablePanel(panel) {
  return h("div", { class: "wb-scroll" }, h("table", { class: "wb-lesson-table" }, h("thead", {}, h("tr", {}, ...panel.columns.map((name, i) => h("th", { scope: "col", class: i ? "wb-right" : "" }, name)))),
    h("tbody", {}, ...panel.rows.map((row, k) => h("tr", { class: panel.tones[k] ? `wb-row-${panel.tones[k]}` : "" }, ...row.map((text, i) => h("td", { class: i ? "wb-right wb-num" : "" }, text)))))));
}

function legendOf(panel) {
  const entries = panel.kind === "lines" ? [...panel.series, ...panel.bands].filter((one) => one.label) : panel.kind === "bars" ? panel.groups.map(([label, tone]) => ({ label, tone })) : [];
  return entries.length > 1 ? h("div", { class: "wb-panel-legend" }, ...entries.map((one) => h("span", {}, h("i", { class: `wb-swatch ${toneOf(one.tone)}` }), one.label))) : null;
}

const DRAWN = { lines: linesPanel, bars: barsPanel, levels: levelsPanel };

function spoken(panel) {
  const lines = (panel.series || []).map((one) => `${one.label} from ${short(one.y.find((v) => v != null) ?? 0)} to ${short([...one.y].reverse().find((v) => v != null) ?? 0)}`);
  return [panel.title, ...lines, panel.note].filter(Boolean).join(". ");
}

// Take hold of marks and of a number line: `sent(name, value)` while it moves.
function grips(picture, current, sent) {
  let held = "";
  const place = (event) => pointIn(picture, event).x;
  const value = (px, r) => {
    const share = (px - r.edge.left) / (r.right - r.edge.left);
    const axis = current().panel.x || current().panel.axis;
    return axis.log ? r.xEnds[0] * (r.xEnds[1] / r.xEnds[0]) ** share : r.xEnds[0] + share * (r.xEnds[1] - r.xEnds[0]);
  };
  picture.addEventListener("pointerdown", (event) => {
    const { panel, r } = current();
    if (!r) return;
    const px = place(event);
    const near = (panel.marks || []).filter((mark) => mark.sets && mark.axis === "x")
      .map((mark) => [Math.abs(r.x(mark.at) - px), mark.sets]).sort((a, b) => a[0] - b[0])[0];
    held = near && (near[0] < 14 || !panel.sets) ? near[1] : panel.kind === "bars" ? "" : panel.sets || "";
    if (!held) return;
    picture.setPointerCapture(event.pointerId);
    sent(held, value(px, r));
  });
  picture.addEventListener("pointermove", (event) => { if (held) sent(held, value(place(event), current().r)); });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { held = ""; });
}

// A panel's element; `update(panel)` draws other numbers into it, if they are of the same kind.
export function panelView(first, sent) {
  const title = h("h3");
  const note = h("p", { class: "wb-panel-note" });
  const legend = h("div");
  const body = h("div", { class: "wb-panel-body" });
  const element = h("section", { class: `wb-panel wb-panel-${first.kind}` }, title, body, legend, note);
  const picture = s("svg", { class: "wb-svg", role: "img" });
  const state = { panel: first, r: null };
  let size = null;
  function draw() {
    if (!size) return;
    const k = parseFloat(getComputedStyle(element).fontSize) / 13 || 1;
    const [r, ...parts] = DRAWN[state.panel.kind](state.panel, [...size, k], sent);
    state.r = r;
    picture.setAttribute("width", size[0]);
    picture.setAttribute("height", size[1]);
    picture.setAttribute("aria-label", spoken(state.panel));
    replace(picture, ...parts);
  }
  const drawn = first.kind in DRAWN;
  if (drawn) { body.append(picture); grips(picture, () => state, sent); }
  function update(panel) {
    state.panel = panel;
    title.textContent = panel.title;
    note.textContent = panel.note || "";
    note.hidden = !panel.note;
    const keys = panel.kind === "veiled" ? null : legendOf(panel);
    replace(legend, keys);
    if (drawn) draw();
    else if (panel.kind === "cells") replaceKeeping(body, cellsPanel(panel, sent));
    else if (panel.kind === "table") replace(body, tablePanel(panel));
    else replace(body, h("p", { class: "wb-veil" }, "shown after your guess"));
  }
  update(first);
  const stop = drawn ? onSize(body, (width, height) => { size = [width, height]; draw(); }) : () => {};
  return { element, kind: first.kind, update, redraw: draw, stop };
}

// New cells keep the focus of the old ones.
function replaceKeeping(body, grid) {
  const place = body.contains(document.activeElement) ? document.activeElement.dataset.place : null;
  replace(body, grid);
  if (place != null) grid.querySelector(`[data-place="${CSS.escape(place)}"]`)?.focus();
}

