"""Each view in both schemes, checked by axe-core: no serious or critical violation of ours."""

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
