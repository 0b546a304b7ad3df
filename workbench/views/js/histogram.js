// A fine histogram with its quantization grid drawn over it. The ends of the grid can be dragged:
// the bins are quantized here, at once; on release the exact numbers are asked for.

import { decimal, h, onSize, pointIn, replace, s, short, sizeOf, stage, ticks, whole } from "./dom.js";
import { dequantizeCode, dragEnd, gridEnds, requantize } from "./quantize.js";

const MARGIN = { top: 16, right: 10, bottom: 20, left: 10 };
const MANY_LEVELS = 40;
const MOST_LEVELS = 2048;
const NARROW = 4; // pixels of a step below which levels are drawn as one outline

// Bars as one path: the bins under each pixel column are summed.
function columns(model, columnsWide) {
  const [from, to] = model.view;
  const width = (model.high - model.low) / model.counts.length;
  const found = new Float64Array(columnsWide);
  for (let i = 0; i < model.counts.length; i += 1) {
    if (!model.counts[i]) continue;
    const first = ((model.low + i * width - from) / (to - from)) * columnsWide;
    const last = first + (width / (to - from)) * columnsWide;
    if (last <= 0 || first >= columnsWide) continue;
    spread(found, first, last, model.counts[i]);
  }
  return found;
}

function spread(found, first, last, count) {
  const each = count / (last - first);
  for (let k = Math.max(0, Math.floor(first)); k < Math.min(found.length, Math.ceil(last)); k += 1) {
    found[k] += each * (Math.min(last, k + 1) - Math.max(first, k));
  }
}

function barPath(found, scaleX, y, base) {
  let path = "";
  for (let k = 0; k < found.length; k += 1) {
    if (found[k] > 0) {
      const x = MARGIN.left + k * scaleX;
      path += `M${x.toFixed(1)} ${base}V${y(found[k]).toFixed(1)}h${Math.max(0.6, scaleX - 0.35).toFixed(2)}V${base}z`;
    }
  }
  return path;
}

// The mass on each level as a staircase: boxes, or one outline where the steps are narrow.
// Nothing where there are more levels than a screen has columns.
function levelPath(model, current, x, y, base, pixels) {
  const { qmin, qmax } = model.grid;
  if (qmax - qmin >= MOST_LEVELS) return "";
  const [from, to] = model.view;
  const step = (current.scale / (to - from)) * pixels;
  const few = model.fine < 100 ? 1 : 1e-9;
  let path = "";
  for (let code = qmin; code <= qmax; code += 1) {
    const count = current.result.mass.get(code) || 0;
    const at = x(dequantizeCode(code, current.scale, current.zero));
    if (at < MARGIN.left - 0.5 || at > MARGIN.left + pixels + 0.5 || (step >= NARROW && !count)) continue;
    const top = y(count / Math.max(step / current.columnWidth, few)).toFixed(1);
    const left = (at - step / 2).toFixed(1);
    if (step >= NARROW) path += `M${left} ${base}V${top}h${step.toFixed(2)}V${base}`;
    else path += `${path ? "L" : "M"}${left} ${top}h${step.toFixed(2)}`;
  }
  return path;
}

function gridLines(model, current, x, pixels, base) {
  const levels = model.grid.qmax - model.grid.qmin + 1;
  const [from, to] = model.view;
  if (levels > MANY_LEVELS && (current.scale / (to - from)) * pixels < 4) return "";
  let path = "";
  for (let code = model.grid.qmin; code <= model.grid.qmax; code += 1) {
    const value = dequantizeCode(code, current.scale, current.zero);
    if (value >= from && value <= to) path += `M${x(value).toFixed(1)} ${MARGIN.top}V${base}`;
  }
  return path;
}

function heightScale(found, log, inner, base) {
  const peak = Math.max(1e-12, ...found);
  const shape = log ? (v) => Math.log1p((v / peak) * 999) / Math.log(1000) : (v) => v / peak;
  return (v) => base - Math.min(1.06, shape(v)) * inner * 0.94;
}

