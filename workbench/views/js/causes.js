// Why a layer suffers: causes with their numbers, cures as buttons, and the proof of what was tried.

import { focusKeeper, h, replace, stage } from "./dom.js";
import { button, progressOf } from "./study.js";

const TRIAL_SIGNS = { kept: "✓", dropped: "↩", failed: "✕" };

function cureOf(cure, send) {
  const cost = [cure.cost, cure.operations].filter(Boolean).join(" · ");
  return h("button", {
    type: "button", class: `wb-cure${cure.best ? " wb-best" : ""}`, title: cure.help, disabled: cure.disabled,
    "aria-label": `${cure.words}: ${cure.gain}, ${cost}${cure.best ? `, ${cure.best}` : ""}`,
    onclick: () => send(cure.send),
  },
  h("span", { class: "wb-cure-words" }, cure.words, cure.best ? h("small", {}, cure.best) : null),
  h("span", { class: "wb-cure-price wb-num" }, h("b", { class: `wb-${cure.tone}` }, cure.gain), h("span", {}, cost)));
}

function causeOf(cause, send) {
  const length = h("i");
  length.style.width = `${(cause.share.fraction * 100).toFixed(1)}%`;
  return h("li", { class: "wb-cause", "data-cause": cause.name },
    h("div", { class: "wb-cause-head" }, h("h4", {}, cause.title),
      h("span", { class: "wb-share", role: "img", "aria-label": cause.share.spoken, title: `${cause.share.spoken}: ${cause.share.help}` },
        h("span", { class: "wb-track" }, length), h("b", { class: "wb-num" }, cause.share.text))),
    cause.site ? h("p", { class: "wb-dim wb-site" }, cause.site) : null,
    h("p", {}, cause.sentence),
    ...cause.cures.map((cure) => cureOf(cure, send)),
    cause.also ? h("p", { class: "wb-dim" }, cause.also) : null);
}

function proofRow(row) {
  return h("tr", { class: `wb-${row.tone}-row` }, h("th", { scope: "row" }, row.label),
    h("td", { class: "wb-right wb-dim" }, row.before), h("td", { class: "wb-dim", "aria-hidden": true }, "→"),
    h("td", { class: `wb-right wb-${row.tone}` }, h("b", {}, row.after)), h("td", {}, row.unit));
}

function storyLine(step) {
  return h("li", { class: step.kept ? "wb-kept" : "wb-dropped", title: step.help },
    h("b", { role: "img", "aria-label": step.kept ? "kept" : "put back" }, step.kept ? "✓" : "↩"),
    h("span", {}, h("span", { class: "wb-strong" }, step.layer), ` ${step.words}`, h("small", { class: "wb-num" }, step.numbers)));
}

function trialOf(trial, send) {
  const sign = TRIAL_SIGNS[trial.state];
  return h("section", { class: `wb-trial wb-trial-${trial.tone}`, "aria-live": "polite", "data-state": trial.state },
    h("h4", {}, sign ? h("b", { class: `wb-${trial.tone}`, "aria-hidden": true }, `${sign} `) : null, trial.title),
    trial.progress ? progressOf(trial.progress) : null,
    trial.steps.length ? h("ol", { class: "wb-story" }, ...trial.steps.map(storyLine)) : null,
    trial.rows.length ? h("table", { class: "wb-proof wb-num" }, h("tbody", {}, ...trial.rows.map(proofRow))) : null,
    trial.note ? h("p", {}, trial.note) : null,
    trial.actions.length ? h("div", { class: "wb-trial-actions" }, ...trial.actions.map((action) => button(action, send))) : null);
}

function choiceOf(label, entries, chosen, choose) {
  const options = entries.map((entry, i) => h("option", { value: i, selected: i === chosen }, entry.label));
  return h("select", { class: "wb-select", "aria-label": label, title: label, onchange: (event) => choose(Number(event.target.value)) }, ...options);
}

function autoOf(auto, state, send) {
  const at = (entries, i) => entries[Math.min(i, entries.length - 1)];
  const goal = state.goal ?? auto.chosen;
  return h("div", { class: "wb-auto" }, h("button", {
    type: "button", class: "wb-button wb-auto-button", title: auto.help, disabled: auto.disabled,
    onclick: (event) => {
      event.currentTarget.disabled = true;
      send({ kind: "auto", within: at(auto.goals, goal).value, budget: at(auto.budgets, state.budget).value });
    },
  }, auto.label),
  choiceOf(auto.goal, auto.goals, goal, (i) => { state.goal = i; }),
  choiceOf(auto.budget, auto.budgets, state.budget, (i) => { state.budget = i; }));
}

export function mountCauses(element, { get, on, send }) {
  const { root, stop } = stage(element, "wb-why");
  const state = { goal: null, budget: 0 };
  const list = h("div", { class: "wb-scroll wb-causes", tabindex: 0, role: "region", "aria-label": "Causes and cures" });
  const once = (message) => { for (const each of root.querySelectorAll(".wb-cure")) each.disabled = true; send(message); };
  let shown = "";
  const keeping = focusKeeper(root, list);
  const draw = () => keeping(redraw);
  function redraw() {
    const model = get();
    if (!model?.title) { replace(root); return; }
    const key = `${model.layer}|${model.trial?.state || ""}`;
    const top = key === shown ? list.scrollTop : 0;
    shown = key;
    replace(list,
      model.trial ? trialOf(model.trial, send) : null,
      model.progress ? progressOf(model.progress) : null,
      model.message ? h("p", { class: "wb-dim wb-why-message" }, model.message) : null,
      model.actions.length ? h("div", { class: "wb-trial-actions" }, ...model.actions.map((action) => button(action, send))) : null,
      model.causes.length ? h("ol", {}, ...model.causes.map((cause) => causeOf(cause, once))) : null);
    replace(root, h("div", { class: "wb-plot-head" }, h("h3", {}, model.title), h("span", { class: "wb-dim wb-num", title: model.status }, model.status)),
      list, model.auto ? autoOf(model.auto, state, send) : null);
    list.scrollTop = top;
  }
  on(draw);
  draw();
  return stop;
}
