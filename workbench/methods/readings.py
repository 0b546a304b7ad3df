"""What can be read off a quantizer while it learns: ranges, clipping, codes that moved, h(V).

A reading costs a few passes over one tensor. It is taken at a check, not at every step, so that
reporting stays below 3 % of the time of learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.few import is_odd
from workbench.maths.grid import Grid, position
from workbench.maths.histogram import Histogram
from workbench.methods.base import SiteSignals
from workbench.quantizers.base import Quantizer
from workbench.quantizers.rounding import Rounding, rectified_sigmoid

Readings = dict[str, dict[str, float]]


class Seen(Protocol):
    """Histograms of activation sites, by name."""

    def __getitem__(self, site: str, /) -> Histogram: ...


OPEN = (0.01, 0.99)
BINS = 10
HALF = 0.5
#: site readings that one stage records at most: about a megabyte of events
MOST = 4000


@torch.no_grad()
def reading(quantizer: Quantizer, x: Tensor) -> dict[str, float]:
    """Scale, zero-point and clipped share of a quantizer that sees `x`."""
    scale, zero_point = (value.detach() for value in quantizer.affine())
    found = {"clipped": clipped(quantizer, x), **_summary("scale", scale)}
    if not quantizer.grid.symmetric:
        found |= _summary("zero_point", zero_point)
    return found


@torch.no_grad()
def clipped(quantizer: Quantizer, x: Tensor) -> float:
    """Share of `x` beyond the outermost levels, by more than half a step where steps are equal."""
    return 1.0 - float(_inside(quantizer, x.detach()).float().mean())


@torch.no_grad()
def of_histogram(quantizer: Quantizer, seen: Histogram) -> SiteSignals:
    """Signals of an activation site with one scale, whose values were counted."""
    scale, zero_point = (float(value) for value in quantizer.affine())
    inside = _inside(quantizer, seen.centres.float())
    share = 1.0 - float(seen.counts[inside].sum()) / max(1, seen.total)
    place_of = {} if quantizer.grid.symmetric else {"zero_point": zero_point}
    return SiteSignals({"clipped": max(0.0, share), "scale": scale, **place_of})


@torch.no_grad()
def nearest(quantizer: Quantizer, weight: Tensor) -> Tensor:
    """The codes of rounding to nearest at the quantizer's range, of the weight's shape."""
    return quantizer.nearest(weight.detach())


@torch.no_grad()
def spread(quantizer: Quantizer, weight: Tensor) -> dict[str, float]:
    """Bits that the codes of a weight carry: the entropy of their distribution."""
    codes = quantizer.codes(weight.detach())
    counts = torch.unique(codes, return_counts=True)[1].double()
    shares = counts / counts.sum()
    return {"effective_bits": float(-(shares * shares.log2()).sum())}


@torch.no_grad()
def latent(quantizer: Quantizer, weight: Tensor) -> tuple[int, ...]:
    """Where weights lie around the level of their code, in gaps between levels.

    Ten bins from half a gap below the level to half a gap above; what is clipped is in none.
    """
    x = weight.detach()
    place = position(x, *quantizer.affine(), quantizer.grid, quantizer.table())
    within = (place - quantizer.codes(x)).float() / _gap(quantizer.grid)
    return tuple(int(n) for n in torch.histc(within, BINS, -HALF, HALF).tolist())


@torch.no_grad()
def distance(weight: Tensor, original: Tensor) -> float:
    """How far a weight has moved from where it began, as a share of its size."""
    size = float(original.norm())
    return float((weight - original).norm()) / size if size else 0.0


@torch.no_grad()
def hardening(quantizer: Rounding) -> tuple[float, tuple[int, ...]]:
    """(share of roundings still undecided, histogram of h(V) in ten bins)."""
    h = rectified_sigmoid(quantizer.v).float()
    share = float(((h > OPEN[0]) & (h < OPEN[1])).float().mean())
    return share, tuple(int(n) for n in torch.histc(h, BINS, 0, 1).tolist())


@torch.no_grad()
def of_weight(quantizer: Quantizer, weight: Tensor, start: Tensor) -> SiteSignals:
    """Signals of a weight site; `start` are the codes that it is compared with."""
    values = reading(quantizer, weight)
    values["flips"] = float((quantizer.codes(weight.detach()) != start).float().mean())
    if not isinstance(quantizer, Rounding):
        return SiteSignals(values)
    values["open"], counts = hardening(quantizer)
    return SiteSignals(values, {"h": counts})


@torch.no_grad()
def of_model(model: QuantizedGraph, sites: Collection[str]) -> dict[str, SiteSignals]:
    """Signals of weight sites after learning, their codes against the nearest of the float weight.

    The float weight is that of the network before learning, and the range is the one in use.
    """
    found = {}
    for name in sites:
        quantizer, weight = model.quantizer(name), model.weight(name)
        found[name] = of_weight(quantizer, weight, nearest(quantizer, model.original(name)))
    return found


def of_sites(model: QuantizedGraph, sites: Iterable[Site], seen: Seen) -> dict[str, SiteSignals]:
    """Signals of weights after learning, and of activations with a range of their own.

    Args:
        sites: which.
        seen: histograms of the activations, by site.
    """
    sites = list(sites)
    found = of_model(model, [site.name for site in sites if site.kind == "weight"])
    active = [site.name for site in sites if site.kind == "activation"]
    return found | {name: of_histogram(model.quantizer(name), seen[name]) for name in active}


def of_network(
    model: QuantizedGraph, forward: Callable[[], object]
) -> tuple[dict[str, SiteSignals], dict[str, float]]:
    """(signals, gradient norms) of all sites with a quantizer of their own; norms where they move.

    Args:
        model: while it learns as a whole, gradients in place.
        forward: sends examples through it, for the activations.
    """
    own = {name: site for name, site in model.sites.items() if site.shares is None}
    weights = [name for name, site in own.items() if site.kind == "weight"]
    active = [name for name, site in own.items() if site.kind == "activation"]
    scales = gradients(
        [
            (name, p)
            for name in (*weights, *active)
            for p in model.quantizer(name).parameters()
            if p.requires_grad
        ]
    )
    moving = [(name, model.weight(name)) for name in weights if model.weight(name).requires_grad]
    norms = scales | {
        name: math.hypot(norm, scales.get(name, 0.0)) for name, norm in gradients(moving).items()
    }
    with torch.no_grad(), arriving(model, active) as seen:
        forward()
    found = of_model(model, weights) | {name: SiteSignals(v) for name, v in seen.items()}
    found = with_gradients(found, scales, "scale_gradient")
    return with_gradients(found, norms), norms


def with_gradients(
    sites: Mapping[str, SiteSignals], norms: Mapping[str, float], key: str = "gradient"
) -> dict[str, SiteSignals]:
    """The signals with the norm of the gradient at each site that has one, under `key`."""
    found = dict(sites)
    for site, norm in norms.items():
        known = found.get(site, SiteSignals())
        found[site] = replace(known, values={key: norm, **known.values})
    return found


@contextmanager
def arriving(model: QuantizedGraph, sites: Collection[str]) -> Iterator[Readings]:
    """While the block runs: the reading of each activation site, from the first tensor it saw."""
    found: Readings = {}

    def hook(name: str) -> Callable[[Quantizer, tuple[Tensor, ...]], None]:
        def look(module: Quantizer, inputs: tuple[Tensor, ...]) -> None:
            if name not in found:
                found[name] = reading(module, inputs[0])

        return look

    hooks = [model.quantizer(name).register_forward_pre_hook(hook(name)) for name in sites]
    try:
        yield found
    finally:
        for handle in hooks:
            handle.remove()


def gradients(parameters: Collection[tuple[str, Tensor]]) -> dict[str, float]:
    """Norm of the gradient at each site, of (site, parameter) pairs; 0 where none arrived."""
    names = [name for name, _ in parameters]
    norms = [p.new_zeros(()) if p.grad is None else p.grad.norm() for _, p in parameters]
    if not norms:
        return {}
    squares: dict[str, float] = {}
    for name, norm in zip(names, torch.stack(norms).tolist(), strict=True):
        squares[name] = squares.get(name, 0.0) + norm**2
    return {name: square**0.5 for name, square in squares.items()}


def gathered(
    sites: Mapping[str, SiteSignals], sizes: Mapping[str, int]
) -> tuple[dict[str, float], dict[str, tuple[int, ...]]]:
    """(values, counts) of a unit: means over its weights, which have `sizes` values each."""
    values: dict[str, float] = {}
    for key in ("flips", "open", "clipped", "scale"):
        held = {n: sites[n].values[key] for n in sizes if key in sites[n].values}
        if held:
            total = sum(sizes[name] for name in held)
            values[key] = sum(value * sizes[name] for name, value in held.items()) / total
    counts: dict[str, tuple[int, ...]] = {}
    for key in ("h", "latent"):
        held = [sites[n].counts[key] for n in sizes if key in sites[n].counts]
        if held:
            counts[key] = tuple(map(sum, zip(*held, strict=True)))
    return values, counts


class Thinned:
    """Leaves out the sites of some reports, so that a stage records about `MOST` readings.

    Args:
        reports: that the whole stage will make; each is about as large as those of this unit.
    """

    def __init__(self, reports: int) -> None:
        self._reports = reports
        self._index = 0

    def next(self, sites: Mapping[str, SiteSignals]) -> Mapping[str, SiteSignals]:
        """The sites of the next report, or none; those of the first are always kept."""
        every = -(-self._reports * len(sites) // MOST) or 1
        kept = self._index % every == 0
        self._index += 1
        return sites if kept else {}


def _gap(grid: Grid) -> int:
    """Codes from one level to the next: odd ones are two apart."""
    return 2 if grid.uniform and is_odd(grid) else 1


def _inside(quantizer: Quantizer, x: Tensor) -> Tensor:
    """True where a value lies between the outermost levels."""
    scale, zero_point = quantizer.affine()
    grid, levels = quantizer.grid, quantizer.table()
    if levels is None:
        place = position(x, scale, zero_point, grid)
        beyond = HALF * _gap(grid)
        low, high = grid.qmin - beyond, grid.qmax + beyond
    else:
        place = x / grid.granularity.expand(scale, x)
        low, high = float(levels[0]), float(levels[-1])
    return (place >= low) & (place <= high)


def _summary(name: str, value: Tensor) -> dict[str, float]:
    """Mean, and least and largest where there are several."""
    value = value.float()
    if value.numel() == 1:
        return {name: float(value)}
    mean, low, high = torch.stack([value.mean(), value.min(), value.max()]).tolist()
    return {name: mean, f"{name}_min": low, f"{name}_max": high}
