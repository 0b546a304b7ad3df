"""Gram-space rounding: layer reconstruction in closed form, with no gradient step.

The walk visits layers in order. At each one it gathers second moments of the inputs, solves for the
compensated target (so that errors of earlier layers are undone where a linear map can), searches
the scale weighted by the moments, descends over the codes, refits the scale and corrects the bias:

    min over q, s, b̂ of E ‖W x + b - (s q x_q + b̂)‖²        (see `workbench.maths.gram`)

Codes, scale and bias are learned; the signal is the layer's output error; the scope is the layer.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from workbench.maths import gram
from workbench.maths.grid import Grid
from workbench.maths.moments import Moments, pose
from workbench.methods.registry import method
from workbench.methods.second_order import Rounded, SecondOrder, SecondOrderOptions
from workbench.methods.walk import Stream


class GramOptions(SecondOrderOptions):
    """Options of Gram-space rounding."""

    compensate: Annotated[
        bool, Field(description="take inputs from the quantized prefix and undo its errors")
    ] = True
    bias_correction: Annotated[bool, Field(description="let the bias take up the mean error")] = (
        True
    )
    sweeps: Annotated[int, Field(ge=0, le=64, description="visits to each code; 0 is nearest")] = 4
    refits: Annotated[int, Field(ge=0, le=8, description="scale refits between descents")] = 1
    damping: Annotated[
        float,
        Field(
            gt=0,
            le=10,
            description="ridge of the target, share of the mean diagonal of H; 0.5 where examples"
            " are few for the network",
        ),
    ] = 0.1
    rounding_damping: Annotated[
        float,
        Field(gt=0, le=10, description="the same while codes are chosen; 1 where they are few"),
    ] = 0.3


@method(
    "gram",
    title="Gram-space rounding",
    options=GramOptions,
    citation="this project; relatives GPTQ arXiv:2210.17323, COMQ arXiv:2403.07134",
    signal="layer output error, second order",
    scope="layer",
    learnables="codes, scale, bias",
    data="unlabelled, 64 examples and more",
    cost="seconds",
    cells=("range/second_order", "rounding/second_order", "reconstruction/layer_error"),
    strategy="reconstruction",
    use="the first choice at 4 and 3 bits: most of what reconstruction gives, in seconds",
)
class Gram(SecondOrder):
    """Chooses codes, scales and biases that keep each layer's output, in closed form."""

    options: GramOptions

    def prefix(self) -> Stream:
        """That of the quantized layers, whose errors are undone, unless asked otherwise."""
        return "quantized" if self.options.compensate else "float"

    def centred(self) -> bool:
        """As asked."""
        return self.options.bias_correction

    def round(
        self,
        weight: Tensor,
        moments: Moments,
        grid: Grid,
        levels: Tensor | None,
        *,
        centred: bool,
        calibrator: str,
    ) -> Rounded:
        """Scale search, codes, refits."""
        del calibrator  # the scale is searched
        options = self.options
        problem = pose(
            weight,
            moments,
            centred=centred,
            damping=options.damping,
            rounding=options.rounding_damping,
        )
        found = gram.solve(problem, grid, levels, sweeps=options.sweeps, refits=options.refits)
        return Rounded(
            problem, found.codes, found.scale, found.zero_point, found.start, found.first
        )
