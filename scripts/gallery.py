"""The pictures of docs/gallery.md and README.md: `python -m scripts.gallery` draws them anew.

It serves the app, does in a browser what a person would do, and photographs the page. Runs are kept
in the folder `--root`, so that a second time only the pictures are made. The system needs a font
with Chinese letters.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
OFTEN = 176  # colours that are kept as they are
PATIENCE = 600_000
PORT = 7877


@dataclass(frozen=True)
class Picture:
    """One photograph: its file, what is done before, and how the page is shown."""

    name: str
    prepare: Callable[[Page], None]
    width: int = 1280
    height: int = 800
    dark: bool = False
    language: str = "en"
    teaching: bool = False


def view(page: Page, name: str) -> None:
    """Choose a view, and wait until nothing waits in it."""
    page.locator(f"#wb-view input[value={name}]").check()
    page.locator(".wb:empty:visible").first.wait_for(state="detached")
    page.wait_for_timeout(1500)


def layers(page: Page, form: str = "table") -> None:
    """The layer that hurts most in the run with nearest rounding, with its causes."""
    view(page, "layers")
    page.locator("#wb-runs tbody tr").last.click()
    page.locator("#wb-runs tbody tr:last-child[aria-selected=true]").wait_for()
    page.wait_for_timeout(1000)
    page.locator("#wb-layers [data-form=table]").click()
    row = page.locator("#wb-layers .wb-list .wb-row").first
    row.click()
    name = row.get_attribute("data-name")
    page.locator(f'#wb-inspector .wb-crumb .wb-name[title="{name}"]').wait_for()
    page.locator("#wb-why .wb-cause").first.wait_for()
    page.locator(f"#wb-layers [data-form={form}]").click()
    page.wait_for_timeout(2500)


def graph(page: Page) -> None:
    """The same as a graph."""
    layers(page, "graph")


def learning(page: Page) -> None:
    """What a run learned, site by site."""
    view(page, "layers")
    page.locator("#wb-runs tbody tr").first.click()
    view(page, "learning")
    page.locator("#wb-learned .wb-signal-row").nth(4).click()
    page.wait_for_timeout(800)


def compare(page: Page) -> None:
    """All runs, layer by layer."""
    view(page, "compare")
    page.locator("#wb-compared [data-key=layers]").click()
    page.locator("#wb-compared .wb-chart-line").first.wait_for()
    page.wait_for_timeout(800)


def export(page: Page) -> None:
    """The verdict on the exported file."""
    view(page, "export")
    page.locator("#wb-export [data-key=verification]").click()
    page.locator("#wb-export table").first.wait_for()
    page.wait_for_timeout(800)


def lesson(page: Page) -> None:
    """A demo after the guess."""
    view(page, "lessons")
    back = page.locator(".wb-lesson-all")
    if back.count():
        back.click()
    page.locator("[data-demo=clip_or_round]").click()
    page.locator(".wb-lesson-question .wb-link").click()
    page.locator(".wb-lesson-verdict").wait_for()
    page.wait_for_timeout(800)


PICTURES = (
    Picture("app", layers, 1440, 900),
    Picture("app-dark", graph, 1440, 900, dark=True),
    Picture("open", lambda page: view(page, "open")),
    Picture("learning", learning),
    Picture("compare", compare),
    Picture("export", export, dark=True),
    Picture("lesson", lesson, teaching=True),
    Picture("chinese", layers, language="zh"),
)


def opened(browser: Browser, url: str, picture: Picture, state: Path) -> Page:
    """The page as a picture wants it, with its files ready."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme="dark" if picture.dark else "light",
        storage_state=state if state.exists() else None,
    )
    kept = {"workbench-language": picture.language}
    kept["workbench-teaching"] = "yes" if picture.teaching else "no"
    for key, value in kept.items():
        context.add_init_script(f"localStorage.setItem('{key}', '{value}')")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_function("localStorage.getItem('workbench-key') !== null")
    page.locator("#wb-download-model:not([disabled])").wait_for(state="attached")
    return page


def work(page: Page) -> None:
    """The first two things that a page proposes: a run at 2 bits, and one that learns at 3."""
    for name in ("break", "learn"):
        step = page.locator(f"[data-try={name}]")
        if step.count() and "wb-try-done" not in str(step.get_attribute("class")):
            step.click()
            page.locator(f".wb-try-done[data-try={name}]").wait_for()
            page.locator("#wb-run:not([disabled])").wait_for()
    dismiss = page.locator(".wb-try-close")
    if dismiss.count():
        dismiss.click()


def saved(png: bytes, path: Path) -> None:
    """Write a picture in 256 colours: what fills it as it is, and what differs most."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    often = sorted(image.getcolors(image.width * image.height) or (), reverse=True)[:OFTEN]
    apart = image.quantize(256 - OFTEN, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    known = np.array([colour for _, colour in often]).flatten().astype(int)
    palette.putpalette([*map(int, known), *apart])
    found = image.quantize(palette=palette, dither=Image.Dither.NONE)
    found.save(path, optimize=True)


def main() -> None:
    """Draw all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of pictures; all by default")
    parser.add_argument("--root", type=Path, default=ROOT / "build" / "gallery")
    parser.add_argument("--port", type=int, default=PORT)
    asked = parser.parse_args()
    os.environ.setdefault("GRADIO_TEMP_DIR", str(asked.root / "gradio"))
    from workbench.ui.gradio.app import build, launch
    from workbench.ui.gradio.serving import Serving

    demo = build(asked.root)
    url = launch(demo, Serving(port=asked.port))
    state = asked.root / "browser.json"
    chromium = os.environ.get("WORKBENCH_CHROMIUM") or which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = opened(browser, url, PICTURES[0], state)
        work(page)
        page.context.storage_state(path=state)
        for picture in PICTURES:
            if asked.names and picture.name not in asked.names:
                continue
            page = opened(browser, url, picture, state)
            page.set_default_timeout(60_000)
            picture.prepare(page)
            saved(page.screenshot(), IMAGES / f"{picture.name}.png")
            page.context.close()
        browser.close()
    demo.close()


if __name__ == "__main__":
    main()
