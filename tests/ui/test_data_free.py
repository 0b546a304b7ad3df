"""Calibrating without data, in the app: what cannot be is said, and what is made is called so."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.test_app import PATIENCE, opened

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def calibrate_on(page: Page, title: str) -> None:
    page.locator("#wb-synthetic input").click()
    page.get_by_role("option", name=title).click()


def test_what_was_made_is_called_data_free(page, served, watch, tmp_path: Path):
    opened(page, served)
    calibrate_on(page, "ZeroQ (data-free)")
    expect(page.locator("#wb-refusal")).to_contain_text("needs the statistics of batch norm")
    expect(page.locator("#wb-run")).to_be_disabled()
    calibrate_on(page, "chance (data-free)")
    expect(page.locator("#wb-run")).to_be_enabled()
    page.locator("#wb-run").click()
    label = page.locator("#wb-runs tbody tr").first
    expect(label).to_contain_text("W4A8 gram, data-free (random)", timeout=PATIENCE)
    expect(page.locator("#wb-scores")).to_contain_text("data-free", timeout=120_000)
    expect(page.locator("#wb-scores")).to_contain_text("chance, 128 pictures")
    with page.expect_download() as download:
        page.locator("#wb-download-recipe").click()
    download.value.save_as(tmp_path / "recipe.toml")
    assert 'maker = "random"' in (tmp_path / "recipe.toml").read_text()
    watch.assert_clean()
