"""The newcomer's journey counts only where a cure was kept and the file runs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.ui import tables
from benchmarks.ui.budgets import verdicts

CLICKS = [{"words": "Run", "seconds": 1.5}, {"words": "model.onnx", "seconds": 40.0}]
NEWCOMER = {
    "clicks": CLICKS,
    "count": 2,
    "seconds": 40.5,
    "cured": "8 bits for 'a'",
    "verdict": "all equal",
    "runs": True,
}


def held(**changes: Any) -> list[bool]:
    return [each.held for each in verdicts({"newcomer": NEWCOMER | changes})]


def test_all_four_hold() -> None:
    assert held() == [True] * 4


@pytest.mark.parametrize(
    "changes", [{"cured": ""}, {"runs": False}, {"count": 13}, {"seconds": 120.1}]
)
def test_what_is_missing_fails(changes: dict[str, Any]) -> None:
    assert held(**changes).count(False) == 1


def test_the_page_lists_each_click_with_its_time() -> None:
    about = {"date": "2026-01-02", "machine": "a box", "load": 1.5}
    page = tables.page({"about": about, "newcomer": NEWCOMER})
    assert "1. Run (1.5 s)\n2. model.onnx (40 s)" in page
    assert "none: each was put back" in tables.page(
        {"about": about, "newcomer": NEWCOMER | {"cured": ""}}
    )
