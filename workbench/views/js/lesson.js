// A demo of a lesson: a question with a guess, controls, panels, readings and code; or the cards of all.
// Everything is drawn from one view-model; what a person does goes out as a message.

import { copy } from "./code.js";
import { h, replace, short, stage } from "./dom.js";
import { panelView } from "./panels.js";

const WAIT = 400; // ms after which a missing answer is not waited for any more
const SLOW = 500; // ms after which it is said that something is computed
const LOST = 20000; // ms after which an answer does not come any more
const BEAT = 140; // ms between the steps of what plays
const FINE = 240; // steps of a slider of factors

// One message at a time; of those that set the same option only the last waits.
function line(send) {
  const waiting = [];
  let timer = 0;
  function go() {
    clearTimeout(timer);
    timer = 0;
    const next = waiting.shift();
    if (!next) return;
    timer = setTimeout(go, WAIT);
    send(next);
  }
  return {
    put(message) {
      const last = waiting.findIndex((one) => one.kind === "set" && message.kind === "set" && one.name === message.name);
      if (last < 0) waiting.push(message); else waiting[last] = message;
      if (!timer) go();
    },
    answered: go,
    stop() { clearTimeout(timer); waiting.length = 0; },
  };
}

function limited(control, value) {
  let found = Math.min(control.maximum ?? Infinity, Math.max(control.minimum ?? -Infinity, value));
  if (control.kind === "integer") found = Math.round(found);
  else if (control.step) found = Number((Math.round(found / control.step) * control.step).toFixed(9));
  else found = Number(found.toPrecision(4));
  return found;
}

const byLog = (control, position) => control.minimum * (control.maximum / control.minimum) ** (position / FINE);
const positionOf = (control, value) => (control.log ? FINE * Math.log(value / control.minimum) / Math.log(control.maximum / control.minimum) : value);

function slider(control, put) {
  const id = `wb-l-${control.name}-${Math.random().toString(36).slice(2, 8)}`;
  const said = h("output", { class: "wb-num", for: id });
  const range = h("input", { type: "range", id, class: "wb-slider",
    min: control.log ? 0 : control.minimum, max: control.log ? FINE : control.maximum,
    step: control.log ? 1 : control.kind === "integer" ? 1 : control.step || (control.maximum - control.minimum) / 200 });
  let held = false;
  const value = () => limited(control, control.log ? byLog(control, Number(range.value)) : Number(range.value));
  range.addEventListener("input", () => { said.textContent = short(value()); range.setAttribute("aria-valuetext", said.textContent); put(control.name, value()); });
  range.addEventListener("pointerdown", () => { held = true; });
  for (const end of ["pointerup", "pointercancel", "blur"]) range.addEventListener(end, () => { held = false; });
  const show = (next) => {
    said.textContent = short(next);
    range.setAttribute("aria-valuetext", said.textContent);
    if (!held) range.value = positionOf(control, next);
  };
  const play = control.play ? player(control, value, (next) => { range.value = positionOf(control, next); show(next); put(control.name, next); }) : null;
  const element = h("div", { class: "wb-control", title: control.help },
    h("div", { class: "wb-control-head" }, h("label", { for: id }, control.label), said), h("div", { class: "wb-control-row" }, play?.button, range));
  return { element, show, stop: () => play?.stop() };
}

function player(control, value, set) {
  let timer = 0;
  const button = h("button", { type: "button", class: "wb-play", "aria-label": `Play ${control.label}` }, "▶");
  function stop() { clearInterval(timer); timer = 0; button.textContent = "▶"; }
  function beat() {
    if (!button.isConnected || value() >= control.maximum) { stop(); return; }
    set(value() + 1);
  }
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (value() >= control.maximum) set(control.minimum);
    button.textContent = "❚❚";
    timer = setInterval(beat, BEAT);
  });
  return { button, stop };
}

