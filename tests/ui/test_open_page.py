"""Where work begins, in a real browser: cards, files that are dropped, things to try."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.ui.test_app import PATIENCE, choose, opened
from tests.ui.test_opening import packed
from workbench.session import zoo

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LAYERS = "#wb-layers .wb-list .wb-row"


def begun(page: Page, served) -> Page:
    """The page 'Open'."""
    opened(page, served)
    choose(page, "wb-view", "Open")
    expect(page.locator("#wb-open .wb-model-card")).to_have_count(len(zoo.known()))
    expect(page.locator("#wb-loaded dl")).to_contain_text("80 calibrate, 80 others judge")
    return page


def drop(page: Page, kind: str, path: Path) -> None:
    page.locator(f"#wb-drop-{kind} input[type=file]").set_input_files(path)


def refused(page: Page) -> str:
    """What the notice says; the page stays where it is."""
    notice = page.locator(".wb-notice.wb-bad")
    expect(notice).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#wb-open-card")).to_be_visible()
    expect(page.locator("#wb-open")).not_to_contain_text("Checking")
    text = notice.locator("span").inner_text()
    notice.get_by_role("button").click()
    assert "Traceback" not in text
    assert len(text) < 300
    return text


def test_a_card_opens_a_model_and_shows_its_layers(page, served, watch):
    begun(page, served)
    card = page.locator('#wb-open .wb-model-card[data-name="digits-resnet"]')
    expect(card).to_contain_text("97.6 %")
    card.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#wb-layers-card")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#wb-curves")).to_contain_text("nearest rounding", timeout=PATIENCE)
    choose(page, "wb-view", "Open")
    expect(card).to_have_attribute("aria-current", "true")
    expect(page.locator("#wb-loaded dl")).to_contain_text("1,000 calibrate, 3,000 others judge")
    watch.assert_clean()


def test_wrong_files_are_refused_in_words(page, served, tmp_path: Path):
    begun(page, served)
    noise, text = tmp_path / "noise.onnx", tmp_path / "page.html"
    noise.write_bytes(b"\x00\xffthis is no model" * 20)
    text.write_text("<script>alert(1)</script>")
    drop(page, "model", noise)
    assert "noise.onnx" in refused(page)
    drop(page, "data", text)
    assert "'page.html' is not a kind of file we can use" in refused(page)
    wrong = tmp_path / "wide.npz"
    np.savez(wrong, image=np.zeros((9, 1, 8, 9), np.float32))
    drop(page, "data", wrong)
    assert "9" in refused(page)
    expect(page.locator("#wb-loaded dl")).to_contain_text("80 calibrate, 80 others judge")


def test_a_zip_with_external_data_is_analysed_without_data_then_with(
    page, served, tiny, tmp_path: Path
):
    begun(page, served)
    drop(page, "model", packed(tmp_path))
    expect(page.locator("#wb-layers-card")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".wb-notice")).to_contain_text("no data yet")
    expect(page.locator("#wb-synthetic input")).to_have_value("chance (data-free)")
    expect(page.locator(LAYERS)).to_have_count(4, timeout=120_000)
    expect(page.locator("#wb-scores")).to_contain_text("data-free")
    choose(page, "wb-view", "Open")
    expect(page.locator("#wb-loaded")).to_contain_text("Without data nothing judges")
    drop(page, "data", tiny.data)
    expect(page.locator(".wb-notice")).to_contain_text("labels: yes", timeout=PATIENCE)
    expect(page.locator("#wb-synthetic input")).to_have_value("Real data")


def test_a_real_model_by_others_is_analysed(page, served):
    magika = zoo.find("magika")
    if magika.absent:
        pytest.skip("the package 'magika' is not installed: make zoo")
    begun(page, served)
    drop(page, "model", magika.path())
    expect(page.locator("#wb-layers-card")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".wb-notice")).to_contain_text("'model' has no data yet")
    expect(page.locator("#wb-curves")).to_contain_text(re.compile("left|being made|layer"))
    choose(page, "wb-view", "Open")
    expect(page.locator("#wb-loaded dl")).to_contain_text("int32")
    choose(page, "wb-view", "Layers")
    expect(page.locator(LAYERS).first).to_be_visible(timeout=300_000)


def test_things_to_try_are_done_and_dismissed_for_good(page, served, watch):
    opened(page, served)
    tries = page.locator("#wb-tries .wb-try")
    expect(tries).to_have_count(3)
    expect(tries.nth(2)).to_be_disabled()
    tries.nth(0).click()
    expect(tries.nth(0)).to_contain_text("being made")
    expect(page.locator("#wb-weights label.selected")).to_have_text("2")
    expect(tries.nth(0)).to_contain_text("done", timeout=120_000)
    expect(page.locator("#wb-runs tbody tr").first).to_contain_text("W2A8 rtn")
    worst = page.locator(LAYERS).first
    expect(worst).to_have_attribute("aria-selected", "true")
    tries.nth(1).click()
    expect(tries.nth(1)).to_contain_text("done", timeout=120_000)
    expect(page.locator("#wb-scores")).to_contain_text("learned (gram)")
    tries.nth(2).click()
    expect(page.locator("#wb-compared")).to_contain_text("W3A8 gram", timeout=PATIENCE)
    page.locator("#wb-tries .wb-try-close").click()
    expect(tries).to_have_count(0)
    page.wait_for_timeout(300)
    page.reload()
    watch.forgive_reload()
    expect(page.locator("#wb-compared")).to_contain_text("W3A8 gram", timeout=PATIENCE)
    expect(tries).to_have_count(0)


@pytest.mark.parametrize("size", [(1280, 800), (1024, 700)])
def test_the_page_fits(page, served, size: tuple[int, int]):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    begun(page, served)
    wide, tall = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert (wide, tall) <= (size[0], size[1] + 1)
    tabs = page.locator("#wb-view").bounding_box()
    scores = page.locator("#wb-scores .wb-kpi").first.bounding_box()
    assert tabs["x"] + tabs["width"] <= scores["x"]
    for zone in ("model", "data"):
        box = page.locator(f"#wb-drop-{zone}").bounding_box()
        assert box["x"] + box["width"] <= size[0]
