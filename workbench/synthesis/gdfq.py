"""GDFQ (Xu et al. 2020, arXiv:2003.03603): a generator makes pictures of classes asked for.

    min_G  CE(T(G(z | y)), y) + 0.1 · mean_l (‖μ_l - mean_l‖² + ‖σ_l - deviation_l‖²)

T is the float network, z ~ N(0, 1), y a class drawn evenly, and G reads z · e(y) with a learned
embedding e. The statistics are those of a batch, at every batch norm (see `Prior` for how norms
that are folded away are read). So the pictures lie on both sides of the borders between classes,
and each knows its class: a quantized network can train on them with labels as well as by
distillation.

The paper trains the generator alone for 50 epochs (10,000 steps of 16 pictures; 1,000 steps of 64
here), then the quantized network on each batch that it gives while it goes on learning. Here those
batches are kept, and any method of training learns from them. The generator is Genie-D's, which is
the paper's less one convolution. The paper's own training is `labels = 1, temperature = 20` at a
very small rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field

from workbench.foundation.errors import DataError
from workbench.foundation.options import Options
from workbench.synthesis.base import Maker, Order, Step
from workbench.synthesis.generator import fresh, set_gradients
from workbench.synthesis.prior import Prior, require_prior, within
from workbench.synthesis.registry import maker

BETAS = (0.5, 0.999)
LATENT = 100


class GdfqOptions(Options):
    """Options of GDFQ."""

    warm_up: Annotated[
        int, Field(ge=0, le=1_000_000, description="steps before pictures are kept")
    ] = 1000
    learning_rate: Annotated[float, Field(gt=0, le=10, description="of the generator")] = 1e-3
    statistics: Annotated[
        float, Field(ge=0, le=1000, description="weight of the batch norms' statistics")
    ] = 0.1
    step_size: Annotated[int, Field(ge=2, le=1024, description="pictures in each step")] = 64
    batch_size: Annotated[
        int, Field(ge=2, le=1_000_000, description="pictures of one generator")
    ] = 1024
    width: Annotated[int, Field(ge=8, le=512, description="channels of the generator")] = 128


@maker(
    "gdfq",
    title="GDFQ",
    options=GdfqOptions,
    citation="Xu et al. 2020, arXiv:2003.03603",
    signal="batch-norm statistics, and the classes that the float model sees",
    learnables="a generator",
    data="none",
    cost="minutes",
    cells=("calibration/prior", "training/prior"),
    strategy="constraints",
    use="to train without data: a classifier with batch norms, 4 bits and below",
)
class Gdfq(Maker):
    """Pictures of a generator that the float model teaches, each with the class it was made for."""

    options: GdfqOptions

    def check(self, order: Order) -> None:
        require_prior(order, "GDFQ", ranks=(4,))
        _classes(order)

    def batch_size(self, order: Order) -> int:
        return self.options.batch_size

    def make(self, order: Order, count: int, chance: torch.Generator) -> Iterator[Step]:
        options, prior, classes = self.options, Prior(order, each=False), _classes(order)
        spec = order.graph.inputs[0]
        size = count if isinstance(spec.shape[0], int) else options.step_size
        shape = order.shape(spec, size)
        generator = fresh(chance, shape, options.width, LATENT, classes)
        learned = list(generator.parameters())
        descent = torch.optim.Adam(learned, lr=options.learning_rate, betas=BETAS)
        pictures, labels = [], []
        steps = options.warm_up + -(-count // size)
        for step in range(1, steps + 1):
            z = torch.randn((size, LATENT), generator=chance)
            y = torch.randint(classes, (size,), generator=chance)
            with torch.enable_grad():
                x = within(generator(z, y), order)
                mismatch, logits = prior.answered(x)
                told = F.cross_entropy(logits, y)
                loss = told + options.statistics * mismatch
                set_gradients(loss, learned)
            descent.step()
            if step > options.warm_up:
                pictures.append(x.detach())
                labels.append(y)
            values = {"loss": loss, "classes": told, "statistics": mismatch}
            now = Step(step, steps, {name: float(v.detach()) for name, v in values.items()})
            if step == steps:
                batch = (torch.cat(pictures)[:count],)
                now = replace(now, batch=batch, labels=torch.cat(labels)[:count])
            yield now


def _classes(order: Order) -> int:
    """How many classes the model tells apart.

    Raises:
        DataError: it is no classifier.
    """
    output = order.graph.outputs[0]
    shape = output.shape
    last = shape[-1] if len(shape) == 2 else None
    if not isinstance(last, int) or last < 2:
        shown = tuple(dim if isinstance(dim, int) else str(dim or "?") for dim in shape)
        raise DataError(
            f"GDFQ makes pictures of classes, but the model's output '{output.name}' has the shape"
            f" {shown}; give data, or calibrate on 'genie' or 'zeroq'"
        )
    return last
