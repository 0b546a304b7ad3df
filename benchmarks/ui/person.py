"""One person in a real Chromium: how long the eye waits for what the hand does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.ui.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
ROWS = "#wb-layers .wb-list .wb-row"
HANDLE = "#wb-inspector .wb-panel >> nth=0 >> .wb-handle >> nth=1 >> circle"
READOUT = "#wb-inspector .wb-panel .wb-readout"
STEPS = 40
LAYERS = 12
_PATIENCE = 120_000

# From the pointer's move to the next frame in which the readout has changed, inside the page: the
# driver's own trip to the browser is no part of what a person waits for.
_WATCH = """(readout) => {
  const took = window.tookMs = [];
  const words = document.querySelector(readout);
  window.addEventListener("pointermove", () => {
    const before = words.textContent, began = performance.now();
    const look = () => {
      if (words.textContent === before && performance.now() - began < 2000)
        return requestAnimationFrame(look);
      return requestAnimationFrame(() => took.push(performance.now() - began));
    };
    requestAnimationFrame(look);
  }, { capture: true, signal: (window.tookEnd = new AbortController()).signal });
}"""

# From the click on a row to the frame in which the chosen layer is drawn.
_LAYER = """async ([rows, number]) => {
  const row = document.querySelectorAll(rows)[number], name = row.dataset.name;
  const shown = () => document.querySelector("#wb-inspector .wb-crumb .wb-name")?.title;
  if (shown() === name) return null;
  const began = performance.now();
  row.click();
  while (shown() !== name && performance.now() - began < 20000)
    await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""


# From a slider's event to the frame after the answer: the request itself, as the browser notes it.
_SLIDER = """async () => {
  const host = document.querySelector("#wb-lessons"), took = [];
  const answers = () => performance.getEntriesByType("resource")
    .filter((each) => each.name.includes("component_server")).length;
  for (let k = 0; k < 10; k++) {
    const slider = host.querySelector("input[type=range]"), before = answers();
    const step = Number(slider.step) || 1, began = performance.now();
    slider.value = Number(slider.value) + (k % 2 ? -step : step);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    slider.dispatchEvent(new Event("change", { bubbles: true }));
    while (answers() === before && performance.now() - began < 3000)
      await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    took.push(performance.now() - began);
    await new Promise((f) => setTimeout(f, 150));
  }
  return took;
}"""


def measure(server: Server) -> dict[str, Any]:
    """Milliseconds of what one person does, alone and while a job runs."""
    with chromium() as page:
        first = _first(page, server)
        alone, layers = _drag(page), _layers(page)
        lesson = _lesson(page)
        busy = _beside_a_job(page)
        return {
            "first_screen_s": round(first, 2),
            "drag": summary(alone),
            "layer": summary(layers),
            "lesson": summary(lesson),
            **busy,
        }


@contextmanager
def chromium() -> Iterator[Page]:
    """A page of a headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(_PATIENCE)
        yield page
        browser.close()


def _first(page: Page, server: Server) -> float:
    """Seconds from asking a fresh server for its page to layers and scores on the screen."""
    began = time.monotonic()  # the browser runs already, as a person's does
    page.goto(server.url, wait_until="commit")
    page.locator(ROWS).first.wait_for()
    page.locator("#wb-scores .wb-kpi").first.wait_for()
    seconds = time.monotonic() - began
    page.wait_for_function("localStorage.getItem('workbench-key') !== null")
    page.wait_for_timeout(1000)
    return seconds


def _drag(page: Page) -> list[float]:
    """Milliseconds of each step of a drag of the weights' upper handle."""
    box = page.locator(HANDLE).bounding_box()
    if box is None:
        return []
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(_WATCH, READOUT)
    for step in range(1, STEPS + 1):
        page.mouse.move(x - 2 * step, y)
        page.wait_for_timeout(40)
    took = page.evaluate("(window.tookEnd.abort(), window.tookMs)")
    page.mouse.up()
    return took


def _layers(page: Page) -> list[float]:
    count = page.locator(ROWS).count()
    took = [page.evaluate(_LAYER, [ROWS, (3 * k + 1) % count]) for k in range(LAYERS)]
    return [each for each in took if each is not None]


def _lesson(page: Page) -> list[float]:
    """A slider of the first demo, moved: until the frame after the server's answer."""
    page.locator("#wb-view label").filter(has_text="Lessons").click()
    page.locator("#wb-lessons .wb-lesson-card").first.click()
    page.locator("#wb-lessons input[type=range]").first.wait_for()
    page.wait_for_timeout(1000)
    took = page.evaluate(_SLIDER)
    page.locator("#wb-view label").filter(has_text="Layers").click()
    page.locator(HANDLE).wait_for()
    return took


def _beside_a_job(page: Page) -> dict[str, Any]:
    """The same while LSQ learns."""
    page.locator("#wb-method input").click()
    page.get_by_role("option", name="LSQ: learned").click()
    page.wait_for_timeout(500)
    page.locator("#wb-run").click()
    page.locator("#wb-stop").wait_for()
    _until(lambda: "%" in page.locator("#wb-runs").inner_text(), 60)
    found = {"drag_with_job": _drag(page), "layer_with_job": _layers(page)}
    at_work = page.locator("#wb-stop").is_visible()
    page.locator("#wb-stop").click(timeout=5000) if at_work else None
    return {**{k: summary(v) for k, v in found.items()}, "job_ran_throughout": at_work}


def _until(found: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        time.sleep(0.2)


def summary(milliseconds: list[float]) -> dict[str, Any]:
    """How often, the median and the worst."""
    if not milliseconds:
        return {"count": 0}
    return {
        "count": len(milliseconds),
        "median_ms": round(median(milliseconds), 1),
        "worst_ms": round(max(milliseconds), 1),
    }
