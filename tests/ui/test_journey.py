"""The whole way in a real browser, and two people who go it side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.test_app import PATIENCE, choose, choose_method, opened, ready

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

RUNS = "#wb-runs tbody tr"


def drag_clip(page: Page) -> None:
    """Drag the upper handle of the weights; the exact numbers follow."""
    panel = page.locator("#wb-inspector .wb-panel").first
    box = panel.locator(".wb-handle").last.locator("circle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    readout, took = panel.locator(".wb-readout"), []
    for step in range(1, 13):
        before, started = readout.inner_text(), time.monotonic()
        page.mouse.move(x - 6 * step, y)
        assert readout.inner_text() != before
        took.append(1000 * (time.monotonic() - started))
    page.mouse.up()
    expect(readout).to_contain_text("exact")
    assert statistics.median(took) < 250, took


def cure_the_worst(page: Page) -> None:
    """The first row hurts most; its first cure with 8 bits is tried and kept."""
    row = page.locator("#wb-layers .wb-list .wb-row").first
    row.click()
    cure = page.locator("#wb-why .wb-cure", has_text="8 bits for '").first
    cure.click()
    undo = page.locator("#wb-why .wb-trial").get_by_role("button", name="Undo")
    expect(undo).to_be_visible(timeout=120_000)  # the cured run is on screen by now
    expect(page.locator("#wb-exceptions")).to_contain_text("8 bit for")


def learn_stop_resume(page: Page) -> None:
    """LSQ learns; it is watched, stopped in the middle, resumed and finished."""
    choose_method(page, "LSQ: learned")
    page.locator("#wb-options > button").click()
    epochs = page.locator("#wb-option-lsq-epochs input")
    epochs.fill("100")
    epochs.blur()
    page.locator("#wb-run").click()
    expect(page.locator("#wb-stop")).to_be_visible()
    choose(page, "wb-view", "Learning")
    expect(page.locator("#wb-learned h2").first).to_contain_text("lsq", timeout=PATIENCE)
    page.locator("#wb-learned .wb-signal-row").first.click()
    expect(page.locator("#wb-learned .wb-signal-detail h3").first).to_be_visible()
    page.locator("#wb-stop").click()
    expect(page.locator("#wb-resume")).to_be_visible()
    expect(page.locator(RUNS).first).to_contain_text("stopped")
    page.locator("#wb-resume").click()
    expect(page.locator("#wb-scores")).to_contain_text("learned (lsq)", timeout=180_000)


def take_home(page: Page, folder: Path) -> Path:
    """The model, the recipe and the report; the model's path."""
    for name in ("model", "recipe", "report"):
        with page.expect_download() as download:
            page.locator(f"#wb-download-{name}").click()
        download.value.save_as(folder / download.value.suggested_filename)
    return folder / "model.onnx"


def test_from_a_float_model_to_a_file_that_runs(page: Page, served, watch, tmp_path: Path) -> None:
    opened(page, served)
    drag_clip(page)
    cure_the_worst(page)
    learn_stop_resume(page)
    choose(page, "wb-view", "Export")
    page.locator("#wb-export [data-key=verification]").click()
    expect(page.locator("#wb-export")).to_contain_text("Steps by tensor")
    file = take_home(page, tmp_path)
    found = ort.InferenceSession(file).run(None, {"image": np.zeros((3, 1, 8, 8), np.float32)})
    assert found[0].shape == (3, 4)
    text = (tmp_path / "recipe.toml").read_text(encoding="utf-8")
    assert 'method = "lsq"' in text
    assert "[[overrides]]" in text
    choose(page, "wb-view", "Compare")
    chosen = page.locator("#wb-compared .wb-choice-chip[aria-pressed=true]")
    expect(chosen).not_to_have_count(0)
    expect(page.locator("#wb-compared")).to_contain_text("lsq")
    watch.assert_clean()
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.locator(".wb-list .wb-row")).to_have_count(4)
    watch.forgive_reload()


@pytest.fixture
def other(browser: Browser, served) -> Iterator[Page]:
    """A second person's browser."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield opened(context.new_page(), served)
    context.close()


def test_two_people_do_not_see_each_other(page: Page, other: Page, served) -> None:
    opened(page, served)
    for person, bits in ((page, "3"), (other, "2")):
        choose_method(person, "Round to nearest")
        choose(person, "wb-weights", bits)
        person.locator("#wb-run").click()
    for person, own, foreign in ((page, "W3A8", "W2A8"), (other, "W2A8", "W3A8")):
        expect(person.locator(RUNS).first).to_contain_text(own)
        expect(person.locator("#wb-stop")).not_to_be_visible(timeout=120_000)
        expect(person.locator(RUNS)).to_have_count(2)  # one's own, and the baseline
        assert foreign not in person.locator("#wb-runs").inner_text()
    ready(other)
    link = other.url.partition("?")[2]
    page.goto(f"{served.url}?{link}")
    ready(page)
    assert "W2A8" not in page.locator("#wb-runs").inner_text()
