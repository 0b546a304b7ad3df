"""Calibration without data: examples made from the float model, kept, and called what they are.

What was made lies in the cache folder under a key of the model's hash, the maker, its options, the
number of examples and the seed, so runs share it; batch after batch is stored, and an order that
was stopped goes on after the last one. Scores come from real data where there are any. Where there
are none, the made examples stand in for held-out ones, and what they tell is called agreement.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workbench.foundation.errors import DataError, RecipeError
from workbench.methods.base import Event
from workbench.session.data import Data
from workbench.session.images import Preprocess
from workbench.session.known import cache_dir
from workbench.session.recipe import Recipe, Synthetic
from workbench.session.sources import ArraySource, sizes
from workbench.session.store import Checkpoint
from workbench.synthesis.base import Batch, Maker, Order, joined
from workbench.synthesis.registry import MAKERS, make

if TYPE_CHECKING:
    from workbench.session.session import Session

LOOKS = 200  # events of an order, about
NOT_JUDGED = "not judged: no data"
ON_MADE = "agreement with the float model is on the made examples"
LABELS = "labels"
#: makers for a model without data, the most faithful first; the last takes no time at all
BEST_FIRST = ("zeroq", "generated")
BY_CHANCE = "random"

Portion = tuple[Batch, Tensor | None]


def label(session: Session, recipe: Recipe) -> str:
    """`data-free (ZeroQ, 128 pictures)`; empty for a recipe that calibrates on real data."""
    spec = recipe.synthetic
    if spec is None:
        return ""
    noun = Order(session.graph, spec.examples).noun()
    return f"data-free ({MAKERS[spec.maker].title}, {spec.examples} {noun})"


def judged(session: Session, recipe: Recipe) -> str:
    """On what a data-free run was judged, in one clause."""
    if not session.has_data:
        return f"{NOT_JUDGED} ({ON_MADE})"
    data = session.judging(recipe)
    return f"judged on {data.size('test'):,} real examples of '{data.name}'"


def check(session: Session, recipe: Recipe) -> None:
    """Refuse what cannot be made, before any work.

    Raises:
        DataError: the model has not what the maker needs; the message says what to do instead.
    """
    spec = _spec(recipe)
    _maker(spec).check(_order(session, recipe))


def fitting(session: Session) -> str:
    """Name of the best maker of examples for a model that has no data.

    Raises:
        DataError: not even inputs made by chance are possible; the message says why.
    """
    for name in BEST_FIRST:
        recipe = Recipe(synthetic=Synthetic(maker=name))
        with suppress(DataError):
            check(session, recipe)
            return name
    check(session, Recipe(synthetic=Synthetic(maker=BY_CHANCE)))
    return BY_CHANCE


def synthesise(session: Session, recipe: Recipe) -> Iterator[Event]:
    """Make the examples of a recipe, but for those that are kept already.

    Yields:
        a "step" now and then, with the maker's loss.

    Raises:
        DataError: as `check`. RunError: what is kept is damaged.
    """
    spec, order, kept = _spec(recipe), _order(session, recipe), _kept(session, recipe)
    maker, title = _maker(spec), MAKERS[spec.maker].title
    portions = _load(session, kept)
    for step in maker.run(order, len(portions)):
        if step.batch is not None:
            portions.append((step.batch, step.labels))
            kept.save(_named(portions), len(portions))
        elif step.step % max(1, step.total // LOOKS) not in (0, 1):
            continue
        yield Event(
            "step",
            method=spec.maker,
            site=title,
            step=step.step,
            total=step.total,
            values=step.values,
            text=f"{title}: making {spec.examples} {order.noun()}",
        )


def made(session: Session, recipe: Recipe) -> Data:
    """The made examples, which both calibrate and, for want of others, judge; made where needed.

    Classes that they were made for are labels to train on, never to judge by.
    """
    portions = _load(session, _kept(session, recipe))
    if len(portions) < len(_maker(_spec(recipe)).counts(_order(session, recipe))):
        for _ in synthesise(session, recipe):
            pass
        portions = _load(session, _kept(session, recipe))
    inputs = session.graph.inputs
    whole = joined(_order(session, recipe), [batch for batch, _ in portions])
    arrays = {spec.name: _plain(x) for spec, x in zip(inputs, whole, strict=True)}
    source = ArraySource(arrays, inputs)
    labels = [known for _, known in portions if known is not None]
    source.labels = torch.cat(labels).numpy() if labels else None
    rows = np.arange(len(source))
    fixed = sizes(inputs[0])[0] if sizes(inputs[0]) else 0
    name = label(session, recipe)
    record = {"kind": "made"}
    return Data(name, "made", source, rows, rows, False, record=record, fixed=fixed)


def sample(session: Session) -> Batch:
    """Random inputs that the model takes, to try it on where there are no data."""
    size = session.preprocess.size if session.preprocess else None
    steps = make("random").run(Order(session.graph, 2, size=size))
    return next(step.batch for step in steps if step.batch is not None)


def some(session: Session) -> Batch:
    """A few inputs to try a model on: the session's own, or random ones where it has no data."""
    if not session.has_data:
        return sample(session)
    return session.data.split("calibration", session.data.fixed or 2)


