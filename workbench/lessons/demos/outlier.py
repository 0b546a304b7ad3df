"""One outlier: the range follows it, and every other weight pays (Krishnamoorthi 2018, 1806.08342).

A grid that covers [-max|w|, max|w|] has the step s = 2 max|w| / (2^b - 1), and rounding costs the
others s² / 12 each. An outlier k times as far costs them 20 log10 k dB while they keep levels.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
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
    numbers,
)
from workbench.lessons.registry import demo
from workbench.maths.grid import Granularity, Grid, affine_range, dequantize, quantize
from workbench.maths.metrics import sqnr_db
from workbench.maths.ranges import weight_range

TENSOR = "MobileNet pointwise"
FARTHEST = 8.0
SIZES = torch.logspace(0, 1, 9, FARTHEST)
BINS, ZOOM = 96, 1.25
KINDS = {"tensor": Granularity(), "channel": Granularity("channel", 0)}
RULES = {"cover all": "minmax", "least error": "l2"}
PARTS = ((1.0, "less than 1 dB"), (4.0, "1 to 4 dB"), (8.0, "4 to 8 dB"), (14.0, "8 to 14 dB"),
         (999.0, "more than 14 dB"))  # fmt: skip
CURVES = (
    ("tensor", "cover all", "one scale", "bad"),
    ("channel", "cover all", "a scale per channel", "good"),
    ("tensor", "least error", "one scale, least error", "quant"),
)


class OutlierOptions(Options):
    """What can be moved."""

    outlier: Annotated[
        float, Field(ge=1, le=FARTHEST, description="Where the largest weight is dragged to, in"
                     " units of where it was.", json_schema_extra={"step": 0.05})
    ] = 4.0  # fmt: skip
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of the grid.")] = 4
    scales: Annotated[
        Literal["tensor", "channel"],
        Field(description="One scale for the tensor, or one for each output channel."),
    ] = "tensor"
    range: Annotated[
        Literal["cover all", "least error"],
        Field(description="The range covers the outlier, or is cut where that lowers the error."),
    ] = "cover all"


@lru_cache(maxsize=1)
def place() -> int:
    """Which weight is dragged: the largest, by its place in the flat weight."""
    return int(material.weight(TENSOR).abs().argmax())


def dragged(outlier: float) -> Tensor:
    """The weight with its largest value `outlier` times as large."""
    found = material.weight(TENSOR).clone()
    found.view(-1)[place()] *= outlier
    return found


@lru_cache(maxsize=512)
def quantized(outlier: float, bits: int, scales: str, rule: str) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, codes, and ŵ of the dragged weight."""
    grid, weight = Grid(bits, granularity=KINDS[scales]), dragged(outlier)
    scale, zero = affine_range(*weight_range(weight, grid, RULES[rule]), grid)
    codes = quantize(weight, scale, zero, grid)
    return scale, codes, dequantize(codes, scale, zero, grid)


def others(x: Tensor) -> Tensor:
    """All values but that of the dragged weight."""
    flat = x.flatten()
    return torch.cat([flat[: place()], flat[place() + 1 :]])


@lru_cache(maxsize=512)
def quality(outlier: float, bits: int, scales: str, rule: str) -> float:
    """SQNR of all other weights, in dB."""
    found = quantized(outlier, bits, scales, rule)[2]
    return sqnr_db(others(material.weight(TENSOR)), others(found))


