"""Options that are checked against names known only later."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import OneOf, Options, controls

NAMES = ["cubic", "linear"]
Curve = Annotated[str, OneOf("curve", lambda: NAMES)]


class Drawing(Options):
    curve: Annotated[Curve, Field(description="how it bends")] = "linear"


def test_a_form_lists_the_names_known_when_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.NAMES", [*NAMES, "spline"])
    (control,) = controls(Drawing)
    assert control.kind == "choice"
    assert control.choices == ("cubic", "linear", "spline")
    assert control.help == "how it bends"
    assert Drawing.parse({"curve": "spline"}, "drawing").curve == "spline"


def test_a_json_schema_lists_them_too() -> None:
    assert Drawing.model_json_schema()["properties"]["curve"]["enum"] == NAMES


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    words = "drawing: option 'curve' was 'linea': unknown curve 'linea'; did you mean 'linear'"
    with pytest.raises(RecipeError, match=words):
        Drawing.parse({"curve": "linea"}, "drawing")
