// Small charts of a view: lines over names, and points of cost against gain with their front.

import { decimal, h, linePath, onSize, pointIn, replace, s, short, ticks } from "./dom.js";

const ROOM = { top: 8, right: 14, bottom: 30, left: 44 };

const colour = (index) => `wb-run-${index % 8}`;

export function scale([low, high], from, to) {
  return (value) => from + ((value - low) / (high - low)) * (to - from);
}

function rules(ends, y, width) {
  return ticked(ends, 5).flatMap(([value, text]) => [
    s("line", { class: "wb-rule", x1: ROOM.left, x2: width - ROOM.right, y1: y(value), y2: y(value) }),
    s("text", { x: ROOM.left - 6, y: y(value) + 3.5, "text-anchor": "end" }, text),
  ]);
}

// As many decimals as tell neighbouring ticks apart.
export function ticked(ends, count) {
  const found = ticks(ends[0], ends[1], count);
  const step = found.length > 1 ? found[1] - found[0] : Math.abs(found[0] || 1);
  const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  const written = (value) => (Math.abs(value) >= 1e6 ? short(value) : decimal(value, digits));
  return found.map((value) => [value, written(value)]);
}

function words(axis) {
  return axis.unit ? `${axis.label}, ${axis.unit}` : axis.label;
}

function frame(box, chart, spoken) {
  const picture = s("svg", { class: "wb-svg", role: "img", "aria-label": spoken });
  const plot = h("div", { class: "wb-plot wb-chart-plot" }, picture);
  const note = h("span", { class: "wb-dim wb-num" });
  replace(box, h("div", { class: "wb-plot-head" }, h("h3", {}, chart.title), note), plot);
  const size = (width, height) => { picture.setAttribute("width", width); picture.setAttribute("height", height); };
  return { picture, plot, note, size };
}

function drawLines(box, chart, send) {
  const { picture, plot, note, size } = frame(box, chart, `${chart.title}, a line for each of ${chart.series.length} runs`);
  const count = Math.max(1, chart.names.length);
  let columns = [];
  const band = s("rect", { class: "wb-band", y: ROOM.top, visibility: "hidden" });
  function draw(width, height) {
    const x = (i) => ROOM.left + ((i + 0.5) / count) * (width - ROOM.left - ROOM.right);
    const y = scale([chart.low, chart.high], height - ROOM.bottom, ROOM.top);
    columns = chart.names.map((_, i) => x(i));
    band.setAttribute("height", height - ROOM.top - ROOM.bottom);
    band.setAttribute("width", Math.max(6, (width - ROOM.left - ROOM.right) / count));
    const at = (series) => series.values.map((value, i) => [x(i), value == null ? null : y(value)]);
    replace(picture, s("g", { class: "wb-axis" }, ...rules([chart.low, chart.high], y, width),
      s("text", { x: ROOM.left, y: height - 8, translate: "no" }, chart.names[0] || ""),
      s("text", { x: width - ROOM.right, y: height - 8, "text-anchor": "end", translate: "no" }, chart.names.at(-1) || "")), band,
    ...chart.series.flatMap((series, i) => [
      s("path", { class: `wb-chart-line ${colour(i)}`, d: linePath(at(series)) }),
      ...at(series).filter((p) => p[1] != null).map(([cx, cy]) => s("circle", { class: `wb-chart-dot ${colour(i)}`, cx, cy, r: 2.6 })),
    ]));
    size(width, height);
  }
  const nearest = (event) => {
    const px = pointIn(picture, event).x;
    return columns.reduce((best, c, i) => (Math.abs(c - px) < Math.abs(columns[best] - px) ? i : best), 0);
  };
  function describe(index) {
    band.setAttribute("visibility", index == null ? "hidden" : "visible");
    if (index == null) { note.textContent = chart.unit; return; }
    band.setAttribute("x", columns[index] - band.getAttribute("width") / 2);
    const values = chart.series.map((one) => `${one.label} ${one.values[index] == null ? "–" : short(one.values[index])}`);
    note.textContent = `${chart.names[index]}: ${values.join("  ")} ${chart.unit}`;
  }
  picture.addEventListener("pointermove", (event) => describe(nearest(event)));
  picture.addEventListener("pointerleave", () => describe(null));
  picture.addEventListener("click", (event) => send({ kind: "layer", layer: chart.names[nearest(event)] }));
  describe(null);
  return onSize(plot, draw);
}