function axis(model, x, width, base) {
  const group = s("g", { class: "wb-axis" });
  group.append(s("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: base + 0.5, y2: base + 0.5 }));
  for (const value of ticks(...model.view, Math.max(3, Math.floor(width / 64)))) {
    const at = x(value);
    if (at < MARGIN.left + 6 || at > width - MARGIN.right - 6) continue;
    group.append(s("line", { x1: at, x2: at, y1: base, y2: base + 3 }));
    group.append(s("text", { x: at, y: base + 14, "text-anchor": "middle" }, short(Number(value.toPrecision(6)))));
  }
  return group;
}

function counters(model, width) {
  const group = s("g", { class: "wb-outliers" });
  const [below, above] = model.outside;
  const text = (side) => `${whole(side.count)} to ${short(side.extreme)}`;
  const tip = "Values beyond the picture; they count in every number";
  if (below.count) group.append(s("text", { x: 2, y: 27, class: "wb-note" }, `◂ ${text(below)}`, s("title", {}, tip)));
  if (above.count) {
    group.append(s("text", { x: width - 2, y: 27, "text-anchor": "end", class: "wb-note" }, `${text(above)} ▸`, s("title", {}, tip)));
  }
  return group;
}

// One end of the grid as a slider that a pointer or the arrow keys can move.
function handleFor(which, api) {
  const group = s("g", { class: "wb-handle", role: "slider", tabindex: 0, "aria-label": `${which === "low" ? "lowest" : "highest"} level of the grid` },
    s("rect", { class: "wb-hit", width: 22, y: 0 }), s("line"), s("circle", { r: 5.5, cy: 8 }));
  group.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    group.setPointerCapture(event.pointerId);
    group.focus();
    api.grab();
    const move = (moved) => api.drag(which, moved);
    const up = () => {
      group.removeEventListener("pointermove", move);
      api.release();
    };
    group.addEventListener("pointermove", move);
    group.addEventListener("pointerup", up, { once: true });
    group.addEventListener("pointercancel", up, { once: true });
  });
  group.addEventListener("keydown", (event) => {
    const sign = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!sign) return;
    event.preventDefault();
    api.nudge(which, sign * (event.shiftKey ? 10 : 1));
  });
  return group;
}

function place(handle, value, x, width, base) {
  const at = Math.min(width - 6, Math.max(6, x(value)));
  const [hit, line, grip] = handle.children;
  hit.setAttribute("x", at - 11);
  hit.setAttribute("height", base);
  for (const end of ["x1", "x2"]) line.setAttribute(end, at);
  line.setAttribute("y1", 12);
  line.setAttribute("y2", base);
  grip.setAttribute("cx", at);
  handle.setAttribute("aria-valuenow", Number(value.toPrecision(4)));
  handle.setAttribute("aria-valuetext", `${short(value)}`);
}

function fixedEnd(which, grid) {
  return grid.symmetric && !grid.signed && which === "low";
}

