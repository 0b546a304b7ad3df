// The network as a drawing: drag to move, wheel, buttons or keys to zoom; blocks open and close.
// Places come from Python; colours are the heat of the chosen measure, as in the table.

import { h, pointIn, replace, s, sizeOf } from "./dom.js";

const STEP = 1.25;
const NEAREST = 2.5;
const READABLE = 0.62;
const RIM = 12;
const STEPS = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowRight: [1, 0], ArrowLeft: [-1, 0] };

function route(points) {
  let path = `M${points[0]} ${points[1]}`;
  for (let i = 2; i < points.length; i += 2) {
    const [x0, y0, x, y] = points.slice(i - 2, i + 2);
    const bend = (y - y0) / 2;
    path += Math.abs(x - x0) < 0.6 ? `L${x} ${y}` : `C${x0} ${y0 + bend} ${x} ${y - bend} ${x} ${y}`;
  }
  return path;
}

// Of a closed block: the layer that is worst by this measure, and its cell.
function worstOf(names, order, rows, measure) {
  const inside = new Set(names);
  const name = order.find((each) => inside.has(each));
  return { name, cell: name === undefined ? null : rows.get(name)?.cells[measure] };
}

export function graphView(send, choose) {
  const scene = s("g", {});
  const picture = s("svg", { class: "wb-svg wb-graph-svg", role: "group" }, scene);
  const plot = h("div", { class: "wb-plot wb-graph-plot" }, picture);
  const view = { x: 0, y: 0, scale: 1, fitted: false };
  let model = null;
  let state = null;
  let items = [];
  let anchor = null;
  let refocus = null;
  let at = null;

  const size = () => sizeOf(plot);
  function move() {
    scene.setAttribute("transform", `translate(${view.x.toFixed(2)} ${view.y.toFixed(2)}) scale(${view.scale.toFixed(4)})`);
  }
  function smallest() {
    const { width, height } = size();
    return Math.min(1, (width - 2 * RIM) / model.width, (height - 2 * RIM) / model.height);
  }
  function zoom(factor, px, py) {
    const { width, height } = size();
    const [cx, cy] = [px ?? width / 2, py ?? height / 2];
    const scale = Math.min(NEAREST, Math.max(smallest() * 0.8, view.scale * factor));
    view.x = cx - ((cx - view.x) * scale) / view.scale;
    view.y = cy - ((cy - view.y) * scale) / view.scale;
    view.scale = scale;
    move();
  }
  function fit() {
    const { width, height } = size();
    view.scale = smallest();
    view.x = (width - model.width * view.scale) / 2;
    view.y = Math.max(RIM, (height - model.height * view.scale) / 2);
    move();
  }
  // At first all of it where that can be read, else as wide as can be read, with the chosen layer in view.
  function start() {
    fit();
    if (view.scale < READABLE) {
      const { width, height } = size();
      view.scale = Math.min(1, Math.max(READABLE, (width - 2 * RIM) / model.width));
      view.x = (width - model.width * view.scale) / 2;
      view.y = RIM;
      const item = items.find((each) => each.chosen);
      if (item) {
        view.x = model.width * view.scale < width ? view.x : width / 2 - (item.x + item.w / 2) * view.scale;
        view.y = Math.min(RIM, height / 2 - (item.y + item.h / 2) * view.scale);
      }
      move();
    }
    view.fitted = true;
  }
  function show(item) {
    const { width, height } = size();
    const [left, top] = [view.x + item.x * view.scale, view.y + item.y * view.scale];
    const tall = (item.open ? 24 : item.h) * view.scale;
    if (left < 0 || left + item.w * view.scale > width) view.x += width / 2 - left - (item.w * view.scale) / 2;
    if (top < 0 || top + tall > height) view.y += height / 2 - top - tall / 2;
    move();
  }
  function act(item) {
    if (item.layers && item.kind) {
      const { x, y } = item;
      anchor = { name: item.name, left: view.x + x * view.scale, top: view.y + y * view.scale };
      refocus = item.id;
      send({ kind: "fold", block: item.name });
    } else if (item.role === "layer") choose(item.name);
  }
  function focus(item) {
    if (!item) return;
    for (const each of items) each.element.setAttribute("tabindex", each === item ? 0 : -1);
    at = item.id;
    item.element.focus({ preventScroll: true });
    show(item);
  }
  const middle = (item) => [item.x + item.w / 2, item.y + (item.open ? 10 : item.h / 2)];
  function beside(item, [dx, dy]) {
    const [x0, y0] = middle(item);
    let best = null;
    for (const other of items) {
      const [x, y] = middle(other);
      const ahead = (x - x0) * dx + (y - y0) * dy;
      if (other === item || ahead < 2) continue;
      const cost = ahead + 2.5 * Math.abs((x - x0) * dy + (y - y0) * dx);
      if (!best || cost < best.cost) best = { other, cost };
    }
    return best?.other;
  }
  function key(event) {
    const item = items.find((each) => each.element === document.activeElement);
    const zooms = { "+": STEP, "=": STEP, "-": 1 / STEP };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in zooms) zoom(zooms[event.key]);
    else if (event.key === "0") fit();
    else if (event.key === "Home") focus(items[0]);
    else if (event.key === "End") focus(items[items.length - 1]);
    else if (item && event.key in STEPS) focus(beside(item, STEPS[event.key]));
    else if (item && (event.key === "Enter" || event.key === " ")) act(item);
    else return;
    event.preventDefault();
  }

  function label(item, text, cell, tall) {
    const value = item.role === "layer" || item.kind ? (cell ? cell.text : "–") : "";
    return [
      s("text", { x: item.kind ? 20 : 8, y: tall / 2 + 3.5, class: "wb-graph-name", translate: "no" }, text),
      value ? s("text", { x: item.w - 8, y: tall / 2 + 3.5, "text-anchor": "end", class: "wb-graph-value" }, value) : null,
    ];
  }
  function paint(element, cell) {
    element.style.setProperty("--heat", `${Math.round((cell?.heat ?? 0) * 100)}%`);
    element.classList.toggle("wb-graph-none", !cell);
  }
  function nodeOf(node, rows) {
    const row = rows.get(node.name);
    const cell = row?.cells[state.measure] ?? null;
    const layer = node.role === "layer";
    const chosen = layer && node.name === state.selected;
    const spoken = layer ? `${node.name}, ${row ? row.bits_long : ""}, ${cell ? cell.spoken : "not measured"}` : node.tip;
    const element = s("g", {
      class: `wb-graph-node wb-graph-${node.role}`, id: node.id, role: layer ? "button" : "img", "aria-label": spoken,
      "aria-pressed": layer ? chosen : null, "data-name": node.name, transform: `translate(${node.x} ${node.y})`,
    },
    s("title", {}, row ? `${node.tip}\n${row.tip}` : node.tip),
    s("rect", { class: "wb-graph-box", width: node.w, height: node.h, rx: layer ? 6 : node.h / 2 }),
    layer ? s("rect", { class: "wb-graph-edge", width: 4, height: node.h - 8, x: 0, y: 4, rx: 2 }) : null,
    ...label(node, node.label, cell, node.h));
    if (layer) paint(element, cell);
    return { ...node, element, chosen };
  }
  function blockOf(block, rows) {
    const { name, cell } = worstOf(block.layers, model.order[state.measure] || [], rows, state.measure);
    const chosen = !block.open && block.layers.includes(state.selected);
    const told = cell ? `, worst is ${name}, ${cell.spoken}` : "";
    const element = s("g", {
      class: `wb-graph-block${block.open ? " wb-graph-open" : ""}`, id: block.id, role: "button", "aria-expanded": block.open,
      "aria-label": `${block.tip}${told}${chosen ? `, holds ${state.selected}` : ""}`, "data-block": block.name, "data-chosen": String(chosen), transform: `translate(${block.x} ${block.y})`,
    },
    s("title", {}, `${block.tip}${told}`),
    s("rect", { class: "wb-graph-box", width: block.w, height: block.h, rx: 8 }),
    s("rect", { class: "wb-graph-head", width: block.w, height: block.open ? 22 : block.h, rx: 8 }),
    s("path", { class: "wb-graph-sign", d: block.open ? "M7 8.5l3.5 4 3.5-4" : "M8.5 9.5l4 3.5-4 3.5" }),
    block.open ? null : s("rect", { class: "wb-graph-edge", width: 4, height: block.h - 8, x: 0, y: 4, rx: 2 }),
    ...label({ ...block, kind: "block" }, block.label, block.open ? null : cell, block.open ? 22 : block.h).slice(0, block.open ? 1 : 2));
    if (!block.open) paint(element, cell);
    return { ...block, element, chosen };
  }
  function draw(next, chosen) {
    const before = model;
    model = { ...next.graph, order: next.order };
    state = chosen;
    const rows = new Map(next.rows.map((row) => [row.name, row]));
    const held = plot.contains(document.activeElement) && document.activeElement !== picture;
    const blocks = model.blocks.map((block) => blockOf(block, rows));
    const nodes = model.nodes.map((node) => nodeOf(node, rows));
    items = [...blocks, ...nodes].sort((a, b) => a.y - b.y || a.x - b.x);
    picture.setAttribute("aria-label", model.spoken);
    replace(scene, ...blocks.filter((each) => each.open).map((each) => each.element),
      s("path", { class: "wb-graph-wires", d: model.edges.map(route).join("") }),
      ...[...blocks.filter((each) => !each.open), ...nodes].map((each) => each.element));
    const keep = items.find((each) => each.id === (refocus || at)) || items.find((each) => each.name === anchor?.name) || items.find((each) => each.chosen) || items[0];
    for (const each of items) {
      each.element.setAttribute("tabindex", each === keep ? 0 : -1);
    }
    const same = anchor && items.find((each) => each.kind && each.name === anchor.name);
    if (same && view.fitted && before) {
      view.x = anchor.left - same.x * view.scale;
      view.y = anchor.top - same.y * view.scale;
      anchor = null;
      move();
    } else if (view.fitted && before && before.width === model.width && before.height === model.height) move();
    else if (size().width > 20) start(); // while another view hides it, its size comes later
    if (held || refocus) keep?.element.focus({ preventScroll: true });
    refocus = null;
  }

  function mark(selected) {
    state.selected = selected;
    for (const item of items) {
      item.chosen = item.role === "layer" ? item.name === selected : Boolean(item.kind && !item.open && item.layers.includes(selected));
      if (item.role === "layer") item.element.setAttribute("aria-pressed", item.chosen);
      else if (item.kind) item.element.setAttribute("data-chosen", item.chosen);
    }
    const item = items.find((each) => each.chosen);
    if (item && view.fitted) show(item);
  }

  let drag = null;
  const found = (event) => items.find((each) => each.element === event.target.closest?.("[role]"));
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { ...pointIn(plot, event), left: view.x, top: view.y, moved: false, item: found(event) };
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const { x, y } = pointIn(plot, event);
    const [dx, dy] = [x - drag.x, y - drag.y];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    drag.moved = true;
    view.x = drag.left + dx;
    view.y = drag.top + dy;
    move();
  });
  picture.addEventListener("pointerup", () => {
    const done = drag;
    drag = null;
    if (done && !done.moved && done.item) { focus(done.item); act(done.item); }
  });
  picture.addEventListener("pointercancel", () => { drag = null; });
  picture.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = pointIn(plot, event);
    zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400), x, y);
  }, { passive: false });
  plot.addEventListener("keydown", key);
  const seen = new ResizeObserver(() => { if (model && !view.fitted && size().width > 20) start(); });
  seen.observe(plot);

  const tool = (text, name, action) => h("button", { type: "button", class: "wb-graph-tool", "aria-label": name, title: name, onclick: action }, text);
  const all = tool("", "", () => { view.fitted = false; send({ kind: "fold", block: null, open: !model.open }); });
  plot.append(h("div", { class: "wb-graph-tools", role: "group", "aria-label": "Zoom" },
    tool("+", "Zoom in", () => zoom(STEP)), tool("−", "Zoom out", () => zoom(1 / STEP)), tool("⤢", "Fit the whole network", fit), all));
  return {
    plot,
    draw(next, chosen) {
      draw(next, chosen);
      const name = model.open ? "Close all blocks" : "Open all blocks";
      all.textContent = model.open ? "⊟" : "⊞";
      all.hidden = model.blocks.length === 0;
      for (const attribute of ["aria-label", "title"]) all.setAttribute(attribute, name);
    },
    mark,
    stop: () => seen.disconnect(),
  };
}
