// Lines over steps, small and large: paths, log axes, bands, and h(V) as it hardens.

import { h, s, short, ticks } from "./dom.js";

const seen = (values) => values.filter((value) => value != null && Number.isFinite(value));

// Low and high of an axis around `values`; a log axis has at least a third of a decade.
export function extent(values, { log = false, zero = false } = {}) {
  const found = seen(values).filter((value) => !log || value > 0);
  if (!found.length) return [log ? 0.1 : 0, 1];
  const low = zero ? 0 : Math.min(...found);
  const high = Math.max(...found, zero ? 0.01 : -Infinity);
  if (log) return high / low < 2 ? [low / 1.4, high * 1.4] : [low, high];
  return high > low ? [low, high] : [low - Math.abs(low) * 0.05 - 1e-9, high + Math.abs(high) * 0.05 + 1e-9];
}

export function scaler([low, high], start, end, log) {
  const f = log ? Math.log : (value) => value;
  const span = f(high) - f(low) || 1;
  return (value) => start + ((f(Math.min(high, Math.max(low, value))) - f(low)) / span) * (end - start);
}

// A path through the (xs[i], values[i]) that are known, a dot where there is one alone; a gap where a value
// is known that cannot be drawn, such as 0 on a log axis.
export function trace(xs, values, x, y, log) {
  let text = "";
  let open = false;
  values.forEach((value, i) => {
    if (value == null) return;
    const there = Number.isFinite(value) && (!log || value > 0);
    if (there) text += `${open ? "L" : "M"}${x(xs[i]).toFixed(1)} ${y(value).toFixed(1)}${open ? "" : "h0.01"}`;
    open = there;
  });
  return text;
}

const ink = (tone, values) => `wb-ink-${tone}${seen(values).length === 1 ? " wb-lone" : ""}`;

const SPARK_WIDE = 100;
const SPARK_TALL = 22;

// A line or two without axes; `range` is shared where rows are to be compared.
export function spark(lines, xs, span, range, log) {
  const x = scaler(span, 2, SPARK_WIDE - 2);
  const y = scaler(range, SPARK_TALL - 2, 2, log);
  return s("svg", { class: "wb-spark", viewBox: `0 0 ${SPARK_WIDE} ${SPARK_TALL}`, preserveAspectRatio: "none", "aria-hidden": true },
    ...lines.map(([tone, values]) => s("path", { class: ink(tone, values), d: trace(xs, values, x, y, log), "vector-effect": "non-scaling-stroke" })));
}

// The histogram of h(V), ten bars from rounding down to rounding up.
export function bars(counts) {
  const most = Math.max(1, ...counts);
  const wide = SPARK_WIDE / counts.length;
  return s("svg", { class: "wb-spark", viewBox: `0 0 ${SPARK_WIDE} ${SPARK_TALL}`, preserveAspectRatio: "none", "aria-hidden": true },
    ...counts.map((count, k) => s("rect", { class: k === 0 || k === counts.length - 1 ? "wb-fill-quant" : "wb-fill-float", x: k * wide + 0.5, width: wide - 1, y: SPARK_TALL - 1 - (count / most) * (SPARK_TALL - 3), height: Math.max(count ? 1 : 0, (count / most) * (SPARK_TALL - 3)) })));
}

const LEFT = 44;
const BELOW = 15;

function plotAxes(width, height, range, log, y, share, span) {
  const base = height - BELOW;
  const decades = log && range[1] / range[0] > 10 ? ticks(Math.log10(range[0]), Math.log10(range[1]), 3).map((k) => 10 ** k) : ticks(range[0], range[1], 3);
  const marks = decades.filter((value) => value >= range[0] && value <= range[1]);
  const left = (marks.length ? marks : range).map((value) => [value, y(value)]);
  return s("g", { class: "wb-axis" },
    ...left.map(([, at]) => s("line", { class: "wb-rule", x1: LEFT, x2: width, y1: at, y2: at })),
    s("line", { x1: LEFT, x2: width, y1: base + 0.5, y2: base + 0.5 }),
    ...left.map(([value, at]) => s("text", { x: LEFT - 5, y: at + 3.5, "text-anchor": "end" }, share ? `${short(100 * value)} %` : short(value))),
    s("text", { x: LEFT, y: height - 2 }, String(span[0])),
    s("text", { x: width, y: height - 2, "text-anchor": "end" }, String(span[1])));
}

// One plot with axes: lines [{tone, values}], an optional band [lows, highs], a cursor at `now`.
export function plot(size, { xs, span, lines, band, log = false, share = false, now }) {
  const [width, height] = size;
  const drawn = [...lines.flatMap((line) => line.values), ...(band ? band.flat() : [])];
  const range = extent(drawn, { log, zero: share });
  const x = scaler(span, LEFT, width - 4);
  const y = scaler(range, height - BELOW - 2, 4, log);
  const around = band && seen(band[0]).length > 1
    ? s("path", { class: "wb-band", d: `${trace(xs, band[0], x, y, log)}${trace([...xs].reverse(), [...band[1]].reverse(), x, y, log).replace("M", "L")}z` }) : null;
  return s("svg", { class: "wb-svg", width, height, role: "img" },
    plotAxes(width, height, range, log, y, share, span), around,
    s("line", { class: "wb-cursor", x1: x(now), x2: x(now), y1: 2, y2: height - BELOW }),
    ...lines.map((line) => s("path", { class: ink(line.tone, line.values), d: trace(xs, line.values, x, y, log) })));
}

// Histograms over steps: a column a report, a row a bin, the darker the more weights; `ends` names the rows' ends.
export function heat(size, { xs, span, rows, now, ends }) {
  const [width, height] = size;
  const base = height - BELOW;
  const x = scaler(span, LEFT, width - 4);
  const edges = xs.map((value, i) => [i ? (x(xs[i - 1]) + x(value)) / 2 : x(span[0]), i + 1 < xs.length ? (x(xs[i + 1]) + x(value)) / 2 : x(value)]);
  const cells = rows.flatMap((counts, i) => (counts || []).map((count, k) => {
    const share = count / Math.max(1, counts.reduce((a, b) => a + b, 0));
    const tall = base / counts.length;
    return count ? s("rect", { class: "wb-fill-float", x: edges[i][0], width: Math.max(1.5, edges[i][1] - edges[i][0] + 0.4), y: base - (k + 1) * tall, height: tall, opacity: (0.06 + 0.94 * Math.sqrt(share)).toFixed(3) }) : null;
  }));
  return s("svg", { class: "wb-svg", width, height, role: "img" }, ...cells,
    s("g", { class: "wb-axis" }, s("line", { x1: LEFT, x2: width, y1: base + 0.5, y2: base + 0.5 }),
      s("text", { x: LEFT - 5, y: 10, "text-anchor": "end" }, ends[0]), s("text", { x: LEFT - 5, y: base, "text-anchor": "end" }, ends[1]),
      s("text", { x: LEFT, y: height - 2 }, String(span[0])), s("text", { x: width, y: height - 2, "text-anchor": "end" }, String(span[1]))),
    s("line", { class: "wb-cursor", x1: x(now), x2: x(now), y1: 2, y2: base }));
}

export function keysOf(entries) {
  return h("div", { class: "wb-readout wb-legend" }, ...entries.map(([tone, label, text]) => h("span", { class: `wb-key k-${tone}` }, label, h("b", { class: "wb-num" }, text))));
}
