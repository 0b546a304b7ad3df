"""Genie-D (Jeon et al. 2023, arXiv:2212.04780): a generator and its latents make the pictures.

    min_{z, G} Σ_l ‖μ_l(G(z)) - mean_l‖² + ‖σ_l(G(z)) - deviation_l‖²

μ and σ are taken over the whole batch, so pictures may differ from each other. G, a small network
of two convolutions, is trained anew for each batch and keeps the pictures smooth, which pixels that
learn alone are not. Strided convolutions read only some positions, which shows as a checkerboard in
what is learned; here their input is shifted by up to one position at each step (swing convolution).

In the paper 4,000 steps on batches of 128, 1,024 pictures, a latent of 256, rates of 0.1 for z
(less on a plateau) and 0.01 for G (5 % less every 100 steps); 1,000 steps here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field

from workbench.foundation.options import Options
from workbench.synthesis.base import Maker, Order, Step
from workbench.synthesis.generator import fresh, set_gradients
from workbench.synthesis.prior import Prior, require_prior, within
from workbench.synthesis.registry import maker

LATENT = 256
LEAST_RATE, PATIENCE = 1e-4, 100  # of the latents
DECAY, EVERY = 0.95, 100  # of the generator's rate


class GenieOptions(Options):
    """Options of Genie-D."""

    iterations: Annotated[int, Field(ge=1, le=100_000, description="steps for each batch")] = 1000
    learning_rate: Annotated[float, Field(gt=0, le=10, description="of the generator")] = 0.01
    latent_learning_rate: Annotated[float, Field(gt=0, le=10, description="of the latents")] = 0.1
    batch_size: Annotated[
        int, Field(ge=2, le=1024, description="pictures of one generator, made at once")
    ] = 128
    width: Annotated[int, Field(ge=8, le=512, description="channels of the generator")] = 128


@maker(
    "genie",
    title="Genie-D",
    options=GenieOptions,
    citation="Jeon et al. 2023, arXiv:2212.04780",
    signal="batch-norm statistics of the batch",
    learnables="latents and a generator",
    data="none",
    cost="minutes to hours",
    cells=("calibration/prior",),
    strategy="constraints",
    use="no data at all, a network with batch norms, 4-bit activations and below",
)
class Genie(Maker):
    """Pictures of a generator that is trained on what the batch norms remember."""

    options: GenieOptions

    def check(self, order: Order) -> None:
        require_prior(order, "Genie-D", ranks=(4,))

    def batch_size(self, order: Order) -> int:
        return self.options.batch_size

    def make(self, order: Order, count: int, chance: torch.Generator) -> Iterator[Step]:
        prior, steps = Prior(order, each=False, swing=chance), self.options.iterations
        shape = order.shape(order.graph.inputs[0], count)
        z = torch.randn((count, LATENT), generator=chance).requires_grad_()
        generator = fresh(chance, shape, self.options.width, LATENT)
        latents = torch.optim.Adam([z], lr=self.options.latent_learning_rate)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            latents, patience=PATIENCE, min_lr=LEAST_RATE
        )
        weights = torch.optim.Adam(generator.parameters(), lr=self.options.learning_rate)
        decay = torch.optim.lr_scheduler.StepLR(weights, EVERY, DECAY)
        learned = [z, *generator.parameters()]
        for step in range(1, steps + 1):
            with torch.enable_grad():
                x = within(generator(z), order)
                loss = prior.loss(x)
                set_gradients(loss, learned)
            latents.step()
            weights.step()
            plateau.step(float(loss.detach()))
            decay.step()
            yield Step(
                step,
                steps,
                {"loss": float(loss.detach())},
                (x.detach(),) if step == steps else None,
            )
