// The weights of one channel: a cell each, blue where rounding made it smaller, orange where larger,
// a dot where learning went against the nearest level; the chosen one between its two levels.

import { decimal, h, onSize, pointIn, replace, s } from "./dom.js";

const LARGEST = 18;

// Columns in whole kernels where that fits, so that a kernel is not torn apart.
function gridOf(count, kernel, width, height) {
  const ideal = Math.sqrt((count * width) / height);
  const unit = kernel > 1 && kernel <= ideal ? kernel : 1;
  let best = null;
  for (let columns = unit; columns <= count + unit - 1; columns += unit) {
    const side = Math.min(width / columns, height / Math.ceil(count / columns), LARGEST);
    if (!best || side > best.side + 1e-9) best = { columns, side };
    if (columns > 2 * ideal + unit) break;
  }
  return best;
}

function lineOf(line) {
  const x = (place) => 50 + (place - line.low) * 120;
  const at = Math.max(-0.35, Math.min(1.35, line.place - line.low)) + line.low;
  const tick = (code) => [
    s("line", { x1: x(code), x2: x(code), y1: 14, y2: 26, class: code === line.code ? "wb-cell-level wb-cell-taken" : "wb-cell-level" }),
    s("text", { x: x(code), y: 38, "text-anchor": "middle" }, String(code).replace("-", "−"))];
  const codes = line.code === line.low || line.code === line.low + 1 ? [line.low, line.low + 1] : [line.low, line.low + 1, line.code];
  return s("svg", { class: "wb-cell-line", viewBox: "0 0 220 42", "aria-hidden": true },
    s("line", { x1: 4, x2: 216, y1: 20, y2: 20, class: "wb-cell-axis" }),
    ...codes.filter((code) => x(code) > 0 && x(code) < 220).flatMap(tick),
    s("path", { class: "wb-cell-arrow", d: `M${x(at)} 10L${Math.max(8, Math.min(212, x(line.code)))} 10` }),
    s("circle", { cx: x(at), cy: 10, r: 4, class: "wb-cell-value" }));
}

function detailOf(detail) {
  return h("div", { class: "wb-cell-detail", role: "status", "aria-label": `weight ${detail.weight}: ${detail.spoken}` }, lineOf(detail.line),
    h("dl", {}, ...detail.rows.flatMap((row) => [h("dt", {}, row.label), h("dd", { class: "wb-num" }, row.text)])));
}

export function drawCells(box, model, send) {
  const map = h("canvas", {
    class: "wb-cell-map", tabindex: 0, role: "slider", "aria-label": model.title, "aria-valuemin": model.start,
    "aria-valuemax": model.start + model.codes.length - 1, "aria-valuenow": model.weight ?? model.start, "aria-valuetext": model.detail?.spoken || model.text,
  });
  const plot = h("div", { class: "wb-plot wb-cell-plot" }, map);
  const note = h("span", { class: "wb-dim wb-num wb-hover" }, model.text);
  let grid = { columns: 1, side: 1 };
  const colour = (name) => getComputedStyle(box).getPropertyValue(name).trim();

  function draw(width, height) {
    const ratio = window.devicePixelRatio || 1;
    grid = gridOf(model.codes.length, model.kernel, width, height);
    Object.assign(map, { width: width * ratio, height: height * ratio });
    Object.assign(map.style, { width: `${width}px`, height: `${height}px` });
    const pen = map.getContext("2d");
    pen.scale(ratio, ratio);
    const [blue, orange, ground, ink] = ["--float", "--quant", "--hair", "--ink"].map(colour);
    const gap = grid.side > 5 ? 1 : 0;
    model.errors.forEach((error, k) => {
      const [x, y] = [(k % grid.columns) * grid.side, Math.floor(k / grid.columns) * grid.side];
      pen.globalAlpha = 1;
      pen.fillStyle = ground;
      pen.fillRect(x, y, grid.side - gap, grid.side - gap);
      pen.globalAlpha = Math.min(1, Math.abs(error) * 1.6);
      pen.fillStyle = error < 0 ? blue : orange;
      pen.fillRect(x, y, grid.side - gap, grid.side - gap);
      pen.globalAlpha = 1;
      if (model.ways[k] !== "nearest" && grid.side > 5) {
        pen.fillStyle = ink;
        pen.beginPath();
        pen.arc(x + (grid.side - gap) / 2, y + (grid.side - gap) / 2, Math.max(1, grid.side / 8), 0, 7);
        pen.fill();
      }
      if (model.weight === model.start + k) {
        pen.strokeStyle = ink;
        pen.lineWidth = 2;
        pen.strokeRect(x, y, grid.side - gap, grid.side - gap);
      }
    });
  }
  function index(event) {
    const { x, y } = pointIn(map, event);
    const [column, row] = [Math.floor(x / grid.side), Math.floor(y / grid.side)];
    const k = row * grid.columns + column;
    return column < grid.columns && k >= 0 && k < model.codes.length ? k : null;
  }
  const choose = (weight) => send({ kind: "weight", weight });
  map.addEventListener("pointermove", (event) => {
    const k = index(event);
    note.textContent = k === null ? model.text : `weight ${model.start + k}: code ${decimal(model.codes[k], 0)}, off by ${decimal(model.errors[k], 2)} steps`;
  });
  map.addEventListener("pointerleave", () => { note.textContent = model.text; });
  map.addEventListener("click", (event) => { const k = index(event); if (k !== null) choose(model.start + k); });
  map.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: grid.columns, ArrowUp: -grid.columns }[event.key];
    const from = model.weight ?? model.start - 1;
    const to = { Home: model.start, End: model.start + model.codes.length - 1 }[event.key] ?? (by === undefined ? null : from + by);
    if (to === null) return;
    event.preventDefault();
    if (to >= 0 && to < model.total) choose(to);
  });
  const turn = (text, name, to) => h("button", { type: "button", class: "wb-chip", "aria-label": name, title: name, disabled: to == null, onclick: () => choose(to) }, text);
  replace(box, h("div", { class: "wb-plot-head" }, h("h3", {}, model.title),
    model.pages ? turn("‹", "Weights before these", model.pages.before) : null, model.pages ? turn("›", "Weights after these", model.pages.after) : null),
  h("div", { class: "wb-cells" }, plot, model.detail ? detailOf(model.detail) : null), h("div", { class: "wb-readout" }, note));
  return onSize(plot, draw);
}
