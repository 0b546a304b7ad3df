"""K-means against linear: levels that go where the weights are (Lloyd 1982; Han et al. 2016).

    codes = argmin |w - L[codes]|        each weight to its nearest level
    L[k]  = mean of the weights with code k

arXiv:1510.00149. The two steps in turn never raise the squared error. A linear grid is stored as
one scale; a codebook as 2^b numbers, and its codes cannot be multiplied as integers.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import islice
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.costs import BYTE, Cost
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.demos.clip_or_round import Title
from workbench.lessons.panels import (
    Axis,
    Bars,
    Level,
    Lines,
    Mark,
    NumberLine,
    Reading,
    Scene,
    Series,
    Table,
    numbers,
)
from workbench.lessons.registry import demo
from workbench.maths.grid import Granularity, Grid, affine_range, dequantize, fake_quantize
from workbench.maths.levels import lloyd_max, lloyd_sweeps, nearest_level
from workbench.maths.metrics import sqnr_db
from workbench.maths.ranges import weight_range

BITS = range(1, 6)
SWEEPS, BINS, RANGE = 40, 60, "l2"
LINEAR, CHANNELS, CODEBOOK = "linear, one scale", "linear, a scale per channel", "k-means"
PARTS = ((0.5, "less than half a dB"), (1.5, "half a dB to 1.5 dB"), (3.0, "1.5 to 3 dB"),
         (999.0, "more than 3 dB: half a bit"))  # fmt: skip


class KmeansOptions(Options):
    """What can be moved."""

    tensor: Annotated[Title, Field(description="Weights of a sample model.")] = "ResNet convolution"
    bits: Annotated[int, Field(ge=1, le=5, description="Bits of a code.")] = 3
    sweeps: Annotated[
        int,
        Field(ge=0, le=SWEEPS, description="Rounds of k-means, from quantiles on.",
              json_schema_extra={"play": True}),
    ] = SWEEPS  # fmt: skip


@lru_cache(maxsize=32)
def walked(tensor: str, bits: int) -> Tensor:
    """The sorted codebook after each of 0 to `SWEEPS` sweeps, (sweeps + 1, levels)."""
    found = list(islice(lloyd_sweeps(material.weight(tensor), 2**bits), SWEEPS + 1))
    return torch.stack(found + [found[-1]] * (SWEEPS + 1 - len(found)))


def levels(tensor: str, bits: int, sweeps: int) -> Tensor:
    """The codebook after some sweeps, sorted."""
    return walked(tensor, bits)[sweeps]


@lru_cache(maxsize=64)
def settled(tensor: str, bits: int) -> Tensor:
    """The codebook when it does not move any more."""
    return lloyd_max(material.weight(tensor), 2**bits)


def clustered(tensor: str, table: Tensor) -> float:
    """SQNR in dB with each weight at its nearest level of a codebook."""
    weight = material.weight(tensor)
    return sqnr_db(weight, table[nearest_level(weight, table)])


def grid_of(tensor: str, kind: str, bits: int) -> Grid:
    """The linear grid; output channels are the last axis of matrices and the first of kernels."""
    axis = 0 if material.weight(tensor).ndim > 2 else 1
    return Grid(
        bits, granularity=Granularity("channel", axis) if kind == CHANNELS else Granularity()
    )


@lru_cache(maxsize=128)
def linear(tensor: str, kind: str, bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero-point with the least squared error."""
    grid = grid_of(tensor, kind, bits)
    return affine_range(*weight_range(material.weight(tensor), grid, RANGE), grid)


@lru_cache(maxsize=1024)
def quality(tensor: str, kind: str, bits: int) -> float:
    """SQNR of the weight in dB, with a codebook that has settled."""
    if kind == CODEBOOK:
        return clustered(tensor, settled(tensor, bits))
    weight = material.weight(tensor)
    grid = grid_of(tensor, kind, bits)
    return sqnr_db(weight, fake_quantize(weight, *linear(tensor, kind, bits), grid))


def stored(tensor: str, kind: str, bits: int) -> float:
    """Bits a weight takes, with scales or codebook in float32."""
    count = material.weight(tensor).numel()
    numbers_kept = 2**bits if kind == CODEBOOK else linear(tensor, kind, bits)[0].numel()
    return BYTE * Cost(count, scales=numbers_kept).bytes(bits) / count


