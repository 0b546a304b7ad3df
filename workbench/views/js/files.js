// Below a picture: what it is drawn from, as CSV and JSON, and the picture itself for papers.

import { h, replace, stage } from "./dom.js";

// Text that a spreadsheet would take for a formula is quoted with an apostrophe before it.
function cellText(value) {
  if (value == null) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const plain = typeof value === "string" ? value : JSON.stringify(value);
  const text = /^[=+@\t\r-]/.test(plain) ? `'${plain}` : plain;
  return /[",\n\r']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csvText(rows) {
  const keys = [...new Set(rows.flatMap(Object.keys))];
  return [keys, ...rows.map((row) => keys.map((key) => row[key]))].map((line) => `${line.map(cellText).join(",")}\n`).join("");
}

function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export function mountFiles(element, { get, on }) {
  const { root, stop } = stage(element, "wb-files");
  function update() {
    const model = get();
    if (!model) { replace(root); return; }
    const link = (label, make) => h("button", { type: "button", class: "wb-link", "aria-label": `${model.title} as ${label}`, onclick: make }, label);
    const name = (kind) => `${model.name}.${kind}`;
    const found = typeof model.rows === "function" ? model.rows : model.rows?.length && (() => model.rows);
    const rows = found ? [
      link("CSV", () => save(name("csv"), csvText(found()), "text/csv")),
      link("JSON", () => save(name("json"), JSON.stringify(found(), null, 1), "application/json")),
    ] : [];
    const drawn = model.figures ? [
      link("SVG", () => save(name("svg"), bytesOf(model.figures.svg), "image/svg+xml")),
      link("PDF", () => save(name("pdf"), bytesOf(model.figures.pdf), "application/pdf")),
    ] : [];
    replace(root, ...rows, ...drawn);
  }
  on(update);
  update();
  return stop;
}
