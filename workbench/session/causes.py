"""Why a layer of a recipe or run suffers, and what can be done: causes, cures, gains and costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.analysis.causes.case import Examined, Ranges
from workbench.analysis.causes.examine import examine
from workbench.analysis.causes.finding import Cure, Finding, ranked
from workbench.analysis.damage import Answer
from workbench.foundation.errors import WorkbenchError
from workbench.graph.build import Graph
from workbench.graph.costs import FLOAT_BITS, costs, products_of_data
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site, layers
from workbench.graph.targets import target
from workbench.session.data import BATCH_MOST, Data, Split
from workbench.session.edits import edited
from workbench.session.execute import learned
from workbench.session.recipe import Recipe

if TYPE_CHECKING:
    from workbench.session.session import Session

#: examples of each split to look at; fewer where the inputs are large
EXAMPLES, CALIBRATION, FEWEST = 64, 256, 16


@dataclass(frozen=True)
class Bill:
    """What a recipe costs.

    Attributes:
        bytes: of all weights, packed.
        bops: bit operations for one example, products of two activations included.
    """

    bytes: int
    bops: float


@dataclass(frozen=True)
class Proposal:
    """A cure that the recipe can take.

    Attributes:
        number: by which it is applied, from 1.
        finding: the cause that proposes it; cure: what it changes.
        recipe: with the cure; bill: what that costs.
    """

    number: int
    finding: Finding
    cure: Cure
    recipe: Recipe
    bill: Bill


@dataclass(frozen=True)
class Causes:
    """Why a layer or site suffers.

    Attributes:
        layer: its name; damage: what it alone does to the answer, in nats for each position.
        findings: causes, the one that explains most first; proposals: their cures, each once.
        bill: what the recipe costs as it is.
    """

    layer: str
    damage: float
    findings: tuple[Finding, ...]
    proposals: tuple[Proposal, ...]
    bill: Bill

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "layer": self.layer,
            "damage": self.damage,
            "bytes": self.bill.bytes,
            "bops": self.bill.bops,
            "causes": [{**f.record(), "cures": [c.name for c in f.cures]} for f in self.findings],
            "cures": [self._cure(p) for p in self.proposals],
        }

    def _cure(self, proposal: Proposal) -> dict[str, Any]:
        after = proposal.cure.damage
        return {
            "number": proposal.number,
            "name": proposal.cure.name,
            "words": proposal.cure.words,
            "cause": proposal.finding.cause,
            "site": proposal.finding.site,
            "edit": dict(proposal.cure.edit),
            "predicted_damage": after,
            "predicted_gain": None if after is None else self.damage - after,
            "bytes": proposal.bill.bytes,
            "more_bytes": proposal.bill.bytes - self.bill.bytes,
            "bops": proposal.bill.bops,
            "more_bops": proposal.bill.bops - self.bill.bops,
        }


def examined(
    session: Session,
    recipe: Recipe,
    model: QuantizedGraph | None = None,
    examples: int = EXAMPLES,
    swinging: Mapping[str, float] | None = None,
) -> Examined:
    """The quantized network beside the float one, on data of both kinds.

    Args:
        session: model and data.
        recipe: how it is quantized.
        model: already quantized so; by default it is made now.
        examples: held-out ones.
        swinging: shares of weights that oscillated while `model` trained, see `oscillations`.
    """
    if model is None:
        known = learned(session, recipe)
        model, swinging = known.model, oscillations(known.events)
    held_out, calibration = session.judging(recipe), session.calibrating(recipe)
    found = Answer.of(model.graph)
    answer = replace(found, kind="values") if held_out.task == "pairs" else found
    return Examined(
        model.eval(),
        _some(session, held_out, "test", examples),
        _some(session, calibration, "calibration", CALIBRATION),
        answer,
        _ranges(recipe),
        swinging,
    )


def oscillations(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """By weight site, the share whose codes swung while it trained; the last word counts.

    Args:
        events: records of them, as in a run's `events.jsonl`.
    """
    found = {}
    for event in events:
        for site, signals in (event.get("sites") or {}).items():
            share = (signals.get("values") or {}).get("oscillating")
            if share is not None:
                found[str(site)] = float(share)
    return found


def causes(session: Session, recipe: Recipe, network: Examined, layer: str = "") -> Causes:
    """Why a place suffers.

    Args:
        session: model and data.
        recipe: that `network` was quantized with.
        network: see `examined`.
        layer: of a layer or site; "" takes the one that hurts the answer most.

    Raises:
        RecipeError: no such layer.
    """
    case = network.case(layer or network.worst(1)[0])
    found = tuple(examine(case))
    cures = tuple(proposals(session, recipe, found))
    return Causes(case.name, case.own_damage, found, cures, bill(session, recipe))


def joined(one: Causes, found: Sequence[Finding], session: Session, recipe: Recipe) -> Causes:
    """With further causes, which were found elsewhere."""
    every = tuple(ranked([*one.findings, *found]))
    cures = tuple(proposals(session, recipe, every))
    return replace(one, findings=every, proposals=cures)


def bill(session: Session, recipe: Recipe) -> Bill:
    """What a recipe costs; weights that stay float count 32 bits and meet float data."""
    place = target(recipe.target)
    graph = session.transformed(recipe.preparation, session.observe(recipe))
    plan = place.plan(graph, recipe.weights, recipe.activations, recipe.overrides, recipe.edges)
    return _priced(graph, plan.sites)


def _priced(graph: Graph, sites: Sequence[Site]) -> Bill:
    bits = {site.name: site.grid.bits for site in sites if site.kind == "weight"}
    found = costs(graph, sites)
    size = sum(cost.values * bits[name] for name, cost in found.items())
    operations = sum(cost.products * bits[name] for name, cost in found.items())
    operations += products_of_data(graph, sites)
    for layer in layers(graph):
        values = {w.name: _count(w.shape) for w in layer.weights}
        left = [name for name in values if name not in bits]
        size += sum(values[name] for name in left) * FLOAT_BITS
        share = sum(values[name] for name in left) / sum(values.values())
        operations += layer.macs * share * FLOAT_BITS**2
    return Bill(-(-size // 8), operations)


def _count(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def proposals(session: Session, recipe: Recipe, found: Sequence[Finding]) -> Iterator[Proposal]:
    """Every cure once, without those that this recipe or target cannot take."""
    seen, number = set[str](), 0
    for finding in found:
        for cure in finding.cures:
            key = json.dumps(cure.edit, sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
            try:
                changed = edited(recipe, cure.edit)
                cost = bill(session, changed)
            except WorkbenchError:
                continue
            number += 1
            yield Proposal(number, finding, cure, changed, cost)


def _some(session: Session, data: Data, split: Split, most: int) -> list[tuple[Tensor, ...]]:
    size = session.batch_size
    count = min(most, max(FEWEST, most * size // BATCH_MOST))
    return [inputs for inputs, _ in data.batches(split, min(size, count), count)]


def _ranges(recipe: Recipe) -> Ranges:
    """The calibrators of the first stage that names some."""
    plain = Ranges()
    for stage in recipe.stages:
        options = stage.parsed()
        weights = getattr(options, "weight_calibrator", plain.weights)
        return Ranges(weights, getattr(options, "calibrator", plain.activations))
    return plain
