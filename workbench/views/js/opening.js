// Where work begins: models as cards, what is on screen now, and things to try first.

import { h, replace, stage } from "./dom.js";
import { button, progressOf } from "./study.js";

function factOf(fact) {
  return h("span", { class: "wb-fact", title: fact.help }, h("b", { class: "wb-num" }, fact.value), h("small", {}, fact.label));
}

function cardOf(card, waiting, choose) {
  return h("button", {
    type: "button", class: "wb-model-card", title: card.tip, "data-name": card.name,
    "aria-current": card.current ? "true" : null, disabled: Boolean(card.absent || waiting), onclick: () => choose(card.name),
  },
  h("span", { class: "wb-card-head" }, h("b", {}, card.name)),
  card.current ? h("span", { class: "wb-tag" }, "on screen") : null,
  h("span", { class: "wb-card-title" }, card.title),
  h("span", { class: "wb-card-task" }, card.task),
  h("span", { class: "wb-facts-row" }, ...card.facts.map(factOf)),
  h("span", { class: `wb-card-foot${card.absent ? " wb-warn" : ""}`, title: card.absent ? null : card.help }, card.absent || card.learning));
}

export function mountOpen(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-open");
  const list = h("div", { class: "wb-scroll wb-open-list", tabindex: 0, role: "region", "aria-label": "Models" });
  function draw() {
    const model = get() || {};
    const top = list.scrollTop;
    replace(list, ...(model.groups || []).map((group) => h("section", { class: "wb-open-group" },
      h("header", {}, h("h2", {}, group.title), h("span", { class: "wb-dim" }, group.help)),
      h("div", { class: "wb-model-cards" }, ...group.cards.map((card) => cardOf(card, model.waiting, (name) => send({ kind: "model", model: name })))))));
    replace(root, model.waiting ? progressOf({ text: model.waiting, fraction: null }) : null, list);
    list.scrollTop = top;
  }
  on(draw);
  draw();
  return stop;
}

export function mountLoaded(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-loaded");
  function draw() {
    const model = get() || {};
    if (!model.rows) { replace(root); return; }
    const rows = model.rows.flatMap((row) => [
      h("dt", {}, row.label),
      h("dd", {}, h("bdi", {}, row.value), row.more ? h("small", {}, row.more) : null),
    ]);
    replace(root, h("h2", {}, model.title), h("dl", {}, ...rows),
      model.note ? h("p", { class: `wb-loaded-note wb-note-${model.tone}`, role: model.tone === "bad" ? "alert" : null }, model.note) : null,
      ...model.actions.map((action) => button(action, send)));
  }
  on(draw);
  draw();
  return stop;
}

export function mountTries(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-tries");
  function draw() {
    const model = get() || {};
    if (!model.steps) { replace(root); return; }
    replace(root, h("div", { class: "wb-tries-row", role: "group", "aria-label": model.title },
      h("b", {}, model.title),
      ...model.steps.map((step) => h("button", {
        type: "button", class: `wb-try wb-try-${step.state}`, title: step.tip, "data-try": step.name,
        disabled: step.state === "blocked" || step.state === "running",
        onclick: (event) => { event.currentTarget.disabled = true; send({ kind: "try", name: step.name }); },
      }, h("i", { class: "wb-num", "aria-hidden": true }, step.state === "done" ? "✓" : step.number), h("span", {}, step.sentence),
      step.words ? h("small", {}, step.words) : null)),
      h("button", { type: "button", class: "wb-link wb-try-close", "aria-label": "Do not propose this again", title: "Do not propose this again", onclick: () => { replace(root); send({ kind: "dismiss" }); } }, "✕")));
  }
  on(draw);
  draw();
  return stop;
}
