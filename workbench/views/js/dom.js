// Small helpers: elements, numbers, the light or dark scheme, and sizes.
// Text from a model file only ever enters a page through textContent or setAttribute.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || (value === false && !name.startsWith("aria-"))) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
  }
  for (const child of children) {
    if (child != null) element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.filter((child) => child != null));
}

// A function that redraws what is in `root`: what has the focus keeps it, and where that is gone, or was
// disabled as it was pressed, `rest` takes it.
export function focusKeeper(root, rest) {
  const words = new WeakMap(); // as they were drawn: the page may be in another language
  const all = () => [...root.querySelectorAll("button, select, [tabindex]")];
  let pressed = null;
  root.addEventListener("focusin", ({ target }) => { pressed = target; });
  root.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget) pressed = null; });
  return (redraw) => {
    const now = document.activeElement;
    const had = root.contains(now) ? now : now === document.body && pressed?.disabled ? pressed : null;
    const held = had && words.get(had);
    redraw();
    for (const each of all()) words.set(each, each.dataset.key || each.getAttribute("aria-label") || each.textContent);
    if (held) (all().find((each) => words.get(each) === held && !each.disabled) ?? rest).focus({ preventScroll: true });
  };
}

// 12345 → "12,345"; minus signs are true minus signs, for tabular columns.
export function whole(value) {
  return Math.round(value).toLocaleString("en-US").replace("-", "−");
}

export function decimal(value, digits = 1) {
  if (value == null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  return value.toFixed(digits).replace("-", "−");
}

// Three significant digits without a tail of zeros.
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e4 || size < 1e-3 ? value.toExponential(1) : value.toPrecision(3);
  return text.replace("-", "−").replace(/(\.\d*?)0+(?=$|e)/, "$1").replace(/\.(?=$|e)/, "");
}

// A name whose beginning and end stay readable when space is short: it is cut in the middle.
export function nameParts(name) {
  const cut = Math.min(9, Math.ceil(name.length / 2));
  return [name.slice(0, cut), name.slice(cut)];
}

export function nameElement(name, className = "wb-name") {
  const [head, tail] = nameParts(name);
  return h("span", { class: className, title: name }, h("span", {}, head), h("span", {}, h("bdi", {}, tail)));
}

// "light" or "dark": an explicit choice of the page first, then the system's.
function schemeOf(element) {
  const marked = element.closest("[data-theme]");
  if (marked) return marked.dataset.theme;
  const body = document.body;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
  if (body.dataset.vscodeThemeKind) return /dark|high-contrast$/.test(body.dataset.vscodeThemeKind) ? "dark" : "light";
  if (element.closest(".gradio-container")) return body.classList.contains("dark") ? "dark" : "light";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

// Keep `root.dataset.scheme` right while the page or the system changes; returns a stop function.
export function followScheme(root) {
  const paint = () => { root.dataset.scheme = schemeOf(root); };
  const watcher = new MutationObserver(paint);
  for (const target of [document.documentElement, document.body]) {
    watcher.observe(target, { attributes: true, attributeFilter: ["class", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind"] });
  }
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", paint);
  paint();
  return () => { watcher.disconnect(); media.removeEventListener("change", paint); };
}

// Prepare the root of a picture; returns it and a function that stops its observers.
export function stage(element, className) {
  const root = h("div", { class: `wb ${className}` });
  element.replaceChildren(root);
  return { root, stop: followScheme(root) };
}

// How much larger than its own pixels the page shows an element: larger type is a zoom of the page.
const zoomOf = (element) => element.currentCSSZoom ?? 1;

// The size of an element, and the place of the pointer in it, in its own pixels.
export function sizeOf(element) {
  const { width, height } = element.getBoundingClientRect();
  const zoom = zoomOf(element);
  return { width: width / zoom, height: height / zoom };
}

export function pointIn(element, event) {
  const { left, top } = element.getBoundingClientRect();
  const zoom = zoomOf(element);
  return { x: (event.clientX - left) / zoom, y: (event.clientY - top) / zoom };
}

// What is drawn for the first time in one turn is measured all at once before any of it is drawn: to
// read a size between two drawings lets the browser lay out the page once more.
const firsts = new Set();
function drawFirsts() {
  const measured = [...firsts].map((one) => [one, sizeOf(one.element)]);
  for (const [one, size] of measured) if (firsts.delete(one)) one.take(size);
}

// Call `draw(width, height)` at the end of this turn and at each change of size, at most once a frame.
export function onSize(element, draw) {
  let waiting = 0;
  const take = ({ width, height }) => { if (width > 20 && height > 20) draw(width, height); };
  const first = { element, take };
  const run = () => {
    waiting = 0;
    take(sizeOf(element));
  };
  const observer = new ResizeObserver(() => { waiting = waiting || requestAnimationFrame(run); });
  observer.observe(element);
  if (!firsts.size) queueMicrotask(drawFirsts);
  firsts.add(first);
  return () => { firsts.delete(first); observer.disconnect(); };
}

// Round tick positions for an axis: at most `count` of them inside [low, high].
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough) || power;
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
  return found;
}

// The path of a line through points [x, y]; a point without y interrupts it.
export function linePath(points) {
  let path = "";
  let pen = "M";
  for (const [x, y] of points) {
    if (y == null) { pen = "M"; continue; }
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return path;
}