const DOT = 4.5;
const NEAR = 12; // of a label to a point that is not its own
// where a label may stand beside its point: the first place that is free
const SIDES = [-6, 16, 28, 40, 52].flatMap((dy) => [[8, dy], [-8, dy]]);

// Whether a label would stand on another, or so near another point that it could be taken for its own.
function crowded([from, to, row], own, dots, taken) {
  const near = ([px, py]) => px > from - NEAR && px < to + NEAR && py > row - 9 - DOT && py < row + DOT;
  return dots.some((dot, i) => i !== own && near(dot)) || taken.some((one) => one[0] < to + 4 && one[1] > from - 4 && Math.abs(one[2] - row) < 12);
}

function labelled(point, own, dots, width, taken) {
  const [px, py] = dots[own];
  const long = 7 * point.label.length;
  const placed = ([dx, dy]) => (dx > 0 ? [px + dx, px + dx + long, py + dy] : [px + dx - long, px + dx, py + dy]);
  const fits = ([from, to, row]) => from > ROOM.left && to < width - ROOM.right + 8 && row > ROOM.top + 4 && !crowded([from, to, row], own, dots, taken);
  const [dx, dy] = SIDES.find((side) => fits(placed(side))) ?? SIDES[0];
  taken.push(placed([dx, dy]));
  return s("text", { x: px + dx, y: py + dy, "text-anchor": dx < 0 ? "end" : "start", class: "wb-chart-label" }, point.label);
}

function drawPoints(box, chart) {
  const { picture, plot, note, size } = frame(box, chart, `${chart.title}: ${chart.points.map((p) => `${p.label} ${short(p.x)} ${chart.x.unit}, ${short(p.y)} ${chart.y.unit}`).join("; ")}`);
  note.textContent = words(chart.y);
  function draw(width, height) {
    const x = scale(chart.x.ends, ROOM.left, width - ROOM.right);
    const y = scale(chart.y.ends, height - ROOM.bottom, ROOM.top);
    const base = height - ROOM.bottom;
    const taken = [];
    const dots = chart.points.map((point) => [x(point.x), y(point.y)]);
    replace(picture, s("g", { class: "wb-axis" }, ...rules(chart.y.ends, y, width),
      ...ticked(chart.x.ends, Math.max(2, Math.floor(width / 110))).flatMap(([value, text]) => [
        s("line", { x1: x(value), x2: x(value), y1: base, y2: base + 4 }),
        s("text", { x: x(value), y: base + 14, "text-anchor": "middle" }, text)]),
      s("text", { x: width - ROOM.right, y: height - 3, "text-anchor": "end" }, words(chart.x))),
    s("path", { class: "wb-chart-front", d: linePath(chart.front.map((i) => dots[i])) }),
    ...chart.points.flatMap((point, i) => [
      s("circle", { class: `wb-chart-dot ${colour(point.series)}`, cx: dots[i][0], cy: dots[i][1], r: DOT }, s("title", {}, `${point.label}: ${short(point.x)} ${chart.x.unit}, ${short(point.y)} ${chart.y.unit}`)),
      labelled(point, i, dots, width, taken)]));
    size(width, height);
  }
  return onSize(plot, draw);
}

// An element with the chart; `ends` collects what stops its observers.
export function chartOf(chart, send, ends) {
  const box = h("section", { class: "wb-chart" });
  requestAnimationFrame(() => { if (box.isConnected) ends.push(chart.kind === "lines" ? drawLines(box, chart, send) : drawPoints(box, chart)); });
  return box;
}
