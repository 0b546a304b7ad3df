"""The 6 dB law: each bit more halves the step (Bennett 1948; Widrow and Kollár 2008).

    SQNR = 20 log10 2 · b + c = 6.02 b + c,   c = 10 log10 (12 E[x²] / R²)

for values spread evenly within cells of width R / 2^b, with R the range that the grid covers. The
slope is the same for everything; the intercept c tells how much of the range the values fill.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Bars, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.expected import expected_noise
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.metrics import decibels, sqnr_db
from workbench.maths.ranges import weight_range

BITS = range(1, 13)
PER_BIT = 20 * math.log10(2)
COUNT, SEED, BINS = 40_000, 0, 60
RULES = {"cover all": "minmax", "least error": "l2"}
BROKEN = 1.0  # dB off the line that count as a break
SYNTHETIC = ("even", "normal", "Laplace", "1,000 values on 5 levels")
PARTS = ((2.0, "2 dB"), (4.5, "3 dB"), (7.5, "6 dB"), (10.5, "9 dB"), (999.0, "12 dB"))


class SixDbOptions(Options):
    """What can be moved."""

    values: Annotated[
        Literal["ResNet convolution", "MobileNet depthwise", "MobileNet pointwise",
                "ViT attention query", "ByteGPT feed-forward", "even", "normal", "Laplace",
                "1,000 values on 5 levels"],
        Field(description="Weights of a sample model, or values drawn by chance."),
    ] = "ResNet convolution"  # fmt: skip
    bits: Annotated[int, Field(ge=1, le=11, description="Where the next bit is added.")] = 6
    range: Annotated[
        Literal["cover all", "least error"],
        Field(description="The range covers everything, or is cut where the error is least."),
    ] = "cover all"


@lru_cache(maxsize=16)
def drawn(name: str) -> Tensor:
    """The values, flat."""
    if name in material.WEIGHTS:
        return material.weight(name).flatten()
    chance = torch.Generator().manual_seed(SEED)
    if name == "even":
        return 2 * torch.rand(COUNT, generator=chance) - 1
    if name == "normal":
        return torch.randn(COUNT, generator=chance)
    if name == "Laplace":
        u = torch.rand(COUNT, generator=chance) - 0.5
        return -u.sign() * torch.log1p(-2 * u.abs())
    return torch.randint(-2, 3, (1000,), generator=chance).float() / 2


@lru_cache(maxsize=32)
def curves(name: str, rule: str) -> tuple[list[float], list[float], list[float]]:
    """SQNR at each of `BITS`, in dB: measured, by the law with the range in use, and by spread.

    The last takes values to be spread evenly within cells, and counts what is clipped.
    """
    x, found = drawn(name), []
    signal = float(x.double().square().sum())
    for bits in BITS:
        grid = Grid(bits)
        scale, zero = affine_range(*weight_range(x, grid, RULES[rule]), grid)
        law = decibels(signal, len(x) * float(scale) ** 2 / 12)
        spread = decibels(signal, expected_noise(x, scale, zero, grid))
        found.append((sqnr_db(x, fake_quantize(x, scale, zero, grid)), law, spread))
    measured, law, spread = (list(each) for each in zip(*found, strict=True))
    return measured, law, spread


@demo(
    "six_db",
    title="The 6 dB law",
    topic="Grids",
    order=3,
    citation="Bennett 1948; Widrow and Kollár 2008, Quantization Noise",
)
class SixDbDemo(Demo):
    """Each bit more is worth 6 dB, they say: for which values, and down to how few bits?"""

    Options = SixDbOptions
    options: SixDbOptions

    @cached_property
    def curve(self) -> list[float]:
        """Measured SQNR at each of `BITS`."""
        return curves(self.options.values, self.options.range)[0]

    @cached_property
    def law(self) -> list[float]:
        """The law's."""
        return curves(self.options.values, self.options.range)[1]

    @property
    def gain(self) -> float:
        """dB that the next bit brings."""
        return self._at(self.options.bits + 1) - self._at(self.options.bits)

    def question(self) -> Question:
        o = self.options
        kind = "weights" if o.values in material.WEIGHTS else "values"
        ends = "covers all of them" if o.range == "cover all" else "is where the error is least"
        return Question(
            f"{len(drawn(o.values)):,} {kind} ({o.values}) are on a grid of {o.bits} bits whose"
            f" range {ends}. One bit more halves the step. By about how much does the"
            " signal-to-noise ratio grow?",
            choices=tuple(words for _, words in PARTS),
            hint="half the step is a quarter of the squared error, if the values spread evenly"
            " between levels and none is clipped",
        )

    def answer(self) -> str:
        return next(words for end, words in PARTS if self.gain < end)

    def explanation(self) -> str:
        x, o = drawn(self.options.values), self.options
        worst = max(BITS, key=lambda b: abs(self._at(b) - self.law[b - 1]))
        off = [b for b in BITS if abs(self._at(b) - self.law[b - 1]) > BROKEN]
        crest = 20 * math.log10(float(x.abs().max()) / float(x.square().mean().sqrt()))
        where = ", ".join(str(b) for b in off) or "no number of"
        return (
            f"From {o.bits} to {o.bits + 1} bits it grows from {self._at(o.bits):.4g} to"
            f" {self._at(o.bits + 1):.4g} dB: {self.gain:.3g} dB, where 20 log10 2 ="
            f" {PER_BIT:.3g}. The intercept here is {self._intercept():.3g} dB. It falls with the"
            f" crest: the largest value is {crest:.3g} dB above the root mean square; even values"
            " have 4.8 dB and normal ones four standard deviations or more.\n\n"
            f"The law is off by more than {BROKEN:g} dB at {where} bits, most at {worst}"
            f" ({self._at(worst) - self.law[worst - 1]:+.3g} dB). With few levels the values do"
            " not spread evenly in a cell: most lie near zero, which is a level. A range that is"
            " cut moves with the bits, so a bit is worth less than 6 dB there. And values that"
            " sit on a few levels of their own follow no law."
        )

    def scene(self) -> Scene:
        o, at = self.options, numbers(float(b) for b in BITS)
        lines = Lines(
            "Measured, and the law",
            Axis("bits", low=1.0, high=float(BITS[-1])),
            Axis("SQNR", "dB"),
            (
                Series("6.02 b + c", at, numbers(self.law), "dim", "dashed"),
                Series("even in cells, with clipping", at,
                       numbers(curves(o.values, o.range)[2]), "float"),
                Series("measured", at, numbers(self.curve), "quant"),
                Series("", at, numbers(self.curve), "quant", "dots"),
            ),
            marks=(Mark(o.bits, "bits", sets="bits"),),
        )  # fmt: skip
        gains = Bars(
            "What each bit brought",
            Axis("bits"),
            Axis("gain", "dB"),
            (("gain", "quant", numbers(torch.tensor(self.curve).diff())),),
            names=tuple(str(b) for b in BITS[1:]),
            marks=(Mark(PER_BIT, "6.02", "y", "dim"),),
        )
        return Scene([self._histogram(), lines, gains], self._readings())

    def code(self) -> str:
        o = self.options
        return (
            f"{self._values()}\n"
            "from workbench.maths.grid import Grid, affine_range, fake_quantize\n"
            "from workbench.maths.metrics import sqnr_db\n"
            "from workbench.maths.ranges import weight_range\n\n\n"
            "def quality(bits):\n"
            "    grid = Grid(bits)\n"
            f'    ends = weight_range(x, grid, "{RULES[o.range]}")\n'
            "    return sqnr_db(x, fake_quantize(x, *affine_range(*ends, grid), grid))\n\n\n"
            f"result = quality({o.bits} + 1) - quality({o.bits})\n"
        )

    def _values(self) -> str:
        """Lines that make the values as `x`."""
        name = self.options.values
        if name in material.WEIGHTS:
            return f"{material.opening(name)}x = weight.flatten()\n"
        return f'from workbench.lessons.demos.six_db import drawn\n\nx = drawn("{name}")\n'

    def _at(self, bits: int) -> float:
        return self.curve[bits - 1]

    def _intercept(self) -> float:
        """c of the law at the number of bits, in dB."""
        return self.law[self.options.bits - 1] - PER_BIT * self.options.bits

    def _histogram(self) -> Bars:
        x = drawn(self.options.values)
        low, high = float(x.min()), float(x.max())
        return Bars(
            f"{self.options.values}: {len(x):,} values",
            Axis("value"),
            Axis("values"),
            (("values", "float", numbers(torch.histc(x, BINS, low, high))),),
            edges=numbers(torch.linspace(low, high, BINS + 1)),
            veiled=False,
        )

    def _readings(self) -> list[Reading]:
        bits = self.options.bits
        return [
            Reading(f"gain of bit {bits + 1}", self.gain, "dB", f"the law says {PER_BIT:.3g}"),
            Reading("SQNR", self._at(bits), "dB", f"{bits} bits; the law says"
                    f" {self.law[bits - 1]:.4g}"),
            Reading("intercept c", self._intercept(), "dB"),
        ]  # fmt: skip
