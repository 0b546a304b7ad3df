"""Counting how far two runs of one graph lie apart: codes in steps, floats relative to their size.

Every site is compared twice. *End to end* both sides start from the same input, so an early
difference carries on. *Locally* the simulation is given, at every site, the values that the
runtime had there; what then differs was caused between one site and the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.graph.quantized import QuantizedGraph
from workbench.maths.grid import Grid, dequantize
from workbench.maths.levels import nearest_level
from workbench.quantizers.base import Frozen, Quantizer

#: a value this near to a tie may round either way: sums in another order differ as much
TIE = 0.01
#: rounding error of a float32 sum, relative to the largest value
FLOAT_NOISE = 1e-6


def tie_limit(grid: Grid) -> float:
    """How near to a tie, in steps, float noise may decide; it grows with the number of steps."""
    return max(TIE, FLOAT_NOISE * (grid.qmax - grid.qmin))


@dataclass(frozen=True)
class SiteRow:
    """One activation site in one mode; all distances in quantization steps.

    Attributes:
        max_steps: largest difference end to end.
        share_over_half: share of codes that differ; share_over_one_and_half: by 2 steps or more.
        local_max_steps, local_share: the same where both sides had equal values at earlier sites.
        tie_distance: how far from a rounding tie the simulated values lie, at most, whose codes
            differ locally by one step; 0.0 where none does.
        ties: True if all local differences are explained by values that close to a tie.
        count: codes compared.
    """

    name: str
    max_steps: int
    share_over_half: float
    share_over_one_and_half: float
    local_max_steps: int
    local_share: float
    tie_distance: float
    ties: bool
    count: int


@dataclass(frozen=True)
class FloatRow:
    """A float tensor in one mode.

    Attributes:
        max_abs: largest difference; relative: that over the largest magnitude.
        sqnr_db: power of the simulation's values over the power of the difference.
        local_relative: as `relative`, with the runtime's own values at every activation site.
    """

    name: str
    max_abs: float
    relative: float
    sqnr_db: float
    local_relative: float


@dataclass
class SiteTally:
    """Sums behind a `SiteRow`."""

    count: int = 0
    largest: int = 0
    off: int = 0
    far: int = 0
    local_largest: int = 0
    local_off: int = 0
    tie: float = 0.0

    def add(self, expected: Tensor, got: Tensor) -> None:
        """End to end: two tensors of integer codes."""
        self.count += got.numel()
        steps = _steps(expected, got)
        if steps is None:
            return
        self.largest = max(self.largest, int(steps.max()))
        self.off += int(steps.count_nonzero())
        self.far += int((steps >= 2).sum())

    def add_local(self, x: Tensor, quantizer: Quantizer, got: Tensor) -> None:
        """Locally: what the quantizer makes of `x`, which it received after equal inputs."""
        steps = _steps(integers(quantizer.codes(x)), got)
        if steps is None:
            return
        self.local_largest = max(self.local_largest, int(steps.max()))
        self.local_off += int(steps.count_nonzero())
        distance = quantizer.tie_distance(x).cpu()[steps == 1]
        self.tie = max(self.tie, float(distance.max())) if distance.numel() else self.tie

    def merge(self, other: SiteTally) -> None:
        """Take in the sums of another batch."""
        self.count += other.count
        self.largest = max(self.largest, other.largest)
        self.off += other.off
        self.far += other.far
        self.local_largest = max(self.local_largest, other.local_largest)
        self.local_off += other.local_off
        self.tie = max(self.tie, other.tie)

    def row(self, name: str, grid: Grid) -> SiteRow:
        """Sums as shares."""
        count = max(1, self.count)
        return SiteRow(
            name,
            self.largest,
            self.off / count,
            self.far / count,
            self.local_largest,
            self.local_off / count,
            self.tie,
            self.local_largest <= 1 and self.tie <= tie_limit(grid),
            self.count,
        )


@dataclass
class FloatTally:
    """Sums behind a `FloatRow`."""

    largest: float = 0.0
    magnitude: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    local_largest: float = 0.0

    def add(self, expected: Tensor, got: Tensor, local: Tensor) -> None:
        """Same tensor: simulated, from the runtime, and simulated on the runtime's codes."""
        difference = (expected.double() - got.double()).abs()
        if not difference.numel():
            return
        self.largest = _larger(self.largest, difference)
        self.local_largest = _larger(self.local_largest, (local.double() - got.double()).abs())
        self.magnitude = _larger(self.magnitude, expected.double().abs())
        self.signal += float(expected.double().square().sum())
        self.noise += float(difference.square().sum())

    def merge(self, other: FloatTally) -> None:
        """Take in the sums of another batch."""
        self.largest = max(self.largest, other.largest)
        self.local_largest = max(self.local_largest, other.local_largest)
        self.magnitude = max(self.magnitude, other.magnitude)
        self.signal += other.signal
        self.noise += other.noise

    def row(self, name: str) -> FloatRow:
        """Sums as ratios."""
        magnitude = self.magnitude or 1.0
        sqnr = 10 * math.log10(self.signal / self.noise) if self.noise and self.signal else math.inf
        return FloatRow(
            name,
            self.largest,
            self.largest / magnitude,
            sqnr,
            self.local_largest / magnitude,
        )


