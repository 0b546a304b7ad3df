// The model, or one layer: its weights, its input, its channels, and its place in the network or the
// weights of one channel. The breadcrumb leads from each level to those above it.

import { drawCells } from "./cells.js";
import { drawChannels } from "./channels.js";
import { h, nameElement, replace, stage } from "./dom.js";
import { drawHistogram } from "./histogram.js";
import { drawNetwork } from "./network.js";
import { drawOverview } from "./overview.js";

function levelOf(level, last, send) {
  const inside = level.kind === "layer" ? nameElement(level.text, "wb-name wb-strong") : h("span", {}, level.text);
  if (last || !level.send) return h("span", { class: last ? "wb-level-here" : "", "aria-current": last ? "true" : null }, inside);
  const go = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    send(level.send);
  };
  return h(level.link ? "a" : "button", { class: "wb-level-up", href: level.link, type: level.link ? null : "button", onclick: go }, inside);
}

function crumb(model, send) {
  const parts = model.levels.flatMap((level, k) => [
    k ? h("span", { class: "wb-sep", "aria-hidden": true }, "›") : null, levelOf(level, k === model.levels.length - 1, send)]);
  return h("nav", { class: "wb-crumb", "aria-label": "Levels" }, ...parts, model.facts ? h("span", { class: "wb-facts", title: model.facts }, model.facts) : null);
}

export function mountInspector(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-inspector");
  const boxes = {};
  for (const name of ["weights", "activations", "channels", "network"]) {
    boxes[name] = h("section", { class: "wb-panel" });
  }
  const panels = Object.values(boxes);
  const top = h("div");
  const whole = h("div", { class: "wb-overview" });
  boxes.overview = whole;
  const ends = new Map();
  const seen = {};

  function panel(name, draw, model) {
    const text = JSON.stringify(model ?? null);
    if (seen[name] === text) return;
    const held = boxes[name].contains(document.activeElement) && document.activeElement.matches(".wb-cell-map");
    seen[name] = text;
    ends.get(name)?.();
    ends.delete(name);
    if (!model) replace(boxes[name]);
    else if (model.message) replace(boxes[name], h("div", { class: "wb-plot-head" }, h("h3", {}, model.title)), h("p", { class: "wb-empty" }, model.message));
    else ends.set(name, draw(boxes[name], model, send));
    if (held) boxes[name].querySelector(".wb-cell-map")?.focus();
  }
  function clear() {
    for (const end of ends.values()) end();
    ends.clear();
    for (const name of Object.keys(seen)) delete seen[name];
  }
  // The level that was left by a key keeps no focus; the one below it takes it.
  function levels(model, ...more) {
    const held = top.contains(document.activeElement);
    replace(top, crumb(model, send), ...more);
    if (held) ([...top.querySelectorAll(".wb-level-up")].pop() || root.querySelector("[tabindex], button"))?.focus();
  }
  function update() {
    const model = get();
    if (model?.overview) {
      if (whole.parentNode !== root) { clear(); replace(root, top, whole); }
      levels(model);
      panel("overview", drawOverview, model.overview);
      return;
    }
    if (!model?.layer) {
      clear();
      replace(root, h("p", { class: "wb-empty" }, model?.message || ""));
      return;
    }
    if (top.parentNode !== root || whole.parentNode === root) {
      if (whole.parentNode === root) clear();
      replace(root, top, h("div", { class: "wb-panels" }, ...panels));
    }
    levels(model, h("p", { class: "wb-finding", title: model.finding }, model.finding));
    panel("weights", drawHistogram, model.weights);
    panel("activations", drawHistogram, model.activations);
    panel("channels", drawChannels, model.channels);
    panel("network", model.cells ? drawCells : drawNetwork, model.cells || model.network);
  }
  on(update);
  update();
  return () => { for (const end of ends.values()) end(); stop(); };
}
