"""The frame of stages and signals: nothing in it is unknown, and no cell we can fill is empty."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from scripts.methods import page
from workbench.foundation.taxonomy import PUBLISHED, STRATEGIES, cells
from workbench.session.allocation import AllocationOptions
from workbench.session.frame import ALLOCATION, REGISTRIES, frame, known

#: methods that train with labels fill these, or they decide on bits
NOT_AFTER_TRAINING = {"range/features", "range/resources", "range/regulariser"}
AFTER_TRAINING = ("transform", "calibration", "range", "rounding", "reconstruction")


def test_the_published_cells_are_cells() -> None:
    assert len(set(cells(PUBLISHED))) == len(PUBLISHED)


@pytest.mark.parametrize("entry", known(), ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_every_entry_says_where_it_stands(entry) -> None:
    assert cells(entry.facts["cells"])
    assert entry.facts["strategy"] in STRATEGIES
    assert entry.facts["use"]
    assert entry.facts["data"]
    assert entry.facts["cost"]
    assert entry.description.endswith(".")


def test_every_cell_that_methods_after_training_can_fill_is_filled() -> None:
    empty = {
        f"{cell.stage}/{cell.signal}"
        for cell in frame()
        if cell.stage in AFTER_TRAINING and not cell.ours
    }
    assert empty <= NOT_AFTER_TRAINING


def test_bits_are_allocated_by_what_is_there() -> None:
    ours = {f"{cell.stage}/{cell.signal}": cell.ours for cell in frame()}
    for asked, cell in ALLOCATION.items():
        assert asked in ours[cell]
        option, value = asked.split()[1:]
        annotation = AllocationOptions.model_fields[option.removeprefix("--")].annotation
        assert value in get_args(annotation)


def test_entries_come_by_kind_and_name() -> None:
    found = [(entry.kind, entry.name) for entry in known()]
    assert {kind for kind, _ in found} == set(REGISTRIES)
    assert len(set(found)) == len(found)


def test_the_page_of_methods_is_up_to_date() -> None:
    written = Path(__file__).resolve().parents[2] / "docs" / "methods.md"
    assert written.read_text(encoding="utf-8") == page(), "run 'make methods'"
