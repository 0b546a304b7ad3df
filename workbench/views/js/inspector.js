// One layer: its weights, its input, its channels, and its place in the network.

import { drawChannels } from "./channels.js";
import { h, nameElement, replace, stage } from "./dom.js";
import { drawHistogram } from "./histogram.js";
import { drawNetwork } from "./network.js";

function crumb(model) {
  return h("div", { class: "wb-crumb" }, h("span", {}, model.model), h("span", { class: "wb-sep" }, "›"),
    nameElement(model.layer, "wb-name wb-strong"), h("span", { class: "wb-facts", title: model.facts }, model.facts));
}

export function mountInspector(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-inspector");
  const boxes = {};
  for (const name of ["weights", "activations", "channels", "network"]) {
    boxes[name] = h("section", { class: "wb-panel" });
  }
  const top = h("div");
  const ends = new Map();
  const seen = {};

  function panel(name, draw, model) {
    const text = JSON.stringify(model ?? null);
    if (seen[name] === text) return;
    seen[name] = text;
    ends.get(name)?.();
    ends.delete(name);
    if (!model) replace(boxes[name]);
    else if (model.message) replace(boxes[name], h("div", { class: "wb-plot-head" }, h("h3", {}, model.title)), h("p", { class: "wb-empty" }, model.message));
    else ends.set(name, draw(boxes[name], model, send));
  }
  function update() {
    const model = get();
    if (!model?.layer) {
      for (const end of ends.values()) end();
      ends.clear();
      for (const name of Object.keys(seen)) delete seen[name];
      replace(root, h("p", { class: "wb-empty" }, model?.message || ""));
      return;
    }
    if (top.parentNode !== root) replace(root, top, h("div", { class: "wb-panels" }, ...Object.values(boxes)));
    replace(top, crumb(model), h("p", { class: "wb-finding", title: model.finding }, model.finding));
    panel("weights", drawHistogram, model.weights);
    panel("activations", drawHistogram, model.activations);
    panel("channels", drawChannels, model.channels);
    panel("network", drawNetwork, model.network);
  }
  on(update);
  update();
  return () => { for (const end of ends.values()) end(); stop(); };
}
