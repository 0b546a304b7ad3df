"""Level tables: grids whose steps are not equal.

    x̂ = L[q] s,   q = argmin over i of |x / s - L[i]|

L is a sorted table of levels and s the scale; there is no zero-point. A value midway between two
levels goes to the lower one. Most tables are normalised to a largest level of 1; the float8 ones
hold the format's own values, so that a file can store them as float8.

    balanced   odd multiples of 1 / (2^b - 1): mid-rise, no zero; one bit gives ±1
    ternary    one level below zero, zero, one above; learned (Zhu et al. 2017, 1612.01064)
    power      0 and ±2^-k                                    (Miyashita et al. 2016, 1603.01025)
    apot       sums of powers of two                          (Li et al. 2020, BkgXT24tDS)
    nf4, nf3   quantiles of N(0, 1)                           (Dettmers et al. 2023, 2305.14314)
    float4     e2m1: 0, ½, 1, 1½, 2, 3, 4, 6                  (OCP microscaling formats, 2023)
    float8     e4m3fn and e5m2                                (Micikevicius et al. 2022, 2209.05433)
    kmeans     learned from each weight                       (Lloyd 1982; Han et al. 2016)

The numbers in brackets are arXiv or OpenReview ids.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError

UNIFORM = "uniform"
#: where NF4 starts its quantiles: half way between those of 15 and of 16 levels
NORMAL_OFFSET = 0.5 * (31 / 32 + 29 / 30)
LLOYD_SWEEPS, LLOYD_SETTLED = 300, 1e-7


@dataclass(frozen=True)
class Table:
    """A named rule for levels.

    Attributes:
        title: for people.
        bits: widths for which it is defined.
        make: bits -> sorted levels, at most 2^bits of them, some below and some above zero.
        learned: the levels are a start, and each weight learns its own.
    """

    title: str
    bits: range
    make: Callable[[int], Tensor]
    learned: bool = False


def table(name: str) -> Table:
    """The table called `name`, or a `RecipeError` that lists those known."""
    if name not in TABLES:
        known = ", ".join((UNIFORM, *TABLES))
        raise RecipeError(f"unknown table '{name}'; choose one of: {known}")
    return TABLES[name]


def table_serves(name: str, bits: int) -> bool:
    """True where table `name` (or "uniform") is defined for this many bits."""
    return name == UNIFORM or bits in table(name).bits


@lru_cache(maxsize=64)
def levels(name: str, bits: int) -> Tensor:
    """The sorted float32 levels of a table; learned tables start from these.

    Raises:
        RecipeError: an unknown table, or one that is not defined for so many bits.
    """
    rule = table(name)
    if bits not in rule.bits:
        first, last = rule.bits[0], rule.bits[-1]
        range_ = f"'{first}'" if first == last else f"'{first}' to '{last}'"
        raise RecipeError(f"table '{name}' has no levels of '{bits}' bits; choose {range_}")
    return rule.make(bits).to(torch.float32).sort().values


def nearest_level(x: Tensor, levels: Tensor) -> Tensor:
    """Index (int64, shape of `x`) of the level nearest to each value; ties go to the lower one."""
    middles = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(x.detach().contiguous(), middles.detach())


def interpolate(position: Tensor, levels: Tensor) -> Tensor:
    """Values at fractional indices: the level itself at whole ones, a straight line between."""
    position = position.clamp(0, len(levels) - 1)
    below = position.detach().floor().long()
    above = (below + 1).clamp(max=len(levels) - 1)
    return levels[below] + (position - below) * (levels[above] - levels[below])


def locate(x: Tensor, levels: Tensor) -> Tensor:
    """The inverse of `interpolate`: a fractional index for each value, limited to the table."""
    x = x.clamp(levels[0], levels[-1])
    above = torch.bucketize(x.contiguous(), levels).clamp(1, len(levels) - 1)
    low, high = levels[above - 1], levels[above]
    return above - 1 + (x - low) / (high - low)


def lloyd_max(x: Tensor, count: int, sweeps: int = LLOYD_SWEEPS) -> Tensor:
    """`count` sorted levels with the least mean squared error over the values of `x` (Lloyd 1982).

    Args:
        sweeps: at most; none give the quantiles from which it starts.
    """
    return list(itertools.islice(lloyd_sweeps(x, count), sweeps + 1))[-1]


@torch.no_grad()
def lloyd_sweeps(x: Tensor, count: int) -> Iterator[Tensor]:
    """The levels from quantiles on, sweep by sweep, until they are settled; float32, sorted.

    A level that no value is nearest to stays where it is.
    """
    ordered = x.detach().flatten().double().sort().values
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count * (len(ordered) - 1)
    found, moved = ordered[places.round().long()], math.inf
    yield found.float()
    while moved > LLOYD_SETTLED * float(ordered[-1] - ordered[0]):
        ends = torch.searchsorted(ordered, (found[1:] + found[:-1]) / 2)
        edges = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), len(ordered))])
        inside = edges.diff()
        means = sums[edges].diff() / inside.clamp(min=1)
        fresh = torch.where(inside > 0, means, found)
        moved = float((fresh - found).abs().max())
        found = fresh.sort().values
        yield found.float()


def _balanced(bits: int) -> Tensor:
    top = 2**bits - 1
    return torch.arange(-top, top + 1, 2, dtype=torch.float64) / top


def _ternary(bits: int) -> Tensor:  # noqa: ARG001 - always two
    """Where learning starts."""
    return torch.tensor([-1.0, 0.0, 1.0])


def _power(bits: int) -> Tensor:
    return _mirrored(torch.exp2(-torch.arange(2 ** (bits - 1) - 1, dtype=torch.float64)))


#: exponents of the terms of APoT for B = bits - 1, as in the authors' code: any term may be absent
_APOT_TERMS = {
    1: ((1,),),
    2: ((1, 2, 3),),
    3: ((1, 2, 4), (3,)),
    4: ((1, 3, 5), (2, 4, 6)),
    5: ((1, 3, 6), (2, 4, 7), (5,)),
    6: ((1, 4, 7), (2, 5, 8), (3, 6, 9)),
}


def apot_multiples(bits: int) -> Tensor:
    """The 2^bits unsigned levels of APoT as whole multiples of its least term, int64, from 0."""
    listed = _APOT_TERMS[bits]
    finest = max(e for exponents in listed for e in exponents)
    terms = [(0, *(2 ** (finest - e) for e in exponents)) for exponents in listed]
    return torch.tensor(sorted({sum(chosen) for chosen in itertools.product(*terms)}))


def _apot(bits: int) -> Tensor:
    sums = apot_multiples(bits - 1).double()
    return _mirrored(sums[sums > 0] / sums.max())


def _normal(bits: int) -> Tensor:
    """One more positive quantile than negative ones, and zero."""
    half = 2 ** (bits - 1)
    above = torch.linspace(NORMAL_OFFSET, 0.5, half + 1, dtype=torch.float64)[:-1]
    below = torch.linspace(NORMAL_OFFSET, 0.5, half, dtype=torch.float64)[:-1]
    found = torch.cat([torch.special.ndtri(above), -torch.special.ndtri(below)])
    return torch.cat([found, found.new_zeros(1)]) / found.max()


def _float4(bits: int) -> Tensor:  # noqa: ARG001 - always four
    return _mirrored(torch.tensor([0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64) / 6)


def _float8(dtype: torch.dtype) -> Callable[[int], Tensor]:
    def make(bits: int) -> Tensor:  # noqa: ARG001 - always eight
        every = torch.arange(256, dtype=torch.uint8).view(dtype).float()
        return every[every.isfinite()].unique()  # the two zeros become one

    return make


def _kmeans(bits: int) -> Tensor:
    """Where learning starts: the normal quantiles in the middle of equal shares, up to ±1."""
    count = 2**bits
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    found = torch.special.ndtri(shares)
    return found / found.max()


def _mirrored(positive: Tensor) -> Tensor:
    return torch.cat([positive, -positive, positive.new_zeros(1)])


TABLES: dict[str, Table] = {
    "balanced": Table("Balanced, no zero", range(1, 5), _balanced),
    "ternary": Table("Three learned levels", range(2, 3), _ternary, learned=True),
    "power": Table("Powers of two", range(2, 6), _power),
    "apot": Table("Sums of powers of two (APoT)", range(3, 8), _apot),
    "nf3": Table("Normal quantiles, 3 bits", range(3, 4), _normal),
    "nf4": Table("Normal quantiles, 4 bits", range(4, 5), _normal),
    "float4": Table("Float4 e2m1", range(4, 5), _float4),
    "float8e4m3fn": Table("Float8 e4m3", range(8, 9), _float8(torch.float8_e4m3fn)),
    "float8e5m2": Table("Float8 e5m2", range(8, 9), _float8(torch.float8_e5m2)),
    "kmeans": Table("Learned levels (k-means)", range(1, 9), _kmeans, learned=True),
}
