"""The model's own texts (LLM-QAT, Liu et al. 2023, arXiv:2305.17888), like those it learned from.

    t_0 evenly from the vocabulary,   t_i = argmax p(t | t_<i) for i < 5,   t_i ~ p(t | t_<i) after

Taking the likeliest token throughout repeats itself, sampling throughout wanders off; a few sure
tokens first, then sampling, give texts that are likely and differ. The paper makes 100,000 of them
for training; a hundred or so are enough to calibrate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.foundation.options import Options
from workbench.graph.build import Graph
from workbench.synthesis.base import Maker, Order, Step
from workbench.synthesis.registry import maker
from workbench.synthesis.tokens import require_language_model


class GeneratedOptions(Options):
    """Options of generated texts."""

    sure: Annotated[int, Field(ge=0, le=100, description="tokens that are the likeliest ones")] = 4
    temperature: Annotated[
        float, Field(gt=0, le=10, description="of the sampling; 1 is the model's own")
    ] = 1.0
    length: Annotated[
        int, Field(ge=2, le=100_000, description="of a text, where the model leaves it open")
    ] = 128
    batch_size: Annotated[int, Field(ge=1, le=1024, description="texts written at once")] = 64


@maker(
    "generated",
    title="texts of the model's own",
    options=GeneratedOptions,
    citation="Liu et al. 2023, arXiv:2305.17888",
    signal="the model's own predictions",
    learnables="nothing",
    data="none",
    cost="minutes",
    cells=("calibration/prior",),
    strategy="constraints",
    use="language models without any text",
)
class Generated(Maker):
    """Texts that a language model writes itself."""

    options: GeneratedOptions

    def check(self, order: Order) -> None:
        require_language_model(order.graph, "generating texts")
        if not reads_forwards(order.graph):
            raise DataError(
                "this model reads the whole text at once, so it cannot write one; give data, or"
                " calibrate on 'random'"
            )

    def batch_size(self, order: Order) -> int:
        return self.options.batch_size

    @torch.no_grad()
    def make(self, order: Order, count: int, chance: torch.Generator) -> Iterator[Step]:
        spec, size = order.graph.inputs[0], require_language_model(order.graph, "")
        shape = order.shape(spec, count, self.options.length)
        tokens = torch.zeros(shape, dtype=spec.dtype)
        tokens[:, 0] = torch.randint(size, (count,), generator=chance)
        steps = shape[1] - 1
        for step in range(1, steps + 1):
            logits = _logits(order.graph, tokens, step)
            tokens[:, step] = self._next(logits, step, chance)
            yield Step(step, steps, batch=(tokens,) if step == steps else None)

    def _next(self, logits: Tensor, step: int, chance: torch.Generator) -> Tensor:
        """(N, vocabulary) to (N,)."""
        if step <= self.options.sure:
            return logits.argmax(-1)
        shares = torch.softmax(logits.float() / self.options.temperature, -1)
        return torch.multinomial(shares, 1, generator=chance).squeeze(1)


@torch.no_grad()
def reads_forwards(graph: Graph) -> bool:
    """Whether a prediction depends on the tokens before it alone."""
    first, spec = graph.inputs[0].shape[0], graph.inputs[0]
    length = spec.shape[1] if isinstance(spec.shape[1], int) else 8
    rows = first if isinstance(first, int) else 1
    tokens = torch.zeros((rows, length), dtype=spec.dtype)
    changed = tokens.clone()
    changed[:, -1] = 1
    before, after = (graph.module(x)[0][:, : length - 1] for x in (tokens, changed))
    return bool(torch.allclose(before, after, atol=1e-4))


def _logits(graph: Graph, tokens: Tensor, step: int) -> Tensor:
    """Of the token at `step`, (N, vocabulary); what comes later is not given where it need not."""
    given = tokens if isinstance(graph.inputs[0].shape[1], int) else tokens[:, :step]
    return graph.module(given)[0][:, step - 1]