@demo(
    "outlier",
    title="One outlier",
    topic="Ranges",
    order=2,
    citation="Krishnamoorthi 2018, arXiv:1806.08342",
)
class OutlierDemo(Demo):
    """One weight of thousands moves outwards: what does that cost all the others?"""

    Options = OutlierOptions
    options: OutlierOptions

    @cached_property
    def now(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, codes and ŵ."""
        o = self.options
        return quantized(o.outlier, o.bits, o.scales, o.range)

    @cached_property
    def drop(self) -> float:
        """dB that the others lost since the weight was dragged."""
        return self._quality(1.0) - self._quality(self.options.outlier)

    def question(self) -> Question:
        o, count = self.options, material.weight(TENSOR).numel()
        scales = "one scale for all" if o.scales == "tensor" else "a scale for each channel"
        ends = "covers everything" if o.range == "cover all" else "is where the error is least"
        return Question(
            f"One weight of {count:,} moves to {o.outlier:.3g} times the largest. The grid has"
            f" {o.bits} bits and {scales}, and its range {ends}. By how much does the"
            f" signal-to-noise ratio of the {count - 1:,} others fall?",
            choices=tuple(words for _, words in PARTS),
            hint="the step follows the range, and the noise follows the step squared",
        )

    def answer(self) -> str:
        return next(words for end, words in PARTS if self.drop < end)

    def explanation(self) -> str:
        o = self.options
        after = {name: quality(o.outlier, o.bits, kind, rule) for kind, rule, name, _ in CURVES}
        channels = material.weight(TENSOR).shape[0]
        return (
            f"The others had {self._quality(1.0):.3g} dB and have {self._quality(o.outlier):.3g}:"
            f" {self.drop:.3g} dB less. A range {o.outlier:.3g} times as wide makes the step as"
            f" much wider, which is 20 log10 {o.outlier:.3g} ="
            f" {20 * torch.tensor(o.outlier).log10():.3g} dB, while"
            " they keep levels; once most of them round to zero, less is left to lose.\n\n"
            f"With a scale per channel one of {channels} channels pays and the rest do not notice:"
            f" {after['a scale per channel']:.3g} dB. With one scale, cutting the range"
            f" where the error is least leaves {after['one scale, least error']:.3g} dB, at the"
            " price of the outlier itself. That counts its error too, so the cut comes late."
        )

    def scene(self) -> Scene:
        return Scene(
            [self._histogram(), self._curves(), self._levels(), self._channels()],
            self._readings(),
        )

    def code(self) -> str:
        o = self.options
        granularity = 'Granularity("channel", 0)' if o.scales == "channel" else "Granularity()"
        return (
            f"{material.opening(TENSOR)}\n"
            "from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize\n"
            "from workbench.maths.metrics import sqnr_db\n"
            "from workbench.maths.ranges import weight_range\n\n"
            f"grid = Grid({o.bits}, granularity={granularity})\n"
            "dragged = weight.clone()\n"
            "largest = weight.abs().argmax()\n"
            f"dragged.view(-1)[largest] *= {o.outlier}\n"
            f'ends = weight_range(dragged, grid, "{RULES[o.range]}")\n'
            "found = fake_quantize(dragged, *affine_range(*ends, grid), grid)\n"
            "others = weight.flatten() != weight.flatten()[largest]\n"
            "result = sqnr_db(weight.flatten()[others], found.flatten()[others])\n"
        )

    def _quality(self, outlier: float) -> float:
        return quality(outlier, self.options.bits, self.options.scales, self.options.range)

    def _histogram(self) -> Bars:
        weight = material.weight(TENSOR).flatten()
        sign = 1.0 if float(weight[place()]) > 0 else -1.0
        shares = sign * others(weight) / float(weight.abs().max())
        counts = torch.histc(shares, BINS, -FARTHEST, FARTHEST)
        edges = torch.linspace(-FARTHEST, FARTHEST, BINS + 1)
        handle = Mark(self.options.outlier, "the outlier", tone="bad", sets="outlier")
        return Bars(
            f"{TENSOR}: {weight.numel():,} weights",
            Axis("in units of the largest weight"),
            Axis("weights", log=True, low=0.5),
            (("weights", "float", numbers(float(c) if c else None for c in counts)),),
            edges=numbers(edges),
            marks=(handle,),
            note="Drag the outlier.",
            veiled=False,
        )

    def _curves(self) -> Lines:
        sizes = [float(size) for size in SIZES]
        series = (
            Series(name, numbers(sizes),
                   numbers(quality(k, self.options.bits, kind, rule) for k in sizes), tone)
            for kind, rule, name, tone in CURVES
        )  # fmt: skip
        return Lines(
            "What is left for the others",
            Axis("outlier, in units of the largest weight", log=True, low=1.0, high=FARTHEST),
            Axis("SQNR", "dB"),
            tuple(series),
            marks=(Mark(self.options.outlier, "here"),),
        )

    def _levels(self) -> NumberLine:
        """Levels of the tensor, or of the channel in the middle, near the bulk of the weights."""
        o = self.options
        grid, scale = Grid(o.bits), self.now[0]
        step = float(scale) if o.scales == "tensor" else float(scale.median())
        step /= float(material.weight(TENSOR).abs().max())
        used = set(others(self.now[1]).unique().tolist())
        codes = range(grid.qmin, grid.qmax + 1)
        shown = [c for c in codes if abs(c * step) <= ZOOM]
        return NumberLine(
            "Levels where the other weights are" if o.scales == "tensor"
            else "Levels of the median channel",
            Axis("in units of the largest weight", low=-ZOOM, high=ZOOM),
            tuple(Level(c * step, str(c), c in used) for c in shown),
            veiled=True,
        )  # fmt: skip

    def _channels(self) -> Bars:
        weight, o = material.weight(TENSOR), self.options
        noise = {}
        for kind in KINDS:
            found = quantized(o.outlier, o.bits, kind, o.range)[2]
            gaps = (found - weight).view(-1).clone()
            gaps[place()] = 0.0
            rows = gaps.view_as(weight).flatten(1).square().sum(1)
            noise[kind] = rows / weight.flatten(1).square().sum(1)
        edges = torch.linspace(0.0, float(noise["tensor"].max()) * 1.001, 41)
        counts = {kind: torch.histc(n, 40, 0.0, float(edges[-1])) for kind, n in noise.items()}
        return Bars(
            f"Noise of the {weight.shape[0]} channels, as a share of their signal",
            Axis("noise / signal"),
            Axis("channels"),
            (("one scale", "bad", numbers(counts["tensor"])),
             ("a scale per channel", "good", numbers(counts["channel"]))),
            edges=numbers(edges),
        )  # fmt: skip

    def _readings(self) -> list[Reading]:
        o, scale = self.options, self.now[0]
        used = int(others(self.now[1]).unique().numel())
        return [
            Reading("SQNR of the others", self._quality(o.outlier), "dB",
                    f"{self._quality(1.0):.3g} before"),
            Reading("lost", self.drop, "dB", tone="bad"),
            Reading("step", float(scale.median()), reference="of the median channel"
                    if o.scales == "channel" else "for all"),
            Reading("codes that the others use", used, f"of {2**o.bits}"),
        ]  # fmt: skip
