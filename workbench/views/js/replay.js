// What was learned, played again: a slider over the reports, play and pause, and a speed.

import { h } from "./dom.js";

const SECONDS = 12; // of the whole at speed 1, however many reports there are
const FASTEST = 12; // reports in a second at speed 1: few reports take less time
const SPEEDS = [0.5, 1, 2, 4];

const still = () => Boolean(window.matchMedia?.("(prefers-reduced-motion: reduce)").matches);

// `count()` tells how many reports there are; `show()` draws the one at `now()`.
export function replayBar(count, show) {
  const slider = h("input", { type: "range", min: 0, class: "wb-slider", "aria-label": "Report to go back to" });
  const where = h("span", { class: "wb-dim wb-num wb-signal-where" });
  const play = h("button", { type: "button", class: "wb-button wb-play" });
  const speed = h("select", { class: "wb-select wb-speed", "aria-label": "Speed of the replay" }, ...SPEEDS.map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
  const element = h("div", { class: "wb-replay", role: "group", "aria-label": "Replay" }, play, slider, where, speed);
  // `at` is null at the newest report, which follows what arrives; `from` is where an animation began
  let [at, frame, from] = [null, 0, null];
  const last = () => count() - 1;
  const now = () => Math.min(last(), at ?? last());

  function label() {
    const text = frame ? "Pause" : still() ? "Next report" : "Play";
    play.textContent = frame ? "❚❚" : "▶";
    play.title = `${text} (space)`;
    play.setAttribute("aria-label", text);
    slider.max = last();
    slider.value = now();
  }
  function move(to) {
    const before = now();
    at = to >= last() ? null : Math.max(0, to);
    if (now() !== before) show();
  }
  function pause() {
    cancelAnimationFrame(frame);
    frame = 0;
    label();
  }
  function tick(time) {
    if (!element.isConnected) { pause(); return; }
    from ??= { time, at: now() };
    const rate = Math.min(FASTEST, last() / SECONDS) * Number(speed.value);
    move(Math.floor(from.at + ((time - from.time) / 1000) * rate));
    if (at == null) pause();
    else frame = requestAnimationFrame(tick);
  }
  function toggle() {
    if (frame) { pause(); return; }
    const first = at == null ? 0 : at;
    // who asked for less motion goes on from report to report
    if (still()) { move(at == null ? 0 : first + 1); label(); return; }
    at = null;
    from = null;
    move(first);
    frame = requestAnimationFrame(tick);
    label();
  }
  slider.addEventListener("input", () => {
    const to = Number(slider.value);
    pause();
    move(to);
    label();
  });
  speed.addEventListener("change", () => { from = null; });
  play.addEventListener("click", toggle);
  // Space plays and pauses wherever it does nothing else.
  function key(event) {
    if (event.key !== " " || event.target.closest("button, select, textarea, input:not([type=range])")) return;
    event.preventDefault();
    toggle();
  }
  return { element, where, now, label, key, stop: pause };
}
