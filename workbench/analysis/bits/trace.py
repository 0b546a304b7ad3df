"""Traces of the loss's Hessian by weight, and HAWQ's harm made of them.

    Tr(H) = E[vᵀ H v],   v of ±1                               (Hutchinson)
    harm  = ½ Tr(H) / n · ‖W - Q(W)‖²                          (HAWQ-V2, arXiv:1911.03852)

The loss is the cross entropy with the float network's own prediction, so no labels are needed, its
gradient is zero, and its Hessian is the curvature of the KL divergence. HAWQ leaves out the ½,
which changes no choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from workbench.analysis.bits.candidates import Candidates
from workbench.analysis.bits.problem import Table

Batch = tuple[Tensor, ...]
Loss = Callable[[Sequence[Tensor]], Tensor]

PROBES = 16


@dataclass(frozen=True)
class Traces:
    """Traces so far, after `step` of `total` probes."""

    values: dict[str, float]
    step: int
    total: int


def hutchinson(
    loss: Loss, tensors: Sequence[Tensor], probes: int, generator: torch.Generator
) -> Iterator[list[float]]:
    """vᵀ H v of each tensor, once for each probe; their mean is the trace of its block of H.

    Args:
        loss: of detached copies of the tensors, twice differentiable.
        tensors: where the Hessian is taken.
        probes: random directions of ±1, all tensors at once.
        generator: of the directions.
    """
    own = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    value = loss(own)
    gradients = torch.autograd.grad(
        value, own, create_graph=True, materialize_grads=True, allow_unused=True
    )
    for _ in range(probes):
        signs = [torch.randint(0, 2, t.shape, generator=generator) * 2.0 - 1 for t in own]
        along = torch.stack([(g * v).sum() for g, v in zip(gradients, signs, strict=True)]).sum()
        if not along.requires_grad:  # linear: no curvature
            yield [0.0] * len(own)
            continue
        curved = torch.autograd.grad(
            along, own, retain_graph=True, materialize_grads=True, allow_unused=True
        )
        yield [float((v * h).sum()) for v, h in zip(signs, curved, strict=True)]


def traces(
    candidates: Candidates, batches: Sequence[Batch], seed: int = 0, probes: int = PROBES
) -> Iterator[Traces]:
    """Traces by weight of the mean loss over all predictions; the last one yielded is the best.

    Args:
        candidates: whose weights are looked at.
        batches: inputs; small ones, since the graph of the gradient is kept.
        seed: of the directions.
        probes: in all, dealt out over the batches, each batch at least one.
    """
    generator = torch.Generator().manual_seed(seed)
    names = list(candidates.widths)
    weights = [candidates.weight(name) for name in names]
    each = -(-probes // max(1, len(batches)))
    sums, examples = dict.fromkeys(names, 0.0), 0
    for index, inputs in enumerate(batches):
        loss = _loss(candidates, names, inputs)
        count = len(inputs[0])
        examples += count
        for probe, found in enumerate(hutchinson(loss, weights, each, generator), 1):
            for name, value in zip(names, found, strict=True):
                sums[name] += value * count / each
            if probe == each:
                values = {name: value / examples for name, value in sums.items()}
                yield Traces(values, index + 1, len(batches))


def harm(candidates: Candidates, found: Traces) -> Table:
    """HAWQ's harm of each weight and width; a trace below zero, which is noise, counts as zero."""
    result = {}
    for name, row in candidates.perturbations().items():
        mean = max(found.values[name], 0.0) / candidates.weight(name).numel()
        result[name] = {bits: 0.5 * mean * gap for bits, gap in row.items()}
    return result


def _loss(candidates: Candidates, names: Sequence[str], inputs: Batch) -> Loss:
    """Cross entropy with the float prediction, mean over predictions."""
    graph = candidates.model.graph
    sites = candidates.model.sites
    paths = [graph.attribute_of[sites[name].tensor] for name in names]
    with torch.no_grad():
        logits = graph.module(*inputs)[0]
        wanted = functional.softmax(logits.reshape(-1, logits.shape[-1]), dim=-1)

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        replaced = dict(zip(paths, tensors, strict=True))
        found = functional_call(graph.module, replaced, inputs)[0]
        logs = functional.log_softmax(found.reshape(-1, found.shape[-1]), dim=-1)
        return -(wanted * logs).sum(-1).mean()

    return loss
