"""Levels that fit a softmax or a GELU: logarithmic ones, and two ladders in one code.

    uniform    s (q - z)
    power      ± s 2^-k, and 0                          Miyashita et al. 2016, arXiv:1603.01025
    log_sqrt2  s 2^(-q / 2), and 0                      Li et al. 2023, arXiv:2212.08254
    twin       steps of Δ1 below, steps of Δ2 above     Yuan et al. 2022, arXiv:2111.12293

Judged by what the next product gives: attention times values, or the GELU times its weight.
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
from workbench.maths.grid import Grid
from workbench.maths.histogram import Histogram
from workbench.maths.metrics import sqnr_db
from workbench.maths.ranges import histogram_range
from workbench.methods.repq_vit import fit
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import make
from workbench.quantizers.twin import Twin

MODEL, EXAMPLES = "digits-vit", 8
BITS = range(2, 9)
KINDS = {
    "uniform": "equal steps",
    "power": "powers of two",
    "log_sqrt2": "powers of √2",
    "twin": "two ladders",
}
LOWEST = -16  # powers of two that are drawn, relative to the largest value
MOST_POWER = 5  # bits of the table of powers


class LogTwinOptions(Options):
    """What can be moved."""

    site: Annotated[
        Literal["softmax", "GELU"], Field(description="What the activation comes from.")
    ] = "softmax"
    block: Annotated[int, Field(ge=0, le=3, description="Block of the vision transformer.")] = 3
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of a code.")] = 4
    levels: Annotated[
        Literal["uniform", "power", "log_sqrt2", "twin"],
        Field(description="Which levels are drawn and judged."),
    ] = "uniform"
    shift: Annotated[
        int,
        Field(ge=0, le=7, description="Behind a softmax the lower ladder of twin has steps 2^shift"
              " times as fine as the upper one."),
    ] = 3  # fmt: skip


@lru_cache(maxsize=8)
def product(site: str, block: int) -> tuple[Tensor, Tensor, Histogram]:
    """The activation, what it is multiplied by, and its histogram."""
    if site == "softmax":
        x = material.activation(MODEL, f"blocks.{block}.attention.softmax", EXAMPLES)
        other = material.activation(MODEL, f"blocks.{block}.attention.transpose_3", EXAMPLES)
    else:
        x = material.activation(MODEL, f"blocks.{block}.gelu", EXAMPLES)
        other = material.parameter(MODEL, f"blocks_{block}_shrink_weight")
    seen = Histogram()
    seen.add(x)
    return x, other, seen


def served(site: str, kind: str, bits: int) -> bool:
    """Whether there are such levels: tables of powers end at 5 bits, logarithms at zero."""
    if kind == "power":
        return bits + (site == "softmax") <= MOST_POWER
    return kind != "log_sqrt2" or site == "softmax"


def quantizer(site: str, kind: str, bits: int, shift: int, seen: Histogram) -> Quantizer:
    """Levels with a range that was fitted to a histogram."""
    grid = Grid(bits, signed=False, symmetric=False)
    if kind == "power":  # a softmax has no use for the negative half, so it gets a bit more
        grid = Grid(bits + (site == "softmax"), table="power")
    found = make("table" if kind == "power" else kind, grid, (0,))
    if kind == "log_sqrt2":
        fit(found, seen)
    elif isinstance(found, Twin) and site == "softmax":
        found.set_shift(seen.high, shift)
    else:
        name = "minmax" if kind == "power" else "percentiles"
        found.set_range(*histogram_range(seen, grid, name))
    return found


@lru_cache(maxsize=1024)
@torch.no_grad()
def outcome(site: str, block: int, kind: str, bits: int, shift: int) -> tuple[float, float]:
    """SQNR of the product and of the activation, in dB."""
    x, other, seen = product(site, block)
    found = quantizer(site, kind, bits, shift, seen)(x)
    return sqnr_db(x @ other, found @ other), sqnr_db(x, found)


@demo(
    "log_twin",
    title="Levels for softmax and GELU",
    topic="Below 4 bits",
    order=2,
    citation="Li et al. 2023, arXiv:2212.08254; Yuan et al. 2022, arXiv:2111.12293",
)
class LogTwinDemo(Demo):
    """Most probabilities are tiny, and few decide: which levels serve what a transformer makes?"""

    Options = LogTwinOptions
    options: LogTwinOptions

    @cached_property
    def rivals(self) -> dict[str, float]:
        """SQNR of the product with each kind of levels."""
        o = self.options
        kinds = [kind for kind in KINDS if served(o.site, kind, o.bits)]
        return {kind: self._outcome(kind, o.bits)[0] for kind in kinds}

    @property
    def kind(self) -> str:
        """The levels that are drawn; equal steps where the chosen ones do not exist."""
        chosen = self.options.levels
        return chosen if chosen in self.rivals else "uniform"

    def question(self) -> Question:
        o = self.options
        goal = "the values" if o.site == "softmax" else "the next weight"
        return Question(
            f"The output of a {o.site} in block {o.block} gets codes of {o.bits} bits and is then"
            f" multiplied by {goal}. Which levels leave the least error in that product?",
            choices=tuple(KINDS[kind] for kind in self.rivals),
            hint="see where the values are and where their energy is, and how many levels there"
            " are to cover both",
        )

    def answer(self) -> str:
        return KINDS[max(self.rivals, key=lambda kind: self.rivals[kind])]

    def explanation(self) -> str:
        o = self.options
        x = product(o.site, o.block)[0]
        large = x > x.max() / 16
        listed = ", ".join(f"{KINDS[kind]} {value:.3g} dB" for kind, value in self.rivals.items())
        energy = float(x[large].double().square().sum() / x.double().square().sum())
        share = 100 * float(large.float().mean())
        return (
            f"Error of the product at {o.bits} bits: {listed}. {share:.3g} % of the values are"
            f" above a sixteenth of the largest, {float(x.max()):.3g}, and they have"
            f" {100 * energy:.3g} % of the energy. What falls to zero is small, but there is much"
            " of it; behind a softmax all its errors point down, and in a product they add up.\n\n"
            "Logarithmic levels have the same relative error everywhere, so they reach far down"
            " with few codes, and gain nothing from more: between 1 and 1/√2 there is no level at"
            " any width. Two ladders keep equal steps where values are large and add fine ones"
            " below; that takes a code or two more, and goes on improving with bits. Behind a GELU"
            " the lower ladder holds the negative part, from -0.17 to 0."
        )

    def scene(self) -> Scene:
        return Scene(
            [self._histogram(), self._curves(), self._levels(), self._noise()], self._readings()
        )

    def code(self) -> str:
        o, name = self.options, f"blocks.{self.options.block}"
        site = f"{name}.attention.softmax" if o.site == "softmax" else f"{name}.gelu"
        capture = (
            f'value = "{name}.attention.transpose_3"\n'
            "other = capture(session.graph.module, tuple(inputs), [value])[value].detach()\n"
            if o.site == "softmax"
            else f'other = session.model.get_parameter("blocks_{o.block}_shrink_weight").detach()\n'
        )
        return (
            f"{material.recording(MODEL, site, EXAMPLES)}\n"
            "from workbench.lessons.demos.log_twin import quantizer\n"
            "from workbench.maths.histogram import Histogram\n"
            "from workbench.maths.metrics import sqnr_db\n\n"
            f"{capture}"
            "seen = Histogram()\n"
            "seen.add(x)\n"
            f'fitted = quantizer("{o.site}", "{self.kind}", {o.bits}, {o.shift}, seen)\n'
            "result = sqnr_db(x @ other, fitted(x).detach() @ other)\n"
        )

    def _outcome(self, kind: str, bits: int) -> tuple[float, float]:
        return outcome(self.options.site, self.options.block, kind, bits, self.options.shift)

    def _powers(self) -> Tensor:
        """log2 of |x| as a share of the largest, limited to what is drawn."""
        x = product(self.options.site, self.options.block)[0]
        return (x.abs() / x.max()).log2().clamp(LOWEST, -1e-6).flatten()

    def _histogram(self) -> Bars:
        x, powers = product(self.options.site, self.options.block)[0].flatten(), self._powers()
        return Bars(
            f"{self.options.site}, block {self.options.block}: {x.numel():,} values by size",
            Axis("log2 of |x|, relative to the largest"),
            Axis("share", "%"),
            (
                ("of the values", "float", numbers(_shares(powers, torch.ones_like(x)))),
                ("of their energy", "good", numbers(_shares(powers, x.square()))),
            ),
            edges=numbers(float(k) for k in range(LOWEST, 1)),
            note="The first bar holds all that is smaller.",
            veiled=False,
        )

    def _curves(self) -> Lines:
        o = self.options
        series = []
        for k, (kind, name) in enumerate(KINDS.items()):
            bits = [b for b in BITS if served(o.site, kind, b)]
            found = numbers(self._outcome(kind, b)[0] for b in bits)
            series.append(Series(name, numbers(float(b) for b in bits), found, f"run-{k}"))
        return Lines(
            "What is left of the product",
            Axis("bits", low=float(BITS[0]), high=float(BITS[-1])),
            Axis("SQNR of the product", "dB"),
            tuple(one for one in series if one.x),
            marks=(Mark(o.bits, "bits", sets="bits"),),
        )

    def _levels(self) -> NumberLine:
        x, _, seen = product(self.options.site, self.options.block)
        found = quantizer(self.options.site, self.kind, self.options.bits, self.options.shift, seen)
        with torch.no_grad():
            used = found(x).unique()
        return NumberLine(
            f"Levels that are used, {KINDS[self.kind]}: {len(used)}",
            Axis("value", low=float(x.min()), high=float(x.max())),
            tuple(Level(at) for at in numbers(used) if at is not None),
            veiled=True,
        )

    @torch.no_grad()
    def _noise(self) -> Bars:
        """Where the activation's error comes from, by the size of the values."""
        o = self.options
        x, _, seen = product(o.site, o.block)
        powers, energy = self._powers(), x.square().sum()
        shown = {"uniform": "dim", self.kind: "quant"}
        groups = []
        for kind, tone in shown.items():
            gap = (quantizer(o.site, kind, o.bits, o.shift, seen)(x) - x).flatten().square()
            share = _shares(powers, gap) * float(gap.sum() / energy)
            groups.append((KINDS[kind], tone, numbers(share)))
        return Bars(
            "Which values the error comes from",
            Axis("log2 of |x|, relative to the largest"),
            Axis("squared error", "% of the energy"),
            tuple(groups),
            edges=numbers(float(k) for k in range(LOWEST, 1)),
        )

    def _readings(self) -> list[Reading]:
        o = self.options
        whole, own = self._outcome(self.kind, o.bits)
        return [
            Reading("SQNR of the product", whole, "dB", KINDS[self.kind]),
            Reading("SQNR of the activation", own, "dB"),
            Reading("equal steps have", self.rivals["uniform"], "dB", "in the product"),
        ]


def _shares(powers: Tensor, weights: Tensor) -> Tensor:
    """Percent of the weights in each power of two."""
    place = (powers - LOWEST).long()
    found = torch.bincount(place, weights.flatten().double(), minlength=-LOWEST)
    return 100 * found / found.sum().clamp(min=1e-30)
