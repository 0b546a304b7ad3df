"""RepQ-ViT: calibration that fits transformers (Li et al. 2023, arXiv:2212.08254).

Two tensors of a transformer do not fit a uniform grid with one scale. What a LayerNorm gives has
channels of very different ranges: the transformation `reparametrise` makes them equal, exactly.
What a softmax gives follows a power law: here it gets logarithmic steps,

    q = clip(round(-2 log2(x / s)), 0, 2^b),   x̂ = s 2^(-q / 2)

(see `workbench.quantizers.log_sqrt2`). Activation ranges are the best of three percentiles by
squared error, as are those of weights in the paper; a weight's row has few values, whose clip is
better searched. Each weight goes to its nearest level; nothing is reconstructed, but a next stage
may do that and keeps these ranges. The paper calibrates on 32 images, at 4 and 6 bits. At 8 bits
equal steps are finer than √2 wherever it matters, so grids wider than `log_bits` keep them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, cast

import torch
from pydantic import Field

from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.maths.calibrators.percentile import clipped
from workbench.maths.calibrators.percentiles import PERCENTILES
from workbench.maths.calibrators.registry import ActivationCalibrator
from workbench.maths.histogram import Histogram
from workbench.maths.ranges import samples
from workbench.methods.base import Event, Task
from workbench.methods.kept import NOTHING, Kept
from workbench.methods.placing import SOFTMAX, behind, place
from workbench.methods.registry import method
from workbench.methods.rtn import Rtn, RtnOptions
from workbench.quantizers.base import Quantizer
from workbench.quantizers.log_sqrt2 import LogSqrt2


class RepQVitOptions(RtnOptions):
    """Options of RepQ-ViT's calibration."""

    softmax: Annotated[
        Literal["log_sqrt2", "uniform"], Field(description="levels behind a softmax")
    ] = "log_sqrt2"
    log_bits: Annotated[
        int, Field(ge=2, le=8, description="widest grid that gets logarithmic levels")
    ] = 6
    calibrator: Annotated[ActivationCalibrator, Field(description="range of the activations")] = (
        "percentiles"
    )


@method(
    "repq_vit",
    title="RepQ-ViT",
    options=RepQVitOptions,
    citation="Li et al. 2023, arXiv:2212.08254",
    signal="tensor error",
    scope="tensor",
    learnables="range (search)",
    data="unlabelled, 32 examples and more",
    cost="seconds",
    cells=("range/tensor_error",),
    strategy="baseline",
    use="transformers with activations at 6 bits and below, in seconds, behind the transform"
    " reparametrise (the other half of the paper)",
)
class RepQVit(Rtn):
    """Calibrates a transformer, with logarithmic levels behind each softmax."""

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Levels first, then ranges as nearest rounding finds them."""
        place(model, self._logarithmic(model), LogSqrt2)
        yield from super().learn(model, task)

    def keeps(self, model: QuantizedGraph, changed: Collection[Site]) -> Kept:
        """Levels are placed afresh everywhere."""
        return NOTHING

    def settled(self, model: QuantizedGraph, site: str, seen: Histogram) -> None:
        """Logarithmic levels are fitted by what they themselves lose."""
        quantizer = model.quantizer(site)
        if isinstance(quantizer, LogSqrt2):
            fit(quantizer, seen)

    def _logarithmic(self, model: QuantizedGraph) -> list[Site]:
        options = cast(RepQVitOptions, self.options)
        if options.softmax == "uniform":
            return []
        most = options.log_bits
        return [site for site in behind(model, SOFTMAX) if site.grid.bits <= most]


@torch.no_grad()
def fit(quantizer: Quantizer, histogram: Histogram) -> None:
    """The percentile for s with the least squared error on the quantizer's own levels."""
    seen = samples(histogram)
    values, counts = seen.values[0], seen.weights()[0]
    errors = []
    ranges = [tuple(end[0] for end in clipped(seen, 1 - p)) for p in PERCENTILES]
    for low, high in ranges:
        quantizer.set_range(low, high)
        errors.append(float(((quantizer(values) - values).square() * counts).sum()))
    quantizer.set_range(*ranges[errors.index(min(errors))])
