"""Attention transfer (Zagoruyko and Komodakis 2017, arXiv:1612.03928).

    Q(F) = Σ over channels F²,   L = mean over pairs and examples of
                                     ‖ Q_student / ‖Q_student‖ - Q_teacher / ‖Q_teacher‖ ‖²

Where a network looks, whatever the number of its channels: the maps are those of (N, C, H, W), or
the positions of (N, L, C). The distance is squared, as in the released code: the norm itself has no
gradient where the maps agree. It lies between 0 and 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from workbench.foundation.errors import RecipeError
from workbench.signals.base import Output, Seen
from workbench.signals.registry import signal


def attention_map(x: Tensor, channel_axis: int) -> Tensor:
    """Channel-summed squares of each example, of norm 1: (N, positions)."""
    return functional.normalize(x.float().square().sum(dim=channel_axis).flatten(1), dim=1)


def attention_distance(reference: Tensor, value: Tensor, channel_axis: int = 1) -> Tensor:
    """Mean over examples; the two may differ in channels."""
    wanted = attention_map(reference.detach(), channel_axis)
    return (attention_map(value, channel_axis) - wanted).square().sum(dim=1).mean()


def _positions(x: Tensor, channel_axis: int) -> tuple[int, ...]:
    sizes = list(x.shape)
    del sizes[channel_axis]
    return tuple(sizes)


def _comparable(output: Output) -> bool:
    """Both have the same positions, and more than one of them."""
    axis, value = output.channel_axis, output.value
    if value.ndim < 3 or output.reference.ndim != value.ndim:
        return False
    sizes = _positions(value, axis)
    return sizes == _positions(output.reference, axis) and max(sizes[1:]) > 1


@signal(
    "attention",
    title="Attention transfer",
    citation="Zagoruyko and Komodakis 2017, arXiv:1612.03928",
    needs=("features",),
)
def attention(seen: Seen, options: object) -> Tensor:  # noqa: ARG001
    """Distance of spatial attention maps to the teacher's; channel counts may differ."""
    pairs = [output for output in seen.outputs if _comparable(output)]
    if not pairs:
        raise RecipeError(
            f"none of '{len(seen.outputs)}' inner tensors has positions in common with the"
            " teacher's; use the signal 'features' or 'logits'"
        )
    found = [attention_distance(o.reference, o.value, o.channel_axis) for o in pairs]
    return torch.stack(found).mean()
