"""Transformations that a recipe can ask for: the same network, easier to quantize.

Unlike folding they are a choice. Each is a pass of `workbench.graph.passes`; they run in the order
in which they are named, on a folded model. A name may be followed by options:

    equalize
    smooth:alpha=0.7
    awq:bits=3,group_size=32
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import onnx_ir as ir
from torch import Tensor

from workbench.foundation.errors import DataError, RecipeError
from workbench.foundation.spelling import joined, split
from workbench.graph.fold import counted
from workbench.graph.passes.base import FoldRecord
from workbench.graph.passes.registry import TRANSFORMS, Batches, Measured, Transform
from workbench.graph.trial import blaming


def parse(text: str) -> Transform:
    """The transformation that `name:option=value,option=value` stands for.

    Raises:
        RecipeError: an unknown name, an unknown option, or a value out of range.
    """
    name, given = split(text, "transform")
    return TRANSFORMS[name].make(TRANSFORMS.parsed(name, given))


def spelled(asked: object) -> str:
    """A transformation as text, from text or from a table with its `name` and options.

    Options that were not given stay unsaid.

    Raises:
        RecipeError: it is neither, or not a possible transformation.

    Example:
        >>> spelled({"name": "smooth", "alpha": 0.7})
        'smooth:alpha=0.7'
    """
    if isinstance(asked, Mapping):
        options = {key: value for key, value in asked.items() if key != "name"}
        asked = joined(str(asked.get("name", "")), options)
    if not isinstance(asked, str):
        raise RecipeError(f"transform {asked!r} is no text; name one of: {', '.join(in_order())}")
    found = parse(asked)
    return joined(found.name, found.options.model_dump(exclude_unset=True))


def filled(texts: Iterable[str], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts with `values` for options of those names that were left unsaid.

    Example:
        >>> filled(["equalize", "awq:bits=3"], {"bits": 4, "group_size": 32})
        ('equalize', 'awq:bits=3,group_size=32')
    """
    done = []
    for found in map(parse, texts):
        given = found.options.model_dump(exclude_unset=True)
        own = {k: v for k, v in values.items() if k in type(found.options).model_fields}
        done.append(joined(found.name, {**own, **given}))
    return tuple(done)


def check_transforms(texts: Sequence[str]) -> list[Transform]:
    """The transformations asked for, in order.

    Raises:
        RecipeError: one is not possible or comes twice.
    """
    found = [parse(text) for text in texts]
    names = [step.name for step in found]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"transform '{name}' is asked for twice; name it once")
    return found


def need_data(texts: Sequence[str]) -> bool:
    """Whether one of them has to measure first."""
    return any(step.needs_data for step in check_transforms(texts))


def measure(model: ir.Model, texts: Sequence[str], batches: Batches) -> dict[str, Tensor]:
    """What the transformations see in the data, each behind those before it; `name/tensor` keys.

    Args:
        model: folded; it is left untouched.
        batches: makes a fresh iterator over calibration inputs.
    """
    steps = check_transforms(texts)
    found: dict[str, Tensor] = {}
    last = max((i for i, step in enumerate(steps) if step.needs_data), default=-1)
    with blaming("transforming"):
        changed = model.clone() if last >= 0 else model
        for step in steps[: last + 1]:
            seen = step.measure(changed, batches)
            found |= {f"{step.name}/{name}": value for name, value in seen.items()}
            step.apply(changed, seen)
    return found


def transform_steps(
    model: ir.Model, texts: Sequence[str], measured: Measured | None = None
) -> Iterator[FoldRecord]:
    """Transform `model` in place, one pass for each record that is taken.

    Args:
        measured: what `measure` gave; needed only by those that look at data.
    """
    for step in check_transforms(texts):
        if step.needs_data and measured is None:
            raise DataError(f"transform '{step.name}' looks at data first; give some with --data")
        mine = _of(step.name, measured or {})
        yield counted(partial(step.apply, measured=mine), model)


def transform(
    model: ir.Model, texts: Sequence[str], measured: Measured | None = None
) -> tuple[ir.Model, list[FoldRecord]]:
    """A transformed copy of a folded `model`, and a record of each pass.

    Raises:
        RecipeError: a transformation that is not possible or comes twice.
        DataError: one of them needs data, and nothing was measured.
    """
    check_transforms(texts)
    with blaming("transforming"):
        changed = model.clone()
        return changed, list(transform_steps(changed, texts, measured))


def in_order() -> list[str]:
    """The names of all, in the order in which they go together."""
    entries = sorted(TRANSFORMS, key=lambda entry: (entry.facts["order"], entry.name))
    return [entry.name for entry in entries]


def _of(name: str, measured: Measured) -> dict[str, Tensor]:
    start = f"{name}/"
    return {k.removeprefix(start): value for k, value in measured.items() if k.startswith(start)}