@dataclass
class AgreementTally:
    """How often two sets of logits (batch, ..., classes) choose the same class."""

    same: int = 0
    count: int = 0

    def add(self, expected: Tensor, got: Tensor) -> None:
        """One batch."""
        if expected.ndim < 2 or expected.shape[-1] < 2 or not expected.is_floating_point():
            return
        agree = expected.argmax(-1) == got.argmax(-1)
        self.same += int(agree.sum())
        self.count += agree.numel()

    def share(self) -> float | None:
        """None where the output is not a vector of logits."""
        return self.same / self.count if self.count else None


@dataclass
class Tallies:
    """All sums of one mode."""

    sites: dict[str, SiteTally] = field(default_factory=dict)
    floats: dict[str, FloatTally] = field(default_factory=dict)
    top1: AgreementTally = field(default_factory=AgreementTally)

    def site(self, name: str) -> SiteTally:
        """The sums of a site, begun when first asked for."""
        return self.sites.setdefault(name, SiteTally())

    def float(self, name: str) -> FloatTally:
        """The sums of a float tensor."""
        return self.floats.setdefault(name, FloatTally())

    def merge(self, other: Tallies) -> None:
        """Take in the sums of another batch."""
        for name, site in other.sites.items():
            self.site(name).merge(site)
        for name, tensor in other.floats.items():
            self.float(name).merge(tensor)
        self.top1.same += other.top1.same
        self.top1.count += other.top1.count


@contextmanager
def watched(
    model: QuantizedGraph, forced: Mapping[str, Tensor] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Yields a dictionary that holds, after a forward, what each activation quantizer returned.

    With `forced`, the quantizers return those values instead, and the dictionary holds what they
    received.
    """
    seen: dict[str, Tensor] = {}
    quantizers = {site.name: model.quantizer(site.name) for site in model.of_kind("activation")}
    for name, quantizer in quantizers.items():
        value = None if forced is None else forced[name]
        vars(quantizer)["forward"] = _watcher(seen, name, quantizer.forward, value)
    try:
        yield seen
    finally:
        for quantizer in quantizers.values():
            del vars(quantizer)["forward"]  # uncovers the class's own


def _watcher(
    seen: dict[str, Tensor], name: str, forward: Callable[[Tensor], Tensor], value: Tensor | None
) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        result = forward(x) if value is None else value.to(x)
        seen[name] = result if value is None else x
        return result

    return call


def integers(codes: Tensor) -> Tensor:
    """Codes as int32 on the CPU."""
    return codes.cpu().to(torch.int32)


def codes_of(values: Tensor, frozen: Frozen, grid: Grid) -> Tensor:
    """The int32 codes behind values that lie on the exported grid."""
    if frozen.levels is not None:
        ordered, codes = frozen.levels.cpu().sort()
        return codes[nearest_level(values.cpu(), ordered)].to(torch.int32)
    scale = grid.granularity.expand(frozen.scale.cpu(), values)
    zero_point = grid.granularity.expand(frozen.zero_point.cpu(), values)
    return (values.cpu() / scale).round_().to(torch.int32) + zero_point


def values_of(codes: Tensor, frozen: Frozen, grid: Grid) -> Tensor:
    """What the file makes of codes."""
    if frozen.levels is not None:
        return frozen.levels.cpu()[codes.long()]
    return dequantize(codes.float(), frozen.scale.cpu(), frozen.zero_point.cpu().float(), grid)


def _steps(expected: Tensor, got: Tensor) -> Tensor | None:
    """Distances of codes; None where there are none, which is the usual and the quick case."""
    return None if torch.equal(expected, got) else (expected - got).abs()


def _larger(so_far: float, values: Tensor) -> float:
    return max(so_far, float(torch.nan_to_num(values, nan=math.inf).max()))
