"""Distillation of inner tensors (FitNets, Romero et al. 2015, arXiv:1412.6550).

    L = mean over pairs of ‖F_student - F_teacher‖² / ‖F_teacher‖²

FitNets has one pair, and no denominator. Divided by the teacher's energy each pair counts the same
wherever it lies, and 1 is the error of a tensor of zeros. FitNets also learns a regressor between
unlike widths; here pairs of unlike shape are left out, and `attention` compares those.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.signals.base import Seen
from workbench.signals.registry import signal

SMALLEST = 1e-12


def relative_distance(reference: Tensor, value: Tensor) -> Tensor:
    """Squared distance as a share of the reference's own square; both tensors of one shape."""
    wanted = reference.detach().float()
    energy = wanted.square().mean().clamp(min=SMALLEST)
    return (value.float() - wanted).square().mean() / energy


@signal(
    "features",
    title="Distillation of features",
    citation="Romero et al. 2015, arXiv:1412.6550",
    needs=("features",),
)
def features(seen: Seen, options: object) -> Tensor:  # noqa: ARG001
    """Relative squared distance of inner tensors to the teacher's."""
    alike = [o for o in seen.outputs if o.reference.shape == o.value.shape]
    if not alike:
        raise RecipeError(
            f"none of '{len(seen.outputs)}' inner tensors has the shape of the teacher's; set"
            " features to 0 and attention to 1, or give a teacher of the same width"
        )
    return torch.stack([relative_distance(o.reference, o.value) for o in alike]).mean()