export function drawHistogram(box, model, send) {
  const start = { scale: model.scale, zero: model.zero };
  const chosen = model.grid ? requantize(model, start.scale, start.zero, model.grid).sqnr : null;
  const state = { ...start, log: model.log, result: null, exact: null, asked: 0, columnWidth: 1, moved: false, held: false };
  take(model.dragged);
  const picture = s("svg", { class: "wb-svg", role: "group", "aria-label": model.spoken });
  const layers = { bars: s("path", { class: "wb-float" }), lines: s("path", { class: "wb-gridline" }), levels: s("path", { class: "wb-level" }) };
  const readout = h("div", { class: "wb-readout wb-num", "aria-live": "polite" });
  const geometry = {};

  const xOf = (value) => {
    const [from, to] = model.view;
    return MARGIN.left + ((value - from) / (to - from)) * geometry.pixels;
  };
  const valueAt = (event) => {
    const [from, to] = model.view;
    const at = pointIn(picture, event).x - MARGIN.left;
    return from + (Math.min(geometry.pixels, Math.max(0, at)) / geometry.pixels) * (to - from);
  };
  const floor = () => (model.view[1] - model.view[0]) / 400;
  function drag(which, event) { moveTo(which, valueAt(event)); }
  function moveTo(which, value) {
    const ends = gridEnds(state.scale, state.zero, model.grid);
    const limited = which === "low" ? Math.min(-floor(), value) : Math.max(floor(), value);
    Object.assign(state, dragEnd(which, limited, ends, model.grid), { exact: null, moved: true });
    refresh();
  }
  // Where the grid was dragged to, if Python keeps that; else where it began.
  function take(dragged) {
    Object.assign(state, start, { exact: null, moved: false }, dragged ? { ...dragged, moved: true } : {});
  }
  function release() {
    state.held = false;
    const asked = ++state.asked;
    const answer = send({ kind: "clip", site: model.site, channel: model.channel, scale: state.scale, zero_point: state.zero });
    if (!answer?.then) return;
    answer.then((exact) => {
      if (asked === state.asked && exact) { state.exact = exact; words(); }
    }, () => {});
  }
  const api = {
    drag, release,
    grab: () => { state.asked += 1; state.held = true; },
    nudge: (which, count) => {
      const ends = gridEnds(state.scale, state.zero, model.grid);
      moveTo(which, ends[which === "low" ? 0 : 1] + (count * (model.view[1] - model.view[0])) / 200);
      release();
    },
  };
  const handles = model.grid && model.draggable ? ["low", "high"].filter((which) => !fixedEnd(which, model.grid)).map((which) => [which, handleFor(which, api)]) : [];

  function words() {
    if (!model.grid) { replace(readout, h("span", {}, model.note || "stays float")); return; }
    const { sqnr, clipped } = state.exact ? { sqnr: state.exact.sqnr_db, clipped: state.exact.clipped } : state.result;
    const unit = model.unit === "steps" ? `step ×${decimal(state.scale / start.scale, 2)}` : `step ${short(state.scale)}`;
    const gain = state.exact ? state.exact.gain_db : state.moved ? sqnr - chosen : null;
    replace(readout,
      h("span", {}, unit),
      h("span", { class: "wb-strong" }, `${decimal(sqnr)} dB`),
      gain == null ? null : h("span", { class: gain < -0.05 ? "wb-bad" : gain > 0.05 ? "wb-good" : "wb-dim" }, `${gain >= 0 ? "+" : ""}${decimal(gain)}`),
      h("span", {}, `clipped ${decimal(clipped * 100, clipped > 0 && clipped < 0.001 ? 2 : 1)} %`),
      state.exact ? h("span", { class: "wb-dim", title: "Computed by the engine on the values themselves" }, "exact") : null,
      state.moved ? h("button", { type: "button", class: "wb-link", onclick: reset }, "reset") : null);
  }
  function reset() {
    state.asked += 1;
    take(null);
    refresh();
    if ("dragged" in model) send({ kind: "reset" });
  }
  function refresh() {
    if (!geometry.pixels) return;
    const { width, base, y, pixels } = geometry;
    if (model.grid) {
      state.result = requantize(model, state.scale, state.zero, model.grid);
      layers.lines.setAttribute("d", gridLines(model, state, xOf, pixels, base));
      const step = (state.scale / (model.view[1] - model.view[0])) * pixels;
      layers.levels.classList.toggle("wb-outline", step < NARROW);
      layers.levels.setAttribute("d", levelPath(model, state, xOf, y, base, pixels));
      const ends = gridEnds(state.scale, state.zero, model.grid);
      for (const [which, handle] of handles) place(handle, ends[which === "low" ? 0 : 1], xOf, width, base);
    }
    words();
  }
  function draw(width, height) {
    const base = Math.round(height - MARGIN.bottom);
    const pixels = width - MARGIN.left - MARGIN.right;
    const many = Math.max(16, Math.min(model.fine || 320, Math.floor(pixels / 1.5)));
    const found = columns(model, many);
    const y = heightScale(found, state.log, base - MARGIN.top, base);
    state.columnWidth = pixels / many;
    Object.assign(geometry, { width, base, pixels, y });
    picture.setAttribute("width", width);
    picture.setAttribute("height", height);
    layers.bars.setAttribute("d", barPath(found, pixels / many, y, base));
    replace(picture, layers.lines, layers.bars, layers.levels, axis(model, xOf, width, base), counters(model, width), ...handles.map(([, handle]) => handle));
    refresh();
  }
  const plot = h("div", { class: "wb-plot" }, picture);
  const toggle = h("button", {
    type: "button", class: "wb-chip", "aria-pressed": state.log, title: "Logarithmic counts",
    onclick: () => {
      state.log = !state.log;
      toggle.setAttribute("aria-pressed", state.log);
      draw(geometry.width, sizeOf(plot).height);
    },
  }, "log");
  const head = h("div", { class: "wb-plot-head" }, h("h3", {}, model.title), h("span", { class: "wb-dim" }, model.detail), ...pickers(model, send), channelPicker(model, send), toggle);
  replace(box, head, plot, readout);
  const end = onSize(plot, draw);
  // The same histogram with its grid elsewhere needs no new drawing; what is held stays in the hand.
  end.follow = (next) => {
    if (same(next) !== same(model)) return false;
    if (!state.held) { take(next.dragged); refresh(); }
    return true;
  };
  return end;
}

const same = (model) => JSON.stringify({ ...model, dragged: null });

// What else may be chosen, where the view-model says so: another layer, other bits.
function pickers(model, send) {
  return (model.pickers || []).map((one) => h("select", {
    class: "wb-select", "aria-label": one.label, onchange: (event) => send({ kind: one.kind, value: one.values[event.target.selectedIndex] }),
  }, ...one.values.map((value, k) => h("option", { value: k, selected: value === one.value }, one.texts[k]))));
}

function channelPicker(model, send) {
  if (!model.channels) return null;
  const options = [h("option", { value: "" }, `all ${model.channels} channels`)];
  for (let k = 0; k < model.channels; k += 1) options.push(h("option", { value: k, selected: k === model.channel }, `channel ${k}`));
  return h("select", {
    class: "wb-select", "aria-label": "Channel",
    onchange: (event) => send({ kind: "channel", channel: event.target.value === "" ? null : Number(event.target.value) }),
  }, ...options);
}

export function mountHistogram(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-histogram");
  let end = () => {};
  function update() {
    const model = get();
    if (end.follow?.(model)) return;
    end();
    end = () => {};
    if (model?.counts) end = drawHistogram(root, model, send);
    else replace(root, h("p", { class: "wb-empty" }, model?.message || ""));
  }
  on(update);
  update();
  return () => { end(); stop(); };
}
