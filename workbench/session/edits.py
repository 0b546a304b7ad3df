"""Edits of a recipe, as plain values: what a cure changes.

{"weights": {"granularity": "channel"}}        fields of the weights, or of the activations
{"override": {"pattern": "tensor:x", "activations": 16}}
{"transform": "equalize"}                      one transformation more
{"options": {"calibrator": "percentile"}}      options of the stages that have them
{"method": "gram"}                             instead of the stages that are there
{"append": "bias_correction"}                  a stage more, at the end
{"prepend": "ptq4vit"}                         one at the start, in place of nearest rounding
{"edges": 8}, {"target": "ort-cpu"}, {"synthetic": "zeroq"}, {"calibration_examples": 1024}
{"data": "held-out"}                           other data: the recipe stays
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.foundation.errors import RecipeError
from workbench.session.recipe import ActivationSpec, Override, Recipe, Stage, Synthetic, WeightSpec

DATA = "data"
NEAREST = "rtn"


def edited(recipe: Recipe, edit: Mapping[str, Any]) -> Recipe:
    """The recipe with an edit.

    Raises:
        RecipeError: an unknown edit, one that is not possible, or one that changes nothing.
    """
    found = recipe
    for kind, value in edit.items():
        if kind not in _EDITS:
            raise RecipeError(f"there is no edit '{kind}'; known are: {', '.join(_EDITS)}")
        found = _EDITS[kind](found, value)
    if found == recipe and DATA not in edit:
        raise RecipeError(f"the edit {dict(edit)} changes nothing in this recipe")
    return found


def _weights(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    return recipe.changed(weights=WeightSpec(**{**recipe.weights.model_dump(), **values}))


def _activations(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    if recipe.activations is None:
        raise RecipeError("activations are float in this recipe; there is no grid to change")
    grid = ActivationSpec(**{**recipe.activations.model_dump(), **values})
    return recipe.changed(activations=grid)


def _override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    new = Override(**values)
    return recipe.changed(overrides=(*recipe.overrides, new))


def _transform(recipe: Recipe, name: str) -> Recipe:
    if any(known.partition(":")[0] == name for known in recipe.transforms):
        raise RecipeError(f"transform '{name}' is in this recipe already")
    return recipe.changed(transforms=(*recipe.transforms, name))


def _options(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    stages = []
    for stage in recipe.stages:
        known = type(stage.parsed()).model_fields
        own = {name: value for name, value in values.items() if name in known}
        options = {**stage.options, **own}
        stages.append(Stage(method=stage.method, options=options, layers=stage.layers))
    return recipe.changed(stages=tuple(stages))


def _method(recipe: Recipe, name: str) -> Recipe:
    _require_new(recipe, name)
    known = type(Stage(method=name).parsed()).model_fields
    kept = {k: v for stage in recipe.stages for k, v in stage.options.items() if k in known}
    return recipe.changed(stages=(Stage(method=name, options=kept),))


def _append(recipe: Recipe, name: str) -> Recipe:
    _require_new(recipe, name)
    return recipe.changed(stages=(*recipe.stages, Stage(method=name)))


def _prepend(recipe: Recipe, name: str) -> Recipe:
    """A stage that finds ranges by itself needs no nearest rounding behind it."""
    _require_new(recipe, name)
    later = [stage for stage in recipe.stages if stage.method != NEAREST]
    return recipe.changed(stages=(Stage(method=name), *later))


def _require_new(recipe: Recipe, name: str) -> None:
    if any(stage.method == name for stage in recipe.stages):
        raise RecipeError(f"method '{name}' is in this recipe already")


def _synthetic(recipe: Recipe, name: str) -> Recipe:
    return recipe.changed(synthetic=Synthetic(maker=name))


_EDITS: dict[str, Callable[[Recipe, Any], Recipe]] = {
    "weights": _weights,
    "activations": _activations,
    "override": _override,
    "transform": _transform,
    "options": _options,
    "method": _method,
    "append": _append,
    "prepend": _prepend,
    "edges": lambda recipe, value: recipe.changed(edges=value),
    "target": lambda recipe, value: recipe.changed(target=value),
    "calibration_examples": lambda recipe, value: recipe.changed(calibration_examples=value),
    "synthetic": _synthetic,
    DATA: lambda recipe, _: recipe,
}