def no_record(session: Session) -> dict[str, Any]:
    """What a run notes in place of its data."""
    preprocess = session.preprocess
    return {"kind": "none", **({"preprocess": preprocess.record()} if preprocess else {})}


def _spec(recipe: Recipe) -> Synthetic:
    if recipe.synthetic is None:
        raise RecipeError("the recipe makes no data; add [synthetic] with maker = 'zeroq'")
    return recipe.synthetic


def _maker(spec: Synthetic) -> Maker:
    return make(spec.maker, spec.options)


def _order(session: Session, recipe: Recipe) -> Order:
    spec, preprocess = _spec(recipe), session.preprocess
    size = preprocess.size if preprocess else None
    limits = _limits(session, preprocess) if preprocess else None
    return Order(session.graph, spec.examples, recipe.seed, limits, size)


def _limits(session: Session, preprocess: Preprocess) -> tuple[Tensor, Tensor] | None:
    """What black and white become, for each channel, if the input is a picture."""
    shape = session.graph.inputs[0].shape
    if len(shape) != 4:
        return None
    last = shape[3] in (1, 3) and shape[1] not in (1, 3)
    across = (1, 1, -1) if last else (-1, 1, 1)
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    ends = (0.0 - mean) / std, (preprocess.pixels - mean) / std
    return ends[0].reshape(across), ends[1].reshape(across)


def _kept(session: Session, recipe: Recipe) -> Checkpoint:
    """Where the examples of this model, maker, options, number and seed are kept."""
    spec = _spec(recipe)
    preprocess = session.preprocess.record() if session.preprocess else None
    parts: list[Any] = [session.sha256, spec.maker, spec.parsed().model_dump(), spec.examples]
    parts += [recipe.seed, preprocess]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    folder = cache_dir() / "made"
    folder.mkdir(exist_ok=True)
    return Checkpoint(folder / f"{spec.maker}-{key[:32]}.safetensors", key)


def _load(session: Session, kept: Checkpoint) -> list[Portion]:
    """The batches that are kept, in order, each with its labels."""
    tensors, count = kept.load() or ({}, 0)
    inputs = range(len(session.graph.inputs))
    return [
        (tuple(tensors[f"{n}.{i}"] for i in inputs), tensors.get(f"{n}.{LABELS}"))
        for n in range(count)
    ]


def _named(portions: list[Portion]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for n, (batch, labels) in enumerate(portions):
        found |= {f"{n}.{i}": x for i, x in enumerate(batch)}
        found |= {} if labels is None else {f"{n}.{LABELS}": labels}
    return found


def _plain(x: Tensor) -> Any:
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