@demo(
    "kmeans",
    title="K-means against linear",
    topic="Below 4 bits",
    order=1,
    citation="Lloyd 1982; Han et al. 2016, arXiv:1510.00149",
)
class KmeansDemo(Demo):
    """Levels may lie anywhere and move to where the weights are: how much is that worth?"""

    Options = KmeansOptions
    options: KmeansOptions

    @cached_property
    def gain(self) -> float:
        """dB that the settled codebook brings over one linear scale."""
        o = self.options
        return quality(o.tensor, CODEBOOK, o.bits) - quality(o.tensor, LINEAR, o.bits)

    def question(self) -> Question:
        o = self.options
        return Question(
            f"{material.weight(o.tensor).numel():,} weights get {2**o.bits} levels. On a linear"
            " grid whose range has the least squared error, they have"
            f" {quality(o.tensor, LINEAR, o.bits):.3g} dB. How much better is it if the levels may"
            " lie anywhere and k-means places them?",
            choices=tuple(words for _, words in PARTS),
            hint="a linear grid that was fitted has its levels where most weights are, too",
        )

    def answer(self) -> str:
        return next(words for end, words in PARTS if self.gain < end)

    def explanation(self) -> str:
        o = self.options
        codebook, line, channels = (
            quality(o.tensor, kind, o.bits) for kind in (CODEBOOK, LINEAR, CHANNELS)
        )
        gaps = settled(o.tensor, o.bits).diff()
        return (
            f"K-means reaches {codebook:.4g} dB, {self.gain:.3g} more than the linear grid with"
            f" {line:.4g}. Its levels are {float(gaps.min()):.3g} apart where they are densest and"
            f" {float(gaps.max()):.3g} in the tails. That is worth most where a few weights lie far"
            " out, and little where a fitted range serves nearly as well. From quantiles it takes"
            " many sweeps to reach the tails, and it may end short of the best.\n\n"
            f"A scale per channel, still linear, has {channels:.4g} dB. It takes"
            f" {stored(o.tensor, CHANNELS, o.bits) - o.bits:.3g} bits a weight, the codebook"
            f" {stored(o.tensor, CODEBOOK, o.bits) - o.bits:.3g}. The price of a codebook is paid"
            " elsewhere: codes have to be looked up before they are multiplied, so sums stay in"
            " floating point, while linear codes multiply as integers. It saves memory, not"
            " arithmetic."
        )

    def scene(self) -> Scene:
        return Scene(
            [self._histogram(), self._levels(), self._moving(), self._curves(), self._table()],
            self._readings(),
        )

    def code(self) -> str:
        o = self.options
        return (
            f"{material.opening(o.tensor)}\n"
            "from workbench.maths.levels import lloyd_max, nearest_level\n"
            "from workbench.maths.metrics import sqnr_db\n\n"
            f"levels = lloyd_max(weight, {2**o.bits}, sweeps={o.sweeps})\n"
            "found = levels[nearest_level(weight, levels)]\n"
            "result = sqnr_db(weight, found)\n"
        )

    def _histogram(self) -> Bars:
        weight = material.weight(self.options.tensor).flatten()
        most = float(weight.abs().max())
        return Bars(
            f"{self.options.tensor}: {weight.numel():,} weights, linear levels",
            Axis("weight"),
            Axis("weights"),
            (("weights", "float", numbers(torch.histc(weight, BINS, -most, most))),),
            edges=numbers(torch.linspace(-most, most, BINS + 1)),
            marks=tuple(Mark(at, "", "x", "dim") for at in self._linear()),
            veiled=False,
        )

    def _linear(self) -> list[float]:
        """Levels of the linear grid."""
        o = self.options
        grid = grid_of(o.tensor, LINEAR, o.bits)
        codes = torch.arange(grid.qmin, grid.qmax + 1).float()
        return dequantize(codes, *linear(o.tensor, LINEAR, o.bits), grid).tolist()

    def _levels(self) -> NumberLine:
        o = self.options
        most = float(material.weight(o.tensor).abs().max())
        table = numbers(levels(o.tensor, o.bits, o.sweeps))
        return NumberLine(
            f"Levels of k-means after {o.sweeps} sweeps",
            Axis("weight", low=-most, high=most),
            tuple(Level(at, str(k)) for k, at in enumerate(table) if at is not None),
            veiled=True,
        )

    def _moving(self) -> Lines:
        o = self.options
        count = numbers(float(k) for k in range(SWEEPS + 1))
        return Lines(
            "The levels move",
            Axis("sweeps", low=0.0, high=float(SWEEPS)),
            Axis("level"),
            tuple(
                Series("", count, numbers(column), "quant") for column in walked(o.tensor, o.bits).T
            ),
            marks=(Mark(float(o.sweeps), "here", sets="sweeps"),),
        )

    def _curves(self) -> Lines:
        o, kinds = self.options, ((LINEAR, "dim"), (CODEBOOK, "quant"), (CHANNELS, "good"))
        at = numbers(float(b) for b in BITS)
        return Lines(
            "At equal bits of a code",
            Axis("bits", low=1.0, high=float(BITS[-1])),
            Axis("SQNR", "dB"),
            tuple(
                Series(kind, at, numbers(quality(o.tensor, kind, b) for b in BITS), tone)
                for kind, tone in kinds
            ),
            marks=(Mark(float(o.bits), "bits", sets="bits"),),
        )

    def _table(self) -> Table:
        o = self.options
        rows = tuple(
            (
                kind,
                f"{quality(o.tensor, kind, o.bits):.4g}",
                f"{stored(o.tensor, kind, o.bits):.4g}",
            )
            for kind in (LINEAR, CODEBOOK, CHANNELS)
        )
        return Table(
            f"{o.bits} bits",
            ("levels", "SQNR, dB", "bits a weight in all"),
            rows,
            ("", "quant", ""),
        )

    def _readings(self) -> list[Reading]:
        o = self.options
        return [
            Reading("SQNR of k-means", clustered(o.tensor, levels(o.tensor, o.bits, o.sweeps)),
                    "dB",
                    f"after {o.sweeps} sweeps"),
            Reading("SQNR of linear", quality(o.tensor, LINEAR, o.bits), "dB", veiled=False),
            Reading("gain", self.gain, "dB", "when it has settled"),
            Reading("codebook", 4 * 2**o.bits, "bytes", veiled=False),
        ]  # fmt: skip
