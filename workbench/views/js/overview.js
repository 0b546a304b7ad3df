// The model as a whole: what it is made of, which layers to look at first, a measure along the network.

import { h, nameElement, replace } from "./dom.js";
import { drawNetwork } from "./network.js";

function factsOf(facts) {
  return h("dl", { class: "wb-overview-facts" }, ...facts.flatMap((fact) => [h("dt", {}, fact.label), h("dd", { class: "wb-num" }, fact.text)]));
}

function kindsOf(kinds) {
  const cells = (row) => ["kind", "count", "weights", "bytes", "damage"].map((key, k) => h("td", { class: k ? "wb-num wb-right" : "" }, row[key]));
  const heads = ["operator", "layers", "weights", "size", "damage"].map((text, k) => h("th", { scope: "col", class: k ? "wb-right" : "" }, text));
  return h("section", {}, h("h3", {}, kinds.title), h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...kinds.rows.map((row) => h("tr", {}, ...cells(row))))));
}

function worstLayers(worst, send) {
  return h("section", {}, h("h3", {}, `${worst.title} · ${worst.by}, ${worst.unit}`), h("div", { class: "wb-overview-worst" }, ...worst.layers.map((layer) => h("button", {
    type: "button", class: "wb-overview-layer", onclick: () => send({ kind: "layer", layer: layer.name }),
  }, nameElement(layer.name), h("b", { class: "wb-num" }, layer.cell ? layer.cell.text : "–")))));
}

export function drawOverview(box, model, send) {
  const network = h("section", { class: "wb-panel wb-overview-network" });
  replace(box, factsOf(model.facts), h("div", { class: "wb-overview-parts" }, kindsOf(model.kinds), worstLayers(model.worst, send)), network);
  return drawNetwork(network, model.network, send);
}
