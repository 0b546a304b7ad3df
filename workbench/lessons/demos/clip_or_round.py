"""Clip against round: a narrow range rounds finely and clips much (Banner et al. 2019, 1810.05723).

Σ (x̂ - x)² = Σ beyond the ends (clipping) + Σ between them (rounding)
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
from workbench.lessons.panels import Axis, Bars, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.calibrators.base import Samples, covered
from workbench.maths.calibrators.registry import CALIBRATORS
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.metrics import sqnr_db

Title = Literal[
    "ResNet convolution",
    "MobileNet depthwise",
    "MobileNet pointwise",
    "ViT attention query",
    "ByteGPT feed-forward",
]
SHARES = torch.linspace(0.05, 1.0, 39)
SHOWN = ("minmax", "l2", "aciq", "percentile")
PARTS = ((0.3, "below 30 %"), (0.5, "30 to 50 %"), (0.7, "50 to 70 %"), (0.9, "70 to 90 %"),
         (2.0, "90 % or more"))  # fmt: skip
BINS = 60


class ClipOptions(Options):
    """What can be moved."""

    tensor: Annotated[Title, Field(description="Weights of a sample model.")] = "ResNet convolution"
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of the grid.")] = 3
    clip: Annotated[
        float,
        Field(ge=0.05, le=1, description="Where the range ends, as a share of the largest weight.",
              json_schema_extra={"step": 0.005}),
    ] = 1.0  # fmt: skip


@lru_cache(maxsize=16)
def errors(tensor: str, bits: int) -> tuple[Tensor, Tensor]:
    """Mean squared clipping and rounding error at each of `SHARES` of the largest weight."""
    weight = material.weight(tensor).flatten()
    most = weight.abs().max()
    parts = [torch.stack(split(weight, float(share * most), bits)) for share in SHARES]
    clipping, rounding = torch.stack(parts, dim=1)
    return clipping, rounding


def split(weight: Tensor, clip: float, bits: int) -> tuple[Tensor, Tensor]:
    """Mean squared error of what lies beyond the outermost levels, and of what lies between."""
    grid = Grid(bits)
    ends = torch.tensor(-clip), torch.tensor(clip)
    scale, zero = affine_range(*ends, grid)
    squares = (fake_quantize(weight, scale, zero, grid) - weight).square_()
    beyond = (weight < grid.qmin * scale) | (weight > grid.qmax * scale)
    clipping = squares.mul(beyond).mean()
    return clipping, squares.mean() - clipping


@lru_cache(maxsize=16)
def calibrated(tensor: str, bits: int) -> dict[str, float]:
    """Clip that each calibrator chooses, as a share of the largest weight."""
    weight, grid = material.weight(tensor).reshape(1, -1), Grid(bits)
    found = {}
    for name in SHOWN:
        low, high = CALIBRATORS[name].make(Samples(weight), grid)
        _, end = covered(*affine_range(low, high, grid), grid)
        found[name] = min(1.0, float(end) / float(weight.abs().max()))
    return found


@demo(
    "clip_or_round",
    title="Clip against round",
    topic="Ranges",
    order=1,
    citation="Banner et al. 2019, arXiv:1810.05723",
)
class ClipOrRound(Demo):
    """A range that is cut rounds more finely; how much of a real weight is worth cutting off?"""

    Options = ClipOptions
    options: ClipOptions

    @cached_property
    def weight(self) -> Tensor:
        """The weights, flat."""
        return material.weight(self.options.tensor).flatten()

    @cached_property
    def most(self) -> float:
        """The largest of them."""
        return float(self.weight.abs().max())

    @cached_property
    def curve(self) -> tuple[Tensor, Tensor]:
        """Clipping and rounding error over the clip."""
        return errors(self.options.tensor, self.options.bits)

    @cached_property
    def best(self) -> float:
        """The share with the least error."""
        return float(SHARES[sum(self.curve).argmin()])  # type: ignore[union-attr]

    @cached_property
    def here(self) -> tuple[float, float]:
        """Clipping and rounding error at the chosen clip."""
        clipping, rounding = split(self.weight, self.options.clip * self.most, self.options.bits)
        return float(clipping), float(rounding)

    def question(self) -> Question:
        return Question(
            f"{self.weight.numel():,} weights get {2**self.options.bits} levels. The largest is"
            f" {self.most:.3g}. Where should the range end for the least squared error, as a share"
            " of the largest weight?",
            choices=tuple(words for _, words in PARTS),
            hint="most weights are small, and few levels make every step wide",
        )

    def answer(self) -> str:
        return next(words for end, words in PARTS if self.best < end)

    def explanation(self) -> str:
        clipping, rounding = (each.double() for each in self.curve)
        total = clipping + rounding
        place = int(total.argmin())
        return (
            f"Least error at {100 * self.best:.3g} % of the largest weight: {total[place]:.3g},"
            f" of which clipping makes {100 * clipping[place] / total[place]:.3g} %. With the whole"
            f" range it is {total[-1]:.3g}, {total[-1] / total[place]:.3g} times as much, nearly"
            " all of it rounding.\n\n"
            "A step is proportional to the range and the rounding error to its square, while only"
            " the rare large weights pay for a cut. Each bit more makes steps half as wide, so the"
            " best range grows with the bits."
        )

    def scene(self) -> Scene:
        clipping, rounding = self.curve
        marks = [
            Mark(share, name, tone="dim")
            for name, share in calibrated(self.options.tensor, self.options.bits).items()
        ]
        handle = Mark(self.options.clip, "clip", tone="quant", sets="clip")
        share = numbers(SHARES)
        curve = Lines(
            "Mean squared error over the clip",
            Axis("clip, share of the largest weight", low=0.0, high=1.0),
            Axis("error", log=True, low=float(rounding[rounding > 0].min()) / 2),
            (
                Series("clipping", share, numbers(clipping), "float"),
                Series("rounding", share, numbers(rounding), "quant"),
                Series("both", share, numbers(clipping + rounding), "ink"),
            ),
            marks=(*marks, handle),
            note="Grey: what calibrators of the engine choose. Drag the clip.",
        )
        return Scene([self._histogram(handle), curve], self._readings())

    def code(self) -> str:
        return (
            f"{material.opening(self.options.tensor)}\n"
            "from workbench.maths.grid import Grid, affine_range, fake_quantize\n\n"
            f"grid = Grid({self.options.bits})\n"
            f"clip = {self.options.clip} * weight.abs().max()\n"
            "scale, zero_point = affine_range(-clip, clip, grid)\n"
            "quantized = fake_quantize(weight, scale, zero_point, grid)\n"
            "result = float((quantized - weight).square().mean())\n"
        )

    def _histogram(self, handle: Mark) -> Bars:
        limit = torch.tensor(1.0)
        shares = self.weight / self.most
        counts = torch.histc(shares, BINS, -1.0, 1.0)
        left = Mark(-self.options.clip, tone="quant")
        return Bars(
            f"{self.options.tensor}: {self.weight.numel():,} weights",
            Axis("share of the largest weight"),
            Axis("weights"),
            (("weights", "float", numbers(counts)),),
            edges=numbers(torch.linspace(-1.0, float(limit), BINS + 1)),
            marks=(left, handle),
            veiled=False,
        )

    def _readings(self) -> list[Reading]:
        clipping, rounding = self.here
        clip = self.options.clip * self.most
        grid = Grid(self.options.bits)
        scale, zero = affine_range(torch.tensor(-clip), torch.tensor(clip), grid)
        beyond = (self.weight.abs() > clip).float().mean()
        best = float(sum(self.curve).min())  # type: ignore[union-attr]
        found = fake_quantize(self.weight, scale, zero, grid)
        return [
            Reading("mean squared error", clipping + rounding, reference=f"best {best:.3g}"),
            Reading("by clipping", clipping, tone="float"),
            Reading("by rounding", rounding, tone="quant"),
            Reading("SQNR", sqnr_db(self.weight, found), "dB"),
            Reading("beyond the clip", 100 * float(beyond), "% of the weights", veiled=False),
        ]
