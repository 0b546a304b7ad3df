"""What is measured of widgets in JupyterLab: every one of them, against its budget."""

from __future__ import annotations

from benchmarks.ui import tables
from benchmarks.ui.budgets import WIDGET, verdicts
from benchmarks.ui.notebook import CELLS, DEEDS
from workbench import widgets

ABOUT = {"date": "today", "machine": "a machine", "load": 1.0}


def test_every_widget_is_measured():
    assert {deed.widget for deed in DEEDS} == set(CELLS)
    shown = {name for name in widgets.__all__ if name[0].islower()}
    assert shown <= set(CELLS)


def test_a_slow_widget_is_told_from_a_quick_one():
    found = {
        "quick": {"count": 20, "median_ms": WIDGET, "worst_ms": 90.0},
        "slow": {"count": 20, "median_ms": WIDGET + 1.0, "worst_ms": 90.0},
        "missing": {"count": 0},
    }
    record = {"about": ABOUT, "notebook": found}
    assert [each.held for each in verdicts(record)] == [True, False, False]
    page = tables.page(record)
    assert "| slow | 20 | 61.0 | 90.0 |" in page
    assert page.count("**no**") == 2
