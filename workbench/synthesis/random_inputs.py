"""Chance alone: normal noise for real inputs, tokens drawn evenly from the vocabulary for others.

The least that can be done without data, and what every other maker should beat. Ranges found so
hold what the first layers do to noise, which is often far from what they do to pictures; tokens
fare better, since an embedding has seen each of them. A whole-number input that is looked up in no
table, such as an attention mask, is filled with ones: nothing is hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.build import TensorSpec
from workbench.synthesis.base import Maker, Order, Step
from workbench.synthesis.prior import within
from workbench.synthesis.registry import maker
from workbench.synthesis.tokens import vocabulary


class RandomOptions(Options):
    """Options of chance."""

    length: Annotated[
        int, Field(ge=1, le=1_000_000, description="of texts, where the model leaves it open")
    ] = 128
    batch_size: Annotated[int, Field(ge=1, le=4096, description="examples made at once")] = 64


@maker(
    "random",
    title="chance",
    options=RandomOptions,
    citation="Cai et al. 2020, arXiv:2001.00281 (as its starting point)",
    signal="none",
    learnables="nothing",
    data="none",
    cost="none",
    cells=("calibration/regulariser",),
    strategy="baseline",
    use="language models without any text, or to see how much a better maker brings",
)
class RandomInputs(Maker):
    """Noise for real inputs, evenly drawn tokens for whole-number ones."""

    options: RandomOptions

    def check(self, order: Order) -> None:
        for spec in order.graph.inputs:
            order.shape(spec, 1, self._length(spec))

    def batch_size(self, order: Order) -> int:
        return self.options.batch_size

    def make(self, order: Order, count: int, chance: torch.Generator) -> Iterator[Step]:
        made = tuple(self._one(order, spec, count, chance) for spec in order.graph.inputs)
        yield Step(1, 1, batch=made)

    def _one(self, order: Order, spec: TensorSpec, count: int, chance: torch.Generator) -> Tensor:
        shape = order.shape(spec, count, self._length(spec))
        if spec.dtype.is_floating_point:
            noise = torch.randn(shape, generator=chance)
            return (within(noise, order) if len(shape) == 4 else noise).to(spec.dtype)
        size = vocabulary(order.graph, spec.name)
        if size is None:
            return torch.ones(shape, dtype=spec.dtype)
        return torch.randint(size, shape, generator=chance).to(spec.dtype)

    def _length(self, spec: TensorSpec) -> int:
        """Pictures need a size of their own; texts may be of any length."""
        return 0 if len(spec.shape) == 4 else self.options.length
