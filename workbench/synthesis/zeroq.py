"""ZeroQ (Cai et al. 2020, arXiv:2001.00281): pictures by descent on batch-norm statistics.

    min_x Σ_l ‖μ_l(x) - mean_l‖² + ‖σ_l(x) - deviation_l‖²,   x from N(0, 1)

and each picture itself is held to N(0, 1). Adam, the rate divided by 10 when 100 steps bring
nothing. The paper takes the values before the norm; here norms are folded, so the values behind it
are taken, with β and |γ| for mean and deviation: the same demand, with channels weighted by
γ² / variance. Rate 0.5, 500 steps, as in the paper; pictures stay in the range that pixels can
have, where it is known.

The released code takes μ and σ of each picture. That makes all pictures alike: pooled features
hardly vary, and a method that fits second moments then sees one direction only. Here they are
taken over the batch (`statistics = "batch"`), which leaves pictures free to differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field

from workbench.foundation.options import Options
from workbench.synthesis.base import Maker, Order, Step
from workbench.synthesis.prior import Prior, require_prior, within
from workbench.synthesis.registry import maker

LEAST_RATE, PATIENCE = 1e-4, 100


class ZeroQOptions(Options):
    """Options of ZeroQ."""

    iterations: Annotated[int, Field(ge=1, le=100_000, description="steps for each batch")] = 500
    learning_rate: Annotated[float, Field(gt=0, le=10, description="of the pixels, at first")] = 0.5
    statistics: Annotated[
        Literal["batch", "each"], Field(description="of the batch, or of each picture as published")
    ] = "batch"
    batch_size: Annotated[int, Field(ge=1, le=1024, description="pictures made at once")] = 64


@maker(
    "zeroq",
    title="ZeroQ",
    options=ZeroQOptions,
    citation="Cai et al. 2020, arXiv:2001.00281",
    signal="batch-norm statistics",
    learnables="pixels",
    data="none",
    cost="minutes",
    cells=("calibration/prior",),
    strategy="constraints",
    use="no data at all, a network with batch norms, 8 bits down to 4-bit weights",
)
class ZeroQ(Maker):
    """Pictures whose inner statistics are those of the training data."""

    options: ZeroQOptions

    def check(self, order: Order) -> None:
        require_prior(order, "ZeroQ")

    def batch_size(self, order: Order) -> int:
        return self.options.batch_size

    def make(self, order: Order, count: int, chance: torch.Generator) -> Iterator[Step]:
        prior = Prior(order, each=self.options.statistics == "each")
        steps = self.options.iterations
        x = torch.randn(order.shape(order.graph.inputs[0], count), generator=chance)
        x = within(x, order).requires_grad_()
        optimiser = torch.optim.Adam([x], lr=self.options.learning_rate)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, patience=PATIENCE, min_lr=LEAST_RATE
        )
        for step in range(1, steps + 1):
            with torch.enable_grad():
                loss = prior.loss(x)
                (x.grad,) = torch.autograd.grad(loss, [x])
            optimiser.step()
            schedule.step(float(loss.detach()))
            with torch.no_grad():
                x.copy_(within(x, order))
            batch = (x.detach(),) if step == steps else None
            yield Step(step, steps, {"loss": float(loss.detach())}, batch)
