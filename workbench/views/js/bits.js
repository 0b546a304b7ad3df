// Bits where they matter: a slider over choices, what each does, and which layer gets how many.

import { scale, ticked } from "./charts.js";
import { h, linePath, nameElement, onSize, pointIn, replace, s, sizeOf, stage } from "./dom.js";

const EDGE = { top: 10, right: 14, bottom: 34, left: 50 };

function powers(low, high) {
  const found = [];
  for (let p = Math.ceil(Math.log10(low)); p <= Math.log10(high); p += 1) found.push(10 ** p);
  return found;
}

function curveOf(model, chosen, choose) {
  const picture = s("svg", { class: "wb-svg", role: "img", "aria-label": "Average bits against KL divergence to float" });
  const plot = h("div", { class: "wb-plot" }, picture);
  const places = [...model.curve.mixed, ...model.curve.uniform];
  const xs = places.map((p) => p.x);
  const ys = places.map((p) => p.y);
  const ends = [Math.min(...xs) - 0.3, Math.max(...xs) + 0.3];
  const low = Math.min(...ys) / 1.6;
  const high = Math.max(...ys) * 1.6;
  let x = () => 0;
  let y = () => 0;
  function draw(width, height) {
    const base = height - EDGE.bottom;
    x = scale(ends, EDGE.left, width - EDGE.right);
    const line = scale([Math.log10(low), Math.log10(high)], base, EDGE.top);
    y = (value) => line(Math.log10(value));
    const current = model.choices[chosen()];
    const dot = (name, r) => (p) => s("circle", { class: name, cx: x(p.x), cy: y(p.y), r });
    const at = places.find((p) => p.key === current.key);
    replace(picture, s("g", { class: "wb-axis" },
      ...powers(low, high).flatMap((value) => [
        s("line", { class: "wb-rule", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
        s("text", { x: EDGE.left - 6, y: y(value) + 3.5, "text-anchor": "end" }, String(Number(value.toPrecision(1))))]),
      ...ticked(ends, Math.floor(width / 60)).flatMap(([value, text]) => [
        s("line", { x1: x(value), x2: x(value), y1: base, y2: base + 4 }),
        s("text", { x: x(value), y: base + 15, "text-anchor": "middle" }, text)]),
      s("text", { x: width - EDGE.right, y: height - 4, "text-anchor": "end" }, "bits of each weight on average")),
    s("path", { class: "wb-bits-line", d: linePath(model.curve.mixed.map((p) => [x(p.x), y(p.y)])) }),
    ...model.curve.uniform.map(dot("wb-bits-uniform", 4)), ...model.curve.mixed.map(dot("wb-bits-mixed", 3.4)),
    at ? s("circle", { class: "wb-bits-chosen", cx: x(at.x), cy: y(at.y), r: 7 }) : null);
    picture.setAttribute("width", width);
    picture.setAttribute("height", height);
  }
  picture.addEventListener("click", (event) => {
    const at = pointIn(picture, event);
    const away = (p) => Math.hypot(x(p.x) - at.x, y(p.y) - at.y);
    const best = places.reduce((one, p) => (away(p) < away(one) ? p : one));
    choose(model.choices.findIndex((choice) => choice.key === best.key));
  });
  const key = h("div", { class: "wb-readout wb-legend" }, h("span", { class: "wb-key k-mixed" }, "mixed"), h("span", { class: "wb-key k-uniform" }, "one width for all"));
  const box = h("section", { class: "wb-bits-curve" }, h("div", { class: "wb-plot-head" }, h("h3", {}, model.title), h("span", { class: "wb-dim" }, "KL to float, nats")), plot, key);
  return { box, plot, draw };
}

function layersOf(model, choice, send) {
  const most = Math.max(...model.widths);
  const rows = model.weights.map((weight, i) => {
    const bar = h("i", {});
    bar.style.width = `${((choice.bits[i] / most) * 100).toFixed(1)}%`;
    return h("button", { type: "button", class: "wb-bits-row", onclick: () => send({ kind: "layer", layer: weight.name }) },
      nameElement(weight.name), h("span", { class: "wb-bar" }, bar), h("b", { class: "wb-num" }, choice.bits[i]),
      h("span", { class: "wb-num wb-dim" }, (weight.harm[choice.bits[i]] * 1000).toPrecision(2)));
  });
  return [h("div", { class: "wb-bits-row wb-head" }, h("span", {}, "layer"), h("span", {}, "bits"), h("span"), h("span", { title: "Increase of the KL divergence by this weight alone, estimated" }, "mnat")), ...rows];
}

function waiting(model, send) {
  const bar = h("i");
  bar.style.width = `${((model.progress?.fraction || 0) * 100).toFixed(1)}%`;
  return h("div", { class: "wb-bits-empty" }, h("p", {}, model.message),
    model.progress ? h("div", { class: "wb-waiting", role: "status" }, h("span", {}, model.progress.text), h("div", { class: "wb-progress" }, bar)) : null,
    model.action ? h("button", { type: "button", class: "wb-button wb-primary", onclick: (event) => { event.currentTarget.disabled = true; send({ kind: "measure" }); } }, model.action) : null);
}

const CALM = 250; // ms after a choice in which what others chose is not followed

export function mountBits(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-bits");
  let end = () => {};
  let shown = null;
  let current = 0;
  let show = () => {};
  let calm = 0;
  // Where Python keeps what is chosen, it is told, and it leads.
  function tell(choice) {
    if (get().chosen == null) return;
    clearTimeout(calm);
    calm = setTimeout(() => { calm = 0; follow(get()); }, CALM);
    send({ kind: "choice", choice });
  }
  function follow(model) {
    const index = model.choices.findIndex((choice) => choice.key === model.chosen);
    if (!calm && index >= 0 && index !== current) show(index);
  }
  function explore(model) {
    const sentence = h("p", { class: "wb-sentence", role: "status" });
    const list = h("div", { class: "wb-list", tabindex: 0, "aria-label": "Bits of each layer" });
    const slider = h("input", { type: "range", min: 0, max: model.choices.length - 1, step: 1, value: current, "aria-label": "Average bits", class: "wb-bits-slider" });
    const curve = curveOf(model, () => current, (index) => { pick(index); tell(model.choices[index].key); });
    const use = h("button", { type: "button", class: "wb-button wb-primary", title: model.help, onclick: () => send({ kind: "use", choice: model.choices[current].key }) }, model.use);
    function pick(index) {
      current = index;
      slider.value = index;
      const choice = model.choices[index];
      sentence.textContent = choice.sentence;
      slider.setAttribute("aria-valuetext", choice.sentence);
      replace(list, ...layersOf(model, choice, send));
      const { width, height } = sizeOf(curve.plot);
      if (width > 20) curve.draw(width, height);
    }
    slider.addEventListener("input", () => { pick(Number(slider.value)); tell(model.choices[current].key); });
    show = pick;
    replace(root, h("header", { class: "wb-bits-head" }, sentence, use), h("label", { class: "wb-bits-slide" }, h("span", { class: "wb-dim" }, "fewer bits"), slider, h("span", { class: "wb-dim" }, "more")),
      h("div", { class: "wb-bits-body" }, curve.box, h("section", { class: "wb-bits-layers" }, list)));
    pick(current);
    end = onSize(curve.plot, curve.draw);
  }
  function update() {
    const model = get();
    const text = JSON.stringify(model?.choices || null);
    if (model?.choices && text === shown) { if (model.chosen != null) follow(model); return; }
    end();
    end = () => {};
    shown = text;
    if (!model?.choices) { replace(root, model?.message ? waiting(model, send) : null); return; }
    current = Math.max(0, model.choices.findIndex((choice) => choice.key === model.chosen));
    if (model.chosen == null) current = model.first;
    explore(model);
  }
  on(update);
  update();
  return () => { clearTimeout(calm); end(); stop(); };
}
