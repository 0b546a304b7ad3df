"""A value meets a grid: levels, zero-point, rounding error (Jacob et al. 2018, arXiv:1712.05877).

code = clip(round(x / s) + z, qmin, qmax),   x̂ = (code - z) s
"""

from __future__ import annotations

from functools import cached_property
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
    Dot,
    Level,
    Mark,
    NumberLine,
    Reading,
    Scene,
    numbers,
)
from workbench.lessons.registry import demo
from workbench.maths.grid import Grid, affine_range, dequantize, quantize

TENSOR = "ResNet convolution"
LABELLED = 33  # more levels than this have no room for their codes


class NumberLineOptions(Options):
    """What can be moved."""

    value: Annotated[
        float, Field(ge=-0.5, le=0.5, description="The value to be stored, x.",
                     json_schema_extra={"step": 0.005})
    ] = 0.13  # fmt: skip
    bits: Annotated[int, Field(ge=1, le=8, description="A grid of b bits has 2^b levels.")] = 3
    low: Annotated[
        float, Field(ge=-0.5, le=0, description="Lower end of the range that is covered.",
                     json_schema_extra={"step": 0.01})
    ] = -0.2  # fmt: skip
    high: Annotated[
        float, Field(ge=0.01, le=0.5, description="Upper end of the range that is covered.",
                     json_schema_extra={"step": 0.01})
    ] = 0.3  # fmt: skip
    grid: Annotated[
        Literal["asymmetric", "symmetric"],
        Field(description="With a zero-point, or the same on both sides of zero."),
    ] = "asymmetric"


@demo(
    "number_line",
    title="The number line",
    topic="Grids",
    order=1,
    citation="Jacob et al. 2018, arXiv:1712.05877",
)
class NumberLineDemo(Demo):
    """A grid of few levels: where a value lands, what it loses, and which codes nobody uses."""

    Options = NumberLineOptions
    options: NumberLineOptions

    @cached_property
    def grid(self) -> Grid:
        """The grid of the options."""
        symmetric = self.options.grid == "symmetric"
        return Grid(self.options.bits, signed=symmetric, symmetric=symmetric)

    @cached_property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and zero-point."""
        ends = torch.tensor(self.options.low), torch.tensor(self.options.high)
        return affine_range(*ends, self.grid)

    @cached_property
    def levels(self) -> list[float]:
        """All levels, lowest code first."""
        codes = torch.arange(self.grid.qmin, self.grid.qmax + 1).float()
        return dequantize(codes, *self.affine, self.grid).tolist()

    @cached_property
    def code_of_value(self) -> int:
        """Where the value lands."""
        return int(quantize(torch.tensor(self.options.value), *self.affine, self.grid))

    @cached_property
    def landed(self) -> float:
        """The level it becomes."""
        return self.levels[self.code_of_value - self.grid.qmin]

    @cached_property
    def counts(self) -> Tensor:
        """How many weights of a real layer lie on each level."""
        codes = quantize(material.weight(TENSOR), *self.affine, self.grid)
        return torch.bincount((codes - self.grid.qmin).long().flatten(), minlength=len(self.levels))

    def question(self) -> Question:
        place = self.code_of_value - self.grid.qmin
        near = {max(0, place - 1), place, min(len(self.levels) - 1, place + 1)}
        offered = sorted(near | {0, len(self.levels) - 1})
        return Question(
            f"The range from {self.options.low:g} to {self.options.high:g} is covered by"
            f" {len(self.levels)} levels with equal steps, one of them exactly zero. Which level"
            f" does x = {self.options.value:g} become?",
            choices=tuple(self._named(index) for index in offered),
            hint="find the size of a step first, then count steps from zero",
        )

    def answer(self) -> str:
        return self._named(self.code_of_value - self.grid.qmin)

    def explanation(self) -> str:
        scale, zero = (float(each) for each in self.affine)
        value, empty = self.options.value, int((self.counts == 0).sum())
        steps = value / scale
        clipped = not self.levels[0] - scale / 2 <= value <= self.levels[-1] + scale / 2
        why = (
            f"beyond the last level, so it is clipped and loses {abs(self.landed - value):.4g}"
            if clipped
            else f"rounded, which loses {abs(self.landed - value):.4g}: never more than half a step"
        )
        return (
            f"A step is s = {scale:.4g} and zero has the code z = {zero:.0f}. x / s = {steps:.3f},"
            f" so x becomes code {self.code_of_value}, the level {self.landed:.4g}: {why}.\n\n"
            f"Of the {len(self.levels)} codes, {empty} are used by no weight of the"
            f" {TENSOR}, which has {int(self.counts.sum()):,} weights."
        )

    def scene(self) -> Scene:
        value, shown = self.options.value, len(self.levels) <= LABELLED
        levels = tuple(
            Level(at, str(self.grid.qmin + index) if shown else "", bool(self.counts[index]))
            for index, at in enumerate(numbers(self.levels))
            if at is not None
        )
        line = NumberLine(
            "Levels of the grid",
            Axis("value", low=-0.55, high=0.55),
            levels,
            marks=(Mark(self.options.low, "low", tone="dim", sets="low"),
                   Mark(self.options.high, "high", tone="dim", sets="high")),
            dots=(Dot(value, label="x"),),
            sets="value",
            note="Click the line to move x; drag the ends of the range. Pale levels: unused codes.",
        )  # fmt: skip
        snapped = NumberLine(
            "Where x lands",
            line.axis,
            levels,
            dots=(Dot(value, self.landed, "x", "quant"),),
            veiled=True,
        )
        return Scene([line, snapped, self._histogram()], self._readings())

    def code(self) -> str:
        grid = self.grid
        return (
            "import torch\n\n"
            "from workbench.maths.grid import Grid, affine_range, fake_quantize\n\n"
            f"grid = Grid({grid.bits}, signed={grid.signed}, symmetric={grid.symmetric})\n"
            f"low, high = torch.tensor({self.options.low}), torch.tensor({self.options.high})\n"
            "scale, zero_point = affine_range(low, high, grid)\n"
            f"x = torch.tensor({self.options.value})\n"
            "result = float(fake_quantize(x, scale, zero_point, grid) - x)\n"
        )

    def _histogram(self) -> Bars:
        return Bars(
            f"Codes that the {TENSOR} uses",
            Axis("code"),
            Axis("weights"),
            (("weights", "quant", numbers(self.counts)),),
            names=tuple(str(self.grid.qmin + index) for index in range(len(self.levels))),
        )

    def _readings(self) -> list[Reading]:
        scale, zero = (float(each) for each in self.affine)
        return [
            Reading("rounding error", self.landed - self.options.value, reference="x̂ - x"),
            Reading("step s", scale, veiled=False),
            Reading("zero-point z", int(zero), reference="the code of zero", veiled=False),
            Reading("unused codes", int((self.counts == 0).sum()), f"of {len(self.levels)}"),
        ]

    def _named(self, index: int) -> str:
        return f"code {self.grid.qmin + index}: {self.levels[index]:.4g}"
