"""Asymmetric grids: a zero-point puts the codes where the values are (Jacob et al. 2018).

    s = 2 max|x| / (2^b - 1),   z = 0                        symmetric
    s = max x / (2^b - 1),      z = 0, codes from 0          unsigned
    s = (max x - min x) / (2^b - 1),   z = -round(min x / s)      asymmetric

arXiv:1712.05877. What follows a ReLU or a softmax has no negative values, and of what follows a
GELU they reach down to -0.17 only: a symmetric grid spends half of its codes on nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
    NumberLine,
    Reading,
    Scene,
    Table,
    numbers,
)
from workbench.lessons.registry import demo
from workbench.maths.grid import Grid, affine_range, dequantize, quantize
from workbench.maths.metrics import sqnr_db
from workbench.maths.ranges import weight_range

SITES: dict[str, tuple[str, str]] = {
    "ReLU (ResNet)": ("digits-resnet", "blocks.1.relu_2"),
    "GELU (ViT)": ("digits-vit", "blocks.1.gelu"),
    "softmax (ViT)": ("digits-vit", "blocks.1.attention.softmax"),
    "LayerNorm (ViT)": ("digits-vit", "blocks.1.norm1"),
}
KINDS = {"symmetric": (True, True), "unsigned": (False, True), "asymmetric": (False, False)}
EXAMPLES, BINS, LABELLED = 16, 60, 33
PARTS = ((1.0, "under 1 dB: nothing to speak of"), (4.5, "about 3 dB: half a bit"),
         (7.5, "about 6 dB: one bit"), (999.0, "12 dB and more: two bits"))  # fmt: skip


class AsymmetricOptions(Options):
    """What can be moved."""

    site: Annotated[
        Literal["ReLU (ResNet)", "GELU (ViT)", "softmax (ViT)", "LayerNorm (ViT)"],
        Field(description="What the activation comes from."),
    ] = "ReLU (ResNet)"
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of the grid.")] = 4
    grid: Annotated[
        Literal["symmetric", "unsigned", "asymmetric"],
        Field(description="Codes on both sides of zero, from zero up, or with a zero-point."),
    ] = "symmetric"


@dataclass(frozen=True)
class Outcome:
    """What a grid makes of the values.

    Attributes:
        levels: value of each code, lowest first; counts: how many values it has.
        quality: SQNR in dB.
    """

    scale: float
    zero_point: int
    levels: Tensor
    counts: Tensor
    quality: float

    @property
    def used(self) -> int:
        """Codes that any value has."""
        return int((self.counts > 0).sum())


def values(site: str) -> Tensor:
    """The activation on a few examples."""
    return material.activation(*SITES[site], EXAMPLES)


def grid_of(kind: str, bits: int) -> Grid:
    """One of the three grids."""
    signed, symmetric = KINDS[kind]
    return Grid(bits, signed=signed, symmetric=symmetric)


@lru_cache(maxsize=128)
def outcome(site: str, kind: str, bits: int) -> Outcome:
    """The values on a grid whose range covers them all."""
    x, grid = values(site), grid_of(kind, bits)
    affine = affine_range(*weight_range(x, grid, "minmax"), grid)
    codes = quantize(x, *affine, grid)
    every = torch.arange(grid.qmin, grid.qmax + 1).float()
    counts = torch.bincount((codes.flatten() - grid.qmin).long(), minlength=len(every))
    found = dequantize(codes, *affine, grid)
    levels = dequantize(every, *affine, grid)
    return Outcome(float(affine[0]), int(affine[1]), levels, counts, sqnr_db(x, found))


@demo(
    "asymmetric",
    title="Asymmetric for a ReLU",
    topic="Grids",
    order=2,
    citation="Jacob et al. 2018, arXiv:1712.05877",
)
class AsymmetricDemo(Demo):
    """Values that are never negative on a grid that is the same on both sides: what is wasted?"""

    Options = AsymmetricOptions
    options: AsymmetricOptions

    def of(self, kind: str) -> Outcome:
        """What a kind of grid makes of the values."""
        return outcome(self.options.site, kind, self.options.bits)

    @property
    def gain(self) -> float:
        """dB that the zero-point brings over the symmetric grid."""
        return self.of("asymmetric").quality - self.of("symmetric").quality

    def question(self) -> Question:
        o, x = self.options, values(self.options.site)
        return Question(
            f"The output of a {o.site} lies between {float(x.min()):.2g} and"
            f" {float(x.max()):.3g}. It has a symmetric grid of {2**o.bits} codes. What does a grid"
            " with a zero-point, of as many codes, gain in signal-to-noise ratio?",
            choices=tuple(words for _, words in PARTS),
            hint="count the codes that the symmetric grid has for values that never come",
        )

    def answer(self) -> str:
        return next(words for end, words in PARTS if self.gain < end)

    def explanation(self) -> str:
        o = self.options
        sym, uns, asy = (self.of(kind) for kind in KINDS)
        negative = float((values(o.site) < 0).double().mean())
        below = float(values(o.site).clamp(max=0).double().square().sum())
        share = 100 * below / float(values(o.site).double().square().sum())
        return (
            f"The symmetric grid has the step {sym.scale:.3g} and uses {sym.used} of its"
            f" {2**o.bits} codes; with a zero-point the step is {asy.scale:.3g} and {asy.used} are"
            f" used. That is {self.gain:.3g} dB: half the step would be 6.02. Codes that nobody"
            " uses are bits that are paid and not had.\n\n"
            f"{100 * negative:.3g} % of the values are negative, with {share:.3g} % of the"
            f" energy. An unsigned grid clips them and has {uns.quality:.3g} dB, where the"
            f" asymmetric one has {asy.quality:.3g} with its zero at code {asy.zero_point}. A"
            " zero-point is not free in integers: Σ (q - z) w is Σ q w less z Σ w, which is"
            " folded into the bias. Weights are about the same on both sides, so they stay"
            " symmetric, and the product needs no second correction."
        )

    def scene(self) -> Scene:
        lines = [self._levels(kind) for kind in ("symmetric", "asymmetric")]
        return Scene([self._histogram(), self._codes(), *lines, self._table()], self._readings())

    def code(self) -> str:
        (model, value), o = SITES[self.options.site], self.options
        signed, symmetric = KINDS[o.grid]
        return (
            f"{material.recording(model, value, EXAMPLES)}\n"
            "from workbench.maths.grid import Grid, affine_range, fake_quantize\n"
            "from workbench.maths.metrics import sqnr_db\n\n"
            f"grid = Grid({o.bits}, signed={signed}, symmetric={symmetric})\n"
            "scale, zero_point = affine_range(x.min(), x.max(), grid)\n"
            "result = sqnr_db(x, fake_quantize(x, scale, zero_point, grid))\n"
        )

    def _histogram(self) -> Bars:
        x = values(self.options.site)
        low, high = (float(end) for end in torch.aminmax(x))
        counts = torch.histc(x, BINS, low, high)
        return Bars(
            f"{self.options.site}: {x.numel():,} values",
            Axis("value"),
            Axis("values", log=True, low=0.5),
            (("values", "float", numbers(float(c) if c else None for c in counts)),),
            edges=numbers(torch.linspace(low, high, BINS + 1)),
            veiled=False,
        )

    def _codes(self) -> Bars:
        """How often each code of the chosen grid is used."""
        o = self.options
        grid, found = grid_of(o.grid, o.bits), self.of(o.grid)
        return Bars(
            f"Codes of the {o.grid} grid",
            Axis("code"),
            Axis("values", log=True, low=0.5),
            ((o.grid, "quant", numbers(float(c) if c else None for c in found.counts)),),
            names=tuple(str(code) for code in range(grid.qmin, grid.qmax + 1)),
        )

    def _levels(self, kind: str) -> NumberLine:
        x, found = values(self.options.site), self.of(kind)
        grid, top = grid_of(kind, self.options.bits), float(x.max())
        shown = len(found.levels) <= LABELLED
        levels = tuple(
            Level(at, str(grid.qmin + k) if shown else "", bool(found.counts[k]))
            for k, at in enumerate(numbers(found.levels))
            if at is not None
        )
        return NumberLine(
            f"Levels of the {kind} grid",
            Axis("value", low=-1.1 * top, high=1.1 * top),
            levels,
            note=f"{found.used} of {len(levels)} codes are used; the others are pale.",
            veiled=True,
        )

    def _table(self) -> Table:
        found = {kind: self.of(kind) for kind in KINDS}
        count = 2**self.options.bits
        rows = tuple(
            (kind, f"{f.scale:.3g}", f"{f.zero_point}", f"{f.used} of {count}", f"{f.quality:.3g}")
            for kind, f in found.items()
        )
        tones = tuple("quant" if kind == self.options.grid else "" for kind in KINDS)
        return Table(
            "The three grids",
            ("grid", "step", "zero-point", "codes used", "SQNR, dB"),
            rows,
            tones,
        )

    def _readings(self) -> list[Reading]:
        found = self.of(self.options.grid)
        return [
            Reading("SQNR", found.quality, "dB", f"{self.options.grid} grid"),
            Reading("gain of the zero-point", self.gain, "dB", "over symmetric"),
            Reading("codes used", found.used, f"of {len(found.counts)}"),
            Reading("zero-point", found.zero_point, veiled=False),
        ]
