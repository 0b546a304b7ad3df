"""The app in a real browser: what a person does, from the first look to the file."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE = 60_000


def opened(page: Page, served) -> Page:
    """The page with its layers drawn and its key kept."""
    page.set_default_timeout(PATIENCE)
    page.goto(served.url)
    return ready(page)


def reloaded(page: Page, watch) -> Page:
    """The same after a reload; requests that the reload cut off are no fault of the page."""
    page.reload()
    ready(page)
    watch.forgive_reload()
    return page


def ready(page: Page) -> Page:
    """Wait until the page has its data."""
    expect(page.locator("#wb-layers .wb-list .wb-row")).to_have_count(4, timeout=PATIENCE)
    page.wait_for_function("localStorage.getItem('workbench-key') !== null")
    expect(page.locator("#wb-download-model")).to_be_enabled(timeout=PATIENCE)
    return page


def current(page: Page) -> str | None:
    return page.locator("#wb-inspector .wb-crumb .wb-name").get_attribute("title")


def choose(page: Page, group: str, text: str) -> None:
    page.locator(f"#{group} label", has_text=text).first.click()


def choose_method(page: Page, title: str) -> None:
    page.locator("#wb-method input").click()
    page.get_by_role("option", name=title).click()


def test_first_look_is_an_analysis(page, served, watch):
    started = time.monotonic()
    page.goto(served.url)
    page.locator("#wb-layers .wb-list .wb-row").first.wait_for()
    seconds = time.monotonic() - started
    ready(page)
    scores = page.locator("#wb-scores .wb-kpi").all_inner_texts()
    assert [text.split("\n")[0] for text in scores][:3] == [
        "float",
        "nearest rounding",
        "ONNX Runtime",
    ]
    expect(page.locator("#wb-verdict .wb-line")).not_to_have_count(0)
    assert page.locator("#wb-inspector .wb-handle").count() == 4
    assert seconds < 10, f"first look took {seconds:.1f} s"
    watch.assert_clean()


def test_click_and_keys_choose_a_layer(page, served, watch):
    opened(page, served)
    row = page.locator("#wb-layers .wb-list .wb-row").nth(2)
    name = row.get_attribute("data-name")
    row.click()
    expect(page.locator(f'#wb-inspector .wb-crumb .wb-name[title="{name}"]')).to_be_visible()
    page.locator("#wb-layers .wb-list").press("Home")
    first = page.locator("#wb-layers .wb-list .wb-row").first.get_attribute("data-name")
    expect(page.locator(f'#wb-inspector .wb-crumb .wb-name[title="{first}"]')).to_be_visible()
    reloaded(page, watch)
    expect(page.locator(f'#wb-inspector .wb-crumb .wb-name[title="{first}"]')).to_be_visible()


def test_channels_of_a_layer(page, served):
    opened(page, served)
    page.locator('#wb-layers .wb-row[data-name="stem"]').click()
    picker = page.locator("#wb-inspector .wb-select")
    expect(picker.locator("option")).to_have_count(9)
    picker.select_option("3")
    expect(page.locator("#wb-inspector .wb-panel").first.locator(".wb-plot-head")).to_contain_text(
        "int7"
    )
    expect(
        page.locator("#wb-inspector .wb-panel").first.locator(".wb-readout")
    ).not_to_contain_text("×", timeout=PATIENCE)  # the run's simulation is read first


def test_a_run_survives_a_reload_and_gives_files(page, served, watch, tmp_path: Path):
    opened(page, served)
    choose(page, "wb-weights", "3")
    page.locator("#wb-run").click()
    expect(page.locator("#wb-stop")).to_be_visible()
    reloaded(page, watch)
    expect(page.locator("#wb-runs tbody tr").first).to_contain_text("W3A8 gram", timeout=PATIENCE)
    expect(page.locator("#wb-stop")).not_to_be_visible(timeout=120_000)
    expect(page.locator("#wb-scores")).to_contain_text("learned (gram)", timeout=PATIENCE)
    expect(page.locator("#wb-curves .wb-curve")).to_have_count(4)
    expect(page.locator("#wb-runs tbody tr")).to_have_count(2)
    for name in ("model", "recipe", "report"):
        with page.expect_download() as download:
            page.locator(f"#wb-download-{name}").click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
    session = ort.InferenceSession(tmp_path / "model.onnx")
    found = session.run(None, {"image": np.zeros((3, 1, 8, 8), np.float32)})
    assert found[0].shape == (3, 4)
    assert "bits = 3" in (tmp_path / "recipe.toml").read_text()
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.locator(".wb-list .wb-row")).to_have_count(4)


def test_show_code_is_the_recipe_on_screen(page, served):
    opened(page, served)
    choose(page, "wb-activations", "float")
    page.locator("#wb-show-code").click()
    dialog = page.locator(".wb-dialog")
    expect(dialog).to_contain_text("workbench quantize tiny.onnx")
    expect(dialog).to_contain_text("--activations float")
    dialog.get_by_role("button", name="TOML").click()
    expect(dialog).to_contain_text('method = "gram"')
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("noise.onnx", b"\x00\xffthis is no model" * 20),
        ("empty.onnx", b""),
        ("page.html", b"<script>alert(1)</script>"),
    ],
)
def test_a_wrong_upload_gets_one_sentence(page, served, tmp_path: Path, name: str, content: bytes):
    opened(page, served)
    wrong = tmp_path / name
    wrong.write_bytes(content)
    page.locator("#wb-uploads input[type=file]").first.set_input_files(wrong)
    notice = page.locator(".wb-notice")
    expect(notice).to_be_visible()
    text = notice.locator("span").inner_text()
    assert name.split(".", maxsplit=1)[0] in text
    assert "Traceback" not in text
    assert len(text) < 300
    expect(page.locator("#wb-layers .wb-list .wb-row")).to_have_count(4)
    notice.get_by_role("button").click()
    expect(notice).not_to_be_visible()


def test_a_truncated_model_gets_one_sentence(page, served, tiny, tmp_path: Path):
    opened(page, served)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny.model.read_bytes()[:-500])
    page.locator("#wb-uploads input[type=file]").first.set_input_files(cut)
    expect(page.locator(".wb-notice")).to_contain_text("cut")


def test_the_form_waits_until_it_is_what_the_browser_chose_before(page, served):
    """A slow answer to the loading of the page must not undo what was chosen meanwhile."""
    held, slow = [], [True]
    join = "**/queue/join*"
    page.route(join, lambda route: held.append(route) if slow else route.continue_())
    page.goto(served.url)
    expect(page.locator("#wb-layers .wb-list .wb-row")).to_have_count(4, timeout=PATIENCE)
    card = page.locator("#wb-recipe-card")
    expect(card).to_have_css("pointer-events", "none")
    slow.clear()
    for route in held:
        route.continue_()
    expect(card).to_have_css("pointer-events", "auto")
    choose_method(page, "Round to nearest")
    choose(page, "wb-weights", "3")
    page.locator("#wb-run").click()
    expect(page.locator("#wb-runs tbody tr").first).to_contain_text("W3A8 rtn")


def test_a_server_that_is_gone_is_told_and_comes_back(page, served, watch):
    opened(page, served)
    page.route("**/component_server/", lambda route: route.abort())
    page.locator("#wb-layers .wb-list .wb-row").nth(2).click()
    notice = page.locator(".wb-notice.wb-bad")
    expect(notice).to_have_text(re.compile("The server does not answer"))
    watch.console_errors.clear()
    page.unroute("**/component_server/")
    expect(notice).not_to_be_visible()
    page.locator("#wb-layers .wb-list .wb-row").nth(1).click()
    chosen = page.locator("#wb-layers .wb-list .wb-row").nth(1).get_attribute("data-name")
    page.locator(f'#wb-inspector .wb-crumb .wb-name[title="{chosen}"]').wait_for()
    watch.console_errors.clear()  # what the browser says of requests that were cut


def test_hostile_names_are_shown_as_text(page, served, tiny):
    opened(page, served)
    page.locator("#wb-uploads input[type=file]").first.set_input_files(tiny.hostile)
    expect(page.locator("#wb-layers .wb-empty, .wb-notice").first).to_be_visible()
    page.locator("#wb-uploads input[type=file]").nth(1).set_input_files(tiny.data)
    rows = page.locator("#wb-layers .wb-list .wb-row")
    expect(rows).to_have_count(4, timeout=120_000)
    shown = rows.locator(".wb-name").all_text_contents()
    assert sorted(shown) == sorted(tiny.names)
    rows.nth(1).click()
    expect(page.locator("#wb-inspector .wb-crumb")).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert page.locator("#wb-main img").count() == 0


@pytest.mark.parametrize("size", [(1440, 900), (1024, 700)])
def test_nothing_is_cut_off(page, served, size: tuple[int, int]):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    opened(page, served)
    wide, tall = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert wide <= size[0]
    assert tall <= size[1] + 1
    for name in ("wb-run", "wb-show-code", "wb-download-report"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1]


def test_the_maps_of_the_survey(page, served):
    opened(page, served)
    choose(page, "wb-view", "Lessons")
    page.locator("#wb-lessons .wb-lesson-card").first.wait_for()
    choose(page, "wb-lessons-part", "maps")
    cell = page.locator('[data-cell="transform/layer_error"]')
    cell.click()
    expect(cell).to_have_attribute("aria-pressed", "true")
    page.locator(".wb-survey-method[data-name=awq]").click()
    expect(page.locator(".wb-survey-side pre")).to_contain_text("awq")
    wanted = page.locator("select[data-axis=constraint]")
    wanted.select_option(label="8-bit weights and activations")
    expect(page.locator(".wb-survey-advice pre")).to_contain_text("bits = 8")
    expect(page.locator("#wb-lessons .wb-lesson-card").first).to_be_hidden()
