"""The adviser: for every condition a recipe that can be made, and reasons that fit it."""

from __future__ import annotations

from itertools import product

import pytest

import workbench
from workbench.foundation.errors import RecipeError
from workbench.session.advice import advise, row_of
from workbench.session.exemplar import exemplar
from workbench.session.frame import known
from workbench.session.guide import CONSTRAINTS, DATA, GUIDE, MODELS
from workbench.session.recipe import Recipe

CONDITIONS = list(product(DATA, MODELS, CONSTRAINTS))


@pytest.fixture(scope="module")
def samples() -> dict[str, workbench.Session]:
    return {sample: workbench.open(sample) for _, sample in MODELS.values()}


def test_every_condition_has_a_recipe_and_reasons() -> None:
    for condition in CONDITIONS:
        found = advise(*condition)
        for text in (found.recipe.toml(), found.recipe.brief()):
            assert Recipe.from_toml(text) == found.recipe, condition
        assert len(found.recipe.brief()) < len(found.recipe.toml())
        assert found.reasons, condition


def test_everything_registered_can_be_opened_on_a_sample() -> None:
    for entry in known():
        found = exemplar(entry.kind, entry.name)
        assert f'"{entry.name}"' in found.recipe.toml()
        assert found.sample in {sample for _, sample in MODELS.values()}


@pytest.mark.slow
def test_what_is_advised_or_opened_fits_its_sample(samples) -> None:
    opened = (exemplar(entry.kind, entry.name) for entry in known())
    asked = {(found.sample, found.recipe.toml()) for found in opened}
    asked |= {(f.sample, f.recipe.toml()) for f in (advise(*each) for each in CONDITIONS)}
    for sample, toml in sorted(asked):
        samples[sample].work(Recipe.from_toml(toml))


def test_each_row_of_the_guide_is_what_its_condition_is_told() -> None:
    for row in GUIDE:
        conditions = product(row.data, row.models, row.constraints)
        assert any(advise(*condition).row is row for condition in conditions), row.recommended
        assert all(advise(*condition).exact for condition in product(
            row.data, row.models, row.constraints))  # fmt: skip


def test_the_bits_are_those_that_were_asked_for() -> None:
    for data, model in product(DATA, MODELS):
        recipe = advise(data, model, "w3a3").recipe
        assert (recipe.weights.bits, recipe.activations and recipe.activations.bits) == (3, 3)
        floating = advise(data, model, "w4").recipe
        assert (floating.weights.bits, floating.activations) == (4, None)


def test_nothing_asks_for_data_that_are_not_there() -> None:
    order = list(DATA)
    for condition in CONDITIONS:
        found = advise(*condition)
        assert min(map(order.index, found.row.data)) <= order.index(found.data)
        assert (found.data == "none") == (found.recipe.synthetic is not None), condition


def test_more_data_take_the_row_for_less_and_say_so() -> None:
    found = advise("some", "vit", "w4a4")
    assert found.row is row_of("few", "vit", "w4a4")
    assert not found.exact
    assert any("more data" in text for text in found.cautions)
    unknown = advise("few", "cnn", "w2a2")
    assert any("measure" in text for text in unknown.cautions)
    assert any("too few" in text for text in unknown.cautions)


@pytest.mark.parametrize(
    "wrong", [("fewer", "cnn", "w8a8"), ("few", "rnn", "w8a8"), ("few", "cnn", "w9")]
)
def test_an_unknown_condition_is_refused_with_those_known(wrong: tuple[str, str, str]) -> None:
    with pytest.raises(RecipeError, match="known are"):
        advise(*wrong)
