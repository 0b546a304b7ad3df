"""A method in front of what a recipe has, and where it takes the place of nearest rounding."""

from __future__ import annotations

import pytest

from workbench.foundation.errors import RecipeError
from workbench.session.edits import edited
from workbench.session.recipe import Recipe, Stage


def _methods(*names: str) -> Recipe:
    return Recipe(stages=tuple(Stage(method=name) for name in names))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["rtn"], ["ptq4vit"]),
        (["gram"], ["ptq4vit", "gram"]),
        (["rtn", "bias_correction"], ["ptq4vit", "bias_correction"]),
    ],
)
def test_a_method_in_front(before: list[str], after: list[str]) -> None:
    assert edited(_methods(*before), {"prepend": "ptq4vit"}) == _methods(*after)


@pytest.mark.parametrize("edit", [{"prepend": "gram"}, {"append": "gram"}, {"method": "gram"}])
def test_no_method_comes_twice(edit: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="'gram' is in this recipe already"):
        edited(_methods("gram"), edit)
