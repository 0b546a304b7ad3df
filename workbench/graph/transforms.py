"""Transformations that a recipe can ask for: the same network, easier to quantize.

Unlike folding they are a choice. Each is a pass; they run in the order in which they are named, on
a folded model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from workbench.foundation.errors import RecipeError
from workbench.graph.fold import counted
from workbench.graph.passes.absorb_bias import absorb_bias
from workbench.graph.passes.base import FoldRecord, Pass
from workbench.graph.passes.equalize import equalize
from workbench.graph.passes.unclip import relu6_to_relu
from workbench.graph.trial import blaming


@dataclass(frozen=True)
class Transform:
    """One that can be asked for.

    Attributes:
        name: what a recipe calls it.
        title: one line for lists.
        apply: the pass.
        exact: the float output is the same, but for rounding.
    """

    name: str
    title: str
    apply: Pass
    exact: bool


_ALL = (
    Transform("relu6-to-relu", "ReLU6 becomes ReLU", relu6_to_relu, exact=False),
    Transform("equalize", "Equal weight ranges across layers", equalize, exact=True),
    Transform("absorb-bias", "High biases into the next layer", absorb_bias, exact=False),
)
TRANSFORMS: dict[str, Transform] = {transform.name: transform for transform in _ALL}


def check_transforms(names: Sequence[str]) -> None:
    """Refuse names that are unknown or come twice, with a `RecipeError`."""
    for index, name in enumerate(names):
        if name not in TRANSFORMS:
            near = difflib.get_close_matches(name, TRANSFORMS, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise RecipeError(
                f"unknown transform '{name}'; {hint}known are: {', '.join(TRANSFORMS)}"
            )
        if name in names[:index]:
            raise RecipeError(f"transform '{name}' is asked for twice; name it once")


def transform_steps(model: ir.Model, names: Sequence[str]) -> Iterator[FoldRecord]:
    """Transform `model` in place, one pass for each record that is taken."""
    check_transforms(names)
    for name in names:
        yield counted(TRANSFORMS[name].apply, model)


def transform(model: ir.Model, names: Sequence[str]) -> tuple[ir.Model, list[FoldRecord]]:
    """A transformed copy of a folded `model`, and a record of each pass.

    Raises:
        RecipeError: a name that is unknown or comes twice.
    """
    check_transforms(names)
    with blaming("transforming"):
        changed = model.clone()
        return changed, list(transform_steps(changed, names))
