// One bar per output channel: how wide it is, and in orange those that carry most of the error.

import { decimal, h, onSize, pointIn, replace, s } from "./dom.js";

const FOOT = 16;

export function drawChannels(box, model, send) {
  const picture = s("svg", { class: "wb-svg", role: "img", "aria-label": model.text });
  const plot = h("div", { class: "wb-plot" }, picture);
  const note = h("span", { class: "wb-dim wb-num wb-hover" }, model.text);
  const count = model.ranges.length;
  let wide = 1;

  function draw(width, height) {
    const base = height - FOOT;
    wide = width / count;
    const gap = wide > 4 ? 1 : wide > 2 ? 0.5 : 0;
    const bars = { plain: "", heavy: "" };
    const peak = Math.max(1e-12, ...model.ranges);
    const worst = new Set(model.worst);
    model.ranges.forEach((range, k) => {
      const tall = Math.max(1, (range / peak) * (base - 4));
      bars[worst.has(k) ? "heavy" : "plain"] += `M${(k * wide).toFixed(2)} ${base}v${(-tall).toFixed(1)}h${(wide - gap).toFixed(2)}V${base}z`;
    });
    const mark = model.channel == null ? null : s("rect", { class: "wb-band", x: model.channel * wide - 1, width: Math.max(3, wide + 1), y: 0, height: base });
    replace(picture, mark, s("path", { class: "wb-float", d: bars.plain }), s("path", { class: "wb-heavy", d: bars.heavy }),
      s("g", { class: "wb-axis" },
        s("line", { x1: 0, x2: width, y1: base + 0.5, y2: base + 0.5 }),
        s("text", { x: 0, y: height - 3 }, "channel 0"),
        s("text", { x: width, y: height - 3, "text-anchor": "end" }, String(count - 1))));
    picture.setAttribute("width", width);
    picture.setAttribute("height", height);
  }
  const index = (event) => Math.min(count - 1, Math.max(0, Math.floor(pointIn(picture, event).x / wide)));
  picture.addEventListener("pointermove", (event) => {
    const k = index(event);
    note.textContent = `channel ${k}: widest weight ${model.ranges[k].toPrecision(3)}, ${decimal(model.share[k] * 100)} % of the error`;
  });
  picture.addEventListener("pointerleave", () => { note.textContent = model.text; });
  picture.addEventListener("click", (event) => {
    const k = index(event);
    if (model.selectable) send({ kind: "channel", channel: k === model.channel ? null : k });
  });
  replace(box, h("div", { class: "wb-plot-head" }, h("h3", {}, model.title)), plot, h("div", { class: "wb-readout" }, note));
  return onSize(plot, draw);
}
