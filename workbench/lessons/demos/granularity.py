"""Granularity: how many weights share a scale, and what the scales cost (1806.08342; 2103.13630).

    bits a weight = b + 32 · scales / weights              a scale is stored in float32

Fewer weights to a scale means smaller steps, since the largest of few is smaller.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.costs import BYTE, Cost
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.demos.clip_or_round import Title
from workbench.lessons.panels import Axis, Bars, Cells, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize
from workbench.maths.metrics import sqnr_db
from workbench.maths.ranges import weight_range

KINDS = {
    "one scale": Granularity(),
    "a scale per channel": Granularity("channel", 0),
    **{f"groups of {size}": Granularity("group", 1, size) for size in (128, 64, 32, 16)},
}
BITS = range(2, 9)
SHOWN_ROWS, SHOWN_COLUMNS = 16, 32


class GranularityOptions(Options):
    """What can be moved."""

    tensor: Annotated[Title, Field(description="Weights of a sample model.")] = (
        "ByteGPT feed-forward"
    )
    scales: Annotated[
        Literal["one scale", "a scale per channel", "groups of 128", "groups of 64",
                "groups of 32", "groups of 16"],
        Field(description="How many weights share a scale."),
    ] = "one scale"  # fmt: skip
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of each code.")] = 4
    budget: Annotated[
        float,
        Field(ge=2.5, le=8, description="Bits a weight may take in all, its share of the scales"
              " included.", json_schema_extra={"step": 0.05}),
    ] = 4.5  # fmt: skip


@lru_cache(maxsize=8)
def matrix(tensor: str) -> Tensor:
    """The weight as (outputs, inputs of each)."""
    weight = material.weight(tensor)
    return weight.flatten(1) if weight.ndim > 2 else weight.T.contiguous()


def snapped(tensor: str, scales: str, bits: int) -> Tensor:
    """The weight on a grid whose ranges cover everything."""
    grid, weight = Grid(bits, granularity=KINDS[scales]), matrix(tensor)
    return fake_quantize(weight, *affine_range(*weight_range(weight, grid, "minmax"), grid), grid)


def stored(tensor: str, scales: str, bits: int) -> float:
    """Bits that a weight takes, its share of the scales included."""
    weight = matrix(tensor)
    count = torch.Size(KINDS[scales].shape(weight.shape)).numel()
    return BYTE * Cost(weight.numel(), scales=count).bytes(bits) / weight.numel()


@lru_cache(maxsize=256)
def quality(tensor: str, scales: str, bits: int) -> float:
    """SQNR of the weight, in dB."""
    return sqnr_db(matrix(tensor), snapped(tensor, scales, bits))


@lru_cache(maxsize=8)
def different(tensor: str) -> tuple[str, ...]:
    """The kinds that differ for a weight: a group as long as a channel is that channel."""
    inputs = matrix(tensor).shape[1]
    return tuple(name for name, kind in KINDS.items() if kind.kind != "group" or kind.size < inputs)


def at_budget(tensor: str, scales: str, budget: float) -> float:
    """SQNR at a number of stored bits, on the line between two widths; none is the least."""
    points = [(stored(tensor, scales, b), quality(tensor, scales, b)) for b in BITS]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= budget <= x1:
            return y0 + (y1 - y0) * (budget - x0) / (x1 - x0)
    return -torch.inf if budget < points[0][0] else points[-1][1]


@demo(
    "granularity",
    title="Granularity",
    topic="Ranges",
    order=3,
    citation="Krishnamoorthi 2018, arXiv:1806.08342; Gholami et al. 2021, arXiv:2103.13630",
)
class GranularityDemo(Demo):
    """One scale for a tensor, a channel or a group: finer is better, until the scales cost more."""

    Options = GranularityOptions
    options: GranularityOptions

    @cached_property
    def rivals(self) -> dict[str, float]:
        """SQNR of each kind at the budget."""
        o = self.options
        return {name: at_budget(o.tensor, name, o.budget) for name in different(o.tensor)}

    def question(self) -> Question:
        outputs, inputs = matrix(self.options.tensor).shape
        return Question(
            f"{outputs} channels of {inputs} weights may take {self.options.budget:g} bits a weight"
            " in all. A scale takes 32 bits, and what the scales take the codes cannot have. Which"
            " granularity has the least error?",
            choices=different(self.options.tensor),
            hint="count the bits that the scales take, and see how the largest weights differ",
        )

    def answer(self) -> str:
        return max(self.rivals, key=lambda name: self.rivals[name])

    def explanation(self) -> str:
        o = self.options
        reach = matrix(o.tensor).abs().amax(1)
        ranked = sorted(self.rivals.items(), key=lambda pair: -pair[1])
        listed = "; ".join(
            f"{name} {value:.3g} dB" if value > -torch.inf else f"{name} does not fit"
            for name, value in ranked
        )
        costs = ", ".join(
            f"{stored(o.tensor, name, o.bits) - o.bits:.3g} for {name}" for name in self.rivals
        )
        return (
            f"At {o.budget:g} bits a weight: {listed}. The largest weight of a channel lies between"
            f" {float(reach.min()):.3g} and {float(reach.max()):.3g}; under one scale the narrow"
            " channels use few of their codes.\n\n"
            f"Bits a weight that the scales take: {costs}. Each halving of a group doubles them,"
            " while its steps shrink a little. So the finest grid has the least error at equal"
            " codes, but not at equal size. A file has to be able to say it, too: ONNX has scales"
            " per tensor and per channel since opset 13, and blocks since 21."
        )

    def scene(self) -> Scene:
        return Scene([self._ranges(), self._curves(), self._cells()], self._readings())

    def code(self) -> str:
        o, kind = self.options, KINDS[self.options.scales]
        rows = (
            "weight.flatten(1)" if material.weight(o.tensor).ndim > 2 else "weight.T.contiguous()"
        )
        return (
            f"{material.opening(o.tensor)}\n"
            "from workbench.maths.grid import Granularity, Grid, affine_range, fake_quantize\n"
            "from workbench.maths.metrics import sqnr_db\n"
            "from workbench.maths.ranges import weight_range\n\n"
            f"rows = {rows}\n"
            f'granularity = Granularity("{kind.kind}", {kind.axis}, {kind.size})\n'
            f"grid = Grid({o.bits}, granularity=granularity)\n"
            'ends = weight_range(rows, grid, "minmax")\n'
            "found = fake_quantize(rows, *affine_range(*ends, grid), grid)\n"
            "result = sqnr_db(rows, found)\n"
        )

    def _ranges(self) -> Bars:
        reach = matrix(self.options.tensor).abs().amax(1).sort(descending=True).values
        return Bars(
            f"{self.options.tensor}: largest weight of each channel",
            Axis("channels, widest first"),
            Axis("largest weight"),
            (("channels", "float", numbers(reach)),),
            edges=numbers(float(k) for k in range(len(reach) + 1)),
            veiled=False,
        )

    def _curves(self) -> Lines:
        o = self.options
        series = [
            Series(name, numbers(stored(o.tensor, name, b) for b in BITS),
                   numbers(quality(o.tensor, name, b) for b in BITS), f"run-{k}")
            for k, name in enumerate(different(o.tensor))
        ]  # fmt: skip
        here = (stored(o.tensor, o.scales, o.bits),), (quality(o.tensor, o.scales, o.bits),)
        return Lines(
            "Error against all that is stored",
            Axis("bits a weight, scales included", low=2.0, high=10.0),
            Axis("SQNR", "dB", low=0.0),
            (*series, Series("", *here, "ink", "dots")),
            marks=(Mark(o.budget, "budget", sets="budget"),),
            note="Drag the budget. The dot is what the controls choose.",
        )

    def _cells(self) -> Cells:
        """Errors of a corner of the weight, in steps of one scale for the tensor."""
        o = self.options
        weight = matrix(o.tensor)
        gaps = (snapped(o.tensor, o.scales, o.bits) - weight)[:SHOWN_ROWS, :SHOWN_COLUMNS].abs()
        whole = (snapped(o.tensor, "one scale", o.bits) - weight).abs()
        return Cells(
            f"|error| of {gaps.shape[0]} channels, {gaps.shape[1]} weights of each",
            tuple(numbers(row) for row in gaps),
            0.0,
            float(f"{float(whole.max()):.6g}"),
            note="Colours end at the largest error under one scale. A row is a channel.",
        )

    def _readings(self) -> list[Reading]:
        o = self.options
        took = stored(o.tensor, o.scales, o.bits)
        scales = torch.Size(KINDS[o.scales].shape(matrix(o.tensor).shape)).numel()
        return [
            Reading("SQNR", quality(o.tensor, o.scales, o.bits), "dB", f"{o.bits}-bit codes"),
            Reading("stored", took, "bits a weight", f"{took - o.bits:.3g} of them scales",
                    veiled=False),
            Reading("scales", scales, veiled=False),
        ]  # fmt: skip
