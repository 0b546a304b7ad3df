"""Who has never seen it: 4 bits, the worst layer cured, a verified file; clicks are counted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from benchmarks.ui.person import ROWS, chromium
from benchmarks.ui.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_PATIENCE = 300_000


class Hand:
    """Clicks, and says what it clicked."""

    def __init__(self) -> None:
        self.clicks: list[str] = []

    def click(self, target: Locator, words: str) -> None:
        """One click."""
        target.click()
        self.clicks.append(words)


def measure(server: Server, folder: Path) -> dict[str, Any]:
    """The clicks from the first screen to a file that runs, and the seconds they took."""
    hand = Hand()
    with chromium() as page:
        page.set_default_timeout(_PATIENCE)
        page.goto(server.url)
        page.locator(ROWS).first.wait_for()
        began = time.monotonic()
        file = _quantize_and_cure(page, hand, folder)
        seconds = time.monotonic() - began
    session = onnxruntime.InferenceSession(file)
    return {
        "clicks": hand.clicks,
        "count": len(hand.clicks),
        "seconds": round(seconds, 1),
        "runs": bool(session.get_outputs()),
    }


def _quantize_and_cure(page: Page, hand: Hand, folder: Path) -> Path:
    hand.click(page.locator("#wb-weights label", has_text="4"), "Weights, bits: 4")
    hand.click(page.locator("#wb-run"), "Run")
    page.locator("#wb-scores", has_text="learned").wait_for()
    hand.click(page.locator(ROWS).first, "the first row of the layers, which is the worst")
    hand.click(page.locator("#wb-why .wb-cure").first, "its first cure")
    undo = page.locator("#wb-why").get_by_role("button", name="Undo")
    undo.or_(page.locator("#wb-why .wb-trial[data-state=dropped]")).first.wait_for()
    page.locator("#wb-verdict .wb-line").first.wait_for()
    page.locator("#wb-download-model:enabled").wait_for()
    with page.expect_download() as download:
        hand.click(page.locator("#wb-download-model"), "Download the model")
    file = folder / "newcomer.onnx"
    download.value.save_as(file)
    return file
