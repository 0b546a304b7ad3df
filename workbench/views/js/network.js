// Along the network: each layer's own error beside what has gathered up to it, or one bar for each.

import { decimal, h, linePath, onSize, pointIn, replace, s, stage, ticks } from "./dom.js";

const PAD = { top: 8, right: 8, bottom: 18, left: 30 };

function axes(model, y, width, height) {
  const group = s("g", { class: "wb-axis" });
  for (const value of ticks(model.low, model.high, Math.max(2, Math.floor(height / 34)))) {
    group.append(s("line", { class: "wb-rule", x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) }),
      s("text", { x: PAD.left - 5, y: y(value) + 3.5, "text-anchor": "end" }, decimal(value, 0)));
  }
  const base = height - 4;
  group.append(s("text", { x: PAD.left, y: base }, model.first), s("text", { x: width - PAD.right, y: base, "text-anchor": "end" }, model.last));
  return group;
}

// The legend carries the numbers of one layer: the one under the pointer, else the selected one.
function legend(point, compared) {
  const item = (name, label, value) => h("span", { class: `wb-key ${name}` }, `${label} `, h("b", {}, decimal(value)));
  return [
    item("k-weights", "weights", point.weights), item("k-activations", "input", point.activations),
    item("k-gathered", "total", point.accumulated), compared ? item("k-before", "nearest", point.before) : null,
  ];
}

// One bar for each layer, as high and as hot as its cell of the table says.
function barsOfNetwork(model, x, wide, height) {
  const inner = height - PAD.top - PAD.bottom;
  return model.bars.map((cell, i) => {
    if (!cell) return null;
    const size = Math.max(1.5, cell.fraction * inner);
    const bar = s("rect", { class: "wb-network-bar", x: x(i) - wide / 2, width: wide, y: PAD.top + inner - size, height: size, rx: Math.min(2, wide / 2) });
    bar.style.setProperty("--heat", `${Math.round(cell.heat * 100)}%`);
    return bar;
  });
}

function ends(model, width, height) {
  return s("g", { class: "wb-axis" }, s("line", { x1: PAD.left, x2: width - PAD.right, y1: height - PAD.bottom, y2: height - PAD.bottom }),
    s("text", { x: PAD.left, y: height - 4 }, model.first), s("text", { x: width - PAD.right, y: height - 4, "text-anchor": "end" }, model.last));
}

export function drawNetwork(box, model, send) {
  const picture = s("svg", { class: "wb-svg", role: "img", "aria-label": model.spoken });
  const plot = h("div", { class: "wb-plot" }, picture);
  const note = h("span", { class: "wb-dim" });
  const keys = h("div", { class: "wb-readout wb-legend wb-num" });
  let columns = [];

  const chosenPoint = model.points.find((point) => point.name === model.selected);
  function describe(point) {
    const shown = point || chosenPoint || model.points[0];
    note.textContent = shown === chosenPoint ? "" : shown.name;
    if (model.bars) {
      const cell = model.bars[model.points.indexOf(shown)];
      replace(keys, h("span", { class: "wb-key k-weights" }, `${shown.name} `, h("b", {}, cell ? cell.text : "–"), cell && /\d$/.test(cell.text) ? ` ${model.unit}` : ""));
      return;
    }
    replace(keys, ...legend(point || chosenPoint || model.points[0], model.compared));
  }
  function draw(width, height) {
    const inner = height - PAD.top - PAD.bottom;
    const count = model.points.length;
    const x = (i) => PAD.left + ((i + 0.5) / count) * (width - PAD.left - PAD.right);
    const y = (v) => PAD.top + (1 - (Math.min(model.high, Math.max(model.low, v)) - model.low) / (model.high - model.low)) * inner;
    const at = (key) => model.points.map((point, i) => [x(i), point[key] == null ? null : y(point[key])]);
    columns = model.points.map((_, i) => x(i));
    const step = x(1) - x(0) || 8;
    const band = model.points.findIndex((point) => point.name === model.selected);
    if (model.bars) {
      replace(picture, ends(model, width, height),
        band < 0 ? null : s("rect", { class: "wb-band", x: x(band) - step / 2, width: step, y: PAD.top, height: inner }),
        ...barsOfNetwork(model, x, Math.max(1, Math.min(18, step * 0.7)), height));
      picture.setAttribute("width", width);
      picture.setAttribute("height", height);
      return;
    }
    const dots = (key, name, r) => at(key).filter((p) => p[1] != null).map(([cx, cy]) => s("circle", { class: name, cx, cy, r }));
    const chosen = model.points.findIndex((point) => point.name === model.selected);
    replace(picture,
      axes(model, y, width, height),
      chosen < 0 ? null : s("rect", { class: "wb-band", x: x(chosen) - Math.max(4, (x(1) - x(0) || 8) / 2), width: Math.max(8, x(1) - x(0) || 8), y: PAD.top, height: inner }),
      s("path", { class: "wb-theory", d: linePath(at("reference")) }),
      s("path", { class: "wb-before", d: linePath(at("before")) }),
      s("path", { class: "wb-gathered", d: linePath(at("accumulated")) }),
      ...dots("activations", "wb-dot-hollow", 3), ...dots("weights", "wb-dot", 3.2));
    picture.setAttribute("width", width);
    picture.setAttribute("height", height);
  }
  const nearest = (event) => {
    const px = pointIn(picture, event).x;
    let best = 0;
    columns.forEach((c, i) => { if (Math.abs(c - px) < Math.abs(columns[best] - px)) best = i; });
    return model.points[best];
  };
  picture.addEventListener("pointermove", (event) => describe(nearest(event)));
  picture.addEventListener("pointerleave", () => describe(null));
  picture.addEventListener("click", (event) => send({ kind: "layer", layer: nearest(event).name }));
  replace(box, h("div", { class: "wb-plot-head" }, h("h3", {}, model.title), note), plot, keys);
  describe(chosenPoint);
  return onSize(plot, draw);
}

export function mountNetwork(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-network");
  let end = () => {};
  function update() {
    end();
    const model = get();
    end = model?.points ? drawNetwork(root, model, send) : () => {};
  }
  on(update);
  update();
  return () => { end(); stop(); };
}
