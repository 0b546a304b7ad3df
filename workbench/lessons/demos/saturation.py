"""Saturation: 8-bit products that do not fit on processors without VNNI.

    p_k = clip16(x_2k w_2k + x_2k+1 w_2k+1),   sum = Σ p_k         x: uint8, w: int8

x86 kernels multiply uint8 by int8 and add two products in 16 bits before they go on in 32 (the
instruction vpmaddubsw). 2 · 255 · 127 does not fit; with weights of 7 bits every pair does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.deploy.processor import processor
from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Bars, Cells, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.grid import Granularity, Grid, affine_range, quantize
from workbench.maths.metrics import sqnr_db
from workbench.maths.pair_sums import LEAST, MOST, pair_sums, saturated
from workbench.maths.ranges import weight_range

MODEL = "digits-vit"
LAYERS: dict[str, tuple[str, str]] = {
    "query, behind a LayerNorm": ("blocks.1.norm1", "blocks_1_attention_query_weight"),
    "expand, behind a LayerNorm": ("blocks.2.norm2", "blocks_2_expand_weight"),
    "shrink, behind a GELU": ("blocks.1.gelu", "blocks_1_shrink_weight"),
}
EXAMPLES, ROWS, COLUMNS, BINS = 8, 16, 32, 60
PAIRS = 64
PARTS = (
    (0.0, "none: sums have 32 bits"),
    (0.1, "fewer than 1 in 1,000"),
    (1.0, "up to 1 in 100"),
    (5.0, "1 to 5 in 100"),
    (100.0, "more than 5 in 100"),
)


class SaturationOptions(Options):
    """What can be moved."""

    layer: Annotated[
        Literal["query, behind a LayerNorm", "expand, behind a LayerNorm", "shrink, behind a GELU"],
        Field(description="A layer of the vision transformer."),
    ] = "query, behind a LayerNorm"
    weight_bits: Annotated[int, Field(ge=6, le=8, description="Bits of the weights.")] = 8
    scales: Annotated[
        Literal["tensor", "channel"],
        Field(description="One scale for the weight, or one for each output channel."),
    ] = "channel"
    pair: Annotated[
        int, Field(ge=0, le=PAIRS, description="How many pairs are added up.",
                   json_schema_extra={"play": True})
    ] = PAIRS  # fmt: skip
    place: Annotated[
        int, Field(ge=-1, le=ROWS * COLUMNS - 1, description="Which output; -1 is the worst.",
                   json_schema_extra={"hidden": True})
    ] = -1  # fmt: skip


@dataclass(frozen=True)
class Sums:
    """A layer in whole numbers.

    Attributes:
        pairs: (positions, outputs, pairs), exact.
        zero: what the zero-point adds to each output; scale: of each output.
        truth: the layer in float, without its bias, (positions, outputs).
        zero_point: of the data.
    """

    pairs: Tensor
    zero: Tensor
    scale: Tensor
    truth: Tensor
    zero_point: int

    @cached_property
    def exact(self) -> Tensor:
        """Sums as 32 bits hold them."""
        return self.pairs.sum(-1)

    @cached_property
    def lossy(self) -> Tensor:
        """Sums whose pairs went through 16 bits."""
        return saturated(self.pairs).sum(-1)

    def quality(self, sums: Tensor) -> float:
        """SQNR in dB of what the sums stand for."""
        return sqnr_db(self.truth, (sums - self.zero) * self.scale)


@lru_cache(maxsize=18)
def layer_sums(layer: str, bits: int, scales: str) -> Sums:
    """All outputs of a layer on a few examples; data in uint8 over its whole range."""
    value, name = LAYERS[layer]
    x = material.activation(MODEL, value, EXAMPLES).flatten(0, -2)
    weight = material.parameter(MODEL, name).T
    data = Grid(8, signed=False, symmetric=False)
    scale, zero = affine_range(x.min(), x.max(), data)
    grid = Grid(
        bits, granularity=Granularity("channel", 0) if scales == "channel" else Granularity()
    )
    steps, none = affine_range(*weight_range(weight, grid, "minmax"), grid)
    codes = quantize(weight, steps, none, grid)
    pairs = pair_sums(quantize(x, scale, zero, data), codes)
    return Sums(pairs, zero * codes.sum(1), scale * steps, x @ weight.T, int(zero))


@demo(
    "saturation",
    title="Saturation without VNNI",
    topic="Runtime",
    order=2,
    citation="Intel 64 and IA-32 Architectures Software Developer's Manual, VPMADDUBSW",
)
class SaturationDemo(Demo):
    """Sums have 32 bits, yet some are wrong where two products share 16: what cures it?"""

    Options = SaturationOptions
    options: SaturationOptions

    @cached_property
    def sums(self) -> Sums:
        """The layer of the options."""
        return layer_sums(self.options.layer, self.options.weight_bits, self.options.scales)

    @property
    def wrong(self) -> float:
        """Percent of the outputs that differ."""
        return 100 * float((self.sums.exact != self.sums.lossy).double().mean())

    @cached_property
    def corner(self) -> tuple[int, int, int, int]:
        """First position and first output that are drawn, and the chosen cell among them."""
        gaps = (self.sums.exact - self.sums.lossy).abs()
        row, column = divmod(int(gaps.argmax()), gaps.shape[1])
        first = min(row - row % ROWS, gaps.shape[0] - ROWS)
        left = column - column % COLUMNS
        if self.options.place < 0:
            return first, left, row - first, column - left
        return first, left, *divmod(self.options.place, COLUMNS)

    def question(self) -> Question:
        o = self.options
        return Question(
            f"A layer ({o.layer}) multiplies uint8 data by {o.weight_bits}-bit weights,"
            f" {self.sums.pairs.shape[-1] * 2} products for each output, and sums in 32 bits. The"
            " kernel is one for x86 without VNNI. How many of its outputs are wrong?",
            choices=tuple(words for _, words in PARTS),
            hint="two products are added before they get to the wide sum; how large can they be",
        )

    def answer(self) -> str:
        return next(words for end, words in PARTS if self.wrong <= end)

    def explanation(self) -> str:
        o, sums = self.options, self.sums
        beyond = (sums.pairs < LEAST) | (sums.pairs > MOST)
        seven = layer_sums(o.layer, 7, o.scales)
        here = "has VNNI, and adds four products in 32 bits" if processor().vnni else "has no VNNI"
        return (
            f"{100 * float(beyond.double().mean()):.3g} % of the pairs do not fit in 16 bits, and"
            f" {self.wrong:.3g} % of the outputs have such a pair. The signal-to-noise ratio is"
            f" {sums.quality(sums.lossy):.4g} dB instead of {sums.quality(sums.exact):.4g}. The"
            f" data's zero is code {sums.zero_point}: around a zero-point in the middle even small"
            " values have large codes, and two large weights of one sign side by side are enough."
            " Behind a GELU or a ReLU most codes are small, so it is rare there.\n\n"
            "With 7 bits a pair is 2 · 255 · 64 = 32,640 at most, which fits. Steps are"
            f" then twice as wide ({seven.quality(seven.exact):.4g} dB) and it takes no time: the"
            " target 'ort-cpu' does it. Others: exact kernels, or uint8 weights with another"
            f" kernel. The processor of this computer {here}; a file has to run on others, too."
        )

    def scene(self) -> Scene:
        return Scene(
            [self._codes(), self._pairs(), self._running(), self._cells()], self._readings()
        )

    def code(self) -> str:
        (value, name), o = LAYERS[self.options.layer], self.options
        kind = 'Granularity("channel", 0)' if o.scales == "channel" else "Granularity()"
        return (
            f"{material.recording(MODEL, value, EXAMPLES)}\n"
            "from workbench.maths.grid import Granularity, Grid, affine_range, quantize\n"
            "from workbench.maths.pair_sums import pair_sums, saturated\n"
            "from workbench.maths.ranges import weight_range\n\n"
            "x = x.flatten(0, -2)\n"
            f'weight = session.model.get_parameter("{name}").detach().T\n'
            "data = Grid(8, signed=False, symmetric=False)\n"
            "codes = quantize(x, *affine_range(x.min(), x.max(), data), data)\n"
            f"grid = Grid({o.weight_bits}, granularity={kind})\n"
            'steps = affine_range(*weight_range(weight, grid, "minmax"), grid)\n'
            "pairs = pair_sums(codes, quantize(weight, *steps, grid))\n"
            "wrong = pairs.sum(-1) != saturated(pairs).sum(-1)\n"
            "result = 100 * float(wrong.double().mean())\n"
        )

    def _codes(self) -> Bars:
        """Codes of the data, before any guess."""
        value, _ = LAYERS[self.options.layer]
        x = material.activation(MODEL, value, EXAMPLES)
        grid = Grid(8, signed=False, symmetric=False)
        codes = quantize(x, *affine_range(x.min(), x.max(), grid), grid)
        return Bars(
            "Codes of the data",
            Axis("code"),
            Axis("values"),
            (("values", "float", numbers(torch.histc(codes, 64, 0, 256))),),
            edges=numbers(float(k) for k in range(0, 257, 4)),
            marks=(Mark(float(self.sums.zero_point), "zero"),),
            veiled=False,
        )

    def _pairs(self) -> Bars:
        reach = 2 * 255 * 128
        counts = torch.histc(self.sums.pairs, BINS, -reach, reach)
        return Bars(
            f"Sums of two products: {self.sums.pairs.numel():,}",
            Axis("x w + x' w'"),
            Axis("pairs", log=True, low=0.5),
            (("pairs", "float", numbers(float(c) if c else None for c in counts)),),
            edges=numbers(torch.linspace(-reach, reach, BINS + 1)),
            marks=(Mark(LEAST, "-32,768", tone="bad"), Mark(MOST, "32,767", tone="bad")),
        )

    def _running(self) -> Lines:
        """One output, pair by pair."""
        first, left, row, column = self.corner
        pairs = self.sums.pairs[first + row, left + column]
        shown = min(self.options.pair, len(pairs))
        sums = {"exact": (pairs, "good"), "in 16 bits": (saturated(pairs), "bad")}
        series = []
        for name, (each, tone) in sums.items():
            walked = torch.cat([each.new_zeros(1), each.cumsum(0)])[: shown + 1]
            count = numbers(float(k) for k in range(shown + 1))
            series.append(Series(name, count, numbers(walked), tone, "step"))
        return Lines(
            f"The sum of output {left + column} at position {first + row}, pair by pair",
            Axis("pairs added", low=0.0, high=float(len(pairs))),
            Axis("sum"),
            tuple(series),
        )

    def _cells(self) -> Cells:
        first, left, row, column = self.corner
        gaps = (self.sums.lossy - self.sums.exact)[first : first + ROWS, left : left + COLUMNS]
        most = max(1.0, float(gaps.abs().max()))
        return Cells(
            f"What is lost: positions {first} to {first + ROWS - 1}, {COLUMNS} outputs",
            tuple(numbers(each) for each in gaps),
            -most,
            most,
            chosen=((row, column),),
            sets="place",
            note="Click an output to follow its sum. Pale: right.",
        )

    def _readings(self) -> list[Reading]:
        sums = self.sums
        worst = float((sums.exact - sums.lossy).abs().max())
        return [
            Reading("wrong outputs", self.wrong, "%"),
            Reading(
                "SQNR", sums.quality(sums.lossy), "dB", f"exact {sums.quality(sums.exact):.4g}"
            ),
            Reading("most lost by an output", worst, f"of {float(sums.exact.abs().max()):,.0f}"),
            Reading("this processor", "has VNNI" if processor().vnni else "no VNNI", veiled=False),
        ]