function choice(control, put) {
  const few = control.choices.length <= 3 && control.choices.join("").length < 34;
  if (!few) {
    const select = h("select", { class: "wb-lesson-select", onchange: () => put(control.name, control.choices[select.selectedIndex]) },
      ...control.choices.map((one) => h("option", {}, one)));
    return { element: h("label", { class: "wb-control", title: control.help }, h("span", {}, control.label), select), show: (value) => { select.selectedIndex = control.choices.indexOf(value); } };
  }
  const buttons = control.choices.map((one) => h("button", { type: "button", class: "wb-seg", onclick: () => put(control.name, one) }, one));
  const element = h("div", { class: "wb-control", title: control.help }, h("span", {}, control.label), h("div", { class: "wb-segments", role: "group", "aria-label": control.label }, ...buttons));
  return { element, show: (value) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", control.choices[i] === value)) };
}

function flag(control, put) {
  const box = h("input", { type: "checkbox", onchange: () => put(control.name, box.checked) });
  return { element: h("label", { class: "wb-control wb-flag", title: control.help }, box, h("span", {}, control.label)), show: (value) => { box.checked = value; } };
}

function textField(control, put) {
  const box = h("input", { type: "text", class: "wb-lesson-text", onchange: () => put(control.name, box.value) });
  return { element: h("label", { class: "wb-control", title: control.help }, h("span", {}, control.label), box), show: (value) => { box.value = value ?? ""; } };
}

function controlOf(control, put) {
  if (control.kind === "flag") return flag(control, put);
  if (control.kind === "choice") return choice(control, put);
  const bounded = control.minimum != null && control.maximum != null;
  return bounded && control.kind !== "text" ? slider(control, put) : textField(control, put);
}

function verdict(question) {
  const right = question.right;
  const tone = right == null ? "plain" : right ? "good" : "bad";
  const words = right == null ? "" : right ? "Right. " : `Your guess: ${question.guessed}. `;
  return h("div", { class: `wb-lesson-verdict wb-is-${tone}`, role: "status" }, h("b", {}, right == null ? "" : right ? "✓ " : "✕ "), words, h("span", {}, "Answer: ", h("b", {}, question.answer)));
}

function questionOf(question, send) {
  const guess = (value) => send({ kind: "guess", value });
  const parts = [h("p", { class: "wb-ask" }, question.text)];
  if (question.choices.length) {
    const look = (one) => (!question.answered ? "" : one === question.choice ? " wb-true" : one === question.guess ? " wb-false" : "");
    parts.push(h("div", { class: "wb-answers", role: "group", "aria-label": "Your guess" }, ...question.choices.map((one) => h("button", {
      type: "button", class: `wb-answer${look(one)}`, "aria-pressed": one === question.guess, disabled: question.answered, onclick: () => guess(one) }, one))));
  } else if (!question.answered) {
    const box = h("input", { type: "text", inputmode: "decimal", class: "wb-lesson-text", "aria-label": "Your guess" });
    parts.push(h("form", { class: "wb-number", onsubmit: (event) => { event.preventDefault(); guess(box.value); } },
      box, question.unit ? h("span", { class: "wb-dim" }, question.unit) : null, h("button", { type: "submit", class: "wb-button wb-primary" }, "Guess")));
  }
  parts.push(question.answered
    ? h("div", { class: "wb-lesson-after" }, verdict(question), h("button", { type: "button", class: "wb-link", onclick: () => send({ kind: "again" }) }, "Ask me again"))
    : h("button", { type: "button", class: "wb-link", onclick: () => send({ kind: "reveal" }) }, "Show me"));
  return parts;
}

function readingsOf(readings) {
  return readings.map((one) => h("div", { class: "wb-reading" }, h("span", { class: "wb-dim" }, one.label),
    h("b", { class: `wb-num wb-text-${one.tone}` }, one.text, one.unit ? h("i", {}, ` ${one.unit}`) : null), one.reference ? h("small", {}, one.reference) : null));
}

function codeOf(text, open, opened) {
  const button = h("button", { type: "button", class: "wb-button", onclick: (event) => { event.preventDefault(); copy(text, button); } }, "Copy");
  return h("details", { class: "wb-lesson-code", open, ontoggle: (event) => opened(event.target.open) },
    h("summary", {}, "Show me the code"), h("div", { class: "wb-lesson-pre" }, button, h("pre", { tabindex: 0 }, text)));
}

function cardsOf(topics, send) {
  return topics.flatMap((topic) => [h("h2", {}, topic.title), h("div", { class: "wb-lesson-cards" }, ...topic.cards.map((card) => h("button", {
    type: "button", class: "wb-lesson-card", "data-demo": card.name, onclick: () => send({ kind: "open", demo: card.name }) }, h("b", {}, card.title), h("span", {}, card.description))))]);
}

function lessonHead(model, send, teach) {
  const go = (label, words, demo) => h("button", { type: "button", class: "wb-button", disabled: !demo, "aria-label": words, title: words, onclick: () => send({ kind: "open", demo }) }, label);
  return h("header", { class: "wb-lesson-head" },
    model.single ? null : h("button", { type: "button", class: "wb-button wb-lesson-all", onclick: () => send({ kind: "list" }) }, "All demos"),
    h("div", { class: "wb-lesson-title" }, h("h2", {}, model.title), h("p", { class: "wb-dim" }, model.description)),
    model.single ? null : go("‹", "The demo before", model.before), model.single ? null : go("›", "The next demo", model.next),
    model.single ? h("button", { type: "button", class: "wb-button", "aria-label": "Larger type, for a class", title: "Larger type, for a class", onclick: teach }, "Aa") : null);
}

export function mountLesson(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-lesson");
  const out = line(send);
  const state = { name: null, controls: [], panels: [], code: false };
  const parts = {};
  let slow = 0;
  function heard() { clearTimeout(slow); slow = 0; root.classList.remove("wb-waits"); }
  function tell(message) {
    out.put(message);
    if (!slow) slow = setTimeout(() => { root.classList.add("wb-waits"); slow = setTimeout(heard, LOST); }, SLOW);
  }

  function clear() {
    for (const one of [...state.controls, ...state.panels]) one.stop?.();
    state.controls = [];
    state.panels = [];
  }
  // With `row`, cells of a row exclude each other: a click replaces what was chosen in its row.
  function sent(name, value, toggles, row = 0) {
    const control = (get().controls || []).find((one) => one.name === name);
    if (!control) return;
    if (control.kind === "set" && row && !control.value.includes(value)) {
      const others = control.value.filter((one) => Math.floor(one / row) !== Math.floor(value / row));
      tell({ kind: "set", name, value: [...others, value] });
    } else if (control.kind === "set" && toggles) tell({ kind: "toggle", name, value });
    else tell({ kind: "set", name, value: control.kind === "set" ? [value] : limited(control, value) });
  }
  function teach() {
    root.classList.toggle("wb-teach");
    for (const panel of state.panels) panel.redraw();
  }
  function build(model) {
    clear();
    state.name = model.name;
    const put = (name, value) => tell({ kind: "set", name, value });
    const shown = model.controls.filter((control) => !control.hidden);
    state.controls = shown.map((control) => ({ ...controlOf(control, put), name: control.name }));
    parts.question = h("section", { class: "wb-lesson-question", "aria-label": "Question" });
    parts.explanation = h("section", { class: "wb-lesson-why" });
    parts.readings = h("section", { class: "wb-readings", "aria-label": "Numbers" });
    parts.panels = h("div", { class: "wb-lesson-panels" });
    parts.code = h("div");
    parts.problem = h("p", { class: "wb-bad", role: "alert" });
    parts.reset = h("button", { type: "button", class: "wb-link", onclick: () => tell({ kind: "reset" }) }, "Reset");
    const controls = h("section", { class: "wb-lesson-controls", "aria-label": "Controls" }, ...state.controls.map((one) => one.element), parts.reset);
    replace(root, lessonHead(model, tell, teach), h("div", { class: "wb-lesson-body wb-scroll" },
      h("div", { class: "wb-lesson-side" }, parts.question, controls, parts.problem),
      h("div", { class: "wb-lesson-main" }, parts.readings, parts.panels, parts.explanation, parts.code, h("p", { class: "wb-dim wb-lesson-cite" }, model.citation))));
  }
  function drawPanels(panels) {
    const kinds = panels.map((panel) => panel.kind).join();
    if (kinds === state.panels.map((view) => view.kind).join()) { panels.forEach((panel, i) => state.panels[i].update(panel)); return; }
    state.panels.forEach((view) => view.stop());
    state.panels = panels.map((panel) => panelView(panel, sent));
    replace(parts.panels, ...state.panels.map((view) => view.element));
  }
  function fill(model) {
    for (const control of state.controls) control.show(model.controls.find((one) => one.name === control.name).value);
    replaceIfNew(parts.question, model.question, () => questionOf(model.question, tell));
    replaceIfNew(parts.readings, model.readings, () => readingsOf(model.readings));
    replaceIfNew(parts.explanation, model.explanation, () => model.explanation.map((text) => h("p", {}, text)));
    replaceIfNew(parts.code, model.code, () => (model.code ? [codeOf(model.code, state.code, (open) => { state.code = open; })] : []));
    parts.problem.textContent = model.problem || "";
    parts.reset.hidden = !model.changed;
    drawPanels(model.panels);
  }
  function update() {
    const model = get() || {};
    out.answered();
    heard();
    if (!model.name) {
      clear();
      state.name = null;
      replace(root, h("div", { class: "wb-lesson-index wb-scroll" }, ...cardsOf(model.topics || [], tell)));
      return;
    }
    if (model.name !== state.name) { state.code = false; build(model); }
    fill(model);
  }
  on(update);
  update();
  return () => { clear(); heard(); out.stop(); stop(); };
}

// Draw a part only when what it shows has changed; the focus stays with a button of the same words.
const drawnOf = new WeakMap();
const wordsOf = new WeakMap(); // of buttons as they were drawn: the page may be in another language
function replaceIfNew(part, value, make) {
  const text = JSON.stringify(value);
  if (drawnOf.get(part) === text) return;
  drawnOf.set(part, text);
  const focused = part.contains(document.activeElement) ? wordsOf.get(document.activeElement) : null;
  replace(part, ...make());
  for (const one of part.querySelectorAll("button")) wordsOf.set(one, one.textContent);
  if (focused) [...part.querySelectorAll("button")].find((one) => wordsOf.get(one) === focused && !one.disabled)?.focus();
}
