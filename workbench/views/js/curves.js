// Learning as it happens: one small curve per layer, the current one in orange.

import { h, nameElement, replace, s, stage } from "./dom.js";

const WIDE = 96;
const TALL = 40;

function curvePath(panel) {
  const { points, low, high } = panel;
  const last = Math.max(1, points.length - 1);
  return points.map((value, i) => {
    const x = 2 + (i / last) * (WIDE - 4);
    const y = 3 + (1 - (value - low) / Math.max(1e-12, high - low)) * (TALL - 6);
    return `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
  }).join("");
}

// A dot at the end, as a stroke of no length: it stays round when the picture is stretched.
function endPath(panel) {
  const end = curvePath(panel).match(/[\d.-]+ [\d.-]+$/);
  return end ? `M${end[0]}l0.01 0` : "";
}

function small(panel, send) {
  return h("button", {
    type: "button", class: `wb-curve${panel.current ? " wb-now" : ""}`, title: panel.tip,
    onclick: () => panel.layer && send({ kind: "layer", layer: panel.layer }),
  },
  s("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", "aria-hidden": true },
    s("path", { class: "wb-curve-line", d: curvePath(panel), "vector-effect": "non-scaling-stroke" }),
    s("path", { class: "wb-curve-end", d: endPath(panel), "vector-effect": "non-scaling-stroke" })),
  panel.layer ? nameElement(panel.label) : h("span", {}, panel.label), h("span", { class: "wb-num wb-dim" }, panel.text));
}

export function mountCurves(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-curves");
  const strip = h("div", { class: "wb-strip" });
  function update() {
    const model = get() || {};
    const progress = h("div", { class: "wb-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round((model.fraction || 0) * 100), "aria-label": "Progress" }, h("i"));
    progress.firstChild.style.width = `${((model.fraction || 0) * 100).toFixed(1)}%`;
    const follow = strip.scrollLeft + strip.clientWidth > strip.scrollWidth - 140;
    replace(strip, ...(model.panels || []).map((panel) => small(panel, send)));
    replace(root, h("div", { class: "wb-plot-head" }, h("h2", {}, model.title || "Learning"), h("span", { class: "wb-dim wb-num" }, model.status || "")),
      model.running ? progress : null,
      (model.panels || []).length ? strip : h("p", { class: "wb-empty" }, model.message || ""));
    if (model.running && follow) strip.scrollLeft = strip.scrollWidth;
  }
  on(update);
  update();
  return stop;
}
