"""A whole recipe in the app: opened from a file, run, adopted again from the run, and corrected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.test_app import PATIENCE, choose, choose_method, opened, reloaded

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RECIPE = """\
edges = 6
seed = 5

[weights]
bits = 7

[[overrides]]
pattern = "head"
weights = 8

[[stages]]
method = "rtn"

[[stages]]
method = "kd"

[stages.options]
epochs = 2
labels = 0.0
mixup = 0.25
"""


def unfold(page: Page, *names: str) -> None:
    for name in names:
        page.locator(f"#{name} > button").click()


def shows_the_recipe(page: Page) -> None:
    expect(page.locator("#wb-method input")).to_have_value(
        "KD: labels, logits and features", timeout=PATIENCE
    )
    expect(page.locator("#wb-option-kd-epochs input")).to_have_value("2", timeout=PATIENCE)
    expect(page.locator("#wb-option-training-mixup textarea")).to_have_value(
        "0.25", timeout=PATIENCE
    )
    expect(page.locator("#wb-option-recipe-seed input")).to_have_value("5", timeout=PATIENCE)
    expect(page.locator("#wb-edges label.selected")).to_have_text("6 bits", timeout=PATIENCE)
    expect(page.locator("#wb-more textarea")).to_have_value(
        '[[overrides]]\npattern = "head"\nweights = 8\n\n[[stages]]\nmethod = "rtn"\n',
        timeout=PATIENCE,
    )


def test_a_recipe_is_opened_run_adopted_and_corrected(page, served, tiny, watch, tmp_path: Path):
    opened(page, served)
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE)
    page.locator("#wb-uploads input[type=file]").nth(2).set_input_files(file)
    expect(page.locator(".wb-notice")).to_contain_text("'mine.toml'", timeout=PATIENCE)
    unfold(page, "wb-options", "wb-training", "wb-besides")
    shows_the_recipe(page)
    page.locator("#wb-form input[type=file]").nth(3).set_input_files(tiny.hostile)
    expect(page.locator("#wb-teacher input")).to_have_value("hostile (a file)", timeout=PATIENCE)
    page.locator("#wb-run").click()
    row = page.locator("#wb-runs tbody tr").first
    expect(row).to_contain_text("W7A8 rtn + kd", timeout=PATIENCE)
    expect(page.locator("#wb-scores")).to_contain_text("learned (rtn + kd)", timeout=PATIENCE)
    with page.expect_download() as download:
        page.locator("#wb-download-recipe").click()
    download.value.save_as(tmp_path / "recipe.toml")
    text = (tmp_path / "recipe.toml").read_text()
    for word in ("teacher = ", 'pattern = "head"', "mixup = 0.25", 'method = "rtn"', "seed = 5"):
        assert word in text

    choose_method(page, "Gram-space rounding")
    expect(page.locator("#wb-teacher")).not_to_be_visible(timeout=PATIENCE)
    page.locator("#wb-more textarea").fill("")
    page.locator("#wb-option-recipe-seed input").fill("1")
    choose(page, "wb-edges", "8 bits")
    row.click()
    shows_the_recipe(page)
    expect(page.locator("#wb-teacher input")).to_have_value("hostile (a file)", timeout=PATIENCE)
    if shot := os.environ.get("WORKBENCH_SCREENSHOT"):
        page.locator("#wb-more").scroll_into_view_if_needed()
        page.screenshot(path=shot)

    page.locator("#wb-more textarea").fill("[[overrides]]\npattern = 'head'\nweights = 99\n")
    page.locator("#wb-more textarea").blur()
    expect(page.locator("#wb-refusal")).to_contain_text("'weights' was 99", timeout=PATIENCE)
    expect(page.locator("#wb-run")).to_be_disabled(timeout=PATIENCE)
    page.locator("#wb-more textarea").fill("[[overrides]]\npattern = 'head'\nweights = 6\n")
    page.locator("#wb-more textarea").blur()
    expect(page.locator("#wb-run")).to_be_enabled(timeout=PATIENCE)
    page.locator("#wb-show-code").click()
    expect(page.locator(".wb-dialog")).to_contain_text("--recipe recipe.toml", timeout=PATIENCE)
    page.keyboard.press("Escape")
    reloaded(page, watch)
    unfold(page, "wb-besides")
    expect(page.locator("#wb-more textarea")).to_have_value(
        "[[overrides]]\npattern = 'head'\nweights = 6\n", timeout=PATIENCE
    )


def test_options_that_training_methods_share_stay_with_the_page(page, served):
    opened(page, served)
    choose_method(page, "LSQ: learned")
    unfold(page, "wb-options", "wb-training")
    mixup = page.locator("#wb-option-training-mixup textarea")
    mixup.press_sequentially("lots")
    expect(page.locator("#wb-refusal")).to_contain_text(
        "'mixup' was 'lots': give a number", timeout=PATIENCE
    )
    mixup.press("ControlOrMeta+a")
    mixup.press_sequentially("0.5")
    expect(page.locator("#wb-run")).to_be_enabled(timeout=PATIENCE)
    choose_method(page, "Gram-space rounding")
    expect(mixup).not_to_be_visible(timeout=PATIENCE)
    choose_method(page, "LSQ: learned")
    expect(mixup).to_have_value("0.5", timeout=PATIENCE)
