"""Learnable quantizers put on the sites of a network, where they start from what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import torch

from workbench.foundation.errors import RecipeError
from workbench.graph.corrections import is_correction
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.grid import Grid, over_range
from workbench.methods.network_plan import NetworkPlan
from workbench.quantizers.base import Quantizer
from workbench.quantizers.codes import Codes
from workbench.quantizers.registry import QUANTIZERS, make, spelling

#: takes the place of a quantizer that does not serve a site's bits
PLAIN = "lsq"
#: keeps the codes of a weight as they are
FIXED = "codes"


def install(
    model: QuantizedGraph,
    plan: NetworkPlan,
    least_bits: int = 0,
    own: Mapping[str, str] | None = None,
) -> None:
    """Put the plan's quantizers on every weight and activation site, with the range it has now.

    Biases and followers stay; so do activations with levels of their own that are on a site
    already. What the plan does not move learns no more.

    Args:
        model: calibrated.
        plan: says which quantizers, and what moves.
        least_bits: more bits than were asked for, on the way down to them; 0 for none.
        own: quantizers of single sites, by name, instead of the plan's.
    """
    estimator = plan.make_estimator()
    for name, site in model.sites.items():
        if site.kind == "bias" or site.shares is not None:
            continue
        wanted = plan.weights if site.kind == "weight" else plan.activations
        wanted = (own or {}).get(name, wanted)
        _put(model, site, wanted, least_bits)
        model.quantizer(name).estimator = estimator
    _freeze(model, plan)


def served(wanted: str, site: Site, grid: Grid) -> str:
    """The quantizer for a site: the one wanted, or a plain one where it does not serve the site."""
    entry = QUANTIZERS[wanted.partition(":")[0]]
    if not grid.uniform:
        return "table"
    if grid.bits not in entry.facts.get("bits", (grid.bits,)):
        return PLAIN
    return PLAIN if entry.make.form and not site.own_levels else wanted


def replaced(model: QuantizedGraph, plan: NetworkPlan) -> str:
    """A sentence on sites that take a plain quantizer instead of the plan's; "" if none does."""
    kinds = {"weight": plan.weights, "activation": plan.activations}
    names = {kind: spelled.partition(":")[0] for kind, spelled in kinds.items()}
    own = [s for s in model.sites.values() if s.kind in kinds and s.shares is None]
    plain = (s for s in own if served(kinds[s.kind], s, model.asked[s.name]) == PLAIN)
    found = Counter(names[site.kind] for site in plain)
    parts = [f"'{name}' on {count}" for name, count in found.items() if name != PLAIN]
    return f"'{PLAIN}' takes the place of {' and of '.join(parts)} sites" if parts else ""


def _put(model: QuantizedGraph, site: Site, wanted: str, least_bits: int) -> None:
    before, asked = model.quantizer(site.name), model.asked[site.name]
    grid = asked if asked.bits >= least_bits or not asked.uniform else asked.with_bits(least_bits)
    if wanted == FIXED and site.kind == "weight":
        _fix(model, site, before)
        return
    learner = make(served(wanted, site, grid), grid, site.shape)
    if _alike(before, learner):
        return
    if before.form and not learner.form:
        return
    if isinstance(before, Codes):
        _settle(model, site.name, before)
    _start(learner, before, model, site, asked)
    model.set_quantizer(site.name, learner)


def _alike(before: Quantizer, learner: Quantizer) -> bool:
    """True if the site has such a quantizer already, so that what it has learned stays."""
    return before.grid == learner.grid and spelling(before) == spelling(learner)


@torch.no_grad()
def _fix(model: QuantizedGraph, site: Site, before: Quantizer) -> None:
    """Keep the codes that the weight has now; their scales may still learn."""
    if isinstance(before, Codes):
        return
    chosen = Codes(before.grid, site.shape)
    chosen.take(before)
    chosen.set_codes(before.codes(model.weight(site.name).detach()))
    model.set_quantizer(site.name, chosen)


@torch.no_grad()
def _settle(model: QuantizedGraph, name: str, chosen: Codes) -> None:
    """The float weight becomes what the codes of an earlier stage stand for."""
    weight = model.weight(name)
    weight.copy_(chosen(weight))


@torch.no_grad()
def _start(
    learner: Quantizer, before: Quantizer, model: QuantizedGraph, site: Site, asked: Grid
) -> None:
    """The range that the site has, for other bits over the same ends."""
    if learner.grid == before.grid:
        learner.take(before)
    elif site.kind == "weight" and before.grid == asked and type(learner).own_grid(asked) != asked:
        learner.take(before)  # brings a grid of its own, and knows how to start from a plain one
        _fit(learner, model, site)
    elif site.kind == "weight":
        learner.fit(model.weight(site.name).detach(), "mse")
    else:
        learner.set_affine(*over_range(*before.affine(), before.grid, learner.grid))


def _fit(learner: Quantizer, model: QuantizedGraph, site: Site) -> None:
    start = getattr(learner, "start", None)
    if start is not None:
        start(model.weight(site.name).detach())


def _freeze(model: QuantizedGraph, plan: NetworkPlan) -> None:
    """Only what the plan moves asks for gradients."""
    scales = scales_of(model)
    branches = _branches(model) if plan.moves == "branches" else set()
    for parameter in model.module.parameters():
        learns = id(parameter) in scales
        moves = {
            "everything": True,
            "scales": learns,
            "weights": not learns,
            "branches": id(parameter) in branches,
        }[plan.moves]
        parameter.requires_grad_(moves and parameter.is_floating_point())


def quantizers_of(model: QuantizedGraph) -> Iterator[Quantizer]:
    """Every quantizer in the network."""
    return (m for m in model.module.modules() if isinstance(m, Quantizer))


def scales_of(model: QuantizedGraph) -> set[int]:
    """The parameters of quantizers, by identity."""
    return {id(p) for quantizer in quantizers_of(model) for p in quantizer.parameters()}


def _branches(model: QuantizedGraph) -> set[int]:
    """The matrices of the low-rank corrections.

    Raises:
        RecipeError: there are none.
    """
    names = [name for name in model.graph.attribute_of if is_correction(name)]
    if not names:
        raise RecipeError(
            "only low-rank corrections would be trained, and the network has none; add"
            " --transform low_rank:rank=8"
        )
    return {id(model.parameter(name)) for name in names}
