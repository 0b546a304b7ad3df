"""The controls of the recipe as plain values, and the recipe that they stand for.

Nothing of a recipe is lost on the way: what has no control of its own is text in `more`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import tomlkit

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options
from workbench.foundation.spelling import split
from workbench.maths.levels import UNIFORM
from workbench.session.recipe import (
    ActivationSpec,
    Override,
    Recipe,
    Stage,
    Synthetic,
    WeightSpec,
)
from workbench.ui.gradio import forms
from workbench.views import strings
from workbench.views.code import AFFINE

#: parts of a recipe whose options have plain controls -> their class, and those options
PARTS: dict[str, tuple[type[Options], tuple[str, ...]]] = {
    "weights": (WeightSpec, ("granularity", "group_size")),
    "activations": (ActivationSpec, ("symmetric",)),
    "synthetic": (Synthetic, ("examples",)),
    "recipe": (Recipe, ("calibration_examples", "training_examples", "augment", "seed", "store")),
}
#: what is written as text, and under which name of a recipe
WRITTEN = ("overrides", "stages")
LAYERS = "layers"  # of the last stage, also written as text


@dataclass(frozen=True)
class Form:
    """The controls of the recipe; together they are all of it.

    Attributes:
        weights: bits; activations: bits, 0 for float.
        edges: bits of the first and last layer, 0 to treat them as the others.
        method: name of the learner; options: those that differ from its defaults.
        target: where the file will run.
        table: levels of the weights, "uniform", "affine" (uniform, with zero-points) or a table.
        transforms: of the float graph, with their options.
        synthetic: maker of the examples to calibrate on; "" for real data.
        making: options of the maker.
        teacher: name or path of the float model that teaches; "" for the model itself.
        parts: options of `PARTS` that differ from their defaults.
        more: TOML of the overrides, of the stages before `method`, and of its layers if not all.
    """

    weights: int = 4
    activations: int = 8
    edges: int = 8
    method: str = "gram"
    options: Mapping[str, Any] = field(default_factory=dict)
    target: str = "ort-cpu"
    table: str = UNIFORM
    transforms: tuple[str, ...] = ()
    synthetic: str = ""
    making: Mapping[str, Any] = field(default_factory=dict)
    teacher: str = ""
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    more: str = ""

    @property
    def transform_options(self) -> dict[str, dict[str, Any]]:
        """Options of the transformations by their names, in order."""
        return dict(split(text, "transform") for text in self.transforms)

    @property
    def in_words(self) -> bool:
        """Whether the controls that everyone sees first say all there is to the recipe."""
        return not (self.making or self.more.strip() or any(self.parts.values()))

    def recipe(self) -> Recipe:
        """The recipe that the controls ask for.

        Raises:
            RecipeError: it is not possible.
        """
        overrides, before, own = _written(self.more)
        last = Stage(method=self.method, options=dict(self.options), layers=own)
        stages = (*before, last)
        return Recipe(
            target=self.target,
            weights=self._weights(),
            activations=self._activations(),
            edges=self.edges or None,
            transforms=self.transforms,
            synthetic=self._synthetic(),
            stages=stages,
            overrides=overrides,
            teacher=self.teacher if any(forms.trains(each.method) for each in stages) else "",
            **self.parts.get("recipe", {}),
        )

    def _weights(self) -> WeightSpec:
        affine = self.table == AFFINE
        return WeightSpec(
            bits=self.weights,
            table=UNIFORM if affine else self.table,
            symmetric=not affine,
            **self.parts.get("weights", {}),
        )

    def _activations(self) -> ActivationSpec | None:
        if not self.activations:
            return None
        return ActivationSpec(bits=self.activations, **self.parts.get("activations", {}))

    def _synthetic(self) -> Synthetic | None:
        if not self.synthetic:
            return None
        return Synthetic(
            maker=self.synthetic, options=dict(self.making), **self.parts.get("synthetic", {})
        )

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The controls that show `recipe`."""
        *before, stage = recipe.stages
        made = recipe.synthetic
        affine = recipe.weights.table == UNIFORM and not recipe.weights.symmetric
        sources: dict[str, Options | None] = {
            "weights": recipe.weights,
            "activations": recipe.activations,
            "synthetic": made,
            "recipe": recipe,
        }
        parts = {part: _unusual(part, source) for part, source in sources.items()}
        return cls(
            weights=recipe.weights.bits,
            activations=recipe.activations.bits if recipe.activations else 0,
            edges=recipe.edges or 0,
            method=stage.method,
            options=dict(stage.options),
            target=recipe.target,
            table=AFFINE if affine else recipe.weights.table,
            transforms=recipe.transforms,
            synthetic=made.maker if made else "",
            making=dict(made.options) if made else {},
            teacher=recipe.teacher,
            parts={part: options for part, options in parts.items() if options},
            more=_toml(recipe.overrides, before, stage.layers),
        )


def _unusual(part: str, source: Options | None) -> dict[str, Any]:
    """The plain options of a part that differ from their defaults."""
    if source is None:
        return {}
    fields = type(source).model_fields
    values = {name: getattr(source, name) for name in PARTS[part][1]}
    return {name: value for name, value in values.items() if value != fields[name].default}


def _toml(
    overrides: Iterable[Override], stages: Iterable[Stage], layers: Sequence[str] = ()
) -> str:
    """Those of a recipe as text, for people to go on writing."""
    tables = {
        "overrides": [each.model_dump(exclude_none=True) for each in overrides],
        "stages": [each.model_dump(exclude_defaults=True) for each in stages],
    }
    plain = {LAYERS: list(layers)} if layers else {}
    return tomlkit.dumps(plain | {name: tables[name] for name in WRITTEN if tables[name]})


def _written(text: str) -> tuple[tuple[Override, ...], tuple[Stage, ...], tuple[str, ...]]:
    """The inverse of `_toml`.

    Raises:
        RecipeError: it is not TOML, or names something else.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(strings.NOT_TOML.format(problem=error)) from None
    layers = values.pop(LAYERS, [])
    if not (isinstance(layers, list) and all(isinstance(each, str) for each in layers)):
        raise RecipeError(f"{LAYERS} was {layers!r}; give a list of names such as ['head']")
    for name, value in values.items():
        if name not in WRITTEN:
            raise RecipeError(strings.NOT_WRITTEN.format(name=name))
        if not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
            raise RecipeError(strings.NOT_TABLES.format(name=name, value=value))
    overrides = tuple(Override(**each) for each in values.get("overrides", ()))
    stages = tuple(Stage(**each) for each in values.get("stages", ()))
    return overrides, stages, tuple(layers)
