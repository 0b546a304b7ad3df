"""Each view in both schemes, checked by axe-core: no grave violation of ours; and by keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.ui.test_app import PATIENCE, ready
from workbench.ui.gradio.settings import VIEWS
from workbench.views import strings

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = Path(__file__).parent / "axe" / "axe.min.js"
GRAVE = {"serious", "critical"}
#: rules that Gradio's own components break, and how
GRADIOS: dict[str, str] = {}


def grave(page: Page) -> list[str]:
    """Violations of the page on screen, one line each."""
    asked: dict[str, Any] = {
        "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
        "rules": {rule: {"enabled": False} for rule in GRADIOS},
        "resultTypes": ["violations"],
    }
    found = page.evaluate(f"async () => (await axe.run(document, {json.dumps(asked)})).violations")
    return [
        f"{each['id']}: {node['target']} {node['html'][:160]} {node['failureSummary'][:300]}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"][:6]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_grave_violations(page: Page, served, scheme: str) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(f"{served.url}?__theme={scheme}")
    ready(page)
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = {}
    for view in VIEWS:
        label = page.locator("#wb-view label").filter(has_text=strings.VIEWS[view])
        label.click()
        expect(label.locator("input")).to_be_checked()
        page.wait_for_timeout(600)
        found[view] = grave(page)
    assert not any(found.values()), "\n".join(f"{v}: {t}" for v in found for t in found[v])


def test_a_list_opens_and_closes_by_key_and_click(page: Page, served) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(served.url)
    ready(page)
    field = page.get_by_label("Target", exact=True)
    entries = page.get_by_role("option", name="ort-cpu-vnni")
    page.locator("#wb-upload-recipe").focus()
    page.keyboard.press("Tab")
    expect(field).to_be_focused()
    expect(entries).to_be_visible()
    page.keyboard.press("Tab")
    expect(field).not_to_be_focused()
    expect(entries).to_have_count(0)
    page.wait_for_timeout(300)  # it was what came after Tab that opened it again
    expect(entries).to_have_count(0)
    field.click()
    page.keyboard.press("Escape")
    expect(entries).to_have_count(0)
    field.click()
    expect(entries).to_be_visible()


def test_what_is_pressed_keeps_the_focus_near(page: Page, served) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(served.url)
    ready(page)
    page.locator("#wb-view label").filter(has_text=strings.VIEWS["export"]).click()
    part = page.locator("#wb-export [data-key=speed]")
    part.focus()
    page.keyboard.press("Enter")
    expect(part).to_have_attribute("aria-selected", "true")
    expect(part).to_be_focused()
    measure = page.locator("#wb-export .wb-nothing button")
    measure.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#wb-export .wb-waiting, #wb-export table").first).to_be_visible()
    expect(page.locator("#wb-export [role=tabpanel]")).to_be_focused()
