"""What is asked of single layers, beside a session's recipes: bits, rounding and clip of weights.

    session.tune("conv1", bits=3, method="nearest", calibrator="minmax", share=0.8)
    session.what_if("conv1")          # of these choices
    session.quantize(weights=4)       # and so does every recipe that the session makes from now on

A weight of a layer that has several can have bits of its own. All of it becomes part of the recipe,
so a run of it needs no session: other bits are overrides, and other ways of rounding are stages for
some layers only. Where any layer names its rounding, nearest rounding finds all ranges first, and
the recipe's own methods learn the other layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from workbench.foundation.errors import RecipeError, unknown_name
from workbench.foundation.options import OneOf, Options
from workbench.graph.sites import layers
from workbench.maths.calibrators.registry import WeightCalibrator
from workbench.session.recipe import Override, Recipe, Stage
from workbench.session.whatif import NEAREST, methods

if TYPE_CHECKING:
    from workbench.session.session import Session

RTN = "rtn"
INHERITED = ""  # the method that the recipe has


class Tuning(Options):
    """What is asked of one layer's weights."""

    bits: Annotated[
        int | None, Field(ge=1, le=8, description="bits; none: those of the recipe")
    ] = None
    method: Annotated[
        str,
        OneOf("method", lambda: [INHERITED, *methods()]),
        Field(description="how codes are chosen; empty: as the recipe does"),
    ] = INHERITED
    calibrator: Annotated[
        WeightCalibrator, Field(description="range of the weights, for nearest rounding")
    ] = "mse"
    share: Annotated[float, Field(ge=0.05, le=1, description="part of that range that is kept")] = (
        1.0
    )

    @model_validator(mode="after")
    def _nearest_alone(self) -> Tuning:
        if self.method != NEAREST and (self.calibrator, self.share) != ("mse", 1.0):
            raise RecipeError(
                f"calibrator and share are of nearest rounding, and method was '{self.method}',"
                " which finds its own range; use method 'nearest', or leave them"
            )
        return self


def tuned(session: Session, layer: str, changes: Mapping[str, Any]) -> Tuning:
    """What a layer is asked for after changes.

    Raises:
        RecipeError: an unknown layer, or what no layer can be asked for.
    """
    return _changed(session, layer, session.tuned.get(layer, Tuning()), changes)


def all_tuned(session: Session, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Tuning]:
    """What all layers are asked for, those without an own wish left out; see `tuned`.

    Raises:
        RecipeError: as `tuned` does.
    """
    odd = next((name for name, each in wanted.items() if not isinstance(each, Mapping)), None)
    if odd is not None:
        asked = f"{wanted[odd]!r:.40}"
        raise RecipeError(f"'{odd}' is asked for {asked}; say what of it, as in {{'bits': 3}}")
    found = {name: _changed(session, name, Tuning(), each) for name, each in wanted.items()}
    return {name: each for name, each in found.items() if each != Tuning()}


def _changed(session: Session, layer: str, own: Tuning, changes: Mapping[str, Any]) -> Tuning:
    known = [each for each in layers(session.graph) if each.weights]
    names = [each.name for each in known]
    weights = {weight.name for each in known for weight in each.weights}
    if layer not in names and layer not in weights:
        raise RecipeError(unknown_name("layer", layer, names))
    if layer not in names and not changes.keys() <= {"bits"}:
        raise RecipeError(f"'{layer}' is one weight, which can have bits of its own and no more")
    before = own.model_dump()
    if changes.get("method", NEAREST) != NEAREST:  # which chooses its own range
        before |= {"calibrator": "mse", "share": 1.0}
    return Tuning.parse({**before, **changes}, "tuning")


def overrides(tunings: Mapping[str, Tuning]) -> tuple[Override, ...]:
    """The bits of the layers that name some."""
    asked = {name: each.bits for name, each in tunings.items() if each.bits is not None}
    return tuple(Override(pattern=name, weights=bits) for name, bits in asked.items())


def applied(recipe: Recipe, tunings: Mapping[str, Tuning], names: tuple[str, ...]) -> Recipe:
    """The recipe with what single layers are asked for.

    Args:
        recipe: whose overrides and stages are added to.
        tunings: by layer.
        names: of all layers, in order.

    Raises:
        RecipeError: a layer names its rounding, and the recipe learns several layers together.
    """
    if not tunings:
        return recipe
    changed = recipe.changed(overrides=(*recipe.overrides, *overrides(tunings)))
    own = {name: each for name, each in tunings.items() if each.method != INHERITED}
    if not own:
        return changed
    together = [stage.method for stage in recipe.stages if not stage.by_layer]
    if together:
        raise RecipeError(
            f"method '{together[0]}' learns more than one layer at a time, and"
            f" '{next(iter(own))}' is to be rounded in another way; take rtn, gram or gptq, or"
            " leave the choice of method to the recipe"
        )
    return changed.changed(stages=tuple(_stages(recipe, own, names)))


def _stages(recipe: Recipe, own: Mapping[str, Tuning], names: tuple[str, ...]) -> list[Stage]:
    """Ranges of all, then each group of layers in its way, in the order of the first of each."""
    first, *later = recipe.stages
    if first.method != RTN:
        first, later = Stage(method=RTN), [first, *later]
    rest = tuple(name for name in names if name not in own)
    found = [first]
    for calibrator, share in dict.fromkeys((t.calibrator, t.share) for t in own.values()):
        group = [n for n in own if (own[n].calibrator, own[n].share) == (calibrator, share)]
        nearest = tuple(n for n in names if n in group and own[n].method == NEAREST)
        options = {"weight_calibrator": calibrator, "weight_share": share}
        if nearest and not _same(first, options):
            found.append(Stage(method=RTN, options=options, layers=nearest))
    for_rest = later if rest else ()
    found += [Stage(method=s.method, options=s.options, layers=rest) for s in for_rest]
    for method in dict.fromkeys(t.method for t in own.values() if t.method != NEAREST):
        group = tuple(name for name in names if name in own and own[name].method == method)
        found.append(Stage(method=method, layers=group))
    return found


def _same(stage: Stage, options: Mapping[str, Any]) -> bool:
    values = stage.parsed().model_dump()
    return all(values[key] == value for key, value in options.items())
