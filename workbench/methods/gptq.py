"""GPTQ: column after column, each error handed on to the weights that are still free.

    min over q of ‖Ŵ X - W X‖²,   H = X Xᵀ + λ I,   U = cholesky(H⁻¹)
    e = (w_j - q_j) / U_jj,   w_i ← w_i - e U_ji for the columns i after j

(Frantar et al. 2023, arXiv:2210.17323; see `workbench.maths.gptq`.) The codes learn, in closed
form; the signal is the layer's output error; the scope is the layer. X comes from the quantized
prefix, as in the paper's sequential form, and W itself is aimed at: nothing of the prefix's error
is undone, and biases stay. Convolutions count as products over patches, each group for itself.

The paper: λ = 1 % of the mean diagonal, blocks of 128 columns, columns as they lie, asymmetric
min-max ranges that each group takes when it is reached. Ours: the recipe's calibrator and grid, and
columns by falling H_jj with ranges taken beforehand ("act order", "static groups"), which the
authors' code offers too and which does better.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.maths import gram
from workbench.maths.calibrators.base import Samples
from workbench.maths.gptq import pose_as_paper, round_columns
from workbench.maths.grid import Grid, affine_range
from workbench.maths.moments import Moments
from workbench.maths.ranges import calibrator as named
from workbench.methods.registry import method
from workbench.methods.second_order import Rounded, SecondOrder, SecondOrderOptions
from workbench.methods.walk import Stream


class GptqOptions(SecondOrderOptions):
    """Options of GPTQ."""

    act_order: Annotated[bool, Field(description="columns by falling H_jj")] = True
    static_groups: Annotated[
        bool, Field(description="ranges of groups taken before any column is rounded")
    ] = True
    block: Annotated[
        int, Field(ge=1, le=4096, description="columns between two updates of all later ones")
    ] = 128
    damping: Annotated[
        float, Field(gt=0, le=1, description="ridge, share of the mean diagonal of H")
    ] = 0.01

    @model_validator(mode="after")
    def _groups_stay_together(self) -> GptqOptions:
        if self.act_order and not self.static_groups:
            raise RecipeError(
                "static_groups was 'false' with act_order, which takes columns out of their groups;"
                " set act_order = false too"
            )
        return self


@method(
    "gptq",
    title="GPTQ",
    options=GptqOptions,
    citation="Frantar et al. 2023, arXiv:2210.17323",
    signal="layer output error, second order",
    scope="layer",
    learnables="codes",
    data="unlabelled, 128 examples and more",
    cost="seconds",
    cells=("rounding/second_order",),
    strategy="reconstruction",
    use="language models at 4 and 3 bits, and as the yardstick for gram",
)
class Gptq(SecondOrder):
    """Chooses codes column by column; scales come from the calibrator, biases stay."""

    options: GptqOptions

    def prefix(self) -> Stream:
        """The quantized one."""
        return "quantized"

    def centred(self) -> bool:
        """Biases stay."""
        return False

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
        """Ranges, then columns."""
        del centred
        problem = pose_as_paper(weight, moments, self.options.damping)
        points = gram.Points(grid, levels)

        def fit(columns: Tensor) -> tuple[Tensor, Tensor]:
            return _range(columns, grid, calibrator)

        parts = problem.target.split(points.group(weight.shape[-1]), dim=-1)
        scale, zero_point = (torch.cat(p, -1) for p in zip(*map(fit, parts), strict=True))
        start = gram.nearest(problem, scale, zero_point, points)
        first = problem.error(gram.values(start, scale, zero_point, points))
        diagonal = problem.hessian.diagonal(dim1=1, dim2=2).mean(0)
        moving = not self.options.static_groups and len(parts) > 1
        found, scale, zero_point = round_columns(
            problem,
            points,
            scale,
            zero_point,
            order=diagonal.argsort(descending=True) if self.options.act_order else None,
            block=self.options.block,
            refit=fit if moving else None,
        )
        codes, start = points.codes(found), points.codes(start)
        return Rounded(problem, codes, scale, zero_point, start, first)


def _range(columns: Tensor, grid: Grid, calibrator: str) -> tuple[Tensor, Tensor]:
    """Scale and zero-point (G, O, 1) of columns (G, O, n)."""
    rows = columns.reshape(1, -1) if grid.per_tensor else columns.flatten(0, 1)
    low, high = named(calibrator, "weights")(Samples(rows), grid)
    scale, zero_point = affine_range(low, high, grid)
    shape = (*columns.shape[:2], 1)
    if grid.per_tensor:
        return scale.expand(shape), zero_point.expand(shape)
    return scale.reshape(shape), zero_point.reshape(shape)
