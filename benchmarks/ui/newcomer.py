"""Who has never seen it: 4 bits, the worst layer cured, a verified file; clicks are counted."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from benchmarks.ui.person import ROWS, chromium
from benchmarks.ui.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_PATIENCE = 150_000
_CURES = 3  # that are tried, each a click, before the layer counts as not cured
_TRIAL = "#wb-why .wb-trial[data-state={}]"


@dataclass(frozen=True)
class Click:
    """What was clicked, and how many seconds after the first screen."""

    words: str
    seconds: float


@dataclass
class Hand:
    """Clicks, and notes on what and when."""

    began: float = field(default_factory=time.monotonic)
    clicks: list[Click] = field(default_factory=list)

    def click(self, target: Locator, words: str) -> None:
        """One click."""
        target.click()
        self.clicks.append(Click(words, self.seconds))

    @property
    def seconds(self) -> float:
        """Since the first screen was there."""
        return round(time.monotonic() - self.began, 1)


def measure(server: Server, folder: Path) -> dict[str, Any]:
    """The clicks from the first screen to a file that runs, and the seconds they took.

    Returns:
        `clicks` with their seconds, their `count`, `seconds` in all; `cured`, the words of the cure
        that was kept, "" where each was put back; `verdict` on screen; `runs`: the file does.
    """
    with chromium() as page:
        page.set_default_timeout(_PATIENCE)
        page.goto(server.url)
        page.locator(ROWS).first.wait_for()
        hand = Hand()
        _quantize(page, hand)
        cured = _cure_the_worst(page, hand)
        verdict = page.locator("#wb-verdict .wb-line").first.inner_text()
        file = _download(page, hand, folder)
        seconds = hand.seconds
    return {
        "clicks": [asdict(each) for each in hand.clicks],
        "count": len(hand.clicks),
        "seconds": seconds,
        "cured": cured,
        "verdict": verdict.removeprefix("✓").strip(),
        "runs": _runs(file),
    }


def _quantize(page: Page, hand: Hand) -> None:
    hand.click(page.locator("#wb-weights label", has_text="4"), "4 beside Weights, bits")
    hand.click(page.locator("#wb-method input"), "Method")
    hand.click(page.get_by_role("option", name="Round to nearest"), "Round to nearest")
    hand.click(page.locator("#wb-run"), "Run")
    page.locator("#wb-runs tbody tr[aria-selected=true]", has_text="W4A8 rtn").wait_for()
    page.locator("#wb-stop").wait_for(state="hidden")


def _cure_the_worst(page: Page, hand: Hand) -> str:
    """Words of the first cure that was kept and whose run is on screen; "" if none was."""
    hand.click(page.locator(ROWS).first, "the first row of the layers, which hurts most")
    kept, dropped = (page.locator(_TRIAL.format(state)) for state in ("kept", "dropped"))
    for number in range(_CURES):
        cure = page.locator("#wb-why .wb-cure:enabled").nth(number)
        cure.wait_for()
        words = cure.locator(".wb-cure-words").evaluate("it => it.firstChild.textContent")
        hand.click(cure, f"a cure: {words}")
        undo = kept.get_by_role("button", name="Undo")
        undo.or_(dropped.filter(has_text=words)).first.wait_for()
        if undo.count():
            return words
    return ""


def _download(page: Page, hand: Hand, folder: Path) -> Path:
    button = page.locator("#wb-download-model:enabled")
    button.wait_for()
    with page.expect_download() as download:
        hand.click(button, "model.onnx below the verdict")
    file = folder / "newcomer.onnx"
    download.value.save_as(file)
    return file


def _runs(file: Path) -> bool:
    """Whether ONNX Runtime opens the file and its numbers are numbers."""
    session = onnxruntime.InferenceSession(file)
    shapes = {each.name: each.shape for each in session.get_inputs()}
    sizes = {name: [n if isinstance(n, int) else 1 for n in dims] for name, dims in shapes.items()}
    found = session.run(None, {name: np.zeros(dims, np.float32) for name, dims in sizes.items()})
    return all(bool(np.isfinite(np.asarray(each)).all()) for each in found)
